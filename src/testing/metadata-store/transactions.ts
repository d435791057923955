import assert from 'node:assert/strict'
import { text, utf8 } from '../../core/bytes.ts'
import type { Compare } from '../../interfaces/metadata-store.ts'
import { del, dump, type MetadataStoreCase, put, refused, stretch, write } from './harness.ts'

/** Transactions: compares, branches, atomicity. @internal */
export const transactionCases: Readonly<Record<string, MetadataStoreCase>> = {
  'takes one revision for all that a transaction writes': async (harness) => {
    const store = await harness.open()
    const before = await write(store, 'z', '')
    const result = await store.txn({ then: [put('a', '1'), put('b', '2'), del('z')] })
    assert.equal(result.revision, before + 1)
    const { entries } = await store.range(stretch(''))
    assert.deepEqual(
      entries.map((entry) => [text(entry.key), entry.modRevision]),
      [
        ['a', result.revision],
        ['b', result.revision],
      ],
    )
  },

  'takes no revision for a transaction that writes nothing': async (harness) => {
    const store = await harness.open()
    const before = await write(store, 'a', '1')
    const read = await store.txn({ then: [{ type: 'range', select: stretch('') }] })
    assert.equal(read.revision, before)
    const idle = await store.txn({ then: [del('b')] })
    assert.equal(idle.revision, before)
    const empty = await store.txn({})
    assert.equal(empty.succeeded, true)
    assert.equal(empty.revision, before)
  },

  'answers every operation in its place': async (harness) => {
    const store = await harness.open()
    await write(store, 'a', '1')
    const { succeeded, results } = await store.txn({
      then: [put('a', '2'), del('b'), { type: 'range', select: stretch('') }, put('c', '3')],
    })
    assert.equal(succeeded, true)
    const [first, second, third, fourth] = results
    assert.ok(first?.type === 'put' && second?.type === 'delete')
    assert.ok(third?.type === 'range' && fourth?.type === 'put')
    assert.equal(text((first.previous as { value: Uint8Array }).value), '1')
    assert.deepEqual(second.deleted, [])
    // A range sees what the operations before it did.
    assert.deepEqual(
      third.entries.map((entry) => text(entry.value)),
      ['2'],
    )
    assert.equal(fourth.previous, undefined)
  },

  'gives back what it deleted': async (harness) => {
    const store = await harness.open()
    for (const key of ['a', 'b', 'c']) await write(store, key, key)
    const { results } = await store.txn({ then: [{ type: 'delete', select: stretch('a', 'c') }] })
    const [deleted] = results
    assert.ok(deleted?.type === 'delete')
    assert.deepEqual(
      deleted.deleted.map((entry) => text(entry.key)),
      ['a', 'b'],
    )
    assert.deepEqual(await dump(store), ['c=c'])
  },

  'compares revisions, versions, sessions and values': async (harness) => {
    const store = await harness.open()
    const revision = await write(store, 'a', '1')
    const key = utf8('a')
    const absent = utf8('b')
    const expected: readonly (readonly [Compare, boolean])[] = [
      [{ key, target: 'createRevision', is: '=', operand: revision }, true],
      [{ key, target: 'createRevision', is: '!=', operand: revision }, false],
      [{ key, target: 'modRevision', is: '<', operand: revision + 1 }, true],
      [{ key, target: 'modRevision', is: '<', operand: revision }, false],
      [{ key, target: 'modRevision', is: '>', operand: revision - 1 }, true],
      [{ key, target: 'version', is: '=', operand: 1 }, true],
      [{ key, target: 'version', is: '>', operand: 1 }, false],
      [{ key, target: 'session', is: '=', operand: 0 }, true],
      [{ key, target: 'value', is: '=', operand: utf8('1') }, true],
      [{ key, target: 'value', is: '=', operand: utf8('11') }, false],
      [{ key, target: 'value', is: '!=', operand: utf8('2') }, true],
      [{ key: absent, target: 'createRevision', is: '=', operand: 0 }, true],
      [{ key: absent, target: 'version', is: '<', operand: 1 }, true],
      [{ key: absent, target: 'value', is: '=', operand: utf8('') }, false],
      [{ key: absent, target: 'value', is: '!=', operand: utf8('') }, true],
    ]
    for (const [compare, outcome] of expected) {
      const { succeeded } = await store.txn({ if: [compare] })
      assert.equal(succeeded, outcome, JSON.stringify({ ...compare, key: text(compare.key) }))
    }
  },

  'does one branch, and only that': async (harness) => {
    const store = await harness.open()
    const absent: Compare = { key: utf8('a'), target: 'version', is: '=', operand: 0 }
    const create = { if: [absent], then: [put('a', 'then')], else: [put('b', 'else')] }
    assert.equal((await store.txn(create)).succeeded, true)
    assert.deepEqual(await dump(store), ['a=then'])
    assert.equal((await store.txn(create)).succeeded, false)
    assert.deepEqual(await dump(store), ['a=then', 'b=else'])
  },

  'refuses two writes of one key and does nothing': async (harness) => {
    const store = await harness.open()
    await refused(store.txn({ then: [put('a', '1'), put('a', '2')] }), 'INVALID_ARGUMENT')
    await refused(store.txn({ then: [put('a', '1'), del('a')] }), 'INVALID_ARGUMENT')
    await refused(
      store.txn({ then: [put('b', '1'), { type: 'delete', select: stretch('a', 'c') }] }),
      'INVALID_ARGUMENT',
    )
    assert.deepEqual(await dump(store), [])
    // The two branches never both happen.
    await store.txn({ then: [put('a', '1')], else: [put('a', '2')] })
    assert.deepEqual(await dump(store), ['a=1'])
  },

  'refuses a transaction that is too large': async (harness) => {
    const store = await harness.open()
    const many = Array.from({ length: 10_000 }, (_, i) => put(`k${i}`, ''))
    await refused(store.txn({ then: many }), 'LIMIT_EXCEEDED')
    const large = { type: 'put', key: utf8('a'), value: new Uint8Array(8 << 20) } as const
    await refused(store.txn({ then: [large] }), 'LIMIT_EXCEEDED')
    assert.deepEqual(await dump(store), [])
  },

  'serializes transactions that race': async (harness) => {
    const [one, other] = [await harness.open(), await harness.open()]
    await write(one, 'n', '0')
    const add = async (store: typeof one): Promise<void> => {
      for (;;) {
        const entry = await store.get(utf8('n'))
        assert.ok(entry !== undefined)
        const { succeeded } = await store.txn({
          if: [{ key: utf8('n'), target: 'modRevision', is: '=', operand: entry.modRevision }],
          then: [put('n', String(Number(text(entry.value)) + 1))],
        })
        if (succeeded) return
      }
    }
    await Promise.all(Array.from({ length: 10 }, (_, i) => add(i % 2 === 0 ? one : other)))
    assert.deepEqual(await dump(one), ['n=10'])
  },
}
