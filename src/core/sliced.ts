import { type CallOptions, deferred, throwIfAborted } from './async.ts'
import type { Clock, Timers } from './clock.ts'

/** Work that may be interrupted wherever it yields, and that somebody else may go on with. */
export type Sliced<T> = Generator<undefined, T, undefined>

/** Does the work in one go. */
export function finish<T>(work: Sliced<T>): T {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
  }
}

/**
 * Does the work in slices of `sliceMs`, and lets waiting input in between. What it reads must not change meanwhile, or it
 * must be made for that.
 *
 * @throws KeelsonError `ABORTED` between two slices; the rest of the work is left
 */
export async function inSlices<T>(
  work: Sliced<T>,
  env: { readonly clock: Clock; readonly timers: Timers },
  options: CallOptions & { readonly sliceMs?: number } = {},
): Promise<T> {
  const { signal, sliceMs = 2 } = options
  for (;;) {
    const untilMs = env.clock.monotonicMs() + sliceMs
    do {
      const step = work.next()
      if (step.done === true) return step.value
    } while (env.clock.monotonicMs() < untilMs)
    const turn = deferred<void>()
    env.timers.defer(turn.resolve)
    await turn.promise
    throwIfAborted(signal)
  }
}
