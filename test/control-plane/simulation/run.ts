import { toKeelsonError } from '../../../src/core/errors.ts'
import { drawSwarm, FaultInjector } from '../../../src/simulation/index.ts'
import type { DataPlaneBugs } from './data-plane.ts'
import { World, type WorldSize } from './world.ts'

/** What to run. */
export interface CompositionRun {
  readonly seed: number
  readonly size: WorldSize
  /** How long faults come and go. */
  readonly faultMs: number
  readonly bugs?: DataPlaneBugs
}

/** What came of it. */
export interface CompositionResult {
  readonly seed: number
  /** Why the run failed; undefined when it did not. */
  readonly failure: unknown
  readonly events: number
  readonly faults: number
  /** Virtual time from the last fault until everything was well again. */
  readonly healedMs: number
  /** Changes of ranges that the control plane made. */
  readonly changes: number
  /** Equal for equal runs. */
  readonly hash: string
  readonly trace: readonly string[]
}

const buildLimitMs = 120_000
const healLimitMs = 60_000

/**
 * One run: everything is built, faults come and go while a schema changes and a node is drained, the faults stop, and
 * within a bound everything must be well again.
 */
export async function runComposition(run: CompositionRun): Promise<CompositionResult> {
  const world = new World(run.seed, run.size, run.bugs)
  const { sim } = world
  let failure: unknown
  let healedMs = Number.NaN
  try {
    await sim.until(world.build(), buildLimitMs)
    const injector = new FaultInjector(
      sim,
      drawSwarm(sim.random('swarm'), world.faults(), { probability: 0.6 }),
    )
    const work = world.operate()
    work.catch(() => {})
    injector.start()
    await sim.runFor(run.faultMs)
    injector.stop()
    const calmAtMs = sim.nowMs
    await sim.until(world.recovered(work), healLimitMs)
    healedMs = sim.nowMs - calmAtMs
    if (world.broken !== undefined) throw world.broken
  } catch (error) {
    failure = world.broken ?? error
    for (const machine of [...world.servers, ...world.agents]) {
      if (machine.failure === undefined) continue
      sim.note(machine.name, 'ended by itself', toKeelsonError(machine.failure).message)
    }
  }
  return {
    seed: run.seed,
    failure,
    events: sim.scheduler.events,
    faults: sim.faults.entries().reduce((total, [, count]) => total + count, 0),
    healedMs,
    changes: world.plane.changes,
    hash: sim.trace.hash(),
    trace: sim.trace.lines(),
  }
}
