import type { CallOptions } from '../core/async.ts'
import { compareBytes, equalBytes, utf8 } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import type { KeyValue, MetadataStore } from '../interfaces/metadata-store.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { RangeId } from '../model/ids.ts'
import { decodeRangeDescriptor, decodeRangeWish, type RangeWish } from './directory-codec.ts'
import {
  absent,
  contended,
  descriptorKey,
  descriptorPrefix,
  endOfRange,
  lastIdKey,
  lastIdOf,
  maximumTries,
  noWish,
  putDescriptor,
  rangeIdOf,
  sameBounds,
  unchanged,
  wantedOperations,
  wishKey,
} from './directory-records.ts'
import type { ControllerEpoch } from './epoch.ts'
import { listKeys } from './follow.ts'
import { numberAfter } from './lost-numbers.ts'
import { prefixSelector } from './mvcc/key-range.ts'

/** Records of a range as they were read together. */
export interface Found {
  readonly entry: KeyValue | undefined
  readonly range: RangeDescriptor | undefined
  readonly wishEntry: KeyValue | undefined
  readonly wish: RangeWish
}

/** Ranges with their wishes, all at one revision. */
export async function find(
  store: MetadataStore,
  rangeIds: readonly RangeId[],
  call: CallOptions,
): Promise<readonly Found[]> {
  const { results } = await store.txn(
    {
      then: rangeIds.flatMap((rangeId) => [
        { type: 'range' as const, select: { key: descriptorKey(rangeId) } },
        { type: 'range' as const, select: { key: wishKey(rangeId) } },
      ]),
    },
    call,
  )
  const entries = results.map((each) => (each.type === 'range' ? each.entries[0] : undefined))
  return rangeIds.map((_, i) => {
    const entry = entries[2 * i]
    const wishEntry = entries[2 * i + 1]
    return {
      entry,
      range: entry === undefined ? undefined : decodeRangeDescriptor(entry.value),
      wishEntry,
      wish: wishEntry === undefined ? noWish : decodeRangeWish(wishEntry.value),
    }
  })
}

/** {@link RangeDirectory.reserveIds}. */
export async function reserveRangeIds(
  store: MetadataStore,
  epoch: ControllerEpoch,
  count: number,
  call: CallOptions,
): Promise<RangeId> {
  for (let tries = 0; tries < maximumTries; tries++) {
    const { entries: counted, revision } = await store.range({ key: lastIdKey }, call)
    const [last] = counted
    let highest = lastIdOf(last)
    if (last === undefined) {
      // A directory of a release that did not count them.
      const { entries } = await listKeys(store, prefixSelector(descriptorPrefix), call)
      for (const { key } of entries) highest = Math.max(highest, rangeIdOf(key))
    }
    const first = numberAfter(highest, revision)
    if (!Number.isSafeInteger(first + count))
      throw new KeelsonError('LIMIT_EXCEEDED', `there are no ${count} range ids left above ${first - 1}`)
    const { succeeded } = await epoch.txn(
      {
        if: [unchanged(lastIdKey, last)],
        then: [{ type: 'put', key: lastIdKey, value: utf8(String(first + count - 1)) }],
      },
      call,
    )
    if (succeeded) return first
  }
  throw contended('the count of range ids')
}

/** {@link RangeDirectory.split}. */
export async function splitRange(
  store: MetadataStore,
  epoch: ControllerEpoch,
  left: RangeDescriptor,
  right: RangeDescriptor,
  call: CallOptions,
): Promise<boolean> {
  for (let tries = 0; tries < maximumTries; tries++) {
    const [known, taken] = (await find(store, [left.rangeId, right.rangeId], call)) as [Found, Found]
    const { range } = known
    if (range === undefined) throw missing(left.rangeId)
    if (taken.range !== undefined || taken.wishEntry !== undefined) {
      const { rangeId } = right
      // Known from an earlier report: both may have moved on since.
      if (range.generation >= left.generation && isBehind(range, taken.range, left, right)) return false
      throw new KeelsonError(
        'CONFLICT',
        `range ${rangeId} is or was in the directory already; a split takes an id from reserveIds`,
        { retryable: false, details: { rangeId } },
      )
    }
    checkSplit(range, left, right)
    const { succeeded } = await epoch.txn(
      {
        if: [
          unchanged(descriptorKey(left.rangeId), known.entry),
          unchanged(wishKey(left.rangeId), known.wishEntry),
          absent(descriptorKey(right.rangeId)),
          absent(wishKey(right.rangeId)),
        ],
        then: [
          putDescriptor(left),
          ...wantedOperations(left, { ...known.wish, bootstrap: undefined, change: undefined }),
          putDescriptor(right),
          ...wantedOperations(right, noWish),
        ],
      },
      call,
    )
    if (succeeded) return true
  }
  throw contended(`range ${left.rangeId}`)
}

/** Whether the directory has the outcome of this very split, or has had it. */
function isBehind(
  known: RangeDescriptor,
  taken: RangeDescriptor | undefined,
  left: RangeDescriptor,
  right: RangeDescriptor,
): boolean {
  if (!equalBytes(known.start, left.start)) return false
  // Merged back since.
  if (taken === undefined) return true
  return equalBytes(taken.start, right.start) && taken.generation >= right.generation
}

function checkSplit(known: RangeDescriptor, left: RangeDescriptor, right: RangeDescriptor): void {
  const whole: RangeDescriptor = { ...known, start: left.start, end: right.end }
  const adjacent = left.end !== undefined && equalBytes(left.end, right.start)
  if (!adjacent || !sameBounds(known, whole)) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `ranges ${left.rangeId} and ${right.rangeId} are not the two parts of range ${known.rangeId}: a split leaves no gap and no overlap`,
    )
  }
  checkGrows(known, left)
  checkGrows(known, right)
}

/** Whoever routes by generations must find both parts newer than the whole. */
export function checkGrows(known: RangeDescriptor, next: RangeDescriptor): void {
  if (next.generation > known.generation) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `range ${next.rangeId} comes with generation ${next.generation}, but range ${known.rangeId} has ${known.generation} already: what follows it has a higher one`,
    { details: { rangeId: known.rangeId, generation: known.generation } },
  )
}

/** {@link RangeDirectory.merge}. */
export async function mergeRanges(
  store: MetadataStore,
  epoch: ControllerEpoch,
  merged: RangeDescriptor,
  rightRangeId: RangeId,
  call: CallOptions,
): Promise<boolean> {
  for (let tries = 0; tries < maximumTries; tries++) {
    const [left, right] = (await find(store, [merged.rangeId, rightRangeId], call)) as [Found, Found]
    if (left.range === undefined) throw missing(merged.rangeId)
    if (right.range === undefined) {
      if (right.wishEntry !== undefined && left.range.generation >= merged.generation) return false
      throw missing(rightRangeId)
    }
    checkMerge(left.range, right.range, merged)
    const nodes = [...right.wish.nodes, ...right.range.replicas.map(({ nodeId }) => nodeId)]
    const { succeeded } = await epoch.txn(
      {
        if: [merged.rangeId, rightRangeId].flatMap((rangeId, i) => {
          const { entry, wishEntry } = i === 0 ? left : right
          return [unchanged(descriptorKey(rangeId), entry), unchanged(wishKey(rangeId), wishEntry)]
        }),
        then: [
          putDescriptor(merged),
          ...wantedOperations(merged, { ...left.wish, bootstrap: undefined, change: undefined }),
          { type: 'delete', select: { key: descriptorKey(rightRangeId) } },
          ...wantedOperations(endOfRange(rightRangeId), { ...noWish, nodes: [...new Set(nodes)] }),
        ],
      },
      call,
    )
    if (succeeded) return true
  }
  throw contended(`ranges ${merged.rangeId} and ${rightRangeId}`)
}

function checkMerge(left: RangeDescriptor, right: RangeDescriptor, merged: RangeDescriptor): void {
  const adjacent = left.end !== undefined && equalBytes(left.end, right.start)
  const whole: RangeDescriptor = { ...left, end: right.end }
  if (!adjacent || !sameBounds(merged, whole)) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      compareBytes(left.start, right.start) < 0
        ? `range ${merged.rangeId} does not cover ranges ${left.rangeId} and ${right.rangeId} exactly: a merge leaves no gap and no overlap`
        : `range ${right.rangeId} is no right-hand neighbour of range ${left.rangeId}`,
    )
  }
  checkGrows(left, merged)
  checkGrows(right, merged)
}

export function missing(rangeId: RangeId): KeelsonError {
  return new KeelsonError('NOT_FOUND', `the directory has no range ${rangeId}; create it first`, {
    details: { rangeId },
  })
}
