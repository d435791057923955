import type { RangeId } from '../../model/ids.ts'
import { IdSet } from './id-set.ts'

/** Of so many turns one goes to who had one before, however many have not: what changes all the time keeps nobody waiting for ever. */
const oneInEvery = 8

/**
 * Ranges that want something, more of them perhaps than one plan looks at. Those for which nothing could be done when they
 * were last looked at stand apart, so that they keep nobody from his turn; they are tried again in turn, and sooner when
 * something changed. It is the planner's memory: whom to look at next does not depend on who asks. Each range is in one of four
 * queues, so that a look or a change costs one step in them, and what counts are their sizes. @internal
 */
export class Turns {
  /** Not looked at since they came. */
  readonly #fresh = new Queue()
  /** Looked at, and something can be done for them once there is room. */
  readonly #waiting = new Queue()
  /** Nothing could be done for them, and they or all nodes have changed since. */
  #due = new Queue()
  /** Nothing could be done for them, and nothing that concerns them changed. */
  #stuck = new Queue()

  get size(): number {
    return this.openCount + this.stuckCount
  }

  /** Those for which nothing is known that stands in their way: not looked at since they came, or waiting for room. */
  get openCount(): number {
    return this.#fresh.size + this.#waiting.size
  }

  /** Those for which nothing could be done when they were last looked at. */
  get stuckCount(): number {
    return this.#due.size + this.#stuck.size
  }

  /** So many of the open ones have not had a turn yet. */
  get unseen(): number {
    return this.#fresh.size
  }

  /** So many of the others are to have one again soon. */
  get overdue(): number {
    return this.#due.size
  }

  has(rangeId: RangeId): boolean {
    return this.#queueOf(rangeId) !== undefined
  }

  /** A range wants something, or has changed and still does. */
  add(rangeId: RangeId): void {
    const queue = this.#queueOf(rangeId)
    if (queue === undefined) this.#fresh.add(rangeId)
    else if (queue === this.#stuck) {
      // What changed may be what stood in the way, and seldom is: loads change all the time.
      this.#stuck.delete(rangeId)
      this.#due.add(rangeId)
    }
  }

  delete(rangeId: RangeId): void {
    this.#queueOf(rangeId)?.delete(rangeId)
  }

  clear(): void {
    for (const queue of [this.#fresh, this.#waiting, this.#due, this.#stuck]) queue.clear()
  }

  /** Something changed that concerns all: nodes are not what they were. Costs as many steps as the fewer of those due and not. */
  retryAll(): void {
    if (this.#due.size < this.#stuck.size) [this.#due, this.#stuck] = [this.#stuck, this.#due]
    for (const rangeId of this.#stuck.next(this.#stuck.size)) this.#due.add(rangeId)
    this.#stuck.clear()
  }

  /** Who has the next turns: all by ascending id if they are no more than that, else mostly those who had none yet. */
  nextOpen(most: number): RangeId[] {
    return nextOf(this.#fresh, this.#waiting, most)
  }

  /** The same of those for which nothing could be done: mostly those with which something changed. */
  nextStuck(most: number): RangeId[] {
    return nextOf(this.#due, this.#stuck, most)
  }

  /** A range was looked at: nothing can be done for it, or something is, or will be once there is room. */
  looked(rangeId: RangeId, stuck: boolean): void {
    const from = this.#queueOf(rangeId)
    if (from === undefined) return
    from.at = rangeId
    const to = stuck ? this.#stuck : this.#waiting
    if (from === to) return
    from.delete(rangeId)
    to.add(rangeId)
  }

  #queueOf(rangeId: RangeId): Queue | undefined {
    if (this.#fresh.has(rangeId)) return this.#fresh
    if (this.#stuck.has(rangeId)) return this.#stuck
    if (this.#waiting.has(rangeId)) return this.#waiting
    return this.#due.has(rangeId) ? this.#due : undefined
  }
}

/** Ids that have their turns round and round. */
class Queue extends IdSet {
  /** The last one that had its turn. */
  at: RangeId = 0

  override clear(): void {
    super.clear()
    this.at = 0
  }

  /** All by ascending id if they are no more than that, else those behind who had the last turn. */
  next(most: number): RangeId[] {
    if (this.size <= most) return this.after(0, most)
    const next = this.after(this.at, most)
    return next.length === most ? next : [...next, ...this.after(0, most - next.length)]
  }
}

/** Of two queues the first goes first, but for one turn in a few; all by ascending id if they are no more than that. */
function nextOf(first: Queue, second: Queue, most: number): RangeId[] {
  if (second.size === 0) return first.next(most)
  if (first.size === 0) return second.next(most)
  const [soon, later] = [first.next(most), second.next(most)]
  if (first.size + second.size <= most) return [...soon, ...later].sort((a, b) => a - b)
  const next: RangeId[] = []
  for (let i = 0, j = 0; next.length < most; ) {
    const isLater = i === soon.length || (j < later.length && next.length % oneInEvery === oneInEvery - 1)
    next.push((isLater ? later[j++] : soon[i++]) as RangeId)
  }
  return next
}
