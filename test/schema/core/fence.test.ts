import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { SchemaFence } from '../../../src/schema/index.ts'

test('a fence takes what its last barrier takes, and work of the newest coordinator', () => {
  const open = new SchemaFence()
  assert.equal(open.refusal(0), undefined)
  assert.equal(open.refusalOfChunk(0), undefined)
  const raised = open.raised({ minimumVersion: 4, epoch: 9 })
  assert.deepEqual([raised.minimumVersion, raised.epoch], [4, 9])
  assert.equal(raised.refusal(4), undefined)
  assert.equal(raised.refusal(3)?.code, 'STALE_SCHEMA')
  assert.deepEqual(raised.refusal(3)?.details, { version: 3, minimumVersion: 4 })
  assert.throws(() => raised.check(3), { code: 'STALE_SCHEMA', outcome: 'none' })
  raised.check(5)
  assert.equal(raised.refusalOfChunk(9), undefined)
  assert.equal(raised.refusalOfChunk(8)?.code, 'STALE_EPOCH')
  assert.equal(open.refusal(1), undefined, 'a fence is a value')
})

test('neither number ever goes back, and a stored fence is the same again', () => {
  const number = fc.option(fc.integer({ min: 0, max: 50 }), { nil: undefined })
  fc.assert(
    fc.property(fc.array(fc.record({ minimumVersion: number, epoch: number })), (steps) => {
      let fence = new SchemaFence()
      for (const { minimumVersion, epoch } of steps) {
        const next = fence.raised({
          ...(minimumVersion === undefined ? {} : { minimumVersion }),
          ...(epoch === undefined ? {} : { epoch }),
        })
        assert.ok(next.minimumVersion >= Math.max(fence.minimumVersion, minimumVersion ?? 0))
        assert.ok(next.epoch >= Math.max(fence.epoch, epoch ?? 0))
        fence = new SchemaFence(next)
        assert.deepEqual(fence, next)
      }
    }),
  )
  for (const wrong of [-1, 0.5, Number.NaN, 2 ** 53])
    assert.throws(() => new SchemaFence({ minimumVersion: wrong }), { code: 'INVALID_ARGUMENT' })
})
