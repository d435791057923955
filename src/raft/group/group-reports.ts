import type { Environment } from '../../core/environment.ts'
import type { KeelsonError } from '../../core/errors.ts'
import { Events } from '../../core/events.ts'
import type { Logger } from '../../core/logger.ts'
import type { GroupId, ReplicaId } from '../../model/ids.ts'
import type { ConfigurationState, Leadership } from '../core/types.ts'
import type { LeaderReference, RaftGroupEvents } from './group-types.ts'
import type { GroupLimits } from './limits.ts'
import type { Peer } from './peers.ts'
import type { ReplicaListener } from './replica-port.ts'

/** What all groups of a host have in common. */
export interface GroupSetup {
  readonly env: Environment
  readonly limits: GroupLimits
  /** Whether proposals go on to the leader, unless a call says otherwise. */
  readonly forwards: boolean
}

/** Of a group, what {@link GroupReports} sees. */
interface ReportingGroup {
  readonly groupId: GroupId
  readonly replica: Located | undefined
  stop(error: KeelsonError): void
}

interface Located {
  peerOf(replicaId: ReplicaId): Peer | undefined
}

const names: readonly (keyof RaftGroupEvents)[] = Object.freeze([
  'leadership',
  'token',
  'configuration',
  'removed',
  'quarantined',
  'stopped',
])

/** What a replica reports, as the events of its group. */
export class GroupReports implements ReplicaListener {
  readonly #group: ReportingGroup
  readonly #logger: Logger
  /** Made when somebody listens. */
  #events: Events<RaftGroupEvents> | undefined
  #generation = 0

  constructor(group: ReportingGroup, logger: Logger) {
    this.#group = group
    this.#logger = logger
  }

  on<K extends keyof RaftGroupEvents>(event: K, listener: RaftGroupEvents[K]): () => void {
    this.#events ??= new Events(this.#logger, names)
    return this.#events.on(event, listener)
  }

  emit<K extends keyof RaftGroupEvents>(event: K, ...args: Parameters<RaftGroupEvents[K]>): void {
    this.#events?.emit(event, ...args)
  }

  leadership({ role, term, leader }: Leadership): void {
    const { replica } = this.#group
    this.emit('leadership', { role, term, leader: replica && leaderOf(replica, leader) })
  }

  configuration({ committed }: ConfigurationState): void {
    if (committed === undefined || committed.generation <= this.#generation) return
    this.#generation = committed.generation
    this.emit('configuration', committed)
  }

  token(sequence: number | undefined): void {
    const { groupId } = this.#group
    this.emit('token', sequence === undefined ? undefined : { groupId, sequence })
  }

  removed(): void {
    this.emit('removed')
  }

  quarantined(): void {
    this.emit('quarantined')
  }

  stopped(error: KeelsonError): void {
    this.#group.stop(error)
  }
}

/** Who that is, as far as this replica knows. */
export function leaderOf(replica: Located, replicaId: ReplicaId): LeaderReference | undefined {
  return replicaId === 0 ? undefined : { replicaId, nodeId: replica.peerOf(replicaId)?.nodeId }
}
