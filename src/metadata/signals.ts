import { setMaxListeners } from 'node:events'

/**
 * A signal that is aborted by any of `signals`, with its reason. Call `release` when the work is done, or the listeners
 * stay with the signals that live longer.
 */
export function joinSignals(...signals: readonly (AbortSignal | undefined)[]): {
  readonly signal: AbortSignal
  readonly release: () => void
} {
  const controller = sharedController()
  const listeners: [AbortSignal, () => void][] = []
  for (const signal of signals) {
    if (signal === undefined) continue
    if (signal.aborted) {
      controller.abort(signal.reason)
      break
    }
    const listener = (): void => controller.abort(signal.reason)
    signal.addEventListener('abort', listener, { once: true })
    listeners.push([signal, listener])
  }
  return {
    signal: controller.signal,
    release: () => {
      for (const [signal, listener] of listeners) signal.removeEventListener('abort', listener)
    },
  }
}

/** A controller whose signal many wait on: Node takes more than ten listeners for a leak, and says so on the console. */
export function sharedController(): AbortController {
  const controller = new AbortController()
  setMaxListeners(0, controller.signal)
  return controller
}
