import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import { nodeEnvironment } from '../../../src/core/node-environment.ts'
import type { Transport } from '../../../src/interfaces/transport.ts'
import { until } from '../../../src/testing/compliance.ts'
import { type TransportHarness, transportCompliance } from '../../../src/testing/transport.ts'
import {
  type MemoryNetwork,
  type MemoryNetworkOptions,
  memoryNetwork,
} from '../../../src/transport/memory/index.ts'

function harness(options: MemoryNetworkOptions = {}): TransportHarness & { readonly network: MemoryNetwork } {
  const env = nodeEnvironment()
  const network = memoryNetwork(options)
  const opened: Transport[] = []
  return {
    env,
    network,
    open: async ({ nodeId, incarnation = 1, clusterId = 'test', founding, role = 'node' }) => {
      const self = { nodeId, incarnation, role }
      const transport = await network.transport()({
        env,
        clusterId,
        founding,
        self,
        resolve: network.resolve,
      })
      opened.push(transport)
      return transport
    },
    close: async () => {
      for (const transport of opened) await transport.close()
    },
  }
}

suite('the memory transport complies', () => {
  for (const { name, run } of transportCompliance(async () => harness())) test(name, run)
})

suite('the memory network', () => {
  test('cuts and heals a link', async () => {
    const net = harness()
    const [a, b] = [await net.open({ nodeId: 'a' }), await net.open({ nodeId: 'b' })]
    const [fromA, fromB] = [a.channel('test'), b.channel('test')]
    let received = 0
    fromB.onMessage(() => received++)
    fromA.send('b', new Uint8Array(1))
    await until(net.env, 'a message', () => received === 1)
    const lost: string[] = []
    fromA.onLost(({ peer }) => lost.push(`a lost ${peer}`))
    fromB.onLost(({ peer }) => lost.push(`b lost ${peer}`))
    net.network.cut('b', 'a')
    await until(net.env, 'both notice', () => lost.length === 2)
    assert.equal(fromA.send('b', new Uint8Array(1)), false)
    await assert.rejects(a.dial(b.addresses[0] as string), (e) => KeelsonError.hasCode(e, 'UNREACHABLE'))
    net.network.heal('a', 'b')
    assert.equal(fromA.send('b', new Uint8Array(1)), true)
    await until(net.env, 'a message', () => received === 2)
    await net.close()
  })

  test('swallows messages of a silent cut without telling', async () => {
    const net = harness()
    const [a, b] = [await net.open({ nodeId: 'a' }), await net.open({ nodeId: 'b' })]
    const [fromA, fromB] = [a.channel('test'), b.channel('test')]
    const received: number[] = []
    fromB.onMessage((_peer, bytes) => received.push(bytes[0] as number))
    fromA.send('b', new Uint8Array([1]))
    await until(net.env, 'a message', () => received.length === 1)
    net.network.cut('a', 'b', { silent: true })
    assert.equal(fromA.send('b', new Uint8Array([2])), true)
    await new Promise((resolve) => setTimeout(resolve, 5))
    assert.equal(a.peers().length, 1)
    net.network.healAll()
    fromA.send('b', new Uint8Array([3]))
    await until(net.env, 'a message', () => received.length === 2)
    assert.deepEqual(received, [1, 3])
    await net.close()
  })

  test('copies: a sender that changes its bytes changes nothing', async () => {
    const net = harness()
    const [a, b] = [await net.open({ nodeId: 'a' }), await net.open({ nodeId: 'b' })]
    const [fromA, fromB] = [a.channel('test'), b.channel('test')]
    const received: number[] = []
    fromB.onMessage((_peer, bytes) => received.push(bytes[0] as number))
    const bytes = new Uint8Array([1])
    fromA.send('b', bytes)
    bytes[0] = 2
    await until(net.env, 'the message', () => received.length === 1)
    assert.deepEqual(received, [1])
    await net.close()
  })

  test('refuses unknown options', () => {
    assert.throws(
      () => memoryNetwork({ maximumMessageByte: 1 } as MemoryNetworkOptions),
      (e) => KeelsonError.hasCode(e, 'INVALID_OPTION') && e.message.includes('maximumMessageBytes'),
    )
  })
})
