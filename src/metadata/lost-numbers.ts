import { KeelsonError } from '../core/errors.ts'
import type { Operation, Revision } from '../interfaces/metadata-store.ts'
import { recoveriesOf } from '../raft/group/lost-quorum.ts'
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
  return raiseTo(block * blockRevisions)
}

function raiseTo(revision: Revision): Uint8Array {
  if (!Number.isSafeInteger(revision + blockRevisions - 1)) {
    throw new KeelsonError('LIMIT_EXCEEDED', 'the metadata store was recovered from a lost quorum too often')
  }
  return encodeCommand({ type: 'raise', revision })
}

/** Blocks that the founding of a store leaves out which takes the place of one that is lost: recoveries since its backup. */
const skippedBlocks = 15
/** 2026-01-01: the time is counted from here. */
const beginningMs = 1_767_225_600_000
/** Revisions for each second: more than a store counts. */
const revisionsPerSecond = 2 ** 14
/** Half of a block is for the time, seventeen years of it, and half to count on. */
const longestSeconds = blockRevisions / 2 / revisionsPerSecond

/**
 * How a metadata store begins that takes the place of one of which nothing is left but a backup: it counts on in a block of
 * revisions that the lost one never came to, and waits for the backup ({@link pendingImport}) from its first moment on.
 *
 * Somebody may begin it from the same backup a second time, because the first attempt came to nothing, and nobody knows any more
 * what that one gave out. So it begins at a place in the block that the time says: behind all that an earlier attempt counts that
 * takes less than 16,384 revisions, and 1,024 other numbers of a kind, for each second between the two.
 *
 * @param revision of the backup, or any later one that is known of the lost store
 * @param wallMs the time; a clock that is set back between two attempts makes it useless
 * @param writes what it never lacks either
 * @throws KeelsonError `LIMIT_EXCEEDED` as {@link commandAfterLoss}
 */
export function refoundingAfter(
  revision: Revision,
  wallMs: number,
  writes: readonly Operation[] = [],
): Refounding {
  const recoveries = Math.floor((revision + headroom) / blockRevisions) + 1 + skippedBlocks
  const transaction = { then: [markImport({ revision: undefined }), ...writes] }
  const first = encodeCommand({ type: 'txn', quotaBytes: Number.MAX_SAFE_INTEGER, transaction })
  const seconds = Math.floor((wallMs - beginningMs) / 1000)
  const place = Math.min(Math.max(seconds, 0), longestSeconds) * revisionsPerSecond
  return { recoveries, firstCommands: [raiseTo(recoveries * blockRevisions + place), first] }
}

/**
 * What a client's session is called outside of the group, by its place in the log: places of what is lost are used again, and a
 * client that has one must not be taken for the client that has it now. The name tells of the very recovery, not only of how
 * many there were: two that know nothing of each other are the same number.
 *
 * @param recoveryGeneration of the group
 */
export function nameOfSession(place: number, recoveryGeneration: number): number {
  const recoveries = recoveriesOf(recoveryGeneration)
  return recoveries * blockRevisions + ((place + turnOf(recoveryGeneration)) % blockRevisions)
}

/** The place in the log of a session by that name; undefined for one of before the last recovery. */
export function placeOfSession(name: number, recoveryGeneration: number): number | undefined {
  const turned = name - recoveriesOf(recoveryGeneration) * blockRevisions
  if (turned < 0 || turned >= blockRevisions) return undefined
  const place = (turned - turnOf(recoveryGeneration) + blockRevisions) % blockRevisions
  return place > 0 ? place : undefined
}

/** How far the places of one recovery are turned, over the whole of a block. */
function turnOf(recoveryGeneration: number): number {
  return (recoveryGeneration % 2 ** 32) * 2 ** 12
}

/**
 * Where a count goes on that is kept in a key: behind the last number, but not behind the part of a block that a revision
 * is in which was read no earlier. In a store that was never recovered that is the number after `last`.
 */
export function numberAfter(last: number, revision: Revision): number {
  const least = revision < blockRevisions ? 0 : Math.floor(revision / (blockRevisions / blockNumbers))
  return Math.max(last, least) + 1
}

/** No number that was given out since the store was recovered last is lower than this. */
export function firstNumberSinceLoss(revision: Revision): number {
  return Math.floor(revision / blockRevisions) * blockNumbers + 1
}
