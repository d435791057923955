import type { Environment } from '../../core/environment.ts'
import type { KeelsonError } from '../../core/errors.ts'
import type { GroupWrite, LogStore } from '../../interfaces/log-store.ts'
import type { ConfigurationState, Leadership, Message, OfferedSnapshot, ReadMode } from '../core/types.ts'
import type { ReplicaMessage } from './forwarding.ts'
import type { GroupLimits } from './limits.ts'
import type { Peer } from './peers.ts'

/** What a replica, an `R`, needs of its host. */
export interface ReplicaPort<R> {
  readonly env: Environment
  readonly log: LogStore
  readonly limits: GroupLimits
  /** Largest data of one entry. */
  readonly maximumEntryBytes: number
  /** How reads are confirmed that do not say it themselves. */
  readonly readMode: ReadMode
  /** For how long a replica may pledge itself. */
  readonly pledgeMs: number
  /** Something came in: the replica wants a turn, soon. */
  schedule(replica: R): void
  /** Writes beside the turns, after everything that was written before. Given up when the replica stops. */
  write(replica: R, write: GroupWrite): Promise<void>
  /** Sends a message that the core does not see, with the next turn. */
  send(replica: R, peer: Peer, message: ReplicaMessage): void
  /** Largest message to a peer. */
  readonly maximumMessageBytes: number
  /** The replica's log is behind the leader's: a snapshot should be asked for. */
  snapshotOffered(replica: R, offered: OfferedSnapshot): void
}

/** Collects what the replicas of a host have to write and to send in one turn. */
export interface TurnSink<R> {
  /** `persisted` must be called with `writeId` when this is durable. */
  write(replica: R, write: GroupWrite, writeId: number): void
  send(replica: R, peer: Peer, message: Message): void
}

/** What a replica tells those who hold its group. Called after all of its state has changed. */
export interface ReplicaListener {
  leadership(leadership: Leadership): void
  configuration(state: ConfigurationState): void
  /** The lease sequence under which this replica may serve changed; undefined: it may not. */
  token(sequence: number | undefined): void
  /** Its removal from the group is committed. */
  removed(): void
  quarantined(): void
  /** It does nothing any more. */
  stopped(error: KeelsonError): void
}
