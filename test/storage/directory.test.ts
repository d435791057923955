import assert from 'node:assert/strict'
import { chmod, mkdir, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, suite, test } from 'node:test'
import { KeelsonError } from '../../src/core/errors.ts'
import { openDirectory } from '../../src/storage/directory.ts'
import { nodeFileSystem } from '../../src/storage/node-file-system.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { newContext } from './support/log.ts'

const format = { name: 'segments', version: 1, oldest: 1 }

let root: string
let remove: () => Promise<void>

function open(path: string, names: { clusterId?: string; nodeId?: string } = {}, version = 1) {
  return openDirectory(nodeFileSystem, path, { ...format, version, oldest: version }, newContext(names))
}

/** Everything that an opener could change. */
async function picture(path: string): Promise<unknown> {
  const names = (await readdir(path)).filter((name) => !name.startsWith('LOCK.')).sort()
  return Promise.all(names.map(async (name) => [name, await readFile(join(path, name), 'utf8')]))
}

async function refusal(opening: Promise<unknown>): Promise<KeelsonError> {
  const error = await opening.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(KeelsonError.is(error), `should be refused, but ${String(error)}`)
  return error
}

suite('a directory', () => {
  beforeEach(async () => {
    const made = await temporaryDirectory()
    root = made.path
    remove = made.remove
  })

  afterEach(() => remove())

  test('is made for its owner alone, with what lies above it', async () => {
    const path = join(root, 'a', 'b')
    const directory = await open(path)
    assert.equal((await stat(path)).mode & 0o777, 0o700)
    assert.equal((await stat(join(root, 'a'))).mode & 0o777, 0o700)
    assert.equal((await stat(join(path, 'IDENTITY'))).mode & 0o777, 0o600)
    assert.equal(directory.ready, false)
    await directory.release()
    assert.deepEqual(await readdir(path), ['IDENTITY'])
  })

  test('keeps its incarnation, and says when it was made ready', async () => {
    const path = join(root, 'a')
    const first = await open(path)
    await first.release()
    const second = await open(path)
    assert.equal(second.incarnation, first.incarnation)
    assert.equal(second.ready, false)
    await second.settle()
    await second.release()
    const third = await open(path)
    assert.equal(third.incarnation, first.incarnation)
    assert.equal(third.ready, true)
    await third.release()
    await third.release()
  })

  test('of an older version that is read is raised when its opener says so', async () => {
    const path = join(root, 'a')
    const newer = { ...format, version: 2 }
    const old = await open(path)
    await old.settle()
    await old.release()
    for (let attempt = 0; attempt < 2; attempt++) {
      const opened = await openDirectory(nodeFileSystem, path, newer, newContext())
      assert.equal(opened.incarnation, old.incarnation)
      assert.equal(opened.ready, true)
      assert.equal(opened.settled, false)
      if (attempt === 1) await opened.settle()
      await opened.release()
    }
    assert.equal((await refusal(open(path))).code, 'FORMAT_VERSION')
    const raised = await openDirectory(nodeFileSystem, path, newer, newContext())
    assert.equal(raised.settled, true)
    await raised.release()
  })

  test('has an identity that people can read', async () => {
    const path = join(root, 'a')
    const directory = await open(path, { clusterId: 'prod', nodeId: 'db7' })
    await directory.release()
    assert.match(
      await readFile(join(path, 'IDENTITY'), 'utf8'),
      /^keelson store\nformat segments 1\ncluster prod\nnode db7\nincarnation \d+\nstate new\nchecksum [0-9a-f]{8}\n$/,
    )
  })

  test('of another cluster, node, format or version is refused and left untouched', async () => {
    const path = join(root, 'a')
    await (await open(path)).release()
    const before = await picture(path)
    const cases = [
      [
        'FOREIGN_CLUSTER',
        /belongs to cluster 'c', not to 'other'.*left untouched/,
        () => open(path, { clusterId: 'other' }),
      ],
      ['FOREIGN_NODE', /belongs to node 'n', not to 'm'/, () => open(path, { nodeId: 'm' })],
      ['FORMAT_VERSION', /in format segments 1; this adapter reads segments 2/, () => open(path, {}, 2)],
      [
        'FORMAT_VERSION',
        /this adapter reads level 1/,
        () => openDirectory(nodeFileSystem, path, { name: 'level', version: 1, oldest: 1 }, newContext()),
      ],
    ] as const
    for (const [code, message, opening] of cases) {
      const error = await refusal(opening())
      assert.equal(error.code, code)
      assert.match(error.message, message)
    }
    assert.deepEqual(await picture(path), before)
    assert.deepEqual(await readdir(path), ['IDENTITY'])
  })

  test('with any byte of its identity damaged is refused', async () => {
    const path = join(root, 'a')
    await (await open(path)).release()
    const good = await readFile(join(path, 'IDENTITY'))
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good)
      bad[at] = (bad[at] as number) ^ 0x01
      await writeFile(join(path, 'IDENTITY'), bad)
      const error = await refusal(open(path))
      assert.ok(['CORRUPTION', 'FORMAT_VERSION'].includes(error.code), `${error.code} at ${at}`)
      await writeFile(join(path, 'IDENTITY'), good.subarray(0, at))
      assert.equal((await refusal(open(path))).code, 'CORRUPTION')
    }
  })

  test('with strange files and no identity is not taken over', async () => {
    const path = join(root, 'home')
    await mkdir(path, { mode: 0o700 })
    await writeFile(join(path, 'thesis.txt'), 'mine')
    const error = await refusal(open(path))
    assert.equal(error.code, 'FORMAT_VERSION')
    assert.match(error.message, /holds 'thesis\.txt' but no IDENTITY/)
    assert.deepEqual(await readdir(path), ['thesis.txt'])
  })

  test('goes on where an attempt to make it was cut short', async () => {
    const path = join(root, 'a')
    await mkdir(path, { mode: 0o700 })
    await writeFile(join(path, 'IDENTITY.new'), 'half of')
    const directory = await open(path)
    await directory.release()
    assert.deepEqual(await readdir(path), ['IDENTITY'])
  })

  test('that others may enter is refused, with what to do', async () => {
    const path = join(root, 'a')
    await mkdir(path)
    await chmod(path, 0o755)
    const error = await refusal(open(path))
    assert.equal(error.code, 'IO')
    assert.equal(error.retryable, false)
    assert.match(error.message, /mode 755.*chmod 700/)
    assert.deepEqual(await readdir(path), [])
  })

  test('below a file, or under a name that is too long, says what to do', async () => {
    await writeFile(join(root, 'file'), 'x')
    for (const [path, hint] of [
      [join(root, 'file', 'a'), /no directory: name another one/],
      [join(root, 'x'.repeat(300)), /too long: name a shorter one/],
    ] as const) {
      const error = await refusal(open(path))
      assert.equal(error.code, 'IO')
      assert.equal(error.retryable, false)
      assert.match(error.message, hint)
    }
  })

  test('with an identity of any size is refused without being read to its end', async () => {
    const path = join(root, 'a')
    await (await open(path)).release()
    await truncate(join(path, 'IDENTITY'), 2 ** 40)
    const error = await refusal(open(path))
    assert.equal(error.code, 'CORRUPTION')
    assert.match(error.message, /replace this node/)
  })

  test('that is a file is refused', async () => {
    const path = join(root, 'a')
    await writeFile(path, '')
    assert.match((await refusal(open(path))).message, /is not a directory/)
    assert.equal((await refusal(open(join(path, 'b')))).code, 'IO')
  })

  test('is not opened under a name that no node can have', async () => {
    assert.equal((await refusal(open(join(root, 'a'), { nodeId: 'A B' }))).code, 'INVALID_OPTION')
    assert.equal((await refusal(open(join(root, 'a'), { clusterId: '../x' }))).code, 'INVALID_OPTION')
  })

  test('is the same one through a symbolic link', async () => {
    const path = join(root, 'a')
    const directory = await open(path)
    await symlink(path, join(root, 'link'))
    assert.equal((await refusal(open(join(root, 'link')))).code, 'DIRECTORY_LOCKED')
    await directory.release()
  })
})
