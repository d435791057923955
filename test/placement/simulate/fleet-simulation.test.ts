import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { balance } from '../../../src/placement/core/goals/balance.ts'
import { exclusivity } from '../../../src/placement/core/goals/exclusivity.ts'
import { spread } from '../../../src/placement/core/goals/spread.ts'
import { RuleBook } from '../../../src/placement/core/policy/rule-book.ts'
import type { FleetReport } from '../../../src/placement/simulate/fleet-report.ts'
import {
  FleetSimulation,
  type FleetSimulationOptions,
  nodesIn,
} from '../../../src/placement/simulate/fleet-simulation.ts'
import { drawFleet } from '../support/fleets.ts'

const hour = 3_600_000
const fleet = drawFleet({ nodes: 24, ranges: 240, headroom: 2.2 })
const base: FleetSimulationOptions = {
  ...fleet,
  policy: { goals: [spread('zone'), balance('replicas', { by: 'bytes' }), balance('leases')] },
  limits: { moves: 64, improvements: 32 },
  load: { total: 12, shiftEveryMs: hour / 2 },
  deadAfterMs: 60_000,
  dampingMs: 60_000,
  planEveryMs: 20_000,
}

function run(change: Partial<FleetSimulationOptions>, untilMs = 4 * hour): FleetReport {
  const report = new FleetSimulation({ ...base, ...change }).run(untilMs).report()
  assert.deepEqual(report.violations, [])
  return report
}

describe('a simulated fleet', () => {
  it('becomes even and stays quiet', () => {
    const first = new FleetSimulation(base).run(2 * hour)
    const settled = first.report()
    const later = first.run(4 * hour).report()
    assert.deepEqual(later.violations, [])
    assert.equal(later.moves.replace, settled.moves.replace, 'nothing is moved once all is even')
    assert.equal(later.undoneMoves, 0)
    const last = later.samples.at(-1)
    assert.ok(last !== undefined && last.fullest / last.meanBytes < 1.2, JSON.stringify(last))
    assert.equal(last.underReplicated, 0)
  })

  it('keeps the replicas for reads where the rules want them, through the loss of a zone', () => {
    const rules = new RuleBook({ rules: [{ id: 'reads', scope: { type: 'cluster' }, nonVoters: 1 }] })
    const policy = { ...base.policy, rules }
    const events = [{ type: 'kill' as const, atMs: 2 * hour, nodes: nodesIn(fleet.nodes, 'zone', 'z1') }]
    const report = run({ policy, events, limits: { moves: 256, improvements: 64 } }, 8 * hour)
    assert.ok(report.moves.addNonVoter >= 240 && report.moves.replaceNonVoter > 0)
    assert.ok(report.lackingNonVotersRangeMinutes > 0)
    const simulation = new FleetSimulation({ ...base, policy, events }).run(8 * hour)
    assert.ok(simulation.report().disturbances[0]?.convergedAfterMs !== undefined, 'not whole again')
    assert.equal(simulation.report().samples.at(-1)?.lackNonVoters, 0)
    assert.equal(report.samples.at(-1)?.underReplicated, 0)
  })

  it('is whole again after a node, a rack and a zone, with no more copies than were lost until then', () => {
    const at = 2 * hour
    const cases = [
      { nodes: ['n00001'], lost: 'n00001' },
      { nodes: nodesIn(fleet.nodes, 'rack', 'z1-r2'), lost: '2 nodes' },
      { nodes: nodesIn(fleet.nodes, 'zone', 'z2'), lost: '8 nodes' },
    ]
    for (const { nodes, lost } of cases) {
      const report = run({ events: [{ type: 'kill', atMs: at, nodes }] }, 6 * hour)
      const [disturbance] = report.disturbances
      assert.equal(disturbance?.what, `${lost} stopped`)
      assert.ok(disturbance.convergedAfterMs !== undefined, `${lost}: not whole again`)
      assert.ok(disturbance.lowerBoundBytes > 0)
      assert.ok(
        disturbance.copiedBytes >= disturbance.lowerBoundBytes,
        `${lost}: ${JSON.stringify(disturbance)}`,
      )
      assert.equal(report.samples.at(-1)?.underReplicated, 0)
      assert.ok(report.underReplicatedRangeMinutes > 0)
    }
  })

  it('counts what was there when a node comes back in time, and copies nothing', () => {
    const at = 2 * hour
    const report = run({
      events: [
        { type: 'kill', atMs: at, nodes: ['n00003'] },
        { type: 'revive', atMs: at + 50_000, nodes: ['n00003'] },
      ],
    })
    const still = run({})
    assert.ok(report.underReplicatedRangeMinutes > still.underReplicatedRangeMinutes)
    const copies = ({ moves }: FleetReport): number => moves.add + moves.replace
    assert.equal(copies(report), copies(still))
  })

  it('empties a node, and copies exactly what it had when nothing else moves', () => {
    const report = run({ events: [{ type: 'drain', atMs: 2 * hour, nodes: ['n00002'] }] })
    const [drained] = report.disturbances
    assert.ok(drained?.convergedAfterMs !== undefined)
    assert.ok(drained.copiedBytes >= drained.lowerBoundBytes)
    assert.equal(report.unavailableRangeMinutes, 0)
  })

  it('is the same for the same seed', () => {
    const options = { events: [{ type: 'kill' as const, atMs: hour, nodes: ['n00000'] }], seed: 7 }
    assert.deepEqual(run(options, 2 * hour), run(options, 2 * hour))
  })

  it('refuses what it cannot simulate', () => {
    assert.throws(
      () => new FleetSimulation({ ...base, events: [{ type: 'kill', atMs: 0, nodes: ['x'] }] }),
      /'x'/,
    )
    const [node] = fleet.nodes
    const [range] = fleet.ranges
    const kill = { type: 'kill', atMs: 0, nodes: ['n00000'] }
    for (const [change, problem] of [
      [{ events: [{ ...kill, type: 'klil' }] }, /one of kill, revive, slowDisk, drain/],
      [{ events: [{ ...kill, type: 'drian' }] }, /one of kill/],
      [{ events: [{ ...kill, atMs: Number.NaN }] }, /atMs/],
      [{ events: [{ ...kill, atMs: -1 }] }, /atMs/],
      [{ events: [{ ...kill, nodes: [] }] }, /nodes/],
      [{ events: [{ ...kill, nodes: 'n00000' }] }, /nodes/],
      [{ events: [{ ...kill, wiped: true }] }, /wiped/],
      [{ events: [{ ...kill, type: 'revive', wipe: true }] }, /did you mean 'wiped'/],
      [{ events: [{ ...kill, type: 'slowDisk' }] }, /share/],
      [{ events: [{ ...kill, type: 'slowDisk', share: Number.NaN }] }, /share/],
      [{ nodes: [{ ...node, egressBytesPerSecond: Number.NaN }] }, /egressBytesPerSecond/],
      [{ nodes: [{ ...node, ingressBytesPerSecond: -1 }] }, /ingressBytesPerSecond/],
      [
        { nodes: [{ ...node, descriptor: { ...node?.descriptor, capacity: { bytes: Number.NaN } } }] },
        /capacity/,
      ],
      [{ ranges: [{ ...range, bytes: Number.NaN }] }, /bytes/],
      [{ ranges: [{ ...range, bytes: 2 ** 54 }] }, /bytes/],
      [{ ranges: [{ ...range, nodes: 'n00000' }] }, /nodes/],
      [{ ranges: [{ ...range, bytes: '100' }] }, /bytes/],
      [{ ranges: [{ ...range, nodes: [] }] }, /nodes/],
      [{ ranges: [{ ...range, nodes: ['n00000', 7] }] }, /nodes/],
      [{ ranges: [{ ...range, nonVoters: 'd' }] }, /nonVoters/],
      [{ ranges: [{ ...range, nonvoters: [] }] }, /nonvoters.*did you mean 'nonVoters'/],
    ] as const) {
      assert.throws(() => new FleetSimulation({ ...base, ...change } as never), {
        code: 'INVALID_OPTION',
        message: problem,
      })
    }
  })

  it('says so when a plan does what no plan may do', () => {
    const simulation = new FleetSimulation(base)
    simulation.step()
    const plan = simulation.plan
    assert.ok(plan !== undefined && plan.moves.length > 0)
    // A planner that forgets what is under way plans the same again.
    const forgetful = new FleetSimulation({
      ...base,
      policy: { ...base.policy, constraints: [exclusivity()] },
    })
    forgetful.begin(plan.moves)
    forgetful.begin(plan.moves)
    assert.ok(forgetful.report().violations.length > 0)
  })
})
