import { checkArray, checkBytes, checkFunction, checkInteger, checkObject } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import { compareBytes, equalBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall, showValue } from '../core/options.ts'
import type { Compare, KeyValue, MetadataStore, Operation } from '../interfaces/metadata-store.ts'
import type { RangeChange, WantedRange } from '../interfaces/range-host.ts'
import type { RangeDescriptor, ReplicaRole } from '../model/descriptors.ts'
import { checkId, checkName, type NodeId, type RangeId } from '../model/ids.ts'
import { replicaRoles } from '../model/replica-roles.ts'
import {
  decodeRangeDescriptor,
  decodeRangeWish,
  decodeWantedRange,
  encodeRangeDescriptor,
  encodeRangeWish,
  encodeWantedRange,
  type RangeWish,
  type WantedChange,
} from './directory-codec.ts'
import type { ControllerEpoch } from './epoch.ts'
import { followKeys, listKeys } from './follow.ts'
import { keyPrefixes, pathKey, pathPrefix } from './keys.ts'
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

/** How often a write is tried again when somebody else of the same epoch changed the range first. */
const maximumTries = 20

const noWish: RangeWish = Object.freeze({ change: undefined, bootstrap: undefined, nodes: [] })

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
   * `bootstrap` the node that it names for each range is told to make it, and the others to wait for it.
   *
   * @throws KeelsonError `INVALID_ARGUMENT` for gaps, overlaps and twice used ids; `CONFLICT` when the span or an id is
   *   taken; `LIMIT_EXCEEDED` for too many at once: create in several calls; `STALE_EPOCH`
   */
  async create(
    epoch: ControllerEpoch,
    descriptors: readonly RangeDescriptor[],
    options: CallOptions & { readonly bootstrap?: (range: RangeDescriptor) => NodeId } = {},
  ): Promise<void> {
    checkEpoch(epoch)
    checkCall('create', options, ['bootstrap'])
    const { bootstrap, ...call } = options
    if (bootstrap !== undefined) checkFunction(bootstrap, 'bootstrap')
    const ranges = checkTiling(descriptors)
    const operations = ranges.flatMap((range) => {
      const wish = { ...noWish, bootstrap: bootstrap?.(range) }
      const told = bootstrap === undefined ? [] : wantedOperations(range, wish)
      return [putDescriptor(range), ...told]
    })
    if (operations.length >= commandLimits.operations) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `${ranges.length} ranges take ${operations.length} writes; one call has ${commandLimits.operations - 1}: create in several calls`,
      )
    }
    for (let tries = 0; tries < maximumTries; tries++) {
      const layout = await this.#store.get(layoutKey, call)
      checkFree(await this.list(call), ranges)
      const { succeeded } = await epoch.txn(
        {
          if: [unchanged(layoutKey, layout), ...ranges.map((range) => absent(descriptorKey(range.rangeId)))],
          then: [{ type: 'put', key: layoutKey, value: new Uint8Array(0) }, ...operations],
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
    return this.#change(epoch, rangeId, options, (known, wish) => {
      if (!wish.nodes.includes(nodeId) || membersOf(known, wish).includes(nodeId)) return undefined
      const nodes = wish.nodes.filter((each) => each !== nodeId)
      return { descriptor: known, wish: { ...wish, nodes }, forgotten: nodeId }
    })
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
      if (range === undefined)
        throw new KeelsonError('NOT_FOUND', `the directory has no range ${rangeId}; create it first`, {
          details: { rangeId },
        })
      const known = decodeRangeDescriptor(range.value)
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

const layoutKey: Uint8Array = pathKey(keyPrefixes.ranges, 'layout')
const descriptorPrefix: Uint8Array = pathPrefix(keyPrefixes.ranges, 'descriptors')

function descriptorKey(rangeId: RangeId): Uint8Array {
  return pathKey(keyPrefixes.ranges, 'descriptors', rangeId)
}

function wishKey(rangeId: RangeId): Uint8Array {
  return pathKey(keyPrefixes.ranges, 'wishes', rangeId)
}

function wantedKey(nodeId: NodeId, rangeId: RangeId): Uint8Array {
  return pathKey(keyPrefixes.wanted, checkName(nodeId, 'a node id'), rangeId)
}

function wantedOf(nodeId: NodeId): ReturnType<typeof prefixSelector> {
  return prefixSelector(pathPrefix(keyPrefixes.wanted, checkName(nodeId, 'a node id')))
}

/** The range at the end of a key. */
function rangeIdOf(key: Uint8Array): RangeId {
  let id = 0
  for (const digit of key.subarray(-16)) id = id * 10 + (digit - 0x30)
  return checkId(id, 'the range id at the end of a key')
}

function putDescriptor(range: RangeDescriptor): Operation {
  return { type: 'put', key: descriptorKey(range.rangeId), value: encodeRangeDescriptor(range) }
}

function membersOf(range: RangeDescriptor, wish: RangeWish): NodeId[] {
  const members = range.replicas.map((replica) => replica.nodeId)
  if (wish.change?.type === 'addLearner') members.push(wish.change.nodeId)
  return members
}

/** The wish itself, and what every node that it concerns or once concerned is told. */
function wantedOperations(range: RangeDescriptor, wish: RangeWish): Operation[] {
  const members = new Set(membersOf(range, wish))
  const nodes = [...new Set([...wish.nodes, ...members])].sort()
  const change: WantedChange | undefined = wish.change
  const told = nodes.map((nodeId): Operation => {
    const wanted = {
      rangeId: range.rangeId,
      descriptor: range,
      member: members.has(nodeId),
      bootstrap: wish.bootstrap === nodeId,
    }
    const value = encodeWantedRange(change === undefined ? wanted : { ...wanted, change })
    return { type: 'put', key: wantedKey(nodeId, range.rangeId), value }
  })
  return [{ type: 'put', key: wishKey(range.rangeId), value: encodeRangeWish({ ...wish, nodes }) }, ...told]
}

function unchanged(key: Uint8Array, entry: KeyValue | undefined): Compare {
  return { key, target: 'modRevision', is: '=', operand: entry?.modRevision ?? 0 }
}

function absent(key: Uint8Array): Compare {
  return { key, target: 'version', is: '=', operand: 0 }
}

function contended(what: string): KeelsonError {
  return new KeelsonError(
    'CONFLICT',
    `${what} was changed by others ${maximumTries} times in a row; try again when they are done`,
  )
}

function sameBounds(a: RangeDescriptor, b: RangeDescriptor): boolean {
  if (!equalBytes(a.start, b.start)) return false
  if (a.end === undefined || b.end === undefined) return a.end === b.end
  return equalBytes(a.end, b.end)
}

function sortRanges(ranges: readonly RangeDescriptor[]): RangeDescriptor[] {
  return [...ranges].sort((a, b) => compareBytes(a.start, b.start))
}

function refuse(problem: string): never {
  throw new KeelsonError('INVALID_ARGUMENT', problem)
}

function checkEpoch(epoch: ControllerEpoch): void {
  checkObject(epoch, 'the epoch of a controller', ['number', 'txn'])
}

/** What stands in a wish is read by nodes: it must be one that they know. */
function checkChange(change: RangeChange): void {
  checkObject(change, 'the change of a range')
  switch (change.type) {
    case 'addLearner':
      checkName(change.nodeId, 'the node of a new learner')
      checkId(change.incarnation, 'the incarnation of a new learner')
      break
    case 'swap':
      checkId(change.promote, 'the replica that a swap promotes')
      checkId(change.remove, 'the replica that a swap removes')
      break
    case 'promote':
    case 'remove':
    case 'transferLease':
      checkId(change.replicaId, 'the replica of a change')
      break
    default:
      refuse(
        `the change of a range is one of addLearner, promote, remove, swap and transferLease, not ${showValue((change as RangeChange).type)}`,
      )
  }
}

function checkDescriptor(range: RangeDescriptor, roles: readonly ReplicaRole[]): void {
  checkObject(range, 'a range')
  checkId(range.rangeId, 'a range id')
  checkBytes(range.start, `the start of range ${range.rangeId}`)
  if (range.end !== undefined) checkBytes(range.end, `the end of range ${range.rangeId}`)
  checkArray(range.replicas, `the replicas of range ${range.rangeId}`, 1000)
  checkId(range.generation, `the generation of range ${range.rangeId}`)
  if (range.end !== undefined && compareBytes(range.start, range.end) >= 0)
    refuse(`range ${range.rangeId} ends where or before it starts`)
  const nodes = new Set<NodeId>()
  for (const replica of range.replicas) {
    checkObject(replica, `a replica of range ${range.rangeId}`)
    checkId(replica.replicaId, `a replica id of range ${range.rangeId}`)
    checkName(replica.nodeId, `a node id of range ${range.rangeId}`)
    checkId(replica.incarnation, `an incarnation of range ${range.rangeId}`)
    if (!roles.includes(replica.role))
      refuse(
        `a replica of range ${range.rangeId} is one of ${roles.join(', ')}, not ${showValue(replica.role)}`,
      )
    if (nodes.has(replica.nodeId)) refuse(`range ${range.rangeId} has two replicas on ${replica.nodeId}`)
    nodes.add(replica.nodeId)
  }
}

/** Roles of a range that is not on its way from one set of voters to another: what it may begin with. */
const settledRoles: readonly ReplicaRole[] = ['voter', 'learner']

/** The ranges in order, if they lie side by side. */
function checkTiling(descriptors: readonly RangeDescriptor[]): readonly RangeDescriptor[] {
  for (const range of checkArray(descriptors, 'the ranges to create')) checkDescriptor(range, settledRoles)
  const ranges = sortRanges(descriptors)
  if (ranges.length === 0) refuse('there is no range to create')
  if (new Set(ranges.map((range) => range.rangeId)).size !== ranges.length)
    refuse('two ranges have the same id')
  ranges.forEach((range, i) => {
    const before = ranges[i - 1]
    if (before === undefined) return
    if (before.end === undefined || compareBytes(before.end, range.start) > 0)
      refuse(`ranges ${before.rangeId} and ${range.rangeId} overlap`)
    if (compareBytes(before.end, range.start) < 0)
      refuse(`there is a gap between ranges ${before.rangeId} and ${range.rangeId}`)
  })
  return ranges
}

/** @throws KeelsonError `CONFLICT` when an id or a part of the span is taken */
function checkFree(existing: readonly RangeDescriptor[], added: readonly RangeDescriptor[]): void {
  const ids = new Set(added.map((range) => range.rangeId))
  const first = (added[0] as RangeDescriptor).start
  const end = (added[added.length - 1] as RangeDescriptor).end
  for (const range of existing) {
    const before = range.end !== undefined && compareBytes(range.end, first) <= 0
    const behind = end !== undefined && compareBytes(end, range.start) <= 0
    if (!ids.has(range.rangeId) && (before || behind)) continue
    throw new KeelsonError(
      'CONFLICT',
      `range ${range.rangeId} is in the directory already; give the new one another id`,
      {
        retryable: false,
        details: { rangeId: range.rangeId },
      },
    )
  }
}
