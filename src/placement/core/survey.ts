import { type Assignment, nowhere } from './assignment.ts'
import type { BoundRule } from './goals/goal.ts'
import { quorumOf } from './quorum.ts'
import { replicaBits } from './snapshot.ts'
import type { WorkingSet } from './working-set.ts'

/** What a range needs. */
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
  | 'replaceLostNonVoter'
  | 'addNonVoter'
  | 'replaceLeavingNonVoter'
  | 'replaceEvictedNonVoter'
  | 'removeExtraNonVoter'

/**
 * Priorities of needs, after CockroachDB's: what is half done first, then what is lost, then what is missing; replicas without a
 * vote come after all voters.
 */
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
  replaceLostNonVoter: 900,
  addNonVoter: 850,
  replaceLeavingNonVoter: 800,
  replaceEvictedNonVoter: 700,
  removeExtraNonVoter: 600,
})

/** From here on a move repairs; below it, it serves order. */
export const repairPriority = 10_000

/**
 * Reads one range after the other out of a working set and says what each needs. One object serves them all, so that a
 * million ranges cost no garbage. Replicas are named by their slots, -1 for none.
 */
export class RangeSurvey {
  readonly #columns: WorkingSet
  readonly #rules: readonly BoundRule[]
  readonly #replicationFactor: number
  range = -1
  voters = 0
  liveVoters = 0
  learners = 0
  /** One that no rule wants: a move left it behind, or it is one too many. */
  learner = -1
  lostNonVoter = -1
  leavingNonVoter = -1
  evictedNonVoter = -1
  lostVoter = -1
  leavingVoter = -1
  evictedVoter = -1
  leaseholder = -1
  /** Voters that the range is to have. */
  wanted = 0
  /** Replicas without a vote that it is to have. */
  wantedNonVoters = 0
  /** Voters that are meant to stay. */
  staying = 0

  constructor(columns: WorkingSet, rules: readonly BoundRule[], replicationFactor: number) {
    this.#columns = columns
    this.#rules = rules.filter((rule) => rule.sheds === undefined)
    this.#replicationFactor = replicationFactor
  }

  /** Turns to a range. */
  read(range: number): this {
    const { firstSlot, status, factors, nonVoters } = this.#columns
    this.range = range
    this.wanted = (factors[range] as number) || this.#replicationFactor
    this.wantedNonVoters = nonVoters[range] as number
    this.voters = 0
    this.liveVoters = 0
    this.learners = 0
    this.learner = -1
    this.lostNonVoter = -1
    this.leavingNonVoter = -1
    this.evictedNonVoter = -1
    this.lostVoter = -1
    this.leavingVoter = -1
    this.evictedVoter = -1
    this.leaseholder = -1
    this.staying = 0
    const end = this.#columns.spareSlot(range)
    for (let slot = firstSlot[range] as number; slot < end; slot++) {
      const bits = status[slot] as number
      if ((bits & replicaBits.voter) === 0) {
        this.#readLearner(slot, bits)
        continue
      }
      this.voters++
      if ((bits & replicaBits.up) !== 0) this.liveVoters++
      if ((bits & replicaBits.lease) !== 0) this.leaseholder = slot
      if ((bits & replicaBits.lost) !== 0) this.lostVoter = slot
      else if ((bits & replicaBits.leaving) !== 0) this.leavingVoter = slot
      else if (this.isEvicted(slot)) this.evictedVoter = slot
      else this.staying++
    }
    // Those that are wanted are no leftovers of a move.
    if (this.learners <= this.wantedNonVoters) this.learner = -1
    return this
  }

  #readLearner(slot: number, bits: number): void {
    this.learners++
    const wanted = this.wantedNonVoters > 0
    if ((bits & replicaBits.lost) !== 0) this.lostNonVoter = slot
    else if (wanted && (bits & replicaBits.leaving) !== 0) this.leavingNonVoter = slot
    else if (wanted && this.isEvicted(slot)) this.evictedNonVoter = slot
    // The youngest, and rather one that is of no use.
    if (this.learner < 0 || this.misplaced(slot) >= this.misplaced(this.learner)) this.learner = slot
  }

  /** How little a learner is worth as a replica without a vote. @internal */
  misplaced(slot: number): number {
    if (this.isUseless(slot)) return 3
    if (slot === this.evictedNonVoter) return 2
    return slot === this.leavingNonVoter ? 1 : 0
  }

  /** Votes to spare: how many more voters may die before the range stops. */
  get margin(): number {
    return this.liveVoters - quorumOf(this.voters)
  }

  /** What the range needs most. One that passes between two sets of voters ends that by itself. */
  need(): Need {
    if (this.#columns.joint[this.range] === 1) return 'nothing'
    if (this.voters === 0 || this.margin < 0) return 'unavailable'
    if (this.learner >= 0 && this.isLeftover()) return 'finishLearner'
    if (this.lostVoter >= 0 && this.voters <= this.wanted) return 'replaceLost'
    if (this.voters < this.wanted) return 'add'
    if (this.voters > this.wanted) return 'removeExtra'
    if (this.leaseIsLeaving()) return 'leaseOff'
    if (this.leavingVoter >= 0) return 'replaceLeaving'
    if (this.evictedVoter >= 0) return 'replaceEvicted'
    return this.needOfNonVoters()
  }

  /** What is left to do once the voters want nothing. @internal */
  needOfNonVoters(): Need {
    if (this.learners > this.wantedNonVoters) return 'removeExtraNonVoter'
    if (this.lostNonVoter >= 0) return 'replaceLostNonVoter'
    if (this.learners < this.wantedNonVoters) return 'addNonVoter'
    if (this.leavingNonVoter >= 0) return 'replaceLeavingNonVoter'
    if (this.evictedNonVoter >= 0) return 'replaceEvictedNonVoter'
    return 'nothing'
  }

  /**
   * Whether the spare learner is to be finished with at once: where no rule wants any, always; beside those that are wanted, when
   * it can take the place of a voter.
   *
   * @internal
   */
  isLeftover(): boolean {
    if (this.wantedNonVoters === 0) return true
    const missed = this.voters < this.wanted || this.successorOf() >= 0
    return missed && this.mayVote(this.learner)
  }

  /** Whether a learner could be a voter where it is. @internal */
  mayVote(slot: number): boolean {
    const { status, store, eligible } = this.#columns
    const bits = status[slot] as number
    const node = store[slot] as number
    if ((bits & replicaBits.up) === 0 || node < 0 || eligible[node] !== 1) return false
    status[slot] = bits | replicaBits.voter
    const may = !this.isEvicted(slot)
    status[slot] = bits
    return may
  }

  /** How urgent the need is: among equals, the range comes first that can least afford another loss. */
  urgency(need: Need): number {
    return need === 'unavailable' ? 0 : needPriority[need] - Math.min(100, this.margin)
  }

  /** The voter that goes when another comes, or -1 when another is missing anyway. */
  successorOf(): number {
    if (this.voters < this.wanted) return -1
    if (this.lostVoter >= 0) return this.lostVoter
    if (this.leavingVoter >= 0) return this.leavingVoter
    return this.evictedVoter
  }

  /** @internal */
  isEvicted(slot: number): boolean {
    for (const rule of this.#rules) if (rule.evicts(slot) !== undefined) return true
    return false
  }

  /** @internal */
  isUseless(slot: number): boolean {
    return ((this.#columns.status[slot] as number) & replicaBits.lost) !== 0
  }

  /** A lease leaves a node that is to be emptied, or is worked on, if there is anybody else. @internal */
  leaseIsLeaving(): boolean {
    if (this.leaseholder < 0 || this.voters < 2) return false
    const bits = this.#columns.status[this.leaseholder] as number
    if ((bits & replicaBits.leaving) !== 0) return true
    // It comes back: where nobody else can lead, nothing is done about it.
    return (bits & replicaBits.resting) !== 0 && this.otherHolder()
  }

  /** @internal */
  otherHolder(): boolean {
    const { firstSlot, status, store, eligible } = this.#columns
    const end = this.#columns.spareSlot(this.range)
    for (let slot = firstSlot[this.range] as number; slot < end; slot++) {
      const bits = status[slot] as number
      const usable = (bits & replicaBits.voter) !== 0 && (bits & replicaBits.up) !== 0
      if (usable && slot !== this.leaseholder && eligible[store[slot] as number] === 1) return true
    }
    return false
  }
}

/** The assignment's node of a slot, or that on which a lost replica was. @internal */
export function whereIs(columns: WorkingSet, assignment: Assignment, slot: number): number {
  const at = assignment.place[slot] as number
  return at === nowhere ? (columns.store[slot] as number) : at
}
