import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import {
  arrayOption,
  booleanOption,
  checkOptions,
  functionOption,
  integerOption,
  objectOption,
  optional,
  stringOption,
} from '../../core/options.ts'
import type { GroupWrite, LogStore, LogStoreFactory, RecoveredGroup } from '../../interfaces/log-store.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import { type ClusterId, checkName, type GroupId, type NodeId } from '../../model/ids.ts'
import type { Configuration } from '../core/membership-types.ts'
import { RaftCore } from '../core/raft.ts'
import { checkOwner, readBookkeeping } from '../group/bookkeeping.ts'
import {
  type FirstCommand,
  type GroupReport,
  planRecovery,
  type RecoveryPlan,
  recoveryWrite,
} from '../group/lost-quorum.ts'
import { decodeGroupMetadata, type GroupMetadata } from '../group/metadata.ts'
import { cutAfter, forgetApplied, recoverReplica, wholePart } from '../group/recovery.ts'
import { supersededError } from '../group/refusals.ts'
import { type DiskRecord, diskGroupId, isConcerned, readDiskRecord } from './disk-record.ts'
import { noteVisit } from './disk-trust.ts'

/** Which replica of which stopped host {@link inspectGroup} and {@link recoverGroup} work on. */
export interface StoppedGroupOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** What opens the log store of the host, which must not run: an open directory is refused with `DIRECTORY_LOCKED`. */
  readonly log: LogStoreFactory
  /** The cluster of the log store. */
  readonly clusterId: ClusterId
  /** The node of the log store. */
  readonly nodeId: NodeId
  /** The group. */
  readonly groupId: GroupId
  /** This replica's state machine, not opened yet. It is opened, read and closed. */
  readonly stateMachine: StateMachine
}

/** Options of {@link recoverGroup}. */
export interface RecoverGroupOptions extends StoppedGroupOptions {
  /**
   * The reports that {@link inspectGroup} gave of all replicas with which the group goes on, this one among them. The same
   * on the node of each of them.
   */
  readonly survivors: readonly GroupReport[]
  /** That whoever decides this knows that committed commands may be lost. Only `true` is taken. */
  readonly acceptDataLoss: boolean
  /** `recover group <groupId>`, spelled out. */
  readonly confirm: string
  /**
   * A command that the group applies before any other that it takes from now on: what was lost may have counted numbers
   * that must never be given out again (fencing tokens, say), and this is the place to raise them. Asked on the node of the
   * source alone, when its state machine is open. Give the same function on all survivors. Default: none
   */
  readonly firstCommand?: FirstCommand
}

/** What {@link recoverGroup} did, and what that may cost. */
export interface GroupRecovery {
  /** The group. */
  readonly groupId: GroupId
  /**
   * What every message of the group carries from now on; who says less is not listened to. It grows with each recovery, and
   * no other one has the same.
   */
  readonly recoveryGeneration: number
  /** The survivors, all of them voters. More are added like any others once the group has a leader. */
  readonly configuration: Configuration
  /** The survivor whose log is the group's from now on. What was committed and is not in it is lost. */
  readonly source: GroupReport
  /** Everything up to here is kept: it is in the log of the source. */
  readonly lastIndex: number
  /**
   * Up to here the source knows its log to be committed. What comes after it, up to `lastIndex`, may take effect now although
   * nobody was ever told that it did.
   */
  readonly commitIndex: number
  /** This node had been brought into the generation before: nothing was written. */
  readonly repeated: boolean
}

const stoppedGroup = {
  env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
  log: functionOption<LogStoreFactory>(),
  clusterId: stringOption(),
  nodeId: stringOption(),
  groupId: integerOption({ min: 1, max: diskGroupId - 1 }),
  stateMachine: objectOption<StateMachine>(['open', 'close']),
}

/**
 * Reads what a replica of a stopped host has, to decide how its group can be recovered from a lost quorum.
 *
 * @throws KeelsonError `DIRECTORY_LOCKED` while the host runs, `NOT_FOUND`, `SUPERSEDED`, `CORRUPTION`, and whatever opening
 * the store throws
 */
export async function inspectGroup(options: StoppedGroupOptions): Promise<GroupReport> {
  const checked = checkOptions<StoppedGroupOptions>('inspectGroup', options, stoppedGroup)
  return withReplica(checked, async (_store, { report }) => report)
}

/**
 * Brings a group back that has lost its quorum for good, on the node of one survivor: **committed commands may be lost**, and
 * the group goes on without whoever is not among the survivors. The last resort, for when more than half of the voters are
 * gone and will not come back.
 *
 * Stop the hosts of all survivors, call {@link inspectGroup} on each, then this with all reports on each, then start them.
 * The survivor with the best log gets a new configuration of the survivors alone; every message of the group carries a new
 * recovery generation from then on, so that lost members that come back are not listened to: they stop with `SUPERSEDED`
 * when they hear of it. Two of them that never hear of it can still make a majority of the old group among themselves,
 * so be sure that they are gone or cut off from clients.
 *
 * Calling it again with the same reports changes nothing more; a survivor that was interrupted is completed by that.
 *
 * @throws KeelsonError `INVALID_ARGUMENT` without the acknowledgements, for reports that do not belong together and for a
 * group that has its quorum; `CONFLICT` when this replica is not as its report says; and as {@link inspectGroup}
 */
export async function recoverGroup(options: RecoverGroupOptions): Promise<GroupRecovery> {
  const checked = checkOptions<RecoverGroupOptions>('recoverGroup', options, {
    ...stoppedGroup,
    survivors: arrayOption<GroupReport>(objectOption(['replicaId'])),
    acceptDataLoss: booleanOption(false),
    confirm: stringOption({ fallback: 'nothing' }),
    firstCommand: optional(functionOption<FirstCommand>()),
  })
  const { groupId, survivors, env, firstCommand } = checked
  checkAcknowledged(checked)
  const plan = planRecovery(survivors)
  if (plan.groupId !== groupId) {
    throw new KeelsonError('INVALID_ARGUMENT', `the reports are of group ${plan.groupId}, not of ${groupId}`)
  }
  return withReplica(checked, async (store, { report, cut, record }) => {
    const given = survivors.find(({ replicaId }) => replicaId === report.replicaId)
    if (given === undefined) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the reports have none of replica ${report.replicaId} of group ${groupId}, which this node has`,
      )
    }
    const repeated = isDone(plan, given, report, firstCommand !== undefined)
    if (!repeated) {
      checkUnchanged(given, report)
      await noteVisit(env, store, record, true)
      const write = recoveryWrite(plan, report, firstCommand, store.durablePosition?.())
      await store.write([{ ...cut, ...write }])
    }
    const { recoveryGeneration, configuration, source } = plan
    const { lastIndex, commitIndex } = source
    const recovery = { groupId, recoveryGeneration, configuration, source, lastIndex, commitIndex, repeated }
    env.logger.error(
      { ...recovery, replicaId: report.replicaId },
      `group ${groupId} was recovered from a lost quorum: what was committed beyond entry ${lastIndex} is lost`,
    )
    return recovery
  })
}

function checkAcknowledged({ groupId, acceptDataLoss, confirm }: RecoverGroupOptions): void {
  const wanted = `recover group ${groupId}`
  if (acceptDataLoss === true && confirm === wanted) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `recovering group ${groupId} from a lost quorum may lose committed commands for good; say acceptDataLoss: true and confirm: '${wanted}' if that is meant`,
  )
}

/** The write was made before, and the host has not run since. */
function isDone(plan: RecoveryPlan, given: GroupReport, report: GroupReport, hasCommand: boolean): boolean {
  if (report.recoveryGeneration !== plan.recoveryGeneration || report.term !== plan.term) return false
  const isSource = report.replicaId === plan.source.replicaId
  const added = plan.configurationIndex + (hasCommand ? 1 : 0)
  return report.lastIndex === (isSource ? added : given.lastIndex)
}

function checkUnchanged(given: GroupReport, report: GroupReport): void {
  const keys = [
    'nodeId',
    'incarnation',
    'recoveryGeneration',
    'term',
    'lastIndex',
    'lastTerm',
    'commitIndex',
  ] as const
  const changed = keys.filter((key) => given[key] !== report[key])
  if (changed.length === 0) return
  throw new KeelsonError(
    'CONFLICT',
    `replica ${report.replicaId} of group ${report.groupId} is not as its report says (${changed.join(', ')}): its host ran since, or it is another disk; inspect all survivors again`,
    { retryable: false },
  )
}

interface Inspected {
  readonly report: GroupReport
  /** Drops what lies behind a damage, so that the log is as the report says. */
  readonly cut: Pick<GroupWrite, 'reset' | 'entries'>
  readonly record: DiskRecord
}

/** Opens log store and state machine of a replica, brings them together as a start does, and closes them. */
async function withReplica<T>(
  options: StoppedGroupOptions,
  act: (store: LogStore, inspected: Inspected) => Promise<T>,
): Promise<T> {
  const { env, log, groupId, stateMachine } = options
  const clusterId = checkName(options.clusterId, 'a cluster id')
  const nodeId = checkName(options.nodeId, 'a node id')
  await using store = await log({ env, clusterId, nodeId })
  const found = store.recovered().get(groupId)
  const stored = found?.metadata === undefined ? undefined : decodeGroupMetadata(found.metadata)
  if (found === undefined || stored === undefined || stored.destroyed) {
    throw new KeelsonError('NOT_FOUND', `the log store has no replica of group ${groupId}`)
  }
  const before = readDiskRecord(store)
  const metadata = isConcerned(before, stored) ? { ...stored, quarantined: true } : stored
  if (metadata.supersededBy > 0) throw supersededError(groupId, metadata)
  const record = await noteVisit(env, store, before, false)
  try {
    return await act(store, { ...(await inspect(options, store, found, metadata)), record })
  } finally {
    await stateMachine.close()
  }
}

/**
 * A log that the disk has damaged counts up to the damage. Nothing of it is given up by looking at it: the host may repair
 * it yet.
 */
async function inspect(
  { env, nodeId, groupId, stateMachine }: StoppedGroupOptions,
  store: LogStore,
  found: RecoveredGroup,
  metadata: GroupMetadata,
): Promise<Omit<Inspected, 'record'>> {
  const stored = readBookkeeping(await stateMachine.open())
  checkOwner(groupId, stored)
  const flush = async (): Promise<void> => stateMachine.flush()
  const usable = await forgetApplied(store, found, stored.applied, flush)
  const whole = await wholePart(store, usable)
  const { restored, quarantined } = await recoverReplica(store, whole, metadata, stored, flush)
  // Less than it knew to be committed: it is quarantined, though nobody has found out yet.
  const lacking = (restored.hardState?.commit ?? 0) > (restored.entries.at(-1) ?? restored.compacted).index
  const damaged = usable.lost !== undefined
  const core = new RaftCore({
    replicaId: metadata.replicaId,
    restored: { ...restored, quarantined: quarantined || lacking },
    random: env.random,
    nowMs: 0,
  })
  const { term, commitIndex, appliedIndex, lastIndex, lastTerm, configuration } = core.status()
  const report: GroupReport = {
    groupId,
    nodeId,
    incarnation: store.incarnation,
    replicaId: metadata.replicaId,
    recoveryGeneration: metadata.recoveryGeneration,
    term,
    commitIndex,
    appliedIndex,
    lastIndex,
    lastTerm,
    terms: core.log.terms(),
    quarantined: quarantined || (lacking && !damaged),
    configuration: configuration.latest,
  }
  // Where the state was ahead of the log, that begins anew behind it already.
  const cut = damaged && lastIndex === whole.last.index ? await cutAfter(store, whole) : {}
  return { report, cut }
}
