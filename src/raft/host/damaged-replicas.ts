import type { Environment } from '../../core/environment.ts'
import { type KeelsonError, toKeelsonError } from '../../core/errors.ts'
import type { LogStore, RecoveredGroup } from '../../interfaces/log-store.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId } from '../../model/ids.ts'
import type { GroupBookkeeping } from '../group/bookkeeping.ts'
import { encodeGroupMetadata, type GroupMetadata } from '../group/metadata.ts'
import { knownPeers, type RecoveredReplica } from '../group/recovery.ts'
import { supersededError } from '../group/refusals.ts'
import { EntryRepairs, type RepairPeer, type SendToHost } from './entry-repairs.ts'
import type { GroupMessage } from './host-messages.ts'

/** What {@link DamagedReplicas} needs of its host. */
export interface DamagedReplicasOptions {
  readonly env: Environment
  readonly log: LogStore
  readonly maximumMessageBytes: number
  readonly send: SendToHost
  readonly recover: (
    found: RecoveredGroup,
    metadata: GroupMetadata,
    stored: GroupBookkeeping,
    machine: StateMachine,
  ) => Promise<RecoveredReplica>
  /** The replica can be started: whole again, or quarantined. */
  readonly ready: (
    groupId: GroupId,
    machine: StateMachine,
    stored: GroupBookkeeping,
    recovery: RecoveredReplica,
  ) => void
  /** The group goes on without this replica; that is stored. */
  readonly superseded: (groupId: GroupId, metadata: GroupMetadata) => void
  readonly failed: (groupId: GroupId, error: KeelsonError) => void
}

const maximumPeers = 256

interface Damaged {
  readonly found: RecoveredGroup
  readonly machine: StateMachine
  readonly metadata: GroupMetadata
  readonly peers: RepairPeer[]
  readonly controller: AbortController
  done: Promise<void>
}

/**
 * The replicas of a host whose logs the disk has damaged beyond what their state machines have. Each starts once the very
 * entries are there again; until then it promises nothing to anybody, and the other groups of the node go on.
 */
export class DamagedReplicas {
  readonly entries: EntryRepairs
  readonly #options: DamagedReplicasOptions
  readonly #damaged = new Map<GroupId, Damaged>()

  constructor(options: DamagedReplicasOptions) {
    this.#options = options
    this.entries = new EntryRepairs(options)
  }

  /** The state machine of a replica that waits for its repair. */
  machine(groupId: GroupId): StateMachine | undefined {
    return this.#damaged.get(groupId)?.machine
  }

  machines(): StateMachine[] {
    return [...this.#damaged.values()].map(({ machine }) => machine)
  }

  /** Begins to repair a replica, and reports when it can start. */
  repair(
    found: RecoveredGroup,
    metadata: GroupMetadata,
    stored: GroupBookkeeping,
    machine: StateMachine,
  ): void {
    const { groupId } = found
    const controller = new AbortController()
    const damaged: Damaged = { found, machine, metadata, peers: [], controller, done: Promise.resolve() }
    this.#damaged.set(groupId, damaged)
    damaged.done = this.#repair(found, stored, damaged).catch((error: unknown) => {
      if (!this.#isCurrent(groupId, damaged)) return
      this.#damaged.delete(groupId)
      this.#options.failed(groupId, toKeelsonError(error))
    })
  }

  /** A replica speaks to one that is not open: it may have what is lost, or have lost what is here. */
  heard(identity: PeerIdentity, { groupId, recoveryGeneration, message }: GroupMessage): void {
    const { nodeId, incarnation } = identity
    const damaged = this.#damaged.get(groupId)
    if (damaged === undefined) return
    const { metadata, peers, found } = damaged
    if (recoveryGeneration > metadata.recoveryGeneration) {
      const known = peers.some((peer) => peer.nodeId === nodeId && peer.incarnation === incarnation)
      if (known && !damaged.controller.signal.aborted) this.#supersede(damaged, recoveryGeneration)
      return
    }
    if (message.to !== metadata.replicaId || recoveryGeneration !== metadata.recoveryGeneration) return
    const peer = { replicaId: message.from, nodeId, incarnation }
    const isKnown = peers.some((other) => isSame(other, peer))
    // An id is bound to one life of one node for good.
    if (!isKnown && peers.some((other) => other.replicaId === peer.replicaId)) return
    if (!isKnown && peers.length < maximumPeers) peers.push(peer)
    if (message.kind !== 'entriesRequest') return
    const { replicaId } = metadata
    const lastIndex = found.last.index
    this.entries.requested(
      { groupId, replicaId, recoveryGeneration, lastIndex, damaged: true },
      peer,
      message,
    )
  }

  /** The group was recovered from a lost quorum without this replica: that is stored, and nothing is repaired any more. */
  #supersede(damaged: Damaged, recoveryGeneration: number): void {
    const { groupId } = damaged.found
    const metadata = { ...damaged.metadata, supersededBy: recoveryGeneration }
    const error = supersededError(groupId, metadata)
    this.#options.env.logger.error({ groupId, replicaId: metadata.replicaId, error }, error.message)
    damaged.controller.abort(error)
    const isGivenUp = (): boolean => this.#damaged.get(groupId) !== damaged
    damaged.done = damaged.done
      .then(async () => {
        if (isGivenUp()) return
        await this.#options.log.write([{ groupId, metadata: encodeGroupMetadata(metadata) }])
        if (isGivenUp()) return
        this.#damaged.delete(groupId)
        this.#options.superseded(groupId, metadata)
      })
      .catch((failure: unknown) => {
        if (isGivenUp()) return
        this.#damaged.delete(groupId)
        this.#options.failed(groupId, toKeelsonError(failure))
      })
  }

  /** The repair is wanted still. */
  #isCurrent(groupId: GroupId, damaged: Damaged): boolean {
    return this.#damaged.get(groupId) === damaged && !damaged.controller.signal.aborted
  }

  /** Gives up a repair, and waits until nothing of it is under way. */
  async cancel(groupId: GroupId, error: KeelsonError): Promise<void> {
    const damaged = this.#damaged.get(groupId)
    this.#damaged.delete(groupId)
    damaged?.controller.abort(error)
    await damaged?.done
  }

  async #repair(found: RecoveredGroup, stored: GroupBookkeeping, damaged: Damaged): Promise<void> {
    const { env, log, recover, ready } = this.#options
    const { groupId } = found
    const { metadata, peers } = damaged
    const { replicaId, recoveryGeneration } = metadata
    const { lost = [], ...whole } = found
    env.logger.warn({ groupId, replicaId, lost }, 'entries are damaged; they are fetched from other replicas')
    const known = await knownPeers(log, found, stored, replicaId)
    for (const peer of known ?? []) if (!peers.some((other) => isSame(other, peer))) peers.push(peer)
    const configured = known !== undefined
    const job = { groupId, replicaId, recoveryGeneration, peers, configured, lost }
    const repaired = await this.entries.repair(job, damaged.controller.signal)
    const recovery = await recover(repaired ? whole : found, metadata, stored, damaged.machine)
    if (!this.#isCurrent(groupId, damaged)) return
    this.#damaged.delete(groupId)
    if (repaired) env.logger.info({ groupId, replicaId, lost }, 'damaged entries are there again')
    ready(groupId, damaged.machine, stored, recovery)
  }
}

function isSame(a: RepairPeer, b: RepairPeer): boolean {
  return a.replicaId === b.replicaId && a.nodeId === b.nodeId && a.incarnation === b.incarnation
}
