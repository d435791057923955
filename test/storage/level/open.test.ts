import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { openLevel } from '../../../src/storage/level/index.ts'
import { MemoryLevel } from '../../../src/storage/memory/index.ts'
import { temporaryDirectory } from '../../support/temporary.ts'

suite('openLevel', () => {
  test('makes a database of bytes in a directory of its own', async () => {
    const { path, remove } = await temporaryDirectory()
    const directory = join(path, 'a', 'state')
    const database = await openLevel(directory)
    assert.equal((await stat(directory)).mode & 0o777, 0o700)
    await database.put(Uint8Array.of(1), Uint8Array.of(2))
    await assert.rejects(openLevel(directory), { code: 'DIRECTORY_LOCKED' })
    await database.close()
    const again = await openLevel(directory, { cacheBytes: 0, create: false })
    assert.deepEqual(await again.get(Uint8Array.of(1)), Buffer.of(2))
    await again.close()
    await remove()
  })

  test('makes none when it must not', async () => {
    const { path, remove } = await temporaryDirectory()
    await assert.rejects(openLevel(join(path, 'a'), { create: false }), { code: 'IO' })
    await remove()
  })

  test('opens a database that is brought along', async () => {
    const level = new MemoryLevel()
    const database = await openLevel(level)
    assert.equal(database, level)
    assert.equal(database.status, 'open')
  })

  test('refuses unknown options', async () => {
    await assert.rejects(openLevel('x', { cacheSize: 1 } as object), { code: 'INVALID_OPTION' })
  })
})
