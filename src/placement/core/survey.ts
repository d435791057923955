import { type FlatSnapshot } from './flat.ts'
import type { BoundConstraint } from './goals.ts'
import { quorumOf } from './quorum.ts'
import { replicaBits } from './snapshot.ts'

/** What a range needs, the most urgent last. */
export type Need =
  | 'nothing'
  | 'unavailable'
  | 'finishLearner'
  | 'replaceLost'
  | 'add'
  | 'leaseOff'
  | 'replaceLeaving'
  | 'replaceEvicted'
  | 'removeExtra'

/** Priorities of needs, after CockroachDB's: what is half done first, then what is lost, then what is missing. */
export const needPriority: Readonly<Record<Need, number>> = Object.freeze({
  nothing: 0,
  unavailable: 0,
  finishLearner: 12_500,
  replaceLost: 12_000,
  add: 10_000,
  leaseOff: 5500,
  replaceLeaving: 5000,
  replaceEvicted: 4000,
  removeExtra: 1000,
})

/** From here on a move repairs; below it, it serves order. */
export const repairPriority = 10_000

/**
 * Reads one range after the other out of the snapshot and says what each needs. One object serves them all, so that a
 * million ranges cost no garbage. Positions are those of the snapshot's replica columns, -1 for none.
 */
export class RangeSurvey {
  readonly #snapshot: FlatSnapshot
  readonly #constraints: readonly BoundConstraint[]
  readonly #replicationFactor: number
  range = -1
  voters = 0
  liveVoters = 0
  learner = -1
  lostVoter = -1
  leavingVoter = -1
  evictedVoter = -1
  leaseholder = -1
  /** Voters that the range is to have. */
  wanted = 0
  /** Voters that are meant to stay. */
  staying = 0

  constructor(snapshot: FlatSnapshot, constraints: readonly BoundConstraint[], replicationFactor: number) {
    this.#snapshot = snapshot
    this.#constraints = constraints
    this.#replicationFactor = replicationFactor
  }

  /** Turns to a range. */
  read(range: number): this {
    const { firstReplica, replicaNode, replicaStatus } = this.#snapshot
    this.range = range
    this.wanted = (this.#snapshot.replicationFactors[range] as number) || this.#replicationFactor
    this.voters = 0
    this.liveVoters = 0
    this.learner = -1
    this.lostVoter = -1
    this.leavingVoter = -1
    this.evictedVoter = -1
    this.leaseholder = -1
    this.staying = 0
    const end = firstReplica[range + 1] as number
    for (let i = firstReplica[range] as number; i < end; i++) {
      const status = replicaStatus[i] as number
      if ((status & replicaBits.voter) === 0) {
        this.learner = i
        continue
      }
      this.voters++
      if ((status & replicaBits.up) !== 0) this.liveVoters++
      if ((status & replicaBits.lease) !== 0) this.leaseholder = i
      if ((status & replicaBits.lost) !== 0) this.lostVoter = i
      else if ((status & replicaBits.leaving) !== 0) this.leavingVoter = i
      else if (this.isEvicted(range, replicaNode[i] as number)) this.evictedVoter = i
      else this.staying++
    }
    return this
  }

  /** Votes to spare: how many more voters may die before the range stops. */
  get margin(): number {
    return this.liveVoters - quorumOf(this.voters)
  }

  /** What the range needs most. */
  need(): Need {
    if (this.voters === 0 || this.margin < 0) return 'unavailable'
    if (this.learner >= 0) return 'finishLearner'
    if (this.lostVoter >= 0 && this.voters <= this.wanted) return 'replaceLost'
    if (this.voters < this.wanted) return 'add'
    if (this.voters > this.wanted) return 'removeExtra'
    if (this.leaseIsLeaving()) return 'leaseOff'
    if (this.leavingVoter >= 0) return 'replaceLeaving'
    if (this.evictedVoter >= 0) return 'replaceEvicted'
    return 'nothing'
  }

  /** The voter that goes when another comes, or -1 when another is missing anyway. */
  successorOf(): number {
    if (this.voters < this.wanted) return -1
    if (this.lostVoter >= 0) return this.lostVoter
    if (this.leavingVoter >= 0) return this.leavingVoter
    return this.evictedVoter
  }

  /** @internal */
  isEvicted(range: number, node: number): boolean {
    for (const constraint of this.#constraints) {
      if (constraint.evicts(range, node) !== undefined) return true
    }
    return false
  }

  /** @internal */
  leaseIsLeaving(): boolean {
    if (this.leaseholder < 0 || this.voters < 2) return false
    return ((this.#snapshot.replicaStatus[this.leaseholder] as number) & replicaBits.leaving) !== 0
  }
}
