import type { RangeId } from '../../model/ids.ts'

const nobody = -1

/**
 * Which nodes report a range, by small numbers of theirs: a number for each range and eight bytes for each replica.
 * Those of a range stand in the order in which they came.
 */
export class RangeHolders {
  /** The first entry of each range. */
  readonly #first = new Map<RangeId, number>()
  #node = new Int32Array(1024)
  #next = new Int32Array(1024)
  #used = 0
  /** The first of the entries that are free, each naming the next one. */
  #free = nobody

  /** A node reports a range. */
  add(rangeId: RangeId, node: number): void {
    const entry = this.#take(node)
    const first = this.#first.get(rangeId)
    if (first === undefined) {
      this.#first.set(rangeId, entry)
      return
    }
    let last = first
    while (this.#next[last] !== nobody) last = this.#next[last] as number
    this.#next[last] = entry
  }

  /** A node reports a range no more. */
  remove(rangeId: RangeId, node: number): void {
    let [before, entry] = [nobody, this.#first.get(rangeId) ?? nobody]
    while (entry !== nobody && this.#node[entry] !== node) {
      before = entry
      entry = this.#next[entry] as number
    }
    if (entry === nobody) return
    const next = this.#next[entry] as number
    if (before !== nobody) this.#next[before] = next
    else if (next !== nobody) this.#first.set(rangeId, next)
    else this.#first.delete(rangeId)
    this.#next[entry] = this.#free
    this.#free = entry
  }

  /** The nodes that report a range. */
  of(rangeId: RangeId): readonly number[] {
    const nodes: number[] = []
    for (
      let entry = this.#first.get(rangeId) ?? nobody;
      entry !== nobody;
      entry = this.#next[entry] as number
    ) {
      nodes.push(this.#node[entry] as number)
    }
    return nodes
  }

  /** Ranges that anybody reports. */
  rangeIds(): IterableIterator<RangeId> {
    return this.#first.keys()
  }

  #take(node: number): number {
    let entry = this.#free
    if (entry !== nobody) this.#free = this.#next[entry] as number
    else {
      entry = this.#used++
      if (entry === this.#node.length) this.#grow()
    }
    this.#node[entry] = node
    this.#next[entry] = nobody
    return entry
  }

  #grow(): void {
    const size = Math.ceil(this.#node.length * 1.5)
    const [node, next] = [new Int32Array(size), new Int32Array(size)]
    node.set(this.#node)
    next.set(this.#next)
    this.#node = node
    this.#next = next
  }
}
