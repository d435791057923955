import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { text, utf8 } from '../../../src/core/bytes.ts'
import type { Environment } from '../../../src/core/environment.ts'
import { type ErrorCode, KeelsonError } from '../../../src/core/errors.ts'
import type { KeySelector, Operation, WatchResponse } from '../../../src/interfaces/metadata-store.ts'
import { memoryStore, prefixSelector, selects } from '../../../src/metadata/index.ts'
import { execute } from '../../../src/metadata/mvcc/execute.ts'
import { MvccState } from '../../../src/metadata/mvcc/mvcc-state.ts'
import { SelectorIndex } from '../../../src/metadata/watch/selector-index.ts'
import { WatchHub } from '../../../src/metadata/watch/watch-hub.ts'
import { VirtualTime } from '../support/virtual-environment.ts'

const keys = ['a', 'aa', 'ab', 'b', 'ba', 'c']
const key = fc.constantFrom(...keys).map(utf8)
const select: fc.Arbitrary<KeySelector> = fc.oneof(
  key.map((each): KeySelector => ({ key: each })),
  key.map(prefixSelector),
  fc.tuple(key, key).map(([from, end]): KeySelector => ({ key: from, end })),
  key.map((from): KeySelector => ({ key: from, end: null })),
  fc.constant<KeySelector>({ key: utf8(''), end: null }),
)
const operations: fc.Arbitrary<Operation[]> = fc
  .uniqueArray(fc.record({ key, remove: fc.boolean() }), { maxLength: 4, selector: (each) => text(each.key) })
  .map((list) =>
    list.map(
      (each, i): Operation =>
        each.remove
          ? { type: 'delete', select: { key: each.key } }
          : { type: 'put', key: each.key, value: utf8(`${i}`) },
    ),
  )

function code(...codes: ErrorCode[]): (error: unknown) => boolean {
  return (error) => KeelsonError.hasCode(error, ...codes)
}

class World {
  readonly env: Environment = new VirtualTime().environment()
  readonly state = new MvccState()
  readonly hub: WatchHub
  /** What each revision changed, by the answers of its transaction. */
  readonly history: { type: string; key: Uint8Array; value: string; previous: string | undefined }[][] = [[]]

  constructor(maximumWatchers = 1000) {
    const { env, state } = this
    this.hub = new WatchHub({ env, reader: () => state, maximumWatchers, progressIntervalMs: 1000 })
  }

  write(then: readonly Operation[]): void {
    const before = new Map(keys.map((each) => [each, this.state.get(utf8(each))]))
    const { revision } = this.state
    execute(this.state, { type: 'txn', quotaBytes: 1e9, transaction: { then } })
    this.hub.notify()
    if (this.state.revision === revision) return
    this.history.push(
      then.flatMap((each) => {
        const name = each.type === 'put' ? each.key : each.type === 'delete' ? each.select.key : utf8('')
        const old = before.get(text(name))
        if (each.type === 'delete' && old === undefined) return []
        const previous = old === undefined ? undefined : text(old.value)
        return [{ type: each.type, key: name, value: each.type === 'put' ? text(each.value) : '', previous }]
      }),
    )
  }

  /** What a watch has to yield, revision by revision. */
  expected(selector: KeySelector, from: number, withPrevious: boolean): string[] {
    return this.history.flatMap((events, revision) => {
      if (revision < from) return []
      const matching = events.filter((event) => selects(selector, event.key))
      if (matching.length === 0) return []
      const shown = matching.map(
        (each) => `${each.type} ${text(each.key)}=${each.value}${withPrevious ? ` ${each.previous}` : ''}`,
      )
      return [`${revision}: ${shown.join(', ')}`]
    })
  }
}

function show(response: WatchResponse, withPrevious: boolean): string[] {
  if (response.type === 'progress') return []
  const shown = response.events.map(({ type, entry, previous }) => {
    const before = previous === undefined ? undefined : text(previous.value)
    return `${type} ${text(entry.key)}=${text(entry.value)}${withPrevious ? ` ${before}` : ''}`
  })
  return [`${response.revision}: ${shown.join(', ')}`]
}

describe('WatchHub', () => {
  test('yields exactly the selected changes in order, whatever the pace, and progress never lies', async () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: operations.map((then) => ({ type: 'write' as const, then })) },
      // More than a watcher remembers.
      { weight: 1, arbitrary: operations.map((then) => ({ type: 'burst' as const, then })) },
      {
        weight: 2,
        arbitrary: fc.record({
          type: fc.constant('watch' as const),
          select,
          back: fc.nat(8),
          previous: fc.boolean(),
        }),
      },
      {
        weight: 4,
        arbitrary: fc.record({ type: fc.constant('take' as const), who: fc.nat(9), count: fc.nat(5) }),
      },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const world = new World()
        const watchers: {
          readonly select: KeySelector
          readonly from: number
          readonly previous: boolean
          readonly iterator: AsyncIterableIterator<WatchResponse>
          readonly seen: string[]
          progress: number
          waiting: Promise<void> | undefined
        }[] = []
        const take = (watcher: (typeof watchers)[number]): void => {
          watcher.waiting ??= watcher.iterator.next().then(({ value }: IteratorResult<WatchResponse>) => {
            const response = value as WatchResponse
            watcher.waiting = undefined
            watcher.seen.push(...show(response, watcher.previous))
            if (response.type === 'changes') assert.ok(response.revision > watcher.progress)
            else {
              assert.ok(response.revision >= watcher.progress)
              watcher.progress = response.revision
              // Everything up to it was delivered.
              const due = world.expected(watcher.select, watcher.from, watcher.previous)
              const earlier = due.filter((each) => Number.parseInt(each, 10) <= response.revision)
              assert.deepEqual(watcher.seen, earlier)
            }
          })
        }
        for (const each of steps) {
          if (each.type === 'write') world.write(each.then)
          else if (each.type === 'burst') for (let i = 0; i < 300; i++) world.write(each.then)
          else if (each.type === 'watch') {
            const from = Math.max(1, world.state.revision + 3 - each.back)
            const options = { fromRevision: from, previous: each.previous }
            const iterator = world.hub.watch(each.select, options)
            watchers.push({ ...each, from, iterator, seen: [], progress: -1, waiting: undefined })
          } else {
            const watcher = watchers[each.who]
            for (let i = 0; i < each.count && watcher !== undefined && watcher.waiting === undefined; i++) {
              take(watcher)
              await new Promise((resolve) => setImmediate(resolve))
            }
          }
        }
        for (const watcher of watchers) {
          const due = world.expected(watcher.select, watcher.from, watcher.previous)
          while (watcher.seen.length < due.length) {
            take(watcher)
            await watcher.waiting
          }
          assert.deepEqual(watcher.seen, due)
          if (watcher.waiting === undefined) await watcher.iterator.return?.()
        }
        world.hub.close()
        for (const watcher of watchers) await watcher.waiting?.catch(code('CLOSED'))
      }),
      { numRuns: 60 },
    )
  })

  test('a watcher that is too slow for a compaction is told so, others are not', async () => {
    const world = new World()
    const slow = world.hub.watch({ key: utf8('a') }, { fromRevision: 1 })
    const other = world.hub.watch({ key: utf8('b') }, { fromRevision: 1 })
    const put = (name: string): void => world.write([{ type: 'put', key: utf8(name), value: utf8('') }])
    put('a')
    put('a')
    put('b')
    put('a')
    execute(world.state, { type: 'compact', revision: 3 })
    await assert.rejects(slow.next(), (error) => {
      assert.ok(KeelsonError.hasCode(error, 'COMPACTED'))
      assert.equal(error.details['compactRevision'], 3)
      return true
    })
    assert.deepEqual(await slow.next(), { value: undefined, done: true })
    // What this one wants is still there.
    assert.equal(((await other.next()).value as WatchResponse).revision, 3)
    // A late start is refused at once.
    assert.throws(() => world.hub.watch({ key: utf8('a') }, { fromRevision: 2 }), code('COMPACTED'))
  })

  test('tells idle watchers how far the store has come, and sets no timer when nothing happens', async () => {
    const world = new World()
    const watch = world.hub.watch({ key: utf8('c') })
    assert.deepEqual((await watch.next()).value, { type: 'progress', revision: 0 })
    for (let i = 0; i < 3; i++) world.write([{ type: 'put', key: utf8('a'), value: utf8('') }])
    assert.deepEqual((await watch.next()).value, { type: 'progress', revision: 3 })
    const idle = watch.next()
    const outcome = await Promise.race([idle, new Promise((resolve) => setTimeout(resolve, 20, 'idle'))])
    assert.equal(outcome, 'idle')
    await watch.return?.()
    assert.deepEqual(await idle, { value: undefined, done: true })
    assert.equal(world.hub.size, 0)
  })

  test('has a limit', async () => {
    const world = new World(2)
    const first = world.hub.watch({ key: utf8('a') })
    world.hub.watch({ key: utf8('a') })
    assert.throws(() => world.hub.watch({ key: utf8('a') }), code('OVERLOADED'))
    await first.return?.()
    world.hub.watch({ key: utf8('a') })
    assert.throws(() => world.hub.watch({ key: utf8('a') }, { fromRevision: 0 }), code('OVERLOADED'))
  })

  test('a slow watcher reading a long history lets others in', async () => {
    const env = new VirtualTime().environment()
    const store = memoryStore({ env })
    for (let i = 0; i < 5000; i++)
      await store.txn({ then: [{ type: 'put', key: utf8('a'), value: utf8(`${i}`) }] })
    const late = store.watch({ key: utf8('z') }, { fromRevision: 1 })[Symbol.asyncIterator]()
    const order: string[] = []
    const scanning = late.next().then(({ value }) => order.push((value as WatchResponse).type))
    env.timers.defer(() => order.push('other work'))
    await scanning
    assert.deepEqual(order, ['other work', 'progress'])
  })
})

test('SelectorIndex finds those who select a key, and no others', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(select, fc.boolean()), { maxLength: 20 }),
      fc.array(key, { maxLength: 6 }),
      (entries, probes) => {
        const index = new SelectorIndex<{ readonly select: KeySelector; readonly id: number }>()
        const items = entries.map(([each], id) => ({ select: each, id }))
        for (const item of items) index.add(item)
        const kept = items.filter((item) => entries[item.id]?.[1] === true)
        for (const item of items) if (!kept.includes(item)) index.delete(item)
        for (const probe of [...probes, utf8('zz'), utf8('a\u00ff')]) {
          const found: number[] = []
          index.visit(probe, (item) => found.push(item.id))
          assert.deepEqual(
            found.sort((a, b) => a - b),
            kept.filter((item) => selects(item.select, probe)).map((item) => item.id),
          )
        }
      },
    ),
  )
})
