import { toKeelsonError } from '../../../src/core/errors.ts'
import { MetadataStateMachine } from '../../../src/metadata/index.ts'
import { drawSwarm, FaultInjector, type FaultKind } from '../../../src/simulation/index.ts'
import type { DataPlaneBugs } from './data-plane.ts'
import { compatible, faultsOf, quorumLost } from './faults.ts'
import { type Corner, World, type WorldSize } from './world.ts'

let restores = 0
const { restore } = MetadataStateMachine.prototype
MetadataStateMachine.prototype.restore = async function (...call) {
  restores++
  return restore.apply(this, call)
}

/** What to run. */
export interface CompositionRun {
  readonly seed: number
  readonly size: WorldSize
  /** How long faults come and go. */
  readonly faultMs: number
  readonly bugs?: DataPlaneBugs
  readonly corner?: Corner
  /** The faults, in place of a random part of all. */
  readonly faults?: (world: World) => readonly FaultKind[]
}

/** What came of it. Plain, so that it can be sent between threads. */
export interface CompositionResult {
  readonly seed: number
  /** Why the run failed; undefined when it did not. */
  readonly failure: { readonly message: string; readonly stack: string } | undefined
  readonly events: number
  readonly virtualMs: number
  /** How often each kind of fault happened. */
  readonly faults: readonly (readonly [kind: string, count: number])[]
  /** Virtual time from the last fault until everything was well again. */
  readonly healedMs: number
  /** Everything else that was counted. */
  readonly counts: readonly (readonly [what: string, count: number])[]
  /** Equal for equal runs. */
  readonly hash: string
  readonly trace: readonly string[]
}

const buildLimitMs = 120_000
const healLimitMs = 180_000
const stepMs = 100

/**
 * One run: everything is built, faults come and go while the schema changes and nodes are drained, the faults stop, and
 * within a bound everything must be well again.
 */
export async function runComposition(run: CompositionRun): Promise<CompositionResult> {
  const restoresBefore = restores
  const world = new World(run.seed, run.size, run.bugs, run.corner)
  const { sim, judge, plane, operators } = world
  let failure: unknown
  let healedMs = Number.NaN
  /** Lets a promise settle in virtual time, unless an invariant breaks before. */
  const settle = async (promise: Promise<unknown>, limitMs: number): Promise<void> => {
    let settled = false
    promise.then(
      () => {
        settled = true
      },
      (error: unknown) => {
        settled = true
        judge.broken ??= error
      },
    )
    const endMs = sim.nowMs + limitMs
    while (!settled && judge.broken === undefined && sim.nowMs < endMs) await sim.runFor(stepMs)
    if (judge.broken !== undefined) throw judge.broken
    if (!settled) throw new Error(`nothing came of it within ${limitMs} ms`)
  }
  try {
    await settle(world.build(), buildLimitMs)
    const kinds = [
      ...(run.faults?.(world) ?? drawSwarm(sim.random('swarm'), faultsOf(world), { probability: 0.5 })),
      ...(run.corner?.losesQuorum === true ? [quorumLost(world)] : []),
    ]
    const injector = new FaultInjector(sim, compatible(kinds))
    const work = operators.work()
    work.catch((error: unknown) => {
      judge.broken ??= error
    })
    world.clients.start()
    injector.start()
    const calmAtMs = sim.nowMs + run.faultMs
    while (sim.nowMs < calmAtMs && judge.broken === undefined) await sim.runFor(stepMs)
    injector.stop()
    operators.calm()
    sim.note('', 'the faults stop')
    await settle(world.recovered(work), healLimitMs)
    healedMs = sim.nowMs - calmAtMs
  } catch (error) {
    failure = judge.broken ?? error
  }
  return {
    seed: run.seed,
    failure:
      failure === undefined
        ? undefined
        : {
            message: toKeelsonError(failure).message,
            stack: failure instanceof Error ? (failure.stack ?? '') : '',
          },
    events: sim.scheduler.events,
    virtualMs: sim.nowMs,
    faults: sim.faults.entries(),
    healedMs,
    counts: [
      ['changes of ranges', plane.changes],
      ['  refused as of another generation', plane.staleGenerations],
      ['  refused as of an older epoch', plane.staleEpochs],
      ['elections of ranges', plane.elections],
      ['splits of ranges', plane.splits],
      ['  of which nodes heard before they came to them', plane.disks.late],
      ['merges of ranges', plane.merges],
      ['  frozen in vain', plane.thaws],
      ['counted by clients', world.clients.acknowledged],
      ['  sent again', world.clients.repeated],
      ['snapshots installed by servers', restores - restoresBefore],
      ['epochs of the control plane', judge.epochsSeen],
      ['epochs of nodes that ended', judge.ended.size],
      ['drains taken back', operators.drains],
      ['schema changes', operators.schemaChanges],
      ['  cancelled', operators.cancelled],
      ['schema versions published', judge.versionsSeen],
      ['commands accepted', judge.accepted],
      ['  under the version before the newest', judge.adjacentUse],
      ['  refused at the barrier', judge.refusedAtBarrier],
      ['entries that were lost with a quorum', world.lostEntries],
      ['programs started again by their supervisor', world.restarts],
    ],
    hash: sim.trace.hash(),
    trace: sim.trace.lines(),
  }
}
