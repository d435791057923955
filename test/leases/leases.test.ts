import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Environment } from '../../src/core/environment.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import type { MetadataStore, SessionId } from '../../src/interfaces/metadata-store.ts'
import { type LeaseSession, type LeaseStatus, Leases, type LeasesOptions } from '../../src/leases/index.ts'
import { memoryStore, SessionHolder } from '../../src/metadata/index.ts'
import { Simulation } from '../../src/simulation/index.ts'

const code = (expected: string) => (error: unknown) => KeelsonError.hasCode(error, expected as 'CLOSED')

interface World {
  readonly simulation: Simulation
  readonly env: Environment
  readonly store: MetadataStore
  readonly member: (holder: string, options?: Partial<LeasesOptions>) => Promise<Member>
}

interface Member {
  readonly leases: Leases
  session: SessionHolder
}

/** Runs a test in virtual time. */
function inWorld(body: (world: World) => Promise<void>): () => Promise<void> {
  return async () => {
    const simulation = new Simulation({ seed: 1 })
    const env = simulation.environment('p')
    const store = memoryStore({ env })
    const member = async (holder: string, options: Partial<LeasesOptions> = {}): Promise<Member> => {
      const session = await SessionHolder.open({ env, store, holder, ttlMs: 6_000 })
      const made: { session: SessionHolder; leases?: Leases } = { session }
      made.leases = Leases.open({ env, store, holder, session: () => made.session, ...options })
      return made as Member
    }
    await simulation.until(body({ simulation, env, store, member }))
  }
}

const pause = (env: Environment, ms: number): Promise<void> =>
  new Promise((resolve) => {
    env.timers.schedule(ms, resolve)
  })

suite('Leases', () => {
  test(
    'one at a time: taken, refused to others, given back, taken again with the next sequence',
    inWorld(async ({ member, env }) => {
      const a = await member('a')
      const b = await member('b')
      const first = await a.leases.acquire('job')
      assert.deepEqual(first, { name: 'job', sequence: 1, epoch: a.session.sessionId })
      assert.deepEqual(a.leases.current('job'), first)
      assert.deepEqual(await a.leases.acquire('job'), first)
      assert.equal(await b.leases.tryAcquire('job'), undefined)
      assert.equal(b.leases.status('job'), 'none')
      const waiting = b.leases.acquire('job')
      await pause(env, 20_000)
      assert.equal(a.leases.status('job'), 'valid')
      let drained = false
      await a.leases.release('job', {
        drain: async () => {
          assert.equal(a.leases.current('job'), undefined)
          assert.equal(a.leases.statusOf(first), 'proscribed')
          assert.equal(await b.leases.tryAcquire('job'), undefined)
          drained = true
        },
      })
      assert.ok(drained)
      assert.equal(a.leases.statusOf(first), 'expired')
      assert.equal((await waiting).sequence, 2)
      await a.leases.release('job')
      assert.equal(b.leases.current('job')?.sequence, 2)
      assert.deepEqual(
        (await a.leases.history('job')).map(({ sequence, holder, change }) => [sequence, holder, change]),
        [
          [1, 'a', 'claim'],
          [2, 'b', 'claim'],
        ],
      )
    }),
  )

  test(
    'the end of the session ends every lease at once, and others take over',
    inWorld(async ({ member, env, store }) => {
      const a = await member('a')
      const b = await member('b')
      const names = Array.from({ length: 30 }, (_, i) => `r${i}`)
      await Promise.all(names.map((name) => a.leases.acquire(name)))
      assert.equal((await b.leases.list()).length, 30)
      const seen: LeaseStatus[] = []
      a.leases.on('status', (name, status) => {
        if (name === 'r3') seen.push(status)
      })
      const waiting = names.map((name) => b.leases.acquire(name))
      await pause(env, 100)
      const { revision } = await store.range({ key: new Uint8Array(1) })
      await a.session.close()
      assert.ok(names.every((name) => a.leases.current(name) === undefined))
      const tokens = await Promise.all(waiting)
      assert.ok(tokens.every(({ sequence }) => sequence === 2))
      assert.ok(revision > 0)
      await pause(env, 300)
      assert.deepEqual(seen, ['expired'])
      assert.deepEqual(
        (await b.leases.history('r3')).map(({ change }) => change),
        ['claim', 'takeover'],
      )
    }),
  )

  test(
    'after a mass failure leases are taken over at a bounded rate',
    inWorld(async ({ member, env }) => {
      const a = await member('a')
      const b = await member('b', { takeoversPerSecond: 5 })
      const names = Array.from({ length: 25 }, (_, i) => `r${i}`)
      await Promise.all(names.map((name) => a.leases.acquire(name)))
      const waiting = names.map((name) => b.leases.acquire(name))
      await pause(env, 100)
      await a.session.close()
      await pause(env, 1_050)
      const soon = names.filter((name) => b.leases.current(name)).length
      assert.ok(soon >= 5 && soon <= 11, `${soon}`)
      const c = await member('c', { takeoversPerSecond: 1 })
      await assert.rejects(async () => {
        for (const name of names) await c.leases.tryAcquire(name)
      }, code('OVERLOADED'))
      await c.leases.close()
      await Promise.all(waiting)
      assert.equal((await b.leases.list()).filter(({ holder }) => holder === 'b').length, 25)
    }),
  )

  test(
    'a transfer: the old holder stops, then the one who waits has it',
    inWorld(async ({ member, env }) => {
      const [a, b, c] = [await member('a'), await member('b'), await member('c')]
      const token = await a.leases.acquire('job')
      await assert.rejects(a.leases.transfer('job', 'b'), code('NOT_FOUND'))
      assert.deepEqual(a.leases.current('job'), token)
      const preferred = c.leases.acquire('job', { preference: 9 })
      const waiting = b.leases.acquire('job')
      await pause(env, 100)
      await a.leases.transfer('job', 'b', {
        drain: async () => {
          assert.equal(a.leases.status('job'), 'proscribed')
          assert.equal(b.leases.current('job'), undefined)
        },
      })
      assert.equal(a.leases.current('job'), undefined)
      assert.equal((await waiting).sequence, 2)
      await assert.rejects(a.leases.transfer('job', 'b'), code('NOT_FOUND'))
      await b.leases.release('job')
      assert.equal((await preferred).sequence, 3)
      assert.deepEqual(
        (await a.leases.history('job')).map(({ holder, change }) => [holder, change]),
        [
          ['a', 'claim'],
          ['b', 'transfer'],
          ['c', 'claim'],
        ],
      )
    }),
  )

  test(
    'a drain that fails leaves the lease proscribed; acquired again it has a new sequence',
    inWorld(async ({ member, env }) => {
      const a = await member('a')
      const b = await member('b')
      await a.leases.acquire('job')
      const abort = new AbortController()
      const waiting = b.leases.acquire('job', { signal: abort.signal })
      await pause(env, 100)
      const drain = async (): Promise<void> => {
        throw new Error('stuck')
      }
      await assert.rejects(a.leases.transfer('job', 'b', { drain }), /stuck/)
      assert.equal(a.leases.status('job'), 'proscribed')
      abort.abort()
      await assert.rejects(waiting, code('ABORTED'))
      const again = await a.leases.acquire('job')
      assert.equal(again.sequence, 2)
      assert.deepEqual(a.leases.current('job'), again)
      await pause(env, 100)
      await assert.rejects(a.leases.transfer('job', 'b'), code('NOT_FOUND'))
    }),
  )

  test(
    'a restarted process never uses a lease of its earlier life',
    inWorld(async ({ member, env }) => {
      const before = await member('a')
      const token = await before.leases.acquire('job')
      const after = await member('a')
      assert.equal(after.leases.current('job'), undefined)
      assert.equal(await after.leases.tryAcquire('job'), undefined)
      assert.equal(after.leases.status('job'), 'proscribed')
      const waiting = after.leases.acquire('job')
      await pause(env, 1_000)
      assert.equal(after.leases.current('job'), undefined)
      await before.session.close()
      assert.equal((await waiting).sequence, token.sequence + 1)
    }),
  )

  test(
    'goes on under the next session',
    inWorld(async ({ member, env, store }) => {
      const a = await member('a')
      const token = await a.leases.acquire('job')
      await a.session.close()
      assert.equal(a.leases.statusOf(token), 'expired')
      await assert.rejects(a.leases.tryAcquire('job'), code('EPOCH_ENDED'))
      const waiting = a.leases.acquire('job')
      await pause(env, 1_000)
      a.session = await SessionHolder.open({ env, store, holder: 'a', ttlMs: 6_000 })
      assert.equal((await waiting).sequence, 2)
      assert.equal(a.leases.statusOf(token), 'expired')
    }),
  )

  test(
    'stasis and the deadline follow the session, with nothing but the clock',
    inWorld(async ({ env, store }) => {
      let remainingMs = 1_000
      const sessionId: SessionId = await store.grantSession('a', 60_000)
      const session: LeaseSession = { sessionId, remainingMs: () => remainingMs }
      const leases = Leases.open({ env, store, holder: 'a', session: () => session, stasisMs: 100 })
      const seen: string[] = []
      leases.on('status', (_, status) => seen.push(status))
      const token = await leases.acquire('job')
      remainingMs = 80
      assert.equal(leases.current('job'), undefined)
      assert.equal(leases.statusOf(token), 'stasis')
      await pause(env, 300)
      remainingMs = 0
      assert.equal(leases.status('job'), 'expired')
      await pause(env, 300)
      remainingMs = 500
      assert.deepEqual(leases.current('job'), token)
      await pause(env, 300)
      assert.deepEqual(seen, ['valid', 'stasis', 'expired', 'valid'])
      await leases.close()
      await leases.close()
    }),
  )

  test(
    'an aborted wait leaves nothing behind, and closing gives everything back',
    inWorld(async ({ member, env, store }) => {
      const a = await member('a')
      const b = await member('b')
      await a.leases.acquire('job')
      const abort = new AbortController()
      const waiting = b.leases.acquire('job', { signal: abort.signal })
      const waitingToo = b.leases.acquire('job')
      await pause(env, 100)
      abort.abort()
      await assert.rejects(waiting, code('ABORTED'))
      await pause(env, 100)
      await a.leases.close()
      assert.equal((await waitingToo).sequence, 2)
      await assert.rejects(a.leases.acquire('job'), code('CLOSED'))
      await a.leases.acquire('other').catch(() => {})
      const closing = b.leases.acquire('more')
      const c = await member('c')
      const never = c.leases.acquire('job')
      await closing
      await c.leases.close()
      await assert.rejects(never, code('CLOSED'))
      await b.leases.close()
      assert.deepEqual(await c.leases.list(), [])
      const { entries } = await store.range({ key: new TextEncoder().encode('/leases/waiting/'), end: null })
      assert.deepEqual(
        entries.filter(({ session }) => session !== 0),
        [],
      )
    }),
  )

  test(
    'a watch shows every holder, and the history is bounded',
    inWorld(async ({ member, env }) => {
      const a = await member('a')
      const shown: (number | undefined)[] = []
      const stop = new AbortController()
      const watching = (async () => {
        for await (const holder of a.leases.watch('job', { signal: stop.signal }))
          shown.push(holder?.sequence)
      })().catch(() => {})
      await pause(env, 10)
      for (let i = 0; i < 40; i++) {
        await a.leases.acquire('job')
        await a.leases.release('job')
      }
      await pause(env, 10)
      stop.abort()
      await watching
      assert.deepEqual(shown.slice(0, 4), [undefined, 1, undefined, 2])
      assert.equal(shown.length, 81)
      const history = await a.leases.history('job')
      assert.equal(history.length, 32)
      assert.equal(history[31]?.sequence, 40)
    }),
  )

  test(
    'refuses bad input',
    inWorld(async ({ member, env, store }) => {
      const { leases } = await member('a', { maximumWaiting: 1 })
      await assert.rejects(leases.acquire('a/b'), code('INVALID_ARGUMENT'))
      await assert.rejects(leases.acquire('a', { preference: -1 }), code('INVALID_ARGUMENT'))
      assert.throws(() => leases.watch(''), code('INVALID_ARGUMENT'))
      const options = { env, store, holder: 'a', session: () => undefined }
      assert.throws(() => Leases.open({ ...options, stasis: 1 } as never), /did you mean 'stasisMs'/)
      const b = await member('b')
      await b.leases.acquire('job')
      const waiting = leases.acquire('job')
      await assert.rejects(leases.acquire('other'), code('OVERLOADED'))
      await b.leases.close()
      await waiting
    }),
  )
})
