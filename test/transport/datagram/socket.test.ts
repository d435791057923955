import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { networkInterfaces } from 'node:os'
import { suite, test } from 'node:test'
import { type ErrorCode, KeelsonError } from '../../../src/core/errors.ts'
import { type LogRecord, recordLogger } from '../../../src/core/logger.ts'
import { MetricsRegistry } from '../../../src/core/metrics.ts'
import { nodeEnvironment } from '../../../src/core/node-environment.ts'
import type { DatagramSocket } from '../../../src/interfaces/datagram.ts'
import { until } from '../../../src/testing/compliance.ts'
import { type DatagramOptions, datagram, KeyRing } from '../../../src/transport/datagram/index.ts'

const logs: LogRecord[] = []
const metrics = new MetricsRegistry()
const env = nodeEnvironment({ metrics, logger: recordLogger((record) => logs.push(record)) })
const listen = { host: '127.0.0.1', port: 0 }
const code = (expected: ErrorCode) => (e: unknown) => KeelsonError.hasCode(e, expected)

function open(options: Partial<DatagramOptions> = {}, clusterId = 'test'): Promise<DatagramSocket> {
  return datagram({ listen, ...options })({ env, clusterId, nodeId: 'a' })
}

async function exchange(a: DatagramSocket, b: DatagramSocket): Promise<void> {
  const received: [string, Uint8Array][] = []
  b.onMessage((from, bytes) => received.push([from, bytes.slice()]))
  // UDP may lose packets, also here: sent until one arrives.
  await until(env, 'a packet', () => {
    a.send(b.address, new Uint8Array([1, 2, 3]))
    return received.length > 0
  })
  assert.deepEqual(received[0], [a.address, new Uint8Array([1, 2, 3])])
}

suite('datagrams over UDP', () => {
  test('go both ways, in plaintext on the loopback interface', async () => {
    await using a = await open()
    await using b = await open()
    await exchange(a, b)
    await exchange(b, a)
  })

  test('go both ways, sealed', async () => {
    const keyRing = new KeyRing([new Uint8Array(randomBytes(32))])
    await using a = await open({ keyRing })
    await using b = await open({ keyRing })
    await exchange(a, b)
    await exchange(b, a)
  })

  const hasIpv6 = Object.values(networkInterfaces()).some((list) =>
    list?.some(({ address }) => address === '::1'),
  )
  test('go over IPv6', { skip: !hasIpv6 }, async () => {
    await using a = await open({ listen: { host: '::1', port: 0 } })
    await using b = await open({ listen: { host: '::1', port: 0 } })
    assert.match(a.address, /^\[::1\]:\d+$/)
    await exchange(a, b)
  })

  test('go between an IPv4 socket and one for both, each known by its IPv4 address', {
    skip: !hasIpv6,
  }, async () => {
    const keyRing = new KeyRing([new Uint8Array(randomBytes(32))])
    // A free port, as what is advertised names one.
    const free = await open({ listen: { host: '::1', port: 0 } })
    const port = Number(free.address.split(':').at(-1))
    await free.close()
    await using both = await open({ listen: { host: '::', port }, advertise: `127.0.0.1:${port}`, keyRing })
    await using v4 = await open({ keyRing })
    await using v6 = await open({ listen: { host: '::1', port: 0 }, keyRing })
    await exchange(v4, both)
    await exchange(both, v4)
    const received: string[] = []
    both.onMessage((from) => received.push(from))
    v6.onMessage((from) => received.push(from))
    await until(env, 'packets over IPv6', () => {
      v6.send(`[::1]:${port}`, new Uint8Array(1))
      both.send(v6.address, new Uint8Array(1))
      return received.includes(v6.address) && received.includes(`[::1]:${port}`)
    })
  })

  test('say where others reach them, or are refused', () => {
    const keyRing = new KeyRing([new Uint8Array(randomBytes(32))])
    for (const host of ['0.0.0.0', '::', '::0'])
      assert.throws(() => datagram({ listen: { host, port: 1 }, keyRing }), {
        code: 'INVALID_OPTION',
        message: /give advertise/,
      })
    for (const advertise of ['0.0.0.0:1', '[::]:1'])
      assert.throws(() => datagram({ listen: { host: '0.0.0.0', port: 1 }, advertise, keyRing }), {
        code: 'INVALID_OPTION',
        message: /nobody can send to/,
      })
  })

  test('of strangers are counted and dropped', async () => {
    const keyRing = new KeyRing([new Uint8Array(randomBytes(32))])
    await using a = await open({ keyRing })
    let delivered = 0
    a.onMessage(() => delivered++)
    const stranger = createSocket('udp4')
    const port = Number(a.address.split(':')[1])
    const noise = [
      new Uint8Array(0),
      new Uint8Array(5),
      randomBytes(100),
      randomBytes(1_400),
      randomBytes(3_000),
    ]
    await until(env, 'all are dropped', () => {
      for (const packet of noise) stranger.send(packet, port, '127.0.0.1')
      const text = metrics.text()
      return text.includes('reason="malformed"') && text.includes('reason="too large"')
    })
    await new Promise<void>((resolve) => stranger.close(() => resolve()))
    assert.equal(delivered, 0)
  })

  test('outlive a handler that throws', async () => {
    await using a = await open()
    await using b = await open()
    let calls = 0
    b.onMessage(() => {
      calls++
      throw new Error('a bug of the host')
    })
    await until(env, 'two packets', () => {
      a.send(b.address, new Uint8Array(1))
      return calls >= 2
    })
  })

  test('have limits and need addresses', async () => {
    await using a = await open({ maximumPacketBytes: 300 })
    assert.equal(a.maximumPayloadBytes, 295)
    a.send('127.0.0.1:9', new Uint8Array(295))
    assert.throws(() => a.send('127.0.0.1:9', new Uint8Array(296)), code('LIMIT_EXCEEDED'))
    assert.throws(() => a.send('nowhere', new Uint8Array(1)), code('INVALID_ARGUMENT'))
    a.send('10.255.255.1:9', new Uint8Array(1))
    assert.match(metrics.text(), /reason="plaintext not allowed"\} 1/)
  })

  test('stop with close', async () => {
    const a = await open()
    await a.close()
    await a.close()
    a.send('127.0.0.1:9', new Uint8Array(1))
  })

  test('refuse plaintext beyond the loopback interface, unless it is asked for and logged', async () => {
    const anywhere = { host: '0.0.0.0', port: 0 }
    assert.throws(() => datagram({ listen: anywhere }), code('INVALID_OPTION'))
    assert.throws(() => datagram({ listen, keyring: 1 } as never), /did you mean 'keyRing'/)
    await using a = await open({ listen: anywhere, insecure: true, advertise: '127.0.0.1:7946' })
    assert.equal(a.address, '127.0.0.1:7946')
    assert.ok(logs.some(({ level, message }) => level === 'warn' && message.includes('insecure')))
  })

  test('say when the port is taken', async () => {
    await using a = await open()
    const port = Number(a.address.split(':')[1])
    await assert.rejects(open({ listen: { host: '127.0.0.1', port } }), code('IO'))
  })
})
