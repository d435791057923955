import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { GroupId } from '../../model/ids.ts'
import { checkOwner, readBookkeeping } from '../group/bookkeeping.ts'
import type { GroupMetadata } from '../group/metadata.ts'
import type { Replica } from '../group/replica.ts'
import { orClose } from './group-beginnings.ts'

/** What {@link RaftHost.destroyGroup} is given beside the group. */
export interface DestructionSetup {
  /** The state of a replica that is not open, to be deleted along with its log. */
  readonly stateMachine?: StateMachine
  /**
   * `destroy group 7`, of group 7: for a replica that does not know of its removal itself, where the caller has seen it
   * committed, in the configuration of a leader or of the range directory; or that is to be lost for good on purpose. What it
   * holds is then one copy less: the group loses its quorum if the others are no majority.
   */
  readonly confirm?: string
}

/** A replica as it is about to be destroyed. */
export interface Doomed {
  /** What is stored of it; undefined for one that waits empty. */
  readonly metadata: GroupMetadata | undefined
  /** Of a group that is open. */
  readonly replica: Replica | undefined
  /** The disk of the node forgot what it had confirmed, this replica's promises among it. */
  readonly distrusted: boolean
}

/**
 * A replica counts to the quorum of its group until its removal is committed. Nobody but the group knows of that, and what it
 * does not tell the caller must.
 *
 * @throws KeelsonError `INVALID_ARGUMENT` for a replica that its group may still count on, without the confirmation
 */
export function checkDestructible(groupId: GroupId, doomed: Doomed, confirm: string | undefined): void {
  const wanted = `destroy group ${groupId}`
  if (confirm !== undefined && confirm !== wanted) {
    throw new KeelsonError('INVALID_ARGUMENT', `confirm must be '${wanted}' for group ${groupId}`)
  }
  const { metadata } = doomed
  if (confirm === wanted || metadata === undefined || !mayCount(metadata, doomed)) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `as far as replica ${metadata.replicaId} of group ${groupId} knows it was not removed, so the group may count on it: remove it by changeMembership first, and wait for status().removed here; or, where its removal is known to be committed or it is to be lost for good, say confirm: '${wanted}'`,
    { details: { groupId, replicaId: metadata.replicaId } },
  )
}

/** Whether the group may count on what this replica holds and promised. */
function mayCount(metadata: GroupMetadata, { replica, distrusted }: Doomed): boolean {
  if (metadata.destroyed || metadata.supersededBy > 0 || metadata.quarantined || distrusted) return false
  return replica === undefined || !(replica.removed || replica.isEmpty)
}

/** Opens the state of a replica that is not open, to delete it. @throws KeelsonError `CONFLICT` for another group's */
export async function openDoomedState(
  env: Environment,
  groupId: GroupId,
  machine: StateMachine,
): Promise<StateMachine> {
  return orClose(env, machine, async () => {
    checkOwner(groupId, readBookkeeping(await machine.open()))
    return machine
  })
}
