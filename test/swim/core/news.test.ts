import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { distanceMs, VivaldiPlace } from '../../../src/swim/core/coordinates.ts'
import type { SwimMessage, SyncRecord } from '../../../src/swim/core/messages.ts'
import { decodeSnapshot, encodeSnapshot } from '../../../src/swim/core/snapshot.ts'
import type { SwimCore } from '../../../src/swim/core/swim-core.ts'
import {
  alive,
  happened,
  hear,
  hearAs,
  makeCore,
  proofFor,
  runTo,
  said,
  sent,
  sentOf,
} from '../support/core.ts'
import { goldenSnapshot } from './golden-snapshots.ts'

const payload = new Uint8Array([1, 2, 3])

suite('what hosts tell each other', () => {
  test('is delivered once, here too, and travels on', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    core.tell('deploy', payload, 1)
    const [told] = core.takeOutput().deliveries
    assert.equal(told?.kind, 'event')
    const message = { kind: 'event', origin: 'b', time: 9, id: 5, name: 'x', payload } as const
    hear(core, 'a', 2, message, message)
    const { deliveries } = core.takeOutput()
    assert.deepEqual(deliveries, [{ kind: 'event', origin: 'b', time: 9, id: 5, name: 'x', payload }])
    runTo(core, 3_000)
    const travelled = sentOf(core, 'event').map(({ message: { origin, name } }) => `${origin} ${name}`)
    assert.deepEqual(new Set(travelled), new Set(['self deploy', 'b x']))
    core.tell('later', payload, 3_001)
    const [later] = core.takeOutput().deliveries
    assert.equal(later?.kind === 'event' ? later.time : 0, 10, 'it comes after what was heard of')
  })

  test('is refused while somebody may have missed as much, whatever questions have ended meanwhile', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    let nowMs = 1
    const until = (limit: number, tell: () => void): number => {
      for (let told = 0; told < limit; told++) {
        try {
          tell()
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'OVERLOADED')
          return told
        }
      }
      return limit
    }
    const tell = (): void => core.tell('x', payload, nowMs)
    let told = until(400, tell)
    for (let step = 0; step < 100; step++) {
      nowMs += 200
      until(1_000, () => core.ask('q', payload, nowMs, 10))
      nowMs += 20
      core.advanceTo(nowMs)
      told += until(1_000, tell)
      core.takeOutput()
    }
    assert.equal(told, 512)
    assert.equal(core.rumours.recent(nowMs).length, 512, 'all are told to whoever missed them')
    assert.equal(core.counters.newsDropped, 0)
  })

  test('whoever missed it is told, and asked, in the exchange of views', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    core.tell('news', payload, 0)
    sent(core)
    const buckets = core.membership.table.buckets.slice()
    const same = core.antiEntropy.offerOfView(1)
    hear(core, 'a', 1, proofFor(core, 1), { ...same, buckets })
    assert.deepEqual(sentOf(core, 'recall'), [])
    hear(core, 'a', 2, proofFor(core, 2), { kind: 'offer', buckets, clock: 0, news: 0 })
    const kinds = sent(core).map(({ message }) => message.kind)
    assert.ok(kinds.includes('event') && kinds.includes('recall'))
    hear(core, 'a', 3, proofFor(core, 3), { kind: 'recall' })
    assert.ok(sentOf(core, 'event').length > 0)
    // After some exchanges all have it.
    runTo(core, 299_999)
    sent(core)
    hear(core, 'a', 300_000, proofFor(core, 300_000), { kind: 'recall' })
    assert.equal(sentOf(core, 'event').length, 0)
  })

  test('a flood of news is held within limits', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    for (let i = 0; i < 5_000; i++)
      hear(core, 'a', 1, { kind: 'event', origin: 'a', time: 1 + (i >> 4), id: i, name: 'x', payload })
    assert.ok(core.pendingUpdates > 1_000 && core.pendingUpdates <= 1_030, `${core.pendingUpdates}`)
    // What was pushed out is counted.
    assert.ok(core.counters.newsDropped >= 3_900, `${core.counters.newsDropped}`)
  })

  test('a burst is told in full, or refused to the caller', () => {
    const teller = makeCore()
    hear(teller, 'a', 0, alive('a', 1))
    let told = 0
    const tell = (nowMs: number): void => {
      for (let i = 0; i < 1_000; i++) {
        teller.tell(`burst-${told}`, payload, nowMs)
        told++
      }
    }
    assert.throws(() => tell(1), { code: 'OVERLOADED', retryable: true })
    assert.equal(told, 512)
    assert.equal(teller.takeOutput().deliveries.length, 512)
    // Somebody whom gossip has passed by asks, and is told all of them in some exchanges.
    const missed = new Set(Array.from({ length: told }, (_, i) => `burst-${i}`))
    for (let nowMs = 20_000; nowMs < 21_000; nowMs += 100) {
      teller.advanceTo(nowMs)
      sent(teller)
      hear(teller, 'a', nowMs, proofFor(teller, nowMs), { kind: 'recall' })
      for (const { message } of sentOf(teller, 'event')) missed.delete(message.name)
    }
    assert.equal(missed.size, 0)
    assert.equal(teller.counters.newsDropped, 0)
    // Not before the others have had the chance to ask for what they missed, though none travels any more.
    runTo(teller, 60_000)
    assert.throws(() => tell(60_000), { code: 'OVERLOADED' })
    runTo(teller, 100_000)
    teller.tell('x', payload, 100_000)
  })

  test('a node that is alone may go on telling, for newcomers', () => {
    const core = makeCore()
    for (let i = 0; i < 2_000; i++) core.tell('x', payload, i * 1_000)
    assert.equal(core.counters.newsDropped, 0)
    assert.ok(core.pendingUpdates <= 1_026)
  })

  test('is not heard twice, however many came in between', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    // Of one time, as of members that tell at once.
    const news = (id: number): SwimMessage => ({
      kind: 'event',
      origin: `m${id}`,
      time: 5,
      id,
      name: 'x',
      payload,
    })
    for (let id = 0; id < 5_000; id++) hear(core, 'a', 1, news(id))
    const { deliveries } = core.takeOutput()
    assert.ok(deliveries.length >= 4_096)
    for (let id = 0; id < 5_000; id++) hear(core, 'a', 2, news(id))
    assert.deepEqual(core.takeOutput().deliveries, [])
  })

  test('a question is not asked when its asker has given up, and says how long it still waits', () => {
    const asker = makeCore({}, { nodeId: 'a', address: 'a:1' })
    hear(asker, 'self', 0, alive('self', 1))
    asker.ask('load', payload, 0, 2_000)
    runTo(asker, 500)
    assert.ok(
      sentOf(asker, 'query').some(({ message }) => (message.leftMs ?? 0) < 2_000),
      'as it is passed on',
    )
    hear(asker, 'self', 1_500, proofFor(asker, 1_500), { kind: 'recall' })
    const [{ message: told } = assert.fail()] = sentOf(asker, 'query')
    assert.equal(told?.leftMs, 500)
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), told)
    assert.deepEqual(
      core.takeOutput().deliveries.map((each) => (each.kind === 'query' ? each.leftMs : 0)),
      [500],
    )
    hear(asker, 'self', 2_000, proofFor(asker, 2_000), { kind: 'recall' })
    runTo(asker, 60_000)
    assert.equal(sentOf(asker, 'query').length, 0, 'nor does it travel any more')
    hear(core, 'a', 1, { ...told, id: 9, leftMs: 0 })
    assert.deepEqual(core.takeOutput().deliveries, [])
    // Of an earlier release.
    hear(core, 'a', 1, { kind: 'query', origin: 'a', time: 9, id: 10, name: 'load', payload })
    assert.equal(core.takeOutput().deliveries.length, 1)
  })

  test('a query of a stranger is not answered', () => {
    const core = makeCore()
    hear(core, 'a', 1, { kind: 'query', origin: 'b', time: 1, id: 77, name: 'load', payload })
    const [query] = core.takeOutput().deliveries
    assert.ok(query?.kind === 'query')
    core.answer(query, payload, 2)
    assert.deepEqual(sentOf(core, 'answer'), [])
  })

  test('a query is answered to its origin', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    hear(core, 'a', 1, { kind: 'query', origin: 'a', time: 1, id: 77, name: 'load', payload })
    const [query] = core.takeOutput().deliveries
    assert.ok(query?.kind === 'query')
    core.answer(query, new Uint8Array([9]), 2)
    const [answer] = sentOf(core, 'answer')
    assert.equal(answer?.to, 'a:1')
    assert.deepEqual(answer?.message, { kind: 'answer', id: 77, payload: new Uint8Array([9]) })
    const id = core.ask('load', payload, 3)
    core.takeOutput()
    hear(core, 'a', 4, { kind: 'answer', id, payload })
    assert.deepEqual(core.takeOutput().deliveries, [{ kind: 'answer', id, responder: 'a', payload }])
    hear(core, 'a', 5, { kind: 'answer', id: id + 1, payload })
    assert.deepEqual(core.takeOutput().deliveries, [], 'nobody asked for it')
  })

  test('names and payloads have limits', () => {
    const core = makeCore()
    assert.throws(() => core.tell('two words', payload, 0), { code: 'INVALID_ARGUMENT' })
    assert.throws(() => core.tell('n'.repeat(65), payload, 0), { code: 'INVALID_ARGUMENT' })
    assert.throws(() => core.tell('n', new Uint8Array(513), 0), { code: 'LIMIT_EXCEEDED' })
    assert.throws(() => core.ask('n', new Uint8Array(513), 0), { code: 'LIMIT_EXCEEDED' })
  })
})

suite('who is let in', () => {
  const seed = { nodeId: 'new', incarnation: 5, version: 0 }

  test('a node that asks is shown to the host with its token, and told why not', () => {
    const asked: string[] = []
    const core = makeCore(
      {},
      {
        admit: ({ nodeId }, token) => {
          asked.push(`${nodeId} ${token.join()}`)
          return token[0] === 7 ? undefined : 'no valid token'
        },
      },
    )
    const offer = { kind: 'offer', buckets: new Uint32Array(32), clock: 0, news: 0 } as const
    hearAs(core, seed, 0, { kind: 'hello', token: new Uint8Array([1]) }, alive('new', 1), offer)
    assert.deepEqual(
      sent(core).map(({ to, message }) => [to, message]),
      [['new:1', { kind: 'refusal', reason: 'no valid token' }]],
    )
    assert.equal(core.member('new'), undefined)
    hearAs(core, seed, 1, { kind: 'hello', token: new Uint8Array([7]) }, alive('new', 1), offer)
    assert.equal(core.member('new')?.state, 'alive')
    assert.deepEqual(asked, ['new 1', 'new 7'])
    // Without a statement of its own there is nothing to judge.
    hearAs(core, { ...seed, nodeId: 'mute' }, 2, { kind: 'hello', token: payload }, offer)
    sent(core)
    assert.equal(core.counters.membersVetoed, 1)
  })

  test('who was let in once needs no token again, in this life', () => {
    let open = true
    const core = makeCore(
      { tombstoneMs: 5_000 },
      { admit: () => (open ? undefined : 'the token has expired') },
    )
    const offer = { kind: 'offer', buckets: new Uint32Array(32), clock: 0, news: 0 } as const
    const hello = { kind: 'hello', token: payload } as const
    const life = { nodeId: 'b', incarnation: 1, version: 1 }
    const asks = (target: SwimCore, nowMs: number, incarnation = 1): string[] => {
      sent(target)
      const statement = said('b', 9).with({ incarnation })
      hearAs(target, { ...life, incarnation }, nowMs, hello, { kind: 'alive', statement }, offer)
      return sentOf(target, 'refusal').map(({ message }) => message.reason)
    }
    hear(core, 'a', 0, alive('a', 1))
    hearAs(core, life, 1, hello, alive('b', 1), offer)
    open = false
    // The far half of a partition holds it dead, and it asks as a stranger does.
    hear(core, 'a', 2, { kind: 'dead', nodeId: 'b', version: 1, accuser: 'a' })
    assert.deepEqual(asks(core, 3), [])
    assert.equal(core.member('b')?.state, 'alive')
    assert.deepEqual(asks(core, 4, 2), ['the token has expired'], 'a new life needs one')
    // Long forgotten, and after a restart of this node.
    hear(core, 'a', 5, { kind: 'dead', nodeId: 'b', version: 9, accuser: 'a' })
    runTo(core, 20_000)
    assert.equal(core.member('b'), undefined)
    const again = makeCore({}, { admit: () => 'the token has expired', incarnation: 2 })
    again.restore(core.snapshot(), [], 0)
    for (const each of [core, again]) {
      assert.deepEqual(asks(each, 20_001, 3), ['the token has expired'])
      assert.deepEqual(asks(each, 20_002), [])
    }
  })

  test('a refusal is reported to a node that is alone', () => {
    const core = makeCore()
    hear(core, 'a', 0, { kind: 'refusal', reason: 'no valid token' })
    const [event] = core.takeOutput().events
    assert.equal(event?.type, 'refused')
    assert.equal(event?.reason, 'no valid token')
    hear(core, 'a', 1, alive('a', 1), { kind: 'refusal', reason: 'again' })
    assert.deepEqual(happened(core), ['joined a'])
  })

  test('a veto keeps a member out whoever tells of it', () => {
    const core = makeCore({}, { veto: ({ nodeId }) => (nodeId === 'b' ? 'of another cluster' : undefined) })
    hear(core, 'a', 0, alive('a', 1), alive('b', 1), alive('c', 1))
    assert.deepEqual(happened(core), ['joined a', 'joined c'])
    assert.equal(core.counters.membersVetoed, 1)
    // Nor does one come in over its own tombstone.
    hear(core, 'a', 1, { kind: 'dead', nodeId: 'b', version: 1, accuser: 'c' }, alive('b', 2))
    assert.equal(core.member('b')?.state, 'dead')
    const other = makeCore({}, { veto: () => 'nobody' })
    hear(other, 'a', 0, { kind: 'left', nodeId: 'b', incarnation: 1, version: 1 }, alive('b', 2))
    assert.equal(other.member('b')?.state, 'left')
  })

  test('of whom the host keeps out nothing is heard, nor of anybody whom it brings', () => {
    let asked = 0
    const veto = ({ nodeId }: { readonly nodeId: string }): string | undefined => {
      asked++
      return nodeId.startsWith('x') ? 'of another cluster' : undefined
    }
    const core = makeCore({}, { veto })
    hear(core, 'a', 0, alive('a', 1), alive('b', 1))
    sent(core)
    const event = { kind: 'event', origin: 'x1', time: 1, id: 1, name: 'x', payload } as const
    const left = { kind: 'left', nodeId: 'b', incarnation: 1, version: 2 ** 32 - 1 } as const
    const ping = { kind: 'ping', sequence: 1, target: 'self' } as const
    // Before it has said who it is, when it says so, and after that.
    hear(core, 'x1', 1, event, left, ping)
    assert.deepEqual(sent(core), [])
    const record = (nodeId: string): SyncRecord => ({
      statement: said(nodeId, 1),
      state: 'alive',
      version: 1,
      accusedVersion: 1,
      ageMs: 0,
      accuser: '',
    })
    const records = ['x1', 'c', 'x2'].map(record)
    hear(core, 'x1', 2, { kind: 'state', mask: 0xffff_ffff, wantReturn: true, records }, event, left)
    assert.deepEqual(
      sent(core).map(({ to, message }) => [to, message]),
      [['x1:1', { kind: 'refusal', reason: 'of another cluster' }]],
    )
    hear(core, 'x1', 3, event, left, ping)
    hear(core, 'b', 4, event, alive('x1', 2))
    assert.deepEqual(sentOf(core, 'refusal').length, 0, 'it is not answered packet for packet')
    hear(core, 'x1', 1_000, ping)
    assert.deepEqual(sentOf(core, 'refusal').length, 1)
    assert.deepEqual(
      core.members().map(({ nodeId }) => nodeId),
      ['self', 'a', 'b'],
    )
    assert.equal(core.member('b')?.state, 'alive')
    assert.deepEqual([core.counters.membersVetoed, asked], [1, 3], 'it is asked once')
    // It says something else of itself, or a long time has passed.
    hear(core, 'b', 5, alive('x1', 3, [1]))
    runTo(core, 400_000)
    hear(core, 'b', 400_000, alive('x1', 4, [1]))
    assert.equal(core.counters.membersVetoed, 3)
  })

  test('an introduction carries no news, as it may go to another cluster', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    core.join(['s:1'], 1)
    const toSeed = sent(core).filter(({ to }) => to === 's:1')
    assert.deepEqual(
      toSeed.map(({ message }) => message.kind),
      ['hello', 'alive', 'challenge', 'offer'],
    )
  })

  test('a veto that throws keeps out whom it was asked about, and nobody else', () => {
    const veto = ({ nodeId }: { readonly nodeId: string }): string | undefined => {
      if (nodeId === 'b') throw new Error('no database')
      return nodeId === 'c' ? (Promise.resolve() as unknown as string) : undefined
    }
    const core = makeCore({}, { veto })
    hear(core, 'a', 0, alive('a', 1), alive('b', 1), alive('c', 1), alive('d', 1))
    assert.deepEqual(happened(core), ['joined a', 'joined d'])
    const throwing = makeCore({}, { admit: () => assert.fail('no database') })
    hear(throwing, 'a', 0, { kind: 'hello', token: payload }, alive('a', 1))
    assert.equal(sentOf(throwing, 'refusal')[0]?.message.reason, 'the host could not judge this node')
  })

  test('a member that speaks no version of ours stays out', () => {
    const core = makeCore()
    const statement = said('a', 1).with({ protocols: { minimum: 9, maximum: 9 } })
    hear(core, 'b', 0, { kind: 'alive', statement })
    assert.equal(core.member('a'), undefined)
  })
})

suite('long metadata', () => {
  const long = new SeededRandom(3).bytes(3_000)

  test('are pulled chunk by chunk, and wrong ones are not believed', () => {
    const owner = makeCore({}, { nodeId: 'owner', address: 'owner:1', metadata: long })
    const reader = makeCore()
    const [announced] = [{ kind: 'alive', statement: owner.membership.statement } as const]
    const bare = announced.statement.with({
      metadata: new Uint8Array(0),
      metadataBytes: announced.statement.metadataBytes,
      metadataChecksum: announced.statement.metadataChecksum,
    })
    hear(reader, 'owner', 0, { kind: 'alive', statement: bare })
    assert.equal(reader.member('owner')?.metadata.length, 0)
    assert.equal(reader.member('owner')?.metadataBytes, 3_000)
    const carry = (from: SwimCore, to: SwimCore, nowMs: number, damage: boolean): number => {
      const chunks = from.takeOutput().packets.flatMap(({ content: { sender, messages } }) => {
        const received = messages.map((each) =>
          each.kind === 'chunk' && damage ? { ...each, bytes: each.bytes.map((byte) => byte ^ 1) } : each,
        )
        hearAs(to, sender, nowMs, ...received)
        return messages.filter(({ kind }) => kind === 'chunk')
      })
      return chunks.length
    }
    const exchange = (fromMs: number, untilMs: number, damage: boolean): number => {
      let chunks = 0
      for (let at = fromMs; at < untilMs; at += 50) {
        reader.advanceTo(at)
        carry(reader, owner, at, false)
        chunks += carry(owner, reader, at, damage)
      }
      return chunks
    }
    // A short one for whoever may not be there, and long ones for whoever repeats its number.
    assert.equal(exchange(0, 3_000, true), 4)
    assert.equal(reader.member('owner')?.metadata.length, 0, 'the checksum is wrong')
    hear(reader, 'owner', 3_000, { kind: 'alive', statement: bare.with({ version: 1 }) })
    owner.setMetadata(long, 3_000)
    assert.equal(exchange(3_000, 6_000, false), 3)
    assert.deepEqual(reader.member('owner')?.metadata, long)
  })

  test('go by a stream in one piece, as the stream carries it', () => {
    const core = makeCore({}, { metadata: long, streamPacketBytes: 60_000 })
    hear(core, 'a', 0, alive('a', 1))
    sent(core)
    const fetch = { kind: 'fetch', nodeId: 'self', version: 0, offset: 0 } as const
    core.receivePacket(
      'a:1',
      { sender: { nodeId: 'a', incarnation: 1, version: 1 }, messages: [fetch] },
      1,
      true,
      60,
    )
    const [packet] = core.takeOutput().packets
    assert.ok(packet?.reliable)
    const [chunk] = packet.content.messages
    assert.deepEqual(chunk?.kind === 'chunk' ? chunk.bytes : undefined, long)
  })

  test('are kept and fetched within the limit of the cache, and what nobody holds any more makes room', () => {
    const core = makeCore({ maximumMetadataCacheBytes: 10_000 })
    const announce = (nodeId: string, version: number, bytes: Uint8Array): void => {
      const statement = said(nodeId, version, [...bytes])
      const { metadataBytes, metadataChecksum } = statement
      const bare = statement.with({ metadata: new Uint8Array(0), metadataBytes, metadataChecksum })
      hear(core, nodeId, 0, { kind: 'alive', statement: bytes.length > 512 ? bare : statement })
    }
    const fetchAll = (untilMs: number): void => {
      for (let at = core.nextDeadlineMs(); at < untilMs; at = core.nextDeadlineMs()) {
        core.advanceTo(at)
        for (const { message } of sentOf(core, 'fetch')) {
          const { nodeId, version, offset } = message
          const bytes = long.subarray(offset, offset + 1_000)
          hear(core, nodeId, at, { kind: 'chunk', nodeId, version, offset, bytes })
          assert.ok(core.metadataPull.cachedBytes <= 10_000)
        }
      }
    }
    const whole = (): string[] =>
      core.members().flatMap(({ nodeId, metadata }) => (metadata.length > 512 ? [nodeId] : []))
    for (const nodeId of ['a', 'b', 'c', 'd', 'e']) announce(nodeId, 1, long)
    fetchAll(10_000)
    assert.deepEqual(whole(), ['a', 'b', 'c'], 'three fit')
    assert.equal(core.counters.metadataRefused, 2)
    // One says something else as long: it takes the place of what it said before.
    announce('a', 2, long.toReversed())
    announce('a', 3, long)
    // Another one says nothing long any more.
    announce('b', 2, new Uint8Array(3))
    announce('d', 2, long)
    fetchAll(20_000)
    assert.deepEqual(whole(), ['a', 'c', 'd'])
    assert.equal(core.metadataPull.cachedBytes, 9_000)
  })

  test('above the limit are neither said nor pulled', () => {
    assert.throws(() => makeCore({ maximumMetadataBytes: 2_000 }, { metadata: long }), {
      code: 'LIMIT_EXCEEDED',
    })
    const core = makeCore({ maximumMetadataBytes: 2_000 })
    const statement = said('a', 1).with({
      metadata: new Uint8Array(0),
      metadataBytes: 3_000,
      metadataChecksum: 1,
    })
    hear(core, 'a', 0, { kind: 'alive', statement })
    assert.equal(core.member('a')?.state, 'alive')
    runTo(core, 5_000)
    assert.equal(sentOf(core, 'fetch').length, 0)
  })
})

suite('coordinates', () => {
  test('places on a line find their distances', () => {
    const random = new SeededRandom(4)
    const at = [0, 10, 25, 60, 100]
    const places = at.map(() => new VivaldiPlace())
    for (let round = 0; round < 4_000; round++) {
      const [i, j] = [random.integer(5), random.integer(5)]
      if (i === j) continue
      const roundTripMs = Math.abs((at[i] as number) - (at[j] as number)) + 1 + random.float()
      places[i]?.observe((places[j] as VivaldiPlace).coordinate, roundTripMs, random)
    }
    for (const [i, j] of [
      [0, 4],
      [0, 1],
      [2, 3],
    ] as const) {
      const expected = Math.abs((at[i] as number) - (at[j] as number)) + 1.5
      const found = distanceMs((places[i] as VivaldiPlace).coordinate, (places[j] as VivaldiPlace).coordinate)
      assert.ok(Math.abs(found - expected) < expected * 0.25 + 1, `${i} to ${j}: ${found}, not ${expected}`)
    }
  })

  test('impossible round trips move nobody', () => {
    const place = new VivaldiPlace()
    const before = place.coordinate
    const there = { vector: [5, 0, 0, 0, 0, 0, 0, 0], heightMs: 0, error: 0.1 }
    for (const roundTripMs of [-1, Number.NaN, 1e9, Number.POSITIVE_INFINITY]) {
      place.observe(there, roundTripMs, new SeededRandom(1))
    }
    place.observe({ ...there, vector: [Number.NaN] }, 5, new SeededRandom(1))
    assert.deepEqual(place.coordinate, before)
  })
})

suite('a snapshot', () => {
  test('keeps its bytes, and those of earlier releases are read', () => {
    const { content, first, second, third, fourth } = goldenSnapshot
    const old = { ...content, forgotten: 0 }
    assert.deepEqual(decodeSnapshot(second), old)
    assert.deepEqual(decodeSnapshot(third), old)
    assert.deepEqual(decodeSnapshot(fourth), content)
    assert.deepEqual(encodeSnapshot(content), fourth)
    const { version, clock, addresses } = content
    const bare = {
      version,
      clock,
      addresses,
      ownRemoval: 0,
      admitted: [],
      removed: [],
      heard: [],
      forgotten: 0,
    }
    assert.deepEqual(decodeSnapshot(first), bare)
    const later = fourth.slice()
    later[0] = 5
    assert.throws(() => decodeSnapshot(later), { code: 'FORMAT_VERSION' })
  })

  test('that is damaged anywhere, or cut off, is not believed', () => {
    const { fourth } = goldenSnapshot
    for (let at = 1; at < fourth.length; at++) {
      const damaged = fourth.slice()
      damaged[at] = (damaged[at] as number) ^ 0x10
      assert.throws(() => decodeSnapshot(damaged), { code: 'CORRUPTION' }, `byte ${at}`)
      assert.throws(() => decodeSnapshot(fourth.subarray(0, at)), { code: 'CORRUPTION' }, `${at} bytes`)
    }
    const unchecked = fourth.slice()
    unchecked[0] = 2
    assert.throws(() => decodeSnapshot(unchecked), { code: 'MALFORMED' })
    const core = makeCore()
    assert.throws(() => core.restore(fourth.subarray(0, 30), [], 0), { code: 'CORRUPTION' })
    assert.equal(core.self.version, 0)
  })

  test('brings a node back above what it said, to where its members were', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1))
    hear(core, 'a', 1, { kind: 'suspect', nodeId: 'self', version: 4, accuser: 'b' })
    core.tell('x', payload, 2)
    const bytes = core.snapshot()
    assert.deepEqual(new Set(decodeSnapshot(bytes).addresses), new Set(['a:1', 'b:1']))
    const again = makeCore({}, { incarnation: 2 })
    again.restore(bytes, ['s:1'], 0)
    assert.equal(again.self.version, 6)
    assert.deepEqual(new Set(sentOf(again, 'offer').map(({ to }) => to)), new Set(['s:1', 'a:1', 'b:1']))
    assert.throws(() => makeCore().restore(new Uint8Array([9]), [], 0), { code: 'FORMAT_VERSION' })
    const far = encodeSnapshot({ ...decodeSnapshot(bytes), version: 2 ** 53 - 1 })
    assert.throws(() => makeCore().restore(far, [], 0), { code: 'MALFORMED' })
  })

  test('of an earlier release is read', () => {
    const before = new Uint8Array([1, 4, 7, 1, 3, 0x61, 0x3a, 0x31])
    const { version, clock, addresses, removed } = decodeSnapshot(before)
    assert.deepEqual(
      { version, clock, addresses, removed },
      { version: 4, clock: 7, addresses: ['a:1'], removed: [] },
    )
  })

  test('keeps from hearing thousands of things twice, however few of them it may still name', () => {
    const many = (from: number, to: number, nodeId = 'a'): SwimMessage[] =>
      Array.from({ length: to - from }, (_, i) => {
        const id = from + i + 1
        return { kind: 'event', origin: nodeId, time: 1 + ((from + i) >> 3), id, name: 'x', payload } as const
      })
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), ...many(0, 2_000))
    assert.equal(core.takeOutput().deliveries.length, 2_000)
    const again = makeCore({}, { incarnation: 2 })
    again.restore(core.snapshot(), [], 0)
    hear(again, 'a', 1, ...many(0, 5_000))
    assert.equal(again.takeOutput().deliveries.length, 3_000, 'none of those from before, and all others')
    const third = makeCore({}, { incarnation: 3 })
    third.restore(again.snapshot(), [], 0)
    hear(third, 'a', 2, ...many(0, 5_008))
    assert.equal(third.takeOutput().deliveries.length, 8)
  })

  test('keeps from hearing things twice', () => {
    const core = makeCore()
    const [old, late] = [7, 8].map(
      (id) => ({ kind: 'event', origin: 'a', time: id, id, name: 'x', payload }) as const,
    )
    hear(core, 'a', 0, alive('a', 1), old as SwimMessage)
    const again = makeCore({}, { incarnation: 2 })
    again.restore(core.snapshot(), [], 0)
    hear(again, 'a', 1, old as SwimMessage, late as SwimMessage)
    assert.deepEqual(
      again.takeOutput().deliveries.map(({ id }) => id),
      [8],
    )
  })

  test('of a node that said goodbye holds nobody', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    core.leave(1)
    assert.deepEqual(decodeSnapshot(core.snapshot()).addresses, [])
  })
})
