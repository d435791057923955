import { pick, type Random, shuffled } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import { bucketCount, bucketOf, digestOf } from './digest.ts'
import type { SwimMember } from './types.ts'

/** A member with what only its observer knows. Statements are replaced whole, never changed in place. */
export interface MemberRecord {
  member: SwimMember
  /** When it came into this state. */
  sinceMs: number
  /** Who accused it last, for the dead. */
  accusedBy: readonly NodeId[]
  answeredAtMs: number | undefined
  roundTripMs: number | undefined
  readonly bucket: number
  digest: number
}

/** True for members that are probed and counted. */
export function isLive(member: SwimMember): boolean {
  return member.state === 'alive' || member.state === 'suspect'
}

/**
 * Everything that a node knows of the members, itself included, with a digest by bucket that is kept up to date.
 */
export class MemberTable {
  readonly buckets: Uint32Array = new Uint32Array(bucketCount)
  readonly #records = new Map<NodeId, MemberRecord>()
  /** All but this node itself, in no order: random picks need an array. */
  #others: MemberRecord[] = []
  #live = 0
  #nextExpiryMs = Number.POSITIVE_INFINITY
  readonly #tombstoneMs: number

  constructor(self: SwimMember, nowMs: number, tombstoneMs: number) {
    this.#tombstoneMs = tombstoneMs
    this.#insert(self, nowMs)
  }

  /** Members in all. */
  get size(): number {
    return this.#records.size
  }

  /** Members alive or under suspicion, this node included. */
  get live(): number {
    return this.#live
  }

  get others(): readonly MemberRecord[] {
    return this.#others
  }

  /** When the next tombstone is due. */
  get nextExpiryMs(): number {
    return this.#nextExpiryMs
  }

  get(nodeId: NodeId): MemberRecord | undefined {
    return this.#records.get(nodeId)
  }

  records(): IterableIterator<MemberRecord> {
    return this.#records.values()
  }

  /** Adds or replaces what is known of a member. `sinceMs` is when it came into its state. */
  set(member: SwimMember, sinceMs: number): MemberRecord {
    const record = this.#records.get(member.nodeId)
    if (record === undefined) {
      const added = this.#insert(member, sinceMs)
      this.#others.push(added)
      return added
    }
    this.#account(record, -1)
    if (record.member.state !== member.state) record.sinceMs = sinceMs
    record.member = member
    record.digest = digestOf(member)
    this.#account(record, 1)
    this.#expect(record)
    return record
  }

  /** Forgets tombstones that are due. */
  expire(nowMs: number): void {
    this.#nextExpiryMs = Number.POSITIVE_INFINITY
    for (const record of this.#others.slice()) {
      if (isLive(record.member)) continue
      if (record.sinceMs + this.#tombstoneMs <= nowMs) this.#remove(record)
      else this.#expect(record)
    }
  }

  /** Forgets the oldest tombstone to make room. False if there is none. */
  evict(): boolean {
    let oldest: MemberRecord | undefined
    for (const record of this.#others) {
      if (!isLive(record.member) && record.sinceMs < (oldest?.sinceMs ?? Number.POSITIVE_INFINITY))
        oldest = record
    }
    if (oldest !== undefined) this.#remove(oldest)
    return oldest !== undefined
  }

  /** Up to `count` different members other than this node that satisfy `wanted`, at random. */
  pick(count: number, random: Random, wanted: (record: MemberRecord) => boolean): MemberRecord[] {
    const found: MemberRecord[] = []
    if (this.#others.length === 0) return found
    // A few blind draws find most of what is wanted without looking at everybody.
    for (let draws = count * 4; draws > 0 && found.length < count; draws--) {
      const record = pick(random, this.#others)
      if (wanted(record) && !found.includes(record)) found.push(record)
    }
    if (found.length >= count) return found
    const rest = this.#others.filter((record) => wanted(record) && !found.includes(record))
    return [...found, ...shuffled(random, rest).slice(0, count - found.length)]
  }

  clone(): MemberTable {
    const [self] = this.#records.values()
    const copy = new MemberTable((self as MemberRecord).member, 0, this.#tombstoneMs)
    copy.#records.clear()
    for (const record of this.#records.values()) copy.#records.set(record.member.nodeId, { ...record })
    copy.#others = this.#others.map(({ member }) => copy.#records.get(member.nodeId) as MemberRecord)
    copy.buckets.set(this.buckets)
    copy.#live = this.#live
    copy.#nextExpiryMs = this.#nextExpiryMs
    return copy
  }

  #insert(member: SwimMember, sinceMs: number): MemberRecord {
    const record: MemberRecord = {
      member,
      sinceMs,
      accusedBy: [],
      answeredAtMs: undefined,
      roundTripMs: undefined,
      bucket: bucketOf(member.nodeId),
      digest: digestOf(member),
    }
    this.#records.set(member.nodeId, record)
    this.#account(record, 1)
    this.#expect(record)
    return record
  }

  #remove(record: MemberRecord): void {
    this.#account(record, -1)
    this.#records.delete(record.member.nodeId)
    this.#others = this.#others.filter((other) => other !== record)
  }

  #account(record: MemberRecord, sign: 1 | -1): void {
    const bucket = this.buckets[record.bucket] as number
    this.buckets[record.bucket] = bucket + sign * record.digest
    if (isLive(record.member)) this.#live += sign
  }

  #expect(record: MemberRecord): void {
    if (isLive(record.member)) return
    this.#nextExpiryMs = Math.min(this.#nextExpiryMs, record.sinceMs + this.#tombstoneMs)
  }
}
