import { emptyBytes } from '../../core/bytes.ts'
import { decodePlain, encodePlain, Fields, type Plain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import { entryKinds, type HardState, type LogEntry } from '../../interfaces/log-store.ts'
import type { ReplicaRole } from '../../model/descriptors.ts'
import { checkId, checkName, type ReplicaId } from '../../model/ids.ts'
import { isJoint, votesInIncoming, votesInOutgoing } from '../../model/replica-roles.ts'
import type { Configuration, ConfigurationChange, JointPhase, RaftMember } from './membership-types.ts'

/**
 * Versions of the encoding. The first knows voters, learners and one change at a time; what it can express is still
 * written that way, so that replicas of an older release understand it.
 */
const plainVersion = 1
const version = 2
/** Most replicas of one group. */
export const maximumReplicas = 1000
/** Highest priority of a member. */
export const maximumPriority = 1000
/** By their numbers in the encoding; only ever added to. */
export const changeTypes = [
  'addLearner',
  'promote',
  'remove',
  'promoteLater',
  'demote',
  'setPriority',
  'leaveJoint',
] as const
const roles: readonly ReplicaRole[] = ['learner', 'voter', 'incoming', 'outgoing', 'demoting']

/** The data of a configuration entry; also how a snapshot carries its configuration. */
export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const { generation, replicas, changes, joint } = configuration
  const changed = changes.map((change): Plain => [changeTypes.indexOf(change.type), change.replicaId])
  if (isPlain(configuration)) {
    const members = replicas.map((r): Plain => [r.replicaId, r.nodeId, r.incarnation, roles.indexOf(r.role)])
    return encodePlain([plainVersion, generation, members, changed[0] ?? null])
  }
  const members = replicas.map(
    (r): Plain => [
      r.replicaId,
      r.nodeId,
      r.incarnation,
      roles.indexOf(r.role),
      r.autoPromote === true,
      r.priority ?? 0,
    ],
  )
  return encodePlain([version, generation, members, changed, joint === undefined ? null : joint.autoLeave])
}

/** Whether the first version of the encoding can say all of it. */
function isPlain({ replicas, changes, joint }: Configuration): boolean {
  return (
    joint === undefined &&
    changes.length <= 1 &&
    changes.every(({ type }) => changeTypes.indexOf(type) <= changeTypes.indexOf('remove')) &&
    replicas.every(({ autoPromote, priority }) => autoPromote === undefined && priority === undefined)
  )
}

/**
 * The inverse of {@link encodeConfiguration}.
 *
 * @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` for one of a later release
 */
export function decodeConfiguration(data: Uint8Array): Configuration {
  const what = 'a Raft configuration'
  const fields = new Fields(decodePlain(data, what), what)
  const found = fields.uint('version')
  if (found !== plainVersion && found !== version) {
    throw new KeelsonError(
      'FORMAT_VERSION',
      `${what} has version ${found}, which this release does not know; upgrade this node, its state is unharmed`,
      { details: { version: found } },
    )
  }
  const generation = fields.uint('generation')
  const replicas = fields.list('replicas', (replica) => readMember(replica, found))
  const changes =
    found === plainVersion
      ? (fields.optional((f) => [readChange(f.nested('change'), [0, 1, 2])]) ?? [])
      : fields.list('changes', (f) => readChange(f, [0, 1, 2, 3, 4, 5, 6]))
  const joint =
    found === plainVersion ? undefined : fields.optional((f) => ({ autoLeave: f.boolean('joint') }))
  const configuration = makeConfiguration(generation, replicas, changes, joint)
  const problem = configurationProblem(configuration)
  if (problem !== undefined) throw new KeelsonError('MALFORMED', `${what} ${problem}`)
  return configuration
}

function readMember(fields: Fields, found: number): RaftMember {
  const replicaId = fields.uint('replicaId')
  const nodeId = fields.string('nodeId')
  const incarnation = fields.uint('incarnation')
  if (found === plainVersion) return { replicaId, nodeId, incarnation, role: readRole(fields, [0, 1]) }
  const role = readRole(fields, [0, 1, 2, 3, 4])
  const autoPromote = fields.boolean('autoPromote')
  const priority = fields.uint('priority')
  return { replicaId, nodeId, incarnation, role, ...marks(autoPromote, priority) }
}

function readRole(fields: Fields, numbers: readonly number[]): ReplicaRole {
  return roles[fields.oneOf('role', numbers)] as ReplicaRole
}

function readChange(fields: Fields, numbers: readonly number[]): ConfigurationChange {
  const type = changeTypes[fields.oneOf('type', numbers)] as ConfigurationChange['type']
  return { type, replicaId: fields.uint('replicaId') }
}

/** The optional fields of a member, left out where they say nothing. */
export function marks(autoPromote: boolean, priority: number): Pick<RaftMember, 'autoPromote' | 'priority'> {
  return { ...(autoPromote ? { autoPromote } : {}), ...(priority === 0 ? {} : { priority }) }
}

/** What is wrong with a configuration, or undefined. */
export function configurationProblem(configuration: Configuration): string | undefined {
  const { generation, replicas, joint } = configuration
  if (!Number.isSafeInteger(generation) || generation < 1) return 'needs a generation of at least 1'
  if (replicas.length > maximumReplicas) return `has more than ${maximumReplicas} replicas`
  let last = 0
  const nodes = new Set<string>()
  for (const replica of replicas) {
    try {
      checkId(replica.replicaId, 'a replica id')
      checkId(replica.incarnation, 'an incarnation')
      checkName(replica.nodeId, 'a node id')
    } catch (thrown) {
      return `is wrong: ${(thrown as Error).message}`
    }
    if (!roles.includes(replica.role)) return `gives replica ${replica.replicaId} a role that there is not`
    if (replica.replicaId <= last) return 'does not list its replicas by ascending id'
    if (nodes.has(replica.nodeId)) return `names the node ${replica.nodeId} twice`
    if (replica.autoPromote === true && replica.role !== 'learner') return 'promotes a voter'
    if (!isPriority(replica.priority ?? 0)) return `has a priority above ${maximumPriority}`
    nodes.add(replica.nodeId)
    last = replica.replicaId
  }
  if (!replicas.some(votesInIncoming)) return 'has no voter'
  if (isJoint(replicas) && joint === undefined) return 'has voters of one half only, but is not joint'
  if (joint !== undefined && !replicas.some(votesInOutgoing)) return 'has no outgoing voter'
  return undefined
}

export function isPriority(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= maximumPriority
}

/** A frozen configuration. */
export function makeConfiguration(
  generation: number,
  replicas: readonly RaftMember[],
  changes: readonly ConfigurationChange[] = [],
  joint?: JointPhase,
): Configuration {
  const configuration = {
    generation,
    replicas: Object.freeze(replicas.map((replica) => Object.freeze(replica))),
    changes: Object.freeze(changes.map((change) => Object.freeze(change))),
  }
  return Object.freeze(
    joint === undefined ? configuration : { ...configuration, joint: Object.freeze(joint) },
  )
}

/** The member with this id. */
export function replicaOf(
  configuration: Configuration | undefined,
  replicaId: ReplicaId,
): RaftMember | undefined {
  return configuration?.replicas.find((replica) => replica.replicaId === replicaId)
}

/** Members are listed by ascending id, and there is always one. */
export function highestReplicaId({ replicas }: Configuration): ReplicaId {
  return (replicas.at(-1) as RaftMember).replicaId
}

/** What a member of a new group starts from: log and hard state, to be made durable before the first message. */
export interface BootstrapState {
  readonly hardState: HardState
  readonly entries: readonly LogEntry[]
}

/**
 * The first entries of a new group, the same on each of its first members: the configuration at index 1, then no-ops, so
 * that the ids of the first members (which are not above the last index) are never minted again. They have term 1, in
 * which there is no election, and count as committed.
 *
 * @param generation of the configuration
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function bootstrapState(replicas: readonly RaftMember[], generation = 1): BootstrapState {
  const sorted = replicas.slice().sort((a, b) => a.replicaId - b.replicaId)
  const configuration = makeConfiguration(generation, sorted)
  const problem = configurationProblem(configuration)
  if (problem !== undefined) {
    throw new KeelsonError('INVALID_ARGUMENT', `the configuration of a bootstrap ${problem}`)
  }
  const length = highestReplicaId(configuration)
  if (length > maximumReplicas) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `the first replicas of a group have the ids 1 to n, but one has ${length}`,
    )
  }
  const entries: LogEntry[] = [
    { index: 1, term: 1, kind: entryKinds.configuration, data: encodeConfiguration(configuration) },
  ]
  for (let index = 2; index <= length; index++) {
    entries.push({ index, term: 1, kind: entryKinds.noop, data: emptyBytes })
  }
  return { hardState: { term: 1, votedFor: 0, commit: length }, entries }
}
