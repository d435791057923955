import { entryKinds, type LogEntry, type LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { replicaOf } from './configuration.ts'
import type { PlacedConfiguration } from './configuration-history.ts'
import { electorateOf, hasQuorum } from './electorate.ts'
import type { JudgedDisks } from './judged-disks.ts'
import { type JudgedLogs, sameEntry } from './judged-logs.ts'
import type { Configuration } from './membership-types.ts'
import type { RaftCore } from './raft.ts'
import { hasEntry, moveKey, type Seen } from './seen.ts'
import { violated } from './violation.ts'

/** A configuration that a replica of term `committedIn` was the first to have committed. */
interface CommittedConfiguration extends PlacedConfiguration {
  readonly committedIn: number
}

/** Judges what a group commits and applies: the same everywhere, for good, and what a quorum has on its disks. */
export class JudgedCommits {
  readonly #seen: ReadonlyMap<ReplicaId, Seen>
  readonly #logs: JudgedLogs
  readonly #disks: JudgedDisks
  /** Term of each committed index; 0 where only a snapshot was seen. */
  readonly #committed: number[] = [0]
  /** The term of the replica that was first seen to have committed each index: a bound on the term of its commit. */
  readonly #committedIn: number[] = [0]
  readonly #applied: Map<number, LogEntry> = new Map()
  readonly #appliedThrough: Map<ReplicaId, number> = new Map()
  /** Whose each id of a committed configuration is or was, as `nodeId/incarnation`. */
  readonly #owners: Map<ReplicaId, string> = new Map()
  /** All committed configurations, ascending. */
  readonly #configurations: CommittedConfiguration[] = []

  constructor(seen: ReadonlyMap<ReplicaId, Seen>, logs: JudgedLogs, disks: JudgedDisks) {
    this.#seen = seen
    this.#logs = logs
    this.#disks = disks
  }

  /** The highest index that any replica was seen to have committed. */
  get committedIndex(): number {
    return this.#committed.length - 1
  }

  /** All committed configurations, ascending. */
  get configurations(): readonly CommittedConfiguration[] {
    return this.#configurations
  }

  /** What a leader of this term must have: the last of what was committed in earlier ones. The term is 0 where it is not known. */
  lastBefore(leaderTerm: number): LogPosition {
    let index = this.committedIndex
    while (index > 0 && (this.#committedIn[index] as number) >= leaderTerm) index--
    return { index, term: this.#committed[index] as number }
  }

  /** A replica's state machine applied an entry. */
  applied(replicaId: ReplicaId, entry: LogEntry): void {
    const { index, term } = entry
    const before = this.#appliedThrough.get(replicaId) ?? index - 1
    if (index !== before + 1) {
      violated('state machine safety', `${replicaId} applied ${index} after ${before}`)
    }
    this.#appliedThrough.set(replicaId, index)
    const other = this.#applied.get(index)
    if (other === undefined) this.#applied.set(index, entry)
    else if (!sameEntry(other, entry)) {
      violated('state machine safety', `${replicaId} applied another entry ${index} than an earlier replica`)
    }
    if ((this.#committed[index] ?? 0) !== term) {
      violated('applied is committed and durable', `${replicaId} applied ${index} of ${term}, not committed`)
    }
    if (this.#disks.get(replicaId)?.has(index, term) === false) {
      violated('applied is committed and durable', `${replicaId} applied ${index}, not on its disk`)
    }
  }

  /** The state is that of a snapshot now. */
  snapshotInstalled(replicaId: ReplicaId, position: LogPosition): void {
    const committed = this.#committed[position.index]
    if (committed === undefined || (committed !== 0 && committed !== position.term)) {
      violated('state machine safety', `${replicaId} took a snapshot at ${position.index}, not committed`)
    }
    this.#appliedThrough.set(replicaId, position.index)
  }

  /** A replica starts with what its state machine has. */
  restarted({ replicaId, appliedIndex }: RaftCore): void {
    this.#appliedThrough.set(replicaId, appliedIndex)
  }

  forget(replicaId: ReplicaId): void {
    this.#appliedThrough.delete(replicaId)
  }

  rename(from: ReplicaId, to: ReplicaId): void {
    moveKey(this.#appliedThrough, from, to)
  }

  check(core: RaftCore, before: Seen | undefined): void {
    const { commitIndex, log } = core
    if (before !== undefined && commitIndex < before.commitIndex) {
      violated('commit never regresses', `${core.replicaId} from ${before.commitIndex} to ${commitIndex}`)
    }
    if (commitIndex > log.lastIndex) {
      violated('commit never regresses', `${core.replicaId} committed ${commitIndex} beyond its log`)
    }
    const from = before?.commitIndex ?? log.compacted.index
    for (let index = Math.max(from, log.compacted.index) + 1; index <= commitIndex; index++) {
      this.#checkCommitted(core, index, log.termAt(index) as number)
    }
    this.#noteCommitted(commitIndex, core.term)
    const leads = core.role === 'leader' || before?.leads === true
    if (before !== undefined && leads && core.term === before.term && commitIndex > before.commitIndex) {
      this.#checkDirectCommit(core, before)
    }
  }

  #checkCommitted(core: RaftCore, index: number, term: number): void {
    const earlier = this.#committed[index]
    if (earlier !== undefined && earlier !== 0 && earlier !== term) {
      violated(
        'state machine safety',
        `${core.replicaId} committed ${index} of ${term}, others of ${earlier}`,
      )
    }
    this.#noteCommitted(index, core.term)
    this.#committed[index] = term
    if (earlier !== undefined && earlier !== 0) return
    const place = core.configurations.at(index)
    const newest = this.#configurations.at(-1)
    if (place?.index === index && index > (newest?.index ?? 0)) {
      this.#checkMinted(newest?.configuration, place)
      this.#configurations.push({ ...place, committedIn: core.term })
    }
    for (const other of this.#seen.values()) {
      if (other.leads && other.term > core.term && !hasEntry(other.core, index, term)) {
        violated(
          'leader completeness',
          `leader ${other.core.replicaId} of ${other.term} lacks ${index} of ${term}`,
        )
      }
    }
  }

  /** An id is bound to one life of one node, and never comes back once it was removed. */
  #checkMinted(before: Configuration | undefined, { index, configuration }: PlacedConfiguration): void {
    for (const { replicaId, nodeId, incarnation } of configuration.replicas) {
      const owner = `${nodeId}/${incarnation}`
      const known = this.#owners.get(replicaId) ?? owner
      const stays = replicaOf(before, replicaId) !== undefined || !this.#owners.has(replicaId)
      if (known !== owner || !stays) {
        violated('replica ids are minted once', `the entry ${index} minted replica ${replicaId} again`)
      }
      this.#owners.set(replicaId, owner)
    }
  }

  #noteCommitted(index: number, term: number): void {
    while (this.#committed.length <= index) {
      this.#committed.push(0)
      this.#committedIn.push(term)
    }
  }

  /**
   * By the configuration that was in force before, or by one that came in this event: fewer voters may find that a majority
   * of them has what the earlier ones waited for. One that is appended because of the commit comes after it.
   */
  #checkDirectCommit(core: RaftCore, before: Seen): void {
    const { commitIndex } = core
    const term = core.log.termAt(commitIndex) as number
    if (term !== core.term) {
      violated('direct commit only of own term', `${core.replicaId} committed ${commitIndex} of ${term}`)
    }
    const { latest, places } = core.configurations
    const inForce = core.configurations.at(before.lastIndex)
    const isDurable = places
      .filter((place) => place === inForce || place.index > before.lastIndex)
      .some(({ configuration }) => hasQuorum(electorateOf(configuration), this.#holds(core, commitIndex)))
    if (!isDurable) this.checkDurable(core, commitIndex, (latest as PlacedConfiguration).configuration)
  }

  #holds(core: RaftCore, index: number): (voter: ReplicaId) => boolean {
    const term = core.log.termAt(index) as number
    return (voter) => this.#disks.get(voter)?.has(index, term) !== false
  }

  /** The entry is on the disks of a quorum, judged by the members alone, whatever the core makes of them. */
  checkDurable(core: RaftCore, index: number, configuration: Configuration): void {
    const holds = this.#holds(core, index)
    const electorate = electorateOf(configuration)
    if (hasQuorum(electorate, holds)) return
    const holders = electorate.voters.filter(holds)
    violated(
      'committed is durable on a majority',
      `${core.replicaId} committed ${index}, on the disks of ${holders.join(', ') || 'nobody'} only`,
    )
  }

  /** The configuration in force is the last one of the log, and the committed one the same everywhere. */
  checkConfigurationInForce(core: RaftCore): void {
    const { latest } = core.configurations
    if (latest === undefined) return
    const { index, configuration } = latest
    const entry = core.log.entries[index - core.log.memoryFirst]
    const known = this.#logs.entry(index, core.log.termAt(index)) ?? entry
    if (index > core.lastIndex || (index > core.commitIndex && known?.kind !== entryKinds.configuration)) {
      violated(
        'configuration of the log',
        `${core.replicaId} uses generation ${configuration.generation}, cut off`,
      )
    }
    const mine = core.configurations.at(core.commitIndex)?.configuration.generation
    let expected: number | undefined
    for (let i = this.#configurations.length - 1; i >= 0 && expected === undefined; i--) {
      const place = this.#configurations[i] as PlacedConfiguration
      if (place.index <= core.commitIndex) expected = place.configuration.generation
    }
    if (mine !== undefined && expected !== undefined && mine !== expected) {
      violated(
        'configuration of the log',
        `${core.replicaId} holds generation ${mine}, committed is ${expected}`,
      )
    }
  }
}
