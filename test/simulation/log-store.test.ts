import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../src/core/errors.ts'
import type { GroupWrite, LogStore } from '../../src/interfaces/log-store.ts'
import { SimulatedDisk } from '../../src/simulation/disk.ts'
import { SimulatedLogs } from '../../src/simulation/log-store.ts'
import type { CrashKind } from '../../src/simulation/process.ts'
import { Simulation } from '../../src/simulation/simulation.ts'
import { logStoreCompliance } from '../../src/testing/index.ts'

interface World {
  readonly simulation: Simulation
  readonly disk: SimulatedDisk
  readonly logs: SimulatedLogs
  open(): Promise<LogStore>
}

function world(seed = 1, name = 'n1'): World {
  const simulation = new Simulation({ seed })
  const process = simulation.process(name)
  const disk = new SimulatedDisk(process, {
    scheduler: simulation.scheduler,
    random: simulation.random('disk'),
    counts: simulation.faults,
  })
  const logs = new SimulatedLogs(disk)
  const open = logs.factory('raft')
  return {
    simulation,
    disk,
    logs,
    open: async () => open({ env: process.environment, clusterId: 'c', nodeId: 'n1' }),
  }
}

suite('the simulated log store keeps the contract of log stores', () => {
  let simulation = new Simulation({ seed: 1 })
  let places = 0
  const cases = logStoreCompliance({
    env: () => simulation.environment('observer'),
    create: async () => {
      const process = simulation.process(`place ${places++}`)
      const disk = new SimulatedDisk(process, {
        scheduler: simulation.scheduler,
        random: simulation.random(process.name),
        counts: simulation.faults,
      })
      const open = new SimulatedLogs(disk).factory('log')
      return {
        open: async (context) => open({ ...context, env: process.environment }),
        crash: async () => {
          process.crash('power')
          process.restart()
        },
      }
    },
  })
  for (const { name, run } of cases) {
    test(name, async () => {
      for (let seed = 0; seed < 3; seed++) {
        simulation = new Simulation({ seed })
        await simulation.until(run())
      }
    })
  }
})

function entry(index: number, term = 1): GroupWrite {
  return { groupId: 1, entries: [{ index, term, kind: 1, data: new Uint8Array([index]) }] }
}

suite('a simulated log store', () => {
  test('after a power cut holds a prefix of what was not synced; after a kill everything', async () => {
    const lasts = async (kind: CrashKind): Promise<Set<number>> => {
      const seen = new Set<number>()
      for (let seed = 0; seed < 40; seed++) {
        const { simulation, open } = world(seed)
        const store = await open()
        let synced = 0
        for (let i = 1; i <= 3; i++) {
          const write = store.write([entry(i)])
          void write.then(() => {
            synced = i
          })
        }
        await simulation.runFor(0.6)
        simulation.process('n1').crash(kind)
        simulation.process('n1').restart()
        const again = await open()
        const last = again.recovered().get(1)?.last.index ?? 0
        assert.ok(last >= synced, `${synced} was acknowledged, ${last} is left`)
        seen.add(last)
      }
      return seen
    }
    assert.deepEqual(await lasts('power'), new Set([0, 1, 2, 3]))
    assert.deepEqual(await lasts('kill'), new Set([3]))
  })

  test('is poisoned by a failed sync until it is opened again', async () => {
    const left = new Set<number>()
    for (let seed = 0; seed < 30; seed++) {
      const { simulation, disk, open } = world(seed)
      const store = await open()
      await simulation.until(store.write([entry(1)]))
      disk.setQuality({ syncFailureProbability: 1 })
      const writes = [2, 3].map((i) => assert.rejects(store.write([entry(i)]), /simulated failure of a sync/))
      await simulation.until(Promise.all(writes))
      disk.setQuality({ syncFailureProbability: 0 })
      const calls: (() => Promise<unknown>)[] = [
        () => store.write([entry(2)]),
        () => store.read(1, 1, 1, 1),
        () => store.compact(1, { index: 1, term: 1 }),
        () => store.destroy(1, new Uint8Array(1)),
      ]
      for (const call of calls) {
        await assert.rejects(
          simulation.until(call()),
          (error) => KeelsonError.hasCode(error, 'STORE_POISONED') && error.cause !== undefined,
        )
      }
      await store.close()
      left.add((await open()).recovered().get(1)?.last.index ?? 0)
      assert.equal(simulation.faults.get('disk failed sync'), 1)
    }
    assert.deepEqual(left, new Set([1, 2, 3]))
  })

  test('of a life that ended is no further than it was, whatever the next ones write', async () => {
    const { simulation, open } = world()
    const dead = await open()
    await simulation.until(dead.write([entry(1)]))
    assert.equal(dead.durablePosition?.(), 1)
    simulation.process('n1').crash('kill')
    simulation.process('n1').restart()
    const next = await open()
    await simulation.until(next.write([entry(2)]))
    assert.deepEqual([dead.durablePosition?.(), next.durablePosition?.()], [1, 2])
    await simulation.until(next.close())
    await simulation.until((await open()).write([entry(3)]))
    assert.equal(next.durablePosition?.(), 2)
  })

  test('of a life that ended refuses everything and resolves nothing', async () => {
    const { simulation, open } = world()
    const store = await open()
    let resolved = false
    void store.write([entry(1)]).then(() => {
      resolved = true
    })
    simulation.process('n1').crash()
    simulation.process('n1').restart()
    await simulation.run()
    assert.equal(resolved, false)
    await assert.rejects(store.write([entry(1)]), (error) => KeelsonError.hasCode(error, 'CLOSED'))
    await store.close()
    await using again = await open()
    await simulation.until(again.write([entry(again.recovered().has(1) ? 2 : 1)]))
  })

  test('fails a read that the disk fails, without poison', async () => {
    const { simulation, disk, open } = world()
    const store = await open()
    await simulation.until(store.write([entry(1)]))
    disk.setQuality({ readFailureProbability: 1 })
    await assert.rejects(simulation.until(store.read(1, 1, 1, 1)), (error) =>
      KeelsonError.hasCode(error, 'IO'),
    )
    disk.setQuality({ readFailureProbability: 0 })
    assert.equal((await simulation.until(store.read(1, 1, 1, 1))).length, 1)
  })
})
