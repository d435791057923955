import type { Random } from '../../core/random.ts'
import type { EntryKind, HardState, LogEntry, LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import type { Configuration, MembershipChange, MembershipOptions } from './membership-types.ts'
import type { Message } from './messages.ts'

/**
 * What a replica does at the moment. A pre-candidate asks whether it could win an election without touching its term; it
 * goes on following a leader that it hears from.
 */
export type RaftRole = 'follower' | 'preCandidate' | 'candidate' | 'leader'

/**
 * One durable write. Writes are numbered from 1 without gaps in the life of a core, several may be under way at once, and
 * they must become durable in the order of their numbers, each whole or not at all. Within one: `reset`, `entries`,
 * `hardState`, as in `GroupWrite`.
 */
export interface RaftWrite {
  readonly writeId: number
  readonly reset?: LogPosition
  /** Contiguous. Replaces what the log holds from the first one's index on. */
  readonly entries?: readonly LogEntry[]
  /** Term, vote and commit, one record. */
  readonly hardState?: HardState
}

/** A message that promises something durable: it may leave only after `persisted(writeId)` is true of the disk. */
export interface DeferredMessage {
  readonly writeId: number
  readonly message: Message
}

/**
 * What proves to a leader that nobody else has led meanwhile. `readIndex`: a round of messages. `lease`: the pledges of a
 * quorum, where they are valid at the moment, and a round of messages where they are not.
 */
export type ReadMode = 'readIndex' | 'lease'

/** How a read is asked for. */
export interface ReadRequest {
  /** Default `readIndex`. */
  readonly mode?: ReadMode
  /** Where it is served: by this replica only if it leads (the default), or by whatever it is, its leader being asked. */
  readonly from?: 'leader' | 'any'
}

/** A read that may be served: once the local state machine has applied `index`, it has all that was acknowledged before. */
export interface ReadReady {
  /** As given to `requestRead`. */
  readonly context: number
  readonly index: number
}

/**
 * Entries that a follower needs and that are no longer in memory. The host reads them from the log store and gives them to
 * `fetched` with this object, or calls `fetchFailed`. The last three fields are the guard: the answer is dropped when any
 * of them has changed meanwhile.
 */
export interface Fetch {
  readonly fetchId: number
  readonly replicaId: ReplicaId
  /** First and last index wanted; fewer entries from `from` on are welcome. */
  readonly from: number
  readonly to: number
  readonly maximumBytes: number
  readonly term: number
  readonly truncations: number
  readonly snapshotIndex: number
}

/** A snapshot that this follower needs: the host streams it from the leader, restores it and calls `snapshotRestored`. */
export interface OfferedSnapshot {
  readonly from: ReplicaId
  readonly term: number
  /** The least position that helps. */
  readonly position: LogPosition
}

/** A follower that this leader cannot serve from its log. The core has sent it an offer; the host may prepare. */
export interface NeededSnapshot {
  readonly replicaId: ReplicaId
  readonly position: LogPosition
}

/** Role, term and leader, reported when one of them changed. */
export interface Leadership {
  readonly role: RaftRole
  readonly term: number
  /** 0 while no leader is known. */
  readonly leader: ReplicaId
}

/** The configuration in force (latest appended) and the latest committed one, reported when one of them changed. */
export interface ConfigurationState {
  readonly latest: Configuration | undefined
  /** Log index of the entry (or snapshot) that `latest` comes from. */
  readonly latestIndex: number
  readonly committed: Configuration | undefined
  readonly committedIndex: number
}

/**
 * What the host has to do next. Each thing is reported once. `messages` may leave at once and in any order with regard to
 * the write. Apply `committed` in order.
 */
export interface Ready {
  readonly write?: RaftWrite
  readonly messages: readonly Message[]
  readonly messagesAfter: readonly DeferredMessage[]
  /** Committed and durable here; each index once, without gaps. Report progress with `applied`. */
  readonly committed: readonly LogEntry[]
  readonly reads: readonly ReadReady[]
  /** Contexts of reads that will not be answered, because leadership was lost or could not be confirmed. */
  readonly failedReads: readonly number[]
  readonly fetches: readonly Fetch[]
  readonly neededSnapshots: readonly NeededSnapshot[]
  readonly offeredSnapshot?: OfferedSnapshot
  readonly leadership?: Leadership
  readonly configuration?: ConfigurationState
  /** How a transfer of leadership that was started here ended. */
  readonly transfer?: { readonly to: ReplicaId; readonly outcome: 'done' | 'failed' }
  /** A member told us that our removal is committed. */
  readonly removed?: true
  /** This replica's log is shorter than what it once acknowledged: it votes and acknowledges no more. Keep it so. */
  readonly quarantined?: true
}

/** Why a call was refused. */
export type RefusalReason =
  /** This replica does not lead. */
  | 'notLeader'
  /** Leadership is being handed over; try again with the new leader. */
  | 'transferring'
  /** Too much is uncommitted or too many reads are waiting. */
  | 'overloaded'
  /** One entry is larger than the limit, or nothing was proposed. */
  | 'invalid'
  /** A membership change is not committed yet. */
  | 'changeInProgress'
  /** The leader has not committed an entry of its own term yet. */
  | 'notReady'
  /** The latest configuration does not have the expected generation. */
  | 'staleGeneration'
  /** No such replica in the latest configuration, or not with the role that this needs. */
  | 'unknownReplica'
  /** The group has as many replicas as it may have. */
  | 'groupFull'
  /** The node has a replica already. */
  | 'duplicateNode'
  /** The group would be left without a voter. */
  | 'lastVoter'
  /** A learner to be promoted is too far behind. */
  | 'notCaughtUp'
  /** The group is in a joint configuration, which must be left first. */
  | 'joint'
  /** There is no joint configuration to leave. */
  | 'notJoint'
  /** The list of changes is empty, too long, or says two things of one replica. */
  | 'invalidChange'

/** A refusal. The call had no effect. */
export interface Refused {
  readonly accepted: false
  readonly reason: RefusalReason
  /** Whom this replica takes for the leader; 0 for nobody. */
  readonly leader: ReplicaId
}

/** Proposals were appended, one after the other, from `firstIndex` to `lastIndex`, all with `term`. */
export interface ProposalAccepted {
  readonly accepted: true
  readonly term: number
  readonly firstIndex: number
  readonly lastIndex: number
}

/**
 * A membership change was appended: it is in force here and done once the entry is committed; a joint one that leaves by
 * itself, once the entry that follows it is.
 */
export interface ChangeAccepted {
  readonly accepted: true
  readonly term: number
  readonly index: number
  readonly configuration: Configuration
}

/** What `requestRead` and `transferLeadership` give back. */
export type Accepted = { readonly accepted: true }

/** One thing to append. */
export interface Proposal {
  readonly kind: EntryKind
  readonly data: Uint8Array
}

/** Replication to one replica, as the leader sees it. */
export type ProgressState = 'probe' | 'replicate' | 'snapshot'

/** What the leader knows of a replica. */
export interface ProgressStatus {
  readonly state: ProgressState
  readonly matchIndex: number
  readonly nextIndex: number
  /** An answer came within the last election timeout. */
  readonly recentlyActive: boolean
  /** It may be promoted: it has the entry that added it, and lacks little. */
  readonly caughtUp: boolean
  readonly inFlightMessages: number
  readonly inFlightBytes: number
}

/** A view of a core for people and programs. */
export interface RaftStatus {
  readonly replicaId: ReplicaId
  readonly role: RaftRole
  readonly term: number
  readonly votedFor: ReplicaId
  readonly leader: ReplicaId
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly durableIndex: number
  readonly lastIndex: number
  readonly lastTerm: number
  readonly compacted: LogPosition
  readonly configuration: ConfigurationState
  readonly quarantined: boolean
  /** Nothing is said, and no timer runs. */
  readonly atRest: boolean
  /** Where leadership is being handed to; 0 for nowhere. */
  readonly transferringTo: ReplicaId
  /** On a leader: every other replica of the latest configuration. Empty elsewhere. */
  readonly progress: ReadonlyMap<ReplicaId, ProgressStatus>
  /** Messages that were dropped because they made no sense here, by reason. */
  readonly dropped: ReadonlyMap<string, number>
}

/** What a core starts from: what the disk holds. Everything empty is a legal start: a replica that waits for a leader. */
export interface RestoredState {
  readonly hardState?: HardState
  /** Everything up to here is gone from the log. Index 0 and term 0 for a log from its beginning. */
  readonly compacted: LogPosition
  /** The configuration of the last configuration entry at or below `configurationIndex`. */
  readonly configuration?: Configuration
  /**
   * Up to where `configuration` is right: the applied index that it was stored with, or the compacted index. Entries
   * above it are looked through for newer ones.
   */
  readonly configurationIndex?: number
  /** What the state machine has durably applied; at least `compacted.index`. */
  readonly appliedIndex: number
  /** The end of the log, contiguous. Starts at the latest right after `appliedIndex` and after `configurationIndex`. */
  readonly entries: readonly LogEntry[]
  /** Where `entries` does not start right after `compacted`: the first position of each term in between. */
  readonly earlierTerms?: readonly LogPosition[]
  /** This replica was quarantined before. */
  readonly quarantined?: boolean
  /** The longest that an earlier life may have pledged itself for, in milliseconds; with other options than now, perhaps. */
  readonly pledgedMs?: number
}

/** Tuning of the algorithm. Durations in milliseconds of the monotonic clock that is passed in. */
export interface RaftOptions {
  /** Least time without a leader before a follower campaigns. */
  readonly electionTimeoutMs: number
  /**
   * How wide the range is from which the actual time is drawn, in units of the least one: 1 for 1 to 2 times that (Raft section
   * 9.3), 0.3 for 1.14 to 1.44 times, which does where there are pre-votes: of two that cross one gives way before anybody has
   * voted. Less than 1 needs `preVote`. A RaftHost takes 0.3 unless it is told otherwise.
   */
  readonly electionTimeoutRange: number
  /** Time between two rounds of heartbeats. At most a third of the election timeout. */
  readonly heartbeatIntervalMs: number
  /** Ask before an election whether it can be won. */
  readonly preVote: boolean
  /** A leader that hears of no quorum for an election timeout steps down. */
  readonly checkQuorum: boolean
  /** Step of the staggered start of elections after a closed socket: voter i waits i · 2 of these. */
  readonly roundTripMs: number
  /** How long a follower may wait to be told that a few entries are committed, when no other message to it says so. */
  readonly commitNoticeMs: number
  /**
   * How long the lease of a leader lasts, from when it sent the messages that a quorum answered: an integer. As long, its
   * followers vote for nobody else, so a leader that dies costs about that. Of use only with `clockDriftBound`. Replicas
   * may differ in it; one that starts again with a lower value must have been down for the former.
   */
  readonly leaseMs: number
  /**
   * The rate of every clock of the group is within 1 ± this, which is for the operator to know: reads by lease are only as
   * right as it is. 0: nobody knows, and no lease is ever used. A replica that starts again without a bound must have been
   * down for `leaseMs`.
   */
  readonly clockDriftBound: number
  /**
   * Groups in which there is nothing to say go to rest: their nodes tell each other that they are there, for all of them
   * at once. Of use only with a host that does so, as `RaftHost`.
   */
  readonly quiescence: boolean
  /** Most bytes of data in one append message and in one fetch; a single larger entry travels alone. */
  readonly maximumAppendBytes: number
  /** Most entries in one append message. */
  readonly maximumAppendEntries: number
  /** Most append messages on their way to one replica. */
  readonly maximumInFlightMessages: number
  /** Most bytes of data on their way to one replica; a single larger message may travel alone. */
  readonly maximumInFlightBytes: number
  /** Largest data of one proposal. */
  readonly maximumEntryBytes: number
  /** Most memory that uncommitted entries of a leader take before it refuses proposals; each counts 64 bytes more. */
  readonly maximumUncommittedBytes: number
  /** Most memory that committed entries take that were handed out and not applied, counted the same way. */
  readonly maximumApplyingBytes: number
  /** Most reads that wait for their confirmation. */
  readonly maximumPendingReads: number
  /** Memory for applied entries that stay for followers that are a little behind. */
  readonly maximumTailBytes: number
  /**
   * A learner that is at most this many entries behind the leader's commit index may be promoted; so may one that lacks only
   * what was appended within the last `electionTimeoutMs`.
   */
  readonly caughtUpEntries: number
}

/**
 * The algorithm as its driver sees it. Synchronous: each input changes the state at once, effects are collected and taken
 * with `takeReady`, best after a whole round of inputs. Time comes in as monotonic milliseconds with each input and never
 * goes back.
 */
export interface RaftMachine {
  readonly replicaId: ReplicaId
  readonly role: RaftRole
  readonly term: number
  /** 0 while no leader is known. */
  readonly leader: ReplicaId
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly lastIndex: number
  /** When `advanceTo` wants to be called next; Infinity for never. It may move with each input. */
  readonly nextDeadlineMs: number
  /** Latest appended, in force. */
  readonly configuration: Configuration | undefined

  /**
   * Takes in a message of a peer.
   *
   * @throws KeelsonError `MALFORMED` for one that no correct peer makes; nothing has changed then
   */
  step(message: Message, nowMs: number): void
  /** Appends proposals (kinds command and session), all or none. */
  propose(proposals: readonly Proposal[], nowMs: number): ProposalAccepted | Refused
  /** Appends a new configuration, with all changes at once: a joint one where more than one voter changes. */
  changeMembership(
    changes: MembershipChange | readonly MembershipChange[],
    options: MembershipOptions,
    nowMs: number,
  ): ChangeAccepted | Refused
  /** Asks for a linearizable read; answered in `Ready.reads` or `Ready.failedReads` with the same context. */
  requestRead(context: number, nowMs: number, request?: ReadRequest): Accepted | Refused
  /**
   * The wall time that goes with the monotonic time of the next input. It gives nothing, but without it, or when it has gone
   * on while the monotonic clock stood still, there is no lease. To be called before whatever may send or use one.
   */
  observeWall(wallMs: number): void
  /**
   * What must be applied for a read now: the commit index while this replica leads with a valid lease, undefined otherwise.
   * For reads that need no turn.
   */
  leaseReadIndex(nowMs: number, wallMs: number): number | undefined
  /** Hands leadership to a voter; the outcome is in `Ready.transfer`. Given up after an election timeout. */
  transferLeadership(to: ReplicaId, nowMs: number): Accepted | Refused
  /** Lets time pass: elections, heartbeats, quorum checks. */
  advanceTo(nowMs: number): void
  /**
   * Starts an election (with a pre-vote first, where that is on) if this replica is a voter and does not lead: now, or when
   * its pledge to a leader has ended.
   */
  campaign(nowMs: number): void
  /**
   * On a follower: whoever led is gone, as the caller knows from elsewhere. From now on this replica votes for others as if
   * it had never heard a leader; it campaigns no earlier by that. A leader that is there after all makes itself known again.
   */
  forgetLeader(nowMs: number): void
  /** A hint: what was sent to this replica lately may be lost. */
  peerUnreachable(replicaId: ReplicaId, nowMs: number): void
  /**
   * A hint: the socket to this replica closed. If it leads, a pre-vote starts at once, staggered by voter. `watched`: the
   * host calls `peerUp` when its node is back, so that a group may rest without it. Default: false.
   */
  peerDown(replicaId: ReplicaId, nowMs: number, watched?: boolean): void
  /**
   * The node of this replica is there, under this epoch; see `Heartbeat.epoch`. A leader speaks to the replica if it does
   * not rest under it.
   */
  peerUp(replicaId: ReplicaId, epoch: number, nowMs: number): void
  /** Nothing is said, and no timer runs: the host watches over the nodes of the others. */
  readonly atRest: boolean
  /** When a replica that does not lead asks for votes if nothing happens before; Infinity for never. */
  readonly electionDeadlineMs: number
  /** Whether this is a leader that has nothing to do but for what the others lack, and may rest. */
  isIdle(): boolean
  /**
   * The epoch by which this follower's node pledges itself for it; 0 for none. While it is not 0 the replica votes for
   * nobody, where leases are on.
   */
  readonly coverEpoch: number
  /** Whose epoch that is. */
  readonly coverLeader: ReplicaId
  /**
   * That epoch has ended, for good; nothing was pledged under it that lasts beyond `untilMs`, and the leader's node was
   * heard last at `heardMs`. Wakes the replica.
   */
  coverEnded(epoch: number, untilMs: number, heardMs: number, nowMs: number): void
  /** Whether a vote that is asked for now may be given if that epoch is ended first. */
  mayUncover(nowMs: number): boolean
  /** On a leader: the node of this replica answered what was sent at `sent`, and pledged itself under the epoch. */
  nodePledged(
    replicaId: ReplicaId,
    epoch: number,
    sent: { readonly atMs: number; readonly wallMs: number },
    pledgeMs: number,
    nowMs: number,
  ): void

  /** The disk has forgotten something that was acknowledged: the replica takes part in nothing from now on. */
  quarantine(): void
  /** Messages that wait for a write are not to be sent any more: nobody may rely on what they promise. */
  readonly quarantined: boolean

  /** Everything up to this write is durable. */
  persisted(writeId: number, nowMs: number): void
  /** The state machine has applied everything up to `index`. */
  applied(index: number, nowMs: number): void
  /** The answer to a fetch: at least one entry from `fetch.from` on. */
  fetched(fetch: Fetch, entries: readonly LogEntry[], nowMs: number): void
  /** A fetch failed. `compacted`: the entries are gone for good, so the follower needs a snapshot. */
  fetchFailed(fetch: Fetch, reason: 'compacted' | 'other', nowMs: number): void
  /**
   * The state machine was switched, durably, to a snapshot at `position` that carries `configuration`. A snapshot that is
   * not ahead of what is applied must not be restored: the state would go back.
   *
   * @throws KeelsonError `CORRUPTION` when it contradicts what is committed here
   */
  snapshotRestored(position: LogPosition, configuration: Configuration, nowMs: number): void
  /** The offered snapshot could not be fetched or restored; another offer may come. */
  snapshotFailed(nowMs: number): void
  /** On a leader: the stream of a snapshot to a replica ended. */
  reportSnapshot(replicaId: ReplicaId, outcome: 'sent' | 'failed', nowMs: number): void
  /**
   * Forgets entries up to `index`, at most up to the applied one.
   *
   * @returns the position up to which the log may now be compacted in the store
   */
  compact(index: number): LogPosition

  /** Whether this replica holds nothing of its group: no entry, no snapshot, not even the wish for one. */
  readonly isEmpty: boolean
  /**
   * Goes on under another id, for a replica that is empty: the one that it has is of no use to its group any more. Term and
   * vote stay, so nothing that was promised under the first id is forgotten.
   */
  takeId(replicaId: ReplicaId): void

  /** What the host has to do, or undefined when there is nothing. */
  takeReady(): Ready | undefined
  status(): RaftStatus
  /** The configuration in force at an index, if it is still known: for the bookkeeping of a snapshot. */
  configurationAt(index: number): Configuration | undefined
  /** An independent copy; it shares the random source unless given another one. */
  clone(random?: Random): RaftMachine
  /** Equal for cores that will behave equally, but for random draws and the wall of absolute time. */
  fingerprint(): string
}
