import { copyBytes } from '../core/bytes.ts'
import { decodePlain, encodePlain, Fields, type Plain } from '../core/codec.ts'
import { KeelsonError } from '../core/errors.ts'
import type { WantedRange } from '../interfaces/range-host.ts'
import type { RangeDescriptor, ReplicaDescriptor, ReplicaRole } from '../model/descriptors.ts'
import type { NodeId } from '../model/ids.ts'
import { isJoint } from '../model/replica-roles.ts'

/**
 * The first format knows voters and learners; the second the roles of a joint configuration as well, and swaps. What the
 * first can express is still written that way, for readers of an older release.
 */
const formatVersion = 1
const jointFormatVersion = 2
/** The third knows the changes of bounds. */
const boundsFormatVersion = 3
/** By their numbers in the encoding; only ever added to. */
const roles: readonly ReplicaRole[] = ['voter', 'learner', 'incoming', 'outgoing', 'demoting']
const changeTypes = [
  'addLearner',
  'promote',
  'remove',
  'transferLease',
  'swap',
  'split',
  'freeze',
  'merge',
  'thaw',
  'touch',
] as const
const changeNumbers = changeTypes.map((_, number) => number)
const firstChangeOfBounds = changeTypes.indexOf('split')

/** A change with the generation and the epoch that guard it. */
export type WantedChange = NonNullable<WantedRange['change']>

function open(bytes: Uint8Array, what: string): Fields {
  const fields = new Fields(decodePlain(bytes, what), what)
  const format = fields.uint('format')
  if (format >= formatVersion && format <= boundsFormatVersion) return fields
  throw new KeelsonError(
    'FORMAT_VERSION',
    `${what} has format ${format}, but this release knows ${boundsFormatVersion}: run a newer release`,
  )
}

function formatOf(range: RangeDescriptor | undefined, change?: WantedChange): number {
  if (change !== undefined && changeTypes.indexOf(change.type) >= firstChangeOfBounds)
    return boundsFormatVersion
  const joint = change?.type === 'swap' || (range !== undefined && isJoint(range.replicas))
  return joint ? jointFormatVersion : formatVersion
}

function descriptorToPlain(range: RangeDescriptor): Plain {
  return [
    range.rangeId,
    range.start,
    range.end ?? null,
    range.generation,
    range.replicas.map(({ replicaId, nodeId, incarnation, role }) => [
      replicaId,
      nodeId,
      incarnation,
      roles.indexOf(role),
    ]),
  ]
}

function replicaFromFields(fields: Fields): ReplicaDescriptor {
  return {
    replicaId: fields.uint('replicaId'),
    nodeId: fields.string('nodeId'),
    incarnation: fields.uint('incarnation'),
    role: roles[fields.oneOf('role', [0, 1, 2, 3, 4])] as ReplicaRole,
  }
}

function descriptorFromFields(fields: Fields): RangeDescriptor {
  return {
    rangeId: fields.uint('rangeId'),
    start: copyBytes(fields.bytes('start')),
    end: fields.optional((f) => copyBytes(f.bytes('end'))),
    generation: fields.uint('generation'),
    replicas: fields.list('replicas', replicaFromFields),
  }
}

function changeToPlain(change: WantedChange): Plain {
  const head = [changeTypes.indexOf(change.type), change.generation, change.epoch]
  if (change.type === 'addLearner') {
    const { nodeId, incarnation, storeId } = change
    // Readers of an older release stop before the store, and choose one themselves.
    return [...head, nodeId, incarnation, ...(storeId === undefined ? [] : [storeId])]
  }
  if (change.type === 'swap') return [...head, change.promote, change.remove]
  if (change.type === 'split') return [...head, change.key, change.rightRangeId]
  if (change.type === 'freeze') return [...head, change.into, change.intoGeneration]
  if (change.type === 'merge') return [...head, change.rightRangeId, change.rightGeneration]
  if (change.type === 'thaw' || change.type === 'touch') return head
  return [...head, change.replicaId]
}

function changeFromFields(fields: Fields): WantedChange {
  const type = changeTypes[fields.oneOf('type', changeNumbers)]
  const guard = { generation: fields.uint('generation'), epoch: fields.uint('epoch') }
  if (type === 'addLearner') {
    const learner = {
      type,
      nodeId: fields.string('nodeId'),
      incarnation: fields.uint('incarnation'),
      ...guard,
    }
    return fields.more ? { ...learner, storeId: fields.string('storeId') } : learner
  }
  if (type === 'swap')
    return { type, promote: fields.uint('promote'), remove: fields.uint('remove'), ...guard }
  switch (type) {
    case 'split':
      return {
        type,
        key: copyBytes(fields.bytes('key')),
        rightRangeId: fields.uint('rightRangeId'),
        ...guard,
      }
    case 'freeze':
      return { type, into: fields.uint('into'), intoGeneration: fields.uint('intoGeneration'), ...guard }
    case 'merge':
      return {
        type,
        rightRangeId: fields.uint('rightRangeId'),
        rightGeneration: fields.uint('rightGeneration'),
        ...guard,
      }
    case 'thaw':
    case 'touch':
      return { type, ...guard }
    default:
      return { type: type as 'promote', replicaId: fields.uint('replicaId'), ...guard }
  }
}

/** A descriptor as a record of the directory or a message. */
export function encodeRangeDescriptor(range: RangeDescriptor): Uint8Array {
  return encodePlain([formatOf(range), descriptorToPlain(range)])
}

/** The inverse of {@link encodeRangeDescriptor}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeRangeDescriptor(bytes: Uint8Array): RangeDescriptor {
  return descriptorFromFields(open(bytes, 'a range descriptor').nested('descriptor'))
}

/** What is wanted of a range on a node, as a record or a message. */
export function encodeWantedRange(wanted: WantedRange): Uint8Array {
  return encodePlain([
    formatOf(wanted.descriptor, wanted.change),
    descriptorToPlain(wanted.descriptor),
    wanted.member,
    wanted.bootstrap,
    wanted.change === undefined ? null : changeToPlain(wanted.change),
    // Readers of an older release stop before the store, and choose one themselves.
    ...(wanted.storeId === undefined ? [] : [wanted.storeId]),
  ])
}

/** The inverse of {@link encodeWantedRange}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeWantedRange(bytes: Uint8Array): WantedRange {
  const fields = open(bytes, 'a wanted range')
  const descriptor = descriptorFromFields(fields.nested('descriptor'))
  const wanted = {
    rangeId: descriptor.rangeId,
    descriptor,
    member: fields.boolean('member'),
    bootstrap: fields.boolean('bootstrap'),
  }
  const change = fields.optional((f) => changeFromFields(f.nested('change')))
  return {
    ...wanted,
    ...(change === undefined ? {} : { change }),
    ...(fields.more ? { storeId: fields.string('storeId') } : {}),
  }
}

/** What the directory wants of a range as a whole, beside its descriptor. */
export interface RangeWish {
  readonly change: WantedChange | undefined
  /** The node that is to make the range. */
  readonly bootstrap: NodeId | undefined
  /** Nodes that were told something about the range: they are told when they are not members any more. */
  readonly nodes: readonly NodeId[]
  /** Stores that members are meant for, where their nodes have several. */
  readonly stores?: readonly (readonly [nodeId: NodeId, storeId: string])[]
}

export function encodeRangeWish(wish: RangeWish): Uint8Array {
  return encodePlain([
    formatOf(undefined, wish.change),
    wish.change === undefined ? null : changeToPlain(wish.change),
    wish.bootstrap ?? null,
    wish.nodes,
    ...(wish.stores === undefined ? [] : [wish.stores]),
  ])
}

/** The inverse of {@link encodeRangeWish}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeRangeWish(bytes: Uint8Array): RangeWish {
  const fields = open(bytes, 'the wish for a range')
  return {
    change: fields.optional((f) => changeFromFields(f.nested('change'))),
    bootstrap: fields.optional((f) => f.string('bootstrap')),
    nodes: fields.scalars('nodes', (f) => f.string('nodeId')),
    ...(fields.more
      ? { stores: fields.list('stores', (f) => [f.string('nodeId'), f.string('storeId')] as const) }
      : {}),
  }
}
