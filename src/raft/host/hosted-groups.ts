import { KeelsonError } from '../../core/errors.ts'
import type { RecoveredGroup } from '../../interfaces/log-store.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId, NodeId } from '../../model/ids.ts'
import { longestPledgeMs } from '../core/options.ts'
import { RaftCore } from '../core/raft.ts'
import type { RaftOptions, RestoredState } from '../core/types.ts'
import { checkOwner, type GroupBookkeeping, readBookkeeping } from '../group/bookkeeping.ts'
import type { GroupSetup } from '../group/group-reports.ts'
import { encodeGroupMetadata, type GroupMetadata, newMetadata, tombstoneOf } from '../group/metadata.ts'
import type { Peer } from '../group/peers.ts'
import { RaftGroup } from '../group/raft-group.ts'
import { forgetApplied, type RecoveredReplica, recoverReplica } from '../group/recovery.ts'
import { supersededError } from '../group/refusals.ts'
import { Replica } from '../group/replica.ts'
import type { ReplicaPort } from '../group/replica-port.ts'
import { BusyGroups, inUse } from './busy-groups.ts'
import { ClaimedMachines } from './claimed-machines.ts'
import { DamagedReplicas } from './damaged-replicas.ts'
import type { ForgottenMark } from './disk-marks.ts'
import { checkGroupId } from './disk-record.ts'
import type { DiskTrust } from './disk-trust.ts'
import { EmptyReplicas, mayTakeId } from './empty-replicas.ts'
import {
  adoptedReplica,
  type Beginning,
  firstReplica,
  forgotten,
  openNewMachine,
  orClose,
} from './group-beginnings.ts'
import { checkDestructible, type DestructionSetup, openDoomedState } from './group-destruction.ts'
import type { HostMessage } from './host-messages.ts'
import type { LogGate } from './log-gate.ts'
import {
  type BootstrapSetup,
  type CheckedHostOptions,
  checkBootstrap,
  checkDestruction,
  checkSetup,
} from './options.ts'
import type { Outbox } from './outbox.ts'
import type { SnapshotTransfers } from './snapshot-transfers.ts'
import { type StoredGroup, StoredGroups } from './stored-groups.ts'
import type { TurnLoop } from './turn-loop.ts'

/** What {@link HostedGroups} needs of its host. */
export interface HostedGroupsOptions {
  readonly options: CheckedHostOptions
  readonly raft: RaftOptions
  readonly log: LogGate
  readonly trust: DiskTrust
  readonly maximumMessageBytes: number
  readonly outbox: Outbox
  readonly loop: TurnLoop
  readonly snapshots: SnapshotTransfers
  readonly port: ReplicaPort<Replica>
  /** What this node has pledged for replicas that rest is to end, for all of them. */
  readonly endEpochs: () => void
  /** A write to the log store failed. */
  readonly failed: (error: unknown) => void
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
  readonly #stored: StoredGroups
  readonly #busy = new BusyGroups()
  readonly #machines = new ClaimedMachines()

  constructor(own: HostedGroupsOptions) {
    this.#own = own
    const { log, trust, outbox, loop, maximumMessageBytes } = own
    const { env, limits, forwardProposals } = own.options
    this.#setup = { env, limits, forwards: forwardProposals }
    this.#stored = new StoredGroups(log, trust)
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
        this.#stored.set(groupId, metadata)
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
    return this.#stored.report((groupId) => this.#replicas.get(groupId)?.metadata)
  }

  async bootstrap(groupId: GroupId, setup: BootstrapSetup): Promise<RaftGroup> {
    const { replicas, stateMachine, refounding } = checkBootstrap(setup)
    return this.#exclusively(groupId, stateMachine, async () => {
      this.#checkUnknown(groupId, 'a second bootstrap would make a second history. Open the group instead')
      const first = firstReplica(groupId, this.#self, replicas, this.#pledgeMs, refounding)
      return this.#begin(groupId, stateMachine, async () => {
        return { ...first, stored: await openNewMachine(groupId, stateMachine) }
      })
    })
  }

  async adoptGroup(groupId: GroupId, setup: { readonly stateMachine: StateMachine }): Promise<RaftGroup> {
    const { stateMachine } = checkSetup('RaftHost.adoptGroup', setup)
    return this.#exclusively(groupId, stateMachine, async () =>
      this.#begin(groupId, stateMachine, async () => {
        this.#checkUnknown(groupId, 'one that is split off here comes too late; throw its state away')
        return adoptedReplica(groupId, this.#self, stateMachine, this.#pledgeMs)
      }),
    )
  }

  async openGroup(groupId: GroupId, setup: { readonly stateMachine: StateMachine }): Promise<RaftGroup> {
    const { stateMachine } = checkSetup('RaftHost.openGroup', setup)
    return this.#exclusively(groupId, stateMachine, async () => {
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
      return orClose(this.#own.options.env, stateMachine, async () => {
        const stored = readBookkeeping(await stateMachine.open())
        checkOwner(groupId, stored)
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
    return this.#exclusively(groupId, stateMachine, async () => {
      return orClose(this.#own.options.env, stateMachine, async () => {
        const tombstone = this.#stored.get(groupId)?.metadata
        const stored = await openNewMachine(groupId, stateMachine, tombstone)
        this.#own.checkOpen()
        const group = this.#makeGroup(groupId)
        this.#empty.set(groupId, { group, machine: stateMachine, stored, tombstone })
        return group
      })
    })
  }

  async destroyGroup(groupId: GroupId, setup: DestructionSetup): Promise<void> {
    this.#own.checkOpen()
    checkGroupId(groupId)
    const { stateMachine, confirm } = checkDestruction(setup)
    if (this.#busy.has(groupId)) throw inUse(groupId)
    const group = this.#groups.get(groupId)
    const found = this.#stored.get(groupId)
    if (group === undefined && found === undefined) {
      throw new KeelsonError(
        'NOT_FOUND',
        `this node has no replica of group ${groupId}; ask a node that has one`,
      )
    }
    const replica = this.#replicas.get(groupId)
    const metadata = replica?.metadata ?? found?.metadata
    const distrusted = metadata !== undefined && this.#own.trust.concerns(metadata)
    checkDestructible(groupId, { metadata, replica, distrusted }, confirm)
    const held = replica?.machine ?? this.#empty.get(groupId)?.machine ?? this.damaged.machine(groupId)
    if (held === undefined && stateMachine !== undefined) this.#machines.checkFree(groupId, stateMachine)
    await this.#busy.run(groupId, async () => {
      const machine =
        held === undefined && stateMachine !== undefined
          ? await openDoomedState(this.#own.options.env, groupId, stateMachine)
          : held
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
        this.#stored.set(groupId, tombstone)
      }
      await machine?.destroy()
      if (machine !== undefined) this.#machines.release(machine)
    })
  }

  /** Takes all groups out of everything. @returns their state machines, which nothing uses any more */
  async releaseAll(error: KeelsonError): Promise<StateMachine[]> {
    const machines = [...this.#replicas.values(), ...this.#empty.values()].map(({ machine }) => machine)
    machines.push(...this.damaged.machines())
    await Promise.all([...this.#groups.keys()].map(async (groupId) => this.#release(groupId, error)))
    // Groups that are just being opened or destroyed: they find the host closed, and need the log until they have.
    await this.#busy.idle()
    return machines
  }

  async #exclusively<T>(groupId: GroupId, machine: StateMachine, task: () => Promise<T>): Promise<T> {
    this.#own.checkOpen()
    checkGroupId(groupId)
    if (this.#busy.has(groupId) || this.#groups.has(groupId)) throw inUse(groupId)
    if (this.#groups.size + this.#busy.size >= this.#own.options.maximumGroups) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `this host opens at most ${this.#own.options.maximumGroups} groups; raise maximumGroups, or place the group elsewhere`,
      )
    }
    return this.#machines.during(groupId, machine, async () => this.#busy.run(groupId, task))
  }

  get #self(): Peer {
    return { nodeId: this.#own.options.nodeId, incarnation: this.#own.log.incarnation }
  }

  get #pledgeMs(): number {
    return longestPledgeMs(this.#own.raft)
  }

  /** This node never had the group, as far as it can know. */
  #checkUnknown(groupId: GroupId, otherwise: string): void {
    if (this.#own.trust.forgot) throw forgotten(groupId)
    if (!this.#stored.has(groupId)) return
    throw new KeelsonError(
      'ALREADY_BOOTSTRAPPED',
      `this node has or had a replica of group ${groupId}, so ${otherwise}`,
    )
  }

  /** Starts a replica that this node did not have before. */
  async #begin(
    groupId: GroupId,
    stateMachine: StateMachine,
    make: () => Promise<Beginning>,
  ): Promise<RaftGroup> {
    return orClose(this.#own.options.env, stateMachine, async () => {
      const { stored, metadata, restored, write } = await make()
      await this.#own.loop.write(write)
      this.#own.checkOpen()
      const group = this.#makeGroup(groupId)
      this.#start(group, stateMachine, stored, metadata, restored)
      return group
    })
  }

  async #recover(
    found: RecoveredGroup,
    stored: GroupMetadata,
    bookkeeping: GroupBookkeeping,
    machine: StateMachine,
  ): Promise<RecoveredReplica> {
    const flush = async (): Promise<void> => machine.flush()
    const recovery = await recoverReplica(this.#own.log, found, stored, bookkeeping, flush, this.#pledgeMs)
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
    this.#stored.set(groupId, metadata)
    if (this.#own.trust.concerns(metadata)) replica.quarantine()
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
   * before anything else, and beside what waits to be written for them: what is written of one of them later may still say
   * that it is well, as a group that is just being opened does.
   */
  diskForgot(knownBy: NodeId, mark: ForgottenMark): void {
    const { loop, trust } = this.#own
    const stored = trust.found(knownBy, mark)
    if (stored === undefined) return
    stored.catch((error: unknown) => this.#own.failed(error))
    for (const replica of this.#replicas.values()) {
      if (trust.concerns(replica.metadata)) replica.quarantine()
    }
    // Leaders count on those that rest without asking them. The replicas that go on take no harm: they rest anew.
    this.#own.endEpochs()
    for (const [groupId, metadata] of this.#stored.quarantine((id) => this.#replicas.has(id))) {
      // A failure of these writes ends the host, which says so.
      loop.write({ groupId, metadata: encodeGroupMetadata(metadata) }).catch(() => {})
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
    if (this.#own.trust.forgot) return undefined
    const awakened = this.#empty.awaken(groupId, message, recoveryGeneration)
    if (awakened === undefined) return undefined
    const { waiting, floor } = awakened
    const restored = { compacted: { index: 0, term: 0 }, appliedIndex: 0, entries: [] }
    const metadata = {
      ...newMetadata(message.to, recoveryGeneration, floor, this.#pledgeMs),
      // It was never recovered itself: all that it promises counts.
      ...(recoveryGeneration > 0 ? { countsFrom: 0 } : {}),
    }
    const replica = this.#start(waiting.group, waiting.machine, waiting.stored, metadata, restored)
    // Durable before, or together with, whatever this replica promises first.
    replica.writeMetadata()
    return replica
  }
}
