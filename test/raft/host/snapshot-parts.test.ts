import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Handover } from '../../../src/raft/host/handover.ts'
import { withIdleLimit, within } from '../../../src/raft/host/idle-limit.ts'
import { RateLimiter } from '../../../src/raft/host/rate-limiter.ts'
import { Simulation } from '../../../src/simulation/simulation.ts'

suite('a handover', () => {
  test('gives one item at a time, and waits until the consumer is done with it', async () => {
    const handover = new Handover<number>()
    const first = handover.push(1)
    assert.deepEqual(await handover.next(), { value: 1, done: false })
    let done = false
    void first.then(() => {
      done = true
    })
    await Promise.resolve()
    assert.equal(done, false)
    const second = handover.next()
    assert.equal(await first, true)
    const taken = handover.push(2)
    assert.deepEqual(await second, { value: 2, done: false })
    const third = handover.next()
    assert.equal(await taken, true)
    handover.end()
    assert.equal((await third).done, true)
    assert.equal((await handover.next()).done, true)
    assert.equal(await handover.push(3), false)
  })

  test('lets nobody wait for one that left, or for what is over', async () => {
    const left = new Handover<number>()
    const pending = left.push(1)
    await left.return()
    assert.equal(await pending, false)
    assert.equal(await left.push(2), false)

    const failed = new Handover<number>()
    const item = failed.push(1)
    failed.fail(new Error('broken'))
    failed.end()
    assert.equal(await item, false)
    await assert.rejects(failed.next(), /broken/)

    const waiting = new Handover<number>()
    const next = waiting.next()
    waiting.fail(new Error('broken'))
    await assert.rejects(next, /broken/)

    const taken = new Handover<number>()
    const held = taken.push(1)
    await taken.next()
    taken.fail(new Error('broken'))
    assert.equal(await held, false)
  })
})

suite('a rate', () => {
  test('is kept over all who ask, in their order', async () => {
    const simulation = new Simulation({ seed: 1 })
    const env = simulation.environment('host')
    await simulation.until(
      (async () => {
        const limiter = new RateLimiter(env, 1_000)
        const through: string[] = []
        const fromMs = env.clock.monotonicMs()
        const take = async (name: string, bytes: number): Promise<void> => {
          await limiter.take(bytes)
          through.push(`${name} ${Math.round(env.clock.monotonicMs() - fromMs)}`)
        }
        await Promise.all([take('a', 500), take('b', 2_000), take('c', 100), take('d', 1)])
        assert.deepEqual(through, ['a 0', 'b 500', 'c 2500', 'd 2600'])
        const controller = new AbortController()
        await limiter.take(1_000)
        const aborted = limiter.take(1, controller.signal)
        controller.abort()
        await assert.rejects(aborted, { code: 'ABORTED' })
        // Who left has used up nothing, and holds up nobody.
        const huge = limiter.take(1_000_000, controller.signal)
        await assert.rejects(huge, { code: 'ABORTED' })
        const afterMs = env.clock.monotonicMs()
        await limiter.take(1)
        assert.ok(env.clock.monotonicMs() - afterMs <= 1_001)
      })(),
      60_000,
    )
  })
})

suite('what stands still', () => {
  test('is given up', async () => {
    const simulation = new Simulation({ seed: 1 })
    const { timers } = simulation.environment('host')
    const { signal } = new AbortController()
    await simulation.until(
      (async () => {
        const seen: number[] = []
        const slow = (async function* () {
          yield 1
          yield 2
          await new Promise(() => {})
        })()
        const read = async (): Promise<void> => {
          for await (const item of withIdleLimit(timers, slow, 100, signal)) seen.push(item)
        }
        await assert.rejects(read(), { code: 'TIMEOUT' })
        assert.deepEqual(seen, [1, 2])
        await assert.rejects(
          within(timers, 100, signal, async () => new Promise(() => {})),
          { code: 'TIMEOUT' },
        )
        assert.equal(await within(timers, 100, signal, async () => 'done'), 'done')
      })(),
      60_000,
    )
  })
})
