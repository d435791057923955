import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { SwimCore } from '../../../src/swim/core/swim-core.ts'
import { alive, happened, hear, makeCore, proofFor, runTo, said, sent, sentOf } from '../support/core.ts'

/** Runs to the next probe of a core whose peers it is about; the ping, and when it was sent. */
function nextPing(core: SwimCore): { to: string; sequence: number; target: string; atMs: number } {
  for (;;) {
    const atMs = core.nextDeadlineMs()
    core.advanceTo(atMs)
    const [ping] = sentOf(core, 'ping')
    if (ping !== undefined) return { to: ping.to, ...ping.message, atMs }
  }
}

suite('probes', () => {
  test('each member comes once a round, in periods', () => {
    const core = makeCore()
    const names = ['a', 'b', 'c', 'd', 'e']
    hear(core, 'a', 0, ...names.map((name) => alive(name, 1)))
    const rounds = Array.from({ length: 3 }, () =>
      names.map(() => {
        const { target, sequence, atMs } = nextPing(core)
        hear(core, target, atMs + 1, { kind: 'ack', sequence, responder: target })
        return target
      }),
    )
    // The first round was drawn as the members came in one by one; a round after it holds each once.
    for (const round of rounds) assert.deepEqual(round.slice().sort(), names)
    assert.equal(core.localHealth, 0)
    assert.deepEqual(
      happened(core).filter((what) => what.startsWith('suspected')),
      [],
    )
  })

  test('without an answer others are asked, and then it is suspected', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1), alive('c', 1), alive('d', 1))
    const { target, atMs, sequence } = nextPing(core)
    runTo(core, atMs + 499)
    assert.deepEqual(sentOf(core, 'indirectPing'), [])
    runTo(core, atMs + 500)
    const asked = sentOf(core, 'indirectPing')
    assert.equal(asked.length, 3)
    assert.ok(asked.every(({ message, to }) => message.target === target && to !== `${target}:1`))
    for (const { to } of asked) hear(core, to.slice(0, 1), atMs + 900, { kind: 'nack', sequence })
    runTo(core, atMs + 999)
    assert.equal(core.member(target)?.state, 'alive')
    runTo(core, atMs + 1_000)
    assert.equal(core.member(target)?.state, 'suspect')
    assert.equal(core.localHealth, 0, 'all helpers failed too and said so: it is not us')
  })

  test('helpers that keep silent speak against ourselves: interval and timeout grow', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1), alive('c', 1), alive('d', 1))
    const first = nextPing(core)
    runTo(core, first.atMs + 999)
    sent(core)
    const second = nextPing(core)
    assert.equal(core.localHealth, 3)
    runTo(core, second.atMs + 4 * 500 - 1)
    assert.deepEqual(sentOf(core, 'indirectPing'), [])
    runTo(core, second.atMs + 4 * 500)
    assert.equal(sentOf(core, 'indirectPing').length > 0, true)
    const third = nextPing(core)
    assert.equal(Math.round(third.atMs - second.atMs), 4_000)
  })

  test('an answer through a helper counts', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1), alive('c', 1))
    const { target, atMs, sequence } = nextPing(core)
    runTo(core, atMs + 500)
    const [helper] = sentOf(core, 'indirectPing')
    hear(core, helper?.to.slice(0, 1) ?? '', atMs + 600, { kind: 'ack', sequence, responder: target })
    runTo(core, atMs + 1_000)
    assert.equal(core.member(target)?.state, 'alive')
  })

  test('an answer from somebody else, or to another question, does not', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1))
    const { target, atMs, sequence } = nextPing(core)
    const other = target === 'a' ? 'b' : 'a'
    hear(core, other, atMs + 1, { kind: 'ack', sequence, responder: other })
    hear(core, target, atMs + 2, { kind: 'ack', sequence: sequence + 1, responder: target })
    runTo(core, atMs + 1_000)
    assert.equal(core.member(target)?.state, 'suspect')
  })

  test('a ping for whoever had our address before is not answered', () => {
    const core = makeCore()
    hear(core, 'a', 0, { kind: 'ping', sequence: 1, target: 'self' })
    assert.equal(sentOf(core, 'ack').length, 1)
    hear(core, 'a', 1, { kind: 'ping', sequence: 2, target: 'predecessor' })
    assert.equal(sentOf(core, 'ack').length, 0)
  })

  test('a helper pings for another, passes the answer on, and says when there is none', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1))
    sent(core)
    hear(core, 'a', 1, { kind: 'indirectPing', sequence: 77, target: 'b', patienceMs: 500 })
    const [ping] = sentOf(core, 'ping')
    assert.equal(ping?.to, 'b:1')
    hear(core, 'b', 2, { kind: 'ack', sequence: ping?.message.sequence ?? 0, responder: 'b' })
    assert.deepEqual(
      sentOf(core, 'ack').map(({ to, message }) => [to, message.sequence, message.responder]),
      [['a:1', 77, 'b']],
    )
    hear(core, 'a', 10, { kind: 'indirectPing', sequence: 78, target: 'b', patienceMs: 500 })
    runTo(core, 10 + 399)
    assert.deepEqual(sentOf(core, 'nack'), [])
    runTo(core, 10 + 400)
    assert.deepEqual(
      sentOf(core, 'nack').map(({ to, message }) => [to, message.sequence]),
      [['a:1', 78]],
    )
    hear(core, 'a', 500, { kind: 'indirectPing', sequence: 79, target: 'stranger', patienceMs: 500 })
    assert.equal(sentOf(core, 'nack').length, 1, 'nobody makes us send packets to a third party')
  })

  test('a suspect hears of it first of all, also when we ask for another', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1))
    hear(core, 'a', 1, { kind: 'suspect', nodeId: 'b', version: 1, accuser: 'a' })
    runTo(core, 900)
    sent(core)
    hear(core, 'a', 901, { kind: 'indirectPing', sequence: 5, target: 'b', patienceMs: 500 })
    const relayed = sent(core).filter(({ to }) => to === 'b:1')
    assert.deepEqual(
      relayed.slice(0, 2).map(({ message }) => message.kind),
      ['suspect', 'ping'],
    )
    core.suspectLocally('b', 902)
    const [update, ping] = sent(core).filter(({ to }) => to === 'b:1')
    assert.equal(update?.message.kind, 'suspect')
    assert.equal(ping?.message.kind, 'ping')
  })

  test('a process that was stopped holds it against nobody else', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1), alive('c', 1), alive('d', 1))
    const { atMs } = nextPing(core)
    hear(core, 'a', atMs, { kind: 'suspect', nodeId: 'b', version: 1, accuser: 'a' })
    const wokeMs = atMs + 60_000
    core.advanceTo(wokeMs)
    assert.equal(core.counters.stalls, 1)
    assert.deepEqual(
      happened(core).filter((what) => what.startsWith('failed')),
      [],
    )
    assert.equal(core.counters.failedProbes, 0)
    hear(core, 'b', wokeMs + 10, alive('b', 2))
    assert.equal(core.member('b')?.state, 'alive')
  })

  test('alone, nothing is planned', () => {
    const core = makeCore()
    assert.equal(core.nextDeadlineMs(), Number.POSITIVE_INFINITY)
  })
})

suite('the exchange of views', () => {
  test('equal views are silent, and of different ones only the difference travels', () => {
    const one = makeCore()
    const names = Array.from({ length: 200 }, (_, i) => `m${i}`)
    for (const name of names) hear(one, 'a', 0, alive(name, 1))
    sent(one)
    const buckets = one.membership.table.buckets.slice()
    hear(one, 'a', 1, proofFor(one, 1), { kind: 'offer', buckets, clock: 0, news: 0 })
    assert.deepEqual(sentOf(one, 'state'), [])
    hear(one, 'a', 2, alive('m7', 2))
    sent(one)
    hear(one, 'a', 3, proofFor(one, 3), { kind: 'offer', buckets, clock: 0, news: 0 })
    const states = sentOf(one, 'state')
    const records = states.flatMap(({ message }) => message.records)
    assert.ok(records.length < 30, `${records.length} of 200`)
    assert.ok(records.some(({ statement }) => statement.nodeId === 'm7' && statement.version === 2))
    assert.equal(states[0]?.message.wantReturn, true)
  })

  test('a death that only the exchange tells of is a suspicion, and a goodbye is a goodbye', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1), alive('c', 1))
    const record = { version: 1, accusedVersion: 1, ageMs: 5, accuser: '' }
    hear(core, 'a', 1, {
      kind: 'state',
      mask: 0,
      wantReturn: false,
      records: [
        { ...record, statement: said('b', 1), state: 'dead' },
        { ...record, statement: said('c', 1), state: 'left' },
        { ...record, statement: said('d', 1), state: 'dead' },
      ],
    })
    assert.equal(core.member('b')?.state, 'suspect')
    assert.equal(core.member('c')?.state, 'left')
    assert.equal(core.member('d')?.state, 'dead')
    assert.ok(!happened(core).includes('failed d'), 'nobody fails whom we never knew')
  })

  test('who brings an accusation in an exchange is no witness of it', () => {
    const core = makeCore({ suspicionMultiplier: 5 })
    const known = Array.from({ length: 20 }, (_, i) => alive(`m${i}`, 1))
    hear(core, 'm0', 0, ...known)
    const record = {
      version: 1,
      accusedVersion: 1,
      ageMs: 0,
      state: 'suspect',
      statement: said('m9', 1),
    } as const
    for (const bringer of ['m0', 'm1', 'm2', 'm3'])
      hear(core, bringer, 1, {
        kind: 'state',
        mask: 0,
        wantReturn: false,
        records: [{ ...record, accuser: 'm7' }],
      })
    assert.deepEqual(core.explain('m9', 2)?.accusedBy, ['m7'])
    const suspicions = sentOf(core, 'suspect').map(({ message }) => message)
    assert.ok(suspicions.every(({ accuser }) => accuser === 'm7'))
    const buckets = new Uint32Array(32)
    hear(core, 'm0', 3, proofFor(core, 3), { kind: 'offer', buckets, clock: 0, news: 0 })
    const told = sentOf(core, 'state').flatMap(({ message }) => message.records)
    assert.equal(told.find(({ statement }) => statement.nodeId === 'm9')?.accuser, 'm7')
  })

  test('one packet is answered a few times only', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    const pings = Array.from(
      { length: 40 },
      (_, i) => ({ kind: 'ping', sequence: i, target: 'self' }) as const,
    )
    hear(core, 'a', 1, ...pings)
    assert.equal(sentOf(core, 'ack').length, 16)
    assert.equal(core.counters.requestsRefused, 24)
  })

  test('an introduction that is too long for one packet goes in two, and one that never fits is refused', () => {
    const label = 'l'.repeat(64)
    const address = `${'h'.repeat(230)}:7946`
    const token = new Uint8Array(256)
    const more = { label, address, token, nodeId: 'n'.repeat(64), metadata: new Uint8Array(512) }
    assert.throws(() => makeCore({ maximumPacketBytes: 1_150 }, more), { code: 'LIMIT_EXCEEDED' })
    const core = makeCore({ maximumPacketBytes: 1_300 }, more)
    core.join(['x:1'], 0)
    const { packets } = core.takeOutput()
    assert.deepEqual(
      packets.map(({ content }) => content.messages[0]?.kind),
      ['hello', 'challenge'],
    )
    assert.equal(packets[0]?.content.messages[1]?.kind, 'alive', 'who asks to be let in says who it is')
    assert.ok(packets.every(({ bytes }) => bytes.length <= 1_300))
    const fits = makeCore({ maximumPacketBytes: 1_150 }, { ...more, token: new Uint8Array(8), label: 'l' })
    fits.join(['x:1'], 0)
    assert.ok(fits.takeOutput().packets.every(({ bytes }) => bytes.length <= 1_150))
  })

  test('seeds are asked until one answers, ever more rarely', () => {
    const core = makeCore()
    core.join(['x:1', 'self:1', 'x:1'], 0)
    const times: number[] = []
    for (let at = 0; at < 200_000; at = core.nextDeadlineMs()) {
      core.advanceTo(at)
      const offers = sentOf(core, 'offer')
      assert.ok(offers.every(({ to }) => to === 'x:1'))
      if (offers.length > 0) times.push(at)
    }
    assert.ok(times.length >= 8 && times.length < 30, `${times.length} attempts`)
    assert.ok((times[1] ?? 0) <= 1_500)
    hear(core, 'x', 200_001, alive('x', 1))
    sent(core)
    runTo(core, 203_000)
    assert.deepEqual(
      sentOf(core, 'offer').map(({ to }) => to),
      ['x:1'],
      'the first exchange with a new peer, and no more search',
    )
  })

  test('answers have a budget, which a flood of questions spends', () => {
    const core = makeCore({ maximumSyncBytesPerSecond: 16_384 })
    for (let i = 0; i < 200; i++) hear(core, 'a', 0, alive(`m${i}`, 1))
    const buckets = new Uint32Array(32)
    for (let i = 0; i < 100; i++)
      hear(core, 'a', 1, proofFor(core, 1), { kind: 'offer', buckets, clock: 0, news: 0 })
    assert.ok(core.counters.requestsRefused > 90)
    hear(core, 'a', 5_000, proofFor(core, 5_000), { kind: 'offer', buckets, clock: 0, news: 0 })
    assert.ok(core.counters.requestsRefused < 100)
    for (let i = 0; i < 100; i++)
      hear(core, 'a', 5_001, proofFor(core, 5_001), { kind: 'offer', buckets, clock: 0, news: 0 })
    sent(core)
    hear(core, 'a', 5_002, proofFor(core, 5_002), { kind: 'recall' })
    assert.deepEqual(sent(core), [], 'one budget for all that is asked for')
  })
})
