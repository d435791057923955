import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../src/core/random.ts'
import { shrinkSchedule } from '../../src/simulation/shrink.ts'

const hundred = Array.from({ length: 100 }, (_, i) => i)

suite('shrinkSchedule', () => {
  test('leaves just what is needed, in its order, wherever it lies', () => {
    const random = new SeededRandom(4)
    for (let round = 0; round < 200; round++) {
      const needed = new Set(Array.from({ length: random.integer(6) }, () => random.integer(100)))
      const fails = (parts: readonly number[]): boolean => [...needed].every((part) => parts.includes(part))
      assert.deepEqual(
        shrinkSchedule(hundred, fails),
        [...needed].sort((a, b) => a - b),
      )
    }
  })

  test('is minimal where a failure has several causes, and where more of it hides it', () => {
    const fails = (parts: readonly number[]): boolean =>
      (parts.includes(3) && parts.includes(70)) || (parts.includes(20) && !parts.includes(40))
    const left = shrinkSchedule(hundred, fails)
    assert.ok(fails(left))
    for (const part of left) assert.ok(!fails(left.filter((other) => other !== part)))
  })

  test('is nothing when nothing is needed', () => {
    assert.deepEqual(
      shrinkSchedule(hundred, () => true),
      [],
    )
    assert.deepEqual(
      shrinkSchedule([], () => assert.fail('there is nothing to leave out')),
      [],
    )
  })

  test('is asked no more often than it may be, and what it returns fails', () => {
    for (const maximumRuns of [0, 1, 5, 20]) {
      let runs = 0
      const fails = (parts: readonly number[]): boolean => {
        runs++
        return parts.includes(17) && parts.includes(71)
      }
      const left = shrinkSchedule(hundred, fails, { maximumRuns })
      assert.ok(runs <= maximumRuns)
      assert.ok(fails(left))
    }
    assert.throws(() => shrinkSchedule(hundred, () => true, { maximumRuns: -1 }), {
      code: 'INVALID_OPTION',
    })
  })
})
