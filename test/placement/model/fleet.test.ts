import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { SeededRandom, shuffled } from '../../../src/core/random.ts'
import type { ObservedReplica } from '../../../src/interfaces/index.ts'
import type { ReplicaDescriptor, ReplicaRole } from '../../../src/model/index.ts'
import { changesBetween } from '../../../src/placement/core/model/changes.ts'
import type {
  MoveInFlight,
  PlacementNode,
  PlacementRange,
  RangeHold,
} from '../../../src/placement/core/model/cluster.ts'
import { nodeBits, replicaBits } from '../../../src/placement/core/model/cluster.ts'
import { Fleet } from '../../../src/placement/core/model/fleet.ts'
import { exactLoad } from '../../../src/placement/core/model/loads.ts'
import { Page } from '../../../src/placement/core/model/page.ts'
import type { PlacementSnapshot, RangeReader } from '../../../src/placement/core/model/snapshot.ts'

const deadAfterMs = 1000

function node(nodeId: string, change: Partial<PlacementNode> & { incarnation?: number } = {}): PlacementNode {
  const { incarnation = 1, ...rest } = change
  return {
    descriptor: { nodeId, incarnation, addresses: [], locality: [], capacity: { bytes: 100 }, labels: {} },
    state: 'active',
    liveness: 'live',
    forMs: 0,
    ...rest,
  }
}

function range(
  rangeId: number,
  nodes: readonly string[],
  change: Partial<PlacementRange> & { generation?: number; roles?: readonly ReplicaRole[] } = {},
): PlacementRange {
  const { generation = 1, roles, ...rest } = change
  const replicas = nodes.map(
    (nodeId, i): ReplicaDescriptor => ({
      replicaId: i + 1,
      nodeId,
      incarnation: 1,
      role: roles?.[i] ?? 'voter',
    }),
  )
  return { descriptor: { rangeId, start: new Uint8Array(0), end: undefined, generation, replicas }, ...rest }
}

/** A range as plain data, by what a reader says of it. */
function plain(reader: RangeReader): unknown {
  const { snapshot } = reader
  return {
    rangeId: reader.rangeId,
    generation: reader.generation,
    sequence: reader.sequence,
    tableId: reader.tableId,
    replicationFactor: reader.replicationFactor,
    nonVoters: reader.nonVoters,
    held: reader.held,
    joint: reader.joint,
    move: snapshot.moveOf(reader.rangeId),
    load: snapshot.resources.map((name, i) => [name, reader.load(i), reader.leaderLoad(i)]),
    replicas: Array.from({ length: reader.replicas }, (_, i) => [
      reader.replicaId(i),
      reader.store(i),
      reader.node(i),
      reader.status(i),
      reader.role(i),
    ]),
  }
}

function plainSnapshot(snapshot: PlacementSnapshot): unknown {
  return {
    // How long something has been so is no part of what is.
    nodes: snapshot.nodes.map((each) => ({ ...each, forMs: 0 })),
    status: [...snapshot.nodeStatus],
    stores: snapshot.stores.map(({ node: of, storeId, capacity }) => [
      of.descriptor.nodeId,
      storeId,
      capacity,
    ]),
    resources: snapshot.resources,
    counts: [snapshot.rangeCount, snapshot.replicaCount],
    moves: snapshot.moves,
    ranges: [...snapshot.ranges()].map(plain),
  }
}

/** A cluster as plain maps: what a fleet must say after the same changes. */
class Told {
  readonly nodes = new Map<string, PlacementNode>()
  readonly ranges = new Map<number, PlacementRange>()
  readonly moves = new Map<number, MoveInFlight>()
  readonly holds = new Map<number, RangeHold>()

  /** A fleet that was told it all at once, in some order. */
  fleet(random: SeededRandom): Fleet {
    const fleet = new Fleet({ deadAfterMs })
    const tell = shuffled(random, [
      ...[...this.nodes.values()].map((each) => () => fleet.setNode(each)),
      ...[...this.ranges.values()].map((each) => () => fleet.setRange(each)),
      ...[...this.moves.values()].map((each) => () => fleet.setMove(each)),
      ...[...this.holds].map(
        ([rangeId, hold]) =>
          () =>
            fleet.setHold(rangeId, hold),
      ),
    ])
    for (const each of tell) each()
    return fleet
  }
}

/** Makes one change, of the fleet and of what it was told. */
function makeChange(random: SeededRandom, fleet: Fleet, told: Told, most: number): void {
  const nodeId = `n${random.integer(6)}`
  const rangeId = 1 + random.integer(most)
  const what = random.integer(12)
  if (what === 0) {
    const states = ['active', 'draining', 'decommissioned'] as const
    const next = node(nodeId, {
      state: states[random.integer(3)] as 'active',
      liveness: random.integer(3) === 0 ? 'dead' : 'live',
      forMs: random.integer(2) * deadAfterMs,
      incarnation: 1 + random.integer(2),
      ...(random.integer(3) === 0 ? { maintenance: true } : {}),
      ...(random.integer(3) === 0
        ? { stores: [{ storeId: 'b' }, { storeId: 'a', capacity: { bytes: 5 } }] }
        : {}),
    })
    fleet.setNode(next)
    told.nodes.set(nodeId, next)
  } else if (what === 1) {
    fleet.removeNode(nodeId)
    told.nodes.delete(nodeId)
  } else if (what === 2 || what === 3) {
    fleet.removeRange(rangeId)
    told.ranges.delete(rangeId)
  } else if (what === 4) {
    const move: MoveInFlight = { rangeId, kind: 'replace', add: nodeId, remove: random.integer(4) }
    fleet.setMove(move)
    told.moves.set(rangeId, move)
  } else if (what === 5) {
    fleet.removeMove(rangeId)
    told.moves.delete(rangeId)
  } else if (what === 6) {
    const hold = random.integer(2) === 0 ? 'all' : 'improvements'
    fleet.setHold(rangeId, hold)
    told.holds.set(rangeId, hold)
  } else if (what === 7) {
    fleet.setHold(rangeId, undefined)
    told.holds.delete(rangeId)
  } else {
    const names = shuffled(random, ['n0', 'n1', 'n2', 'n3', 'n4', 'n5']).slice(0, random.integer(6))
    const roles: ReplicaRole[] = ['voter', 'voter', 'learner', 'incoming', 'outgoing']
    const next = range(rangeId, names, {
      generation: 1 + random.integer(5),
      roles: names.map(() => roles[random.integer(5)] as ReplicaRole),
      replicationFactor: random.integer(8),
      nonVoters: random.integer(3),
      ...(random.integer(2) === 0 ? {} : { leaseHolder: 1 + random.integer(4) }),
      ...(random.integer(2) === 0 ? {} : { tableId: 1 + random.integer(9) }),
      load: { bytes: random.integer(3) * 10, [`r${random.integer(3)}`]: random.float() },
      ...(random.integer(3) === 0 ? { leaderLoad: { cpu: random.float() } } : {}),
      ...(random.integer(3) === 0 ? { stores: new Map([[1, 'b']]) } : {}),
    })
    fleet.setRange(next)
    told.ranges.set(rangeId, next)
  }
}

suite('fleet', () => {
  test('after any changes it says what a fleet says that was told all at once, in any order', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.integer({ min: 1, max: 400 }), (seed, most) => {
        const random = new SeededRandom(seed)
        const fleet = new Fleet({ deadAfterMs })
        const told = new Told()
        for (let i = 0; i < 6; i++) {
          fleet.setNode(node(`n${i}`))
          told.nodes.set(`n${i}`, node(`n${i}`))
        }
        for (let i = 0; i < most * 4; i++) makeChange(random, fleet, told, most)
        const once = told.fleet(random).snapshot()
        assert.deepEqual(plainSnapshot(fleet.snapshot()), plainSnapshot(once))
      }),
      { numRuns: 60 },
    )
  })

  test('a snapshot stays what it was, whatever is written afterwards, and names what changed since', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.integer({ min: 1, max: 600 }), (seed, most) => {
        const random = new SeededRandom(seed)
        const fleet = new Fleet({ deadAfterMs })
        const told = new Told()
        for (let i = 0; i < 6; i++) fleet.setNode(node(`n${i}`))
        for (let i = 0; i < most * 2; i++) makeChange(random, fleet, told, most)
        const taken = Array.from({ length: 5 }, () => {
          const snapshot = fleet.snapshot()
          const was = plainSnapshot(snapshot)
          const changes = 1 + random.integer(most)
          for (let i = 0; i < changes; i++) makeChange(random, fleet, told, most)
          return { snapshot, was }
        })
        for (const { snapshot, was } of taken) assert.deepEqual(plainSnapshot(snapshot), was)
        const [first, last] = [taken[0]?.snapshot as PlacementSnapshot, fleet.snapshot()]
        checkChanges(first, last)
        checkChanges(last, first)
      }),
      { numRuns: 60 },
    )
  })

  test('the same snapshot is given out while nothing changes', () => {
    const fleet = new Fleet({ deadAfterMs })
    const told = range(1, ['a', 'b'], { leaseHolder: 1, load: { bytes: 1 } })
    fleet.setNode(node('a', { liveness: 'dead', forMs: 0 }))
    fleet.setRange(told)
    const snapshot = fleet.snapshot()
    fleet.setNode(node('a', { liveness: 'dead', forMs: deadAfterMs - 1 }))
    fleet.setRange(told)
    fleet.setHold(1, undefined)
    fleet.removeMove(1)
    assert.equal(fleet.snapshot(), snapshot)
    fleet.setNode(node('a', { liveness: 'dead', forMs: deadAfterMs }))
    assert.notEqual(fleet.snapshot(), snapshot, 'it is lost now')
  })

  test('a change copies one page, whatever the number of ranges', () => {
    const fleet = new Fleet({ deadAfterMs })
    for (let i = 0; i < 20; i++) fleet.setNode(node(`n${i}`))
    for (let i = 1; i <= 30_000; i++) fleet.setRange(range(i, [`n${i % 20}`, `n${(i + 7) % 20}`]))
    const before = fleet.snapshot()
    fleet.setRange(range(15_000, ['n1', 'n2'], { generation: 2 }))
    const after = fleet.snapshot()
    const pages = (snapshot: PlacementSnapshot): Page[] => snapshot.chunks.flat()
    const known = new Set(pages(before))
    assert.equal(pages(after).filter((page) => !known.has(page)).length, 1)
    assert.equal(pages(after).length, Math.ceil(30_000 / 128), 'ranges that come in order fill their pages')
    const seen: number[] = []
    changesBetween(before, after, (_, now) => seen.push(now?.rangeId ?? 0))
    assert.deepEqual(seen, [15_000])
  })

  test('a node that dies costs no page, and its replicas are down, then lost', () => {
    const fleet = new Fleet({ deadAfterMs })
    for (const name of ['a', 'b', 'c']) fleet.setNode(node(name))
    fleet.setRange(range(1, ['a', 'b', 'c'], { leaseHolder: 1 }))
    const status = (): number[] => {
      const reader = fleet.snapshot().range(1) as RangeReader
      return [0, 1, 2].map((i) => reader.status(i))
    }
    const { voter, up, lease, lost, leaving, resting } = replicaBits
    assert.deepEqual(status(), [voter | up | lease, voter | up, voter | up])
    const before = fleet.snapshot()
    fleet.setNode(node('a', { liveness: 'dead' }))
    assert.deepEqual(status(), [voter, voter | up, voter | up], 'who is silent leads nothing')
    fleet.setNode(node('a', { liveness: 'dead', forMs: deadAfterMs }))
    fleet.setNode(node('b', { state: 'draining' }))
    fleet.setNode(node('c', { incarnation: 2 }))
    assert.deepEqual(status(), [voter | lost, voter | up | leaving, voter | lost])
    fleet.setNode(node('a', { liveness: 'dead', forMs: deadAfterMs, maintenance: true }))
    fleet.removeNode('b')
    assert.deepEqual(status(), [voter | resting, voter | lost, voter | lost])
    assert.equal(fleet.snapshot().chunks[0], before.chunks[0])
  })

  test('stores are counted one by one, and a failed one loses what it held', () => {
    const fleet = new Fleet({ deadAfterMs })
    const disks = (state: 'active' | 'failed' | 'draining'): PlacementNode =>
      node('a', {
        stores: [
          { storeId: 'd2', state },
          { storeId: 'd1', capacity: { bytes: 7 } },
        ],
      })
    fleet.setNode(disks('active'))
    fleet.setNode(node('b'))
    fleet.setRange(range(1, ['a', 'b'], { stores: new Map([[1, 'd2']]) }))
    fleet.setRange(range(2, ['a', 'b']))
    const snapshot = fleet.snapshot()
    assert.deepEqual(
      snapshot.stores.map(({ node: of, storeId, capacity }) => [of.descriptor.nodeId, storeId, capacity]),
      [
        ['a', 'd1', { bytes: 7 }],
        ['a', 'd2', { bytes: 100 }],
        ['b', '', { bytes: 100 }],
      ],
    )
    const of = (rangeId: number): number[] => {
      const reader = fleet.snapshot().range(rangeId) as RangeReader
      return [reader.store(0), reader.store(1), reader.node(0), reader.node(1)]
    }
    assert.deepEqual(of(1), [1, 2, 0, 1])
    assert.deepEqual(of(2), [0, 2, 0, 1], 'on the first one when nobody says')
    fleet.setNode(disks('failed'))
    const after = fleet.snapshot()
    assert.equal((after.range(1) as RangeReader).status(0), replicaBits.voter | replicaBits.lost)
    assert.equal((after.range(2) as RangeReader).status(0), replicaBits.voter | replicaBits.up)
    fleet.setNode(disks('draining'))
    const drained = fleet.snapshot()
    assert.equal((drained.table.storeStatus[1] as number) & nodeBits.eligible, 0)
    assert.ok(((drained.range(1) as RangeReader).status(0) & replicaBits.leaving) !== 0)
  })

  test('loads are kept on a grid on which sums are exact', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { maxLength: 50 }), (amounts) => {
        const exact = amounts.map(exactLoad)
        const sum = exact.reduce((a, b) => a + b, 0)
        const reversed = [...exact].reverse().reduce((a, b) => a + b, 0)
        assert.equal(sum, reversed)
        assert.equal(
          exact.reduce((left, amount) => left - amount, sum),
          0,
        )
        for (const [i, amount] of amounts.entries()) {
          assert.ok(Math.abs((exact[i] as number) - amount) <= Math.max(2 ** -21, amount / 8192))
        }
      }),
    )
    assert.deepEqual([Number.NaN, -1, undefined, 0, 12_345.4].map(exactLoad), [0, 0, 0, 0, 12_345])
  })

  test('a resource that nothing has any more is forgotten, and too many are refused', () => {
    const fleet = new Fleet({ deadAfterMs })
    fleet.setRange(range(1, ['a'], { load: { cpu: 1, bytes: 2 } }))
    fleet.setRange(range(2, ['a'], { load: { bytes: 2 } }))
    assert.deepEqual(fleet.snapshot().resources, ['bytes', 'cpu'])
    fleet.setLoad(1, { bytes: 3 }, { qps: 1 })
    assert.deepEqual(fleet.snapshot().resources, ['bytes', 'qps'])
    fleet.removeRange(1)
    fleet.setLoad(77, { nobody: 1 })
    assert.deepEqual(fleet.snapshot().resources, ['bytes'])
    const many = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`r${i}`, 1]))
    assert.throws(() => fleet.setLoad(2, many), { code: 'LIMIT_EXCEEDED' })
    assert.throws(() => new Fleet({ deadAfterMs: Number.NaN }), { code: 'INVALID_ARGUMENT' })
  })
})

suite('reports', () => {
  const cluster = (): Fleet => {
    const fleet = new Fleet({ deadAfterMs })
    for (const name of ['a', 'b', 'c', 'd']) fleet.setNode(node(name))
    fleet.setRange(range(1, ['a', 'b', 'c'], { tableId: 7, nonVoters: 1 }))
    return fleet
  }
  const observed = (
    replicaId: number,
    change: Partial<ObservedReplica> & { nodes?: readonly string[] } = {},
  ): ObservedReplica => {
    const { nodes = ['a', 'b', 'c'], generation = 1, ...rest } = change
    return {
      rangeId: 1,
      replicaId,
      generation,
      replicas: range(1, nodes).descriptor.replicas,
      leaseHolder: false,
      sequence: 0,
      caughtUp: [],
      load: {},
      ...rest,
    }
  }
  const leads = (fleet: Fleet): number[] => {
    const reader = fleet.snapshot().range(1) as RangeReader
    const all = Array.from({ length: reader.replicas }, (_, i) => i)
    return all.filter((i) => (reader.status(i) & replicaBits.lease) !== 0).map((i) => reader.replicaId(i))
  }

  test('a newer configuration is taken, an older one is not, and what the directory said stays', () => {
    const fleet = cluster()
    fleet.applyReport('a', [observed(1, { generation: 2, nodes: ['a', 'b', 'd'] })])
    fleet.applyReport('b', [observed(2, { generation: 1 })])
    const reader = fleet.snapshot().range(1) as RangeReader
    assert.deepEqual([reader.node(0), reader.node(1), reader.node(2)], [0, 1, 3])
    assert.deepEqual([reader.generation, reader.tableId, reader.nonVoters], [2, 7, 1])
  })

  test('of several that claim the lease the highest sequence has it, until it lets go', () => {
    const fleet = cluster()
    fleet.applyReport('a', [observed(1, { leaseHolder: true, sequence: 4 })])
    assert.deepEqual(leads(fleet), [1])
    fleet.applyReport('b', [observed(2, { leaseHolder: true, sequence: 5 })])
    fleet.applyReport('a', [observed(1, { leaseHolder: true, sequence: 4 })])
    assert.deepEqual(leads(fleet), [2])
    const before = fleet.snapshot()
    fleet.applyReport('c', [observed(3, { sequence: 5 })])
    assert.equal(fleet.snapshot(), before, 'who does not claim it says nothing of others')
    fleet.applyReport('b', [observed(2, { sequence: 5 })])
    assert.deepEqual(leads(fleet), [])
    fleet.applyReport('b', [observed(2, { leaseHolder: true, sequence: 6 })])
    fleet.applyReport('b', [
      observed(2, { leaseHolder: true, sequence: 6, generation: 2, nodes: ['d', 'b'] }),
    ])
    assert.deepEqual(leads(fleet), [2], 'a new configuration takes no lease away')
  })

  test('what leading takes is told apart from what every replica takes', () => {
    const fleet = cluster()
    const load = (): number[] => {
      const snapshot = fleet.snapshot()
      const reader = snapshot.range(1) as RangeReader
      return snapshot.resources.flatMap((_, i) => [reader.load(i), reader.leaderLoad(i)])
    }
    fleet.applyReport('a', [observed(1, { leaseHolder: true, sequence: 1, load: { bytes: 100, cpu: 5 } })])
    assert.deepEqual(load(), [100, 0, 0, 5])
    fleet.applyReport('b', [observed(2, { sequence: 1, load: { bytes: 60, cpu: 2 } })])
    assert.deepEqual(load(), [100, 0, 2, 3])
    fleet.applyReport('a', [observed(1, { leaseHolder: true, sequence: 1, load: { bytes: 90, cpu: 9 } })])
    assert.deepEqual(load(), [90, 0, 2, 7])
    fleet.applyReport('a', [observed(1, { leaseHolder: true, sequence: 1, load: { cpu: 1 } })])
    assert.deepEqual(load(), [90, 0, 1, 0])
    fleet.applyReport('x', [{ ...observed(9), rangeId: 99 }])
    assert.equal(fleet.rangeCount, 1)
  })
})

function checkChanges(before: PlacementSnapshot, after: PlacementSnapshot): void {
  const raw = (reader: RangeReader): unknown => {
    const { page, row } = reader as { page: Page; row: number }
    const [first, end] = [page.first[row] as number, page.first[row + 1] as number]
    const all = Array.from({ length: end - first }, (_, i) => first + i)
    return [
      reader.generation,
      reader.sequence,
      reader.tableId,
      page.factors[row],
      reader.held,
      all.map((i) => [
        page.replicaIds[i],
        page.roles[i],
        reader.snapshot.table.lives[page.lives[i] as number],
      ]),
      Array.from({ length: 8 }, (_, r) => [page.loadOf(row, r), page.leaderLoadOf(row, r)]),
    ]
  }
  const [a, b] = [before, after].map(
    (snapshot) =>
      new Map([...snapshot.ranges()].map((reader) => [reader.rangeId, JSON.stringify(raw(reader))])),
  ) as [Map<number, string>, Map<number, string>]
  const expected = [...new Set([...a.keys(), ...b.keys()])]
    .filter((rangeId) => a.get(rangeId) !== b.get(rangeId))
    .sort((x, y) => x - y)
  const seen: number[] = []
  changesBetween(before, after, (was, now) => {
    const rangeId = (was ?? now)?.rangeId as number
    assert.equal(was !== undefined, a.has(rangeId))
    assert.equal(now !== undefined, b.has(rangeId))
    seen.push(rangeId)
  })
  assert.deepEqual(seen, expected)
}

suite('pages', () => {
  test('rows keep their columns when others come and go', () => {
    const page = new Page(1)
    const row = (rangeId: number, lives: number[]) => ({
      rangeId,
      generation: rangeId * 2,
      sequence: 0,
      tableId: 0,
      replicationFactor: 3,
      hold: 0,
      replicaIds: lives.map((_, i) => i + 1),
      lives,
      roles: lives.map(() => 0),
    })
    page.insert(0, row(5, [1, 2, 3]))
    page.insert(0, row(2, [4]))
    page.insert(2, row(9, []))
    page.setLoad(1, 0, 50, 0)
    page.setLoad(0, 2, 0, 7)
    page.remove(2)
    page.write(0, row(2, [8, 9]))
    assert.deepEqual([...page.rangeIds.subarray(0, 2)], [2, 5])
    assert.deepEqual([...page.lives.subarray(0, page.replicas)], [8, 9, 1, 2, 3])
    assert.deepEqual([page.loadOf(1, 0), page.leaderLoadOf(0, 2), page.loadOf(1, 7)], [50, 7, 0])
  })
})
