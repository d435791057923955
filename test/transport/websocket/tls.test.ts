import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { connect } from 'node:tls'
import { sleep } from '../../../src/core/async.ts'
import { type ErrorCode, KeelsonError } from '../../../src/core/errors.ts'
import { transportCompliance } from '../../../src/testing/transport.ts'
import {
  certificateNamesNode,
  type WebSocketOptions,
  type WebSocketTls,
  webSocket,
} from '../../../src/transport/websocket/index.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { hangUp, plug } from './raw-peer.ts'
import { webSocketHarness } from './support.ts'

const authority = new TestAuthority('the authority')
const stranger = new TestAuthority('another authority')

const tls = (nodeId: string, issuer = authority): WebSocketTls => ({
  ...issuer.issue(nodeId),
  ca: authority.cert,
})
const code = (expected: ErrorCode) => (error: unknown) => {
  assert.ok(KeelsonError.is(error), String(error))
  assert.equal(error.code, expected, error.message)
  return true
}
const bound: WebSocketOptions = { verifyPeer: certificateNamesNode }

suite('the WebSocket transport complies, over mutual TLS', () => {
  const shared = tls('anybody')
  const some = /identity of its sender|keeps the order|comes? and go|ends after its handler|answers a client/
  for (const { name, run } of transportCompliance(async () => webSocketHarness({ tls: shared }))) {
    if (some.test(name)) test(name, run)
  }
})

suite('mutual TLS', () => {
  test('connects nodes whose certificates name them, as common name or DNS name', async () => {
    await using w = webSocketHarness(bound)
    const a = await w.open({ nodeId: 'a', options: { tls: tls('a') } })
    const b = await w.open({
      nodeId: 'b',
      options: { tls: { ...authority.issue('some machine', 'other', 'b'), ca: authority.cert } },
    })
    assert.deepEqual(await a.dial(b.addresses[0] as string), b.self)
    assert.deepEqual(a.peers(), [b.self])
  })

  test('outlives the time for handshakes', async () => {
    await using w = webSocketHarness({ ...bound, handshakeTimeoutMs: 1_000 })
    const a = await w.open({ nodeId: 'a', options: { tls: tls('a') } })
    const b = await w.open({ nodeId: 'b', options: { tls: tls('b') } })
    let downs = 0
    for (const node of [a, b]) node.onPeer(({ state }) => (downs += state === 'down' ? 1 : 0))
    await a.dial(b.addresses[0] as string)
    await sleep(w.env.timers, 1_300)
    assert.equal(downs, 0)
    assert.equal(a.peers().length, 1)
  })

  test('refuses a node that calls itself another, on both sides', async () => {
    await using w = webSocketHarness(bound)
    const a = await w.open({ nodeId: 'a', options: { tls: tls('a') } })
    const liar = await w.open({ nodeId: 'b', options: { tls: tls('c') } })
    await assert.rejects(liar.dial(a.addresses[0] as string), code('UNAUTHORIZED'))
    await assert.rejects(a.dial(liar.addresses[0] as string), code('UNAUTHORIZED'))
    assert.deepEqual(a.peers(), [])
  })

  test('refuses a certificate of another authority, on both sides', async () => {
    await using w = webSocketHarness(bound)
    const a = await w.open({ nodeId: 'a', options: { tls: tls('a') } })
    const foreign = await w.open({ nodeId: 'b', options: { tls: tls('b', stranger) } })
    await assert.rejects(foreign.dial(a.addresses[0] as string), code('UNREACHABLE'))
    await assert.rejects(a.dial(foreign.addresses[0] as string), code('UNREACHABLE'))
  })

  test('refuses a host name that the certificate does not have, unless the node is verified', async () => {
    await using w = webSocketHarness()
    const a = await w.open({ nodeId: 'a', options: { tls: tls('a') } })
    const b = await w.open({ nodeId: 'b', options: { tls: tls('b') } })
    const port = (b.addresses[0] as string).split(':')[1]
    await assert.rejects(a.dial(`localhost:${port}`), code('UNREACHABLE'))
    const c = await w.open({ nodeId: 'c', options: { tls: tls('c'), ...bound } })
    assert.deepEqual(await c.dial(`localhost:${port}`), b.self)
  })

  test('refuses plaintext and a peer without a certificate, and lives', async () => {
    await using w = webSocketHarness({ ...bound, handshakeTimeoutMs: 1_000 })
    const a = await w.open({ nodeId: 'a', options: { tls: tls('a') } })
    const address = a.addresses[0] as string
    const plain = await plug(address)
    plain.write('GET /keelson HTTP/1.1\r\nHost: x\r\n\r\n')
    await hangUp(plain)
    const naked = connect({
      host: '127.0.0.1',
      port: Number(address.split(':')[1]),
      rejectUnauthorized: false,
    })
    naked.on('error', () => {})
    await hangUp(naked)
    const half = await plug(address)
    half.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00]))
    await hangUp(half)
    const b = await w.open({ nodeId: 'b', options: { tls: tls('b') } })
    assert.deepEqual(await b.dial(address), a.self)
  })

  test('takes renewed certificates without a restart, and keeps the old ones when they are broken', async () => {
    await using w = webSocketHarness(bound)
    const reloads: (() => void)[] = []
    const { timers } = w.env
    const schedule = timers.schedule.bind(timers)
    const env = {
      ...w.env,
      timers: {
        ...timers,
        schedule: (delayMs: number, callback: () => void) => {
          if (delayMs !== 60_000) return schedule(delayMs, callback)
          reloads.push(callback)
          return { cancel: () => {} }
        },
      },
    }
    let keys = tls('wrong')
    const options = { listen: { host: '127.0.0.1', port: 0 }, tls: () => keys, ...bound }
    await using b = await webSocket(options)({
      env,
      clusterId: 'test',
      self: { nodeId: 'b', incarnation: 1, role: 'node' },
      resolve: () => [],
    })
    const address = b.addresses[0] as string
    const a = await w.open({ nodeId: 'a', options: { tls: tls('a') } })
    await assert.rejects(a.dial(address), code('UNAUTHORIZED'))
    keys = tls('b')
    reloads.pop()?.()
    assert.deepEqual(await a.dial(address), b.self)
    keys = { key: 'broken', cert: 'broken' }
    reloads.pop()?.()
    const c = await w.open({ nodeId: 'c', options: { tls: tls('c') } })
    assert.deepEqual(await c.dial(address), b.self)
    assert.ok(w.logs.some(({ message }) => message.includes('renewed keys')))
  })

  test('refuses when the hook throws, and names keys that cannot be used', async () => {
    await using w = webSocketHarness()
    const a = await w.open({
      nodeId: 'a',
      options: {
        tls: tls('a'),
        verifyPeer: () => {
          throw new Error('a bug of the host')
        },
      },
    })
    const b = await w.open({ nodeId: 'b', options: { tls: tls('b') } })
    await assert.rejects(b.dial(a.addresses[0] as string), code('UNAUTHORIZED'))
    const broken = w.open({ nodeId: 'c', options: { tls: { key: 'no key', cert: 'no certificate' } } })
    await assert.rejects(broken, code('INVALID_OPTION'))
  })
})
