import EventEmitterModule from 'eventemitter3'
import { checkFunction } from './arguments.ts'
import { KeelsonError } from './errors.ts'
import type { Logger } from './logger.ts'
import { closest, showValue } from './options.ts'

// eventemitter3's typings describe a default export that is both class and namespace.
const { EventEmitter } = EventEmitterModule

/** A map from event name to the listener's signature. */
export type EventMap = Record<string, (...args: never[]) => void>

/** The listening half of an emitter: what a public class shows. */
export interface Listenable<E extends EventMap> {
  /** Calls `listener` at each event of this name until the function that is returned is called. */
  on<K extends keyof E & string>(event: K, listener: E[K]): () => void
}

/**
 * Events of one component. A listener that throws, or whose promise is rejected, is logged and harms neither the emitter nor the
 * other listeners; nobody waits for the promise.
 * Emit only after the state has changed, never from inside a core.
 */
export class Events<E extends EventMap> implements Listenable<E> {
  readonly #emitter = new EventEmitter()
  readonly #logger: Logger
  readonly #names: readonly (keyof E & string)[]

  /** `logger` gets the errors of listeners that throw; `names` are all the events that there are. */
  constructor(logger: Logger, names: readonly (keyof E & string)[]) {
    this.#logger = logger
    this.#names = names
  }

  on<K extends keyof E & string>(event: K, listener: E[K]): () => void {
    if (!this.#names.includes(event)) {
      const suggestion = closest(String(event), this.#names)
      const hint =
        suggestion === undefined ? `events: ${this.#names.join(', ')}` : `did you mean '${suggestion}'?`
      throw new KeelsonError('INVALID_ARGUMENT', `there is no event ${showValue(event)}; ${hint}`)
    }
    checkFunction(listener, `the listener of '${event}'`)
    const loose = listener as unknown as (...args: unknown[]) => void
    this.#emitter.on(event, loose)
    return () => {
      this.#emitter.off(event, loose)
    }
  }

  /** Calls the listeners of `event` in the order in which they were added. */
  emit<K extends keyof E & string>(event: K, ...args: Parameters<E[K]>): void {
    for (const listener of this.#emitter.listeners(event)) {
      try {
        const given = (listener as (...args: unknown[]) => unknown)(...args)
        isolate(given, (error) => this.#logger.error({ event, error }, 'an event listener was rejected'))
      } catch (error) {
        this.#logger.error({ event, error }, 'an event listener threw')
      }
    }
  }

  /** Listeners of `event` now. */
  listenerCount(event: keyof E & string): number {
    return this.#emitter.listenerCount(event)
  }

  /** Takes all listeners of all events away. */
  removeAll(): void {
    this.#emitter.removeAllListeners()
  }
}

/**
 * Takes the rejection of a promise that a host's function returned though nobody waits for it: unheeded it would end the process.
 * Anything but a promise is left alone. True for a promise.
 */
export function isolate(given: unknown, onRejection: (error: unknown) => void): boolean {
  if (typeof given !== 'object' || given === null || !('then' in given) || typeof given.then !== 'function')
    return false
  Promise.resolve(given).catch(onRejection)
  return true
}
