import { KeelsonError } from '../../core/errors.ts'
import type { Revision } from '../../interfaces/metadata-store.ts'
import type { StateNumbers } from './state-types.ts'

/** Checks that a state can be read as it was at a revision. @throws KeelsonError `FUTURE_REVISION`, `COMPACTED` */
export function checkReadable(numbers: StateNumbers, at: Revision): void {
  const { revision, compactRevision } = numbers
  if (at > revision) {
    throw new KeelsonError(
      'FUTURE_REVISION',
      `revision ${at} does not exist yet: the store is at ${revision}; read from there, or look for what this revision came from`,
      { details: { revision } },
    )
  }
  if (at < compactRevision) {
    throw new KeelsonError(
      'COMPACTED',
      `revision ${at} was compacted away: the oldest one left is ${compactRevision}; read again at a newer one`,
      { details: { compactRevision } },
    )
  }
}
