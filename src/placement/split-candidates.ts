import { equalBytes } from '../core/bytes.ts'
import type { Sliced } from '../core/sliced.ts'
import { OrderedMap } from '../metadata/mvcc/ordered-map.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { RangeId } from '../model/ids.ts'
import { isTooLarge, type RangeSize, type SplitPolicy, whyNeverMerged } from './core/splits.ts'

/** Ranges that are looked at before others may go on. */
const lookedAtTogether = 64
/** Pairs of small neighbours that are judged together; where there are more, the others have their turn next. */
const pairsTogether = 1024

/**
 * The ranges by key, and those of them that could be split or merged at all: too large ones, and pairs of neighbours that are
 * small together. What has to be looked at is what changed; with whom there is nothing to do costs nothing. @internal
 */
export class SplitCandidates {
  readonly #policy: SplitPolicy
  readonly #ranges = new Map<RangeId, RangeDescriptor>()
  readonly #byStart = new OrderedMap<RangeId>()
  readonly #sizes = new Map<RangeId, RangeSize>()
  readonly #large = new Set<RangeId>()
  /** Right-hand ranges of pairs that are small together; those that were judged last come last. */
  readonly #small = new Set<RangeId>()
  readonly #dirty = new Set<RangeId>()

  constructor(policy: SplitPolicy) {
    this.#policy = policy
  }

  /** Ids of all ranges. */
  rangeIds(): Iterable<RangeId> {
    return this.#ranges.keys()
  }

  get(rangeId: RangeId): RangeDescriptor | undefined {
    return this.#ranges.get(rangeId)
  }

  /** A range as it is now. */
  set(range: RangeDescriptor): void {
    const { rangeId } = range
    const known = this.#ranges.get(rangeId)
    if (known !== undefined && !(equalBytes(known.start, range.start) && sameEnd(known, range)))
      this.remove(rangeId)
    this.#ranges.set(rangeId, range)
    this.#byStart.set(range.start, rangeId)
    this.#dirty.add(rangeId)
  }

  /** A range is no more. */
  remove(rangeId: RangeId): void {
    const range = this.#ranges.get(rangeId)
    if (range === undefined) return
    const right = this.rightOf(range)
    if (right !== undefined) this.#dirty.add(right.rangeId)
    this.#ranges.delete(rangeId)
    // Another one may begin there by now.
    if (this.#byStart.get(range.start) === rangeId) this.#byStart.delete(range.start)
    this.#sizes.delete(rangeId)
    this.#large.delete(rangeId)
    this.#small.delete(rangeId)
    this.#dirty.add(rangeId)
  }

  /** Something else is reported of a range, which need not be known. */
  changed(rangeId: RangeId): void {
    this.#dirty.add(rangeId)
  }

  /** The range that ends where this one begins. */
  leftOf(range: RangeDescriptor): RangeDescriptor | undefined {
    const left = this.#at(this.#byStart.before(range.start))
    return left?.end !== undefined && equalBytes(left.end, range.start) ? left : undefined
  }

  /** The range that begins where this one ends. */
  rightOf(range: RangeDescriptor): RangeDescriptor | undefined {
    return range.end === undefined ? undefined : this.#at(this.#byStart.get(range.end))
  }

  /** Looks at what changed. `look` says what a range is by now, or nothing of one that it does not know. */
  *look(look: (rangeId: RangeId) => RangeSize): Sliced<void> {
    let looked = 0
    for (const rangeId of this.#dirty) {
      // First: what fails is looked at again.
      const size = look(rangeId)
      this.#dirty.delete(rangeId)
      this.#take(rangeId, size)
      if (++looked % lookedAtTogether === 0) yield
    }
  }

  /** Ranges that may have to be split or merged, by key. Pairs wait until `mayMerge` of both. */
  *candidates(mayMerge: (rangeId: RangeId) => boolean): Sliced<readonly RangeDescriptor[]> {
    const found = new Set(this.#large)
    const judged: RangeId[] = []
    let looked = 0
    for (const rangeId of this.#small) {
      if (++looked % lookedAtTogether === 0) yield
      const right = this.#ranges.get(rangeId)
      const left = right === undefined ? undefined : this.leftOf(right)
      if (left === undefined || !mayMerge(rangeId) || !mayMerge(left.rangeId)) continue
      found.add(left.rangeId).add(rangeId)
      judged.push(rangeId)
      if (judged.length === pairsTogether) break
    }
    if (judged.length === pairsTogether) {
      for (const rangeId of judged) {
        // Unless it went meanwhile.
        if (this.#small.delete(rangeId)) this.#small.add(rangeId)
      }
    }
    return [...found].flatMap((rangeId) => this.#ranges.get(rangeId) ?? [])
  }

  #take(rangeId: RangeId, size: RangeSize): void {
    const range = this.#ranges.get(rangeId)
    if (range === undefined) return
    this.#sizes.set(rangeId, size)
    if (isTooLarge(size, this.#policy)) this.#large.add(rangeId)
    else this.#large.delete(rangeId)
    const left = this.leftOf(range)
    const right = this.rightOf(range)
    this.#pair(left, range)
    if (right !== undefined) this.#pair(range, right)
  }

  #pair(left: RangeDescriptor | undefined, right: RangeDescriptor): void {
    const sized = (descriptor: RangeDescriptor): RangeSize & { readonly descriptor: RangeDescriptor } => ({
      descriptor,
      ...this.#sizes.get(descriptor.rangeId),
    })
    const small = left !== undefined && whyNeverMerged(sized(left), sized(right), this.#policy) === undefined
    if (!small) this.#small.delete(right.rangeId)
    else this.#small.add(right.rangeId)
  }

  #at(rangeId: RangeId | undefined): RangeDescriptor | undefined {
    return rangeId === undefined ? undefined : this.#ranges.get(rangeId)
  }
}

/** Whether two ranges end at the same key. @internal */
export function sameEnd(a: RangeDescriptor, b: RangeDescriptor): boolean {
  return a.end === undefined || b.end === undefined ? a.end === b.end : equalBytes(a.end, b.end)
}
