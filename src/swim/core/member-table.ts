import { type Random, shuffled } from '../../core/random.ts'
import type { Incarnation, NodeId } from '../../model/ids.ts'
import type { Coordinate } from './coordinates.ts'
import { bucketCount } from './digest.ts'
import { isRemoval } from './lives.ts'
import type { Entry } from './statement.ts'
import type { Accusation } from './suspicion.ts'
import type { AnswerPath, SwimMember } from './types.ts'

/** A process under a name. */
export interface Claim {
  readonly incarnation: Incarnation
  readonly address: string
}

/** How a probe was given up. */
export interface ProbeFailure {
  readonly atMs: number
  readonly relays: readonly NodeId[]
  readonly silentRelays: readonly NodeId[]
  readonly byStream: boolean
}

/** What only the observer of a member knows. */
export interface MemberNotes {
  /** Who accused it last, for the dead. */
  accusations: readonly Accusation[]
  answeredAtMs: number | undefined
  answeredBy: AnswerPath | undefined
  /** The last probe that it did not answer. */
  failedProbe: ProbeFailure | undefined
  roundTripMs: number | undefined
  /** The last ones, the newest last. */
  recentMs: readonly number[]
  /** Since when it answers only by streams. */
  degradedSinceMs: number | undefined
  /** Since when another life of it or another address stands under its name, and which stood there before. */
  claim: { readonly sinceMs: number; readonly before: Claim } | undefined
  /** Where it says it is. */
  coordinate: Coordinate | undefined
  /** Where it was when it showed last that it hears us: it answered a probe, or repeated a number. */
  provenAddress: string | undefined
}

/** True for members that are probed and counted. */
export function isLive(member: Pick<SwimMember, 'state'>): boolean {
  return member.state === 'alive' || member.state === 'suspect'
}

/** Blind draws for each member that is wanted, before everybody is looked at. */
const drawsEach = 6

/**
 * Everything that a node knows of the members, itself included, with a digest by bucket that is kept up to date.
 *
 * A member has a slot, a small number, as long as it is known; this node itself has slot 0. What stands in a slot is
 * shared with other views, so that a view costs some dozens of bytes for each member.
 */
export class MemberTable {
  readonly buckets: Uint32Array = new Uint32Array(bucketCount)
  readonly #slots = new Map<NodeId, number>()
  #entries: (Entry | undefined)[] = []
  #sinceMs: number[] = []
  #free: number[] = []
  /** By slot. */
  #notes: (MemberNotes | undefined)[] = []
  #live = 0
  #nextExpiryMs = Number.POSITIVE_INFINITY
  readonly #tombstoneMs: number

  constructor(self: Entry, nowMs: number, tombstoneMs: number) {
    this.#tombstoneMs = tombstoneMs
    this.set(self, nowMs)
  }

  /** Members in all. */
  get size(): number {
    return this.#slots.size
  }

  /** Members alive or under suspicion, this node included. */
  get live(): number {
    return this.#live
  }

  /** Members dead or gone. */
  get gone(): number {
    return this.#slots.size - this.#live
  }

  /** Slots in use are below this. */
  get slots(): number {
    return this.#entries.length
  }

  /** When the next tombstone is due. */
  get nextExpiryMs(): number {
    return this.#nextExpiryMs
  }

  get(nodeId: NodeId): Entry | undefined {
    const slot = this.#slots.get(nodeId)
    return slot === undefined ? undefined : this.#entries[slot]
  }

  /** What stands in a slot. */
  at(slot: number): Entry | undefined {
    return this.#entries[slot]
  }

  slotOf(nodeId: NodeId): number | undefined {
    return this.#slots.get(nodeId)
  }

  /** When a member came into its state. */
  sinceMs(nodeId: NodeId): number {
    return this.#sinceMs[this.#slots.get(nodeId) ?? -1] ?? 0
  }

  /** What this observer noted of a member. */
  notes(nodeId: NodeId): Readonly<MemberNotes> | undefined {
    const slot = this.#slots.get(nodeId)
    return slot === undefined ? undefined : this.#notes[slot]
  }

  /** Notes something of a member. */
  note(nodeId: NodeId, change: Partial<MemberNotes>): void {
    const notes = this.notesFor(nodeId)
    if (notes !== undefined) Object.assign(notes, change)
  }

  /** The notes about a member, to be changed in place; undefined for one that is not known. */
  notesFor(nodeId: NodeId): MemberNotes | undefined {
    const slot = this.#slots.get(nodeId)
    if (slot === undefined) return undefined
    const known = this.#notes[slot]
    if (known !== undefined) return known
    const notes = { ...noNotes }
    this.#notes[slot] = notes
    return notes
  }

  /** All members, this node first. */
  *entries(): Generator<Entry> {
    for (const entry of this.#entries) if (entry !== undefined) yield entry
  }

  /** Adds or replaces what is known of a member. `sinceMs` is when it came into its state. */
  set(entry: Entry, sinceMs: number): void {
    const { nodeId, state } = entry.member
    const known = this.#slots.get(nodeId)
    const slot = known ?? this.#free.pop() ?? this.#entries.length
    const before = known === undefined ? undefined : this.#entries[slot]
    if (before !== undefined) this.#account(before, -1)
    else this.#slots.set(nodeId, slot)
    if (before?.member.state !== state) this.#sinceMs[slot] = sinceMs
    this.#entries[slot] = entry
    while (this.#notes.length <= slot) this.#notes.push(undefined)
    this.#account(entry, 1)
    this.#expect(entry, this.#sinceMs[slot] as number)
  }

  /** Forgets tombstones that are due, and tells which. A member that was removed is not forgotten. */
  expire(nowMs: number): Entry[] {
    const forgotten: Entry[] = []
    this.#nextExpiryMs = Number.POSITIVE_INFINITY
    for (let slot = 1; slot < this.#entries.length; slot++) {
      const entry = this.#entries[slot]
      if (entry === undefined || isLive(entry.member) || isRemoval(entry.member)) continue
      const sinceMs = this.#sinceMs[slot] as number
      if (sinceMs + this.#tombstoneMs > nowMs) {
        this.#expect(entry, sinceMs)
        continue
      }
      this.#remove(slot, entry)
      forgotten.push(entry)
    }
    return forgotten
  }

  /** Forgets the oldest tombstone to make room, one of a removed member last. Undefined if there is none. */
  evict(): Entry | undefined {
    if (this.gone === 0) return undefined
    let oldest = 0
    for (let slot = 1; slot < this.#entries.length; slot++) {
      const entry = this.#entries[slot]
      if (entry === undefined || isLive(entry.member)) continue
      if (oldest === 0 || this.#goesBefore(slot, oldest)) oldest = slot
    }
    const entry = oldest === 0 ? undefined : this.#entries[oldest]
    if (entry !== undefined) this.#remove(oldest, entry)
    return entry
  }

  /** Up to `count` different members other than this node that satisfy `wanted`, at random. */
  pick(count: number, random: Random, wanted: (entry: Entry) => boolean): Entry[] {
    const found: Entry[] = []
    const slots = this.#entries.length
    if (this.#slots.size < 2) return found
    // A few blind draws find most of what is wanted without looking at everybody.
    for (let draws = count * drawsEach; draws > 0 && found.length < count; draws--) {
      const entry = this.#entries[1 + random.integer(slots - 1)]
      if (entry !== undefined && wanted(entry) && !found.includes(entry)) found.push(entry)
    }
    if (found.length >= count) return found
    const rest: Entry[] = []
    for (let slot = 1; slot < slots; slot++) {
      const entry = this.#entries[slot]
      if (entry !== undefined && wanted(entry) && !found.includes(entry)) rest.push(entry)
    }
    return [...found, ...shuffled(random, rest).slice(0, count - found.length)]
  }

  clone(): MemberTable {
    const copy = new MemberTable(this.#entries[0] as Entry, 0, this.#tombstoneMs)
    for (const [nodeId, slot] of this.#slots) copy.#slots.set(nodeId, slot)
    copy.#entries = this.#entries.slice()
    copy.#sinceMs = this.#sinceMs.slice()
    copy.#free = this.#free.slice()
    copy.#notes = this.#notes.map((notes) => notes && { ...notes })
    copy.buckets.set(this.buckets)
    copy.#live = this.#live
    copy.#nextExpiryMs = this.#nextExpiryMs
    return copy
  }

  #goesBefore(slot: number, other: number): boolean {
    const removal = isRemoval((this.#entries[slot] as Entry).member)
    if (removal !== isRemoval((this.#entries[other] as Entry).member)) return !removal
    return (this.#sinceMs[slot] as number) < (this.#sinceMs[other] as number)
  }

  #remove(slot: number, entry: Entry): void {
    this.#account(entry, -1)
    this.#slots.delete(entry.member.nodeId)
    this.#notes[slot] = undefined
    this.#entries[slot] = undefined
    this.#free.push(slot)
  }

  #account({ bucket, digest, member }: Entry, sign: 1 | -1): void {
    this.buckets[bucket] = (this.buckets[bucket] as number) + sign * digest
    if (isLive(member)) this.#live += sign
  }

  #expect({ member }: Entry, sinceMs: number): void {
    if (!isLive(member) && !isRemoval(member))
      this.#nextExpiryMs = Math.min(this.#nextExpiryMs, sinceMs + this.#tombstoneMs)
  }
}

const noNotes: MemberNotes = {
  accusations: [],
  answeredAtMs: undefined,
  answeredBy: undefined,
  failedProbe: undefined,
  roundTripMs: undefined,
  recentMs: [],
  degradedSinceMs: undefined,
  claim: undefined,
  coordinate: undefined,
  provenAddress: undefined,
}
