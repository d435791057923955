import { compareBytes, equalBytes } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { BoundsChange, RangeBounds } from '../../../src/interfaces/range-host.ts'
import { encodeTuple } from '../../../src/model/tuple.ts'
import type { Truth } from './range-truth.ts'

/** Rows of a range at the beginning: so many places for a split lie in it. */
export const rowsOfRange = 40

const rowKeys = new Map<number, Uint8Array[]>()

/** The key of a row: the ranges of the beginning end at whole numbers. Asked for all the time, so each is made once. */
export function rowKey(tableId: number, rowId: number): Uint8Array {
  let keys = rowKeys.get(tableId)
  if (keys === undefined) {
    keys = []
    rowKeys.set(tableId, keys)
  }
  keys[rowId] ??= encodeTuple([tableId, rowId / rowsOfRange])
  return keys[rowId]
}

/** A command of a client, named by the range and the session that it was first sent in. */
export interface NamedCommand {
  readonly id: string
  readonly rowId: number
}

/** Bugs to be planted in what ranges hand on when they split and merge. */
export interface BoundsBugs {
  /** The right-hand range does not know which commands took effect before the split. */
  readonly forgetsCommandsAtSplit?: boolean
  /** The left-hand range does not know which commands took effect in the one that it took in. */
  readonly forgetsCommandsAtMerge?: boolean
  /** A frozen range thaws although its neighbour may still take it in. */
  readonly thawsAtOnce?: boolean
  /** A frozen range takes commands still. */
  readonly frozenRangesServe?: boolean
  /** The row that the right-hand range begins with stays on the left. */
  readonly splitsBehindTheKey?: boolean
}

/** What a range holds for its clients: a counter for each row, and the commands that took effect. */
export class RangeCounters {
  readonly counters = new Map<number, number>()
  readonly applied = new Map<string, number>()

  /** Adds one, once. */
  add({ id, rowId }: NamedCommand): number {
    const known = this.applied.get(id)
    if (known !== undefined) return known
    const value = (this.counters.get(rowId) ?? 0) + 1
    this.counters.set(rowId, value)
    this.applied.set(id, value)
    return value
  }

  copy(): RangeCounters {
    const copy = new RangeCounters()
    for (const [rowId, value] of this.counters) copy.counters.set(rowId, value)
    for (const [id, value] of this.applied) copy.applied.set(id, value)
    return copy
  }
}

export function holds({ start, end }: RangeBounds, key: Uint8Array): boolean {
  return compareBytes(start, key) <= 0 && (end === undefined || compareBytes(key, end) < 0)
}

/** The first row of a range that has about as many rows before as behind it. */
export function middleOf(tableId: number, bounds: RangeBounds, rows: number): Uint8Array | undefined {
  const inside = rowsIn(tableId, bounds, rows)
  const middle = inside[Math.floor(inside.length / 2)]
  return middle === undefined || inside.length < 2 ? undefined : rowKey(tableId, middle)
}

/** Rows that lie in a range. Keys ascend with the rows. */
export function rowsIn(tableId: number, { start, end }: RangeBounds, rows: number): number[] {
  const before = (key: Uint8Array): number => {
    let [low, high] = [0, rows]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareBytes(rowKey(tableId, middle), key) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
  const first = before(start)
  const behind = end === undefined ? rows : before(end)
  return Array.from({ length: Math.max(0, behind - first) }, (_, i) => first + i)
}

/** What the log of a range takes: a change of bounds that was meant for its generation. @returns the range that is new, if any */
export function splitTruth(
  range: Truth,
  change: Extract<BoundsChange, { type: 'split' }>,
  tableId: number,
  bugs: BoundsBugs,
): Truth | undefined {
  const { key, rightRangeId } = change
  if (!holds(range, key) || equalBytes(range.start, key)) return undefined
  const { end } = range
  range.generation++
  range.end = key
  range.splitOff = rightRangeId
  const first = (rowId: number): boolean => equalBytes(rowKey(tableId, rowId), key)
  const goes = (rowId: number): boolean =>
    holds({ start: key, end }, rowKey(tableId, rowId)) && !(bugs.splitsBehindTheKey === true && first(rowId))
  const right: Truth = {
    rangeId: rightRangeId,
    start: key,
    end,
    splitOff: undefined,
    frozen: undefined,
    generation: range.generation,
    replicas: range.replicas.map((replica, i) => ({ ...replica, replicaId: i + 1 })),
    leader: 0,
    sequence: 0,
    caughtUpAtMs: new Map(),
    epoch: range.epoch,
    lastReplicaId: range.replicas.length,
    rows: range.rows.splitOff(goes),
    counters: new RangeCounters(),
  }
  for (const [rowId, value] of range.counters.counters) {
    if (!goes(rowId)) continue
    right.counters.counters.set(rowId, value)
    range.counters.counters.delete(rowId)
  }
  if (bugs.forgetsCommandsAtSplit !== true)
    for (const [id, value] of range.counters.applied) right.counters.applied.set(id, value)
  return right
}

/** What a range takes in of its neighbour: as it was when it was brought over, whatever has happened there since. */
export interface Brought {
  readonly rangeId: number
  readonly generation: number
  readonly end: Uint8Array | undefined
  readonly counters: RangeCounters
}

export function mergeTruth(range: Truth, right: Truth, brought: Brought, bugs: BoundsBugs): void {
  range.generation = Math.max(range.generation, brought.generation) + 1
  range.end = brought.end
  range.rows.takeIn(right.rows)
  for (const [rowId, value] of brought.counters.counters) range.counters.counters.set(rowId, value)
  if (bugs.forgetsCommandsAtMerge !== true)
    for (const [id, value] of brought.counters.applied) range.counters.applied.set(id, value)
}

export function moved(what: string): KeelsonError {
  return new KeelsonError('STALE_GENERATION', what, { retryable: true })
}
