// The planner is a pure function: a snapshot of the cluster goes in, moves with their reasons come out.
import assert from 'node:assert/strict'
import { parseLocality, utf8 } from 'keelson'
import { balance, buildSnapshot, explainRange, type PlacementNode, plan, spread } from 'keelson/placement'

const node = (nodeId: string, zone: string, alive = true): PlacementNode => ({
  descriptor: {
    nodeId,
    incarnation: 1,
    addresses: [`${nodeId}:7000`],
    locality: parseLocality(`zone=${zone}`),
    capacity: { bytes: 1e9 },
    labels: {},
  },
  state: 'active',
  liveness: alive ? 'live' : 'dead',
  forMs: 60_000,
})
const nodes = [
  node('a1', 'a'),
  node('a2', 'a'),
  node('b1', 'b'),
  node('c1', 'c', false), // dead for a minute
  node('c2', 'c'),
]
const snapshot = buildSnapshot({
  nodes,
  ranges: [
    {
      descriptor: {
        rangeId: 7,
        start: utf8(''),
        end: undefined,
        generation: 4,
        replicas: ['a1', 'b1', 'c1'].map((nodeId, i) => ({
          replicaId: i + 1,
          nodeId,
          incarnation: 1,
          role: 'voter' as const,
        })),
      },
      leaseHolder: 1,
      load: { bytes: 64e6 },
    },
  ],
  deadAfterMs: 30_000,
})

const policy = { replicationFactor: 3, goals: [spread('zone'), balance('replicas')] }
const { moves } = plan(snapshot, policy, { seed: 1 })
const [move] = moves
console.log(
  `range ${move?.rangeId}, generation ${move?.generation}: ${move?.kind} ${move?.remove?.nodeId} by ${move?.add?.nodeId}`,
)
console.log(
  `because ${move?.reason}; not ${move?.rejected.map(({ nodeId, why }) => `${nodeId} (${why})`).join(', ')}`,
)
assert.equal(move?.add?.nodeId, 'c2')
assert.equal(move?.remove?.nodeId, 'c1')

const { need, replicas } = explainRange(snapshot, 7, policy)
console.log(`range 7 needs ${need}`)
for (const { nodeId, status, goals } of replicas) console.log(`  ${nodeId}: ${status}; ${goals.join('; ')}`)
assert.equal(replicas.length, 3)
