import type { NetworkConditions } from './network-conditions.ts'
import type { SimulatedProcess } from './process.ts'
import type { Scheduler } from './scheduler.ts'

interface Held<T> {
  readonly from: string
  readonly to: string
  readonly payload: T
}

/** What a {@link MessageNetwork} does when a message arrives at a process that runs. */
export type MessageHandler<T> = (from: string, payload: T) => void

/**
 * Single messages between simulated processes, for pure cores: they are delayed, lost, doubled and overtaken as the
 * {@link NetworkConditions} say. Messages of a link keep their order but for those that are hit by reordering.
 */
export class MessageNetwork<T> {
  /** Quality, partitions and clogs of the links. */
  readonly conditions: NetworkConditions
  readonly #scheduler: Scheduler
  readonly #copy: (payload: T) => T
  readonly #receivers = new Map<
    string,
    { readonly process: SimulatedProcess; readonly handler: MessageHandler<T> }
  >()
  /** Earliest time at which the next message of a link may arrive, by `from>to`. */
  readonly #lastArrivalMs = new Map<string, number>()
  #held: Held<T>[] = []

  /**
   * `copy` makes what arrives independent of what was sent: a network carries bytes, and memory that two processes
   * share would hide bugs.
   */
  constructor(scheduler: Scheduler, conditions: NetworkConditions, copy: (payload: T) => T) {
    this.#scheduler = scheduler
    this.conditions = conditions
    this.#copy = copy
    conditions.onChange(() => this.#release())
  }

  /** Delivers to `handler` what is sent to this process, in each of its lives, while it runs. */
  attach(process: SimulatedProcess, handler: MessageHandler<T>): void {
    this.#receivers.set(process.name, { process, handler })
  }

  /** Sends a message. Sending to oneself takes the network's delay and is never lost. */
  send(from: string, to: string, payload: T): void {
    const { conditions } = this
    if (conditions.isBlocked(from, to)) {
      conditions.count('message lost in a partition')
      return
    }
    const copy = this.#copy(payload)
    if (conditions.isClogged(from, to)) {
      conditions.count('message held by a clog')
      this.#held.push({ from, to, payload: copy })
      return
    }
    const quality = conditions.linkQuality(from, to)
    const random = conditions.random(from, to)
    if (quality.lossProbability > 0 && from !== to && random.float() < quality.lossProbability) {
      conditions.count('message lost')
      return
    }
    if (quality.duplicateProbability > 0 && random.float() < quality.duplicateProbability) {
      conditions.count('message duplicated')
      const delayMs = conditions.drawDelayMs(from, to) + random.float() * quality.reorderDelayMs
      this.#arriveAfter(delayMs, from, to, this.#copy(payload))
    }
    let delayMs = conditions.drawDelayMs(from, to)
    if (quality.reorderProbability > 0 && random.float() < quality.reorderProbability) {
      conditions.count('message reordered')
      this.#arriveAfter(delayMs + random.float() * quality.reorderDelayMs, from, to, copy)
      return
    }
    const link = `${from}>${to}`
    const { nowMs } = this.#scheduler
    // Strictly later than the one before, or the tie-break of the scheduler would reorder them.
    const earliestMs = (this.#lastArrivalMs.get(link) ?? Number.NEGATIVE_INFINITY) + 1e-6
    delayMs = Math.max(delayMs, earliestMs - nowMs)
    this.#lastArrivalMs.set(link, nowMs + delayMs)
    this.#arriveAfter(delayMs, from, to, copy)
  }

  #arriveAfter(delayMs: number, from: string, to: string, payload: T): void {
    const receiver = this.#receivers.get(to)
    if (receiver === undefined) return
    const { process } = receiver
    const deliver = (): void => {
      if (process.state === 'running') receiver.handler(from, payload)
      else this.conditions.count('message to a crashed process')
    }
    this.#scheduler.schedule(delayMs, () => {
      if (this.conditions.isBlocked(from, to)) this.conditions.count('message lost in a partition')
      // It has arrived: what a paused process has in its buffers no partition takes away.
      else if (process.paused) this.#scheduler.schedule(0, deliver, process)
      else deliver()
    })
  }

  #release(): void {
    const held = this.#held
    if (held.length === 0) return
    this.#held = []
    for (const message of held) {
      if (this.conditions.isClogged(message.from, message.to)) this.#held.push(message)
      else this.send(message.from, message.to, message.payload)
    }
  }
}
