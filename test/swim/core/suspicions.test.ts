import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { Suspicion } from '../../../src/swim/core/suspicion.ts'
import { Suspicions } from '../../../src/swim/core/suspicions.ts'

const bounds = { minimumMs: 100, maximumMs: 600, wanted: 3, lastCallMs: 20 }

function accusation(accuser: string, atMs: number): { accuser: string; toldBy: string; atMs: number } {
  return { accuser, toldBy: accuser, atMs }
}

suite('all suspicions of a view', () => {
  test('the next deadline is that of the earliest, whatever happened to them', () => {
    const random = new SeededRandom(7)
    const short = { minimumMs: 20, maximumMs: 60, wanted: 3, lastCallMs: 5 }
    let dead = 0
    for (let run = 0; run < 50; run++) {
      let suspicions = new Suspicions()
      let nowMs = 0
      for (let step = 0; step < 300; step++) {
        nowMs += random.integer(8)
        const nodeId = `n${random.integer(40)}`
        const known = suspicions.get(nodeId)
        switch (random.integer(8)) {
          case 0:
            suspicions.end(nodeId)
            break
          case 1:
            if (random.integer(5) === 0) suspicions.forgive(nowMs, random.integer(50))
            break
          case 2:
            suspicions = suspicions.clone()
            break
          case 3:
            suspicions.lastCalls(nowMs)
            break
          case 4:
            for (const [due] of suspicions.expired(nowMs)) {
              suspicions.end(due)
              dead++
            }
            break
          default:
            if (known === undefined) suspicions.begin(nodeId, new Suspicion(1, accusation('a', nowMs), short))
            else suspicions.confirm(nodeId, 1, accusation(`b${random.integer(5)}`, nowMs))
        }
        let earliestMs = Number.POSITIVE_INFINITY
        for (const [, { deadlineMs, lastCallAtMs }] of suspicions)
          earliestMs = Math.min(earliestMs, deadlineMs, lastCallAtMs)
        assert.equal(suspicions.deadlineMs, earliestMs)
      }
    }
    assert.ok(dead > 100, `${dead} dead`)
  })

  test('those whose time is over come in the order in which they were suspected, and only after their last call', () => {
    const suspicions = new Suspicions()
    for (const nodeId of ['c', 'a', 'b'])
      suspicions.begin(nodeId, new Suspicion(1, accusation('x', 0), bounds))
    suspicions.confirm('b', 1, accusation('y', 1))
    assert.deepEqual(suspicions.expired(10_000), [])
    assert.deepEqual(suspicions.lastCalls(600), ['c', 'a', 'b'])
    assert.deepEqual(suspicions.lastCalls(600), [])
    assert.deepEqual(suspicions.expired(619), [])
    assert.deepEqual(
      suspicions.expired(620).map(([nodeId]) => nodeId),
      ['c', 'a', 'b'],
    )
    suspicions.end('a')
    assert.equal(suspicions.expired(620).length, 2)
    assert.equal(suspicions.confirm('a', 1, accusation('z', 700)), false)
  })
})
