import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { suite, test } from 'node:test'
import { sleep } from '../../../src/core/async.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { LossEvent } from '../../../src/interfaces/transport.ts'
import { until } from '../../../src/testing/compliance.ts'
import { type WebSocketOptions, webSocket } from '../../../src/transport/websocket/index.ts'
import { enter, frameOf, listening } from './raw-peer.ts'
import { webSocketHarness } from './support.ts'

suite('traffic', () => {
  test('of one turn to one peer leaves in one frame', async () => {
    await using w = webSocketHarness()
    const n = await w.open({ nodeId: 'n' })
    const [first, second] = [
      n.channel('first', { traffic: 'control' }),
      n.channel('second', { traffic: 'control' }),
    ]
    const peer = await enter(n.addresses[0] as string)
    const frames: Buffer[] = []
    peer.socket.on('message', (data) => frames.push(data as Buffer))
    for (let turn = 1; turn <= 3; turn++) {
      for (let i = 0; i < 50; i++) {
        first.send('raw', new Uint8Array([i]))
        second.send('raw', new Uint8Array([i]))
      }
      await until(w.env, 'the frame', () => frames.length >= turn)
    }
    await sleep(w.env.timers, 5)
    assert.equal(frames.length, 3)
    // The first one also defines both channels; from then on a message of one byte takes four.
    assert.deepEqual(
      frames.slice(1).map(({ length }) => length),
      [400, 400],
    )
    peer.socket.terminate()
  })

  test('is cut into frames of a size and a number of messages that the peer takes', async () => {
    await using w = webSocketHarness({ maximumMessagesPerFrame: 10 })
    const n = await w.open({ nodeId: 'n' })
    const channel = n.channel('test', { traffic: 'control' })
    const peer = await enter(n.addresses[0] as string, { maximumFrameBytes: 2_000 })
    const frames: Buffer[] = []
    peer.socket.on('message', (data) => frames.push(data as Buffer))
    for (let i = 0; i < 25; i++) channel.send('raw', new Uint8Array(1))
    await until(w.env, 'three frames', () => frames.length === 3)
    for (let i = 0; i < 6; i++) channel.send('raw', new Uint8Array(900))
    channel.send('raw', new Uint8Array(2_000))
    await until(w.env, 'three more', () => frames.length === 6)
    assert.ok(frames.every(({ length }) => length <= 2_000))
    assert.match(w.metrics.text(), /reason="too large for the peer"\} 1/)
    peer.socket.terminate()
  })

  test('of the control class passes the bulk that was there before', async () => {
    await using w = webSocketHarness()
    const [a, b] = [await w.open({ nodeId: 'a' }), await w.open({ nodeId: 'b' })]
    const bulk = a.channel('bulk', { traffic: 'bulk' })
    const control = a.channel('control', { traffic: 'control' })
    let bulkReceived = 0
    let bulkBefore = -1
    b.channel('bulk').onMessage(() => bulkReceived++)
    b.channel('control').onMessage(() => {
      bulkBefore = bulkReceived
    })
    bulk.send('b', new Uint8Array(1))
    await until(w.env, 'the connection', () => bulkReceived === 1)
    let sent = 1
    while (bulk.send('b', new Uint8Array(1024 * 1024))) sent++
    assert.ok(sent > 20)
    control.send('b', new Uint8Array(1))
    await until(w.env, 'the control message', () => bulkBefore >= 0)
    assert.ok(bulkBefore < sent, `${bulkBefore} of ${sent} bulk messages came first`)
    await until(w.env, 'all bulk messages', () => bulkReceived === sent)
  })

  test('to a peer that does not read stays within its limits', async () => {
    const limits: WebSocketOptions = { maximumQueuedBytes: 3_000_000, maximumBufferedBytes: 1_000_000 }
    await using w = webSocketHarness(limits)
    const n = await w.open({ nodeId: 'n' })
    const channel = n.channel('test', { traffic: 'control' })
    const peer = await enter(n.addresses[0] as string)
    peer.socket.pause()
    let accepted = 0
    let refused = 0
    for (let i = 0; i < 400; i++) {
      if (channel.send('raw', new Uint8Array(100_000))) accepted++
      else refused++
      if (i % 5 === 0) await sleep(w.env.timers, 1)
    }
    assert.ok(refused > 0, 'everything was accepted')
    let received = 0
    peer.socket.on('message', (data) => {
      received += (data as Buffer).length
    })
    peer.socket.resume()
    await until(w.env, 'what was accepted', () => received > accepted * 100_000)
    assert.equal(channel.send('raw', new Uint8Array(1)), true)
    peer.socket.terminate()
  })

  test('that waits for a connection is bounded in bytes and in number, and is lost with it', async () => {
    await using hole = await listening(createServer())
    await using w = webSocketHarness({
      handshakeTimeoutMs: 100,
      maximumQueuedMessages: 10,
      maximumQueuedBytes: 2_000,
      maximumMessageBytes: 1_000,
    })
    const a = await w.open({ nodeId: 'a' })
    w.addresses.set('b', [hole.address])
    const [control, bulk] = [a.channel('control', { traffic: 'control' }), a.channel('bulk')]
    const lost: LossEvent[] = []
    control.onLost((event) => lost.push(event))
    const counted = Array.from({ length: 12 }, () => control.send('b', new Uint8Array(1)))
    assert.equal(counted.filter(Boolean).length, 10)
    const weighed = Array.from({ length: 5 }, () => bulk.send('b', new Uint8Array(900)))
    assert.equal(weighed.filter(Boolean).length, 2)
    const stream = assert.rejects(bulk.openStream('b', new Uint8Array(0)), (e) =>
      KeelsonError.hasCode(e, 'UNREACHABLE'),
    )
    await until(w.env, 'the loss', () => lost.length === 1)
    assert.deepEqual(lost, [{ peer: 'b', outcome: 'none' }])
    await stream
    assert.match(w.metrics.text(), /reason="queue full"\} 5/)
  })

  test('hands out plain arrays, whose slice is a copy', async () => {
    await using w = webSocketHarness()
    const n = await w.open({ nodeId: 'n' })
    const kinds: string[] = []
    n.channel('test').onMessage((_peer, bytes) => kinds.push(bytes.constructor.name))
    const peer = await enter(n.addresses[0] as string)
    peer.socket.send(frameOf('test', new Uint8Array([1])))
    await until(w.env, 'the message', () => kinds.length === 1)
    assert.deepEqual(kinds, ['Uint8Array'])
    peer.socket.terminate()
  })

  test('that was sent before close still leaves', async () => {
    await using w = webSocketHarness()
    const [a, b] = [await w.open({ nodeId: 'a' }), await w.open({ nodeId: 'b' })]
    const received: number[] = []
    b.channel('test', { traffic: 'control' }).onMessage((_peer, bytes) => received.push(bytes[0] as number))
    const channel = a.channel('test', { traffic: 'control' })
    channel.send('b', new Uint8Array([1]))
    await until(w.env, 'the connection', () => received.length === 1)
    channel.send('b', new Uint8Array([2]))
    await a.close()
    await until(w.env, 'the last message', () => received.length === 2)
  })
})

suite('options of a WebSocket transport', () => {
  const wrong: [what: string, options: object, message: RegExp][] = [
    ['an unknown one', { maxPayload: 1 }, /no option 'maxPayload'/],
    ['a misspelt one', { maximumFrameByte: 1 }, /did you mean 'maximumFrameBytes'/],
    ['a listen address without port', { listen: { host: '127.0.0.1' } }, /listen.*port/],
    ['frames smaller than messages', { maximumFrameBytes: 2_000 }, /maximumFrameBytes must exceed/],
    ['queues smaller than messages', { maximumQueuedBytes: 2_000 }, /maximumQueuedBytes must be/],
    ['crossed delays', { minimumReconnectDelayMs: 9, maximumReconnectDelayMs: 8 }, /must not exceed/],
    ['plaintext for everybody', { listen: { host: '0.0.0.0', port: 0 } }, /plaintext/],
    ['tls without a key', { tls: { cert: 'x' } }, /key/],
  ]
  for (const [what, options, message] of wrong) {
    test(`refuse ${what}`, () => {
      assert.throws(
        () => webSocket(options),
        (e) => KeelsonError.hasCode(e, 'INVALID_OPTION') && message.test(e.message),
      )
    })
  }

  test('allow plaintext for everybody when it is asked for, and log it', async () => {
    await using w = webSocketHarness()
    const options = { listen: { host: '0.0.0.0', port: 0 }, insecure: true, advertise: '10.1.1.1:99' }
    const n = await w.open({ nodeId: 'n', options })
    assert.deepEqual(n.addresses, ['10.1.1.1:99'])
    assert.ok(w.logs.some(({ level, message }) => level === 'warn' && message.startsWith('insecure')))
  })

  test('refuse to dial in plaintext beyond the loopback interface', async () => {
    await using w = webSocketHarness()
    const a = await w.open({ nodeId: 'a' })
    await assert.rejects(a.dial('10.255.255.1:1'), (e) => KeelsonError.hasCode(e, 'INVALID_OPTION'))
    w.addresses.set('b', ['10.255.255.1:1'])
    assert.equal(a.channel('test').send('b', new Uint8Array(1)), false)
  })

  test('refuse what cannot be dialled, and leave nothing behind that fails later', async () => {
    const options = { insecure: true, handshakeTimeoutMs: 20 }
    await using w = webSocketHarness(options)
    const a = await w.open({ nodeId: 'a' })
    // A zone of an interface is part of an address, and of no URL.
    const channel = a.channel('test')
    for (const address of ['%:80', '?:80', '[fe80::1%eth0]:80']) {
      await assert.rejects(a.dial(address), (e) =>
        KeelsonError.hasCode(e, 'INVALID_ARGUMENT', 'INVALID_OPTION'),
      )
      w.addresses.set('b', [address])
      channel.send('b', new Uint8Array(1))
    }
    const keyless = await w.open({
      nodeId: 'c',
      role: 'client',
      options: {
        ...options,
        tls: () => {
          throw new Error('there are no keys today')
        },
      },
    })
    await assert.rejects(keyless.dial('127.0.0.1:9'), (e) => KeelsonError.is(e))
    w.addresses.set('b', ['127.0.0.1:9'])
    keyless.channel('test').send('b', new Uint8Array(1))
    // Longer than a handshake may take: whatever still waits for one would fail now.
    await sleep(w.env.timers, 100)
  })

  test('tell a port that is taken', async () => {
    await using w = webSocketHarness()
    const n = await w.open({ nodeId: 'n' })
    const port = Number((n.addresses[0] as string).split(':')[1])
    const second = w.open({ nodeId: 'm', options: { listen: { host: '127.0.0.1', port } } })
    await assert.rejects(second, (e) => KeelsonError.hasCode(e, 'IO'))
  })
})
