import type { LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import type { PlacedConfiguration } from './configuration-history.ts'
import { electorateOf, overlap } from './electorate.ts'
import type { JudgedCommits } from './judged-commits.ts'
import type { JudgedDisks } from './judged-disks.ts'
import type { Configuration } from './membership-types.ts'
import type { RaftCore } from './raft.ts'
import { hasEntry, type Seen } from './seen.ts'
import { violated } from './violation.ts'

/** Where a log ended from a point of time on. */
interface LengthOfLog {
  readonly atMs: number
  readonly lastIndex: number
}

/** Judges who leads a group, and what leaders do with its configuration. */
export class JudgedLeaders {
  readonly #commits: JudgedCommits
  readonly #disks: JudgedDisks
  readonly #recovered: LogPosition | undefined
  readonly #leaders: Map<number, ReplicaId> = new Map()
  /** Of leaders: how long their logs were, from an election timeout ago on. */
  readonly #lengths: Map<ReplicaId, LengthOfLog[]> = new Map()
  /** Those of which the leader may know other things than their disks say: see `reminted`. */
  readonly #reminted: Set<ReplicaId> = new Set()

  constructor(commits: JudgedCommits, disks: JudgedDisks, recovered: LogPosition | undefined) {
    this.#commits = commits
    this.#disks = disks
    this.#recovered = recovered
  }

  /** How many terms were seen to have a leader. */
  get elections(): number {
    return this.#leaders.size
  }

  reminted(replicaId: ReplicaId): void {
    this.#reminted.add(replicaId)
  }

  renamed(to: ReplicaId): void {
    this.#reminted.delete(to)
  }

  /**
   * A leader appends a configuration only when the one before is committed: above all, it leaves no joint one before. If both
   * happened in this event, the one before was in force until then, and it must have been committed by its own quorum.
   */
  checkAppended(core: RaftCore, before: Seen | undefined): void {
    if (before === undefined || (!before.leads && core.role !== 'leader')) return
    const { places } = core.configurations
    for (let i = places.length - 1; i > 0; i--) {
      const { index, configuration } = places[i] as PlacedConfiguration
      const earlier = places[i - 1] as PlacedConfiguration
      if (index <= before.lastIndex || core.log.termAt(index) !== core.term) return
      if (earlier.index > core.commitIndex) {
        violated(
          'one change at a time',
          `${core.replicaId} appended generation ${configuration.generation} before ${earlier.configuration.generation} was committed`,
        )
      }
      if (earlier.index > before.commitIndex)
        this.#commits.checkDurable(core, earlier.index, earlier.configuration)
      this.#checkPromoted(core, configuration, before.commitIndex)
    }
  }

  /**
   * Whoever gets a vote has the entry that added it, and nearly all that is committed, on its disk: else the group would wait
   * for it, perhaps for ever.
   */
  #checkPromoted(core: RaftCore, { changes }: Configuration, commitIndex: number): void {
    for (const { type, replicaId } of changes) {
      const lastIndex = this.#disks.get(replicaId)?.lastIndex
      if (type !== 'promote' || lastIndex === undefined || this.#reminted.has(replicaId)) continue
      const enough = Math.min(commitIndex - core.options.caughtUpEntries, this.#lengthBefore(core))
      if (lastIndex >= Math.max(replicaId, enough)) continue
      violated(
        'promoted replicas have caught up',
        `${core.replicaId} promoted ${replicaId}, whose log ends at ${lastIndex} where ${commitIndex} is committed`,
      )
    }
  }

  /** Where the log of this leader ended an election timeout ago, or when its term began. */
  #lengthBefore(core: RaftCore): number {
    const lengths = this.#lengths.get(core.replicaId) as [LengthOfLog, ...LengthOfLog[]]
    const sinceMs = core.nowMs - core.options.electionTimeoutMs
    return (lengths.findLast(({ atMs }) => atMs <= sinceMs) ?? lengths[0]).lastIndex
  }

  noteLength(core: RaftCore, before: Seen | undefined): void {
    const { replicaId, nowMs, lastIndex } = core
    if (core.role !== 'leader') return
    const known =
      before?.leads === true && before.term === core.term ? this.#lengths.get(replicaId) : undefined
    const lengths = known ?? [{ atMs: nowMs, lastIndex: before?.lastIndex ?? 0 }]
    this.#lengths.set(replicaId, lengths)
    if (lengths.at(-1)?.lastIndex !== lastIndex) lengths.push({ atMs: nowMs, lastIndex })
    const sinceMs = nowMs - core.options.electionTimeoutMs
    while (lengths.length > 1 && (lengths[1] as LengthOfLog).atMs <= sinceMs) lengths.shift()
  }

  check(core: RaftCore, before: Seen | undefined): void {
    if (core.role !== 'leader') return
    const known = this.#leaders.get(core.term)
    if (known !== undefined && known !== core.replicaId) {
      violated('election safety', `${known} and ${core.replicaId} lead in term ${core.term}`)
    }
    if (before?.leads === true && before.term === core.term) return
    if (known !== undefined) violated('election safety', `${known} leads in term ${core.term} a second time`)
    this.#leaders.set(core.term, core.replicaId)
    // A candidate whose votes were long on their way may win an old term after a newer one has committed.
    const { index: last, term } = this.#commits.lastBefore(core.term)
    if (last > 0 && (core.lastIndex < last || (term !== 0 && !hasEntry(core, last, term)))) {
      violated('leader completeness', `leader ${core.replicaId} of ${core.term} lacks ${last} of ${term}`)
    }
    const since = this.#recovered?.index ?? 0
    const committed = this.#commits.configurations.findLast(
      ({ index, committedIn }) => index >= since && committedIn < core.term,
    )
    if (committed === undefined) return
    if (!overlap(electorateOf(committed.configuration), electorateOf(core.configuration as Configuration))) {
      violated('configurations overlap', `${core.replicaId} was elected under a stale configuration`)
    }
  }
}
