import { sleep } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'

/**
 * One case of a compliance suite, for whatever test runner there is: `for (const { name, run } of suite) test(name, run)`.
 * It fails by throwing.
 */
export interface ComplianceCase {
  /** The promise that is tested, in words. */
  readonly name: string
  /** Runs the case; rejects when the promise is broken. */
  readonly run: () => Promise<void>
}

/**
 * Waits until something holds, through the environment's timers, so that it works in virtual time, too.
 *
 * @throws KeelsonError `TIMEOUT` after `limitMs` (default 10 s)
 */
export async function until(
  env: Environment,
  what: string,
  holds: () => boolean,
  limitMs = 10_000,
): Promise<void> {
  const start = env.clock.monotonicMs()
  while (!holds()) {
    if (env.clock.monotonicMs() - start > limitMs) {
      throw new KeelsonError('TIMEOUT', `waited ${limitMs} ms in vain: ${what}`)
    }
    await sleep(env.timers, 2)
  }
}
