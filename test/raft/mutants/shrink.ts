import type { RecordedFault } from '../../../src/simulation/faults.ts'
import { shrinkSchedule } from '../../../src/simulation/shrink.ts'
import type { Schedule } from '../simulation/world.ts'
import { runWith } from './hunt.ts'
import type { RecordedRun } from './recorded-run.ts'
import type { PlantedBug } from './types.ts'

/** Ends of the faults that are tried, from the first on: most bugs need few of them. */
const phasesMs = [250, 500, 1_000, 2_000, 4_000, 8_000]

/**
 * What of a seed's faults it takes to show a bug: for as short a time as does, and as few of them. The same invariant has to
 * break, and without the bug nothing may. Leaving out all that it can takes many runs, so it stops after `maximumRuns`.
 */
export function shrink(bug: PlantedBug, seed: number, invariant: string, maximumRuns: number): RecordedRun {
  const all: RecordedFault[] = []
  runWith(bug, { seed }, { onFault: (fault) => all.push(fault) })
  const shows = (schedule: Schedule): boolean =>
    runWith(bug, { seed, schedule }).failure?.invariant === invariant
  const isClean = (schedule: Schedule): boolean =>
    runWith(undefined, { seed, schedule }, { adjust: bug.adjust }).failure === undefined
  const faultPhaseMs = phasesMs.find((end) => shows({ faultPhaseMs: end, faults: before(all, end) }))
  const begun = before(all, faultPhaseMs ?? Number.POSITIVE_INFINITY)
  const whole: Schedule = { faultPhaseMs, faults: begun }
  if (faultPhaseMs === undefined && !shows(whole)) return { seed, invariant }
  const needs = (faults: readonly RecordedFault[]): boolean => shows({ faultPhaseMs, faults })
  const faults = shrinkSchedule(begun, needs, { maximumRuns })
  const least = [{ faultPhaseMs, faults }, whole].find(isClean)
  return { seed, invariant, schedule: least }
}

function before(faults: readonly RecordedFault[], endMs: number): RecordedFault[] {
  return faults.filter(({ atMs }) => atMs < endMs)
}
