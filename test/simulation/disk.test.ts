import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { concatBytes, utf8 } from '../../src/core/bytes.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { SimulatedDisk } from '../../src/simulation/disk.ts'
import type { SimulatedFiles } from '../../src/simulation/simulated-files.ts'
import { Simulation } from '../../src/simulation/simulation.ts'

interface World {
  readonly simulation: Simulation
  readonly disk: SimulatedDisk
  readonly files: SimulatedFiles
  /** Cuts the power and mounts what is left. */
  cut(): SimulatedFiles
  content(files: SimulatedFiles, path: string): Promise<string>
}

function world(seed = 1): World {
  const simulation = new Simulation({ seed })
  const process = simulation.process('n1')
  const disk = new SimulatedDisk(process, {
    scheduler: simulation.scheduler,
    random: simulation.random('disk'),
    counts: simulation.faults,
  })
  return {
    simulation,
    disk,
    files: disk.mount(),
    cut: () => {
      process.crash('power')
      process.restart()
      return disk.mount()
    },
    content: async (files, path) =>
      Buffer.from(await simulation.until(files.read(path, 0, 1_000_000))).toString(),
  }
}

suite('a simulated disk', () => {
  test('keeps what was synced, name and content', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const w = world(seed)
      w.files.write('log/1', 0, utf8('hello'))
      w.files.write('log/1', 5, utf8(' world'))
      await w.simulation.until(w.files.sync('log/1'))
      await w.simulation.until(w.files.syncDirectory('log'))
      const after = w.cut()
      assert.deepEqual(after.list(), ['log/1'])
      assert.equal(await w.content(after, 'log/1'), 'hello world')
      assert.equal(after.size('log/1'), 11)
    }
  })

  test('loses or tears what was not synced, and names whose directory was not', async () => {
    const contents = new Set<string>()
    const names = new Set<string>()
    let torn = 0
    for (let seed = 0; seed < 100; seed++) {
      const w = world(seed)
      w.files.write('log/1', 0, utf8('a'))
      await w.simulation.until(w.files.sync('log/1'))
      await w.simulation.until(w.files.syncDirectory('log'))
      w.files.write('log/1', 1, utf8('bcd'))
      w.files.write('log/1', 0, utf8('A'))
      w.files.write('log/2', 0, utf8('x'))
      await w.simulation.until(w.files.sync('log/2'))
      const after = w.cut()
      contents.add(await w.content(after, 'log/1'))
      names.add(after.list().join())
      torn += w.simulation.faults.get('disk unsynced writes torn')
    }
    assert.deepEqual(names, new Set(['log/1', 'log/1,log/2']))
    for (const content of ['a', 'A', 'abcd', 'Abcd']) assert.ok(contents.has(content), content)
    assert.ok(contents.has('ab') || contents.has('abc'), [...contents].join())
    assert.ok(torn > 0)
  })

  test('tears large writes between sectors', async () => {
    const lengths = new Set<number>()
    for (let seed = 0; seed < 200; seed++) {
      const w = world(seed)
      w.files.write('f', 0, new Uint8Array(0))
      await w.simulation.until(w.files.syncDirectory(''))
      w.files.write('f', 0, new Uint8Array(2_000).fill(1))
      lengths.add(w.cut().size('f'))
    }
    assert.deepEqual(
      [...lengths].sort((a, b) => a - b),
      [0, 512, 1_024, 1_536, 2_000],
    )
  })

  test('rename is seen at once and durable with its directory', async () => {
    const seen = new Set<string>()
    for (let seed = 0; seed < 30; seed++) {
      const w = world(seed)
      w.files.write('current', 0, utf8('old'))
      await w.simulation.until(Promise.all([w.files.sync('current'), w.files.syncDirectory('')]))
      w.files.write('new', 0, utf8('new'))
      await w.simulation.until(w.files.sync('new'))
      w.files.rename('new', 'current')
      assert.equal(await w.content(w.files, 'current'), 'new')
      assert.deepEqual(w.files.list(), ['current'])
      const after = w.cut()
      seen.add(`${after.list().join()} ${await w.content(after, 'current')}`)
    }
    assert.deepEqual(seen, new Set(['current old', 'current,new old', 'current new']))
  })

  test('a removed file comes back when its directory was not synced', async () => {
    const seen = new Set<boolean>()
    for (let seed = 0; seed < 20; seed++) {
      const w = world(seed)
      w.files.write('f', 0, utf8('x'))
      await w.simulation.until(Promise.all([w.files.sync('f'), w.files.syncDirectory('')]))
      w.files.remove('f')
      assert.equal(w.files.exists('f'), false)
      seen.add(w.cut().exists('f'))
    }
    assert.equal(seen.size, 2)
  })

  test('after a failed sync nothing makes the content durable, though it is seen', async () => {
    const w = world()
    w.files.write('f', 0, utf8('a'))
    await w.simulation.until(Promise.all([w.files.sync('f'), w.files.syncDirectory('')]))
    w.files.write('f', 1, utf8('b'))
    w.disk.setQuality({ syncFailureProbability: 1 })
    await assert.rejects(w.simulation.until(w.files.sync('f')), (error) => KeelsonError.hasCode(error, 'IO'))
    w.disk.setQuality({ syncFailureProbability: 0 })
    await w.simulation.until(w.files.sync('f'))
    assert.equal(await w.content(w.files, 'f'), 'ab')
    assert.equal(await w.content(w.cut(), 'f'), 'a')
  })

  test('killing the process alone loses nothing', async () => {
    const w = world()
    w.files.write('f', 0, utf8('a'))
    w.simulation.process('n1').crash('kill')
    w.simulation.process('n1').restart()
    assert.equal(await w.content(w.disk.mount(), 'f'), 'a')
    assert.throws(
      () => w.files.write('f', 0, utf8('zombie')),
      (error) => KeelsonError.hasCode(error, 'CLOSED'),
    )
    await assert.rejects(w.files.sync('f'), (error) => KeelsonError.hasCode(error, 'CLOSED'))
  })

  test('can be full, slow, stalled and rotten', async () => {
    const w = world()
    w.disk.setQuality({ capacityBytes: 10 })
    w.files.write('f', 0, new Uint8Array(8))
    assert.throws(
      () => w.files.write('g', 0, new Uint8Array(3)),
      (error) => KeelsonError.hasCode(error, 'DISK_FULL'),
    )
    w.files.write('f', 0, new Uint8Array(8))
    w.disk.setQuality({ slowProbability: 1, slowDelayMs: 10_000 })
    const from = w.simulation.nowMs
    await w.simulation.until(w.files.sync('f'))
    assert.ok(w.simulation.nowMs - from > 100)
    w.disk.setQuality({ slowProbability: 0 })
    const over = w.disk.stall()
    let done = false
    void w.files.sync('f').then(() => {
      done = true
    })
    await w.simulation.runFor(1_000)
    assert.equal(done, false)
    over()
    over()
    await w.simulation.runFor(100)
    assert.equal(done, true)
    w.disk.flipBit('f', 3, 2)
    assert.deepEqual((await w.simulation.until(w.files.read('f', 3, 1)))[0], 4)
    for (const fault of ['disk full', 'disk slow sync', 'disk stalled', 'disk bit flipped']) {
      assert.equal(w.simulation.faults.get(fault), 1, fault)
    }
  })

  test('keeps its own copy of what is written and gives copies', async () => {
    const w = world()
    const bytes = utf8('abc')
    w.files.write('f', 0, bytes)
    bytes.fill(0)
    const read = await w.simulation.until(w.files.read('f', 1, 100))
    assert.equal(Buffer.from(read).toString(), 'bc')
    read.fill(0)
    w.files.truncate('f', 2)
    w.files.write('f', 4, utf8('z'))
    assert.equal(
      await w.content(w.files, 'f'),
      Buffer.from(concatBytes([utf8('ab'), new Uint8Array(2), utf8('z')])).toString(),
    )
    for (const call of [() => w.files.size('g'), () => w.files.rename('g', 'h'), () => w.files.remove('g')]) {
      assert.throws(call, (error) => KeelsonError.hasCode(error, 'NOT_FOUND'))
    }
  })

  test('says that a sync is done that is not, and a later one that is true makes up for it', async () => {
    const content = async (second: boolean): Promise<Set<string>> => {
      const seen = new Set<string>()
      for (let seed = 0; seed < 30; seed++) {
        const w = world(seed)
        w.files.write('f', 0, utf8('a'))
        await w.simulation.until(Promise.all([w.files.sync('f'), w.files.syncDirectory('')]))
        w.disk.setQuality({ lostSyncProbability: 1 })
        w.files.write('f', 0, utf8('b'))
        await w.simulation.until(w.files.sync('f'))
        w.disk.setQuality({ lostSyncProbability: 0 })
        if (second) await w.simulation.until(w.files.sync('f'))
        assert.equal(w.simulation.faults.get('disk lost sync'), 1)
        seen.add(await w.content(w.cut(), 'f'))
      }
      return seen
    }
    assert.deepEqual(await content(false), new Set(['a', 'b']))
    assert.deepEqual(await content(true), new Set(['b']))
  })

  test('puts a write elsewhere, which shows when the page cache is gone', async () => {
    let found = 0
    for (let seed = 0; seed < 30; seed++) {
      const w = world(seed)
      w.files.write('f', 0, new Uint8Array(4_096).fill(1))
      w.files.write('g', 0, new Uint8Array(4_096).fill(2))
      await w.simulation.until(Promise.all([w.files.sync('f'), w.files.sync('g'), w.files.syncDirectory('')]))
      w.disk.setQuality({ misdirectedWriteProbability: 1 })
      w.files.write('f', 1_024, new Uint8Array(512).fill(9))
      w.disk.setQuality({ misdirectedWriteProbability: 0 })
      await w.simulation.until(w.files.sync('f'))
      const read = async (path: string): Promise<Uint8Array> =>
        w.simulation.until(w.files.read(path, 0, 5_000))
      assert.equal((await read('f'))[1_024], 9, 'the cache has it where it belongs')
      w.disk.dropCaches()
      if (w.simulation.faults.get('disk misdirected write') === 0) continue
      const [f, g] = [await read('f'), await read('g')]
      assert.equal(f[1_024], 1)
      assert.deepEqual([f.length, g.length], [4_096, 4_096])
      assert.equal([...f, ...g].filter((byte) => byte === 9).length, 512)
      found++
    }
    assert.ok(found > 20)
  })

  test('fails a write half way', async () => {
    const w = world()
    w.files.write('f', 0, new Uint8Array(8))
    w.disk.setQuality({ writeFailureProbability: 1 })
    assert.throws(
      () => w.files.write('f', 0, new Uint8Array(8).fill(1)),
      (error) => KeelsonError.hasCode(error, 'IO'),
    )
    const read = await w.simulation.until(w.files.read('f', 0, 8))
    assert.deepEqual([...read], [1, 1, 1, 1, 0, 0, 0, 0])
  })

  test('comes back as it was, or with a page lost', async () => {
    const w = world()
    w.files.write('log/1', 0, utf8('old'))
    await w.simulation.until(Promise.all([w.files.sync('log/1'), w.files.syncDirectory('log')]))
    w.files.write('log/2', 0, utf8('never synced'))
    const image = w.disk.image()
    w.files.write('log/1', 0, utf8('new'))
    w.files.rename('log/1', 'log/3')
    await w.simulation.until(Promise.all([w.files.sync('log/3'), w.files.syncDirectory('log')]))
    for (let attempt = 0; attempt < 2; attempt++) {
      w.simulation.process('n1').crash('power')
      w.disk.restore(image)
      w.simulation.process('n1').restart()
      const files = w.disk.mount()
      assert.deepEqual(files.list(), ['log/1'])
      assert.equal(await w.content(files, 'log/1'), 'old')
      w.disk.overwrite('log/1', 1, utf8('XYZ'))
      assert.equal(await w.content(files, 'log/1'), 'oXY')
    }
    assert.throws(() => w.disk.restore(image), { code: 'INVARIANT_VIOLATED' })
  })

  test('serves stores of files, whose calls end with the life that made them', async () => {
    const w = world()
    const fs = w.disk.fileSystem()
    await w.simulation.until(
      (async () => {
        await fs.makeDirectory('a')
        await fs.makeDirectory('a/b')
        await assert.rejects(fs.makeDirectory('a'), { code: 'IO' })
        await assert.rejects(fs.makeDirectory('x/y'), { code: 'IO' })
        await assert.rejects(fs.open('a/f', 'existing'), { code: 'IO' })
        const file = await fs.open('a/f', 'new')
        await assert.rejects(fs.open('a/f', 'new'), { code: 'IO' })
        await file.write(utf8('hello'), 2)
        await fs.rename('a/f', 'a/g')
        await file.sync()
        await fs.syncDirectory('a')
        await (await fs.open('a/b/deep', 'new')).close()
        assert.deepEqual(await fs.list('a'), ['g'])
        assert.deepEqual(await fs.status('a/g'), { kind: 'file', mode: 0o600, size: 7 })
        assert.deepEqual(await fs.status('a'), { kind: 'directory', mode: 0o700, size: 0 })
        assert.equal(await fs.status('a/f'), undefined)
        const into = new Uint8Array(10)
        assert.equal(await file.read(into, 2), 5)
        assert.equal(Buffer.from(into.subarray(0, 5)).toString(), 'hello')
        await file.close()
        await assert.rejects(file.read(into, 0), { code: 'IO' })
        const lock = await fs.lock('a')
        await assert.rejects(fs.lock('a'), { code: 'DIRECTORY_LOCKED' })
        await lock.release()
        await fs.lock('a')
      })(),
    )
    w.cut()
    let settled = false
    void fs.list('a').finally(() => {
      settled = true
    })
    const after = w.disk.fileSystem()
    await w.simulation.until(
      (async () => {
        await after.lock('a')
        assert.deepEqual(await after.list('a'), ['g'])
        await after.remove('a/g')
        assert.deepEqual(await after.list('a'), [])
      })(),
    )
    assert.equal(settled, false)
  })
})
