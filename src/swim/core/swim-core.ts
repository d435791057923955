import { checkBytes, checkObject } from '../../core/arguments.ts'
import { ByteWriter, copyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import type { Incarnation, NodeId } from '../../model/ids.ts'
import { AntiEntropy } from './anti-entropy.ts'
import {
  type DecodedPacket,
  decodePacket,
  encodeHeader,
  maximumMetadataBytes,
  type SwimMessage,
  writeMessage,
} from './codec.ts'
import { explain } from './explain.ts'
import { retransmitLimit } from './formulas.ts'
import { isLive } from './member-table.ts'
import { aliveMessage, Membership } from './membership.ts'
import { Prober } from './prober.ts'
import type { SwimTuning } from './tuning.ts'
import type { SwimCounters, SwimExplanation, SwimMember, SwimOutput, SwimPacket } from './types.ts'

/** What a {@link SwimCore} is made with. */
export interface SwimCoreOptions {
  /** This node. */
  readonly nodeId: NodeId
  /** Life of this node's data directory. */
  readonly incarnation: Incarnation
  /** `host:port` at which others reach this node. */
  readonly address: string
  /** At most 512 bytes. */
  readonly metadata: Uint8Array
  /** Name of the cluster; packets with another one are dropped. */
  readonly label: string
  /** Intervals, limits and suspicion times. */
  readonly tuning: SwimTuning
  /** Picks whom to probe, to gossip with and to ask for help. */
  readonly random: Random
  /** Monotonic time at which it begins. */
  readonly nowMs: number
}

/**
 * SWIM (Das, Gupta, Motivala, 2002) with Lifeguard's local health, dynamic suspicion and buddy system (Dadgar, Phillips,
 * Currey, 2018) as a plain object: packets, time and wishes go in, packets and events come out. It does no I/O and reads no
 * clock.
 *
 * After any number of inputs call {@link SwimCore.takeOutput}, then {@link SwimCore.nextDeadlineMs} for when
 * {@link SwimCore.advanceTo} is due. Times are monotonic milliseconds of any origin.
 *
 * What it says is a hint. It never decides that a node is dead.
 */
export class SwimCore {
  /** @internal The rules of the view. */
  readonly membership: Membership
  /** @internal The failure detector. */
  readonly prober: Prober
  /** @internal The exchange of views. */
  readonly antiEntropy: AntiEntropy
  /** What it has done since it was made. */
  readonly counters: SwimCounters
  readonly #options: SwimCoreOptions
  readonly #random: Random
  readonly #writer: ByteWriter = new ByteWriter(512)
  #header: Uint8Array
  #headerVersion: number
  #packets: SwimPacket[] = []
  #gossipAtMs: number | undefined
  /** Events up to here have been looked at for new members. */
  #eventsSeen = 0

  /** `from` makes it a copy: see {@link SwimCore.clone}. */
  constructor(options: SwimCoreOptions, from?: SwimCore) {
    checkObject(options, 'the options of a SwimCore', members)
    const { nodeId, incarnation, address, metadata, tuning, nowMs } = options
    checkMetadata(metadata)
    this.#options = options
    this.#random = options.random
    this.counters = { ...(from?.counters ?? noCounts) }
    const self: SwimMember = { nodeId, incarnation, version: 0, address, metadata, state: 'alive' }
    this.membership =
      from?.membership.clone(this.counters) ?? new Membership(self, nowMs, tuning, this.counters)
    const send = this.send.bind(this)
    this.#headerVersion = this.membership.self.version
    this.#header = encodeHeader(options.label, this.membership.self)
    // A version may grow by seven bytes after this.
    const room = tuning.maximumPacketBytes - this.#header.length - 7
    this.prober =
      from?.prober.clone(this.membership, this.#random, send) ??
      new Prober(this.membership, this.#random, send, nowMs)
    this.antiEntropy =
      from?.antiEntropy.clone(this.membership, this.#random, send) ??
      new AntiEntropy(this.membership, this.#random, send, room, nowMs)
    this.#gossipAtMs = from?.gossipAtMs
  }

  /** A copy that shares nothing that changes; it draws from `random`. Output that was not taken stays behind. */
  clone(random: Random): SwimCore {
    return new SwimCore({ ...this.#options, random }, this)
  }

  /** What this node says about itself. */
  get self(): SwimMember {
    return this.membership.self
  }

  /** True once the goodbye was sent as often as it is worth, or nobody is there to hear it. */
  get departed(): boolean {
    const { leaving, peers, queue, self } = this.membership
    return leaving && (peers === 0 || !queue.has(self.nodeId))
  }

  /** Updates that still travel. */
  get pendingUpdates(): number {
    return this.membership.queue.size
  }

  /** Lifeguard's local health score: 0 is healthy. */
  get localHealth(): number {
    return this.membership.health.score
  }

  /** A digest of the whole view. Nodes of equal digests have the same view. */
  get viewDigest(): string {
    return this.membership.table.buckets.join(' ')
  }

  /** @internal */
  get gossipAtMs(): number | undefined {
    return this.#gossipAtMs
  }

  /** Every member that is known, this node first, the remembered dead included. */
  members(): SwimMember[] {
    return Array.from(this.membership.table.records(), ({ member }) => member)
  }

  /** A member as this node sees it, or undefined when it is not known. */
  member(nodeId: NodeId): SwimMember | undefined {
    return this.membership.table.get(nodeId)?.member
  }

  /** Looks for other members at these addresses, again and again until one answers. They are kept to heal partitions. */
  join(seeds: readonly string[], nowMs: number): void {
    this.antiEntropy.join(seeds, nowMs)
    this.#settle(nowMs)
  }

  /** Says goodbye. Go on feeding the core until {@link SwimCore.departed}. */
  leave(nowMs: number): void {
    if (this.membership.leaving) return
    this.prober.abandon(nowMs)
    this.membership.sayGoodbye(nowMs)
    this.#settle(nowMs)
  }

  /** Replaces what this node tells about itself. @throws KeelsonError `LIMIT_EXCEEDED` */
  setMetadata(metadata: Uint8Array, nowMs: number): void {
    checkMetadata(metadata)
    if (this.membership.leaving) return
    this.membership.restate({ metadata: copyBytes(metadata) })
    this.#settle(nowMs)
  }

  /**
   * Takes a hint from elsewhere, such as a closed connection: puts a member under suspicion and tells it so at once, so that
   * it can refute within a round trip. Unknown members and the dead are ignored.
   */
  suspectLocally(nodeId: NodeId, nowMs: number): void {
    const record = this.membership.table.get(nodeId)
    if (record === undefined || !isLive(record.member) || nodeId === this.self.nodeId) return
    this.membership.applySuspect(nodeId, record.member.version, this.self.nodeId, nowMs)
    this.prober.nudge(nodeId, record.member.address)
    this.#settle(nowMs)
  }

  /** Takes in a datagram. Never throws for its content: what is wrong is counted and dropped. */
  receive(from: string, bytes: Uint8Array, nowMs: number): void {
    this.counters.packetsReceived++
    let packet: DecodedPacket
    try {
      packet = decodePacket(bytes, this.#options.label)
    } catch (error) {
      this.#countRefused(error)
      return
    }
    this.receivePacket(from, packet, nowMs)
  }

  /** Takes in a packet that is decoded already. */
  receivePacket(from: string, packet: DecodedPacket, nowMs: number): void {
    this.membership.answerDue = false
    const ours = packet.sender.nodeId === this.self.nodeId
    for (const message of packet.messages) {
      // Whoever speaks under our own name can only tell us that somebody does.
      if (!ours) this.handle(from, packet, message, nowMs)
      else if (message.kind === 'alive') this.membership.apply(message, nowMs)
    }
    // Whoever doubts us hears the answer from us, and not only from gossip, which may pass it by.
    if (this.membership.answerDue && !ours && !this.membership.leaving)
      this.send(from, [aliveMessage(this.self)])
    this.#settle(nowMs)
  }

  /** Lets time pass up to `nowMs`: probes, gossips, declares dead. */
  advanceTo(nowMs: number): void {
    const dueMs = this.nextDeadlineMs()
    if (nowMs < dueMs) return
    if (nowMs - dueMs > this.#options.tuning.probeTimeoutMs) this.forgiveStall(dueMs, nowMs)
    this.prober.advanceTo(nowMs)
    for (const { nodeId, address } of this.membership.lastCalls(nowMs)) this.prober.nudge(nodeId, address)
    this.membership.expireSuspicions(nowMs)
    if (this.membership.table.nextExpiryMs <= nowMs) this.membership.table.expire(nowMs)
    this.antiEntropy.advanceTo(nowMs)
    if (this.#gossipAtMs !== undefined && nowMs >= this.#gossipAtMs) this.gossip(nowMs)
    this.#settle(nowMs)
  }

  /** When {@link SwimCore.advanceTo} is due next; infinity when nothing is planned. Later is allowed, and noticed. */
  nextDeadlineMs(): number {
    return Math.min(
      this.prober.deadlineMs,
      this.membership.suspicionDeadlineMs,
      this.membership.table.nextExpiryMs,
      this.antiEntropy.deadlineMs,
      this.#gossipAtMs ?? Number.POSITIVE_INFINITY,
    )
  }

  /** What there is to do since the last call. */
  takeOutput(): SwimOutput {
    const output = { packets: this.#packets, events: this.membership.events }
    this.#packets = []
    this.membership.events = []
    this.#eventsSeen = 0
    return output
  }

  /** Why this node holds a member to be what it is; undefined for one that it does not know. */
  explain(nodeId: NodeId, nowMs: number): SwimExplanation | undefined {
    return explain(this.membership, nodeId, nowMs)
  }

  /** @internal */
  handle(from: string, packet: DecodedPacket, message: SwimMessage, nowMs: number): void {
    const sender = packet.sender.nodeId
    switch (message.kind) {
      case 'ping':
        this.prober.onPing(from, message.sequence, message.target, this.correction(packet))
        break
      case 'ack':
        this.prober.onAck(message.sequence, message.responder, sender, nowMs)
        break
      case 'indirectPing':
        this.prober.onIndirectPing(from, message.sequence, message.target, nowMs)
        break
      case 'nack':
        this.prober.onNack(message.sequence, sender)
        break
      case 'offer':
        this.antiEntropy.onOffer(from, message.buckets, nowMs)
        break
      case 'state':
        this.antiEntropy.onState(from, sender, message, nowMs)
        break
      default:
        this.membership.apply(message, nowMs)
    }
  }

  /**
   * @internal What the sender of a packet should hear about itself: that it is suspected or held dead, or that a higher
   * version of it is known, from before its restart.
   */
  correction(packet: DecodedPacket): SwimMessage[] {
    const { nodeId, incarnation, version } = packet.sender
    const record = this.membership.table.get(nodeId)
    if (record === undefined || !this.membership.knowsBetter(record, incarnation, version)) return []
    return [this.membership.updateAbout(record)]
  }

  /**
   * @internal This process was stopped, so it heard no answer and no refutation: that time counts against nobody but itself.
   */
  forgiveStall(dueMs: number, nowMs: number): void {
    this.counters.stalls++
    this.membership.health.add(1)
    this.prober.abandon(nowMs)
    for (const suspicion of this.membership.suspicions.values()) {
      if (suspicion.startedMs <= dueMs) suspicion.forgive(nowMs - dueMs)
    }
  }

  /** @internal Tells a few members what there is to tell. */
  gossip(nowMs: number): void {
    const { table, queue, tuning } = this.membership
    const partners = table.pick(
      tuning.gossipFanout,
      this.#random,
      ({ member, sinceMs }) =>
        isLive(member) ||
        (member.state === 'dead' && member.address !== '' && nowMs - sinceMs < tuning.gossipToDeadMs),
    )
    for (const { member } of partners) {
      if (queue.size > 0) this.send(member.address, [], member.nodeId)
    }
    this.#gossipAtMs = nowMs + tuning.gossipIntervalMs
  }

  /**
   * @internal Makes one packet of these messages and as many waiting updates as fit. A recipient under suspicion hears that
   * first (Lifeguard's buddy system), also when we ask on behalf of another.
   */
  send(to: string, messages: readonly SwimMessage[], recipient?: NodeId): void {
    const { self, queue, table, tuning } = this.membership
    if (this.#headerVersion !== self.version) {
      this.#headerVersion = self.version
      this.#header = encodeHeader(this.#options.label, self)
    }
    const out = this.#writer.clear().raw(this.#header)
    for (const message of this.buddy(recipient)) writeMessage(out, message)
    for (const message of messages) writeMessage(out, message)
    const limit = retransmitLimit(tuning.retransmitMultiplier, table.live)
    for (const update of queue.take(tuning.maximumPacketBytes - out.length, limit)) out.raw(update)
    const bytes = out.finish()
    this.counters.packetsSent++
    this.counters.bytesSent += bytes.length
    this.#packets.push({ to, bytes })
  }

  /** @internal */
  buddy(recipient: NodeId | undefined): SwimMessage[] {
    if (recipient === undefined || !this.membership.suspicions.has(recipient)) return []
    const record = this.membership.table.get(recipient)
    return record === undefined ? [] : [this.membership.updateAbout(record)]
  }

  /** Plans what the input made necessary. */
  #settle(nowMs: number): void {
    const { membership } = this
    for (; this.#eventsSeen < membership.events.length; this.#eventsSeen++) {
      const event = membership.events[this.#eventsSeen]
      if (event?.type === 'joined') this.prober.include(event.member.nodeId, nowMs)
    }
    this.antiEntropy.plan(nowMs)
    if (membership.queue.size === 0 || membership.table.others.length === 0) this.#gossipAtMs = undefined
    else this.#gossipAtMs ??= nowMs + this.#random.float() * membership.tuning.gossipIntervalMs
  }

  #countRefused(error: unknown): void {
    if (KeelsonError.hasCode(error, 'FOREIGN_CLUSTER')) this.counters.foreign++
    else if (KeelsonError.hasCode(error, 'PROTOCOL_VERSION')) this.counters.unknownProtocol++
    else if (KeelsonError.hasCode(error, 'MALFORMED')) this.counters.malformed++
    else throw error
  }
}

const noCounts: SwimCounters = Object.freeze({
  packetsSent: 0,
  bytesSent: 0,
  packetsReceived: 0,
  malformed: 0,
  foreign: 0,
  unknownProtocol: 0,
  probes: 0,
  failedProbes: 0,
  refutations: 0,
  syncsRefused: 0,
  membersRefused: 0,
  stalls: 0,
})

const members = [
  'nodeId',
  'incarnation',
  'address',
  'metadata',
  'label',
  'tuning',
  'random',
  'nowMs',
] as const

function checkMetadata(metadata: Uint8Array): void {
  checkBytes(metadata, 'the metadata of a member')
  if (metadata.length <= maximumMetadataBytes) return
  throw new KeelsonError(
    'LIMIT_EXCEEDED',
    `a member's metadata takes at most ${maximumMetadataBytes} bytes, not ${metadata.length}; keep larger things in the metadata store`,
  )
}
