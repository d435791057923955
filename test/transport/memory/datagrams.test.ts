import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import { nodeEnvironment } from '../../../src/core/node-environment.ts'
import type { DatagramSocket } from '../../../src/interfaces/datagram.ts'
import { until } from '../../../src/testing/compliance.ts'
import { memoryDatagrams } from '../../../src/transport/memory/index.ts'

const env = nodeEnvironment()

async function two(network = memoryDatagrams()): Promise<[DatagramSocket, DatagramSocket, string[]]> {
  const open = network.socket()
  const a = await open({ env, clusterId: 'test', nodeId: 'a' })
  const b = await open({ env, clusterId: 'test', nodeId: 'b' })
  const received: string[] = []
  b.onMessage((from, bytes) => received.push(`${from} ${bytes.join(',')}`))
  return [a, b, received]
}

suite('memory datagrams', () => {
  test('arrive later, copied, with their address', async () => {
    const [a, b, received] = await two()
    const packet = new Uint8Array([1, 2])
    a.send(b.address, packet)
    packet[0] = 9
    assert.deepEqual(received, [])
    await until(env, 'the packet', () => received.length === 1)
    assert.deepEqual(received, [`${a.address} 1,2`])
  })

  test('vanish where they are filtered, where nobody listens and after close', async () => {
    const network = memoryDatagrams()
    const [a, b, received] = await two(network)
    network.filter((_from, to) => to !== b.address)
    a.send(b.address, new Uint8Array([1]))
    a.send('memory:999', new Uint8Array([1]))
    await new Promise((resolve) => setImmediate(resolve))
    network.filter(() => true)
    a.send(b.address, new Uint8Array([2]))
    await until(env, 'the packet', () => received.length === 1)
    assert.deepEqual(received, [`${a.address} 2`])
    a.send(b.address, new Uint8Array([3]))
    await b.close()
    await b.close()
    b.send(a.address, new Uint8Array([4]))
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(received.length, 1)
  })

  test('are limited in size and need an address', async () => {
    const [a, b] = await two(memoryDatagrams({ maximumPayloadBytes: 10 }))
    a.send(b.address, new Uint8Array(10))
    const fails = (code: 'LIMIT_EXCEEDED' | 'INVALID_ARGUMENT') => (e: unknown) =>
      KeelsonError.hasCode(e, code)
    assert.throws(() => a.send(b.address, new Uint8Array(11)), fails('LIMIT_EXCEEDED'))
    for (const address of ['', 'host', 'host:', 'host:0', 'host:70000', '::1:80', 'a b:1', 'http://x:1']) {
      assert.throws(() => a.send(address, new Uint8Array(1)), fails('INVALID_ARGUMENT'), address)
    }
  })
})
