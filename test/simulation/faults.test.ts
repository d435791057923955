import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../src/core/random.ts'
import { drawSwarm, FaultInjector, type FaultKind, type RecordedFault } from '../../src/simulation/faults.ts'
import { Simulation } from '../../src/simulation/simulation.ts'

function kinds(log: string[], names: readonly string[]): FaultKind[] {
  return names.map((name) => ({
    name,
    meanIntervalMs: 100,
    durationMs: [10, 50],
    begin: () => {
      log.push(`${name} begins`)
      return () => log.push(`${name} ends`)
    },
  }))
}

suite('FaultInjector', () => {
  test('lets faults come and go, counts them, and ends all of them when it is stopped', () => {
    const simulation = new Simulation({ seed: 3 })
    const log: string[] = []
    const injector = new FaultInjector(simulation, [
      ...kinds(log, ['a', 'b']),
      { name: 'impossible', meanIntervalMs: 10, begin: () => undefined },
    ])
    injector.start()
    injector.start()
    simulation.runSync({ untilMs: 10_000 })
    for (const name of ['a', 'b']) {
      const begun = simulation.faults.get(name)
      assert.ok(begun > 60 && begun < 160, `${name} happened ${begun} times`)
      assert.equal(log.filter((line) => line === `${name} begins`).length, begun)
    }
    assert.equal(simulation.faults.get('impossible'), 0)
    simulation.runSync({ stop: () => injector.active > 0 })
    injector.stop()
    assert.equal(injector.active, 0)
    const count = log.length
    assert.equal(log.filter((line) => line.endsWith('begins')).length * 2, count)
    simulation.runSync()
    assert.equal(log.length, count)
  })

  test('one more kind of fault does not move the others', () => {
    const times = (names: readonly string[]): number[] => {
      const simulation = new Simulation({ seed: 5 })
      const out: number[] = []
      const list = kinds([], names).map((kind) => ({
        ...kind,
        begin: () => {
          if (kind.name === 'a') out.push(simulation.nowMs)
          return () => {}
        },
      }))
      new FaultInjector(simulation, list).start()
      simulation.runSync({ untilMs: 2_000 })
      return out
    }
    assert.deepEqual(times(['a']), times(['b', 'a', 'c']))
  })

  suite('a recorded schedule', () => {
    const run = (schedule?: readonly RecordedFault[]): { log: string[]; recorded: RecordedFault[] } => {
      const simulation = new Simulation({ seed: 9 })
      const log: string[] = []
      const recorded: RecordedFault[] = []
      const list = ['a', 'b'].map(
        (name): FaultKind => ({
          name,
          meanIntervalMs: 100,
          begin: (random) => {
            if (random.float() < 0.3) return undefined
            log.push(`${name} ${random.integer(1000)} at ${simulation.nowMs}`)
            return () => log.push(`${name} ends at ${simulation.nowMs}`)
          },
        }),
      )
      const injector = new FaultInjector(simulation, list, {
        onFault: (fault) => recorded.push(fault),
        schedule,
      })
      injector.start()
      simulation.runSync({ untilMs: 1_000 })
      injector.stop()
      return { log, recorded }
    }

    test('repeats what happened, to the moment and to the draw', () => {
      const first = run()
      assert.ok(first.recorded.length > 5)
      assert.deepEqual(run(first.recorded), first)
    })

    test('leaves the others as they are where some are left out', () => {
      const first = run()
      const some = first.recorded.filter((_, i) => i % 3 === 0)
      const again = run(some)
      assert.deepEqual(again.recorded, some)
      const begun = again.log.filter((line) => !line.includes('ends'))
      assert.equal(begun.length, some.length)
      for (const line of again.log) assert.ok(first.log.includes(line), line)
    })

    test('is refused when it names a kind that is not there, no time, or no generator', () => {
      const [fault] = run().recorded as [RecordedFault]
      for (const change of [{ kind: 'c' }, { atMs: Number.NaN }, { atMs: -1 }, { random: [1] }])
        assert.throws(() => run([{ ...fault, ...change }]), { code: 'INVALID_ARGUMENT' })
    })
  })

  test('a swarm draws some kinds, at other rates, by the seed', () => {
    const all = kinds([], ['a', 'b', 'c', 'd', 'e', 'f'])
    const draw = (seed: number): string =>
      drawSwarm(new SeededRandom(seed), all)
        .map(({ name, meanIntervalMs }) => `${name} ${meanIntervalMs}`)
        .join()
    assert.equal(draw(1), draw(1))
    const seen = Array.from({ length: 200 }, (_, seed) => drawSwarm(new SeededRandom(seed), all))
    assert.equal(new Set(seen.map((drawn) => drawn.map(({ name }) => name).join())).size > 40, true)
    for (const { meanIntervalMs } of seen.flat()) assert.ok(meanIntervalMs >= 25 && meanIntervalMs <= 400)
    assert.equal(drawSwarm(new SeededRandom(1), all, { probability: 1 }).length, 6)
    assert.equal(drawSwarm(new SeededRandom(1), all, { probability: 0 }).length, 0)
  })
})
