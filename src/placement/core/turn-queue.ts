import type { RangeId } from '../../model/ids.ts'
import type { Turns } from './turns.ts'

/** Of those for which nothing could be done so many of each list have their turn beside any number of others. */
const retriedTogether = 32
/** All lists together retry no more than such a part of those who are looked at together: the more urgent ones are not kept waiting. */
const retriedShare = 1 / 4

/** Whom one plan looks at, part by part, of one list of turns after the other. @internal */
export class TurnQueue {
  readonly #all: readonly Turns[]
  readonly #together: number
  readonly #open: readonly (readonly RangeId[])[]
  readonly #stuck: readonly (readonly RangeId[])[]
  readonly #openAt: Uint32Array
  readonly #stuckAt: Uint32Array
  #parts = 0
  #left: number

  /**
   * @param all the more urgent ones first
   * @param most ranges in all
   * @param together ranges of one part
   */
  constructor(all: readonly Turns[], most: number, together: number) {
    this.#all = all
    this.#together = together
    this.#left = most
    this.#open = all.map((turns) => turns.nextOpen(most))
    this.#stuck = all.map((turns) => turns.nextStuck(most))
    this.#openAt = new Uint32Array(all.length)
    this.#stuckAt = new Uint32Array(all.length)
  }

  /** The next part, the more urgent first; empty when all had their turn or the plan has seen enough. */
  next(): Map<RangeId, Turns> {
    const lists: RangeId[][] = this.#all.map(() => [])
    const isFirst = this.#parts++ === 0
    let room = Math.min(this.#together, this.#left)
    if (isFirst) {
      const each = this.#retriedOfEach(room)
      for (let i = 0; i < lists.length; i++) room -= this.#retry(i, Math.min(room, each), lists)
      const spare = room - this.#all.reduce((sum, { openCount }) => sum + openCount, 0)
      for (let i = 0, more = spare; i < lists.length && more > 0; i++) {
        const count = this.#retry(i, more, lists)
        room -= count
        more -= count
      }
    }
    for (let i = 0; i < lists.length && room > 0; i++) {
      const some = (this.#open[i] as readonly RangeId[]).slice(
        this.#openAt[i],
        (this.#openAt[i] as number) + room,
      )
      this.#openAt[i] = (this.#openAt[i] as number) + some.length
      lists[i]?.push(...some)
      room -= some.length
    }
    if (!isFirst) {
      for (const [i, { overdue }] of this.#all.entries())
        room -= this.#retry(i, Math.min(room, overdue), lists)
    }
    return this.#inOrder(lists)
  }

  /** Ranges that have not had a turn yet, or are to have one again soon. */
  get unseen(): number {
    return this.#all.reduce((sum, { unseen, overdue }) => sum + unseen + overdue, 0)
  }

  /** Every list retries some, so that none waits for ever behind a more urgent one. */
  #retriedOfEach(room: number): number {
    const retrying = this.#stuck.reduce((count, { length }) => count + (length > 0 ? 1 : 0), 0)
    return Math.max(1, Math.min(retriedTogether, Math.floor((room * retriedShare) / Math.max(1, retrying))))
  }

  #retry(i: number, most: number, lists: RangeId[][]): number {
    const from = this.#stuckAt[i] as number
    const some = (this.#stuck[i] as readonly RangeId[]).slice(from, from + Math.max(0, most))
    this.#stuckAt[i] = from + some.length
    lists[i]?.push(...some)
    return some.length
  }

  #inOrder(lists: readonly RangeId[][]): Map<RangeId, Turns> {
    const part = new Map<RangeId, Turns>()
    for (const [i, list] of lists.entries()) {
      const turns = this.#all[i] as Turns
      // Who all have their turn at once have it by id, whatever was before.
      if (list.length === turns.size) list.sort((a, b) => a - b)
      for (const rangeId of list) part.set(rangeId, turns)
    }
    this.#left -= part.size
    return part
  }
}
