import { KeelsonError } from '../../core/errors.ts'

/**
 * Limits that the state machine itself applies. They decide about results, so every replica must apply the same ones:
 * they are part of the command format and only change with its version. What a host may choose, the database quota,
 * travels in each command.
 */
export const commandLimits: {
  /** Longest key, in bytes. */
  readonly keyBytes: number
  /** Longest value, in bytes. */
  readonly valueBytes: number
  /** Operations and compares of one transaction, both branches together. */
  readonly operations: number
  /** Keys and values of one transaction, in bytes. */
  readonly transactionBytes: number
  /** Keys that one transaction may delete. */
  readonly deletedKeys: number
  /** Entries that one range operation inside a transaction returns at most; `more` says that there were others. */
  readonly rangeEntries: number
  /** Bytes that one transaction returns at most; a transaction whose answer would be longer is refused. */
  readonly resultBytes: number
  /** Sessions at a time. */
  readonly sessions: number
  /** Keys that live and die with one session. */
  readonly keysPerSession: number
  /** Longest name of a session's holder, in UTF-16 units. */
  readonly holderLength: number
  /** Sessions in one checkpoint. */
  readonly checkpointSessions: number
} = Object.freeze({
  keyBytes: 4096,
  valueBytes: 512 * 1024,
  operations: 1024,
  transactionBytes: 768 * 1024,
  deletedKeys: 10_000,
  rangeEntries: 10_000,
  resultBytes: 768 * 1024,
  sessions: 100_000,
  keysPerSession: 10_000,
  holderLength: 256,
  checkpointSessions: 1_000,
})

/** Events whose superseded versions one command clears away at most, so that a compaction never stalls the store. */
export const eventsClearedPerCommand = 1_000

/**
 * Revisions that the history may span; beyond it transactions are refused until somebody compacts. A state that claims
 * to span more is not believed.
 */
export const maximumHistory = 10_000_000

/** @throws KeelsonError `CORRUPTION` for numbers that no state can have */
export function checkNumbers(revision: number, compactRevision: number, historyFrom: number): void {
  const inOrder = compactRevision <= revision && historyFrom >= 1 && historyFrom <= revision + 1
  // Sessions can be granted beyond the limit, hence the factor.
  if (inOrder && revision - historyFrom <= 2 * maximumHistory) return
  throw new KeelsonError(
    'CORRUPTION',
    'the revisions of a metadata store contradict each other; replace this replica',
  )
}

/** What a stored version or session costs beside its bytes, for the database quota. */
export const overheadBytes = 64
