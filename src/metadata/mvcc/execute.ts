import { equalBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type {
  Compare,
  Operation,
  OperationResult,
  Revision,
  SessionId,
  Transaction,
  TransactionResult,
} from '../../interfaces/metadata-store.ts'
import type { CheckpointEntry, MetadataCommand } from './commands.ts'
import { lastLive } from './key-histories.ts'
import { commandLimits, eventsClearedPerCommand, maximumHistory, overheadBytes } from './limits.ts'
import type { MvccState } from './mvcc-state.ts'
import type { PlainPut } from './plain-put.ts'
import type { PageLimits } from './state-types.ts'
import { checkTransaction } from './validate.ts'
import type { Version } from './version.ts'
import { encodeOutcome, encodeRefusal, PutOutcome, writeTransactionResult } from './wire.ts'

/**
 * Carries out one command and returns the bytes of its answer. A refused command changes nothing: everything that can
 * be refused is checked before the first write.
 */
export function execute(state: MvccState, command: MetadataCommand): Uint8Array {
  try {
    return dispatch(state, command)
  } catch (error) {
    // Only a refusal is an answer. A broken invariant is not: the replica stops.
    if (KeelsonError.is(error) && error.code !== 'INVARIANT_VIOLATED') return encodeRefusal(error)
    throw error
  }
}

/**
 * Carries out a put alone, as {@link execute} does with what `decodeCommand` makes of its command. Undefined, with nothing
 * done, where it would be refused: the thorough way says why.
 */
export function executePut(state: MvccState, put: PlainPut): PutOutcome | undefined {
  const { keyBytes, valueBytes, quotaBytes } = put
  if (state.bytes + keyBytes + valueBytes + overheadBytes > quotaBytes) return undefined
  if (state.revision - state.historyFrom >= maximumHistory) return undefined
  const history = state.historyOf(put)
  const previous = lastLive(history)
  state.putAlone(put, history)
  return new PutOutcome(state.revision, previous)
}

function dispatch(state: MvccState, command: MetadataCommand): Uint8Array {
  switch (command.type) {
    case 'txn': {
      const result = transact(state, command.transaction, command.quotaBytes)
      return encodeOutcome((out) => writeTransactionResult(out, result))
    }
    case 'compact':
      compact(state, command.revision)
      return encodeOutcome(() => {})
    case 'grant': {
      const sessionId = grant(state, command.holder, command.ttlMs)
      return encodeOutcome((out) => out.varint(sessionId))
    }
    case 'revoke': {
      const revoked = revoke(state, command.sessionIds)
      return encodeOutcome((out) => out.varint(revoked))
    }
    case 'checkpoint':
      checkpoint(state, command.remaining)
      return encodeOutcome(() => {})
    case 'clear':
      state.clearGarbage(eventsClearedPerCommand)
      return encodeOutcome((out) => out.u8(state.hasGarbage ? 1 : 0))
    case 'advance':
      advance(state, command.revision)
      return encodeOutcome(() => {})
    case 'raise':
      raise(state, command.revision)
      return encodeOutcome(() => {})
    case 'verify':
      // The machine notes its hash at this place of the log; the state does not change.
      return encodeOutcome(() => {})
  }
}

function transact(state: MvccState, transaction: Transaction, quotaBytes: number): TransactionResult {
  checkTransaction(transaction)
  const succeeded = (transaction.if ?? []).every((compare) => holds(state, compare))
  const operations = (succeeded ? transaction.then : transaction.else) ?? []
  checkAgainstState(state, operations, quotaBytes)
  state.begin()
  const results = operations.map((operation) => run(state, operation))
  state.commit()
  return { succeeded, revision: state.revision, results }
}

function holds(state: MvccState, compare: Compare): boolean {
  const version = state.latest(compare.key)
  if (compare.target === 'value') {
    const equal = version !== undefined && equalBytes(version.value, compare.operand)
    return compare.is === '=' ? equal : !equal
  }
  const actual = version === undefined ? 0 : version[compare.target]
  switch (compare.is) {
    case '=':
      return actual === compare.operand
    case '!=':
      return actual !== compare.operand
    case '<':
      return actual < compare.operand
    case '>':
      return actual > compare.operand
  }
}

const noLimits: PageLimits = Object.freeze({
  entries: Number.MAX_SAFE_INTEGER,
  bytes: Number.MAX_SAFE_INTEGER,
})

function checkAgainstState(state: MvccState, operations: readonly Operation[], quotaBytes: number): void {
  let growth = 0
  let deleted = 0
  let answer = 0
  let joining: Map<SessionId, number> | undefined
  for (const operation of operations) {
    if (operation.type === 'put') {
      const before = state.latest(operation.key)
      growth += operation.key.length + operation.value.length + overheadBytes
      answer += before === undefined ? 0 : before.key.length + before.valueBytes
      const session = operation.session ?? 0
      if (session === 0) continue
      if (state.session(session) === undefined) {
        throw new KeelsonError('EPOCH_ENDED', `session ${session} has ended or never was: grant a new one`, {
          details: { session },
        })
      }
      if (before?.session === session) continue
      joining ??= new Map()
      joining.set(session, (joining.get(session) ?? 0) + 1)
    } else if (operation.type === 'delete') {
      const page = state.latestRange(operation.select, noLimits)
      deleted += page.count
      for (const version of page.versions) answer += version.key.length + version.value.length
    } else {
      // What this transaction writes itself may change the page a little; the bound is on what it can cost.
      const page = state.latestRange(operation.select, rangeLimits(operation.limit))
      for (const version of page.versions) answer += version.key.length + version.value.length
    }
  }
  if (deleted > commandLimits.deletedKeys) {
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `a transaction deletes at most ${commandLimits.deletedKeys} keys, not ${deleted}: delete in parts`,
    )
  }
  if (answer > commandLimits.resultBytes) {
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `a transaction answers with at most ${commandLimits.resultBytes} bytes, not ${answer}: do it in parts`,
    )
  }
  if (growth > 0 && state.bytes + growth > quotaBytes) {
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `the store holds ${state.bytes} of ${quotaBytes} bytes: delete keys and compact, or raise the quota`,
      { details: { bytes: state.bytes, quotaBytes } },
    )
  }
  if (growth > 0) checkHistory(state)
  for (const [session, more] of joining ?? []) {
    if (state.keysOfSession(session) + more <= commandLimits.keysPerSession) continue
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `a session has at most ${commandLimits.keysPerSession} keys: spread them over several sessions`,
    )
  }
}

function checkHistory(state: MvccState): void {
  if (state.revision - state.historyFrom < maximumHistory) return
  throw new KeelsonError(
    'LIMIT_EXCEEDED',
    `the store keeps the history of ${maximumHistory} revisions already: compact it`,
  )
}

function rangeLimits(limit: number | undefined): PageLimits {
  return {
    entries: Math.min(limit ?? commandLimits.rangeEntries, commandLimits.rangeEntries),
    bytes: commandLimits.resultBytes,
  }
}

function run(state: MvccState, operation: Operation): OperationResult {
  if (operation.type === 'put') {
    const previous = state.latest(operation.key)
    state.put(operation.key, operation.value, operation.session ?? 0)
    return { type: 'put', previous }
  }
  if (operation.type === 'range') {
    const page = state.latestRange(operation.select, rangeLimits(operation.limit))
    return { type: 'range', entries: page.versions, more: page.more, count: page.count }
  }
  const deleted: readonly Version[] = state.latestRange(operation.select, noLimits).versions
  for (const version of deleted) state.delete(version)
  return { type: 'delete', deleted }
}

function compact(state: MvccState, revision: Revision): void {
  if (revision > state.revision) {
    throw new KeelsonError(
      'FUTURE_REVISION',
      `the store is at revision ${state.revision}: it cannot be compacted to ${revision}`,
      { details: { revision: state.revision } },
    )
  }
  // An earlier compaction went further: what was asked for holds already.
  if (revision > state.compactRevision) state.compactTo(revision)
  state.clearGarbage(eventsClearedPerCommand)
}

/** Versions, tombstones included, that an empty store may still hold when its revision is advanced. */
const maximumLeftOver = 10_000

function advance(state: MvccState, revision: Revision): void {
  if (state.keyCount > 0 || state.sessionCount > 0) {
    throw new KeelsonError('CONFLICT', 'only an empty store is advanced: this one has keys or sessions', {
      retryable: false,
    })
  }
  if (state.versionCount > maximumLeftOver)
    throw new KeelsonError('LIMIT_EXCEEDED', 'the store holds too much history to be advanced: compact it')
  if (revision > state.revision) state.advanceTo(revision)
}

/**
 * What the quorum that was lost has counted is above what this one knows, and must not be counted again. Who held something
 * by a session may have given it away in what is lost, and another one may have it: nobody goes on under an old session.
 */
function raise(state: MvccState, revision: Revision): void {
  // Each session ends in a revision of its own.
  if (revision <= state.revision + state.sessionCount) {
    throw new KeelsonError(
      'CONFLICT',
      `the store is at revision ${state.revision}, too near to ${revision}`,
      {
        retryable: false,
      },
    )
  }
  revoke(
    state,
    Array.from(state.sessions(), ({ sessionId }) => sessionId),
  )
  state.raiseTo(revision)
}

function grant(state: MvccState, holder: string, ttlMs: number): SessionId {
  if (holder.length > commandLimits.holderLength || ttlMs < 1)
    throw new KeelsonError('INVALID_ARGUMENT', 'the holder of a session is too long, or its TTL too short')
  if (state.sessionCount >= commandLimits.sessions)
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `the store has ${commandLimits.sessions} sessions already: revoke some, or share one`,
    )
  checkHistory(state)
  state.begin()
  state.commit(true)
  state.putSession({ sessionId: state.revision, holder, ttlMs, remainingMs: undefined })
  return state.revision
}

/** Ends sessions, each with its keys in a revision of its own. */
function revoke(state: MvccState, sessionIds: readonly SessionId[]): number {
  let revoked = 0
  for (const sessionId of sessionIds) {
    if (state.session(sessionId) === undefined) continue
    state.begin()
    state.dropSession(sessionId)
    state.commit()
    revoked++
  }
  return revoked
}

function checkpoint(state: MvccState, entries: readonly CheckpointEntry[]): void {
  for (const { sessionId, remainingMs } of entries) {
    const session = state.session(sessionId)
    // It may have been revoked since the leader looked.
    if (session !== undefined) state.putSession({ ...session, remainingMs })
  }
}
