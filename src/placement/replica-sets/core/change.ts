import type { Incarnation, NodeId } from '../../../model/ids.ts'
import { comparePositions, type LogPosition } from './member.ts'
import type { QuorumSet, SetMember } from './quorum-set.ts'

/** What one member says of itself. */
export interface MemberStatus {
  /** The life of its data. */
  readonly incarnation: Incarnation
  /** Epoch that it obeys. */
  readonly epoch: number
  /** Sequence of the primary that it obeys. */
  readonly sequence: number
  /** The `joined` of the membership for which it has taken over everything from before; 0 for none. */
  readonly completeFor: number
  /** How far its log is. */
  readonly position: LogPosition
  /** It is primary under `sequence` and takes writes. */
  readonly serving: boolean
}

/** A replica set as the store has it. */
export interface ReplicaSetRecord {
  /** The newest epoch. */
  readonly set: QuorumSet
  /** Older epochs of which it is not known yet that no write can be acknowledged in them any more. */
  readonly unsealed: readonly QuorumSet[]
  /** Who is primary, when somebody is. */
  readonly primary: NodeId | undefined
  /** Sequence of the newest primary; 0 before the first. */
  readonly sequence: number
}

/** What is known when a step is decided: members that do not answer are not in it. */
export interface SetView {
  /** The set as the store has it. */
  readonly record: ReplicaSetRecord
  /**
   * What the members say that answer, candidates and former members included. Who is in a set with another life of its
   * data is not in it: that is no member any more.
   */
  readonly members: ReadonlyMap<NodeId, MemberStatus>
}

/** What a change of members is to achieve. */
export interface SetChange {
  /** The member that is suspect. */
  readonly suspect: NodeId
  /** Who may take its place. */
  readonly candidate: NodeId
  /** The life of the candidate's data. */
  readonly incarnation: Incarnation
  /** Whether the suspect stays when it is back before the candidate is complete. */
  readonly mayReturn: boolean
  /** The candidate has stood beside the suspect: where only the suspect is left, the change is over. */
  readonly begun: boolean
}

/** What to do next for a change of members. */
export type SetStep =
  | {
      /** The store gets the next epoch. */
      readonly type: 'epoch'
      /** The set of that epoch. */
      readonly set: QuorumSet
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** Members are told of the newest epoch. */
      readonly type: 'install'
      /** Those that do not know it. */
      readonly nodeIds: readonly NodeId[]
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** No write of an older epoch can be acknowledged any more: the store notes it. */
      readonly type: 'seal'
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** The candidate takes over what there was before it came. */
      readonly type: 'hydrate'
      /** The candidate. */
      readonly member: SetMember
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** Nothing is left to do. */
      readonly type: 'done'
      /** Who is no member any more and may drop what it holds. */
      readonly retire: readonly NodeId[]
      /** What came of it, in one line. */
      readonly outcome: string
    }
  | {
      /** The change makes no sense any more. */
      readonly type: 'abandon'
      /** Why, in one line. */
      readonly why: string
    }

/** Whether a member has everything from before it joined. */
export function isComplete(member: SetMember, view: SetView): boolean {
  return view.members.get(member.nodeId)?.completeFor === member.joined
}

/**
 * Decides the steps of a change of members: pure, and level-triggered, so that it does not matter who made the steps
 * before. Each change of the set is an epoch of its own; nothing counts on an epoch before all older ones are sealed.
 */
export class SetChangeRules {
  /** The next step forward. */
  next(change: SetChange, view: SetView): SetStep {
    const { suspect, candidate } = change
    const { set } = view.record
    const pending = this.sealing(view)
    if (pending !== undefined) return pending
    const slot = this.slotOf(change, set)
    if (slot === undefined) {
      return { type: 'abandon', why: `neither ${suspect} nor ${candidate} is in the replica set any more` }
    }
    const [first, second] = slot
    if (second === undefined) {
      if (first?.nodeId === candidate)
        return this.done(suspect, set, `${candidate} has taken the place of ${suspect}`)
      if (change.begun) return this.done(candidate, set, `${suspect} is back and stays, epoch ${set.epoch}`)
      if (view.record.primary === suspect) return this.isPrimary(suspect)
      if (set.member(candidate) !== undefined)
        return { type: 'abandon', why: `${candidate} is in another slot of the replica set` }
      return {
        type: 'epoch',
        set: set.withCandidate(suspect, { nodeId: candidate, incarnation: change.incarnation }),
        why: `${candidate} stands beside ${suspect}: writes need both quorums`,
      }
    }
    if (second.nodeId !== candidate || first?.nodeId !== suspect)
      return { type: 'abandon', why: `${second.nodeId} stands beside ${first?.nodeId} already` }
    return this.decide(change, second, view)
  }

  /** The next step back: the suspect stays, and the candidate goes. */
  undo(change: SetChange, view: SetView): SetStep {
    const { suspect, candidate } = change
    const { set } = view.record
    const pending = this.sealing(view)
    const slot = this.slotOf(change, set)
    // An epoch that may have been installed somewhere is not taken back but followed by the next one.
    if (slot?.length === 2 && slot[0]?.nodeId === suspect && slot[1]?.nodeId === candidate)
      return { type: 'epoch', set: set.settled(suspect), why: `${suspect} stays; ${candidate} goes` }
    if (pending !== undefined) return pending
    if (slot?.[0]?.nodeId === candidate)
      return this.done(suspect, set, `${candidate} had taken the place of ${suspect} and stays`)
    return this.done(candidate, set, `${suspect} stays, epoch ${set.epoch}; nothing is left of it`)
  }

  /** Who is a member in another slot retires from nothing. @internal */
  done(gone: NodeId, set: QuorumSet, outcome: string): SetStep {
    return { type: 'done', retire: set.member(gone) === undefined ? [gone] : [], outcome }
  }

  /** With both in the slot: who stays. @internal */
  decide(change: SetChange, candidate: SetMember, view: SetView): SetStep {
    const { set } = view.record
    if (view.record.primary === change.suspect) return this.isPrimary(change.suspect)
    if (this.mayReplace(candidate, view)) {
      return {
        type: 'epoch',
        set: set.settled(candidate.nodeId),
        why: `${candidate.nodeId} is complete and takes the place of ${change.suspect}`,
      }
    }
    if (change.mayReturn && this.isBack(change.suspect, view)) {
      return { type: 'epoch', set: set.settled(change.suspect), why: `${change.suspect} is back and stays` }
    }
    const missing = this.unaware(view)
    if (missing.includes(candidate.nodeId))
      return { type: 'install', nodeIds: missing, why: `${candidate.nodeId} has to know epoch ${set.epoch}` }
    return { type: 'hydrate', member: candidate, why: `${candidate.nodeId} takes over what there was before` }
  }

  /** @internal */
  isPrimary(suspect: NodeId): SetStep {
    return { type: 'abandon', why: `${suspect} is primary: make another member primary first` }
  }

  /** A candidate takes a place only with everything that was acknowledged before it came. @internal */
  mayReplace(candidate: SetMember, view: SetView): boolean {
    return isComplete(candidate, view)
  }

  /** A suspect is back when it answers, is complete, knows the epoch and is as far as anybody. @internal */
  isBack(suspect: NodeId, view: SetView): boolean {
    const { set } = view.record
    const status = view.members.get(suspect)
    const member = set.member(suspect)
    if (status === undefined || member === undefined || !isComplete(member, view)) return false
    if (status.epoch < set.epoch) return false
    for (const { nodeId } of set.members) {
      const other = view.members.get(nodeId)
      if (other !== undefined && comparePositions(status.position, other.position) < 0) return false
    }
    return true
  }

  /** Until all older epochs are sealed, that comes first. @internal */
  sealing(view: SetView): SetStep | undefined {
    const { set, unsealed } = view.record
    if (unsealed.length === 0) return undefined
    const knows = (nodeId: NodeId): boolean => (view.members.get(nodeId)?.epoch ?? 0) >= set.epoch
    if (unsealed.every((old) => this.isSealed(old, knows)))
      return { type: 'seal', why: `no write of an epoch before ${set.epoch} can be acknowledged any more` }
    return {
      type: 'install',
      nodeIds: this.unaware(view),
      why: `the members have to know epoch ${set.epoch}`,
    }
  }

  /** @internal */
  isSealed(old: QuorumSet, knows: (nodeId: NodeId) => boolean): boolean {
    return old.isFenced(knows)
  }

  /** Members of the newest and of unsealed epochs that do not know the newest one, whether they answer or not. @internal */
  unaware(view: SetView): readonly NodeId[] {
    const { set, unsealed } = view.record
    const all = new Set([set, ...unsealed].flatMap((each) => each.members.map(({ nodeId }) => nodeId)))
    return [...all].filter((nodeId) => (view.members.get(nodeId)?.epoch ?? 0) < set.epoch).sort()
  }

  /** @internal */
  slotOf({ suspect, candidate }: SetChange, set: QuorumSet): readonly SetMember[] | undefined {
    const has = (nodeId: NodeId) => (slot: readonly SetMember[]) =>
      slot.some((each) => each.nodeId === nodeId)
    return set.slots.find(has(suspect)) ?? set.slots.find(has(candidate))
  }
}
