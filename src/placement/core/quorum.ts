/** A range after one step of a move. */
export interface QuorumStep {
  /** What was done; `now` for the range before the move. */
  readonly step: 'now' | 'addLearner' | 'promote' | 'transferLease' | 'remove'
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
  if (change.adds) {
    take('addLearner')
    all++
    live++
    take('promote')
  }
  if (change.removes !== undefined) {
    if (change.removes.lease) take('transferLease')
    if (change.removes.voter) {
      all--
      if (change.removes.up) live--
    }
    take('remove')
  }
  return steps.every((step) => step.voters > 0 && step.liveVoters >= step.quorum) ? steps : undefined
}
