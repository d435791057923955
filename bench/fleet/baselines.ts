import type { Random } from 'keelson/core'
import { SeededRandom } from 'keelson/core'
import {
  nodeBits,
  type PlacementSnapshot,
  type Plan,
  type PlannedMove,
  type PlanOptions,
  type RangeReader,
  replicaBits,
} from 'keelson/placement'

/** Two planners that anybody could write in an hour, to see what more is worth. */
export type Baseline = 'greedy' | 'random'

/** Begins to replace one replica of the range that the reader is at. */
type Begin = (reader: RangeReader, remove: number, priority: number) => void

/** Copies that one plan begins at most, and the part of them that only makes something better. */
interface Budget {
  readonly moves: number
  readonly improvements: number
}

/**
 * Replaces lost replicas on the emptiest node (greedy) or on any (random), with an eye to one replica of a range on a node
 * and to nothing else; then moves replicas from the fullest node to the emptiest (greedy) or not at all (random).
 */
export class BaselinePlanner {
  readonly #kind: Baseline
  readonly #budget: Budget
  readonly #random: Random = new SeededRandom(1)

  constructor(kind: Baseline, budget: Budget) {
    this.#kind = kind
    this.#budget = budget
  }

  plan(snapshot: PlacementSnapshot, _options?: PlanOptions): Plan {
    const { nodes, nodeStatus } = snapshot
    const used = new Float64Array(nodes.length)
    const open = nodes
      .map((_, node) => node)
      .filter((node) => ((nodeStatus[node] as number) & nodeBits.eligible) !== 0)
    const bytes = snapshot.resources.indexOf('bytes')
    const capacity = nodes.map(({ descriptor }) => descriptor.capacity['bytes'] ?? 1)
    const reader = snapshot.reader()
    const broken: number[] = []
    while (reader.next()) {
      let lacks = false
      for (let i = 0; i < reader.replicas; i++) {
        const status = reader.status(i)
        const node = reader.node(i)
        if ((status & (replicaBits.lost | replicaBits.leaving)) !== 0) lacks = true
        if ((status & replicaBits.lost) === 0 && node >= 0)
          used[node] = (used[node] as number) + reader.load(bytes)
      }
      if (lacks) broken.push(reader.rangeId)
    }
    const moves: PlannedMove[] = []
    const fullness = (node: number): number => (used[node] as number) / (capacity[node] as number)
    const target = (held: ReadonlySet<number>): number => {
      if (this.#kind === 'random') {
        const free = open.filter((node) => !held.has(node))
        return free.length === 0 ? -1 : (free[this.#random.integer(free.length)] as number)
      }
      let best = -1
      for (const node of open)
        if (!held.has(node) && (best < 0 || fullness(node) < fullness(best))) best = node
      return best
    }
    const busy = new Set(snapshot.moves.map(({ rangeId }) => rangeId))
    const begin: Begin = (at, remove, priority) => {
      const { rangeId } = at
      const held = new Set<number>()
      for (let i = 0; i < at.replicas; i++) held.add(at.node(i))
      const to = target(held)
      if (to < 0) return
      const node = at.node(remove)
      const descriptor = nodes[to]?.descriptor
      if (descriptor === undefined) return
      used[to] = (used[to] as number) + at.load(bytes)
      if (priority < 1000 && node >= 0) used[node] = (used[node] as number) - at.load(bytes)
      moves.push({
        rangeId,
        generation: at.generation,
        kind: 'replace',
        priority,
        reason: this.#kind,
        add: { nodeId: descriptor.nodeId, incarnation: descriptor.incarnation },
        remove: { replicaId: at.replicaId(remove), nodeId: nodes[node]?.descriptor.nodeId ?? '' },
        bytes: at.load(bytes),
        rejected: [],
        proof: [],
      })
      busy.add(rangeId)
    }
    const room = this.#budget.moves - snapshot.moves.length
    for (const rangeId of broken) {
      if (moves.length >= room) break
      if (busy.has(rangeId) || !reader.seek(rangeId)) continue
      for (let i = 0; i < reader.replicas; i++) {
        if ((reader.status(i) & (replicaBits.lost | replicaBits.leaving)) === 0) continue
        begin(reader, i, 12_000)
        break
      }
    }
    if (this.#kind === 'greedy' && broken.length === 0)
      this.#even(snapshot, open, fullness, busy, begin, moves)
    const deferred = broken.filter((rangeId) => !busy.has(rangeId)).length
    return {
      moves,
      blocked: [],
      blockedCount: 0,
      deferred,
      unexamined: 0,
      bounds: noBounds,
      explained: [this.#kind],
    }
  }

  #even(
    snapshot: PlacementSnapshot,
    open: readonly number[],
    fullness: (node: number) => number,
    busy: ReadonlySet<number>,
    begin: Begin,
    moves: readonly PlannedMove[],
  ): void {
    const sorted = [...open].sort((a, b) => fullness(b) - fullness(a))
    const [full, empty] = [sorted[0], sorted[sorted.length - 1]]
    if (full === undefined || empty === undefined || fullness(full) < fullness(empty) * 1.1) return
    const reader = snapshot.reader()
    while (reader.next() && moves.length < this.#budget.improvements) {
      for (let i = 0; i < reader.replicas; i++) {
        if (reader.node(i) !== full || reader.held > 0 || busy.has(reader.rangeId)) continue
        begin(reader, i, 100)
        break
      }
      if (fullness(full) < fullness(empty) * 1.1) return
    }
  }
}

const noCopies = {
  lowerBoundMoves: 0,
  lowerBoundBytes: 0,
  plannedMoves: 0,
  plannedBytes: 0,
  gapBytes: 0,
  remainingBytes: 0,
}
const noBounds = { repair: noCopies, drain: noCopies, goals: [] }
