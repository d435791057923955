import { invariant } from '../../../core/invariant.ts'
import type { NodeId } from '../../../model/ids.ts'
import type { ReplicaSetRecord } from './change.ts'
import type { MemberLife, QuorumSet, SetMember } from './quorum-set.ts'

/** A write of the log. */
export interface AcknowledgedWrite {
  /** Its place in the log. */
  readonly index: number
  /** Sequence of the primary that took it. */
  readonly sequence: number
}

/** Under what a member accepts a write: the rules of its writer. */
export interface WriterRules {
  /** The set by which the writer counts. */
  readonly set: QuorumSet
  /** The sequence under which it is primary. */
  readonly sequence: number
}

/**
 * Judges a run of a replica set by what happens, not by what anybody believes. Give it every event as it happens.
 *
 * Every method throws KeelsonError `INVARIANT_VIOLATED`.
 */
export class ReplicaSetAudit {
  #writes: (AcknowledgedWrite & { readonly epoch: number })[] = []
  #sealed = 0
  #sequence = 0
  #has: (write: AcknowledgedWrite) => boolean = () => true
  /** Who has accepted anything in an epoch after it was sealed. */
  readonly #late = new Map<number, Set<NodeId>>()
  /** What each life of a member has promised to obey. */
  readonly #promised = new Map<string, { readonly epoch: number; readonly sequence: number }>()
  /** Who has begun under which sequence. */
  readonly #primaries = new Map<number, NodeId>()
  /** The slots before one of them became double. */
  #settled: QuorumSet | undefined

  /** Writes that were acknowledged. */
  get writes(): readonly AcknowledgedWrite[] {
    return this.#writes
  }

  /** A member has promised to refuse what is older. */
  installed(life: MemberLife, epoch: number, sequence: number): void {
    const before = this.#promised.get(lifeKey(life))
    invariant(
      before === undefined || (before.epoch <= epoch && before.sequence <= sequence),
      `${life.nodeId} goes back to neither an older epoch nor an older sequence`,
    )
    this.#promised.set(lifeKey(life), { epoch, sequence })
  }

  /**
   * A member has accepted a write. It obeys nobody who is older than what it has promised, and only the life of it that is a
   * member counts. Those that accept anything in an epoch after it was sealed are no write quorum of it, so that whatever is
   * acknowledged in it was accepted before by somebody whom the next epoch hears.
   */
  accepted(life: MemberLife, write: AcknowledgedWrite, writer: WriterRules): void {
    const { nodeId } = life
    const { set, sequence } = writer
    const promised = this.#promised.get(lifeKey(life))
    invariant(
      promised === undefined || (promised.epoch <= set.epoch && promised.sequence <= sequence),
      `${nodeId} refuses epoch ${set.epoch} and sequence ${sequence}, both not older than what it has promised`,
    )
    const member = set.member(nodeId)
    invariant(
      member === undefined || member.incarnation === life.incarnation,
      `${nodeId} is a member in the life of its data that epoch ${set.epoch} names`,
    )
    if (set.epoch > this.#sealed) return
    const late = this.#late.get(set.epoch) ?? new Set()
    this.#late.set(set.epoch, late.add(nodeId))
    invariant(
      !set.isWritten((each) => late.has(each)),
      `after it is sealed epoch ${set.epoch} gets no quorum for the write at index ${write.index}`,
    )
  }

  /**
   * A write was acknowledged by a primary that counts by the set of an epoch. One of an earlier primary can only be one that
   * the present one has.
   */
  acknowledged(write: AcknowledgedWrite, by: NodeId, epoch: number): void {
    this.#actsAlone(by, write.sequence)
    invariant(
      write.sequence >= this.#sequence || this.#has(write),
      `sequence ${write.sequence} acknowledges no write that the primary of ${this.#sequence} lacks`,
    )
    this.#writes.push({ ...write, epoch })
  }

  /** A primary begins to take writes: it has every write that was acknowledged, and its sequence for itself. */
  promoted(by: NodeId, sequence: number, has: (write: AcknowledgedWrite) => boolean): void {
    this.#actsAlone(by, sequence)
    invariant(sequence >= this.#sequence, `sequence ${sequence} does not begin after ${this.#sequence}`)
    this.#sequence = sequence
    this.#has = has
    for (const write of this.#writes)
      invariant(has(write), `the primary of sequence ${sequence} has the write at index ${write.index}`)
  }

  #actsAlone(nodeId: NodeId, sequence: number): void {
    const known = this.#primaries.get(sequence) ?? nodeId
    invariant(known === nodeId, `only ${known} acts under sequence ${sequence}, not ${nodeId} as well`)
    this.#primaries.set(sequence, nodeId)
  }

  /**
   * The store has the next record. Epochs follow each other one slot at a time, and an undone change leaves exactly the old
   * set; the primary is a member; who takes a place has every write from before it came.
   */
  changed(
    before: ReplicaSetRecord,
    after: ReplicaSetRecord,
    has: (nodeId: NodeId, write: AcknowledgedWrite) => boolean,
  ): void {
    const { set, unsealed, primary, sequence } = after
    invariant(sequence >= before.sequence, `sequence ${before.sequence} is not followed by ${sequence}`)
    invariant(
      sequence > before.sequence || before.primary === undefined || before.primary === primary,
      `sequence ${sequence} has one primary`,
    )
    invariant(
      primary === undefined || set.mayLead(primary),
      `the primary ${primary} is a member of epoch ${set.epoch}, and no candidate`,
    )
    if (set.epoch === before.set.epoch) {
      invariant(showSlots(set) === showSlots(before.set), `epoch ${set.epoch} has one set`)
    } else {
      this.#followed(before.set, set, has)
      const kept = [...before.unsealed, before.set].map(({ epoch }) => epoch).join()
      invariant(
        unsealed.map(({ epoch }) => epoch).join() === kept,
        `epoch ${set.epoch} begins while ${kept} are not sealed`,
      )
    }
    if (unsealed.length === 0) this.#sealed = Math.max(this.#sealed, set.epoch - 1)
  }

  #followed(
    before: QuorumSet,
    after: QuorumSet,
    has: (nodeId: NodeId, write: AcknowledgedWrite) => boolean,
  ): void {
    const { epoch } = after
    invariant(epoch === before.epoch + 1, `epoch ${before.epoch} is followed by ${before.epoch + 1}`)
    const at = after.slots.findIndex((slot, i) => showSlot(slot) !== showSlot(before.slots[i] ?? []))
    const [old, now] = [before.slots[at] ?? [], after.slots[at] ?? []]
    const others = (set: QuorumSet): string =>
      set.slots
        .filter((_, i) => i !== at)
        .map(showSlot)
        .join(' ')
    invariant(at >= 0 && others(before) === others(after), `epoch ${epoch} changes one slot`)
    if (old.length === 1) {
      invariant(
        now.length === 2 && showSlot(now.slice(0, 1)) === showSlot(old),
        `epoch ${epoch} has the suspect still`,
      )
      invariant(now[1]?.joined === epoch, `the candidate of epoch ${epoch} begins anew`)
      this.#settled = before
      return
    }
    invariant(now.length === 1, `epoch ${epoch} has one of the two`)
    const [stays] = now as readonly [SetMember]
    if (stays.nodeId === old[0]?.nodeId) {
      const exact = this.#settled === undefined || showSlots(this.#settled) === showSlots(after)
      invariant(exact, `epoch ${epoch} is exactly the set of before the change that it undoes`)
      return
    }
    for (const write of this.#writes)
      invariant(
        write.epoch >= stays.joined || has(stays.nodeId, write),
        `${stays.nodeId} takes a place with the write at index ${write.index} from before it came`,
      )
  }

  /**
   * Whatever read quorum of complete members is asked, in every epoch that may still count, it shows every acknowledged
   * write: there is none among those that lack one.
   */
  durable(
    record: Pick<ReplicaSetRecord, 'set' | 'unsealed'>,
    isComplete: (member: SetMember) => boolean,
    has: (nodeId: NodeId, write: AcknowledgedWrite) => boolean,
  ): void {
    const sets = [record.set, ...record.unsealed]
    for (const write of this.#writes) {
      const blind = (member: SetMember): boolean => isComplete(member) && !has(member.nodeId, write)
      invariant(
        !sets.every((set) => set.isRead(blind)),
        `every read quorum of epoch ${record.set.epoch} shows the write at index ${write.index}`,
      )
    }
  }

  /** Nobody works on the set any more: nothing is left half done that would wait for somebody's next change. */
  rested({ set, unsealed }: Pick<ReplicaSetRecord, 'set' | 'unsealed'>): void {
    const open = unsealed.map(({ epoch }) => epoch).join()
    invariant(
      unsealed.length === 0,
      `nothing of the epochs before ${set.epoch} is left unsealed, as ${open} is`,
    )
    invariant(
      set.slots.every((slot) => slot.length === 1),
      `no slot of epoch ${set.epoch} is left double`,
    )
  }

  /** Acknowledged writes were given up knowingly: by force, and after that was said. */
  gaveUp(isLost: (write: AcknowledgedWrite) => boolean): number {
    const before = this.#writes.length
    this.#writes = this.#writes.filter((write) => !isLost(write))
    return before - this.#writes.length
  }
}

function lifeKey({ nodeId, incarnation }: MemberLife): string {
  return `${nodeId}/${incarnation}`
}

function showSlot(slot: readonly SetMember[]): string {
  return slot.map((member) => `${lifeKey(member)}/${member.joined}`).join('+')
}

function showSlots(set: QuorumSet): string {
  return set.slots.map(showSlot).join(' ')
}
