import assert from 'node:assert/strict'
import { sleep } from '../../core/async.ts'
import { text, utf8 } from '../../core/bytes.ts'
import { changes, del, dump, follow, type MetadataStoreCase, put, refused, stretch } from './harness.ts'

/** Long enough not to run out while a case is busy. */
const longMs = 60_000
/** Short enough to wait for. */
const shortMs = 500

/** Sessions: grant, renewal, expiry, revocation, their keys. @internal */
export const sessionCases: Readonly<Record<string, MetadataStoreCase>> = {
  'grants sessions whose ids grow': async (harness) => {
    const store = await harness.open()
    const one = await store.grantSession('n1', longMs)
    const other = await store.grantSession('n2', longMs)
    assert.ok(other > one && one > 0)
    assert.deepEqual(
      [...(await store.sessions())].sort((a, b) => a.sessionId - b.sessionId),
      [
        { sessionId: one, ttlMs: longMs, holder: 'n1' },
        { sessionId: other, ttlMs: longMs, holder: 'n2' },
      ],
    )
  },

  'takes all keys of a session away in one revision': async (harness) => {
    const store = await harness.open()
    const session = await store.grantSession('n1', longMs)
    await store.txn({ then: [put('a', '1', session), put('c', '1')] })
    const { revision } = await store.txn({ then: [put('b', '1', session)] })
    assert.equal((await store.get(utf8('b')))?.session, session)
    await store.revokeSession(session)
    assert.deepEqual(await dump(store), ['c=1'])
    const watch = store.watch(stretch(''), { fromRevision: revision + 1 })
    const seen = await follow(watch, (response) => response.type === 'changes')
    assert.deepEqual(changes(seen), [`${revision + 1}:delete a=`, `${revision + 1}:delete b=`])
    assert.deepEqual(await store.sessions(), [])
  },

  'revokes idempotently and refuses what comes after': async (harness) => {
    const store = await harness.open()
    const session = await store.grantSession('n1', longMs)
    await store.revokeSession(session)
    await store.revokeSession(session)
    await store.revokeSession(987_654)
    await refused(store.renewSession(session), 'EPOCH_ENDED')
    await refused(store.txn({ then: [put('a', '1', session)] }), 'EPOCH_ENDED')
    assert.deepEqual(await dump(store), [])
  },

  'ends a session that is not renewed': async (harness) => {
    const store = await harness.open()
    const session = await store.grantSession('n1', shortMs)
    const { revision } = await store.txn({ then: [put('a', '1', session)] })
    const watch = store.watch({ key: utf8('a') }, { fromRevision: revision + 1 })
    const seen = await follow(watch, (response) => response.type === 'changes')
    assert.deepEqual(changes(seen), [`${revision + 1}:delete a=`])
    await refused(store.renewSession(session), 'EPOCH_ENDED')
  },

  'keeps a session that is renewed': async (harness) => {
    const store = await harness.open()
    const session = await store.grantSession('n1', shortMs)
    await store.txn({ then: [put('a', '1', session)] })
    for (let i = 0; i < 8; i++) {
      await sleep(harness.env.timers, shortMs / 4)
      await store.renewSession(session)
    }
    assert.deepEqual(await dump(store), ['a=1'])
  },

  'lets a key go that is written without its session': async (harness) => {
    const store = await harness.open()
    const [one, other] = [await store.grantSession('n1', longMs), await store.grantSession('n2', longMs)]
    await store.txn({
      then: [put('a', '1', one), put('b', '1', one), put('c', '1', one), put('d', '1', one)],
    })
    await store.txn({ then: [put('a', '2'), put('b', '2', other), del('d')] })
    await store.revokeSession(one)
    assert.deepEqual(await dump(store), ['a=2', 'b=2'])
    await store.revokeSession(other)
    assert.deepEqual(await dump(store), ['a=2'])
  },

  'compares a key with its session': async (harness) => {
    const store = await harness.open()
    const session = await store.grantSession('n1', longMs)
    await store.txn({ then: [put('a', '1', session)] })
    const held = await store.txn({
      if: [{ key: utf8('a'), target: 'session', is: '=', operand: session }],
      then: [put('a', '2', session)],
    })
    assert.equal(held.succeeded, true)
    assert.equal(text((await store.get(utf8('a')))?.value as Uint8Array), '2')
  },

  'refuses a TTL or a holder that makes no sense': async (harness) => {
    const store = await harness.open()
    await refused(store.grantSession('n1', 0), 'INVALID_ARGUMENT')
    await refused(store.grantSession('n1', Number.NaN), 'INVALID_ARGUMENT')
    await refused(store.grantSession('', longMs), 'INVALID_ARGUMENT')
  },
}
