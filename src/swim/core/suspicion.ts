import type { NodeId } from '../../model/ids.ts'
import { suspicionTimeoutMs } from './formulas.ts'

/** That somebody got no answer from a member, and who told us so and when. */
export interface Accusation {
  readonly accuser: NodeId
  readonly toldBy: NodeId
  readonly atMs: number
}

/** The bounds of a suspicion. */
export interface SuspicionBounds {
  readonly minimumMs: number
  readonly maximumMs: number
  /** Confirmations that bring it down to its minimum. */
  readonly wanted: number
  /** How long before its end the member is asked a last time; 0 for no last call. */
  readonly lastCallMs: number
}

/**
 * A member under suspicion. It starts long and is shortened by each independent accuser, so that one node that is
 * deaf itself needs long to have another declared dead, and a real death is found fast (Lifeguard §IV-B).
 */
export class Suspicion {
  /** Statement that is in doubt: a higher one of the member itself ends the suspicion. */
  version: number
  readonly startedMs: number
  readonly #bounds: SuspicionBounds
  readonly #accusations: Accusation[]
  /** Time that does not count, because we were not listening. */
  #forgivenMs = 0
  #calledAtMs: number | undefined
  #timeoutMs: number

  constructor(version: number, first: Accusation, bounds: SuspicionBounds) {
    this.version = version
    this.startedMs = first.atMs
    this.#bounds = bounds
    this.#accusations = [first]
    this.#timeoutMs = this.#timeout()
  }

  /** The first one first; the others confirmed it. */
  get accusations(): readonly Accusation[] {
    return this.#accusations
  }

  get accusers(): readonly NodeId[] {
    return this.#accusations.map(({ accuser }) => accuser)
  }

  /** Accusers still wanted before the suspicion is as short as it gets. */
  get missing(): number {
    return Math.max(0, this.#bounds.wanted - (this.#accusations.length - 1))
  }

  get deadlineMs(): number {
    const deadlineMs = this.startedMs + this.#forgivenMs + this.#timeoutMs
    if (this.#calledAtMs === undefined) return deadlineMs
    return Math.max(deadlineMs, this.#calledAtMs + this.#bounds.lastCallMs)
  }

  /** When the last call is due; infinity when it was made or none is wanted. */
  get lastCallAtMs(): number {
    if (this.#bounds.lastCallMs === 0 || this.#calledAtMs !== undefined) return Number.POSITIVE_INFINITY
    return this.deadlineMs - this.#bounds.lastCallMs
  }

  /** Notes that the last call was made: the answer gets its time. */
  called(nowMs: number): void {
    this.#calledAtMs = nowMs
  }

  /** Adds an accuser. False if it is known already or no more are wanted: then the news need not travel on. */
  confirm(accusation: Accusation): boolean {
    if (this.missing === 0) return false
    if (this.#accusations.some(({ accuser }) => accuser === accusation.accuser)) return false
    this.#accusations.push(accusation)
    this.#timeoutMs = this.#timeout()
    return true
  }

  /** Moves the deadline out by time in which a refutation could not be heard. */
  forgive(ms: number): void {
    this.#forgivenMs += ms
    // The answer may have been lost with the rest.
    this.#calledAtMs = undefined
  }

  clone(): Suspicion {
    const [first, ...others] = this.#accusations as [Accusation, ...Accusation[]]
    const copy = new Suspicion(this.version, { ...first, atMs: this.startedMs }, this.#bounds)
    copy.#accusations.push(...others)
    copy.#timeoutMs = this.#timeoutMs
    copy.#forgivenMs = this.#forgivenMs
    copy.#calledAtMs = this.#calledAtMs
    return copy
  }

  #timeout(): number {
    const { minimumMs, maximumMs, wanted } = this.#bounds
    return suspicionTimeoutMs(minimumMs, maximumMs, wanted, this.#accusations.length - 1)
  }
}
