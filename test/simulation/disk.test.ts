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
})
