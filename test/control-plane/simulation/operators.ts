import { sleep } from '../../../src/core/async.ts'
import type { Environment } from '../../../src/core/environment.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { between, chance, pick } from '../../../src/core/random.ts'
import type { Job } from '../../../src/jobs/index.ts'
import type { SchemaChange } from '../../../src/schema/index.ts'
import type { World } from './world.ts'

/** What people do while things break: they drain nodes, change the schema, and change their minds. */
export class Operators {
  readonly #world: World
  #calm = false
  drains = 0
  schemaChanges = 0
  cancelled = 0

  constructor(world: World) {
    this.#world = world
  }

  /** Nothing new is begun from now on. */
  calm(): void {
    this.#calm = true
  }

  /** Resolves when it is calm and everything that was begun has ended. The first node is drained for good. */
  async work(): Promise<void> {
    const { admin } = this.#world.client
    await this.#again(() => admin.nodes.drain('db1', 'simulation'))
    const changes = this.#world.corner.losesQuorum === true ? [] : [this.#changeSchema()]
    await Promise.all([this.#drainAndBack(), this.#growAndShrink(), ...changes])
  }

  get #env(): Environment {
    return this.#world.sim.environment('observer')
  }

  async #again<T>(act: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await act()
      } catch (error) {
        if (!KeelsonError.is(error) || !error.retryable) throw error
        await sleep(this.#env.timers, 200)
      }
    }
  }

  async #drainAndBack(): Promise<void> {
    const random = this.#world.sim.random('drains')
    const { admin } = this.#world.client
    while (!this.#calm) {
      await sleep(this.#env.timers, between(random, 1_000, 6_000))
      if (this.#calm) return
      const { name } = pick(random, this.#world.agents.slice(1))
      await this.#again(() => admin.nodes.drain(name, 'maintenance'))
      this.drains++
      await sleep(this.#env.timers, between(random, 500, 6_000))
      await this.#again(() => admin.nodes.undrain(name, 'maintenance is over'))
    }
  }

  /** Rows get larger and smaller again: ranges split and merge. */
  async #growAndShrink(): Promise<void> {
    const random = this.#world.sim.random('growth')
    const restless = this.#world.corner.restless === true
    const weights = restless ? [10, 180] : [10, 40, 90, 180]
    while (!this.#calm) {
      this.#world.plane.bytesPerRow = pick(random, weights)
      await sleep(this.#env.timers, between(random, 1_500, restless ? 4_000 : 8_000))
    }
    this.#world.plane.bytesPerRow = pick(random, [10, 40, 90])
  }

  async #changeSchema(): Promise<void> {
    const random = this.#world.sim.random('schema changes')
    for (let number = 1; number === 1 || !this.#calm; number++) {
      const name = `by_size_${number}`
      await this.#change(
        { type: 'addIndex', name, columns: ['size'] },
        chance(random, 0.2) ? 2_000 : undefined,
      )
      await sleep(this.#env.timers, between(random, 0, 1_000))
      if (chance(random, 0.5))
        await this.#change({ type: 'addColumn', name: `more_${number}`, valueType: 'string' })
      if (chance(random, 0.5)) await this.#change({ type: 'dropIndex', name })
    }
  }

  /** Runs one change to its end; `patienceMs` later somebody changes his mind. */
  async #change(change: SchemaChange, patienceMs?: number): Promise<void> {
    const { admin } = this.#world.client
    // A change whose outcome is unknown is found again by what it is for.
    const reason = `${change.type} ${change.name}`
    const begin = async (): Promise<Job> => {
      const known = (await admin.jobs.list()).find((job) => job.reason === reason)
      return known ?? (await admin.changeSchema('rows', change, { reason }))
    }
    let job: Job
    try {
      job = await this.#again(begin)
    } catch (error) {
      // An index whose making was cancelled is not there to be dropped.
      if (KeelsonError.hasCode(error, 'NOT_FOUND')) return
      throw error
    }
    this.schemaChanges++
    let over = false
    const cancel = async (): Promise<void> => {
      if (patienceMs === undefined) return
      await sleep(this.#env.timers, patienceMs)
      if (over) return
      try {
        await this.#again(() => admin.jobs.cancel(job.jobId, 'somebody changed his mind'))
        this.cancelled++
      } catch (error) {
        // It ended at this very moment.
        if (!KeelsonError.hasCode(error, 'CONFLICT')) throw error
      }
    }
    const cancelling = cancel()
    cancelling.catch(() => {})
    try {
      await this.#again(() => admin.finished(job))
    } catch (error) {
      const ended = await this.#again(() => admin.jobs.get(job.jobId))
      if (ended?.status !== 'cancelled' && !KeelsonError.hasCode(error, 'NOT_FOUND')) throw error
    } finally {
      over = true
    }
    await cancelling
  }
}
