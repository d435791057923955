import { checkObject } from '../../core/arguments.ts'
import { emptyBytes } from '../../core/bytes.ts'
import { decodePlain, encodePlain, Fields, type Plain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import { entryKinds, type HardState, type LogEntry } from '../../interfaces/log-store.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import { checkId, checkName, type ReplicaId } from '../../model/ids.ts'
import type { Configuration, ConfigurationChange, MembershipChange } from './types.ts'

const version = 1
/** Most replicas of one group. */
export const maximumReplicas = 1000
const changeTypes = ['addLearner', 'promote', 'remove'] as const

/** The data of a configuration entry; also how a snapshot carries its configuration. */
export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const replicas: Plain = configuration.replicas.map(
    (r): Plain => [r.replicaId, r.nodeId, r.incarnation, r.role === 'voter' ? 1 : 0],
  )
  const { change } = configuration
  const changed: Plain = change === undefined ? null : [changeTypes.indexOf(change.type), change.replicaId]
  return encodePlain([version, configuration.generation, replicas, changed])
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
  if (found !== version) {
    throw new KeelsonError(
      'FORMAT_VERSION',
      `${what} has version ${found}, which this release does not know; upgrade this node, its state is unharmed`,
      { details: { version: found } },
    )
  }
  const generation = fields.uint('generation')
  const replicas = fields.list('replicas', (replica): ReplicaDescriptor => {
    const replicaId = replica.uint('replicaId')
    const nodeId = replica.string('nodeId')
    const incarnation = replica.uint('incarnation')
    const role = replica.oneOf('role', [0, 1]) === 1 ? 'voter' : 'learner'
    return Object.freeze({ replicaId, nodeId, incarnation, role })
  })
  const change = fields.optional((f): ConfigurationChange => {
    const inner = f.nested('change')
    const type = changeTypes[inner.oneOf('type', [0, 1, 2])]
    return Object.freeze({ type, replicaId: inner.uint('replicaId') })
  })
  const problem = configurationProblem({ generation, replicas })
  if (problem !== undefined) throw new KeelsonError('MALFORMED', `${what} ${problem}`)
  return makeConfiguration(generation, replicas, change)
}

/** What is wrong with a configuration, or undefined. */
export function configurationProblem(configuration: Configuration): string | undefined {
  const { generation, replicas } = configuration
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
    if (replica.role !== 'voter' && replica.role !== 'learner')
      return `gives replica ${replica.replicaId} a role that is neither 'voter' nor 'learner'`
    if (replica.replicaId <= last) return 'does not list its replicas by ascending id'
    if (nodes.has(replica.nodeId)) return `names the node ${replica.nodeId} twice`
    nodes.add(replica.nodeId)
    last = replica.replicaId
  }
  if (!replicas.some((replica) => replica.role === 'voter')) return 'has no voter'
  return undefined
}

/** A frozen configuration. */
export function makeConfiguration(
  generation: number,
  replicas: readonly ReplicaDescriptor[],
  change?: ConfigurationChange,
): Configuration {
  const frozen = Object.freeze(replicas.slice())
  return Object.freeze(
    change === undefined
      ? { generation, replicas: frozen }
      : { generation, replicas: frozen, change: Object.freeze(change) },
  )
}

/** The replica ids that count, ascending. */
export function votersOf(configuration: Configuration | undefined): ReplicaId[] {
  const voters: ReplicaId[] = []
  for (const replica of configuration?.replicas ?? []) {
    if (replica.role === 'voter') voters.push(replica.replicaId)
  }
  return voters
}

/** The member with this id. */
export function replicaOf(
  configuration: Configuration | undefined,
  replicaId: ReplicaId,
): ReplicaDescriptor | undefined {
  return configuration?.replicas.find((replica) => replica.replicaId === replicaId)
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
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function bootstrapState(replicas: readonly ReplicaDescriptor[]): BootstrapState {
  const sorted = replicas.slice().sort((a, b) => a.replicaId - b.replicaId)
  const configuration = makeConfiguration(1, sorted)
  const problem = configurationProblem(configuration)
  if (problem !== undefined) {
    throw new KeelsonError('INVALID_ARGUMENT', `the configuration of a bootstrap ${problem}`)
  }
  const length = (sorted.at(-1) as ReplicaDescriptor).replicaId
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

/**
 * Checks a change that somebody asks for, before it can get into a log, where every replica would have to read it.
 *
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function checkMembershipChange(change: MembershipChange): void {
  checkObject(change, 'a change of the members')
  switch (change.type) {
    case 'addLearner':
      checkName(change.nodeId, 'the node of a new learner')
      checkId(change.incarnation, 'the incarnation of a new learner')
      break
    case 'promote':
    case 'remove':
      checkId(change.replicaId, 'the replica of a change of the members')
      break
    default:
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a change of the members is one of ${changeTypes.join(', ')}, not ${showValue((change as MembershipChange).type)}`,
      )
  }
}
