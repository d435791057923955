import { BytePool } from '../../core/byte-pool.ts'
import { decodePlain, encodePlain, Fields, type Plain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Revision, SessionId, Transaction } from '../../interfaces/metadata-store.ts'
import { commandTypes, commandVersion, typeOfTransactions } from './command-types.ts'
import { isCanonicalTransaction, readCanonicalCommand } from './fast-transaction.ts'
import { transactionFromFields, transactionToPlain } from './wire.ts'

/**
 * A command of the metadata store's log. Everything that decides its result is inside: what the host configured (the
 * database quota) and what a clock said (remaining times) were put there by the leader that proposed it.
 */
export type MetadataCommand =
  | { readonly type: 'txn'; readonly quotaBytes: number; readonly transaction: Transaction }
  | { readonly type: 'compact'; readonly revision: Revision }
  | { readonly type: 'grant'; readonly holder: string; readonly ttlMs: number }
  | { readonly type: 'revoke'; readonly sessionIds: readonly SessionId[] }
  | { readonly type: 'checkpoint'; readonly remaining: readonly CheckpointEntry[] }
  | { readonly type: 'clear' }
  | { readonly type: 'verify' }
  | { readonly type: 'advance'; readonly revision: Revision }
  | { readonly type: 'raise'; readonly revision: Revision }

/** What one session had left when its leader looked; undefined takes an earlier record back. */
export interface CheckpointEntry {
  readonly sessionId: SessionId
  readonly remainingMs: number | undefined
}

const pool = new BytePool()
const decodeLimits = Object.freeze({ depth: 8, values: 100_000 })

function body(command: MetadataCommand): readonly Plain[] {
  switch (command.type) {
    case 'txn':
      return [command.quotaBytes, transactionToPlain(command.transaction)]
    case 'compact':
    case 'advance':
    case 'raise':
      return [command.revision]
    case 'grant':
      return [command.holder, command.ttlMs]
    case 'revoke':
      return [command.sessionIds]
    case 'checkpoint':
      return [command.remaining.map((each) => [each.sessionId, each.remainingMs ?? null])]
    case 'clear':
    case 'verify':
      return []
  }
}

export function encodeCommand(command: MetadataCommand): Uint8Array {
  return encodePlain([commandVersion, commandTypes.indexOf(command.type), ...body(command)])
}

/** How commands of transactions begin: with the same quota for as long as a server is up. */
let transactionHead = headOf(0)

function headOf(quotaBytes: number): { readonly quotaBytes: number; readonly head: Uint8Array } {
  const head = encodePlain([commandVersion, typeOfTransactions, quotaBytes])
  // An array of four fields: the last one follows.
  head[0] = 0x94
  return { quotaBytes, head }
}

/**
 * The command of a transaction as a client encoded it, which goes into the log as it is: made of the same bytes as
 * {@link encodeCommand} would make. Undefined unless it is encoded exactly as this release does it. What a later one may
 * have added must not get into the log unseen, where replicas of different releases would make different things of it.
 */
export function encodeTransactionCommand(
  quotaBytes: number,
  transaction: Uint8Array,
): Uint8Array | undefined {
  if (!isCanonicalTransaction(transaction)) return undefined
  if (transactionHead.quotaBytes !== quotaBytes) transactionHead = headOf(quotaBytes)
  const { head } = transactionHead
  const command = pool.allocate(head.length + transaction.length)
  command.set(head)
  command.set(transaction, head.length)
  return command
}

/**
 * The inverse of {@link encodeCommand}; byte arrays are views into `data`.
 *
 * @throws KeelsonError `UNSUPPORTED` for a later version or an unknown type: the replica must stop; `MALFORMED` for anything else
 */
export function decodeCommand(data: Uint8Array): MetadataCommand {
  const quickly = readCanonicalCommand(data, commandVersion, typeOfTransactions)
  if (quickly !== undefined)
    return { type: 'txn', quotaBytes: quickly.quotaBytes, transaction: quickly.transaction }
  const fields = new Fields(decodePlain(data, 'a metadata command', decodeLimits), 'a metadata command')
  const version = fields.uint('version')
  if (version !== commandVersion) {
    throw new KeelsonError(
      'UNSUPPORTED',
      `the log of the metadata store holds a command of version ${version}, but this release knows ${commandVersion}: this replica stops; run a newer release on it`,
      { details: { version, known: commandVersion } },
    )
  }
  const number = fields.uint('type')
  const type = commandTypes[number]
  switch (type) {
    case 'txn':
      return {
        type,
        quotaBytes: fields.uint('quotaBytes'),
        transaction: transactionFromFields(fields.nested('transaction')),
      }
    case 'compact':
    case 'advance':
    case 'raise':
      return { type, revision: fields.uint('revision') }
    case 'grant':
      return { type, holder: fields.string('holder'), ttlMs: fields.uint('ttlMs') }
    case 'revoke':
      return { type, sessionIds: fields.scalars('sessionIds', (f) => f.uint('sessionId')) }
    case 'checkpoint':
      return {
        type,
        remaining: fields.list('remaining', (entry) => ({
          sessionId: entry.uint('sessionId'),
          remainingMs: entry.optional((f) => f.uint('remainingMs')),
        })),
      }
    case 'clear':
    case 'verify':
      return { type }
    default:
      // A release that knows it would do something else with it than refuse.
      throw new KeelsonError(
        'UNSUPPORTED',
        `the log of the metadata store holds a command of the unknown type ${number}: this replica stops; run a newer release on it`,
        { details: { type: number } },
      )
  }
}
