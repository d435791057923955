import { abortable, type CallOptions, deadline, deferred, onAbort } from '../../core/async.ts'
import type { Timers } from '../../core/clock.ts'
import { KeelsonError } from '../../core/errors.ts'

/** The same items, or an error when the next one is not there after `idleMs`, or when the signal is aborted. */
export async function* withIdleLimit<T>(
  timers: Timers,
  items: AsyncIterable<T>,
  idleMs: number,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const input = items[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = await nextWithin(timers, input, idleMs, signal)
      if (next.done === true) return
      yield next.value
    }
  } finally {
    // Not awaited: what stood still may never answer.
    input.return?.().catch(() => {})
  }
}

/** The next item, within the limit. What comes too late is lost. */
async function nextWithin<T>(
  timers: Timers,
  input: AsyncIterator<T>,
  idleMs: number,
  signal: AbortSignal,
): Promise<IteratorResult<T>> {
  const late = deferred<never>()
  late.promise.catch(() => {})
  const timer = timers.schedule(idleMs, () => late.reject(stoodStill(idleMs)))
  const release = onAbort(signal, () => late.reject(signal.reason))
  try {
    if (signal.aborted) late.reject(signal.reason)
    return await Promise.race([input.next(), late.promise])
  } finally {
    timer.cancel()
    release()
  }
}

/** Waits for an act of another side, but not for longer than the limit. */
export async function within<T>(
  timers: Timers,
  limitMs: number,
  signal: AbortSignal,
  act: (options: Required<CallOptions>) => Promise<T>,
): Promise<T> {
  const limit = deadline(timers, limitMs, () => stoodStill(limitMs), signal)
  try {
    return await abortable(act({ signal: limit.signal }), limit.signal)
  } finally {
    limit.release()
  }
}

export function stoodStill(forMs: number): KeelsonError {
  return new KeelsonError('TIMEOUT', `a snapshot stood still for ${forMs} ms; it is sent again`)
}
