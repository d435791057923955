// A log store of one's own is tested by the suite that keelson's own stores pass: here one that counts its writes.
import assert from 'node:assert/strict'
import { type LogStore, type LogStoreFactory, nodeEnvironment } from 'keelson'
import { memoryLog } from 'keelson/storage/memory'
import { logStoreCompliance } from 'keelson/testing'

let writes = 0

/** Wraps another store. */
function counting(inner: LogStoreFactory): LogStoreFactory {
  return async (context) => {
    const store = await inner(context)
    return new Proxy(store, {
      get(target, property) {
        if (property === 'write') writes++
        const value: unknown = Reflect.get(target, property)
        return typeof value === 'function' ? value.bind(target) : value
      },
    }) satisfies LogStore
  }
}

const suite = logStoreCompliance({
  create: async () => ({ open: counting(memoryLog()) }),
  env: nodeEnvironment,
})
const failed: string[] = []
for (const { name, run } of suite) {
  try {
    await run()
  } catch (error) {
    failed.push(`${name}: ${String(error)}`)
  }
}
console.log(`${suite.length - failed.length} of ${suite.length} cases passed, in ${writes} writes`)
assert.deepEqual(failed, [])
assert(writes > 0)

/** A store that forgets the last write of each batch does not get through. */
const forgetful: LogStoreFactory = async (context) => {
  const store = await memoryLog()(context)
  const write = store.write.bind(store)
  store.write = (batch) => write(batch.slice(0, -1))
  return store
}
const names = await Promise.all(
  logStoreCompliance({ create: async () => ({ open: forgetful }) }).map(({ name, run }) =>
    run().then(
      () => '',
      () => name,
    ),
  ),
)
console.log(`a forgetful one fails in ${names.filter((name) => name !== '').length} cases`)
assert(names.some((name) => name !== ''))
