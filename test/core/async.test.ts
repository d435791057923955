import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  AsyncQueue,
  abortable,
  Cleanup,
  deadline,
  deferred,
  SerialExecutor,
  sleep,
} from '../../src/core/async.ts'
import type { Timers } from '../../src/core/clock.ts'
import { KeelsonError } from '../../src/core/errors.ts'

/** Timers that fire when the test says so. */
function manualTimers(): Timers & { fire(): void; readonly pending: number } {
  let waiting: { delayMs: number; callback: () => void }[] = []
  return {
    schedule(delayMs, callback) {
      const entry = { delayMs, callback }
      waiting.push(entry)
      return {
        cancel: () => {
          waiting = waiting.filter((other) => other !== entry)
        },
      }
    },
    defer: (callback) => callback(),
    fire() {
      const due = waiting
      waiting = []
      for (const { callback } of due) callback()
    },
    get pending() {
      return waiting.length
    },
  }
}

test('an abort ends the wait with the outcome that the caller stated, and the late failure is handled', async () => {
  const work = deferred<string>()
  const controller = new AbortController()
  const waiting = abortable(work.promise, controller.signal, 'unknown')
  controller.abort()
  await assert.rejects(waiting, { code: 'ABORTED', outcome: 'unknown' })
  work.reject(new Error('too late to matter'))
  await assert.rejects(abortable(Promise.resolve(1), controller.signal), { code: 'ABORTED', outcome: 'none' })
})

test('a keelson error as reason of the abort is the error', async () => {
  const controller = new AbortController()
  controller.abort(new KeelsonError('CLOSED', 'closed'))
  await assert.rejects(abortable(new Promise(() => {}), controller.signal), { code: 'CLOSED' })
})

test('sleep ends by its timer or by the signal, and leaves no timer behind', async () => {
  const timers = manualTimers()
  const slept = sleep(timers, 5)
  timers.fire()
  await slept
  const controller = new AbortController()
  const cut = sleep(timers, 5, controller.signal)
  controller.abort()
  await assert.rejects(cut, { code: 'ABORTED' })
  assert.equal(timers.pending, 0)
})

test('a deadline joins timer and signals, and is released', () => {
  const timers = manualTimers()
  const outer = new AbortController()
  const timed = deadline(timers, 10, () => new KeelsonError('TIMEOUT', 'late'), outer.signal, undefined)
  timers.fire()
  assert.ok(KeelsonError.hasCode(timed.signal.reason, 'TIMEOUT'))
  const joined = deadline(timers, 10, () => new KeelsonError('TIMEOUT', 'late'), outer.signal)
  outer.abort('stop')
  assert.equal(joined.signal.reason, 'stop')
  joined.release()
  assert.equal(timers.pending, 0)
})

test('tasks run one after the other, a failing one fails alone, a full queue refuses', async () => {
  const executor = new SerialExecutor(2)
  const gate = deferred<void>()
  const order: number[] = []
  const first = executor.run(async () => {
    await gate.promise
    order.push(1)
  })
  const second = executor.run(() => {
    order.push(2)
    throw new Error('second')
  })
  await assert.rejects(
    executor.run(() => order.push(3)),
    { code: 'OVERLOADED' },
  )
  gate.resolve()
  await first
  await assert.rejects(second, /second/)
  await executor.run(() => order.push(4))
  await executor.idle()
  assert.deepEqual(order, [1, 2, 4])
})

test('a queue delivers in order, refuses beyond its limit, and ends after what it holds', async () => {
  let left = false
  const queue = new AsyncQueue<number>(2, () => {
    left = true
  })
  assert.ok(queue.push(1) && queue.push(2))
  assert.equal(queue.push(3), false)
  queue.fail(new Error('broken'))
  assert.equal((await queue.next()).value, 1)
  assert.equal((await queue.next()).value, 2)
  await assert.rejects(queue.next(), /broken/)
  assert.equal((await queue.next()).done, true)
  await queue.return()
  assert.ok(left)

  const waiting = new AsyncQueue<number>(1)
  const next = waiting.next()
  await assert.rejects(waiting.next(), { code: 'INVALID_ARGUMENT' })
  assert.ok(waiting.push(7))
  assert.equal((await next).value, 7)
  const last = waiting.next()
  waiting.end()
  assert.equal((await last).done, true)
  assert.equal(waiting.push(8), false)
})

test('a clean-up runs every step once, last first, and then tells the first failure', async () => {
  const order: number[] = []
  const cleanup = new Cleanup()
  cleanup.add(() => void order.push(1))
  cleanup.add(() => {
    order.push(2)
    throw new Error('second')
  })
  cleanup.use({
    [Symbol.asyncDispose]: async () => {
      order.push(3)
    },
  })
  await assert.rejects(cleanup.run(), /second/)
  await assert.rejects(cleanup.run(), /second/)
  assert.deepEqual(order, [3, 2, 1])
})
