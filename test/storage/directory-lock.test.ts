import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { KeelsonError } from '../../src/core/errors.ts'
import { lockDirectory } from '../../src/storage/directory-lock.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { newContext } from './support/log.ts'

const { env } = newContext()
const holder = fileURLToPath(new URL('./support/lock-holder.js', import.meta.url))

let root: string
let remove: () => Promise<void>
const children: ChildProcess[] = []

/** A process that holds the lock. */
async function hold(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [holder, root], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  const [line] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
  assert.equal(line.toString(), 'locked\n')
  return child
}

async function refused(): Promise<KeelsonError> {
  const error = await lockDirectory(root, env).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(KeelsonError.hasCode(error, 'DIRECTORY_LOCKED'), String(error))
  return error
}

suite('the lock of a directory', () => {
  beforeEach(async () => {
    const made = await temporaryDirectory()
    root = made.path
    remove = made.remove
  })

  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL')
        await once(child, 'exit')
      }
    }
    await remove()
  })

  test('is held once in a process, and free again after its release', async () => {
    const lock = await lockDirectory(root, env)
    const error = await refused()
    assert.match(error.message, new RegExp(`in use \\(process ${process.pid}\\)`))
    await lock.release()
    await lock.release()
    assert.deepEqual(await readdir(root), [])
    await (await lockDirectory(root, env)).release()
  })

  test('is held against other processes, and lets go of a killed one', async () => {
    const child = await hold()
    const before = await readdir(root)
    const error = await refused()
    assert.equal(error.details.pid, child.pid)
    assert.deepEqual(await readdir(root), before, 'who is refused leaves nothing behind')
    child.kill('SIGKILL')
    await once(child, 'exit')
    assert.deepEqual(await readdir(root), before, 'the dead process has left its socket')
    const lock = await lockDirectory(root, env)
    assert.notDeepEqual(await readdir(root), before)
    await lock.release()
    assert.deepEqual(await readdir(root), [])
  })

  test('is held by a process that is stopped', async () => {
    const child = await hold()
    child.kill('SIGSTOP')
    await refused()
    child.kill('SIGCONT')
    await refused()
  })

  test('goes to at most one of many that race for it, and the dead do not count', async () => {
    for (let round = 0; round < 5; round++) {
      const child = await hold()
      child.kill('SIGKILL')
      await once(child, 'exit')
      const attempts = await Promise.allSettled(Array.from({ length: 5 }, () => lockDirectory(root, env)))
      const won = attempts.filter((attempt) => attempt.status === 'fulfilled')
      assert.ok(won.length <= 1, `${won.length} hold the lock`)
      for (const attempt of attempts) {
        if (attempt.status === 'fulfilled') await attempt.value.release()
        else assert.equal((attempt.reason as KeelsonError).code, 'DIRECTORY_LOCKED')
      }
      const after = await lockDirectory(root, env)
      await after.release()
    }
  })

  test('is not taken from who holds it, whatever the others do', async () => {
    const lock = await lockDirectory(root, env)
    await Promise.all(Array.from({ length: 5 }, () => refused()))
    assert.equal((await readdir(root)).length, 1)
    await lock.release()
  })

  test('works in a directory with a very long name', async () => {
    const short = root
    root = join(root, 'x'.repeat(100), 'y'.repeat(100))
    await mkdir(root, { recursive: true })
    const lock = await lockDirectory(root, env)
    await refused()
    await lock.release()
    assert.deepEqual(await readdir(root), [])
    root = short
  })

  test('does not mind a file in the place of a socket', async () => {
    await writeFile(join(root, 'LOCK.1.abc'), '')
    const lock = await lockDirectory(root, env)
    await lock.release()
    assert.deepEqual(await readdir(root), [])
  })
})
