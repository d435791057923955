import { checkBytes, checkObject } from '../../core/arguments.ts'
import { copyBytes, emptyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import { AnswerBudget } from './answer-budget.ts'
import { AntiEntropy, type ExchangeRoom } from './anti-entropy.ts'
import { decodePacket } from './codec.ts'
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
import { isLive } from './member-table.ts'
import { Membership } from './membership.ts'
import { maximumTokenBytes } from './message-codec.ts'
import type { DecodedPacket } from './messages.ts'
import { MetadataPull } from './metadata-pull.ts'
import { NameVote } from './name-vote.ts'
import type { SwimOutput } from './output.ts'
import { Packer } from './packer.ts'
import { Prober } from './prober.ts'
import { Proofs } from './proofs.ts'
import { ownStatementIn, Reception } from './reception.ts'
import { Rumours } from './rumours.ts'
import { decodeSnapshot, encodeSnapshot } from './snapshot.ts'
import { ownProtocols, Statement } from './statement.ts'
import type { ProtocolRange, SwimCounters, SwimExplanation, SwimMember } from './types.ts'
import type { ViewTransfer } from './view-transfer.ts'

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
  /** @internal Who keeps a name that two use. */
  readonly nameVote: NameVote
  /** @internal What shows that others ask now. */
  readonly proofs: Proofs
  /** @internal What packets are made of. */
  readonly packer: Packer
  /** @internal What becomes of packets that come. */
  readonly reception: Reception
  /** What it has done since it was made. */
  readonly counters: SwimCounters
  readonly #options: SwimCoreOptions
  readonly #protocols: ProtocolRange
  readonly #random: Random
  readonly #budget: AnswerBudget
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
    const keepOut = (said: Statement): string | undefined => {
      const reason = veto?.(said.entry('alive').member)
      if (reason === undefined || typeof reason === 'string') return reason
      throw new KeelsonError('INVALID_ARGUMENT', 'veto returns a reason or undefined, and it cannot wait')
    }
    this.membership =
      from?.membership.clone(this.counters) ?? new Membership(self, nowMs, tuning, this.counters, keepOut)
    const streamPacketBytes = options.streamPacketBytes ?? 0
    this.packer = new Packer(this.membership, { label, protocols, streamPacketBytes })
    const { packer, membership } = this
    if (packer.introductionBytes(token) > tuning.maximumPacketBytes) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `the names of this node and its cluster, its address and its token do not fit into a packet of ${tuning.maximumPacketBytes} bytes with 512 bytes of metadata; shorten the token`,
      )
    }
    const send = packer.send.bind(packer)
    const features = { coordinates: options.coordinates ?? true, streams: streamPacketBytes > 0 }
    const room: ExchangeRoom = {
      datagramBytes: packer.datagramRoomBytes,
      streamBytes: packer.streamRoomBytes,
      streamedViewMembers: streamPacketBytes > 0 ? (options.streamedViewMembers ?? 0) : 0,
    }
    this.#budget =
      from === undefined ? new AnswerBudget(tuning.maximumSyncBytesPerSecond, nowMs) : from.#budget.clone()
    this.rumours = from?.rumours.clone(membership, random) ?? new Rumours(membership, random)
    const { rumours } = this
    this.proofs = from?.proofs.clone(random) ?? new Proofs(random)
    const protocolFor = packer.protocolFor.bind(packer)
    const budget = this.#budget
    const { proofs } = this
    const parts = {
      membership,
      random,
      send,
      packer,
      room,
      token,
      news: rumours,
      budget,
      proofs,
      protocolFor,
    }
    this.prober =
      from?.prober.clone(membership, random, send) ?? new Prober(membership, random, send, features, nowMs)
    this.antiEntropy = from?.antiEntropy.clone(parts) ?? new AntiEntropy(parts)
    this.metadataPull = from?.metadataPull.clone(parts) ?? new MetadataPull(parts)
    this.nameVote = from?.nameVote.clone(membership, random, send) ?? new NameVote(membership, random, send)
    const { prober, antiEntropy, metadataPull, nameVote } = this
    this.reception = new Reception({
      ...parts,
      packer,
      prober,
      antiEntropy,
      rumours,
      metadataPull,
      admit: options.admit,
      vetoes: veto !== undefined,
      nameVote,
    })
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
    return voice.mute || (voice.leaving && (peers === 0 || !queue.has(nodeId)))
  }

  /** True when another process keeps this one's name: this one says and hears nothing any more. */
  get silent(): boolean {
    return this.membership.voice.state === 'silent'
  }

  /** True when an operator removed this life of the node: it says and hears nothing any more. */
  get removed(): boolean {
    return this.membership.voice.state === 'removed'
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
    return encodeSnapshot({
      version: statement.version,
      addresses: wanted.map(({ member }) => member.address),
      ownRemoval: voice.state === 'removed' ? statement.incarnation : 0,
      admitted: this.#options.admit === undefined ? [] : this.membership.admissions.admittedLives(),
      removed: this.membership.admissions.removedLives(),
      ...this.rumours.memory(),
    })
  }

  /**
   * Takes up where an earlier process of this node ended: speaks above what that said, and looks for the members that it knew,
   * besides `seeds`. A life that was removed stays out. Before anything else is put in.
   *
   * @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION`, `MALFORMED`; nothing of the snapshot was taken over then
   */
  restore(snapshot: Uint8Array, seeds: readonly string[], nowMs: number): void {
    const former = decodeSnapshot(snapshot)
    const { version, addresses, ownRemoval, admitted, removed } = former
    const { voice, statement } = this.membership
    this.rumours.restore(former)
    this.membership.admissions.restoreLives(admitted, removed, nowMs)
    voice.restate({}, version)
    if (ownRemoval === statement.incarnation) voice.stayRemoved(nowMs)
    this.antiEntropy.join([...seeds, ...addresses], nowMs)
    this.#settle(nowMs)
  }

  /**
   * Looks for other members at these addresses, again and again until one answers, and says so (`unanswered`) when none has for a
   * while. They are kept to heal partitions.
   *
   * @throws KeelsonError `CLOSED` after the goodbye, `SUPERSEDED` where this node is out for good
   */
  join(seeds: readonly string[], nowMs: number): void {
    this.#mustBeHeard()
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

  /**
   * Replaces what this node tells about itself.
   *
   * @throws KeelsonError `LIMIT_EXCEEDED`, `CLOSED` after the goodbye, `SUPERSEDED` where this node is out for good
   */
  setMetadata(metadata: Uint8Array, nowMs: number): void {
    checkMetadata(metadata, this.#options.tuning.maximumMetadataBytes)
    this.#mustBeHeard()
    if (this.membership.voice.state === 'member')
      this.membership.voice.restate({ metadata: copyBytes(metadata) })
    else this.membership.voice.amend({ metadata: copyBytes(metadata) })
    this.#settle(nowMs)
  }

  /**
   * Tells all members something, this one included, each once.
   *
   * @throws KeelsonError `LIMIT_EXCEEDED`, `INVALID_ARGUMENT`, `OVERLOADED`, `CLOSED` after the goodbye, `SUPERSEDED` where this node
   * is out for good
   */
  tell(name: string, payload: Uint8Array, nowMs: number): void {
    checkNews(name, payload)
    this.#mustBeHeard()
    this.rumours.mustHaveRoom(nowMs)
    this.rumours.tell(name, copyBytes(payload), nowMs)
    this.#settle(nowMs)
  }

  /**
   * Asks all members something, this one included; the id that its answers carry. Whoever hears of it when `timeoutMs` are over
   * is not asked any more.
   *
   * @throws KeelsonError `LIMIT_EXCEEDED`, `INVALID_ARGUMENT`, `OVERLOADED`, `CLOSED` after the goodbye, `SUPERSEDED` where this node
   * is out for good
   */
  ask(name: string, payload: Uint8Array, nowMs: number, timeoutMs: number = defaultQueryTimeoutMs): number {
    checkNews(name, payload)
    this.#mustBeHeard()
    this.rumours.mustHaveRoom(nowMs)
    const id = this.rumours.ask(name, copyBytes(payload), timeoutMs, nowMs)
    this.#settle(nowMs)
    return id
  }

  /** Answers a query that was delivered, if its origin is a member. @throws KeelsonError `LIMIT_EXCEEDED` */
  answer(query: { readonly origin: NodeId; readonly id: number }, payload: Uint8Array, nowMs: number): void {
    checkPayload(payload)
    const { origin, id } = query
    const message = { kind: 'answer', id, payload: copyBytes(payload) } as const
    // Where we know it to be: a forged query must not make all members send to a third party.
    const address = this.membership.table.get(origin)?.member.address ?? ''
    if (origin === this.membership.nodeId) this.rumours.onAnswer(message, origin)
    else if (address !== '') this.packer.send(address, [message], origin)
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

  /**
   * The next piece of a view that goes by a stream; `'later'` while it would be more than
   * {@link SwimTuning.maximumSyncBytesPerSecond}, undefined when that was all.
   */
  nextOfView(view: ViewTransfer, nowMs: number): Uint8Array | 'later' | undefined {
    if (view.done || this.membership.voice.mute) return undefined
    const state = this.antiEntropy.nextOfView(view, nowMs)
    return state === undefined ? 'later' : this.packer.piece(view.recipient, state)
  }

  /** Notes that a view could not be sent by a stream: it goes by datagrams, as far as they carry it. */
  viewFailed(view: ViewTransfer, nowMs: number): void {
    if (!this.membership.voice.leaving) this.antiEntropy.viewFailed(view, nowMs)
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
   * stream, if one did: it may speak for nobody else. `from` may then be empty for a stranger, who is answered where it says it
   * is; one that does not say so is not heard.
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
    const origin = from === '' ? (ownStatementIn(packet)?.address ?? '') : from
    if ((peer !== undefined && packet.sender.nodeId !== peer) || origin === '') {
      this.counters.packetsReceived++
      this.counters.malformed++
    } else this.receivePacket(origin, packet, nowMs, peer !== undefined, bytes.length)
  }

  /**
   * Takes in a packet that is decoded already. Of `bytes`, its length, depends how much it draws while its sender has not shown that
   * it is at `from`: three times as much. Without it there is no bound.
   */
  receivePacket(
    from: string,
    packet: DecodedPacket,
    nowMs: number,
    reliable = false,
    bytes: number = Number.POSITIVE_INFINITY,
  ): void {
    this.reception.take({ from, packet, nowMs, reliable, bytes })
    this.#settle(nowMs)
  }

  /** Lets time pass up to `nowMs`: probes, gossips, declares dead. */
  advanceTo(nowMs: number): void {
    const dueMs = this.nextDeadlineMs()
    if (nowMs < dueMs || this.membership.voice.mute) return
    if (nowMs - dueMs > this.#options.tuning.probeTimeoutMs) this.forgiveStall(dueMs, nowMs)
    this.prober.advanceTo(nowMs)
    for (const { nodeId, address } of this.membership.lastCalls(nowMs)) this.prober.nudge(nodeId, address)
    this.membership.expireSuspicions(nowMs)
    this.membership.expireTombstones(nowMs)
    this.antiEntropy.advanceTo(nowMs)
    this.metadataPull.advanceTo(nowMs)
    this.nameVote.advanceTo(nowMs)
    if (this.#gossipAtMs !== undefined && nowMs >= this.#gossipAtMs && !this.membership.voice.mute)
      this.gossip(nowMs)
    this.#settle(nowMs)
  }

  /** When {@link SwimCore.advanceTo} is due next; infinity when nothing is planned. Later is allowed, and noticed. */
  nextDeadlineMs(): number {
    if (this.membership.voice.mute) return Number.POSITIVE_INFINITY
    return Math.min(
      this.nameVote.deadlineMs,
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
      packets: this.packer.packets,
      views: this.antiEntropy.views,
      events: this.membership.events,
      deliveries: this.rumours.deliveries,
    }
    if (this.packer.packets.length > 0) this.packer.packets = []
    if (this.antiEntropy.views.length > 0) this.antiEntropy.views = []
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
    this.rumours.keepTime(nowMs)
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
      if (queue.size > 0) this.packer.send(member.address, [], member.nodeId)
    }
    this.#gossipAtMs = nowMs + tuning.gossipIntervalMs
  }

  /** Whoever was removed, has lost its name or said goodbye has nobody to talk to. */
  #mustBeHeard(): void {
    const { state } = this.membership.voice
    if (state === 'leaving')
      throw new KeelsonError('CLOSED', 'this node has said goodbye: open another instance to take part again')
    if (state !== 'removed' && state !== 'silent') return
    throw new KeelsonError(
      'SUPERSEDED',
      state === 'removed'
        ? 'an operator removed this life of the node from the cluster: begin another one with an empty data directory'
        : 'another living process keeps the name of this node: give it a name of its own',
    )
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

/** How long answers are waited for where the host does not say. */
export const defaultQueryTimeoutMs = 5_000

/** Members whose addresses are remembered over a restart. */
const snapshotAddresses = 64
