import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { SessionId } from '../../interfaces/metadata-store.ts'

/** A session as the log knows it. */
export interface SessionRecord {
  /** Its number: the revision at which it was granted. */
  readonly sessionId: SessionId
  /** Name that its holder gave. */
  readonly holder: string
  /** The time within which it has to be renewed. */
  readonly ttlMs: number
  /**
   * Present when a leader has recorded that the holder missed renewals, and how much time it had left then. The next
   * leader gives it no more than that. A renewal after it goes through the log first, to take the record back.
   */
  readonly remainingMs: number | undefined
}

const formatVersion = 1

export function encodeSession(session: SessionRecord): Uint8Array {
  return encodePlain([
    formatVersion,
    session.sessionId,
    session.holder,
    session.ttlMs,
    session.remainingMs ?? null,
  ])
}

/** The inverse of {@link encodeSession}. @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
export function decodeSession(record: Uint8Array): SessionRecord {
  try {
    const fields = new Fields(decodePlain(record, 'a session record'), 'a session record')
    const format = fields.uint('format')
    if (format !== formatVersion) {
      throw new KeelsonError(
        'FORMAT_VERSION',
        `a session record of the metadata store has format ${format}, but this release knows ${formatVersion}: run a newer release`,
      )
    }
    return {
      sessionId: fields.uint('sessionId'),
      holder: fields.string('holder'),
      ttlMs: fields.uint('ttlMs'),
      remainingMs: fields.optional((f) => f.uint('remainingMs')),
    }
  } catch (cause) {
    if (KeelsonError.hasCode(cause, 'FORMAT_VERSION')) throw cause
    throw new KeelsonError(
      'CORRUPTION',
      'a session record of the metadata store is damaged; replace this replica',
      { cause },
    )
  }
}
