// The metadata store: transactions with compares, and a watch that sees every change once. This one is in memory; the
// replicated one has the same interface.
import assert from 'node:assert/strict'
import { nodeEnvironment, text, utf8 } from 'keelson'
import { memoryStore, prefixSelector } from 'keelson/metadata'

await using store = memoryStore({ env: nodeEnvironment() })
const key = utf8('/host/counter')

/** Adds one, however many others do the same: a compare on the revision that was read. */
async function increment(): Promise<void> {
  for (;;) {
    const entry = await store.get(key)
    const next = Number(entry === undefined ? 0 : text(entry.value)) + 1
    const { succeeded } = await store.txn({
      if: [{ key, target: 'modRevision', is: '=', operand: entry?.modRevision ?? 0 }],
      then: [{ type: 'put', key, value: utf8(String(next)) }],
    })
    if (succeeded) return
  }
}

await Promise.all([increment(), increment(), increment(), increment()])
const entry = await store.get(key)
assert(entry !== undefined)
console.log(`four at once: ${text(entry.value)}, at revision ${entry.modRevision}, version ${entry.version}`)
assert.equal(text(entry.value), '4')

const past = await store.get(key, { revision: entry.modRevision - 2 })
console.log(`two revisions earlier it was ${text(past?.value ?? utf8('nothing'))}`)
assert.equal(past && text(past.value), '2')

const seen: string[] = []
for await (const response of store.watch(prefixSelector(utf8('/host/')), {
  fromRevision: entry.createRevision,
})) {
  if (response.type !== 'changes') continue
  for (const { entry: changed } of response.events) seen.push(text(changed.value))
  if (seen.length === 4) break
}
console.log(`a watch from its creation on: ${seen.join(', ')}`)
assert.deepEqual(seen, ['1', '2', '3', '4'])
