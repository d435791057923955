import type { Environment } from '../core/environment.ts'
import type { ClusterId, GroupId, Incarnation, NodeId, ReplicaId } from '../model/ids.ts'

/**
 * What an entry is for. The numbers are part of the formats on disk and wire: never reuse one.
 *
 * - 0, no-op: the first entry of a term; it carries no data.
 * - 1, command: a command of the host, in the group's envelope.
 * - 2, configuration: a new configuration of the group.
 * - 3, session: bookkeeping of client sessions.
 */
export type EntryKind = 0 | 1 | 2 | 3

/** {@link EntryKind} by name. */
export const entryKinds: {
  /** Carries nothing: a leader's first entry in its term, by whose commit it learns what is committed. */
  readonly noop: 0
  /** A command for the state machine. */
  readonly command: 1
  /** A change of the replicas; it takes effect when it is appended. */
  readonly configuration: 2
  /** Registers or ends client sessions, by which a command takes effect once. */
  readonly session: 3
} = Object.freeze({ noop: 0, command: 1, configuration: 2, session: 3 })

/** One entry of a group's log. */
export interface LogEntry {
  /** Log index, from 1. */
  readonly index: number
  /** Term of the leader that appended it. */
  readonly term: number
  /** What `data` is to be read as. */
  readonly kind: EntryKind
  /** Made once by whoever proposed it; travels unchanged through log, wire and apply. */
  readonly data: Uint8Array
}

/** What Raft must never forget, written as one record. Neither term nor commit ever goes back. */
export interface HardState {
  /** The latest term that this replica has seen. */
  readonly term: number
  /** Replica that got this replica's vote in `term`; 0 for none. */
  readonly votedFor: ReplicaId
  /** Index up to which the log is known to be committed; perhaps behind what is. */
  readonly commit: number
}

/** A position in a log. */
export interface LogPosition {
  /** Log index, from 1; 0 stands before the first entry. */
  readonly index: number
  /** Term of the entry there; 0 before the first entry. */
  readonly term: number
}

/** Changes to one group, taken in this order: `reset`, `entries`, `hardState`, `metadata`. */
export interface GroupWrite {
  /** The group that is changed. */
  readonly groupId: GroupId
  /** Drops the whole log; the next entry is `reset.index + 1`. After a snapshot was installed. */
  readonly reset?: LogPosition
  /** Contiguous entries. What the log holds from `entries[0].index` on is replaced. */
  readonly entries?: readonly LogEntry[]
  /** Replaces the term, vote and commit index that were stored. */
  readonly hardState?: HardState
  /** An opaque record of the group's owner: replica id, tombstone and the like. Replaces the one before. */
  readonly metadata?: Uint8Array
}

/**
 * How large a write is by {@link LogStoreLimits}: an upper bound of what it takes in any store of ours, so that whoever keeps
 * within the limits is never refused.
 */
export function groupWriteBytes({ entries, metadata }: GroupWrite): number {
  let bytes = 256 + (metadata?.length ?? 0)
  for (const { data } of entries ?? []) bytes += entryWriteBytes + data.length
  return bytes
}

/** What an entry adds to {@link groupWriteBytes} beyond its data. */
export const entryWriteBytes = 96

/** What a store takes, in bytes as {@link groupWriteBytes} counts them. */
export interface LogStoreLimits {
  /** A single `write` may hold so many bytes, of all its groups together. A far larger one is refused with `LIMIT_EXCEEDED`. */
  readonly writeBytes: number
  /**
   * All writes that have not resolved yet may hold so many bytes, at least `writeBytes`. Beyond it they may be refused with
   * `OVERLOADED`.
   */
  readonly queuedBytes: number
}

/** Entries of one term that existed and that the disk has damaged. */
export interface LostEntries {
  /** Log index of the first one. */
  readonly first: number
  /** Log index of the last one. */
  readonly last: number
  /** Term of all of them. With its index it tells which entry each was: any peer's of the same term is the same. */
  readonly term: number
}

/** What a store holds of one group after it was opened. */
export interface RecoveredGroup {
  /** The group whose log it is. */
  readonly groupId: GroupId
  /** What was written last, or undefined when nothing ever was. */
  readonly hardState: HardState | undefined
  /** The owner's record as it was written last, or undefined when none ever was. */
  readonly metadata: Uint8Array | undefined
  /** The last position that was compacted away or reset to; index 0 and term 0 for a log from its beginning. */
  readonly compacted: LogPosition
  /** The last entry, or `compacted` where there is none. */
  readonly last: LogPosition
  /**
   * Entries that the disk has damaged, in ascending order: `last` counts them, and to read one fails with `CORRUPTION`. Not
   * there when nothing is missing, as in every store that refuses to open when it finds damage. Compacting, truncating or
   * {@link LogStore.repair} ends it.
   */
  readonly lost?: readonly LostEntries[]
}

/** What the composition hands to a log store when it opens it. */
export interface LogStoreContext {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Stored in the directory; a store of another cluster is refused with `FOREIGN_CLUSTER`. */
  readonly clusterId: ClusterId
  /** Stored in the directory; a store of another node is refused with `FOREIGN_NODE`. */
  readonly nodeId: NodeId
}

/**
 * Adapters are factories: `segments('db7/raft')` gives one of these.
 *
 * Opening throws KeelsonError `DIRECTORY_LOCKED`, `FOREIGN_CLUSTER`, `FOREIGN_NODE`, `FORMAT_VERSION`, `CORRUPTION`, `IO`.
 */
export type LogStoreFactory = (context: LogStoreContext) => Promise<LogStore>

/**
 * The durable logs of many Raft groups.
 *
 * Durability: `write` resolves only when its batch survives a power cut, and never before an earlier one; recovery after
 * a crash finds a prefix of the batches that were written, each whole or not at all. After a failed write or sync every
 * later call fails with `STORE_POISONED` and the first error as cause: only opening the directory again tells what is
 * on the disk.
 */
export interface LogStore extends AsyncDisposable {
  /** Drawn when the directory was created. */
  readonly incarnation: Incarnation
  /** What it takes. It does not change while the store is open. */
  readonly limits: LogStoreLimits
  /**
   * How much of what was written is durable, in units of the store's own: it grows with what is written, and what it ever was
   * it is at least in every later life. If it is less than somebody heard of, an older image of the disk came back, or the disk lost
   * what it had confirmed. A store that was closed, or whose disk crashed below it, says no more than it did, whatever its next
   * life writes. Of a store without it, or one that answers undefined, that is found out by the leaders of its groups alone.
   */
  durablePosition?(): number | undefined
  /** What was found on opening, by group. Groups that were destroyed and left no metadata do not appear. */
  recovered(): ReadonlyMap<GroupId, RecoveredGroup>
  /**
   * Makes changes of any number of groups durable in one act. Calls may overlap and resolve in order. It is refused, with
   * nothing done, beyond {@link LogStore.limits}: who has more to write splits it.
   *
   * @throws KeelsonError `STORE_POISONED`, `DISK_FULL`, `LIMIT_EXCEEDED`, `OVERLOADED`, `CLOSED`
   */
  write(batch: readonly GroupWrite[]): Promise<void>
  /**
   * Entries from `from` to `to`, both included, from the first on as many as fit into `maximumBytes` of data, but at
   * least one. Sees all writes that were started before.
   *
   * @throws KeelsonError `COMPACTED`, `NOT_FOUND` beyond the last entry, `CORRUPTION`, `IO`
   */
  read(groupId: GroupId, from: number, to: number, maximumBytes: number): Promise<LogEntry[]>
  /**
   * Allows the store to forget entries up to and including this position. It survives a crash at some later time at
   * the latest with the next `write` of the group. A lower position than the present one is ignored.
   */
  compact(groupId: GroupId, through: LogPosition): Promise<void>
  /**
   * Puts entries back that were lost, durably: contiguous ones, each with the index and term of one of
   * {@link RecoveredGroup.lost}. By the log matching property that makes it the entry that was there. Only stores that open
   * in spite of damage have it.
   *
   * @throws KeelsonError `INVALID_ARGUMENT` for any other entry; as `write`
   */
  repair?(groupId: GroupId, entries: readonly LogEntry[]): Promise<void>
  /** Removes a group's log and hard state and keeps `tombstone` as its metadata, durably, in one act. */
  destroy(groupId: GroupId, tombstone: Uint8Array): Promise<void>
  /** Waits for writes under way, then releases the directory. Idempotent. */
  close(): Promise<void>
}
