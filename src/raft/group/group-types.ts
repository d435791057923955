import type { CallOptions } from '../../core/async.ts'
import type { KeelsonError } from '../../core/errors.ts'
import type { GroupId, NodeId, ReplicaId } from '../../model/ids.ts'
import type { Configuration, MembershipOptions } from '../core/membership-types.ts'
import type { RaftRole, ReadMode } from '../core/types.ts'
import type { CommandId } from './envelope.ts'

/**
 * The right to serve a group, as it was at one moment. `sequence` is the term whose first entry the leader has applied:
 * each later leader has a higher one, and a command that carries an older one is refused where it would take effect.
 */
export interface LeaseToken {
  /** The group that it is the right to serve. */
  readonly groupId: GroupId
  /** Term whose first entry the leader has applied. */
  readonly sequence: number
}

/** Whether a call may be answered by the leader in place of this replica. */
export interface ForwardOptions extends CallOptions {
  /**
   * Where this replica does not lead, the proposal goes to the leader, one hop. With a command id it is sent again until its
   * outcome is known; without one it fails with `OUTCOME_UNKNOWN` when its answer is lost. This replica may apply it
   * later than the call resolves. Unless given, as the host's `forwardProposals` says.
   */
  readonly forward?: boolean
}

/** Options of {@link RaftGroup.propose}. */
export interface ProposeOptions extends ForwardOptions {
  /** Makes the command take effect once, however often it is proposed. */
  readonly commandId?: CommandId
  /**
   * With `commandId`: the client has the results of all its commands below this sequence, so that they can be forgotten.
   */
  readonly acknowledgedBelow?: number
  /** The command takes effect only while this lease is in force. */
  readonly token?: LeaseToken
}

/** Options of {@link RaftGroup.proposeBatch}. */
export interface ProposeBatchOptions extends CallOptions {
  /** The client session that the commands belong to, from `openSession`. */
  readonly session: number
  /** The client has the results of all its commands below this sequence, so that they can be forgotten. */
  readonly acknowledgedBelow?: number
  /** The commands take effect only while this lease is in force. */
  readonly token?: LeaseToken
}

/** Options of {@link RaftGroup.read}. */
export interface ReadOptions extends CallOptions {
  /**
   * What proves that nobody else leads. `readIndex`: a round of messages, whatever the clocks do. `lease`: the pledges of a
   * majority, with no message at all, or a round where they have run out; safe as long as `raft.clockDriftBound` is true of
   * all clocks. Default: `lease` on a host with such a bound, `readIndex` on one without, where there are no leases.
   */
  readonly readMode?: ReadMode
  /**
   * `leader` (the default): only a replica that leads may serve the read, and the call fails elsewhere; when it resolves, this
   * replica led after the call began. `any`: a follower or learner asks its leader for the index and serves it from here.
   */
  readonly from?: 'leader' | 'any'
}

/** Options of {@link RaftGroup.changeMembership}. */
export interface ChangeMembershipOptions extends CallOptions, MembershipOptions {}

/** Options of {@link RaftGroup.replace}. */
export interface ReplaceOptions extends CallOptions {
  /** How long the new replica may take to catch up, in milliseconds. Default: ten minutes. */
  readonly catchUpTimeoutMs?: number
}

/** A replica of the group and the node it lives on. */
export interface LeaderReference {
  /** Its id within the group. */
  readonly replicaId: ReplicaId
  /** Undefined while no configuration that names the leader has arrived here. */
  readonly nodeId: NodeId | undefined
}

/** What a leader knows of another replica. */
export interface ReplicaProgress {
  /** The replica has the log up to here, durably. */
  readonly matchIndex: number
  /** It is close enough behind to be promoted. */
  readonly caughtUp: boolean
  /** It answered within the last election timeout. */
  readonly recentlyActive: boolean
}

/** A group as this node's replica sees it. */
export interface GroupStatus {
  /** 0 for an empty replica that waits for a leader's message. */
  readonly replicaId: ReplicaId
  /** What the replica does at the moment. */
  readonly role: RaftRole
  /** The latest term that the replica has seen. */
  readonly term: number
  /** Whom the replica follows; undefined while it knows no leader. */
  readonly leader: LeaderReference | undefined
  /** Index up to which the log is known to be committed. */
  readonly commitIndex: number
  /** Index up to which the state machine has applied it. */
  readonly appliedIndex: number
  /** Index of the last entry in the log, committed or not. */
  readonly lastIndex: number
  /** The latest one that is known to be committed. */
  readonly configuration: Configuration | undefined
  /** The one as of `appliedIndex`: the members that the state machine's state goes with. */
  readonly appliedConfiguration: Configuration | undefined
  /** The latest one in this replica's log, which is the one in force. */
  readonly latestConfiguration: Configuration | undefined
  /** Lease sequence that this replica has applied. */
  readonly sequence: number
  /** On the leader: every other replica. Empty elsewhere. */
  readonly progress: ReadonlyMap<ReplicaId, ReplicaProgress>
  /**
   * The last recovery from a lost quorum that this replica goes along with; 0 for none. It grows with each, and no two are the
   * same.
   */
  readonly recoveryGeneration: number
  /** The group has nothing to say: no messages and no timers of its own, until something happens. */
  readonly atRest: boolean
  /** This replica lost what it had acknowledged: it takes part in nothing until it is replaced. */
  readonly quarantined: boolean
  /** The removal of this replica is committed; `destroyGroup` may follow. */
  readonly removed: boolean
  /** Why it does nothing any more. */
  readonly stopped: KeelsonError | undefined
}

/** Role, term and leader of a group, as an event tells them. */
export interface LeadershipEvent {
  /** What the replica does at the moment. */
  readonly role: RaftRole
  /** The latest term that the replica has seen. */
  readonly term: number
  /** Whom the replica follows; undefined while it knows no leader. */
  readonly leader: LeaderReference | undefined
}

/** Events of a {@link RaftGroup}. */
export type RaftGroupEvents = {
  /** Role, term or leader changed. */
  leadership: (event: LeadershipEvent) => void
  /** {@link RaftGroup.token} changed: this replica may serve from now on, or no longer. */
  token: (token: LeaseToken | undefined) => void
  /** A newer configuration is committed, as far as this replica knows. */
  configuration: (configuration: Configuration) => void
  /** The removal of this replica is committed. */
  removed: () => void
  /** The disk of this replica was found to have lost something that was acknowledged. */
  quarantined: () => void
  /** The replica does nothing any more: it was closed, or it failed. */
  stopped: (error: KeelsonError) => void
}
