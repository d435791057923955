const largestRun = 512

/** A set of ids in ascending order, in runs of a few hundred: what is added or taken away moves one run. @internal */
export class IdSet {
  #runs: number[][] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  has(id: number): boolean {
    const run = this.#runs[this.#runOf(id)]
    return run !== undefined && run[positionIn(run, id)] === id
  }

  add(id: number): void {
    const at = this.#runOf(id)
    const run = this.#runs[at]
    if (run === undefined) {
      this.#runs.push([id])
      this.#size++
      return
    }
    const position = positionIn(run, id)
    if (run[position] === id) return
    run.splice(position, 0, id)
    this.#size++
    // Ids that come by ascending order fill their runs; others split them.
    if (run.length > largestRun) {
      const half = position === run.length - 1 ? run.length - 1 : run.length >>> 1
      this.#runs.splice(at + 1, 0, run.splice(half))
    }
  }

  delete(id: number): void {
    const at = this.#runOf(id)
    const run = this.#runs[at]
    if (run === undefined) return
    const position = positionIn(run, id)
    if (run[position] !== id) return
    run.splice(position, 1)
    this.#size--
    if (run.length === 0) this.#runs.splice(at, 1)
  }

  clear(): void {
    this.#runs = []
    this.#size = 0
  }

  /** Up to `most` ids above one, by ascending order. */
  after(id: number, most: number): number[] {
    const found: number[] = []
    for (let at = this.#runOf(id); at < this.#runs.length && found.length < most; at++) {
      const run = this.#runs[at] as number[]
      for (let i = positionIn(run, id + 1); i < run.length && found.length < most; i++)
        found.push(run[i] as number)
    }
    return found
  }

  /** The last run that begins at or below an id, or the first. */
  #runOf(id: number): number {
    let low = 0
    let high = this.#runs.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (((this.#runs[middle] as number[])[0] as number) <= id) low = middle + 1
      else high = middle
    }
    return Math.max(0, low - 1)
  }
}

function positionIn(run: readonly number[], id: number): number {
  let low = 0
  let high = run.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((run[middle] as number) < id) low = middle + 1
    else high = middle
  }
  return low
}
