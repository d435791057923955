import { type Environment, KeelsonError, pick, type SeededRandom, shuffled, sleep } from 'keelson'
import type { City } from './cities.ts'
import type { CityClient } from './client.ts'
import type { CommandNumber } from './protocol.ts'
import { decodeRow, indexKey, type Row } from './schema.ts'

/** What the clients know of a row: every write of theirs that was acknowledged. */
interface Expected {
  readonly city: City
  /** Population that was acknowledged last. */
  population: number
  /** Population that is being written; the same as acknowledged when none is. */
  attempted: number
  /** Increments acknowledged. */
  visits: number
}

/** What came of a run. */
export interface WorkloadFigures {
  acknowledgedWrites: number
  acknowledgedIncrements: number
  /** Commands that were sent again although they had taken effect. */
  repeated: number
  reads: number
  /** Longest time from sending a call to its success, retries included. */
  longestPauseMs: number
  /** Reads that saw something older than what was acknowledged before they began. */
  staleReads: number
  errors: string[]
}

/** What reading everything back showed. */
export interface Verification {
  readonly rows: number
  readonly lost: number
  readonly doubled: number
  readonly indexMissing: number
  readonly indexOrphans: number
  readonly staleEffects: number
}

interface CityRow {
  readonly key: Uint8Array
  readonly columns: Row
}

interface Item {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

interface RangeContent {
  readonly rows: readonly Item[]
  readonly entries: readonly Item[]
  readonly staleEffects: number
  readonly end: Uint8Array | undefined
}

function latin(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

/** One increment in so many loses its answer. */
const lostAnswers = 50
const refusedRetryMs = 60

interface LaneSession {
  readonly rangeId: number
  readonly session: number
  sequence: number
}

/** Client sessions of one writer, one for each range that it has met: one command at a time, numbered per session. */
class Lane {
  readonly #env: Environment
  readonly #client: CityClient
  readonly #sessions = new Map<number, LaneSession>()

  constructor(env: Environment, client: CityClient) {
    this.#env = env
    this.#client = client
  }

  /**
   * Runs one command on rows of one range, which begin with `key`.
   *
   * @throws KeelsonError `STALE_GENERATION` when they lie in several by now; nothing was done
   */
  async once(
    key: Uint8Array,
    signal: AbortSignal,
    act: (command: CommandNumber) => Promise<void>,
  ): Promise<void> {
    for (;;) {
      const state = await this.#session(key, signal)
      state.sequence++
      try {
        await act({ ...state })
        return
      } catch (error) {
        // What became of it nobody knows; the next command needs another session.
        if (KeelsonError.hasCode(error, 'SESSION_UNKNOWN')) this.#sessions.delete(state.rangeId)
        // The row has another range, which knows this session only if it is older than that.
        if (KeelsonError.hasCode(error, 'STALE_GENERATION')) this.#sessions.delete(state.rangeId)
        // Refused for good under this number, without an effect: the node had not heard of a new schema version yet.
        if (!KeelsonError.hasCode(error, 'STALE_SCHEMA')) throw error
      }
      await sleep(this.#env.timers, refusedRetryMs, signal)
    }
  }

  /** Runs one command on one row, wherever it lies by then. */
  async run(
    key: Uint8Array,
    signal: AbortSignal,
    act: (command: CommandNumber) => Promise<void>,
  ): Promise<void> {
    for (;;) {
      try {
        await this.once(key, signal, act)
        return
      } catch (error) {
        // Refused for good under this number, without an effect: the row has another range.
        if (!KeelsonError.hasCode(error, 'STALE_GENERATION')) throw error
      }
      await sleep(this.#env.timers, refusedRetryMs, signal)
    }
  }

  async #session(key: Uint8Array, signal: AbortSignal): Promise<LaneSession> {
    const known = this.#sessions.get(this.#client.rangeOf(key))
    if (known !== undefined) return known
    // Not always of the range that was looked up: the directory may not know yet of a split or a merge.
    const opened = { ...(await this.#client.openSession(key, { signal })), sequence: 0 }
    this.#sessions.set(opened.rangeId, opened)
    return opened
  }
}

/**
 * Writers and readers that never stop, each with rows of its own, so that what must be there in the end is known
 * exactly: the last acknowledged population, and one visit for every acknowledged increment.
 */
export class Workload {
  readonly figures: WorkloadFigures = {
    acknowledgedWrites: 0,
    acknowledgedIncrements: 0,
    repeated: 0,
    reads: 0,
    longestPauseMs: 0,
    staleReads: 0,
    errors: [],
  }
  readonly #env: Environment
  readonly #client: CityClient
  readonly #expected: Expected[]
  readonly #random: SeededRandom
  readonly #stop = new AbortController()
  readonly #running: Promise<void>[] = []
  /** Time of the slowest call that has ended since the last call of `takeSlowest`. */
  #slowestMs = 0
  /** When the latest write that was acknowledged began, by the range that the directory has its row in. */
  readonly #writtenMs = new Map<number, number>()
  /** When each call that is under way began. */
  readonly #underWay = new Set<{ readonly sinceMs: number }>()

  constructor(options: {
    env: Environment
    client: CityClient
    cities: readonly City[]
    random: SeededRandom
  }) {
    this.#env = options.env
    this.#client = options.client
    this.#random = options.random
    this.#expected = options.cities.map((city) => {
      const population = city.row['population'] as number
      return { city, population, attempted: population, visits: 0 }
    })
  }

  /** Inserts all cities. */
  async load(parallel: number, batchRows: number, progress: (rows: number) => void): Promise<void> {
    const queue: CityRow[][] = []
    for (const [i, { city }] of this.#expected.entries()) {
      if (i % batchRows === 0) queue.push([])
      queue.at(-1)?.push({ key: city.key, columns: city.row })
    }
    // In no order, so that whatever ranges there are work at once.
    const batches = shuffled(this.#random.child('load'), queue)
    let done = 0
    const worker = async (): Promise<void> => {
      const lane = new Lane(this.#env, this.#client)
      for (let batch = batches.pop(); batch !== undefined; batch = batches.pop()) {
        const rows = batch
        await this.#timed(() => this.#insert(lane, rows))
        this.figures.acknowledgedWrites += rows.length
        done += rows.length
        progress(done)
      }
    }
    await Promise.all(Array.from({ length: parallel }, worker))
    this.takeSlowest()
    this.figures.longestPauseMs = 0
  }

  /** Writes rows range by range, by what is known of the ranges; what lies in several after all is cut anew. */
  async #insert(lane: Lane, rows: readonly CityRow[]): Promise<void> {
    const { signal } = this.#stop
    let rest = rows
    for (let first = rest[0]; first !== undefined; first = rest[0]) {
      const rangeId = this.#client.rangeOf(first.key)
      const end = rest.findIndex(({ key }) => this.#client.rangeOf(key) !== rangeId)
      const part = end < 0 ? rest : rest.slice(0, end)
      try {
        await lane.once(first.key, signal, (command) => this.#client.write(command, part, { signal }))
        rest = rest.slice(part.length)
      } catch (error) {
        if (!KeelsonError.hasCode(error, 'STALE_GENERATION')) throw error
        await sleep(this.#env.timers, refusedRetryMs, signal)
      }
    }
  }

  /** Starts writers and readers; they pause for up to `thinkMs` between their calls. */
  start(writers: number, readers: number, thinkMs: number): void {
    const shares = Array.from({ length: writers }, (_, w) =>
      this.#expected.filter((_row, i) => i % writers === w),
    )
    for (const [w, share] of shares.entries()) {
      const random = this.#random.child(`writer ${w}`)
      this.#running.push(
        this.#loop(() => this.#write(new Lane(this.#env, this.#client), share, random, thinkMs)),
      )
    }
    for (let r = 0; r < readers; r++) {
      const random = this.#random.child(`reader ${r}`)
      this.#running.push(this.#loop(() => this.#read(random, thinkMs)))
    }
  }

  /** Time of the slowest call since the last question, calls under way included. */
  takeSlowest(): number {
    const now = this.#env.clock.monotonicMs()
    let slowest = this.#slowestMs
    for (const { sinceMs } of this.#underWay) slowest = Math.max(slowest, now - sinceMs)
    this.#slowestMs = 0
    return slowest
  }

  /** Ranges with rows, as the directory has them, none of whose rows a write that began since then has reached. */
  unwrittenSince(sinceMs: number): readonly number[] {
    const ranges = new Set(this.#expected.map(({ city }) => this.#client.rangeOf(city.key)))
    return [...ranges].filter(
      (rangeId) => (this.#writtenMs.get(rangeId) ?? Number.NEGATIVE_INFINITY) < sinceMs,
    )
  }

  /** Lets every call under way come to its end, and stops. */
  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#running)
  }
  #stopping = false

  /** Gives up at once. */
  abort(): void {
    this.#stopping = true
    this.#stop.abort()
  }

  /** Reads everything back and compares it with what was acknowledged. */
  async verify(
    index: { name: string; columns: readonly string[] } | undefined,
    progress: (rows: number) => void,
  ): Promise<Verification> {
    const expected = new Map(this.#expected.map((row) => [latin(row.city.key), row]))
    const result = { rows: 0, lost: 0, doubled: 0, indexMissing: 0, indexOrphans: 0, staleEffects: 0 }
    let at = this.#client.ranges.ranges()[0]?.start
    while (at !== undefined && this.#client.ranges.lookup(at) !== undefined) {
      const { rows, entries, staleEffects, end } = await this.#readRange(at, index)
      const entriesWanted = new Set<string>()
      for (const { key, value } of rows) {
        const row = decodeRow(value)
        const known = expected.get(latin(key))
        expected.delete(latin(key))
        if (known === undefined) {
          result.doubled++
          continue
        }
        const visits = typeof row['visits'] === 'number' ? row['visits'] : 0
        if (row['population'] !== known.population || visits < known.visits) result.lost++
        if (visits > known.visits) result.doubled++
        if (index !== undefined) entriesWanted.add(latin(indexKey(index, row, key)))
        if (++result.rows % 10_000 === 0) progress(result.rows)
      }
      for (const { key } of entries) if (!entriesWanted.delete(latin(key))) result.indexOrphans++
      result.indexMissing += entriesWanted.size
      result.staleEffects += staleEffects
      at = end
    }
    result.lost += expected.size
    return result
  }

  /** Everything that the range with `from` holds from there on, all of one generation of it. */
  async #readRange(from: Uint8Array, index: { readonly name: string } | undefined): Promise<RangeContent> {
    for (;;) {
      const rangeId = this.#client.rangeOf(from)
      try {
        const { generation, staleEffects, end } = await this.#client.facts(rangeId)
        const rows: Item[] = []
        const entries: Item[] = []
        for await (const item of this.#client.scan(rangeId, generation))
          if (Buffer.compare(item.key, from) >= 0) rows.push(item)
        if (index !== undefined)
          for await (const item of this.#client.scan(rangeId, generation, index.name))
            if (Buffer.compare(item.value, from) >= 0) entries.push(item)
        return { rows, entries, staleEffects, end }
      } catch (error) {
        // It was split or merged meanwhile.
        if (!KeelsonError.hasCode(error, 'STALE_GENERATION')) throw error
        await sleep(this.#env.timers, refusedRetryMs)
      }
    }
  }

  async #loop(step: () => Promise<void>): Promise<void> {
    try {
      await step()
    } catch (error) {
      if (this.#stop.signal.aborted) return
      this.figures.errors.push(KeelsonError.is(error) ? `${error.code}: ${error.message}` : String(error))
    }
  }

  async #write(lane: Lane, share: readonly Expected[], random: SeededRandom, thinkMs: number): Promise<void> {
    const signal = this.#stop.signal
    while (!this.#stopping) {
      const row = pick(random, share)
      const { key } = row.city
      const beganMs = this.#env.clock.monotonicMs()
      if (random.integer(2) === 0) {
        row.attempted = row.population + 1 + random.integer(1000)
        await this.#timed(() =>
          lane.run(key, signal, (command) =>
            this.#client.write(command, [{ key, columns: { population: row.attempted } }], { signal }),
          ),
        )
        row.population = row.attempted
        this.figures.acknowledgedWrites++
      } else {
        await this.#timed(() =>
          lane.run(key, signal, async (command) => {
            await this.#client.increment(command, key, 'visits', 1, { signal })
            if (random.integer(lostAnswers) > 0) return
            // As if the answer had been lost on the way: the outcome is not known, so the same command is sent again.
            this.figures.repeated++
            await this.#client.increment(command, key, 'visits', 1, { signal })
          }),
        )
        row.visits++
        this.figures.acknowledgedIncrements++
      }
      this.#writtenMs.set(this.#client.rangeOf(key), beganMs)
      await sleep(this.#env.timers, random.float() * thinkMs, signal)
    }
  }

  async #read(random: SeededRandom, thinkMs: number): Promise<void> {
    while (!this.#stopping) {
      const row = pick(random, this.#expected)
      const { population, visits } = row
      const found = await this.#timed(() => this.#client.read(row.city.key, { signal: this.#stop.signal }))
      const foundVisits = typeof found?.['visits'] === 'number' ? found['visits'] : 0
      if (((found?.['population'] as number | undefined) ?? -1) < population || foundVisits < visits) {
        this.figures.staleReads++
      }
      this.figures.reads++
      await sleep(this.#env.timers, random.float() * thinkMs, this.#stop.signal)
    }
  }

  async #timed<T>(call: () => Promise<T>): Promise<T> {
    const sinceMs = this.#env.clock.monotonicMs()
    const mark = { sinceMs }
    this.#underWay.add(mark)
    try {
      return await call()
    } finally {
      this.#underWay.delete(mark)
      const took = this.#env.clock.monotonicMs() - sinceMs
      this.#slowestMs = Math.max(this.#slowestMs, took)
      this.figures.longestPauseMs = Math.max(this.figures.longestPauseMs, took)
    }
  }
}
