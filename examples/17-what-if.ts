// Ask before it happens: what would the planner do if a zone were lost, or if a rule changed? Nothing is moved in fact.
import assert from 'node:assert/strict'
import { parseLocality, utf8 } from 'keelson'
import {
  balance,
  buildSnapshot,
  drawClusters,
  explainNode,
  nodeText,
  type PlacementNode,
  type PlacementRule,
  RuleBook,
  spread,
  whatIf,
} from 'keelson/placement'

const zones = ['a', 'b', 'c', 'd']
const nodes = zones.flatMap((zone) =>
  [1, 2].map(
    (i): PlacementNode => ({
      descriptor: {
        nodeId: `${zone}${i}`,
        incarnation: 1,
        addresses: [`${zone}${i}:7000`],
        locality: parseLocality(`zone=${zone}`),
        capacity: { bytes: 2e9 },
        labels: { disk: i === 1 ? 'nvme' : 'hdd' },
      },
      state: 'active',
      liveness: 'live',
      forMs: 60_000,
    }),
  ),
)
const snapshot = buildSnapshot({
  nodes,
  deadAfterMs: 30_000,
  ranges: Array.from({ length: 24 }, (_, i) => ({
    descriptor: {
      rangeId: i + 1,
      start: utf8(String(i).padStart(2, '0')),
      end: utf8(String(i + 1).padStart(2, '0')),
      generation: 1,
      replicas: [0, 1, 2].map((k) => ({
        replicaId: k + 1,
        nodeId: `${zones[(i + k) % 4]}${1 + ((i >> 2) % 2)}`,
        incarnation: 1,
        role: 'voter' as const,
      })),
    },
    leaseHolder: 1,
    load: { bytes: 64e6 },
  })),
})
const policy = { goals: [spread('zone'), balance('replicas'), balance('leases')] }

console.log(nodeText(explainNode(snapshot, 'a1', policy)))

const lost = whatIf(snapshot, { loseDomain: { tier: 'zone', value: 'b' } }, { policy })
console.log('\nif zone b were lost:')
for (const line of lost.explained) console.log(`  ${line}`)
assert.equal(lost.changed.withoutQuorum, 0)
assert.equal(lost.after.underReplicated, 0)

// A rule for all ranges: two of three replicas on fast disks. Rules that nothing could fulfil together are refused.
const fast: PlacementRule = {
  id: 'two-on-nvme',
  scope: { type: 'cluster' },
  require: [{ match: [{ label: 'disk', in: ['nvme'] }], count: 2 }],
}
const ruled = whatIf(snapshot, { policy: { rules: new RuleBook({ rules: [fast] }) } }, { policy })
console.log('\nif two of three replicas had to be on nvme:')
for (const line of ruled.explained) console.log(`  ${line}`)
assert.throws(
  () =>
    new RuleBook({
      rules: [
        fast,
        { id: 'no-nvme', scope: { type: 'cluster' }, prohibit: [[{ label: 'disk', in: ['nvme'] }]] },
      ],
    }),
  /rules 'two-on-nvme' and 'no-nvme' exclude each other/,
)

const svg = drawClusters([
  { title: 'now', summary: lost.before },
  { title: 'without zone b', summary: lost.after },
])
console.log(`\na picture of both: ${svg.length} characters of SVG`)
