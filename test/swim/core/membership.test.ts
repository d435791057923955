import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { versionsInAdmission } from '../../../src/swim/core/expulsion.ts'
import { maximumVersionStep } from '../../../src/swim/core/membership.ts'
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

suite('which statement beats which', () => {
  test('of a member about itself only a newer one counts', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 3, [1]))
    assert.deepEqual(happened(core), ['joined a'])
    hear(core, 'a', 1, alive('a', 3, [2]), alive('a', 2, [3]))
    assert.deepEqual(happened(core), [])
    assert.deepEqual([...(core.member('a')?.metadata ?? [])], [1])
    hear(core, 'a', 2, alive('a', 4, [4]))
    assert.deepEqual(happened(core), ['updated a'])
  })

  test('at one version left beats dead beats suspect beats alive', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), alive('b', 1))
    hear(core, 'b', 1, { kind: 'suspect', nodeId: 'a', version: 1, accuser: 'b' }, alive('a', 1))
    assert.equal(core.member('a')?.state, 'suspect')
    hear(core, 'b', 2, { kind: 'dead', nodeId: 'a', version: 1, accuser: 'b' })
    hear(core, 'b', 3, alive('a', 1), { kind: 'suspect', nodeId: 'a', version: 1, accuser: 'b' })
    assert.equal(core.member('a')?.state, 'dead')
    hear(core, 'b', 4, { kind: 'left', nodeId: 'a', incarnation: 1, version: 1 })
    hear(core, 'b', 5, { kind: 'dead', nodeId: 'a', version: 1, accuser: 'b' }, alive('a', 1))
    assert.equal(core.member('a')?.state, 'left')
    assert.deepEqual(happened(core), ['joined a', 'joined b', 'suspected a', 'failed a', 'left a'])
    hear(core, 'a', 6, alive('a', 2))
    assert.deepEqual(happened(core), ['joined a'])
  })

  test('accusations of an older version are void, and those of a newer one outlive an older answer', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 5))
    hear(core, 'b', 1, { kind: 'suspect', nodeId: 'a', version: 4, accuser: 'b' })
    hear(core, 'b', 1, { kind: 'dead', nodeId: 'a', version: 4, accuser: 'b' })
    assert.equal(core.member('a')?.state, 'alive')
    hear(core, 'b', 2, { kind: 'suspect', nodeId: 'a', version: 7, accuser: 'b' })
    hear(core, 'b', 3, alive('a', 7, [7]))
    assert.equal(core.member('a')?.state, 'suspect', 'the statement in doubt is no answer to the doubt')
    assert.deepEqual([...(core.member('a')?.metadata ?? [])], [7])
    hear(core, 'a', 4, alive('a', 8, [7]))
    assert.equal(core.member('a')?.state, 'alive')
  })

  test('a death that was heard of first keeps late news of the life before it out', () => {
    const core = makeCore()
    hear(core, 'b', 0, { kind: 'left', nodeId: 'a', incarnation: 1, version: 3 })
    hear(core, 'b', 1, alive('a', 3), alive('a', 2))
    assert.deepEqual(happened(core), [])
    assert.equal(core.member('a')?.state, 'left')
  })

  test('a forged version far ahead is refused, about us and about others', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    hear(core, 'b', 1, alive('a', 2 + maximumVersionStep), alive('c', 1 + maximumVersionStep))
    hear(core, 'b', 2, { kind: 'dead', nodeId: 'a', version: Number.MAX_SAFE_INTEGER, accuser: 'b' })
    hear(core, 'b', 3, { kind: 'suspect', nodeId: 'self', version: Number.MAX_SAFE_INTEGER, accuser: 'b' })
    assert.equal(core.member('a')?.version, 1)
    assert.equal(core.member('a')?.state, 'alive')
    assert.equal(core.member('c'), undefined)
    assert.equal(core.self.version, 0)
  })

  test('tombstones are forgotten after their time', () => {
    const core = makeCore({ tombstoneMs: 5_000 })
    hear(core, 'b', 100, { kind: 'left', nodeId: 'a', incarnation: 1, version: 3 })
    runTo(core, 5_099)
    assert.equal(core.member('a')?.state, 'left')
    runTo(core, 5_100)
    assert.equal(core.member('a'), undefined)
  })

  test('a removal outlasts tombstones, is told to newcomers, and holds for its life only', () => {
    const core = makeCore({ tombstoneMs: 5_000 })
    hear(core, 'a', 0, alive('a', 1), alive('b', 3))
    assert.ok(core.remove('b', 1))
    runTo(core, 600_000)
    assert.equal(core.member('b')?.state, 'left')
    // Above its removal too, as it would speak whose disk was restored.
    const back = { nodeId: 'b', incarnation: 1, version: versionsInAdmission + 5 }
    sent(core)
    hearAs(core, back, 600_001, alive('b', back.version), { kind: 'ping', sequence: 1, target: 'self' })
    const answers = sent(core).filter(({ to }) => to === 'b:1')
    assert.deepEqual(
      answers.map(({ message }) => message.kind),
      ['left', 'refusal'],
    )
    const b = makeCore({}, { nodeId: 'b', address: 'b:1' })
    for (const { message } of answers) hear(b, 'self', 600_002, message)
    assert.deepEqual(happened(b), ['removed b'])
    hear(core, 'a', 600_003, alive('b', back.version + 1))
    assert.equal(core.member('b')?.state, 'left')
    assert.equal(core.member('b')?.version, versionsInAdmission * 2 - 1, 'whoever took it in hears better')
    // An answer to an answer would never end.
    sent(core)
    hearAs(core, back, 600_004, { kind: 'refusal', reason: 'no' })
    assert.deepEqual(
      sent(core).filter(({ to }) => to === 'b:1'),
      [],
    )
    hear(
      core,
      'a',
      600_005,
      { kind: 'offer', buckets: new Uint32Array(32), clock: 0, news: 0 },
      proofFor(core, 600_005),
    )
    const record = sentOf(core, 'state')
      .flatMap(({ message }) => message.records)
      .find(({ statement }) => statement.nodeId === 'b')
    assert.ok(record !== undefined && record.ageMs < 5_000 && record.statement.incarnation === 1)
    // Another life takes the name, and the removed one still does not come back.
    const anew = said('b', versionsInAdmission * 2).with({ incarnation: 2 })
    hear(core, 'a', 600_006, { kind: 'alive', statement: anew })
    assert.equal(core.member('b')?.incarnation, 2)
    hear(core, 'a', 600_007, alive('b', versionsInAdmission * 2 + 9))
    assert.equal(core.member('b')?.incarnation, 2)
    const again = makeCore({}, { incarnation: 2 })
    again.restore(core.snapshot(), [], 0)
    hear(again, 'a', 1, alive('b', versionsInAdmission * 2 + 9))
    assert.equal(again.member('b'), undefined, 'nor after a restart of this node')
  })

  test('a removal that names another life than the one that is known ends that one', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1), { kind: 'alive', statement: said('b', 3).with({ incarnation: 9 }) })
    hear(core, 'a', 1, { kind: 'left', nodeId: 'b', incarnation: 1, version: versionsInAdmission - 1 })
    const passedOn = core.membership.updateAbout(core.membership.table.get('b') ?? assert.fail())
    assert.equal(passedOn.kind === 'left' ? passedOn.incarnation : 0, 1)
    const back = said('b', versionsInAdmission).with({ incarnation: 9 })
    hear(core, 'a', 2, { kind: 'alive', statement: back })
    assert.equal(core.member('b')?.state, 'alive')
  })

  test('removals make room last', () => {
    const core = makeCore({ maximumMembers: 4 })
    hear(core, 'b', 0, alive('b', 1), alive('r', 1))
    core.remove('r', 1)
    hear(core, 'b', 2, alive('c', 1), { kind: 'left', nodeId: 'c', incarnation: 1, version: 1 })
    hear(core, 'b', 3, alive('d', 1))
    assert.deepEqual(
      core
        .members()
        .map(({ nodeId }) => nodeId)
        .sort(),
      ['b', 'd', 'r', 'self'],
    )
    hear(core, 'b', 4, alive('e', 1))
    assert.equal(core.member('r'), undefined)
    hear(core, 'b', 5, alive('r', 5))
    assert.equal(core.member('r'), undefined, 'it is remembered without a place in the view')
  })

  test('the number of members is limited, and the dead make room', () => {
    const core = makeCore({ maximumMembers: 3 })
    hear(core, 'b', 0, alive('a', 1), alive('b', 1), alive('c', 1))
    assert.equal(core.member('c'), undefined)
    assert.equal(core.counters.membersRefused, 1)
    hear(core, 'b', 1, { kind: 'left', nodeId: 'a', incarnation: 1, version: 1 }, alive('c', 1))
    assert.equal(core.member('c')?.state, 'alive')
    assert.equal(core.member('a'), undefined)
  })
})

suite('about ourselves', () => {
  test('an accusation is refuted above its version, at once and to whoever brought it', () => {
    const core = makeCore()
    hear(core, 'b', 0, alive('b', 1))
    sent(core)
    hear(core, 'b', 1, { kind: 'suspect', nodeId: 'self', version: 4, accuser: 'c' })
    assert.equal(core.self.version, 5)
    assert.equal(core.localHealth, 1)
    const [answer] = sentOf(core, 'alive')
    assert.equal(answer?.to, 'b:1')
    assert.equal(answer?.message.statement.version, 5)
    hear(core, 'b', 2, { kind: 'dead', nodeId: 'self', version: 4, accuser: 'c' })
    assert.equal(core.self.version, 5, 'it was about an older version')
    assert.ok(
      sentOf(core, 'alive').some(({ to, message }) => to === 'b:1' && message.statement.version === 5),
      'but whoever brings it has not heard of the newer one',
    )
  })

  test('what a life before this one said is overruled, once and without alarm', () => {
    const core = makeCore({}, { incarnation: 2 })
    const before = alive('self', 6)
    hear(core, 'b', 0, before)
    hear(core, 'c', 1, before)
    assert.equal(core.self.version, 7)
    assert.deepEqual(happened(core), [])
  })

  test('another living process with our name is reported', () => {
    const core = makeCore({}, { incarnation: 2 })
    // Late news of an earlier life come out of order at most.
    for (const version of [6, 8, 10]) hear(core, 'b', version, alive('self', version))
    assert.deepEqual(happened(core), [])
    hear(core, 'b', 12, alive('self', 12))
    assert.deepEqual(happened(core), ['conflict self'])
    hear(core, 'b', 14, alive('self', 14))
    assert.deepEqual(happened(core), [], 'one vote at a time')
  })

  test('of two processes of one name the one that most knew first keeps it', () => {
    const vote = (
      ballots: readonly (readonly [voter: string, incarnation: number])[],
      lives = true,
    ): SwimCore => {
      const core = makeCore({}, { incarnation: 2 })
      hear(core, 'b', 0, alive('b', 1), alive('c', 1), alive('d', 1))
      for (const version of [6, 8, 10, 12]) hear(core, 'b', 1, alive('self', version))
      const contests = sentOf(core, 'contest')
      assert.deepEqual(contests.map(({ to }) => to).sort(), ['b:1', 'c:1', 'd:1', 'self:1'])
      const sequence = contests[0]?.message.sequence ?? 0
      for (const [voter, incarnation] of ballots)
        hear(core, voter, 2, { kind: 'ballot', sequence, incarnation, address: 'self:1' })
      if (lives) hear(core, 'b', 3, alive('self', 14))
      runTo(core, 3_000)
      return core
    }
    const winner = vote([
      ['b', 2],
      ['c', 1],
      ['d', 2],
    ])
    assert.ok(!winner.silent && winner.self.state === 'alive')
    const loser = vote([
      ['b', 1],
      ['b', 2],
      ['c', 1],
      ['d', 1],
      ['x', 7],
    ])
    assert.ok(loser.silent)
    assert.match(
      loser.takeOutput().events.find(({ reason }) => reason?.includes('votes'))?.reason ?? '',
      /other one, by 1 votes to 2/,
    )
    hear(loser, 'b', 4_000, { kind: 'ping', sequence: 1, target: 'self' })
    assert.throws(() => loser.tell('x', new Uint8Array(0), 4_000), { code: 'SUPERSEDED' })
    runTo(loser, 60_000)
    assert.deepEqual(sent(loser), [], 'not a word more')
    assert.match(loser.explain('self', 60_000)?.text ?? '', /another living process keeps its name/)
    assert.ok(loser.departed)
    // The rival's incarnation is 1, so a tie is its.
    const tie = [
      ['b', 1],
      ['c', 2],
      ['d', 7],
    ] as const
    assert.ok(vote(tie).silent)
    assert.ok(!vote(tie, false).silent, 'the rival has gone: nobody else needs the name')
    const missing = vote([['b', 1]])
    assert.ok(!missing.silent, 'one of three says nothing about the others')
    assert.match(
      missing.takeOutput().events.at(-1)?.reason ?? '',
      /only 1 of 3 members voted: another vote will follow/,
    )
  })

  test('a newcomer takes in a member that was expelled before, however often', () => {
    const core = makeCore()
    const version = versionsInAdmission * 100 + 3
    hear(core, 'b', 0, alive('b', version))
    assert.equal(core.member('b')?.state, 'alive')
    hear(core, 'c', 1, { kind: 'suspect', nodeId: 'b', version, accuser: 'c' })
    hear(core, 'b', 2, alive('b', version + 1))
    assert.equal(core.member('b')?.state, 'alive')
  })

  test('numbers beyond all counting neither end the version of a member nor silence it', () => {
    const core = makeCore()
    hear(core, 'b', 0, alive('b', 1), alive('c', 1))
    let nowMs = 1
    for (const version of [2 ** 40, 2 ** 44, 2 ** 50, 2 ** 52, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER]) {
      hear(core, 'b', nowMs++, { kind: 'suspect', nodeId: 'self', version, accuser: 'c' })
      hear(core, 'b', nowMs++, { kind: 'dead', nodeId: 'self', version, accuser: 'c' })
      hear(core, 'b', nowMs++, alive('self', version))
      hear(core, 'b', nowMs++, { kind: 'dead', nodeId: 'c', version, accuser: 'b' })
    }
    // One forged number moves it as far as a newcomer believes, and no further than it can speak above.
    assert.ok(core.self.version > 2 ** 40 && core.self.version < maximumVersionStep * 2)
    assert.equal(core.self.state, 'alive')
    hear(core, 'c', nowMs, alive('c', 2 ** 44 + 2))
    assert.equal(core.member('c')?.state, 'alive')
    const judge = makeCore({}, { nodeId: 'judge', address: 'judge:1' })
    hear(judge, 'b', 0, alive('self', 1))
    for (let version = maximumVersionStep; version <= core.self.version; version *= 2)
      hear(judge, 'b', 1, alive('self', Math.min(version, core.self.version)))
    hear(judge, 'b', 2, alive('self', core.self.version))
    assert.equal(judge.member('self')?.version, core.self.version)
  })

  test('a member that was expelled and forgotten does not stand for a bad network', () => {
    const flap = (core: SwimCore, nodeId: string, nowMs: number): void => {
      for (let i = 0; i < 4; i++) {
        const version = (core.member(nodeId)?.version ?? 0) + i
        hear(core, 'a', nowMs + i, {
          kind: 'suspect',
          nodeId,
          version,
          accuser: ['a', 'b', 'c', 'd'][i] ?? 'a',
        })
        hear(core, nodeId, nowMs + i, alive(nodeId, version + 1))
      }
    }
    const names = ['a', 'b', 'c', 'd', 'e', 'f']
    const core = makeCore({ tombstoneMs: 5_000, expelWindowMs: 1_000 })
    hear(core, 'a', 0, ...names.map((name) => alive(name, 1)))
    flap(core, 'e', 10)
    assert.ok(core.explain('e', 20)?.expelled)
    flap(core, 'f', 3_010)
    assert.equal(core.explain('f', 3_020)?.expelled, false, 'two of seven at once: the network is bad')
    core.membership.table.expire(6_000)
    assert.equal(core.member('e'), undefined)
    flap(core, 'f', 6_010)
    assert.ok(core.explain('f', 6_020)?.expelled)
  })

  test('another process that asks for a vote about our name is heard at once', () => {
    const core = makeCore({}, { incarnation: 2 })
    hear(core, 'b', 0, alive('b', 1))
    hear(core, 'self', 1, alive('self', 6), { kind: 'contest', sequence: 9 })
    assert.deepEqual(happened(core), ['joined b', 'conflict self'])
    const calm = makeCore({}, { incarnation: 1 })
    hear(calm, 'self', 1, alive('self', 6), { kind: 'contest', sequence: 9 })
    assert.deepEqual(happened(calm), [], 'what we said ourselves comes back')
  })

  test('two processes of one name that know each other only find out, and one goes on', () => {
    const talk = (cores: readonly SwimCore[], untilMs: number): string[] => {
      const told: string[] = []
      for (let nowMs = 0; nowMs <= untilMs; nowMs += 10) {
        let moved = 0
        for (const core of cores) core.advanceTo(nowMs)
        for (let rounds = 0; rounds < 40; rounds++) {
          for (const core of cores) {
            const { packets, events } = core.takeOutput()
            for (const { type, reason } of events)
              if (type === 'conflict') told.push(`${core.self.address} ${reason}`)
            for (const { to, bytes } of packets) {
              const receiver = cores.find(({ self }) => self.address === to)
              receiver?.receive(core.self.address, bytes, nowMs)
              moved++
            }
          }
        }
        assert.ok(moved < 200, `${moved} packets at once`)
      }
      return told
    }
    const twin = (address: string, incarnation: number): SwimCore =>
      makeCore({}, { nodeId: 'n', address, incarnation })
    for (const incarnation of [1, 9]) {
      const [first, second] = [twin('n:1', 5), twin('n:2', incarnation)]
      second.join(['n:1'], 0)
      const told = talk([first, second], 20_000)
      assert.deepEqual([first.silent, second.silent], [incarnation === 1, incarnation === 9])
      assert.ok(told.some((line) => line.startsWith('n:1')) && told.some((line) => line.startsWith('n:2')))
    }
    // Those whom the first one knows decide, whatever its incarnation.
    for (const incarnation of [1, 9]) {
      const others = ['b', 'c', 'd'].map((nodeId) => makeCore({}, { nodeId, address: `${nodeId}:1` }))
      const first = twin('n:1', 5)
      for (const other of others) other.join(['n:1'], 0)
      talk([first, ...others], 5_000)
      const second = twin('n:2', incarnation)
      second.join(['n:1'], 5_000)
      // Only the first one hears it.
      talk([first, ...others, second], 30_000)
      assert.deepEqual([first.silent, second.silent], [false, true], `${incarnation}`)
    }
  })

  test('what we said ourselves is not answered', () => {
    const core = makeCore()
    sent(core)
    hear(core, 'self', 1, alive('self', 0), alive('self', 3))
    assert.deepEqual(sent(core), [])
  })

  test('a vote goes to whoever was known first, for some time', () => {
    const core = makeCore()
    hear(core, 'b', 0, alive('b', 1))
    const claim = (version: number, incarnation: number): void =>
      hear(core, 'c', version, {
        kind: 'alive',
        statement: said('b', version).with({ incarnation, address: `b:${incarnation}` }),
      })
    const ballot = (nowMs: number): number | undefined => {
      hear(core, 'b', nowMs, { kind: 'contest', sequence: 5 })
      return sentOf(core, 'ballot')[0]?.message.incarnation
    }
    claim(2, 7)
    claim(3, 1)
    claim(4, 7)
    assert.equal(ballot(10), 1)
    assert.equal(core.member('b')?.incarnation, 7)
    // After a while it counts as a restart.
    assert.equal(ballot(40_000), 7)
  })

  test('who was removed says and hears nothing more, also after a restart with its snapshot', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    const removal = {
      kind: 'left',
      nodeId: 'self',
      incarnation: 1,
      version: versionsInAdmission - 1,
    } as const
    hear(core, 'a', 1, removal)
    assert.deepEqual(happened(core), ['joined a', 'removed self'])
    assert.throws(() => core.tell('x', new Uint8Array(1), 2), { code: 'SUPERSEDED' })
    assert.throws(() => core.ask('x', new Uint8Array(1), 2), { code: 'SUPERSEDED' })
    hear(core, 'a', 3, { kind: 'ping', sequence: 1, target: 'self' })
    runTo(core, 60_000)
    assert.deepEqual(sent(core), [])
    const again = makeCore()
    again.restore(core.snapshot(), ['a:1'], 0)
    runTo(again, 60_000)
    assert.ok(again.removed)
    assert.deepEqual(sent(again), [])
    const anew = makeCore({}, { incarnation: 2 })
    anew.restore(core.snapshot(), ['a:1'], 0)
    assert.ok(!anew.removed && sent(anew).length > 0, 'another life is another node')
  })

  test('after the goodbye nothing is refuted', () => {
    const core = makeCore()
    hear(core, 'b', 0, alive('b', 1))
    core.leave(1)
    hear(core, 'b', 2, { kind: 'dead', nodeId: 'self', version: 0, accuser: 'b' })
    assert.equal(core.self.state, 'left')
    assert.equal(core.self.version, 0)
    assert.equal(core.departed, false)
    runTo(core, 10_000)
    assert.equal(core.departed, true)
    assert.ok(sentOf(core, 'left').length >= 4)
    assert.deepEqual(sentOf(core, 'ping'), [])
  })

  test('a ping is answered with what its sender should know about itself', () => {
    const core = makeCore()
    const ping = { kind: 'ping', sequence: 9, target: 'self' } as const
    hear(core, 'a', 0, alive('a', 3))
    hearAs(core, { nodeId: 'a', incarnation: 1, version: 3 }, 1, ping)
    assert.equal(core.member('a')?.state, 'alive')
    sent(core)
    hearAs(core, { nodeId: 'a', incarnation: 1, version: 3 }, 2, ping)
    assert.deepEqual(
      sent(core)
        .map(({ message }) => message.kind)
        .filter((kind) => kind !== 'alive'),
      ['ack'],
    )
    // Started anew, it does not know how far its versions have come.
    hearAs(core, { nodeId: 'a', incarnation: 2, version: 0 }, 3, ping)
    assert.ok(
      sentOf(core, 'alive').some(
        ({ message }) => message.statement.nodeId === 'a' && message.statement.version === 3,
      ),
    )
    hear(core, 'b', 4, { kind: 'dead', nodeId: 'a', version: 3, accuser: 'b' })
    sent(core)
    hearAs(core, { nodeId: 'a', incarnation: 1, version: 3 }, 5, ping)
    assert.ok(sentOf(core, 'dead').some(({ to, message }) => to === 'a:1' && message.nodeId === 'a'))
  })
})
