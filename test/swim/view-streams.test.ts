import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { hex } from '../../src/core/bytes.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import type { Channel } from '../../src/interfaces/transport.ts'
import {
  NetworkConditions,
  SimulatedDatagrams,
  SimulatedTransports,
  Simulation,
} from '../../src/simulation/index.ts'
import { decodePacket, encodePacket } from '../../src/swim/core/codec.ts'
import type { SwimMessage } from '../../src/swim/core/messages.ts'
import type { SwimCore } from '../../src/swim/core/swim-core.ts'
import { type ViewTransfer, viewPieceBytes } from '../../src/swim/core/view-transfer.ts'
import { Swim, type SwimOptions } from '../../src/swim/index.ts'
import { goldenPiece } from './core/golden-packets.ts'
import { hear, label, makeCore, proofFor, said } from './support/core.ts'

const streaming = { streamPacketBytes: 60_000, streamedViewMembers: 10 } as const

function named(count: number): SwimMessage[] {
  return Array.from({ length: count }, (_, i) => ({ kind: 'alive', statement: said(`m${i}`, 1) }))
}

/** A core that knows `count` members, and what becomes of the offer of a peer that knows nobody. */
function offered(count: number, protocols: { minimum: number; maximum: number }): SwimCore {
  const core = makeCore({}, streaming)
  for (let i = 0; i < count; i += 20) hear(core, 'm0', 0, ...named(count).slice(i, i + 20))
  hear(core, 'peer', 0, { kind: 'alive', statement: said('peer', 1).with({ protocols }) })
  core.takeOutput()
  hear(core, 'peer', 1, proofFor(core, 1), { kind: 'offer', buckets: new Uint32Array(32), clock: 0, news: 0 })
  return core
}

function piecesOf(core: SwimCore, view: ViewTransfer): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let nowMs = 2; ; nowMs += 10) {
    const piece = core.nextOfView(view, nowMs)
    if (piece === undefined) return pieces
    if (piece !== 'later') pieces.push(piece)
  }
}

suite('views as streams', () => {
  test('a long view goes in pieces of some kilobytes, and the last one asks for the other view', () => {
    const core = offered(400, { minimum: 2, maximum: 3 })
    const { packets, views } = core.takeOutput()
    assert.ok(!packets.some(({ content }) => content.messages.some(({ kind }) => kind === 'state')))
    const [view] = views
    assert.ok(view !== undefined && views.length === 1)
    const pieces = piecesOf(core, view)
    assert.ok(pieces.length > 2)
    const states = pieces.map((piece) => {
      assert.ok(piece.length <= viewPieceBytes + 128)
      const [message] = decodePacket(piece, label).messages
      assert.ok(message?.kind === 'state')
      return message
    })
    assert.deepEqual(
      states.map(({ wantReturn }) => wantReturn),
      pieces.map((_, i) => i === pieces.length - 1),
    )
    const names = new Set(states.flatMap(({ records }) => records.map(({ statement }) => statement.nodeId)))
    assert.equal(names.size, 402)
    // The other side takes the pieces in like any packet, and answers the last one.
    const peer = makeCore({}, { ...streaming, nodeId: 'peer', address: 'peer:1' })
    for (const piece of pieces) peer.receive('self:1', piece, 5, 'self')
    assert.equal(peer.members().length, 402)
    assert.equal(peer.takeOutput().views.length, 1)
  })

  test('who speaks an older version gets messages, one at a time', () => {
    const count = 1_000
    const core = offered(count, { minimum: 2, maximum: 2 })
    const told: string[] = []
    let messages = 0
    for (let nowMs = 1; nowMs < 100; nowMs++) {
      if (nowMs > 1) core.advanceTo(nowMs)
      const { packets, views } = core.takeOutput()
      assert.deepEqual(views, [])
      const states = packets.flatMap(({ reliable, bytes, content }) =>
        content.messages.flatMap((message) => {
          if (message.kind !== 'state') return []
          // About a millisecond’s work each.
          assert.ok(reliable && bytes.length <= 17_000, `${bytes.length} bytes`)
          assert.equal(bytes[0], 2)
          return [message]
        }),
      )
      assert.ok(states.length <= 1, `${states.length} messages at once`)
      for (const { records, wantReturn } of states) {
        assert.equal(wantReturn, messages++ === 0, 'the first one asks for the other view')
        told.push(...records.map(({ statement }) => statement.nodeId))
      }
    }
    assert.ok(messages > 1)
    assert.equal(told.length, count + 2)
    assert.equal(new Set(told).size, count + 2)
  })

  test('a short view goes as a message', () => {
    const core = offered(5, { minimum: 2, maximum: 3 })
    assert.deepEqual(core.takeOutput().views, [])
  })

  test('the bytes of a piece stay what they are', () => {
    const protocols = { minimum: 2, maximum: 3 }
    const core = makeCore({}, { ...streaming, streamedViewMembers: 1, protocols })
    hear(core, 'peer', 0, { kind: 'alive', statement: said('peer', 1).with({ protocols }) })
    core.takeOutput()
    hear(core, 'peer', 1, { kind: 'offer', buckets: new Uint32Array(32), clock: 0, news: 0 })
    const [view] = core.takeOutput().views
    assert.ok(view)
    assert.deepEqual(piecesOf(core, view).map(hex), [goldenPiece])
  })

  test('the budget for answers holds streams back, and a stream that breaks becomes datagrams', () => {
    const core = offered(400, { minimum: 2, maximum: 3 })
    const [view] = core.takeOutput().views
    assert.ok(view)
    const thrifty = makeCore({ maximumSyncBytesPerSecond: 16_384 }, streaming)
    for (let i = 0; i < 2_000; i += 20) hear(thrifty, 'm0', 0, ...named(2_000).slice(i, i + 20))
    hear(thrifty, 'peer', 0, { kind: 'alive', statement: said('peer', 1) })
    thrifty.takeOutput()
    hear(thrifty, 'peer', 1, proofFor(thrifty, 1), {
      kind: 'offer',
      buckets: new Uint32Array(32),
      clock: 0,
      news: 0,
    })
    const [slow] = thrifty.takeOutput().views
    assert.ok(slow)
    const given = Array.from({ length: 10 }, () => thrifty.nextOfView(slow, 2))
    assert.ok(given[0] instanceof Uint8Array && given.at(-1) === 'later')
    assert.ok(thrifty.nextOfView(slow, 2_000) instanceof Uint8Array)
    core.viewFailed(view, 3)
    const { packets } = core.takeOutput()
    assert.ok(
      packets.length > 5 && packets.every(({ reliable, bytes }) => !reliable && bytes.length <= 1_400),
    )
  })

  const world = (): {
    readonly simulation: Simulation
    open(nodeId: string, more?: Partial<SwimOptions>, channel?: (real: Channel) => Channel): Promise<Swim>
    flood(to: string, count: number): Promise<void>
  } => {
    const simulation = new Simulation({ seed: 3 })
    const conditions = new NetworkConditions(simulation.random('network'), simulation.faults)
    const datagrams = new SimulatedDatagrams(simulation.scheduler, conditions)
    const transports = new SimulatedTransports(
      simulation.scheduler,
      conditions,
      simulation.random('transports'),
    )
    return {
      simulation,
      async open(nodeId, more = {}, wrap = (real) => real) {
        const process = simulation.process(nodeId)
        const env = process.environment
        const socket = await datagrams.factory(process)({ env, clusterId: 'test', nodeId })
        const transport = await transports.factory(process)({
          env,
          clusterId: 'test',
          self: { nodeId, incarnation: 1, role: 'node' },
          resolve: transports.resolve,
        })
        const channel = wrap(transport.channel('swim'))
        return Swim.open({ env, socket, nodeId, incarnation: 1, label: 'test', channel, ...more })
      },
      async flood(to, count) {
        const process = simulation.process('flood')
        const socket = await datagrams.factory(process)({
          env: process.environment,
          clusterId: 'test',
          nodeId: 'flood',
        })
        const sender = { nodeId: 'm0', incarnation: 1, version: 1 }
        const all = named(count)
        for (let i = 0; i < count; i += 20) {
          socket.send(to, encodePacket('test', sender, all.slice(i, i + 20)))
          if (i % 400 === 0) await simulation.runFor(1)
        }
        await simulation.runFor(20)
      },
    }
  }

  test('20,000 members come as one stream', async (context) => {
    const { simulation, open, flood } = world()
    let streams = 0
    let pieces = 0
    const first = await open('n0', {}, (real) => ({
      ...bound(real),
      openStream: async (peer, header, options) => {
        streams++
        const stream = await real.openStream(peer, header, options)
        return {
          write: async (chunk, call) => {
            pieces++
            assert.ok(chunk.length <= viewPieceBytes + 128)
            await stream.write(chunk, call)
          },
          end: (call) => stream.end(call),
          destroy: () => stream.destroy(),
        }
      },
    }))
    await flood(first.self.address, 19_998)
    assert.equal(first.status().members.alive + first.status().members.suspect, 19_999)
    const second = await open('n1', { seeds: [first.self.address] })
    for (let waited = 0; waited < 100 && second.members().length < 20_000; waited++)
      await simulation.runFor(50)
    context.diagnostic(`${streams} streams, ${pieces} pieces`)
    assert.equal(second.members().length, 20_000)
    assert.ok(streams >= 1 && pieces > 50)
    await first.close()
    await second.close()
  })

  test('a stream that is refused or too long does no harm: datagrams bring the view', async () => {
    const { simulation, open, flood } = world()
    const first = await open('n0')
    await flood(first.self.address, 600)
    const second = await open('n1', { seeds: [first.self.address] }, (real) => ({
      ...bound(real),
      onStream: (handler) =>
        real.onStream(async (peer, header, chunks) => {
          await assert.rejects(
            handler(peer, header, endless(chunks)),
            (error) => error instanceof KeelsonError && error.code === 'LIMIT_EXCEEDED',
          )
          throw new KeelsonError('OVERLOADED', 'no')
        }),
    }))
    await simulation.runFor(3_000)
    assert.equal(second.members().length, 602)
    await first.close()
    await second.close()
  })
})

/** A view that never ends. */
async function* endless(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) for (;;) yield new Uint8Array(chunk.length + 60_000)
}

function bound(real: Channel): Channel {
  return {
    protocol: real.protocol,
    self: real.self,
    maximumMessageBytes: real.maximumMessageBytes,
    send: (peer, bytes) => real.send(peer, bytes),
    onMessage: (handler) => real.onMessage(handler),
    onLost: (listener) => real.onLost(listener),
    openStream: (peer, header, options) => real.openStream(peer, header, options),
    onStream: (handler) => real.onStream(handler),
  }
}
