import { checkArray, checkFunction, checkInteger, checkObject } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import { equalBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall } from '../core/options.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import type { RangeChange, WantedRange } from '../interfaces/range-host.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import { checkId, checkName, type NodeId, type RangeId } from '../model/ids.ts'
import { replicaRoles } from '../model/replica-roles.ts'
import { mergeRanges, reserveRangeIds, splitRange } from './directory-bounds.ts'
import { checkChange, checkDescriptor, checkEpoch, checkFree, checkTiling } from './directory-checks.ts'
import {
  decodeRangeDescriptor,
  decodeRangeWish,
  decodeWantedRange,
  encodeRangeWish,
  type RangeWish,
} from './directory-codec.ts'
import {
  absent,
  contended,
  descriptorKey,
  descriptorPrefix,
  endOfRange,
  lastIdKey,
  layoutKey,
  maximumTries,
  membersOf,
  noWish,
  putDescriptor,
  raiseLastId,
  rangeIdOf,
  sameBounds,
  sortRanges,
  unchanged,
  wantedKey,
  wantedOf,
  wantedOperations,
  wishKey,
} from './directory-records.ts'
import { retileRanges } from './directory-retiling.ts'
import type { ControllerEpoch } from './epoch.ts'
import { followKeys, listKeys } from './follow.ts'
import { prefixSelector } from './mvcc/key-range.ts'
import { commandLimits } from './mvcc/limits.ts'

/** What {@link RangeDirectory.watch} yields: all ranges, then those that changed. */
export type DirectoryEvent =
  | {
      /**
       * Everything at one revision: what it begins with, and begins anew with when history was compacted away
       * under it.
       */
      readonly type: 'snapshot'
      /** The revision at which all of it was read. */
      readonly revision: number
      /** All ranges, in the order of their keys. */
      readonly ranges: readonly RangeDescriptor[]
    }
  | {
      /** What one revision changed. */
      readonly type: 'changes'
      /** The revision that made the changes. */
      readonly revision: number
      /** Ranges that are new or changed, as they are now. */
      readonly updated: readonly RangeDescriptor[]
      /** Ranges that are gone. */
      readonly removed: readonly RangeId[]
    }

/**
 * The ranges and where they are: a projection of what each range's own log has committed, and the place where the
 * control plane says what it wants. All writes are fenced by a controller's epoch.
 *
 * Invariants: the ranges of one `create` tile its span, no two ranges overlap, and the generation of a range only
 * grows.
 */
export class RangeDirectory {
  readonly #store: MetadataStore

  /** Reads and writes the ranges in `store`; holds nothing itself. */
  constructor(store: MetadataStore) {
    this.#store = checkObject(store, 'the store of a directory', ['get', 'range', 'txn', 'watch'])
  }

  /**
   * Adds ranges that lie side by side and together cover one span of the key space, all in one transaction. With
   * `bootstrap` the node that it names for each range is told to make it, and the others to wait for it; `stores` says which store
   * of each of them is meant, where they have several.
   *
   * @throws KeelsonError `INVALID_ARGUMENT` for gaps, overlaps and twice used ids; `CONFLICT` when the span or an id is
   *   taken; `LIMIT_EXCEEDED` for too many at once: create in several calls; `STALE_EPOCH`
   */
  async create(
    epoch: ControllerEpoch,
    descriptors: readonly RangeDescriptor[],
    options: CallOptions & {
      readonly bootstrap?: (range: RangeDescriptor) => NodeId
      readonly stores?: (range: RangeDescriptor) => readonly (readonly [NodeId, string])[]
    } = {},
  ): Promise<void> {
    checkEpoch(epoch)
    checkCall('create', options, ['bootstrap', 'stores'])
    const { bootstrap, stores, ...call } = options
    if (bootstrap !== undefined) checkFunction(bootstrap, 'bootstrap')
    if (stores !== undefined) checkFunction(stores, 'stores')
    const ranges = checkTiling(descriptors)
    const operations = ranges.flatMap((range) => {
      const meant = stores?.(range)
      const wish = {
        ...noWish,
        bootstrap: bootstrap?.(range),
        ...(meant === undefined ? {} : { stores: meant }),
      }
      const told = bootstrap === undefined ? [] : wantedOperations(range, wish)
      return [putDescriptor(range), ...told]
    })
    const room = commandLimits.operations - 2
    if (operations.length > room) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `${ranges.length} ranges take ${operations.length} writes; one call has ${room}: create in several calls`,
      )
    }
    const highest = Math.max(...ranges.map(({ rangeId }) => rangeId))
    for (let tries = 0; tries < maximumTries; tries++) {
      const layout = await this.#store.get(layoutKey, call)
      const last = await this.#store.get(lastIdKey, call)
      checkFree(await this.list(call), ranges)
      const { succeeded } = await epoch.txn(
        {
          if: [
            unchanged(layoutKey, layout),
            unchanged(lastIdKey, last),
            ...ranges.map((range) => absent(descriptorKey(range.rangeId))),
          ],
          then: [
            { type: 'put', key: layoutKey, value: new Uint8Array(0) },
            ...raiseLastId(last, highest),
            ...operations,
          ],
        },
        call,
      )
      if (succeeded) return
    }
    throw contended('the directory')
  }

  /** The range of that id, read from the store. */
  async get(rangeId: RangeId, options: CallOptions = {}): Promise<RangeDescriptor | undefined> {
    checkCall('get', options)
    const entry = await this.#store.get(descriptorKey(checkId(rangeId, 'a range id')), options)
    return entry === undefined ? undefined : decodeRangeDescriptor(entry.value)
  }

  /** All ranges, in the order of their start keys. */
  async list(options: CallOptions = {}): Promise<readonly RangeDescriptor[]> {
    checkCall('list', options)
    const { entries } = await listKeys(this.#store, prefixSelector(descriptorPrefix), options)
    return sortRanges(entries.map((entry) => decodeRangeDescriptor(entry.value)))
  }

  /** All ranges, then every change, without a gap, until the consumer leaves or the signal is aborted. */
  async *watch(
    options: CallOptions & { readonly consistency?: 'linearizable' | 'local' } = {},
  ): AsyncIterable<DirectoryEvent> {
    for await (const step of followKeys(this.#store, prefixSelector(descriptorPrefix), options)) {
      const { revision } = step
      if (step.type === 'snapshot') {
        const ranges = sortRanges(step.entries.map((entry) => decodeRangeDescriptor(entry.value)))
        yield { type: 'snapshot', revision, ranges }
        continue
      }
      yield {
        type: 'changes',
        revision,
        updated: step.events
          .filter((event) => event.type === 'put')
          .map((event) => decodeRangeDescriptor(event.entry.value)),
        removed: step.events
          .filter((event) => event.type === 'delete')
          .map((event) => rangeIdOf(event.entry.key)),
      }
    }
  }

  /**
   * Writes down what a range's log has committed, and tells the nodes that it concerns, in one transaction. A change
   * that was wanted of an earlier generation is over with it, and so is the wish to make the range.
   *
   * @returns false when the directory knows this generation or a later one: nothing was written
   * @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT` for other bounds than the range has, `STALE_EPOCH`
   */
  async project(
    epoch: ControllerEpoch,
    descriptor: RangeDescriptor,
    options: CallOptions = {},
  ): Promise<boolean> {
    checkEpoch(epoch)
    checkCall('project', options)
    checkDescriptor(descriptor, replicaRoles)
    return this.#change(epoch, descriptor.rangeId, options, (known, wish) => {
      if (descriptor.generation <= known.generation) return undefined
      if (!sameBounds(known, descriptor)) {
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          `range ${known.rangeId} has other bounds in the directory, and a projection alone would break the tiling: split or merge ranges instead`,
        )
      }
      const over = wish.change !== undefined && wish.change.generation < descriptor.generation
      return {
        descriptor,
        wish: { ...wish, bootstrap: undefined, change: over ? undefined : wish.change },
      }
    })
  }

  /**
   * Reserves range ids for ranges to come, such as the right-hand ranges of splits. An id is never given out twice, nor
   * one that a range has or had; those that are not used are lost.
   *
   * @returns the first of `count` ids in a row
   * @throws KeelsonError `INVALID_ARGUMENT`, `STALE_EPOCH`
   */
  async reserveIds(epoch: ControllerEpoch, count = 1, options: CallOptions = {}): Promise<RangeId> {
    checkEpoch(epoch)
    checkInteger(count, 'the number of range ids', 1)
    checkCall('reserveIds', options)
    return reserveRangeIds(this.#store, epoch, count, options)
  }

  /**
   * Writes down a split that a range's log has committed: the left-hand range, which keeps its id and its start, and the
   * right-hand one, which is new, in one transaction with what their nodes are told. Both as they are by now: their
   * replicas may have changed since. Whatever was wanted of the range before is over with it.
   *
   * @returns false when the directory knows of this split: nothing was written
   * @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT` when the two do not tile the range as the directory knows it, or
   * with generations that are not above its own, `CONFLICT` when the id of the right-hand range is or was another
   * range's, `STALE_EPOCH`
   */
  async split(
    epoch: ControllerEpoch,
    left: RangeDescriptor,
    right: RangeDescriptor,
    options: CallOptions = {},
  ): Promise<boolean> {
    checkEpoch(epoch)
    checkCall('split', options)
    checkDescriptor(left, replicaRoles)
    checkDescriptor(right, replicaRoles)
    return splitRange(this.#store, epoch, left, right, options)
  }

  /**
   * Writes down a merge that the log of the left-hand range has committed: that range with its new bounds, and the end of
   * its right-hand neighbour, whose nodes are told to drop what is left of it, in one transaction.
   *
   * @returns false when the directory knows of this merge: nothing was written
   * @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT` when the merged range does not cover exactly the two, or with a
   * generation that is not above those of both, `STALE_EPOCH`
   */
  async merge(
    epoch: ControllerEpoch,
    merged: RangeDescriptor,
    rightRangeId: RangeId,
    options: CallOptions = {},
  ): Promise<boolean> {
    checkEpoch(epoch)
    checkCall('merge', options)
    checkDescriptor(merged, replicaRoles)
    checkId(rightRangeId, 'the range that was merged into its neighbour')
    return mergeRanges(this.#store, epoch, merged, rightRangeId, options)
  }

  /**
   * Writes down where ranges lie by now that the directory has lost sight of, over any number of splits and merges: after the
   * control plane was recovered from a loss, or brought back from a backup. Splits and merges that are under way are
   * written down by {@link split} and {@link merge}. Whatever was wanted of these ranges before is over with it.
   *
   * @param ended ranges that are no more; their nodes are told to drop what is left of them
   * @param next all others that are new or have changed; with those of `ended` they covered the same keys before
   * @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT` for gaps and overlaps, or with generations that are not above those of
   * all ranges that lay there, `CONFLICT` when one has ended already, `LIMIT_EXCEEDED` for too many at once, `STALE_EPOCH`
   */
  async retile(
    epoch: ControllerEpoch,
    ended: readonly RangeId[],
    next: readonly RangeDescriptor[],
    options: CallOptions = {},
  ): Promise<void> {
    checkEpoch(epoch)
    checkArray(ended, 'the ranges that have ended')
    for (const rangeId of ended) checkId(rangeId, 'a range that has ended')
    checkCall('retile', options)
    return retileRanges(this.#store, epoch, ended, next, options)
  }

  /**
   * Says what is to be done with a range next, or that nothing is, and tells all nodes that it concerns in one
   * transaction. The change is guarded by the generation that the directory knows and by the epoch. Whoever decided on
   * a descriptor gives its generation as `expectedGeneration`, or the change could be guarded by one that the decision
   * knew nothing of.
   *
   * @returns false when exactly this is wanted already
   * @throws KeelsonError `NOT_FOUND`, `STALE_EPOCH`, `STALE_GENERATION` when the directory knows another generation
   */
  async want(
    epoch: ControllerEpoch,
    rangeId: RangeId,
    change: RangeChange | undefined,
    options: CallOptions & { readonly bootstrap?: NodeId; readonly expectedGeneration?: number } = {},
  ): Promise<boolean> {
    checkEpoch(epoch)
    checkId(rangeId, 'a range id')
    checkCall('want', options, ['bootstrap', 'expectedGeneration'])
    const { bootstrap, expectedGeneration, ...call } = options
    if (change !== undefined) checkChange(change)
    if (bootstrap !== undefined) checkName(bootstrap, 'the node that makes a range')
    if (expectedGeneration !== undefined) checkInteger(expectedGeneration, 'expectedGeneration')
    return this.#change(epoch, rangeId, call, (known, wish) => {
      if (expectedGeneration !== undefined && expectedGeneration !== known.generation) {
        throw new KeelsonError(
          'STALE_GENERATION',
          `range ${rangeId} has generation ${known.generation}, not ${expectedGeneration}: read it again and decide anew`,
          { details: { rangeId, generation: known.generation } },
        )
      }
      const wanted =
        change === undefined ? undefined : { ...change, generation: known.generation, epoch: epoch.number }
      const next: RangeWish = { ...wish, change: wanted, bootstrap }
      if (equalBytes(encodeRangeWish(next), encodeRangeWish(wish)) && wish.nodes.length > 0) return undefined
      return { descriptor: known, wish: next }
    })
  }

  /** Forgets what a node was told about a range that it is no member of, when nothing of it is left there. */
  async forget(
    epoch: ControllerEpoch,
    nodeId: NodeId,
    rangeId: RangeId,
    options: CallOptions = {},
  ): Promise<boolean> {
    checkEpoch(epoch)
    checkName(nodeId, 'a node id')
    checkId(rangeId, 'a range id')
    checkCall('forget', options)
    return this.#change(
      epoch,
      rangeId,
      options,
      (known, wish) => {
        if (!wish.nodes.includes(nodeId) || membersOf(known, wish).includes(nodeId)) return undefined
        const nodes = wish.nodes.filter((each) => each !== nodeId)
        return { descriptor: known, wish: { ...wish, nodes }, forgotten: nodeId }
      },
      true,
    )
  }

  /**
   * Tells a node that it is no member of a range, so that it drops what it has of one: a replica that a split made there
   * long after the range had moved on, or one of a range that was merged away.
   *
   * @returns false when it is a member, or was told already
   * @throws KeelsonError `NOT_FOUND` for a range that never was, `STALE_EPOCH`
   */
  async dismiss(
    epoch: ControllerEpoch,
    nodeId: NodeId,
    rangeId: RangeId,
    options: CallOptions = {},
  ): Promise<boolean> {
    checkEpoch(epoch)
    checkName(nodeId, 'a node id')
    checkId(rangeId, 'a range id')
    checkCall('dismiss', options)
    return this.#change(
      epoch,
      rangeId,
      options,
      (known, wish) => {
        if (wish.nodes.includes(nodeId) || membersOf(known, wish).includes(nodeId)) return undefined
        return { descriptor: known, wish: { ...wish, nodes: [...wish.nodes, nodeId] } }
      },
      true,
    )
  }

  /** Whether a range was in the directory once and has ended; false also for one that it never had, or has lost sight of. */
  async hasEnded(rangeId: RangeId, options: CallOptions = {}): Promise<boolean> {
    checkCall('hasEnded', options)
    const { results } = await this.#store.txn(
      {
        then: [
          { type: 'range', select: { key: descriptorKey(checkId(rangeId, 'a range id')) } },
          { type: 'range', select: { key: wishKey(rangeId) } },
        ],
      },
      options,
    )
    const [range, wish] = results.map((each) => (each.type === 'range' ? each.entries.length : 0))
    return range === 0 && wish === 1
  }

  /** The nodes that were told something about a range, members and others; of one that was merged away, too. */
  async told(rangeId: RangeId, options: CallOptions = {}): Promise<readonly NodeId[]> {
    checkCall('told', options)
    const entry = await this.#store.get(wishKey(checkId(rangeId, 'a range id')), options)
    return entry === undefined ? [] : decodeRangeWish(entry.value).nodes
  }

  /** Everything that is wanted of a node, in the order of the range ids. */
  async wantedFor(nodeId: NodeId, options: CallOptions = {}): Promise<readonly WantedRange[]> {
    checkCall('wantedFor', options)
    const { entries } = await listKeys(this.#store, wantedOf(nodeId), options)
    return entries.map((entry) => decodeWantedRange(entry.value))
  }

  /** The whole of what is wanted of a node, now and after every change of it. */
  async *watchWanted(
    nodeId: NodeId,
    options: CallOptions & { readonly consistency?: 'linearizable' | 'local' } = {},
  ): AsyncIterable<readonly WantedRange[]> {
    const wanted = new Map<RangeId, WantedRange>()
    for await (const step of followKeys(this.#store, wantedOf(nodeId), options)) {
      if (step.type === 'snapshot') {
        wanted.clear()
        for (const entry of step.entries) wanted.set(rangeIdOf(entry.key), decodeWantedRange(entry.value))
      } else {
        for (const { type, entry } of step.events) {
          if (type === 'delete') wanted.delete(rangeIdOf(entry.key))
          else wanted.set(rangeIdOf(entry.key), decodeWantedRange(entry.value))
        }
      }
      yield [...wanted.values()].sort((a, b) => a.rangeId - b.rangeId)
    }
  }

  /** Changes descriptor and wish of one range, and what its nodes are told, guarded by what was read. */
  async #change(
    epoch: ControllerEpoch,
    rangeId: RangeId,
    call: CallOptions,
    decide: (
      known: RangeDescriptor,
      wish: RangeWish,
    ) =>
      | { readonly descriptor: RangeDescriptor; readonly wish: RangeWish; readonly forgotten?: NodeId }
      | undefined,
    mayBeMerged = false,
  ): Promise<boolean> {
    for (let tries = 0; tries < maximumTries; tries++) {
      const { results } = await this.#store.txn(
        {
          then: [
            { type: 'range', select: { key: descriptorKey(rangeId) } },
            { type: 'range', select: { key: wishKey(rangeId) } },
          ],
        },
        call,
      )
      const [range, wish] = results.map((each) => (each.type === 'range' ? each.entries[0] : undefined))
      const merged = range === undefined && wish !== undefined && mayBeMerged
      if (range === undefined && !merged)
        throw new KeelsonError('NOT_FOUND', `the directory has no range ${rangeId}; create it first`, {
          details: { rangeId },
        })
      const known = range === undefined ? endOfRange(rangeId) : decodeRangeDescriptor(range.value)
      const next = decide(known, wish === undefined ? noWish : decodeRangeWish(wish.value))
      if (next === undefined) return false
      const operations = wantedOperations(next.descriptor, next.wish)
      if (next.descriptor !== known) operations.push(putDescriptor(next.descriptor))
      if (next.forgotten !== undefined)
        operations.push({ type: 'delete', select: { key: wantedKey(next.forgotten, rangeId) } })
      const { succeeded } = await epoch.txn(
        {
          if: [unchanged(descriptorKey(rangeId), range), unchanged(wishKey(rangeId), wish)],
          then: operations,
        },
        call,
      )
      if (succeeded) return true
    }
    throw contended(`range ${rangeId}`)
  }
}
