/**
 * Raft: replicated logs for any number of groups on one disk and one transport. {@link RaftHost} holds the groups of a
 * node, {@link RaftGroup} is this node's replica of one of them, and a host program's `StateMachine` applies what is
 * committed.
 *
 * @module
 */

export type {
  Configuration,
  ConfigurationChange,
  JointPhase,
  MembershipChange,
  MembershipOptions,
  RaftMember,
} from './core/membership-types.ts'
export { checkRaftOptions, defaultRaftOptions } from './core/options.ts'
export type { RaftOptions, RaftRole, ReadMode } from './core/types.ts'
export type { SequencedCommand } from './group/batch-envelope.ts'
export type { CommandId } from './group/envelope.ts'
export type {
  ChangeMembershipOptions,
  ForwardOptions,
  GroupStatus,
  LeaderReference,
  LeadershipEvent,
  LeaseToken,
  ProposeBatchOptions,
  ProposeOptions,
  RaftGroupEvents,
  ReadOptions,
  ReplaceOptions,
  ReplicaProgress,
} from './group/group-types.ts'
export { checkGroupLimits, defaultGroupLimits, type GroupLimits } from './group/limits.ts'
export { type FirstCommand, type GroupReport, recoveriesOf } from './group/lost-quorum.ts'
export type { CommandResult } from './group/outcomes.ts'
export type { RaftGroup } from './group/raft-group.ts'
export type { Refounding } from './group/refounding.ts'
export type { Replacement } from './group/replacement.ts'
export {
  type AppliedState,
  type CommandOutcome,
  readAppliedState,
  splitBookkeeping,
} from './group/split-state.ts'
export type { DestructionSetup } from './host/group-destruction.ts'
export { type BootstrapSetup, type RaftHostOptions, raftHostDefaults } from './host/options.ts'
export { RaftHost, type RaftHostEvents } from './host/raft-host.ts'
export {
  type GroupRecovery,
  inspectGroup,
  type RecoverGroupOptions,
  recoverGroup,
  type StoppedGroupOptions,
} from './host/recover-group.ts'
export type { StoredGroup } from './host/stored-groups.ts'
