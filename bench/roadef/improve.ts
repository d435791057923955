// The clock around the search, which knows only steps: seconds of one core, or a number of steps for a run that can be
// repeated exactly.

import { SeededRandom } from 'keelson/core'
import { Search } from 'keelson/placement'
import type { Instance } from './instance.ts'
import { evaluatorOf, problemOf } from './policy.ts'

export interface Budget {
  readonly seconds?: number
  /** Count seconds of this process's processor time instead: on a machine that others use as well. */
  readonly cpu?: boolean
  readonly steps?: number
  readonly seed: number
  /** Called about twenty times, with the search as it stands. */
  readonly progress?: (part: number, search: Search) => void
}

export interface Improved {
  readonly solution: Int32Array
  readonly cost: number
  readonly lowerBound: number
  readonly evaluated: number
  readonly accepted: number
  readonly seconds: number
  readonly setupSeconds: number
}

/** How often the clock is read. */
const clockEveryMs = 50

/** Improves an assignment for as long as the budget says. */
export function improve(instance: Instance, initial: Int32Array, budget: Budget): Improved {
  const now = budget.cpu === true ? cpuMilliseconds : () => performance.now()
  const started = now()
  const problem = problemOf(instance, initial)
  const { evaluator, goal } = evaluatorOf(problem)
  const search = new Search(evaluator, goal.total(), new SeededRandom(budget.seed))
  const lowerBound = goal.lowerBound()
  const began = now()
  // What it took to get here belongs to the time that was given.
  const { seconds, steps } = budget
  const slice = sliceSteps(instance.processes.length, steps)
  let told = 0
  let [readAt, readSteps, read] = [performance.now(), 0, 0]
  let done = 0
  while (done < 1) {
    search.slice(slice, done)
    if (steps !== undefined) done = search.steps / steps
    else if (performance.now() - readAt > clockEveryMs) {
      read = (now() - started) / ((seconds as number) * 1000)
      ;[readAt, readSteps, done] = [performance.now(), search.steps, Math.max(done, read)]
    } else if (readSteps > 0) {
      // Asking for the processor time takes as long as many steps do: between two readings, steps tell the time.
      done = Math.max(done, Math.min(0.9999, (read * search.steps) / readSteps))
    }
    if (done < told / 20) continue
    told++
    budget.progress?.(done, search)
  }
  search.finish()
  const solution = new Int32Array(initial.length)
  for (const [slot, process] of problem.processOf.entries()) {
    solution[process] = evaluator.assignment.place[slot] as number
  }
  return {
    solution,
    cost: search.cost,
    lowerBound,
    evaluated: evaluator.evaluated,
    accepted: search.accepted,
    seconds: (now() - began) / 1000,
    setupSeconds: (began - started) / 1000,
  }
}

function cpuMilliseconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Some milliseconds of work, or a thousandth of all steps. */
function sliceSteps(processes: number, steps: number | undefined): number {
  const usual = Math.min(50_000, 2000 + processes)
  return steps === undefined ? usual : Math.max(1, Math.min(usual, Math.floor(steps / 1000)))
}
