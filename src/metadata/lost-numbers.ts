import { KeelsonError } from '../core/errors.ts'
import type { Operation, Revision } from '../interfaces/metadata-store.ts'
import type { Refounding } from '../raft/index.ts'
import { markImport } from './import-mark.ts'
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
 * The first command of a metadata store that was recovered from a lost quorum: its revisions go on in the next block, and all
 * sessions end, since those who are left do not know what was given to whom. Whoever has read what is lost has to read anew:
 * all older revisions are refused as compacted.
 *
 * @param revision of the survivor with the best log, as it has applied it: the log may hold more, even of an earlier recovery
 * @param recoveries how many there were, this one included
 * @throws KeelsonError `LIMIT_EXCEEDED` after 511 recoveries
 */
export function commandAfterLoss(revision: Revision, recoveries: number): Uint8Array {
  const block = Math.max(Math.floor((revision + headroom) / blockRevisions) + 1, recoveries)
  const next = block * blockRevisions
  if (!Number.isSafeInteger(next + blockRevisions - 1)) {
    throw new KeelsonError('LIMIT_EXCEEDED', 'the metadata store was recovered from a lost quorum too often')
  }
  return encodeCommand({ type: 'raise', revision: next })
}

/** Blocks that the founding of a store leaves out which takes the place of one that is lost: recoveries since its backup. */
const skippedBlocks = 15

/**
 * How a metadata store begins that takes the place of one of which nothing is left but a backup: it counts on in a block of
 * revisions that the lost one never came to, and waits for the backup ({@link pendingImport}) from its first moment on.
 *
 * @param revision of the backup, or any later one that is known of the lost store
 * @param writes what it never lacks either
 * @throws KeelsonError `LIMIT_EXCEEDED` as {@link commandAfterLoss}
 */
export function refoundingAfter(revision: Revision, writes: readonly Operation[] = []): Refounding {
  const recoveries = Math.floor((revision + headroom) / blockRevisions) + 1 + skippedBlocks
  const transaction = { then: [markImport({ revision: undefined }), ...writes] }
  const first = encodeCommand({ type: 'txn', quotaBytes: Number.MAX_SAFE_INTEGER, transaction })
  return { recoveries, firstCommands: [commandAfterLoss(revision, recoveries), first] }
}

/**
 * What a client's session is called outside of the group, above its place in the log: places of what is lost are used again, and a
 * client that has one must not be taken for the client that has it now.
 */
export function sessionBlock(recoveries: number): number {
  return recoveries * blockRevisions
}

/** The place in the log of a session by that name; undefined for one of before the last recovery. */
export function placeOfSession(name: number, recoveries: number): number | undefined {
  const place = name - sessionBlock(recoveries)
  return place > 0 && place < blockRevisions ? place : undefined
}

/**
 * Where a count goes on that is kept in a key: behind the last number, but in the block of a revision that was read no earlier.
 * In a store that was never recovered that is the number after `last`.
 */
export function numberAfter(last: number, revision: Revision): number {
  return Math.max(last, Math.floor(revision / blockRevisions) * blockNumbers) + 1
}
