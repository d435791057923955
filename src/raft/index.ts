/**
 * Raft: replicated logs for any number of groups on one disk and one transport.
 *
 * @module
 */
export { defaultRaftOptions } from './core/options.ts'
export type {
  Configuration,
  ConfigurationChange,
  MembershipChange,
  RaftOptions,
  RaftRole,
} from './core/types.ts'
export type { CommandId } from './group/envelope.ts'
