import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import type { Beat, BeatReply } from '../../../src/raft/host/frame.ts'
import { NodeLiveness, type NodeLivenessOptions } from '../../../src/raft/host/node-liveness.ts'

const here = { nodeId: 'a', incarnation: 1 }
const there = { nodeId: 'b', incarnation: 2 }
const wallMs = 5_000_000

function make(seed: number, more: Partial<NodeLivenessOptions> = {}): NodeLiveness {
  return new NodeLiveness({
    heartbeatIntervalMs: 50,
    electionTimeoutMs: 300,
    leaseMs: 100,
    clockDriftBound: 0.25,
    random: new SeededRandom(seed),
    ...more,
  })
}

/** Two nodes: `a` leads groups in which `b` follows. */
class Pair {
  a: NodeLiveness = make(1)
  b: NodeLiveness = make(2)
  nowMs = 0
  readonly events: string[] = []

  /** A beat of `a`, if one is due, and its answer, both of which arrive. */
  beat(): { beat: Beat; reply: BeatReply } | undefined {
    const [sent] = this.advance()
    if (sent === undefined) return undefined
    const answer = this.b.beatReceived(here, sent, this.nowMs)
    this.note('b', answer.events)
    this.note('a', this.a.replyReceived(there, answer.reply, this.nowMs))
    return { beat: sent, reply: answer.reply }
  }

  advance(): Beat[] {
    const { beats, events } = this.a.advance(this.nowMs, wallMs + this.nowMs)
    this.note('a', events)
    return beats.map(({ beat }) => beat)
  }

  note(who: string, events: readonly { type: string }[]): void {
    for (const { type } of events) this.events.push(`${who} ${type}`)
  }
}

suite('signs of life between two nodes', () => {
  test('begin when a group there wants to rest, and tell the epoch under which it may', () => {
    const pair = new Pair()
    assert.equal(pair.a.nextDeadlineMs, Number.POSITIVE_INFINITY)
    assert.deepEqual(pair.advance(), [])
    assert.equal(pair.a.epochOf(there, 0), 0)
    assert.equal(pair.a.nextDeadlineMs, 0)
    const first = pair.beat()
    assert.deepEqual(pair.events, ['a supported'])
    assert.equal(pair.a.epochOf(there, 0), first?.reply.epoch)
    assert.ok(pair.b.supports(here, first?.reply.epoch ?? 0))
    assert.equal(pair.b.supports(here, (first?.reply.epoch ?? 0) + 1), false)
    assert.equal(pair.b.supports({ ...here, incarnation: 9 }, first?.reply.epoch ?? 0), false)
    pair.nowMs = 49
    assert.equal(pair.beat(), undefined)
    pair.nowMs = 50
    const second = pair.beat()
    assert.equal(second?.reply.epoch, first?.reply.epoch)
    assert.equal((second?.beat.sequence ?? 0) - (first?.beat.sequence ?? 0), 1)
    assert.deepEqual(pair.events, ['a supported'])
  })

  test('go on while a group counts on them, and some time after', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    pair.beat()
    pair.a.count(there, 1, 0)
    for (pair.nowMs = 50; pair.nowMs <= 60_000; pair.nowMs += 50) assert.ok(pair.beat() !== undefined)
    pair.a.count(there, -1, pair.nowMs)
    let beats = 0
    for (const endMs = pair.nowMs + 60_000; pair.nowMs <= endMs; pair.nowMs += 50) {
      if (pair.beat() !== undefined) beats++
    }
    assert.equal(beats, 200)
    assert.equal(pair.a.nextDeadlineMs, Number.POSITIVE_INFINITY)
    assert.equal(pair.a.supportOf(there), undefined)
  })

  test('give a pledge from when they were sent, by both clocks', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    const [beat] = pair.advance()
    pair.nowMs = 30
    const { reply } = pair.b.beatReceived(here, beat as Beat, pair.nowMs)
    assert.equal(pair.b.pledgedUntilMs('a'), 30 + 125)
    pair.a.replyReceived(there, reply, pair.nowMs)
    assert.deepEqual(pair.a.supportOf(there), {
      epoch: reply.epoch,
      sent: { sequence: 1, atMs: 0, wallMs },
      pledgeMs: 100,
    })
    assert.equal(pair.b.mayEndEpoch('a', 154), false)
    assert.equal(pair.b.mayEndEpoch('a', 155), true)
    assert.deepEqual(pair.b.endEpoch('a'), [
      { type: 'coverEnded', epoch: reply.epoch, untilMs: 155, heardMs: 30 },
    ])
    assert.deepEqual(pair.b.endEpoch('a'), [])
    assert.equal(pair.b.mayEndEpoch('a', 0), true)
  })

  test('pledge nothing where there are no leases', () => {
    const b = make(2, { clockDriftBound: 0 })
    const { reply } = b.beatReceived(here, { kind: 'beat', stream: 5, sequence: 1 }, 7)
    assert.equal(reply.pledgeMs, 0)
    assert.equal(b.pledgedUntilMs('a'), 7)
  })

  test('of an epoch that has ended are followed by those of another', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    const first = pair.beat()
    pair.b.endEpoch('a')
    pair.nowMs = 50
    const second = pair.beat()
    assert.notEqual(second?.reply.epoch, first?.reply.epoch)
    assert.deepEqual(pair.events, ['a supported', 'a supported'])
  })

  test('count once, in their order, and only where they belong', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    const [one] = pair.advance()
    pair.nowMs = 50
    const [two] = pair.advance()
    const answer = (beat: Beat): BeatReply => pair.b.beatReceived(here, beat, pair.nowMs).reply
    const late = answer(one as Beat)
    const reply = answer(two as Beat)
    assert.equal(pair.a.replyReceived(there, reply, 50).length, 1)
    assert.equal(pair.a.supportOf(there)?.sent.atMs, 50)
    pair.b.endEpoch('a')
    // Neither what is older nor the same again takes it back.
    assert.deepEqual(pair.a.replyReceived(there, late, 51), [])
    assert.deepEqual(pair.a.replyReceived(there, reply, 51), [])
    assert.equal(pair.a.supportOf(there)?.sent.atMs, 50)
    const other = { ...reply, sequence: 3 }
    assert.deepEqual(pair.a.replyReceived(there, other, 51), [], 'never sent')
    pair.nowMs = 100
    const [three] = pair.advance()
    const fresh = answer(three as Beat)
    assert.deepEqual(pair.a.replyReceived(there, { ...fresh, stream: fresh.stream + 1 }, 100), [])
    assert.deepEqual(pair.a.replyReceived({ ...there, incarnation: 3 }, fresh, 100), [])
    assert.deepEqual(pair.a.replyReceived({ ...there, nodeId: 'c' }, fresh, 100), [])
    assert.equal(pair.a.replyReceived(there, fresh, 100).length, 1)
  })

  test('that fall silent end what they stood for, on both sides', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    const first = pair.beat()
    assert.equal(pair.b.nextDeadlineMs, 300)
    assert.deepEqual(pair.b.advance(299, wallMs).events, [])
    assert.deepEqual(pair.b.advance(300, wallMs).events, [
      { type: 'coverEnded', epoch: first?.reply.epoch, untilMs: 125, heardMs: 0 },
    ])
    assert.equal(pair.b.nextDeadlineMs, Number.POSITIVE_INFINITY)
    for (pair.nowMs = 50; pair.nowMs < 300; pair.nowMs += 50) pair.advance()
    assert.deepEqual(pair.events, ['a supported'])
    pair.nowMs = 300
    pair.advance()
    assert.deepEqual(pair.events, ['a supported', 'a supportLost'])
    assert.equal(pair.a.supportOf(there), undefined)
    pair.nowMs = 350
    pair.beat()
    assert.deepEqual(pair.events.slice(2), ['a supported'])
  })

  test('start anew when messages may be lost: nothing that went before counts', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    const first = pair.beat()
    pair.nowMs = 50
    const [unanswered] = pair.advance()
    assert.deepEqual(pair.a.lost('b'), [{ type: 'supportLost', peer: there }])
    assert.deepEqual(pair.a.lost('b'), [])
    const { reply } = pair.b.beatReceived(here, unanswered as Beat, 50)
    assert.deepEqual(pair.a.replyReceived(there, reply, 50), [])
    // The other side learns of it by the next beat at the latest.
    pair.nowMs = 100
    const next = pair.beat()
    assert.notEqual(next?.beat.stream, first?.beat.stream)
    assert.deepEqual(pair.events, ['a supported', 'b coverEnded', 'a supported'])
    assert.deepEqual(pair.b.lost('a'), [
      { type: 'coverEnded', epoch: next?.reply.epoch, untilMs: 225, heardMs: 100 },
    ])
    assert.deepEqual(pair.b.lost('c'), [])
  })

  test('of another life of a node are not taken for those of the former', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    const first = pair.beat()
    pair.a = make(7)
    pair.a.epochOf(there, 0)
    const second = pair.beat()
    assert.notEqual(second?.reply.epoch, first?.reply.epoch)
    assert.deepEqual(pair.events.slice(1), ['b coverEnded', 'a supported'])
    const wiped = { ...here, incarnation: 8 }
    const { events } = pair.b.beatReceived(wiped, second?.beat as Beat, 0)
    assert.deepEqual(
      events.map(({ type }) => type),
      ['coverEnded'],
    )
    // And a node that comes back with another disk has promised nothing.
    assert.equal(pair.a.epochOf({ ...there, incarnation: 3 }, 0), 0)
    assert.equal(pair.a.supportOf({ ...there, incarnation: 3 }), undefined)
    // Nor does it take away what its former life stands for, as long as a group counts that.
    assert.notEqual(pair.a.supportOf(there), undefined)
    assert.deepEqual(pair.a.lost('b'), [{ type: 'supportLost', peer: there }])
  })

  test('that nobody answers are forgotten after a while', () => {
    const pair = new Pair()
    pair.a.count(there, 1, 0)
    for (pair.nowMs = 0; pair.nowMs < 50_000; pair.nowMs += 50) assert.equal(pair.advance().length, 1)
    const answer: BeatReply = { kind: 'beatReply', stream: 0, sequence: 1, epoch: 4, pledgeMs: 0 }
    assert.deepEqual(pair.a.replyReceived(there, answer, pair.nowMs), [])
  })
})
