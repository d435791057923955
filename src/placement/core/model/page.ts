/** Ranges of one page. What is written after a snapshot was taken copies this many rows at most. */
export const pageRanges = 128

/** From what a range is held back, as the page keeps it. */
export const holdBits: Readonly<{ improvements: number; all: number }> = Object.freeze({
  improvements: 1,
  all: 2,
})

/** One row of a page, on its way in. Replicas by ascending id. @internal */
export interface PageRow {
  readonly rangeId: number
  readonly generation: number
  /** Sequence of the lease, as its holder reported it. */
  readonly sequence: number
  readonly tableId: number
  readonly replicationFactor: number
  readonly hold: number
  readonly replicaIds: readonly number[]
  readonly lives: readonly number[]
  readonly roles: readonly number[]
}

/**
 * Up to {@link pageRanges} ranges in columns, by ascending id, and their replicas side by side. A page that a snapshot
 * shares is never written again: its owner writes to a copy. @internal
 */
export class Page {
  /** True once a snapshot has it. */
  shared = false
  count = 0
  readonly rangeIds: Float64Array
  readonly generations: Float64Array
  readonly sequences: Float64Array
  readonly tableIds: Float64Array
  readonly factors: Uint8Array
  readonly holds: Uint8Array
  /** Where the replicas of each row start; one more entry ends the last one. */
  readonly first: Uint16Array
  /** Resources that `loads` has room for, by row. */
  resources: number
  loads: Float64Array
  /** What leading takes on top; absent while it takes nothing. */
  leaderLoads: Float64Array | undefined
  replicaIds: Float64Array
  lives: Uint32Array
  roles: Uint8Array

  constructor(resources: number, replicaRoom: number = pageRanges * 3) {
    this.rangeIds = new Float64Array(pageRanges)
    this.generations = new Float64Array(pageRanges)
    this.sequences = new Float64Array(pageRanges)
    this.tableIds = new Float64Array(pageRanges)
    this.factors = new Uint8Array(pageRanges)
    this.holds = new Uint8Array(pageRanges)
    this.first = new Uint16Array(pageRanges + 1)
    this.resources = resources
    this.loads = new Float64Array(pageRanges * resources)
    this.leaderLoads = undefined
    this.replicaIds = new Float64Array(replicaRoom)
    this.lives = new Uint32Array(replicaRoom)
    this.roles = new Uint8Array(replicaRoom)
  }

  get replicas(): number {
    return this.first[this.count] as number
  }

  /** A page of one's own with the same rows. */
  copy(): Page {
    const copy = new Page(this.resources, this.replicaIds.length)
    copy.count = this.count
    copy.rangeIds.set(this.rangeIds)
    copy.generations.set(this.generations)
    copy.sequences.set(this.sequences)
    copy.tableIds.set(this.tableIds)
    copy.factors.set(this.factors)
    copy.holds.set(this.holds)
    copy.first.set(this.first)
    copy.loads.set(this.loads)
    copy.leaderLoads = this.leaderLoads?.slice()
    copy.replicaIds.set(this.replicaIds)
    copy.lives.set(this.lives)
    copy.roles.set(this.roles)
    return copy
  }

  /** The first row whose range id is not below `rangeId`. */
  rowOf(rangeId: number): number {
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.rangeIds[middle] as number) < rangeId) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Makes room for a row and writes its facts; its loads are zero. */
  insert(row: number, facts: PageRow): void {
    for (const column of this.#columns()) column.copyWithin(row + 1, row, this.count)
    const { resources } = this
    this.loads.copyWithin((row + 1) * resources, row * resources, this.count * resources)
    this.loads.fill(0, row * resources, (row + 1) * resources)
    this.leaderLoads?.copyWithin((row + 1) * resources, row * resources, this.count * resources)
    this.leaderLoads?.fill(0, row * resources, (row + 1) * resources)
    this.first.copyWithin(row + 1, row, this.count + 1)
    this.count++
    this.rangeIds[row] = facts.rangeId
    this.write(row, facts)
  }

  /** Writes the facts of a row over what was there. */
  write(row: number, facts: PageRow): void {
    const from = this.first[row] as number
    const before = (this.first[row + 1] as number) - from
    const now = facts.replicaIds.length
    if (before !== now) this.#resize(row, now - before)
    this.generations[row] = facts.generation
    this.sequences[row] = facts.sequence
    this.tableIds[row] = facts.tableId
    this.factors[row] = facts.replicationFactor
    this.holds[row] = facts.hold
    for (let i = 0; i < now; i++) {
      this.replicaIds[from + i] = facts.replicaIds[i] as number
      this.lives[from + i] = facts.lives[i] as number
      this.roles[from + i] = facts.roles[i] as number
    }
  }

  remove(row: number): void {
    this.#resize(row, (this.first[row] as number) - (this.first[row + 1] as number))
    for (const column of this.#columns()) column.copyWithin(row, row + 1, this.count)
    const { resources } = this
    this.loads.copyWithin(row * resources, (row + 1) * resources, this.count * resources)
    this.leaderLoads?.copyWithin(row * resources, (row + 1) * resources, this.count * resources)
    this.first.copyWithin(row, row + 1, this.count + 1)
    this.count--
  }

  /** Copies rows of another page to the end of this one. */
  append(from: Page, firstRow: number, endRow: number): void {
    this.widen(from.resources)
    for (let row = firstRow; row < endRow; row++) {
      const [start, end] = [from.first[row] as number, from.first[row + 1] as number]
      const at = this.count
      this.insert(at, {
        rangeId: from.rangeIds[row] as number,
        generation: from.generations[row] as number,
        sequence: from.sequences[row] as number,
        tableId: from.tableIds[row] as number,
        replicationFactor: from.factors[row] as number,
        hold: from.holds[row] as number,
        replicaIds: [...from.replicaIds.subarray(start, end)],
        lives: [...from.lives.subarray(start, end)],
        roles: [...from.roles.subarray(start, end)],
      })
      for (let resource = 0; resource < from.resources; resource++) {
        this.setLoad(at, resource, from.loadOf(row, resource), from.leaderLoadOf(row, resource))
      }
    }
  }

  /** Takes the rows from `row` on away. */
  truncate(row: number): void {
    this.count = row
  }

  loadOf(row: number, resource: number): number {
    return resource < this.resources ? (this.loads[row * this.resources + resource] as number) : 0
  }

  leaderLoadOf(row: number, resource: number): number {
    if (this.leaderLoads === undefined || resource >= this.resources) return 0
    return this.leaderLoads[row * this.resources + resource] as number
  }

  setLoad(row: number, resource: number, load: number, leaderLoad: number): void {
    if (resource >= this.resources) {
      if (load === 0 && leaderLoad === 0) return
      this.widen(resource + 1)
    }
    this.loads[row * this.resources + resource] = load
    if (leaderLoad === 0 && this.leaderLoads === undefined) return
    this.leaderLoads ??= new Float64Array(this.loads.length)
    this.leaderLoads[row * this.resources + resource] = leaderLoad
  }

  /** Makes room for more resources. */
  widen(resources: number): void {
    if (resources <= this.resources) return
    this.loads = widened(this.loads, this.resources, resources)
    if (this.leaderLoads !== undefined)
      this.leaderLoads = widened(this.leaderLoads, this.resources, resources)
    this.resources = resources
  }

  /** Columns with one number for each row, but for `first`. */
  #columns(): readonly (Float64Array | Uint8Array)[] {
    return [this.rangeIds, this.generations, this.sequences, this.tableIds, this.factors, this.holds]
  }

  /** Makes a row's replicas `by` more, or fewer. */
  #resize(row: number, by: number): void {
    const end = this.first[row + 1] as number
    const total = this.replicas
    if (total + by > this.replicaIds.length) {
      const room = Math.max(total + by, this.replicaIds.length + pageRanges)
      this.replicaIds = grown(this.replicaIds, new Float64Array(room))
      this.lives = grown(this.lives, new Uint32Array(room))
      this.roles = grown(this.roles, new Uint8Array(room))
    }
    for (const column of [this.replicaIds, this.lives, this.roles]) column.copyWithin(end + by, end, total)
    for (let i = row + 1; i <= this.count; i++) this.first[i] = (this.first[i] as number) + by
  }
}

function grown<T extends { set(from: T): void }>(from: T, to: T): T {
  to.set(from)
  return to
}

function widened(from: Float64Array, before: number, now: number): Float64Array {
  const to = new Float64Array((from.length / Math.max(1, before)) * now || pageRanges * now)
  for (let row = 0; row < pageRanges; row++) {
    to.set(from.subarray(row * before, (row + 1) * before), row * now)
  }
  return to
}
