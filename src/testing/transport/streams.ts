import assert from 'node:assert/strict'
import { deferred, sleep } from '../../core/async.ts'
import { KeelsonError } from '../../core/errors.ts'
import { until } from '../compliance.ts'
import { beside, collect, connect, refused, type TransportCase, two } from './harness.ts'

/** Streams: order, backpressure, and every way in which one ends. @internal */
export const streamCases: Readonly<Record<string, TransportCase>> = {
  'carries a stream with its header, in order, and ends after its handler': async (harness) => {
    const { a, fromA, fromB } = await two(harness)
    const chunks: number[] = []
    let finished = false
    fromB.onStream(async (peer, header, incoming) => {
      assert.deepEqual(peer, a.self)
      assert.deepEqual(header, new Uint8Array([9, 9]))
      for await (const chunk of incoming) chunks.push(chunk.length)
      await sleep(harness.env.timers, 5)
      finished = true
    })
    const stream = await fromA.openStream('b', new Uint8Array([9, 9]))
    const sizes = [1, 0, 70_000, 3, fromA.maximumMessageBytes, 5]
    for (const size of sizes) await stream.write(new Uint8Array(size))
    await stream.end()
    assert.equal(finished, true)
    assert.deepEqual(chunks, sizes)
  },

  'holds up a writer whose reader is slow': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const go = deferred<void>()
    let read = 0
    fromB.onStream(async (_peer, _header, incoming) => {
      await go.promise
      for await (const chunk of incoming) read += chunk.length
    })
    const stream = await fromA.openStream('b', new Uint8Array(0))
    const chunk = new Uint8Array(64 * 1024)
    let written = 0
    const writing = beside(async () => {
      for (let i = 0; i < 1_000; i++) {
        await stream.write(chunk)
        written++
      }
      await stream.end()
    })
    let before = -1
    while (written !== before) {
      before = written
      await sleep(harness.env.timers, 50)
    }
    assert.ok(written < 1_000, 'the writer was never held up')
    assert.equal(read, 0)
    go.resolve()
    await writing
    assert.equal(read, 1_000 * chunk.length)
  },

  'carries messages past a stream that stands still': async (harness) => {
    const { a, b, fromA, fromB } = await two(harness)
    const [controlA, controlB] = [
      a.channel('control', { traffic: 'control' }),
      b.channel('control', { traffic: 'control' }),
    ]
    const go = deferred<void>()
    fromB.onStream(async () => go.promise)
    const stream = await fromA.openStream('b', new Uint8Array(0))
    const abort = new AbortController()
    const writing = beside(async () => {
      for (;;) await stream.write(new Uint8Array(100_000), { signal: abort.signal })
    })
    const received = collect(controlB)
    controlA.send('b', new Uint8Array([1]))
    await until(harness.env, 'the message', () => received.length === 1)
    abort.abort()
    await refused(writing, 'ABORTED')
    go.resolve()
    stream.destroy()
  },

  'runs streams side by side, in both directions': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const totals = new Map<number, number>()
    for (const channel of [fromA, fromB]) {
      channel.onStream(async (_peer, header, incoming) => {
        let total = 0
        for await (const chunk of incoming) total += chunk.length
        totals.set(header[0] as number, total)
      })
    }
    const run = async (id: number): Promise<void> => {
      const stream = await (id % 2 === 0
        ? fromA.openStream('b', new Uint8Array([id]))
        : fromB.openStream('a', new Uint8Array([id])))
      for (let i = 0; i < 20; i++) await stream.write(new Uint8Array(10_000 + id))
      await stream.end()
    }
    await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(run))
    for (let id = 0; id < 8; id++) assert.equal(totals.get(id), 20 * (10_000 + id))
  },

  "passes a handler's error to the sender, and keeps a stranger's to itself": async (harness) => {
    const { fromA, fromB } = await two(harness)
    fromB.onStream(async (_peer, header) => {
      if (header.length === 0) throw new KeelsonError('CONFLICT', 'not now', { details: { why: 7 } })
      throw new Error('the secret is 1234')
    })
    const known = await fromA.openStream('b', new Uint8Array(0))
    const conflict = await refused(known.end(), 'CONFLICT')
    assert.deepEqual({ ...conflict.details }, { why: 7 })
    const unknown = await fromA.openStream('b', new Uint8Array(1))
    const failure = await refused(unknown.end(), 'IO')
    assert.ok(!failure.message.includes('1234'), failure.message)
  },

  'tells a writer that its reader has left': async (harness) => {
    const { fromA, fromB } = await two(harness)
    fromB.onStream(async (_peer, _header, incoming) => {
      for await (const chunk of incoming) if (chunk.length > 0) break
    })
    const stream = await fromA.openStream('b', new Uint8Array(0))
    const writing = beside(async () => {
      for (;;) {
        await stream.write(new Uint8Array(1_000))
        await sleep(harness.env.timers, 1)
      }
    })
    await refused(writing, 'ABORTED')
    await stream.end()
  },

  'tells a reader that its writer broke off': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const outcome = deferred<unknown>()
    fromB.onStream(async (_peer, _header, incoming) => {
      try {
        for await (const chunk of incoming) assert.equal(chunk.length, 3)
        outcome.resolve('ended')
      } catch (error) {
        outcome.resolve(error)
      }
    })
    const stream = await fromA.openStream('b', new Uint8Array(0))
    await stream.write(new Uint8Array(3))
    stream.destroy()
    stream.destroy()
    assert.ok(KeelsonError.hasCode(await outcome.promise, 'ABORTED'))
    await refused(stream.write(new Uint8Array(1)), 'ABORTED')
  },

  'breaks streams when their connection does, on both sides': async (harness) => {
    const { b, fromA, fromB } = await two(harness)
    const outcome = deferred<unknown>()
    fromB.onStream(async (_peer, _header, incoming) => {
      try {
        for await (const chunk of incoming) assert.equal(chunk.length, 3)
        outcome.resolve('ended')
      } catch (error) {
        outcome.resolve(error)
      }
    })
    const stream = await fromA.openStream('b', new Uint8Array(0))
    await stream.write(new Uint8Array(3))
    const ending = beside(async () => {
      for (;;) {
        await stream.write(new Uint8Array(3))
        await sleep(harness.env.timers, 1)
      }
    })
    const broken = beside(() => refused(ending, 'UNREACHABLE'))
    await b.close()
    await broken
    assert.ok(KeelsonError.hasCode(await outcome.promise, 'UNREACHABLE'))
  },

  'refuses a stream that nobody takes, and one to nobody': async (harness) => {
    const { fromA, fromB } = await two(harness)
    await connect(harness, fromA, 'b', collect(fromB))
    await refused(fromA.openStream('b', new Uint8Array(0)), 'UNSUPPORTED')
    await refused(fromA.openStream('nobody', new Uint8Array(0)), 'UNREACHABLE')
    await refused(fromA.openStream('a', new Uint8Array(0)), 'UNREACHABLE')
  },

  'refuses a chunk above the limit': async (harness) => {
    const { fromA, fromB } = await two(harness)
    fromB.onStream(async (_peer, _header, incoming) => {
      for await (const chunk of incoming) assert.equal(chunk.length, 1)
    })
    const stream = await fromA.openStream('b', new Uint8Array(0))
    await refused(stream.write(new Uint8Array(fromA.maximumMessageBytes + 1)), 'LIMIT_EXCEEDED')
    await stream.write(new Uint8Array(1))
    await stream.end()
  },

  'limits the number of streams': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const go = deferred<void>()
    fromB.onStream(async () => go.promise)
    let opened = 0
    const error = await refused(
      (async () => {
        for (; opened < 10_000; opened++) await fromA.openStream('b', new Uint8Array(0))
      })(),
      'OVERLOADED',
    )
    assert.equal(error.retryable, true)
    assert.ok(opened > 0)
    go.resolve()
  },

  'ends waiting calls whose signal is aborted': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const go = deferred<void>()
    fromB.onStream(async () => go.promise)
    const gone = AbortSignal.abort()
    await refused(fromA.openStream('b', new Uint8Array(0), { signal: gone }), 'ABORTED')
    const stream = await fromA.openStream('b', new Uint8Array(0))
    await refused(stream.write(new Uint8Array(1), { signal: gone }), 'ABORTED')
    const abort = new AbortController()
    const ending = beside(() => refused(stream.end({ signal: abort.signal }), 'ABORTED'))
    abort.abort()
    assert.equal((await ending).outcome, 'unknown')
    go.resolve()
  },
}
