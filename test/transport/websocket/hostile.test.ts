import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { type ErrorCode, KeelsonError } from '../../../src/core/errors.ts'
import type { Transport } from '../../../src/interfaces/transport.ts'
import { until } from '../../../src/testing/compliance.ts'
import { FrameWriter, streamRecord } from '../../../src/transport/websocket/frame.ts'
import { encodeHello, type Hello } from '../../../src/transport/websocket/handshake.ts'
import { enter, frameOf, hangUp, hello, knock, plug } from './raw-peer.ts'
import { type WebSocketHarness, webSocketHarness } from './support.ts'

/** The node still serves honest peers. */
async function serves(w: WebSocketHarness, node: Transport): Promise<void> {
  const honest = await w.open({ nodeId: `honest-${w.addresses.size}` })
  assert.deepEqual(await honest.dial(node.addresses[0] as string), node.self)
  await honest.close()
}

function refusedWith(result: unknown, code: ErrorCode): void {
  assert.ok(KeelsonError.is(result), inspect(result))
  assert.equal(result.code, code, result.message)
}

async function node(w: WebSocketHarness, options: object = {}): Promise<[Transport, string, Uint8Array[]]> {
  const transport = await w.open({ nodeId: 'n', options })
  const received: Uint8Array[] = []
  transport.channel('test').onMessage((_peer, bytes) => received.push(bytes.slice()))
  return [transport, transport.addresses[0] as string, received]
}

suite('a stranger at the door', () => {
  const refusals: [what: string, changes: Partial<Hello>, code: ErrorCode][] = [
    ['of another cluster', { clusterId: 'another' }, 'FOREIGN_CLUSTER'],
    ['that is a node of no cluster', { clusterId: undefined }, 'FOREIGN_CLUSTER'],
    ['of a newer protocol', { oldest: 2, newest: 9 }, 'PROTOCOL_VERSION'],
    ['of an older protocol', { oldest: 0, newest: 0 }, 'PROTOCOL_VERSION'],
    ['that looks for somebody else', { wanted: 'm' }, 'FOREIGN_NODE'],
    [
      'with the name of the node',
      { identity: { nodeId: 'n', incarnation: 1, role: 'node' } },
      'UNAUTHORIZED',
    ],
    [
      'with the name of the node as a client',
      { identity: { nodeId: 'n', incarnation: 1, role: 'client' } },
      'UNAUTHORIZED',
    ],
    ['with an impossible name', { identity: { nodeId: '../x', incarnation: 1, role: 'node' } }, 'MALFORMED'],
    [
      'with an impossible incarnation',
      { identity: { nodeId: 'x', incarnation: 0, role: 'node' } },
      'MALFORMED',
    ],
    ['with a token that nobody gave', { token: new Uint8Array(16) }, 'CONFLICT'],
  ]
  for (const [what, changes, code] of refusals) {
    test(`${what} is refused with ${code}`, async () => {
      await using w = webSocketHarness()
      const [n, address] = await node(w)
      const refusal = await knock(address, encodeHello(hello(changes)))
      refusedWith(refusal, code)
      assert.deepEqual(n.peers(), [])
      await serves(w, n)
    })
  }

  test('that says nothing, or nonsense, is refused', async () => {
    await using w = webSocketHarness()
    const [n, address] = await node(w)
    for (const greeting of [
      undefined,
      '',
      '!!!!',
      'AAAA',
      'x'.repeat(5_000),
      Buffer.from([0x91, 0xc1]).toString('base64url'),
    ]) {
      const refusal = await knock(address, greeting)
      refusedWith(refusal, 'MALFORMED')
    }
    await serves(w, n)
  })

  test('may greet with anything without harm', async () => {
    await using w = webSocketHarness()
    const [n, address] = await node(w)
    const good = Buffer.from(encodeHello(hello()), 'base64url')
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length), fc.uint8Array({ maxLength: 12 }), async (at, noise) => {
        const mixed = Buffer.concat([good.subarray(0, at), noise, good.subarray(at + noise.length)])
        const result = await knock(address, mixed.toString('base64url'))
        if (typeof result === 'object' && 'socket' in result) result.socket.terminate()
      }),
      { numRuns: 60 },
    )
    await serves(w, n)
  })

  test('from a web page is refused, as is one with another path', async () => {
    await using w = webSocketHarness()
    const [n, address] = await node(w)
    assert.equal(
      await knock(address, encodeHello(hello()), { headers: { origin: 'https://evil.example' } }),
      403,
    )
    const socket = await plug(address)
    socket.write('GET /other HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    assert.match(await hangUp(socket), /^HTTP\/1.1 403 /)
    await serves(w, n)
  })

  test('that speaks HTTP is told what this is', async () => {
    await using w = webSocketHarness()
    const [, address] = await node(w)
    const response = await fetch(`http://${address}/`)
    assert.equal(response.status, 426)
    assert.match(await response.text(), /keelson/)
  })

  test('that speaks no HTTP, or half a sentence, is hung up on', async () => {
    await using w = webSocketHarness({ handshakeTimeoutMs: 600 })
    const [n, address] = await node(w)
    const silent = await plug(address)
    const half = await plug(address)
    half.write('GET /keelson HTTP/1.1\r\nHost: x\r\nX-Keelson-Hello: ')
    const binary = await plug(address)
    binary.write(Buffer.alloc(1_000, 0x16))
    const heads = await plug(address)
    heads.write(`GET /keelson HTTP/1.1\r\n${'X-Long: y\r\n'.repeat(5_000)}\r\n`)
    await Promise.all([silent, half, binary, heads].map(hangUp))
    await serves(w, n)
  })

  test('brings no friends: handshakes under way are limited', async () => {
    await using w = webSocketHarness({ maximumHandshakes: 3, handshakeTimeoutMs: 600 })
    const [n, address] = await node(w)
    const waiting = [await plug(address), await plug(address), await plug(address)]
    await hangUp(await plug(address))
    await Promise.all(waiting.map(hangUp))
    await serves(w, n)
  })
})

suite('a peer that misbehaves', () => {
  const sins: [what: string, frame: string | Uint8Array][] = [
    ['text', 'hello'],
    ['a record of no known kind', new Uint8Array([99, 1])],
    ['a frame that ends early', frameOf('test', new Uint8Array(100)).subarray(0, 50)],
    ['a channel that was not defined', new Uint8Array([1, 5, 0])],
    [
      'a length beyond the frame',
      new Uint8Array([0, 0, 4, 116, 101, 115, 116, 1, 0, 0xff, 0xff, 0xff, 0x7f]),
    ],
    ['a channel name that is not text', new Uint8Array([0, 0, 2, 0xff, 0xff])],
    ['a channel name of great length', new Uint8Array([0, 0, 200, 1, ...new Uint8Array(200)])],
    ['definitions out of order', new Uint8Array([0, 3, 1, 97])],
    [
      'chunks of a stream beyond its credit',
      new Uint8Array([2, 1, 4, 116, 101, 115, 116, 0, 2, 1, 4, 116, 101, 115, 116, 0]),
    ],
    [
      'more messages than a frame may hold',
      frameOf('test', ...Array.from({ length: 40 }, () => new Uint8Array(0))),
    ],
    ['an error that is none', new Uint8Array([8, 1, 1, 0xc0])],
  ]
  for (const [what, frame] of sins) {
    test(`sends ${what}: its connection ends, the node lives`, async () => {
      await using w = webSocketHarness({ maximumMessagesPerFrame: 16 })
      const [n, address] = await node(w)
      n.channel('more')
      const peer = await enter(address)
      await until(w.env, 'it is a peer', () => n.peers().length === 1)
      peer.socket.send(frame)
      const [code, reason] = await peer.closed
      assert.equal(code, 1002)
      assert.ok(reason.length > 0)
      await peer.bulk?.closed
      assert.deepEqual(n.peers(), [])
      assert.match(w.metrics.text(), /malformed_frames_total 1/)
      await serves(w, n)
    })
  }

  test('sends a frame that is too large: its connection ends, the node lives', async () => {
    await using w = webSocketHarness({ maximumMessageBytes: 1_000, maximumFrameBytes: 2_000 })
    const [n, address] = await node(w)
    const peer = await enter(address)
    peer.socket.send(new Uint8Array(2_001))
    assert.equal((await peer.closed)[0], 1009)
    await until(w.env, 'it is no peer', () => n.peers().length === 0)
    assert.match(w.metrics.text(), /malformed_frames_total 1/)
    await serves(w, n)
  })

  test('sends a message in many fragments: its connection ends, the node lives', async () => {
    await using w = webSocketHarness()
    const [n, address, received] = await node(w)
    const peer = await enter(address)
    const frame = frameOf('test', new Uint8Array(500))
    for (const byte of frame.subarray(0, -1)) peer.socket.send(new Uint8Array([byte]), { fin: false })
    peer.socket.send(frame.subarray(-1), { fin: true })
    await peer.closed
    assert.equal(received.length, 0)
    await serves(w, n)
  })

  test('sends any bytes: the node lives', async () => {
    await using w = webSocketHarness()
    const [n, address] = await node(w)
    let attempt = 0
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
        const peer = await enter(address, { attempt: ++attempt }, { bulk: false })
        peer.socket.send(frameOf('test', bytes))
        peer.socket.send(bytes)
        peer.socket.close()
        await peer.closed
      }),
      { numRuns: 60 },
    )
    await serves(w, n)
  })

  test('never opens its bulk connection: it is cut off', async () => {
    await using w = webSocketHarness({ handshakeTimeoutMs: 300 })
    const [n, address] = await node(w)
    const peer = await enter(address, {}, { bulk: false })
    await peer.closed
    await until(w.env, 'it is no peer', () => n.peers().length === 0)
  })

  test('asks for more answers than it reads: it is cut off', async () => {
    await using w = webSocketHarness({ maximumQueuedMessages: 100, maximumBufferedBytes: 10_000 })
    const [n, address] = await node(w)
    const peer = await enter(address)
    peer.bulk?.socket.pause()
    const closed = peer.closed.then(() => true)
    let over = false
    void closed.then(() => {
      over = true
    })
    // Streams of a protocol that nobody serves: each is refused with a message.
    for (let id = 1; !over && id < 1_000_000; id += 500) {
      const opens = Array.from({ length: 500 }, (_, i) =>
        streamRecord({ type: 'open', id: id + i, protocol: 'x', header: new Uint8Array(0) }),
      )
      const { frame } = new FrameWriter().pack(opens, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
      peer.bulk?.socket.send(frame)
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.equal(over, true)
    await serves(w, n)
  })

  test('does not answer pings: it is cut off', async () => {
    await using w = webSocketHarness({ pingIntervalMs: 10 })
    const [n, address] = await node(w)
    const peer = await enter(address, {}, { autoPong: false })
    await peer.closed
    await until(w.env, 'it is no peer', () => n.peers().length === 0)
    const lively = await enter(address, { attempt: 2 })
    await new Promise((resolve) => setTimeout(resolve, 120))
    assert.equal(n.peers().length, 1)
    lively.socket.terminate()
  })

  test("takes another one's bulk place: it is refused", async () => {
    await using w = webSocketHarness()
    const [n, address] = await node(w)
    const peer = await enter(address)
    const again = await knock(address, encodeHello(hello({ token: peer.welcome.token })))
    refusedWith(again, 'CONFLICT')
    const other = { nodeId: 'thief', incarnation: 1, role: 'node' } as const
    const thief = await knock(address, encodeHello(hello({ identity: other, token: peer.welcome.token })))
    refusedWith(thief, 'CONFLICT')
    assert.equal(n.peers().length, 1)
    peer.socket.terminate()
  })

  test('is one too many: it is refused', async () => {
    await using w = webSocketHarness({ maximumConnections: 1 })
    const [n, address] = await node(w)
    const first = await enter(address)
    const other = { nodeId: 'other', incarnation: 1, role: 'node' } as const
    const refusal = await knock(address, encodeHello(hello({ identity: other })))
    refusedWith(refusal, 'OVERLOADED')
    first.socket.terminate()
    await until(w.env, 'there is room', () => n.peers().length === 0)
    const second = await enter(address, { identity: other })
    second.socket.terminate()
  })
})
