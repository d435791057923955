import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { AdaptiveRate } from '../../src/placement/core/adaptive-rate.ts'
import { bytesInWords, CopyMeter, timeInWords } from '../../src/placement/core/copy-meter.ts'
import {
  defaultMoveRates,
  type MoveRates,
  type MoveRequest,
  MoveThrottle,
  type MoveVerdict,
} from '../../src/placement/index.ts'

const adaptation = {
  startFactor: 0.25,
  minimumFactor: 0.125,
  maximumFactor: 2,
  decrease: 0.5,
  increase: 0.1,
  intervalMs: 1000,
}

suite('a rate', () => {
  test('begins cold, doubles until the configured rate, and grows beyond it by steps where it is needed', () => {
    const rate = new AdaptiveRate(0.01, 10, adaptation, 0)
    const factors: number[] = [rate.factor]
    for (let second = 1; second <= 5; second++) {
      rate.need()
      rate.advance(second * 1000)
      factors.push(Math.round(rate.factor * 100) / 100)
    }
    assert.deepEqual(factors, [0.25, 0.5, 1, 1.1, 1.2, 1.3])
    for (let second = 6; second < 60; second++) {
      rate.need()
      rate.advance(second * 1000)
    }
    assert.equal(rate.factor, 2)
  })

  test('that nobody needs does not grow beyond what was configured', () => {
    const rate = new AdaptiveRate(0.01, 10, adaptation, 0)
    for (let second = 1; second < 60; second++) rate.advance(second * 1000)
    assert.equal(rate.factor, 1)
  })

  test('is halved by trouble at once, once an interval, and comes back by steps', () => {
    const rate = new AdaptiveRate(0.01, 10, adaptation, 0)
    for (let second = 1; second <= 3; second++) rate.advance(second * 1000)
    assert.equal(rate.factor, 1)
    rate.troubled(3100)
    rate.troubled(3200)
    rate.troubled(3900)
    assert.equal(rate.factor, 0.5)
    rate.advance(4000)
    assert.equal(rate.factor, 0.5, 'an interval with trouble in it raises nothing')
    rate.troubled(4100)
    assert.equal(rate.factor, 0.25)
    rate.troubled(5100)
    rate.troubled(6100)
    assert.equal(rate.factor, 0.125, 'never below its minimum')
    for (let second = 8; second <= 10; second++) rate.advance(second * 1000)
    assert.ok(rate.factor > 0.125 && rate.factor < 0.6, 'by steps, not doubled')
  })

  test('lets something larger than the bucket pass when that is full, and has it paid back', () => {
    const rate = new AdaptiveRate(0.01, 10, { ...adaptation, startFactor: 1 }, 0)
    assert.ok(rate.has(1000))
    rate.take(1000)
    assert.ok(!rate.has(1))
    assert.equal(rate.waitMs(10), 100_000)
    rate.advance(99_000)
    assert.ok(!rate.has(10))
    rate.advance(100_000)
    assert.ok(rate.has(10))
    rate.give(1000)
    assert.equal(rate.tokens, 10)
  })

  test('in any history lets no more pass than burst and time allow', () => {
    const event = fc.oneof(
      fc.record({ type: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 5000 }) }),
      fc.record({ type: fc.constant('take' as const), amount: fc.integer({ min: 1, max: 8 }) }),
      fc.record({ type: fc.constant('trouble' as const) }),
    )
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const rate = new AdaptiveRate(0.01, 10, adaptation, 0)
        let nowMs = 0
        let taken = 0
        for (const each of events) {
          if (each.type === 'wait') nowMs += each.ms
          if (each.type === 'trouble') rate.troubled(nowMs)
          rate.advance(nowMs)
          if (each.type === 'take' && rate.has(each.amount)) {
            rate.take(each.amount)
            taken += each.amount
          } else if (each.type === 'take') {
            rate.need()
            const waitMs = rate.waitMs(each.amount)
            assert.ok(waitMs > 0)
          }
          assert.ok(rate.factor >= 0.125 && rate.factor <= 2)
          assert.ok(taken <= 10 * 2 + nowMs * 0.01 * 2, `${taken} after ${nowMs} ms`)
        }
      }),
    )
  })
})

const steady: Partial<MoveRates> = { startFactor: 1, intervalMs: 10_000 }
let nextId = 1
function copy(to: string, change: Partial<MoveRequest> = {}): MoveRequest {
  return { id: nextId++, kind: 'copy', to, bytes: 1000, priority: 10_000, urgent: false, ...change }
}

function why(verdict: MoveVerdict): string {
  return verdict.type === 'go' ? 'go' : verdict.why
}

suite('the throttle', () => {
  test('lets a minute of copies begin at once, and then as many as the rate gives', () => {
    const throttle = new MoveThrottle({ ...steady, maximumIncoming: 100 })
    let begun = 0
    const waiting: MoveRequest[] = []
    for (let i = 0; i < 40; i++) {
      const request = copy('a')
      if (throttle.ask(request, 0).type === 'go') begun++
      else waiting.push(request)
    }
    assert.equal(begun, 15)
    for (let second = 1; second <= 60; second++) {
      for (const request of waiting.slice()) {
        if (throttle.ask(request, second * 1000).type !== 'go') continue
        waiting.splice(waiting.indexOf(request), 1)
      }
    }
    const later = 25 - waiting.length
    assert.ok(later >= 15 && later <= 22, `${later} in a minute: the rate has grown, as it was needed`)
    assert.equal(throttle.waiting, waiting.length)
  })

  test('limits removals from a node by themselves, and says whom it waits for', () => {
    const throttle = new MoveThrottle(steady)
    for (let i = 0; i < 15; i++) {
      const request = copy('a', { kind: 'remove' })
      assert.equal(why(throttle.ask(request, 0)), 'go')
      throttle.ended(request.id, 'done', 0)
    }
    const verdict = throttle.ask(copy('a', { kind: 'remove' }), 0)
    assert.deepEqual(verdict, {
      type: 'wait',
      why: 'waits for room: removals from a',
      nodes: ['a'],
      retryMs: 4000,
    })
    assert.equal(why(throttle.ask(copy('a'), 0)), 'go')
    assert.equal(why(throttle.ask(copy('b', { kind: 'remove' }), 0)), 'go')
  })

  test('limits both directions, the bytes and the cluster', () => {
    const rates = { ...steady, maximumIncoming: 100, maximumOutgoing: 100 }
    const throttle = new MoveThrottle({ ...rates, outgoingPerMinute: 2 })
    assert.equal(why(throttle.ask(copy('a', { from: 'z' }), 0)), 'go')
    assert.equal(why(throttle.ask(copy('b', { from: 'z' }), 0)), 'go')
    assert.match(why(throttle.ask(copy('c', { from: 'z' }), 0)), /copies from z/)
    assert.equal(why(throttle.ask(copy('c', { from: 'y' }), 0)), 'go')

    const bytes = new MoveThrottle({ ...rates, incomingBytesPerSecond: 1000, outgoingBytesPerSecond: 2000 })
    assert.equal(why(bytes.ask(copy('a', { bytes: 60_000, from: 'z' }), 0)), 'go')
    assert.match(why(bytes.ask(copy('a', { bytes: 1 }), 0)), /bytes to a$/)
    assert.equal(why(bytes.ask(copy('b', { bytes: 60_000, from: 'z' }), 0)), 'go')
    assert.match(why(bytes.ask(copy('c', { bytes: 1, from: 'z' }), 0)), /bytes from z$/)

    const cluster = new MoveThrottle({ ...rates, clusterPerMinute: 3 })
    for (const to of ['a', 'b', 'c']) assert.equal(why(cluster.ask(copy(to), 0)), 'go')
    const verdict = cluster.ask(copy('d'), 0)
    assert.match(why(verdict), /copies in the cluster/)
    assert.deepEqual(verdict.type === 'wait' && verdict.nodes, [])
  })

  test('begins cold: of what a new leader does not know it assumes that it was used', () => {
    const throttle = new MoveThrottle({ maximumIncoming: 100 })
    let begun = 0
    for (let i = 0; i < 15; i++) if (throttle.ask(copy('a'), 0).type === 'go') begun++
    assert.equal(begun, Math.floor(15 * defaultMoveRates.startFactor))
  })

  test('serves the urgent first, then by priority, then in order', () => {
    const throttle = new MoveThrottle({ ...steady, incomingPerMinute: 1, maximumIncoming: 100 })
    assert.equal(why(throttle.ask(copy('a'), 0)), 'go')
    const balance = copy('a', { priority: 100 })
    const repair = copy('a', { priority: 12_000 })
    const second = copy('a', { priority: 12_000 })
    for (const request of [balance, repair, second]) assert.notEqual(why(throttle.ask(request, 0)), 'go')
    // They ask again and again, the least urgent first.
    const served: number[] = []
    for (let nowMs = 0; served.length < 3; nowMs += 10_000) {
      assert.ok(nowMs < 600_000)
      for (const request of [balance, second, repair]) {
        if (served.includes(request.id) || throttle.ask(request, nowMs).type !== 'go') continue
        served.push(request.id)
      }
    }
    assert.deepEqual(served, [repair.id, second.id, balance.id])
  })

  test('lets somebody pass who does not stand in the way, and no small one before a large one that waits', () => {
    const throttle = new MoveThrottle({ ...steady, incomingBytesPerSecond: 100, maximumIncoming: 100 })
    assert.equal(why(throttle.ask(copy('a', { bytes: 5000 }), 0)), 'go')
    assert.match(why(throttle.ask(copy('a', { bytes: 4000, priority: 12_000 }), 0)), /bytes to a/)
    assert.match(why(throttle.ask(copy('a', { bytes: 1 }), 0)), /bytes to a/)
    assert.equal(why(throttle.ask(copy('b', { bytes: 4000 }), 0)), 'go')
  })

  test('a repair without a vote to spare passes all rates, but not what may be under way at once', () => {
    const throttle = new MoveThrottle({ ...steady, incomingPerMinute: 1, maximumIncoming: 3 })
    assert.equal(why(throttle.ask(copy('a'), 0)), 'go')
    assert.notEqual(why(throttle.ask(copy('a'), 0)), 'go')
    const first = copy('a', { urgent: true })
    assert.equal(why(throttle.ask(first, 0)), 'go')
    assert.equal(why(throttle.ask(copy('a', { urgent: true }), 0)), 'go')
    assert.match(why(throttle.ask(copy('a', { urgent: true }), 0)), /3 copies are on their way to a/)
    throttle.ended(first.id, 'done', 1)
    assert.equal(why(throttle.ask(copy('a', { urgent: true }), 1)), 'go')
    // What passed is paid back by those that come after.
    throttle.ended(nextId - 1, 'done', 2)
    assert.equal(throttle.ask(copy('a'), 120_000).type, 'wait')
  })

  test('bounds what is on its way from a node and in the cluster', () => {
    const throttle = new MoveThrottle({ ...steady, maximumOutgoing: 1, maximumCopies: 2 })
    assert.equal(why(throttle.ask(copy('a', { from: 'z' }), 0)), 'go')
    assert.match(why(throttle.ask(copy('b', { from: 'z', urgent: true }), 0)), /on their way from z/)
    assert.equal(why(throttle.ask(copy('b', { from: 'y' }), 0)), 'go')
    assert.match(why(throttle.ask(copy('c', { from: 'x', urgent: true }), 0)), /2 copies are under way/)
    assert.equal(throttle.copies, 2)
  })

  test('lowers the rates of a node that reports trouble or whose copies fail or are slow', () => {
    const factorOf = (throttle: MoveThrottle, nodeId: string): number | undefined =>
      throttle.nodes().find((node) => node.nodeId === nodeId)?.factor
    const fresh = (): [MoveThrottle, MoveRequest] => {
      const throttle = new MoveThrottle(steady)
      const request = copy('a', { from: 'z' })
      assert.equal(throttle.ask(request, 0).type, 'go')
      return [throttle, request]
    }
    for (const [pressure, factor] of [
      [{ ioOverload: 0.95 }, 0.5],
      [{ diskLatencyMs: 150 }, 0.5],
      [{ ioOverload: 0.5, diskLatencyMs: 20 }, 1],
      [{ ioOverload: Number.NaN }, 1],
      [{}, 1],
    ] as const) {
      const [throttle] = fresh()
      throttle.pressure('a', pressure, 100)
      throttle.pressure('nobody', pressure, 100)
      assert.equal(factorOf(throttle, 'a'), factor)
      assert.equal(factorOf(throttle, 'z'), 1)
      assert.equal(throttle.nodes().length, 2)
    }
    for (const [outcome, atMs, factor] of [
      ['failed', 100, 0.5],
      ['done', 100, 1],
      ['done', 11_000, 0.5],
      ['given up', 11_000, 1],
    ] as const) {
      const [throttle, request] = fresh()
      throttle.ended(request.id, outcome, atMs)
      assert.equal(factorOf(throttle, 'a'), factor, `${outcome} after ${atMs}`)
      assert.equal(factorOf(throttle, 'z'), factor)
    }
  })

  test('what waits and makes something better gives way to a repair that waits', () => {
    const throttle = new MoveThrottle({ ...steady, incomingPerMinute: 1 })
    const running = copy('a', { priority: 1 })
    assert.equal(throttle.ask(running, 0).type, 'go')
    const balance = copy('a', { priority: 1 })
    throttle.ask(balance, 0)
    assert.ok(!throttle.mustGiveWay(balance.id, 10_000))
    const repair = copy('a', { priority: 12_000 })
    throttle.ask(repair, 0)
    assert.ok(throttle.mustGiveWay(balance.id, 10_000))
    assert.ok(!throttle.mustGiveWay(repair.id, 10_000))
    assert.ok(!throttle.mustGiveWay(running.id, 10_000), 'what has begun is never stopped')
    throttle.ended(repair.id, 'given up', 1)
    assert.ok(!throttle.mustGiveWay(balance.id, 10_000))
  })

  test('forgets who does not ask any more, and counts what an earlier leader began', () => {
    const throttle = new MoveThrottle({ ...steady, incomingPerMinute: 1, maximumIncoming: 2 })
    const adopted = copy('a')
    throttle.adopt(adopted, 0)
    throttle.adopt(adopted, 0)
    assert.equal(throttle.copies, 1)
    assert.ok(throttle.isRunning(adopted.id))
    assert.equal(throttle.ask(copy('a'), 0).type, 'go', 'it has paid to the leader before')
    assert.equal(throttle.ask(copy('b', { priority: 1 }), 0).type, 'go')
    throttle.ask(copy('b', { priority: 12_000 }), 0)
    assert.equal(throttle.waiting, 1)
    throttle.ask(copy('c'), 40_000)
    assert.equal(throttle.waiting, 0)
  })

  test('in any history holds its bounds and serves everybody in the end', () => {
    const event = fc.record({
      to: fc.constantFrom('a', 'b', 'c'),
      from: fc.constantFrom('x', 'y', undefined),
      bytes: fc.integer({ min: 0, max: 4000 }),
      priority: fc.constantFrom(1, 10_000, 12_000),
      urgent: fc.boolean(),
      fails: fc.boolean(),
      kind: fc.constantFrom('copy' as const, 'remove' as const),
    })
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const throttle = new MoveThrottle({
          incomingPerMinute: 6,
          outgoingPerMinute: 6,
          incomingBytesPerSecond: 200,
          outgoingBytesPerSecond: 200,
          clusterPerMinute: 12,
          maximumIncoming: 2,
          maximumOutgoing: 3,
          maximumCopies: 4,
        })
        const waiting = events.map(({ from, ...rest }, i) => ({
          request: { ...rest, id: i + 1, ...(from === undefined ? {} : { from }) } as MoveRequest,
          fails: rest.fails,
        }))
        const running: { request: MoveRequest; fails: boolean; endMs: number }[] = []
        for (let nowMs = 0; waiting.length > 0; nowMs += 500) {
          assert.ok(nowMs < 24 * 3_600_000, 'somebody waits for ever')
          for (const each of running.filter(({ endMs }) => endMs <= nowMs)) {
            throttle.ended(each.request.id, each.fails ? 'failed' : 'done', nowMs)
            running.splice(running.indexOf(each), 1)
          }
          for (const each of waiting.slice()) {
            if (throttle.ask(each.request, nowMs).type !== 'go') continue
            waiting.splice(waiting.indexOf(each), 1)
            running.push({ ...each, endMs: nowMs + 3000 })
          }
          const copies = running.filter(({ request }) => request.kind === 'copy')
          assert.ok(copies.length <= 4)
          assert.equal(copies.length, throttle.copies)
          for (const node of ['a', 'b', 'c'])
            assert.ok(copies.filter(({ request }) => request.to === node).length <= 2)
          for (const node of ['x', 'y'])
            assert.ok(copies.filter(({ request }) => request.from === node).length <= 3)
          for (const { factor } of throttle.nodes()) assert.ok(factor >= 0.0625 && factor <= 4)
        }
      }),
      { numRuns: 40 },
    )
  })
})

suite('a copy', () => {
  test('is measured by what its two ends report', () => {
    const meter = new CopyMeter()
    assert.equal(meter.progress(), undefined)
    assert.equal(meter.sample(undefined, 1000, 0), false)
    assert.equal(meter.progress(), undefined)
    assert.equal(meter.sample(100, 1000, 1000), true)
    assert.deepEqual(meter.progress(), { copiedBytes: 100, totalBytes: 1000, fraction: 0.1, etaMs: 9000 })
    assert.equal(meter.sample(100, 1000, 2000), false)
    meter.sample(500, 1000, 3000)
    const progress = meter.progress()
    assert.equal(progress?.fraction, 0.5)
    assert.ok((progress?.etaMs ?? 0) > 3000 && (progress?.etaMs ?? 0) < 9000)
    meter.sample(2000, 1000, 4000)
    assert.deepEqual([meter.progress()?.copiedBytes, meter.progress()?.etaMs], [1000, 0])
  })

  test('is told in words', () => {
    assert.deepEqual(
      [bytesInWords(12), bytesInWords(2048), bytesInWords(3 * 1024 ** 3)],
      ['12 B', '2.0 KiB', '3.0 GiB'],
    )
    assert.deepEqual(
      [timeInWords(1), timeInWords(119_000), timeInWords(121_000), timeInWords(7_200_000)],
      ['1 s', '119 s', '3 min', '2 h'],
    )
  })
})
