import { KeelsonError } from '../core/errors.ts'
import type { Revision } from '../interfaces/metadata-store.ts'
import { encodeCommand } from './mvcc/commands.ts'

// A store that was recovered from a lost quorum may have counted further than those know that are left. Whatever it counts
// up to fence somebody off (revisions, and with them epochs and session ids; sequences of leases; ids) goes on in a block
// of its own, or a number would be given out twice, and whoever holds the old one would be let in.

/** More revisions than a store counts in its life. */
const blockRevisions = 2 ** 44
/** More of anything else than a store counts in its life. */
const blockNumbers = 2 ** 40
/** Revisions that those who are left may lack. */
const headroom = 2 ** 40

/**
 * The first command of a metadata store that was recovered from a lost quorum, made of what the survivor with the best log has
 * applied: its revisions go on in the next block. Whoever has read what is lost has to read anew, since all older
 * revisions are refused as compacted.
 *
 * @throws KeelsonError `LIMIT_EXCEEDED` after 511 recoveries
 */
export function commandAfterLoss({ revision }: { readonly revision: Revision }): Uint8Array {
  const next = (Math.floor((revision + headroom) / blockRevisions) + 1) * blockRevisions
  if (!Number.isSafeInteger(next + blockRevisions - 1)) {
    throw new KeelsonError('LIMIT_EXCEEDED', 'the metadata store was recovered from a lost quorum too often')
  }
  return encodeCommand({ type: 'raise', revision: next })
}

/**
 * Where a count goes on that is kept in a key: behind the last number, but in the block of a revision that was read no earlier.
 * In a store that was never recovered that is the number after `last`.
 */
export function numberAfter(last: number, revision: Revision): number {
  return Math.max(last, Math.floor(revision / blockRevisions) * blockNumbers) + 1
}
