import { compareBytes } from '../../core/bytes.ts'
import type { Sliced } from '../../core/sliced.ts'
import type { RangeDescriptor } from '../../model/descriptors.ts'
import type { RangeId } from '../../model/ids.ts'
import type { Retiling } from './retiling.ts'

// A part of the directory may have more new ranges than one transaction writes. It is then followed as splits and merges go:
// through ranges that stand for several of those that lie there now, or for the left-hand part of one, each with a generation
// above what the directory had there and below what is reported. The directory tiles in between, and generations grow
// with every step. For whoever routes by it such a range is as good as the one before, which was out of date, too.
//
// There is room for such generations where splits and merges were made one by one: of the parts of a range of generation g
// at most two have g + 1, four g + 2 and so on. Those with g + 1 are written down at once, and the others stand in groups
// of g + 1, each of them a part of the directory of its own from then on.

/** One transaction of a {@link Retiling}, and what is left to do. */
export interface RetilingStep {
  /** Ranges that are no more: others lie where they lay. */
  readonly ended: readonly RangeId[]
  /** Ranges that are new, or lie elsewhere, by start keys. */
  readonly next: readonly RangeDescriptor[]
  /** What comes after it. */
  readonly rest: readonly Retiling[]
}

/** Ranges that are looked at before others may go on. */
const lookedAtTogether = 256

/** Writes and compares of a range that lies elsewhere, without what its nodes are told. */
const writesOfOne = 4

/** Writes and compares that a range takes with what the nodes of its replicas are told. */
function writesOf({ replicas }: RangeDescriptor): number {
  return writesOfOne + replicas.length
}

/**
 * The next transaction, of about `room` writes and compares at most. Undefined where there is none: generations leave no room for
 * anything in between.
 */
export function* retilingStep(retiling: Retiling, room: number): Sliced<RetilingStep | undefined> {
  const { before, after } = retiling
  const present = new Set<RangeId>()
  let writes = 0
  for (const [i, range] of after.entries()) {
    present.add(range.rangeId)
    writes += writesOf(range)
    if (i % lookedAtTogether === 0) yield
  }
  for (let i = 0; i < before.length && writes <= room; i++) writes += writesOf(before[i] as RangeDescriptor)
  if (writes <= room) {
    const ended = before.filter(({ rangeId }) => !present.has(rangeId)).map(({ rangeId }) => rangeId)
    return { ended, next: after, rest: [] }
  }
  // What was there may take half of the room at most, or nothing new gets in.
  let count = 0
  for (let left = room / 2; count < before.length; count++) {
    left -= writesOf(before[count] as RangeDescriptor)
    if (left < 0) break
  }
  for (count = Math.max(1, count); count >= 1; count = Math.floor(count / 2)) {
    const step = yield* new Stretch(retiling, count, present, room).step()
    if (step !== undefined) return step
  }
  return undefined
}

/** A range of the next transaction, and what it stands for if that is not the range itself. */
interface Unit {
  readonly range: RangeDescriptor
  readonly stands?: readonly RangeDescriptor[]
}

/** The first few ranges of what the directory has in a part. */
class Stretch {
  readonly #retiling: Retiling
  readonly #count: number
  readonly #before: readonly RangeDescriptor[]
  readonly #end: Uint8Array | undefined
  readonly #present: ReadonlySet<RangeId>
  readonly #known: ReadonlySet<RangeId>
  readonly #room: number

  constructor(retiling: Retiling, count: number, present: ReadonlySet<RangeId>, room: number) {
    this.#retiling = retiling
    this.#count = count
    this.#before = retiling.before.slice(0, count)
    this.#end = this.#before.at(-1)?.end
    this.#present = present
    this.#known = new Set(this.#before.map(({ rangeId }) => rangeId))
    this.#room = room
  }

  *step(): Sliced<RetilingStep | undefined> {
    const runs: (RangeDescriptor | readonly RangeDescriptor[])[] = []
    let writes = 0
    let grouped = 0
    let groups = 0
    let widest = 0
    let cut: RangeDescriptor | undefined
    let taken = 0
    let run: RangeDescriptor[] | undefined
    let runOf: RangeDescriptor | undefined
    let at = 0
    for (const range of this.#before) writes += writesOf(range)
    for (const range of this.#retiling.after) {
      if (this.#end !== undefined && compareBytes(range.start, this.#end) >= 0) break
      if (++taken % lookedAtTogether === 0) yield
      while (isBehind(range.start, this.#before[at])) at++
      const known = this.#before[at] as RangeDescriptor
      if (isOver(range, this.#end)) {
        cut = this.#cut(range, at)
        if (cut === undefined) return undefined
        runs.push(cut)
        writes += writesOf(cut)
      } else if (
        !isOver(range, known.end) &&
        range.generation > known.generation + 1 &&
        (!this.#known.has(range.rangeId) || compareBytes(range.start, known.start) === 0)
      ) {
        if (run === undefined || runOf !== known) {
          run = []
          runOf = known
          runs.push(run)
          groups++
        }
        run.push(range)
        grouped++
        widest = Math.max(widest, writesOf(range))
        continue
      } else {
        runs.push(range)
        writes += writesOf(range)
      }
      run = undefined
    }
    const most = groups === 0 ? 0 : Math.floor((this.#room - writes) / widest)
    if (writes > this.#room || most < groups) return undefined
    // Each group but the last of a run has so many: no more groups than fit, and each of them just one transaction, if that goes.
    const least = most > groups ? Math.ceil(grouped / (most - groups)) : grouped
    const size = Math.max(least, Math.min(Math.floor(this.#room / widest) - 2, Math.ceil(grouped / 2)))
    return yield* this.#carry(runs, size, cut, taken)
  }

  /** The part of a range that lies before the end, with a generation of its own. */
  #cut(range: RangeDescriptor, first: number): RangeDescriptor | undefined {
    let generation = 0
    for (let at = first; at < this.#count; at++)
      generation = Math.max(generation, (this.#before[at] as RangeDescriptor).generation)
    if (generation + 1 >= range.generation) return undefined
    return { ...range, end: this.#end, generation: generation + 1 }
  }

  *#carry(
    runs: readonly (RangeDescriptor | readonly RangeDescriptor[])[],
    size: number,
    cut: RangeDescriptor | undefined,
    taken: number,
  ): Sliced<RetilingStep | undefined> {
    const units: Unit[] = []
    let at = 0
    for (const run of runs) {
      if (!isRun(run)) {
        units.push({ range: run })
        continue
      }
      const [first] = run as readonly [RangeDescriptor]
      while (isBehind(first.start, this.#before[at])) at++
      const generation = (this.#before[at] as RangeDescriptor).generation + 1
      for (let from = 0; from < run.length; from += size) {
        units.push(unitOf(run.slice(from, from + size), generation))
        yield
      }
    }
    const { before, after } = this.#retiling
    const beyond = before.slice(this.#count)
    const next = units.map(({ range }) => range)
    const ids = new Set(next.map(({ rangeId }) => rangeId))
    const ended = this.#before.map(({ rangeId }) => rangeId).filter((rangeId) => !ids.has(rangeId))
    // Only a range that moved could be in both, and ranges never move.
    if (ended.some((rangeId) => this.#present.has(rangeId))) return undefined
    const [only] = next
    const same = next.length === 1 && this.#count === 1 && only?.rangeId === this.#before[0]?.rangeId
    if (same && cut === undefined && units[0]?.stands !== undefined) return undefined
    const rest = units.flatMap(({ range, stands }) =>
      stands === undefined ? [] : [{ before: [range], after: stands }],
    )
    if (beyond.length === 0) return { ended, next, rest }
    const left =
      cut === undefined
        ? { before: beyond, after: after.slice(taken) }
        : { before: [cut, ...beyond], after: after.slice(taken - 1) }
    return { ended, next, rest: [left, ...rest] }
  }
}

function unitOf(stands: readonly RangeDescriptor[], generation: number): Unit {
  const [first] = stands as readonly [RangeDescriptor]
  if (stands.length === 1) return { range: first }
  return { range: { ...first, end: stands.at(-1)?.end, generation }, stands }
}

function isRun(run: RangeDescriptor | readonly RangeDescriptor[]): run is readonly RangeDescriptor[] {
  return Array.isArray(run)
}

/** Whether a key lies behind a range. */
function isBehind(key: Uint8Array, range: RangeDescriptor | undefined): boolean {
  return range?.end !== undefined && compareBytes(key, range.end) >= 0
}

/** Whether a range reaches over a key. */
function isOver({ end }: RangeDescriptor, limit: Uint8Array | undefined): boolean {
  if (limit === undefined) return false
  return end === undefined || compareBytes(end, limit) > 0
}
