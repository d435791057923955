import { sleep } from '../../core/async.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { invariant } from '../../core/invariant.ts'
import { entryKinds, type GroupWrite, type LogEntry, type LogStore } from '../../interfaces/log-store.ts'
import type { Bookkeeping, StateMachine } from '../../interfaces/state-machine.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId, NodeId, ReplicaId } from '../../model/ids.ts'
import { replicaOf } from '../core/configuration.ts'
import type { ConfigurationPool } from '../core/configuration-pool.ts'
import type { Configuration, MembershipChange, MembershipOptions } from '../core/membership-types.ts'
import type { Message } from '../core/messages.ts'
import type {
  ConfigurationState,
  DeferredMessage,
  Fetch,
  RaftMachine,
  RaftStatus,
  ReadMode,
  Ready,
} from '../core/types.ts'
import { Applier, type CommandResult, type EntryOutcome, type PositionedSnapshot } from './applier.ts'
import { batchFrames } from './batch-envelope.ts'
import type { BatchLimits } from './batch-proposal.ts'
import type { GroupBookkeeping } from './bookkeeping.ts'
import { checkForwarded, type ForwardedProposal, outcomeForPeer, type ReplicaMessage } from './forwarding.ts'
import type { GroupLimits } from './limits.ts'
import { LogCompactor } from './log-compactor.ts'
import { areApart } from './lost-quorum.ts'
import { encodeGroupMetadata, type GroupMetadata } from './metadata.ts'
import { type Peer, PeerBook } from './peers.ts'
import type { PendingProposal } from './pending-proposals.ts'
import type { PendingRead } from './pending-reads.ts'
import { type LeaderHint, notLeader, supersededError } from './refusals.ts'
import type { ReplicaListener, ReplicaPort, TurnSink } from './replica-port.ts'
import { ReplicaRequests } from './replica-requests.ts'
import { ReplicaRest } from './replica-rest.ts'
import { encodeSessionEntry } from './session-entry.ts'

const nothingWithheld: DeferredMessage[] = Object.freeze([]) as never

/** Pause after a read of the log that failed, before it is tried again. */
const fetchRetryMs = 100

/**
 * Drives the core of one replica: feeds it what comes in, carries out what it wants, and connects callers, state machine
 * and log. All of it happens in turns that the host gives; nothing here waits but for the state machine and the store.
 */
export class Replica {
  readonly groupId: GroupId
  readonly core: RaftMachine
  readonly applier: Applier
  readonly machine: StateMachine
  readonly #port: ReplicaPort<Replica>
  readonly #listener: ReplicaListener
  /** What callers wait for. None while it rests, where nobody waits: a host has many replicas that rest. */
  #requests: ReplicaRequests | undefined
  #lastReadContext = 0
  readonly #peers: PeerBook
  readonly #compactor: LogCompactor
  readonly #rest: ReplicaRest<Replica>
  /** Messages that wait for their write, by ascending write id. */
  #withheld: DeferredMessage[] = nothingWithheld
  #newsHeard: number
  #metadata: GroupMetadata
  #metadataDirty = false
  #token: number | undefined
  #removed = false
  #failure: KeelsonError | undefined
  #appliedSinceTrim = 0
  /** When the pledges of earlier lives, which were longer than those of this one, are over; Infinity for none. */
  #formerPledgesEndMs = Number.POSITIVE_INFINITY

  constructor(
    groupId: GroupId,
    core: RaftMachine,
    machine: StateMachine,
    stored: GroupBookkeeping,
    metadata: GroupMetadata,
    port: ReplicaPort<Replica>,
    listener: ReplicaListener,
  ) {
    this.groupId = groupId
    this.core = core
    this.machine = machine
    this.#metadata = metadata
    this.#port = port
    this.#listener = listener
    this.#newsHeard = port.nodes.newsNumber
    if (metadata.pledgeMs > port.pledgeMs) this.#formerPledgesEndMs = this.#now() + metadata.pledgeMs
    this.#peers = new PeerBook(this.core.status().configuration)
    this.#rest = new ReplicaRest(this, port)
    this.applier = new Applier(stored, metadata.replicaId, this)
    this.#compactor = new LogCompactor(this)
  }

  get #callers(): ReplicaRequests {
    const port = this.#port
    this.#requests ??= new ReplicaRequests({
      groupId: this.groupId,
      core: this.core,
      clock: port.env.clock,
      random: port.env.random,
      limits: port.limits,
      maximumEntryBytes: port.maximumEntryBytes,
      leaderHint: () => this.leaderHint(),
      quarantined: () => this.#metadata.quarantined,
      peerOf: (replicaId) => this.peerOf(replicaId),
      send: (peer, message) => port.send(this, peer, message),
      nowMs: () => this.#now(),
      schedule: () => port.schedule(this),
      lastReadContext: this.#lastReadContext,
    })
    return this.#requests
  }

  get limits(): GroupLimits {
    return this.#port.limits
  }

  get configurations(): ConfigurationPool {
    return this.#port.configurations
  }

  get log(): LogStore {
    return this.#port.log
  }

  get replicaId(): ReplicaId {
    return this.core.replicaId
  }

  get stopped(): boolean {
    return this.#failure !== undefined
  }

  get failure(): KeelsonError | undefined {
    return this.#failure
  }

  get quarantined(): boolean {
    return this.#metadata.quarantined
  }

  /** Whether nothing of the group is here, in memory or on the disk, but an id, a term and a vote. */
  get isEmpty(): boolean {
    const { restoring, quarantined } = this.#metadata
    return (
      !this.stopped && !restoring && !quarantined && this.applier.applied.index === 0 && this.core.isEmpty
    )
  }

  get removed(): boolean {
    return this.#removed
  }

  /** The last recovery of the group from a lost quorum that this replica goes along with. */
  get recoveryGeneration(): number {
    return this.#metadata.recoveryGeneration
  }

  /** Identity and marks, as stored or about to be. */
  get metadata(): GroupMetadata {
    return this.#metadata
  }

  /** Latest and committed configuration. */
  get configuration(): ConfigurationState {
    return this.#peers.configuration
  }

  status(): RaftStatus {
    return this.core.status()
  }

  /** When the replica wants a turn if nothing comes in before. */
  get nextDeadlineMs(): number {
    if (this.#failure !== undefined) return Number.POSITIVE_INFINITY
    return Math.min(this.core.nextDeadlineMs, this.#requests?.nextDeadlineMs ?? Number.POSITIVE_INFINITY)
  }

  /** Lease sequence of this replica while it leads and has applied its term's first entry. */
  get token(): number | undefined {
    if (this.#failure !== undefined || this.core.role !== 'leader') return undefined
    return this.applier.sequence === this.core.term ? this.core.term : undefined
  }

  leaderHint(): LeaderHint {
    const replicaId = this.core.leader
    return { replicaId, nodeId: replicaId === 0 ? undefined : this.peerOf(replicaId)?.nodeId }
  }

  /** Where a replica is found. */
  peerOf(replicaId: ReplicaId): Peer | undefined {
    return this.#peers.find(replicaId)
  }

  /** Whether this peer may speak for the replica. */
  isBound(replicaId: ReplicaId, peer: PeerIdentity): boolean {
    return this.#peers.isBound(replicaId, peer)
  }

  // What callers ask for

  /** How reads are confirmed that do not say it themselves. */
  get readMode(): ReadMode {
    return this.#port.readMode
  }

  /** @returns why the proposal is refused, if it is */
  propose(proposal: PendingProposal): KeelsonError | undefined {
    this.hearNews(this.#now())
    return this.#failure ?? this.#callers.propose(proposal)
  }

  /** Entries of several commands are written only where every other member reads them, as far as it was heard lately. */
  get batchLimits(): BatchLimits {
    const others = this.configuration.latest?.replicas.filter(({ replicaId }) => replicaId !== this.replicaId)
    return {
      together: others?.every((replica) => this.readsBatches(replica)) === true,
      entryBytes: this.#port.maximumEntryBytes,
      alone: (command) => this.machine.alone?.(command) === true,
    }
  }

  /** @internal */
  readsBatches(peer: Peer): boolean {
    return this.#port.frameVersionOf(peer) >= batchFrames
  }

  /** The caller of a proposal went away. @returns what is known of its effect */
  abandonProposal(proposal: PendingProposal): 'none' | 'unknown' {
    return this.#callers.abandon(proposal)
  }

  /** @returns why the read is refused, if it is */
  read(read: PendingRead): KeelsonError | undefined {
    if (this.#failure !== undefined) return this.#failure
    this.hearNews(this.#now())
    if (this.#mayReadAtOnce(read)) {
      read.settle?.(undefined)
      return undefined
    }
    return this.#callers.read(read)
  }

  /** A valid lease, and all that is committed is applied: there is nothing to wait for, not even a turn. */
  #mayReadAtOnce({ request }: PendingRead): boolean {
    if (request.mode !== 'lease' || this.core.role !== 'leader') return false
    const { clock } = this.#port.env
    this.#rest.takeNodePledges(true)
    const index = this.core.leaseReadIndex(clock.monotonicMs(), clock.wallMs())
    return index !== undefined && index <= this.applier.applied.index
  }

  /** `settle` gets the outcome when the entry of the new configuration is applied, or an error. */
  changeMembership(
    changes: MembershipChange | readonly MembershipChange[],
    options: MembershipOptions,
    settle: (outcome: Configuration | KeelsonError) => void,
  ): PendingProposal | KeelsonError {
    if (this.#failure !== undefined) return this.#failure
    return this.#guarded(() => this.#callers.changeMembership(changes, options, this.#now(), settle))
  }

  /** @returns why the transfer is refused, if it is */
  transferLeadership(
    to: ReplicaId,
    resolve: () => void,
    reject: (error: KeelsonError) => void,
  ): KeelsonError | undefined {
    if (this.#failure !== undefined) return this.#failure
    return this.#guarded(() => this.#callers.transferLeadership(to, this.#now(), { resolve, reject }))
  }

  campaign(): void {
    if (this.core.leader !== 0 || this.isCampaigning()) return
    this.#guarded(() => this.core.campaign(this.#now()))
    this.#port.schedule(this)
  }

  /** A vote is under way. Begun anew it would lose its grants, and take another term with each call. @internal */
  isCampaigning(): boolean {
    return this.core.role === 'candidate' || this.core.role === 'preCandidate'
  }

  forgetLeader(): void {
    this.#guarded(() => this.core.forgetLeader(this.#now()))
    this.#port.schedule(this)
  }

  // What comes in

  /**
   * A message from the network.
   *
   * @returns why it was dropped, if it was
   */
  receive(peer: PeerIdentity, message: Message, nowMs: number): string | undefined {
    this.hearNews(nowMs)
    if (this.#failure !== undefined) return 'stopped'
    if (message.to !== this.replicaId) return 'wrongReplica'
    if (!this.isBound(message.from, peer)) return 'wrongSender'
    try {
      if (message.kind === 'vote' && !message.transfer) {
        this.#rest.uncover(nowMs)
        this.hearNews(nowMs)
      }
      this.core.step(this.#rest.checkEpoch(peer, message), nowMs)
    } catch (error) {
      if (KeelsonError.hasCode(error, 'MALFORMED')) return 'malformed'
      // Something that only a later release can read is among it, too: this replica says so, and does no more.
      this.stop(toKeelsonError(error, 'INVARIANT_VIOLATED'))
      return 'failed'
    }
    this.#port.schedule(this)
    return undefined
  }

  /**
   * A message that the core does not see.
   *
   * @returns why it was dropped, if it was
   */
  receiveOther(peer: PeerIdentity, message: ReplicaMessage, nowMs: number): string | undefined {
    if (message.to !== this.replicaId) return 'wrongReplica'
    if (!this.isBound(message.from, peer)) return 'wrongSender'
    if (message.kind === 'forward') this.#takeForwarded(peer, message)
    else if (this.#failure === undefined) this.#requests?.forwardAnswered(message, nowMs)
    this.#port.schedule(this)
    return undefined
  }

  /** A member's proposal. Who does not lead says so: it goes one hop only. */
  #takeForwarded(peer: PeerIdentity, message: ForwardedProposal): void {
    const { from, forwardId } = message
    const reply = (outcome: CommandResult, index = 0): void => {
      const header = { from: this.replicaId, to: from, term: this.core.term }
      const fitting = outcomeForPeer(outcome, this.#port.maximumMessageBytes)
      this.#port.send(this, peer, { kind: 'forwardReply', ...header, forwardId, index, outcome: fitting })
    }
    if (this.#failure !== undefined) return reply(notLeader(this.groupId, this.leaderHint()))
    if (!this.#isMember(from)) {
      return reply(notLeader(this.groupId, this.leaderHint(), `replica ${from} is no member of the group`))
    }
    try {
      checkForwarded(message)
      // Entries of several commands are not forwarded.
      const settle = (outcome: EntryOutcome, index: number): void => reply(outcome as CommandResult, index)
      const refusal = this.propose(this.proposalOf(message, settle))
      if (refusal !== undefined) reply(refusal)
    } catch (error) {
      reply(toKeelsonError(error))
    }
  }

  /** It is not forwarded once more: two replicas that take each other for the leader would never end. @internal */
  proposalOf({ entryKind, data }: ForwardedProposal, settle: PendingProposal['settle']): PendingProposal {
    return { kind: entryKind, data, index: 0, term: 0, settle }
  }

  /**
   * A replica of a higher recovery generation speaks: the group was recovered from a lost quorum without this one, which is
   * no part of it any more. That is stored, and it stops. Only members that it knows are believed; and of a recovery that
   * knew nothing of its own, only those that its own has kept, as the others are lost to it.
   */
  supersede(peer: PeerIdentity, recoveryGeneration: number): boolean {
    const apart = areApart(recoveryGeneration, this.recoveryGeneration)
    if (!this.#peers.isMember(peer, apart)) return false
    if (this.#failure !== undefined || recoveryGeneration <= this.#metadata.supersededBy) return true
    this.#metadata = { ...this.#metadata, supersededBy: recoveryGeneration }
    const metadata = encodeGroupMetadata(this.#metadata)
    // If it fails, the store is poisoned, or a later message says it again.
    this.#port.write(this, { groupId: this.groupId, metadata }).catch(() => {})
    const error = supersededError(this.groupId, this.#metadata)
    this.#port.env.logger.error({ groupId: this.groupId, replicaId: this.replicaId, error }, error.message)
    this.stop(error)
    return true
  }

  /** Whoever speaks first for a replica id that is in no configuration is bound to it: that makes nobody a member. */
  #isMember(replicaId: ReplicaId): boolean {
    const { latest, committed } = this.configuration
    return [latest, committed].some((configuration) => replicaOf(configuration, replicaId) !== undefined)
  }

  /** Number of the last news of other nodes that it has heard. */
  get newsHeard(): number {
    return this.#newsHeard
  }

  /** Whether it does nothing until it is told something. */
  get rests(): boolean {
    return this.#failure !== undefined || this.core.atRest
  }

  /**
   * What became of other nodes is known before anything else is done, though the host tells those that rest only a few at
   * a time. To be called first wherever something comes in, or a time has come.
   *
   * @returns whether any of it concerned this replica
   */
  hearNews(nowMs: number): boolean {
    const { nodes } = this.#port
    const heard = this.#newsHeard
    if (heard === nodes.newsNumber) return false
    this.#newsHeard = nodes.newsNumber
    if (this.#failure !== undefined) return false
    return this.#guarded(() => this.#rest.hearNews(heard, nowMs)) === true
  }

  get isAsked(): boolean {
    return this.#requests !== undefined && !this.#requests.isIdle
  }

  isElectionDue(nowMs: number): boolean {
    const { role, electionDeadlineMs } = this.core
    return this.#failure === undefined && role !== 'leader' && nowMs >= electionDeadlineMs
  }

  /** Connections to a node broke: whatever was asked there has no answer. */
  callsLost(nodeId: NodeId): void {
    this.#requests?.peerLost(nodeId)
  }

  /** The disk of this node has forgotten something that was acknowledged. */
  quarantine(): void {
    if (this.#failure !== undefined) return
    this.#guarded(() => this.core.quarantine())
    this.#port.schedule(this)
  }

  /** Goes on under another id, which is stored before or together with what is promised under it first. */
  takeId(replicaId: ReplicaId): void {
    this.#guarded(() => {
      this.core.takeId(replicaId)
      this.applier.takeId(replicaId)
      this.#withheld = nothingWithheld
      this.#metadata = { ...this.#metadata, replicaId }
      this.writeMetadata()
    })
  }

  // Turns

  /** Stores the metadata with the next turn. */
  writeMetadata(): void {
    this.#metadataDirty = true
    this.#port.schedule(this)
  }

  /** Lets time pass. A turn should follow. */
  advance(nowMs: number): void {
    this.hearNews(nowMs)
    if (this.#failure !== undefined) return
    this.#guarded(() => {
      this.#requests?.advance(nowMs)
      this.core.observeWall(this.#port.env.clock.wallMs())
      this.core.advanceTo(nowMs)
    })
  }

  /** Takes what the core wants done and does it. */
  turn(nowMs: number, sink: TurnSink<Replica>): void {
    this.hearNews(nowMs)
    if (this.#failure !== undefined) return
    this.#guarded(() => {
      if (nowMs >= this.#formerPledgesEndMs) this.#forgetFormerPledges()
      if (this.core.atRest) this.#rest.takeNodePledges(false)
      this.#requests?.submit(nowMs)
      this.core.observeWall(this.#port.env.clock.wallMs())
      const ready = this.core.takeReady()
      if (ready !== undefined) this.#carryOut(ready, nowMs, sink)
      else this.#writeMetadata(sink)
      this.#rest.turnEnds(nowMs)
      this.#forgetCallers()
    })
  }

  /** All that callers have asked for is answered. */
  #forgetCallers(): void {
    if (!this.core.atRest || this.#requests?.isIdle !== true) return
    this.#lastReadContext = this.#requests.lastReadContext
    this.#requests = undefined
  }

  /** The next life need not wait for them any more. */
  #forgetFormerPledges(): void {
    this.#formerPledgesEndMs = Number.POSITIVE_INFINITY
    this.#metadata = { ...this.#metadata, pledgeMs: this.#port.pledgeMs }
    this.#metadataDirty = true
  }

  /** Everything up to this write is durable. A turn should follow. */
  persisted(writeId: number, nowMs: number, sink: TurnSink<Replica>): void {
    if (this.#failure !== undefined || writeId === 0) return
    this.#guarded(() => {
      this.core.persisted(writeId, nowMs)
      if (this.breaksPromises()) this.#withheld = nothingWithheld
      let sent = 0
      for (const { writeId: needed, message } of this.#withheld) {
        if (needed > writeId) break
        this.#send(message, sink)
        sent++
      }
      if (sent > 0)
        this.#withheld = sent < this.#withheld.length ? this.#withheld.slice(sent) : nothingWithheld
    })
  }

  /**
   * What was promised before this replica was quarantined, and waits for the disk still, is not said any more: nobody may
   * rely on it.
   *
   * @internal
   */
  breaksPromises(): boolean {
    return this.core.quarantined
  }

  /** Stops for good. What is open fails; the state machine is left as it is. */
  stop(error: KeelsonError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#withheld = nothingWithheld
    this.#rest.stop()
    void this.applier.stop()
    this.#requests?.failAll(error)
    this.#updateToken()
    this.#listener.stopped(error)
  }

  // Snapshots

  async takeSnapshot(): Promise<PositionedSnapshot> {
    return this.applier.snapshot()
  }

  /** Keeps what follows on a snapshot in the log while that is on its way, within limits. @returns the end of it */
  holdLog(index: number): () => void {
    return this.#compactor.pin(index)
  }

  /** Notes durably that a snapshot may be replacing the state from now on. */
  async beginRestore(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    this.#metadata = { ...this.#metadata, restoring: true }
    const metadata = encodeGroupMetadata(this.#metadata)
    await this.#port.write(this, { groupId: this.groupId, metadata })
  }

  /** Switches the state machine to a snapshot, then log and core. When it throws, the old state is there still. */
  async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const restored = await this.applier.restore(bookkeeping, chunks)
    if (this.#failure !== undefined) throw this.#failure
    const { applied, configuration } = this.applier
    invariant(configuration !== undefined, 'an applied state has a configuration')
    this.#metadata = { ...this.#metadata, restoring: false }
    this.#metadataDirty = true
    this.#guarded(() => {
      if (!restored) {
        this.core.snapshotFailed(this.#now())
        return
      }
      this.core.snapshotRestored(applied, configuration.configuration, this.#now())
      this.#compactor.reset(applied.index)
      this.#requests?.skippedTo(applied.index, configuration.configuration)
      this.#updateToken()
    })
    this.#port.schedule(this)
  }

  /**
   * A snapshot that was offered is not fetched. Another one may be replacing the state just now, so its mark stays: a
   * crash before the log is reset to it could not be told from a lost disk.
   */
  offerDeclined(): void {
    if (this.#failure !== undefined) return
    this.#guarded(() => this.core.snapshotFailed(this.#now()))
    this.#port.schedule(this)
  }

  /** The snapshot that was being received came to nothing; the old state is there still. */
  restoreFailed(): void {
    if (this.#failure !== undefined) return
    if (this.#metadata.restoring) {
      this.#metadata = { ...this.#metadata, restoring: false }
      this.#metadataDirty = true
    }
    this.#guarded(() => this.core.snapshotFailed(this.#now()))
    this.#port.schedule(this)
  }

  snapshotSent(replicaId: ReplicaId, outcome: 'sent' | 'failed'): void {
    if (this.#failure !== undefined) return
    this.#guarded(() => this.core.reportSnapshot(replicaId, outcome, this.#now()))
    this.#port.schedule(this)
  }

  // Inside

  #now(): number {
    return this.#port.env.clock.monotonicMs()
  }

  /** A core that breaks an invariant ends its replica, not the host. */
  #guarded<T>(act: () => T): T | KeelsonError {
    try {
      return act()
    } catch (thrown) {
      const error = toKeelsonError(thrown, 'INVARIANT_VIOLATED')
      this.stop(error)
      return error
    }
  }

  #carryOut(ready: Ready, nowMs: number, sink: TurnSink<Replica>): void {
    if (ready.quarantined === true) {
      this.#metadata = { ...this.#metadata, quarantined: true }
      this.#metadataDirty = true
    }
    // Before anything is sent: a message may go to a replica that only the new configuration names.
    if (ready.configuration !== undefined) this.#peers.configuration = ready.configuration
    if (ready.write !== undefined) {
      const { writeId, reset, entries, hardState } = ready.write
      const write: { -readonly [K in keyof GroupWrite]: GroupWrite[K] } = { groupId: this.groupId }
      if (reset !== undefined) write.reset = reset
      if (entries !== undefined) write.entries = entries
      if (hardState !== undefined) write.hardState = hardState
      if (this.#metadataDirty) write.metadata = this.#takeMetadata()
      sink.write(this, write, writeId)
    } else {
      this.#writeMetadata(sink)
    }
    for (const message of ready.messages) this.#send(message, sink)
    if (ready.messagesAfter.length > 0) this.#withheld = [...this.#withheld, ...ready.messagesAfter]
    this.#compactor.add(ready.committed)
    this.applier.enqueue(ready.committed)
    for (const fetch of ready.fetches) void this.#fetch(fetch)
    if (ready.offeredSnapshot !== undefined) this.#port.snapshotOffered(this, ready.offeredSnapshot)
    this.#requests?.answer(ready, this.applier.applied.index, nowMs)
    this.#announce(ready)
  }

  #announce(ready: Ready): void {
    if (ready.leadership !== undefined) {
      this.#updateToken()
      this.#listener.leadership(ready.leadership)
    }
    if (ready.configuration !== undefined) this.#listener.configuration(ready.configuration)
    if (ready.quarantined === true) {
      this.#port.env.logger.error(
        { groupId: this.groupId, replicaId: this.replicaId },
        'a replica lost what it had acknowledged and is quarantined; remove it and add a new one',
      )
      this.#listener.quarantined()
    }
    if ((ready.removed === true || this.#isRemoved()) && !this.#removed) {
      this.#removed = true
      this.#listener.removed()
    }
  }

  /** Its own committed configuration does not name this replica: it did once, as its id is not above the index. */
  #isRemoved(): boolean {
    const { committed, committedIndex } = this.configuration
    if (committed === undefined || committedIndex < this.replicaId) return false
    return replicaOf(committed, this.replicaId) === undefined
  }

  #takeMetadata(): Uint8Array {
    this.#metadataDirty = false
    return encodeGroupMetadata(this.#metadata)
  }

  #writeMetadata(sink: TurnSink<Replica>): void {
    if (this.#metadataDirty) sink.write(this, { groupId: this.groupId, metadata: this.#takeMetadata() }, 0)
  }

  #send(message: Message, sink: TurnSink<Replica>): void {
    const peer = this.peerOf(message.to)
    if (peer === undefined) return
    sink.send(this, peer, this.#rest.withEpoch(peer, message))
  }

  async #fetch(fetch: Fetch): Promise<void> {
    try {
      const { from, to, maximumBytes } = fetch
      const entries = await this.#port.log.read(this.groupId, from, to, maximumBytes)
      if (this.#failure !== undefined) return
      this.#guarded(() => this.core.fetched(fetch, entries, this.#now()))
    } catch (error) {
      if (this.#failure !== undefined) return
      const compacted = KeelsonError.hasCode(error, 'COMPACTED')
      // A log that cannot be read is not a log that ends here: such a replica must not lead, nor follow.
      if (KeelsonError.hasCode(error, 'CORRUPTION', 'STORE_POISONED')) {
        this.stop(error)
        return
      }
      this.#port.env.logger.warn({ groupId: this.groupId, error, ...fetch }, 'entries could not be read back')
      if (!compacted) await sleep(this.#port.env.timers, fetchRetryMs)
      if (this.#failure !== undefined) return
      this.#guarded(() => this.core.fetchFailed(fetch, compacted ? 'compacted' : 'other', this.#now()))
    }
    this.#port.schedule(this)
  }

  /** The applier has applied these. */
  applied(entries: readonly LogEntry[], outcomes: readonly EntryOutcome[]): void {
    if (this.#failure !== undefined) return
    const { index } = this.applier.applied
    this.#guarded(() => this.core.applied(index, this.#now()))
    this.#requests?.applied(entries, outcomes, index)
    this.#updateToken()
    for (const outcome of outcomes) this.#appliedSinceTrim += Array.isArray(outcome) ? outcome.length : 1
    if (this.#appliedSinceTrim >= 1024) this.#trimSessions()
    this.#compactor.check()
    this.#port.schedule(this)
  }

  applyFailed(error: unknown): void {
    this.stop(toKeelsonError(error, 'INVARIANT_VIOLATED'))
  }

  compactionFailed(error: unknown): void {
    this.stop(toKeelsonError(error))
  }

  #updateToken(): void {
    const { token } = this
    if (token === this.#token) return
    this.#token = token
    this.#listener.token(token)
  }

  /** Keeps the stored results of sessions within their limits in bytes, through the log. */
  #trimSessions(): void {
    this.#appliedSinceTrim = 0
    const { resultBytesPerSession, totalResultBytes } = this.#port.limits
    if (this.core.role !== 'leader') return
    if (!this.applier.sessions.exceeds(resultBytesPerSession, totalResultBytes)) return
    const data = encodeSessionEntry({
      type: 'trim',
      bytesPerSession: Math.floor(resultBytesPerSession / 2),
      totalBytes: Math.floor(totalResultBytes / 2),
    })
    this.propose({ kind: entryKinds.session, data, index: 0, term: 0, settle: undefined })
  }
}
