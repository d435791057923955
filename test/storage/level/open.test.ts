import assert from 'node:assert/strict'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
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

  test('makes none in the place of one that lost a file', async () => {
    const { path, remove } = await temporaryDirectory()
    for (const [name, lost] of [
      ['a', /^CURRENT$/],
      ['b', /^MANIFEST-/],
    ] as const) {
      const directory = join(path, name)
      const database = await openLevel(directory)
      await database.put(Uint8Array.of(1), Uint8Array.of(2))
      await database.close()
      const files = await readdir(directory)
      for (const file of files) if (lost.test(file)) await rm(join(directory, file))
      const before = await readdir(directory)
      assert.ok(before.length < files.length)
      await assert.rejects(openLevel(directory), { code: 'CORRUPTION', message: /restore the directory$/ })
      const data = (all: readonly string[]): string[] => all.filter((file) => file.endsWith('.log'))
      assert.deepEqual(data(await readdir(directory)), data(before))
    }
    const empty = join(path, 'c')
    await mkdir(empty, { mode: 0o700 })
    await assert.rejects(openLevel(empty, { create: false }), { code: 'IO', message: /set create: true$/ })
    assert.deepEqual(await readdir(empty), [])
    await remove()
  })

  test('refuses a path that no file system takes', async () => {
    await assert.rejects(openLevel('a\0b'), { code: 'INVALID_OPTION', message: /no NUL/ })
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
