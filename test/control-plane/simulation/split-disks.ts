import { between, type SeededRandom } from '../../../src/core/random.ts'
import { votesInAnyHalf } from '../../../src/model/replica-roles.ts'
import type { Truth } from './range-truth.ts'

/** Bugs to be planted in what nodes do with the rows of a range that was split off. */
export interface SplitDiskBugs {
  /** A node that has not come to the split awaits the right-hand range, and throws its rows away when it does. */
  readonly awaitsTooEarly?: boolean
}

/** How long a node may be behind with what it applies, and how long a copy takes. */
const behindMs = [0, 1_500] as const
const copyMs = [50, 1_500] as const

/** Where a replica of a range that was split off gets its rows from. */
type Source =
  /** Out of its replica of the parent, which has not come to the split: the rows lie there, on the same disk. */
  | { readonly type: 'parent'; readonly atMs: number; awaited: boolean }
  /** From the leader; it has none yet. */
  | { readonly type: 'copy'; atMs: number | undefined }

/**
 * On which disks the rows of ranges lie that were split off. A range is one truth for everybody, but every node comes to the
 * split at its own time, with the one disk that holds its replicas of both: until then its rows are the parent's there, and if
 * it awaits the right-hand range meanwhile, it makes no replica out of them.
 */
export class SplitDisks {
  readonly #random: SeededRandom
  readonly #bugs: SplitDiskBugs
  readonly #sources = new Map<string, Source>()
  /** Nodes that came to a split later than they heard of it. */
  late = 0

  constructor(random: SeededRandom, bugs: SplitDiskBugs) {
    this.#random = random
    this.#bugs = bugs
  }

  /** The leader of the parent splits it, and the others come to that later. */
  split(right: Truth, leaderNodeId: string, nowMs: number): void {
    for (const { replicaId, nodeId } of right.replicas) {
      if (nodeId === leaderNodeId) continue
      const atMs = nowMs + between(this.#random, ...behindMs)
      this.#sources.set(nameOf(right.rangeId, replicaId), { type: 'parent', atMs, awaited: false })
    }
  }

  /** A node is told that it is a member of a range. */
  told(range: Truth, nodeId: string): void {
    const mine = range.replicas.find((replica) => replica.nodeId === nodeId)
    const source = mine && this.#sources.get(nameOf(range.rangeId, mine.replicaId))
    if (source?.type !== 'parent') return
    if (!source.awaited) this.late++
    source.awaited = true
  }

  /** Whether a replica has what its range holds, so that it can lead and report. */
  has(rangeId: number, replicaId: number): boolean {
    return !this.#sources.has(nameOf(rangeId, replicaId))
  }

  /** Time goes on for a range. @returns what is wrong, if anything */
  advance(
    range: Truth,
    nowMs: number,
    isUp: (nodeId: string) => boolean,
    meetsLeader: (nodeId: string) => boolean,
  ): string | undefined {
    let broken: string | undefined
    for (const { replicaId, nodeId } of range.replicas) {
      const name = nameOf(range.rangeId, replicaId)
      const source = this.#sources.get(name)
      if (source === undefined) continue
      if (source.type === 'parent') {
        if (nowMs < source.atMs || !isUp(nodeId)) continue
        if (source.awaited && this.#bugs.awaitsTooEarly === true) {
          this.#sources.set(name, { type: 'copy', atMs: undefined })
          broken ??= this.#judge(range)
        } else this.#sources.delete(name)
      } else if (!meetsLeader(nodeId)) source.atMs = undefined
      else {
        source.atMs ??= nowMs + between(this.#random, ...copyMs)
        if (nowMs >= source.atMs) this.#sources.delete(name)
      }
    }
    return broken
  }

  /** What was acknowledged before the split lies on the disks of a quorum, whoever has come to the split. */
  #judge({ rangeId, replicas }: Truth): string | undefined {
    const voters = replicas.filter(votesInAnyHalf)
    const without = voters.filter(
      ({ replicaId }) => this.#sources.get(nameOf(rangeId, replicaId))?.type === 'copy',
    )
    if (voters.length - without.length > voters.length / 2) return undefined
    return `the rows of range ${rangeId} lie on ${voters.length - without.length} of ${voters.length} disks`
  }
}

function nameOf(rangeId: number, replicaId: number): string {
  return `${rangeId}/${replicaId}`
}
