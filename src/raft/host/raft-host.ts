import type { Environment } from '../../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { Events } from '../../core/events.ts'
import type { LogStore } from '../../interfaces/log-store.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { Channel } from '../../interfaces/transport.ts'
import type { GroupId, Incarnation, NodeId } from '../../model/ids.ts'
import { ConfigurationPool } from '../core/configuration-pool.ts'
import { longestPledgeMs } from '../core/options.ts'
import type { Peer } from '../group/peers.ts'
import type { RaftGroup } from '../group/raft-group.ts'
import type { Replica } from '../group/replica.ts'
import type { ReplicaPort } from '../group/replica-port.ts'
import { DiskMarks } from './disk-marks.ts'
import { DiskTrust } from './disk-trust.ts'
import { FrameVersions } from './frame-versions.ts'
import type { DestructionSetup } from './group-destruction.ts'
import type { HostMessage } from './host-messages.ts'
import { HostMetrics } from './host-metrics.ts'
import { HostedGroups } from './hosted-groups.ts'
import { Incoming } from './incoming.ts'
import { LogGate } from './log-gate.ts'
import { NodeBeats } from './node-beats.ts'
import { NodeLiveness } from './node-liveness.ts'
import {
  type BootstrapSetup,
  type CheckedHostOptions,
  checkHostOptions,
  checkPorts,
  fitRaftOptions,
  type RaftHostOptions,
} from './options.ts'
import { Outbox } from './outbox.ts'
import { SnapshotTransfers } from './snapshot-transfers.ts'
import type { StoredGroup } from './stored-groups.ts'
import { TurnLoop } from './turn-loop.ts'

/** Events of a {@link RaftHost}. */
export type RaftHostEvents = {
  /** The log store failed, and every group stopped with it. Only a restart of the host helps. */
  stopped: (error: KeelsonError) => void
}

/**
 * The Raft groups of one node, over one log store and one channel. A state machine is the host's from when it opens it: it
 * is closed with the host, or at once when its group cannot be opened after all. In each turn of the event loop what all groups have
 * to write becomes one durable batch, and what they have to say to a node one frame.
 */
export class RaftHost implements AsyncDisposable {
  /** This node. */
  readonly nodeId: NodeId
  /** Life of the node's log store, by which replicas are bound to its disk. */
  readonly incarnation: Incarnation
  readonly #env: Environment
  readonly #log: LogStore
  readonly #events: Events<RaftHostEvents>
  readonly #outbox: Outbox
  readonly #nodes: NodeBeats
  readonly #snapshots: SnapshotTransfers
  readonly #loop: TurnLoop
  readonly #hosted: HostedGroups
  /** Nodes that were lost, and not heard since. */
  readonly #gone = new Set<NodeId>()
  readonly #stopListening: () => void
  readonly #versions = new FrameVersions()
  readonly #metrics: HostMetrics
  #failure: KeelsonError | undefined
  #closing: Promise<void> | undefined

  /**
   * Opens the log store and the channel. Groups are opened one by one after it.
   *
   * @throws KeelsonError `INVALID_OPTION`, `FOREIGN_NODE` when the channel speaks for another node or incarnation than the
   * log store belongs to, and whatever opening the store throws
   */
  static async open(options: RaftHostOptions): Promise<RaftHost> {
    const checked = checkHostOptions(options)
    const { env, log, clusterId, nodeId } = checked
    const store = typeof log === 'function' ? await log({ env, clusterId, nodeId }) : log
    try {
      const channel = typeof checked.channel === 'function' ? checked.channel('raft') : checked.channel
      checkPorts(store, channel)
      if (channel.self.nodeId !== nodeId || channel.self.incarnation !== store.incarnation) {
        throw new KeelsonError(
          'FOREIGN_NODE',
          `the log store belongs to ${nodeId} in incarnation ${store.incarnation}, but the channel speaks for ${channel.self.nodeId} in incarnation ${channel.self.incarnation}; open the store first and give its incarnation to the transport`,
        )
      }
      const gate = new LogGate(store)
      const trust = await DiskTrust.open({ env, log: gate })
      return new RaftHost(checked, gate, channel, trust)
    } catch (error) {
      await (store as LogStore | undefined)?.close?.()
      throw error
    }
  }

  /** Use {@link RaftHost.open}. @internal */
  constructor(options: CheckedHostOptions, log: LogGate, channel: Channel, trust: DiskTrust) {
    const { env } = options
    const raft = fitRaftOptions(options.raft, channel.maximumMessageBytes, log.limits.writeBytes)
    this.#env = env
    this.#log = log
    this.nodeId = options.nodeId
    this.incarnation = log.incarnation
    this.#events = new Events(env.logger, ['stopped'])
    const groups = (): number => this.#hosted.open.size
    const liveness = new NodeLiveness({ ...raft, random: env.random, groups })
    const marks = new DiskMarks(trust.history, () => log.durablePosition())
    this.#outbox = new Outbox(
      channel,
      env.metrics,
      marks,
      (nodeId) => this.#framesDropped(nodeId),
      (peer) => this.#nodes.withholds(peer),
    )
    this.#nodes = new NodeBeats({
      env,
      liveness,
      electionTimeoutMs: raft.electionTimeoutMs,
      replicas: () => this.#hosted.replicas(),
      waiting: () => this.#loop.waiting(),
      add: (peer, beat) => this.#outbox.addBeat(peer, beat),
      send: () => this.#loop.sendNow(),
    })
    this.#loop = new TurnLoop({ env, log, outbox: this.#outbox, onFailure: (error) => this.#poisoned(error) })
    this.#metrics = new HostMetrics({
      metrics: env.metrics,
      clock: env.clock,
      nodeId: options.nodeId,
      openGroups: groups,
      awake: () => this.#loop.waiting(),
    })
    const port: ReplicaPort<Replica> = {
      env,
      log,
      limits: options.limits,
      configurations: new ConfigurationPool(),
      maximumEntryBytes: raft.maximumEntryBytes,
      readMode: raft.clockDriftBound > 0 ? 'lease' : 'readIndex',
      pledgeMs: longestPledgeMs(raft),
      nodes: this.#nodes,
      metrics: this.#metrics,
      schedule: (replica) => this.#loop.schedule(replica),
      write: async (replica, write) => this.#loop.write(write, replica),
      frameVersionOf: (peer) => this.#versions.of(peer),
      maximumMessageBytes: channel.maximumMessageBytes,
      send: (replica, peer, message) => this.#send(replica, peer, message),
      snapshotOffered: (replica, offered) => this.#snapshots.offered(replica, offered),
    }
    this.#snapshots = new SnapshotTransfers({
      env,
      channel,
      incarnation: log.incarnation,
      maximumTransfers: options.maximumSnapshotTransfers,
      timeoutMs: options.snapshotTimeoutMs,
      bytesPerSecond: options.snapshotBytesPerSecond,
      windowBytes: options.snapshotWindowBytes,
      sendRequest: (replica, peer, request) => this.#send(replica, peer, request),
    })
    const { maximumMessageBytes } = channel
    this.#hosted = new HostedGroups({
      options,
      raft,
      log,
      trust,
      maximumMessageBytes,
      outbox: this.#outbox,
      loop: this.#loop,
      snapshots: this.#snapshots,
      port,
      endEpochs: () => this.#nodes.endEpochs(),
      failed: (error) => this.#poisoned(error),
      checkOpen: () => this.#checkOpen(),
    })
    const { damaged } = this.#hosted
    const incoming = new Incoming({
      env,
      incarnation: log.incarnation,
      versions: this.#versions,
      marked: (peer, told) => {
        const forgotten = marks.heard(peer, told)
        if (forgotten !== undefined) this.#hosted.diskForgot(peer.nodeId, forgotten)
      },
      find: (groupId, message, recoveryGeneration, peer) =>
        this.#hosted.find(groupId, message, recoveryGeneration, peer),
      recoveryGenerationOf: (groupId) => this.#hosted.recoveryGenerationOf(groupId),
      answer: (groupId, recoveryGeneration, peer, message) => {
        this.#outbox.add(groupId, recoveryGeneration, peer, message)
        this.#loop.plan()
      },
      beat: (peer, beat, nowMs) => this.#nodes.received(peer, beat, nowMs),
      snapshotRequested: (replica, peer, request) => this.#snapshots.requested(replica, peer, request),
      unclaimed: (peer, message) => damaged.heard(peer, message),
      entriesRequested: ({ groupId, replicaId, recoveryGeneration, core }, peer, request) => {
        const { lastIndex } = core.status()
        const asked = { groupId, replicaId, recoveryGeneration, lastIndex, damaged: false }
        damaged.entries.requested(asked, { replicaId: request.from, ...peer }, request)
      },
      entriesReceived: (peer, message, reply) => damaged.entries.received(peer, message, reply),
    })
    channel.onMessage((peer, bytes) => {
      this.#gone.delete(peer.nodeId)
      if (peer.role === 'node') this.#nodes.heard(peer.nodeId)
      if (this.#failure === undefined && this.#closing === undefined) incoming.receive(peer, bytes)
    })
    this.#stopListening = channel.onLost(({ peer }) => this.#peerLost(peer))
  }

  /** Why the host stopped, if it did. */
  get failure(): KeelsonError | undefined {
    return this.#failure
  }

  /** The groups that are open here. */
  groups(): ReadonlyMap<GroupId, RaftGroup> {
    return this.#hosted.open
  }

  /** What the log store holds, whether it is open or not: after a start these groups are to be opened. */
  stored(): ReadonlyMap<GroupId, StoredGroup> {
    return this.#hosted.stored()
  }

  /** Adds a listener; the function that is returned takes it away. */
  on<K extends keyof RaftHostEvents>(event: K, listener: RaftHostEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /**
   * Makes a new group, once in its life, from nothing: each of its first members calls it with the same replicas, whose ids
   * are 1 to n. The state machine must be new.
   *
   * @throws KeelsonError `ALREADY_BOOTSTRAPPED` when this node has the group or had it, `QUARANTINED` when its disk forgot
   * what it had, `INVALID_ARGUMENT`, `CLOSED`, `STORE_POISONED`
   */
  async bootstrap(groupId: GroupId, setup: BootstrapSetup): Promise<RaftGroup> {
    return this.#hosted.bootstrap(groupId, setup)
  }

  /**
   * Begins this node's replica of a group that was split off from another one, from a state machine that holds its state
   * already, with the bookkeeping that `splitBookkeeping` made. Its log begins behind the place of the split in the other
   * group's log, so a member that has nothing of it gets a snapshot. The state is made durable before the group promises
   * anything.
   *
   * It is refused where this node has the group or had it, in whatever form: what that replica promised counts, so the one
   * that a late split would make has come too late, and is to be thrown away.
   *
   * @throws KeelsonError `ALREADY_BOOTSTRAPPED`, `QUARANTINED` when the disk of this node forgot what it had,
   * `INVALID_ARGUMENT` for a state machine with no such state, or that of a replica elsewhere, `CONFLICT` when it is open,
   * `CLOSED`, `STORE_POISONED`
   */
  async adoptGroup(groupId: GroupId, setup: { readonly stateMachine: StateMachine }): Promise<RaftGroup> {
    return this.#hosted.adoptGroup(groupId, setup)
  }

  /**
   * Opens a group that this node has a replica of.
   *
   * Where the disk has damaged entries that the state machine does not have yet, and the log store could contain that, the
   * replica is not started at once: the host gets the very same entries back from the other replicas first. If none of
   * them has them any more, the replica is quarantined.
   *
   * @throws KeelsonError `NOT_FOUND`, `CORRUPTION`, `FORMAT_VERSION`, `CONFLICT` when it is open, or when the state machine is
   * another group's, which stays as it is, `SUPERSEDED` when the group was recovered from a lost quorum without this replica, `CLOSED`
   */
  async openGroup(groupId: GroupId, setup: { readonly stateMachine: StateMachine }): Promise<RaftGroup> {
    return this.#hosted.openGroup(groupId, setup)
  }

  /**
   * Opens a group in which this node is to get a replica: an empty one, which learns its replica id from the first message
   * of a leader that has added it. A replica that was destroyed here never comes back; only a later one is taken. If
   * there is one already, this is {@link RaftHost.openGroup}.
   *
   * @throws KeelsonError `CONFLICT` when it is open, or when the state machine was not empty: what a destroyed replica of this
   * very group left over is deleted, so call again with a new one (`retryable`); any other state stays as it is. `CLOSED`
   */
  async awaitGroup(groupId: GroupId, setup: { readonly stateMachine: StateMachine }): Promise<RaftGroup> {
    return this.#hosted.awaitGroup(groupId, setup)
  }

  /**
   * Deletes this node's replica of a group, log and state, and leaves a tombstone so that it never comes back: to the group
   * it is as a node that is lost for good. So only a replica is destroyed that knows of its committed removal
   * (`status().removed`), that the group went on without (`SUPERSEDED`), that is quarantined, or that is still empty. Any
   * other one, and so one that is not open, needs `confirm: 'destroy group 7'` (of group 7).
   *
   * `stateMachine` is needed where the group is not open, for its state to be deleted as well.
   *
   * @throws KeelsonError `INVALID_ARGUMENT` without the confirmation where it is needed, `CONFLICT` for the state of another
   * group, `NOT_FOUND`, `CLOSED`, `STORE_POISONED`
   */
  async destroyGroup(groupId: GroupId, setup: DestructionSetup = {}): Promise<void> {
    await this.#hosted.destroyGroup(groupId, setup)
  }

  /**
   * Stops all groups, waits for what the state machines are doing and for writes under way, closes the state machines and
   * the log store. Open proposals fail with `OUTCOME_UNKNOWN`. Idempotent.
   */
  async close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    this.#stopListening()
    this.#nodes.close()
    this.#snapshots.close()
    this.#loop.stop()
    const machines = await this.#hosted.releaseAll(
      new KeelsonError('CLOSED', 'the Raft host was closed; open it again'),
    )
    this.#outbox.flush()
    this.#metrics.close()
    const results = await Promise.allSettled(machines.map(async (machine) => machine.close()))
    await this.#log.close()
    this.#events.removeAll()
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw toKeelsonError(failed.reason)
  }

  #checkOpen(): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#closing !== undefined)
      throw new KeelsonError('CLOSED', 'the Raft host was closed; open it again')
  }

  /** Beside the turns of a replica, with the next frame to that node. */
  #send(replica: Replica, peer: Peer, message: HostMessage): void {
    this.#outbox.add(replica.groupId, replica.recoveryGeneration, peer, message)
    this.#loop.plan()
  }

  /** While a node cannot be reached every attempt fails anew: that is news only if it was heard since. */
  #peerLost(nodeId: NodeId): void {
    this.#nodes.lost(nodeId, !this.#gone.has(nodeId))
    this.#versions.lost(nodeId)
    this.#gone.add(nodeId)
  }

  /** The transport had no room. Whatever the node should have been told, of groups that rest too, it was not. */
  #framesDropped(nodeId: NodeId): void {
    this.#nodes.lost(nodeId, false)
  }

  /** Nothing that the log says can be trusted any more: every group stops, loudly. */
  #poisoned(cause: unknown): void {
    if (this.#failure !== undefined) return
    const { message } = toKeelsonError(cause)
    const failure = new KeelsonError(
      'STORE_POISONED',
      `the log store failed, and all groups of this node stopped: ${message}. Open the host anew to see what is on the disk`,
      { cause },
    )
    this.#failure = failure
    this.#env.logger.error({ error: failure }, 'the Raft log store failed; all groups stopped')
    this.#nodes.close()
    this.#loop.stop()
    this.#snapshots.close()
    for (const group of this.#hosted.open.values()) group.stop(failure)
    this.#events.emit('stopped', failure)
  }
}
