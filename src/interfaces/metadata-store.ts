import type { CallOptions } from '../core/async.ts'

/**
 * A position in the history of one keyspace: every transaction that writes has the next one. Comparable only within the
 * keyspace it came from.
 */
export type Revision = number

/** A session's id: the revision of the transaction that granted it. */
export type SessionId = number

/** A key with its value and history, as in etcd. */
export interface KeyValue {
  /** At most as long as the store's limit on keys allows. */
  readonly key: Uint8Array
  /** The host's own bytes; the store never looks inside. */
  readonly value: Uint8Array
  /** Revision at which the key came to be; later overwrites keep it, deletion ends it. */
  readonly createRevision: Revision
  /** Revision of the last overwrite. */
  readonly modRevision: Revision
  /** Number of writes since creation, from 1. */
  readonly version: number
  /** Session that the key lives and dies with; 0 for none. */
  readonly session: SessionId
}

/** A stretch of keys: one key (`end` absent), or from `key` up to but without `end`; `end: null` means to the last key. */
export interface KeySelector {
  /** The one key, or the first key of the stretch. */
  readonly key: Uint8Array
  /** First key after the stretch, `null` for none: the stretch goes to the last key. Absent: `key` alone. */
  readonly end?: Uint8Array | null
}

/** A condition of a transaction, on one key. An absent key has revision and version 0. */
export type Compare =
  | {
      /** The key that is looked at. */
      readonly key: Uint8Array
      /** The number of it that is compared. */
      readonly target: 'createRevision' | 'modRevision' | 'version' | 'session'
      /** How it is to stand to `operand`. */
      readonly is: '=' | '!=' | '<' | '>'
      /** The number on the right-hand side. */
      readonly operand: number
    }
  | {
      /** The key that is looked at. */
      readonly key: Uint8Array
      /** Compares the value, byte by byte. */
      readonly target: 'value'
      /** Whether it is to be the same. */
      readonly is: '=' | '!='
      /** The bytes on the right-hand side; an absent key equals none. */
      readonly operand: Uint8Array
    }

/** A step of a transaction. No two writes of one transaction may touch the same key. */
export type Operation =
  | {
      /** Writes one key. */
      readonly type: 'put'
      /** The key to write. */
      readonly key: Uint8Array
      /** Its new value. */
      readonly value: Uint8Array
      /** Session that the key lives and dies with. Default: none. */
      readonly session?: SessionId
    }
  | {
      /** Deletes all keys of a selection. */
      readonly type: 'delete'
      /** What to delete. */
      readonly select: KeySelector
    }
  | {
      /** Reads a selection, as it is after the operations before it. */
      readonly type: 'range'
      /** What to read. */
      readonly select: KeySelector
      /** Most entries to return. Default: the store's own limit. */
      readonly limit?: number
    }

/** Compares, and what to do when all hold and when not. */
export interface Transaction {
  /** All of them must hold for `then`; none at all always hold. */
  readonly if?: readonly Compare[]
  /** Done when every compare holds. Default: nothing. */
  readonly then?: readonly Operation[]
  /** Done when a compare fails. Default: nothing. */
  readonly else?: readonly Operation[]
}

/** Answer to one operation, in its place. */
export type OperationResult =
  | {
      /** Answers a put. */
      readonly type: 'put'
      /** The key before it was overwritten; undefined when there was none. */
      readonly previous: KeyValue | undefined
    }
  | {
      /** Answers a delete. */
      readonly type: 'delete'
      /** The keys that were deleted, as they were. */
      readonly deleted: readonly KeyValue[]
    }
  | {
      /** Answers a range. */
      readonly type: 'range'
      /** What was found, in the order of the keys. */
      readonly entries: readonly KeyValue[]
      /** More keys follow beyond the limit. */
      readonly more: boolean
      /** Keys in the whole selection, whatever the limit. */
      readonly count: number
    }

/** What a transaction came to. */
export interface TransactionResult {
  /** True when all compares held and `then` was done, false when `else` was. */
  readonly succeeded: boolean
  /** The store's revision after the transaction. */
  readonly revision: Revision
  /** One for each operation that was done, in its place. */
  readonly results: readonly OperationResult[]
}

/** What a range read found, in the order of the keys. */
export interface RangeResult {
  /** What was found, in the order of the keys. */
  readonly entries: readonly KeyValue[]
  /** More keys follow beyond the limit. */
  readonly more: boolean
  /** Keys in the whole selection, whatever the limit. */
  readonly count: number
  /** The store's revision at the time of the read. */
  readonly revision: Revision
}

export interface ReadOptions extends CallOptions {
  /** Reads the past. Default: now. */
  readonly revision?: Revision
  /** Default: no limit but the store's. */
  readonly limit?: number
  /**
   * `linearizable` (default) sees everything acknowledged before the call. `local` answers from the nearest replica at
   * once and may be behind, never ahead of what is committed.
   */
  readonly consistency?: 'linearizable' | 'local'
}

/** One change of one key. */
export interface ChangeEvent {
  /** Whether the key was written or deleted. */
  readonly type: 'put' | 'delete'
  /** After a put, the key as it is now; after a delete, key and revision of the deletion with an empty value. */
  readonly entry: KeyValue
  /** The key before the change; present when the watch asked for it and the key existed. */
  readonly previous?: KeyValue
}

/**
 * What a watch yields. `changes` holds all events of one revision, never a part of them. `progress` says that everything
 * up to and including its revision was delivered: a watch can be resumed behind it.
 */
export type WatchResponse =
  | {
      /** All that one transaction changed in the selection. */
      readonly type: 'changes'
      /** The transaction's revision. */
      readonly revision: Revision
      /** In the order of the transaction; never empty. */
      readonly events: readonly ChangeEvent[]
    }
  | {
      /** Tells how far the store has come, also while nothing in the selection changes. */
      readonly type: 'progress'
      /** Everything up to it, itself included, was delivered. */
      readonly revision: Revision
    }

export interface WatchOptions extends CallOptions {
  /** First revision to deliver. Default: the one after the store's present. */
  readonly fromRevision?: Revision
  /** Deliver the value before each change. Default: false. */
  readonly previous?: boolean
}

/** Liveness of a session as its store sees it. */
export interface SessionStatus {
  /** Its number; the epoch of whoever holds it. */
  readonly sessionId: SessionId
  /** The time within which it has to be renewed. */
  readonly ttlMs: number
  /** Name that the holder gave when it was granted. */
  readonly holder: string
}

/**
 * A strongly consistent, watchable key-value store with sessions: what every controller is written against.
 *
 * Every method throws KeelsonError with `code`: `CLOSED`, `ABORTED`, `OVERLOADED`, `OUTCOME_UNKNOWN` (writes),
 * `TIMEOUT` (reads), `LIMIT_EXCEEDED`, `INVALID_ARGUMENT`.
 */
export interface MetadataStore extends AsyncDisposable {
  /**
   * The key as it is now, or at the revision that the options name. @throws KeelsonError `COMPACTED`,
   * `FUTURE_REVISION`
   */
  get(key: Uint8Array, options?: ReadOptions): Promise<KeyValue | undefined>
  /** @throws KeelsonError `COMPACTED`, `FUTURE_REVISION` */
  range(select: KeySelector, options?: ReadOptions): Promise<RangeResult>
  /**
   * Runs a transaction: all of it or nothing, at one revision. Retries by itself while nothing is lost by it; takes
   * effect at most once.
   */
  txn(transaction: Transaction, options?: CallOptions): Promise<TransactionResult>
  /**
   * Every change of the selection from a revision on, in order, without gap or repetition, until the consumer leaves
   * the loop or the signal is aborted. Reconnects by itself. A consumer that falls behind is held up, not dropped.
   *
   * @throws KeelsonError `COMPACTED` when the revision is gone (details: `compactRevision`): read again, then watch
   */
  watch(select: KeySelector, options?: WatchOptions): AsyncIterable<WatchResponse>
  /** Forgets history below `revision`. Reads and watches below it then fail with `COMPACTED`. */
  compact(revision: Revision, options?: CallOptions): Promise<void>
  /** Grants a session that ends unless it is renewed within `ttlMs`. */
  grantSession(holder: string, ttlMs: number, options?: CallOptions): Promise<SessionId>
  /**
   * Renews a session for its whole TTL. The holder must count from the time at which it *called*, not from the answer.
   *
   * @throws KeelsonError `EPOCH_ENDED` when it was revoked or ran out
   */
  renewSession(sessionId: SessionId, options?: CallOptions): Promise<void>
  /** Ends a session; its keys vanish in one revision. Idempotent. */
  revokeSession(sessionId: SessionId, options?: CallOptions): Promise<void>
  /** The sessions that have not ended. */
  sessions(options?: CallOptions): Promise<readonly SessionStatus[]>
  /** Idempotent. */
  close(): Promise<void>
}
