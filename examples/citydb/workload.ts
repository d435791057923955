import { type Environment, KeelsonError, pick, type SeededRandom, sleep } from 'keelson'
import type { City } from './cities.ts'
import type { CityClient } from './client.ts'
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

/** One increment in so many loses its answer. */
const lostAnswers = 50
const staleSchemaRetryMs = 100

/** Client sessions of one writer: one command at a time, numbered per range. */
class Lane {
  readonly #env: Environment
  readonly #client: CityClient
  readonly #sessions = new Map<number, { session: number; sequence: number }>()

  constructor(env: Environment, client: CityClient) {
    this.#env = env
    this.#client = client
  }

  async run(
    rangeId: number,
    signal: AbortSignal,
    act: (command: { session: number; sequence: number }) => Promise<void>,
  ): Promise<void> {
    let state = this.#sessions.get(rangeId)
    if (state === undefined) {
      state = { session: await this.#client.openSession(rangeId, { signal }), sequence: 0 }
      this.#sessions.set(rangeId, state)
    }
    for (;;) {
      state.sequence++
      try {
        await act({ ...state })
        return
      } catch (error) {
        // Refused for good under this number, without an effect: the node had not heard of a new schema version yet.
        if (!KeelsonError.hasCode(error, 'STALE_SCHEMA')) throw error
      }
      await sleep(this.#env.timers, staleSchemaRetryMs, signal)
    }
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
    const batches: { rangeId: number; rows: { key: Uint8Array; columns: Row }[] }[] = []
    for (const { city } of this.#expected) {
      const rangeId = this.#client.rangeOf(city.key)
      let last = batches.at(-1)
      if (last === undefined || last.rangeId !== rangeId || last.rows.length >= batchRows) {
        last = { rangeId, rows: [] }
        batches.push(last)
      }
      last.rows.push({ key: city.key, columns: city.row })
    }
    // Interleaved, so that all ranges work at once.
    const byRange = new Map<number, typeof batches>()
    for (const batch of batches) byRange.set(batch.rangeId, [...(byRange.get(batch.rangeId) ?? []), batch])
    const queue: typeof batches = []
    for (let i = 0; queue.length < batches.length; i++) {
      for (const list of byRange.values())
        if (list[i] !== undefined) queue.push(list[i] as (typeof batches)[number])
    }
    let done = 0
    const worker = async (): Promise<void> => {
      const lane = new Lane(this.#env, this.#client)
      for (let batch = queue.shift(); batch !== undefined; batch = queue.shift()) {
        const { rangeId, rows } = batch
        await this.#timed(() =>
          lane.run(rangeId, this.#stop.signal, (command) => this.#client.write(rangeId, command, rows)),
        )
        this.figures.acknowledgedWrites += rows.length
        done += rows.length
        progress(done)
      }
    }
    await Promise.all(Array.from({ length: parallel }, worker))
    this.takeSlowest()
    this.figures.longestPauseMs = 0
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
    const expected = new Map(this.#expected.map((row) => [Buffer.from(row.city.key).toString('latin1'), row]))
    const result = { rows: 0, lost: 0, doubled: 0, indexMissing: 0, indexOrphans: 0, staleEffects: 0 }
    for (const { rangeId } of this.#client.ranges.ranges()) {
      const entriesWanted = new Set<string>()
      for await (const { key, value } of this.#client.scan(rangeId)) {
        const row = decodeRow(value)
        const known = expected.get(Buffer.from(key).toString('latin1'))
        expected.delete(Buffer.from(key).toString('latin1'))
        if (known === undefined) {
          result.doubled++
          continue
        }
        const visits = typeof row['visits'] === 'number' ? row['visits'] : 0
        if (row['population'] !== known.population || visits < known.visits) result.lost++
        if (visits > known.visits) result.doubled++
        if (index !== undefined) entriesWanted.add(Buffer.from(indexKey(index, row, key)).toString('latin1'))
        if (++result.rows % 10_000 === 0) progress(result.rows)
      }
      if (index !== undefined) {
        for await (const { key } of this.#client.scan(rangeId, index.name)) {
          if (!entriesWanted.delete(Buffer.from(key).toString('latin1'))) result.indexOrphans++
        }
        result.indexMissing += entriesWanted.size
      }
      result.staleEffects += (await this.#client.facts(rangeId)).staleEffects
    }
    result.lost += expected.size
    return result
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
      const rangeId = this.#client.rangeOf(key)
      if (random.integer(2) === 0) {
        row.attempted = row.population + 1 + random.integer(1000)
        await this.#timed(() =>
          lane.run(rangeId, signal, (command) =>
            this.#client.write(rangeId, command, [{ key, columns: { population: row.attempted } }], {
              signal,
            }),
          ),
        )
        row.population = row.attempted
        this.figures.acknowledgedWrites++
      } else {
        await this.#timed(() =>
          lane.run(rangeId, signal, async (command) => {
            await this.#client.increment(rangeId, command, key, 'visits', 1, { signal })
            if (random.integer(lostAnswers) > 0) return
            // As if the answer had been lost on the way: the outcome is not known, so the same command is sent again.
            this.figures.repeated++
            await this.#client.increment(rangeId, command, key, 'visits', 1, { signal })
          }),
        )
        row.visits++
        this.figures.acknowledgedIncrements++
      }
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
