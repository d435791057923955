import { KeelsonError } from '../../../core/errors.ts'
import { showValue } from '../../../core/options.ts'
import { checkId, checkName, type Incarnation, type NodeId } from '../../../model/ids.ts'

/** Who is to be a member: a node, in one life of its data. */
export interface MemberLife {
  /** The node that holds the copy. */
  readonly nodeId: NodeId
  /** The life of its data. With another one it has forgotten what it promised, and is no member. */
  readonly incarnation: Incarnation
}

/** A member of a replica set. */
export interface SetMember extends MemberLife {
  /** Epoch with which it came: what it holds counts once it has taken over everything from before that. */
  readonly joined: number
}

/** Most slots of a replica set. */
export const maximumSlots = 32

/**
 * The members of a replica set in one epoch, and what a quorum of them is.
 *
 * The set has a slot for each copy that there is to be. A slot holds one member, or two while one of them is suspect: the
 * suspect and the candidate that may take its place. Every choice of one member from each slot is a quorum group, and while
 * slots are double a write needs the quorum of **all** groups (ABCDEF *and* ABCDEG), which comes to: the slots all of whose
 * members have it are at least `writeQuorum`. A read needs that of **one** group: the slots any of whose members have
 * answered are at least `readQuorum`; a candidate counts only once it is complete. So each step, forward and back, goes
 * between sets whose quorums meet.
 *
 * Source: Verbitski et al., Amazon Aurora: On Avoiding Distributed Consensus for I/Os, Commits, and Membership Changes
 * (SIGMOD 2018), sections 4.1 and 4.2. That a candidate counts for reads only once it is complete is added here.
 *
 * Immutable. Invariants: readQuorum + writeQuorum > slots, 2 · writeQuorum > slots, no node twice.
 */
export class QuorumSet {
  /** Grows by one with each change. Members refuse who knows an older one. */
  readonly epoch: number
  /** The copies: one member each, or a suspect and its candidate, in that order. */
  readonly slots: readonly (readonly SetMember[])[]
  /** Slots that a write needs. */
  readonly writeQuorum: number
  /** Slots that a read needs. */
  readonly readQuorum: number

  /** @throws KeelsonError `INVALID_ARGUMENT` */
  constructor(parts: {
    readonly epoch: number
    readonly slots: readonly (readonly SetMember[])[]
    readonly writeQuorum: number
    readonly readQuorum: number
  }) {
    const { epoch, slots, writeQuorum, readQuorum } = parts
    check(Number.isSafeInteger(epoch) && epoch >= 1, `has an epoch from 1, not ${showValue(epoch)}`)
    check(
      Array.isArray(slots) && slots.length >= 1 && slots.length <= maximumSlots,
      `has 1 to ${maximumSlots} slots`,
    )
    const names = new Set<NodeId>()
    for (const slot of slots) {
      check(Array.isArray(slot) && slot.length >= 1 && slot.length <= 2, 'has one or two members in a slot')
      for (const { nodeId, incarnation, joined } of slot) {
        checkName(nodeId, 'a member of a replica set')
        checkId(incarnation, `the incarnation of ${nodeId} in a replica set`)
        check(!names.has(nodeId), `has ${nodeId} once`)
        check(Number.isSafeInteger(joined) && joined >= 1 && joined <= epoch, `has no member from the future`)
        names.add(nodeId)
      }
    }
    const whole = Number.isSafeInteger(writeQuorum) && Number.isSafeInteger(readQuorum)
    check(
      whole &&
        writeQuorum >= 1 &&
        writeQuorum <= slots.length &&
        readQuorum >= 1 &&
        readQuorum <= slots.length,
      `has quorums of 1 to ${slots.length}`,
    )
    check(readQuorum + writeQuorum > slots.length, 'has a read quorum that meets every write quorum')
    check(2 * writeQuorum > slots.length, 'has write quorums that meet each other')
    this.epoch = epoch
    this.slots = slots
    this.writeQuorum = writeQuorum
    this.readQuorum = readQuorum
  }

  /** The first epoch of a new set. Default quorums: majorities for both. @throws KeelsonError `INVALID_ARGUMENT` */
  static of(
    members: readonly MemberLife[],
    quorums: { readonly writeQuorum?: number; readonly readQuorum?: number } = {},
  ): QuorumSet {
    check(Array.isArray(members), 'is made of a list of members')
    const writeQuorum = quorums.writeQuorum ?? Math.floor(members.length / 2) + 1
    const readQuorum = quorums.readQuorum ?? members.length - writeQuorum + 1
    const slots = members.map(({ nodeId, incarnation }) => [{ nodeId, incarnation, joined: 1 }])
    return new QuorumSet({ epoch: 1, slots, writeQuorum, readQuorum })
  }

  /** All members, candidates included. */
  get members(): readonly SetMember[] {
    return this.slots.flat()
  }

  /** A member by name. */
  member(nodeId: NodeId): SetMember | undefined {
    return this.members.find((member) => member.nodeId === nodeId)
  }

  /** Whether it is the same set in the same epoch. */
  equals(other: QuorumSet): boolean {
    const { epoch, slots, writeQuorum, readQuorum } = this
    const same = (slot: readonly SetMember[], i: number): boolean => {
      const others = other.slots[i] ?? []
      return (
        slot.length === others.length &&
        slot.every(({ nodeId, incarnation, joined }, j) => {
          const member = others[j]
          return member?.nodeId === nodeId && member.incarnation === incarnation && member.joined === joined
        })
      )
    }
    return (
      epoch === other.epoch &&
      writeQuorum === other.writeQuorum &&
      readQuorum === other.readQuorum &&
      slots.length === other.slots.length &&
      slots.every(same)
    )
  }

  /** Whether a node may be primary: a candidate may not, since it goes when the suspect is back. */
  mayLead(nodeId: NodeId): boolean {
    return this.slots.some((slot) => slot[0]?.nodeId === nodeId)
  }

  /** Whether a write that these nodes have is acknowledged: by the write quorum of every group. */
  isWritten(has: (nodeId: NodeId) => boolean): boolean {
    return this.slots.filter((slot) => slot.every(({ nodeId }) => has(nodeId))).length >= this.writeQuorum
  }

  /**
   * Whether answers of these nodes show every acknowledged write: they are the read quorum of some group. A member that is
   * not complete has not answered.
   */
  isRead(answered: (member: SetMember) => boolean): boolean {
    return this.slots.filter((slot) => slot.some(answered)).length >= this.readQuorum
  }

  /** Whether no write of this epoch can be acknowledged any more, since these nodes refuse it. */
  isFenced(refuses: (nodeId: NodeId) => boolean): boolean {
    const refusing = this.slots.filter((slot) => slot.some(({ nodeId }) => refuses(nodeId))).length
    return this.slots.length - refusing < this.writeQuorum
  }

  /** The next epoch, in which a candidate stands beside a suspect. @throws KeelsonError `INVALID_ARGUMENT` */
  withCandidate(suspect: NodeId, candidate: MemberLife): QuorumSet {
    const { nodeId, incarnation } = candidate
    const epoch = this.epoch + 1
    const at = this.slots.findIndex((slot) => slot.length === 1 && slot[0]?.nodeId === suspect)
    check(at >= 0, `has ${suspect} as the only member of a slot`)
    const slot = [...(this.slots[at] as readonly SetMember[]), { nodeId, incarnation, joined: epoch }]
    return this.#next(this.slots.map((each, i) => (i === at ? slot : each)))
  }

  /** The next epoch, in which one of two stays. @throws KeelsonError `INVALID_ARGUMENT` */
  settled(stays: NodeId): QuorumSet {
    const at = this.slots.findIndex(
      (slot) => slot.length === 2 && slot.some(({ nodeId }) => nodeId === stays),
    )
    check(at >= 0, `has ${stays} in a slot of two`)
    return this.#next(
      this.slots.map((slot, i) => (i === at ? slot.filter(({ nodeId }) => nodeId === stays) : slot)),
    )
  }

  #next(slots: readonly (readonly SetMember[])[]): QuorumSet {
    const { epoch, writeQuorum, readQuorum } = this
    return new QuorumSet({ epoch: epoch + 1, slots, writeQuorum, readQuorum })
  }
}

function check(condition: boolean, what: string): void {
  if (condition) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `a replica set ${what}; look at the replica set and correct the call`,
  )
}
