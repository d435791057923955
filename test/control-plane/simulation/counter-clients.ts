import { sleep } from '../../../src/core/async.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { between, chance, type SeededRandom } from '../../../src/core/random.ts'
import { rowKey, rowsOfRange } from './range-bounds.ts'
import type { World } from './world.ts'

const clients = 4
/** A row that many use shows more than many rows that nobody uses. */
const rowsPerRange = 3

/**
 * Clients that count: each command adds one to a row, is named once, and is sent again under its name, to whatever range
 * the directory has for the row by then, until an answer arrives. So every row must count exactly what was acknowledged, and
 * each answer must be above all that was answered before its command was sent: that is what linearizable means for a
 * counter.
 */
export class CounterClients {
  readonly #world: World
  readonly #random: SeededRandom
  readonly #running: Promise<void>[] = []
  /** Of each row: the highest answer so far, all answers to additions. */
  readonly #highest = new Map<number, number>()
  readonly #answers = new Map<number, Set<number>>()
  #stopping = false
  acknowledged = 0
  repeated = 0

  constructor(world: World) {
    this.#world = world
    this.#random = world.sim.random('counting')
  }

  start(): void {
    for (let client = 1; client <= clients; client++) {
      const running = this.#run(`c${client}`, this.#random.child(`client ${client}`))
      running.catch((error: unknown) => {
        this.#world.judge.broken ??= error
      })
      this.#running.push(running)
    }
  }

  /** Lets every command come to its end, and compares. */
  async finish(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#running)
    const { plane, judge } = this.#world
    for (const [rowId, answers] of this.#answers) {
      const counted = await this.#again(() => plane.read(this.#rangeOf(rowId), rowId), this.#random)
      if (counted !== answers.size)
        judge.violated(`row ${rowId} counts ${counted}, but ${answers.size} additions were acknowledged`)
    }
  }

  async #run(name: string, random: SeededRandom): Promise<void> {
    const { sim, size } = this.#world
    const env = sim.environment('observer')
    for (let number = 1; !this.#stopping; number++) {
      await sleep(env.timers, between(random, 0, 300))
      const range = random.integer(size.ranges)
      const rowId =
        range * rowsOfRange + random.integer(rowsPerRange) * Math.floor(rowsOfRange / rowsPerRange)
      if (chance(random, 0.25)) await this.#read(rowId, random)
      else await this.#add(rowId, `${name}/${number}`, random)
    }
  }

  async #add(rowId: number, id: string, random: SeededRandom): Promise<void> {
    const { plane, judge, corner } = this.#world
    const lost = corner.lostAnswers === true ? 0.5 : 0.15
    const before = this.#highest.get(rowId) ?? 0
    const value = await this.#again(() => {
      const answer = plane.add(this.#rangeOf(rowId), { id, rowId })
      if (!chance(random, lost)) return answer
      this.repeated++
      throw new KeelsonError('OUTCOME_UNKNOWN', 'the answer was lost')
    }, random)
    this.acknowledged++
    let answers = this.#answers.get(rowId)
    if (answers === undefined) this.#answers.set(rowId, (answers = new Set()))
    if (value <= before)
      judge.violated(`an addition to row ${rowId} gave ${value} after ${before} had been seen`)
    if (answers.has(value)) judge.violated(`two additions to row ${rowId} gave ${value}`)
    answers.add(value)
    this.#highest.set(rowId, Math.max(value, this.#highest.get(rowId) ?? 0))
  }

  async #read(rowId: number, random: SeededRandom): Promise<void> {
    const before = this.#highest.get(rowId) ?? 0
    const value = await this.#again(() => this.#world.plane.read(this.#rangeOf(rowId), rowId), random)
    if (value < before)
      this.#world.judge.violated(`a read of row ${rowId} gave ${value} after ${before} had been seen`)
    this.#highest.set(rowId, Math.max(value, this.#highest.get(rowId) ?? 0))
  }

  /** The range of a row as the directory last had it. @throws KeelsonError `NOT_FOUND` */
  #rangeOf(rowId: number): number {
    const { client, plane } = this.#world
    const range = client.directory.lookup(rowKey(plane.tableId, rowId))
    if (range === undefined)
      throw new KeelsonError('NOT_FOUND', `no range has row ${rowId}`, { retryable: true })
    return range.rangeId
  }

  async #again<T>(act: () => T, random: SeededRandom): Promise<T> {
    const env = this.#world.sim.environment('observer')
    for (;;) {
      // The way there, and the way back.
      await sleep(env.timers, between(random, 1, 60))
      try {
        const answer = act()
        await sleep(env.timers, between(random, 1, 60))
        return answer
      } catch (error) {
        if (!KeelsonError.is(error) || !error.retryable) throw error
      }
      await sleep(env.timers, between(random, 20, 300))
    }
  }
}
