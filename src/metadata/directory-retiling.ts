import type { CallOptions } from '../core/async.ts'
import { equalBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import type { MetadataStore, Operation } from '../interfaces/metadata-store.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { RangeId } from '../model/ids.ts'
import { rangesOverlap } from '../model/range-map.ts'
import { replicaRoles } from '../model/replica-roles.ts'
import { checkGrows, type Found, find, missing } from './directory-bounds.ts'
import { checkTiling } from './directory-checks.ts'
import {
  contended,
  descriptorKey,
  endOfRange,
  lastIdKey,
  maximumTries,
  noWish,
  putDescriptor,
  raiseLastId,
  unchanged,
  wantedOperations,
  wishKey,
} from './directory-records.ts'
import type { ControllerEpoch } from './epoch.ts'
import { commandLimits } from './mvcc/limits.ts'

/** {@link RangeDirectory.retile}. */
export async function retileRanges(
  store: MetadataStore,
  epoch: ControllerEpoch,
  ended: readonly RangeId[],
  descriptors: readonly RangeDescriptor[],
  call: CallOptions,
): Promise<void> {
  const next = checkTiling(descriptors, replicaRoles)
  const rangeIds = [...next.map(({ rangeId }) => rangeId), ...ended]
  if (new Set(rangeIds).size < rangeIds.length)
    throw new KeelsonError('INVALID_ARGUMENT', 'a range cannot both end and lie somewhere')
  for (let tries = 0; tries < maximumTries; tries++) {
    const found = await find(store, rangeIds, call)
    const last = await store.get(lastIdKey, call)
    checkSpan(found, next, ended)
    const operations = next.flatMap((range, i): Operation[] => {
      const { wish } = found[i] as Found
      const over = { ...wish, bootstrap: undefined, change: undefined }
      return [putDescriptor(range), ...wantedOperations(range, over)]
    })
    for (const [i, rangeId] of ended.entries()) {
      const { range, wish } = found[next.length + i] as Found & { readonly range: RangeDescriptor }
      const nodes = new Set([...wish.nodes, ...range.replicas.map(({ nodeId }) => nodeId)])
      operations.push(
        { type: 'delete', select: { key: descriptorKey(rangeId) } },
        ...wantedOperations(endOfRange(rangeId), { ...noWish, nodes: [...nodes] }),
      )
    }
    const highest = Math.max(...rangeIds)
    const compares = rangeIds.flatMap((rangeId, i) => {
      const { entry, wishEntry } = found[i] as Found
      return [unchanged(descriptorKey(rangeId), entry), unchanged(wishKey(rangeId), wishEntry)]
    })
    if (operations.length + compares.length + 4 > commandLimits.operations) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `${rangeIds.length} ranges that lie elsewhere take ${operations.length} writes in one transaction, which has ${commandLimits.operations}`,
      )
    }
    const { succeeded } = await epoch.txn(
      {
        if: [unchanged(lastIdKey, last), ...compares],
        then: [...operations, ...raiseLastId(last, highest)],
      },
      call,
    )
    if (succeeded) return
  }
  throw contended('the directory')
}

/** What the directory has of these ranges covers the same span, and is older wherever the two differ. */
function checkSpan(
  found: readonly Found[],
  next: readonly RangeDescriptor[],
  ended: readonly RangeId[],
): void {
  const known: RangeDescriptor[] = []
  for (const [i, { range, wishEntry }] of found.entries()) {
    if (range !== undefined) known.push(range)
    else if (i >= next.length) throw missing(ended[i - next.length] as RangeId)
    else if (wishEntry !== undefined) {
      const { rangeId } = next[i] as RangeDescriptor
      throw new KeelsonError('CONFLICT', `range ${rangeId} was in the directory already, and has ended`, {
        retryable: false,
        details: { rangeId },
      })
    }
  }
  const before = known.length === 0 ? [] : checkTiling(known, replicaRoles)
  const [first, last] = [before[0], before.at(-1)]
  const [start, end] = [next[0]?.start as Uint8Array, next.at(-1)?.end]
  const same =
    first !== undefined &&
    equalBytes(first.start, start) &&
    (last?.end === undefined || end === undefined ? last?.end === end : equalBytes(last.end, end))
  if (!same) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `ranges ${next.map(({ rangeId }) => rangeId).join(', ')} do not cover what the directory has of them exactly: that would leave a gap or an overlap`,
    )
  }
  for (const range of next) for (const old of before) if (rangesOverlap(old, range)) checkGrows(old, range)
}
