import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { setTimeout as realSleep } from 'node:timers/promises'
import { KeelsonError } from '../../src/core/errors.ts'
import { SeededRandom } from '../../src/core/random.ts'
import { Scheduler } from '../../src/simulation/scheduler.ts'

function scheduler(seed = 1): Scheduler {
  return new Scheduler(new SeededRandom(seed))
}

suite('Scheduler', () => {
  test('runs events in the order of their times and advances the clock to each', () => {
    const s = scheduler()
    const seen: number[] = []
    const random = new SeededRandom(7)
    for (let i = 0; i < 1_000; i++) {
      const at = random.integer(500)
      s.schedule(at, () => {
        assert.equal(s.nowMs, at)
        seen.push(at)
      })
    }
    assert.deepEqual(s.run(), { events: 1_000, reason: 'idle' })
    assert.deepEqual(
      seen,
      seen.toSorted((a, b) => a - b),
    )
    assert.equal(s.events, 1_000)
  })

  test('breaks ties by the seed: other seeds give other orders, the same seed the same', () => {
    const order = (seed: number): string => {
      const s = scheduler(seed)
      const out: string[] = []
      for (const name of 'abcdefgh') s.schedule(1, () => out.push(name))
      s.run()
      return out.join('')
    }
    const orders = new Set(Array.from({ length: 20 }, (_, seed) => order(seed)))
    assert.ok(orders.size > 15, `only ${orders.size} orders`)
    assert.equal(order(3), order(3))
  })

  test('runs deferred events after all that is due at the same instant', () => {
    for (let seed = 0; seed < 20; seed++) {
      const s = scheduler(seed)
      const out: string[] = []
      s.schedule(1, () => {
        s.defer(() => out.push('deferred'))
        s.schedule(0, () => out.push('input'))
      })
      s.schedule(1, () => out.push('input'))
      s.schedule(1.5, () => out.push('later'))
      s.run()
      assert.deepEqual(out, ['input', 'input', 'deferred', 'later'])
    }
  })

  test('never calls what was cancelled', () => {
    const s = scheduler()
    let calls = 0
    const event = s.schedule(1, () => calls++)
    s.schedule(0.5, () => {
      event.cancel()
      event.cancel()
    })
    s.run()
    assert.equal(calls, 0)
  })

  test('stops at a time, on a condition and at a number of events', () => {
    const s = scheduler()
    let ticks = 0
    const tick = (): void => {
      ticks++
      s.schedule(10, tick)
    }
    s.schedule(10, tick)
    assert.equal(s.run({ untilMs: 100 }).reason, 'until')
    assert.deepEqual([ticks, s.nowMs], [10, 100])
    assert.equal(s.run({ stop: () => ticks === 15 }).reason, 'stopped')
    assert.deepEqual([ticks, s.nowMs], [15, 150])
    assert.throws(
      () => s.run({ maximumEvents: 100 }),
      (error) => KeelsonError.hasCode(error, 'LIMIT_EXCEEDED'),
    )
  })

  test('advances to the end of the time asked for when nothing happens', () => {
    const s = scheduler()
    s.run({ untilMs: 42 })
    assert.equal(s.nowMs, 42)
    s.schedule(0, () => {}).cancel()
    assert.equal(s.run().reason, 'idle')
    assert.equal(s.nowMs, 42)
  })

  test('calls afterEvent after each event, and passes its error on', () => {
    const s = scheduler()
    for (let i = 0; i < 3; i++) s.schedule(i, () => {})
    s.afterEvent = () => {
      if (s.nowMs === 2) throw new Error('broken invariant')
    }
    assert.throws(() => s.run(), /broken invariant/)
  })

  test('does not run inside itself', () => {
    const s = scheduler()
    s.schedule(0, () => s.run())
    assert.throws(
      () => s.run(),
      (error) => KeelsonError.hasCode(error, 'INVALID_ARGUMENT'),
    )
  })

  test('runs at least 300,000 events a second', () => {
    // The target is over a million; a machine under load must not fail the suite.
    const s = scheduler()
    let left = 300_000
    const next = (): void => {
      if (left-- > 0) s.schedule(1, next)
    }
    for (let i = 0; i < 200; i++) s.schedule(i / 200, next)
    const started = process.hrtime.bigint()
    s.run()
    assert.ok(process.hrtime.bigint() - started < 1_000_000_000n * 5n)
  })
})

suite('asynchronous runs', () => {
  test('drain all promises and ticks of an event before the next', async () => {
    const s = scheduler()
    const out: string[] = []
    const chain = async (name: string): Promise<void> => {
      for (let i = 0; i < 50; i++) await Promise.resolve()
      await new Promise<void>((resolve) => process.nextTick(resolve))
      for (let i = 0; i < 50; i++) await Promise.resolve()
      await new Promise<void>((resolve) => process.nextTick(() => queueMicrotask(resolve)))
      out.push(name)
    }
    s.schedule(1, () => void chain('a'))
    s.schedule(1.000001, () => out.push('event'))
    assert.deepEqual(await s.runAsync(), { events: 2, reason: 'idle' })
    assert.deepEqual(out, ['a', 'event'])
  })

  test('find what promises scheduled after the last event', async () => {
    const s = scheduler()
    let done = false
    const work = async (): Promise<void> => {
      await Promise.resolve()
      s.schedule(1_000, () => {
        done = true
      })
    }
    s.schedule(0, () => void work())
    await s.runAsync()
    assert.ok(done)
    assert.equal(s.nowMs, 1_000)
  })

  test('fail on a rejection that nobody handles', async () => {
    const s = scheduler()
    s.schedule(0, () => {
      void Promise.reject(new Error('nobody caught me'))
    })
    await assert.rejects(s.runAsync(), /nobody caught me/)
  })

  test('fail on real input and output', async () => {
    const s = scheduler()
    // Under way for as long as the test wants: a file may have been read before anybody looks.
    let child: ChildProcess | undefined
    s.schedule(0, () => {
      child = spawn('sleep', ['30'], { stdio: 'ignore' })
    })
    await assert.rejects(s.runAsync(), /real work/)
    child?.kill('SIGKILL')
    await realSleep(20)
  })
})

suite('ambient time, timers and random numbers', () => {
  const uses: [string, () => unknown][] = [
    ['Date.now', () => Date.now()],
    ['new Date()', () => new Date()],
    ['Date()', () => Date()],
    ['Math.random', () => Math.random()],
    ['performance.now', () => performance.now()],
    ['setTimeout', () => setTimeout(() => {}, 1)],
    ['setInterval', () => clearInterval(setInterval(() => {}, 1))],
    ['setImmediate', () => setImmediate(() => {})],
    ['crypto.randomUUID', () => crypto.randomUUID()],
    ['crypto.getRandomValues', () => crypto.getRandomValues(new Uint8Array(1))],
    ['AbortSignal.timeout', () => AbortSignal.timeout(1)],
    ['process.hrtime', () => process.hrtime()],
    ['process.hrtime', () => process.hrtime.bigint()],
    ['node:crypto.randomBytes', () => randomBytes(4)],
    ['node:timers/promises.setTimeout', () => realSleep(1)],
  ]
  for (const [name, use] of uses) {
    test(`${name} (${use.toString().slice(6)}) fails the run, also when the error was swallowed`, async () => {
      const swallow = (): void => {
        try {
          use()
        } catch {}
      }
      for (const run of [(s: Scheduler) => s.run(), (s: Scheduler) => s.runAsync()]) {
        const s = scheduler()
        s.schedule(0, swallow)
        s.schedule(1, () => assert.fail('the run went on'))
        await assert.rejects(
          async () => run(s),
          (error) =>
            KeelsonError.hasCode(error, 'INVARIANT_VIOLATED') &&
            error.message.startsWith(name) &&
            String(error.stack).includes('swallow'),
        )
        // Everything works again.
        assert.doesNotThrow(swallow)
        assert.equal(typeof Date.now(), 'number')
        assert.notEqual(randomBytes(8).toString('hex'), randomBytes(8).toString('hex'))
      }
    })
  }

  test('dates of a given time are allowed', () => {
    const s = scheduler()
    let text = ''
    s.schedule(0, () => {
      const date = new Date(0)
      assert.ok(date instanceof Date)
      text = `${date.toISOString()} ${Date.UTC(2030, 0)} ${Date.parse('2030-01-01')}`
    })
    s.run()
    assert.equal(text, '1970-01-01T00:00:00.000Z 1893456000000 1893456000000')
  })

  test('are refused to a second simulation at the same time', async () => {
    const s = scheduler()
    const other = scheduler()
    s.schedule(0, () => other.run())
    await assert.rejects(s.runAsync(), (error) => KeelsonError.hasCode(error, 'INVALID_ARGUMENT'))
  })
})
