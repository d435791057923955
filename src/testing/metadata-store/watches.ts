import assert from 'node:assert/strict'
import { sleep } from '../../core/async.ts'
import { text, utf8 } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { WatchResponse } from '../../interfaces/metadata-store.ts'
import {
  changes,
  del,
  dump,
  follow,
  type MetadataStoreCase,
  put,
  refused,
  stretch,
  write,
} from './harness.ts'

function reached(revision: number): (response: WatchResponse) => boolean {
  return (response) => response.revision >= revision
}

/** Watches: ordered, unique, atomic, filtered, resumable, with previous values. @internal */
export const watchCases: Readonly<Record<string, MetadataStoreCase>> = {
  'watches what changes from now on': async (harness) => {
    const store = await harness.open()
    const before = await write(store, 'a', 'old')
    const responses: WatchResponse[] = []
    let written = 0
    for await (const response of store.watch(stretch(''))) {
      responses.push(response)
      // The first response says that the watch stands.
      if (written === 0) {
        await write(store, 'a', 'new')
        written = (await store.txn({ then: [del('a')] })).revision
      }
      if (response.revision === written) break
    }
    assert.deepEqual(changes(responses), [`${before + 1}:put a=new`, `${before + 2}:delete a=`])
  },

  'replays the history from a revision': async (harness) => {
    const store = await harness.open()
    const first = await write(store, 'a', '1')
    await write(store, 'b', '1')
    await write(store, 'a', '2')
    const last = (await store.txn({ then: [del('a'), put('c', '3')] })).revision
    const responses = await follow(store.watch(stretch(''), { fromRevision: first }), reached(last))
    assert.deepEqual(changes(responses), [
      `${first}:put a=1`,
      `${first + 1}:put b=1`,
      `${first + 2}:put a=2`,
      `${last}:delete a=`,
      `${last}:put c=3`,
    ])
  },

  'delivers all events of a revision in one response': async (harness) => {
    const store = await harness.open()
    const { revision } = await store.txn({ then: [put('a', '1'), put('b', '2'), put('c', '3')] })
    const responses = await follow(store.watch(stretch(''), { fromRevision: revision }), reached(revision))
    const events = responses.find((response) => response.type === 'changes')
    assert.ok(events?.type === 'changes')
    assert.equal(events.events.length, 3)
  },

  'filters by key and by range': async (harness) => {
    const store = await harness.open()
    const first = await write(store, 'a', '1')
    await store.txn({ then: [put('b', '1'), put('c', '1')] })
    await write(store, 'bb', '1')
    const last = await write(store, 'd', '1')
    const key = await follow(store.watch({ key: utf8('b') }, { fromRevision: first }), reached(first + 1))
    assert.deepEqual(changes(key), [`${first + 1}:put b=1`])
    const range = await follow(store.watch(stretch('b', 'c'), { fromRevision: first }), reached(first + 2))
    assert.deepEqual(changes(range), [`${first + 1}:put b=1`, `${first + 2}:put bb=1`])
    const rest = await follow(store.watch(stretch('c'), { fromRevision: first }), reached(last))
    assert.deepEqual(changes(rest), [`${first + 1}:put c=1`, `${last}:put d=1`])
  },

  'tells creation from change, and the value before': async (harness) => {
    const store = await harness.open()
    const first = await write(store, 'a', '1')
    await write(store, 'a', '2')
    await store.txn({ then: [del('a')] })
    const last = await write(store, 'a', '4')
    const watch = store.watch({ key: utf8('a') }, { fromRevision: first, previous: true })
    const seen = (await follow(watch, reached(last))).flatMap((response) =>
      response.type === 'progress'
        ? []
        : response.events.map(({ type, entry, previous }) => [
            type,
            entry.version,
            entry.createRevision === entry.modRevision,
            previous === undefined ? undefined : text(previous.value),
          ]),
    )
    assert.deepEqual(seen, [
      ['put', 1, true, undefined],
      ['put', 2, false, '1'],
      ['delete', 0, false, '2'],
      ['put', 1, true, undefined],
    ])
  },

  'resumes behind any response without gap or repetition': async (harness) => {
    const store = await harness.open()
    const first = await write(store, 'k', '0')
    for (let i = 1; i < 8; i++) await write(store, i % 3 === 0 ? 'other' : 'k', String(i))
    const last = await write(store, 'k', 'last')
    const whole = changes(
      await follow(store.watch({ key: utf8('k') }, { fromRevision: first }), reached(last)),
    )
    const pieces: string[] = []
    for (let from = first; from <= last; ) {
      const watch = store.watch({ key: utf8('k') }, { fromRevision: from })
      const responses = await follow(watch, () => true)
      pieces.push(...changes(responses))
      from = (responses[0] as WatchResponse).revision + 1
    }
    assert.deepEqual(pieces, whole)
  },

  'starts in the future': async (harness) => {
    const store = await harness.open()
    const now = await write(store, 'a', '1')
    const following = follow(
      store.watch({ key: utf8('a') }, { fromRevision: now + 3 }),
      (response) => response.type === 'changes',
    )
    for (let i = 2; i < 5; i++) await write(store, 'a', String(i))
    assert.deepEqual(changes(await following), [`${now + 3}:put a=4`])
  },

  'fails at once when the revision is gone, and says what is left': async (harness) => {
    const store = await harness.open()
    const first = await write(store, 'a', '1')
    await write(store, 'a', '2')
    const kept = await write(store, 'a', '3')
    await store.compact(kept)
    // A replica that has not heard of the compaction yet still has all of it, and may say so.
    let error: KeelsonError | undefined
    while (error === undefined) {
      try {
        const [response] = await follow(store.watch(stretch(''), { fromRevision: first }), () => true)
        assert.equal(response?.type, 'changes')
        assert.equal(response?.revision, first)
        await sleep(harness.env.timers, 10)
      } catch (thrown) {
        if (!KeelsonError.is(thrown)) throw thrown
        error = thrown
      }
    }
    assert.equal(error.code, 'COMPACTED')
    assert.equal(error.details['compactRevision'], kept)
    const watch = store.watch(stretch(''), { fromRevision: kept, previous: true })
    const [response] = await follow(watch, reached(kept))
    assert.ok(response?.type === 'changes')
    assert.deepEqual(response.events[0]?.previous?.value, utf8('2'))
  },

  'holds up a consumer that is slow and loses nothing': async (harness) => {
    const store = await harness.open()
    const first = await write(store, 'k', '0')
    const watch = store.watch({ key: utf8('k') }, { fromRevision: first })
    let last = first
    for (let i = 1; i <= 300; i++) last = await write(store, 'k', String(i))
    const responses = await follow(watch, reached(last))
    const revisions = responses.filter((each) => each.type === 'changes').map((each) => each.revision)
    assert.deepEqual(
      revisions,
      Array.from({ length: 301 }, (_, i) => first + i),
    )
  },

  'follows changes that others make while it reads': async (harness) => {
    const [store, other] = [await harness.open(), await harness.open()]
    const first = await write(store, 'n', '0')
    const total = 50
    const writing = (async () => {
      for (let i = 1; i <= total; i++) await write(other, 'n', String(i))
    })()
    const responses = await follow(
      store.watch({ key: utf8('n') }, { fromRevision: first }),
      reached(first + total),
    )
    await writing
    assert.equal(changes(responses).length, total + 1)
  },

  'is unique: what it yields adds up to the state': async (harness) => {
    const store = await harness.open()
    const first = await write(store, 'k0', '-')
    for (let i = 0; i < 40; i++)
      await store.txn({ then: [put(`k${i % 5}`, String(i)), del(`k${(i + 2) % 5}`)] })
    const last = await write(store, 'end', '')
    const state = new Map<string, string>()
    for (const response of await follow(store.watch(stretch(''), { fromRevision: first }), reached(last))) {
      if (response.type === 'progress') continue
      for (const { type, entry } of response.events) {
        if (type === 'put') state.set(text(entry.key), text(entry.value))
        else assert.equal(state.delete(text(entry.key)), true)
      }
    }
    const folded = [...state].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`)
    assert.deepEqual(folded, await dump(store))
  },

  'ends when its signal is aborted': async (harness) => {
    const store = await harness.open()
    await write(store, 'a', '1')
    const controller = new AbortController()
    const watching = follow(
      store.watch({ key: utf8('b') }, { signal: controller.signal }),
      (response) => response.type === 'changes',
    )
    controller.abort()
    await refused(watching, 'ABORTED')
  },

  'ends when the store is closed': async (harness) => {
    const store = await harness.open()
    await write(store, 'a', '1')
    const watching = follow(store.watch({ key: utf8('b') }), (response) => response.type === 'changes')
    await store.close()
    await refused(watching, 'CLOSED')
  },
}
