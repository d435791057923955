import type { ReplicaId } from '../../model/ids.ts'
import { votesInAnyHalf, votesInIncoming, votesInOutgoing } from '../../model/replica-roles.ts'
import type { Configuration } from './membership-types.ts'
import { majorityValue } from './progress.ts'

/**
 * Whose votes and acknowledgements count in a configuration. Everything that takes a quorum is decided by the functions
 * here: a quorum has a majority of each half, so that it meets every quorum of the configuration before and after.
 */
export interface Electorate {
  /** One half, or the two of a joint configuration: the incoming voters first. Ascending replica ids, never empty. */
  readonly halves: readonly (readonly ReplicaId[])[]
  /** The voters of all halves, ascending, each once. */
  readonly voters: readonly ReplicaId[]
}

/** The electorate of no configuration at all: nobody ever decides anything. */
export const nobody: Electorate = Object.freeze({ halves: [], voters: [] })

export function electorateOf({ replicas, joint }: Configuration): Electorate {
  const idsOf = (votes: typeof votesInAnyHalf): ReplicaId[] =>
    replicas.filter((replica) => votes(replica)).map(({ replicaId }) => replicaId)
  const incoming = idsOf(votesInIncoming)
  if (joint === undefined) return { halves: [incoming], voters: incoming }
  return { halves: [incoming, idsOf(votesInOutgoing)], voters: idsOf(votesInAnyHalf) }
}

/** The largest value that a quorum reaches; 0 of nobody. */
export function quorumValue({ halves }: Electorate, valueOf: (voter: ReplicaId) => number): number {
  let least = Number.POSITIVE_INFINITY
  for (const half of halves) least = Math.min(least, majorityValue(half.map(valueOf)))
  return least === Number.POSITIVE_INFINITY ? 0 : least
}

/** Whether `holds` is true of a quorum. */
export function hasQuorum(electorate: Electorate, holds: (voter: ReplicaId) => boolean): boolean {
  return electorate.halves.length > 0 && electorate.halves.every((half) => isMajority(half, holds))
}

/** Whether there can still be a quorum when those of whom `isLost` is true are not in it. */
export function mayHaveQuorum(electorate: Electorate, isLost: (voter: ReplicaId) => boolean): boolean {
  return hasQuorum(electorate, (voter) => !isLost(voter))
}

function isMajority(half: readonly ReplicaId[], holds: (voter: ReplicaId) => boolean): boolean {
  let count = 0
  for (const voter of half) if (holds(voter)) count++
  return count * 2 > half.length
}

/**
 * Whether every quorum of the one meets every quorum of the other. It does when any majority of some half of the one meets
 * any majority of some half of the other; for configurations that may follow each other there is always such a pair.
 */
export function overlap(a: Electorate, b: Electorate): boolean {
  return a.halves.some((half) => b.halves.some((other) => majoritiesMeet(half, other)))
}

function majoritiesMeet(a: readonly ReplicaId[], b: readonly ReplicaId[]): boolean {
  const all = new Set([...a, ...b])
  const majority = (half: readonly ReplicaId[]): number => Math.floor(half.length / 2) + 1
  return majority(a) + majority(b) > all.size
}
