import { compareBytes } from '../../core/bytes.ts'
import { type Sliced, sorting } from '../../core/sliced.ts'
import type { OrderedMap } from '../../metadata/mvcc/ordered-map.ts'
import type { RangeDescriptor } from '../../model/descriptors.ts'
import type { RangeId } from '../../model/ids.ts'
import { rangesOverlap } from '../../model/range-map.ts'

// Every key lies in ranges of ever higher generations (both parts of a split have a higher one than the whole, a merged
// range than both its parts), so of two ranges that claim a key the one with the higher generation came later.

/** Ranges by their start keys. Those of a directory tile the key space. */
export type RangesByStart = OrderedMap<RangeDescriptor>

/** A part of the key space that other ranges fill by now than the directory says, whatever splits and merges lie in between. */
export interface Retiling {
  /** What the directory has there, by start keys. */
  readonly before: readonly RangeDescriptor[]
  /** What lies there now, by start keys, none of it as the directory has it. */
  readonly after: readonly RangeDescriptor[]
}

/** Ranges that are looked at before others may go on. */
const lookedAtTogether = 64

/** The range of a tiling that a key lies in. */
export function rangeAt(tiling: RangesByStart, key: Uint8Array): RangeDescriptor | undefined {
  const range = tiling.get(key) ?? tiling.before(key)
  return range?.end === undefined || compareBytes(key, range.end) < 0 ? range : undefined
}

/** Whether a range that is reported came later than all that the directory has where it lies. */
export function* isLater(directory: RangesByStart, range: RangeDescriptor): Sliced<boolean> {
  let looked = 0
  let known = rangeAt(directory, range.start)
  while (known !== undefined && rangesOverlap(known, range)) {
    if (known.generation >= range.generation) return false
    if (++looked % lookedAtTogether === 0) yield
    known = known.end === undefined ? undefined : directory.get(known.end)
  }
  return true
}

/**
 * What the directory is to say where ranges lie elsewhere than it says: in the least parts of the key space in which no range,
 * old or new, lies in part only. Parts in which the reports leave a gap are left out: some ranges were not heard of yet.
 *
 * @param directory all ranges
 * @param later what {@link isLater} has left of the reports; several may begin at one key
 */
export function* retilings(
  directory: RangesByStart,
  later: OrderedMap<readonly RangeDescriptor[]>,
): Sliced<readonly Retiling[]> {
  const found: Retiling[] = []
  let part: Part | undefined
  let looked = 0
  for (const ranges of later.values()) {
    for (const range of ranges) {
      if (++looked % lookedAtTogether === 0) yield
      if (part === undefined || !part.reaches(range.start)) {
        if (part !== undefined) for (const each of yield* part.arranged()) found.push(each)
        part = new Part(directory, range.start)
      }
      yield* part.add(range)
    }
  }
  if (part !== undefined) for (const each of yield* part.arranged()) found.push(each)
  return found
}

/** A part of the key space, as it grows while ranges are added to it by their start keys. */
class Part {
  readonly #directory: RangesByStart
  readonly #known: RangeDescriptor[] = []
  readonly #later: RangeDescriptor[] = []
  #end: Uint8Array | undefined
  /** The directory has nothing in a part of it. */
  #broken = false

  constructor(directory: RangesByStart, start: Uint8Array) {
    this.#directory = directory
    this.#end = start
    this.#take(rangeAt(directory, start))
  }

  reaches(key: Uint8Array): boolean {
    return this.#end === undefined || compareBytes(key, this.#end) < 0
  }

  *add(range: RangeDescriptor): Sliced<void> {
    this.#later.push(range)
    this.#widen(range.end)
    let looked = 0
    for (;;) {
      const last = this.#known.at(-1)
      if (this.#broken || last?.end === undefined || !this.reaches(last.end)) return
      this.#take(this.#directory.get(last.end))
      if (++looked % lookedAtTogether === 0) yield
    }
  }

  #take(known: RangeDescriptor | undefined): void {
    if (known === undefined) this.#broken = true
    else {
      this.#known.push(known)
      this.#widen(known.end)
    }
  }

  #widen(end: Uint8Array | undefined): void {
    if (this.#end === undefined) return
    if (end === undefined || compareBytes(end, this.#end) > 0) this.#end = end
  }

  /** What fills it, the latest ranges first. */
  *arranged(): Sliced<readonly Retiling[]> {
    const [first] = this.#known
    if (this.#broken || first === undefined) return []
    const latestFirst = yield* sorting(
      [...this.#known, ...this.#later],
      (a, b) => b.generation - a.generation,
    )
    const placed: RangesByStart = this.#directory.empty()
    const ids = new Set<RangeId>()
    let looked = 0
    for (const range of latestFirst) {
      if (++looked % lookedAtTogether === 0) yield
      if (ids.has(range.rangeId) || !isFree(placed, range)) continue
      ids.add(range.rangeId)
      placed.set(range.start, range)
    }
    return yield* this.#changed(placed, first.start)
  }

  /** The stretches between ranges that are as they were. Nothing where a key is in no range. */
  *#changed(placed: RangesByStart, start: Uint8Array): Sliced<readonly Retiling[]> {
    const unchanged = new Set(this.#known)
    const found: Retiling[] = []
    let at: Uint8Array | undefined = start
    let next = 0
    let after: RangeDescriptor[] = []
    let before: RangeDescriptor[] = []
    let looked = 0
    const close = (): void => {
      if (after.length > 0) found.push({ before, after })
      after = []
      before = []
    }
    for (const range of placed.values()) {
      if (++looked % lookedAtTogether === 0) yield
      if (at === undefined || compareBytes(range.start, at) !== 0) return []
      at = range.end
      if (unchanged.has(range)) close()
      else after.push(range)
      for (; next < this.#known.length; next++) {
        const known = this.#known[next] as RangeDescriptor
        if (at !== undefined && compareBytes(known.start, at) >= 0) break
        if (known !== range) before.push(known)
        if (++looked % lookedAtTogether === 0) yield
      }
    }
    const complete =
      at === undefined || this.#end === undefined ? at === this.#end : compareBytes(at, this.#end) === 0
    if (!complete) return []
    close()
    return found
  }
}

/** Whether a range shares no key with those of a map, which do not overlap. */
function isFree(placed: RangesByStart, range: RangeDescriptor): boolean {
  const left = placed.get(range.start) ?? placed.before(range.start)
  if (left !== undefined && rangesOverlap(left, range)) return false
  const right = placed.after(range.start)
  return right === undefined || !rangesOverlap(right, range)
}
