import type { Environment } from '../core/environment.ts'
import { type Logger, type LogMethod, sparingly } from '../core/logger.ts'

/** What waits in one lane at most; then the oldest is dropped. */
export const maximumWaiting = 10_000

/** How long hosts are called in one turn of the event loop before packets and timers get theirs. */
const turnMs = 4

/** A call that takes longer than this is named in the log. */
const slowMs = 50

/** What waits for one kind of call. */
interface Lane {
  readonly name: string
  waiting: (() => void)[]
  /** What stands before it was called or dropped. */
  at: number
}

/** What deliveries work with. */
export interface DeliveriesParts {
  readonly env: Environment
  readonly logger: Logger
  /** Kinds of calls: each has a queue of its own. */
  readonly lanes: readonly string[]
  /** Hears of each that was dropped. */
  readonly onDrop: (lane: string) => void
}

/**
 * Calls hosts apart from the protocol: in later turns, and never for long in one, so that slow listeners hold up neither answers to
 * others nor the protocol's own timers more than they must. Each lane keeps its order and has its own limit, and the lanes take turns
 * call by call, so that what waits for slow listeners holds up those of other lanes by one call at a time.
 */
export class Deliveries {
  readonly #env: Environment
  readonly #complain: LogMethod
  readonly #onDrop: (lane: string) => void
  readonly #lanes: readonly Lane[]
  /** Whose turn is next. */
  #next = 0
  #planned = false
  #closed = false
  #dropped = 0

  constructor({ env, logger, lanes, onDrop }: DeliveriesParts) {
    this.#env = env
    this.#complain = sparingly(env.clock, logger.warn.bind(logger))
    this.#onDrop = onDrop
    this.#lanes = lanes.map((name) => ({ name, waiting: [], at: 0 }))
  }

  /** What was dropped because listeners were too slow. */
  get dropped(): number {
    return this.#dropped
  }

  /** Calls `deliver` in a later turn, after everything that was added to its lane before. It must not throw. */
  add(name: string, deliver: () => void): void {
    const lane = this.#lanes.find((each) => each.name === name)
    if (this.#closed || lane === undefined) return
    if (lane.waiting.length - lane.at >= maximumWaiting) {
      lane.at++
      this.#dropped++
      this.#onDrop(name)
      this.#complain(
        { lane: name, dropped: this.#dropped },
        'listeners of SWIM are too slow: the oldest events are dropped',
      )
    }
    // What was called makes room, also when the queue is never empty.
    if (lane.at >= maximumWaiting) {
      lane.waiting = lane.waiting.slice(lane.at)
      lane.at = 0
    }
    lane.waiting.push(deliver)
    this.#plan()
  }

  close(): void {
    this.#closed = true
    for (const lane of this.#lanes) clear(lane)
  }

  #plan(): void {
    if (this.#planned) return
    this.#planned = true
    this.#env.timers.defer(() => {
      this.#planned = false
      this.#turn()
    })
  }

  #turn(): void {
    const { clock } = this.#env
    const startedMs = clock.monotonicMs()
    let nowMs = startedMs
    for (let lane = this.#take(); lane !== undefined; lane = this.#take()) {
      const deliver = lane.waiting[lane.at++] as () => void
      if (lane.at >= lane.waiting.length) clear(lane)
      deliver()
      const afterMs = clock.monotonicMs()
      if (afterMs - nowMs > slowMs)
        this.#complain(
          { lane: lane.name, tookMs: Math.round(afterMs - nowMs) },
          'a listener of SWIM held up its process',
        )
      nowMs = afterMs
      if (nowMs - startedMs >= turnMs) break
    }
    if (this.#lanes.some((lane) => lane.at < lane.waiting.length)) this.#plan()
  }

  /** The next lane in turn in which something waits. */
  #take(): Lane | undefined {
    for (let tried = 0; tried < this.#lanes.length; tried++) {
      const lane = this.#lanes[this.#next] as Lane
      this.#next = (this.#next + 1) % this.#lanes.length
      if (lane.at < lane.waiting.length) return lane
    }
    return undefined
  }
}

function clear(lane: Lane): void {
  lane.waiting = []
  lane.at = 0
}
