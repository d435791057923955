import type { LogEntry } from '../../../src/interfaces/log-store.ts'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { electorateOf, hasQuorum, overlap } from '../../../src/raft/core/electorate.ts'
import type { RaftInvariantName } from '../../../src/raft/core/invariants.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type { LogTable } from './log-table.ts'
import { broken } from './member.ts'

/** What is known to be committed: ghost state, that no replica has. */
export interface Committed {
  /** Number of the log that ends with the last committed entry. */
  readonly log: number
  /** The term of whoever committed each entry first, by index from 1. */
  readonly terms: readonly number[]
}

/** What the judge looks at of a member. */
export interface Witness {
  readonly replicaId: ReplicaId
  readonly core: RaftCore | undefined
  /** Numbers of logs: in memory (on the disk, while it is down), and on the disk. */
  readonly log: number
  readonly diskLog: number
}

/**
 * The properties of Raft that must always hold (figure 3 of the paper, and what persistence and membership add), as properties
 * of one state, or of one step: what they need of the past is in the state.
 */
export class Judge {
  readonly #logs: LogTable
  readonly #compared = new Set<number>()
  readonly #checkedLogs = new Set<number>()
  readonly #complete = new Set<string>()

  constructor(logs: LogTable) {
    this.#logs = logs
  }

  /** What a step did to one member alone; `before` is undefined for one that has just started. */
  checkStep(before: Witness | undefined, after: Witness): void {
    const { core, replicaId } = after
    if (core === undefined) return
    const fail = (name: RaftInvariantName, problem: string): never => {
      throw broken(name, `replica ${replicaId}: ${problem}`)
    }
    const { appliedIndex, handedIndex, commitIndex, log } = core
    if (commitIndex > log.lastIndex) fail('commit never regresses', `committed ${commitIndex} beyond its log`)
    if (appliedIndex > handedIndex || handedIndex > Math.min(commitIndex, log.durableIndex)) {
      fail(
        'applied is committed and durable',
        `applied ${appliedIndex}, handed out ${handedIndex}, committed ${commitIndex}, durable ${log.durableIndex}`,
      )
    }
    const inLog = this.#logs.configuration(after.log)?.generation
    if (core.configuration?.generation !== inLog) {
      fail(
        'configuration of the log',
        `uses generation ${core.configuration?.generation}, its log has ${inLog}`,
      )
    }
    const old = before?.core
    if (old === undefined) return
    if (core.term < old.term) fail('terms never regress', `went from ${old.term} to ${core.term}`)
    if (commitIndex < old.commitIndex) {
      fail('commit never regresses', `went from ${old.commitIndex} to ${commitIndex}`)
    }
    if (core.term > old.term) return
    if (old.votedFor !== 0 && core.votedFor !== old.votedFor) {
      fail('one vote a term', `changed its vote of ${core.term} from ${old.votedFor} to ${core.votedFor}`)
    }
    const leads = [old.role, core.role].includes('leader')
    if (
      old.role === 'leader' &&
      core.role === 'leader' &&
      !this.#logs.isPrefix(before?.log ?? 0, after.log)
    ) {
      fail('leader append-only', `cut its log as leader of ${core.term}`)
    }
    if (leads && commitIndex > old.commitIndex && log.termAt(commitIndex) !== core.term) {
      fail('direct commit only of own term', `committed ${commitIndex} of ${log.termAt(commitIndex)}`)
    }
  }

  /** A log that a member has: each of its configurations follows on the one before. */
  checkLog(log: number): void {
    if (log === 0 || this.#checkedLogs.has(log)) return
    const before = this.#logs.before(log)
    this.checkLog(before)
    const [old, now] = [this.#logs.configuration(before), this.#logs.configuration(log)]
    if (old !== undefined && now !== undefined && old !== now) {
      if (now.generation !== old.generation + 1 || !overlap(electorateOf(old), electorateOf(now))) {
        throw broken(
          'configurations overlap',
          `generation ${now.generation} at ${this.#logs.length(log)} does not follow on ${old.generation}`,
        )
      }
    }
    this.#checkedLogs.add(log)
  }

  /** Two logs that have an entry of the same index and term are the same up to there. */
  checkMatching(a: number, b: number): void {
    const key = Math.min(a, b) * 2 ** 26 + Math.max(a, b)
    if (a === b || this.#compared.has(key)) return
    const index = this.#logs.contradiction(a, b)
    if (index !== 0) throw broken('log matching', `two logs differ at or before entry ${index} of one term`)
    this.#compared.add(key)
  }

  /** What is committed once a member of this commit index exists, too. */
  commit(before: Committed, { core, replicaId, log }: Witness): Committed {
    if (core === undefined) return before
    const known = before.terms.length
    const own = this.#logs.prefix(log, core.commitIndex)
    const shared = Math.min(known, core.commitIndex)
    if (this.#logs.prefix(own, shared) !== this.#logs.prefix(before.log, shared)) {
      throw broken('state machine safety', `replica ${replicaId} committed something else up to ${shared}`)
    }
    if (core.commitIndex <= known) return before
    const terms = before.terms.slice()
    while (terms.length < core.commitIndex) terms.push(core.term)
    return { log: own, terms }
  }

  /** A leader committed by counting: a quorum of its voters has everything up to there on their disks. */
  checkDurable(leader: Witness, all: readonly Witness[]): void {
    const { core } = leader
    if (core === undefined) return
    const committed = this.#logs.prefix(leader.log, core.commitIndex)
    const holders = all.filter(({ diskLog }) => this.#logs.isPrefix(committed, diskLog))
    if (hasQuorum(core.electorate(), (voter) => holders.some(({ replicaId }) => replicaId === voter))) return
    throw broken(
      'committed is durable on a majority',
      `${leader.replicaId} committed ${core.commitIndex}, on the disks of ${holders.map((h) => h.replicaId).join(', ') || 'nobody'} only`,
    )
  }

  /** A leader has everything that was committed in terms before its own. */
  checkComplete(committed: Committed, number: number, { core, replicaId, log }: Witness): void {
    if (core?.role !== 'leader') return
    const key = `${number}/${log}/${core.term}`
    if (this.#complete.has(key)) return
    let index = committed.terms.length
    while (index > 0 && (committed.terms[index - 1] as number) >= core.term) index--
    if (!this.#logs.isPrefix(this.#logs.prefix(committed.log, index), log)) {
      throw broken(
        'leader completeness',
        `leader ${replicaId} of ${core.term} lacks what was committed up to ${index}`,
      )
    }
    this.#complete.add(key)
  }

  /** Nobody is elected under a configuration whose quorums could miss those of the committed one. */
  checkElected(committed: Committed, { core, replicaId }: Witness): void {
    let index = committed.terms.length
    while (index > 0 && (committed.terms[index - 1] as number) >= (core?.term ?? 0)) index--
    const agreed = this.#logs.configuration(this.#logs.prefix(committed.log, index))
    const own = core?.configuration
    if (agreed !== undefined && own !== undefined && overlap(electorateOf(agreed), electorateOf(own))) return
    throw broken('configurations overlap', `${replicaId} was elected under a stale configuration`)
  }

  /** For printing. */
  entries(log: number): LogEntry[] {
    return this.#logs.entries(log)
  }
}
