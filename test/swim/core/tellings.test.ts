import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import type { SwimCore } from '../../../src/swim/core/swim-core.ts'
import { hear, makeCore, proofFor, said, sentOf } from '../support/core.ts'

const members = 4_000

/** A core that knows many members, and has just been asked for all of them. */
function asked(): SwimCore {
  const core = makeCore({ maximumSyncBytesPerSecond: 10_000_000 })
  for (let i = 0; i < members; i += 20) {
    const some = Array.from({ length: 20 }, (_, j) => said(`m${i + j}`, 1))
    hear(core, 'm0', 0, ...some.map((statement) => ({ kind: 'alive', statement }) as const))
  }
  core.takeOutput()
  const offer = { kind: 'offer', buckets: new Uint32Array(32), clock: 0, news: 0 } as const
  hear(core, 'm0', 1, proofFor(core, 1), offer)
  return core
}

suite('a long view by datagrams', () => {
  test('goes some datagrams at a time, and every member once', () => {
    const core = asked()
    const told: string[] = []
    let parts = 0
    for (let nowMs = 1; nowMs < 400; nowMs++) {
      if (nowMs > 1) core.advanceTo(nowMs)
      const states = sentOf(core, 'state')
      assert.ok(states.length <= 12, `${states.length} datagrams at once`)
      if (states.length > 0) parts++
      for (const { message } of states) {
        assert.equal(message.wantReturn, told.length === 0, 'the first one asks for the other view')
        told.push(...message.records.map(({ statement }) => statement.nodeId))
      }
    }
    assert.ok(parts > 5, `${parts} parts`)
    assert.equal(told.length, members + 1)
    assert.equal(new Set(told).size, members + 1)
    assert.equal(told[0], 'self')
  })

  test('a copy goes on where the original is', () => {
    const core = asked()
    const first = sentOf(core, 'state').length
    const copy = core.clone(new SeededRandom(3))
    copy.advanceTo(10)
    const next = sentOf(copy, 'state')
    assert.ok(first > 0 && next.length > 0)
    assert.ok(next.every(({ message }) => !message.wantReturn))
  })

  test('who leaves tells no more', () => {
    const core = asked()
    core.leave(2)
    core.takeOutput()
    for (let nowMs = 3; nowMs < 100; nowMs++) core.advanceTo(nowMs)
    assert.deepEqual(sentOf(core, 'state'), [])
  })

  test('more than can wait are refused', () => {
    const core = asked()
    const before = core.counters.requestsRefused
    for (let i = 0; i < 80; i++) {
      const offer = { kind: 'offer', buckets: new Uint32Array(32), clock: 0, news: 0 } as const
      hear(core, 'm1', 1, proofFor(core, 1), offer)
    }
    assert.ok(core.counters.requestsRefused - before >= 16)
  })
})
