import type { Random } from '../../core/random.ts'
import type { EntryKind, HardState, LogEntry, LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import type { Incarnation, NodeId, ReplicaId } from '../../model/ids.ts'

/**
 * Who replicates a group. A configuration takes effect on a replica when it is appended there and rolls back when its
 * entry is truncated. Two that follow each other differ by one voter at most, so that their majorities overlap (Ongaro's
 * thesis, section 4.1); where more voters change, a joint configuration comes between the two, in which every decision
 * takes a majority of both (section 4.3 of the thesis, section 6 of the paper).
 */
export interface Configuration {
  /** 1 for the bootstrap, one more with each change, the end of a joint configuration included. */
  readonly generation: number
  /** By ascending replica id, no id twice, no node twice. */
  readonly replicas: readonly RaftMember[]
  /** What made this configuration of the one before. Empty for the bootstrap. */
  readonly changes: readonly ConfigurationChange[]
  /** Present while both the outgoing and the incoming voters count. */
  readonly joint?: JointPhase
}

/** A member of a group. */
export interface RaftMember extends ReplicaDescriptor {
  /** A learner that the leader, whoever leads by then, makes a voter as soon as it has caught up. Absent: it stays one. */
  readonly autoPromote?: true
  /**
   * Voters with a higher priority had rather lead than those with a lower one. It is a wish only: whoever has the log can be
   * elected when those with a higher one do not come forward. Absent: 0.
   */
  readonly priority?: number
}

/** How a joint configuration ends. */
export interface JointPhase {
  /**
   * The leader leaves it as soon as it is committed, whoever leads by then. Otherwise it stays until somebody asks for
   * `leaveJoint`.
   */
  readonly autoLeave: boolean
}

/** A step that led to a {@link Configuration}. A promotion is told apart from an addition by name. */
export interface ConfigurationChange {
  /** What was done. */
  readonly type: MembershipChange['type']
  /** The replica to which it was done; 0 for `leaveJoint`, which concerns all. */
  readonly replicaId: ReplicaId
}

/**
 * A wished change of the members. The replica id of a new one is the log index of the entry that adds it; of several in one
 * entry, the first one's is that, and the others' follow.
 *
 * Every replica enters as a learner and is promoted once it is known to have the entry that added it: a voter that has no log
 * cannot be elected, and does not know the id under which it would vote, so that a configuration that needs the votes of
 * several such could be stuck for ever, with nobody left to elect who could send them the log.
 */
export type MembershipChange =
  | {
      /** Adds a replica that catches up without a vote. */
      readonly type: 'addLearner'
      /** The node that gets it. */
      readonly nodeId: NodeId
      /** The life of that node's data that is meant. */
      readonly incarnation: Incarnation
      /** The leader makes it a voter as soon as it has caught up. */
      readonly autoPromote?: boolean
      /** An integer from 0 to 1000; see {@link RaftMember.priority}. */
      readonly priority?: number
    }
  | {
      /** Gives a learner that has caught up its vote. */
      readonly type: 'promote'
      /** The learner. */
      readonly replicaId: ReplicaId
    }
  | {
      /** Has the leader, whoever leads by then, give a learner its vote as soon as it has caught up. */
      readonly type: 'promoteLater'
      /** The learner. */
      readonly replicaId: ReplicaId
    }
  | {
      /** Takes the vote of a voter, which stays as a learner. */
      readonly type: 'demote'
      /** The voter. */
      readonly replicaId: ReplicaId
    }
  | {
      /** Takes a replica out. */
      readonly type: 'remove'
      /** The replica that goes. */
      readonly replicaId: ReplicaId
    }
  | {
      /** Says how much rather than others a replica is to lead, once it is a voter. */
      readonly type: 'setPriority'
      /** The replica. */
      readonly replicaId: ReplicaId
      /** An integer from 0 to 1000; see {@link RaftMember.priority}. */
      readonly priority: number
    }
  | {
      /** Ends a joint configuration that is committed: only the incoming voters count from then on. Stands alone. */
      readonly type: 'leaveJoint'
    }

/** How the members are to be changed. */
export interface MembershipOptions {
  /** Refuses the change unless the latest appended configuration has this generation. */
  readonly expectedGeneration?: number
  /**
   * Default true. With false, a change of voters goes through a joint configuration even if it is one voter only, and that
   * stays until `leaveJoint` is asked for.
   */
  readonly autoLeave?: boolean
}

/**
 * What a replica does at the moment. A pre-candidate asks whether it could win an election without touching its term; it
 * goes on following a leader that it hears from.
 */
export type RaftRole = 'follower' | 'preCandidate' | 'candidate' | 'leader'

/** Fields of every message. */
export interface MessageHeader {
  readonly from: ReplicaId
  readonly to: ReplicaId
  /** The sender's term when it made the message; for a reply, the term in which the request was answered. */
  readonly term: number
}

/** "Would you vote for me in `candidateTerm`?" Binds nobody and changes nobody's term (thesis, section 9.6). */
export interface PreVoteRequest extends MessageHeader {
  readonly kind: 'preVote'
  readonly candidateTerm: number
  readonly lastIndex: number
  readonly lastTerm: number
}

/** The answer. A refusal carries the refuser's own term, so that a pre-candidate with a lower one catches up. */
export interface PreVoteReply extends MessageHeader {
  readonly kind: 'preVoteReply'
  /** Copied from the request. */
  readonly candidateTerm: number
  readonly granted: boolean
  /**
   * The asker's removal is committed: its id is not above the commit index of the one who answers and not in the
   * configuration committed there. It may stop for good.
   */
  readonly removed: boolean
}

/** Asks for the vote in `term`. */
export interface VoteRequest extends MessageHeader {
  readonly kind: 'vote'
  readonly lastIndex: number
  readonly lastTerm: number
  /** The leader itself told the candidate to campaign, so voters that hear the leader need not protect it. */
  readonly transfer: boolean
}

/** The answer to a {@link VoteRequest}. A granted one leaves only after the vote is durable. */
export interface VoteReply extends MessageHeader {
  readonly kind: 'voteReply'
  readonly granted: boolean
}

/** Entries that follow `prevIndex`, which the receiver must have with `prevTerm`. May be empty: a probe. */
export interface AppendRequest extends MessageHeader {
  readonly kind: 'append'
  readonly prevIndex: number
  readonly prevTerm: number
  /** Contiguous from `prevIndex + 1`, terms ascending. */
  readonly entries: readonly LogEntry[]
  readonly commit: number
}

/** The answer to an {@link AppendRequest}, and to a {@link SnapshotOffer} once the snapshot is in place. */
export interface AppendReply extends MessageHeader {
  readonly kind: 'appendReply'
  /**
   * Accepted: everything up to `index` is durable here and equal to the log of the leader of `term`. Refused: the
   * request's `prevIndex`.
   */
  readonly index: number
  readonly accepted: boolean
  /** Refused: the highest index at which the logs can still agree, and its term here. Accepted: 0 and 0. */
  readonly hintIndex: number
  readonly hintTerm: number
}

/** Keeps followers from campaigning, spreads the commit index and confirms leadership for reads. */
export interface Heartbeat extends MessageHeader {
  readonly kind: 'heartbeat'
  /** Grows with each round of heartbeats for as long as the leader's process lives. Never used twice. */
  readonly round: number
  /** Never above `match`. */
  readonly commit: number
  /** What the receiver has acknowledged to this leader in this term; it must still have it. */
  readonly match: number
  /** The leader has nothing more to say: the receiver may go to rest, if its host lets it. Made by the core. */
  readonly idle?: true
  /**
   * The epoch of the receiver's node under which it may rest. The sender's host puts it there if the message is idle, the
   * receiver's host takes it away if the epoch has ended. Without it nobody rests.
   */
  readonly epoch?: number
}

/** The answer to a {@link Heartbeat}. */
export interface HeartbeatReply extends MessageHeader {
  readonly kind: 'heartbeatReply'
  /** Copied from the request. */
  readonly round: number
  /**
   * For how long, at least, the sender votes for nobody else from the moment at which the request came in, by true time: an
   * integer. 0 for no such promise.
   */
  readonly pledgeMs: number
  /** Copied from the request when the sender rests from now on. */
  readonly epoch?: number
}

/** A follower that hears nothing asks the one that it last rested under. */
export interface AskLeading extends MessageHeader {
  readonly kind: 'askLeading'
  readonly ledTerm: number
}

/** The sender does not lead in `ledTerm` any more, and never will. */
export interface NotLeading extends MessageHeader {
  readonly kind: 'notLeading'
  readonly ledTerm: number
}

/** The leader has compacted what the receiver needs: it should fetch a snapshot from the leader's host. */
export interface SnapshotOffer extends MessageHeader {
  readonly kind: 'snapshotOffer'
  /** The snapshot must reach at least here. */
  readonly position: LogPosition
}

/** A follower asks up to where it must have applied the log to read what nobody can miss. */
export interface ReadIndexRequest extends MessageHeader {
  readonly kind: 'readIndex'
  /** Never used twice, not by a later life of the sender either. */
  readonly requestId: number
  /** The leader may answer by its lease. */
  readonly lease: boolean
}

/** The answer to a {@link ReadIndexRequest}. */
export interface ReadIndexReply extends MessageHeader {
  readonly kind: 'readIndexReply'
  /** Copied from the request. */
  readonly requestId: number
  /** At least what was acknowledged before the request came in; 0 when the leader has too many reads waiting. */
  readonly index: number
}

/** The leader hands over: campaign at once. */
export interface TimeoutNow extends MessageHeader {
  readonly kind: 'timeoutNow'
}

/** Everything that replicas of one group send to each other. */
export type Message =
  | PreVoteRequest
  | PreVoteReply
  | VoteRequest
  | VoteReply
  | AppendRequest
  | AppendReply
  | Heartbeat
  | HeartbeatReply
  | SnapshotOffer
  | TimeoutNow
  | ReadIndexRequest
  | ReadIndexReply
  | AskLeading
  | NotLeading

/** {@link Message} kinds by name. */
export type MessageKind = Message['kind']

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
  /** Least time without a leader before a follower campaigns; the actual one is drawn from 1 to 2 times this. */
  readonly electionTimeoutMs: number
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

/** What is needed to make a {@link RaftMachine}; `new RaftCore({ … })` takes it. */
export interface RaftCoreSetup {
  /** The id that this replica has in its group. Messages that name another are dropped. */
  readonly replicaId: ReplicaId
  readonly restored: RestoredState
  readonly options?: Partial<RaftOptions>
  readonly random: Random
  /** Monotonic time of the start. */
  readonly nowMs: number
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
