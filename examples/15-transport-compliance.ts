// A transport of one's own is tested by the suite that keelson's own transports pass: here one that counts what it sends.
import assert from 'node:assert/strict'
import { type Channel, nodeEnvironment, type Transport, type TransportFactory } from 'keelson'
import { type TransportHarness, transportCompliance } from 'keelson/testing'
import { type MemoryNetwork, memoryNetwork } from 'keelson/transport/memory'

let bytesSent = 0

/** Wraps another transport: `change` has the last word on what a channel sends. */
function wrapped(inner: TransportFactory, change: (channel: Channel) => Channel['send']): TransportFactory {
  return async (context) => {
    const transport = await inner(context)
    const channel: Transport['channel'] = (protocol, options) => {
      const made = transport.channel(protocol, options)
      return replaced(made, 'send', change(made))
    }
    return replaced(transport, 'channel', channel)
  }
}

/** The same object, but for one of its methods. */
function replaced<T extends object, K extends keyof T>(target: T, name: K, value: T[K]): T {
  return new Proxy(target, {
    get(object, property) {
      const found: unknown = property === name ? value : Reflect.get(object, property)
      return typeof found === 'function' && property !== name ? found.bind(object) : found
    },
  })
}

/** What the suite needs to know of a transport: how to open some that find each other. */
function harness(make: (network: MemoryNetwork) => TransportFactory): TransportHarness {
  const env = nodeEnvironment()
  const network = memoryNetwork()
  const factory = make(network)
  const opened: Transport[] = []
  return {
    env,
    open: async ({ nodeId, incarnation = 1, clusterId = 'example', founding, role = 'node' }) => {
      const self = { nodeId, incarnation, role }
      const transport = await factory({ env, clusterId, founding, self, resolve: network.resolve })
      opened.push(transport)
      return transport
    },
    close: async () => {
      for (const transport of opened) await transport.close()
    },
  }
}

async function failures(
  make: (network: MemoryNetwork) => TransportFactory,
  pattern = /./,
): Promise<string[]> {
  const failed: string[] = []
  const suite = transportCompliance(async () => harness(make)).filter(({ name }) => pattern.test(name))
  // In a project of one's own: test(name, run).
  await Promise.all(
    suite.map(({ name, run }) =>
      run().catch((error: unknown) => {
        failed.push(`${name}: ${String(error)}`)
      }),
    ),
  )
  console.log(`${suite.length - failed.length} of ${suite.length} cases passed`)
  return failed
}

const counting = await failures((network) =>
  wrapped(network.transport(), (channel) => (peer, bytes) => {
    bytesSent += bytes.length
    return channel.send(peer, bytes)
  }),
)
console.log(`${bytesSent} bytes were sent`)
assert.deepEqual(counting, [])
assert(bytesSent > 0)

// One that sends every message twice does not get through.
const doubling = await failures(
  (network) =>
    wrapped(network.transport(), (channel) => (peer, bytes) => {
      channel.send(peer, bytes)
      return channel.send(peer, bytes)
    }),
  /order/,
)
assert(doubling.length > 0)
