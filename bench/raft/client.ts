// A client in a process of its own: puts and linearizable gets over the network, of the metadata store or of an etcd.

import { nodeEnvironment, utf8 } from 'keelson/core'
import { MetadataClient } from 'keelson/metadata'
import { webSocket } from 'keelson/transport/websocket'
import { EtcdClient } from './etcd.ts'
import { load, type Spent, watchSpending } from './load.ts'
import { watch } from './profile.ts'
import { type Answer, clusterId, type Request, serveRequests, settingsOfProcess } from './protocol.ts'

const { name: nodeId, servers, etcd } = settingsOfProcess()
const value = new Uint8Array(100).fill(120)
const keys = Array.from({ length: 1000 }, (_, i) => utf8(`/bench/${String(i).padStart(6, '0')}`))
let addresses: Readonly<Record<string, string>> = {}
let next = 0
let spent: () => Spent | Promise<Spent> = watchSpending()
const { put, get } = etcd === undefined ? await ofKeelson() : ofEtcd(etcd)

serveRequests(answer, (given) => {
  addresses = given
})
process.send?.({ type: 'hello', address: '', incarnation: 1 })

interface Client {
  readonly put: () => Promise<unknown>
  readonly get: () => Promise<unknown>
}

function nextKey(): Uint8Array {
  next = (next + 1) % keys.length
  return keys[next] as Uint8Array
}

async function ofKeelson(): Promise<Client> {
  const env = nodeEnvironment()
  const transport = await webSocket()({
    env,
    clusterId,
    self: { nodeId, incarnation: 1, role: 'client' },
    resolve: (peer) => (addresses[peer] === undefined ? [] : [addresses[peer]]),
  })
  const store = new MetadataClient({ env, channel: transport.channel('metadata'), servers: () => servers })
  return {
    put: async () => store.txn({ then: [{ type: 'put', key: nextKey(), value }] }),
    get: async () => store.get(nextKey()),
  }
}

/** As many connections as a pool of clients would share. */
function ofEtcd(endpoint: string): Client {
  const clients = Array.from({ length: 8 }, () => new EtcdClient(endpoint))
  let turn = 0
  const client = (): EtcdClient => clients[turn++ % clients.length] as EtcdClient
  return {
    put: async () => client().put(nextKey(), value),
    get: async () => client().get(nextKey()),
  }
}

async function answer(request: Request): Promise<Answer> {
  switch (request.type) {
    case 'load':
      return load(request.outstanding, request.seconds, request.operation === 'put' ? put : get)
    case 'watchSpending':
      spent = await watch(request.profile)
      return undefined
    case 'spent':
      return spent()
    case 'write':
      await put()
      return undefined
    default:
      throw new Error(`a client does not ${request.type}`)
  }
}
