import { suite, test } from 'node:test'
import { segments } from '../../../src/storage/segments/index.ts'
import { logStoreCompliance } from '../../../src/testing/index.ts'
import { temporaryDirectory } from '../../support/temporary.ts'

suite('segments on the disk', () => {
  const create = async () => {
    const { path, remove } = await temporaryDirectory()
    return { open: segments(`${path}/log`), dispose: remove }
  }
  for (const { name, run } of logStoreCompliance({ create })) test(name, run)
})

suite('small segments on the disk', () => {
  const create = async () => {
    const { path, remove } = await temporaryDirectory()
    return {
      open: segments(`${path}/log`, { segmentBytes: 2048 * 1024, cleanFromBytes: 0 }),
      dispose: remove,
    }
  }
  for (const { name, run } of logStoreCompliance({ create })) test(name, run)
})

suite('tiny segments on the disk keep their limits', () => {
  const create = async () => {
    const { path, remove } = await temporaryDirectory()
    const options = { segmentBytes: 16 * 1024, maximumQueuedBytes: 16 * 1024, cleanFromBytes: 0 }
    return { open: segments(`${path}/log`, options), dispose: remove }
  }
  for (const { name, run } of logStoreCompliance({ create })) {
    if (name.includes('largest write') || name.includes('queue holds')) test(name, run)
  }
})
