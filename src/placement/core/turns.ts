import type { RangeId } from '../../model/ids.ts'
import { IdSet } from './id-set.ts'

/**
 * Ranges that want something, more of them perhaps than one plan looks at. Those for which nothing could be done when they
 * were last looked at stand apart, so that they keep nobody from his turn; they are tried again in turn, and sooner when
 * something changed. It is the planner's memory: whom to look at next does not depend on who asks. @internal
 */
export class Turns {
  /** Not looked at since they came, or waiting for room. */
  readonly open: IdSet = new IdSet()
  /** Nothing could be done for them. */
  readonly stuck: IdSet = new IdSet()
  #unseen = 0
  #overdue = 0
  /** The last one of each that had its turn. */
  #openAt = 0
  #stuckAt = 0

  get size(): number {
    return this.open.size + this.stuck.size
  }

  /** So many of the open ones have not had a turn yet. */
  get unseen(): number {
    return Math.min(this.#unseen, this.open.size)
  }

  /** So many of the others are to have one again soon. */
  get overdue(): number {
    return Math.min(this.#overdue, this.stuck.size)
  }

  has(rangeId: RangeId): boolean {
    return this.open.has(rangeId) || this.stuck.has(rangeId)
  }

  /** A range wants something, or has changed and still does. */
  add(rangeId: RangeId): void {
    // What changed may be what stood in the way, and seldom is: loads change all the time.
    if (this.stuck.has(rangeId)) this.#overdue = Math.min(this.stuck.size, this.overdue + 1)
    else if (!this.open.has(rangeId)) {
      this.#unseen = this.unseen + 1
      this.open.add(rangeId)
    }
  }

  delete(rangeId: RangeId): void {
    this.open.delete(rangeId)
    this.stuck.delete(rangeId)
    this.#unseen = this.unseen
    this.#overdue = this.overdue
  }

  clear(): void {
    this.open.clear()
    this.stuck.clear()
    this.#unseen = 0
    this.#overdue = 0
    this.#openAt = 0
    this.#stuckAt = 0
  }

  /** Something changed that concerns all: nodes are not what they were. */
  retryAll(): void {
    this.#overdue = this.stuck.size
  }

  /** Who has the next turns: all by ascending id if they are no more than that, else those behind who had the last one. */
  nextOpen(most: number): RangeId[] {
    return nextOf(this.open, this.#openAt, most)
  }

  /** The same of those for which nothing could be done. */
  nextStuck(most: number): RangeId[] {
    return nextOf(this.stuck, this.#stuckAt, most)
  }

  /** A range was looked at: nothing can be done for it, or something is, or will be once there is room. */
  looked(rangeId: RangeId, stuck: boolean): void {
    if (this.stuck.has(rangeId)) {
      this.#overdue = Math.max(0, this.overdue - 1)
      this.#stuckAt = rangeId
      if (stuck) return
      this.stuck.delete(rangeId)
      this.open.add(rangeId)
      return
    }
    this.#openAt = rangeId
    this.#unseen = Math.max(0, this.unseen - 1)
    if (!stuck) return
    this.open.delete(rangeId)
    this.stuck.add(rangeId)
  }
}

function nextOf(set: IdSet, at: RangeId, most: number): RangeId[] {
  if (set.size <= most) return set.after(0, most)
  const next = set.after(at, most)
  return next.length === most ? next : [...next, ...set.after(0, most - next.length)]
}
