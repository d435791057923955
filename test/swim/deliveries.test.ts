import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { recordLogger } from '../../src/core/logger.ts'
import { nodeEnvironment } from '../../src/core/node-environment.ts'
import { Deliveries, maximumWaiting } from '../../src/swim/deliveries.ts'

/** A clock that listeners turn forward, and turns of an event loop that are taken one by one. */
class Loop {
  nowMs = 0
  readonly turns: (() => void)[] = []
  readonly logged: string[] = []
  readonly dropped: string[] = []
  readonly deliveries: Deliveries

  constructor() {
    const logger = recordLogger(({ message }) => this.logged.push(message))
    this.deliveries = new Deliveries({
      env: {
        ...nodeEnvironment(),
        clock: { monotonicMs: () => this.nowMs, wallMs: () => 0 },
        timers: { schedule: () => assert.fail(), defer: (callback) => this.turns.push(callback) },
      },
      logger,
      lanes: ['slow', 'fast'],
      onDrop: (lane) => this.dropped.push(lane),
    })
  }

  turn(): void {
    this.turns.shift()?.()
  }
}

suite('what is delivered to hosts', () => {
  test('comes in its order, in later turns, and leaves the loop to others after 4 ms', () => {
    const loop = new Loop()
    const called: number[] = []
    for (let i = 0; i < 10; i++)
      loop.deliveries.add('fast', () => {
        called.push(i)
        loop.nowMs += 1
      })
    assert.deepEqual(called, [])
    loop.turn()
    assert.deepEqual(called, [0, 1, 2, 3])
    loop.turn()
    loop.turn()
    assert.deepEqual(called, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert.equal(loop.turns.length, 0, 'idle costs nothing')
  })

  test('does not wait behind the slow listeners of another lane', () => {
    const loop = new Loop()
    let slow = 0
    for (let i = 0; i < 1_000; i++)
      loop.deliveries.add('slow', () => {
        slow++
        loop.nowMs += 100
      })
    const called: number[] = []
    for (let i = 0; i < 3; i++) loop.deliveries.add('fast', () => called.push(i))
    for (let turns = 0; turns < 6; turns++) loop.turn()
    assert.deepEqual(called, [0, 1, 2])
    assert.ok(slow <= 6, `${slow} slow calls`)
    assert.ok(loop.logged.some((message) => /held up its process/.test(message)))
  })

  test('has a limit for each lane: the oldest is dropped, counted and logged', () => {
    const loop = new Loop()
    const called: number[] = []
    for (let i = 0; i < maximumWaiting + 5; i++) loop.deliveries.add('slow', () => called.push(i))
    loop.deliveries.add('fast', () => called.push(-1))
    assert.equal(loop.deliveries.dropped, 5)
    assert.deepEqual(loop.dropped, ['slow', 'slow', 'slow', 'slow', 'slow'])
    assert.ok(loop.logged.some((message) => /oldest events are dropped/.test(message)))
    while (loop.turns.length > 0) loop.turn()
    assert.equal(called.length, maximumWaiting + 1)
    assert.ok(called.includes(-1))
    assert.equal(
      called.find((i) => i >= 0),
      5,
    )
    loop.deliveries.close()
    loop.deliveries.add('slow', () => assert.fail())
    assert.equal(loop.turns.length, 0)
  })
})
