import type { CallOptions } from '../core/async.ts'
import { compareBytes, equalBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import type { ObservedReplica, RangeBounds } from '../interfaces/range-host.ts'
import type { RangeDirectory } from '../metadata/directory.ts'
import type { ControllerEpoch } from '../metadata/epoch.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { RangeId } from '../model/ids.ts'
import { newestConfiguration, type ObserveRange } from './range-reports.ts'

/** What {@link projectRange} needs. */
export interface ProjectionPorts {
  /** Where it is written. */
  readonly directory: RangeDirectory
  /** The epoch of this leader: every write compares it. */
  readonly epoch: ControllerEpoch
  /** What the nodes report of a range. */
  readonly observed: ObserveRange
  /** The range that the directory has right behind another one, where somebody knows. Default: all of it is read. */
  readonly behind?: (range: RangeDescriptor) => Promise<RangeId | undefined>
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
      const right = await (ports.behind?.(known) ?? neighbourOf(directory, known, call))
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
export function mayHaveEnded(rangeId: RangeId, observed: ObserveRange): boolean {
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

export function sameBounds(a: RangeBounds, b: RangeBounds): boolean {
  if (!equalBytes(a.start, b.start)) return false
  return a.end === undefined || b.end === undefined ? a.end === b.end : equalBytes(a.end, b.end)
}

function isBefore(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined) return false
  return b === undefined || compareBytes(a, b) < 0
}
