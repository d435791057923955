import { checkArray, checkBytes, checkObject } from '../../core/arguments.ts'
import { copyBytes } from '../../core/bytes.ts'
import { type DecodeLimits, decodePlain, encodePlain, Fields, type Plain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import type { ObservedReplica, RangeBounds, SplitKeys } from '../../interfaces/range-host.ts'
import type { Load, ReplicaDescriptor, ReplicaRole, StoreReport } from '../../model/descriptors.ts'
import { checkId, checkName, type Incarnation, type NodeId } from '../../model/ids.ts'
import { isJoint } from '../../model/replica-roles.ts'
import {
  checkStoreId,
  checkVersion,
  malformed,
  nodeDescriptorLimits,
  plainAmounts,
  readAmounts,
} from './record.ts'
import { checkReported } from './report-checks.ts'

/** What a node tells the leader with each heartbeat. It is kept in memory and never goes through the log. */
export interface NodeReport {
  /** The node that reports. */
  readonly nodeId: NodeId
  /** Life of its data. */
  readonly incarnation: Incarnation
  /** Epoch of the session under which it was made. */
  readonly epoch: number
  /** Grows with each report of the epoch. */
  readonly sequence: number
  /** Its replicas, each as the node itself sees it. */
  readonly replicas: readonly ObservedReplica[]
  /** Load of the node as a whole. */
  readonly load: Load
  /** What it can hold now. */
  readonly capacity: Load
  /** Its stores, where it has several: all that its replicas name. */
  readonly stores?: readonly StoreReport[]
}

/** Limits of a report, checked on both sides. */
export const nodeReportLimits: Readonly<{
  /** Largest report, encoded. */
  bytes: number
  /** Most replicas in a report. */
  replicas: number
  /** Most members of one range's configuration. */
  membersPerRange: number
  /** Most resources in a load or a capacity. */
  resources: number
  /** Most stores of the node. */
  stores: number
}> = Object.freeze({
  bytes: 16 * 1024 * 1024,
  replicas: 50_000,
  membersPerRange: 64,
  resources: 32,
  stores: nodeDescriptorLimits.stores,
})

const decodeLimits: DecodeLimits = Object.freeze({ depth: 8, values: 5_000_000 })
/**
 * The first format says of each member whether it votes; the second, written only where a range is in a joint configuration,
 * gives the number of its role.
 */
const formatVersion = 1
const jointFormatVersion = 2
/** By their numbers in the encoding; only ever added to. */
const roles: readonly ReplicaRole[] = ['learner', 'voter', 'incoming', 'outgoing', 'demoting']

/** By their numbers in the encoding; only ever added to. */
const storeStates = [undefined, 'draining', 'failed'] as const

/**
 * Encodes a report.
 *
 * @throws KeelsonError `LIMIT_EXCEEDED`; `INVALID_ARGUMENT` that names the node and the field: a load or capacity that is no number
 * from 0 to the largest safe integer, an id that is no positive integer, a range with a node or a replica twice, or a replica on a
 * store that is not named
 */
export function encodeNodeReport(report: NodeReport): Uint8Array {
  checkObject(report, 'a node report')
  checkArray(report.replicas, 'the replicas of a node report', Number.MAX_SAFE_INTEGER)
  if (report.replicas.length > nodeReportLimits.replicas) {
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `node ${report.nodeId} reports ${report.replicas.length} replicas, more than the ${nodeReportLimits.replicas} of a report; spread them over more nodes`,
    )
  }
  checkReported(report)
  const joint = report.replicas.some(({ replicas }) => isJoint(replicas))
  const bytes = encodePlain([
    joint ? jointFormatVersion : formatVersion,
    report.nodeId,
    report.incarnation,
    report.epoch,
    report.sequence,
    plainAmounts(report.load),
    plainAmounts(report.capacity),
    report.replicas.map((replica) => plainObserved(replica, joint)),
    // Readers of an older release stop before the stores, and take the node for one store.
    ...(report.stores === undefined ? [] : [plainStores(report, report.stores)]),
  ])
  if (bytes.length <= nodeReportLimits.bytes) return bytes
  throw new KeelsonError(
    'LIMIT_EXCEEDED',
    `the report of node ${report.nodeId} takes ${bytes.length} bytes, more than the ${nodeReportLimits.bytes} of a report; spread its replicas over more nodes`,
  )
}

/**
 * The inverse of {@link encodeNodeReport}, from a source that is not trusted.
 *
 * @throws KeelsonError `MALFORMED`, with `details.nodeId` where the node is known that sent what it must not; `LIMIT_EXCEEDED`,
 * `FORMAT_VERSION`
 */
export function decodeNodeReport(bytes: Uint8Array): NodeReport {
  if (checkBytes(bytes, 'a node report').length > nodeReportLimits.bytes) {
    throw new KeelsonError('LIMIT_EXCEEDED', `a node report takes ${bytes.length} bytes, more than allowed`)
  }
  const fields = new Fields(decodePlain(bytes, 'a node report', decodeLimits), 'a node report')
  const version = fields.uint('version')
  if (version !== jointFormatVersion) checkVersion(version, 'a node report')
  const nodeId = checked(() => checkName(fields.string('nodeId'), 'a node id'))
  const incarnation = checked(() => checkId(fields.uint('incarnation'), 'an incarnation'))
  const epoch = fields.uint('epoch')
  const sequence = fields.uint('sequence')
  const load = readLoad(fields, 'load')
  const capacity = readLoad(fields, 'capacity')
  const replicas = fields.list('replicas', (f) => readObserved(f, version))
  if (replicas.length > nodeReportLimits.replicas) {
    throw new KeelsonError('MALFORMED', `a node report holds ${replicas.length} replicas, more than allowed`)
  }
  const head = { nodeId, incarnation, epoch, sequence, load, capacity }
  const report = fields.more
    ? withStores(head, replicas, fields.list('stores', readStore))
    : { ...head, replicas }
  malformed('a node report', () => checkReported(report), { nodeId })
  return report
}

function withStores(
  head: Omit<NodeReport, 'replicas' | 'stores'>,
  replicas: readonly ObservedReplica[],
  stores: readonly ReadStore[],
): NodeReport {
  return { ...head, replicas: onStores(replicas, stores), stores: stores.map((store) => store.report) }
}

/** Stores, each with where its replicas stand in the report: a name is written once, not with each replica. */
function plainStores({ nodeId, replicas }: NodeReport, stores: readonly StoreReport[]): Plain {
  if (stores.length > nodeReportLimits.stores) {
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `node ${nodeId} reports ${stores.length} stores, more than the ${nodeReportLimits.stores} of a report`,
    )
  }
  const positions = new Map(stores.map(({ storeId }) => [storeId, [] as number[]]))
  if (positions.size < stores.length)
    throw new KeelsonError('INVALID_ARGUMENT', `node ${nodeId} reports a store twice; give each its own name`)
  replicas.forEach(({ rangeId, storeId }, i) => {
    if (storeId === undefined) return
    const known = positions.get(storeId)
    if (known === undefined)
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `node ${nodeId} reports range ${rangeId} on ${showValue(storeId)}, which is none of the stores that it reports; report all of them`,
      )
    known.push(i)
  })
  return stores.map(({ storeId, load, capacity, state }) => [
    checkStoreId(storeId),
    plainAmounts(load),
    plainAmounts(capacity),
    storeStates.indexOf(state),
    positions.get(storeId) as number[],
  ])
}

interface ReadStore {
  readonly report: StoreReport
  readonly positions: readonly number[]
}

function readStore(fields: Fields): ReadStore {
  const storeId = checked(() => checkStoreId(fields.string('storeId')))
  const [load, capacity] = [readLoad(fields, 'load'), readLoad(fields, 'capacity')]
  const state = storeStates[fields.oneOf('state', [0, 1, 2])]
  return {
    report: { storeId, load, capacity, ...(state === undefined ? {} : { state }) },
    positions: fields.scalars('positions', (f) => f.uint('position')),
  }
}

/** The replicas of a report, each with the store that it is on. */
function onStores(
  replicas: readonly ObservedReplica[],
  stores: readonly ReadStore[],
): readonly ObservedReplica[] {
  const named = replicas.slice()
  if (
    stores.length > nodeReportLimits.stores ||
    new Set(stores.map(({ report }) => report.storeId)).size < stores.length
  )
    throw new KeelsonError('MALFORMED', 'a node report names too many stores, or one of them twice')
  for (const { report, positions } of stores) {
    for (const position of positions) {
      const replica = named[position]
      if (replica === undefined || replica.storeId !== undefined)
        throw new KeelsonError(
          'MALFORMED',
          'a node report puts a replica on two stores, or one that it does not hold',
        )
      named[position] = { ...replica, storeId: report.storeId }
    }
  }
  return named
}

function plainObserved(replica: ObservedReplica, joint: boolean): Plain {
  return [
    replica.rangeId,
    replica.replicaId,
    replica.generation,
    replica.replicas.map((each) => [
      each.replicaId,
      each.nodeId,
      each.incarnation,
      joint ? roles.indexOf(each.role) : each.role === 'voter',
    ]),
    replica.leaseHolder,
    replica.sequence,
    replica.caughtUp,
    plainAmounts(replica.load),
    replica.swaps === true,
    // Of a range that neither splits nor merges nothing more is said.
    ...(replica.bounds === undefined ? [] : [plainBounds(replica, replica.bounds)]),
  ]
}

function plainBounds({ splitOff, frozen, splitKeys }: ObservedReplica, { start, end }: RangeBounds): Plain {
  return [
    start,
    end ?? null,
    splitOff ?? 0,
    frozen === undefined ? null : [frozen.into, frozen.intoGeneration],
    splitKeys === undefined
      ? null
      : [splitKeys.bySize ?? null, splitKeys.byLoad ?? null, splitKeys.unsplittable ?? null],
  ]
}

type Bounded = Pick<ObservedReplica, 'bounds' | 'splitOff' | 'frozen' | 'splitKeys'>

function readBounds(fields: Fields): Bounded {
  const bounds = {
    start: copyBytes(fields.bytes('start')),
    end: fields.optional((f) => copyBytes(f.bytes('end'))),
  }
  const splitOff = fields.uint('splitOff')
  const frozen = fields.optional((f) => {
    const inner = f.nested('frozen')
    return { into: inner.uint('into'), intoGeneration: inner.uint('intoGeneration') }
  })
  const splitKeys = fields.optional((f) => readSplitKeys(f.nested('splitKeys')))
  return {
    bounds,
    ...(splitOff === 0 ? {} : { splitOff }),
    ...(frozen === undefined ? {} : { frozen }),
    ...(splitKeys === undefined ? {} : { splitKeys }),
  }
}

function readSplitKeys(fields: Fields): SplitKeys {
  const bySize = fields.optional((f) => copyBytes(f.bytes('bySize')))
  const byLoad = fields.optional((f) => copyBytes(f.bytes('byLoad')))
  const unsplittable = fields.optional((f) => f.string('unsplittable'))
  return {
    ...(bySize === undefined ? {} : { bySize }),
    ...(byLoad === undefined ? {} : { byLoad }),
    ...(unsplittable === undefined ? {} : { unsplittable }),
  }
}

function readObserved(fields: Fields, version: number): ObservedReplica {
  const rangeId = checked(() => checkId(fields.uint('rangeId'), 'a range id'))
  const replicaId = fields.uint('replicaId')
  const generation = fields.uint('generation')
  const replicas = fields.list('replicas', (f) => readReplica(f, version))
  if (replicas.length > nodeReportLimits.membersPerRange) {
    throw new KeelsonError(
      'MALFORMED',
      `a node report says that range ${rangeId} has ${replicas.length} members`,
    )
  }
  return {
    rangeId,
    replicaId,
    generation,
    replicas,
    leaseHolder: fields.boolean('leaseHolder'),
    sequence: fields.uint('sequence'),
    caughtUp: fields.scalars('caughtUp', (f) => f.uint('replicaId')),
    load: readLoad(fields, 'load'),
    // A node of an older release says nothing of it.
    ...(fields.more && fields.boolean('swaps') ? { swaps: true } : {}),
    ...(fields.more ? readBounds(fields.nested('bounds')) : {}),
  }
}

function readReplica(fields: Fields, version: number): ReplicaDescriptor {
  return {
    replicaId: fields.uint('replicaId'),
    nodeId: checked(() => checkName(fields.string('nodeId'), 'a node id')),
    incarnation: fields.uint('incarnation'),
    role: readRole(fields, version),
  }
}

function readRole(fields: Fields, version: number): ReplicaRole {
  if (version === formatVersion) return fields.boolean('voter') ? 'voter' : 'learner'
  return roles[fields.oneOf('role', [0, 1, 2, 3, 4])] as ReplicaRole
}

function readLoad(fields: Fields, name: string): Load {
  const load = readAmounts(fields, name)
  if (Object.keys(load).length <= nodeReportLimits.resources) return load
  throw new KeelsonError('MALFORMED', `a node report names more than ${nodeReportLimits.resources} resources`)
}

function checked<T>(check: () => T): T {
  return malformed('a node report', check)
}
