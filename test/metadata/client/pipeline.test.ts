import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Deferred, deferred } from '../../../src/core/async.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { LeaderFinder } from '../../../src/metadata/client/leader-finder.ts'
import { type AskServer, clientTuningDefaults as tuning } from '../../../src/metadata/client/options.ts'
import { Pipeline } from '../../../src/metadata/client/pipeline.ts'
import { Router } from '../../../src/metadata/client/router.ts'
import {
  type BatchItemType,
  decodeBatch,
  encodeAnswers,
  encodeNumber,
  methods,
} from '../../../src/metadata/protocol.ts'
import { VirtualTime } from '../support/virtual-environment.ts'

/** A batch at the server, which answers when it is told to. */
interface Asked {
  readonly atMs: number
  readonly types: readonly BatchItemType[]
  readonly sequences: readonly number[]
  answer(): void
  /** Says this of each request. */
  refuse(error: KeelsonError): void
  /** Fails as a whole. */
  fail(error: KeelsonError): void
}

class World {
  readonly time = new VirtualTime()
  readonly asked: Asked[] = []
  readonly pipeline: Pipeline
  /** What comes of opening a client session. */
  open: () => Promise<Uint8Array> = async () => encodeNumber(7)
  readonly #closed = new AbortController()

  constructor() {
    const env = this.time.environment()
    const closed = this.#closed.signal
    const servers = (): string[] => ['n1']
    const ask: AskServer = async (_peer, method, body) =>
      method === methods.open ? this.open() : this.#take(body)
    const finder = new LeaderFinder({ env, servers, ask, closed })
    const router = new Router({ env, tuning, servers, sticky: undefined, ask, finder, closed })
    this.pipeline = new Pipeline({ env, tuning, router, ask, finder, closed })
  }

  run(type: BatchItemType, count = 1): Promise<readonly Uint8Array[]> {
    const asItIs = (answer: Uint8Array): Uint8Array => answer
    const calls = Array.from({ length: count }, () => this.pipeline.run(type, Uint8Array.of(1), asItIs, {}))
    return Promise.all(calls)
  }

  /** Calls a method that goes alone. */
  call(ask: AskServer, write: boolean): Promise<Uint8Array> {
    const env = this.time.environment()
    const closed = this.#closed.signal
    const servers = (): string[] => ['n1']
    const finder = new LeaderFinder({ env, servers, ask, closed })
    const router = new Router({ env, tuning, servers, sticky: undefined, ask, finder, closed })
    return router.call(methods.revoke, encodeNumber(1), { to: 'leader', write })
  }

  /** So many batches are at the server. */
  async reached(batches: number): Promise<Asked> {
    for (let turns = 0; this.asked.length < batches; turns++) {
      assert.ok(turns < 100, `only ${this.asked.length} batches`)
      await new Promise((resolve) => setImmediate(resolve))
    }
    return this.asked.at(-1) as Asked
  }

  async #take(body: Uint8Array): Promise<Uint8Array> {
    const { items } = decodeBatch(body)
    const answers: Deferred<Uint8Array> = deferred()
    this.asked.push({
      atMs: this.time.nowMs,
      types: items.map(({ type }) => type),
      sequences: items.map(({ sequence }) => sequence),
      answer: () =>
        answers.resolve(
          encodeAnswers(
            items.map(() => Uint8Array.of(1)),
            1e6,
          ),
        ),
      refuse: (error) =>
        answers.resolve(
          encodeAnswers(
            items.map(() => error),
            1e6,
          ),
        ),
      fail: (error) => answers.reject(error),
    })
    return answers.promise
  }
}

suite('batches of a client', () => {
  test('a few writes wait for those under way and go together with what follows them', async () => {
    const world = new World()
    const first = world.run('txn', 3)
    const before = await world.reached(1)
    assert.deepEqual(before.sequences, [1, 2, 3])
    const second = world.run('txn', 2)
    const answered = first.then(() => world.run('txn', 3))
    before.answer()
    const after = await world.reached(2)
    assert.deepEqual(after.sequences, [4, 5, 6, 7, 8])
    after.answer()
    await Promise.all([second, answered])
    assert.equal(world.asked.length, 2)
  })

  test('they do not wait long', async () => {
    const world = new World()
    const first = world.run('txn')
    const before = await world.reached(1)
    const second = world.run('txn')
    const after = await world.reached(2)
    assert.equal(after.atMs - before.atMs, 5)
    before.answer()
    after.answer()
    await Promise.all([first, second])
  })

  test('many do not wait, and reads never', async () => {
    const world = new World()
    const first = world.run('txn')
    const before = await world.reached(1)
    const few = world.run('txn', 10)
    const reads = world.run('read', 2)
    const read = await world.reached(2)
    assert.deepEqual([read.types, read.atMs], [['read', 'read'], before.atMs])
    const many = world.run('txn', 54)
    const rest = await world.reached(3)
    assert.deepEqual([rest.types.length, rest.atMs], [64, before.atMs])
    for (const asked of world.asked) asked.answer()
    await Promise.all([first, few, reads, many])
  })
})

const unauthorized = new KeelsonError('UNAUTHORIZED', 'you may not', { details: { role: 'none' } })
const unanswered = new KeelsonError('OUTCOME_UNKNOWN', 'no answer in time')

suite('final refusals', () => {
  test('of a write that was sent once had no effect', async () => {
    const world = new World()
    const first = world.run('txn')
    const asked = await world.reached(1)
    asked.refuse(unauthorized)
    await assert.rejects(first, { code: 'UNAUTHORIZED', outcome: 'none', message: 'you may not' })
    const second = world.run('txn')
    const again = await world.reached(2)
    again.fail(unauthorized)
    await assert.rejects(second, { code: 'UNAUTHORIZED', outcome: 'none' })
  })

  const repeated = async (refuse: (asked: Asked) => void): Promise<Promise<unknown>> => {
    const world = new World()
    const writes = world.run('txn', 2)
    const first = await world.reached(1)
    first.fail(unanswered)
    const second = await world.reached(2)
    assert.deepEqual(second.sequences, first.sequences)
    refuse(second)
    return writes
  }

  test('of a repeated write leave open what its earlier attempts did', async () => {
    const expected = {
      code: 'UNAUTHORIZED',
      outcome: 'unknown',
      retryable: false,
      details: { role: 'none' },
      message: /you may not; an earlier attempt/,
    }
    await assert.rejects(
      repeated((asked) => asked.refuse(unauthorized)),
      expected,
    )
    await assert.rejects(
      repeated((asked) => asked.fail(unauthorized)),
      expected,
    )
  })

  test('of a client session leave open what was sent in the one before', async () => {
    const world = new World()
    const lost = world.run('txn', 64)
    const before = await world.reached(1)
    const forgotten = world.run('txn', 64)
    const after = await world.reached(2)
    const opening = deferred<void>()
    const opened = deferred<Uint8Array>()
    world.open = () => {
      opening.resolve()
      return opened.promise
    }
    after.refuse(new KeelsonError('SESSION_UNKNOWN', 'evicted'))
    await opening.promise
    before.fail(unanswered)
    // Whoever waits for the new session ends with it.
    opened.reject(unauthorized)
    await assert.rejects(forgotten, { code: 'UNAUTHORIZED', outcome: 'none' })
    await assert.rejects(lost, { code: 'UNAUTHORIZED', outcome: 'unknown' })
  })

  test('of a call that is no part of a batch leave it open, too', async () => {
    const world = new World()
    let attempts = 0
    const ask = async (): Promise<never> => {
      throw ++attempts === 1 ? unanswered : unauthorized
    }
    const write = world.call(ask, true)
    await assert.rejects(write, { code: 'UNAUTHORIZED', outcome: 'unknown' })
    attempts = 0
    await assert.rejects(world.call(ask, false), { code: 'UNAUTHORIZED', outcome: 'none' })
  })
})
