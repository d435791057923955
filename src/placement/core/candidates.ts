import type { BoundGoal } from './goals/goal.ts'
import type { WorkingSet } from './working-set.ts'

/** Up to so many nodes all of them are looked at. */
const smallCluster = 128
/** Nodes of one kind that are looked at in a large one: the more kinds there are, the fewer of each. */
const most = 6
const least = 2
const together = 192

/**
 * Nodes that are worth looking at for a target. Nodes of one kind have the same locality and labels: rules and goals that
 * look at these see no difference between them, and of the others the emptiest is the best. So of each kind the few that
 * are emptiest by the first goal that shares replicas out are enough; what plans do is followed as they grow. @internal
 */
export class Candidates {
  readonly partial: boolean
  readonly #columns: WorkingSet
  readonly #goal: BoundGoal | undefined
  readonly #all: Int32Array
  readonly #hot: Int32Array
  readonly #kinds: number[][] = []
  readonly #kindOf: Int32Array
  #few: number[] | undefined
  #ofEachKind = most

  constructor(columns: WorkingSet, goals: readonly BoundGoal[]) {
    this.#columns = columns
    this.#goal = goals.find((goal) => goal.judges === 'replicas')
    const eligible: number[] = []
    const hot: number[] = []
    for (let node = 0; node < columns.nodeCount; node++) {
      if (columns.eligible[node] !== 1) continue
      if (columns.isHot(node)) hot.push(node)
      else eligible.push(node)
    }
    this.#all = Int32Array.from(eligible)
    this.#hot = Int32Array.from(hot)
    this.#kindOf = new Int32Array(columns.nodeCount).fill(-1)
    this.partial = eligible.length > smallCluster
  }

  /** All nodes that may be given something, overloaded ones left out. */
  all(): Int32Array {
    return this.#all
  }

  /** Those that are overloaded, or were lately: for what no other can take. */
  hot(): Int32Array {
    return this.#hot
  }

  /** The emptiest of each kind. */
  few(): ArrayLike<number> {
    if (!this.partial) return this.#all
    if (this.#kinds.length === 0) this.#sort()
    this.#few ??= this.#kinds.flatMap((kind) => kind.slice(0, this.#ofEachKind)).sort((a, b) => a - b)
    return this.#few
  }

  /** What is on a node has changed. */
  changed(node: number): void {
    const kind = node < 0 ? undefined : this.#kinds[this.#kindOf[node] as number]
    if (kind === undefined) return
    const at = kind.indexOf(node)
    const pressure = this.#pressure(node)
    let to = at
    while (to + 1 < kind.length && this.#comesAfter(node, pressure, kind[to + 1] as number)) to++
    while (to > 0 && !this.#comesAfter(node, pressure, kind[to - 1] as number)) to--
    if (to === at) return
    kind.splice(at, 1)
    kind.splice(to, 0, node)
    const few = this.#ofEachKind
    if (at < few && to >= few) this.#exchange(node, kind[few - 1] as number)
    else if (at >= few && to < few) this.#exchange(kind[few] as number, node)
  }

  /** One of a kind is not among its emptiest any more, and another one is. */
  #exchange(goes: number, comes: number): void {
    const few = this.#few
    if (few === undefined) return
    let at = few.indexOf(goes)
    for (; at + 1 < few.length && (few[at + 1] as number) < comes; at++) few[at] = few[at + 1] as number
    for (; at > 0 && (few[at - 1] as number) > comes; at--) few[at] = few[at - 1] as number
    few[at] = comes
  }

  #sort(): void {
    const { kinds: kindOf } = this.#columns.snapshot.table
    const kinds = new Map<number, number[]>()
    for (const node of this.#all) {
      const kind = kinds.get(kindOf[node] as number)
      if (kind === undefined) kinds.set(kindOf[node] as number, [node])
      else kind.push(node)
    }
    for (const kind of kinds.values()) {
      const pressures = new Map(kind.map((node) => [node, this.#pressure(node)]))
      kind.sort((a, b) => (pressures.get(a) as number) - (pressures.get(b) as number) || a - b)
      for (const node of kind) this.#kindOf[node] = this.#kinds.length
      this.#kinds.push(kind)
    }
    this.#ofEachKind = Math.max(least, Math.min(most, Math.ceil(together / this.#kinds.length)))
  }

  #comesAfter(node: number, pressure: number, other: number): boolean {
    return pressure - this.#pressure(other) > 0 || (pressure === this.#pressure(other) && node > other)
  }

  #pressure(node: number): number {
    return this.#goal?.pressure(node) ?? 0
  }
}
