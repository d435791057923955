// Gossip in a cluster, over real sockets: a server and a node tell and ask each other, and change their keys while they run.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:net'
import { bootstrap, ControlPlane, NodeAgent, nodeEnvironment, sleep, text, utf8 } from 'keelson'
import { MemoryLevel, memoryLog } from 'keelson/storage/memory'
import { datagram, KeyRing } from 'keelson/transport/datagram'
import { webSocket } from 'keelson/transport/websocket'

const env = nodeEnvironment()
const clusterId = 'city'
const newKey = (): Uint8Array => new Uint8Array(randomBytes(32))
const memory = (): MemoryLevel<Uint8Array, Uint8Array> =>
  new MemoryLevel<Uint8Array, Uint8Array>({ keyEncoding: 'view', valueEncoding: 'view' })

/** One address serves for both: TCP for the transport, UDP for the gossip. */
async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const address = probe.address()
  await new Promise((resolve) => probe.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

// Every process has a ring of its own with the same key in it, from a file or a vault.
const first = newKey()
const [serverKeys, nodeKeys] = [new KeyRing([first]), new KeyRing([first])]

const serverPort = { host: '127.0.0.1', port: await freePort() }
await using plane = await ControlPlane.open({
  env,
  clusterId,
  nodeId: 'cp1',
  cluster: bootstrap({ secret: 'what the servers alone know' }),
  transport: webSocket({ listen: serverPort }),
  datagrams: datagram({ listen: serverPort, keyRing: serverKeys }),
  gossip: { keys: serverKeys, metadata: utf8('server') },
  log: memoryLog(),
  database: memory(),
})

const nodePort = { host: '127.0.0.1', port: await freePort() }
await using agent = await NodeAgent.join({
  env,
  clusterId,
  nodeId: 'db1',
  incarnation: 11,
  seeds: plane.addresses,
  token: await plane.admin.nodes.createToken({ reason: 'the example' }),
  transport: webSocket({ listen: nodePort }),
  datagrams: datagram({ listen: nodePort, keyRing: nodeKeys }),
  gossip: { keys: nodeKeys, metadata: utf8('node') },
  database: memory(),
})

const [server, node] = [plane.gossip, agent.gossip]
assert.ok(server?.keys !== undefined && node !== undefined)
while (server.swim.status().members.alive < 2) await sleep(env.timers, 10)
for (const { nodeId, metadata } of server.swim.members()) console.log(`${nodeId} is a ${text(metadata)}`)

// What is small and may be missed by nobody who is there: told once to all. What all are to say: a query.
node.swim.on('told', ({ nodeId, name, payload }) => console.log(`${nodeId} tells: ${name} ${text(payload)}`))
server.swim.tell('deploy', utf8('v2'))
node.swim.answer('load', () => utf8('0.3'))
const answers = await server.swim.ask('load', utf8(''), { timeoutMs: 1_000 })
console.log(`load: ${answers.map(({ nodeId, payload }) => `${nodeId} ${text(payload)}`).join(', ')}`)

// All accept the new key, then all send with it; when every node has it the old one is retired.
const second = newKey()
await server.keys.rotate(second)
await server.keys.retire(first)
assert.deepEqual(serverKeys.ids, nodeKeys.ids)
console.log(`both use key ${nodeKeys.ids.join(', ')}; ${server.swim.explain('db1')?.text}`)
