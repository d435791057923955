import type { CallOptions } from '../core/async.ts'
import { compareBytes, equalBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import type { ObservedReplica, RangeBounds } from '../interfaces/range-host.ts'
import type { RangeDirectory } from '../metadata/directory.ts'
import type { ControllerEpoch } from '../metadata/epoch.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { RangeId } from '../model/ids.ts'
import { laterThan, retile } from './core/retiling.ts'
import { newestConfiguration, type ObserveRange, reportOfHolder } from './range-reports.ts'

/** Parts of the key space that are looked at before others may go on; the order of the reports decides which. */
const projectedTogether = 64

/** What {@link projectRange} needs. */
export interface ProjectionPorts {
  /** Where it is written. */
  readonly directory: RangeDirectory
  /** The epoch of this leader: every write compares it. */
  readonly epoch: ControllerEpoch
  /** What the nodes report of a range. */
  readonly observed: ObserveRange
}

/**
 * Brings the directory up to what a range's own log has committed, as its nodes report it: replicas, and a split or a merge,
 * which concern two ranges and are written down for both in one transaction. It does not matter who asked for what: a
 * leader that died in the middle is not missed.
 *
 * @param known the range as the directory has it
 * @returns the range as the directory has it afterwards; as before when the reports are not enough yet
 */
export async function projectRange(
  ports: ProjectionPorts,
  known: RangeDescriptor,
  call: CallOptions,
): Promise<RangeDescriptor> {
  const { directory, epoch, observed } = ports
  const newest = newestConfiguration(observed(known.rangeId))
  if (newest === undefined || newest.generation <= known.generation) return known
  const bounds = newest.bounds ?? known
  const now = { ...known, ...limits(bounds), generation: newest.generation, replicas: newest.replicas }
  try {
    if (sameBounds(bounds, known)) await directory.project(epoch, now, call)
    else if (isBefore(bounds.end, known.end)) {
      const right = rightHand(newest, known, observed)
      if (right === undefined) return known
      await directory.split(epoch, now, right, call)
    } else {
      const right = await neighbourOf(directory, known, call)
      if (right === undefined || !mayHaveEnded(right, observed)) return known
      await directory.merge(epoch, now, right, call)
    }
    return now
  } catch (error) {
    // The directory has moved on, or two reports do not go together: the next ones will.
    if (KeelsonError.hasCode(error, 'INVALID_ARGUMENT', 'NOT_FOUND', 'CONFLICT')) return known
    throw error
  }
}

/**
 * Brings the directory up to splits and merges that it has lost sight of: it was recovered from a loss, or comes from a backup, and
 * whoever made them is not there any more to write them down one by one. All that is known is where the ranges lie now.
 *
 * @param directory all ranges, by their start keys
 * @param reported ranges that may have committed what the directory does not have, or that it does not have at all
 * @returns the ranges that were written down
 */
export async function projectTiling(
  { directory, epoch, observed }: ProjectionPorts,
  known: readonly RangeDescriptor[],
  reported: Iterable<RangeId>,
  call: CallOptions,
): Promise<readonly RangeId[]> {
  const byId = new Map(known.map((range) => [range.rangeId, range]))
  const newer: RangeDescriptor[] = []
  for (const rangeId of reported) {
    const newest = newestConfiguration(observed(rangeId))
    const before = byId.get(rangeId)
    const bounds = newest?.bounds ?? before
    if (newest === undefined || bounds === undefined) continue
    const isLed = reportOfHolder(observed(rangeId))?.generation === newest.generation
    if (isLed && (before === undefined || before.generation < newest.generation))
      newer.push({ rangeId, ...limits(bounds), generation: newest.generation, replicas: newest.replicas })
  }
  const written = new Set<RangeId>()
  const later = laterThan(known, newer)
  for (const range of later.slice(0, projectedTogether)) {
    const before = byId.get(range.rangeId)
    if (written.has(range.rangeId) || (before !== undefined && sameBounds(before, range))) continue
    const retiling = retile(known, later, range)
    if (retiling === undefined) continue
    if (!retiling.ended.every((rangeId) => mayHaveEnded(rangeId, observed))) continue
    try {
      await directory.retile(epoch, retiling.ended, retiling.next, call)
      for (const { rangeId } of retiling.next) written.add(rangeId)
    } catch (error) {
      // The directory has moved on, or two reports do not go together: the next ones will.
      if (!KeelsonError.hasCode(error, 'INVALID_ARGUMENT', 'NOT_FOUND', 'CONFLICT', 'LIMIT_EXCEEDED'))
        throw error
    }
  }
  return [...written]
}

/** What was split off, as its own nodes report it; undefined as long as none does. */
function rightHand(
  left: ObservedReplica,
  known: RangeDescriptor,
  observed: ObserveRange,
): RangeDescriptor | undefined {
  if (left.splitOff === undefined || left.bounds === undefined) return undefined
  const newest = newestConfiguration(observed(left.splitOff))
  const bounds = newest?.bounds
  if (newest === undefined || bounds === undefined) return undefined
  const { generation, replicas } = newest
  const right = { rangeId: left.splitOff, ...limits(bounds), generation, replicas }
  const fits = sameBounds(right, { start: left.bounds.end ?? right.start, end: known.end })
  return fits ? right : undefined
}

/**
 * A range that has ended was frozen before, and what is left of it says so or nothing. One that serves has not, whoever claims
 * its keys: a parent that was recovered from before the split, or a range that nobody should have.
 */
function mayHaveEnded(rangeId: RangeId, observed: ObserveRange): boolean {
  const newest = newestConfiguration(observed(rangeId))
  return newest === undefined || newest.frozen !== undefined
}

/** The range that the directory has right behind another one. */
async function neighbourOf(
  directory: RangeDirectory,
  { end }: RangeDescriptor,
  call: CallOptions,
): Promise<RangeId | undefined> {
  if (end === undefined) return undefined
  return (await directory.list(call)).find(({ start }) => equalBytes(start, end))?.rangeId
}

function limits({ start, end }: RangeBounds): RangeBounds {
  return { start, end }
}

function sameBounds(a: RangeBounds, b: RangeBounds): boolean {
  if (!equalBytes(a.start, b.start)) return false
  return a.end === undefined || b.end === undefined ? a.end === b.end : equalBytes(a.end, b.end)
}

function isBefore(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined) return false
  return b === undefined || compareBytes(a, b) < 0
}
