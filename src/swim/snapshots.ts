import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { type Logger, type LogMethod, sparingly } from '../core/logger.ts'
import type { CheckedSwimOptions, SwimSnapshotStore } from './options.ts'

/** What an earlier life of the node left; a store that does not work only costs the memory of it. */
export async function loadSnapshot(options: CheckedSwimOptions): Promise<Uint8Array | undefined> {
  const { snapshots, env, nodeId } = options
  try {
    const snapshot = await snapshots?.load()
    return snapshot instanceof Uint8Array && snapshot.length > 0 ? snapshot : undefined
  } catch (error) {
    env.logger.warn({ module: 'swim', nodeId, error }, 'the snapshot of SWIM cannot be loaded')
    return undefined
  }
}

/** Saves snapshots after changes, at most one in an interval, one at a time. */
export class Snapshots {
  readonly #env: Environment
  readonly #complain: LogMethod
  readonly #store: SwimSnapshotStore
  readonly #intervalMs: number
  readonly #take: () => Uint8Array
  #timer: TimerHandle | undefined
  #saving: Promise<void> | undefined
  #closed = false

  constructor(
    env: Environment,
    logger: Logger,
    store: SwimSnapshotStore,
    intervalMs: number,
    take: () => Uint8Array,
  ) {
    this.#env = env
    this.#complain = sparingly(env.clock, logger.warn.bind(logger))
    this.#store = store
    this.#intervalMs = intervalMs
    this.#take = take
  }

  /** Something changed: there will be a snapshot. */
  plan(): void {
    if (this.#closed) return
    this.#timer ??= this.#env.timers.schedule(this.#intervalMs, () => {
      this.#timer = undefined
      // A slow store gets the next one when it has taken this one.
      if (this.#saving === undefined) this.#save()
      else this.plan()
    })
  }

  /** Saves what has not been saved. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const pending = this.#timer !== undefined
    this.#timer?.cancel()
    await this.#saving
    if (pending) this.#save()
    await this.#saving
  }

  #save(): void {
    this.#saving = this.#write().finally(() => {
      this.#saving = undefined
    })
  }

  async #write(): Promise<void> {
    try {
      await this.#store.save(this.#take())
    } catch (error) {
      this.#complain({ error }, 'the snapshot of SWIM cannot be saved')
    }
  }
}
