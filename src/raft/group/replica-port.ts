import type { Environment } from '../../core/environment.ts'
import type { KeelsonError } from '../../core/errors.ts'
import type { GroupWrite, LogStore } from '../../interfaces/log-store.ts'
import type { NodeId } from '../../model/ids.ts'
import type { ConfigurationPool } from '../core/configuration-pool.ts'
import type { Message } from '../core/messages.ts'
import type { ConfigurationState, Leadership, OfferedSnapshot, ReadMode } from '../core/types.ts'
import type { ReplicaMessage } from './forwarding.ts'
import type { GroupLimits } from './limits.ts'
import type { Peer } from './peers.ts'
import type { ReplicaMetrics } from './replica-metrics.ts'

/** What became of another node: see NodeNews. */
export type NodeEvent =
  | ({ readonly type: 'coverEnded' } & EndedCover)
  | { readonly type: 'supported'; readonly peer: Peer; readonly epoch: number }
  | { readonly type: 'supportLost'; readonly peer: Peer }
  | { readonly type: 'peerLost'; readonly nodeId: NodeId }

/** What a replica's host knows of other nodes. See NodeLiveness. */
export interface NodeWatch {
  /** Number of the latest news of other nodes. */
  readonly newsNumber: number
  /** What came after the news of this number. */
  newsSince(number: number): Iterable<NodeEvent>
  /** The epoch under which replicas there may go to rest; 0 for none. */
  epochFor(peer: Peer): number
  /** Whether replicas here may go to rest under leaders there, under this epoch. */
  supports(peer: Peer, epoch: number): boolean
  /** Whether the node will be noticed when it comes back. */
  watches(peer: Peer): boolean
  /** Whether it has been silent for long. Never of one that is not watched. */
  isGone(peer: Peer): boolean
  /** What the node pledged last. */
  supportOf(peer: Peer): NodePledge | undefined
  /** The same, for a read by lease: there are to be more of them soon. */
  pledgeFor(peer: Peer): NodePledge | undefined
  /** A group that counts on the node went to rest, or woke up. */
  count(peer: Peer, change: 1 | -1): void
  /** A replica that may rest under leaders there is asked for its vote: ends that, if what was pledged has run out. */
  uncover(nodeId: NodeId, nowMs: number): void
}

/** An epoch that is over: see `RaftMachine.coverEnded`. */
export interface EndedCover {
  readonly epoch: number
  readonly untilMs: number
  readonly heardMs: number
}

/** What a node has pledged for those of its replicas that rest under an epoch. */
export interface NodePledge {
  readonly epoch: number
  readonly sent: { readonly atMs: number; readonly wallMs: number }
  readonly pledgeMs: number
}

/** What a replica, an `R`, needs of its host. */
export interface ReplicaPort<R> {
  readonly env: Environment
  readonly log: LogStore
  readonly limits: GroupLimits
  /** Of all groups of the host. */
  readonly configurations: ConfigurationPool
  /** Largest data of one entry. */
  readonly maximumEntryBytes: number
  /** How reads are confirmed that do not say it themselves. */
  readonly readMode: ReadMode
  /** For how long a replica may pledge itself. */
  readonly pledgeMs: number
  readonly nodes: NodeWatch
  readonly metrics: ReplicaMetrics
  /** Something came in: the replica wants a turn, soon. */
  schedule(replica: R): void
  /** Writes beside the turns, after everything that was written before. Given up when the replica stops. */
  write(replica: R, write: GroupWrite): Promise<void>
  /** Sends a message that the core does not see, or has not asked for, with the next turn. */
  send(replica: R, peer: Peer, message: Message | ReplicaMessage): void
  /** The version of the frames that a node of this life sends, as it was heard last; 0 since it was lost. */
  frameVersionOf(peer: Peer): number
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
