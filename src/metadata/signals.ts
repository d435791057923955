/**
 * A signal that is aborted by any of `signals`, with its reason. Call `release` when the work is done, or the listeners
 * stay with the signals that live longer.
 */
export function joinSignals(...signals: readonly (AbortSignal | undefined)[]): {
  readonly signal: AbortSignal
  readonly release: () => void
} {
  const controller = new AbortController()
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
