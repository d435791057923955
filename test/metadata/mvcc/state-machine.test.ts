import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { ClassicLevel } from 'classic-level'
import { concatBytes, utf8 } from '../../../src/core/bytes.ts'
import { encodePlain } from '../../../src/core/codec.ts'
import { type ErrorCode, KeelsonError } from '../../../src/core/errors.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import type { Operation } from '../../../src/interfaces/metadata-store.ts'
import { decodeCommand, encodeCommand, type MetadataCommand } from '../../../src/metadata/mvcc/commands.ts'
import { MetadataStateMachine } from '../../../src/metadata/mvcc/state-machine.ts'
import { openOutcome, readTransactionResult } from '../../../src/metadata/mvcc/wire.ts'
import { MemoryDisk, MemoryLevel } from '../../../src/storage/memory/index.ts'
import { sharedLevel } from '../../support/shared-level.ts'
import { Machine } from './machine.ts'

function code(...codes: ErrorCode[]): (error: unknown) => boolean {
  return (error) => KeelsonError.hasCode(error, ...codes)
}

function put(key: string, value: string | Uint8Array, session?: number): Operation {
  const bytes = typeof value === 'string' ? utf8(value) : value
  const operation = { type: 'put', key: utf8(key), value: bytes } as const
  return session === undefined ? operation : { ...operation, session }
}

function txn(...then: readonly Operation[]): MetadataCommand {
  return { type: 'txn', quotaBytes: 1e9, transaction: { then } }
}

/** More than is gathered before it is written. */
function large(key: string, byte = 0): MetadataCommand[] {
  return Array.from({ length: 3 }, () => txn(put(key, new Uint8Array(400 * 1024).fill(byte))))
}

async function* chunked(parts: Iterable<Uint8Array>): AsyncIterable<Uint8Array> {
  yield* parts
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const parts: Uint8Array[] = []
  for await (const chunk of chunks) parts.push(chunk)
  return parts
}

describe('MetadataStateMachine', () => {
  test('bookkeeping is asked for between batches, whatever waits for what', async () => {
    for (let seed = 0; seed < 30; seed++) {
      const random = new SeededRandom(seed)
      const one = await new Machine().open()
      for (let batch = 0; batch < 5; batch++) {
        const doings = [
          async () => one.apply(...(random.integer(2) === 0 ? large('x') : [txn(put('y', `${batch}`))])),
          ...Array.from({ length: random.integer(4) }, () => async () => one.machine.verify()),
        ]
        // Each begins when those before it have got somewhere.
        const under: Promise<unknown>[] = []
        while (doings.length > 0) {
          const [doing] = doings.splice(random.integer(doings.length), 1)
          under.push((doing as () => Promise<unknown>)())
          for (let i = random.integer(6); i > 0; i--) await Promise.resolve()
        }
        await Promise.all(under)
      }
      await one.close()
      const again = await new Machine(one.disk).open()
      assert.equal(again.applied, one.applied)
      assert.equal(again.machine.digest(), one.machine.digest())
    }
  })

  test('a batch that waits when the machine is closed leaves an image without it', async () => {
    const { disk, database, machine } = new Machine()
    await machine.open()
    // The sessions of a group have seen the commands of a batch before the state has.
    let seen = 0
    machine.gatherBookkeeping(() => [{ key: 'applied', value: utf8(`${seen}`) }])
    const apply = async (): Promise<void> => {
      const data = encodeCommand(txn(put('a', `${++seen}`)))
      await machine.apply([{ index: seen, term: 1, data }], () => [])
    }
    await apply()
    const digest = machine.digest()
    const verified = machine.verify()
    const late = apply()
    const closed = machine.close()
    await assert.rejects(late, code('CLOSED'))
    await closed
    await verified.catch(() => {})
    await database.close()
    const again = await new Machine(disk).open()
    assert.equal(again.applied, 1)
    assert.equal(again.machine.digest(), digest)
  })

  test('a crash leaves whole batches with their bookkeeping, and nothing in between', async () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = new SeededRandom(seed)
      const disk = new MemoryDisk()
      const one = await new Machine(disk, () => random.float() < 0.2, seed % 2 === 0).open()
      const digests = new Map([[0, one.machine.digest()]])
      let flushed = 0
      for (let batch = 0; batch < 12; batch++) {
        // Some are so large that what was gathered is written.
        const size = random.integer(3) === 0 ? 400 * 1024 : 4
        const commands = Array.from({ length: 1 + random.integer(3) }, () =>
          txn(put(`k${random.integer(4)}`, `${random.uint32()}`), put('x', random.bytes(size))),
        )
        if (random.integer(4) === 0) commands.push({ type: 'compact', revision: one.machine.reader.revision })
        await one.apply(...commands)
        digests.set(one.applied, one.machine.digest())
        if (random.integer(4) !== 0) continue
        await one.machine.flush()
        flushed = one.applied
      }
      // One more is on its way when the power goes.
      const late = one.apply(txn(put('late', '')))
      digests.set(one.applied, one.machine.digest())
      disk.crash(random)
      void late
      const again = await new Machine(disk).open()
      assert.ok(again.applied >= flushed, 'what was flushed is there')
      assert.equal(again.machine.digest(), digests.get(again.applied))
    }
  })

  test('a crash in the middle of a restore leaves the old state or the new one', async () => {
    const source = await new Machine().open()
    for (let i = 0; i < 40; i++) await source.apply(txn(put(`s${i}`, new Uint8Array(64 * 1024).fill(i))))
    const snapshot = await source.machine.snapshot()
    const parts = await collect(snapshot.chunks())
    const seen = new Set<string>()
    for (let seed = 0; seed < 30; seed++) {
      const random = new SeededRandom(seed)
      const disk = new MemoryDisk()
      const one = await new Machine(disk, () => random.float() < 0.2).open()
      await one.apply(txn(put('old', '')))
      await one.machine.flush()
      const old = one.machine.digest()
      const at = random.integer(parts.length + 2)
      const crashing = async function* (): AsyncIterable<Uint8Array> {
        for (const [i, part] of parts.entries()) {
          if (i === at) disk.crash(random)
          yield part
        }
        if (at === parts.length) disk.crash(random)
      }
      const restoring = one.machine.restore(snapshot.bookkeeping, crashing())
      restoring.catch(() => {})
      if (at > parts.length) {
        await restoring
        disk.crash(random)
      } else await new Promise((resolve) => setTimeout(resolve, 5))
      const again = await new Machine(disk).open()
      const expected = again.machine.digest() === old ? old : source.machine.digest()
      assert.equal(again.machine.digest(), expected)
      assert.equal(again.applied, expected === old ? 1 : 40)
      seen.add(expected)
    }
    assert.equal(seen.size, 2, 'both endings were seen')
  })

  test('a restore is as durable as the end of the state, when others write to the same database', async () => {
    const source = await new Machine().open()
    for (let i = 0; i < 5; i++) await source.apply(txn(put(`s${i}`, 'x')))
    const snapshot = await source.machine.snapshot()
    const parts = await collect(snapshot.chunks())
    for (let seed = 0; seed < 60; seed++) {
      const random = new SeededRandom(seed)
      const disk = new MemoryDisk()
      const open = async (): Promise<MetadataStateMachine> => {
        const machine = new MetadataStateMachine({ database: sharedLevel(disk, random), prefix: 'm/' })
        await machine.open()
        return machine
      }
      const restored = await open()
      await restored.restore(snapshot.bookkeeping, chunked(parts))
      disk.crash(random)
      const again = await open()
      assert.equal(again.digest(), source.machine.digest(), `seed ${seed}`)
      await again.destroy()
      disk.crash(random)
      assert.equal((await open()).reader.revision, 0, `seed ${seed}`)
    }
  })

  test('a restore that switched has happened, even when what it replaced cannot be deleted', async () => {
    const source = await new Machine().open()
    for (let i = 0; i < 5; i++) await source.apply(txn(put(`s${i}`, 'x')))
    const snapshot = await source.machine.snapshot()
    const one = await new Machine().open()
    await one.apply(txn(put('old', '')))
    const arriving = async function* (): AsyncIterable<Uint8Array> {
      yield* snapshot.chunks()
      one.database.clear = async () => Promise.reject(new Error('the disk does not answer'))
    }
    await one.machine.restore(snapshot.bookkeeping, arriving())
    assert.equal(one.machine.digest(), source.machine.digest())
  })

  test('a switch of which nobody knows whether it happened stops the machine until it is opened again', async () => {
    const source = await new Machine().open()
    await source.apply(txn(put('new', '')))
    const snapshot = await source.machine.snapshot()
    const one = await new Machine().open()
    await one.apply(txn(put('old', '')))
    const arriving = async function* (): AsyncIterable<Uint8Array> {
      yield* snapshot.chunks()
      const batch = one.database.batch.bind(one.database) as () => ReturnType<typeof one.database.batch>
      one.database.batch = (() => {
        const made = batch()
        const add = made.put.bind(made) as (...args: unknown[]) => unknown
        const write = made.write.bind(made)
        let pointer = false
        made.put = ((key: Uint8Array, ...rest: unknown[]) => {
          pointer ||= key.length === 3 && key[2] === 0
          return add(key, ...rest)
        }) as typeof made.put
        made.write = async (options: Parameters<typeof write>[0] = {}) => {
          await write(options)
          if (pointer) throw new Error('the sync failed')
        }
        return made
      }) as typeof one.database.batch
    }
    await assert.rejects(one.machine.restore(snapshot.bookkeeping, arriving()), code('STORE_POISONED'))
    await assert.rejects(one.machine.flush(), code('STORE_POISONED'))
    await one.close()
    const again = await new Machine(one.disk).open()
    assert.equal(again.machine.digest(), source.machine.digest())
  })

  test('a write that fails behind a batch stops the machine, and what was flushed is there', async () => {
    const one = await new Machine().open()
    await one.apply(txn(put('a', '1')))
    await one.machine.flush()
    const flushed = one.machine.digest()
    const batch = one.database.batch.bind(one.database) as () => ReturnType<typeof one.database.batch>
    one.database.batch = (() => {
      const made = batch()
      made.write = async () => Promise.reject(new Error('the disk is gone'))
      return made
    }) as typeof one.database.batch
    await one.apply(...large('b'))
    await assert.rejects(one.apply(txn(put('c', '1'))), /the disk is gone/)
    await assert.rejects(one.machine.flush(), /the disk is gone/)
    await assert.rejects(one.machine.snapshot(), /the disk is gone/)
    await one.close()
    const again = await new Machine(one.disk).open()
    assert.equal(again.machine.digest(), flushed)
  })

  test('the batches reach the database one after the other, in their order', async () => {
    const one = await new Machine().open()
    const events: string[] = []
    const batch = one.database.batch.bind(one.database) as () => ReturnType<typeof one.database.batch>
    let count = 0
    one.database.batch = (() => {
      const made = batch()
      const write = made.write.bind(made)
      made.write = async () => {
        const number = ++count
        events.push(`begin ${number}`)
        await Promise.resolve()
        await write()
        events.push(`end ${number}`)
      }
      return made
    }) as typeof one.database.batch
    for (let i = 0; i < 3; i++) await one.apply(...large('a', i))
    await one.close()
    assert.deepEqual(events, ['begin 1', 'end 1', 'begin 2', 'end 2', 'begin 3', 'end 3'])
    const again = await new Machine(one.disk).open()
    assert.equal(again.machine.digest(), one.machine.digest())
  })

  test('small batches reach the database as one, at the latest when the machine is flushed or closed', async () => {
    const one = await new Machine().open()
    let writes = 0
    const batch = one.database.batch.bind(one.database) as () => ReturnType<typeof one.database.batch>
    one.database.batch = (() => {
      const made = batch()
      const write = made.write.bind(made)
      made.write = async (options: Parameters<typeof write>[0] = {}) => {
        writes++
        return write(options)
      }
      return made
    }) as typeof one.database.batch
    for (let i = 0; i < 100; i++) await one.apply(txn(put(`${i}`, 'x')))
    assert.equal(writes, 0)
    await one.machine.flush()
    const before = writes
    for (let i = 0; i < 100; i++) await one.apply(txn(put(`${i}`, 'y')))
    assert.equal(writes, before)
    await one.close()
    assert.equal(writes, before + 1)
    const again = await new Machine(one.disk).open()
    assert.equal(again.machine.digest(), one.machine.digest())
    assert.equal(again.applied, one.applied)
  })

  test('a broken transfer leaves the old state in use', async () => {
    const source = await new Machine().open()
    for (let i = 0; i < 5; i++) await source.apply(txn(put(`s${i}`, 'x')))
    const snapshot = await source.machine.snapshot()
    const whole = concatBytes(await collect(snapshot.chunks()))
    const one = await new Machine().open()
    await one.apply(txn(put('old', '')))
    const old = one.machine.digest()
    const breaking = async function* (): AsyncIterable<Uint8Array> {
      yield whole.subarray(0, 40)
      throw new KeelsonError('UNREACHABLE', 'the sender is gone')
    }
    await assert.rejects(one.machine.restore(snapshot.bookkeeping, breaking()), code('UNREACHABLE'))
    const refused = code('CORRUPTION', 'MALFORMED', 'FORMAT_VERSION')
    for (let cut = 0; cut < whole.length; cut += 7)
      await assert.rejects(one.machine.restore(new Map(), chunked([whole.subarray(0, cut)])), refused)
    for (let at = 0; at < whole.length; at++) {
      const damaged = whole.slice()
      damaged[at] = (damaged[at] as number) ^ 0x41
      await assert.rejects(one.machine.restore(new Map(), chunked([damaged])), refused)
    }
    assert.equal(one.machine.digest(), old)
    await one.apply(txn(put('more', '')))
    await one.close()
    assert.equal((await new Machine(one.disk).open()).machine.reader.revision, 2)
  })

  test('a snapshot shows one moment while applies go on', async () => {
    const one = await new Machine().open()
    for (let i = 0; i < 300; i++) await one.apply(txn(put(`k${i % 50}`, new Uint8Array(4096).fill(i))))
    const digest = one.machine.digest()
    const snapshot = await one.machine.snapshot()
    const parts: Uint8Array[] = []
    for await (const chunk of snapshot.chunks()) {
      parts.push(chunk)
      assert.ok(chunk.length <= 1 << 20)
      await one.apply(txn(put(`k${parts.length}`, 'later')), {
        type: 'compact',
        revision: one.machine.reader.revision,
      })
    }
    assert.ok(parts.length > 2)
    const other = await new Machine().open()
    await other.machine.restore(snapshot.bookkeeping, chunked(parts))
    assert.equal(other.machine.digest(), digest)
    assert.equal(other.machine.reader.revision, 300)
  })

  test('chunks may be cut anywhere', async () => {
    const source = await new Machine().open()
    await source.apply({ type: 'grant', holder: 'n1', ttlMs: 5 }, txn(put('a', 'x'.repeat(300), 1)))
    const snapshot = await source.machine.snapshot()
    const whole = concatBytes(await collect(snapshot.chunks()))
    const other = await new Machine().open()
    await other.machine.restore(
      snapshot.bookkeeping,
      chunked(Array.from(whole, (_, i) => whole.subarray(i, i + 1))),
    )
    assert.equal(other.machine.digest(), source.machine.digest())
    assert.equal(other.machine.reader.session(1)?.holder, 'n1')
  })

  test('a command of an unknown version stops the machine for good', async () => {
    for (const bytes of [encodePlain([2, 0, 5]), encodePlain([1, 99])]) {
      const one = await new Machine().open()
      await one.apply(txn(put('a', '1')))
      await assert.rejects(one.applyBytes(bytes), code('UNSUPPORTED'))
      await assert.rejects(one.apply(txn(put('a', '2'))), code('UNSUPPORTED'))
      await assert.rejects(one.machine.snapshot(), code('UNSUPPORTED'))
    }
  })

  test('bytes that are no command are refused, by all replicas alike', async () => {
    const one = await new Machine().open()
    const [answer] = await one.applyBytes(utf8('nonsense'))
    assert.throws(() => openOutcome(answer as Uint8Array), code('MALFORMED'))
    await one.apply(txn(put('a', '1')))
    assert.equal(one.machine.reader.revision, 1)
    assert.throws(() => decodeCommand(encodePlain([1, 0, 1, [[], [[0]], []]])), code('MALFORMED'))
  })

  test('compares memory and image of one moment, while commands and restores go on', async () => {
    const source = await new Machine().open()
    for (let i = 0; i < 100; i++) await source.apply(txn(put(`s${i}`, 'x')))
    const snapshot = await source.machine.snapshot()
    const parts = await collect(snapshot.chunks())
    for (let seed = 0; seed < 30; seed++) {
      const random = new SeededRandom(seed)
      const one = await new Machine().open()
      for (let i = 0; i < 50; i++) await one.apply(txn(put(`a${i}`, random.bytes(20_000))))
      const verifying = [one.machine.verify(), one.machine.verify()]
      for (let i = 0; i < 30; i++) {
        // Some are so large that the image is written meanwhile.
        await one.apply(txn(put(`b${i}`, random.bytes(random.integer(2) * 100_000))))
        if (random.integer(10) === 0) verifying.push(one.machine.verify())
        if (i === 20) await one.machine.restore(snapshot.bookkeeping, chunked(parts))
      }
      await Promise.all(verifying)
      await one.machine.verify()
    }
  })

  test('keeps nothing of the frame that a command came in', async () => {
    const one = await new Machine().open()
    const frame = Buffer.from(encodeCommand(txn(put('a', '1'))))
    await one.applyBytes(frame)
    frame.fill(0xee)
    assert.deepEqual(one.machine.reader.get(utf8('a'))?.value, utf8('1'))
    await one.machine.verify()
  })

  test('an image that lost a record is refused', async () => {
    const one = await new Machine().open()
    await one.apply(txn(put('a', '1')), txn(put('b', '2')))
    await one.close()
    const database = new MemoryLevel<Uint8Array, Uint8Array>({
      disk: one.disk,
      keyEncoding: 'view',
      valueEncoding: 'view',
    })
    const keys = await database.keys().all()
    const version = keys.find((key) => key[2] === 1 && key[3] === 5) as Uint8Array
    const record = (await database.get(version)) as Uint8Array
    const numbers = keys.find((key) => key[2] === 1 && key[3] === 4) as Uint8Array
    const reopen = async (): Promise<unknown> => {
      await database.close()
      const again = new Machine(one.disk)
      try {
        return await again.open()
      } finally {
        await again.database.close()
        await database.open()
      }
    }
    await database.del(version)
    await assert.rejects(reopen(), code('CORRUPTION'))
    const flipped = record.slice()
    flipped[record.length - 1] = (record[record.length - 1] as number) ^ 1
    await database.put(version, flipped)
    await assert.rejects(reopen(), code('CORRUPTION'))
    await database.put(version, record)
    const kept = (await database.get(numbers)) as Uint8Array
    await database.del(numbers)
    await assert.rejects(reopen(), code('CORRUPTION'))
    await database.put(numbers, encodePlain([9, 1, 1, 1, '']))
    await assert.rejects(reopen(), code('FORMAT_VERSION'))
    await database.put(numbers, kept)
    await reopen()
  })

  test('the quota refuses growth, and compaction makes room again', async () => {
    const one = await new Machine().open()
    const limited = (...then: readonly Operation[]): MetadataCommand => ({
      type: 'txn',
      quotaBytes: 10_000,
      transaction: { then },
    })
    for (let i = 0; i < 9; i++) await one.apply(limited(put('a', new Uint8Array(1000))))
    const refused = await one.one(limited(put('a', new Uint8Array(1000))))
    assert.throws(() => openOutcome(refused), code('LIMIT_EXCEEDED'))
    // Reads and deletions pass.
    openOutcome(await one.one(limited({ type: 'delete', select: { key: utf8('a') } })))
    openOutcome(await one.one({ type: 'compact', revision: one.machine.reader.revision }))
    assert.ok(one.machine.bytes < 3000)
    openOutcome(await one.one(limited(put('a', new Uint8Array(1000)))))
  })

  test('clears a large compaction away in slices', async () => {
    const one = await new Machine().open()
    for (let i = 0; i < 30; i++)
      await one.apply(...Array.from({ length: 100 }, (_, j) => txn(put(`k${j}`, `${i}`))))
    const before = one.machine.bytes
    await one.apply({ type: 'compact', revision: one.machine.reader.revision })
    assert.equal(one.machine.hasGarbage, true)
    assert.ok(one.machine.bytes < before)
    // What was compacted is gone for readers at once, and what is left can be read before the rest is cleared.
    assert.throws(() => one.machine.reader.get(utf8('k1'), 5), code('COMPACTED'))
    assert.equal(one.machine.reader.get(utf8('k1'))?.version, 30)
    let slices = 0
    for (; one.machine.hasGarbage; slices++) await one.apply({ type: 'clear' })
    assert.ok(slices >= 2 && slices < 10)
    await one.machine.verify()
    await one.close()
    const again = await new Machine(one.disk).open()
    assert.equal(again.machine.digest(), one.machine.digest())
    assert.equal(again.machine.bytes, one.machine.bytes)
  })

  test('limits: keys of a session, keys of a deletion', async () => {
    const one = await new Machine().open()
    await one.apply({ type: 'grant', holder: 'n1', ttlMs: 1000 })
    for (let i = 0; i < 10; i++) {
      const puts = Array.from({ length: 1000 }, (_, j) => put(`k${i * 1000 + j}`, '', 1))
      openOutcome(await one.one(txn(...puts)))
    }
    const eleventh = await one.one(txn(put('one more', '', 1)))
    assert.throws(() => openOutcome(eleventh), code('LIMIT_EXCEEDED'))
    openOutcome(await one.one(txn(put('k1', 'again', 1))))
    openOutcome(await one.one(txn(put('one more', ''))))
    const all = { type: 'delete', select: { key: utf8(''), end: null } } as const
    const refused = await one.one(txn(all))
    assert.throws(() => openOutcome(refused), code('LIMIT_EXCEEDED'))
    // The end of a session takes all of them, in one revision.
    const before = one.machine.reader.revision
    await one.apply({ type: 'revoke', sessionIds: [1] })
    assert.equal(one.machine.reader.revision, before + 1)
    assert.equal(one.machine.reader.eventsOf(before + 1).length, 10_000)
    openOutcome(await one.one(txn(all)))
  })

  test('two machines share a database under prefixes of their own', async () => {
    const database = new MemoryLevel()
    const [a, b] = ['a/', 'b/'].map((prefix) => new MetadataStateMachine({ database, prefix }))
    assert.ok(a !== undefined && b !== undefined)
    await a.open()
    await b.open()
    const apply = async (machine: MetadataStateMachine, command: Uint8Array): Promise<void> =>
      machine.apply([{ index: 1, term: 1, data: command }], () => [])

    await apply(a, encodeCommand(txn(put('k', 'a'))))
    await apply(b, encodeCommand(txn(put('k', 'b'))))
    await b.close()
    await a.destroy()
    await assert.rejects(a.snapshot(), code('CLOSED'))
    const again = new MetadataStateMachine({ database, prefix: 'b/' })
    await again.open()
    assert.deepEqual(again.reader.get(utf8('k'))?.value, utf8('b'))
    const empty = new MetadataStateMachine({ database, prefix: 'a/' })
    assert.equal((await empty.open()).size, 0)
    assert.equal(empty.reader.revision, 0)
  })

  test('works on classic-level', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'keelson-metadata-'))
    try {
      const open = async (): Promise<
        readonly [ClassicLevel, MetadataStateMachine, ReadonlyMap<string, Uint8Array>]
      > => {
        const database = new ClassicLevel(folder)
        const machine = new MetadataStateMachine({ database })
        return [database, machine, await machine.open()]
      }
      const [database, machine] = await open()

      const data = encodeCommand(txn(put('a', '1'), put('b', '2')))
      await machine.apply([{ index: 1, term: 1, data }], (results) => {
        assert.equal(readTransactionResult(openOutcome(results[0] as Uint8Array)).revision, 1)
        return [{ key: 'applied', value: utf8('1') }]
      })
      await machine.flush()
      const snapshot = await machine.snapshot()
      await machine.restore(snapshot.bookkeeping, snapshot.chunks())
      await machine.verify()
      await database.close()
      const [reopened, again, bookkeeping] = await open()
      assert.deepEqual(bookkeeping.get('applied'), utf8('1'))
      assert.equal(again.digest(), machine.digest())
      await reopened.close()
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})
