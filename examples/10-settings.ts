// Typed settings: checked before they are stored, followed live, with a history of who changed what and why.
import assert from 'node:assert/strict'
import { KeelsonError, nodeEnvironment } from 'keelson'
import { memoryStore } from 'keelson/metadata'
import { booleanSetting, defineSettings, integerSetting, Settings } from 'keelson/settings'

const env = nodeEnvironment()
await using store = memoryStore({ env })
const definitions = defineSettings({
  'range.maximum-megabytes': integerSetting({
    description: 'Size at which a range splits, in MiB.',
    default: 512,
    min: 1,
    max: 4096,
  }),
  'backup.enabled': booleanSetting({ description: 'Whether backups run.', default: false }),
})

await using operator = await Settings.open({ env, store, definitions })
await using node = await Settings.open({ env, store, definitions, nodeId: 'db7' })
const changed = new Promise<void>((resolve) => {
  node.on('change', (name) => {
    if (name === 'range.maximum-megabytes') resolve()
  })
})

await operator.set('range.maximum-megabytes', 256, { reason: 'splits took too long' })
await changed
console.log(`db7 sees ${node.get('range.maximum-megabytes')} MiB without a restart`)
assert.equal(node.get('range.maximum-megabytes'), 256)

await assert.rejects(operator.set('range.maximum-megabytes', 0, { reason: 'a slip' }), (error) =>
  KeelsonError.hasCode(error, 'INVALID_ARGUMENT'),
)
const history = await operator.history('range.maximum-megabytes')
console.log(
  `history: ${history.map(({ value, reason }) => `${JSON.stringify(value)} (${reason})`).join(', ')}`,
)
assert.equal(history.length, 1)
