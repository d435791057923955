import { checkFunction, checkObject } from '../core/arguments.ts'
import { type CallOptions, sleep } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall } from '../core/options.ts'
import type { KeySelector, MetadataStore } from '../interfaces/metadata-store.ts'
import { followKeys, type KeyFollowing } from '../metadata/follow.ts'

const minimumDelayMs = 50
const maximumDelayMs = 2000

/**
 * Iterates what `open` opens, and opens it anew after a pause when it fails with an error that a retry may heal: for what
 * begins with a snapshot. It ends when the signal is aborted, and fails with any other error.
 */
export async function* keepFollowing<T>(
  env: Environment,
  open: () => AsyncIterable<T>,
  options: CallOptions = {},
): AsyncGenerator<T, void, undefined> {
  checkObject(env, 'the environment', ['timers'])
  checkFunction(open, 'what is followed')
  checkCall('keepFollowing', options)
  const stopped = (): boolean => options.signal?.aborted === true
  let delayMs = minimumDelayMs
  while (!stopped()) {
    try {
      for await (const step of open()) {
        yield step
        delayMs = minimumDelayMs
      }
    } catch (error) {
      if (stopped()) return
      if (!KeelsonError.is(error) || !error.retryable) throw error
    }
    await sleep(env.timers, delayMs, options.signal).catch(() => {})
    delayMs = Math.min(delayMs * 2, maximumDelayMs)
  }
}

/**
 * Follows a selection for as long as the signal allows: where the store is away for a while it begins anew with another
 * snapshot.
 */
export function follow(
  store: MetadataStore,
  env: Environment,
  select: KeySelector,
  options: CallOptions = {},
): AsyncGenerator<KeyFollowing, void, undefined> {
  checkCall('follow', options)
  return keepFollowing(env, () => followKeys(store, select, options), options)
}
