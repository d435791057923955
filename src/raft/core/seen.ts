import type { ReplicaId } from '../../model/ids.ts'
import type { RaftCore } from './raft.ts'

/** What was last seen of a core, to find what is new. */
export interface Seen {
  readonly core: RaftCore
  readonly term: number
  readonly votedFor: ReplicaId
  readonly leads: boolean
  readonly commitIndex: number
  readonly truncations: number
  readonly lastIndex: number
}

/** What is seen of a core after an event. */
export function seenOf(core: RaftCore): Seen {
  return {
    core,
    term: core.term,
    votedFor: core.votedFor,
    leads: core.role === 'leader',
    commitIndex: core.commitIndex,
    truncations: core.log.truncations,
    lastIndex: core.lastIndex,
  }
}

/** Whether a core has the entry, or a snapshot that covers it. */
export function hasEntry(core: RaftCore, index: number, term: number): boolean {
  return index <= core.log.compacted.index || core.log.matches(index, term)
}

/** Moves what is known of one replica to another one; nothing where nothing is. */
export function moveKey<V>(map: Map<ReplicaId, V>, from: ReplicaId, to: ReplicaId): void {
  const value = map.get(from)
  if (value === undefined) return
  map.delete(from)
  map.set(to, value)
}
