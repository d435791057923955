import assert from 'node:assert/strict'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { suite, test } from 'node:test'
import { WebSocketServer } from 'ws'
import { sleep } from '../../../src/core/async.ts'
import { type ErrorCode, KeelsonError } from '../../../src/core/errors.ts'
import type { LossEvent, PeerEvent } from '../../../src/interfaces/transport.ts'
import { until } from '../../../src/testing/compliance.ts'
import { encodeRefusal, encodeWelcome, type Welcome } from '../../../src/transport/websocket/handshake.ts'
import { hello, listening } from './raw-peer.ts'
import { webSocketHarness } from './support.ts'

const code = (expected: ErrorCode) => (error: unknown) => {
  assert.ok(KeelsonError.is(error), String(error))
  assert.equal(error.code, expected, error.message)
  return true
}

suite('a connection', () => {
  test('stands once when both sides dial at the same time', async () => {
    for (let round = 0; round < 25; round++) {
      await using w = webSocketHarness()
      const [a, b] = [await w.open({ nodeId: 'a' }), await w.open({ nodeId: 'b' })]
      const [fromA, fromB] = [a.channel('test'), b.channel('test')]
      const events: string[] = []
      const seen: number[][] = [[], []]
      ;[a, b].forEach((transport) =>
        transport.onPeer(({ state, peer }) => events.push(`${peer.nodeId} ${state}`)),
      )
      fromA.onMessage((_peer, bytes) => seen[0]?.push(bytes[0] as number))
      fromB.onMessage((_peer, bytes) => seen[1]?.push(bytes[0] as number))
      const send = async (): Promise<void> => {
        for (let i = 0; i < 60; i++) {
          fromA.send('b', new Uint8Array([i]))
          fromB.send('a', new Uint8Array([i]))
          if (i % 4 === round % 4) await new Promise((resolve) => setImmediate(resolve))
        }
      }
      await send()
      await until(w.env, 'all messages', () => seen.every((list) => list.length === 60))
      const order = Array.from({ length: 60 }, (_, i) => i)
      assert.deepEqual(seen, [order, order])
      await sleep(w.env.timers, 2)
      assert.deepEqual(events.sort(), ['a up', 'b up'], `round ${round}`)
    }
  })

  test('stands once when both sides dial by address at the same time', async () => {
    for (let round = 0; round < 15; round++) {
      await using w = webSocketHarness()
      const nodes = [
        await w.open({ nodeId: 'a' }),
        await w.open({ nodeId: 'b' }),
        await w.open({ nodeId: 'c' }),
      ]
      const dials = nodes.flatMap((from) =>
        nodes.filter((to) => to !== from).map((to) => from.dial(to.addresses[0] as string)),
      )
      await Promise.all(dials)
      await until(w.env, 'everybody is connected', () => nodes.every((n) => n.peers().length === 2))
      await sleep(w.env.timers, 30)
      for (const n of nodes) assert.equal(n.peers().length, 2)
    }
  })

  test('is used again by a second dial', async () => {
    await using w = webSocketHarness()
    const [a, b] = [await w.open({ nodeId: 'a' }), await w.open({ nodeId: 'b' })]
    const events: PeerEvent[] = []
    a.onPeer((event) => events.push(event))
    b.onPeer((event) => events.push(event))
    const address = b.addresses[0] as string
    for (let i = 0; i < 3; i++) assert.deepEqual(await a.dial(address), b.self)
    assert.deepEqual(await b.dial(a.addresses[0] as string), a.self)
    await sleep(w.env.timers, 20)
    assert.deepEqual(
      events.map(({ state }) => state),
      ['up', 'up'],
    )
  })

  test('keeps the order of each peer over restarts and reconnects', async () => {
    await using w = webSocketHarness({ minimumReconnectDelayMs: 1, maximumReconnectDelayMs: 5 })
    const a = await w.open({ nodeId: 'a' })
    const fromA = a.channel('test')
    let next = 0
    const seen: number[] = []
    for (let life = 1; life <= 5; life++) {
      const b = await w.open({ nodeId: 'b', incarnation: life })
      const before = seen.length
      b.channel('test').onMessage((peer, bytes) => {
        seen.push(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0))
        b.channel(`unused-${seen.length}`).send(peer.nodeId, bytes)
      })
      await until(w.env, 'messages to this life', () => {
        for (let i = 0; i < 50; i++) {
          const bytes = new Uint8Array(4)
          new DataView(bytes.buffer).setUint32(0, next++)
          fromA.send('b', bytes)
        }
        return seen.length > before + 100
      })
      await b.close()
    }
    for (let i = 1; i < seen.length; i++) assert.ok((seen[i] as number) > (seen[i - 1] as number))
  })

  test('is replaced by a later life of the process, which is told apart from the earlier', async () => {
    await using w = webSocketHarness()
    const n = await w.open({ nodeId: 'n' })
    const fromN = n.channel('test')
    const events: string[] = []
    n.onPeer(({ peer, state }) => events.push(`${state} ${peer.incarnation}`))
    const lost: LossEvent[] = []
    fromN.onLost((event) => lost.push(event))
    const received: number[] = []
    fromN.onMessage((peer) => received.push(peer.incarnation))
    const address = n.addresses[0] as string
    const lives = []
    for (const incarnation of [5, 5, 3]) {
      const life = await w.open({ nodeId: 'b', incarnation })
      await life.dial(address)
      lives.push(life)
    }
    await until(w.env, 'all changes', () => events.length === 5)
    assert.deepEqual(events, ['up 5', 'down 5', 'up 5', 'down 5', 'up 3'])
    assert.equal(lost.length, 2)
    lives.at(-1)?.channel('test').send('n', new Uint8Array(1))
    await until(w.env, 'a message of the last life', () => received.length === 1)
    assert.deepEqual(received, [3])
    assert.equal(n.peers().length, 1)
  })

  test('is tried at each address in turn, and only with the right node', async () => {
    await using w = webSocketHarness()
    const [a, b, c] = [
      await w.open({ nodeId: 'a' }),
      await w.open({ nodeId: 'b' }),
      await w.open({ nodeId: 'c' }),
    ]
    const received: string[] = []
    for (const node of [b, c]) node.channel('test').onMessage(() => received.push(node.self.nodeId))
    w.addresses.set('b', ['127.0.0.1:1', c.addresses[0] as string, b.addresses[0] as string])
    assert.equal(a.channel('test').send('b', new Uint8Array(1)), true)
    await until(w.env, 'the message', () => received.length > 0)
    assert.deepEqual(received, ['b'])
    assert.deepEqual(a.peers(), [b.self])
    assert.deepEqual(c.peers(), [])
  })

  test('that cannot be made is told as a loss without effect, and tried again after a pause', async () => {
    await using w = webSocketHarness({ minimumReconnectDelayMs: 20, maximumReconnectDelayMs: 40 })
    const a = await w.open({ nodeId: 'a' })
    const fromA = a.channel('test')
    const lost: LossEvent[] = []
    fromA.onLost((event) => lost.push(event))
    w.addresses.set('b', ['127.0.0.1:1'])
    assert.equal(fromA.send('b', new Uint8Array(1)), true)
    await until(w.env, 'the loss', () => lost.length === 1)
    assert.deepEqual(lost, [{ peer: 'b', outcome: 'none' }])
    assert.equal(fromA.send('b', new Uint8Array(1)), false, 'a pause has begun')
    await assert.rejects(fromA.openStream('b', new Uint8Array(0)), code('UNREACHABLE'))
    await until(w.env, 'another try', () => lost.length === 2)
    const b = await w.open({ nodeId: 'b' })
    let received = 0
    b.channel('test').onMessage(() => received++)
    await until(w.env, 'a message', () => {
      fromA.send('b', new Uint8Array(1))
      return received > 0
    })
  })

  test('from the other side ends the pause', async () => {
    await using w = webSocketHarness({ minimumReconnectDelayMs: 60_000, maximumReconnectDelayMs: 60_000 })
    const a = await w.open({ nodeId: 'a' })
    const fromA = a.channel('test')
    w.addresses.set('b', ['127.0.0.1:1'])
    fromA.send('b', new Uint8Array(1))
    await until(w.env, 'the pause', () => !fromA.send('b', new Uint8Array(1)))
    const b = await w.open({ nodeId: 'b' })
    await b.dial(a.addresses[0] as string)
    assert.equal(fromA.send('b', new Uint8Array(1)), true)
  })

  test('works for a node that can be dialled by nobody but itself dials', async () => {
    await using w = webSocketHarness({ handshakeTimeoutMs: 1_000 })
    await using hole = await listening(createServer())
    const [a, b] = [await w.open({ nodeId: 'a' }), await w.open({ nodeId: 'b' })]
    // a dials into a hole for as long as it takes; b, with the higher id, gets through all the same.
    w.addresses.set('b', [hole.address])
    const [fromA, fromB] = [a.channel('test'), b.channel('test')]
    const received: number[] = []
    const lost: LossEvent[] = []
    fromA.onLost((event) => lost.push(event))
    fromB.onMessage((_peer, bytes) => received.push(bytes[0] as number))
    fromA.send('b', new Uint8Array([1]))
    await until(w.env, 'a is dialling', () => hole.sockets.size > 0)
    fromB.send('a', new Uint8Array([2]))
    await until(w.env, 'both are connected', () => received.length === 1)
    assert.deepEqual(received, [1])
    assert.deepEqual(lost, [], 'the dial was given up, not waited for')
  })
})

suite('a dial', () => {
  const closing = { 'x-keelson-refusal': encodeRefusal(new KeelsonError('PROTOCOL_VERSION', 'too old')) }
  const answers: [what: string, status: number, headers: Record<string, string>, expected: ErrorCode][] = [
    ['is refused for its version', 403, closing, 'PROTOCOL_VERSION'],
    ['meets something else that speaks HTTP', 200, {}, 'UNREACHABLE'],
    ['meets a refusal that is none', 403, { 'x-keelson-refusal': 'AAAA' }, 'UNREACHABLE'],
    ['is sent elsewhere', 302, { location: 'ws://127.0.0.1:1/' }, 'UNREACHABLE'],
  ]
  for (const [what, status, headers, expected] of answers) {
    test(`that ${what} fails with ${expected}`, async () => {
      await using w = webSocketHarness()
      const a = await w.open({ nodeId: 'a' })
      const server = createHttpServer()
      server.on('upgrade', (_request, socket) => {
        const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
        socket.end(`HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n${lines.join('')}\r\n`)
      })
      await using other = await listening(server)
      await assert.rejects(a.dial(other.address), code(expected))
    })
  }

  const { oldest: _oldest, newest: _newest, wanted: _wanted, asking: _asking, ...greeter } = hello()
  const welcome: Welcome = { ...greeter, version: 1, attempt: 0, token: new Uint8Array(16), connected: false }
  const welcomes: [what: string, header: string | undefined, expected: ErrorCode][] = [
    ['that does not say who it is', undefined, 'MALFORMED'],
    ['that talks nonsense', 'AAAA', 'MALFORMED'],
    ['of another version', encodeWelcome({ ...welcome, version: 9 }), 'PROTOCOL_VERSION'],
    ['of another cluster', encodeWelcome({ ...welcome, clusterId: 'another' }), 'FOREIGN_CLUSTER'],
  ]
  for (const [what, header, expected] of welcomes) {
    test(`to a peer ${what} fails with ${expected}`, async () => {
      await using w = webSocketHarness()
      const a = await w.open({ nodeId: 'a' })
      const server = createHttpServer()
      const upgrader = new WebSocketServer({ noServer: true })
      upgrader.on('headers', (headers) => {
        if (header !== undefined) headers.push(`x-keelson-welcome: ${header}`)
      })
      server.on('upgrade', (request, socket, head) =>
        upgrader.handleUpgrade(request, socket, head, (ws) => ws.on('error', () => {})),
      )
      await using other = await listening(server)
      await assert.rejects(a.dial(other.address), code(expected))
      assert.deepEqual(a.peers(), [])
    })
  }

  test('that nobody answers ends with its time, with its signal and with the transport', async () => {
    await using w = webSocketHarness({ handshakeTimeoutMs: 50 })
    await using silent = await listening(createServer())
    const a = await w.open({ nodeId: 'a' })
    await assert.rejects(a.dial(silent.address), code('UNREACHABLE'))
    const abort = new AbortController()
    const dial = a.dial(silent.address, { signal: abort.signal })
    abort.abort()
    await assert.rejects(dial, code('ABORTED'))
    await assert.rejects(a.dial(silent.address, { signal: abort.signal }), code('ABORTED'))
    const last = assert.rejects(a.dial(silent.address), code('CLOSED'))
    await a.close()
    await last
  })

  test('needs an address', async () => {
    await using w = webSocketHarness()
    const a = await w.open({ nodeId: 'a' })
    for (const address of ['', 'x', '127.0.0.1', '127.0.0.1:0', 'ws://127.0.0.1:80']) {
      await assert.rejects(a.dial(address), code('INVALID_ARGUMENT'))
    }
  })

  test('of a client that knows no cluster takes the first one, and stays with it', async () => {
    await using w = webSocketHarness()
    const [n, other] = [await w.open({ nodeId: 'n' }), await w.open({ nodeId: 'o', clusterId: 'other' })]
    const client = await w.open({
      nodeId: 'client-1',
      role: 'client',
      clusterId: undefined as unknown as string,
    })
    assert.deepEqual(await client.dial(n.addresses[0] as string), n.self)
    await assert.rejects(client.dial(other.addresses[0] as string), code('FOREIGN_CLUSTER'))
  })
})
