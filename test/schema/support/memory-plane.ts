import assert from 'node:assert/strict'
import { sleep } from '../../../src/core/async.ts'
import type { Environment } from '../../../src/core/environment.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { between, pick, type SeededRandom } from '../../../src/core/random.ts'
import type {
  IndexElement,
  SchemaChunk,
  SchemaHost,
  SchemaValidation,
  TableDescriptor,
} from '../../../src/interfaces/schema-host.ts'
import { SchemaFence, type SchemaLeases } from '../../../src/schema/index.ts'

interface Write {
  readonly key: string
  readonly population: number | undefined
  readonly version: number
  readonly indexes: readonly IndexElement[]
}

/** One range of rows with their index entries. Its methods are its log: each is one atomic step. */
class MemoryRange {
  readonly rows = new Map<string, number>()
  /** By index: the entries, as `population|key`. */
  readonly entries = new Map<number, Map<string, string>>()
  fence = new SchemaFence()

  write(write: Write): void {
    this.fence.check(write.version)
    const before = this.rows.get(write.key)
    for (const index of write.indexes) {
      const entries = this.#of(index.elementId)
      if (index.state === 'absent') continue
      if (before !== undefined) entries.delete(`${before}|${write.key}`)
      if (write.population !== undefined && index.state !== 'deleteOnly') {
        entries.set(`${write.population}|${write.key}`, write.key)
      }
    }
    if (write.population === undefined) this.rows.delete(write.key)
    else this.rows.set(write.key, write.population)
  }

  /** Takes note of a chunk's epoch. @returns whether a newer coordinator was here before */
  admit(chunk: SchemaChunk, trusting: boolean): boolean {
    const refusal = this.fence.refusalOfChunk(chunk.epoch)
    if (refusal !== undefined && !trusting) throw refusal
    this.fence = this.fence.raised({ epoch: chunk.epoch })
    return refusal !== undefined
  }

  /** The keys of the rows with a value, by an index that is public in the reader's version. */
  scan(version: number, elementId: number, population: number, trusting = false): string[] {
    const found = [...this.#of(elementId)].filter(([entry]) => entry.startsWith(`${population}|`))
    if (!trusting) this.fence.check(version)
    return found.map(([, key]) => key).sort()
  }

  backfill(chunk: SchemaChunk): { resumeAt: Uint8Array | undefined; rows: number } {
    const from = chunk.resumeAt === undefined ? '' : Buffer.from(chunk.resumeAt).toString()
    const keys = [...this.rows.keys()].filter((key) => key >= from).sort()
    const taken = keys.slice(0, chunk.maximumRows)
    for (const key of taken) this.#of(chunk.elementId).set(`${this.rows.get(key)}|${key}`, key)
    const next = keys[chunk.maximumRows]
    return { resumeAt: next === undefined ? undefined : Buffer.from(next), rows: taken.length }
  }

  compare(elementId: number): { missing: number; orphans: number } {
    const entries = this.#of(elementId)
    let missing = 0
    for (const [key, population] of this.rows) if (!entries.has(`${population}|${key}`)) missing++
    let orphans = 0
    for (const [entry, key] of entries) if (`${this.rows.get(key)}|${key}` !== entry) orphans++
    return { missing, orphans }
  }

  #of(elementId: number): Map<string, string> {
    let entries = this.entries.get(elementId)
    if (entries === undefined) {
      entries = new Map()
      this.entries.set(elementId, entries)
    }
    return entries
  }
}

/** Bugs that a test can plant in the data plane. */
export interface PlantedBugs {
  /** Commands of versions that nobody may use any more are taken. */
  readonly noBarrier?: boolean
  /** A deposed coordinator's chunks are taken. */
  readonly noEpoch?: boolean
}

/** A data plane in memory, with writers on every node that plan under the versions they hold. */
export class MemoryPlane implements SchemaHost {
  readonly ranges: ReadonlyMap<number, MemoryRange>
  /** Versions that work is planned under at the moment, with how many pieces of work. */
  readonly inUse = new Map<number, number>()
  /** Chunks that a deposed coordinator sent and that were taken. */
  staleChunks = 0
  refusedWrites = 0
  writes = 0
  readonly #env: Environment
  readonly #random: SeededRandom
  readonly #bugs: PlantedBugs

  constructor(
    env: Environment,
    random: SeededRandom,
    rangeCount: number,
    rowsPerRange: number,
    bugs: PlantedBugs = {},
  ) {
    this.#env = env
    this.#random = random
    this.#bugs = bugs
    this.ranges = new Map(Array.from({ length: rangeCount }, (_, i) => [i + 1, new MemoryRange()]))
    for (const [rangeId, range] of this.ranges) {
      for (let i = 0; i < rowsPerRange; i++) range.rows.set(`${rangeId}/${String(i).padStart(4, '0')}`, i % 7)
    }
  }

  async barrier(chunk: SchemaChunk): Promise<void> {
    await this.#step(chunk, (range) => {
      if (this.#bugs.noBarrier !== true)
        range.fence = range.fence.raised({ minimumVersion: chunk.table.version })
    })
  }

  async backfill(chunk: SchemaChunk): Promise<{ resumeAt: Uint8Array | undefined; rows: number }> {
    return this.#step(chunk, (range) => range.backfill(chunk))
  }

  async validate(chunk: SchemaChunk): Promise<SchemaValidation> {
    return this.#step(chunk, (range) => ({
      ...range.compare(chunk.elementId),
      rows: range.rows.size,
      resumeAt: undefined,
    }))
  }

  async purge(chunk: SchemaChunk): Promise<{ resumeAt: Uint8Array | undefined; rows: number }> {
    return this.#step(chunk, (range) => {
      range.entries.delete(chunk.elementId)
      return { resumeAt: undefined, rows: 0 }
    })
  }

  /** Plans a write under the node's version, dawdles, and has the range take it. */
  async work(leases: SchemaLeases, tableId: number, dawdleMs: number): Promise<void> {
    const pin = leases.pin(tableId)
    const { version } = pin.table
    this.#use(version, 1)
    try {
      const [rangeId, range] = pick(this.#random, [...this.ranges])
      const key = `${rangeId}/${String(this.#random.integer(40)).padStart(4, '0')}`
      const population = this.#random.integer(5) === 0 ? undefined : this.#random.integer(7)
      await sleep(this.#env.timers, between(this.#random, 0, dawdleMs))
      range.write({ key, population, version, indexes: indexesOf(pin.table) })
      this.writes++
    } catch (error) {
      if (!KeelsonError.hasCode(error, 'STALE_SCHEMA')) throw error
      this.refusedWrites++
    } finally {
      this.#use(version, -1)
      pin.release()
    }
  }

  /** The rule of F1: the work under way is planned under two adjacent versions at most. */
  checkVersions(): void {
    const versions = [...this.inUse.keys()]
    const spread = Math.max(...versions, 0) - Math.min(...versions, Infinity)
    assert.ok(versions.length === 0 || spread <= 1, `versions ${versions.join(', ')} in use together`)
  }

  #use(version: number, amount: number): void {
    const left = (this.inUse.get(version) ?? 0) + amount
    if (left === 0) this.inUse.delete(version)
    else this.inUse.set(version, left)
    this.checkVersions()
  }

  async #step<T>(chunk: SchemaChunk, step: (range: MemoryRange) => T): Promise<T> {
    await sleep(this.#env.timers, between(this.#random, 0, 30))
    const range = this.ranges.get(chunk.rangeId) as MemoryRange
    if (this.#random.integer(20) === 0) throw new KeelsonError('CLOSED', 'the replica was moved away')
    if (this.#random.integer(20) === 0) throw new KeelsonError('NOT_LEADER', 'the holder has changed')
    if (range.admit(chunk, this.#bugs.noEpoch === true)) this.staleChunks++
    const result = step(range)
    // The effect stands although the answer is lost.
    if (this.#random.integer(20) === 0) throw new KeelsonError('OUTCOME_UNKNOWN', 'no answer in time')
    return result
  }
}

export function indexesOf(table: TableDescriptor): IndexElement[] {
  return table.elements.filter((element) => element.type === 'index')
}
