import { crc32 } from '../../core/checksum.ts'
import { encodePlain } from '../../core/codec.ts'
import type { GroupId } from '../../model/ids.ts'
import { type BootstrapState, bootstrapState } from '../core/configuration.ts'
import type { RaftMember } from '../core/membership-types.ts'
import { commandEntry, generationStep } from './lost-quorum.ts'

/** What a group needs to know that takes the place of one of which no replica is left. */
export interface Refounding {
  /**
   * How often the group was recovered, by this time: more than it ever was before. Replicas of the lost group that come back
   * all the same are not listened to.
   */
  readonly recoveries: number
  /**
   * The first commands that the group applies, in order: what the lost one may have counted further is raised here. Whatever the group
   * must never be seen without stands among them. The same on all nodes.
   */
  readonly firstCommands: readonly Uint8Array[]
}

/** The most recoveries of a group. */
export const maximumRecoveries: number = 2 ** 20

/**
 * What the first members of a group start from that takes the place of one that is lost: as those of a new one, but in a recovery
 * generation, with configurations counted in a block of their own, and with first commands.
 */
export function refoundedState(
  groupId: GroupId,
  replicas: readonly RaftMember[],
  { recoveries, firstCommands }: Refounding,
): BootstrapState & { readonly recoveryGeneration: number } {
  const block = recoveries * generationStep
  const { entries, hardState } = bootstrapState(replicas, block)
  const members = replicas
    .map(({ replicaId, nodeId, incarnation }) => [replicaId, nodeId, incarnation] as const)
    .sort(([a], [b]) => a - b)
  const commands = firstCommands.map((command, i) =>
    commandEntry(entries.length + 1 + i, hardState.term, command),
  )
  return {
    recoveryGeneration: block + crc32(encodePlain([groupId, block, members])),
    entries: [...entries, ...commands],
    hardState: { ...hardState, commit: entries.length + commands.length },
  }
}
