import { type Mutant, runMutant } from './mutants.ts'

/** How a planted bug was found, or not. */
export interface Hunt {
  readonly name: string
  /** Undefined when it survived. */
  readonly seed: number | undefined
  readonly message: string
  /** Of the run, until the bug was caught. */
  readonly events: number
  /** Seeds that were tried. */
  readonly seeds: number
  /** What failed otherwise than it should. */
  readonly problems: readonly string[]
}

/**
 * Looks for the seed that shows a bug soonest, among the first few that show it at all. A run that fails without the bug,
 * too, shows nothing, and is a problem of its own, as is one that fails with something else than the bug is to lead to.
 *
 * @param enough seeds that show it, after which no more are tried
 */
export async function hunt(mutant: Mutant, first: number, seeds: number, enough = 1): Promise<Hunt> {
  const { name } = mutant
  const problems: string[] = []
  let best: Hunt | undefined
  let [tried, caught] = [0, 0]
  for (let seed = first; seed < first + seeds && caught < enough; seed++) {
    tried++
    const { failure, events } = await runMutant(mutant, seed)
    if (failure === undefined) continue
    if (!mutant.caughtBy.test(failure.message)) {
      problems.push(`seed ${seed}: ${failure.message}`)
      continue
    }
    if (best !== undefined && best.events <= events) {
      caught++
      continue
    }
    const sound = await runMutant(mutant, seed, true)
    if (sound.failure !== undefined) {
      problems.push(`seed ${seed} fails without the bug: ${sound.failure.message}`)
      continue
    }
    caught++
    best = { name, seed, message: failure.message, events, seeds: 0, problems }
  }
  return { ...(best ?? { name, seed: undefined, message: '', events: 0, problems }), seeds: tried }
}
