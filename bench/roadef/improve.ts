// The clock around the search, which knows only steps: seconds of one core, or a number of steps for a run that can be
// repeated exactly.

import { SeededRandom } from 'keelson/core'
import { Search } from 'keelson/placement'
import type { Instance } from './instance.ts'
import { evaluatorOf, problemOf } from './policy.ts'

export interface Budget {
  readonly seconds?: number
  readonly steps?: number
  readonly seed: number
  /** Called about ten times, with the cost so far. */
  readonly progress?: (part: number, cost: number) => void
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

/** Improves an assignment for as long as the budget says. */
export function improve(instance: Instance, initial: Int32Array, budget: Budget): Improved {
  const started = performance.now()
  const problem = problemOf(instance, initial)
  const { evaluator, goal } = evaluatorOf(problem)
  const search = new Search(evaluator, goal.total(), new SeededRandom(budget.seed))
  const lowerBound = goal.lowerBound()
  const began = performance.now()
  // What it took to get here belongs to the time that was given.
  const part = (): number =>
    budget.steps === undefined
      ? (performance.now() - started) / ((budget.seconds as number) * 1000)
      : search.steps / budget.steps
  const slice = sliceSteps(instance.processes.length, budget.steps)
  let told = 0
  for (let done = part(); done < 1; done = part()) {
    search.slice(slice, done)
    if (done < told / 10) continue
    told++
    budget.progress?.(done, search.cost)
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
    seconds: (performance.now() - began) / 1000,
    setupSeconds: (began - started) / 1000,
  }
}

/** Some milliseconds of work, or a thousandth of all steps. */
function sliceSteps(processes: number, steps: number | undefined): number {
  const usual = Math.min(50_000, 2000 + processes)
  return steps === undefined ? usual : Math.max(1, Math.min(usual, Math.floor(steps / 1000)))
}
