import assert from 'node:assert/strict'
import { utf8 } from '../../core/bytes.ts'
import { del, dump, type MetadataStoreCase, put, refused, stretch, write } from './harness.ts'

/** Keys, ranges, the past, compaction. @internal */
export const keyCases: Readonly<Record<string, MetadataStoreCase>> = {
  'reads an absent key as undefined': async (harness) => {
    const store = await harness.open()
    assert.equal(await store.get(utf8('a')), undefined)
  },

  'counts revisions and versions of a key': async (harness) => {
    const store = await harness.open()
    const first = await write(store, 'a', '1')
    await write(store, 'b', '1')
    const last = await write(store, 'a', '2')
    assert.deepEqual(await store.get(utf8('a')), {
      key: utf8('a'),
      value: utf8('2'),
      createRevision: first,
      modRevision: last,
      version: 2,
      session: 0,
    })
    assert.equal(last, first + 2)
  },

  'starts a key anew after its deletion': async (harness) => {
    const store = await harness.open()
    await write(store, 'a', '1')
    await store.txn({ then: [del('a')] })
    assert.equal(await store.get(utf8('a')), undefined)
    const revision = await write(store, 'a', '2')
    const entry = await store.get(utf8('a'))
    assert.equal(entry?.createRevision, revision)
    assert.equal(entry?.version, 1)
  },

  'reads ranges in the order of bytes': async (harness) => {
    const store = await harness.open()
    for (const key of ['b', 'a', 'c', 'aa', 'b\u00ff']) await write(store, key, key)
    assert.deepEqual(await dump(store), ['a=a', 'aa=aa', 'b=b', 'b\u00ff=b\u00ff', 'c=c'])
    assert.deepEqual(await dump(store, stretch('aa', 'c')), ['aa=aa', 'b=b', 'b\u00ff=b\u00ff'])
    assert.deepEqual(await dump(store, stretch('b')), ['b=b', 'b\u00ff=b\u00ff', 'c=c'])
    assert.deepEqual(await dump(store, { key: utf8('b') }), ['b=b'])
    assert.deepEqual(await dump(store, stretch('c', 'a')), [])
  },

  'limits a range and still counts all of it': async (harness) => {
    const store = await harness.open()
    for (const key of ['a', 'b', 'c']) await write(store, key, '')
    const page = await store.range(stretch(''), { limit: 2 })
    assert.equal(page.entries.length, 2)
    assert.equal(page.more, true)
    assert.equal(page.count, 3)
    const whole = await store.range(stretch(''), { limit: 3 })
    assert.equal(whole.more, false)
  },

  'reads the past': async (harness) => {
    const store = await harness.open()
    const first = await write(store, 'a', '1')
    const second = await write(store, 'a', '2')
    const third = (await store.txn({ then: [del('a'), put('b', '3')] })).revision
    assert.deepEqual(await dump(store, stretch(''), first), ['a=1'])
    assert.deepEqual(await dump(store, stretch(''), second), ['a=2'])
    assert.deepEqual(await dump(store, stretch(''), third), ['b=3'])
    assert.equal((await store.get(utf8('a'), { revision: first }))?.version, 1)
  },

  'refuses to read the future': async (harness) => {
    const store = await harness.open()
    const revision = await write(store, 'a', '1')
    await refused(store.get(utf8('a'), { revision: revision + 1 }), 'FUTURE_REVISION')
    await refused(store.range(stretch(''), { revision: revision + 1 }), 'FUTURE_REVISION')
    await refused(store.compact(revision + 1), 'FUTURE_REVISION')
  },

  'forgets what is below a compaction and nothing else': async (harness) => {
    const store = await harness.open()
    const first = await write(store, 'a', '1')
    await write(store, 'b', '1')
    const kept = await write(store, 'a', '2')
    await write(store, 'a', '3')
    await store.compact(kept)
    const error = await refused(store.get(utf8('a'), { revision: first }), 'COMPACTED')
    assert.equal(error.details['compactRevision'], kept)
    assert.deepEqual(await dump(store, stretch(''), kept), ['a=2', 'b=1'])
    assert.deepEqual(await dump(store), ['a=3', 'b=1'])
    // Compacting to where it is already is no mistake.
    await store.compact(kept)
    await store.compact(first)
    assert.deepEqual(await dump(store, stretch(''), kept), ['a=2', 'b=1'])
  },

  'refuses keys without a byte or of too many': async (harness) => {
    const store = await harness.open()
    await refused(store.get(new Uint8Array(0)), 'INVALID_ARGUMENT')
    await refused(
      store.txn({ then: [{ type: 'put', key: new Uint8Array(0), value: utf8('') }] }),
      'INVALID_ARGUMENT',
    )
    await refused(
      store.txn({ then: [{ type: 'put', key: new Uint8Array(1 << 20), value: utf8('') }] }),
      'LIMIT_EXCEEDED',
    )
  },

  'gives bytes that the caller may change': async (harness) => {
    const store = await harness.open()
    const value = utf8('1')
    await store.txn({ then: [{ type: 'put', key: utf8('a'), value }] })
    value[0] = 0
    const entry = await store.get(utf8('a'))
    entry?.value.fill(0)
    entry?.key.fill(0)
    assert.deepEqual(await dump(store), ['a=1'])
  },

  'shows the same state through every store': async (harness) => {
    const [one, other] = [await harness.open(), await harness.open()]
    const revision = await write(one, 'a', '1')
    assert.deepEqual(await dump(other), ['a=1'])
    assert.equal((await other.range(stretch(''))).revision, revision)
  },

  'refuses calls after it was closed': async (harness) => {
    const store = await harness.open()
    await store.close()
    await store.close()
    await refused(store.get(utf8('a')), 'CLOSED')
    await refused(store.txn({ then: [put('a', '1')] }), 'CLOSED')
  },

  'obeys a signal that is aborted already': async (harness) => {
    const store = await harness.open()
    const signal = AbortSignal.abort()
    await refused(store.get(utf8('a'), { signal }), 'ABORTED')
    await refused(store.txn({ then: [put('a', '1')] }, { signal }), 'ABORTED')
    assert.equal(await store.get(utf8('a')), undefined)
  },
}
