import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'

/**
 * The resource's side of a lease: it remembers the highest sequence that was installed and admits effects under that
 * one alone. Pure: the host stores {@link Fence.sequence} durably with the data that it guards, before it confirms an
 * installation, and makes it from there again.
 *
 * A new holder installs its sequence before its first effect. Where the resource has copies, it installs it at as many
 * as a write needs, so that every later write of an older holder meets one that refuses it. Each effect then carries its
 * sequence and is checked in the same step that makes it: not before a wait, not at the door.
 *
 * A fence that only one node keeps in memory is a second line of defence. Where nothing can check, a holder stops at its
 * deadline, and an outage of the control plane that is longer than the TTL stops it.
 *
 * Invariant: the sequence never goes back.
 */
export class Fence {
  #sequence: number

  /** @throws KeelsonError `INVALID_ARGUMENT` for a number that no sequence can be */
  constructor(sequence = 0) {
    if (!Number.isSafeInteger(sequence) || sequence < 0) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a fence starts from an integer of at least 0, not ${showValue(sequence)}`,
      )
    }
    this.#sequence = sequence
  }

  /** The highest sequence installed; 0 before the first. Store it with the data. */
  get sequence(): number {
    return this.#sequence
  }

  /** Installs a holder's sequence. @returns false when a newer one is installed: nothing changed */
  install(sequence: number): boolean {
    if (!Number.isSafeInteger(sequence) || sequence < 1 || sequence < this.#sequence) return false
    this.#sequence = sequence
    return true
  }

  /** Whether an effect under this sequence may happen now: only under the one installed last. */
  admits(sequence: number): boolean {
    return sequence >= 1 && sequence === this.#sequence
  }

  /** {@link Fence.admits}, as an error. @throws KeelsonError `STALE_SEQUENCE`, `CONFLICT` when it was never installed, `INVALID_ARGUMENT` */
  check(sequence: number): void {
    if (this.admits(sequence)) return
    if (!Number.isSafeInteger(sequence) || sequence < 1) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a sequence is a safe integer from 1, not ${showValue(sequence)}`,
      )
    }
    const details = { sequence, installed: this.#sequence }
    if (sequence > this.#sequence) {
      throw new KeelsonError('CONFLICT', `sequence ${sequence} is not installed here: install it first`, {
        details,
      })
    }
    throw new KeelsonError(
      'STALE_SEQUENCE',
      `sequence ${sequence} is older than ${this.#sequence}: the lease has a newer holder; stop`,
      { details },
    )
  }
}
