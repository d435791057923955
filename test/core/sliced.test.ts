import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KeelsonError } from '../../src/core/errors.ts'
import { finish, inSlices, type Sliced } from '../../src/core/sliced.ts'

/** A clock that work moves on, and turns that are counted. */
function world(): {
  readonly clock: { monotonicMs(): number; wallMs(): number }
  readonly timers: { schedule(): never; defer(callback: () => void): void }
  turns: number
  nowMs: number
} {
  const it = {
    turns: 0,
    nowMs: 0,
    clock: { monotonicMs: () => it.nowMs, wallMs: () => it.nowMs },
    timers: {
      schedule(): never {
        throw new Error('a slice needs no timer')
      },
      defer(callback: () => void): void {
        it.turns++
        queueMicrotask(callback)
      },
    },
  }
  return it
}

function* count(steps: number, each: () => void): Sliced<number> {
  for (let i = 0; i < steps; i++) {
    each()
    yield
  }
  return steps
}

test('work in one go ends with what it returns', () => {
  let done = 0
  assert.equal(finish(count(5, () => done++)), 5)
  assert.equal(done, 5)
})

test('work in slices lets others in after each slice, and only then', async () => {
  const it = world()
  const work = count(10, () => {
    it.nowMs += 0.5
  })
  assert.equal(await inSlices(work, it), 10)
  assert.equal(it.turns, 2)
})

test('work whose time stands still is done in one go', async () => {
  const it = world()
  assert.equal(
    await inSlices(
      count(1000, () => {}),
      it,
    ),
    1000,
  )
  assert.equal(it.turns, 0)
})

test('an abort ends it between two slices, and the rest can be finished by somebody else', async () => {
  const it = world()
  const controller = new AbortController()
  let done = 0
  const work = count(10, () => {
    it.nowMs += 1
    if (++done === 3) controller.abort()
  })
  await assert.rejects(inSlices(work, it, { signal: controller.signal }), (error) =>
    KeelsonError.hasCode(error, 'ABORTED'),
  )
  assert.equal(done, 4)
  assert.equal(finish(work), 10)
})
