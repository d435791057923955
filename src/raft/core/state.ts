import { KeelsonError } from '../../core/errors.ts'
import { invariant } from '../../core/invariant.ts'
import type { Random } from '../../core/random.ts'
import { entryKinds, type HardState } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { votesInAnyHalf } from '../../model/replica-roles.ts'
import { replicaOf } from './configuration.ts'
import { ConfigurationHistory } from './configuration-history.ts'
import { type Electorate, nobody } from './electorate.ts'
import { RaftLog } from './log.ts'
import type { Configuration } from './membership-types.ts'
import type { Message } from './messages.ts'
import { added, noneOf } from './none.ts'
import { checkRaftOptions } from './options.ts'
import type { RaftCoreSetup } from './setup.ts'
import type {
  ConfigurationState,
  Leadership,
  OfferedSnapshot,
  RaftOptions,
  RaftRole,
  RestoredState,
} from './types.ts'

const nothing: Readonly<Record<string, number>> = Object.freeze({})

/** An empty map takes memory, and a host has many replicas. */
export const nobodysVotes: ReadonlyMap<ReplicaId, boolean> = new Map()

/**
 * The state that every role has, and how it changes in the smallest steps. The layers above add, one subject each:
 * elections, following, leading, and what callers ask for; `RaftCore` puts them together.
 *
 * All fields are plain data or objects with `clone`, so that a core can be copied and compared.
 */
export abstract class RaftState {
  /** Changes only while the replica is empty. */
  replicaId: ReplicaId
  readonly options: RaftOptions
  /** The source of election timeouts; the only thing here that is not data. */
  random: Random
  /** The latest time that came in. Never goes back. */
  nowMs: number
  /** The wall time that came in last. May jump; decides nothing but that there is no lease. */
  wallMs: number = -Infinity

  /** Grows only. Written with `votedFor` as one record, before anything that promises it leaves. */
  term: number
  /** Whom this replica voted for in `term`; 0 for nobody. Cleared only by a higher term. */
  votedFor: ReplicaId
  /** Term or vote changed since the last write was issued. */
  hardStateDirty = false
  /** Term and vote as the disk has them for certain. */
  durableTerm: number
  durableVote: ReplicaId

  log: RaftLog
  configurations: ConfigurationHistory

  /** Everything up to here is committed. Grows only, and never above `log.lastIndex`. */
  commitIndex: number
  /** Entries up to here were handed out for application. At most min(commitIndex, log.durableIndex). */
  handedIndex: number
  /** The state machine has everything up to here. At most `handedIndex`. */
  appliedIndex: number
  /** Batches handed out and not applied, oldest first: last index and bytes. */
  applying: readonly { readonly lastIndex: number; readonly bytes: number }[] = noneOf()

  role: RaftRole = 'follower'
  /** Whom this replica takes for the leader; 0 for nobody. A hint but for the leader itself. */
  leader: ReplicaId = 0
  /** Who was seen to lead in `term`; 0 for nobody. There is never a second one. */
  termLeader: ReplicaId = 0
  /** When the leader was last heard. */
  leaderHeardMs: number = -Infinity
  /**
   * Up to here this log is known to equal the log of the leader of `term`: by the appends that were accepted in this
   * term, and up to `commitIndex` by leader completeness.
   */
  provenIndex: number

  /** When this replica campaigns if nothing happens before. Infinity while it leads or may not campaign. */
  electionDeadlineMs: number = Infinity
  /** The random timeout in force: see {@link RaftState.drawElectionTimeout}. */
  electionTimeoutMs: number
  /** Answers in the campaign under way. */
  votes: ReadonlyMap<ReplicaId, boolean> = nobodysVotes

  /** The disk forgot what was acknowledged. Such a replica neither votes nor acknowledges nor campaigns. */
  quarantined: boolean
  /** A snapshot that the host is fetching. */
  restoring: OfferedSnapshot | undefined = undefined

  /** Messages that may leave at once. */
  outbox: readonly Message[] = noneOf()
  /** Messages that may leave once everything changed so far is durable. */
  deferred: readonly Message[] = noneOf()
  /** Parts of the next Ready. */
  pendingOffer: OfferedSnapshot | undefined = undefined
  pendingRemoved = false
  /** A member told us that our removal is committed. */
  toldRemoved = false
  pendingQuarantine = false
  /** What was reported last. */
  reportedLeadership: Leadership
  reportedConfiguration: ConfigurationState

  /** Messages that made no sense here, by reason. */
  dropped: Readonly<Record<string, number>> = nothing

  constructor(setup: RaftCoreSetup) {
    const { restored } = setup
    this.replicaId = setup.replicaId
    this.options = setup.checkedOptions ?? checkRaftOptions(setup.options)
    this.configurations = new ConfigurationHistory(setup.pool)
    this.random = setup.random
    this.nowMs = setup.nowMs
    checkRestored(restored)
    this.log = new RaftLog(restored.compacted, restored.entries, restored.earlierTerms)
    // A snapshot's state is durable before the hard state that belongs to it may be.
    this.term = Math.max(restored.hardState?.term ?? 0, this.log.lastTerm)
    this.votedFor = this.term === restored.hardState?.term ? restored.hardState.votedFor : 0
    this.durableTerm = this.term
    this.durableVote = this.votedFor
    this.appliedIndex = restored.appliedIndex
    this.handedIndex = restored.appliedIndex
    this.commitIndex = Math.max(
      restored.hardState?.commit ?? 0,
      restored.appliedIndex,
      restored.compacted.index,
    )
    this.provenIndex = this.commitIndex
    this.quarantined = restored.quarantined ?? false
    this.#restoreConfigurations(restored)
    const lastIndex = this.log.lastIndex
    if (this.quarantined) {
      // Known to have lost entries, committed ones perhaps; it only keeps what is left from doing harm.
      this.commitIndex = Math.min(this.commitIndex, lastIndex)
      this.provenIndex = this.commitIndex
    }
    if (this.commitIndex > lastIndex) {
      throw new KeelsonError(
        'CORRUPTION',
        `the log ends at ${lastIndex}, but ${this.commitIndex} was committed or applied here: the disk lost entries, so this replica must be replaced`,
      )
    }
    this.electionTimeoutMs = this.drawElectionTimeout()
    this.armElection()
    this.reportedLeadership = this.leadership()
    this.reportedConfiguration = this.configurationState()
  }

  #restoreConfigurations(restored: RestoredState): void {
    const known = restored.configurationIndex ?? 0
    if (restored.configuration !== undefined) this.configurations.reset(known, restored.configuration)
    for (const entry of restored.entries) {
      if (entry.kind !== entryKinds.configuration || entry.index <= known) continue
      try {
        this.configurations.append(entry.index, entry.data)
      } catch (cause) {
        if (KeelsonError.hasCode(cause, 'FORMAT_VERSION')) throw cause
        throw new KeelsonError('CORRUPTION', `the configuration in entry ${entry.index} does not decode`, {
          cause,
        })
      }
    }
  }

  abstract becomeFollower(term: number, leader: ReplicaId): void
  /** Role and election timer after a change of the configuration in force. */
  abstract configurationChanged(): void
  /** What a leader does with a higher commit index. */
  abstract committed(before: number): void

  /** The configuration in force: the latest appended one. */
  get configuration(): Configuration | undefined {
    return this.configurations.latest?.configuration
  }

  get lastIndex(): number {
    return this.log.lastIndex
  }

  /** Whose votes and acknowledgements count now, and how they make a quorum. */
  electorate(): Electorate {
    return this.configurations.latest?.electorate ?? nobody
  }

  /** The replicas whose votes and acknowledgements count now, in whatever half of the configuration in force. */
  voters(): readonly ReplicaId[] {
    return this.electorate().voters
  }

  /** True when this replica is a voter of the configuration in force, in whatever half of it. */
  isVoter(): boolean {
    return this.voters().includes(this.replicaId)
  }

  /** No entry was ever here, so none was acknowledged; and without a configuration it campaigns for nothing. */
  get isEmpty(): boolean {
    return (
      this.log.lastIndex === 0 &&
      this.log.truncations === 0 &&
      this.configuration === undefined &&
      this.restoring === undefined &&
      this.role === 'follower' &&
      !this.quarantined
    )
  }

  takeId(replicaId: ReplicaId): void {
    invariant(this.isEmpty, 'only an empty replica takes another id')
    this.replicaId = replicaId
    // Nobody waits for what the old id had to say.
    this.outbox = noneOf()
    this.deferred = noneOf()
    this.toldRemoved = false
    this.pendingRemoved = false
  }

  /** Lets the clock of this core move forward, never back. */
  observeTime(nowMs: number): void {
    if (nowMs > this.nowMs) this.nowMs = nowMs
  }

  /** Moves to a higher term, in which this replica has not voted. */
  adoptTerm(term: number): void {
    this.term = term
    this.votedFor = 0
    this.termLeader = 0
    this.provenIndex = this.commitIndex
    this.hardStateDirty = true
  }

  recordVote(candidate: ReplicaId): void {
    this.votedFor = candidate
    this.hardStateDirty = true
  }

  /** What the next write says of term, vote and commit, if it says anything. */
  hardStateToWrite(): HardState | undefined {
    if (!this.hardStateDirty && !this.log.hasUnwritten) return undefined
    return { term: this.term, votedFor: this.votedFor, commit: this.commitIndex }
  }

  /** True when everything that this message promises is on the disk. */
  isDurable(message: Message): boolean {
    if (message.kind === 'appendReply') {
      return this.durableTerm >= message.term && message.index <= this.log.durableIndex
    }
    const candidate = message.kind === 'voteReply' ? message.to : this.replicaId
    return this.durableTerm === message.term && this.durableVote === candidate
  }

  send(message: Message): void {
    this.outbox = added(this.outbox, message)
  }

  /** For messages that promise something that is being made durable: votes, requests for them, acknowledgements. */
  sendAfterWrite(message: Message): void {
    this.deferred = added(this.deferred, message)
  }

  /** Counts a message that makes no sense here and has no effect. */
  drop(reason: string): void {
    this.dropped = { ...this.dropped, [reason]: (this.dropped[reason] ?? 0) + 1 }
  }

  setLeader(leader: ReplicaId): void {
    this.leader = leader
    if (leader !== 0) this.termLeader = leader
  }

  /**
   * From a range that is as wide as the options say. The narrower it is the later it begins, so that stalls that begin an
   * election needlessly, most of which are short, do not become more frequent by it.
   */
  drawElectionTimeout(): number {
    const { electionTimeoutMs, electionTimeoutRange } = this.options
    return electionTimeoutMs * (this.shortestTimeout() + electionTimeoutRange * this.random.float())
  }

  /**
   * How long a candidate waits for votes. Always from a wide range: on slow disks a round may take longer than the longest of a narrow
   * one, and then nobody would ever win, as every candidate begins anew before its votes have come.
   */
  drawCampaignTimeout(): number {
    return this.options.electionTimeoutMs * (this.shortestTimeout() + this.random.float())
  }

  /** In units of the least timeout. */
  shortestTimeout(): number {
    return 1 + (1 - this.options.electionTimeoutRange) / 5
  }

  /** What is random of the timeout in force: not all who wait for the same event go on together. */
  randomShareMs(): number {
    return this.electionTimeoutMs - this.options.electionTimeoutMs * this.shortestTimeout()
  }

  /**
   * True when this replica may ask for votes: a voter under the latest configuration that it has appended; or one that
   * this configuration removes, for as long as that is not committed. Nobody else may have the entry, and with it the
   * longest log (thesis, section 4.2.2). It then leads without counting itself, until its removal is committed.
   */
  maySeekElection(): boolean {
    if (this.role === 'leader' || this.quarantined || this.toldRemoved) return false
    return this.isVoter() || this.isLeaving()
  }

  /** The latest configuration takes this replica's vote away and is not known to be committed. */
  isLeaving(): boolean {
    const { latest } = this.configurations
    if (latest === undefined || latest.index <= this.commitIndex || this.isVoter()) return false
    const before = this.configurations.at(latest.index - 1)
    return before?.electorate.voters.includes(this.replicaId) === true
  }

  /** Starts the election timer anew, with the timeout in force. */
  armElection(): void {
    const needed = this.leader !== 0 || this.maySeekElection()
    this.electionDeadlineMs = needed
      ? this.nowMs + this.electionTimeoutMs + this.deferenceMs()
      : Number.POSITIVE_INFINITY
  }

  ownPriority(): number {
    return replicaOf(this.configuration, this.replicaId)?.priority ?? 0
  }

  /**
   * How much longer than others this replica waits for a leader that has fallen silent, so that voters of higher priority go
   * first, if they are there. Only then: once there is no leader, each voter waits as long as any other, or one that
   * campaigns again and again without a chance would keep those of lower priority, which have one, waiting for ever.
   */
  deferenceMs(): number {
    const { latest } = this.configurations
    if (latest?.wantsMore !== true || this.leader === 0) return 0
    const own = this.ownPriority()
    const defers = latest.configuration.replicas.some(
      (replica) =>
        replica.replicaId !== this.leader && votesInAnyHalf(replica) && (replica.priority ?? 0) > own,
    )
    return defers ? this.options.electionTimeoutMs : 0
  }

  /** Entries may be applied up to here: committed, and durable on this replica. */
  applyLimit(): number {
    return Math.min(this.commitIndex, this.log.durableIndex)
  }

  /** Raises the commit index. */
  commitTo(index: number): void {
    if (index <= this.commitIndex) return
    const before = this.commitIndex
    this.commitIndex = Math.min(index, this.log.lastIndex)
    this.provenIndex = Math.max(this.provenIndex, this.commitIndex)
    this.committed(before)
  }

  /**
   * The removal of this replica is committed: ids are minted from log indexes, so one that is not above the commit index
   * and not in the configuration that is committed there was there before, and is gone.
   */
  isRemoved(replicaId: ReplicaId): boolean {
    const committed = this.configurations.at(this.commitIndex)?.configuration
    if (committed === undefined || replicaId > this.commitIndex) return false
    return (
      replicaOf(committed, replicaId) === undefined && replicaOf(this.configuration, replicaId) === undefined
    )
  }

  leadership(): Leadership {
    return { role: this.role, term: this.term, leader: this.leader }
  }

  configurationState(): ConfigurationState {
    const { latest } = this.configurations
    const committed = this.configurations.at(this.commitIndex)
    const reported = this.reportedConfiguration as ConfigurationState | undefined
    if (
      reported?.latest === latest?.configuration &&
      reported?.latestIndex === this.configurations.latestIndex &&
      reported?.committed === committed?.configuration &&
      reported?.committedIndex === committed?.index
    ) {
      return this.reportedConfiguration
    }
    return {
      latest: latest?.configuration,
      latestIndex: this.configurations.latestIndex,
      committed: committed?.configuration,
      committedIndex: committed?.index ?? 0,
    }
  }
}

function checkRestored(restored: RestoredState): void {
  const refuse = (problem: string): never => {
    throw new KeelsonError('CORRUPTION', `the stored state of a Raft replica contradicts itself: ${problem}`)
  }
  const { compacted, entries, appliedIndex } = restored
  const first = entries[0]?.index ?? compacted.index + 1
  if (first <= compacted.index) refuse(`entry ${first} is there although ${compacted.index} is compacted`)
  if (first > compacted.index + 1 && (restored.earlierTerms?.[0]?.index ?? 0) !== compacted.index + 1) {
    refuse(`the terms between ${compacted.index} and ${first} are not known`)
  }
  let index = first - 1
  let term = Math.max(compacted.term, restored.earlierTerms?.at(-1)?.term ?? 0)
  for (const entry of entries) {
    index++
    if (entry.index !== index) refuse(`entry ${entry.index} stands where ${index} belongs`)
    if (entry.term < term || entry.term < 1) refuse(`entry ${index} has term ${entry.term} after ${term}`)
    term = entry.term
  }
  if (appliedIndex < compacted.index)
    refuse(`${compacted.index} is compacted, but only ${appliedIndex} applied`)
  const known = restored.configurationIndex ?? 0
  if (restored.configuration === undefined && compacted.index > 0)
    refuse('a compacted log has no configuration')
  if (known < compacted.index) refuse(`the configuration is of ${known}, but ${compacted.index} is compacted`)
  if (known > appliedIndex) refuse(`the configuration is of ${known}, but only ${appliedIndex} is applied`)
  if (entries.length === 0 && (restored.earlierTerms?.length ?? 0) > 0) refuse('the last entry is missing')
  if (first > known + 1 && entries.length > 0)
    refuse(`entries between ${known} and ${first} were not looked through`)
}
