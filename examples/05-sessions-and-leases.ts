// A lease on a thing that only one process may change, and the fence at the thing itself.
import assert from 'node:assert/strict'
import { KeelsonError, nodeEnvironment } from 'keelson'
import { Fence, Leases } from 'keelson/leases'
import { memoryStore, SessionHolder } from 'keelson/metadata'

const env = nodeEnvironment()
const store = memoryStore({ env })

async function start(holder: string): Promise<{ session: SessionHolder; leases: Leases }> {
  const session = await SessionHolder.open({ env, store, holder, ttlMs: 1_000 })
  return { session, leases: Leases.open({ env, store, holder, session: () => session }) }
}
const a = await start('a')
const b = await start('b')

/** The thing: it stores the fence's sequence with its data. */
const fence = new Fence()
const written: string[] = []
function write(sequence: number, line: string): void {
  fence.check(sequence)
  written.push(line)
}

const first = await a.leases.acquire('printer')
assert(fence.install(first.sequence))
write(first.sequence, 'by a')
console.log(`a has the lease, sequence ${first.sequence}`)
assert.equal(await b.leases.tryAcquire('printer'), undefined)

const waiting = b.leases.acquire('printer')
await a.session.close() // as when a dies: the session's end ends all that hangs on it
const second = await waiting
assert(fence.install(second.sequence))
write(second.sequence, 'by b')
console.log(`the session of a has ended (${a.leases.status('printer')}), b has sequence ${second.sequence}`)

// A process that was stopped between its look and its effect does not know any of this. The thing does.
let refusal: unknown
try {
  write(first.sequence, 'too late')
} catch (error) {
  refusal = error
}
assert(KeelsonError.hasCode(refusal, 'STALE_SEQUENCE'))
console.log(`a wakes up and writes: ${refusal.message}`)
assert.deepEqual(written, ['by a', 'by b'])

await b.leases.close()
await a.leases.close()
await b.session.close()
await store.close()
