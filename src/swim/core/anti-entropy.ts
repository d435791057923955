import { pick, type Random, shuffled } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import { encodeRecord, type SwimMessage, type SyncRecord } from './codec.ts'
import { differingBuckets, maskHas } from './digest.ts'
import { syncScale } from './formulas.ts'
import { isLive, type MemberRecord } from './member-table.ts'
import { aliveMessage, type Membership } from './membership.ts'
import type { SendTo } from './prober.ts'

/** Seeds that are asked at once. */
const seedsAtOnce = 8

/** Bytes of a `state` message besides its records. */
const stateMessageBytes = 1 + 4 + 1 + 8

/**
 * Push-pull anti-entropy over datagrams: two nodes compare digests of their views, 32 buckets in one packet, and tell
 * each other only the members of the buckets that differ. Equal views cost one packet. It lets a node join, repairs what
 * gossip lost, and, tried with the dead and with seeds, makes the halves of a partition one cluster again.
 */
export class AntiEntropy {
  readonly #membership: Membership
  readonly #random: Random
  readonly #send: SendTo
  /** Bytes that a packet has for messages. */
  readonly #roomBytes: number
  #seeds: readonly string[] = []
  #syncAtMs: number | undefined
  #reconnectAtMs: number | undefined
  #joinAtMs: number | undefined
  #joinDelayMs: number
  #budgetBytes: number
  #budgetAtMs: number

  constructor(membership: Membership, random: Random, send: SendTo, roomBytes: number, nowMs: number) {
    this.#membership = membership
    this.#random = random
    this.#send = send
    this.#roomBytes = roomBytes
    this.#joinDelayMs = membership.tuning.probeIntervalMs
    this.#budgetBytes = membership.tuning.maximumSyncBytesPerSecond
    this.#budgetAtMs = nowMs
  }

  get deadlineMs(): number {
    const never = Number.POSITIVE_INFINITY
    return Math.min(this.#syncAtMs ?? never, this.#reconnectAtMs ?? never, this.#joinAtMs ?? never)
  }

  /** Sets the addresses at which others may be found, and asks them at once. */
  join(seeds: readonly string[], nowMs: number): void {
    this.#seeds = [...new Set(seeds)].filter((seed) => seed !== this.#membership.self.address)
    this.#joinDelayMs = this.#membership.tuning.probeIntervalMs
    this.#askSeeds(nowMs)
  }

  /** Plans what the present view calls for. After every input. */
  plan(nowMs: number): void {
    const { peers, leaving, tuning, table } = this.#membership
    if (leaving) {
      this.#syncAtMs = undefined
      this.#reconnectAtMs = undefined
      this.#joinAtMs = undefined
      return
    }
    if (peers === 0) this.#syncAtMs = undefined
    // The first exchange comes soon: whoever is new may have heard of a part of the cluster only.
    else this.#syncAtMs ??= nowMs + tuning.probeIntervalMs * (1 + this.#random.float())
    if (table.size > 1 || this.#seeds.length > 0) {
      this.#reconnectAtMs ??= nowMs + tuning.reconnectIntervalMs * (0.5 + this.#random.float())
    } else this.#reconnectAtMs = undefined
    if (peers > 0 || this.#seeds.length === 0) {
      this.#joinAtMs = undefined
      this.#joinDelayMs = tuning.probeIntervalMs
    } else this.#joinAtMs ??= nowMs + this.#joinDelayMs * (0.5 + this.#random.float())
  }

  advanceTo(nowMs: number): void {
    const { tuning, table } = this.#membership
    if (this.#joinAtMs !== undefined && nowMs >= this.#joinAtMs) this.#askSeeds(nowMs)
    if (this.#syncAtMs !== undefined && nowMs >= this.#syncAtMs) {
      const intervalMs = tuning.syncIntervalMs * syncScale(table.live)
      this.#syncAtMs = nowMs + intervalMs * (0.75 + this.#random.float() / 2)
      const [partner] = table.pick(1, this.#random, ({ member }) => isLive(member))
      if (partner !== undefined) this.#offer(partner.member.address, partner.member.nodeId)
    }
    if (this.#reconnectAtMs !== undefined && nowMs >= this.#reconnectAtMs) {
      this.#reconnectAtMs = nowMs + tuning.reconnectIntervalMs * (0.75 + this.#random.float() / 2)
      this.reconnect()
    }
  }

  /** @internal Tries one that is held dead, or a seed where no member lives: it may be the other half of a partition. */
  reconnect(): void {
    const { table } = this.#membership
    const covered = new Set<string>()
    const candidates: string[] = []
    for (const { member } of table.others) {
      if (isLive(member)) covered.add(member.address)
      else if (member.state === 'dead' && member.address !== '') candidates.push(member.address)
    }
    candidates.push(...this.#seeds.filter((seed) => !covered.has(seed)))
    if (candidates.length > 0) this.#introduce(pick(this.#random, candidates))
  }

  /** Answers a peer's digests with our records of the buckets that differ. */
  onOffer(from: string, theirs: Uint32Array, nowMs: number): void {
    const mask = differingBuckets(this.#membership.table.buckets, theirs)
    if (mask !== 0) this.#sendState(from, mask, true, nowMs)
  }

  onState(
    from: string,
    sender: NodeId,
    message: Extract<SwimMessage, { kind: 'state' }>,
    nowMs: number,
  ): void {
    for (const record of message.records) this.#membership.merge(record, sender, nowMs)
    if (message.wantReturn) this.#sendState(from, message.mask, false, nowMs)
  }

  clone(membership: Membership, random: Random, send: SendTo): AntiEntropy {
    const copy = new AntiEntropy(membership, random, send, this.#roomBytes, this.#budgetAtMs)
    copy.#seeds = this.#seeds
    copy.#syncAtMs = this.#syncAtMs
    copy.#reconnectAtMs = this.#reconnectAtMs
    copy.#joinAtMs = this.#joinAtMs
    copy.#joinDelayMs = this.#joinDelayMs
    copy.#budgetBytes = this.#budgetBytes
    return copy
  }

  #askSeeds(nowMs: number): void {
    const { tuning } = this.#membership
    for (const seed of shuffled(this.#random, this.#seeds).slice(0, seedsAtOnce)) this.#introduce(seed)
    this.#joinAtMs = nowMs + this.#joinDelayMs * (0.5 + this.#random.float())
    this.#joinDelayMs = Math.min(this.#joinDelayMs * 2, tuning.reconnectIntervalMs)
  }

  /** An offer to somebody who may not know us: what we say of ourselves goes first. */
  #introduce(address: string): void {
    const { self, table } = this.#membership
    this.#send(address, [aliveMessage(self), { kind: 'offer', buckets: table.buckets.slice() }])
  }

  #offer(address: string, recipient: NodeId): void {
    this.#send(address, [{ kind: 'offer', buckets: this.#membership.table.buckets.slice() }], recipient)
  }

  #sendState(to: string, mask: number, wantReturn: boolean, nowMs: number): void {
    if (!this.withinBudget(nowMs)) {
      this.#membership.counters.syncsRefused++
      return
    }
    let first = true
    let chunk: SyncRecord[] = []
    let chunkBytes = stateMessageBytes
    const flush = (): void => {
      this.#send(to, [{ kind: 'state', mask, wantReturn: wantReturn && first, records: chunk }])
      this.#budgetBytes -= chunkBytes
      first = false
      chunk = []
      chunkBytes = stateMessageBytes
    }
    for (const each of this.#membership.table.records()) {
      if (!maskHas(mask, each.bucket)) continue
      const record = this.#recordOf(each, nowMs)
      const { length } = encodeRecord(record)
      if (chunkBytes + length > this.#roomBytes) flush()
      chunk.push(record)
      chunkBytes += length
    }
    if (first || chunk.length > 0) flush()
  }

  /** @internal Whether another answer may be sent now. */
  withinBudget(nowMs: number): boolean {
    const perSecond = this.#membership.tuning.maximumSyncBytesPerSecond
    this.#budgetBytes = Math.min(
      perSecond,
      this.#budgetBytes + ((nowMs - this.#budgetAtMs) / 1_000) * perSecond,
    )
    this.#budgetAtMs = nowMs
    return this.#budgetBytes > 0
  }

  #recordOf(record: MemberRecord, nowMs: number): SyncRecord {
    const { member } = record
    return {
      ...member,
      accusedVersion: this.#membership.suspicions.get(member.nodeId)?.version ?? member.version,
      ageMs: isLive(member) ? 0 : Math.max(0, Math.round(nowMs - record.sinceMs)),
    }
  }
}
