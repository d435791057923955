import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { parseLocality } from '../../../src/model/locality.ts'
import { allocate } from '../../../src/placement/core/allocate.ts'
import { explainRange } from '../../../src/placement/core/explain.ts'
import { Fleet } from '../../../src/placement/core/model/fleet.ts'
import type { PlannedMove } from '../../../src/placement/core/plan.ts'
import type { LabelMatch, PlacementRule } from '../../../src/placement/core/policy/rule.ts'
import { RuleBook } from '../../../src/placement/core/policy/rule-book.ts'
import type { PlacementSnapshot } from '../../../src/placement/core/snapshot.ts'
import { whatIf } from '../../../src/placement/core/what-if.ts'

const on = (label: string, ...values: string[]): readonly LabelMatch[] => [{ label, in: values }]

const rules: readonly PlacementRule[] = [
  { id: 'spread', scope: { type: 'cluster' }, spread: ['region', 'zone'], survive: 'zone' },
  {
    id: 'eu-majority',
    scope: { type: 'table', tableId: 1 },
    require: [{ match: on('region', 'eu'), count: 2 }],
    lead: [on('region', 'eu')],
  },
  {
    id: 'us-only',
    scope: { type: 'table', tableId: 2 },
    voters: 5,
    require: [{ match: on('region', 'us') }],
    prefer: [{ match: on('disk', 'ssd') }],
  },
  { id: 'no-tape', scope: { type: 'cluster' }, prohibit: [on('disk', 'tape')] },
]
const book = new RuleBook({ rules })

/** Three regions of three zones of two nodes, and ranges of three tables dealt out at random. */
function cluster(seed: number): PlacementSnapshot {
  const random = new SeededRandom(seed)
  const fleet = new Fleet({ deadAfterMs: 1000 })
  const names: string[] = []
  for (const region of ['eu', 'us', 'asia']) {
    for (let zone = 0; zone < 3; zone++) {
      for (let i = 0; i < 2; i++) {
        const nodeId = `${region}-${zone}-${i}`
        names.push(nodeId)
        fleet.setNode({
          descriptor: {
            nodeId,
            incarnation: 1,
            addresses: [],
            locality: parseLocality(`region=${region},zone=${region}-${zone}`),
            capacity: {},
            labels: {
              disk:
                zone + i === 0 && random.integer(2) === 0 ? 'tape' : random.integer(2) === 0 ? 'ssd' : 'hdd',
            },
          },
          state: 'active',
          liveness: 'live',
          forMs: 1,
        })
      }
    }
  }
  for (let rangeId = 1; rangeId <= 30; rangeId++) {
    const chosen = new Set<string>()
    while (chosen.size < 3) chosen.add(names[random.integer(names.length)] as string)
    fleet.setRange({
      descriptor: {
        rangeId,
        start: new Uint8Array(0),
        end: undefined,
        generation: 1,
        replicas: [...chosen].map((nodeId, i) => ({
          replicaId: i + 1,
          nodeId,
          incarnation: 1,
          role: 'voter',
        })),
      },
      leaseHolder: 1,
      load: { bytes: 1 },
      tableId: rangeId % 3,
    })
  }
  return fleet.snapshot()
}

/** What a range has once moves are carried out: the nodes of its voters and of its leader. */
function outcome(
  snapshot: PlacementSnapshot,
  moves: readonly PlannedMove[],
  rangeId: number,
): { nodes: string[]; leader: string } {
  const reader = snapshot.range(rangeId)
  assert.ok(reader !== undefined)
  const at = new Map<number, string>()
  for (let i = 0; i < reader.replicas; i++)
    at.set(reader.replicaId(i), snapshot.nodes[reader.node(i)]?.descriptor.nodeId as string)
  let leader = at.get(1) as string
  for (const move of moves.filter((each) => each.rangeId === rangeId)) {
    if (move.leaseTo !== undefined) leader = move.leaseTo.nodeId
    const next = Math.max(...at.keys()) + 1
    if (move.add !== undefined) at.set(next, move.add.nodeId)
    if (move.remove !== undefined) at.delete(move.remove.replicaId)
  }
  return { nodes: [...at.values()], leader }
}

describe('a planner with rules', () => {
  it('brings every range to where its rules want it, and then rests', () => {
    for (let seed = 1; seed <= 12; seed++) {
      const snapshot = cluster(seed)
      const result = whatIf(snapshot, {}, { policy: { constraints: [], goals: [], rules: book } })
      assert.equal(result.settled, true, `seed ${seed}`)
      assert.equal(result.moveCount, result.moves.length, 'all moves are told of')
      assert.equal(result.blockedCount, 0, `seed ${seed}: ${JSON.stringify(result.blocked)}`)
      const tape = snapshot.nodes.filter(({ descriptor }) => descriptor.labels['disk'] === 'tape')
      const barred = new Set(tape.map(({ descriptor }) => descriptor.nodeId))
      for (let rangeId = 1; rangeId <= 30; rangeId++) {
        const { nodes, leader } = outcome(snapshot, result.moves, rangeId)
        const what = `seed ${seed}, range ${rangeId} of table ${rangeId % 3}: ${nodes}`
        assert.equal(new Set(nodes).size, nodes.length, what)
        assert.ok(
          nodes.every((nodeId) => !barred.has(nodeId)),
          what,
        )
        const zones = nodes.map((nodeId) => nodeId.slice(0, -2))
        const most = Math.max(...zones.map((zone) => zones.filter((each) => each === zone).length))
        assert.ok(most * 2 < nodes.length, `${what}: it would not survive a zone`)
        if (rangeId % 3 === 1) {
          assert.ok(nodes.filter((nodeId) => nodeId.startsWith('eu')).length >= 2, what)
          assert.ok(leader.startsWith('eu'), `${what} led by ${leader}`)
        }
        if (rangeId % 3 === 2) {
          assert.equal(nodes.length, 5, what)
          assert.ok(
            nodes.every((nodeId) => nodeId.startsWith('us')),
            what,
          )
        } else assert.equal(nodes.length, 3, what)
      }
    }
  })

  it('says which rule keeps a replica off a node', () => {
    const { others } = explainRange(cluster(1), 2, { constraints: [], goals: [], rules: book })
    const eu = others.find(({ nodeId }) => nodeId.startsWith('eu'))
    assert.match(eu?.why ?? '', /rule '(us-only|no-tape)' says/)
  })

  it('places new ranges by them', () => {
    const { nodes } = cluster(3)
    const own: PlacementRule = {
      id: 'new',
      scope: { type: 'range', rangeId: 99 },
      voters: 5,
      require: [{ match: on('region', 'asia', 'us') }],
    }
    const policy = { constraints: [], rules: new RuleBook({ rules: [...rules, own] }) }
    const [allocation] = allocate({ nodes, rangeIds: [99], policy })
    assert.equal(allocation?.nodes.length, 5)
    assert.ok(allocation.nodes.every(({ nodeId }) => !nodeId.startsWith('eu')))
  })

  it('may be given its own policy again: nothing is there twice', () => {
    const once = whatIf(cluster(1), {}, { policy: { rules: book } })
    const twice = whatIf(cluster(1), { policy: { rules: book } }, { policy: { rules: book } })
    assert.deepEqual(twice.moves, once.moves)
  })
})
