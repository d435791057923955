import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../../src/core/random.ts'
import { dependency, Planner, plan, tableAffinity } from '../../../../src/placement/index.ts'
import { PlainFleet, plainNode, plainRange } from '../../support/plain.ts'

const wide = {
  moves: 10_000,
  improvements: 10_000,
  incomingPerNode: 1000,
  outgoingPerNode: 1000,
  leaseTransfers: 1,
}

/** Ranges of two tables, thrown over the nodes: more on each node than a plan looks at. */
function thrown(nodeCount: number, ranges: number): PlainFleet {
  const random = new SeededRandom(7)
  const names = Array.from({ length: nodeCount }, (_, i) => `n${String(i).padStart(2, '0')}`)
  return new PlainFleet(
    names.map((name) => plainNode(name)),
    Array.from({ length: 2 * ranges }, (_, i) => {
      const on = new Set<string>()
      while (on.size < 3) on.add(names[random.integer(nodeCount)] as string)
      return plainRange(i + 1, [...on], { tableId: i < ranges ? 1 : 2 })
    }),
  )
}

/** Pairs of a replica of each table on one node. */
function pairsOf(life: PlainFleet): number {
  const counts = new Map<string, [number, number]>()
  for (const { descriptor, tableId } of life.ranges.values()) {
    for (const { nodeId } of descriptor.replicas) {
      const count = counts.get(nodeId) ?? [0, 0]
      count[tableId === 1 ? 0 : 1]++
      counts.set(nodeId, count)
    }
  }
  return [...counts.values()].reduce((sum, [a, b]) => sum + a * b, 0)
}

suite('tableAffinity in the planner', () => {
  for (const relation of ['together', 'apart'] as const) {
    test(`brings tables ${relation} with every plan, over all ranges, and comes to rest`, () => {
      const life = thrown(8, 300)
      const planner = new Planner({ goals: [tableAffinity({ table: 1, other: 2, relation })] })
      const first = pairsOf(life)
      let pairs = first
      let next = planner.plan(life.fleet.snapshot(), { limits: wide })
      let plans = 0
      for (; next.moves.length > 0; plans++) {
        assert.ok(plans < 60, 'never at rest')
        life.apply(next)
        const now = pairsOf(life)
        assert.ok(relation === 'apart' ? now < pairs : now > pairs, `${pairs} → ${now} pairs`)
        pairs = now
        next = planner.plan(life.fleet.snapshot(), { limits: wide })
      }
      assert.ok(relation === 'apart' ? pairs < first / 10 : pairs > first * 1.5, `${first} → ${pairs}`)
      assert.ok(life.moved <= 2 * 1800, `${life.moved} moves of 1800 replicas`)
      // What is counted as it changes is what is counted anew.
      const counts = [...planner.index.tables].map(([table, count]) => [table, [...count]])
      const fresh = new Planner(planner.policy)
      fresh.plan(life.fleet.snapshot(), { limits: wide })
      assert.deepEqual(
        counts,
        [...fresh.index.tables].map(([table, count]) => [table, [...count]]),
      )
    })
  }

  test('beside it, a rule about other ranges by their numbers is refused, and not misread', () => {
    assert.throws(() => new Planner({ constraints: [dependency('zone', () => [0])] }), {
      code: 'INVALID_OPTION',
      message: /dependency\(zone\) looks at other ranges/,
    })
  })

  test('counts what comes and goes with nodes', () => {
    const life = thrown(6, 40)
    const planner = new Planner({ goals: [tableAffinity({ table: 1, other: 2, relation: 'apart' })] })
    planner.plan(life.fleet.snapshot())
    life.fleet.removeNode('n02')
    life.fleet.setNode(plainNode('n00a'))
    const snapshot = life.fleet.snapshot()
    assert.deepEqual(planner.plan(snapshot), plan(snapshot, planner.policy))
  })
})
