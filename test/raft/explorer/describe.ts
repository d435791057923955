import { entryKinds, type HardState, type LogEntry } from '../../../src/interfaces/log-store.ts'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { decodeConfiguration, replicaOf } from '../../../src/raft/core/configuration.ts'
import type { Configuration } from '../../../src/raft/core/membership-types.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type { Member } from './member.ts'
import type { Shape } from './shape.ts'

/** Fields whose value is a replica id. `to` is one in messages alone, which have a kind. */
const idFields: ReadonlySet<string> = new Set([
  'replicaId',
  'votedFor',
  'durableVote',
  'leader',
  'termLeader',
  'transferTo',
  'from',
  'to',
])

/**
 * Fields that follow from others, that only count (writes, truncations, fetches: they are compared while something is
 * under way, and between two actions nothing is), or that say nothing of what a core will do.
 */
const leftOut: ReadonlySet<string> = new Set([
  'options',
  'random',
  'nowMs',
  'electionTimeoutMs',
  'dropped',
  'reportedLeadership',
  'reportedConfiguration',
  'sharedSlice',
  'memoryBytes',
  'truncations',
  'writeId',
  'lastWriteId',
  'persistedWriteId',
  'lastFetchId',
  // Nothing is compacted, so nobody is offered a snapshot.
  'offeredAtMs',
  // Nobody has a priority, so no leader yields.
  'yieldNotBeforeMs',
  'yieldedAtMs',
  'yieldPauseMs',
  // Bytes follow from entries, and no limit of them is ever reached.
  'uncommittedBytes',
  'sizes',
  'bytes',
  // So few entries are there that everybody has caught up.
  'coveredAtMs',
  'catchUpStartedMs',
  'catchUpIndex',
  // Of a configuration in its place: what follows from it.
  'electorate',
  'wantsMore',
  // A replica id belongs to one node.
  'nodeId',
  'incarnation',
])

/**
 * What a core will do, as a shape. Time is abstract: a moment is lately or an election timeout ago and more (an interval, where
 * no more is asked), and a deadline is there or not, because the explorer lets a timer run out whenever it likes.
 */
export function describeCore(core: RaftCore): Shape {
  const { nowMs, options } = core
  const isLearner = (id: ReplicaId): boolean => replicaOf(core.configuration, id)?.role === 'learner'
  /** Without CheckQuorum it is no matter when a leader was heard, nor a voter: a learner that is promoted must answer. */
  const isDead = (name: string, of: ReplicaId): boolean => {
    if (options.checkQuorum) return false
    return name === 'leaderHeardMs' || (name === 'lastHeardMs' && !isLearner(of))
  }
  const describeTime = (name: string, value: number): string => {
    if (!Number.isFinite(value)) return 'never'
    const agoMs = nowMs - value
    // It is looked at with whatever else the timer of a leader does.
    if (name === 'transferDeadlineMs') return agoMs >= 0 ? 'due' : 'set'
    if (name.endsWith('DeadlineMs')) return 'set'
    // It is looked at again after an interval, however long ago that was.
    if (name === 'checkedAtMs') return agoMs >= options.heartbeatIntervalMs ? 'aged' : 'lately'
    return agoMs >= options.electionTimeoutMs ? 'old' : 'lately'
  }
  const describe = (name: string, value: unknown, of: ReplicaId = 0): Shape => {
    if (typeof value === 'number') {
      if (name.endsWith('Ms')) return describeTime(name, value)
      return idFields.has(name) ? { id: value } : String(value)
    }
    if (typeof value !== 'object' || value === null) return String(value)
    if (value instanceof Uint8Array) return value.join(',')
    if (value instanceof Map) {
      return {
        set: [...value].map(([id, item]) => ({
          list: [{ id: id as ReplicaId }, describe('', item, id as ReplicaId)],
        })),
      }
    }
    if (name === 'outbox' || name === 'deferred') return describeUnsent(value as readonly Message[])
    if (Array.isArray(value)) return { list: value.map((item) => describe('', item)) }
    if (isEntry(value)) return describeEntry(value)
    if (isConfiguration(value)) return describeConfiguration(value)
    const fields: Shape[] = []
    for (const [field, item] of Object.entries(value)) {
      if (!leftOut.has(field) && !isDead(field, of)) fields.push(field, describe(field, item))
    }
    return { list: fields }
  }
  return describe('', core)
}

/** A member with its disk and what is under way between the two, as a shape. */
export function describeMember({ replicaId, core, disk, writes, withheld, turnDue }: Member): Shape {
  const done = core?.log.persistedWriteId ?? 0
  return {
    list: [
      { id: replicaId },
      core === undefined ? 'down' : describeCore(core),
      describeHardState(disk.hardState),
      describeEntries(disk.log),
      {
        list: writes.map(({ entries, hardState }) => ({
          list: [describeEntries(entries ?? []), describeHardState(hardState)],
        })),
      },
      // Numbers of writes matter only relative to what is durable.
      {
        set: withheld.map(({ writeId, message }) => ({
          list: [String(writeId - done), describeMessage(message)],
        })),
      },
      String(turnDue),
    ],
  }
}

function describeHardState(hardState: HardState | undefined): Shape {
  if (hardState === undefined) return 'none'
  return { list: [String(hardState.term), { id: hardState.votedFor }, String(hardState.commit)] }
}

/** Messages go each its own way, so their order says nothing; but an acknowledgement replaces the one just before it. */
function describeUnsent(messages: readonly Message[]): Shape {
  const last = messages.at(-1)
  return {
    list: [{ set: messages.map(describeMessage) }, last?.kind === 'appendReply' ? describeMessage(last) : ''],
  }
}

/** A message, as a shape. */
export function describeMessage(message: Message): Shape {
  const fields: Shape[] = []
  for (const [field, item] of Object.entries(message)) {
    if (field === 'entries') fields.push(field, describeEntries(item as readonly LogEntry[]))
    else if (idFields.has(field)) fields.push(field, { id: item as ReplicaId })
    else fields.push(field, JSON.stringify(item))
  }
  return { list: fields }
}

export function describeEntries(entries: readonly LogEntry[]): Shape {
  return { list: entries.map(describeEntry) }
}

const entryShapes = new WeakMap<LogEntry, Shape>()

function describeEntry(entry: LogEntry): Shape {
  const known = entryShapes.get(entry)
  if (known !== undefined) return known
  const { index, term, kind, data } = entry
  const content: Shape =
    kind === entryKinds.configuration
      ? describeConfiguration(decodeConfiguration(data))
      : `${kind}:${data.join(',')}`
  const shape: Shape = { list: [`${index}/${term}`, content] }
  entryShapes.set(entry, shape)
  return shape
}

function isEntry(value: object): value is LogEntry {
  return 'index' in value && 'term' in value && 'kind' in value && 'data' in value
}

function isConfiguration(value: object): value is Configuration {
  return 'generation' in value && 'replicas' in value
}

/** The order of replicas is that of their ids; that of changes says nothing, since they are one. */
function describeConfiguration(configuration: Configuration): Shape {
  const { generation, replicas, changes, joint } = configuration
  const members: Shape[] = replicas.map(({ replicaId, role, autoPromote, priority }) => ({
    list: [{ id: replicaId }, `${role}${autoPromote === true ? '+' : ''}${priority ?? ''}`],
  }))
  const steps: Shape[] = changes.map(({ type, replicaId }) => ({
    list: replicaId === 0 ? [type] : [type, { id: replicaId }],
  }))
  const phase = joint === undefined ? '' : `joint ${joint.autoLeave}`
  return { list: [String(generation), { set: members }, { set: steps }, phase] }
}
