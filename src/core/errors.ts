/**
 * What is known about the effect of a failed call.
 *
 * - `none`: it had no effect and never will. It is safe to do it again.
 * - `unknown`: it may have taken effect, or may still do so. Only a retry with the same command id is safe.
 */
export type Outcome = 'none' | 'unknown'

/** What a code usually means for the caller. */
export interface ErrorTraits {
  /** Whether the same call may succeed later. */
  readonly retryable: boolean
  /** Whether the call may have taken effect. */
  readonly outcome: Outcome
}

const permanent: ErrorTraits = { retryable: false, outcome: 'none' }
const transient: ErrorTraits = { retryable: true, outcome: 'none' }
const uncertain: ErrorTraits = { retryable: true, outcome: 'unknown' }

/**
 * Every error code of the library. Codes are stable: a code is never renamed or given another meaning.
 */
export type ErrorCode =
  /** The caller's signal was aborted. A call that had already been handed on reports `outcome: 'unknown'`. */
  | 'ABORTED'
  /** The cluster exists already; a second bootstrap would make a second history. Join it instead. */
  | 'ALREADY_BOOTSTRAPPED'
  /** The peer is not who it says it is, or may not do this. */
  | 'UNAUTHORIZED'
  /** The resource was closed. */
  | 'CLOSED'
  /** The revision asked for was compacted away; details carry the oldest one that is left. */
  | 'COMPACTED'
  /** A compare failed: somebody else changed the same thing first. Read again, then decide. */
  | 'CONFLICT'
  /** Stored bytes do not match their checksum, or contradict each other. Never repaired by guessing. */
  | 'CORRUPTION'
  /** Another process (or another instance in this one) holds the directory. */
  | 'DIRECTORY_LOCKED'
  /** The disk is full. */
  | 'DISK_FULL'
  /** The node's epoch has ended: its session was revoked, so it must join again before it acts. */
  | 'EPOCH_ENDED'
  /** The peer or the directory belongs to another cluster, or to another one of the same id (`details.peerFounding`). */
  | 'FOREIGN_CLUSTER'
  /** The directory belongs to another node or to another incarnation of it. */
  | 'FOREIGN_NODE'
  /** A version on disk that this release does not know. */
  | 'FORMAT_VERSION'
  /** A revision that does not exist yet. */
  | 'FUTURE_REVISION'
  /** An argument has the wrong type or range. */
  | 'INVALID_ARGUMENT'
  /** An option is unknown, has the wrong type or range, or contradicts another one. */
  | 'INVALID_OPTION'
  /** A broken invariant: a bug in the library or damaged memory. The component stops rather than go on. */
  | 'INVARIANT_VIOLATED'
  /** Input or output failed. */
  | 'IO'
  /** A documented limit was reached by this one input; the same input will not pass later either. */
  | 'LIMIT_EXCEEDED'
  /** Bytes from the network or a file that do not decode. */
  | 'MALFORMED'
  /** Nothing exists under this name. */
  | 'NOT_FOUND'
  /** This directory was never bootstrapped nor joined to a cluster. */
  | 'NOT_BOOTSTRAPPED'
  /** This replica does not lead; details may carry a leader hint. */
  | 'NOT_LEADER'
  /** A queue is full. Back off, then try again. */
  | 'OVERLOADED'
  /** No answer in time, or leadership was lost under way: the effect is not known. */
  | 'OUTCOME_UNKNOWN'
  /** The other side speaks no protocol version that we know. */
  | 'PROTOCOL_VERSION'
  /** This replica's disk forgot what it had acknowledged, so it is not believed until it is replaced. */
  | 'QUARANTINED'
  /** The client session is unknown or was evicted: what it did before can no longer be deduplicated. */
  | 'SESSION_UNKNOWN'
  /** An older writer: its epoch was replaced by a newer one. */
  | 'STALE_EPOCH'
  /** The generation of a range or descriptor has moved on. */
  | 'STALE_GENERATION'
  /** An older lease sequence: the lease has a newer holder, and this effect was refused. */
  | 'STALE_SEQUENCE'
  /** The schema version is too old or not leased any more. */
  | 'STALE_SCHEMA'
  /** The group was recovered from a lost quorum without this replica: what it holds is no part of the group any more. */
  | 'SUPERSEDED'
  /** An earlier write or sync failed, so nothing that this store says can be trusted until it is opened again. */
  | 'STORE_POISONED'
  /** No answer in time; nothing was sent, or the call only reads. */
  | 'TIMEOUT'
  /** No connection to the peer. */
  | 'UNREACHABLE'
  /** The host or the adapter does not have the capability that this needs. */
  | 'UNSUPPORTED'

/** The usual traits of each code. A single error may override one when the place that throws knows better. */
export const errorTraits: Readonly<Record<ErrorCode, ErrorTraits>> = Object.freeze({
  ABORTED: permanent,
  ALREADY_BOOTSTRAPPED: permanent,
  UNAUTHORIZED: permanent,
  CLOSED: permanent,
  COMPACTED: permanent,
  CONFLICT: transient,
  CORRUPTION: permanent,
  DIRECTORY_LOCKED: permanent,
  DISK_FULL: transient,
  EPOCH_ENDED: permanent,
  FOREIGN_CLUSTER: permanent,
  FOREIGN_NODE: permanent,
  FORMAT_VERSION: permanent,
  FUTURE_REVISION: transient,
  INVALID_ARGUMENT: permanent,
  INVALID_OPTION: permanent,
  INVARIANT_VIOLATED: { retryable: false, outcome: 'unknown' },
  IO: uncertain,
  LIMIT_EXCEEDED: permanent,
  MALFORMED: permanent,
  NOT_FOUND: permanent,
  NOT_BOOTSTRAPPED: permanent,
  NOT_LEADER: transient,
  OVERLOADED: transient,
  OUTCOME_UNKNOWN: uncertain,
  PROTOCOL_VERSION: permanent,
  QUARANTINED: permanent,
  SESSION_UNKNOWN: { retryable: false, outcome: 'unknown' },
  STALE_EPOCH: permanent,
  STALE_GENERATION: permanent,
  STALE_SEQUENCE: transient,
  STALE_SCHEMA: transient,
  STORE_POISONED: permanent,
  SUPERSEDED: permanent,
  TIMEOUT: transient,
  UNREACHABLE: transient,
  UNSUPPORTED: permanent,
})

/** Plain data that travels with an error over the network and into logs. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>

/** What can be given to a {@link KeelsonError} beside its code and message. */
export interface KeelsonErrorOptions {
  /** Facts for programs and logs, as plain values: ids, limits, what was expected. Default: none. */
  readonly details?: ErrorDetails
  /** The error that led to this one. */
  readonly cause?: unknown
  /** In place of what the code usually means. */
  readonly retryable?: boolean
  /** In place of what the code usually means. */
  readonly outcome?: Outcome
}

const brand = Symbol.for('keelson.error')

/**
 * The one error class of the library. The message says what happened and what to do; programs decide by `code`,
 * `retryable` and `outcome`.
 */
export class KeelsonError extends Error {
  /** Always `KeelsonError`. */
  override readonly name = 'KeelsonError'
  /** What happened, for programs to decide by. */
  readonly code: ErrorCode
  /** True when the same call may succeed later without anything being changed by the caller. */
  readonly retryable: boolean
  /** Whether the failed call may have taken effect. */
  readonly outcome: Outcome
  /** Facts for programs and logs, as plain values; empty when there are none. */
  readonly details: ErrorDetails

  /**
   * `message` says what happened and what to do. What the options leave out is as {@link errorTraits} has it for the
   * code.
   */
  constructor(code: ErrorCode, message: string, options: KeelsonErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? errorTraits[code].retryable
    this.outcome = options.outcome ?? errorTraits[code].outcome
    this.details = Object.freeze({ ...options.details })
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for a keelson error of any copy of the library, also when several versions are installed. */
  static is(value: unknown): value is KeelsonError {
    return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[brand] === true
  }

  /** True for a keelson error with one of these codes. */
  static hasCode(value: unknown, ...codes: readonly ErrorCode[]): value is KeelsonError {
    return KeelsonError.is(value) && codes.includes(value.code)
  }

  /** Plain data for logs and for the wire. The cause stays at home. */
  toJSON(): SerializedError {
    return {
      code: this.code,
      message: this.message,
      retryable: this.retryable,
      outcome: this.outcome,
      details: this.details,
    }
  }

  /** The inverse of {@link KeelsonError.toJSON}; an unknown code of a newer peer becomes `IO` and keeps its message. @throws KeelsonError `MALFORMED` */
  static fromJSON(value: SerializedError): KeelsonError {
    if (typeof value !== 'object' || value === null || typeof value.message !== 'string') {
      throw new KeelsonError(
        'MALFORMED',
        'an error is made of what toJSON gave: an object with code and message',
      )
    }
    const code: ErrorCode = Object.hasOwn(errorTraits, value.code) ? (value.code as ErrorCode) : 'IO'
    return new KeelsonError(code, value.message, {
      details: value.details,
      retryable: value.retryable,
      outcome: value.outcome,
    })
  }
}

/** A {@link KeelsonError} as plain data. */
export interface SerializedError {
  /** A code of this release, or one that a newer peer sent. */
  readonly code: string
  /** What happened and what to do, for people. */
  readonly message: string
  /** Whether the same call may succeed later. */
  readonly retryable: boolean
  /** Whether the call may have taken effect. */
  readonly outcome: Outcome
  /** Facts for programs and logs. */
  readonly details: ErrorDetails
}

/** Anything that was thrown, as a {@link KeelsonError}: others become `fallback` with the original as cause. */
export function toKeelsonError(thrown: unknown, fallback: ErrorCode = 'IO'): KeelsonError {
  if (KeelsonError.is(thrown)) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return new KeelsonError(fallback, message, { cause: thrown })
}
