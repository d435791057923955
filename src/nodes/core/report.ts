import { checkArray, checkBytes, checkObject } from '../../core/arguments.ts'
import { copyBytes } from '../../core/bytes.ts'
import { type DecodeLimits, decodePlain, encodePlain, Fields, type Plain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { ObservedReplica, RangeBounds, SplitKeys } from '../../interfaces/range-host.ts'
import type { Load, ReplicaDescriptor, ReplicaRole } from '../../model/descriptors.ts'
import { checkId, checkName, type Incarnation, type NodeId } from '../../model/ids.ts'
import { isJoint } from '../../model/replica-roles.ts'
import { checkVersion, plainAmounts, readAmounts } from './record.ts'

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
}> = Object.freeze({ bytes: 16 * 1024 * 1024, replicas: 50_000, membersPerRange: 64, resources: 32 })

const decodeLimits: DecodeLimits = Object.freeze({ depth: 8, values: 5_000_000 })
/**
 * The first format says of each member whether it votes; the second, written only where a range is in a joint configuration,
 * gives the number of its role.
 */
const formatVersion = 1
const jointFormatVersion = 2
/** By their numbers in the encoding; only ever added to. */
const roles: readonly ReplicaRole[] = ['learner', 'voter', 'incoming', 'outgoing', 'demoting']

/** Encodes a report. @throws KeelsonError `LIMIT_EXCEEDED` */
export function encodeNodeReport(report: NodeReport): Uint8Array {
  checkObject(report, 'a node report')
  checkArray(report.replicas, 'the replicas of a node report', Number.MAX_SAFE_INTEGER)
  if (report.replicas.length > nodeReportLimits.replicas) {
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `node ${report.nodeId} reports ${report.replicas.length} replicas, more than the ${nodeReportLimits.replicas} of a report; spread them over more nodes`,
    )
  }
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
  ])
  if (bytes.length <= nodeReportLimits.bytes) return bytes
  throw new KeelsonError(
    'LIMIT_EXCEEDED',
    `the report of node ${report.nodeId} takes ${bytes.length} bytes, more than the ${nodeReportLimits.bytes} of a report; spread its replicas over more nodes`,
  )
}

/** The inverse of {@link encodeNodeReport}, from a source that is not trusted. @throws KeelsonError `MALFORMED` … */
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
  return { nodeId, incarnation, epoch, sequence, load, capacity, replicas }
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

/** What is a caller's mistake elsewhere is a malformed message here. */
function checked<T>(check: () => T): T {
  try {
    return check()
  } catch (cause) {
    if (!KeelsonError.hasCode(cause, 'INVALID_ARGUMENT')) throw cause
    throw new KeelsonError('MALFORMED', `a node report is not valid: ${cause.message}`, { cause })
  }
}
