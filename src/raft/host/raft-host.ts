import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { Events } from '../../core/events.ts'
import type { LogStore, RecoveredGroup } from '../../interfaces/log-store.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { Channel, PeerIdentity } from '../../interfaces/transport.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import { checkId, type GroupId, type Incarnation, type NodeId, type ReplicaId } from '../../model/ids.ts'
import { bootstrapState } from '../core/configuration.ts'
import { longestPledgeMs } from '../core/options.ts'
import { RaftCore } from '../core/raft.ts'
import type { RaftOptions, RestoredState } from '../core/types.ts'
import { type GroupBookkeeping, readBookkeeping } from '../group/bookkeeping.ts'
import {
  comesAfter,
  decodeGroupMetadata,
  encodeGroupMetadata,
  floorAfter,
  type GroupMetadata,
  newMetadata,
  tombstoneOf,
} from '../group/metadata.ts'
import type { Peer } from '../group/peers.ts'
import { RaftGroup } from '../group/raft-group.ts'
import { forgetApplied, type RecoveredReplica, recoverReplica } from '../group/recovery.ts'
import { supersededError } from '../group/refusals.ts'
import { Replica } from '../group/replica.ts'
import type { ReplicaPort } from '../group/replica-port.ts'
import { DamagedReplicas } from './damaged-replicas.ts'
import type { HostMessage } from './frame.ts'
import { Incoming } from './incoming.ts'
import { LogGate } from './log-gate.ts'
import { NodeBeats } from './node-beats.ts'
import { NodeLiveness } from './node-liveness.ts'
import {
  type CheckedHostOptions,
  checkBootstrap,
  checkDestruction,
  checkHostOptions,
  checkPorts,
  checkSetup,
  fitRaftOptions,
  type RaftHostOptions,
} from './options.ts'
import { Outbox } from './outbox.ts'
import { SnapshotTransfers } from './snapshot-transfers.ts'
import { TurnLoop } from './turn-loop.ts'

/** Events of a {@link RaftHost}. */
export type RaftHostEvents = {
  /** The log store failed, and every group stopped with it. Only a restart of the host helps. */
  stopped: (error: KeelsonError) => void
}

/** What a host's log store holds of a group, open or not. */
export interface StoredGroup {
  /** Of a destroyed group: the last id that this node's replica had. */
  readonly replicaId: ReplicaId
  /** Only its tombstone is left; the group cannot be opened any more. */
  readonly destroyed: boolean
  /** It lost what it had acknowledged: it takes part in nothing until it is replaced. */
  readonly quarantined: boolean
  /** The last recovery from a lost quorum that it goes along with; 0 for none. */
  readonly recoveryGeneration: number
  /** The group was recovered from a lost quorum without it: it cannot be opened any more, only destroyed. */
  readonly superseded: boolean
}

/** Requests that an empty replica can answer. */
const awakening: ReadonlySet<HostMessage['kind']> = new Set([
  'append',
  'heartbeat',
  'snapshotOffer',
  'preVote',
  'vote',
])

/** What only a leader sends. */
const leading: ReadonlySet<HostMessage['kind']> = new Set(['append', 'heartbeat', 'snapshotOffer'])

interface Stored {
  readonly metadata: GroupMetadata
  /** As found on opening; undefined for a group that came later. */
  readonly recovered: RecoveredGroup | undefined
}

interface Waiting {
  readonly group: RaftGroup
  readonly machine: StateMachine
  readonly stored: GroupBookkeeping
  /** What is left of the replica that was here before: only a later one is taken. */
  readonly tombstone: GroupMetadata | undefined
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
  readonly #options: CheckedHostOptions
  readonly #raft: RaftOptions
  readonly #log: LogStore
  readonly #events: Events<RaftHostEvents>
  readonly #groups = new Map<GroupId, RaftGroup>()
  readonly #replicas = new Map<GroupId, Replica>()
  readonly #waiting = new Map<GroupId, Waiting>()
  readonly #stored = new Map<GroupId, Stored>()
  /** Groups that are being opened or destroyed. */
  readonly #busy = new Set<GroupId>()
  /** What is done with them, until it has ended, well or not. */
  readonly #tasks = new Set<Promise<void>>()
  readonly #port: ReplicaPort<Replica>
  readonly #outbox: Outbox
  readonly #nodes: NodeBeats
  readonly #snapshots: SnapshotTransfers
  readonly #damaged: DamagedReplicas
  readonly #loop: TurnLoop
  /** Nodes that were lost, and not heard since. */
  readonly #gone = new Set<NodeId>()
  readonly #stopListening: () => void
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
      return new RaftHost(checked, store, channel)
    } catch (error) {
      await (store as LogStore | undefined)?.close?.()
      throw error
    }
  }

  /** Use {@link RaftHost.open}. @internal */
  constructor(options: CheckedHostOptions, store: LogStore, channel: Channel) {
    const { env } = options
    const log = new LogGate(store)
    this.#options = options
    this.#raft = fitRaftOptions(options.raft, channel.maximumMessageBytes, log.limits.writeBytes)
    this.#log = log
    this.nodeId = options.nodeId
    this.incarnation = log.incarnation
    this.#events = new Events(env.logger, ['stopped'])
    this.#outbox = new Outbox(channel, env.metrics, (nodeId) => this.#framesDropped(nodeId))
    this.#nodes = new NodeBeats({
      env,
      liveness: new NodeLiveness({ ...this.#raft, random: env.random }),
      replicas: () => this.#replicas.values(),
      send: (peer, beat) => {
        this.#outbox.addBeat(peer, beat)
        this.#loop.plan()
      },
    })
    this.#loop = new TurnLoop({ env, log, outbox: this.#outbox, onFailure: (error) => this.#poisoned(error) })
    this.#port = {
      env,
      log,
      limits: options.limits,
      maximumEntryBytes: this.#raft.maximumEntryBytes,
      readMode: this.#raft.clockDriftBound > 0 ? 'lease' : 'readIndex',
      pledgeMs: longestPledgeMs(this.#raft),
      nodes: this.#nodes,
      schedule: (replica) => this.#loop.schedule(replica),
      write: async (replica, write) => this.#loop.write(write, replica),
      maximumMessageBytes: channel.maximumMessageBytes,
      send: (replica, peer, message) => this.#send(replica, peer, message),
      snapshotOffered: (replica, offered) => this.#snapshots.offered(replica, offered),
    }
    for (const [groupId, recovered] of log.recovered()) {
      if (recovered.metadata === undefined) continue
      this.#stored.set(groupId, { recovered, metadata: decodeGroupMetadata(recovered.metadata) })
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
    this.#damaged = new DamagedReplicas({
      env,
      log,
      maximumMessageBytes: channel.maximumMessageBytes,
      send: (groupId, recoveryGeneration, peer, message) => {
        this.#outbox.add(groupId, recoveryGeneration, peer, message)
        this.#loop.plan()
      },
      recover: (found, metadata, stored, machine) => this.#recover(found, metadata, stored, machine),
      ready: (groupId, machine, stored, { metadata, restored }) => {
        const group = this.#groups.get(groupId)
        if (group !== undefined) this.#start(group, machine, stored, metadata, restored)
      },
      superseded: (groupId, metadata) => {
        this.#stored.set(groupId, { metadata, recovered: undefined })
        this.#groups.get(groupId)?.stop(supersededError(groupId, metadata))
      },
      failed: (groupId, error) => this.#groups.get(groupId)?.stop(error),
    })
    const incoming = new Incoming({
      env,
      incarnation: log.incarnation,
      find: (groupId, message, recoveryGeneration, peer) => {
        const replica = this.#replicas.get(groupId)
        if (replica === undefined) return this.#awaken(groupId, message, recoveryGeneration)
        if (
          message.to !== replica.replicaId &&
          recoveryGeneration === replica.recoveryGeneration &&
          this.#mayTakeId(replica, message, peer)
        ) {
          replica.takeId(message.to)
        }
        return replica
      },
      recoveryGenerationOf: (groupId) => this.#recoveryGenerationOf(groupId),
      answer: (groupId, recoveryGeneration, peer, message) => {
        this.#outbox.add(groupId, recoveryGeneration, peer, message)
        this.#loop.plan()
      },
      beat: (peer, beat, nowMs) => this.#nodes.received(peer, beat, nowMs),
      snapshotRequested: (replica, peer, request) => this.#snapshots.requested(replica, peer, request),
      unclaimed: (peer, message) => this.#damaged.heard(peer, message),
      entriesRequested: ({ groupId, replicaId, recoveryGeneration, core }, peer, request) => {
        const { lastIndex } = core.status()
        const asked = { groupId, replicaId, recoveryGeneration, lastIndex, damaged: false }
        this.#damaged.entries.requested(asked, { replicaId: request.from, ...peer }, request)
      },
      entriesReceived: (peer, message, reply) => this.#damaged.entries.received(peer, message, reply),
    })
    channel.onMessage((peer, bytes) => {
      this.#gone.delete(peer.nodeId)
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
    return this.#groups
  }

  /** What the log store holds, whether it is open or not: after a start these groups are to be opened. */
  stored(): ReadonlyMap<GroupId, StoredGroup> {
    const groups = new Map<GroupId, StoredGroup>()
    for (const [groupId, { metadata }] of this.#stored) {
      const { replicaId, destroyed, quarantined, recoveryGeneration, supersededBy } =
        this.#replicas.get(groupId)?.metadata ?? metadata
      const superseded = supersededBy > 0
      groups.set(groupId, { replicaId, destroyed, quarantined, recoveryGeneration, superseded })
    }
    return groups
  }

  /** Adds a listener; the function that is returned takes it away. */
  on<K extends keyof RaftHostEvents>(event: K, listener: RaftHostEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /**
   * Makes a new group, once in its life, from nothing: each of its first members calls it with the same replicas, whose ids
   * are 1 to n. The state machine must be new.
   *
   * @throws KeelsonError `ALREADY_BOOTSTRAPPED` when this node has the group or had it, `INVALID_ARGUMENT`, `CLOSED`,
   * `STORE_POISONED`
   */
  async bootstrap(
    groupId: GroupId,
    setup: { readonly replicas: readonly ReplicaDescriptor[]; readonly stateMachine: StateMachine },
  ): Promise<RaftGroup> {
    return this.#exclusively(groupId, async () => {
      const { replicas, stateMachine } = checkBootstrap(setup)
      if (this.#stored.has(groupId)) {
        throw new KeelsonError(
          'ALREADY_BOOTSTRAPPED',
          `this node has or had a replica of group ${groupId}; a second bootstrap would make a second history. Open the group instead`,
        )
      }
      const { entries, hardState } = bootstrapState(replicas)
      if (replicas.length !== entries.length) {
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          'the first replicas of a group have the ids 1 to n; number them so',
        )
      }
      const self = replicas.find((r) => r.nodeId === this.nodeId && r.incarnation === this.incarnation)
      if (self === undefined) {
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          `the first replicas of group ${groupId} do not name this node, ${this.nodeId} in incarnation ${this.incarnation}; name it, or await the group here`,
        )
      }
      return this.#orClose(stateMachine, async () => {
        const stored = await openMachine(groupId, stateMachine)
        const metadata = newMetadata(self.replicaId, 0, 0, longestPledgeMs(this.#raft))
        await this.#loop.write({ groupId, entries, hardState, metadata: encodeGroupMetadata(metadata) })
        this.#checkOpen()
        const restored = { hardState, entries, compacted: { index: 0, term: 0 }, appliedIndex: 0 }
        const group = this.#makeGroup(groupId)
        this.#start(group, stateMachine, stored, metadata, restored)
        return group
      })
    })
  }

  /**
   * Opens a group that this node has a replica of.
   *
   * Where the disk has damaged entries that the state machine does not have yet, and the log store could contain that, the
   * replica is not started at once: the host gets the very same entries back from the other replicas first. If none of
   * them has them any more, the replica is quarantined.
   *
   * @throws KeelsonError `NOT_FOUND`, `CORRUPTION`, `FORMAT_VERSION`, `CONFLICT` when it is open, `SUPERSEDED` when the group
   * was recovered from a lost quorum without this replica, `CLOSED`
   */
  async openGroup(groupId: GroupId, setup: { readonly stateMachine: StateMachine }): Promise<RaftGroup> {
    const { stateMachine } = checkSetup('RaftHost.openGroup', setup)
    return this.#exclusively(groupId, async () => {
      const found = this.#stored.get(groupId)
      if (found === undefined || found.metadata.destroyed) {
        const what = found === undefined ? 'no replica' : 'only the tombstone of a replica'
        throw new KeelsonError(
          'NOT_FOUND',
          `this node has ${what} of group ${groupId}; bootstrap it, or await it where a leader adds this node`,
        )
      }
      if (found.metadata.supersededBy > 0) throw supersededError(groupId, found.metadata)
      const { recovered } = found
      if (recovered === undefined) {
        throw new KeelsonError(
          'CONFLICT',
          `group ${groupId} was open before; open the host anew to open it again`,
        )
      }
      return this.#orClose(stateMachine, async () => {
        const stored = readBookkeeping(await stateMachine.open())
        const flush = async (): Promise<void> => stateMachine.flush()
        const usable = await forgetApplied(this.#log, recovered, stored.applied, flush)
        if (usable.lost !== undefined && !found.metadata.quarantined) {
          this.#checkOpen()
          const group = this.#makeGroup(groupId)
          this.#damaged.repair(usable, found.metadata, stored, stateMachine)
          return group
        }
        const recovery = await this.#recover(usable, found.metadata, stored, stateMachine)
        this.#checkOpen()
        const group = this.#makeGroup(groupId)
        this.#start(group, stateMachine, stored, recovery.metadata, recovery.restored)
        return group
      })
    })
  }

  /**
   * Opens a group in which this node is to get a replica: an empty one, which learns its replica id from the first message
   * of a leader that has added it. A replica that was destroyed here never comes back; only a later one is taken. If
   * there is one already, this is {@link RaftHost.openGroup}.
   *
   * @throws KeelsonError `CONFLICT` when it is open, or when the state machine was not empty (left over from a replica that
   * was destroyed; it is deleted then, so call again with a new one), `CLOSED`
   */
  async awaitGroup(groupId: GroupId, setup: { readonly stateMachine: StateMachine }): Promise<RaftGroup> {
    const { stateMachine } = checkSetup('RaftHost.awaitGroup', setup)
    const known = this.#stored.get(groupId)
    if (known !== undefined && !known.metadata.destroyed) return this.openGroup(groupId, setup)
    return this.#exclusively(groupId, async () => {
      return this.#orClose(stateMachine, async () => {
        const stored = await openMachine(groupId, stateMachine)
        this.#checkOpen()
        const group = this.#makeGroup(groupId)
        const tombstone = this.#stored.get(groupId)?.metadata
        this.#waiting.set(groupId, { group, machine: stateMachine, stored, tombstone })
        return group
      })
    })
  }

  /**
   * Deletes this node's replica of a group, log and state, and leaves a tombstone so that it never comes back. For a replica
   * whose removal from the group is committed: to the group it is as a node that is lost for good.
   *
   * `stateMachine` is needed where the group is not open, for its state to be deleted as well.
   *
   * @throws KeelsonError `NOT_FOUND`, `CLOSED`, `STORE_POISONED`
   */
  async destroyGroup(groupId: GroupId, setup: { readonly stateMachine?: StateMachine } = {}): Promise<void> {
    this.#checkOpen()
    checkId(groupId, 'a group id')
    const { stateMachine } = checkDestruction(setup)
    if (this.#busy.has(groupId)) throw inUse(groupId)
    const group = this.#groups.get(groupId)
    const found = this.#stored.get(groupId)
    if (group === undefined && found === undefined) {
      throw new KeelsonError(
        'NOT_FOUND',
        `this node has no replica of group ${groupId}; ask a node that has one`,
      )
    }
    await this.#whileBusy(groupId, async () => {
      const held = this.#replicas.get(groupId) ?? this.#waiting.get(groupId)
      const machine = held?.machine ?? this.#damaged.machine(groupId)
      const metadata = this.#replicas.get(groupId)?.metadata ?? found?.metadata
      await this.#release(
        groupId,
        new KeelsonError(
          'CLOSED',
          `group ${groupId} was destroyed on this node; ask a node that has a replica`,
        ),
      )
      if (metadata !== undefined && !metadata.destroyed) {
        const tombstone = tombstoneOf(metadata)
        await this.#log.destroy(groupId, encodeGroupMetadata(tombstone))
        this.#stored.set(groupId, { metadata: tombstone, recovered: undefined })
      }
      if (machine !== undefined) await machine.destroy()
      else if (stateMachine !== undefined) {
        await stateMachine.open()
        await stateMachine.destroy()
      }
    })
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
    const machines = [...this.#replicas.values(), ...this.#waiting.values()].map(({ machine }) => machine)
    machines.push(...this.#damaged.machines())
    const error = new KeelsonError('CLOSED', 'the Raft host was closed; open it again')
    const released = [...this.#groups.keys()].map(async (groupId) => this.#release(groupId, error))
    await Promise.all(released)
    // Groups that are just being opened or destroyed: they find the host closed, and need the log until they have.
    await Promise.all(this.#tasks)
    this.#outbox.flush()
    const results = await Promise.allSettled(machines.map(async (machine) => machine.close()))
    await this.#log.close()
    this.#events.removeAll()
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw toKeelsonError(failed.reason)
  }

  // Groups

  async #exclusively<T>(groupId: GroupId, task: () => Promise<T>): Promise<T> {
    this.#checkOpen()
    checkId(groupId, 'a group id')
    if (this.#busy.has(groupId) || this.#groups.has(groupId)) throw inUse(groupId)
    if (this.#groups.size + this.#busy.size >= this.#options.maximumGroups) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `this host opens at most ${this.#options.maximumGroups} groups; raise maximumGroups, or place the group elsewhere`,
      )
    }
    return this.#whileBusy(groupId, task)
  }

  async #whileBusy<T>(groupId: GroupId, task: () => Promise<T>): Promise<T> {
    this.#busy.add(groupId)
    const work = task()
    const end = work.then(
      () => {},
      () => {},
    )
    this.#tasks.add(end)
    try {
      return await work
    } finally {
      this.#busy.delete(groupId)
      this.#tasks.delete(end)
    }
  }

  /** A state machine whose group is not opened after all is nobody's: the host closes it, as it would with the group. */
  async #orClose<T>(machine: StateMachine, open: () => Promise<T>): Promise<T> {
    try {
      return await open()
    } catch (error) {
      await machine.close().catch((failure: unknown) => {
        this.#options.env.logger.warn({ error: failure }, 'a state machine could not be closed')
      })
      throw error
    }
  }

  #checkOpen(): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#closing !== undefined)
      throw new KeelsonError('CLOSED', 'the Raft host was closed; open it again')
  }

  async #recover(
    found: RecoveredGroup,
    stored: GroupMetadata,
    bookkeeping: GroupBookkeeping,
    machine: StateMachine,
  ): Promise<RecoveredReplica> {
    const flush = async (): Promise<void> => machine.flush()
    const recovery = await recoverReplica(
      this.#log,
      found,
      stored,
      bookkeeping,
      flush,
      longestPledgeMs(this.#raft),
    )
    if (recovery.quarantined) {
      this.#options.env.logger.error(
        { groupId: found.groupId, replicaId: stored.replicaId },
        'a replica lost what it had acknowledged and is quarantined; remove it and add a new one',
      )
    }
    return recovery
  }

  #makeGroup(groupId: GroupId): RaftGroup {
    const { env, limits, forwardProposals } = this.#options
    const group = new RaftGroup(groupId, env, limits, forwardProposals)
    this.#groups.set(groupId, group)
    return group
  }

  #start(
    group: RaftGroup,
    machine: StateMachine,
    stored: GroupBookkeeping,
    metadata: GroupMetadata,
    restored: RestoredState,
  ): Replica {
    const { groupId } = group
    const nowMs = this.#options.env.clock.monotonicMs()
    const setup = {
      replicaId: metadata.replicaId,
      restored,
      options: this.#raft,
      random: this.#options.env.random,
      nowMs,
    }
    const core = new RaftCore(setup)
    const replica = group.attach(
      (listener) => new Replica(groupId, core, machine, stored, metadata, this.#port, listener),
    )
    this.#replicas.set(groupId, replica)
    this.#stored.set(groupId, { metadata, recovered: undefined })
    this.#loop.schedule(replica)
    return replica
  }

  /** Takes a group out of everything; resolves when its state machine is idle. */
  async #release(groupId: GroupId, error: KeelsonError): Promise<void> {
    const replica = this.#replicas.get(groupId)
    this.#groups.get(groupId)?.stop(error)
    this.#groups.delete(groupId)
    this.#replicas.delete(groupId)
    this.#waiting.delete(groupId)
    await this.#damaged.cancel(groupId, error)
    if (replica === undefined) return
    this.#loop.remove(replica)
    this.#snapshots.cancel(groupId, error)
    await replica.applier.stop()
  }

  // What comes in

  /**
   * Somebody speaks to a replica that waits empty: the message says which one it is. It may be asked for its vote before
   * a leader has spoken to it: when one member alone bootstrapped the group, or when it was promoted meanwhile. That is
   * safe, since this incarnation of the disk has never been this replica before: it has nothing to have forgotten.
   */
  #awaken(groupId: GroupId, message: HostMessage, recoveryGeneration: number): Replica | undefined {
    const waiting = this.#waiting.get(groupId)
    if (waiting === undefined || !comesAfter(waiting.tombstone, message.to, recoveryGeneration)) {
      return undefined
    }
    if (!awakening.has(message.kind)) return undefined
    this.#waiting.delete(groupId)
    const restored = { compacted: { index: 0, term: 0 }, appliedIndex: 0, entries: [] }
    const floor = floorAfter(waiting.tombstone, recoveryGeneration)
    const metadata = newMetadata(message.to, recoveryGeneration, floor, longestPledgeMs(this.#raft))
    const replica = this.#start(waiting.group, waiting.machine, waiting.stored, metadata, restored)
    // Durable before, or together with, whatever this replica promises first.
    replica.writeMetadata()
    return replica
  }

  /**
   * Whether an empty replica goes on under the id by which a leader calls it. A message that was long on its way may have
   * awakened it as a replica that was removed since, or that a leader minted who could not commit it: nobody else would
   * ever speak to that one, and the group would wait for the other for ever.
   *
   * It may be another id, higher or lower, because nothing is forgotten: the entry that adds a replica names the node and
   * this very life of its disk, this disk has been there since the last replica that was destroyed on it (`floor`), and
   * what it promised since, its term and vote, goes along. So for the group it is one replica that was removed and added
   * again with its disk intact. It has acknowledged no entry, under whatever id, and the two ids are in no configuration
   * together: a node has one replica in it. A late message may turn it back, with the same argument; the leader's next
   * one wins, and its first entry ends this.
   */
  #mayTakeId(replica: Replica, message: HostMessage, peer: PeerIdentity): boolean {
    return (
      leading.has(message.kind) &&
      message.to > replica.metadata.floor &&
      replica.isEmpty &&
      !this.#snapshots.isReceiving(replica.groupId) &&
      replica.isBound(message.from, peer)
    )
  }

  /** Beside the turns of a replica, with the next frame to that node. */
  #send(replica: Replica, peer: Peer, message: HostMessage): void {
    this.#outbox.add(replica.groupId, replica.recoveryGeneration, peer, message)
    this.#loop.plan()
  }

  #recoveryGenerationOf(groupId: GroupId): number {
    const replica = this.#replicas.get(groupId)
    if (replica !== undefined) return replica.recoveryGeneration
    return this.#stored.get(groupId)?.metadata.recoveryGeneration ?? 0
  }

  /** While a node cannot be reached every attempt fails anew: that is news only if it was heard since. */
  #peerLost(nodeId: NodeId): void {
    const nowMs = this.#options.env.clock.monotonicMs()
    this.#nodes.lost(nodeId, nowMs)
    if (this.#gone.has(nodeId)) return
    this.#gone.add(nodeId)
    for (const replica of this.#replicas.values()) replica.peerLost(nodeId, nowMs)
  }

  /** The transport had no room. Whatever the node should have been told, of groups that rest too, it was not. */
  #framesDropped(nodeId: NodeId): void {
    this.#nodes.lost(nodeId, this.#options.env.clock.monotonicMs())
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
    this.#options.env.logger.error({ error: failure }, 'the Raft log store failed; all groups stopped')
    this.#nodes.close()
    this.#loop.stop()
    this.#snapshots.close()
    for (const group of this.#groups.values()) group.stop(failure)
    this.#events.emit('stopped', failure)
  }
}

/** Opens a state machine that must be new. One that a destroyed replica left behind is deleted. */
async function openMachine(groupId: GroupId, machine: StateMachine): Promise<GroupBookkeeping> {
  const stored = readBookkeeping(await machine.open())
  if (stored.applied.index === 0 && stored.replicaId === 0) return stored
  await machine.destroy()
  throw new KeelsonError(
    'CONFLICT',
    `the state machine of group ${groupId} still held the state of replica ${stored.replicaId}, which this node no longer has; it was deleted, so call again with a new one`,
  )
}

function inUse(groupId: GroupId): KeelsonError {
  return new KeelsonError(
    'CONFLICT',
    `group ${groupId} is open here already, or is being opened or closed; use the group that is open`,
  )
}
