import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { utf8 } from '../../src/core/bytes.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { memoryStore } from '../../src/metadata/index.ts'
import { metadataStoreCompliance } from '../../src/testing/index.ts'
import { VirtualTime } from './support/virtual-environment.ts'

describe('memoryStore', () => {
  const suite = metadataStoreCompliance(async () => {
    const env = new VirtualTime().environment()
    const store = memoryStore({ env })
    return { env, open: async () => store, close: () => store.close() }
  })
  for (const { name, run } of suite) test(name, run)

  test('compacts its history by itself', async () => {
    const store = memoryStore({ env: new VirtualTime().environment(), historyRevisions: 100 })
    for (let i = 0; i < 200; i++)
      await store.txn({ then: [{ type: 'put', key: utf8('k'), value: utf8(`${i}`) }] })
    await assert.rejects(store.get(utf8('k'), { revision: 1 }), (error) =>
      KeelsonError.hasCode(error, 'COMPACTED'),
    )
    assert.equal((await store.get(utf8('k'), { revision: 190 }))?.version, 190)
  })

  test('refuses unknown options by name', () => {
    const env = new VirtualTime().environment()
    assert.throws(() => memoryStore({ env, quotaByte: 1 } as never), /did you mean 'quotaBytes'/)
  })
})
