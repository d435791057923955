import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { KeelsonError } from '../../../src/core/errors.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import type { HardState, LogEntry, LogStore, LostEntries } from '../../../src/interfaces/log-store.ts'
import { MemoryFileSystem } from '../../../src/storage/memory/index.ts'
import { type SegmentsOptions, segments } from '../../../src/storage/segments/index.ts'
import { entry, newContext, put } from '../support/log.ts'

const segmentBytes = 16 * 1024

function open(fs: MemoryFileSystem, options: SegmentsOptions = {}): Promise<LogStore> {
  return segments('log', {
    fileSystem: fs.mount(),
    segmentBytes,
    cleanFromBytes: 2 ** 40,
    damage: 'contain',
    ...options,
  })(newContext())
}

function file(number: number, kind = 'segment'): string {
  return `log/${String(number).padStart(16, '0')}.${kind}`
}

function count(fs: MemoryFileSystem, kind: string): number {
  return fs.names('log').filter((name) => name.endsWith(`.${kind}`)).length
}

/** Waits until every full segment has its digest; one segment is in use, and one may be prepared. */
async function digested(fs: MemoryFileSystem, full: number): Promise<void> {
  for (let i = 0; i < 1_000 && count(fs, 'index') < full; i++) await turn()
  assert.equal(count(fs, 'index'), full, 'all full segments have a digest')
}

/** What a group should hold, kept apart. */
interface Model {
  entries: LogEntry[]
  compacted: number
  term: number
  hardState: HardState | undefined
  metadata: Uint8Array | undefined
}

interface Written {
  readonly fs: MemoryFileSystem
  readonly model: Map<number, Model>
  /** Segments that are full. */
  readonly full: number
}

/** Some groups over several segments: appended, truncated, compacted, reset. */
async function write(seed: number, full: number): Promise<Written> {
  const random = new SeededRandom(seed)
  const fs = new MemoryFileSystem()
  const store = await open(fs)
  const model = new Map<number, Model>()
  for (let round = 0; count(fs, 'index') < full; round++) {
    if (round % 10 === 0) await turn()
    const groupId = 1 + random.integer(5)
    const group = model.get(groupId) ?? {
      entries: [],
      compacted: 0,
      term: 1,
      hardState: undefined,
      metadata: undefined,
    }
    model.set(groupId, group)
    const last = group.compacted + group.entries.length
    const dice = random.float()
    if (dice < 0.05 && group.entries.length > 0) {
      const through = group.compacted + 1 + random.integer(group.entries.length)
      const { term } = group.entries[through - group.compacted - 1] as LogEntry
      group.entries.splice(0, through - group.compacted)
      group.compacted = through
      await store.compact(groupId, { index: through, term })
      continue
    }
    const truncates = dice < 0.15 && group.entries.length > 0
    if (truncates || random.float() < 0.05) group.term++
    const from = truncates ? group.compacted + 1 + random.integer(group.entries.length) : last + 1
    const added: LogEntry[] = []
    for (let i = random.integer(4); i >= 0; i--) {
      if (random.float() < 0.1) group.term++
      added.push(entry(from + added.length, group.term, random.integer(300)))
    }
    group.entries.splice(from - group.compacted - 1)
    group.entries.push(...added)
    group.hardState = { term: group.term, votedFor: random.integer(3), commit: round }
    if (random.float() < 0.1) group.metadata = Uint8Array.of(round & 0xff)
    await store.write([
      {
        groupId,
        entries: added,
        hardState: group.hardState,
        ...(group.metadata === undefined ? {} : { metadata: group.metadata }),
      },
    ])
  }
  // Behind all damage, and makes every compaction durable.
  for (const [groupId, group] of model) {
    group.hardState = { term: group.term, votedFor: 9, commit: 0 }
    await store.write([{ groupId, hardState: group.hardState }])
  }
  for (let i = 0; i < 20; i++) await turn()
  return { fs: fs.copy(), model, full: count(fs, 'index') }
}

/** Everything but the entries that are lost is as it was. Returns how many are. */
async function check(store: LogStore, model: Map<number, Model>, what: string): Promise<number> {
  let gone = 0
  for (const [groupId, group] of model) {
    const found = store.recovered().get(groupId)
    assert.ok(found !== undefined, `${what}: group ${groupId}`)
    assert.deepEqual(found.hardState, group.hardState, what)
    assert.deepEqual(found.metadata, group.metadata, what)
    assert.equal(found.compacted.index, group.compacted, what)
    assert.equal(found.last.index, group.compacted + group.entries.length, what)
    const lost = new Map<number, number>()
    for (const { first, last, term } of found.lost ?? []) {
      for (let index = first; index <= last; index++) lost.set(index, term)
    }
    gone += lost.size
    for (const expected of group.entries) {
      const { index, term } = expected
      if (lost.has(index)) {
        assert.equal(lost.get(index), term, `${what}: the term of ${index} is known`)
        await assert.rejects(store.read(groupId, index, index, 1), { code: 'CORRUPTION' })
        lost.delete(index)
      } else {
        const [read] = await store.read(groupId, index, index, 1)
        assert.deepEqual(
          { ...read, data: [...(read?.data ?? [])] },
          { ...expected, data: [...expected.data] },
          `${what}: entry ${index} of group ${groupId}`,
        )
      }
    }
    assert.equal(lost.size, 0, `${what}: nothing is lost that was not there`)
  }
  return gone
}

async function repair(store: LogStore, model: Map<number, Model>): Promise<void> {
  for (const [groupId, { lost = [] }] of store.recovered()) {
    for (const { first, last } of lost) {
      const { entries, compacted } = model.get(groupId) as Model
      await store.repair?.(groupId, entries.slice(first - compacted - 1, last - compacted))
    }
  }
}

async function refused(opening: Promise<LogStore>): Promise<KeelsonError> {
  const error = await opening.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(KeelsonError.hasCode(error, 'CORRUPTION'), `should be refused, but ${String(error)}`)
  return error
}

suite('a damaged segment that is full', () => {
  test('costs only what was hit, whatever was hit, and can be repaired', async () => {
    let lost = 0
    let harmless = 0
    for (let seed = 0; seed < 60; seed++) {
      const random = new SeededRandom(1_000 + seed)
      const { fs, model, full } = await write(seed % 6, 3)
      for (let hits = 1 + random.integer(3); hits > 0; hits--) {
        const path = file(1 + random.integer(full))
        const bytes = fs.contents(path)
        // A bit, a sector or a page: flipped, zero, or old content from elsewhere.
        const length = [1, 512, 4_096][random.integer(3)] as number
        const at = random.integer(bytes.length / length) * length
        if (length === 1) bytes[at] = (bytes[at] as number) ^ (1 << random.integer(8))
        else if (random.float() < 0.5) bytes.fill(0, at, at + length)
        else bytes.copyWithin(at, random.integer(bytes.length - length))
        fs.setContents(path, bytes)
      }
      const what = `seed ${seed}`
      const store = await open(fs)
      const gone = await check(store, model, what)
      if (gone === 0) harmless++
      lost += gone
      await repair(store, model)
      await store.close()
      const again = await open(fs)
      assert.equal(await check(again, model, `${what}, repaired`), 0)
      await put(again, 1, 10, 77)
      await again.close()
    }
    assert.ok(lost > 100, `${lost} entries were lost`)
    assert.ok(harmless > 5, `${harmless} runs lost nothing that was needed`)
  })

  test('is refused by file, offset, group and entries, unless it is to be contained', async () => {
    const written = new MemoryFileSystem()
    const store = await open(written)
    for (let i = 1; i <= 12; i++) await put(store, i, 3_000)
    await digested(written, 2)
    await store.close()
    const fs = written.copy()
    const bytes = fs.contents(file(1))
    bytes.fill(0, 7_000, 11_000)
    fs.setContents(file(1), bytes)
    const before = fs.names('log')
    const error = await refused(open(fs, { damage: 'refuse' }))
    assert.match(
      error.message,
      /0000000000000001\.segment is damaged at offset 6232: .* shows that this place had been durable\. Damaged: entries 3 to 4 of group 1\./,
    )
    assert.deepEqual(error.details, {
      file: '0000000000000001.segment',
      offset: 6_232,
      groupId: 1,
      first: 3,
      last: 4,
      stretches: 1,
    })
    assert.deepEqual(fs.names('log'), before)
    assert.deepEqual(fs.contents(file(1)), bytes, 'it was left as it was')
  })

  test('is refused where its digest is damaged, missing, or of another segment', async () => {
    const { fs } = await write(2, 3)
    const bytes = fs.contents(file(2))
    bytes[300] = (bytes[300] as number) ^ 1
    fs.setContents(file(2), bytes)
    await (await open(fs.copy())).close()
    const digest = fs.contents(file(2, 'index'))
    for (let at = 0; at < digest.length; at += 7) {
      const copy = fs.copy()
      const bad = digest.slice()
      bad[at] = (bad[at] as number) ^ 4
      copy.setContents(file(2, 'index'), bad)
      await refused(open(copy))
    }
    for (const change of [
      (copy: MemoryFileSystem) => copy.delete(file(2, 'index')),
      (copy: MemoryFileSystem) => copy.setContents(file(2, 'index'), digest.slice(0, 70)),
      (copy: MemoryFileSystem) => copy.setContents(file(2, 'index'), new Uint8Array(0)),
      (copy: MemoryFileSystem) => copy.setContents(file(2, 'index'), fs.contents(file(1, 'index'))),
    ]) {
      const copy = fs.copy()
      change(copy)
      const error = await refused(open(copy))
      // Nothing vouches for it, but it says what it is.
      assert.match(error.message, /Damaged, as far as it can be read: entr/)
    }
  })

  test('is refused while it takes batches, as nothing tells yet what was in it', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    for (let i = 1; i <= 5; i++) await put(store, i)
    const bytes = fs.contents(file(1))
    const at = Buffer.from(bytes).indexOf(entry(2).data)
    bytes[at] = (bytes[at] as number) ^ 1
    const copy = fs.copy()
    copy.setContents(file(1), bytes)
    const error = await refused(open(copy))
    assert.match(error.message, /Damaged, as far as it can be read: entry 2 of group 1\./)
    assert.deepEqual([error.details.groupId, error.details.first, error.details.last], [1, 2, 2])
    await store.close()
  })

  test('can be given up, and what is known of it stays', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    await store.write([{ groupId: 5, entries: [entry(1, 1), entry(2, 1), entry(3, 4), entry(4, 4)] }])
    for (let i = 1; i <= 12; i++) await put(store, i, 3_000)
    await digested(fs, 2)
    const damaged = fs.copy()
    const bytes = damaged.contents(file(1))
    const at = Buffer.from(bytes).indexOf(entry(2, 1).data)
    bytes[at] = (bytes[at] as number) ^ 1
    damaged.setContents(file(1), bytes)
    const lost: LostEntries[] = [
      { first: 1, last: 2, term: 1 },
      { first: 3, last: 4, term: 4 },
    ]
    const second = await open(damaged, { cleanFromBytes: 0 })
    assert.deepEqual(second.recovered().get(5)?.lost, lost)
    await second.compact(1, { index: 12, term: 1 })
    for (let i = 13; i <= 30; i++) await put(second, i, 3_000)
    await second.compact(1, { index: 30, term: 1 })
    for (let i = 0; i < 200 && damaged.names('log').includes(file(1).slice(4)); i++) {
      await put(second, 31 + i, 10)
      await turn()
    }
    assert.ok(!damaged.names('log').includes(file(1).slice(4)), 'the damaged segment was given up')
    await second.close()
    const third = await open(damaged, { damage: 'refuse' })
    assert.deepEqual(third.recovered().get(5)?.lost, lost, 'it is known without the damaged segment')
    await assert.rejects(third.read(5, 1, 4, 1_000), { code: 'CORRUPTION' })
    for (const wrong of [
      [entry(1, 2)],
      [entry(3, 1)],
      [entry(4, 4), entry(5, 4)],
      [entry(1, 1), entry(3, 4)],
      [{ ...entry(1, 1), kind: 9 as 1 }],
    ]) {
      await assert.rejects(async () => third.repair?.(5, wrong), { code: 'INVALID_ARGUMENT' })
    }
    await assert.rejects(async () => third.repair?.(6, [entry(1, 1)]), { code: 'INVALID_ARGUMENT' })
    await third.repair?.(5, [entry(2, 1), entry(3, 4)])
    await assert.rejects(async () => third.repair?.(5, [entry(2, 1)]), { code: 'INVALID_ARGUMENT' })
    assert.equal((await third.read(5, 2, 3, 1_000)).length, 2)
    await assert.rejects(third.read(5, 1, 1, 1_000), { code: 'CORRUPTION' })
    await third.close()
    const fourth = await open(damaged)
    assert.deepEqual(fourth.recovered().get(5)?.lost, [
      { first: 1, last: 1, term: 1 },
      { first: 4, last: 4, term: 4 },
    ])
    // Compacting and truncating end it, too.
    await fourth.compact(5, { index: 2, term: 1 })
    await fourth.write([{ groupId: 5, entries: [entry(4, 5)] }])
    await fourth.close()
    const fifth = await open(damaged)
    assert.equal(fifth.recovered().get(5)?.lost, undefined)
    assert.equal((await fifth.read(5, 3, 4, 1_000)).length, 2)
    await fifth.close()
  })

  test('has a read end before the damage', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    for (let i = 1; i <= 12; i++) await put(store, i, 3_000)
    await digested(fs, 2)
    const copy = fs.copy()
    const bytes = copy.contents(file(1))
    bytes.fill(0, 7_000, 7_100)
    copy.setContents(file(1), bytes)
    const again = await open(copy)
    assert.deepEqual(again.recovered().get(1)?.lost, [{ first: 3, last: 3, term: 1 }])
    const found = await again.read(1, 1, 12, 100_000)
    assert.deepEqual(
      found.map(({ index }) => index),
      [1, 2],
    )
    assert.equal((await again.read(1, 4, 12, 100_000)).length, 9)
    await again.close()
    await store.close()
  })
})

suite('the digest of a segment', () => {
  test('is made for what has none, and goes with its segment', async () => {
    const { fs, full } = await write(3, 3)
    for (let number = 1; number <= full; number++) fs.delete(file(number, 'index'))
    fs.setContents(`${file(1, 'index')}.new`, Uint8Array.of(1))
    fs.setContents(file(99, 'index'), Uint8Array.of(1))
    const store = await open(fs)
    await digested(fs, full)
    assert.ok(!fs.names('log').some((name) => name.endsWith('.new') || name.startsWith('0000000000000099')))
    await store.close()
    const again = await open(fs, { cleanFromBytes: 0 })
    for (const [groupId, { last }] of again.recovered()) await again.compact(groupId, last)
    for (let i = 1; i <= 100 && count(fs, 'index') > 2; i++) {
      await put(again, i, 3_000, 88)
      await again.compact(88, { index: i, term: 1 })
      await turn()
    }
    const names = fs.names('log')
    for (const name of names.filter((each) => each.endsWith('.index'))) {
      assert.ok(names.includes(name.replace('index', 'segment')), `${name} has its segment`)
    }
    assert.ok(!names.includes(file(1, 'index').slice(4)))
    await again.close()
  })

  /** The power went when the second segment had been begun, and nothing of it was durable yet. */
  async function begun(): Promise<MemoryFileSystem> {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    let i = 1
    for (; count(fs, 'index') === 0; i++) {
      await put(store, i, 1_000)
      await turn()
    }
    const copy = fs.copy()
    copy.setContents(file(2), new Uint8Array(segmentBytes))
    if (copy.names('log').includes(file(3).slice(4))) copy.delete(file(3))
    await store.close()
    return copy
  }

  test('shows that the end of its segment is damaged, and was not torn', async () => {
    const fs = await begun()
    const bytes = fs.contents(file(1))
    const end = bytes.findLastIndex((byte) => byte !== 0)
    bytes[end - 500] = (bytes[end - 500] as number) ^ 1
    fs.setContents(file(1), bytes)
    const { message } = await refused(open(fs))
    assert.match(message, /0001\.index tells of what was here/)
    assert.deepEqual(fs.contents(file(1)), bytes, 'nothing was changed')
  })

  test('is made again when its segment has gone on', async () => {
    const fs = await begun()
    const store = await open(fs)
    const last = store.recovered().get(1)?.last.index ?? 0
    assert.ok(last > 0 && count(fs, 'index') === 0)
    for (let i = last + 1; fs.contents(file(2)).every((byte) => byte === 0); i++) await put(store, i, 1_000)
    await digested(fs, 1)
    await store.close()
  })
})
