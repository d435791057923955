/** A run of one seed, as far as a hunt looks at it. */
export interface BugRun {
  /** Undefined when nothing broke. */
  readonly failure: { readonly message: string } | undefined
  /** How long it took to see it, in the unit of the {@link BugList}. */
  readonly took: number
}

/** A bug that is planted on purpose, for simulated runs to show. */
export interface PlantedBug {
  readonly name: string
  /** What a run must fail with; anything, when it is not given. */
  readonly caughtBy?: RegExp
}

/** Bugs of one kind, and how they are run. */
export interface BugList<Bug extends PlantedBug> {
  readonly bugs: readonly Bug[]
  /** The seed that caught each bug last. */
  readonly recorded: Readonly<Record<string, number>>
  /** Runs a seed with the bug, or under the same faults without it. */
  readonly run: (bug: Bug, seed: number, sound: boolean) => Promise<BugRun>
  /** The command that hunts for them. */
  readonly command: string
}

/** How a planted bug was found, or not. */
export interface Hunt {
  readonly name: string
  /** Undefined when it survived. */
  readonly seed: number | undefined
  /** What the invariant that broke said, its first line. */
  readonly message: string
  /** How long the run took to see it. */
  readonly took: number
  /** Seeds that were tried. */
  readonly tried: number
  /** What failed otherwise than it should. */
  readonly problems: readonly string[]
}

/**
 * Looks for the seed that shows a bug soonest, among the first few that show it at all. A run that fails without the bug, too, shows
 * nothing, and is a problem of its own, as is one that fails with something else than the bug is to lead to.
 *
 * @param enough seeds that show it, after which no more are tried
 */
export async function hunt<Bug extends PlantedBug>(
  { run }: Pick<BugList<Bug>, 'run'>,
  bug: Bug,
  first: number,
  seeds: number,
  enough = 1,
): Promise<Hunt> {
  const { name, caughtBy } = bug
  const problems: string[] = []
  let best: Pick<Hunt, 'seed' | 'message' | 'took'> = { seed: undefined, message: '', took: 0 }
  let [tried, caught] = [0, 0]
  for (let seed = first; seed < first + seeds && caught < enough; seed++) {
    tried++
    const { failure, took } = await run(bug, seed, false)
    if (failure === undefined) continue
    const [message = ''] = failure.message.split('\n')
    if (caughtBy?.test(failure.message) === false) {
      problems.push(`seed ${seed}: ${message}`)
      continue
    }
    const slower = best.seed !== undefined && best.took <= took
    // Only what may be recorded is seen to be well without the bug.
    const sound = slower ? undefined : (await run(bug, seed, true)).failure
    if (sound !== undefined) {
      problems.push(`seed ${seed} fails without the bug: ${sound.message}`)
      continue
    }
    caught++
    if (!slower) best = { seed, message, took }
  }
  return { name, ...best, tried, problems }
}
