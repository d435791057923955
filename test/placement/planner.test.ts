import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { SeededRandom, shuffled } from '../../src/core/random.ts'
import {
  allocate,
  balance,
  buildSnapshot,
  capacity,
  explainRange,
  type PlacementLimits,
  type PlacementPolicy,
  type PlacementRange,
  type Plan,
  plan,
  prohibitLabel,
  proveQuorum,
  requireLabel,
  spread,
} from '../../src/placement/index.ts'
import { deadAfterMs, Model } from './support/cluster.ts'

const zones: Partial<PlacementPolicy> = { goals: [spread('zone'), balance('replicas'), balance('leases')] }
const unlimited: Partial<PlacementLimits> = {
  moves: 10_000,
  improvements: 10_000,
  incomingPerNode: 10_000,
  outgoingPerNode: 10_000,
  leaseTransfers: 10_000,
}

/** Six nodes in three zones, and ranges dealt out over them. */
function cluster(ranges = 12): Model {
  const model = new Model()
  for (let i = 0; i < 6; i++) model.addNode(`db${i}`, `z${i % 3}`)
  for (let r = 0; r < ranges; r++) {
    const first = r % 2 === 0 ? [0, 1, 2] : [3, 4, 5]
    model.addRange(
      r + 1,
      shift(first, r).map((i) => `db${i}`),
    )
  }
  return model
}

function shift<T>(items: readonly T[], by: number): T[] {
  return items.map((_, i) => items[(i + by) % items.length] as T)
}

/** Plans and carries out until nothing is left to do. */
function converge(
  model: Model,
  policy: Partial<PlacementPolicy> = zones,
  limits: Partial<PlacementLimits> = {},
  maximumRounds = 400,
): Plan {
  for (let round = 0; round < maximumRounds; round++) {
    const next = plan(model.snapshot(), policy, { limits })
    model.check(next)
    if (next.moves.length === 0) return next
    for (const move of next.moves) model.apply(move)
  }
  const restless = plan(model.snapshot(), policy, { limits }).moves.map(
    (move) => `${move.rangeId} ${move.kind} ${move.reason}`,
  )
  return assert.fail(`not at rest after ${maximumRounds} rounds: ${restless.join('; ')}`)
}

function span(counts: Iterable<number>): number {
  const all = [...counts]
  return Math.max(...all) - Math.min(...all)
}

suite('planning', () => {
  test('a cluster that is well is left alone', () => {
    const next = plan(cluster().snapshot(), zones)
    assert.deepEqual(next.moves, [])
    assert.deepEqual(next.explained, ['nothing to move'])
    assert.equal(next.bounds.repair.lowerBoundMoves, 0)
  })

  test('a dead node is replaced, and the plan meets its lower bound', () => {
    const model = cluster().kill('db0')
    const lost = model.ranges.filter((range) => range.replicas.some((replica) => replica.nodeId === 'db0'))
    const next = plan(model.snapshot(), zones, { limits: unlimited })
    model.check(next)
    assert.equal(next.moves.length, lost.length)
    assert.equal(next.bounds.repair.lowerBoundMoves, lost.length)
    assert.equal(next.bounds.repair.lowerBoundBytes, lost.length * 10)
    assert.equal(next.bounds.repair.plannedBytes, lost.length * 10)
    assert.equal(next.bounds.repair.gapBytes, 0)
    for (const move of next.moves) {
      assert.equal(move.kind, 'replace')
      assert.equal(move.add?.nodeId, 'db3', 'the other node of the zone')
      assert.match(move.reason, /db0 is dead/)
      assert.ok(move.rejected.some(({ nodeId, why }) => nodeId === 'db4' && /zone/.test(why)))
      assert.ok(move.proof.every((step) => step.liveVoters >= step.quorum))
    }
    converge(model)
    assert.ok(model.ranges.every((range) => model.zones(range) === 3))
  })

  test('a node that is silent for a short time only is waited for', () => {
    const model = cluster()
    const silent = model.kill('db0').node('db0')
    if (silent !== undefined) silent.forMs = deadAfterMs - 1
    const { moves } = plan(model.snapshot(), zones, { limits: unlimited })
    assert.deepEqual(
      moves.filter((move) => move.kind !== 'transferLease'),
      [],
    )
  })

  test('a wiped node lost its replicas at once, and may get others back', () => {
    const model = cluster().wipe('db0')
    const next = plan(model.snapshot(), zones, { limits: unlimited })
    assert.ok(next.moves.length > 0 && next.moves.every((move) => /db0 lost its disk/.test(move.reason)))
    converge(model)
    assert.ok(model.ranges.every((range) => range.replicas.every((replica) => model.canVote(replica))))
  })

  test('where only the wiped node itself can help, the lost replica goes first', () => {
    const model = new Model().addNode('a', 'z0').addNode('b', 'z1').addNode('c', 'z2')
    model.addRange(1, ['a', 'b', 'c']).wipe('b')
    const next = plan(model.snapshot(), zones)
    assert.deepEqual(
      next.moves.map(({ kind, remove }) => [kind, remove?.nodeId]),
      [['remove', 'b']],
    )
    converge(model)
    assert.deepEqual(
      model
        .range(1)
        .replicas.map((replica) => replica.nodeId)
        .sort(),
      ['a', 'b', 'c'],
    )
  })

  test('the range that can least afford another loss comes first', () => {
    const model = new Model()
    for (let i = 0; i < 9; i++) model.addNode(`db${i}`, `z${i % 3}`)
    model.addRange(1, ['db0', 'db1', 'db2', 'db3', 'db4'])
    model.addRange(2, ['db0', 'db1', 'db2'])
    model.addRange(3, ['db0', 'db1', 'db2', 'db3', 'db5'])
    model.kill('db0')
    const next = plan(model.snapshot(), { ...zones, replicationFactor: 5 }, { limits: unlimited })
    assert.deepEqual(
      next.moves.map((move) => move.rangeId),
      [2, 1, 3],
    )
  })

  test('a range without a quorum is named, with those it waits for', () => {
    const model = cluster().kill('db0').kill('db1')
    const next = plan(model.snapshot(), zones, { limits: unlimited })
    model.check(next)
    const stuck = model.ranges.filter((range) => !model.hasQuorum(range)).map((range) => range.rangeId)
    assert.ok(stuck.length > 0)
    assert.deepEqual(
      next.blocked.map((each) => each.rangeId),
      stuck,
    )
    for (const { why } of next.blocked) assert.match(why, /1 of 3 .* waits for db0, db1/)
    assert.ok(next.moves.every((move) => !stuck.includes(move.rangeId)))
  })

  test('too few nodes: what cannot be done is said', () => {
    const model = new Model().addNode('a', 'z0').addNode('b', 'z1').addNode('c', 'z2')
    model.addRange(1, ['a', 'b', 'c']).kill('c')
    const next = plan(model.snapshot(), zones)
    assert.deepEqual(next.moves, [])
    assert.match(next.blocked[0]?.why ?? '', /c is dead, but no node can take a replica/)
  })

  test('a draining node first gives up its leases, then its replicas, and ends empty', () => {
    const model = cluster()
    const node = model.node('db0')
    if (node !== undefined) node.state = 'draining'
    const first = plan(model.snapshot(), zones, { limits: unlimited })
    const leads = model.leases().get('db0') as number
    assert.ok(leads > 0)
    assert.equal(first.moves.filter((move) => move.kind === 'transferLease').length, leads)
    converge(model)
    assert.equal(model.counts().get('db0'), 0)
    assert.ok(model.ranges.every((range) => range.replicas.length === 3 && model.zones(range) === 3))
  })

  test('a learner that was left behind is finished where a voter is missing, and removed where not', () => {
    const model = cluster()
    const learner = { replicaId: 4, nodeId: 'db5', incarnation: 1, role: 'learner' as const }
    model.range(1).replicas.push(learner)
    const next = plan(model.snapshot(), zones)
    assert.deepEqual(
      next.moves.map(({ kind, remove }) => [kind, remove?.replicaId]),
      [['remove', 4]],
    )
    model.kill('db0')
    const after = plan(model.snapshot(), zones).moves.find((move) => move.rangeId === 1)
    assert.equal(after?.kind, 'replace')
    assert.equal(after?.add?.replicaId, 4)
    assert.equal(after?.bytes, 0, 'nothing has to be copied again')
    converge(model)
  })

  test('voters too many go, but not the lease holder, and the diversity stays', () => {
    const model = new Model()
    for (let i = 0; i < 4; i++) model.addNode(`db${i}`, `z${i % 3}`)
    model.addRange(1, ['db0', 'db1', 'db2', 'db3'])
    const next = plan(model.snapshot(), zones)
    assert.deepEqual(
      next.moves.map((move) => move.remove?.nodeId),
      ['db3'],
      'db0 is in its zone and leads',
    )
  })

  test('what is under way counts as done', () => {
    const model = cluster().kill('db0')
    const all = plan(model.snapshot(), zones, { limits: unlimited }).moves
    const first = all[0]
    assert.ok(first?.add !== undefined && first.remove !== undefined)
    const inputs = model.snapshot()
    const during = buildSnapshot({
      deadAfterMs,
      nodes: inputs.nodes,
      ranges: model.ranges.map(({ rangeId, generation, replicas, leaseHolder, bytes }) => ({
        descriptor: { rangeId, generation, replicas, start: new Uint8Array(0), end: undefined },
        ...(leaseHolder === undefined ? {} : { leaseHolder }),
        load: { bytes },
      })),
      moves: [
        {
          rangeId: first.rangeId,
          kind: 'replace',
          add: first.add.nodeId,
          remove: first.remove.replicaId,
        },
      ],
    })
    const rest = plan(during, zones, { limits: unlimited })
    assert.deepEqual(
      rest.moves.map((move) => move.rangeId),
      all.slice(1).map((move) => move.rangeId),
    )
    assert.equal(rest.bounds.repair.lowerBoundMoves, all.length - 1)
    const one = plan(during, zones, { limits: { ...unlimited, moves: 2 } })
    assert.equal(one.moves.length, 1, 'the one under way takes up room')
    assert.equal(one.deferred, all.length - 2)
    const busy = plan(during, zones, { limits: { ...unlimited, incomingPerNode: 1 } })
    assert.ok(busy.moves.every((move) => move.add?.nodeId !== first.add?.nodeId))
  })

  test('nothing is balanced while there is something to repair', () => {
    const model = cluster(12)
    model.addNode('db6', 'z0').kill('db1')
    const next = plan(model.snapshot(), zones, { limits: { ...unlimited, moves: 1 } })
    assert.ok(next.moves.every((move) => move.priority >= 10_000))
    assert.ok(next.deferred > 0)
  })

  test('a new node gets its share, and no more is moved than must be', () => {
    const model = cluster(48).addNode('db6', 'z0')
    const bound = plan(model.snapshot(), zones).bounds.goals.find(({ name }) => name === 'balance(replicas)')
    let moved = 0
    for (let round = 0; round < 100; round++) {
      const next = plan(model.snapshot(), zones)
      model.check(next)
      if (next.moves.length === 0) break
      moved += next.moves.filter((move) => move.kind === 'replace').length
      for (const move of next.moves) model.apply(move)
    }
    // Its zone has three nodes for a third of the replicas, so they can only share that third.
    const shares = ['db0', 'db3', 'db6'].map((nodeId) => model.counts().get(nodeId) as number)
    assert.deepEqual(shares, [16, 16, 16])
    assert.equal(moved, 16)
    const rest = plan(model.snapshot(), zones).bounds.goals.find(({ name }) => name === 'balance(replicas)')
    assert.ok((bound?.lowerBoundMoves ?? 0) - (rest?.afterPlan ?? 0) <= moved)
  })

  test('leases are shared evenly', () => {
    const model = cluster(24)
    for (const range of model.ranges) range.leaseHolder = 1 + ((3 - (range.rangeId % 3)) % 3)
    converge(model)
    assert.ok(span(model.leases().values()) <= 1, String([...model.leases()]))
  })

  test('labels and capacity are obeyed', () => {
    const model = cluster(12)
    model.addNode('ssd1', 'z0', { labels: { disk: 'ssd' } })
    model.addNode('ssd2', 'z1', { labels: { disk: 'ssd' } })
    model.addNode('ssd3', 'z2', { labels: { disk: 'ssd' }, capacity: { bytes: 50 } })
    model.addNode('ssd4', 'z2', { labels: { disk: 'ssd', role: 'spare' } })
    const policy: Partial<PlacementPolicy> = {
      ...zones,
      constraints: [requireLabel('disk', ['ssd']), prohibitLabel('role', ['spare']), capacity('bytes')],
    }
    const blocked = converge(model, policy).blocked
    const counts = model.counts()
    assert.equal(counts.get('ssd3'), 4, 'a fifth would be above 92.5 %')
    assert.equal(counts.get('ssd4'), 0)
    assert.ok(blocked.length > 0 && blocked.every(({ why }) => /no node can take a replica/.test(why)))
    const explanation = explainRange(model.snapshot(), blocked[0]?.rangeId as number, policy)
    assert.ok(explanation.others.some(({ nodeId, why }) => nodeId === 'ssd4' && /role=spare/.test(why)))
    assert.ok(
      explanation.others.some(({ nodeId, why }) => nodeId === 'ssd3' && /capacity\(bytes\)/.test(why)),
    )
  })

  test('bigger nodes get more where shares are measured by capacity', () => {
    const model = new Model()
    for (let i = 0; i < 4; i++) model.addNode(`db${i}`, '', { capacity: { bytes: i === 3 ? 3000 : 1000 } })
    for (let r = 1; r <= 36; r++) model.addRange(r, ['db0'])
    converge(model, { replicationFactor: 1, goals: [balance('replicas', { by: 'bytes' })] })
    assert.deepEqual([...model.counts().values()], [6, 6, 6, 18])
  })

  test('a range may want another number of voters than the policy', () => {
    const model = cluster(2)
    model.addRange(10, ['db0', 'db1', 'db2'], { replicationFactor: 5 })
    model.addRange(11, ['db0', 'db1', 'db2'], { replicationFactor: 1 })
    assert.equal(plan(model.snapshot(), zones).bounds.repair.lowerBoundMoves, 2)
    converge(model)
    assert.deepEqual(
      model.ranges.map((range) => range.replicas.length),
      [3, 3, 5, 1],
    )
  })

  test('a range is explained', () => {
    const model = cluster().kill('db0')
    const range = model.ranges.find((each) => each.replicas.some((replica) => replica.nodeId === 'db0'))
    const explanation = explainRange(model.snapshot(), range?.rangeId as number, zones, { limits: unlimited })
    assert.equal(explanation.need, 'another voter for one that is lost')
    assert.equal(explanation.replicas.length, 3)
    assert.ok(explanation.replicas.some(({ nodeId, status }) => nodeId === 'db0' && /lost/.test(status)))
    assert.equal(explanation.others.length, 3)
    assert.ok(explanation.next !== undefined && 'kind' in explanation.next)
    assert.throws(() => explainRange(model.snapshot(), 999), { code: 'NOT_FOUND' })
  })

  test('bad input is refused', () => {
    const snapshot = cluster().snapshot()
    assert.throws(() => plan(snapshot, { replicationFactor: 0 }), { code: 'INVALID_OPTION' })
    assert.throws(() => plan(snapshot, { gaols: [] } as never), /did you mean 'goals'/)
    assert.throws(() => plan(snapshot, {}, { limits: { moves: 0 } }), { code: 'INVALID_OPTION' })
    assert.throws(() => balance('replicas', { tolerance: 2 }), { code: 'INVALID_OPTION' })
    assert.throws(() => capacity('bytes', { refuseAbove: 0 }), { code: 'INVALID_OPTION' })
  })
})

suite('quorum', () => {
  test('no step is proved that a minority would have to carry', () => {
    for (let voters = 1; voters <= 7; voters++) {
      for (let live = 0; live <= voters; live++) {
        for (const adds of [true, false]) {
          for (const up of [true, false]) {
            if ((up && live === 0) || (!up && live === voters)) continue
            const proof = proveQuorum(voters, live, { adds, removes: { voter: true, up, lease: false } })
            const [allAfter, liveAfter] = [voters + (adds ? 1 : 0) - 1, live + (adds ? 1 : 0) - (up ? 1 : 0)]
            const safe =
              live > voters / 2 &&
              (!adds || live + 1 > (voters + 1) / 2) &&
              allAfter > 0 &&
              liveAfter > allAfter / 2
            assert.equal(proof !== undefined, safe, `${voters} voters, ${live} live, adds ${adds}, up ${up}`)
          }
        }
      }
    }
  })
})

suite('initial placement', () => {
  const nodes = (model: Model) => model.snapshot().nodes

  test('spreads replicas over zones and nodes, and leases over nodes', () => {
    const model = cluster(0)
    const rangeIds = Array.from({ length: 16 }, (_, i) => i + 1)
    const placed = allocate({ nodes: nodes(model), rangeIds, policy: zones })
    for (const { rangeId, nodes: chosen } of placed) {
      model.addRange(
        rangeId,
        chosen.map(({ nodeId }) => nodeId),
      )
    }
    assert.ok(model.ranges.every((range) => model.zones(range) === 3))
    assert.deepEqual([...model.counts().values()], [8, 8, 8, 8, 8, 8])
    assert.ok(span(model.leases().values()) <= 1, String([...model.leases()]))
    assert.deepEqual(plan(model.snapshot(), zones).moves, [], 'what is placed need not be moved')
  })

  test('goes on from what is there', () => {
    const model = cluster(12).addNode('db6', 'z0')
    const snapshot = model.snapshot()
    const ranges = model.ranges.map(({ rangeId, generation, replicas }) => ({
      descriptor: { rangeId, generation, replicas, start: new Uint8Array(0), end: undefined },
    }))
    const placed = allocate({ nodes: snapshot.nodes, ranges, rangeIds: [101, 102, 103], policy: zones })
    assert.ok(placed.every(({ nodes: chosen }) => chosen.some(({ nodeId }) => nodeId === 'db6')))
    assert.throws(() => allocate({ nodes: snapshot.nodes, ranges, rangeIds: [1] }), {
      code: 'INVALID_ARGUMENT',
    })
  })

  test('new ranges go where there is least to do, by the loads of those that are there', () => {
    const model = new Model()
    for (const nodeId of ['a', 'b', 'c', 'd']) model.addNode(nodeId, 'z0')
    const range = (rangeId: number, nodeId: string, bytes: number): PlacementRange => ({
      descriptor: {
        rangeId,
        generation: 1,
        start: new Uint8Array(0),
        end: undefined,
        replicas: [{ replicaId: 1, nodeId, incarnation: 1, role: 'voter' }],
      },
      load: { bytes },
    })
    const ranges = [range(1, 'a', 900), range(2, 'b', 10), range(3, 'b', 10), range(4, 'c', 800)]
    const policy = { replicationFactor: 1, constraints: [], goals: [balance({ resource: 'bytes' })] }
    for (let seed = 0; seed < 10; seed++) {
      const placed = allocate({ nodes: nodes(model), ranges, rangeIds: [5, 6], policy, seed })
      const chosen = placed.flatMap((each) => each.nodes.map(({ nodeId }) => nodeId))
      assert.deepEqual(chosen.sort(), ['b', 'd'])
    }
  })

  test('new ranges that could never be as large as those there are get a place all the same', () => {
    const model = new Model()
    for (const nodeId of ['a', 'b', 'c']) model.addNode(nodeId, 'z0')
    const full = nodes(model).map((node) => ({
      ...node,
      descriptor: { ...node.descriptor, capacity: { bytes: 1000 } },
    }))
    const replicas = ['a', 'b', 'c'].map((nodeId, i) => ({
      replicaId: i + 1,
      nodeId,
      incarnation: 1,
      role: 'voter' as const,
    }))
    const descriptor = { rangeId: 1, generation: 1, start: new Uint8Array(0), end: undefined, replicas }
    const ranges = [{ descriptor, load: { bytes: 900 } }]
    assert.equal(allocate({ nodes: full, ranges, rangeIds: [2] })[0]?.nodes.length, 3)
  })

  test('too few nodes are refused with a number', () => {
    const model = new Model().addNode('a', 'z0').addNode('b', 'z1').addNode('c', 'z2').kill('c')
    assert.throws(
      () => allocate({ nodes: nodes(model), rangeIds: [1] }),
      (error: Error) => /needs 3 nodes, but only 2/.test(error.message),
    )
  })
})

/** A cluster with whatever can be wrong with it. */
const troubled = fc
  .record({
    seed: fc.nat(1_000_000),
    nodes: fc.integer({ min: 1, max: 10 }),
    zoneCount: fc.integer({ min: 1, max: 4 }),
    ranges: fc.integer({ min: 0, max: 25 }),
    trouble: fc.double({ min: 0, max: 0.5, noNaN: true }),
    replicationFactor: fc.constantFrom(1, 2, 3, 5),
  })
  .map(({ seed, nodes, zoneCount, ranges, trouble, replicationFactor }) => {
    const random = new SeededRandom(seed)
    const model = new Model()
    for (let i = 0; i < nodes; i++) model.addNode(`db${i}`, `z${random.integer(zoneCount)}`)
    for (let r = 1; r <= ranges; r++) {
      const voters = Math.min(nodes, 1 + random.integer(replicationFactor + 1))
      const names = shuffled(
        random,
        model.nodes.map((node) => node.nodeId),
      )
      model.addRange(r, names.slice(0, voters), { bytes: random.integer(100) })
      if (names.length > voters && random.float() < trouble / 2) {
        const nodeId = names[voters] as string
        model.range(r).replicas.push({ replicaId: voters + 1, nodeId, incarnation: 1, role: 'learner' })
      }
    }
    for (const node of model.nodes) {
      if (random.float() >= trouble) continue
      const what = random.integer(5)
      if (what === 0) node.liveness = 'suspect'
      else if (what === 1) node.state = 'draining'
      else if (what === 2) model.wipe(node.nodeId)
      else {
        node.liveness = 'dead'
        node.forMs = what === 3 ? deadAfterMs : 0
      }
    }
    model.settleLeases()
    return { model, seed, policy: { ...zones, replicationFactor } satisfies Partial<PlacementPolicy> }
  })

suite('any cluster', () => {
  test('no plan breaks a rule, every plan can be carried out, and in the end nothing moves', () => {
    fc.assert(
      fc.property(troubled, ({ model, policy }) => {
        const last = converge(model, policy, { moves: 5, improvements: 3 })
        assert.equal(last.deferred, 0)
        const eligible = model.nodes.filter((node) => node.state === 'active' && node.liveness === 'live')
        for (const range of model.ranges) {
          if (!model.hasQuorum(range)) continue
          const lost = range.replicas.filter((replica) => {
            const node = model.node(replica.nodeId)
            return (
              node === undefined ||
              node.incarnation !== replica.incarnation ||
              (node.liveness === 'dead' && node.forMs >= deadAfterMs)
            )
          })
          // Whoever could be repaired was.
          const free = eligible.filter((node) => !range.replicas.some((r) => r.nodeId === node.nodeId))
          if (free.length > 0) {
            assert.deepEqual(lost, [], `range ${range.rangeId} was not repaired`)
            assert.equal(model.voters(range).length, policy.replicationFactor)
          }
          assert.ok(model.voters(range).length <= Math.max(policy.replicationFactor, 1))
        }
      }),
      { numRuns: 250 },
    )
  })

  test('the order of the input changes nothing', () => {
    fc.assert(
      fc.property(troubled, fc.nat(1000), ({ model, seed, policy }, shuffleSeed) => {
        const random = new SeededRandom(shuffleSeed)
        const first = plan(model.snapshot(), policy, { seed })
        const permuted = new Model()
        permuted.nodes.push(...shuffled(random, model.nodes))
        permuted.ranges.push(
          ...shuffled(random, model.ranges).map((range) => ({
            ...range,
            replicas: shuffled(random, range.replicas),
          })),
        )
        assert.deepEqual(plan(permuted.snapshot(), policy, { seed }), first)
        assert.deepEqual(plan(model.snapshot(), policy, { seed }), first)
      }),
      { numRuns: 150 },
    )
  })

  test('the seed changes who is drawn among equals, never how good the result is', () => {
    fc.assert(
      fc.property(troubled, fc.nat(1000), fc.nat(1000), ({ model, policy }, a, b) => {
        const options = { limits: unlimited }
        const one = plan(model.snapshot(), policy, { ...options, seed: a })
        const other = plan(model.snapshot(), policy, { ...options, seed: b })
        assert.deepEqual(one.bounds.repair.lowerBoundMoves, other.bounds.repair.lowerBoundMoves)
        assert.equal(one.bounds.repair.plannedMoves, other.bounds.repair.plannedMoves)
        assert.equal(one.blockedCount, other.blockedCount)
      }),
      { numRuns: 100 },
    )
  })

  test('the limits hold', () => {
    fc.assert(
      fc.property(troubled, fc.integer({ min: 1, max: 4 }), ({ model, policy }, most) => {
        const limits = { moves: most, incomingPerNode: 1, outgoingPerNode: 1, leaseTransfers: 1 }
        const { moves } = plan(model.snapshot(), policy, { limits })
        const replicas = moves.filter((move) => move.kind !== 'transferLease')
        // What only removes is not held back by what is copied.
        const copies = replicas.filter((move) => move.add !== undefined && move.add.replicaId === undefined)
        assert.ok(copies.length <= most)
        assert.ok(moves.length - replicas.length <= 1)
        const targets = copies.map((move) => move.add?.nodeId)
        assert.equal(new Set(targets).size, targets.length)
      }),
      { numRuns: 200 },
    )
  })

  test('repair never copies more than the lower bound when nothing holds it back', () => {
    fc.assert(
      fc.property(troubled, ({ model, policy }) => {
        const { bounds, blockedCount, deferred } = plan(model.snapshot(), policy, { limits: unlimited })
        assert.ok(bounds.repair.plannedMoves <= bounds.repair.lowerBoundMoves)
        if (blockedCount === 0 && deferred === 0) assert.equal(bounds.repair.gapBytes, 0)
      }),
      { numRuns: 200 },
    )
  })
})

suite('size', () => {
  test('a plan for 20,000 ranges on 100 nodes is a matter of moments', () => {
    const random = new SeededRandom(5)
    const model = new Model()
    for (let i = 0; i < 100; i++) model.addNode(`db${i}`, `z${i % 5}`)
    for (let r = 1; r <= 20_000; r++) {
      const at = random.integer(100)
      model.addRange(r, [`db${at}`, `db${(at + 1) % 100}`, `db${(at + 2) % 100}`])
    }
    for (const name of ['db3', 'db40']) {
      const node = model.node(name)
      if (node !== undefined) Object.assign(node, { liveness: 'dead', forMs: deadAfterMs })
    }
    const next = plan(model.snapshot(), zones)
    assert.equal(next.moves.length, 32)
    assert.ok(next.bounds.repair.lowerBoundMoves > 1000)
    assert.equal(next.deferred + 32, next.bounds.repair.lowerBoundMoves)
  })
})
