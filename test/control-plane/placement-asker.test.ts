import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { Admin } from '../../src/control-plane/admin.ts'
import {
  type NodeAnswer,
  PlacementAnswers,
  type PlacementAnswersParts,
  type RangeAnswer,
} from '../../src/control-plane/placement-answers.ts'
import { PlacementAsker } from '../../src/control-plane/placement-asker.ts'
import { decodeAnswer, encodeQuestion } from '../../src/control-plane/placement-questions.ts'
import { ServerRoster } from '../../src/control-plane/server-roster.ts'
import { sleep } from '../../src/core/async.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { type DevCluster, type DevNode, devCluster, encodeTuple } from '../../src/index.ts'
import { explaining } from '../../src/placement/core/explain.ts'
import { explainingNode } from '../../src/placement/core/explain-node.ts'
import {
  buildSnapshot,
  defaultMoveRates,
  explainNode,
  explainRange,
  type PlacementController,
  Planner,
  placementPolicy,
  plan,
} from '../../src/placement/index.ts'
import type { Rpc } from '../../src/transport/rpc.ts'
import { plainNode, plainRange } from '../placement/support/plain.ts'
import { VirtualTime } from '../support/virtual-time.ts'
import { PlainRanges } from './support/plain-ranges.ts'

suite('what is asked about placement from outside', () => {
  const time = new VirtualTime(11)
  let cluster: DevCluster
  let node: DevNode

  before(async () => {
    cluster = await time.until(
      devCluster({
        env: time.env,
        servers: 3,
        placement: { intervalMs: 200, pollIntervalMs: 50, settleMs: 50 },
      }),
    )
    const ranges = new PlainRanges(() => ({ bytes: 10 }))
    for (let i = 1; i <= 6; i++) {
      node = await time.until(
        cluster.addNode(`db${i}`, { locality: `zone=z${i % 3}`, capacity: { bytes: 1000 } }),
      )
      node.agent.serve({ ranges: ranges.host(`db${i}`) })
    }
    await time.until(
      cluster.client.admin.createTable(
        {
          name: 'rows',
          columns: [{ name: 'id', valueType: 'number', required: true }],
          primaryKey: ['id'],
        },
        { replicas: 3, splitKeys: ({ tableId }) => [encodeTuple([tableId, 10])] },
      ),
    )
    await time.advance(5_000)
  })

  after(async () => {
    await time.until(cluster.close())
  })

  const follower = () => {
    const found = cluster.servers.find((server) => server.duties === undefined)
    assert.ok(found !== undefined)
    return found
  }

  test('is answered to a client, a node, a leader and a follower alike', async () => {
    const leader = cluster.leader()
    for (const admin of [cluster.client.admin, node.agent.admin, leader.admin, follower().admin]) {
      const { madeBy, explanation } = await time.until(admin.placement.explain(1))
      assert.deepEqual(explanation, JSON.parse(JSON.stringify(leader.duties?.placement.explain(1))))
      assert.equal(madeBy.leader, leader.nodeId)
      assert.equal(madeBy.epoch, leader.duties?.epoch.number)
      assert.ok(madeBy.plannedAtMs <= time.env.clock.wallMs() && madeBy.plannedAtMs > 1_700_000_000_000)
    }
  })

  test('covers nodes, the plan with its bounds, and what the directory cannot follow', async () => {
    const { placement } = cluster.client.admin
    const { explanation, leftOut } = await time.until(placement.explainNode('db1'))
    assert.equal(explanation.nodeId, 'db1')
    assert.deepEqual(leftOut, { underWay: 0, arriving: 0, leaving: 0 })
    const { plan: last, moveCount, underWay, bounds } = await time.until(placement.plan())
    assert.deepEqual([last.moves.length, moveCount, underWay, last.blockedCount], [0, 0, 0, 0])
    const [bytes] = bounds?.utilisation ?? []
    // 6 replicas of 10 bytes on 6 nodes of 1,000.
    assert.deepEqual([bytes?.resource, bytes?.utilisation], ['bytes', 0.01])
    assert.equal(bounds?.repair?.ms, 0)
    assert.equal((await time.until(placement.plan({ bounds: false }))).bounds, undefined)
    const lost = await time.until(placement.lostSight())
    assert.deepEqual([lost.parts, lost.leftOut], [[], 0])
  })

  test('says what would come of a change, and changes nothing', async () => {
    const { placement } = cluster.client.admin
    const { result } = await time.until(placement.whatIf({ loseDomain: { tier: 'zone', value: 'z1' } }))
    assert.ok(result.changed.underReplicated > 0)
    assert.deepEqual([result.after.underReplicated, result.settled], [0, true])
    const added = await time.until(
      placement.whatIf({ addNodes: [{ nodeId: 'db7', locality: 'zone=z1', capacity: { bytes: 10 } }] }),
    )
    assert.equal(added.result.after.stores.find(({ nodeId }) => nodeId === 'db7')?.capacity['bytes'], 10)
    assert.equal((await time.until(placement.plan())).moveCount, 0)
  })

  test('is refused by code', async () => {
    const { placement } = cluster.client.admin
    const refused = async (call: Promise<unknown>, code: string, message: RegExp): Promise<void> =>
      assert.rejects(time.until(call), { code, message })
    await refused(placement.explain(99), 'NOT_FOUND', /range 99/)
    await refused(placement.explain(-1), 'INVALID_ARGUMENT', /range/)
    await refused(placement.explainNode('db99'), 'NOT_FOUND', /db99/)
    await refused(placement.whatIf({ loseNodes: ['db99'] }), 'NOT_FOUND', /db99/)
    await refused(
      placement.whatIf({ loseDomain: { tier: 'zoen', value: 'z1' } }),
      'NOT_FOUND',
      /did you mean 'zone'/,
    )
    await refused(placement.whatIf({ growLoad: { bites: 2 } }), 'INVALID_ARGUMENT', /did you mean 'bytes'/)
    await refused(placement.whatIf({}, { limits: { movse: 1 } as never }), 'INVALID_OPTION', /moves/)
    await refused(placement.plan({ move: 1 } as never), 'INVALID_OPTION', /did you mean 'moves'/)
    const { env } = time
    const { store } = cluster.client
    await refused(new Admin({ env, store }).placement.lostSight(), 'UNSUPPORTED', /PlaneClient/)
    await refused(placement.explain(1, { signal: AbortSignal.abort() }), 'ABORTED', /abort/)
  })

  test('goes on with the next leader', async () => {
    const old = cluster.leader()
    const { admin } = follower()
    assert.equal((await time.until(admin.placement.lostSight())).madeBy.leader, old.nodeId)
    await time.until(old.close())
    const ask = async (): Promise<string> => {
      for (;;) {
        try {
          return (await admin.placement.lostSight()).madeBy.leader
        } catch (error) {
          // It leads, and has not planned.
          if (!KeelsonError.hasCode(error, 'OVERLOADED') || !error.retryable) throw error
          await sleep(time.env.timers, 50)
        }
      }
    }
    assert.notEqual(await time.until(ask()), old.nodeId)
  })
})

test('whoever asks is told at once that the leader has no room, and a what-if has its time', async () => {
  const { env } = new VirtualTime(13)
  const timeouts: unknown[] = []
  const rpc = {
    call: async (...args: Parameters<Rpc['call']>) => {
      timeouts.push(args[3]?.timeoutMs)
      throw new KeelsonError('OVERLOADED', 'another what-if runs')
    },
  } as unknown as Rpc
  const roster = new ServerRoster()
  roster.learn({ nodeId: 'cp1', incarnation: 1, addresses: [] })
  const asker = new PlacementAsker({ env, rpc, roster, closed: new AbortController().signal })
  await assert.rejects(asker.whatIf({}), { code: 'OVERLOADED', retryable: true })
  await assert.rejects(asker.explain(1), { code: 'OVERLOADED' })
  assert.ok(Number(timeouts[0]) > 120_000)
  assert.equal(timeouts[1], 2_000)
})

suite('the answers of a leader', () => {
  const time = new VirtualTime(12)
  const epoch = { holder: 'cp1', number: 7 }

  function answers(placement: Partial<PlacementAnswersParts['placement']>): PlacementAnswers {
    const parts = { env: time.env, epoch, rates: defaultMoveRates, signal: new AbortController().signal }
    return new PlacementAnswers({ ...parts, placement: placement as PlacementController })
  }

  test('wait for the first plan', async () => {
    await assert.rejects(
      answers({ planned: () => undefined }).answer(encodeQuestion({ type: 'lostSight' }), {}),
      (error) =>
        KeelsonError.hasCode(error, 'OVERLOADED') && error.retryable && /not planned/.test(error.message),
    )
  })

  test('work the bounds out once for all who ask, and end with the last of them', async () => {
    let nowMs = 0
    // Every look at the clock is two milliseconds later, so that each step is a slice.
    const clock = { monotonicMs: () => (nowMs += 2), wallMs: () => 5 }
    const env = { ...time.env, clock }
    const nodes = ['n0', 'n1'].map((name) => plainNode(name))
    const ranges = Array.from({ length: 2000 }, (_, i) => plainRange(i + 1, ['n0', 'n1']))
    const snapshot = buildSnapshot({ nodes, ranges, deadAfterMs: 1 })
    let begun = 0
    const leader = new PlacementAnswers({
      env,
      epoch,
      rates: defaultMoveRates,
      signal: new AbortController().signal,
      placement: {
        planned: () => ({ plan: plan(snapshot), atMs: 1 }),
        moves: () => [],
        policy: placementPolicy(),
        snapshot: () => {
          begun++
          return snapshot
        },
      } as unknown as PlacementController,
    })
    const question = encodeQuestion({ type: 'plan', moves: 1, bounds: true })
    const [first, second, third] = [new AbortController(), new AbortController(), new AbortController()]
    const asked = [first, second].map(({ signal }) => leader.answer(question, { signal }))
    first.abort()
    const askedAtMs = nowMs
    const [left, got] = await time.until(Promise.allSettled(asked))
    assert.deepEqual([left?.status, got?.status, begun], ['rejected', 'fulfilled', 1])
    const whole = nowMs - askedAtMs
    // For a while they are the bounds of now.
    await time.until(leader.answer(question, {}))
    assert.equal(begun, 1)
    nowMs += 60_000
    const alone = leader.answer(question, { signal: third.signal })
    alone.catch(() => {})
    await time.settle()
    third.abort()
    const at = nowMs
    await time.advance(1000)
    await assert.rejects(alone, { code: 'ABORTED' })
    assert.equal(begun, 2)
    assert.ok(nowMs - at < whole / 2, `${nowMs - at} of ${whole}`)
  })

  test('explain a range and a node in slices, as in one go, and no further than somebody waits', async () => {
    let nowMs = 0
    // Every look at the clock is two milliseconds later, so that each step is a slice.
    const env = { ...time.env, clock: { monotonicMs: () => (nowMs += 2), wallMs: () => 5 } }
    const nodes = Array.from({ length: 40 }, (_, i) => plainNode(`n${i}`, `zone=z${i % 3}`))
    const ranges = Array.from({ length: 1000 }, (_, i) => plainRange(i + 1, ['n0', 'n1', 'n2']))
    const snapshot = buildSnapshot({ nodes, ranges, deadAfterMs: 1 })
    const planner = new Planner()
    const last = planner.plan(snapshot)
    const leader = new PlacementAnswers({
      env,
      epoch,
      rates: defaultMoveRates,
      signal: new AbortController().signal,
      placement: {
        planned: () => ({ plan: last, atMs: 1 }),
        explaining: (rangeId: number) => explaining(planner, snapshot, rangeId, {}),
        explainingNode: (nodeId: string) => explainingNode(planner, snapshot, nodeId, {}),
      } as unknown as PlacementController,
    })
    for (const [question, expected] of [
      [{ type: 'explain', rangeId: 7 }, explainRange(snapshot, 7)],
      [{ type: 'explainNode', nodeId: 'n0' }, explainNode(snapshot, 'n0')],
    ] as const) {
      const askedAtMs = nowMs
      const { explanation } = decodeAnswer<RangeAnswer | NodeAnswer>(
        await time.until(leader.answer(encodeQuestion(question), {})),
      )
      assert.deepEqual(explanation, JSON.parse(JSON.stringify(expected)))
      // Two looks at the clock for each slice.
      const slices = (nowMs - askedAtMs) / 4
      assert.ok(slices >= 10, `${question.type} in ${slices} slices`)
      const caller = new AbortController()
      const asked = leader.answer(encodeQuestion(question), { signal: caller.signal })
      asked.catch(() => {})
      caller.abort()
      const abortedAtMs = nowMs
      await assert.rejects(time.until(asked), { code: 'ABORTED' })
      assert.ok(nowMs - abortedAtMs <= 8, `${nowMs - abortedAtMs} ms after nobody waits any more`)
    }
  })

  test('give a what-if up after two minutes, or with whoever asked, and say so for good', async () => {
    const signals: AbortSignal[] = []
    const leader = answers({
      planned: () => ({ plan: {} as never, atMs: 1 }),
      whatIf: async (_change, options) => {
        const { signal } = options as { signal: AbortSignal }
        signals.push(signal)
        await sleep(time.env.timers, 3_600_000, signal)
        throw new Error('it went on for an hour')
      },
    })
    const question = encodeQuestion({ type: 'whatIf', change: {}, options: {} })
    const atMs = time.nowMs
    await assert.rejects(time.until(leader.answer(question, {})), (error) => {
      assert.ok(KeelsonError.is(error))
      assert.deepEqual([error.code, error.retryable, time.nowMs - atMs], ['LIMIT_EXCEEDED', false, 120_000])
      return true
    })
    const caller = new AbortController()
    const asked = leader.answer(question, { signal: caller.signal })
    asked.catch(() => {})
    await time.settle()
    caller.abort(new KeelsonError('UNREACHABLE', 'the connection is gone'))
    await assert.rejects(time.until(asked), { code: 'UNREACHABLE' })
    assert.deepEqual(
      signals.map(({ aborted }) => aborted),
      [true, true],
    )
  })
})
