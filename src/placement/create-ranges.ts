import { checkArray, checkMembers, checkObject } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import { equalBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall } from '../core/options.ts'
import type { RangeDirectory } from '../metadata/directory.ts'
import type { ControllerEpoch } from '../metadata/epoch.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { NodeId, RangeId, TableId } from '../model/ids.ts'
import { tableOf } from '../model/table-span.ts'
import { allocate } from './core/allocate.ts'
import type { RuleBook } from './core/policy/rule-book.ts'
import { type PlacementPolicy, placementPolicy, withRules } from './core/policy.ts'
import type { PlacementNode, PlacementRange } from './core/snapshot.ts'

/** Bounds of a new range. */
export interface NewRange {
  /** Number of the range, never used before. */
  readonly rangeId: RangeId
  /** First key of the range. Empty: from the beginning. */
  readonly start: Uint8Array
  /** First key after the range. Undefined: to the end. */
  readonly end: Uint8Array | undefined
}

/** What {@link createRanges} needs. */
export interface CreateRangesOptions extends CallOptions {
  /** Where the ranges are written. */
  readonly directory: RangeDirectory
  /** The epoch of this leader, which the writes compare. */
  readonly epoch: ControllerEpoch
  /** All nodes as they are now. */
  readonly nodes: readonly PlacementNode[]
  /** Side by side, covering one span of the key space. */
  readonly ranges: readonly NewRange[]
  /** What placement knows of a range that there is: its loads, above all. Default: where it is, and no more. */
  readonly known?: (range: RangeDescriptor) => PlacementRange
  /** Where it differs from `defaultPlacementPolicy`. */
  readonly policy?: Partial<PlacementPolicy>
  /** The rules in force, in the place of those of the policy. Default: those. */
  readonly rules?: RuleBook
  /** Decides among nodes that are equally good. Default: 0. */
  readonly seed?: number
}

/** Writes of one call to the directory, a little below what a transaction takes. */
const writesPerCall = 100

/**
 * Places new ranges and enters them into the directory, so that their nodes make them. Of each range the node that is to
 * lead bootstraps it. The rules of the table in whose span a range lies hold for it from the beginning. Ranges that are there already with the same bounds are left alone, so it can be repeated after an
 * unknown outcome.
 *
 * @returns the descriptors of all the ranges
 * @throws KeelsonError `UNSUPPORTED` with too few nodes, `CONFLICT`, `INVALID_ARGUMENT`, `STALE_EPOCH`
 */
export async function createRanges(options: CreateRangesOptions): Promise<readonly RangeDescriptor[]> {
  checkCall('createRanges', options, [
    'directory',
    'epoch',
    'nodes',
    'ranges',
    'known',
    'policy',
    'rules',
    'seed',
  ])
  const { directory, epoch, nodes, ranges, policy, rules, seed } = options
  const { known = (descriptor: RangeDescriptor): PlacementRange => ({ descriptor }) } = options
  checkObject(directory, 'the directory of ranges', ['list', 'create'])
  checkObject(epoch, 'the epoch of a controller', ['txn'])
  for (const range of checkArray(ranges, 'the ranges to create'))
    checkMembers(range, 'a new range', ['rangeId', 'start', 'end'])
  const call: CallOptions = options.signal === undefined ? {} : { signal: options.signal }
  const existing = new Map((await directory.list(call)).map((range) => [range.rangeId, range]))
  for (const range of ranges) checkSame(range, existing.get(range.rangeId))
  const missing = ranges.filter(({ rangeId }) => !existing.has(rangeId))
  const placed = allocate({
    nodes,
    ranges: [...existing.values()].map(known),
    rangeIds: missing.map(({ rangeId }) => rangeId),
    tables: tablesOf(missing),
    ...(policy === undefined ? {} : { policy }),
    ...(rules === undefined ? {} : { policy: withRules(placementPolicy(policy), rules) }),
    ...(seed === undefined ? {} : { seed }),
  })
  const created = missing.map((range, i): RangeDescriptor => {
    const replicas = (placed[i]?.nodes ?? []).map(({ nodeId, incarnation }, at) => ({
      replicaId: at + 1,
      nodeId,
      incarnation,
      role: 'voter' as const,
    }))
    return { ...range, generation: 1, replicas }
  })
  const placedAt = new Map(missing.map(({ rangeId }, i) => [rangeId, placed[i]?.nodes ?? []]))
  const stores = ({ rangeId }: RangeDescriptor): readonly (readonly [NodeId, string])[] =>
    (placedAt.get(rangeId) ?? []).flatMap(({ nodeId, storeId }) =>
      storeId === undefined ? [] : [[nodeId, storeId] as const],
    )
  for (const batch of batches(created)) {
    await directory.create(epoch, batch, { ...call, bootstrap: firstNode, stores })
  }
  const all = new Map([...existing, ...created.map((range) => [range.rangeId, range] as const)])
  return ranges.map(({ rangeId }) => all.get(rangeId) as RangeDescriptor)
}

function tablesOf(ranges: readonly NewRange[]): ReadonlyMap<RangeId, TableId> {
  const tables = new Map<RangeId, TableId>()
  for (const range of ranges) {
    const tableId = tableOf(range)
    if (tableId !== undefined) tables.set(range.rangeId, tableId)
  }
  return tables
}

function firstNode(range: RangeDescriptor): string {
  const first = range.replicas[0]
  if (first === undefined)
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `range ${range.rangeId} has no replica; name the nodes that hold it`,
    )
  return first.nodeId
}

/** Ranges that lie side by side, few enough for one call. */
function* batches(ranges: readonly RangeDescriptor[]): IterableIterator<readonly RangeDescriptor[]> {
  let batch: RangeDescriptor[] = []
  let writes = 0
  for (const range of ranges) {
    const before = batch[batch.length - 1]
    // One write for the descriptor, one for the wish, and one for each node that is told.
    const more = 2 + range.replicas.length
    const adjacent = before === undefined || (before.end !== undefined && equalBytes(before.end, range.start))
    if (!adjacent || writes + more > writesPerCall) {
      yield batch
      batch = []
      writes = 0
    }
    batch.push(range)
    writes += more
  }
  if (batch.length > 0) yield batch
}

function checkSame(range: NewRange, known: RangeDescriptor | undefined): void {
  if (known === undefined) return
  const sameEnd =
    range.end === undefined || known.end === undefined
      ? range.end === known.end
      : equalBytes(range.end, known.end)
  if (sameEnd && equalBytes(range.start, known.start)) return
  throw new KeelsonError('CONFLICT', `range ${range.rangeId} exists with other bounds; choose another id`, {
    retryable: false,
    details: { rangeId: range.rangeId },
  })
}
