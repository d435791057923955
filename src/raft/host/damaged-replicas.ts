import type { Environment } from '../../core/environment.ts'
import { type KeelsonError, toKeelsonError } from '../../core/errors.ts'
import type { LogStore, RecoveredGroup } from '../../interfaces/log-store.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId } from '../../model/ids.ts'
import type { GroupBookkeeping } from '../group/bookkeeping.ts'
import type { GroupMetadata } from '../group/metadata.ts'
import { knownPeers, type RecoveredReplica } from '../group/recovery.ts'
import { EntryRepairs, type RepairPeer, type SendToHost } from './entry-repairs.ts'
import type { GroupMessage } from './frame.ts'

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
  ) => Promise<RecoveredReplica>
  /** The replica can be started: whole again, or quarantined. */
  readonly ready: (
    groupId: GroupId,
    machine: StateMachine,
    stored: GroupBookkeeping,
    recovery: RecoveredReplica,
  ) => void
  readonly failed: (groupId: GroupId, error: KeelsonError) => void
}

const maximumPeers = 256

interface Damaged {
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
    const damaged: Damaged = { machine, metadata, peers: [], controller, done: Promise.resolve() }
    this.#damaged.set(groupId, damaged)
    damaged.done = this.#repair(found, stored, damaged).catch((error: unknown) => {
      if (this.#damaged.get(groupId) !== damaged) return
      this.#damaged.delete(groupId)
      this.#options.failed(groupId, toKeelsonError(error))
    })
  }

  /** A replica speaks to one that is not open: it may have what is lost. */
  heard({ nodeId, incarnation }: PeerIdentity, { groupId, recoveryGeneration, message }: GroupMessage): void {
    const damaged = this.#damaged.get(groupId)
    if (damaged === undefined || damaged.peers.length >= maximumPeers) return
    const { metadata, peers } = damaged
    if (message.to !== metadata.replicaId || recoveryGeneration !== metadata.recoveryGeneration) return
    const peer = { replicaId: message.from, nodeId, incarnation }
    if (!peers.some((other) => isSame(other, peer))) peers.push(peer)
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
    const recovery = await recover(repaired ? whole : found, metadata, stored)
    if (this.#damaged.get(groupId) !== damaged) return
    this.#damaged.delete(groupId)
    if (repaired) env.logger.info({ groupId, replicaId, lost }, 'damaged entries are there again')
    ready(groupId, damaged.machine, stored, recovery)
  }
}

function isSame(a: RepairPeer, b: RepairPeer): boolean {
  return a.replicaId === b.replicaId && a.nodeId === b.nodeId && a.incarnation === b.incarnation
}
