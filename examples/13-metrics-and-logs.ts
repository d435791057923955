// Everything that keelson tells goes through the environment: a pino-shaped logger and Prometheus metrics.
import assert from 'node:assert/strict'
import { type LogRecord, MetricsRegistry, nodeEnvironment, recordLogger } from 'keelson'
import { Leases } from 'keelson/leases'
import { memoryStore, SessionHolder } from 'keelson/metadata'

const records: LogRecord[] = []
const metrics = new MetricsRegistry()
// `logger: pino()` works as it is; `metrics` may be any object with counter, gauge and histogram.
const env = nodeEnvironment({ metrics, logger: recordLogger((record) => records.push(record), 'debug') })

const store = memoryStore({ env })
const session = await SessionHolder.open({ env, store, holder: 'a', ttlMs: 1_000 })
const leases = Leases.open({ env, store, holder: 'a', session: () => session })
leases.on('status', () => {
  throw new Error('a listener of the host that fails')
})
await leases.acquire('printer')
await leases.acquire('scanner')

const text = metrics.text()
console.log(
  text
    .split('\n')
    .filter((line) => line.startsWith('keelson_leases'))
    .join('\n'),
)
assert.match(text, /^keelson_leases_held 2$/m)
assert.match(text, /^keelson_leases_taken_total\{how="claim"\} 2$/m)

const [record] = records
console.log(`${record?.level}: ${record?.message} (${record?.fields.event})`)
assert.equal(record?.message, 'an event listener threw')

await leases.close()
await session.close()
await store.close()
