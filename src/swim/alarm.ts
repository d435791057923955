import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import type { SwimCore } from './core/swim-core.ts'

/** A timer that fires later than this was held up, and so was the input that waits beside it. */
const lateAfterMs = 10

/** A timer that is set for so much too early is not set anew: to wake up in vain costs as much as some packets. */
const tooEarlyMs = 100

/** A timer counts whole milliseconds from one that has begun: without one more it wakes a process up in vain, just too early. */
const timersMs = 1

/** A timer that is late by this share of the probe timeout speaks against this process. */
const lagShare = 0.25

/** Rounds of waiting input that are let in before a late timer counts. */
const maximumDrainRounds = 64

/** What an alarm works with. */
export interface AlarmParts {
  readonly env: Environment
  readonly core: SwimCore
  readonly probeTimeoutMs: number
  /** Carries out what the core wants after time has passed. */
  readonly pump: () => void
}

/**
 * Lets time pass for a core when it is due, and notices when this process was held up: then what has waited is let in first,
 * and the core trusts its own failed probes less.
 */
export class Alarm {
  readonly #env: Environment
  readonly #core: SwimCore
  readonly #probeTimeoutMs: number
  readonly #pump: () => void
  #timer: TimerHandle | undefined
  #armedForMs = Number.POSITIVE_INFINITY
  #draining = false
  #closed = false

  constructor({ env, core, probeTimeoutMs, pump }: AlarmParts) {
    this.#env = env
    this.#core = core
    this.#probeTimeoutMs = probeTimeoutMs
    this.#pump = pump
  }

  /**
   * Plans for the core's next deadline. A timer that is set for a little earlier stays: it finds nothing to do and is set anew,
   * which costs less than to set it anew after each packet.
   */
  set(): void {
    if (this.#draining || this.#closed) return
    const deadlineMs = this.#core.nextDeadlineMs()
    if (deadlineMs >= this.#armedForMs && deadlineMs < this.#armedForMs + tooEarlyMs) return
    this.#timer?.cancel()
    this.#timer = undefined
    this.#armedForMs = deadlineMs
    if (deadlineMs === Number.POSITIVE_INFINITY) return
    const delayMs = Math.ceil(Math.max(0, deadlineMs - this.#now())) + timersMs
    this.#timer = this.#env.timers.schedule(delayMs, () => this.#ring())
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #ring(): void {
    const lateMs = this.#now() - this.#armedForMs
    this.#timer = undefined
    this.#armedForMs = Number.POSITIVE_INFINITY
    if (lateMs <= lateAfterMs) {
      this.#advance()
      return
    }
    // Whoever is that late itself may have missed an answer; a longer standstill is noticed by the core.
    if (lateMs > this.#probeTimeoutMs * lagShare && lateMs <= this.#probeTimeoutMs)
      this.#core.noteLag(this.#now())
    this.#drain(0)
  }

  /**
   * Lets the answers that waited while this process was stopped in before their absence is held against anybody. One round
   * takes what one turn of the event loop reads, so it goes on while there is more.
   */
  #drain(round: number): void {
    this.#draining = true
    const received = this.#core.counters.packetsReceived
    this.#env.timers.defer(() => {
      if (this.#closed) return
      if (this.#core.counters.packetsReceived > received && round < maximumDrainRounds) {
        this.#drain(round + 1)
        return
      }
      this.#draining = false
      this.#advance()
    })
  }

  #advance(): void {
    this.#core.advanceTo(this.#now())
    this.#pump()
  }

  #now(): number {
    return this.#env.clock.monotonicMs()
  }
}
