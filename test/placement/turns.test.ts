import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  balance,
  capacity,
  explainNode,
  explainRange,
  type PlacementPolicy,
  type PlacementSnapshot,
  type Plan,
  Planner,
  plan,
  RuleBook,
  spread,
  whatIf,
} from '../../src/placement/index.ts'
import { PlainFleet, plainNode, plainRange } from './support/plain.ts'

const pinned = new RuleBook({
  rules: [
    {
      id: 'pin',
      scope: { type: 'table', tableId: 1 },
      require: [{ match: [{ label: 'zone', in: ['z0'] }] }],
    },
  ],
})

/** Four nodes in z0 and three in z1, of which one is dead; it had a replica of every range. */
function broken(helpless: number, helpable: number): PlainFleet {
  const nodes = [0, 1, 2].map((i) => plainNode(`a${i}`, 'zone=z0'))
  nodes.push(...[0, 1].map((i) => plainNode(`b${i}`, 'zone=z1')))
  nodes.push(plainNode('dead', 'zone=z0', { liveness: 'dead' }))
  const ranges = Array.from({ length: helpless + helpable }, (_, i) =>
    i < helpless
      ? // Pinned to z0, where all nodes have one.
        plainRange(i + 1, ['a0', 'a1', 'a2', 'dead'], { tableId: 1, replicationFactor: 4 })
      : plainRange(i + 1, ['a0', 'a1', 'dead'], { tableId: 2 }),
  )
  return new PlainFleet(nodes, ranges)
}

function rounds(life: PlainFleet, planner: Planner, most: number): Plan {
  let last = planner.plan(life.fleet.snapshot())
  for (let round = 0; round < most; round++) {
    life.apply(last)
    last = planner.plan(life.fleet.snapshot())
  }
  return last
}

/** Plans for one snapshot until all was looked at. */
function settle(planner: Planner, snapshot: PlacementSnapshot): void {
  for (let i = 0; planner.plan(snapshot).unexamined > 0; i++) assert.ok(i < 10)
}

suite('ranges that need something', () => {
  const policy: Partial<PlacementPolicy> = { rules: pinned, goals: [] }

  test('have their turn behind any number of others that cannot be helped, and the counts are true', () => {
    const life = broken(600, 100)
    const first = plan(life.fleet.snapshot(), policy)
    assert.ok(first.moves.length > 0, first.explained.join('\n'))
    assert.equal(first.blockedCount, 600)
    assert.equal(first.deferred + first.moves.length, 100)
    const last = rounds(life, new Planner(policy), 60)
    assert.equal(life.moved, 100)
    assert.equal(last.deferred, 0)
    assert.equal(last.blockedCount, 600)
  })

  test('that are more than one plan looks at have it with the next ones', () => {
    const life = broken(5000, 40)
    const planner = new Planner(policy)
    const snapshot = life.fleet.snapshot()
    const first = planner.plan(snapshot)
    assert.equal(first.moves.length, 0)
    assert.ok(first.unexamined > 0)
    assert.equal(first.blockedCount + first.deferred, 5040)
    let seen = 1
    for (let next = first; next.moves.length === 0; seen++) next = planner.plan(snapshot)
    assert.ok(seen <= 4, `${seen} plans`)
    assert.equal(rounds(life, planner, 60).blockedCount, 5000)
    assert.equal(life.moved, 40)
  })

  test('are tried again when a node comes that could help', () => {
    const life = broken(3000, 0)
    const planner = new Planner(policy)
    rounds(life, planner, 4)
    assert.equal(life.moved, 0)
    life.fleet.setNode(plainNode('a9', 'zone=z0'))
    const next = planner.plan(life.fleet.snapshot())
    assert.ok(next.moves.length > 0, next.explained.join('\n'))
  })

  test('and cannot be helped do not keep the others from being balanced', () => {
    const life = broken(300, 0)
    for (let i = 0; i < 30; i++) {
      const range = plainRange(1000 + i, ['a0', 'a1', 'a2'], { tableId: 2 })
      life.ranges.set(1000 + i, range)
      life.fleet.setRange(range)
    }
    const even: Partial<PlacementPolicy> = { rules: pinned, goals: [balance('replicas')] }
    rounds(life, new Planner(even), 20)
    assert.ok(life.replicasOn('b0') >= 20, `${life.replicasOn('b0')}`)
  })

  test('have their turn when they change, behind any number of others that did not', () => {
    const node = (nodeId: string, bytes: number, change = {}) => {
      const made = plainNode(nodeId, 'zone=z', change)
      return { ...made, descriptor: { ...made.descriptor, capacity: { bytes } } }
    }
    // Of what the dead node had nothing fits into e.
    const nodes = [node('a', 1e9), node('b', 1e9), node('e', 2000), node('dead', 1e9, { liveness: 'dead' })]
    const ranges = Array.from({ length: 2500 }, (_, i) =>
      plainRange(i + 1, ['a', 'b', 'dead'], { load: { bytes: 5000 } }),
    )
    const life = new PlainFleet(nodes, ranges)
    const planner = new Planner({ goals: [], constraints: [capacity()] })
    const before = life.fleet.snapshot()
    settle(planner, before)
    life.fleet.setLoad(2499, { bytes: 1000 })
    const next = planner.plan(life.fleet.snapshot())
    assert.deepEqual(
      next.moves.map(({ rangeId }) => rangeId),
      [2499],
    )
  })

  test('the same snapshots, one after the other, give the same plans', () => {
    const plans = [0, 1].map(() => {
      const life = broken(2500, 50)
      const planner = new Planner(policy)
      return Array.from({ length: 8 }, () => {
        const next = planner.plan(life.fleet.snapshot())
        life.apply(next)
        return next
      })
    })
    assert.deepEqual(plans[0], plans[1])
  })
})

suite('ranges that a goal could have better', () => {
  const nodes = Array.from({ length: 9 }, (_, i) => plainNode(`n${i}`, `zone=z${Math.floor(i / 3)}`))
  const table = (tableId: number, from: number, count: number) =>
    Array.from({ length: count }, (_, i) => plainRange(from + i, ['n0', 'n1', 'n2'], { tableId }))
  const policy: Partial<PlacementPolicy> = { rules: pinned, goals: [spread('zone')] }

  test('have their turn behind any number of others that no rule lets go', () => {
    const life = new PlainFleet(nodes, [...table(1, 1, 300), ...table(2, 301, 100)])
    const first = plan(life.fleet.snapshot(), policy)
    assert.ok(first.moves.length > 0, first.explained.join('\n'))
    // What cannot be better is no distance.
    assert.equal(first.bounds.goals[0]?.lowerBoundMoves, 100)
    const last = rounds(life, new Planner(policy), 100)
    assert.equal(life.moved, 200)
    assert.equal(last.bounds.goals[0]?.lowerBoundMoves, 0)
    assert.equal(last.bounds.goals[0]?.hopeless, 300)
  })

  test('and cannot be are a distance while something else is to be repaired, as a planner that begins says it', () => {
    const life = new PlainFleet(nodes, table(1, 1, 300))
    const planner = new Planner(policy)
    assert.equal(planner.plan(life.fleet.snapshot()).bounds.goals[0]?.hopeless, 300)
    life.fleet.setRange(plainRange(9999, ['n3', 'n4'], { tableId: 2 }))
    const { bounds } = planner.plan(life.fleet.snapshot())
    assert.deepEqual(bounds, plan(life.fleet.snapshot(), policy).bounds)
    assert.deepEqual([bounds.goals[0]?.lowerBoundMoves, bounds.goals[0]?.hopeless], [301, 0])
  })
})

/** More full stores than one plan looks at, of which no rule lets anything go, before some that may give. */
suite('full stores', () => {
  const helpless = 150
  const named = (letter: string, count: number, zone: string) =>
    Array.from({ length: count }, (_, i) =>
      plainNode(`${letter}${String(i).padStart(3, '0')}`, `zone=${zone}`),
    )

  test('behind any number of others that cannot be helped give what is too much', () => {
    const nodes = [...named('a', helpless, 'z0'), ...named('b', 30, 'z1'), ...named('c', 60, 'z1')]
    let rangeId = 0
    const ranges = nodes.slice(0, helpless + 30).flatMap(({ descriptor: { nodeId } }, i) =>
      [0, 1, 2, 3].map(() => {
        const bytes = i < helpless ? 300 : 200
        const tableId = i < helpless ? 1 : 2
        return plainRange(++rangeId, [nodeId], { tableId, replicationFactor: 1, load: { bytes } })
      }),
    )
    const snapshot = new PlainFleet(nodes, ranges).fleet.snapshot()
    const policy = { rules: pinned, goals: [balance({ resource: 'bytes' })] }
    const first = plan(snapshot, policy)
    assert.equal(first.moves.length, 0)
    // Those that may give, and the rest of the others.
    assert.equal(first.unexamined, 4 * (helpless + 30 - 128))
    const result = whatIf(snapshot, {}, { policy })
    assert.ok(result.moveCount >= 60, `${result.moveCount} moves`)
    assert.equal(result.settled, true)
    assert.ok(result.after.stores.every(({ name, replicas }) => name.startsWith('a') || replicas > 0))
  })

  test('of which nobody can be helped do without rest what a change lets them', () => {
    const nodes = [...named('a', helpless, 'z0'), ...named('c', 60, 'z1')]
    const ranges = nodes
      .slice(0, helpless)
      .map(({ descriptor: { nodeId } }, i) =>
        plainRange(i + 1, [nodeId], { tableId: 1, replicationFactor: 1, load: { bytes: 100_000 - 10 * i } }),
      )
    const life = new PlainFleet(nodes, ranges)
    const planner = new Planner({ rules: pinned, goals: [balance({ resource: 'bytes' })] })
    const before = life.fleet.snapshot()
    settle(planner, before)
    assert.deepEqual(planner.plan(before).moves, [])
    // The least full of them gets two that may go; with every plan that follows some node is not what it was.
    const last = nodes[helpless - 1]?.descriptor.nodeId as string
    for (const more of [1, 2])
      life.fleet.setRange(
        plainRange(1000 + more, [last], { tableId: 2, replicationFactor: 1, load: { bytes: 20 } }),
      )
    let moved = 0
    for (let i = 0; i < 4 && moved === 0; i++) {
      life.fleet.setNode(plainNode(`0${i}`, 'zone=z0', { state: 'draining' }))
      moved = planner.plan(life.fleet.snapshot()).moves.length
    }
    assert.ok(moved > 0)
  })

  test('above their capacity give away what they may, behind others and below their heaviest', () => {
    const sized = (node: ReturnType<typeof plainNode>) => ({
      ...node,
      descriptor: { ...node.descriptor, capacity: { bytes: 10_000 } },
    })
    const nodes = [...named('a', helpless, 'z0'), ...named('b', 1, 'z0'), ...named('c', 3, 'z1')].map(sized)
    let rangeId = 0
    const one = (nodeId: string, tableId: number, bytes: number) =>
      plainRange(++rangeId, [nodeId], { tableId, replicationFactor: 1, load: { bytes } })
    const ranges = nodes.slice(0, helpless).map(({ descriptor }) => one(descriptor.nodeId, 1, 9800))
    for (let i = 0; i < 900; i++) ranges.push(one('b000', 1, 10))
    ranges.push(one('b000', 2, 9))
    for (let i = 0; i < 100; i++) ranges.push(one('b000', 1, 8))
    const policy = { rules: pinned, goals: [], constraints: [capacity()] }
    const planner = new Planner(policy)
    const snapshot = new PlainFleet(nodes, ranges).fleet.snapshot()
    let next = planner.plan(snapshot)
    assert.ok(next.unexamined >= 1000, `${next.unexamined}`)
    for (let i = 0; i < 20 && next.moves.length === 0; i++) next = planner.plan(snapshot)
    assert.deepEqual(
      next.moves.map(({ rangeId: moved }) => moved),
      [helpless + 901],
    )
  })

  test('that are overloaded give leases away, behind any number of others that have nowhere to', () => {
    const hot = (node: ReturnType<typeof plainNode>) => ({ ...node, overload: 'overloaded' as const })
    const nodes = [...named('a', helpless + 1, 'z0').map(hot), ...named('c', 2 * helpless, 'z1')]
    const ranges = nodes.slice(0, helpless + 1).map(({ descriptor: { nodeId } }, i) =>
      plainRange(i + 1, i < helpless ? [nodeId] : [nodeId, 'c000', 'c001'], {
        replicationFactor: i < helpless ? 1 : 3,
      }),
    )
    const snapshot = new PlainFleet(nodes, ranges).fleet.snapshot()
    const planner = new Planner({ goals: [] })
    const first = planner.plan(snapshot)
    assert.deepEqual([first.moves.length, first.unexamined], [0, helpless + 1 - 128])
    const { moves, unexamined } = planner.plan(snapshot)
    assert.deepEqual(
      moves.map(({ rangeId, kind }) => `${rangeId} ${kind}`),
      [`${helpless + 1} transferLease`],
    )
    assert.equal(unexamined, 0)
  })
})

suite('balance', () => {
  const wide = {
    moves: 400,
    improvements: 400,
    incomingPerNode: 400,
    outgoingPerNode: 400,
    leaseTransfers: 400,
  }
  const nodes = Array.from({ length: 6 }, (_, i) => plainNode(`n${i}`, `zone=z${i < 3 ? 0 : 1}`))
  const full = (pinnedRanges: number, free: number): PlainFleet =>
    new PlainFleet(
      nodes,
      Array.from({ length: pinnedRanges + free }, (_, i) =>
        plainRange(i + 1, ['n0', 'n1', 'n2'], { tableId: i < pinnedRanges ? 1 : 2 }),
      ),
    )
  const policies: readonly Partial<PlacementPolicy>[] = [
    { rules: pinned, goals: [balance({ resource: 'bytes' })] },
    { rules: pinned, goals: [balance('replicas'), balance('leases')] },
  ]

  for (const heavy of [64, 400]) {
    test(`goes on below ${heavy} ranges of a full node that cannot leave it`, () => {
      for (const policy of policies) {
        const life = full(heavy, 600)
        const planner = new Planner(policy)
        let last = planner.plan(life.fleet.snapshot(), { limits: wide })
        for (let round = 0; round < 200 && (last.moves.length > 0 || last.unexamined > 0); round++) {
          life.apply(last)
          last = planner.plan(life.fleet.snapshot(), { limits: wide })
        }
        const left = [3, 4, 5].map((i) => life.replicasOn(`n${i}`))
        // All that may go goes, or as much as makes them even.
        const fair = Math.min(600, (heavy + 600) / 2)
        assert.ok(
          left.every((count) => count >= fair * 0.93),
          `${left} of ${fair}`,
        )
      }
    })
  }

  test('says when it has not looked at all, and what it waits for', () => {
    const life = full(1200, 0)
    const planner = new Planner(policies[0])
    const snapshot = life.fleet.snapshot()
    let last = planner.plan(snapshot)
    assert.ok(last.unexamined > 0)
    assert.ok(last.explained.some((line) => /looked at by the next plans/.test(line)))
    for (let i = 0; i < 20 && last.unexamined > 0; i++) last = planner.plan(snapshot)
    assert.equal(last.unexamined, 0)
    assert.equal(last.moves.length, 0)
  })

  test('that finds nothing to move says of a full node why, and of a range which rule keeps it', () => {
    const snapshot = full(664, 0).fleet.snapshot()
    const said = explainNode(snapshot, 'n0', policies[0])
    assert.match(said.stays.join('\n'), /require.*pin/)
    assert.doesNotMatch(said.stays.join('\n'), /of the first/)
    const range = explainRange(snapshot, 7, policies[0])
    assert.ok(range.others.every(({ why }) => /pin/.test(why)))
  })

  test('says of a full node with many ranges of how many of them it speaks', () => {
    const { stays } = explainNode(full(1100, 0).fleet.snapshot(), 'n0', policies[0])
    assert.match(stays.join('\n'), /1000 × n0 → .* \(of the first 1000 of its 1100 ranges\)/)
  })
})
