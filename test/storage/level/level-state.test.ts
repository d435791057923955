import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { ClassicLevel } from 'classic-level'
import fc from 'fast-check'
import { deferred } from '../../../src/core/async.ts'
import { compareBytes, text, utf8 } from '../../../src/core/bytes.ts'
import { LevelState } from '../../../src/storage/level/index.ts'

let directory: string
let db: ClassicLevel<Uint8Array, Uint8Array>
let prefixes = 0

const freshPrefix = (): Uint8Array => utf8(`p${String(++prefixes).padStart(4, '0')}/`)

async function put(
  state: LevelState,
  pairs: Record<string, string | undefined>,
  applied: number,
): Promise<void> {
  const batch = state.batch()
  for (const [key, value] of Object.entries(pairs)) {
    if (value === undefined) batch.delete(utf8(key))
    else batch.put(utf8(key), utf8(value))
  }
  await state.commit(batch, [{ key: 'applied', value: utf8(String(applied)) }])
}

async function content(state: LevelState): Promise<Record<string, string>> {
  const result: Record<string, string> = {}
  for await (const [key, value] of state.range()) result[text(key)] = text(value)
  return result
}

async function* once(chunks: Iterable<Uint8Array>): AsyncIterable<Uint8Array> {
  yield* chunks
}

suite('the state of a group in LevelDB', () => {
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'keelson-level-state-'))
    db = new ClassicLevel<Uint8Array, Uint8Array>(directory, { keyEncoding: 'view', valueEncoding: 'view' })
    await db.open()
  })

  after(async () => {
    await db.close()
    await rm(directory, { recursive: true })
  })

  test('effects and bookkeeping are there after opening again, apart from the neighbours', async () => {
    const prefix = freshPrefix()
    const neighbour = new LevelState(db, freshPrefix())
    await neighbour.open()
    await put(neighbour, { z: 'other' }, 1)
    const state = new LevelState(db, prefix)
    assert.equal((await state.open()).size, 0)
    await put(state, { a: '1', b: '2' }, 4)
    await put(state, { a: undefined, c: '3' }, 5)
    await state.flush()
    const again = new LevelState(db, prefix)
    assert.deepEqual(
      [...(await again.open())].map(([key, value]) => [key, text(value)]),
      [['applied', '5']],
    )
    assert.deepEqual(await content(again), { b: '2', c: '3' })
    assert.equal(text((await again.get(utf8('b'))) as Uint8Array), '2')
    assert.deepEqual(await content(neighbour), { z: 'other' })
  })

  test('a batch sees its own changes, in reads of keys and of ranges', async () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f')
    const writes = fc.array(fc.tuple(key, fc.option(fc.string({ maxLength: 3 }), { nil: undefined })), {
      maxLength: 8,
    })
    await fc.assert(
      fc.asyncProperty(writes, writes, key, key, async (stored, pending, start, end) => {
        const state = new LevelState(db, freshPrefix())
        await state.open()
        await put(state, Object.fromEntries(stored), 1)
        const expected = new Map(Object.entries(await content(state)))
        const batch = state.batch()
        await batch.prefetch([utf8('a'), utf8('b')])
        for (const [name, value] of pending) {
          if (value === undefined) {
            batch.delete(utf8(name))
            expected.delete(name)
          } else {
            batch.put(utf8(name), utf8(value))
            expected.set(name, value)
          }
        }
        for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) {
          const value = await batch.get(utf8(name))
          assert.equal(value === undefined ? undefined : text(value), expected.get(name))
        }
        const fetched = batch.getFetched(utf8('a'))
        assert.equal(fetched === undefined ? undefined : text(fetched), expected.get('a'))
        const seen: [string, string][] = []
        for await (const [name, value] of batch.range({ start: utf8(start), end: utf8(end) }))
          seen.push([text(name), text(value)])
        const inside = [...expected].filter(([name]) => name >= start && name < end)
        assert.deepEqual(
          seen,
          inside.sort(([a], [b]) => compareBytes(utf8(a), utf8(b))),
        )
      }),
      { numRuns: 60 },
    )
  })

  test('a snapshot is the state of one moment, and a restore replaces everything by it', async () => {
    const source = new LevelState(db, freshPrefix())
    await source.open()
    const large = 'x'.repeat(200_000)
    await put(source, { a: '1', b: large, c: large, d: '4' }, 7)
    const snapshot = await source.snapshot()
    await put(source, { a: '2', e: '5' }, 8)
    const chunks: Uint8Array[] = []
    for await (const chunk of snapshot.chunks()) chunks.push(chunk.slice())
    await snapshot[Symbol.asyncDispose]()
    assert.ok(chunks.length > 1)

    const prefix = freshPrefix()
    const target = new LevelState(db, prefix)
    await target.open()
    await put(target, { old: 'gone' }, 3)
    await target.restore(snapshot.bookkeeping, once(chunks))
    assert.deepEqual(await content(target), { a: '1', b: large, c: large, d: '4' })
    const again = new LevelState(db, prefix)
    assert.equal(text((await again.open()).get('applied') as Uint8Array), '7')
    assert.deepEqual(Object.keys(await content(again)), ['a', 'b', 'c', 'd'])
  })

  test('a restore that breaks off, or whose chunks do not decode, leaves the old state', async () => {
    const state = new LevelState(db, freshPrefix())
    await state.open()
    await put(state, { old: 'kept' }, 3)
    async function* broken(): AsyncIterable<Uint8Array> {
      yield Uint8Array.of(1, 97, 1, 98)
      throw new Error('the transfer broke off')
    }
    await assert.rejects(state.restore(new Map(), broken()), /broke off/)
    await assert.rejects(state.restore(new Map(), once([Uint8Array.of(200)])), { code: 'MALFORMED' })
    assert.deepEqual(await content(state), { old: 'kept' })
    assert.equal((await state.open()).size, 1)
  })

  test('a restore that switched has happened, even when what it replaced cannot be deleted', async () => {
    const prefix = freshPrefix()
    const state = new LevelState(db, prefix)
    await state.open()
    await put(state, { old: 'replaced' }, 3)
    const clear = db.clear
    async function* arriving(): AsyncIterable<Uint8Array> {
      yield Uint8Array.of(1, 97, 1, 98)
      db.clear = async () => Promise.reject(new Error('the disk does not answer'))
    }
    try {
      // Whoever is told that it failed goes on applying to what it believes to be the old state.
      await state.restore(new Map([['applied', utf8('9')]]), arriving())
    } finally {
      db.clear = clear
    }
    assert.deepEqual(await content(state), { a: 'b' })
    const again = new LevelState(db, prefix)
    assert.equal(text((await again.open()).get('applied') as Uint8Array), '9')
    assert.deepEqual(await content(again), { a: 'b' })
  })

  test('what a restore brings is read before it takes the place of the old state, and may be refused then', async () => {
    const state = new LevelState(db, freshPrefix())
    await state.open()
    await put(state, { old: 'kept' }, 3)
    const arriving = (): AsyncIterable<Uint8Array> => once([Uint8Array.of(1, 97, 1, 98)])
    const unreadable = new Error('this is not read')
    const refusing = state.restore(new Map(), arriving(), async (coming) => {
      assert.equal(text((await coming.get(utf8('a'))) as Uint8Array), 'b')
      throw unreadable
    })
    await assert.rejects(refusing, unreadable)
    assert.deepEqual(await content(state), { old: 'kept' })
    await put(state, { more: 'too' }, 4)
    await state.restore(new Map([['applied', utf8('9')]]), arriving(), async (coming) => {
      const keys: string[] = []
      for await (const [key] of coming.range()) keys.push(text(key))
      assert.deepEqual(keys, ['a'])
      assert.deepEqual(await content(state), { more: 'too', old: 'kept' })
    })
    assert.deepEqual(await content(state), { a: 'b' })
  })

  test('a switch of which nobody knows whether it happened loses neither state, and nothing goes on before opening', async () => {
    for (const failing of ['the pointer, which is lost', 'the pointer, which is there', 'its flush']) {
      const arrived = failing !== 'the pointer, which is lost'
      const prefix = freshPrefix()
      const state = new LevelState(db, prefix)
      await state.open()
      await put(state, { old: 'kept' }, 3)
      const batch = db.batch.bind(db) as () => ReturnType<typeof db.batch>
      let switched = false
      db.batch = (() => {
        const made = batch()
        const write = made.write.bind(made)
        made.write = async (options: { sync?: boolean | undefined } = {}) => {
          // A flush writes one thing, the switch its bookkeeping as well.
          const pointer = options.sync === true && made.length > 1
          if (!pointer && !switched) return write(options)
          switched = true
          if (pointer && failing === 'its flush') return write(options)
          if (arrived) await write(options)
          else await made.close()
          throw new Error('the sync failed')
        }
        return made
      }) as typeof db.batch
      try {
        const restoring = state.restore(
          new Map([['applied', utf8('9')]]),
          once([Uint8Array.of(1, 97, 1, 98)]),
        )
        await assert.rejects(restoring, { code: 'STORE_POISONED' })
      } finally {
        db.batch = batch as typeof db.batch
      }
      await assert.rejects(state.flush(), { code: 'STORE_POISONED' })
      await assert.rejects(state.snapshot(), { code: 'STORE_POISONED' })
      assert.throws(() => state.batch(), { code: 'STORE_POISONED' })
      const again = new LevelState(db, prefix)
      assert.equal(text((await again.open()).get('applied') as Uint8Array), arrived ? '9' : '3')
      assert.deepEqual(await content(again), arrived ? { a: 'b' } : { old: 'kept' })
    }
  })

  test('what an interrupted restore left behind is deleted on opening', async () => {
    const prefix = freshPrefix()
    const state = new LevelState(db, prefix)
    await state.open()
    await put(state, { old: 'kept' }, 3)
    // Stops after the first chunk as a crash would: the iteration never goes on.
    const written = deferred<void>()
    async function* interrupted(): AsyncIterable<Uint8Array> {
      yield Uint8Array.of(1, 97, 1, 98)
      written.resolve()
      await new Promise<never>(() => {})
    }
    void state.restore(new Map(), interrupted())
    await written.promise
    const keys = async (): Promise<number> => {
      let count = 0
      for await (const _ of db.keys({ gte: prefix, lt: utf8(`${text(prefix)}\u{10ffff}`) })) count++
      return count
    }
    const keysBefore = await keys()
    const again = new LevelState(db, prefix)
    await again.open()
    assert.deepEqual(await content(again), { old: 'kept' })
    assert.equal(await keys(), keysBefore - 1)
  })

  test('a destroyed state is empty, and a later release’s is refused', async () => {
    const prefix = freshPrefix()
    const state = new LevelState(db, prefix)
    await state.open()
    await put(state, { a: '1' }, 1)
    await state.destroy()
    const again = new LevelState(db, prefix)
    assert.equal((await again.open()).size, 0)
    assert.deepEqual(await content(again), {})
    await db.put(new Uint8Array([...prefix, 0]), new Uint8Array([9, 1, 0, 0, 0]))
    await assert.rejects(new LevelState(db, prefix).open(), { code: 'FORMAT_VERSION' })
  })
})
