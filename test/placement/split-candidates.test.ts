import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { compareBytes, utf8 } from '../../src/core/bytes.ts'
import { SeededRandom } from '../../src/core/random.ts'
import { finish } from '../../src/core/sliced.ts'
import type { RangeDescriptor } from '../../src/model/descriptors.ts'
import type { RangeSize } from '../../src/placement/core/splits.ts'
import { planSplits, type SplitRange, splitPolicy } from '../../src/placement/index.ts'
import { SplitCandidates } from '../../src/placement/split-candidates.ts'

const policy = splitPolicy({
  maximumBytes: 1000,
  maximumRequestsPerSecond: 100,
  mergeBelowBytes: 400,
  mergeBelowRequestsPerSecond: 40,
  splitMergeBackoffMs: 1000,
  splits: 100,
  merges: 100,
  mayMerge: (left, right) => (left.rangeId + right.rangeId) % 5 !== 0,
})

/** Ranges that tile the keys, with what is reported of them. */
class Tiles {
  readonly candidates = new SplitCandidates(policy)
  readonly ranges = new Map<number, RangeDescriptor>()
  readonly sizes = new Map<number, RangeSize>()
  readonly ages = new Map<number, number>()
  looked = 0
  planned = { splits: 0, merges: 0 }
  #next = 1
  readonly #random: SeededRandom

  constructor(seed: number) {
    this.#random = new SeededRandom(seed)
    this.set(this.#range(this.#next++, '', undefined))
    for (let i = 0; i < 12; i++) this.split()
  }

  set(range: RangeDescriptor): void {
    this.ranges.set(range.rangeId, range)
    this.ages.set(range.rangeId, this.#random.integer(3) * 1000)
    this.candidates.set(range)
  }

  sorted(): RangeDescriptor[] {
    return [...this.ranges.values()].sort((a, b) => compareBytes(a.start, b.start))
  }

  /** The directory may hear of the two halves in either order. */
  split(): void {
    const range = this.#any()
    const key = utf8(`${String.fromCharCode(98 + this.#random.integer(24))}${this.#random.integer(1000)}`)
    if (compareBytes(key, range.start) <= 0) return
    if (range.end !== undefined && compareBytes(key, range.end) >= 0) return
    const halves = [
      { ...range, end: key, generation: range.generation + 1 },
      { ...range, rangeId: this.#next++, start: key },
    ]
    if (this.#random.integer(2) === 0) halves.reverse()
    for (const half of halves) this.set(half)
  }

  merge(): void {
    const sorted = this.sorted()
    const at = 1 + this.#random.integer(Math.max(1, sorted.length - 1))
    const [left, right] = [sorted[at - 1], sorted[at]]
    if (left === undefined || right === undefined) return
    this.ranges.delete(right.rangeId)
    const merged = { ...left, end: right.end, generation: left.generation + 1 }
    const steps = [() => this.candidates.remove(right.rangeId), () => this.set(merged)]
    if (this.#random.integer(2) === 0) steps.reverse()
    for (const step of steps) step()
  }

  report(): void {
    const { rangeId } = this.#any()
    const random = this.#random
    this.sizes.set(
      rangeId,
      random.integer(8) === 0
        ? {}
        : {
            bytes: random.integer(random.integer(2) === 0 ? 300 : 1500),
            requestsPerSecond: random.integer(random.integer(2) === 0 ? 20 : 120),
          },
    )
    this.candidates.changed(rangeId)
  }

  view(descriptor: RangeDescriptor): SplitRange {
    const { rangeId, start } = descriptor
    const key = Uint8Array.of(...start, 0)
    return {
      descriptor,
      able: rangeId % 7 !== 0,
      splitForMs: this.ages.get(rangeId) as number,
      splitKeys: { bySize: key, byLoad: key },
      ...this.sizes.get(rangeId),
      ...(rangeId % 11 === 0 ? { busy: 'it rains' } : {}),
    }
  }

  judge(what: string): void {
    const look = (rangeId: number): RangeSize => {
      this.looked++
      return this.sizes.get(rangeId) ?? {}
    }
    finish(this.candidates.look(look))
    const isOld = (rangeId: number): boolean => (this.ages.get(rangeId) as number) >= 1000
    const some = finish(this.candidates.candidates(isOld)).map((range) => this.view(range))
    const all = this.sorted().map((range) => this.view(range))
    const plan = planSplits(all, policy)
    assert.deepEqual(planSplits(some, policy), plan, what)
    this.planned.splits += plan.splits.length
    this.planned.merges += plan.merges.length
    const sorted = this.sorted()
    for (const [i, range] of sorted.entries()) {
      assert.equal(this.candidates.leftOf(range)?.rangeId, sorted[i - 1]?.rangeId)
      assert.equal(this.candidates.rightOf(range)?.rangeId, sorted[i + 1]?.rangeId)
    }
  }

  #any(): RangeDescriptor {
    const all = [...this.ranges.values()]
    return all[this.#random.integer(all.length)] as RangeDescriptor
  }

  #range(rangeId: number, start: string, end: string | undefined): RangeDescriptor {
    return {
      rangeId,
      start: utf8(start),
      end: end === undefined ? end : utf8(end),
      generation: 1,
      replicas: [],
    }
  }
}

suite('ranges that could be split or merged', () => {
  test('are all that a plan of all ranges splits or merges, whatever changed', () => {
    let planned = 0
    for (let seed = 1; seed <= 100; seed++) {
      const tiles = new Tiles(seed)
      const random = new SeededRandom(seed)
      for (let step = 0; step < 40; step++) {
        const changes = random.integer(6)
        for (let i = 0; i < changes; i++) {
          const what = random.integer(6)
          if (what === 0) tiles.split()
          else if (what === 1) tiles.merge()
          else tiles.report()
        }
        tiles.judge(`seed ${seed}, step ${step}`)
      }
      planned += Math.min(tiles.planned.splits, tiles.planned.merges)
    }
    assert.ok(planned > 30, `only ${planned} splits and merges`)
  })

  test('cost what changed: nobody else is looked at again', () => {
    const tiles = new Tiles(3)
    tiles.judge('at first')
    const { looked } = tiles
    tiles.judge('nothing changed')
    assert.equal(tiles.looked, looked)
    tiles.report()
    tiles.judge('one changed')
    assert.equal(tiles.looked, looked + 1)
  })

  test('have their turn where there are more pairs than are judged together', () => {
    const candidates = new SplitCandidates(splitPolicy({ mergeBelowBytes: 400 }))
    const count = 3000
    const key = (i: number): Uint8Array => utf8(String(i).padStart(6, '0'))
    for (let i = 0; i < count; i++) {
      const end = i + 1 === count ? undefined : key(i + 1)
      candidates.set({ rangeId: i + 1, start: key(i), end, generation: 1, replicas: [] })
    }
    finish(candidates.look(() => ({ bytes: 1 })))
    const seen = new Set<number>()
    for (let round = 0; round < 4; round++) {
      const some = finish(candidates.candidates(() => true))
      assert.ok(some.length < 1100)
      for (const { rangeId } of some) seen.add(rangeId)
    }
    assert.equal(seen.size, count)
  })
})
