import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Cooling } from '../../../src/placement/core/cooling.ts'
import { balance } from '../../../src/placement/core/goals/balance.ts'
import { spread } from '../../../src/placement/core/goals/spread.ts'
import { OverloadMonitor } from '../../../src/placement/core/overload.ts'
import { WorkingSet } from '../../../src/placement/core/working-set.ts'
import type { FleetEvent, FleetReport } from '../../../src/placement/simulate/fleet-report.ts'
import {
  FleetSimulation,
  type FleetSimulationOptions,
  nodesIn,
} from '../../../src/placement/simulate/fleet-simulation.ts'
import { drawFleet } from '../support/fleets.ts'

const hour = 3_600_000
const fleet = drawFleet({ nodes: 12, ranges: 120, headroom: 2.2 })
const all = fleet.nodes.map(({ descriptor }) => descriptor.nodeId)
const base: FleetSimulationOptions = {
  ...fleet,
  policy: { goals: [spread('zone'), balance('replicas', { by: 'bytes' }), balance('leases')] },
  limits: { moves: 64, improvements: 32 },
  load: { total: 5, exponent: 0.5, shiftEveryMs: hour / 2 },
  deadAfterMs: 60_000,
  dampingMs: 60_000,
  planEveryMs: 20_000,
}

function slow(nodes: readonly string[], share: number, from = hour, to = 3 * hour): readonly FleetEvent[] {
  return [
    { type: 'slowDisk', atMs: from, nodes, share },
    { type: 'slowDisk', atMs: to, nodes, share: 1 },
  ]
}

const moved = ({ moves }: FleetReport): number => moves.replace + moves.transferLease

/** What must hold of a fleet with slow disks; for some hours, so that what goes to and fro can be seen. */
function judge(): void {
  // One that does a third of its work has its leases taken away, and is well with that.
  const one = new FleetSimulation({ ...base, events: slow(['n00001'], 0.3) }).run(hour)
  const before = one.report()
  const after = one.run(5 * hour).report()
  assert.deepEqual(after.violations, [])
  assert.ok(after.moves.transferLease > before.moves.transferLease, 'no lease left')
  assert.ok(after.overloadedNodeMinutes < 20, `${after.overloadedNodeMinutes} minutes overloaded`)
  assert.ok(after.undoneLeases - before.undoneLeases < 30, `${after.undoneLeases} leases went to and fro`)
  // One that does next to nothing keeps what is heavy nowhere for long: replicas leave it, too.
  const worst = new FleetSimulation({ ...base, events: slow(['n00001'], 0.05) }).run(3 * hour).report()
  assert.deepEqual(worst.violations, [])
  assert.ok(worst.moves.replace > before.moves.replace, 'no replica left')
  assert.ok(worst.overloadedNodeMinutes < 60, `${worst.overloadedNodeMinutes} minutes overloaded`)
  // A node dies while others like it are slow: its replicas go to those that are not.
  const zone = nodesIn(fleet.nodes, 'zone', 'z1')
  const [dead, ...others] = zone
  const lost = new FleetSimulation({
    ...base,
    events: [...slow(others.slice(0, 2), 0.15), { type: 'kill', atMs: 1.2 * hour, nodes: [dead as string] }],
  })
  const repaired = lost.run(4 * hour).report()
  assert.deepEqual(repaired.violations, [])
  assert.equal(repaired.samples.at(-1)?.underReplicated, 0)
  // A range that is too hot for any node is not handed round.
  const potato = { total: 5, exponent: 1.4, shiftEveryMs: 100 * hour }
  const hot = new FleetSimulation({ ...base, load: potato, events: slow(all, 0.999, hour, 9 * hour) }).run(
    hour,
  )
  const handedOn = new Map<number, number>()
  while (hot.nowMs < 5 * hour) {
    hot.step()
    for (const { rangeId, kind } of hot.plan?.moves ?? [])
      if (kind === 'transferLease') handedOn.set(rangeId, (handedOn.get(rangeId) ?? 0) + 1)
  }
  assert.deepEqual(hot.report().violations, [])
  const most = Math.max(0, ...handedOn.values())
  assert.ok(most <= 4, `a range was handed on ${most} times`)
}

/** Puts a bug in the place of a method. */
function plant<T extends object, K extends keyof T>(
  of: { readonly prototype: T },
  method: K,
  bug: T[K],
): () => () => void {
  return () => {
    const right = of.prototype[method]
    of.prototype[method] = bug
    return () => {
      of.prototype[method] = right
    }
  }
}

const bugs: Readonly<Record<string, () => () => void>> = {
  'sees no difference between overloaded nodes and others': plant(WorkingSet, 'isHot', () => false),
  'lets no lease leave': plant(Cooling, 'shedLeases', function* () {}),
  'lets no replica leave': plant(Cooling, 'shedReplicas', function* () {}),
  'takes every dip for the end of it': plant(OverloadMonitor, 'isCalm', ({ pressure }) => pressure < 1),
}

describe('a simulated fleet with slow disks', () => {
  it('sheds what they cannot bear, within bounds, and nothing goes to and fro', () => judge())

  for (const [name, put] of Object.entries(bugs)) {
    it(`finds a planner out that ${name}`, () => {
      const restore = put()
      try {
        assert.throws(judge)
      } finally {
        restore()
      }
    })
  }

  it('does nothing where all of them are slow: what is moved is what would be anyway', () => {
    const until = { ...base, events: slow(all, 0.2, hour, 20 * hour) }
    const report = new FleetSimulation(until).run(5 * hour).report()
    const calm = new FleetSimulation(base).run(5 * hour).report()
    assert.deepEqual(report.violations, [])
    assert.ok(report.overloadedNodeMinutes > 12 * 200, String(report.overloadedNodeMinutes))
    assert.ok(Math.abs(moved(report) - moved(calm)) <= 20, `${moved(report)} moves, ${moved(calm)} without`)
  })

  it('refuses a slow disk of a fleet without a load', () => {
    const { load: _, ...rest } = base
    assert.throws(() => new FleetSimulation({ ...rest, events: slow(all, 0.5) }), {
      code: 'INVALID_OPTION',
    })
    assert.throws(() => new FleetSimulation({ ...base, events: slow(all, 0) }), {
      code: 'INVALID_OPTION',
    })
  })
})
