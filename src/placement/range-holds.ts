import type { JobId } from '../jobs/core/record.ts'
import type { RangeId } from '../model/ids.ts'
import type { RangeHold } from './core/snapshot.ts'

interface Hold {
  readonly untilMs: number
  /** The move after which it is held. */
  readonly jobId: JobId
}

/**
 * Ranges that are left alone for a while after a move: by everything after one that failed, until one succeeds; by improvements
 * after one that succeeded, whatever fails meanwhile, since what it has done is not to be undone yet.
 */
export class RangeHolds {
  readonly #holds = new Map<RangeId, Partial<Record<RangeHold, Hold>>>()

  /** Holds a range after a move. What was held after a later one stays. */
  add(rangeId: RangeId, hold: RangeHold, { untilMs, jobId }: Hold): void {
    const { all, improvements } = this.#holds.get(rangeId) ?? {}
    const known = hold === 'all' ? all : improvements
    if ((known?.jobId ?? 0) > jobId) return
    const made: Hold = { untilMs, jobId }
    if (hold === 'all') this.#holds.set(rangeId, { ...(improvements && { improvements }), all: made })
    else this.#holds.set(rangeId, { ...(all && all.jobId > jobId && { all }), improvements: made })
  }

  /** Whether a range was held after this move, or a later one of the same end. */
  knows(rangeId: RangeId, hold: RangeHold, jobId: JobId): boolean {
    return (this.#holds.get(rangeId)?.[hold]?.jobId ?? 0) >= jobId
  }

  /** What is held at a time, the stricter where both are; what is over is forgotten. */
  at(nowMs: number): ReadonlyMap<RangeId, RangeHold> {
    const held = new Map<RangeId, RangeHold>()
    for (const [rangeId, holds] of this.#holds) {
      const lasts = (hold: RangeHold): boolean => (holds[hold]?.untilMs ?? nowMs) > nowMs
      if (lasts('all')) held.set(rangeId, 'all')
      else if (lasts('improvements')) held.set(rangeId, 'improvements')
      else this.#holds.delete(rangeId)
    }
    return held
  }
}

/** What is held by either, the stricter where both hold a range. */
export function joinHolds(
  one: ReadonlyMap<RangeId, RangeHold>,
  other: ReadonlyMap<RangeId, RangeHold>,
): ReadonlyMap<RangeId, RangeHold> {
  const joined = new Map(one)
  for (const [rangeId, hold] of other) if (joined.get(rangeId) !== 'all') joined.set(rangeId, hold)
  return joined
}
