import { crc32 } from '../../core/checksum.ts'
import { encodePlain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import { entryKinds, type GroupWrite, type LogEntry, type LogPosition } from '../../interfaces/log-store.ts'
import type { GroupId, Incarnation, NodeId, ReplicaId } from '../../model/ids.ts'
import { encodeConfiguration, makeConfiguration, replicaOf } from '../core/configuration.ts'
import { electorateOf, hasQuorum } from '../core/electorate.ts'
import type { Configuration, RaftMember } from '../core/membership-types.ts'
import { encodeEnvelope } from './envelope.ts'
import { encodeGroupMetadata, newMetadata } from './metadata.ts'

/**
 * What a stopped replica has, as `inspectGroup` found it: plain data, to be carried to the nodes of the other survivors.
 */
export interface GroupReport {
  /** The group. */
  readonly groupId: GroupId
  /** The node on which this replica lives. */
  readonly nodeId: NodeId
  /** The life of that node's log store. */
  readonly incarnation: Incarnation
  /** The replica. */
  readonly replicaId: ReplicaId
  /** Which recovery from a lost quorum the replica took part in last; 0 for none. */
  readonly recoveryGeneration: number
  /** The latest term that the replica has seen. */
  readonly term: number
  /** Up to here it knows the log to be committed. */
  readonly commitIndex: number
  /** Up to here its state machine has applied it. */
  readonly appliedIndex: number
  /** Index of the last entry of its log; where the disk has damaged some, of the last one before these. */
  readonly lastIndex: number
  /** Term of the last entry of its log. */
  readonly lastTerm: number
  /** Where each term begins in its log, after the last position that was compacted: tells which entries two logs share. */
  readonly terms: readonly LogPosition[]
  /** Its disk lost what it had acknowledged. */
  readonly quarantined: boolean
  /** The latest configuration of its log; undefined for a replica that never got one. */
  readonly configuration: Configuration | undefined
}

/**
 * Makes the first command of a recovered group.
 *
 * @param recoveries how often the group was recovered, this time included
 */
export type FirstCommand = (recoveries: number) => Uint8Array

/** How a group goes on after it lost its quorum. The same on every survivor that was given the same reports. */
export interface RecoveryPlan {
  readonly groupId: GroupId
  /** What every message of the group carries from now on. */
  readonly recoveryGeneration: number
  /** The survivor whose log is the group's from now on. */
  readonly source: GroupReport
  /** A term above all that the survivors have seen: that of the entry with the new configuration. */
  readonly term: number
  /** Where that entry stands in the log of the source. */
  readonly configurationIndex: number
  /** The survivors, all of them voters. */
  readonly configuration: Configuration
}

/** Negative when `a` has less of the log than `b`: the rule by which votes are given (Raft, section 5.4.1). */
function compareLogs(a: GroupReport, b: GroupReport): number {
  return a.lastTerm - b.lastTerm || a.lastIndex - b.lastIndex || b.replicaId - a.replicaId
}

/** Up to here the replica has what it knows to be committed. */
function committedIn({ commitIndex, lastIndex }: GroupReport): number {
  return Math.min(commitIndex, lastIndex)
}

/** The term of the entry at `index` of its log; undefined when that is not known, or there is none. */
function termAt({ terms, lastIndex }: GroupReport, index: number): number | undefined {
  return index > lastIndex ? undefined : terms.findLast((position) => position.index <= index)?.term
}

/**
 * The log with which the group goes on: the one that would win an election, among those that have all that any survivor
 * knows to be committed. Where a majority votes these two are one; but without those that were lost a log may end in a later
 * term which never had what was committed since in a still later one, by entries that are lost (figure 8 of the paper).
 */
function chooseSource(reports: readonly GroupReport[]): GroupReport {
  const ahead = reports.reduce((best, report) => (committedIn(report) > committedIn(best) ? report : best))
  const index = committedIn(ahead)
  const term = termAt(ahead, index)
  const whole = reports.filter((report) => report === ahead || termAt(report, index) === term)
  return whole.reduce((best, report) => (compareLogs(report, best) > 0 ? report : best))
}

/**
 * How the group goes on with the survivors. The best log that is left has everything that any survivor knows to be
 * committed; a new configuration is put at its end, in a term that beats all others, and the other survivors follow it as
 * they would any leader.
 *
 * @throws KeelsonError `INVALID_ARGUMENT` for reports that do not belong together, of a group that has its quorum, or of so many
 *   quarantined replicas that they could go on without the best log
 */
export function planRecovery(reports: readonly GroupReport[]): RecoveryPlan {
  const [first] = reports
  if (first === undefined) refuse('there is no survivor')
  const { groupId, recoveryGeneration } = first
  for (const report of reports) {
    if (report.groupId !== groupId) {
      refuse(`the survivors' reports are of the groups ${groupId} and ${report.groupId}`)
    }
    if (!Array.isArray(report.terms)) {
      refuse(
        `the report of replica ${report.replicaId} of group ${groupId} does not say where the terms of its log begin: inspect it with this release`,
      )
    }
    if (report.recoveryGeneration !== recoveryGeneration) {
      refuse(
        `the replicas ${first.replicaId} and ${report.replicaId} of group ${groupId} are of different recovery generations; only those of the newest belong to it`,
      )
    }
  }
  const source = chooseSource(reports)
  const before = source.configuration
  if (before === undefined) return refuse(`replica ${source.replicaId} of group ${groupId} is still empty`)
  const survivors = new Set<ReplicaId>()
  for (const { replicaId, nodeId, incarnation } of reports) {
    const member = replicaOf(before, replicaId)
    if (member?.nodeId !== nodeId || member.incarnation !== incarnation) {
      refuse(
        `replica ${replicaId} on ${nodeId} is no member of group ${groupId} by the best log that is left, that of replica ${source.replicaId}; leave it out and add it anew afterwards`,
      )
    }
    if (survivors.has(replicaId)) refuse(`there are two reports of replica ${replicaId} of group ${groupId}`)
    survivors.add(replicaId)
  }
  // One that is quarantined votes for nobody: it is no help to a quorum, but its log may be.
  const voting = reports.filter(({ quarantined }) => !quarantined)
  for (const report of reports) {
    if (!canBeElected(report, voting)) continue
    refuse(
      `the survivors of group ${groupId} are a quorum by the configuration of replica ${report.replicaId}: nothing is lost, so start their hosts`,
    )
  }
  refuseRivals(source, reports)
  const replicas = before.replicas.filter(({ replicaId }) => survivors.has(replicaId)).map(asVoter)
  return {
    groupId,
    recoveryGeneration: nextGeneration(reports),
    source,
    term: 1 + Math.max(...reports.map(({ term }) => term)),
    configurationIndex: source.lastIndex + 1,
    configuration: makeConfiguration(nextConfigurationGeneration(reports), replicas),
  }
}

/**
 * Whether those who vote for a log like this are a quorum by its configuration. Survivors with a longer log do not: one that
 * fell behind may know an old configuration in which they are a quorum, and yet nobody can win an election.
 */
function canBeElected(candidate: GroupReport, voting: readonly GroupReport[]): boolean {
  if (candidate.configuration === undefined) return false
  const { lastTerm, lastIndex } = candidate
  const granted = new Set(
    voting
      .filter((report) => (report.lastTerm - lastTerm || report.lastIndex - lastIndex) <= 0)
      .map(({ replicaId }) => replicaId),
  )
  return hasQuorum(electorateOf(candidate.configuration), (voter) => granted.has(voter))
}

/**
 * After the recovery all survivors vote again, quarantined ones too, and until the source has reached them by their own
 * configurations. Those that could elect one of themselves without it would commit their own entries in place of its.
 */
function refuseRivals(source: GroupReport, reports: readonly GroupReport[]): void {
  const others = reports.filter((report) => report !== source)
  const rival = others.find((report) => canBeElected(report, others))
  if (rival === undefined) return
  const quarantined = others.filter((report) => report.quarantined).map(({ replicaId }) => replicaId)
  refuse(
    `the replicas ${others.map(({ replicaId }) => replicaId).join(', ')} of group ${rival.groupId} could elect one of themselves past replica ${source.replicaId}, which has the best log that is left; leave out quarantined ones (${quarantined.join(', ')}) until they no longer are a quorum, and add them anew afterwards`,
  )
}

/** A recovery generation is the number of recoveries so far, times this, and what tells this one from any other. */
export const generationStep: number = 2 ** 32

/** How often a group was recovered from a lost quorum, by its recovery generation. */
export function recoveriesOf(generation: number): number {
  return Math.floor(generation / generationStep)
}

/**
 * Recoveries that know nothing of each other must not make the same generation, or their histories would be taken for
 * one: another operator has other survivors, and one that was given up halfway had other reports. So a generation tells of
 * the very reports that it was made from.
 */
function nextGeneration(reports: readonly GroupReport[]): number {
  const [{ groupId, recoveryGeneration }] = reports as readonly [GroupReport]
  const told = reports
    .map(({ replicaId, nodeId, incarnation, term, lastIndex, lastTerm, commitIndex, terms }) => {
      const starts = terms.map((start) => [start.index, start.term] as const)
      return [replicaId, nodeId, incarnation, term, lastIndex, lastTerm, commitIndex, starts] as const
    })
    .sort(([a], [b]) => a - b)
  const mark = crc32(encodePlain([groupId, recoveryGeneration, told]))
  const generation = (Math.floor(recoveryGeneration / generationStep) + 1) * generationStep + mark
  if (!Number.isSafeInteger(generation)) refuse(`group ${groupId} was recovered too often`)
  return generation
}

/**
 * Whoever was lost may have committed further configurations, and others may know of them: the range directory takes only
 * what is above. So each recovery goes on with a block of generations of its own.
 */
function nextConfigurationGeneration(reports: readonly GroupReport[]): number {
  const latest = Math.max(...reports.map(({ configuration }) => configuration?.generation ?? 0))
  const generation = (Math.floor(latest / generationStep) + 1) * generationStep
  if (!Number.isSafeInteger(generation)) refuse('the configuration was changed too often')
  return generation
}

/** Whether two generations come from recoveries of which neither knew of the other: they go on from the same one. */
export function areApart(generation: number, other: number): boolean {
  return (
    Math.floor(generation / generationStep) === Math.floor(other / generationStep) && generation !== other
  )
}

/** Whatever a survivor was, in whatever half of a joint configuration: from now on it counts. */
function asVoter({ replicaId, nodeId, incarnation, priority }: RaftMember): RaftMember {
  const voter = { replicaId, nodeId, incarnation, role: 'voter' } as const
  return priority === undefined ? voter : { ...voter, priority }
}

/**
 * What a survivor writes, in one act. The source gets the new configuration; the others only their place in the new
 * generation, and a term in which they have voted for the source, so that none of them leads in the term of that entry.
 *
 * @param firstCommand gives the command that stands behind the new configuration, before whatever a leader adds
 * @param countsFrom how much of the survivor's disk is durable, where its store says
 */
export function recoveryWrite(
  plan: RecoveryPlan,
  report: GroupReport,
  firstCommand?: FirstCommand,
  countsFrom?: number,
): GroupWrite {
  const { groupId, recoveryGeneration, source, term, configurationIndex, configuration } = plan
  const entries = (): LogEntry[] => {
    const data = encodeConfiguration(configuration)
    const first = { index: configurationIndex, term, kind: entryKinds.configuration, data }
    if (firstCommand === undefined) return [first]
    return [first, commandEntry(configurationIndex + 1, term, firstCommand(recoveriesOf(recoveryGeneration)))]
  }
  return {
    groupId,
    ...(report.replicaId === source.replicaId ? { entries: entries() } : {}),
    hardState: { term, votedFor: source.replicaId, commit: Math.min(report.commitIndex, report.lastIndex) },
    // A replica that had lost something is as good as its log: nothing that it acknowledged before counts any more.
    metadata: encodeGroupMetadata({
      ...newMetadata(report.replicaId, recoveryGeneration),
      ...(countsFrom === undefined ? {} : { countsFrom }),
    }),
  }
}

/** A command that no client proposed. */
export function commandEntry(index: number, term: number, command: Uint8Array): LogEntry {
  return { index, term, kind: entryKinds.command, data: encodeEnvelope(command, 0, undefined, 0) }
}

function refuse(problem: string): never {
  throw new KeelsonError('INVALID_ARGUMENT', problem)
}
