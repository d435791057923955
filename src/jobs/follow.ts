import { type CallOptions, sleep } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import type { KeySelector, MetadataStore } from '../interfaces/metadata-store.ts'
import { followKeys, type KeyFollowing } from '../metadata/follow.ts'

const minimumDelayMs = 50
const maximumDelayMs = 2000

/**
 * Follows a selection for as long as the signal allows: where the store is away for a while it begins anew with another
 * snapshot. It fails with what no retry can heal, and ends when the signal is aborted.
 */
export async function* follow(
  store: MetadataStore,
  env: Environment,
  select: KeySelector,
  options: CallOptions = {},
): AsyncGenerator<KeyFollowing, void, undefined> {
  const stopped = (): boolean => options.signal?.aborted === true
  let delayMs = minimumDelayMs
  while (!stopped()) {
    try {
      for await (const step of followKeys(store, select, options)) {
        yield step
        delayMs = minimumDelayMs
      }
    } catch (error) {
      if (stopped()) return
      if (!KeelsonError.is(error) || !error.retryable) throw error
      await sleep(env.timers, delayMs, options.signal).catch(() => {})
      delayMs = Math.min(delayMs * 2, maximumDelayMs)
    }
  }
}
