import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { unknownVersion } from './envelope.ts'

/**
 * Bookkeeping of client sessions, as it goes through the log. Limits travel inside the entry, so that all replicas act
 * alike however they are configured.
 */
export type SessionEntry =
  | {
      /** A new session, named by the entry's index. Makes room by evicting. */
      readonly type: 'register'
      /** Sessions that stay after this one was added; the longest unused go first. */
      readonly maximumSessions: number
      /** Results that the new session keeps. */
      readonly resultsPerSession: number
      /** Sessions last used by an entry before this index are evicted as well; 0 for none. */
      readonly unusedBefore: number
    }
  | {
      /** Ends sessions by name. */
      readonly type: 'evict'
      readonly sessions: readonly number[]
    }
  | {
      /** Brings the stored results back within limits in bytes, oldest first. */
      readonly type: 'trim'
      readonly bytesPerSession: number
      readonly totalBytes: number
    }

const version = 1
const types = ['register', 'evict', 'trim'] as const

/** Most sessions that one `evict` entry may name. */
export const maximumEvictions = 1_000

/** The data of a session entry. */
export function encodeSessionEntry(entry: SessionEntry): Uint8Array {
  const type = types.indexOf(entry.type)
  switch (entry.type) {
    case 'register':
      return encodePlain([version, type, entry.maximumSessions, entry.resultsPerSession, entry.unusedBefore])
    case 'evict':
      return encodePlain([version, type, entry.sessions])
    case 'trim':
      return encodePlain([version, type, entry.bytesPerSession, entry.totalBytes])
  }
}

/** The inverse of {@link encodeSessionEntry}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeSessionEntry(data: Uint8Array): SessionEntry {
  const fields = new Fields(decodePlain(data, 'a session entry'), 'a session entry')
  const found = fields.uint('version')
  if (found !== version) throw unknownVersion('a session entry', found)
  switch (types[fields.oneOf('type', [0, 1, 2])]) {
    case 'register':
      return {
        type: 'register',
        maximumSessions: fields.uint('maximumSessions'),
        resultsPerSession: fields.uint('resultsPerSession'),
        unusedBefore: fields.uint('unusedBefore'),
      }
    case 'evict':
      return { type: 'evict', sessions: fields.scalars('sessions', (list) => list.uint('session')) }
    default:
      return {
        type: 'trim',
        bytesPerSession: fields.uint('bytesPerSession'),
        totalBytes: fields.uint('totalBytes'),
      }
  }
}
