import { utf8 } from '../../core/bytes.ts'
import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import type { KeySelector, KeyValue, Revision, SessionId } from '../../interfaces/metadata-store.ts'
import { keyPrefixes, pathKey, pathParts, pathPrefix } from '../../metadata/keys.ts'
import { prefixSelector } from '../../metadata/mvcc/key-range.ts'
import { counterKeys } from '../../model/counter-keys.ts'

/**
 * How a holder came to a lease: `claim`: it was free; `takeover`: the session of the holder before had ended;
 * `reclaim`: the holder had given it up and takes it again; `transfer`: the holder before handed it over.
 */
export type LeaseChange = 'claim' | 'takeover' | 'reclaim' | 'transfer'

const changes: readonly LeaseChange[] = ['claim', 'takeover', 'reclaim', 'transfer']

/** A lease as the store shows it. */
export interface LeaseHolder {
  /** Name of the lease. */
  readonly name: string
  /** Name of the process that holds it. */
  readonly holder: string
  /** The session that the lease lives and dies with: its holder's epoch. */
  readonly epoch: SessionId
  /** Grows by one with every change of holder and never repeats. */
  readonly sequence: number
}

/** One change of holder. */
export interface LeaseHistoryEntry {
  /** Sequence that the holder got. */
  readonly sequence: number
  /** Name of that holder. */
  readonly holder: string
  /** Its session. */
  readonly epoch: SessionId
  /** How it came to the lease. */
  readonly change: LeaseChange
  /** Wall time of the new holder, for people. */
  readonly atMs: number
}

/** What outlives the holder: the last sequence and how it ended. */
export interface LeaseRecord {
  readonly sequence: number
  /** The last holder gave the lease back by itself. */
  readonly released: boolean
}

/** Somebody who waits for a lease. */
export interface LeaseWaiter {
  readonly holder: string
  readonly epoch: SessionId
  readonly preference: number
  /** Revision at which it began to wait. */
  readonly since: Revision
  readonly modRevision: Revision
}

const format = 1

/** Longest name of a lease, in UTF-16 units. */
export const maximumLeaseNameLength = 256

/** Checks a lease's name. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkLeaseName(name: unknown): void {
  if (
    typeof name === 'string' &&
    name.length > 0 &&
    name.length <= maximumLeaseNameLength &&
    !name.includes('/')
  )
    return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `the name of a lease is 1 to ${maximumLeaseNameLength} characters without a slash, not ${showValue(name)}`,
  )
}

const below = (part: 'holders' | 'waiting' | 'history'): string => `${keyPrefixes.leases}${part}/`

/** All holders. */
export const allHolders: KeySelector = Object.freeze(prefixSelector(utf8(below('holders'))))

/** Lives with the holder's session. */
export function holderKey(name: string): Uint8Array {
  return pathKey(below('holders'), name)
}

/** Stays for ever, so that sequences never repeat. */
export function recordKey(name: string): Uint8Array {
  return pathKey(counterKeys.leaseSequences, name)
}

/** Lives with the waiter's session. */
export function waiterKey(name: string, epoch: SessionId): Uint8Array {
  return pathKey(below('waiting'), name, epoch)
}

/** Everybody who waits for a lease. */
export function waitersOf(name: string): KeySelector {
  return prefixSelector(pathPrefix(below('waiting'), name))
}

export function historyKey(name: string, sequence: number): Uint8Array {
  return pathKey(below('history'), name, sequence)
}

/** The changes of a lease's holder that are kept. */
export function historyOf(name: string): KeySelector {
  return prefixSelector(pathPrefix(below('history'), name))
}

function read(value: Uint8Array, what: string): Fields {
  const fields = new Fields(decodePlain(value, what), what)
  const version = fields.uint('format')
  if (version === format) return fields
  throw new KeelsonError(
    'FORMAT_VERSION',
    `${what} has format ${version}, but this release knows ${format}; upgrade this process first`,
  )
}

export function encodeHolder(holder: string, sequence: number): Uint8Array {
  return encodePlain([format, sequence, holder])
}

export function decodeHolder(entry: KeyValue): LeaseHolder {
  const fields = read(entry.value, 'a lease')
  const sequence = fields.uint('sequence')
  const holder = fields.string('holder')
  const [, name] = pathParts(keyPrefixes.leases, entry.key)
  return { name: name ?? '', holder, epoch: entry.session, sequence }
}

export function encodeRecord(record: LeaseRecord): Uint8Array {
  return encodePlain([format, record.sequence, record.released])
}

export function decodeRecord(entry: KeyValue): LeaseRecord {
  const fields = read(entry.value, 'the record of a lease')
  return { sequence: fields.uint('sequence'), released: fields.boolean('released') }
}

export function encodeWaiter(holder: string, preference: number): Uint8Array {
  return encodePlain([format, holder, preference])
}

export function decodeWaiter(entry: KeyValue): LeaseWaiter {
  const fields = read(entry.value, 'a waiter of a lease')
  return {
    holder: fields.string('holder'),
    preference: fields.uint('preference'),
    epoch: entry.session,
    since: entry.createRevision,
    modRevision: entry.modRevision,
  }
}

export function encodeHistory(entry: Omit<LeaseHistoryEntry, 'sequence'>): Uint8Array {
  return encodePlain([format, entry.holder, entry.epoch, entry.change, entry.atMs])
}

export function decodeHistory(entry: KeyValue): LeaseHistoryEntry {
  const fields = read(entry.value, 'a step in the history of a lease')
  const parts = pathParts(keyPrefixes.leases, entry.key)
  return {
    sequence: Number(parts[parts.length - 1]),
    holder: fields.string('holder'),
    epoch: fields.uint('epoch'),
    change: fields.oneOf('change', changes),
    atMs: fields.number('atMs'),
  }
}
