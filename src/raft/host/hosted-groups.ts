import { KeelsonError } from '../../core/errors.ts'
import type { RecoveredGroup } from '../../interfaces/log-store.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import type { GroupId, NodeId, ReplicaId } from '../../model/ids.ts'
import { bootstrapState, replicaOf } from '../core/configuration.ts'
import { longestPledgeMs } from '../core/options.ts'
import { RaftCore } from '../core/raft.ts'
import type { RaftOptions, RestoredState } from '../core/types.ts'
import { type GroupBookkeeping, readBookkeeping } from '../group/bookkeeping.ts'
import type { GroupSetup } from '../group/group-reports.ts'
import {
  decodeGroupMetadata,
  encodeGroupMetadata,
  type GroupMetadata,
  newMetadata,
  tombstoneOf,
} from '../group/metadata.ts'
import { RaftGroup } from '../group/raft-group.ts'
import { forgetApplied, type RecoveredReplica, recoverReplica } from '../group/recovery.ts'
import { supersededError } from '../group/refusals.ts'
import { Replica } from '../group/replica.ts'
import type { ReplicaPort } from '../group/replica-port.ts'
import { DamagedReplicas } from './damaged-replicas.ts'
import { checkGroupId, diskGroupId, forgetfulDisk, isConcerned, isForgetful } from './disk-record.ts'
import { EmptyReplicas, mayTakeId } from './empty-replicas.ts'
import type { HostMessage } from './host-messages.ts'
import type { LogGate } from './log-gate.ts'
import { type CheckedHostOptions, checkBootstrap, checkDestruction, checkSetup } from './options.ts'
import type { Outbox } from './outbox.ts'
import type { SnapshotTransfers } from './snapshot-transfers.ts'
import type { TurnLoop } from './turn-loop.ts'

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

interface Stored {
  readonly metadata: GroupMetadata
  /** As found on opening; undefined for a group that came later. */
  readonly recovered: RecoveredGroup | undefined
}

/** What {@link HostedGroups} needs of its host. */
export interface HostedGroupsOptions {
  readonly options: CheckedHostOptions
  readonly raft: RaftOptions
  readonly log: LogGate
  readonly maximumMessageBytes: number
  readonly outbox: Outbox
  readonly loop: TurnLoop
  readonly snapshots: SnapshotTransfers
  readonly port: ReplicaPort<Replica>
  /** What this node has pledged for replicas that rest is to end, for all of them. */
  readonly endEpochs: () => void
  /** @throws KeelsonError why the host takes no more calls */
  readonly checkOpen: () => void
}

/**
 * The life of each group of a host: how it comes to be, is opened, waits for a leader to speak to it, is repaired and is
 * destroyed; and what the log store has of those that are not open. See {@link RaftHost} for what the calls promise.
 */
export class HostedGroups {
  readonly damaged: DamagedReplicas
  readonly #own: HostedGroupsOptions
  readonly #setup: GroupSetup
  readonly #groups = new Map<GroupId, RaftGroup>()
  readonly #replicas = new Map<GroupId, Replica>()
  readonly #empty = new EmptyReplicas()
  readonly #stored = new Map<GroupId, Stored>()
  /** Groups that are being opened or destroyed. */
  readonly #busy = new Set<GroupId>()
  /** What is done with them, until it has ended, well or not. */
  readonly #tasks = new Set<Promise<void>>()
  /** An older image of the disk came back, or it lost what it had confirmed, in this life or a former one. */
  #forgot: boolean

  constructor(own: HostedGroupsOptions) {
    this.#own = own
    const { log, outbox, loop, maximumMessageBytes } = own
    const { env, limits, forwardProposals } = own.options
    this.#setup = { env, limits, forwards: forwardProposals }
    this.#forgot = isForgetful(log)
    for (const [groupId, recovered] of log.recovered()) {
      if (recovered.metadata === undefined || groupId === diskGroupId) continue
      const metadata = decodeGroupMetadata(recovered.metadata)
      const quarantined = metadata.quarantined || (this.#forgot && isConcerned(metadata))
      this.#stored.set(groupId, { recovered, metadata: { ...metadata, quarantined } })
    }
    this.damaged = new DamagedReplicas({
      env,
      log,
      maximumMessageBytes,
      send: (groupId, recoveryGeneration, peer, message) => {
        outbox.add(groupId, recoveryGeneration, peer, message)
        loop.plan()
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
  }

  get open(): ReadonlyMap<GroupId, RaftGroup> {
    return this.#groups
  }

  replicas(): Iterable<Replica> {
    return this.#replicas.values()
  }

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

  async bootstrap(
    groupId: GroupId,
    setup: { readonly replicas: readonly ReplicaDescriptor[]; readonly stateMachine: StateMachine },
  ): Promise<RaftGroup> {
    return this.#exclusively(groupId, async () => {
      const { replicas, stateMachine } = checkBootstrap(setup)
      if (this.#forgot) throw forgotten(groupId)
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
      const { nodeId } = this.#own.options
      const { incarnation } = this.#own.log
      const self = replicas.find((r) => r.nodeId === nodeId && r.incarnation === incarnation)
      if (self === undefined) {
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          `the first replicas of group ${groupId} do not name this node, ${nodeId} in incarnation ${incarnation}; name it, or await the group here`,
        )
      }
      return this.#orClose(stateMachine, async () => {
        const stored = await openMachine(groupId, stateMachine)
        const metadata = newMetadata(self.replicaId, 0, 0, longestPledgeMs(this.#own.raft))
        await this.#own.loop.write({ groupId, entries, hardState, metadata: encodeGroupMetadata(metadata) })
        this.#own.checkOpen()
        const restored = { hardState, entries, compacted: { index: 0, term: 0 }, appliedIndex: 0 }
        const group = this.#makeGroup(groupId)
        this.#start(group, stateMachine, stored, metadata, restored)
        return group
      })
    })
  }

  async adoptGroup(groupId: GroupId, setup: { readonly stateMachine: StateMachine }): Promise<RaftGroup> {
    const { stateMachine } = checkSetup('RaftHost.adoptGroup', setup)
    return this.#exclusively(groupId, async () => {
      return this.#orClose(stateMachine, async () => {
        if (this.#forgot) throw forgotten(groupId)
        if (this.#stored.has(groupId)) {
          throw new KeelsonError(
            'ALREADY_BOOTSTRAPPED',
            `this node has or had a replica of group ${groupId}, so one that is split off here comes too late; throw its state away`,
          )
        }
        const { nodeId } = this.#own.options
        const { incarnation } = this.#own.log
        const stored = readBookkeeping(await stateMachine.open())
        const { applied, configuration } = stored
        const self = replicaOf(configuration?.configuration, stored.replicaId)
        if (configuration === undefined || self?.nodeId !== nodeId || self.incarnation !== incarnation) {
          throw new KeelsonError(
            'INVALID_ARGUMENT',
            `the state machine of group ${groupId} holds no state of a replica on ${nodeId} in incarnation ${incarnation}; await the group here`,
          )
        }
        // Nothing is promised in the log for a state that a power cut would take away.
        await stateMachine.flush()
        const metadata = newMetadata(self.replicaId, 0, 0, longestPledgeMs(this.#own.raft))
        const hardState = { term: applied.term, votedFor: 0, commit: applied.index }
        const write = { groupId, reset: applied, hardState, metadata: encodeGroupMetadata(metadata) }
        await this.#own.loop.write(write)
        this.#own.checkOpen()
        const restored: RestoredState = {
          hardState,
          compacted: applied,
          appliedIndex: applied.index,
          entries: [],
          configuration: configuration.configuration,
          configurationIndex: applied.index,
        }
        const group = this.#makeGroup(groupId)
        this.#start(group, stateMachine, stored, metadata, restored)
        return group
      })
    })
  }

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
        const usable = await forgetApplied(this.#own.log, recovered, stored.applied, flush)
        if (usable.lost !== undefined && !found.metadata.quarantined) {
          this.#own.checkOpen()
          const group = this.#makeGroup(groupId)
          this.damaged.repair(usable, found.metadata, stored, stateMachine)
          return group
        }
        const recovery = await this.#recover(usable, found.metadata, stored, stateMachine)
        this.#own.checkOpen()
        const group = this.#makeGroup(groupId)
        this.#start(group, stateMachine, stored, recovery.metadata, recovery.restored)
        return group
      })
    })
  }

  async awaitGroup(groupId: GroupId, setup: { readonly stateMachine: StateMachine }): Promise<RaftGroup> {
    const { stateMachine } = checkSetup('RaftHost.awaitGroup', setup)
    const known = this.#stored.get(groupId)
    if (known !== undefined && !known.metadata.destroyed) return this.openGroup(groupId, setup)
    return this.#exclusively(groupId, async () => {
      return this.#orClose(stateMachine, async () => {
        const stored = await openMachine(groupId, stateMachine)
        this.#own.checkOpen()
        const group = this.#makeGroup(groupId)
        const tombstone = this.#stored.get(groupId)?.metadata
        this.#empty.set(groupId, { group, machine: stateMachine, stored, tombstone })
        return group
      })
    })
  }

  async destroyGroup(groupId: GroupId, setup: { readonly stateMachine?: StateMachine }): Promise<void> {
    this.#own.checkOpen()
    checkGroupId(groupId)
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
      const held = this.#replicas.get(groupId) ?? this.#empty.get(groupId)
      const machine = held?.machine ?? this.damaged.machine(groupId)
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
        await this.#own.log.destroy(groupId, encodeGroupMetadata(tombstone))
        this.#stored.set(groupId, { metadata: tombstone, recovered: undefined })
      }
      if (machine !== undefined) await machine.destroy()
      else if (stateMachine !== undefined) {
        await stateMachine.open()
        await stateMachine.destroy()
      }
    })
  }

  /** Takes all groups out of everything. @returns their state machines, which nothing uses any more */
  async releaseAll(error: KeelsonError): Promise<StateMachine[]> {
    const machines = [...this.#replicas.values(), ...this.#empty.values()].map(({ machine }) => machine)
    machines.push(...this.damaged.machines())
    await Promise.all([...this.#groups.keys()].map(async (groupId) => this.#release(groupId, error)))
    // Groups that are just being opened or destroyed: they find the host closed, and need the log until they have.
    await Promise.all(this.#tasks)
    return machines
  }

  async #exclusively<T>(groupId: GroupId, task: () => Promise<T>): Promise<T> {
    this.#own.checkOpen()
    checkGroupId(groupId)
    if (this.#busy.has(groupId) || this.#groups.has(groupId)) throw inUse(groupId)
    if (this.#groups.size + this.#busy.size >= this.#own.options.maximumGroups) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `this host opens at most ${this.#own.options.maximumGroups} groups; raise maximumGroups, or place the group elsewhere`,
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
        this.#own.options.env.logger.warn({ error: failure }, 'a state machine could not be closed')
      })
      throw error
    }
  }

  async #recover(
    found: RecoveredGroup,
    stored: GroupMetadata,
    bookkeeping: GroupBookkeeping,
    machine: StateMachine,
  ): Promise<RecoveredReplica> {
    const flush = async (): Promise<void> => machine.flush()
    const recovery = await recoverReplica(
      this.#own.log,
      found,
      stored,
      bookkeeping,
      flush,
      longestPledgeMs(this.#own.raft),
    )
    if (recovery.quarantined) {
      this.#own.options.env.logger.error(
        { groupId: found.groupId, replicaId: stored.replicaId },
        'a replica lost what it had acknowledged and is quarantined; remove it and add a new one',
      )
    }
    return recovery
  }

  #makeGroup(groupId: GroupId): RaftGroup {
    const group = new RaftGroup(groupId, this.#setup)
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
    const nowMs = this.#own.options.env.clock.monotonicMs()
    const setup = {
      replicaId: metadata.replicaId,
      restored,
      checkedOptions: this.#own.raft,
      pool: this.#own.port.configurations,
      random: this.#own.options.env.random,
      nowMs,
    }
    const core = new RaftCore(setup)
    const replica = group.attach(
      (listener) => new Replica(groupId, core, machine, stored, metadata, this.#own.port, listener),
    )
    this.#replicas.set(groupId, replica)
    this.#stored.set(groupId, { metadata, recovered: undefined })
    if (this.#forgot && isConcerned(metadata)) replica.quarantine()
    this.#own.loop.schedule(replica)
    return replica
  }

  /** Takes a group out of everything; resolves when its state machine is idle. */
  async #release(groupId: GroupId, error: KeelsonError): Promise<void> {
    const replica = this.#replicas.get(groupId)
    this.#groups.get(groupId)?.stop(error)
    this.#groups.delete(groupId)
    this.#replicas.delete(groupId)
    this.#empty.delete(groupId)
    await this.damaged.cancel(groupId, error)
    if (replica === undefined) return
    this.#own.loop.remove(replica)
    this.#own.snapshots.cancel(groupId, error)
    await replica.applier.stop()
  }

  // What comes in

  /**
   * The node `knownBy` knows that more was durable here than is. Nothing that this node has promised can be relied on: its
   * votes and acknowledgements in all its groups, which may be more than it knows of. That is stored once for all groups,
   * before anything else: what is written of one of them later may still say that it is well, as a group that is just being
   * opened does.
   */
  diskForgot(knownBy: NodeId, known: number): void {
    if (this.#forgot) return
    this.#forgot = true
    const { log, loop, options } = this.#own
    options.env.logger.error(
      { knownBy, known, position: log.durablePosition() },
      'an older image of the disk came back, or it lost what it had confirmed: all groups of this node are quarantined. Remove their replicas, and start the node with an empty directory',
    )
    // A failure of these writes ends the host, which says so.
    loop.write({ groupId: diskGroupId, metadata: forgetfulDisk }).catch(() => {})
    for (const replica of this.#replicas.values()) if (isConcerned(replica.metadata)) replica.quarantine()
    // Leaders count on those that rest without asking them. The replicas that go on take no harm: they rest anew.
    this.#own.endEpochs()
    for (const [groupId, { metadata, recovered }] of this.#stored) {
      if (this.#replicas.has(groupId) || metadata.quarantined || !isConcerned(metadata)) continue
      const quarantined = { ...metadata, quarantined: true }
      this.#stored.set(groupId, { metadata: quarantined, recovered })
      loop.write({ groupId, metadata: encodeGroupMetadata(quarantined) }).catch(() => {})
    }
  }

  /** The replica that a message is for; it may come to be by it, or get its id. */
  find(
    groupId: GroupId,
    message: HostMessage,
    recoveryGeneration: number,
    peer: PeerIdentity,
  ): Replica | undefined {
    const replica = this.#replicas.get(groupId)
    if (replica === undefined) return this.#awaken(groupId, message, recoveryGeneration)
    if (
      message.to !== replica.replicaId &&
      recoveryGeneration === replica.recoveryGeneration &&
      mayTakeId(replica, message, peer, this.#own.snapshots.isReceiving(groupId))
    ) {
      replica.takeId(message.to)
    }
    return replica
  }

  recoveryGenerationOf(groupId: GroupId): number {
    const replica = this.#replicas.get(groupId)
    if (replica !== undefined) return replica.recoveryGeneration
    return this.#stored.get(groupId)?.metadata.recoveryGeneration ?? 0
  }

  /** Somebody speaks to a replica that waits empty. */
  #awaken(groupId: GroupId, message: HostMessage, recoveryGeneration: number): Replica | undefined {
    // Nobody knows which replicas a disk has been that forgot some.
    if (this.#forgot) return undefined
    const awakened = this.#empty.awaken(groupId, message, recoveryGeneration)
    if (awakened === undefined) return undefined
    const { waiting, floor } = awakened
    const restored = { compacted: { index: 0, term: 0 }, appliedIndex: 0, entries: [] }
    const metadata = newMetadata(message.to, recoveryGeneration, floor, longestPledgeMs(this.#own.raft))
    const replica = this.#start(waiting.group, waiting.machine, waiting.stored, metadata, restored)
    // Durable before, or together with, whatever this replica promises first.
    replica.writeMetadata()
    return replica
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

function forgotten(groupId: GroupId): KeelsonError {
  return new KeelsonError(
    'QUARANTINED',
    `the disk of this node forgot what it had confirmed, so it may have had group ${groupId} before; start the node with an empty directory`,
    { retryable: false },
  )
}

function inUse(groupId: GroupId): KeelsonError {
  return new KeelsonError(
    'CONFLICT',
    `group ${groupId} is open here already, or is being opened or closed; use the group that is open`,
  )
}
