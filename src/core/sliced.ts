import { type CallOptions, deferred, throwIfAborted } from './async.ts'
import type { Clock, Timers } from './clock.ts'

/** Work that may be interrupted wherever it yields, and that somebody else may go on with. */
export type Sliced<T> = Generator<undefined, T, undefined>

/** Elements that are sorted before others may go on. */
const sortedTogether = 512

/** The elements in order, in an array of its own; equal ones stay in theirs. */
export function* sorting<T>(items: readonly T[], compare: (a: T, b: T) => number): Sliced<T[]> {
  let from: T[] = []
  for (let at = 0; at < items.length; at += sortedTogether) {
    from.push(...items.slice(at, at + sortedTogether).sort(compare))
    yield
  }
  for (let width = sortedTogether; width < items.length; width *= 2) {
    const to: T[] = []
    for (let low = 0; low < items.length; low += 2 * width) {
      const middle = Math.min(low + width, items.length)
      const high = Math.min(low + 2 * width, items.length)
      let [left, right] = [low, middle]
      while (left < middle || right < high) {
        const fromLeft = right >= high || (left < middle && compare(from[left] as T, from[right] as T) <= 0)
        to.push(from[fromLeft ? left++ : right++] as T)
        if (to.length % sortedTogether === 0) yield
      }
    }
    from = to
  }
  return from
}

/** Does the work in one go. */
export function finish<T>(work: Sliced<T>): T {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
  }
}

/** Lets waiting input in. */
export async function nextTurn(timers: Timers): Promise<void> {
  const turn = deferred<void>()
  timers.defer(turn.resolve)
  await turn.promise
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
    await nextTurn(env.timers)
    throwIfAborted(signal)
  }
}
