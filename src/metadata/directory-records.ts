import { compareBytes, equalBytes, text, utf8 } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import type { Compare, KeyValue, Operation } from '../interfaces/metadata-store.ts'
import { counterKeys } from '../model/counter-keys.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import { checkId, checkName, type NodeId, type RangeId } from '../model/ids.ts'
import {
  encodeRangeDescriptor,
  encodeRangeWish,
  encodeWantedRange,
  type RangeWish,
  type WantedChange,
} from './directory-codec.ts'
import { keyPrefixes, pathKey, pathPrefix } from './keys.ts'
import { prefixSelector } from './mvcc/key-range.ts'

/** How often a write is tried again when somebody else of the same epoch changed the range first. */
export const maximumTries = 20

export const noWish: RangeWish = Object.freeze({ change: undefined, bootstrap: undefined, nodes: [] })

export const layoutKey: Uint8Array = pathKey(keyPrefixes.ranges, 'layout')
export const descriptorPrefix: Uint8Array = pathPrefix(keyPrefixes.ranges, 'descriptors')

/** The highest range id that was ever given out. */
export const lastIdKey: Uint8Array = utf8(counterKeys.ranges)

export function lastIdOf(entry: KeyValue | undefined): RangeId {
  return entry === undefined ? 0 : Number(text(entry.value))
}

/** What keeps ids from being given out that a range has already. */
export function raiseLastId(entry: KeyValue | undefined, rangeId: RangeId): Operation[] {
  if (lastIdOf(entry) >= rangeId) return []
  return [{ type: 'put', key: lastIdKey, value: utf8(String(rangeId)) }]
}

export function descriptorKey(rangeId: RangeId): Uint8Array {
  return pathKey(keyPrefixes.ranges, 'descriptors', rangeId)
}

export function wishKey(rangeId: RangeId): Uint8Array {
  return pathKey(keyPrefixes.ranges, 'wishes', rangeId)
}

export function wantedKey(nodeId: NodeId, rangeId: RangeId): Uint8Array {
  return pathKey(keyPrefixes.wanted, checkName(nodeId, 'a node id'), rangeId)
}

export function wantedOf(nodeId: NodeId): ReturnType<typeof prefixSelector> {
  return prefixSelector(pathPrefix(keyPrefixes.wanted, checkName(nodeId, 'a node id')))
}

/** The range at the end of a key. */
export function rangeIdOf(key: Uint8Array): RangeId {
  let id = 0
  for (const digit of key.subarray(-16)) id = id * 10 + (digit - 0x30)
  return checkId(id, 'the range id at the end of a key')
}

export function putDescriptor(range: RangeDescriptor): Operation {
  return { type: 'put', key: descriptorKey(range.rangeId), value: encodeRangeDescriptor(range) }
}

export function membersOf(range: RangeDescriptor, wish: RangeWish): NodeId[] {
  const members = range.replicas.map((replica) => replica.nodeId)
  if (wish.change?.type === 'addLearner') members.push(wish.change.nodeId)
  return members
}

/** Stores that members are meant for: of those that come the one that is wished, of others what was wished when they came. */
function storesOf(members: ReadonlySet<NodeId>, { change, stores = [] }: RangeWish): RangeWish['stores'] {
  const known = new Map(stores)
  if (change?.type === 'addLearner') {
    if (change.storeId === undefined) known.delete(change.nodeId)
    else known.set(change.nodeId, change.storeId)
  }
  const meant = [...known].filter(([nodeId]) => members.has(nodeId)).sort(([a], [b]) => (a < b ? -1 : 1))
  return meant.length === 0 ? undefined : meant
}

/** The wish itself, and what every node that it concerns or once concerned is told. */
export function wantedOperations(range: RangeDescriptor, wish: RangeWish): Operation[] {
  const members = new Set(membersOf(range, wish))
  const nodes = [...new Set([...wish.nodes, ...members])].sort()
  const change: WantedChange | undefined = wish.change
  const stores = storesOf(members, wish)
  const storeOf = new Map(stores)
  const told = nodes.map((nodeId): Operation => {
    const wanted = {
      rangeId: range.rangeId,
      descriptor: range,
      member: members.has(nodeId),
      bootstrap: wish.bootstrap === nodeId,
      ...(change === undefined ? {} : { change }),
    }
    const storeId = storeOf.get(nodeId)
    const value = encodeWantedRange(storeId === undefined ? wanted : { ...wanted, storeId })
    return { type: 'put', key: wantedKey(nodeId, range.rangeId), value }
  })
  const written = { change, bootstrap: wish.bootstrap, nodes, ...(stores === undefined ? {} : { stores }) }
  return [{ type: 'put', key: wishKey(range.rangeId), value: encodeRangeWish(written) }, ...told]
}

export function unchanged(key: Uint8Array, entry: KeyValue | undefined): Compare {
  return { key, target: 'modRevision', is: '=', operand: entry?.modRevision ?? 0 }
}

export function absent(key: Uint8Array): Compare {
  return { key, target: 'version', is: '=', operand: 0 }
}

export function contended(what: string): KeelsonError {
  return new KeelsonError(
    'CONFLICT',
    `${what} was changed by others ${maximumTries} times in a row; try again when they are done`,
  )
}

export function sameBounds(a: RangeDescriptor, b: RangeDescriptor): boolean {
  if (!equalBytes(a.start, b.start)) return false
  if (a.end === undefined || b.end === undefined) return a.end === b.end
  return equalBytes(a.end, b.end)
}

export function sortRanges(ranges: readonly RangeDescriptor[]): RangeDescriptor[] {
  return [...ranges].sort((a, b) => compareBytes(a.start, b.start))
}

/** What a node goes by that has something left of a range which was merged into its neighbour: nobody is a member of it. */
export function endOfRange(rangeId: RangeId): RangeDescriptor {
  const generation = Number.MAX_SAFE_INTEGER
  return { rangeId, start: new Uint8Array(0), end: undefined, generation, replicas: [] }
}
