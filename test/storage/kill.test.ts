import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { LogStoreFactory } from '../../src/interfaces/log-store.ts'
import { levelLog } from '../../src/storage/level/index.ts'
import { segments } from '../../src/storage/segments/index.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { assertEntries, lastIndex, newContext } from './support/log.ts'

const writer = fileURLToPath(new URL('./support/log-writer.js', import.meta.url))

/** Starts a writer, kills it after so many reports, and returns the last index that it reported. */
async function writeAndKill(adapter: string, directory: string, reports: number): Promise<number> {
  const child = spawn(process.execPath, [writer, adapter, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  let text = ''
  let killed = false
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString()
    if (!killed && text.split('\n').length > reports) {
      killed = true
      child.kill('SIGKILL')
    }
  })
  const [, signal] = (await exited) as [number | null, string | null]
  assert.equal(signal, 'SIGKILL')
  // The last line may be cut short.
  return Number(text.split('\n').at(-2))
}

// A killed process loses nothing that it handed to the system, so this tests recovery and locks, not fsync: that is what
// the simulated file system is for.
suite('a writer that is killed', () => {
  const factories: [adapter: string, open: (directory: string) => LogStoreFactory][] = [
    ['segments', (directory) => segments(directory)],
    ['level', (directory) => levelLog(directory)],
  ]
  for (const [adapter, factory] of factories) {
    test(`leaves a log that opens at once, with all it had acknowledged (${adapter})`, async () => {
      const { path, remove } = await temporaryDirectory()
      const directory = join(path, 'log')
      let before = 0
      for (let round = 0; round < 3; round++) {
        const acknowledged = await writeAndKill(adapter, directory, 60)
        assert.ok(acknowledged > before)
        const store = await factory(directory)(newContext())
        const last = lastIndex(store)
        assert.ok(last >= acknowledged, `${acknowledged} was acknowledged, ${last} is the last one`)
        assert.equal(store.recovered().get(2)?.hardState?.commit, last)
        const { compacted } = store.recovered().get(1) as { compacted: { index: number } }
        await assertEntries(store, compacted.index + 1, last, 200)
        await store.close()
        before = acknowledged
      }
      await remove()
    })
  }
})
