import { equalBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { entryKinds, type LogEntry, type LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { decodeConfiguration, replicaOf } from './configuration.ts'
import type { PlacedConfiguration } from './configuration-history.ts'
import { DurableModel } from './durable-model.ts'
import { electorateOf, hasQuorum, overlap } from './electorate.ts'
import type { Configuration } from './membership-types.ts'
import type { Message } from './messages.ts'
import type { RaftCore } from './raft.ts'
import type { RaftWrite } from './types.ts'

/** The names under which {@link RaftInvariants} reports a violation, as `details.invariant` of the error. */
export type RaftInvariantName =
  | 'election safety'
  | 'leader append-only'
  | 'log matching'
  | 'leader completeness'
  | 'state machine safety'
  | 'applied is committed and durable'
  | 'one vote a term'
  | 'terms never regress'
  | 'commit never regresses'
  | 'configurations overlap'
  | 'one change at a time'
  | 'replica ids are minted once'
  | 'promoted replicas have caught up'
  | 'configuration of the log'
  | 'direct commit only of own term'
  | 'committed is durable on a majority'
  | 'promises are durable'
  | 'the quarantined promise nothing'
  | 'linearizable reads'
  | 'nothing is left to do at rest'
  | 'nobody votes against a lease'

/** Where a log ended from a point of time on. */
interface LengthOfLog {
  readonly atMs: number
  readonly lastIndex: number
}

/** What was last seen of a core, to find what is new. */
interface Seen {
  readonly core: RaftCore
  readonly term: number
  readonly votedFor: ReplicaId
  readonly leads: boolean
  readonly commitIndex: number
  readonly truncations: number
  readonly lastIndex: number
}

/** The entries of a core as they were last seen, from index `first` on. Changed in place. */
interface SeenLog {
  first: number
  entries: LogEntry[]
}

/** A configuration that a replica of term `committedIn` was the first to have committed. */
interface CommittedConfiguration extends PlacedConfiguration {
  readonly committedIn: number
}

/** An entry of the history: what every log that has this index and term must hold. */
interface Known {
  readonly entry: LogEntry
  readonly previousTerm: number
}

/**
 * Judges a whole group: told of everything that happens to its replicas, it throws as soon as a property of Raft that must
 * always hold does not (figure 3 of the paper, and what persistence and membership add). Each call costs in proportion
 * to what changed. A group's whole history is kept, so this is for tests and simulations.
 *
 * Only `observe` is needed; each further kind of event that is reported makes more checks possible.
 *
 * Every method throws KeelsonError `INVARIANT_VIOLATED`, whose `details.invariant` is a {@link RaftInvariantName}.
 */
export class RaftInvariants {
  readonly #seen: Map<ReplicaId, Seen> = new Map()
  readonly #logs: Map<ReplicaId, SeenLog> = new Map()
  readonly #leaders: Map<number, ReplicaId> = new Map()
  /** By `index/term`. */
  readonly #history: Map<string, Known> = new Map()
  /** Term of each committed index; 0 where only a snapshot was seen. */
  readonly #committed: number[] = [0]
  /** The term of the replica that was first seen to have committed each index: a bound on the term of its commit. */
  readonly #committedIn: number[] = [0]
  readonly #applied: Map<number, LogEntry> = new Map()
  readonly #appliedThrough: Map<ReplicaId, number> = new Map()
  readonly #disks: Map<ReplicaId, DurableModel> = new Map()
  /** Of replicas that crashed: where their logs end at the least. */
  readonly #leastLastIndex: Map<ReplicaId, number> = new Map()
  /** Of leaders: how long their logs were, from an election timeout ago on. */
  readonly #lengths: Map<ReplicaId, LengthOfLog[]> = new Map()
  /** Those of which the leader may know other things than their disks say: see `reminted`. */
  readonly #reminted: Set<ReplicaId> = new Set()
  /** Votes that left, by `voter/term`. */
  readonly #votes: Map<string, ReplicaId> = new Map()
  readonly #reads: Map<string, number> = new Map()
  /** Whose each id of a committed configuration is or was, as `nodeId/incarnation`. */
  readonly #owners: Map<ReplicaId, string> = new Map()
  /** All committed configurations, ascending. */
  readonly #configurations: CommittedConfiguration[] = []
  readonly #recovered: LogPosition | undefined

  /**
   * `recovered`: the group lost its quorum before, and this is where the configuration stands by which it goes on without
   * those that were lost. That one need not overlap with those before it; nothing else is forgiven.
   */
  constructor(recovered?: LogPosition) {
    this.#recovered = recovered
  }

  /** The highest index that any replica was seen to have committed. */
  get committedIndex(): number {
    return this.#committed.length - 1
  }

  /** How many terms were seen to have a leader. */
  get elections(): number {
    return this.#leaders.size
  }

  /** Looks at what an event changed in a core. To be called after every event, before anything else happens to it. */
  observe(core: RaftCore): void {
    const before = this.#seen.get(core.replicaId)
    this.#checkTerm(core, before)
    this.#checkLog(core, before)
    this.#checkCommit(core, before)
    this.#noteLength(core, before)
    this.#checkAppendedConfigurations(core, before)
    this.#checkLeadership(core, before)
    this.#checkConfigurationInForce(core)
    this.#checkCursors(core)
    this.#checkRest(core)
    this.#seen.set(core.replicaId, {
      core,
      term: core.term,
      votedFor: core.votedFor,
      leads: core.role === 'leader',
      commitIndex: core.commitIndex,
      truncations: core.log.truncations,
      lastIndex: core.lastIndex,
    })
  }

  /**
   * A core that leads has just been told the time, and all that others have pledged to it: whoever its lease counts on has
   * voted for nobody else since, under whatever term.
   */
  lease(core: RaftCore): void {
    if (!core.holdsLease()) return
    for (const [replicaId, progress] of core.progress) {
      const voter = this.#seen.get(replicaId)
      if (voter === undefined || voter.term <= core.term || voter.votedFor === 0) continue
      if (!core.countsOn(progress)) continue
      this.#fail(
        'nobody votes against a lease',
        `${core.replicaId} counts on ${replicaId} in term ${core.term}, which voted for ${voter.votedFor} in ${voter.term}`,
      )
    }
  }

  /** The host took this write from the core. Its entries are on the disk only after `durable`. */
  issued(replicaId: ReplicaId, write: RaftWrite): void {
    this.#disk(replicaId).inFlight.push(write)
  }

  /** Everything up to this write survives a crash from now on. */
  durable(replicaId: ReplicaId, writeId: number): void {
    this.#disk(replicaId).persist(writeId)
  }

  /** A message left its sender. */
  sent(message: Message): void {
    if (this.#seen.get(message.from)?.core.quarantined === true && isPromise(message)) {
      this.#fail(
        'the quarantined promise nothing',
        `${message.from} is quarantined, and sends a ${message.kind} to ${message.to}`,
      )
    }
    const disk = this.#disks.get(message.from)
    const grants = (message.kind === 'voteReply' && message.granted) || message.kind === 'vote'
    if (grants) {
      const candidate = message.kind === 'vote' ? message.from : message.to
      const key = `${message.from}/${message.term}`
      const earlier = this.#votes.get(key) ?? candidate
      if (earlier !== candidate) {
        this.#fail(
          'one vote a term',
          `${message.from} voted for ${earlier} and ${candidate} in term ${message.term}`,
        )
      }
      this.#votes.set(key, candidate)
      if (disk !== undefined) {
        const { term, votedFor } = disk.hardState
        if (term < message.term || (term === message.term && votedFor !== candidate)) {
          this.#fail('promises are durable', `${message.from} votes in ${message.term} before its disk knows`)
        }
      }
    }
    if (message.kind === 'appendReply' && message.accepted && disk !== undefined) {
      // What the leader of a later term cut off meanwhile can be in no majority of the earlier one.
      if (message.index > disk.lastIndex && disk.hardState.term <= message.term) {
        this.#fail(
          'promises are durable',
          `${message.from} acknowledges ${message.index}, but its disk ends at ${disk.lastIndex}`,
        )
      }
    }
  }

  /** A replica's state machine applied an entry. */
  applied(replicaId: ReplicaId, entry: LogEntry): void {
    const { index, term } = entry
    const before = this.#appliedThrough.get(replicaId) ?? index - 1
    if (index !== before + 1) {
      this.#fail('state machine safety', `${replicaId} applied ${index} after ${before}`)
    }
    this.#appliedThrough.set(replicaId, index)
    const other = this.#applied.get(index)
    if (other === undefined) this.#applied.set(index, entry)
    else if (!sameEntry(other, entry)) {
      this.#fail(
        'state machine safety',
        `${replicaId} applied another entry ${index} than an earlier replica`,
      )
    }
    if ((this.#committed[index] ?? 0) !== term) {
      this.#fail(
        'applied is committed and durable',
        `${replicaId} applied ${index} of ${term}, not committed`,
      )
    }
    if (this.#disks.get(replicaId)?.has(index, term) === false) {
      this.#fail('applied is committed and durable', `${replicaId} applied ${index}, not on its disk`)
    }
  }

  /** A replica's state machine was switched, durably, to a snapshot. To be called before the core is told. */
  snapshotInstalled(replicaId: ReplicaId, position: LogPosition): void {
    const committed = this.#committed[position.index]
    if (committed === undefined || (committed !== 0 && committed !== position.term)) {
      this.#fail('state machine safety', `${replicaId} took a snapshot at ${position.index}, not committed`)
    }
    this.#appliedThrough.set(replicaId, position.index)
    const disk = this.#disks.get(replicaId)
    if (
      disk !== undefined &&
      position.index > disk.compacted.index &&
      !disk.has(position.index, position.term)
    ) {
      disk.reset(position)
    }
  }

  /** A replica's process ended: what was not durable is gone. */
  crashed(replicaId: ReplicaId): void {
    this.#seen.delete(replicaId)
    const disk = this.#disks.get(replicaId)
    if (disk !== undefined) {
      this.#leastLastIndex.set(replicaId, disk.leastLastIndex)
      disk.inFlight.length = 0
    }
    for (const key of this.#reads.keys()) if (key.startsWith(`${replicaId}/`)) this.#reads.delete(key)
  }

  /**
   * The id belongs to another replica now: the entry that minted it first was truncated before it was committed, and a later
   * leader minted the same id at the same index. What was known of the first owner is forgotten.
   */
  reminted(replicaId: ReplicaId): void {
    this.crashed(replicaId)
    this.#reminted.add(replicaId)
    this.#logs.delete(replicaId)
    this.#disks.delete(replicaId)
    this.#appliedThrough.delete(replicaId)
    this.#leastLastIndex.delete(replicaId)
    for (const key of this.#votes.keys()) if (key.startsWith(`${replicaId}/`)) this.#votes.delete(key)
  }

  /**
   * An empty replica took up another id. It is the same disk, so it is held to its terms and votes under the new id, too.
   * To be called before anything else is reported under that.
   */
  renamed(from: ReplicaId, to: ReplicaId): void {
    this.reminted(to)
    this.#reminted.delete(to)
    for (const map of [this.#seen, this.#logs, this.#disks, this.#appliedThrough, this.#leastLastIndex]) {
      moveKey<unknown>(map, from, to)
    }
    for (const [key, candidate] of this.#votes) {
      const [voter, term] = key.split('/')
      if (Number(voter) === from) this.#votes.set(`${to}/${term}`, candidate)
    }
  }

  /** A replica starts, for the first time or again. `appliedIndex` of the core is where its state machine stands. */
  restarted(core: RaftCore): void {
    const disk = this.#disk(core.replicaId)
    const { term, votedFor } = disk.hardState
    if (core.term < term || (core.term === term && core.votedFor !== votedFor && votedFor !== 0)) {
      this.#fail('one vote a term', `${core.replicaId} forgot its vote for ${votedFor} in term ${term}`)
    }
    const leastLastIndex = this.#leastLastIndex.get(core.replicaId) ?? disk.lastIndex
    this.#leastLastIndex.delete(core.replicaId)
    if (core.lastIndex < leastLastIndex) {
      this.#fail('promises are durable', `${core.replicaId} lost durable entries after ${core.lastIndex}`)
    }
    disk.reset(core.log.compacted)
    for (let index = disk.compacted.index + 1; index <= core.lastIndex; index++) {
      disk.terms.push(core.log.termAt(index) as number)
    }
    disk.hardState = { term: core.term, votedFor: core.votedFor, commit: core.commitIndex }
    this.#seen.delete(core.replicaId)
    this.#appliedThrough.set(core.replicaId, core.appliedIndex)
    this.observe(core)
  }

  /** A read was asked of a replica. */
  readAsked(replicaId: ReplicaId, context: number): void {
    this.#reads.set(`${replicaId}/${context}`, this.committedIndex)
  }

  /** A read may be served once `index` is applied. */
  readServed(replicaId: ReplicaId, context: number, index: number): void {
    const key = `${replicaId}/${context}`
    const least = this.#reads.get(key) ?? 0
    this.#reads.delete(key)
    if (index < least) {
      this.#fail(
        'linearizable reads',
        `${replicaId} serves a read at ${index}, but ${least} was committed before`,
      )
    }
  }

  #checkTerm(core: RaftCore, before: Seen | undefined): void {
    if (before === undefined) return
    if (core.term < before.term) {
      this.#fail('terms never regress', `${core.replicaId} went from ${before.term} to ${core.term}`)
    }
    if (core.term === before.term && before.votedFor !== 0 && core.votedFor !== before.votedFor) {
      this.#fail(
        'one vote a term',
        `${core.replicaId} changed its vote in ${core.term} from ${before.votedFor} to ${core.votedFor}`,
      )
    }
  }

  #checkLog(core: RaftCore, before: Seen | undefined): void {
    const { log } = core
    if (before?.leads === true && core.role === 'leader' && core.term === before.term) {
      if (log.truncations !== before.truncations || log.lastIndex < before.lastIndex) {
        this.#fail('leader append-only', `${core.replicaId} cut its log as leader of ${core.term}`)
      }
    }
    let seen = this.#logs.get(core.replicaId)
    if (seen === undefined || before === undefined || log.memoryFirst > seen.first + seen.entries.length) {
      seen = { first: log.memoryFirst, entries: [] }
      this.#logs.set(core.replicaId, seen)
    }
    // From the end backwards, until what was there before.
    let index = log.lastIndex
    while (index >= log.memoryFirst) {
      const entry = log.entries[index - log.memoryFirst] as LogEntry
      if (seen.entries[index - seen.first] === entry) break
      this.#checkEntry(core, entry, log.termAt(index - 1) as number)
      index--
    }
    if (index < seen.first) seen.first = index + 1
    seen.entries.length = index + 1 - seen.first
    while (index < log.lastIndex) seen.entries.push(log.entries[++index - log.memoryFirst] as LogEntry)
    if ((log.memoryFirst - seen.first) * 2 > seen.entries.length) {
      seen.entries.splice(0, log.memoryFirst - seen.first)
      seen.first = log.memoryFirst
    }
  }

  #checkEntry(core: RaftCore, entry: LogEntry, previousTerm: number): void {
    const key = `${entry.index}/${entry.term}`
    const known = this.#history.get(key)
    if (known === undefined) {
      this.#history.set(key, { entry, previousTerm })
      if (entry.kind === entryKinds.configuration) this.#checkConfiguration(core, entry)
      return
    }
    if (!sameEntry(known.entry, entry) || previousTerm !== known.previousTerm) {
      this.#fail('log matching', `two logs differ at or before entry ${entry.index} of term ${entry.term}`)
    }
  }

  #checkConfiguration(core: RaftCore, entry: LogEntry): void {
    const before = core.configurations.at(entry.index - 1)?.configuration
    if (before === undefined) return
    const after = decodeConfiguration(entry.data)
    const forced = entry.index === this.#recovered?.index && entry.term === this.#recovered.term
    const overlaps = forced || overlap(electorateOf(before), electorateOf(after))
    const follows = forced ? after.generation > before.generation : after.generation === before.generation + 1
    if (!follows || !overlaps) {
      this.#fail(
        'configurations overlap',
        `generation ${after.generation} at ${entry.index} does not follow on ${before.generation}`,
      )
    }
  }

  #checkCommit(core: RaftCore, before: Seen | undefined): void {
    const { commitIndex, log } = core
    if (before !== undefined && commitIndex < before.commitIndex) {
      this.#fail('commit never regresses', `${core.replicaId} from ${before.commitIndex} to ${commitIndex}`)
    }
    if (commitIndex > log.lastIndex) {
      this.#fail('commit never regresses', `${core.replicaId} committed ${commitIndex} beyond its log`)
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
      this.#fail(
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
        this.#fail(
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
        this.#fail('replica ids are minted once', `the entry ${index} minted replica ${replicaId} again`)
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
      this.#fail('direct commit only of own term', `${core.replicaId} committed ${commitIndex} of ${term}`)
    }
    const { latest, places } = core.configurations
    const inForce = core.configurations.at(before.lastIndex)
    const isDurable = places
      .filter((place) => place === inForce || place.index > before.lastIndex)
      .some(({ configuration }) => hasQuorum(electorateOf(configuration), this.#holds(core, commitIndex)))
    if (!isDurable) this.#checkDurable(core, commitIndex, (latest as PlacedConfiguration).configuration)
  }

  #holds(core: RaftCore, index: number): (voter: ReplicaId) => boolean {
    const term = core.log.termAt(index) as number
    return (voter) => this.#disks.get(voter)?.has(index, term) !== false
  }

  /** The entry is on the disks of a quorum, judged by the members alone, whatever the core makes of them. */
  #checkDurable(core: RaftCore, index: number, configuration: Configuration): void {
    const holds = this.#holds(core, index)
    const electorate = electorateOf(configuration)
    if (hasQuorum(electorate, holds)) return
    const holders = electorate.voters.filter(holds)
    this.#fail(
      'committed is durable on a majority',
      `${core.replicaId} committed ${index}, on the disks of ${holders.join(', ') || 'nobody'} only`,
    )
  }

  /**
   * A leader appends a configuration only when the one before is committed: above all, it leaves no joint one before. If both
   * happened in this event, the one before was in force until then, and it must have been committed by its own quorum.
   */
  #checkAppendedConfigurations(core: RaftCore, before: Seen | undefined): void {
    if (before === undefined || (!before.leads && core.role !== 'leader')) return
    const { places } = core.configurations
    for (let i = places.length - 1; i > 0; i--) {
      const { index, configuration } = places[i] as PlacedConfiguration
      const earlier = places[i - 1] as PlacedConfiguration
      if (index <= before.lastIndex || core.log.termAt(index) !== core.term) return
      if (earlier.index > core.commitIndex) {
        this.#fail(
          'one change at a time',
          `${core.replicaId} appended generation ${configuration.generation} before ${earlier.configuration.generation} was committed`,
        )
      }
      if (earlier.index > before.commitIndex) this.#checkDurable(core, earlier.index, earlier.configuration)
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
      this.#fail(
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

  #noteLength(core: RaftCore, before: Seen | undefined): void {
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

  #checkLeadership(core: RaftCore, before: Seen | undefined): void {
    if (core.role !== 'leader') return
    const known = this.#leaders.get(core.term)
    if (known !== undefined && known !== core.replicaId) {
      this.#fail('election safety', `${known} and ${core.replicaId} lead in term ${core.term}`)
    }
    if (before?.leads === true && before.term === core.term) return
    if (known !== undefined)
      this.#fail('election safety', `${known} leads in term ${core.term} a second time`)
    this.#leaders.set(core.term, core.replicaId)
    // A candidate whose votes were long on their way may win an old term after a newer one has committed.
    let last = this.committedIndex
    while (last > 0 && (this.#committedIn[last] as number) >= core.term) last--
    const term = this.#committed[last] as number
    if (last > 0 && (core.lastIndex < last || (term !== 0 && !hasEntry(core, last, term)))) {
      this.#fail('leader completeness', `leader ${core.replicaId} of ${core.term} lacks ${last} of ${term}`)
    }
    const since = this.#recovered?.index ?? 0
    const committed = this.#configurations.findLast(
      ({ index, committedIn }) => index >= since && committedIn < core.term,
    )
    if (committed === undefined) return
    if (!overlap(electorateOf(committed.configuration), electorateOf(core.configuration as Configuration))) {
      this.#fail('configurations overlap', `${core.replicaId} was elected under a stale configuration`)
    }
  }

  /** The configuration in force is the last one of the log, and the committed one the same everywhere. */
  #checkConfigurationInForce(core: RaftCore): void {
    const { latest } = core.configurations
    if (latest === undefined) return
    const { index, configuration } = latest
    const entry = core.log.entries[index - core.log.memoryFirst]
    const known = this.#history.get(`${index}/${core.log.termAt(index)}`)?.entry ?? entry
    if (index > core.lastIndex || (index > core.commitIndex && known?.kind !== entryKinds.configuration)) {
      this.#fail(
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
      this.#fail(
        'configuration of the log',
        `${core.replicaId} holds generation ${mine}, committed is ${expected}`,
      )
    }
  }

  #checkCursors(core: RaftCore): void {
    const { appliedIndex, handedIndex, commitIndex, log } = core
    if (appliedIndex > handedIndex || handedIndex > commitIndex || handedIndex > log.durableIndex) {
      this.#fail(
        'applied is committed and durable',
        `${core.replicaId}: applied ${appliedIndex}, handed out ${handedIndex}, committed ${commitIndex}, durable ${log.durableIndex}`,
      )
    }
  }

  /** A group at rest has no timers: whatever were left to do would never be done. */
  #checkRest(core: RaftCore): void {
    const { atRest, log, commitIndex, appliedIndex, role, nextDeadlineMs, readDeadlineMs } = core
    if (!atRest) return
    const isDone = commitIndex === log.lastIndex && appliedIndex === commitIndex && !log.hasUnwritten
    const behind = [...core.progress.values()].some(
      ({ matchIndex, down }) => matchIndex !== log.lastIndex && !down,
    )
    if (isDone && !behind && nextDeadlineMs === readDeadlineMs && role !== 'candidate') return
    this.#fail(
      'nothing is left to do at rest',
      `${core.replicaId} rests as ${role} at ${log.lastIndex}, committed ${commitIndex}, applied ${appliedIndex}`,
    )
  }

  #disk(replicaId: ReplicaId): DurableModel {
    let disk = this.#disks.get(replicaId)
    if (disk === undefined) {
      disk = new DurableModel()
      this.#disks.set(replicaId, disk)
    }
    return disk
  }

  #fail(invariant: RaftInvariantName, problem: string): never {
    throw new KeelsonError('INVARIANT_VIOLATED', `${invariant}: ${problem}`, { details: { invariant } })
  }
}

/** Somebody counts on what it says. */
function isPromise(message: Message): boolean {
  switch (message.kind) {
    case 'vote':
    case 'heartbeatReply':
      return true
    case 'voteReply':
      return message.granted
    case 'appendReply':
      return message.accepted
    default:
      return false
  }
}

function sameEntry(a: LogEntry, b: LogEntry): boolean {
  return (
    a === b || (a.index === b.index && a.term === b.term && a.kind === b.kind && equalBytes(a.data, b.data))
  )
}

function hasEntry(core: RaftCore, index: number, term: number): boolean {
  return index <= core.log.compacted.index || core.log.matches(index, term)
}

function moveKey<V>(map: Map<ReplicaId, V>, from: ReplicaId, to: ReplicaId): void {
  const value = map.get(from)
  if (value === undefined) return
  map.delete(from)
  map.set(to, value)
}
