import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { deadline, sleep } from '../../src/core/async.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { Simulation } from '../../src/simulation/simulation.ts'
import { Trace } from '../../src/simulation/trace.ts'

suite('Simulation', () => {
  test('refuses unknown options', () => {
    assert.throws(
      () => new Simulation({ seed: 1, tracelimit: 3 } as never),
      (error) => KeelsonError.hasCode(error, 'INVALID_OPTION') && error.message.includes('traceLimit'),
    )
  })

  test('one seed is one run', async () => {
    const run = async (seed: number): Promise<string> => {
      const simulation = new Simulation({ seed })
      for (const name of ['a', 'b', 'c']) {
        const env = simulation.environment(name)
        const worker = async (): Promise<void> => {
          for (let i = 0; i < 20; i++) {
            await sleep(env.timers, env.random.integer(10))
            env.logger.info({ i, local: env.clock.monotonicMs() }, 'tick')
          }
        }
        void worker()
      }
      await simulation.run()
      assert.equal(simulation.trace.count, 60)
      return simulation.trace.hash()
    }
    assert.equal(await run(5), await run(5))
    assert.notEqual(await run(5), await run(6))
  })

  test('until gives the result of a promise, or tells that nothing is left to happen', async () => {
    const simulation = new Simulation({ seed: 1 })
    const env = simulation.environment('a')
    assert.equal(await simulation.until(sleep(env.timers, 5_000).then(() => 'done')), 'done')
    assert.equal(simulation.nowMs, 5_000)
    await assert.rejects(simulation.until(new Promise(() => {}), 1_000), (error) =>
      KeelsonError.hasCode(error, 'TIMEOUT'),
    )
    await assert.rejects(simulation.until(sleep(env.timers, 5, AbortSignal.abort())), (error) =>
      KeelsonError.hasCode(error, 'ABORTED'),
    )
  })

  test('the helpers of the core work in virtual time', async () => {
    const simulation = new Simulation({ seed: 1 })
    const env = simulation.environment('a')
    const limit = deadline(env.timers, 100, () => new KeelsonError('TIMEOUT', 'too late'))
    await assert.rejects(simulation.until(sleep(env.timers, 1_000, limit.signal)), (error) =>
      KeelsonError.hasCode(error, 'TIMEOUT'),
    )
    assert.equal(simulation.nowMs, 100)
  })
})

suite('a simulated process', () => {
  test('has clocks that drift, and timers that follow its own clock', () => {
    const simulation = new Simulation({ seed: 1 })
    const process = simulation.process('a')
    const { clock, timers } = process.environment
    const start = clock.monotonicMs()
    process.setClockRate(1.1)
    let firedAt = 0
    timers.schedule(110, () => {
      firedAt = simulation.nowMs
      assert.ok(clock.monotonicMs() - start >= 110)
    })
    simulation.runSync()
    assert.ok(Math.abs(firedAt - 100) < 1e-6, `${firedAt}`)
  })

  test('a timer set before the clock slowed down still never fires early', () => {
    const simulation = new Simulation({ seed: 1 })
    const process = simulation.process('a')
    const { clock, timers } = process.environment
    const start = clock.monotonicMs()
    timers.schedule(100, () => assert.ok(clock.monotonicMs() - start >= 100))
    simulation.scheduler.schedule(50, () => process.setClockRate(0.5))
    simulation.runSync()
    assert.ok(Math.abs(simulation.nowMs - 150) < 1e-6, `${simulation.nowMs}`)
  })

  test('clocks of two processes have different origins', () => {
    const simulation = new Simulation({ seed: 1 })
    const [a, b] = [simulation.environment('a'), simulation.environment('b')]
    assert.notEqual(a.clock.monotonicMs(), b.clock.monotonicMs())
    assert.equal(a.clock.wallMs(), b.clock.wallMs())
    simulation.process('a').jumpWallClock(-3_600_000)
    assert.equal(b.clock.wallMs() - a.clock.wallMs(), 3_600_000)
  })

  test('when paused its timers wait, then run at once; its clock has gone on', () => {
    const simulation = new Simulation({ seed: 1 })
    const process = simulation.process('a')
    const { clock, timers } = process.environment
    const start = clock.monotonicMs()
    const fired: string[] = []
    for (const delay of [30, 10, 20]) {
      timers.schedule(delay, () => {
        fired.push(`${delay} at ${simulation.nowMs}`)
        if (delay === 10) timers.defer(() => fired.push('deferred'))
      })
    }
    timers.schedule(15, () => assert.fail('cancelled while it waited')).cancel()
    simulation.scheduler.schedule(25, () => fired.push('input'), process)
    simulation.scheduler.schedule(5, () => process.pause())
    simulation.scheduler.schedule(1_000, () => process.resume())
    simulation.runSync()
    // Late timers run before the input that arrived meanwhile; what they defer comes after that input.
    assert.deepEqual(fired, ['10 at 1000', '20 at 1000', '30 at 1000', 'input', 'deferred'])
    assert.ok(Math.abs(clock.monotonicMs() - start - 1_000) < 1e-6)
  })

  test('when suspended its monotonic clock stands still and its wall clock does not', () => {
    const simulation = new Simulation({ seed: 1 })
    const process = simulation.process('a')
    const { clock, timers } = process.environment
    const [monotonic, wall] = [clock.monotonicMs(), clock.wallMs()]
    let firedAt = 0
    timers.schedule(100, () => {
      firedAt = simulation.nowMs
    })
    simulation.scheduler.schedule(50, () => process.pause({ suspend: true }))
    simulation.scheduler.schedule(60_050, () => process.resume())
    simulation.runSync()
    assert.ok(Math.abs(firedAt - 60_100) < 1e-6, `${firedAt}`)
    assert.ok(Math.abs(clock.monotonicMs() - monotonic - 100) < 1e-6)
    assert.ok(Math.abs(clock.wallMs() - wall - 60_100) <= 1)
  })

  test('when crashed its timers never fire, in no later life either', async () => {
    const simulation = new Simulation({ seed: 1 })
    const process = simulation.process('a')
    const first = process.environment
    const fired: string[] = []
    const survivor = async (): Promise<void> => {
      await Promise.race([sleep(first.timers, 10), new Promise(() => {})])
      fired.push('survivor')
    }
    void survivor()
    first.timers.schedule(20, () => fired.push('timer of the first life'))
    first.timers.defer(() => fired.push('deferred'))
    simulation.scheduler.schedule(5, () => process.crash())
    simulation.scheduler.schedule(6, () => {
      assert.throws(() => simulation.environment('a'), /crashed/)
      const second = process.restart()
      // A loser of the first life goes on running; whatever it asks for does not happen.
      first.timers.schedule(0, () => fired.push('zombie'))
      first.timers.defer(() => fired.push('deferred zombie'))
      first.logger.error({}, 'zombie')
      second.timers.schedule(20, () => fired.push('timer of the second life'))
    })
    await simulation.run()
    assert.deepEqual(fired, ['deferred', 'timer of the second life'])
    assert.ok(!simulation.trace.lines().join().includes('zombie'))
    assert.equal(process.life, 2)
  })

  test('a crash ends a pause', () => {
    const simulation = new Simulation({ seed: 1 })
    const process = simulation.process('a')
    process.environment.timers.schedule(10, () => assert.fail())
    process.pause()
    simulation.runSync({ untilMs: 20 })
    process.crash('kill')
    process.restart()
    assert.equal(process.state, 'running')
    simulation.runSync()
  })

  test('its log becomes part of the trace', () => {
    const simulation = new Simulation({ seed: 1, logLevel: 'debug' })
    const { logger } = simulation.environment('db7')
    logger.trace({}, 'too fine')
    logger.child({ group: 3 }).debug({ error: new KeelsonError('IO', 'broken'), list: [1] }, 'went wrong')
    const lines = simulation.trace.lines()
    assert.equal(lines.length, 1)
    assert.match(lines[0] as string, /db7 +debug: went wrong group 3 error IO: broken list \[1\]$/)
  })
})

suite('Trace', () => {
  test('keeps the last lines and hashes all', () => {
    const fill = (skip: number): Trace => {
      const trace = new Trace(3)
      for (let i = 0; i < 10; i++) if (i !== skip) trace.add(i, 'n1', 'line', i, i / 3)
      return trace
    }
    assert.deepEqual(
      fill(-1)
        .lines()
        .map((line) => line.trim().split(/\s+/)[3]),
      ['7', '8', '9'],
    )
    assert.deepEqual(fill(-1).lines(2).length, 2)
    assert.equal(fill(-1).hash(), fill(-1).hash())
    assert.notEqual(fill(-1).hash(), fill(0).hash())
    assert.deepEqual(fill(-1).lines(), fill(0).lines())
  })

  test('the hash sees each part of a line', () => {
    const hash = (...line: Parameters<Trace['add']>): string => {
      const trace = new Trace()
      trace.add(...line)
      return trace.hash()
    }
    const hashes = [
      hash(1, 'a', 'b'),
      hash(1.5, 'a', 'b'),
      hash(1, 'ab', ''),
      hash(1, 'a', 'b', 1),
      hash(1, 'a', 'b', 2 ** 40),
      hash(1, 'a', 'b', 'x'),
      hash(1, 'a', 'b', true),
      hash(1, 'a', 'b', undefined),
    ]
    assert.equal(new Set(hashes).size, hashes.length)
  })
})
