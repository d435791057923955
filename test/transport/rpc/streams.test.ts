import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { deferred, sleep } from '../../../src/core/async.ts'
import { BytePool } from '../../../src/core/byte-pool.ts'
import { type ErrorCode, KeelsonError } from '../../../src/core/errors.ts'
import { until } from '../../../src/testing/compliance.ts'
import { RpcEncoder, type RpcFrame } from '../../../src/transport/rpc/frames.ts'
import { bytes, world } from './support.ts'

const encodeRpc = (frame: RpcFrame): Uint8Array => new RpcEncoder(new BytePool()).encode(frame)

const hasCode = (code: ErrorCode) => (error: unknown) => {
  assert.ok(KeelsonError.is(error), String(error))
  assert.equal(error.code, code, error.message)
  return true
}

async function* count(limit: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < limit; i++) yield bytes(i & 0xff, i >>> 8)
}

suite('a remote stream', () => {
  test('carries all items in order and ends', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a', { streamWindowBytes: 1_024 }), await w.rpc('b')]
    b.handleStream('count', (_peer, body) => count((body[0] as number) * 100))
    let next = 0
    for await (const item of a.stream('b', 'count', bytes(20))) {
      assert.deepEqual(item, bytes(next & 0xff, next >>> 8))
      next++
    }
    assert.equal(next, 2_000)
  })

  test('does not run ahead of a slow consumer', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a', { streamWindowBytes: 10_000 }), await w.rpc('b')]
    let made = 0
    b.handleStream('blocks', async function* () {
      for (;;) {
        made++
        yield new Uint8Array(1_000)
      }
    })
    const items = a.stream('b', 'blocks', bytes())
    await items.next()
    let before = 0
    while (before !== made) {
      before = made
      await sleep(w.env.timers, 20)
    }
    assert.ok(made <= 13, `${made} items of a window of ten`)
    for (let i = 0; i < 100; i++) await items.next()
    assert.ok(made >= 100)
    await items.return?.()
  })

  test("gives the handler's error after the items before it", async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    b.handleStream('break', async function* () {
      yield* count(2)
      throw new KeelsonError('COMPACTED', 'gone', { details: { compactRevision: 9 } })
    })
    b.handleStream('leak', async function* () {
      yield* count(1)
      throw new Error('password')
    })
    b.handleStream('large', async function* () {
      yield new Uint8Array(3_000_000)
    })
    const items = a.stream('b', 'break', bytes())
    await items.next()
    await items.next()
    await assert.rejects(items.next(), hasCode('COMPACTED'))
    const leak = a.stream('b', 'leak', bytes())
    await leak.next()
    await assert.rejects(leak.next(), (e) => hasCode('IO')(e) && !(e as Error).message.includes('password'))
    await assert.rejects(a.stream('b', 'large', bytes()).next(), hasCode('LIMIT_EXCEEDED'))
  })

  test('is closed over there when its loop is left', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    const closed = deferred<void>()
    b.handleStream('forever', async function* (_peer, _body, { signal }) {
      try {
        yield bytes(1)
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
      } finally {
        closed.resolve()
      }
    })
    for await (const item of a.stream('b', 'forever', bytes())) {
      assert.deepEqual(item, bytes(1))
      break
    }
    await closed.promise
  })

  test('ends at once with its signal, also while it waits', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    const closed = deferred<void>()
    b.handleStream('quiet', async function* (_peer, _body, { signal }) {
      yield bytes(1)
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      closed.resolve()
    })
    const abort = new AbortController()
    const items = a.stream('b', 'quiet', bytes(), { signal: abort.signal })
    await items.next()
    const waiting = items.next()
    abort.abort()
    await assert.rejects(waiting, hasCode('ABORTED'))
    await assert.rejects(items.next(), hasCode('ABORTED'))
    await closed.promise
    const late = a.stream('b', 'quiet', bytes(), { signal: abort.signal })
    await assert.rejects(late.next(), hasCode('ABORTED'))
  })

  test('leaves a handler behind that ignores its signal', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b', { maximumStreamsPerPeer: 1 })]
    b.handleStream('deaf', async function* () {
      yield bytes(1)
      await new Promise(() => {})
    })
    for (let i = 0; i < 5; i++) {
      const items = a.stream('b', 'deaf', bytes())
      assert.deepEqual((await items.next()).value, bytes(1))
      await items.return?.()
    }
  })

  test('breaks when its connection does, on both sides', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    const reason = deferred<unknown>()
    b.handleStream('quiet', async function* (_peer, _body, { signal }) {
      yield bytes(1)
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      reason.resolve(signal.reason)
    })
    const items = a.stream('b', 'quiet', bytes())
    await items.next()
    const waiting = items.next()
    w.network.cut('a', 'b')
    await assert.rejects(waiting, hasCode('UNREACHABLE'))
    assert.ok(KeelsonError.hasCode(await reason.promise, 'UNREACHABLE'))
    await assert.rejects(a.stream('b', 'quiet', bytes()).next(), hasCode('UNREACHABLE'))
  })

  test('breaks when its peer falls silent without a word, on both sides', async () => {
    await using w = world()
    const fast = { probeIntervalMs: 5 }
    const [a, b] = [await w.rpc('a', fast), await w.rpc('b', fast)]
    const stopped = deferred<void>()
    b.handleStream('quiet', async function* (_peer, _body, { signal }) {
      yield bytes(1)
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      stopped.resolve()
    })
    const items = a.stream('b', 'quiet', bytes())
    await items.next()
    w.network.cut('a', 'b', { silent: true })
    await assert.rejects(items.next(), hasCode('UNREACHABLE'))
    await stopped.promise
  })

  test('stays open as long as nothing happens but its peer lives', async () => {
    await using w = world()
    const fast = { probeIntervalMs: 2 }
    const [a, b] = [await w.rpc('a', fast), await w.rpc('b', fast)]
    const go = deferred<void>()
    b.handleStream('quiet', async function* () {
      yield bytes(1)
      await go.promise
      yield bytes(2)
    })
    const items = a.stream('b', 'quiet', bytes())
    await items.next()
    const waiting = items.next()
    await sleep(w.env.timers, 100)
    go.resolve()
    assert.deepEqual((await waiting).value, bytes(2))
  })

  test('notices a lost item, by the next one or by asking', async () => {
    await using w = world()
    const a = await w.rpc('a', { probeIntervalMs: 5 })
    const b = await w.raw('b')
    let id = 0
    b.onMessage((peer, message) => {
      if (message[0] === 5) id = idOf(message)
      // To every question of the probe: one item was sent.
      if (message[0] === 9) b.send(peer.nodeId, encodeRpc({ type: 'state', streams: [[id, 2]] }))
    })
    const silent = a.stream('b', 'x', bytes())
    await assert.rejects(silent.next(), hasCode('UNREACHABLE'))
    const gap = a.stream('b', 'x', bytes())
    const waiting = gap.next()
    const old = id
    await until(w.env, 'the stream is opened', () => id !== old)
    b.send('a', encodeRpc({ type: 'item', id, sequence: 2, body: bytes(1) }))
    await assert.rejects(waiting, hasCode('UNREACHABLE'))
    const short = a.stream('b', 'x', bytes())
    const ending = short.next()
    const before = id
    await until(w.env, 'the stream is opened', () => id !== before)
    b.send('a', encodeRpc({ type: 'end', id, sequence: 1 }))
    await assert.rejects(ending, hasCode('UNREACHABLE'))
  })

  test('refuses a sender that goes beyond its credit', async () => {
    await using w = world()
    const a = await w.rpc('a', { streamWindowBytes: 1_024 })
    const b = await w.raw('b')
    let cancelled = 0
    b.onMessage((peer, message) => {
      if (message[0] === 4) cancelled++
      if (message[0] !== 5) return
      for (let i = 1; i <= 10; i++) {
        b.send(
          peer.nodeId,
          encodeRpc({ type: 'item', id: idOf(message), sequence: i, body: new Uint8Array(500) }),
        )
      }
    })
    const items = a.stream('b', 'flood', bytes())
    await items.next()
    await until(w.env, 'the flood is refused', () => cancelled === 1)
    await assert.rejects(async () => {
      for (;;) await items.next()
    }, hasCode('MALFORMED'))
  })

  test('is limited in number, on both sides', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a', { maximumStreamsPerPeer: 2 }), await w.rpc('b')]
    const c = await w.rpc('c', { maximumStreams: 1 })
    for (const rpc of [b, c]) {
      rpc.handleStream('open', async function* () {
        yield bytes(1)
        await new Promise(() => {})
      })
    }
    const open = [a.stream('b', 'open', bytes()), a.stream('b', 'open', bytes())]
    for (const items of open) await items.next()
    await assert.rejects(a.stream('b', 'open', bytes()).next(), hasCode('OVERLOADED'))
    await open[0]?.return?.()
    const again = a.stream('b', 'open', bytes())
    assert.deepEqual((await again.next()).value, bytes(1))
    await a.stream('c', 'open', bytes()).next()
    await assert.rejects(a.stream('c', 'open', bytes()).next(), hasCode('OVERLOADED'))
  })

  test('waits for room in a full queue instead of losing items', async () => {
    await using w = world({ maximumQueuedMessages: 3 })
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    b.handleStream('count', () => count(100))
    let items = 0
    for await (const _item of a.stream('b', 'count', bytes())) items++
    assert.equal(items, 100)
  })

  test('that was closed by its node tells the consumer', async () => {
    await using w = world()
    const [a, b] = [await w.rpc('a'), await w.rpc('b')]
    b.handleStream('open', async function* () {
      yield bytes(1)
      await new Promise(() => {})
    })
    const items = a.stream('b', 'open', bytes())
    await items.next()
    const waiting = items.next()
    await b.close()
    await assert.rejects(waiting, hasCode('UNREACHABLE'))
    const mine = a.stream('b', 'open', bytes())
    await a.close()
    await assert.rejects(mine.next(), hasCode('CLOSED'))
  })
})

function idOf(message: Uint8Array): number {
  let id = 0
  let factor = 1
  for (let at = 1; ; at++) {
    const byte = message[at] as number
    id += (byte & 0x7f) * factor
    if (byte < 0x80) return id
    factor *= 0x80
  }
}
