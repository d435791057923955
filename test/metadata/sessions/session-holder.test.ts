import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sleep } from '../../../src/core/async.ts'
import type { Environment } from '../../../src/core/environment.ts'
import { type ErrorCode, KeelsonError } from '../../../src/core/errors.ts'
import type { MetadataStore } from '../../../src/interfaces/metadata-store.ts'
import { memoryStore, SessionHolder } from '../../../src/metadata/index.ts'
import { VirtualTime } from '../support/virtual-environment.ts'

function code(...codes: ErrorCode[]): (error: unknown) => boolean {
  return (error) => KeelsonError.hasCode(error, ...codes)
}

/** A store whose renewals fail while `cut`. */
function shaky(store: MetadataStore): { readonly store: MetadataStore; cut: boolean } {
  const state = {
    cut: false,
    store: new Proxy(store, {
      get(target, name) {
        if (name === 'renewSession' && state.cut)
          return async () => {
            throw new KeelsonError('UNREACHABLE', 'cut')
          }
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      },
    }),
  }
  return state
}

function setUp(): { readonly env: Environment; readonly store: MetadataStore } {
  const env = new VirtualTime().environment()
  return { env, store: memoryStore({ env }) }
}

describe('SessionHolder', () => {
  test('keeps its session for as long as it is open, and ends it when it closes', async () => {
    const { env, store } = setUp()
    const holder = await SessionHolder.open({ env, store, holder: 'n1', ttlMs: 1000 })
    for (let i = 0; i < 10; i++) {
      await sleep(env.timers, 700)
      assert.equal(holder.status(), 'valid')
      assert.equal(holder.isLive(), true)
    }
    assert.ok(holder.remainingMs() > 0)
    assert.equal((await store.sessions())[0]?.sessionId, holder.sessionId)
    const seen: string[] = []
    holder.on('status', (status) => seen.push(status))
    await holder.close()
    await holder.close()
    await holder.ended()
    assert.deepEqual(await store.sessions(), [])
    assert.equal(holder.status(), 'ended')
    assert.equal(holder.isLive(), false)
    assert.equal(holder.remainingMs(), 0)
    assert.deepEqual(seen, ['ended'])
  })

  test('goes into stasis and ends by its own clock when it cannot renew', async () => {
    const { env, store } = setUp()
    const link = shaky(store)
    const holder = await SessionHolder.open({
      env,
      store: link.store,
      holder: 'n1',
      ttlMs: 1000,
      stasisMs: 200,
    })
    const seen: [string, boolean][] = []
    holder.on('status', (status) => {
      void store.sessions().then((sessions) => seen.push([status, sessions.length === 1]))
    })
    link.cut = true
    await holder.ended()
    await sleep(env.timers, 1)
    // When the holder stopped, the store still held the session.
    assert.deepEqual(seen, [
      ['stasis', true],
      ['ended', true],
    ])
    await sleep(env.timers, 1000)
    assert.deepEqual(await store.sessions(), [])
  })

  test('comes back from stasis', async () => {
    const { env, store } = setUp()
    const link = shaky(store)
    const holder = await SessionHolder.open({
      env,
      store: link.store,
      holder: 'n1',
      ttlMs: 1000,
      stasisMs: 300,
    })
    const seen: string[] = []
    holder.on('status', (status) => seen.push(status))
    link.cut = true
    await sleep(env.timers, 800)
    link.cut = false
    await sleep(env.timers, 1000)
    assert.deepEqual(seen, ['stasis', 'valid'])
    await holder.close()
  })

  test('ends at once when the store has ended the session', async () => {
    const { env, store } = setUp()
    const holder = await SessionHolder.open({ env, store, holder: 'n1', ttlMs: 10_000 })
    await store.revokeSession(holder.sessionId)
    const start = env.clock.monotonicMs()
    await holder.ended()
    assert.ok(env.clock.monotonicMs() - start < 5000)
  })

  test('is not opened when the answer takes longer than the TTL', async () => {
    const { env, store } = setUp()
    const slow = new Proxy(store, {
      get(target, name) {
        if (name !== 'grantSession') return Reflect.get(target, name) as unknown
        return async (...args: Parameters<MetadataStore['grantSession']>) => {
          const sessionId = await target.grantSession(...args)
          await sleep(env.timers, 2000)
          return sessionId
        }
      },
    })
    await assert.rejects(SessionHolder.open({ env, store: slow, holder: 'n1', ttlMs: 1000 }), code('TIMEOUT'))
  })

  test('refuses options that make no sense', async () => {
    const { env, store } = setUp()
    const bad = { env, store, holder: 'n1', ttlMs: 1000 }
    await assert.rejects(SessionHolder.open({ ...bad, ttlMs: 1 }), code('INVALID_OPTION'))
    await assert.rejects(SessionHolder.open({ ...bad, stasisMs: 600 }), code('INVALID_OPTION'))
    await assert.rejects(SessionHolder.open({ ...bad, ttl: 1 } as never), /did you mean 'ttlMs'/)
  })
})
