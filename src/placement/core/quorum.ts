/** A range after one step of a move. */
export interface QuorumStep {
  /** What was done; `now` for the range before the move. */
  readonly step: 'now' | 'addLearner' | 'promote' | 'transferLease' | 'remove' | 'swap'
  /** Voters after the step. */
  readonly voters: number
  /** Of those, voters on nodes that are up. */
  readonly liveVoters: number
  /** Votes that a decision then takes. */
  readonly quorum: number
}

/** Votes that a decision takes among `voters`. */
export function quorumOf(voters: number): number {
  return Math.floor(voters / 2) + 1
}

/** What a move does to the voters of a range. */
export interface VoterChange {
  /** A voter is added. */
  readonly adds: boolean
  /** A replica is added that never votes. */
  readonly addsLearner?: boolean
  /** What is added and what goes change places in one joint step, in which both sets of voters count. */
  readonly atOnce?: boolean
  /** What goes, when something goes. */
  readonly removes?: {
    /** Whether it votes. */
    readonly voter: boolean
    /** Whether its node is up. */
    readonly up: boolean
    /** Whether it holds the lease. */
    readonly lease: boolean
  }
}

/**
 * The voters of a range at every step of a move, if a quorum of them is alive throughout; undefined when it is not. It is
 * the proof that the move may be made, as long as no further node dies; each step proves it anew before it is taken.
 */
export function proveQuorum(
  voters: number,
  liveVoters: number,
  change: VoterChange,
): readonly QuorumStep[] | undefined {
  const steps: QuorumStep[] = []
  let [all, live] = [voters, liveVoters]
  const take = (step: QuorumStep['step']): void => {
    steps.push({ step, voters: all, liveVoters: live, quorum: quorumOf(all) })
  }
  take('now')
  const { removes } = change
  if (change.atOnce === true && removes !== undefined) {
    // Between the two steps the quorum of each is needed, and between them nothing else is.
    if (!removes.up) live++
    take('swap')
    return proven(steps)
  }
  if (change.addsLearner === true) take('addLearner')
  if (change.adds) {
    take('addLearner')
    all++
    live++
    take('promote')
  }
  if (removes !== undefined) {
    if (removes.lease) take('transferLease')
    if (removes.voter) {
      all--
      if (removes.up) live--
    }
    take('remove')
  }
  return proven(steps)
}

function proven(steps: readonly QuorumStep[]): readonly QuorumStep[] | undefined {
  return steps.every((step) => step.voters > 0 && step.liveVoters >= step.quorum) ? steps : undefined
}
