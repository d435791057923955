import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { encodePacket } from '../../../src/swim/core/codec.ts'
import { Statement } from '../../../src/swim/core/statement.ts'
import { SwimCore } from '../../../src/swim/core/swim-core.ts'
import { lanProfile } from '../../../src/swim/core/tuning.ts'
import { alive, hear, makeCore, proofFor, runTo, type SentOf, sent, sentOf } from '../support/core.ts'

suite('the core', () => {
  test('bad packets are counted by what is wrong with them, and change nothing', () => {
    const core = makeCore()
    const sender = { nodeId: 'a', incarnation: 1, version: 0 }
    core.receive('a:1', new Uint8Array([2, 2, 3]), 0)
    core.receive('a:1', encodePacket('another', sender, [alive('a', 1)]), 0)
    const future = encodePacket('test', sender, [alive('a', 1)])
    future[0] = 9
    core.receive('a:1', future, 0)
    const { malformed, foreign, unknownProtocol } = core.counters
    assert.deepEqual(
      { malformed, foreign, unknownProtocol },
      { malformed: 1, foreign: 1, unknownProtocol: 1 },
    )
    assert.equal(core.members().length, 1)
  })

  test('random and damaged packets neither throw nor plan a deadline in the past', () => {
    const random = new SeededRandom(3)
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1))
    const good = encodePacket('test', { nodeId: 'a', incarnation: 1, version: 1 }, [
      { kind: 'ping', sequence: 1, target: 'self' },
      alive('c', 1, [1, 2, 3]),
      { kind: 'suspect', nodeId: 'self', version: 0, accuser: 'b' },
      { kind: 'offer', buckets: new Uint32Array(32), clock: 0, news: 0 },
    ])
    for (let i = 1; i <= 5_000; i++) {
      const bytes = good.slice()
      for (let flips = random.integer(4); flips > 0; flips--)
        bytes[random.integer(bytes.length)] = random.integer(256)
      core.receive('a:1', bytes, i)
      core.advanceTo(i)
      assert.ok(core.nextDeadlineMs() > i)
      core.takeOutput()
    }
    assert.ok(core.members().length < 10_001)
    assert.equal(core.self.state, 'alive')
  })

  test('metadata above the limit is refused', () => {
    const core = makeCore()
    assert.throws(() => core.setMetadata(new Uint8Array(65_537), 0), { code: 'LIMIT_EXCEEDED' })
    core.setMetadata(new Uint8Array(512), 0)
    assert.equal(core.self.version, 1)
    const options = {
      nodeId: 'a',
      incarnation: 1,
      address: 'a:1',
      metadata: new Uint8Array(65_537),
      label: 'test',
      tuning: lanProfile,
      random: new SeededRandom(1),
      nowMs: 0,
    }
    assert.throws(() => new SwimCore(options), { code: 'LIMIT_EXCEEDED' })
  })

  test('the longest records fit into the smallest packets', () => {
    const core = makeCore({ maximumPacketBytes: 1_150 })
    const name = (i: number): string => `${'n'.repeat(60)}${i}`.padEnd(64, 'x')
    for (let i = 0; i < 40; i++) {
      hear(core, 'a', 0, {
        kind: 'alive',
        statement: new Statement({
          nodeId: name(i),
          incarnation: Number.MAX_SAFE_INTEGER,
          version: 2 ** 32,
          address: `${'h'.repeat(240)}:65535`,
          metadata: new Uint8Array(512),
        }),
      })
    }
    assert.equal(core.members().length, 41)
    hear(core, 'a', 1, proofFor(core, 1), { kind: 'offer', buckets: new Uint32Array(32), clock: 0, news: 0 })
    runTo(core, 200)
    const { packets } = core.takeOutput()
    assert.ok(packets.length >= 40)
    for (const { bytes } of packets) assert.ok(bytes.length <= 1_150, `${bytes.length} bytes`)
  })

  test('a copy behaves as the original would, and does not touch it', () => {
    const random = new SeededRandom(9)
    const core = new SwimCore({
      nodeId: 'self',
      incarnation: 1,
      address: 'self:1',
      metadata: new Uint8Array(0),
      label: 'test',
      tuning: lanProfile,
      random,
      nowMs: 0,
    })
    core.join(['s:1'], 0)
    for (let i = 0; i < 20; i++) hear(core, 'a', 0, alive(`m${i}`, 1))
    hear(core, 'a', 1, { kind: 'suspect', nodeId: 'm3', version: 1, accuser: 'a' })
    hear(core, 'a', 1, { kind: 'left', nodeId: 'm4', incarnation: 1, version: 1 })
    hear(core, 'a', 1, { kind: 'indirectPing', sequence: 1, target: 'm5', patienceMs: 500 })
    runTo(core, 2_700)
    core.takeOutput()
    const copy = core.clone(random.clone())
    const run = (each: SwimCore): unknown => {
      hear(each, 'b', 2_701, alive('b', 1), { kind: 'suspect', nodeId: 'm3', version: 1, accuser: 'b' })
      runTo(each, 90_000)
      return { sent: sent(each), members: each.members(), counters: each.counters, digest: each.viewDigest }
    }
    const before = core.members()
    const ofCopy = run(copy)
    assert.deepEqual(core.members(), before)
    assert.deepEqual(run(core), ofCopy)
  })

  test('explains what it holds of each', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1), alive('c', 1), alive('d', 1), alive('e', 1))
    hear(core, 'b', 1_000, { kind: 'suspect', nodeId: 'a', version: 1, accuser: 'b' })
    hear(core, 'b', 1_000, { kind: 'left', nodeId: 'd', incarnation: 1, version: 1 })
    const suspect = core.explain('a', 3_000)
    assert.equal(
      suspect?.text,
      'a has been suspect for 2.0 s, because b got no answer from it; it will be declared dead in 22.0 s unless it refutes; 2 more accusers would shorten that',
    )
    assert.deepEqual(suspect?.accusedBy, ['b'])
    assert.equal(suspect?.declaredDeadInMs, 22_000)
    assert.equal(core.explain('c', 3_000)?.text, 'c has been alive for 3.0 s')
    assert.equal(core.explain('d', 3_000)?.text, 'd said goodbye 2.0 s ago')
    assert.equal(core.explain('self', 3_000)?.text, 'self is this node')
    assert.equal(core.explain('nobody', 3_000), undefined)
    hear(core, 'b', 4_000, { kind: 'dead', nodeId: 'a', version: 1, accuser: 'b' })
    assert.equal(
      core.explain('a', 5_000)?.text,
      'a was declared dead 1.0 s ago, because b got no answer from it',
    )
  })

  test('explains by what path: who told us, who confirmed, whom we asked to try, and who brought the answer', () => {
    // It has asked a, and then b, c and d to try.
    const asking = (): { core: SwimCore; sequence: number; nowMs: number } => {
      const core = makeCore()
      hear(core, 'a', 0, alive('a', 1))
      let nowMs = 0
      const until = (kind: 'ping' | 'indirectPing'): SentOf<'ping'>[] => {
        for (;;) {
          nowMs = core.nextDeadlineMs()
          core.advanceTo(nowMs)
          const found = sentOf(core, kind)
          if (found.length > 0) return found as SentOf<'ping'>[]
        }
      }
      const sequence = until('ping')[0]?.message.sequence ?? 0
      hear(core, 'b', nowMs + 1, alive('b', 1), alive('c', 1), alive('d', 1))
      const asked = until('indirectPing')
      assert.deepEqual(asked.map(({ to }) => to).sort(), ['b:1', 'c:1', 'd:1'])
      return { core, sequence, nowMs }
    }
    const { core, sequence, nowMs } = asking()
    hear(core, 'c', nowMs + 1, { kind: 'nack', sequence })
    hear(core, 'd', nowMs + 1, { kind: 'nack', sequence })
    while (core.member('a')?.state === 'alive') core.advanceTo(core.nextDeadlineMs())
    hear(core, 'd', nowMs + 2_000, { kind: 'suspect', nodeId: 'a', version: 1, accuser: 'c' })
    const told = core.explain('a', nowMs + 2_500)
    assert.deepEqual(told?.accusedBy, ['self', 'c'])
    assert.deepEqual(
      told?.accusations.map(({ accuser, toldBy }) => [accuser, toldBy]),
      [
        ['self', 'self'],
        ['c', 'd'],
      ],
    )
    assert.deepEqual([...(told?.failedProbe?.relays ?? [])].sort(), ['b', 'c', 'd'])
    assert.deepEqual(told?.failedProbe?.silentRelays, ['b'])
    assert.match(told?.text ?? '', /because self got no answer from it, which c \(as d told us\) confirmed;/)
    assert.match(
      told?.text ?? '',
      /asked it directly and by way of .* ago, and heard nothing from b either, so that its own paths may be bad/,
    )
    const again = asking()
    const { sequence: same } = again
    hear(again.core, 'c', again.nowMs + 1, { kind: 'ack', sequence: same, responder: 'a' })
    const answered = again.core.explain('a', again.nowMs + 1)
    assert.deepEqual(answered?.answeredBy, { kind: 'relay', by: 'c' })
    assert.match(answered?.text ?? '', /it last answered us 0\.0 s ago, by way of c$/)
  })
})
