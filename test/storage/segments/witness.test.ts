import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { sleep } from '../../../src/core/async.ts'
import { levelLog } from '../../../src/storage/level/index.ts'
import { MemoryDisk, MemoryLevel } from '../../../src/storage/memory/index.ts'
import { lastIndex, put } from '../support/log.ts'
import { Machine } from '../support/simulated.ts'

const headerBytes = 64
const batchHeaderBytes = 40

/** The offset of the batch of the last entry, and of what is behind it. */
function lastBatch(machine: Machine): { readonly path: string; readonly from: number; readonly to: number } {
  const path = machine.segmentFiles()[0] as string
  const bytes = machine.disk.image().files.get(path) as Uint8Array
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let from = headerBytes
  let to = headerBytes
  for (let at = headerBytes; view.getUint32(at, true) !== 0; ) {
    const payload = view.getUint32(at + 4, true)
    if (payload > 0) from = at
    at += batchHeaderBytes + payload
    if (payload > 0) to = at
  }
  return { path, from, to }
}

suite('the last batch before a crash', () => {
  for (const idleMs of [0, 2_500]) {
    test(`${idleMs === 0 ? 'passes for torn' : 'is known to have been durable once the log was idle'}`, async () => {
      for (let seed = 0; seed < 20; seed++) {
        const machine = new Machine(seed)
        await machine.run(async () => {
          const store = await machine.open()
          for (let index = 1; index <= 3; index++) await put(store, index)
          await sleep(machine.env.timers, idleMs)
          machine.restart('power')
          const { path, from, to } = lastBatch(machine)
          const random = machine.simulation.random('damage')
          machine.disk.flipBit(path, from + random.integer(to - from), random.integer(8))
          if (idleMs === 0) {
            const again = await machine.open()
            assert.equal(lastIndex(again), 2)
            await again.close()
          } else {
            await assert.rejects(machine.open(), { code: 'CORRUPTION' }, `seed ${seed} ${from} ${to}`)
          }
        })
      }
    })
  }

  test('is confirmed once, however long the log is idle, and not before it is', async () => {
    const machine = new Machine(1)
    await machine.run(async () => {
      const store = await machine.open()
      const end = (): number => {
        const bytes = machine.disk.image().files.get(machine.segmentFiles()[0] as string) as Uint8Array
        return bytes.findLastIndex((byte) => byte !== 0)
      }
      await put(store, 1)
      for (let index = 2; index < 40; index++) {
        await sleep(machine.env.timers, 400)
        await put(store, index)
      }
      const batches = 39
      const before = end()
      await sleep(machine.env.timers, 3_000)
      const after = end()
      assert.ok(after > before && after - before <= batchHeaderBytes + 8, `${after - before} bytes`)
      assert.ok(
        before < headerBytes + (batches + 2) * (batchHeaderBytes + 80),
        'no marks between the batches',
      )
      await sleep(machine.env.timers, 60_000)
      assert.equal(end(), after)
      await store.close()
      assert.equal(end(), after, 'closing adds nothing to that')
    })
  })

  test('is confirmed after an opening, too', async () => {
    const machine = new Machine(1)
    await machine.run(async () => {
      const store = await machine.open()
      await put(store, 1)
      machine.restart('power')
      await machine.open()
      await sleep(machine.env.timers, 2_500)
      machine.restart('power')
      const { path, to } = lastBatch(machine)
      machine.disk.flipBit(path, to - 1, 0)
      machine.disk.flipBit(path, to - 20, 0)
      await assert.rejects(machine.open(), { code: 'CORRUPTION' })
      assert.ok(store)
    })
  })

  test('is missed in a database, too', async () => {
    const machine = new Machine(1)
    await machine.run(async () => {
      for (const idle of [false, true]) {
        const disk = new MemoryDisk()
        const store = await levelLog(new MemoryLevel({ disk }))({ ...machine.context })
        await put(store, 1)
        await put(store, 2)
        if (idle) await sleep(machine.env.timers, 2_500)
        disk.crash(machine.simulation.random('crash'))
        const level = new MemoryLevel({ disk })
        const bytes = { keyEncoding: 'view', valueEncoding: 'view' } as const
        const all = await level.iterator<Uint8Array, Uint8Array>(bytes).all()
        const batches = all.filter(([key]) => key[0] !== 'i'.charCodeAt(0))
        const [lost] = batches.findLast(([, value]) => value.length > batchHeaderBytes) as [
          Uint8Array,
          Uint8Array,
        ]
        await level.del(lost, { keyEncoding: 'view' })
        const opening = levelLog(level)({ ...machine.context })
        if (idle) await assert.rejects(opening, { code: 'CORRUPTION' })
        else assert.equal(lastIndex(await opening), 1)
      }
    })
  })
})
