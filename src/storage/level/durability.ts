import { checkBytes, checkObject } from '../../core/arguments.ts'
import { emptyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'

/** As much of a database as {@link flushLevel} writes with. */
export interface FlushableLevel {
  /** Begins a batch. */
  batch(): {
    /** Adds a deletion. */
    del(key: Uint8Array, options: { readonly keyEncoding: 'view' }): unknown
    /** Writes all of it, or nothing. */
    write(options?: object): Promise<void>
  }
}

/** What a database may have besides. */
interface Features {
  readonly compactRange?: (
    start: Uint8Array,
    end: Uint8Array,
    options: { readonly keyEncoding: 'view' },
  ) => Promise<void>
  /** The database that a sublevel is part of. */
  readonly parent?: Features | null
  readonly supports?: { readonly permanence?: boolean }
}

type Compactable = Features & Required<Pick<Features, 'compactRange'>>

/** Flushes of one database. */
interface Flushes {
  /** What the next flush waits for; never rejects. */
  last: Promise<void>
  /** One that has not begun: whoever comes now shares it. */
  waiting: Promise<void> | undefined
}

const flushesOf = new WeakMap<object, Flushes>()

/**
 * Makes everything durable that was written before the call.
 *
 * A synced write does not. LevelDB changes its log file whenever its memtable is full, and closes the old file without a
 * sync; until the old memtable is a table, a power cut may take the end of the old file although later, synced writes
 * stand in the new one. Therefore this also has the memtable written as a table. That costs a few syncs and as much writing as
 * is new: on a busy virtual machine with two cores, where a synced write took 1 to 9 ms, 4 MiB took 27 to 89 ms (medians of four
 * series; the slowest of 36 runs 359 ms) and an idle database 17 to 39 ms. Callers on one database share the work: a flush
 * that has not begun serves all who come until it does, so a thousand at once took 20 to 63 ms.
 *
 * A sublevel flushes the database that it is part of. A database that is neither classic-level nor built like it is
 * asked for a synced write alone if it is not permanent, as `supports.permanence` says, and refused otherwise.
 *
 * @param database a classic-level, a sublevel of one, or a database in memory; open
 * @param marker a key of the caller's own that never holds anything: it is deleted, to have something to write
 * @throws KeelsonError `INVALID_ARGUMENT`, `UNSUPPORTED` for a permanent database without `compactRange`; and whatever the database throws.
 *   Nothing is known then of what is durable, and classic-level takes no more writes
 */
export async function flushLevel(database: FlushableLevel, marker: Uint8Array): Promise<void> {
  checkBytes(marker, 'the marker of flushLevel')
  const root = rootOf(checkObject(database, 'the database of flushLevel', ['batch']))
  if (root === undefined) return write(database, marker)
  let flushes = flushesOf.get(root)
  if (flushes === undefined) {
    flushes = { last: Promise.resolve(), waiting: undefined }
    flushesOf.set(root, flushes)
  }
  const queue = flushes
  queue.waiting ??= queue.last.then(() => {
    queue.waiting = undefined
    const running = dump(root, database, marker)
    queue.last = running.catch(() => {})
    return running
  })
  return queue.waiting
}

/**
 * Refuses a database that {@link flushLevel} could not flush.
 *
 * @throws KeelsonError `UNSUPPORTED`
 */
export function checkFlushable(database: object): void {
  rootOf(database)
}

// Why this is enough, from the source of LevelDB 1.20 (db/db_impl.cc), which classic-level 3 contains:
//
// 1. The synced write lies in the current log file, and its sync covers all that stands there before it. What was written
//    earlier still is in a table, or in the one memtable that is being written as a table: `MakeRoomForWrite` changes
//    the log only while there is no other (`imm_ == NULL`).
// 2. `CompactRange` begins with `TEST_CompactMemTable`, a `Write` without a batch. It waits for its turn among the
//    writers and then in `MakeRoomForWrite` until that memtable is gone, for which `CompactMemTable` must have synced
//    the table, the directory with all log files made so far, and the MANIFEST. Then it changes the log and waits for
//    the new table alike. If the new log file cannot be made, it ends early, but only after the first wait, which is
//    what (1) left open.
// 3. Both waits also end with a background error (`bg_error_`), and `CompactRange` tells nobody. Nothing ever takes
//    that error back, and every later write fails with it before it does anything: hence the last write. It is synced
//    so as to leave nothing behind that a power cut could take.
//
// The range is the one of the empty key, so no table needs compacting. `reuse_logs`, which would make opening keep a log
// file instead of turning it into a table, is an option that classic-level leaves off.
async function dump(root: Compactable, database: FlushableLevel, marker: Uint8Array): Promise<void> {
  await write(database, marker)
  await root.compactRange(emptyBytes, emptyBytes, viewKeys)
  await write(database, marker)
}

const viewKeys = Object.freeze({ keyEncoding: 'view' })

function write(database: FlushableLevel, marker: Uint8Array): Promise<void> {
  const batch = database.batch()
  batch.del(marker, viewKeys)
  return batch.write({ sync: true })
}

/** The database that can be told to write its memtable; undefined when there is no disk. */
function rootOf(database: object): Compactable | undefined {
  for (let at: Features | null | undefined = database; at; at = at.parent) {
    if (typeof at.compactRange === 'function') return at as Compactable
  }
  if ((database as Features).supports?.permanence !== true) return undefined
  throw new KeelsonError(
    'UNSUPPORTED',
    'this database is permanent but has no compactRange, without which what it says is durable may be lost when it ' +
      'changes its log file; take a classic-level as openLevel opens it, or a sublevel of one',
  )
}
