import { type KeelsonError, toKeelsonError } from '../../core/errors.ts'
import type { LogEntry, LogStore } from '../../interfaces/log-store.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId, NodeId, ReplicaId } from '../../model/ids.ts'
import type { ConfigurationPool } from '../core/configuration-pool.ts'
import type { ConfigurationState, DeferredMessage, RaftMachine, RaftStatus } from '../core/types.ts'
import { Applier } from './applier.ts'
import type { GroupBookkeeping } from './bookkeeping.ts'
import type { GroupLimits } from './limits.ts'
import { LogCompactor } from './log-compactor.ts'
import type { GroupMetadata } from './metadata.ts'
import type { Outcomes } from './outcomes.ts'
import { type Peer, PeerBook } from './peers.ts'
import type { LeaderHint } from './refusals.ts'
import type { ReplicaListener, ReplicaPort } from './replica-port.ts'
import { ReplicaRequests } from './replica-requests.ts'
import { ReplicaRest } from './replica-rest.ts'

export const nothingWithheld: DeferredMessage[] = Object.freeze([]) as never

/** What a replica is and has, as all of it is seen by its host and by those who hold its group. */
export abstract class ReplicaState {
  readonly groupId: GroupId
  readonly core: RaftMachine
  readonly applier: Applier
  readonly machine: StateMachine
  protected readonly port: ReplicaPort<ReplicaState>
  protected readonly listener: ReplicaListener
  /** What callers wait for. None while it rests, where nobody waits: a host has many replicas that rest. */
  protected requests: ReplicaRequests | undefined
  protected lastReadContext = 0
  protected readonly peers: PeerBook
  protected readonly compactor: LogCompactor
  protected readonly rest: ReplicaRest<ReplicaState>
  /** Messages that wait for their write, by ascending write id. */
  protected withheld: DeferredMessage[] = nothingWithheld
  protected heardNews: number
  protected stored: GroupMetadata
  protected metadataDirty = false
  protected toldToken: number | undefined
  protected failed: KeelsonError | undefined

  constructor(
    groupId: GroupId,
    core: RaftMachine,
    machine: StateMachine,
    stored: GroupBookkeeping,
    metadata: GroupMetadata,
    port: ReplicaPort<ReplicaState>,
    listener: ReplicaListener,
  ) {
    this.groupId = groupId
    this.core = core
    this.machine = machine
    this.stored = metadata
    this.port = port
    this.listener = listener
    this.heardNews = port.nodes.newsNumber
    this.peers = new PeerBook(this.core.status().configuration)
    this.rest = new ReplicaRest(this, port)
    this.applier = new Applier(stored, metadata.replicaId, this)
    this.compactor = new LogCompactor(this)
    if (metadata.quarantined) port.metrics.quarantined(this, true)
  }

  abstract applied(entries: readonly LogEntry[], outcomes: Outcomes): void
  abstract applyFailed(error: unknown): void
  abstract compactionFailed(error: unknown): void

  protected get callers(): ReplicaRequests {
    const port = this.port
    this.requests ??= new ReplicaRequests({
      groupId: this.groupId,
      core: this.core,
      clock: port.env.clock,
      random: port.env.random,
      limits: port.limits,
      maximumEntryBytes: port.maximumEntryBytes,
      leaderHint: () => this.leaderHint(),
      quarantined: () => this.stored.quarantined,
      peerOf: (replicaId) => this.peerOf(replicaId),
      send: (peer, message) => port.send(this, peer, message),
      nowMs: () => this.now(),
      schedule: () => port.schedule(this),
      lastReadContext: this.lastReadContext,
    })
    return this.requests
  }

  get limits(): GroupLimits {
    return this.port.limits
  }

  get configurations(): ConfigurationPool {
    return this.port.configurations
  }

  get log(): LogStore {
    return this.port.log
  }

  get replicaId(): ReplicaId {
    return this.core.replicaId
  }

  get stopped(): boolean {
    return this.failed !== undefined
  }

  get failure(): KeelsonError | undefined {
    return this.failed
  }

  get quarantined(): boolean {
    return this.stored.quarantined
  }

  /** Whether nothing of the group is here, in memory or on the disk, but an id, a term and a vote. */
  get isEmpty(): boolean {
    const { restoring, quarantined } = this.stored
    return (
      !this.stopped && !restoring && !quarantined && this.applier.applied.index === 0 && this.core.isEmpty
    )
  }

  /** The last recovery of the group from a lost quorum that this replica goes along with. */
  get recoveryGeneration(): number {
    return this.stored.recoveryGeneration
  }

  /** Identity and marks, as stored or about to be. */
  get metadata(): GroupMetadata {
    return this.stored
  }

  /** Latest and committed configuration. */
  get configuration(): ConfigurationState {
    return this.peers.configuration
  }

  status(): RaftStatus {
    return this.core.status()
  }

  /** Whether it may answer reads without asking anybody. */
  get holdsLease(): boolean {
    if (this.token === undefined) return false
    const { clock } = this.port.env
    return this.core.leaseReadIndex(clock.monotonicMs(), clock.wallMs()) !== undefined
  }

  /** Proposals whose outcome is open. */
  get pendingProposals(): number {
    return this.requests?.pendingProposals ?? 0
  }

  /** Entries in the log that are not known to be committed. */
  get commitLag(): number {
    const { lastIndex, commitIndex } = this.core.status()
    return lastIndex - commitIndex
  }

  /** Committed entries that wait for the state machine. */
  get applyLag(): number {
    return Math.max(0, this.core.status().commitIndex - this.applier.applied.index)
  }

  /** When the replica wants a turn if nothing comes in before. */
  get nextDeadlineMs(): number {
    if (this.failed !== undefined) return Number.POSITIVE_INFINITY
    return Math.min(this.core.nextDeadlineMs, this.requests?.nextDeadlineMs ?? Number.POSITIVE_INFINITY)
  }

  /** Lease sequence of this replica while it leads and has applied its term's first entry. */
  get token(): number | undefined {
    if (this.failed !== undefined || this.core.role !== 'leader') return undefined
    return this.applier.sequence === this.core.term ? this.core.term : undefined
  }

  leaderHint(): LeaderHint {
    const replicaId = this.core.leader
    return { replicaId, nodeId: replicaId === 0 ? undefined : this.peerOf(replicaId)?.nodeId }
  }

  /** Where a replica is found. */
  peerOf(replicaId: ReplicaId): Peer | undefined {
    return this.peers.find(replicaId)
  }

  /** Whether this peer may speak for the replica. */
  isBound(replicaId: ReplicaId, peer: PeerIdentity): boolean {
    return this.peers.isBound(replicaId, peer)
  }

  /** Number of the last news of other nodes that it has heard. */
  get newsHeard(): number {
    return this.heardNews
  }

  /** Whether it does nothing until it is told something. */
  get rests(): boolean {
    return this.failed !== undefined || this.core.atRest
  }

  /**
   * What became of other nodes is known before anything else is done, though the host tells those that rest only a few at
   * a time. To be called first wherever something comes in, or a time has come.
   *
   * @returns whether any of it concerned this replica
   */
  hearNews(nowMs: number): boolean {
    const { nodes } = this.port
    const heard = this.heardNews
    if (heard === nodes.newsNumber) return false
    this.heardNews = nodes.newsNumber
    if (this.failed !== undefined) return false
    return this.guarded(() => this.rest.hearNews(heard, nowMs)) === true
  }

  /** Connections to a node broke: whatever was asked there has no answer. */
  callsLost(nodeId: NodeId): void {
    this.requests?.peerLost(nodeId)
  }

  /** Stores the metadata with the next turn. */
  writeMetadata(): void {
    this.metadataDirty = true
    this.port.schedule(this)
  }

  /** Stops for good. What is open fails; the state machine is left as it is. */
  stop(error: KeelsonError): void {
    if (this.failed !== undefined) return
    this.failed = error
    this.withheld = nothingWithheld
    this.rest.stop()
    void this.applier.stop()
    this.requests?.failAll(error)
    this.updateToken()
    this.port.metrics.quarantined(this, false)
    this.listener.stopped(error)
  }

  protected now(): number {
    return this.port.env.clock.monotonicMs()
  }

  /** A core that breaks an invariant ends its replica, not the host. */
  protected guarded<T>(act: () => T): T | KeelsonError {
    try {
      return act()
    } catch (thrown) {
      const error = toKeelsonError(thrown, 'INVARIANT_VIOLATED')
      this.stop(error)
      return error
    }
  }

  protected updateToken(): void {
    const { token } = this
    if (token === this.toldToken) return
    if ((token === undefined) !== (this.toldToken === undefined))
      this.port.metrics.serves(token !== undefined)
    this.toldToken = token
    this.listener.token(token)
  }
}
