import type { KeelsonError } from '../../core/errors.ts'
import { entryKinds, type LogEntry } from '../../interfaces/log-store.ts'
import { decodeConfiguration } from '../core/configuration.ts'
import type { Configuration } from '../core/membership-types.ts'

/** Somebody who changed the members through a joint configuration that is left by itself. */
export interface PendingJoint {
  /** Log index and term of the joint configuration, which is applied. */
  readonly index: number
  readonly term: number
  /** Gets the configuration that followed, once it is applied here. Must not throw. */
  readonly settle: (outcome: Configuration | KeelsonError) => void
}

/** Those who wait until a joint configuration is left: by the leader that entered it, or by another one. */
export class PendingJoints {
  #waiting: PendingJoint[] = []

  get isEmpty(): boolean {
    return this.#waiting.length === 0
  }

  /** Term of the oldest one. */
  get oldestTerm(): number | undefined {
    return this.#waiting[0]?.term
  }

  add(joint: PendingJoint): void {
    this.#waiting.push(joint)
  }

  /** Entries were applied: the next configuration after a joint one is what it was left for. */
  applied(entries: readonly LogEntry[]): void {
    if (this.isEmpty) return
    for (const entry of entries) {
      if (entry.kind !== entryKinds.configuration) continue
      const configuration = decodeConfiguration(entry.data)
      this.#settle(
        ({ index }) => index < entry.index,
        () => configuration,
      )
    }
  }

  /** The state was replaced by a snapshot that reaches up to `index`, with this configuration. */
  skippedTo(index: number, configuration: Configuration): void {
    if (configuration.joint !== undefined) return
    this.#settle(
      (joint) => joint.index < index,
      () => configuration,
    )
  }

  /** Ends those whose joint configuration is of a term below `term`. */
  fail(term: number, error: (joint: PendingJoint) => KeelsonError): void {
    this.#settle((joint) => joint.term < term, error)
  }

  #settle(
    isDone: (joint: PendingJoint) => boolean,
    outcome: (joint: PendingJoint) => Configuration | KeelsonError,
  ): void {
    const done = this.#waiting.filter(isDone)
    if (done.length === 0) return
    this.#waiting = this.#waiting.filter((joint) => !done.includes(joint))
    for (const joint of done) joint.settle(outcome(joint))
  }
}
