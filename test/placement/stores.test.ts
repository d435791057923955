import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ReplicaDescriptor } from '../../src/model/index.ts'
import { Traffic } from '../../src/placement/core/traffic.ts'
import { Fleet, type MoveInFlight, Planner, plan } from '../../src/placement/index.ts'

const stores = [{ storeId: 'd1' }, { storeId: 'd2' }]

/** Node a has two disks, b and c have one each; every range has a replica on b, and one on c that is lost. */
function fleetOf(ranges: number, moves: readonly MoveInFlight[]): Fleet {
  const fleet = new Fleet({ deadAfterMs: 1000 })
  for (const nodeId of ['a', 'b', 'c', 'e']) {
    fleet.setNode({
      descriptor: { nodeId, incarnation: 1, addresses: [], locality: [], capacity: {}, labels: {} },
      state: nodeId === 'e' ? 'draining' : 'active',
      liveness: nodeId === 'c' ? 'dead' : 'live',
      forMs: 1000,
      ...(nodeId === 'a' ? { stores } : {}),
    })
  }
  for (let rangeId = 1; rangeId <= ranges; rangeId++) {
    const replicas = ['b', 'c', 'e'].map(
      (nodeId, i): ReplicaDescriptor => ({ replicaId: i + 1, nodeId, incarnation: 1, role: 'voter' }),
    )
    fleet.setRange({
      descriptor: { rangeId, start: new Uint8Array(0), end: undefined, generation: 1, replicas },
      leaseHolder: 1,
      load: { bytes: 10 },
    })
  }
  for (const move of moves) fleet.setMove(move)
  return fleet
}

const toStore = (rangeId: number, storeId: string): MoveInFlight => ({
  rangeId,
  kind: 'replace',
  add: 'a',
  storeId,
  remove: 2,
})
const limits = { incomingPerNode: 1, outgoingPerNode: 100, moves: 100 }

suite('moves under way count on the store that they go to', () => {
  test('and the next one goes to the other', () => {
    for (const [taken, free] of [
      ['d1', 'd2'],
      ['d2', 'd1'],
    ] as const) {
      const snapshot = fleetOf(2, [toStore(1, taken)]).snapshot()
      const names = snapshot.stores.map((_, i) => snapshot.table.nameOf(i))
      const { incoming } = new Traffic(snapshot)
      assert.deepEqual(
        names.filter((_, i) => incoming[i] === 1),
        [`a/${taken}`],
      )
      const next = plan(snapshot, {}, { limits })
      assert.deepEqual(
        next.moves.map(({ rangeId, add }) => [rangeId, add?.nodeId, add?.storeId]),
        [[2, 'a', free]],
      )
    }
  })

  test('and where all have enough to do the rest waits', () => {
    const next = plan(fleetOf(4, [toStore(1, 'd1'), toStore(2, 'd2')]).snapshot(), {}, { limits })
    assert.deepEqual([next.moves.length, next.deferred], [0, 2])
  })

  test('what they bring is held there, before and after it is reported, until somebody says where it is', () => {
    const planner = new Planner()
    const fleet = fleetOf(1, [toStore(1, 'd2')])
    const held = (): [number, number] => {
      planner.plan(fleet.snapshot())
      return [planner.index.replicas[0] as number, planner.index.replicas[1] as number]
    }
    assert.deepEqual(held(), [0, 1])
    const arrived = ['b', 'c', 'e', 'a'].map(
      (nodeId, i): ReplicaDescriptor => ({
        replicaId: i + 1,
        nodeId,
        incarnation: 1,
        role: i === 3 ? 'learner' : 'voter',
      }),
    )
    const descriptor = {
      rangeId: 1,
      start: new Uint8Array(0),
      end: undefined,
      generation: 2,
      replicas: arrived,
    }
    fleet.setRange({ descriptor, leaseHolder: 1, load: { bytes: 10 } })
    assert.deepEqual(held(), [0, 1], 'nobody says on which store it is')
    fleet.setRange({ descriptor, leaseHolder: 1, load: { bytes: 10 }, stores: new Map([[4, 'd1']]) })
    assert.deepEqual(held(), [1, 0])
    fleet.setMove(toStore(1, 'd1'))
    assert.deepEqual(held(), [1, 0])
  })

  test('a store that is gone by now does not change what is known of the node', () => {
    const snapshot = fleetOf(1, [toStore(1, 'd9')]).snapshot()
    assert.deepEqual([...new Traffic(snapshot).incoming], [1, 0, 0, 0, 0])
  })
})
