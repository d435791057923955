import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { deferred, sleep } from '../../../src/core/async.ts'
import { type ErrorCode, KeelsonError, type Outcome } from '../../../src/core/errors.ts'
import { until } from '../../../src/testing/compliance.ts'
import { Rpc } from '../../../src/transport/rpc.ts'
import { bytes, world } from './support.ts'

async function fails(promise: Promise<unknown>, code: ErrorCode, outcome: Outcome): Promise<KeelsonError> {
  const error = await promise.then(
    () => assert.fail('resolved'),
    (thrown: unknown) => thrown,
  )
  assert.ok(KeelsonError.is(error), String(error))
  assert.equal(error.code, code, error.message)
  assert.equal(error.outcome, outcome, error.message)
  return error
}

suite('a remote call', () => {
  test('asks and gets its answer, many at a time and in any order', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    b.handle('double', async (peer, body) => {
      assert.deepEqual(peer, { nodeId: 'a', incarnation: 1, role: 'node' })
      const value = body[0] as number
      await sleep(w.env.timers, value % 3)
      return bytes((value * 2) & 0xff)
    })
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => a.call('b', 'double', bytes(i))))
    answers.forEach((answer, i) => assert.equal(answer[0], (i * 2) & 0xff))
  })

  test('goes both ways over one channel', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    a.handle('name', async () => bytes(1))
    b.handle('name', async () => bytes(2))
    assert.deepEqual(await a.call('b', 'name', bytes()), bytes(2))
    assert.deepEqual(await b.call('a', 'name', bytes()), bytes(1))
  })

  test('of the node itself goes the same way', async () => {
    await using w = world()
    const a = await w.rpc('a')
    let during = true
    a.handle('self', async (peer, body) => {
      assert.equal(peer.nodeId, 'a')
      assert.equal(during, false, 'called within call()')
      return body
    })
    a.handleStream('count', async function* () {
      for (let i = 0; i < 3; i++) yield bytes(i)
    })
    const call = a.call('a', 'self', bytes(5))
    during = false
    assert.deepEqual(await call, bytes(5))
    const items: number[] = []
    for await (const item of a.stream('a', 'count', bytes())) items.push(item[0] as number)
    assert.deepEqual(items, [0, 1, 2])
  })

  test('gives each side bytes of its own', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    let kept: Uint8Array | undefined
    b.handle('keep', async (_peer, body) => {
      kept = body
      return body
    })
    const question = bytes(1, 2)
    const call = a.call('b', 'keep', question)
    question[0] = 9
    assert.deepEqual(await call, bytes(1, 2))
    await a.call('b', 'keep', bytes(3, 4))
    assert.deepEqual(kept, bytes(3, 4))
  })

  test('fails with what the handler threw', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    b.handle('lead', async () => {
      throw new KeelsonError('NOT_LEADER', 'ask c', { details: { leader: 'c', term: 4 } })
    })
    const error = await fails(a.call('b', 'lead', bytes()), 'NOT_LEADER', 'none')
    assert.equal(error.message, 'ask c')
    assert.equal(error.retryable, true)
    assert.deepEqual({ ...error.details }, { leader: 'c', term: 4 })
  })

  test("keeps a stranger's error at home", async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    b.handle('leak', async () => {
      throw new Error('password is 1234')
    })
    b.handle('thrower', () => {
      throw new Error('synchronously, 1234')
    })
    b.handle('nothing', async () => undefined as unknown as Uint8Array)
    for (const method of ['leak', 'thrower', 'nothing']) {
      const error = await fails(a.call('b', method, bytes()), 'IO', 'unknown')
      assert.ok(!`${error.message} ${error.stack}`.includes('1234'))
    }
    assert.equal(w.logs.filter(({ level }) => level === 'error').length, 3)
  })

  test('of an unknown method is refused', async () => {
    await using w = world()
    const a = await w.rpc('a')
    await w.rpc('b')
    await fails(a.call('b', 'nothing', bytes()), 'UNSUPPORTED', 'none')
    const items = a.stream('b', 'nothing', bytes())
    await fails(items.next(), 'UNSUPPORTED', 'none')
  })

  test('is refused when the peer may not make it', async () => {
    await using w = world()
    const client = await w.rpc('client-1')
    const b = await w.rpc('b', { authorize: (peer, method) => peer.role === 'node' || method === 'open' })
    b.handle('open', async () => bytes(1))
    b.handle('closed', async () => bytes(1))
    assert.deepEqual(await client.call('b', 'open', bytes()), bytes(1))
    await fails(client.call('b', 'closed', bytes()), 'UNAUTHORIZED', 'none')
  })

  test('to nobody fails at once and has had no effect', async () => {
    await using w = world()
    const a = await w.rpc('a')
    const error = await fails(a.call('nobody', 'x', bytes()), 'UNREACHABLE', 'none')
    assert.equal(error.retryable, true)
  })

  test('ends with its time, and its outcome is unknown', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    const aborted = deferred<unknown>()
    b.handle('slow', async (_peer, _body, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      aborted.resolve(signal.reason)
      return bytes(1)
    })
    await fails(a.call('b', 'slow', bytes(), { timeoutMs: 10 }), 'OUTCOME_UNKNOWN', 'unknown')
    assert.ok(KeelsonError.hasCode(await aborted.promise, 'ABORTED'))
    await sleep(w.env.timers, 5)
    assert.ok(!w.metrics.text().includes('late'), 'a handler that was given up sent an answer')
  })

  test('that is aborted ends here and there', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    const started = deferred<void>()
    const ended = deferred<void>()
    b.handle('slow', async (_peer, _body, { signal }) => {
      started.resolve()
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      ended.resolve()
      return bytes()
    })
    const abort = new AbortController()
    const call = a.call('b', 'slow', bytes(), { signal: abort.signal })
    await started.promise
    abort.abort()
    await fails(call, 'ABORTED', 'unknown')
    await ended.promise
    await fails(a.call('b', 'slow', bytes(), { signal: abort.signal }), 'ABORTED', 'none')
  })

  test('fails at once when its connection breaks, and the handler learns of it', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    const started = deferred<void>()
    const reason = deferred<unknown>()
    b.handle('slow', async (_peer, _body, { signal }) => {
      started.resolve()
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      reason.resolve(signal.reason)
      return bytes()
    })
    const call = a.call('b', 'slow', bytes(), { timeoutMs: 60_000 })
    await started.promise
    w.network.cut('a', 'b')
    await fails(call, 'UNREACHABLE', 'unknown')
    assert.ok(KeelsonError.hasCode(await reason.promise, 'UNREACHABLE'))
  })

  test('is not answered by what an earlier connection asked', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    const go = deferred<void>()
    let asked = 0
    b.handle('slow', async () => {
      const mine = ++asked
      if (mine === 1) await go.promise
      return bytes(mine)
    })
    const first = a.call('b', 'slow', bytes())
    await until(w.env, 'the handler runs', () => asked === 1)
    w.network.cut('a', 'b')
    await fails(first, 'UNREACHABLE', 'unknown')
    w.network.heal('a', 'b')
    const second = a.call('b', 'slow', bytes())
    go.resolve()
    assert.deepEqual(await second, bytes(2))
  })

  test('takes no answer from another node', async () => {
    await using w = world()
    const a = await w.rpc('a')
    const [b, liar] = [await w.raw('b'), await w.raw('liar')]
    const request = deferred<Uint8Array>()
    b.onMessage((_peer, message) => request.resolve(message.slice()))
    const call = a.call('b', 'x', bytes())
    const question = await request.promise
    // The id is a varint behind the kind.
    let end = 1
    while ((question[end] as number) >= 0x80) end++
    const answer = (value: number): Uint8Array => bytes(2, ...question.subarray(1, end + 1), value)
    liar.send('a', answer(66))
    await until(w.env, 'the lie is dropped', () => w.metrics.text().includes('late'))
    b.send('a', answer(7))
    assert.deepEqual(await call, bytes(7))
  })

  test('is limited in number on the asking side', async () => {
    await using w = world()
    const a = await w.rpc('a', { maximumCallsPerPeer: 2, maximumCalls: 3 })
    const never = new Promise<Uint8Array>(() => {})
    for (const name of ['b', 'c']) (await w.rpc(name)).handle('slow', () => never)
    const calls = [a.call('b', 'slow', bytes()), a.call('b', 'slow', bytes())]
    await fails(a.call('b', 'slow', bytes()), 'OVERLOADED', 'none')
    calls.push(a.call('c', 'slow', bytes()))
    await fails(a.call('c', 'slow', bytes()), 'OVERLOADED', 'none')
    const ends = calls.map((call) => fails(call, 'CLOSED', 'unknown'))
    await a.close()
    await Promise.all(ends)
    await fails(a.call('c', 'slow', bytes()), 'CLOSED', 'none')
  })

  test('is limited in number on the answering side, per peer and in total', async () => {
    await using w = world()
    const b = await w.rpc('b', { maximumRequestsPerPeer: 2, maximumRequests: 3 })
    const go = deferred<void>()
    b.handle('slow', async () => {
      await go.promise
      return bytes(1)
    })
    const [a, c] = [await w.rpc('a'), await w.rpc('c')]
    const calls = [a.call('b', 'slow', bytes()), a.call('b', 'slow', bytes())]
    await fails(a.call('b', 'slow', bytes()), 'OVERLOADED', 'none')
    calls.push(c.call('b', 'slow', bytes()))
    await fails(c.call('b', 'slow', bytes()), 'OVERLOADED', 'none')
    go.resolve()
    for (const call of calls) assert.deepEqual(await call, bytes(1))
  })

  test('is limited in size, both ways', async () => {
    await using w = world()
    const limits = { maximumBodyBytes: 100 }
    const [a, b] = [await w.rpc('a', limits), await w.rpc('b', limits)]
    const generous = await w.rpc('c', { maximumBodyBytes: 1000 })
    b.handle('grow', async () => new Uint8Array(101))
    b.handle('echo', async (_peer, body) => body)
    assert.equal((await a.call('b', 'echo', new Uint8Array(100))).length, 100)
    await fails(a.call('b', 'echo', new Uint8Array(101)), 'LIMIT_EXCEEDED', 'none')
    await fails(generous.call('b', 'echo', new Uint8Array(101)), 'LIMIT_EXCEEDED', 'none')
    await fails(a.call('b', 'grow', bytes()), 'LIMIT_EXCEEDED', 'unknown')
  })

  test('survives a peer that talks nonsense', async () => {
    await using w = world()
    const b = await w.rpc('b')
    b.handle('echo', async (_peer, body) => body)
    const raw = await w.raw('a')
    const nonsense = [
      bytes(),
      bytes(0),
      bytes(99, 1),
      bytes(1),
      bytes(1, 1, 200, 1),
      bytes(1, 1, 3, 0xff, 0xff, 0xff),
      bytes(3, 1, 0xc1),
      bytes(4, 1, 1),
      bytes(9, 0xff, 0xff, 0xff, 0x7f),
      bytes(2, 1, 1, 1),
      bytes(6, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80),
      new Uint8Array(50_000).fill(0xff),
    ]
    for (const message of nonsense) assert.equal(raw.send('b', message), true)
    const c = await w.rpc('c')
    assert.deepEqual(await c.call('b', 'echo', bytes(1)), bytes(1))
    const dropped = [...w.metrics.text().matchAll(/reason="(\w+)"} (\d+)/g)].reduce(
      (n, m) => n + Number(m[2]),
      0,
    )
    assert.equal(dropped, nonsense.length)
  })

  test('waits with its answer for room in the queue', async () => {
    await using w = world({ maximumQueuedMessages: 4 })
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    const go = deferred<void>()
    let running = 0
    b.handle('slow', async (_peer, body) => {
      running++
      await go.promise
      return body
    })
    const calls: Promise<Uint8Array>[] = []
    for (let i = 0; i < 20; i++) {
      calls.push(a.call('b', 'slow', bytes(i)))
      await until(w.env, 'the handler runs', () => running === i + 1)
    }
    go.resolve()
    assert.deepEqual(
      (await Promise.all(calls)).map((answer) => answer[0]),
      calls.map((_, i) => i),
    )
  })

  test('tells its callers when the node closes', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    let running = false
    b.handle('slow', () => {
      running = true
      return new Promise(() => {})
    })
    const call = a.call('b', 'slow', bytes(), { timeoutMs: 60_000 })
    await until(w.env, 'the handler runs', () => running)
    await b.close()
    await fails(call, 'UNREACHABLE', 'unknown')
  })

  test('checks options, names and timeouts', async () => {
    await using w = world()
    const channel = await w.raw('a')
    const refused = (options: object): void =>
      assert.throws(
        () => new Rpc({ env: w.env, channel, ...options }),
        (error) => KeelsonError.hasCode(error, 'INVALID_OPTION'),
      )
    refused({ callTimeout: 5 })
    refused({ maximumCalls: 0 })
    refused({ maximumBodyBytes: channel.maximumMessageBytes })
    refused({ authorize: 'no' })
    assert.throws(() => new Rpc({ env: w.env } as never), /channel/)
    const rpc = new Rpc({ env: w.env, channel })
    rpc.handle('once', async () => bytes())
    assert.throws(() => rpc.handle('once', async () => bytes()), /already/)
    assert.throws(() => rpc.handle('no name', async () => bytes()), /no name/)
    await fails(rpc.call('b', 'x', bytes(), { timeoutMs: 0 }), 'INVALID_OPTION', 'none')
    await rpc.close()
    await rpc.close()
  })
})
