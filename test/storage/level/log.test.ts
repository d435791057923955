import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { levelLog } from '../../../src/storage/level/index.ts'
import { MemoryDisk, MemoryLevel } from '../../../src/storage/memory/index.ts'
import { logStoreCompliance } from '../../../src/testing/index.ts'
import { temporaryDirectory } from '../../support/temporary.ts'

suite('levelLog on a classic-level', () => {
  const create = async () => {
    const { path, remove } = await temporaryDirectory()
    return { open: levelLog(`${path}/log`), dispose: remove }
  }
  for (const { name, run } of logStoreCompliance({ create })) test(name, run)
})

for (const rotating of [false, true]) {
  suite(`levelLog on a MemoryLevel${rotating ? ' that changes its log file' : ''}`, () => {
    let seed = 0
    const random = new SeededRandom(1)
    const logIsFull = () => rotating && random.float() < 0.2
    const create = async () => {
      const disk = new MemoryDisk()
      let level = new MemoryLevel({ disk, logIsFull })
      return {
        open: (context: Parameters<ReturnType<typeof levelLog>>[0]) =>
          levelLog(level, { cleanFromBytes: 0 })(context),
        crash: async () => {
          disk.crash(new SeededRandom(seed++))
          level = new MemoryLevel({ disk, logIsFull })
        },
      }
    }
    for (const { name, run } of logStoreCompliance({ create })) test(name, run)
  })
}

suite('levelLog with tiny batches keeps its limits', () => {
  const create = async () => {
    const level = new MemoryLevel()
    return {
      open: levelLog(level, { maximumBatchBytes: 4_096, maximumQueuedBytes: 4_096, cleanFromBytes: 0 }),
    }
  }
  for (const { name, run } of logStoreCompliance({ create })) {
    if (name.includes('largest write') || name.includes('queue holds')) test(name, run)
  }
})
