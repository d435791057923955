import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Broadcast, BroadcastQueue } from '../../../src/swim/core/broadcasts.ts'

const bytes = (value: number, length = 10): Uint8Array => new Uint8Array(length).fill(value)
const values = (taken: readonly Broadcast[]): (number | undefined)[] =>
  taken.map(({ bytes: each }) => each[0])
const message = { kind: 'nack', sequence: 0 } as const

suite('broadcast queue', () => {
  test('fewest transmissions first, then the newest', () => {
    const queue = new BroadcastQueue()
    queue.put('a', message, bytes(1))
    queue.put('b', message, bytes(2))
    assert.deepEqual(values(queue.take(10, 3)), [2])
    queue.put('c', message, bytes(3))
    assert.deepEqual(values(queue.take(20, 3)), [3, 1])
    assert.deepEqual(new Set(values(queue.take(100, 3))), new Set([1, 2, 3]))
  })

  test('a newer update about a member replaces the one before', () => {
    const queue = new BroadcastQueue()
    queue.put('a', message, bytes(1))
    queue.take(100, 5)
    queue.put('a', message, bytes(9))
    assert.equal(queue.size, 1)
    assert.deepEqual(values(queue.take(100, 5)), [9])
  })

  test('ends at the limit', () => {
    const queue = new BroadcastQueue()
    queue.put('a', message, bytes(1))
    for (let i = 0; i < 4; i++) assert.equal(queue.take(100, 4).length, 1)
    assert.equal(queue.size, 0)
    assert.equal(queue.take(100, 4).length, 0)
  })

  test('takes what fits, and lets a smaller one pass a larger', () => {
    const queue = new BroadcastQueue()
    queue.put('small', message, bytes(1, 10))
    queue.put('large', message, bytes(2, 100))
    assert.deepEqual(values(queue.take(50, 4)), [1])
    assert.deepEqual(values(queue.take(3, 4)), [])
  })

  test('a copy goes its own way', () => {
    const queue = new BroadcastQueue()
    queue.put('a', message, bytes(1))
    queue.take(100, 4)
    const copy = queue.clone()
    for (let i = 0; i < 3; i++) copy.take(100, 4)
    assert.equal(copy.size, 0)
    assert.equal(queue.size, 1)
  })
})
