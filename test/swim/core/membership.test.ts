import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { maximumVersionStep } from '../../../src/swim/core/membership.ts'
import { alive, happened, hear, hearAs, makeCore, runTo, sent, sentOf } from '../support/core.ts'

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
    hear(core, 'b', 0, alive('self', 6))
    hear(core, 'b', 1, alive('self', 8))
    assert.deepEqual(happened(core), ['conflict self'])
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
