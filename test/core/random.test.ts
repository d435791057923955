import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chance, pick, SeededRandom, shuffled } from '../../src/core/random.ts'

test('the stream of a seed is frozen: a recorded seed stays a recorded run', () => {
  const random = new SeededRandom(42)
  assert.deepEqual(
    Array.from({ length: 6 }, () => random.uint32()),
    [660_444_221, 3_652_823_732, 77_672_526, 910_233_633, 2_297_337_756, 3_786_072_677],
  )
})

test('children are independent of each other and of later draws of the parent', () => {
  const parent = new SeededRandom(7)
  const a = parent.child('network')
  const b = parent.child('disk')
  const again = new SeededRandom(7).child('network')
  assert.equal(a.uint32(), again.uint32())
  assert.notEqual(a.uint32(), b.uint32())
})

test('a clone goes on with the same stream', () => {
  const random = new SeededRandom(3)
  random.float()
  const clone = random.clone()
  assert.deepEqual(clone.bytes(9), random.bytes(9))
})

test('draws stay in their range and reach all of it', () => {
  const random = new SeededRandom(1)
  const seen = new Set<number>()
  for (let i = 0; i < 2_000; i++) {
    const value = random.integer(7)
    assert.ok(Number.isInteger(value) && value >= 0 && value < 7)
    seen.add(value)
    const real = random.float()
    assert.ok(real >= 0 && real < 1)
  }
  assert.equal(seen.size, 7)
  assert.ok(random.integer(Number.MAX_SAFE_INTEGER) <= Number.MAX_SAFE_INTEGER)
  assert.throws(() => random.integer(0), { code: 'INVARIANT_VIOLATED' })
})

test('float fills its bits evenly', () => {
  const random = new SeededRandom(5)
  const buckets = Array.from({ length: 16 }, () => 0)
  for (let i = 0; i < 16_000; i++) buckets[Math.floor(random.float() * 16)]!++
  for (const count of buckets) assert.ok(count > 850 && count < 1_150, `${buckets}`)
})

test('shuffling keeps the elements, picking takes one of them, chance respects its ends', () => {
  const random = new SeededRandom(9)
  const items = [1, 2, 3, 4, 5, 6, 7, 8]
  assert.deepEqual(
    shuffled(random, items).sort((a, b) => a - b),
    items,
  )
  assert.ok(items.includes(pick(random, items)))
  assert.equal(chance(random, 0), false)
  assert.equal(chance(random, 1), true)
})
