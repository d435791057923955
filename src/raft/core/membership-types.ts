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
