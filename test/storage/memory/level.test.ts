import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { MemoryDisk, MemoryLevel } from '../../../src/storage/memory/index.ts'

async function contents(disk: MemoryDisk): Promise<string> {
  await using level = new MemoryLevel({ disk })
  return (await level.iterator().all()).map(([key, value]) => `${key}=${value}`).join(' ')
}

suite('MemoryLevel on a disk', () => {
  test('keeps what was synced, with all before it', async () => {
    const disk = new MemoryDisk()
    const level = new MemoryLevel({ disk })
    await level.put('a', '1')
    await level.put('b', '2', { sync: true } as object)
    await level.close()
    disk.crash(new SeededRandom(1))
    assert.equal(await contents(disk), 'a=1 b=2')
  })

  test('loses a rest of the others, batch by batch', async () => {
    const seen = new Set<string>()
    for (let seed = 0; seed < 60; seed++) {
      const disk = new MemoryDisk()
      const level = new MemoryLevel({ disk })
      await level.batch([{ type: 'put', key: 'a', value: '1' }], { sync: true } as object)
      await level.batch([
        { type: 'put', key: 'b', value: '2' },
        { type: 'del', key: 'a' },
      ])
      await level.put('c', '3')
      await level.clear({ gte: 'b' })
      disk.crash(new SeededRandom(seed))
      seen.add(await contents(disk))
    }
    assert.deepEqual([...seen].sort(), ['', 'a=1', 'b=2', 'b=2 c=3', 'c=3'])
  })

  test('survives being closed without a crash', async () => {
    const disk = new MemoryDisk()
    const level = new MemoryLevel({ disk })
    await level.put('a', '1')
    await level.close()
    assert.equal(await contents(disk), 'a=1')
  })

  test('is opened by one at a time', async () => {
    const disk = new MemoryDisk()
    await using _first = new MemoryLevel({ disk })
    await _first.open()
    const second = new MemoryLevel({ disk })
    await assert.rejects(second.open(), (error: Error) => {
      assert.equal((error.cause as { code?: string }).code, 'LEVEL_LOCKED')
      return true
    })
    await using third = new MemoryLevel({ disk, name: 'other' })
    await third.put('a', '1')
  })

  test('reads an explicit snapshot through later writes', async () => {
    const level = new MemoryLevel()
    await level.put('a', '1')
    await using snapshot = level.snapshot()
    await level.batch([
      { type: 'put', key: 'a', value: '2' },
      { type: 'put', key: 'b', value: '2' },
    ])
    assert.equal(await level.get('a', { snapshot }), '1')
    assert.deepEqual(await level.keys({ snapshot }).all(), ['a'])
    assert.equal(await level.get('a'), '2')
  })

  test('shares no buffer with its users', async () => {
    const level = new MemoryLevel<Buffer, Buffer>({ keyEncoding: 'buffer', valueEncoding: 'buffer' })
    const key = Buffer.from('key')
    const value = Buffer.from('value')
    await level.put(key, value)
    key.fill(0)
    value.fill(0)
    const found = (await level.get(Buffer.from('key'))) as Buffer
    assert.equal(found.toString(), 'value')
    found.fill(0)
    assert.equal(((await level.get(Buffer.from('key'))) as Buffer).toString(), 'value')
  })

  test('bounds what waits for a sync', async () => {
    const disk = new MemoryDisk({ maximumUnsyncedBytes: 10 })
    const level = new MemoryLevel({ disk })
    await level.put('a', '12345')
    await level.put('b', '12345')
    disk.crash({ float: () => 0, integer: () => 0, uint32: () => 0, bytes: (n) => new Uint8Array(n) })
    assert.equal(await contents(disk), 'a=12345')
  })
})
