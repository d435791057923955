import { KeelsonError } from '../../core/errors.ts'
import {
  entryKinds,
  type GroupWrite,
  type LogEntry,
  type LogPosition,
  type LogStore,
  type RecoveredGroup,
} from '../../interfaces/log-store.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import type { GroupId, ReplicaId } from '../../model/ids.ts'
import { decodeConfiguration } from '../core/configuration.ts'
import type { Configuration } from '../core/membership-types.ts'
import type { RestoredState } from '../core/types.ts'
import type { GroupBookkeeping } from './bookkeeping.ts'
import { encodeGroupMetadata, type GroupMetadata } from './metadata.ts'

const readBytes = 4 << 20

/** What start-up found and decided. */
export interface RecoveredReplica {
  readonly restored: RestoredState
  readonly metadata: GroupMetadata
  /** The disk is older than what it once acknowledged; the replica must not be believed. */
  readonly quarantined: boolean
}

/**
 * Brings log and state machine of a replica together after a start.
 *
 * A snapshot switches the state machine first and resets the log second, with a durable mark before both, so after a crash
 * in between the state is ahead of the log: with the mark the pair is completed here; without it the log must have lost
 * what it had, since nothing is applied that is not durable in the log, and the replica is quarantined. So it is when
 * entries are damaged and could not be repaired.
 *
 * @param flush makes the state durable as it was opened: it may have come from a cache
 * @param pledgeMs for how long the replica may pledge itself from now on, which is durable before it starts
 * @throws KeelsonError `CORRUPTION`, `IO`
 */
export async function recoverReplica(
  store: LogStore,
  found: RecoveredGroup,
  metadata: GroupMetadata,
  stored: GroupBookkeeping,
  flush: () => Promise<void>,
  pledgeMs = 0,
): Promise<RecoveredReplica> {
  const { groupId } = found
  const { applied } = stored
  if (stored.replicaId !== 0 && stored.replicaId !== metadata.replicaId) {
    throw new KeelsonError(
      'CORRUPTION',
      `the state of group ${groupId} belongs to replica ${stored.replicaId}, its log to ${metadata.replicaId}; they come from different directories`,
    )
  }
  if (applied.index < found.compacted.index) {
    throw new KeelsonError(
      'CORRUPTION',
      `the state of group ${groupId} ends at ${applied.index}, but its log begins after ${found.compacted.index}: the state machine lost what it had confirmed`,
    )
  }
  if (found.lost !== undefined) return withoutLog(store, found, metadata, stored)
  let { compacted, last } = found
  let quarantined = metadata.quarantined
  if (!(await logHolds(store, found, applied))) {
    if (!metadata.restoring) quarantined = true
    compacted = applied
    last = applied
  }
  if ((found.hardState?.term ?? 0) < applied.term && !metadata.restoring) quarantined = true
  const longestPledgeMs = Math.max(metadata.pledgeMs, pledgeMs)
  const next: GroupMetadata = { ...metadata, quarantined, restoring: false, pledgeMs: longestPledgeMs }
  let { hardState } = found
  // A snapshot may come from a later term than this replica knew. Written with the end of the mark, or the next start
  // would take the lower term for something that was lost.
  if (!quarantined && (hardState?.term ?? 0) < applied.term) {
    hardState = { term: applied.term, votedFor: 0, commit: applied.index }
  }
  const isMarked = next.quarantined !== metadata.quarantined || longestPledgeMs !== metadata.pledgeMs
  if (last !== found.last || isMarked || metadata.restoring) {
    if (last !== found.last) await flush()
    await store.write([
      {
        groupId,
        metadata: encodeGroupMetadata(next),
        ...(last === found.last ? {} : { reset: applied }),
        ...(hardState === undefined || hardState === found.hardState ? {} : { hardState }),
      },
    ])
  }
  const { configuration } = stored
  // From the first entry that may have to be applied again, but at least the last one: it says where the log ends.
  const from = Math.max(compacted.index + 1, Math.min(applied.index + 1, last.index))
  const restored: RestoredState = {
    compacted,
    appliedIndex: applied.index,
    entries: await readAll(store, groupId, from, last.index),
    earlierTerms: termsBetween(stored.termStarts, compacted.index, from - 1),
    quarantined,
    pledgedMs: metadata.pledgeMs,
    ...(hardState === undefined ? {} : { hardState }),
    ...(configuration === undefined
      ? {}
      : { configuration: configuration.configuration, configurationIndex: applied.index }),
  }
  return { restored, metadata: next, quarantined }
}

/** Entries that may be committed are gone for good here. What is left of the log stays on the disk, for whoever may need it. */
async function withoutLog(
  store: LogStore,
  { groupId, hardState }: RecoveredGroup,
  metadata: GroupMetadata,
  { applied, configuration }: GroupBookkeeping,
): Promise<RecoveredReplica> {
  const next: GroupMetadata = { ...metadata, quarantined: true }
  if (!metadata.quarantined) await store.write([{ groupId, metadata: encodeGroupMetadata(next) }])
  const restored: RestoredState = {
    compacted: applied,
    appliedIndex: applied.index,
    entries: [],
    quarantined: true,
    ...(hardState === undefined ? {} : { hardState }),
    ...(configuration === undefined
      ? {}
      : { configuration: configuration.configuration, configurationIndex: applied.index }),
  }
  return { restored, metadata: next, quarantined: true }
}

/**
 * Forgets damaged entries that the state machine has for certain: nobody needs them but a replica that is far behind, and
 * that one gets a snapshot. What is lost beyond is left to its caller.
 *
 * @param flush makes the state durable as it was opened. What it brought back may be in a cache alone, and the log is never
 * compacted beyond what is durable
 */
export async function forgetApplied(
  store: LogStore,
  found: RecoveredGroup,
  applied: LogPosition,
  flush: () => Promise<void>,
): Promise<RecoveredGroup> {
  const { groupId, lost, metadata, ...rest } = found
  const run = lost?.findLast(({ first }) => first <= applied.index)
  // Only where log and state agree on what was applied is the one as good as the other.
  if (lost === undefined || run === undefined || !(await logHolds(store, found, applied))) return found
  await flush()
  const through = { index: Math.min(run.last, applied.index), term: run.term }
  await store.compact(groupId, through)
  // With a write of the group the compaction is durable.
  await store.write([{ groupId, ...(metadata === undefined ? {} : { metadata }) }])
  const left = lost.filter(({ last }) => last > through.index)
  const [first, ...others] = left
  return {
    ...rest,
    groupId,
    metadata,
    compacted: through,
    last: rest.last.index <= through.index ? through : rest.last,
    ...(first === undefined
      ? {}
      : { lost: [{ ...first, first: Math.max(first.first, through.index + 1) }, ...others] }),
  }
}

/**
 * A damaged log as far as it is whole: up to the first entry that is lost. Nothing is changed by that.
 *
 * @param found after {@link forgetApplied}
 */
export async function wholePart(store: LogStore, found: RecoveredGroup): Promise<RecoveredGroup> {
  const { lost, ...rest } = found
  const first = lost?.[0]?.first
  if (first === undefined) return found
  const { groupId, compacted } = found
  const index = first - 1
  if (index === compacted.index) return { ...rest, last: compacted }
  const [entry] = await store.read(groupId, index, index, readBytes)
  return { ...rest, last: { index, term: entry?.term ?? 0 } }
}

/** What cuts a damaged log off behind its {@link wholePart}, as a part of a write of its group. */
export async function cutAfter(
  store: LogStore,
  { groupId, compacted, last }: RecoveredGroup,
): Promise<Pick<GroupWrite, 'reset' | 'entries'>> {
  if (last.index === compacted.index) return { reset: compacted }
  // An entry that is written once more replaces all that comes after it.
  return { entries: await store.read(groupId, last.index, last.index, readBytes) }
}

/**
 * The other replicas of a group whose log is damaged, as what is left of log and state names them; undefined when neither
 * says anything.
 */
export async function knownPeers(
  store: LogStore,
  { groupId, compacted, last, lost = [] }: RecoveredGroup,
  { applied, configuration }: GroupBookkeeping,
  self: ReplicaId,
): Promise<ReplicaDescriptor[] | undefined> {
  let configured = false
  const known = new Map<ReplicaId, ReplicaDescriptor>()
  const add = ({ replicas }: Configuration): void => {
    configured = true
    for (const replica of replicas) if (replica.replicaId !== self) known.set(replica.replicaId, replica)
  }
  if (configuration !== undefined) add(configuration.configuration)
  let next = Math.max(compacted.index, applied.index) + 1
  for (const gap of [...lost, { first: last.index + 1, last: last.index }]) {
    if (gap.first > next) {
      for (const entry of await readAll(store, groupId, next, gap.first - 1)) {
        if (entry.kind === entryKinds.configuration) add(decodeConfiguration(entry.data))
      }
    }
    next = gap.last + 1
  }
  return configured ? [...known.values()] : undefined
}

/** Whether the log has the entry that was applied last, or ends with it. */
async function logHolds(store: LogStore, found: RecoveredGroup, applied: LogPosition): Promise<boolean> {
  if (applied.index > found.last.index) return false
  if (applied.index === found.compacted.index) return applied.term === found.compacted.term
  const run = found.lost?.find(({ first, last }) => first <= applied.index && applied.index <= last)
  if (run !== undefined) return run.term === applied.term
  const [entry] = await store.read(found.groupId, applied.index, applied.index, readBytes)
  return entry?.term === applied.term
}

async function readAll(store: LogStore, groupId: GroupId, from: number, to: number): Promise<LogEntry[]> {
  const entries: LogEntry[] = []
  while (from + entries.length <= to) {
    const part = await store.read(groupId, from + entries.length, to, readBytes)
    for (const entry of part) entries.push(entry)
  }
  return entries
}

/** The first position of each term in (`after`, `through`]. */
function termsBetween(starts: readonly LogPosition[], after: number, through: number): LogPosition[] {
  const terms: LogPosition[] = []
  for (const start of starts) {
    if (start.index > through) break
    if (start.index > after) terms.push(start)
    // The term that was under way where the log begins.
    else terms[0] = { index: after + 1, term: start.term }
  }
  return after >= through ? [] : terms
}
