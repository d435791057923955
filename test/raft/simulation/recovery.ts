import type { LogPosition } from '../../../src/interfaces/log-store.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { RestoredState } from '../../../src/raft/core/types.ts'
import type { GroupReport } from '../../../src/raft/group/lost-quorum.ts'
import type { Machine } from './machine.ts'
import type { Node } from './node.ts'
import type { ReplicaRecord } from './store.ts'

/**
 * Brings log and state of a replica together after a start, as `recoverReplica` of the library does. A snapshot switches
 * the state first and resets the log second, with a durable mark before both, so that a crash in between is completed
 * here.
 */
export function recover(node: Node, record: ReplicaRecord): void {
  const { store } = node
  const machine = node.machineDisk.recover(node.machineDisk.unflushedBatches)
  const { applied } = machine
  const { compacted } = store.current
  if (applied.index < compacted.index) {
    node.world.broken(
      `${node.name}: the state ends at ${applied.index}, the log begins after ${compacted.index}`,
    )
  }
  // By index, not by iteration: a lost batch leaves a hole.
  for (let i = 0; i < store.current.entries.length; i++) {
    if (store.current.entries[i]?.index === compacted.index + 1 + i) continue
    node.world.broken(
      `${node.name}: the log on the disk lacks entry ${compacted.index + 1 + i}`,
      'the log is whole',
    )
  }
  if (logHolds(node, applied)) {
    if (node.pledgeMs <= record.pledgeMs) return begin(node, record, machine, compacted)
    // Durable before the first pledge of this life. What it remembers of its former ones is `record`.
    const longer: ReplicaRecord = { ...record, pledgeMs: node.pledgeMs }
    node.record = longer
    store.writeRecord(longer, () => begin(node, longer, machine, compacted))
    return
  }
  // Nothing is applied that is not durable in the log, so without the mark the disk lost what it had.
  if (!record.restoring)
    node.world.broken(`${node.name}: applied ${applied.index}, which its log does not have`)
  const next: ReplicaRecord = {
    ...record,
    restoring: false,
    pledgeMs: Math.max(record.pledgeMs, node.pledgeMs),
  }
  node.record = next
  store.write({ reset: applied }, () => {})
  store.writeRecord(next, () => begin(node, next, machine, applied))
}

function logHolds(node: Node, { index, term }: LogPosition): boolean {
  const { compacted, entries } = node.store.current
  if (index === compacted.index) return term === compacted.term
  return entries[index - compacted.index - 1]?.term === term
}

function begin(node: Node, record: ReplicaRecord, machine: Machine, compacted: LogPosition): void {
  const core = node.world.makeCore({
    replicaId: record.replicaId,
    restored: restoredState(node, record, machine, compacted),
    options: node.raftOptions(),
    random: node.env.random,
    nowMs: node.nowMs,
  })
  node.install(core, machine, record)
}

function restoredState(
  node: Node,
  record: ReplicaRecord,
  machine: Machine,
  compacted: LogPosition,
): RestoredState {
  const { current } = node.store
  const { applied, configuration } = machine
  // At least the last entry, whose term the log would not know otherwise.
  const short = Math.max(compacted.index, Math.min(applied.index, current.last.index - 1))
  const from = node.world.settings.shortRecovery ? short : compacted.index
  const entries = current.entries.slice(from - compacted.index)
  return {
    compacted,
    appliedIndex: applied.index,
    entries,
    earlierTerms: termsBetween(machine.termStarts, compacted.index, from),
    quarantined: record.quarantined,
    pledgedMs: record.pledgeMs,
    ...(current.hardState === undefined ? {} : { hardState: current.hardState }),
    ...(configuration === undefined ? {} : { configuration, configurationIndex: applied.index }),
  }
}

/** What a stopped node has, as the library's `inspectGroup` finds it. Completes a snapshot that was interrupted. */
export function inspect(node: Node): GroupReport {
  const { store } = node
  const record = store.record as ReplicaRecord
  const machine = node.machineDisk.recover(node.machineDisk.unflushedBatches)
  if (!logHolds(node, machine.applied)) {
    store.write({ reset: machine.applied }, () => {})
    store.writeRecord({ ...record, restoring: false }, () => {})
    store.crash(Number.POSITIVE_INFINITY)
  }
  const core = new RaftCore({
    replicaId: record.replicaId,
    restored: restoredState(node, record, machine, store.current.compacted),
    random: node.random.child('inspect'),
    nowMs: 0,
  })
  const { term, commitIndex, appliedIndex, lastIndex, lastTerm, quarantined, configuration } = core.status()
  const { replicaId, recoveryGeneration } = record
  const who = { groupId: 1, nodeId: node.name, incarnation: node.incarnation, replicaId, recoveryGeneration }
  const log = { term, commitIndex, appliedIndex, lastIndex, lastTerm, terms: core.log.terms() }
  return { ...who, ...log, quarantined, configuration: configuration.latest }
}

/** The first position of each term in (`after`, `through`]. */
function termsBetween(starts: readonly LogPosition[], after: number, through: number): LogPosition[] {
  const terms: LogPosition[] = []
  for (const start of starts) {
    if (start.index > through) break
    if (start.index > after) terms.push(start)
    else terms[0] = { index: after + 1, term: start.term }
  }
  return after >= through ? [] : terms
}
