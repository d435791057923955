import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { hex, utf8 } from '../../../src/core/bytes.ts'
import { encodePlain } from '../../../src/core/codec.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import type { MetadataCommand } from '../../../src/metadata/mvcc/commands.ts'
import { decodeBlock, encodeBlock } from '../../../src/metadata/mvcc/image-blocks.ts'
import { decodeVersion, makeVersion, type StoredVersion } from '../../../src/metadata/mvcc/version.ts'
import { Machine } from './machine.ts'

function put(key: string, value: Uint8Array = utf8(key)): MetadataCommand {
  const then = [{ type: 'put', key: utf8(key), value } as const]
  return { type: 'txn', quotaBytes: 1e9, transaction: { then } }
}

function version(key: string, value: string, modRevision: number): StoredVersion {
  const rest = { createRevision: 3, version: 2, session: 0, sub: 0, deleted: false }
  return makeVersion({ key: utf8(key), value: utf8(value), modRevision, ...rest })
}

const views = { keyEncoding: 'view', valueEncoding: 'view' } as const

/** Records of a kind in the first slot. */
async function records({ database }: Machine, kind: number): Promise<[Uint8Array, Uint8Array][]> {
  const all = await database.iterator<Uint8Array, Uint8Array>(views).all()
  return all.filter(([key]) => key[2] === 1 && key[3] === kind)
}

/** What two versions are as a block of format 1. */
const block1 = '0111a8758b20010005000302000161036f6e6516b64d5a5c0100ac0200030200056b657920620374776f'

suite('blocks of versions', () => {
  test('have the format that they had', () => {
    const versions = [version('a', 'one', 5), version('key b', 'two', 300)]
    const encoded = encodeBlock(versions)
    const decoded = decodeBlock(utf8('k'), encoded, undefined)
    assert.deepEqual(
      decoded.map(({ key, value, modRevision }) => [hex(key), hex(value), modRevision]),
      versions.map(({ key, value, modRevision }) => [hex(key), hex(value), modRevision]),
    )
    assert.equal(hex(encoded), block1)
    const later = encoded.slice()
    later[0] = 2
    assert.throws(() => decodeBlock(utf8('k'), later, undefined), { code: 'FORMAT_VERSION' })
    for (const cut of [encoded.subarray(0, 1), encoded.subarray(0, 20), Uint8Array.of(...encoded, 0)])
      assert.throws(() => decodeBlock(utf8('k'), cut, undefined), { code: 'CORRUPTION' })
  })

  test('go when what they hold is gone, and what is left of a block moves to another one', async () => {
    const one = await new Machine().open()
    const value = new Uint8Array(100)
    const lasting = 400
    for (let i = 0; i < lasting; i++) {
      // A key that stays among many versions of one that does not.
      await one.apply(put(`stays ${i}`, value), ...Array.from({ length: 9 }, () => put('changes', value)))
      if (i % 50 === 49) await one.machine.flush()
    }
    const before = await records(one, 5)
    assert.ok(before.length > 5, `${before.length} blocks`)
    await one.apply({ type: 'compact', revision: one.machine.reader.revision })
    while (one.machine.hasGarbage) await one.apply({ type: 'clear' })
    await one.machine.verify()
    await one.machine.flush()
    const after = await records(one, 5)
    const bytes = (list: [Uint8Array, Uint8Array][]): number =>
      list.reduce((sum, [, { length }]) => sum + length, 0)
    assert.ok(bytes(after) < bytes(before) / 4, `${bytes(before)}, then ${bytes(after)} bytes`)
    await one.close()
    const again = await new Machine(one.disk).open()
    assert.equal(again.machine.digest(), one.machine.digest())
    // And on: what was loaded is dropped as what was made here.
    for (let i = 0; i < lasting; i++) await again.apply(put(`stays ${i}`))
    await again.apply({ type: 'compact', revision: again.machine.reader.revision })
    while (again.machine.hasGarbage) await again.apply({ type: 'clear' })
    await again.machine.verify()
    await again.close()
    const last = await new Machine(one.disk).open()
    assert.equal(last.machine.digest(), again.machine.digest())
  })

  test('are the image, whatever is written, compacted and flushed in between', async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const random = new SeededRandom(seed)
      let one = await new Machine().open()
      for (let step = 0; step < 150; step++) {
        const commands = Array.from({ length: random.integer(30) }, () =>
          put(`${random.integer(1 + random.integer(60))}`, new Uint8Array(random.integer(2_000))),
        )
        await one.apply(...commands)
        const { revision } = one.machine.reader
        if (random.integer(10) === 0)
          await one.apply({ type: 'compact', revision: random.integer(revision + 1) })
        if (one.machine.hasGarbage) await one.apply({ type: 'clear' })
        if (random.integer(12) === 0) await one.machine.flush()
        if (random.integer(25) > 0) continue
        await one.machine.verify()
        const digest = one.machine.digest()
        await one.close()
        one = await new Machine(one.disk).open()
        assert.equal(one.machine.digest(), digest)
      }
    }
  })

  test('take the place of the records of an earlier release, which had one for each version', async () => {
    const one = await new Machine().open()
    for (let i = 0; i < 20; i++) await one.apply(put(`k${i % 7}`))
    const digest = one.machine.digest()
    await one.machine.close()
    const { database } = one
    for (const [key, value] of await records(one, 5)) {
      await database.del(key, views)
      for (const { modRevision, sub, record } of decodeBlock(key, value, undefined)) {
        const single = new Uint8Array([...key.subarray(0, 3), 3, ...new Uint8Array(12)])
        new DataView(single.buffer).setUint32(8, modRevision)
        new DataView(single.buffer).setUint32(12, sub)
        await database.put(single, record, views)
      }
    }
    for (const [key] of await records(one, 4))
      await database.put(key, encodePlain([1, 20, 0, 1, digest]), views)
    await database.close()
    const again = await new Machine(one.disk).open()
    assert.equal(again.machine.digest(), digest)
    await again.apply(put('k0'), { type: 'compact', revision: 20 })
    while (again.machine.hasGarbage) await again.apply({ type: 'clear' })
    await again.machine.flush()
    await again.machine.verify()
    // What is visible before revision 20 of seven keys, and what that revision made.
    assert.equal((await records(again, 3)).length, 8)
    assert.equal((await records(again, 5)).length, 1)
    const [numbers] = await records(again, 4)
    // An earlier release refuses what it cannot read whole.
    assert.equal(numbers?.[1][1], 2)
    await again.close()
    const last = await new Machine(one.disk).open()
    assert.equal(last.machine.digest(), again.machine.digest())
  })

  test('a block that is lost or damaged is corruption', async () => {
    const one = await new Machine().open()
    await one.apply(put('a'), put('b'))
    await one.machine.close()
    const [[key, value]] = (await records(one, 5)) as [[Uint8Array, Uint8Array]]
    const damaged = value.slice()
    damaged[damaged.length - 1] = (damaged[damaged.length - 1] as number) ^ 1
    const wrong = [undefined, damaged, value.subarray(0, value.length - 1)]
    for (const each of wrong) {
      if (each === undefined) await one.database.del(key, views)
      else await one.database.put(key, each, views)
      await one.database.close()
      const again = new Machine(one.disk)
      await assert.rejects(again.open(), (error) => KeelsonError.hasCode(error, 'CORRUPTION'))
      await again.database.close()
      await one.database.open()
    }
  })

  test('a version keeps no memory of the record that it came in', () => {
    const { record } = version('a', 'one', 5)
    const bytes = record.slice()
    const read = decodeVersion(bytes)
    bytes.fill(0)
    assert.deepEqual([...read.value], [...utf8('one')])
    const settled = version('a', 'one', 5)
    settled.settle()
    assert.deepEqual([...settled.record], [...record])
    assert.ok(settled.record.buffer.byteLength < 1000)
  })
})
