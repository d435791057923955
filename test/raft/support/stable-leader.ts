import type { ReplicaId } from '../../../src/model/ids.ts'
import { replicaOf } from '../../../src/raft/core/configuration.ts'
import type { Configuration } from '../../../src/raft/core/membership-types.ts'

/** Who leads a group, and what had happened to it by then. */
export interface Leading {
  readonly replicaId: ReplicaId
  readonly term: number
  /** Terms that had a leader. */
  readonly elections: number
  /** Hand-overs of leadership that were done. */
  readonly handOvers: number
}

/**
 * What disturbed the leader of a group in which all is well; undefined when nothing did. It stays who it is, in its term, but
 * for one thing that it may do by itself, once: hand over to a voter of higher priority that can take over by now.
 */
export function disturbance(
  before: Leading,
  after: Leading,
  configuration: Configuration | undefined,
): string | undefined {
  const elections = after.elections - before.elections
  if (elections === 0 && after.replicaId === before.replicaId && after.term === before.term) return undefined
  const change = `${before.replicaId} led in term ${before.term}, and ${after.replicaId} leads in term ${after.term}`
  const priorityOf = (replicaId: ReplicaId): number => replicaOf(configuration, replicaId)?.priority ?? 0
  const [least, priority] = [priorityOf(before.replicaId), priorityOf(after.replicaId)]
  if (priority <= least) return `${change}, whose priority is ${priority}, not above ${least}`
  const handOvers = after.handOvers - before.handOvers
  if (elections === 1 && handOvers === 1 && after.term === before.term + 1) return undefined
  return `${change}, after ${elections} elections and ${handOvers} hand-overs`
}
