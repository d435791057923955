import { type Bookkeeping, type BookkeepingWrite, compareBytes, concatBytes, prefixEnd, utf8 } from 'keelson'
import { splitBookkeeping } from 'keelson/raft'
import { type ByteLevel, LevelState, type LevelStateBatch, type LevelStatePair } from 'keelson/storage/level'
import type { BoundsCommand } from './commands.ts'

/** How the parts of a range's state begin: rows, index entries, what merged ranges left, what is put aside. */
export const tags = { row: 0x72, index: 0x69, merged: 0x6d, staged: 0x73 } as const

/** Where a range keeps a row. */
export function storedRow(key: Uint8Array): Uint8Array {
  return concatBytes([Uint8Array.of(tags.row), key])
}

/** First key behind all rows. */
export const rowEnd: Uint8Array = Uint8Array.of(tags.row + 1)

/** What a node offers to a range that splits. */
export interface SplitPort {
  /**
   * Whether the right-hand replica is made here, out of the split. Not if the node has it, had it or awaits it. Decided in the
   * same breath in which it is marked as being made.
   */
  claim(rightRangeId: number): boolean
  /** Nothing is made after all. */
  unclaim(rightRangeId: number): void
  /** Notes, as a part of the split, that the right-hand replica is to be opened. */
  readonly pending: LevelState
  /** The split is there, and the state of the right-hand replica with it. */
  made(rightRangeId: number): void
}

/** The part of a node's database that is one range's. */
export function prefixOf(rangeId: number): Uint8Array {
  const prefix = new Uint8Array(9)
  prefix[0] = tags.row
  new DataView(prefix.buffer).setBigUint64(1, BigInt(rangeId))
  return prefix
}

/** The part of a range's state under a tag and a range id. */
function under(tag: number, rangeId: number): Uint8Array {
  const prefix = new Uint8Array(9)
  prefix[0] = tag
  new DataView(prefix.buffer).setBigUint64(1, BigInt(rangeId))
  return prefix
}

/** Everything that begins with a prefix. */
export function within(prefix: Uint8Array): { start: Uint8Array; end?: Uint8Array } {
  const end = prefixEnd(prefix)
  return { start: prefix, ...(end === undefined ? {} : { end }) }
}

/** Where a range keeps the client sessions of one that was merged into it. */
export function mergedPrefix(rangeId: number): Uint8Array {
  return under(tags.merged, rangeId)
}

/** What one attempt at a merge puts aside. Two attempts may bring different pairs: each replica keeps its sessions its own way. */
export interface Staging {
  readonly rightRangeId: number
  readonly rightGeneration: number
  /** Different for each attempt. */
  readonly attempt: number
}

/** Where a pair of a frozen neighbour waits for the merge. */
export function stagedPrefix({ rightRangeId, rightGeneration, attempt }: Staging): Uint8Array {
  const suffix = new Uint8Array(16)
  const view = new DataView(suffix.buffer)
  view.setBigUint64(0, BigInt(rightGeneration))
  view.setBigUint64(8, BigInt(attempt))
  return concatBytes([under(tags.staged, rightRangeId), suffix])
}

/** The right-hand half of a split: its pairs leave the one state and go into the other. */
export class RightHand {
  readonly state: LevelState
  readonly changes: LevelStateBatch

  private constructor(state: LevelState) {
    this.state = state
    this.changes = state.batch()
  }

  /** An empty state for it, whatever a replica that is gone may have left. */
  static async open(db: ByteLevel, rangeId: number): Promise<RightHand> {
    let state = new LevelState(db, prefixOf(rangeId))
    if ((await state.open()).size > 0) {
      await state.destroy()
      state = new LevelState(db, prefixOf(rangeId))
      await state.open()
    }
    return new RightHand(state)
  }
}

/** Moves rows from `key` on, with their index entries, and copies what both halves need. @returns bytes of the rows moved */
export async function cutOff(
  state: LevelState,
  left: LevelStateBatch,
  right: LevelStateBatch | undefined,
  key: Uint8Array,
): Promise<number> {
  let bytes = 0
  const move = (pair: LevelStatePair): void => {
    const at = pair[0].slice()
    left.delete(at)
    right?.put(at, pair[1].slice())
  }
  const rows = { start: storedRow(key), end: rowEnd }
  for await (const pair of state.range(rows)) {
    bytes += pair[0].length - 1 + pair[1].length
    move(pair)
  }
  for await (const pair of state.range(within(Uint8Array.of(tags.index))))
    if (compareBytes(pair[1], key) >= 0) move(pair)
  // A command that took effect in a range that was merged into this one may be asked for in either half.
  for await (const [at, value] of state.range(within(Uint8Array.of(tags.merged))))
    right?.put(at.slice(), value.slice())
  return bytes
}

/** The bookkeeping of the right-hand replica; undefined where this node was no member when the range split. */
export function bookkeepingOfRight(
  before: Bookkeeping,
  writes: readonly BookkeepingWrite[],
  rightRangeId: number,
): readonly BookkeepingWrite[] | undefined {
  const after = new Map(before)
  for (const { key, value } of writes) {
    if (value === undefined) after.delete(key)
    else after.set(key, value)
  }
  const right = splitBookkeeping(after, rightRangeId)
  return right === undefined ? undefined : [...right].map(([key, value]) => ({ key, value }))
}

/** Puts what was put aside of a neighbour where it belongs. @returns false when not all of it is there */
export async function takeIn(
  state: LevelState,
  batch: LevelStateBatch,
  command: Extract<BoundsCommand, { type: 'merge' }>,
): Promise<boolean> {
  const prefix = stagedPrefix(command)
  const found: LevelStatePair[] = []
  for await (const [key, value] of state.range(within(prefix)))
    found.push([key.slice(prefix.length), value.slice()])
  if (found.length !== command.pairs) return false
  for (const [key, value] of found) batch.put(key, value)
  await clear(batch, Uint8Array.of(tags.staged))
  return true
}

/** Deletes everything that begins with a prefix, what the batch itself has put there included. */
export async function clear(batch: LevelStateBatch, prefix: Uint8Array): Promise<void> {
  const doomed: Uint8Array[] = []
  for await (const [key] of batch.range(within(prefix))) doomed.push(key.slice())
  for (const key of doomed) batch.delete(key)
}

/** A part of what another range takes in of a frozen one. */
export interface ExportedPart {
  readonly pairs: readonly LevelStatePair[]
  /** Where the next part begins; undefined after the last one. */
  readonly resumeAt: Uint8Array | undefined
}

/**
 * What another range takes in of this one: rows, index entries, what it kept of ranges merged into it, and its own client
 * sessions, so that it can answer for this range when it is no more.
 */
export async function exportPart(
  state: LevelState,
  rangeId: number,
  resumeAt: Uint8Array | undefined,
  maximumBytes: number,
): Promise<ExportedPart> {
  const pairs: LevelStatePair[] = []
  let bytes = 0
  const sessions = mergedPrefix(rangeId)
  const own: LevelStatePair[] = [...(await state.bookkeeping())]
    .filter(([key]) => isSession(key))
    .map(([key, value]) => [concatBytes([sessions, utf8(key)]), value] as const)
  const all = async function* (): AsyncIterable<LevelStatePair> {
    for await (const [key, value] of state.range(resumeAt === undefined ? {} : { start: resumeAt }))
      if (key[0] === tags.row || key[0] === tags.index || key[0] === tags.merged) yield [key, value]
  }
  const part = async (source: AsyncIterable<LevelStatePair>): Promise<Uint8Array | undefined> => {
    for await (const [key, value] of source) {
      if (bytes >= maximumBytes) return key.slice()
      pairs.push([key.slice(), value.slice()])
      bytes += key.length + value.length
    }
    return undefined
  }
  // The sessions go with the first part: they are few, as their number is limited.
  if (resumeAt === undefined) pairs.push(...own)
  return { resumeAt: await part(all()), pairs }
}

function isSession(key: string): boolean {
  return /^(?:session|results?)\//.test(key)
}
