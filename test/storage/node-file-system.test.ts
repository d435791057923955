import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { OpenFile } from '../../src/interfaces/file-system.ts'
import { nodeFileSystem } from '../../src/storage/node-file-system.ts'

test('what is written through is in the file, whatever that is called by now', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-files-'))
  try {
    const file: OpenFile = await nodeFileSystem.open(join(directory, 'a'), 'new')
    await file.write(new Uint8Array(8), 0)
    await file.writeThrough?.(Uint8Array.of(1, 2), 1)
    await nodeFileSystem.rename(join(directory, 'a'), join(directory, 'b'))
    await file.writeThrough?.(Uint8Array.of(3), 5)
    await file.close()
    await file.close()
    assert.deepEqual([...(await readFile(join(directory, 'b')))], [0, 1, 2, 0, 0, 3, 0, 0])

    const renamed = await nodeFileSystem.open(join(directory, 'b'), 'existing')
    await nodeFileSystem.rename(join(directory, 'b'), join(directory, 'c'))
    await renamed.writeThrough?.(Uint8Array.of(4), 7)
    await renamed.close()
    assert.deepEqual([...(await readFile(join(directory, 'c')))], [0, 1, 2, 0, 0, 3, 0, 4])
  } finally {
    await rm(directory, { recursive: true })
  }
})
