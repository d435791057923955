import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import type { Beat, BeatReply } from '../../../src/raft/host/host-messages.ts'
import {
  type LivenessEvent,
  NodeLiveness,
  type NodeLivenessOptions,
} from '../../../src/raft/host/node-liveness.ts'

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
    const { reply, events } = answerOf(this.b, sent, this.nowMs)
    this.note('b', events)
    this.note('a', this.a.replyReceived(there, reply, this.nowMs))
    return { beat: sent, reply }
  }

  advance(): Beat[] {
    const { beats, events } = this.a.advance(this.nowMs, wallMs + this.nowMs)
    this.note('a', events)
    return beats.map(({ beat }) => beat as Beat)
  }

  note(who: string, events: readonly { type: string }[]): void {
    for (const { type } of events) this.events.push(`${who} ${type}`)
  }
}

/** What a node that leads nothing says to a beat: it answers each. */
function answerOf(
  node: NodeLiveness,
  beat: Beat,
  nowMs: number,
  from = here,
): { reply: BeatReply; events: readonly LivenessEvent[] } {
  const { beats, events } = node.beatReceived(from, beat, nowMs, wallMs + nowMs)
  assert.equal(beats.length, 1)
  return { reply: beats[0] as BeatReply, events }
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
    pair.nowMs = 149
    assert.equal(pair.beat(), undefined)
    pair.nowMs = 150
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
    for (pair.nowMs = 150; pair.nowMs <= 60_000; pair.nowMs += 150) assert.ok(pair.beat() !== undefined)
    pair.a.count(there, -1, pair.nowMs)
    let beats = 0
    for (const endMs = pair.nowMs + 60_000; pair.nowMs <= endMs; pair.nowMs += 150) {
      if (pair.beat() !== undefined) beats++
    }
    assert.equal(beats, 67)
    assert.equal(pair.a.nextDeadlineMs, Number.POSITIVE_INFINITY)
    assert.equal(pair.a.supportOf(there), undefined)
  })

  test('give a pledge from when they were sent, by both clocks', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    const [beat] = pair.advance()
    pair.nowMs = 30
    const { reply } = answerOf(pair.b, beat as Beat, pair.nowMs)
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
    const { reply } = answerOf(b, { kind: 'beat', stream: 5, sequence: 1 }, 7)
    assert.equal(reply.pledgeMs, 0)
    assert.equal(b.pledgedUntilMs('a'), 7)
  })

  test('end for the replicas here under all leaders at once, when none of them is to be counted on', () => {
    const b = make(2)
    const beat = { kind: 'beat', stream: 5, sequence: 1 } as const
    const other = { nodeId: 'c', incarnation: 3 }
    const epochs = [here, other].map((from) => answerOf(b, beat, 7, from).reply.epoch)
    const ended = b.endEpochs()
    assert.deepEqual(
      ended.map((event) => event.type === 'coverEnded' && [event.epoch, event.untilMs]),
      epochs.map((epoch) => [epoch, 132]),
    )
    assert.ok(!b.supports(here, epochs[0] ?? 0) && !b.supports(other, epochs[1] ?? 0))
    assert.deepEqual(b.endEpochs(), [])
    assert.ok(!epochs.includes(answerOf(b, { ...beat, sequence: 2 }, 9).reply.epoch))
  })

  test('of an epoch that has ended are followed by those of another', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    const first = pair.beat()
    pair.b.endEpoch('a')
    pair.nowMs = 150
    const second = pair.beat()
    assert.notEqual(second?.reply.epoch, first?.reply.epoch)
    assert.deepEqual(pair.events, ['a supported', 'a supported'])
  })

  test('count once, in their order, and only where they belong', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    const [one] = pair.advance()
    pair.nowMs = 150
    const [two] = pair.advance()
    const answer = (beat: Beat): BeatReply => answerOf(pair.b, beat, pair.nowMs).reply
    const late = answer(one as Beat)
    const reply = answer(two as Beat)
    assert.equal(pair.a.replyReceived(there, reply, 50).length, 1)
    assert.equal(pair.a.supportOf(there)?.sent.atMs, 150)
    pair.b.endEpoch('a')
    // Neither what is older nor the same again takes it back.
    assert.deepEqual(pair.a.replyReceived(there, late, 51), [])
    assert.deepEqual(pair.a.replyReceived(there, reply, 51), [])
    assert.equal(pair.a.supportOf(there)?.sent.atMs, 150)
    const other = { ...reply, sequence: 3 }
    assert.deepEqual(pair.a.replyReceived(there, other, 51), [], 'never sent')
    pair.nowMs = 300
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
    assert.equal(pair.b.nextDeadlineMs, 360)
    assert.deepEqual(pair.b.advance(359, wallMs).events, [])
    assert.deepEqual(pair.b.advance(360, wallMs).events, [
      { type: 'coverEnded', epoch: first?.reply.epoch, untilMs: 125, heardMs: 0 },
    ])
    assert.equal(pair.b.nextDeadlineMs, Number.POSITIVE_INFINITY)
    for (pair.nowMs = 150; pair.nowMs < 360; pair.nowMs += 150) pair.advance()
    assert.deepEqual(pair.events, ['a supported'])
    pair.nowMs = 360
    pair.advance()
    assert.deepEqual(pair.events, ['a supported', 'a supportLost'])
    assert.equal(pair.a.supportOf(there), undefined)
    pair.nowMs = 600
    pair.beat()
    assert.deepEqual(pair.events.slice(2), ['a supported'])
  })

  test('may be late for longer where they stand for many groups', () => {
    const one = make(2, { groups: () => 40_000 })
    answerOf(one, { kind: 'beat', stream: 5, sequence: 1 }, 0)
    assert.equal(one.nextDeadlineMs, 960)
    assert.deepEqual(one.advance(959, wallMs).events, [])
    assert.equal(one.advance(960, wallMs).events.length, 1)
  })

  test('start anew when messages may be lost: nothing that went before counts', () => {
    const pair = new Pair()
    pair.a.epochOf(there, 0)
    const first = pair.beat()
    pair.nowMs = 150
    const [unanswered] = pair.advance()
    assert.deepEqual(pair.a.lost('b'), [{ type: 'supportLost', peer: there }])
    assert.deepEqual(pair.a.lost('b'), [])
    const { reply } = answerOf(pair.b, unanswered as Beat, 150)
    assert.deepEqual(pair.a.replyReceived(there, reply, 150), [])
    // The other side learns of it by the next beat at the latest.
    pair.nowMs = 300
    const next = pair.beat()
    assert.notEqual(next?.beat.stream, first?.beat.stream)
    assert.deepEqual(pair.events, ['a supported', 'b coverEnded', 'a supported'])
    assert.deepEqual(pair.b.lost('a'), [
      { type: 'coverEnded', epoch: next?.reply.epoch, untilMs: 425, heardMs: 300 },
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
    const { events } = answerOf(pair.b, second?.beat as Beat, 0, wiped)
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
    for (pair.nowMs = 0; pair.nowMs < 150_000; pair.nowMs += 150) assert.equal(pair.advance().length, 1)
    const answer: BeatReply = { kind: 'beatReply', stream: 0, sequence: 1, epoch: 4, pledgeMs: 0 }
    assert.deepEqual(pair.a.replyReceived(there, answer, pair.nowMs), [])
  })

  test('follow each other without a gap in what they pledge while somebody reads by lease', () => {
    const pair = new Pair()
    assert.equal(pair.a.pledgeFor(there, 0), undefined)
    pair.a.count(there, 1, 0)
    pair.beat()
    pair.nowMs = 20
    assert.notEqual(pair.a.pledgeFor(there, 20), undefined)
    for (; pair.nowMs < 5_000; pair.nowMs += 10) {
      pair.beat()
      const { sent } = pair.a.supportOf(there) ?? assert.fail('no support')
      assert.ok(sent.atMs > pair.nowMs - 100, 'the pledge lasts')
    }
    // Not for ever.
    pair.nowMs = 30_000
    pair.beat()
    assert.equal(pair.a.nextDeadlineMs, 30_150)
    // Where there are no leases nothing hurries.
    const calm = make(3, { clockDriftBound: 0 })
    calm.count(there, 1, 0)
    calm.advance(0, wallMs)
    calm.pledgeFor(there, 10)
    assert.equal(calm.nextDeadlineMs, 150)
  })

  test('of two nodes that lead groups go together, two frames for both', () => {
    const nodes = [make(1), make(2)] as const
    const peers = [there, here] as const
    nodes[0].count(there, 1, 0)
    nodes[1].count(here, 1, 0)
    let frames = 0
    const send = (from: 0 | 1, beats: readonly (Beat | BeatReply)[], nowMs: number): void => {
      if (beats.length === 0) return
      frames++
      const to = from === 0 ? 1 : 0
      for (const beat of beats) {
        const peer = peers[to]
        if (beat.kind === 'beatReply') nodes[to].replyReceived(peer, beat, nowMs)
        else send(to, nodes[to].beatReceived(peer, beat, nowMs, wallMs + nowMs).beats, nowMs)
      }
    }
    const run = (fromMs: number, toMs: number): number => {
      frames = 0
      for (let nowMs = fromMs; nowMs < toMs; nowMs += 10) {
        for (const from of [0, 1] as const) {
          const { beats, events } = nodes[from].advance(nowMs, wallMs + nowMs)
          assert.deepEqual(events, [])
          const all = beats.map(({ beat }) => beat)
          send(from, all, nowMs)
        }
      }
      return frames
    }
    run(0, 1_500)
    assert.equal(run(1_500, 16_500), 200)
    for (const [i, node] of nodes.entries())
      assert.notEqual(node.supportOf(peers[i] as typeof here), undefined)
    // Whoever reads by lease is answered at once.
    nodes[0].pledgeFor(there, 16_500)
    run(16_500, 17_000)
    const { sent } = nodes[0].supportOf(there) ?? assert.fail('no support')
    assert.ok(sent.atMs >= 16_940, `${sent.atMs}`)
  })

  test('to several nodes leave together', () => {
    const a = make(1)
    const third = { nodeId: 'c', incarnation: 3 }
    a.count(there, 1, 0)
    a.count(third, 1, 20)
    const sent = (nowMs: number): number => a.advance(nowMs, wallMs + nowMs).beats.length
    assert.equal(sent(0), 2)
    assert.equal(sent(20), 0)
    assert.equal(sent(150), 2)
  })
})
