import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../src/core/random.ts'
import { encodePacket } from '../../src/swim/core/codec.ts'
import type { SwimMessage } from '../../src/swim/core/messages.ts'
import type { SwimPacket } from '../../src/swim/core/output.ts'
import type { SwimCore } from '../../src/swim/core/swim-core.ts'
import { alive, hear, label, makeCore, runTo, said, sentOf } from './support/core.ts'

const victim = 'victim:1'
const members = 300

/** A core that knows many members. */
function knowing(nodeId: string): SwimCore {
  const random = new SeededRandom(1).child(nodeId)
  const core = makeCore({}, { nodeId, address: `${nodeId}:1`, random })
  for (let i = 0; i < members; i += 20) {
    const some = Array.from({ length: 20 }, (_, j) => said(`m${i + j}`, 1))
    hear(core, 'm0', 0, ...some.map((statement) => ({ kind: 'alive', statement }) as const))
  }
  core.takeOutput()
  return core
}

/** Lets a newcomer and a member that it asks talk until neither has an answer; every packet that was sent. */
function conversation(newcomer: SwimCore, seed: SwimCore): SwimPacket[] {
  const all: SwimPacket[] = []
  newcomer.join([seed.self.address], 1)
  const cores = [newcomer, seed]
  for (let turn = 0; turn < 20; turn++) {
    const [from, to] = turn % 2 === 0 ? [newcomer, seed] : [seed, newcomer]
    for (const packet of from.takeOutput().packets) {
      if (!cores.some(({ self }) => self.address === packet.to)) continue
      all.push(packet)
      to.receive(from.self.address, packet.bytes, 2 + turn)
    }
  }
  return all
}

/** Datagrams and bytes that a member sends to where a recorded packet seems to come from. */
function drawnBy(core: SwimCore, packet: SwimPacket): readonly SwimPacket[] {
  core.receive(victim, packet.bytes, 60)
  return core.takeOutput().packets.filter(({ to }) => to === victim)
}

suite('packets that somebody recorded and sends on', () => {
  test('a newcomer is told the view within two round trips', () => {
    const newcomer = makeCore({}, { nodeId: 'new', address: 'new:1' })
    const packets = conversation(newcomer, knowing('seed'))
    assert.equal(newcomer.members().length, members + 2)
    const kinds = packets.map(({ content }) => content.messages.map(({ kind }) => kind).join(' '))
    assert.match(kinds[0] ?? '', /^hello alive challenge offer/)
    assert.match(kinds.find((each) => each.startsWith('proof challenge')) ?? '', /^proof challenge(?! offer)/)
    assert.ok(kinds.some((each) => each.startsWith('proof challenge offer')))
    assert.ok(kinds.some((each) => each.startsWith('proof state')))
  })

  test('one that comes back with an older release, which proves nothing, is told the view all the same', () => {
    const seed = knowing('seed')
    // Its last life, of this release, has left, at a version that the new one does not know.
    hear(seed, 'm0', 0, alive('old', 5), { kind: 'left', nodeId: 'old', incarnation: 1, version: 6 })
    seed.takeOutput()
    const protocols = { minimum: 2, maximum: 3 }
    const back = makeCore({}, { nodeId: 'old', address: 'old:1', incarnation: 2, protocols })
    conversation(back, seed)
    // It has heard how it is spoken of, and asks again under a version that counts.
    conversation(back, seed)
    assert.equal(seed.member('old')?.state, 'alive')
    assert.equal(back.members().length, members + 2)
  })

  test('each draws a datagram from a member that it was not for, and no view', () => {
    const newcomer = makeCore({}, { nodeId: 'new', address: 'new:1' })
    const packets = conversation(newcomer, knowing('seed'))
    assert.ok(packets.some(({ content }) => content.messages.some(({ kind }) => kind === 'state')))
    const other = knowing('other')
    for (const packet of packets) {
      const answer = drawnBy(other, packet)
      assert.ok(answer.length <= 1, `${answer.length} datagrams`)
      for (const { bytes } of answer) assert.ok(bytes.length <= packet.bytes.length)
      assert.ok(!answer.some(({ content }) => content.messages.some(({ kind }) => kind === 'state')))
    }
  })

  test('so does one that is sent on to whom it was for, once its numbers are old', () => {
    const newcomer = makeCore({}, { nodeId: 'new', address: 'new:1' })
    const seed = knowing('seed')
    const packets = conversation(newcomer, seed)
    seed.remove('m7', 30)
    seed.takeOutput()
    for (const packet of packets.filter(({ to }) => to === 'seed:1')) {
      seed.receive(victim, packet.bytes, 20_000)
      const answer = seed.takeOutput().packets.filter(({ to }) => to === victim)
      assert.ok(answer.length <= 1)
      assert.ok(!answer.some(({ content }) => content.messages.some(({ kind }) => kind === 'state')))
    }
  })

  test('without proofs it would be a flood', () => {
    const newcomer = makeCore({}, { nodeId: 'new', address: 'new:1' })
    const packets = conversation(newcomer, knowing('seed'))
    const other = knowing('other')
    other.antiEntropy.mayBeTold = () => true
    const bytes = packets.map((packet) =>
      drawnBy(other, packet).reduce((sum, each) => sum + each.bytes.length, 0),
    )
    assert.ok(Math.max(...bytes) > 6_000, `${Math.max(...bytes)} bytes at most`)
  })

  test('news of late are told to whoever proves that it asks now', () => {
    const core = makeCore()
    hear(core, 'a', 0, { kind: 'alive', statement: said('a', 1) })
    for (let i = 0; i < 30; i++) core.tell('news', new Uint8Array(400), 0)
    core.takeOutput()
    hear(core, 'a', 1, { kind: 'recall' })
    assert.deepEqual(core.takeOutput().packets, [])
    const buckets = core.membership.table.buckets.slice()
    hear(core, 'a', 2, { kind: 'challenge', number: 7 }, { kind: 'offer', buckets, clock: 0, news: 0 })
    const { packets } = core.takeOutput()
    assert.equal(packets.length, 1)
    const [, demand] = packets[0]?.content.messages ?? []
    assert.ok(demand?.kind === 'challenge')
    hear(core, 'a', 3, { kind: 'proof', number: demand.number }, { kind: 'recall' })
    const told = core.takeOutput().packets.flatMap(({ content }) => content.messages)
    assert.ok(told.filter(({ kind }) => kind === 'event').length >= 30)
  })

  test('and small ones of whoever has not shown that it is there draw three times their bytes at most', () => {
    const seed = new SeededRandom(5)
    const long = seed.bytes(60_000)
    const samples: readonly SwimMessage[] = [
      { kind: 'ping', sequence: 1, target: 'self' },
      { kind: 'indirectPing', sequence: 1, target: 'm9', patienceMs: 100 },
      { kind: 'suspect', nodeId: 'self', version: 0, accuser: 'm9' },
      { kind: 'dead', nodeId: 'self', version: 0, accuser: 'm9' },
      { kind: 'offer', buckets: new Uint32Array(32), clock: 0, news: 0 },
      { kind: 'recall' },
      { kind: 'state', mask: -1 >>> 0, wantReturn: true, records: [] },
      { kind: 'fetch', nodeId: 'self', version: 0, offset: 0 },
      { kind: 'contest', sequence: 1 },
      { kind: 'challenge', number: 1 },
      { kind: 'query', origin: 'm9', time: 1, id: 1, name: 'x', payload: new Uint8Array(0), leftMs: 100 },
      { kind: 'alive', statement: said('n', 1).with({ metadataBytes: 9_000, metadataChecksum: 1 }) },
      { kind: 'alive', statement: said('self', 5) },
      { kind: 'hello', token: new Uint8Array(0) },
    ]
    const packets = samples.flatMap((message) => [[message], Array.from({ length: 20 }, () => message)])
    packets.push([{ kind: 'challenge', number: 1 }, samples[7] as SwimMessage])
    for (const sender of ['stranger', 'm1', 'm2', 'self']) {
      for (const messages of packets) {
        const core = makeCore({}, { metadata: long })
        const some = Array.from({ length: 20 }, (_, i) => said(`m${i}`, 1, [1, 2, 3]))
        hear(core, 'm0', 0, ...some.map((statement) => ({ kind: 'alive', statement }) as const))
        // One of them is held dead, and there is much to tell.
        hear(core, 'm0', 0, { kind: 'dead', nodeId: 'm2', version: 1, accuser: 'm0' })
        for (let i = 0; i < 50; i++) core.tell('news', new Uint8Array(500), 0)
        core.takeOutput()
        const bytes = encodePacket(label, { nodeId: sender, incarnation: 1, version: 1 }, messages)
        core.receive(victim, bytes, 1)
        const own = core.nextDeadlineMs()
        const drawn = core.takeOutput().packets
        // A vote that it holds about its own name is its own concern.
        const votes = drawn.filter(({ content }) => content.messages.some(({ kind }) => kind === 'contest'))
        const at = (all: typeof drawn): number => all.reduce((sum, each) => sum + each.bytes.length, 0)
        const what = `${sender}: ${messages.length} ${messages[0]?.kind}: ${at(drawn)} of ${bytes.length}`
        assert.ok(at(drawn) - at(votes) <= 3 * bytes.length, what)
        // Nor does it draw more later where it seemed to come from.
        let later = drawn.filter(({ to }) => to === victim)
        for (let nowMs = own; nowMs < 3_000; nowMs = core.nextDeadlineMs()) {
          core.advanceTo(nowMs)
          later = [...later, ...core.takeOutput().packets.filter(({ to }) => to === victim)]
        }
        assert.ok(at(later) <= 3 * bytes.length, `${what}, ${at(later)} later`)
      }
    }
  })

  test('whoever has answered a probe is answered in full', () => {
    const core = makeCore({}, { metadata: new SeededRandom(5).bytes(60_000) })
    hear(core, 'a', 0, { kind: 'alive', statement: said('a', 1) })
    const fetch = { kind: 'fetch', nodeId: 'self', version: 0, offset: 0 } as const
    const bytesDrawn = (nowMs: number): number => {
      core.takeOutput()
      hear(core, 'a', nowMs, fetch)
      return core.takeOutput().packets.reduce((sum, { bytes }) => sum + bytes.length, 0)
    }
    assert.ok(bytesDrawn(1) < 200)
    runTo(core, 2_000)
    const ping = sentOf(core, 'ping').at(-1)
    assert.ok(ping)
    hear(core, 'a', 2_001, { kind: 'ack', sequence: ping.message.sequence, responder: 'a' })
    assert.ok(bytesDrawn(2_002) > 1_000)
    // From elsewhere it is not known to be there.
    core.takeOutput()
    const bytes = encodePacket(label, { nodeId: 'a', incarnation: 1, version: 1 }, [fetch])
    core.receive(victim, bytes, 2_003)
    assert.ok(core.takeOutput().packets.every((each) => each.bytes.length <= 3 * bytes.length))
  })
})
