import type { HostBug } from './bugs.ts'
import { type HostReport, runHosts } from './run.ts'

/** How a planted bug was found, or not. */
export interface HostHunt {
  readonly name: string
  /** Undefined when it survived. */
  readonly seed: number | undefined
  /** What the invariant that broke said. */
  readonly message: string
  /** Virtual time of the run with the bug, until it was caught, and of the one without it. */
  readonly virtualMs: number
  /** Seeds that were tried. */
  readonly tried: number
  /** Seeds that fail without the bug, too. */
  readonly problems: readonly string[]
}

/**
 * Looks for the seed that shows a bug in the least time, among the first few that show it at all. One that fails without the bug,
 * too, shows nothing, and is a problem of its own.
 *
 * @param enough seeds that show it, after which no more are tried
 */
export async function hunt(bug: HostBug, first: number, seeds: number, enough = 1): Promise<HostHunt> {
  const problems: string[] = []
  let best: HostHunt | undefined
  let [tried, caught] = [0, 0]
  for (let seed = first; seed < first + seeds && caught < enough; seed++) {
    tried++
    const { failure, virtualMs } = await runWith(bug, seed)
    if (failure === undefined) continue
    const sound = await runHosts({ seed, adjust: bug.adjust })
    if (sound.failure !== undefined) {
      problems.push(`seed ${seed} fails without the bug: ${sound.failure.message}`)
      continue
    }
    caught++
    const took = virtualMs + sound.virtualMs
    if (best !== undefined && best.virtualMs <= took) continue
    const [message = ''] = failure.message.split('\n')
    best = { name: bug.name, seed, message, virtualMs: took, tried, problems }
  }
  return { ...(best ?? { name: bug.name, seed: undefined, message: '', virtualMs: 0, problems }), tried }
}

/** One run with the bug in it. */
export async function runWith(bug: HostBug, seed: number): Promise<HostReport> {
  const takeOut = bug.plant()
  try {
    return await runHosts({ seed, adjust: bug.adjust })
  } finally {
    takeOut()
  }
}
