import { KeelsonError } from '../../core/errors.ts'
import type { RaftGroup } from '../../raft/index.ts'

/** What a metadata server uses of its Raft group. */
export type MetadataGroup = Pick<
  RaftGroup,
  'propose' | 'proposeBatch' | 'openSession' | 'read' | 'token' | 'status' | 'on'
>

/** The refusal of a replica that does not lead, with whom to ask instead. */
export function notLeading(group: MetadataGroup): KeelsonError {
  const { leader } = group.status()
  const whom = leader?.nodeId === undefined ? 'nobody is known to lead at the moment' : `ask ${leader.nodeId}`
  return new KeelsonError('NOT_LEADER', `this metadata server does not lead; ${whom}`, {
    details: { leaderNodeId: leader?.nodeId ?? null },
  })
}
