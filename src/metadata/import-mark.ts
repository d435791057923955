import { utf8 } from '../core/bytes.ts'
import { decodePlain, encodePlain, Fields } from '../core/codec.ts'
import { KeelsonError } from '../core/errors.ts'
import type { Operation, Revision } from '../interfaces/metadata-store.ts'
import { keyPrefixes } from './keys.ts'

// While a part of a backup is missing the store says things that never held together: ranges without their neighbours, jobs
// without their nodes. So it carries a mark, from before its first key is there until the last one is, and whoever
// controls something by the store waits for as long. The mark is a key, so it outlives restarts and changes of the leader.

/** The mark. */
export const pendingImportKey: Uint8Array = utf8(`${keyPrefixes.cluster}import`)

const formatVersion = 1

/** A backup that is not in the store, or not all of it. */
export interface PendingImport {
  /** Revision of the backup of which a part may be there; undefined as long as nobody has begun to import one. */
  readonly revision: Revision | undefined
}

/** What sets the mark. */
export function markImport({ revision }: PendingImport): Operation {
  return { type: 'put', key: pendingImportKey, value: encodePlain([formatVersion, revision ?? null]) }
}

/** What the value of the mark says. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodePendingImport(value: Uint8Array): PendingImport {
  const fields = new Fields(decodePlain(value, 'the mark of an import'), 'the mark of an import')
  const version = fields.uint('version')
  if (version !== formatVersion) {
    throw new KeelsonError(
      'FORMAT_VERSION',
      `the mark of an import has format ${version}, but this release knows ${formatVersion}; use a newer release`,
    )
  }
  return { revision: fields.optional((each) => each.uint('revision')) }
}
