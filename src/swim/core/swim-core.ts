import { checkBytes, checkObject } from '../../core/arguments.ts'
import { ByteWriter, copyBytes, emptyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import { AntiEntropy, type ExchangeRoom } from './anti-entropy.ts'
import { decodePacket, encodeHeader, messageOverheadBytes, putMessage } from './codec.ts'
import { distanceMs } from './coordinates.ts'
import {
  checkMetadata,
  checkNews,
  checkPayload,
  noCounts,
  requiredOptions,
  type SwimCoreOptions,
} from './core-options.ts'
import { explain } from './explain.ts'
import { retransmitLimit } from './formulas.ts'
import { isLive } from './member-table.ts'
import { Membership } from './membership.ts'
import { maximumTokenBytes } from './message-codec.ts'
import type { DecodedPacket, SwimMessage } from './messages.ts'
import { MetadataPull } from './metadata-pull.ts'
import type { SwimOutput, SwimPacket } from './output.ts'
import { Prober } from './prober.ts'
import { Rumours } from './rumours.ts'
import { decodeSnapshot, encodeSnapshot } from './snapshot.ts'
import { ownProtocols, Statement } from './statement.ts'
import type { ProtocolRange, SwimCounters, SwimExplanation, SwimMember } from './types.ts'

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
  /** @internal What hosts tell each other. */
  readonly rumours: Rumours
  /** @internal Long metadata. */
  readonly metadataPull: MetadataPull
  /** What it has done since it was made. */
  readonly counters: SwimCounters
  readonly #options: SwimCoreOptions
  readonly #protocols: ProtocolRange
  readonly #random: Random
  readonly #writer: ByteWriter = new ByteWriter(2_048)
  #header: Uint8Array
  #headerVersion: number
  #packets: SwimPacket[] = []
  #gossipAtMs: number | undefined
  /** Events up to here have been looked at for new members. */
  #eventsSeen = 0

  /** `from` makes it a copy: see {@link SwimCore.clone}. */
  constructor(options: SwimCoreOptions, from?: SwimCore) {
    checkObject(options, 'the options of a SwimCore', requiredOptions)
    const { nodeId, incarnation, address, metadata, tuning, nowMs, label, random, veto } = options
    checkMetadata(metadata, tuning.maximumMetadataBytes)
    const token = options.token ?? emptyBytes
    if (checkBytes(token, 'the token').length > maximumTokenBytes)
      throw new KeelsonError('LIMIT_EXCEEDED', `a token takes at most ${maximumTokenBytes} bytes`)
    this.#options = options
    this.#random = random
    this.#protocols = options.protocols ?? ownProtocols
    this.counters = { ...(from?.counters ?? noCounts) }
    const protocols = this.#protocols
    const self = new Statement({ nodeId, incarnation, version: 0, address, metadata, protocols })
    const keepOut = (said: Statement): string | undefined => veto?.(said.entry('alive').member)
    this.membership =
      from?.membership.clone(this.counters) ?? new Membership(self, nowMs, tuning, this.counters, keepOut)
    const send = this.send.bind(this)
    this.#headerVersion = this.membership.statement.version
    this.#header = encodeHeader(label, this.membership.statement)
    const streamPacketBytes = options.streamPacketBytes ?? 0
    // A version may grow by seven bytes after this.
    const overhead = this.#header.length + 7 + messageOverheadBytes
    const room: ExchangeRoom = {
      datagramBytes: tuning.maximumPacketBytes - overhead,
      streamBytes: Math.max(0, streamPacketBytes - overhead),
    }
    const features = { coordinates: options.coordinates ?? true, streams: streamPacketBytes > 0 }
    this.rumours = from?.rumours.clone(this.membership, random) ?? new Rumours(this.membership, random)
    this.prober =
      from?.prober.clone(this.membership, random, send) ??
      new Prober(this.membership, random, send, features, nowMs)
    this.antiEntropy =
      from?.antiEntropy.clone(this.membership, random, send, this.rumours) ??
      new AntiEntropy(this.membership, random, send, room, token, this.rumours, nowMs)
    this.metadataPull =
      from?.metadataPull.clone(this.membership, random, send) ??
      new MetadataPull(this.membership, random, send, room)
    this.#gossipAtMs = from?.gossipAtMs
  }

  /** A copy that shares nothing that changes; it draws from `random`. Output that was not taken stays behind. */
  clone(random: Random): SwimCore {
    return new SwimCore({ ...this.#options, random }, this)
  }

  /** What this node says about itself. */
  get self(): SwimMember {
    return this.membership.voice.self
  }

  /** True once the goodbye was sent as often as it is worth, or nobody is there to hear it. */
  get departed(): boolean {
    const { voice, peers, queue, nodeId } = this.membership
    return voice.state === 'leaving' && (peers === 0 || !queue.has(nodeId))
  }

  /** True while others hold this node out: see {@link SwimTuning.expelRefutations}. */
  get expelled(): boolean {
    return this.membership.voice.state === 'expelled'
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
    return Array.from(this.membership.table.entries(), ({ member }) => member)
  }

  /** A member as this node sees it, or undefined when it is not known. */
  member(nodeId: NodeId): SwimMember | undefined {
    return this.membership.table.get(nodeId)?.member
  }

  /** What helps the next life of this node to come back by itself; nothing to go back to after a goodbye. */
  snapshot(): Uint8Array {
    const { table, statement, voice } = this.membership
    const wanted = voice.leaving
      ? []
      : table.pick(snapshotAddresses, this.#random, ({ member }) => isLive(member))
    const addresses = wanted.map(({ member }) => member.address)
    return encodeSnapshot({ version: statement.version, clock: this.rumours.clock, addresses })
  }

  /**
   * Takes up where an earlier life of this node ended: speaks above what that said, and looks for the members that it knew,
   * besides `seeds`. Before anything else is put in.
   *
   * @throws KeelsonError `MALFORMED`
   */
  restore(snapshot: Uint8Array, seeds: readonly string[], nowMs: number): void {
    const { version, clock, addresses } = decodeSnapshot(snapshot)
    this.rumours.witness(clock)
    this.membership.voice.restate({}, version)
    this.join([...seeds, ...addresses], nowMs)
  }

  /** Looks for other members at these addresses, again and again until one answers. They are kept to heal partitions. */
  join(seeds: readonly string[], nowMs: number): void {
    this.antiEntropy.join(seeds, nowMs)
    this.#settle(nowMs)
  }

  /** Says goodbye. Go on feeding the core until {@link SwimCore.departed}. */
  leave(nowMs: number): void {
    if (this.membership.voice.leaving) return
    this.prober.abandon(nowMs)
    this.membership.voice.sayGoodbye(nowMs)
    this.#settle(nowMs)
  }

  /**
   * Removes a member from the cluster for good, whatever state it is in: this life of it does not come back. False if it
   * is not known or removed already.
   */
  remove(nodeId: NodeId, nowMs: number): boolean {
    const removed = this.membership.remove(nodeId, nowMs)
    this.#settle(nowMs)
    return removed
  }

  /** Replaces what this node tells about itself. @throws KeelsonError `LIMIT_EXCEEDED` */
  setMetadata(metadata: Uint8Array, nowMs: number): void {
    checkMetadata(metadata, this.#options.tuning.maximumMetadataBytes)
    if (this.membership.voice.leaving) return
    if (this.membership.voice.state === 'member')
      this.membership.voice.restate({ metadata: copyBytes(metadata) })
    else this.membership.voice.amend({ metadata: copyBytes(metadata) })
    this.#settle(nowMs)
  }

  /** Tells all members something, this one included, each once. @throws KeelsonError `LIMIT_EXCEEDED`, `INVALID_ARGUMENT` */
  tell(name: string, payload: Uint8Array, nowMs: number): void {
    checkNews(name, payload)
    this.rumours.tell(name, copyBytes(payload), nowMs)
    this.#settle(nowMs)
  }

  /**
   * Asks all members something, this one included; the id that its answers carry.
   *
   * @throws KeelsonError `LIMIT_EXCEEDED`, `INVALID_ARGUMENT`
   */
  ask(name: string, payload: Uint8Array, nowMs: number): number {
    checkNews(name, payload)
    const id = this.rumours.ask(name, copyBytes(payload), nowMs)
    this.#settle(nowMs)
    return id
  }

  /** Answers a query that was delivered. @throws KeelsonError `LIMIT_EXCEEDED` */
  answer(
    query: { readonly origin: NodeId; readonly address: string; readonly id: number },
    payload: Uint8Array,
    nowMs: number,
  ): void {
    checkPayload(payload)
    const { origin, address, id } = query
    const message = { kind: 'answer', id, payload: copyBytes(payload) } as const
    if (origin === this.membership.nodeId) this.rumours.onAnswer(message, origin)
    else this.send(address, [message], origin)
    this.#settle(nowMs)
  }

  /**
   * Takes a hint from elsewhere, such as a closed connection: puts a member under suspicion and tells it so at once, so that
   * it can refute within a round trip. Unknown members and the dead are ignored.
   */
  suspectLocally(nodeId: NodeId, nowMs: number): void {
    const known = this.membership.table.get(nodeId)
    if (known === undefined || !isLive(known.member) || nodeId === this.membership.nodeId) return
    this.membership.applySuspect(nodeId, known.member.version, this.membership.nodeId, nowMs)
    this.prober.nudge(nodeId, known.member.address)
    this.#settle(nowMs)
  }

  /** Notes whether a stream to a member could be had: as long as none can, views are exchanged with it by datagrams. */
  noteStream(nodeId: NodeId, works: boolean): void {
    this.antiEntropy.noteStream(nodeId, works)
  }

  /**
   * Notes that this process itself was held up, such as by a busy event loop: it then trusts its own failed probes less.
   */
  noteLag(nowMs: number): void {
    this.membership.health.add(1)
    this.#settle(nowMs)
  }

  /**
   * Takes in a packet. Never throws for its content: what is wrong is counted and dropped. `peer` is who brought it by a
   * stream, if one did: it may speak for nobody else.
   */
  receive(from: string, bytes: Uint8Array, nowMs: number, peer?: NodeId): void {
    let packet: DecodedPacket
    try {
      packet = decodePacket(bytes, this.#options.label, this.#protocols)
    } catch (error) {
      this.counters.packetsReceived++
      this.#countRefused(error)
      return
    }
    if (peer !== undefined && packet.sender.nodeId !== peer) this.counters.malformed++
    else this.receivePacket(from, packet, nowMs, peer !== undefined)
  }

  /** Takes in a packet that is decoded already. */
  receivePacket(from: string, packet: DecodedPacket, nowMs: number, reliable = false): void {
    this.counters.packetsReceived++
    const { membership } = this
    membership.voice.answerDue = false
    const ours = packet.sender.nodeId === membership.nodeId
    if (!ours && !this.admits(from, packet)) return
    for (const message of packet.messages) {
      // Whoever speaks under our own name can only tell us that somebody does.
      if (!ours) this.handle(from, packet, message, nowMs, reliable)
      else if (message.kind === 'alive') membership.apply(message, nowMs)
    }
    // Whoever doubts us hears the answer from us, and not only from gossip, which may pass it by.
    if (membership.voice.answerDue && !ours && membership.voice.state === 'member')
      this.send(from, [{ kind: 'alive', statement: membership.statement }])
    if (membership.incomplete.length > 0) {
      for (const statement of membership.incomplete) this.metadataPull.want(statement, from, nowMs)
      membership.incomplete = []
    }
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
    this.metadataPull.advanceTo(nowMs)
    if (this.#gossipAtMs !== undefined && nowMs >= this.#gossipAtMs) this.gossip(nowMs)
    this.#settle(nowMs)
  }

  /** When {@link SwimCore.advanceTo} is due next; infinity when nothing is planned. Later is allowed, and noticed. */
  nextDeadlineMs(): number {
    return Math.min(
      this.prober.deadlineMs,
      this.membership.suspicions.deadlineMs,
      this.membership.table.nextExpiryMs,
      this.antiEntropy.deadlineMs,
      this.metadataPull.deadlineMs,
      this.#gossipAtMs ?? Number.POSITIVE_INFINITY,
    )
  }

  /** What there is to do since the last call. */
  takeOutput(): SwimOutput {
    const output = {
      packets: this.#packets,
      events: this.membership.events,
      deliveries: this.rumours.deliveries,
    }
    if (this.#packets.length > 0) this.#packets = []
    if (this.membership.events.length > 0) this.membership.events = []
    if (this.rumours.deliveries.length > 0) this.rumours.deliveries = []
    this.#eventsSeen = 0
    return output
  }

  /** Why this node holds a member to be what it is; undefined for one that it does not know. */
  explain(nodeId: NodeId, nowMs: number): SwimExplanation | undefined {
    return explain(this.membership, nodeId, this.estimatedRoundTripMs(nodeId), nowMs)
  }

  /** The round trip to be expected to a member by its coordinate and ours; undefined when one is not known. */
  estimatedRoundTripMs(nodeId: NodeId): number | undefined {
    const ours = this.prober.coordinate
    const theirs = this.membership.table.notes(nodeId)?.coordinate
    return ours === undefined || theirs === undefined ? undefined : distanceMs(ours, theirs)
  }

  /** @internal Whether a packet may be handled: a node that is not known and asks to be let in needs the host's consent. */
  admits(from: string, packet: DecodedPacket): boolean {
    const [hello, alive] = packet.messages
    const { admit } = this.#options
    if (hello?.kind !== 'hello' || admit === undefined) return true
    const known = this.membership.table.get(packet.sender.nodeId)
    if (known?.statement.incarnation === packet.sender.incarnation && isLive(known.member)) return true
    if (alive?.kind !== 'alive' || alive.statement.nodeId !== packet.sender.nodeId) return false
    const reason = admit(alive.statement.entry('alive').member, hello.token)
    if (reason === undefined) return true
    this.counters.membersVetoed++
    this.send(from, [{ kind: 'refusal', reason }])
    return false
  }

  /** @internal */
  handle(from: string, packet: DecodedPacket, message: SwimMessage, nowMs: number, reliable: boolean): void {
    const sender = packet.sender.nodeId
    switch (message.kind) {
      case 'ping':
        this.prober.onPing(from, message.sequence, message.target, sender, this.correction(packet), reliable)
        break
      case 'ack':
        this.prober.onAck(message, sender, nowMs, reliable)
        break
      case 'indirectPing':
        this.prober.onIndirectPing(from, message, nowMs)
        break
      case 'nack':
        this.prober.onNack(message.sequence, sender)
        break
      case 'offer':
        this.antiEntropy.onOffer(from, sender, message.buckets, nowMs)
        this.rumours.witness(message.clock)
        if (message.news !== this.rumours.digest(nowMs)) {
          this.#tellRecent(from, sender, nowMs)
          this.send(from, [{ kind: 'recall' }], sender)
        }
        break
      case 'recall':
        this.#tellRecent(from, sender, nowMs)
        break
      case 'state':
        this.antiEntropy.onState(from, sender, message, nowMs)
        break
      case 'event':
        this.rumours.onEvent(message, nowMs)
        break
      case 'query':
        this.rumours.onQuery(message, nowMs)
        break
      case 'answer':
        this.rumours.onAnswer(message, sender)
        break
      case 'fetch':
        this.metadataPull.onFetch(from, sender, message, reliable)
        break
      case 'chunk':
        this.metadataPull.onChunk(message, nowMs)
        break
      case 'refusal':
        this.#onRefusal(message.reason)
        break
      case 'hello':
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
    const known = this.membership.table.get(nodeId)
    if (known === undefined || !this.membership.knowsBetter(known, incarnation, version)) return []
    return [this.membership.updateAbout(known)]
  }

  /**
   * @internal This process was stopped, so it heard no answer and no refutation: that time counts against nobody but itself.
   */
  forgiveStall(dueMs: number, nowMs: number): void {
    this.counters.stalls++
    this.membership.health.add(1)
    this.prober.abandon(nowMs)
    this.membership.suspicions.forgive(dueMs, nowMs - dueMs)
  }

  /** @internal Tells a few members what there is to tell. */
  gossip(nowMs: number): void {
    const { table, queue, tuning } = this.membership
    const partners = table.pick(
      tuning.gossipFanout,
      this.#random,
      ({ member }) =>
        isLive(member) ||
        (member.state === 'dead' &&
          member.address !== '' &&
          nowMs - table.sinceMs(member.nodeId) < tuning.gossipToDeadMs),
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
  send(to: string, messages: readonly SwimMessage[], recipient?: NodeId, reliable = false): void {
    const { statement, queue, table, tuning } = this.membership
    if (this.#headerVersion !== statement.version) {
      this.#headerVersion = statement.version
      this.#header = encodeHeader(this.#options.label, statement)
    }
    const out = this.#writer.clear().u8(this.#protocolFor(recipient)).raw(this.#header.subarray(1))
    const content: SwimMessage[] = [...this.buddy(recipient), ...messages]
    for (const message of content) putMessage(out, message)
    // Who is not let in learns nothing.
    if (queue.size > 0 && messages[0]?.kind !== 'refusal') {
      const limit = retransmitLimit(tuning.retransmitMultiplier, table.live)
      for (const update of queue.take(tuning.maximumPacketBytes - out.length, limit)) {
        out.raw(update.bytes)
        content.push(update.message)
      }
    }
    const bytes = out.finish()
    this.counters.packetsSent++
    this.counters.bytesSent += bytes.length
    const streams = this.#options.streamPacketBytes ?? 0
    this.#packets.push({
      to,
      recipient,
      reliable: reliable && streams > 0 && recipient !== undefined,
      bytes,
      content: { sender: statement, messages: content },
    })
  }

  /** @internal */
  buddy(recipient: NodeId | undefined): SwimMessage[] {
    if (recipient === undefined || !this.membership.suspicions.has(recipient)) return []
    const known = this.membership.table.get(recipient)
    return known === undefined ? [] : [this.membership.updateAbout(known)]
  }

  /** The newest version that a recipient speaks too; the oldest of ours for whoever is not known. */
  #protocolFor(recipient: NodeId | undefined): number {
    const { minimum, maximum } = this.#protocols
    if (minimum === maximum || recipient === undefined) return minimum
    const theirs = this.membership.table.get(recipient)?.statement.protocols
    return theirs === undefined ? minimum : Math.max(minimum, Math.min(maximum, theirs.maximum))
  }

  #tellRecent(to: string, recipient: NodeId, nowMs: number): void {
    if (!this.antiEntropy.withinBudget(nowMs)) return
    for (const news of this.rumours.recent(nowMs)) this.send(to, [news], recipient)
  }

  #onRefusal(reason: string): void {
    const { peers, voice } = this.membership
    // Who has found others needs nobody's consent any more.
    if (peers === 0) this.membership.emit('refused', voice.self, [], reason)
  }

  /** Plans what the input made necessary. */
  #settle(nowMs: number): void {
    const { membership } = this
    for (; this.#eventsSeen < membership.events.length; this.#eventsSeen++) {
      const event = membership.events[this.#eventsSeen]
      if (event?.type === 'joined') this.prober.include(event.member.nodeId, nowMs)
    }
    this.antiEntropy.plan(nowMs)
    if (membership.queue.size === 0 || membership.table.size < 2) this.#gossipAtMs = undefined
    else this.#gossipAtMs ??= nowMs + this.#random.float() * membership.tuning.gossipIntervalMs
  }

  #countRefused(error: unknown): void {
    if (KeelsonError.hasCode(error, 'FOREIGN_CLUSTER')) this.counters.foreign++
    else if (KeelsonError.hasCode(error, 'PROTOCOL_VERSION')) this.counters.unknownProtocol++
    else if (KeelsonError.hasCode(error, 'MALFORMED')) this.counters.malformed++
    else throw error
  }
}

/** Members whose addresses are remembered over a restart. */
const snapshotAddresses = 64
