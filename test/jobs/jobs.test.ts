import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text, utf8 } from '../../src/core/bytes.ts'
import { Fields, KeelsonError, sleep } from '../../src/core/index.ts'
import type { MetadataStore } from '../../src/interfaces/index.ts'
import { type Job, type JobContext, JobRunner, Jobs, type JobType } from '../../src/jobs/index.ts'
import { ControllerEpoch, memoryStore, prefixSelector } from '../../src/metadata/index.ts'
import { FaultyStore, type StoreFault } from '../support/faulty-store.ts'
import { VirtualTime } from '../support/virtual-time.ts'

interface Count {
  readonly done: number
  readonly upTo: number
}

const counterKey = utf8('/counter')

/** Steps that were refused because another job changed the counter first. */
let conflicts = 0

/** Counts a key up, one transaction a step, and down again when it is undone. */
function countJob(steps: { before?: (context: JobContext<Count>) => Promise<void> } = {}): JobType<Count> {
  const add = async (context: JobContext<Count>, store: MetadataStore, by: number): Promise<void> => {
    for (;;) {
      const entry = await store.get(counterKey)
      const value = Number(entry === undefined ? '0' : text(entry.value)) + by
      const compare = { key: counterKey, target: 'modRevision', is: '=' } as const
      const done = await context.txn(
        {
          if: [{ ...compare, operand: entry?.modRevision ?? 0 }],
          then: [{ type: 'put', key: counterKey, value: utf8(String(value)) }],
        },
        { ...context.state, done: context.state.done + by },
        { message: `counted to ${value}`, fraction: (context.state.done + by) / context.state.upTo },
      )
      if (done) return
      conflicts++
    }
  }
  return {
    type: 'count',
    encode: (state) => [state.done, state.upTo],
    decode: (state) => {
      const fields = new Fields(state, 'a count')
      return { done: fields.uint('done'), upTo: fields.uint('upTo') }
    },
    run: async (context) => {
      while (context.state.done < context.state.upTo) {
        await steps.before?.(context)
        await add(context, world.store, 1)
      }
      return `counted ${context.state.done}`
    },
    revert: async (context) => {
      while (context.state.done > 0) await add(context, world.store, -1)
      return 'counted back'
    },
  }
}

/** What the test at hand runs in. Tests of one file run one after the other. */
let world: { time: VirtualTime; store: MetadataStore; jobs: Jobs }

function newWorld(seed = 1): typeof world {
  const time = new VirtualTime(seed)
  const store = memoryStore({ env: time.env })
  world = { time, store, jobs: new Jobs({ store, env: time.env }) }
  return world
}

async function runner(
  types: readonly JobType<unknown>[],
  options: { concurrency?: number; historyLimit?: number; maximumFailures?: number } = {},
): Promise<JobRunner> {
  const { time, store } = world
  return JobRunner.start({ env: time.env, store, epoch: await newEpoch(), types, ...options })
}

async function newEpoch(store: MetadataStore = world.store): Promise<ControllerEpoch> {
  return ControllerEpoch.acquire(store, 'controllers', 'a test')
}

async function keysUnder(prefix: string): Promise<number> {
  return (await world.store.range(prefixSelector(utf8(prefix)))).count
}

async function counter(): Promise<number> {
  const entry = await world.store.get(counterKey)
  return entry === undefined ? 0 : Number(text(entry.value))
}

suite('jobs', () => {
  test('a job runs to its end, and what it did is remembered', async () => {
    const { time, jobs } = newWorld()
    const { job, created } = await jobs.create(countJob(), { done: 0, upTo: 3 }, { reason: 'a test' })
    assert.equal(created, true)
    assert.equal(job.status, 'queued')
    await using started = await runner([countJob()])
    const ended = await time.until(jobs.ended(job.jobId))
    assert.equal(ended.status, 'succeeded')
    assert.equal(ended.outcome, 'counted 3')
    assert.equal(ended.reason, 'a test')
    assert.deepEqual(ended.progress, { message: 'counted to 3', fraction: 1 })
    assert.equal(ended.attempts, 1)
    assert.equal(await counter(), 3)
    assert.deepEqual(started.running(), [])
  })

  test('one unfinished job per key; a finished one makes room', async () => {
    const { time, jobs } = newWorld()
    const options = { reason: 'a test', key: 'k' }
    const first = await jobs.create(countJob(), { done: 0, upTo: 1 }, options)
    const second = await jobs.create(countJob(), { done: 0, upTo: 9 }, options)
    assert.equal(second.created, false)
    assert.equal(second.job.jobId, first.job.jobId)
    await using _ = await runner([countJob()])
    await time.until(jobs.ended(first.job.jobId))
    const third = await jobs.create(countJob(), { done: 0, upTo: 1 }, options)
    assert.equal(third.created, true)
    assert.equal(third.job.jobId, 2)
  })

  test('of many creators at once one creates', async () => {
    const { jobs } = newWorld()
    const all = await Promise.all(
      Array.from({ length: 8 }, () =>
        jobs.create(countJob(), { done: 0, upTo: 1 }, { reason: 'a test', key: 'k' }),
      ),
    )
    assert.equal(all.filter(({ created }) => created).length, 1)
    assert.equal(new Set(all.map(({ job }) => job.jobId)).size, 1)
    assert.equal((await jobs.list()).length, 1)
  })

  test('a creator whose answer was lost finds its own job', async () => {
    for (const fault of ['lost', 'unknown'] as const) {
      for (const key of [undefined, 'k']) {
        const { time, store } = newWorld()
        let faults = 1
        const faulty = new FaultyStore(store, (_, what) =>
          what === 'txn' && faults-- > 0 ? fault : undefined,
        )
        const jobs = new Jobs({ store: faulty, env: time.env })
        const options = { reason: 'a test', ...(key === undefined ? {} : { key }) }
        const { created } = await time.until(jobs.create(countJob(), { done: 0, upTo: 1 }, options))
        assert.equal(created, true, fault)
        assert.equal((await jobs.list()).length, 1, fault)
      }
    }
  })

  test('pause, resume and cancel', async () => {
    const { time, jobs } = newWorld()
    const slow = countJob({ before: (context) => context.sleep(1000) })
    const { job } = await jobs.create(slow, { done: 0, upTo: 10 }, { reason: 'a test' })
    await using started = await runner([slow])
    await time.advance(3500)
    assert.equal(await counter(), 3)
    await jobs.pause(job.jobId, 'lunch')
    await time.advance(1)
    assert.equal((await jobs.get(job.jobId))?.status, 'paused', 'a sleeping job pauses at once')
    await time.advance(5000)
    assert.equal(await counter(), 3)
    const resting = (await jobs.get(job.jobId)) as Job
    assert.equal(resting.status, 'paused')
    assert.equal(resting.wishReason, 'lunch')
    assert.deepEqual(resting.waitingFor, ['resume'])
    assert.deepEqual(started.running(), [])
    await jobs.resume(job.jobId, 'back')
    await time.advance(2500)
    assert.equal(await counter(), 5)
    await jobs.cancel(job.jobId, 'enough')
    const ended = await time.until(jobs.ended(job.jobId))
    assert.equal(ended.status, 'cancelled')
    assert.equal(ended.outcome, 'counted back')
    assert.equal(await counter(), 0)
    await assert.rejects(
      jobs.cancel(job.jobId, 'again').then(() => jobs.pause(job.jobId, 'x')),
      {
        code: 'CONFLICT',
      },
    )
  })

  test('a retryable error is tried again with backoff, any other ends the job and undoes it', async () => {
    const { time, jobs } = newWorld()
    let failures = 3
    const flaky = countJob({
      before: async ({ state }) => {
        if (state.done === 1 && failures-- > 0) throw new KeelsonError('UNREACHABLE', 'nobody there')
        if (state.done === 2) throw new KeelsonError('UNSUPPORTED', 'cannot')
      },
    })
    const { job } = await jobs.create(flaky, { done: 0, upTo: 5 }, { reason: 'a test' })
    await using _ = await runner([flaky])
    await time.untilTrue('failed once', () => failures < 3)
    const before = time.nowMs
    const ended = await time.until(jobs.ended(job.jobId))
    assert.ok(time.nowMs > before, 'the backoff took time')
    assert.equal(ended.status, 'failed')
    assert.equal(ended.lastError?.code, 'UNSUPPORTED')
    assert.equal(ended.outcome, 'counted back')
    assert.equal(ended.attempts, 4)
    assert.equal(await counter(), 0)
  })

  test('failures in a row without a checkpoint between them end the job', async () => {
    const { time, jobs } = newWorld()
    const hopeless = countJob({
      before: async ({ state }) => {
        if (state.done === 2) throw new KeelsonError('UNREACHABLE', 'nobody there')
      },
    })
    const { job } = await jobs.create(hopeless, { done: 0, upTo: 5 }, { reason: 'a test' })
    await using _ = await runner([hopeless], { maximumFailures: 3 })
    const ended = await time.until(jobs.ended(job.jobId))
    assert.equal(ended.status, 'failed')
    assert.equal(ended.lastError?.code, 'UNREACHABLE')
    assert.equal(await counter(), 0)
  })

  test('what waits and for whom is told', async () => {
    const { time, jobs } = newWorld()
    const waiting = countJob({
      before: async (context) => {
        context.waitFor(['db7'])
        context.progress('waits for db7 to catch up')
        await context.sleep(60_000)
        context.waitFor([])
      },
    })
    const { job } = await jobs.create(waiting, { done: 0, upTo: 1 }, { reason: 'a test' })
    await using _ = await runner([waiting])
    await time.advance(5000)
    assert.deepEqual((await jobs.get(job.jobId))?.waitingFor, ['db7'])
    assert.equal((await jobs.get(job.jobId))?.progress?.message, 'waits for db7 to catch up')
    assert.deepEqual((await time.until(jobs.ended(job.jobId))).waitingFor, [])
  })

  test('no more run at once than may', async () => {
    const { time, jobs } = newWorld()
    let running = 0
    let most = 0
    const counted = countJob({
      before: async (context) => {
        most = Math.max(most, ++running)
        await context.sleep(1000).finally(() => running--)
      },
    })
    const all = await Promise.all(
      Array.from({ length: 7 }, () => jobs.create(counted, { done: 0, upTo: 2 }, { reason: 'a test' })),
    )
    await using _ = await runner([counted], { concurrency: 3 })
    await time.until(Promise.all(all.map(({ job }) => jobs.ended(job.jobId))))
    assert.equal(most, 3)
  })

  test('the history is bounded, the oldest go first', async () => {
    const { time, jobs } = newWorld()
    await using _ = await runner([countJob()], { historyLimit: 5 })
    for (let i = 0; i < 12; i++) {
      const { job } = await jobs.create(countJob(), { done: 0, upTo: 1 }, { reason: 'a test' })
      await time.until(jobs.ended(job.jobId))
    }
    await time.advance(1000)
    assert.deepEqual(
      (await jobs.list()).map((job) => job.jobId),
      [8, 9, 10, 11, 12],
    )
  })

  test('jobs of a type that this release does not know wait for one that does', async () => {
    const { time, jobs } = newWorld()
    const { job } = await jobs.create(countJob(), { done: 0, upTo: 1 }, { reason: 'a test' })
    const other: JobType<Count> = { ...countJob(), type: 'other' }
    {
      await using _ = await runner([other])
      await time.advance(10_000)
      assert.equal((await jobs.get(job.jobId))?.status, 'queued')
    }
    await using _ = await runner([other, countJob()])
    assert.equal((await time.until(jobs.ended(job.jobId))).status, 'succeeded')
  })

  test('bad input is refused', async () => {
    const { time, store, jobs } = newWorld()
    const type = countJob()
    const state = { done: 0, upTo: 1 }
    await assert.rejects(jobs.create({ ...type, type: 'No' }, state, { reason: 'x' }), {
      code: 'INVALID_ARGUMENT',
    })
    await assert.rejects(jobs.create(type, state, { reason: '' }), { code: 'INVALID_ARGUMENT' })
    await assert.rejects(jobs.create(type, state, { reason: 'x', key: '' }), { code: 'INVALID_ARGUMENT' })
    const huge: JobType<Count> = { ...type, encode: () => 'x'.repeat(300_000) }
    await assert.rejects(jobs.create(huge, state, { reason: 'x' }), { code: 'LIMIT_EXCEEDED' })
    await assert.rejects(jobs.pause(7, 'x'), { code: 'NOT_FOUND' })
    await assert.rejects(jobs.ended(7), { code: 'NOT_FOUND' })
    const few = new Jobs({ store, env: time.env, maximumJobs: 1 })
    await few.create(type, state, { reason: 'x' })
    await assert.rejects(few.create(type, state, { reason: 'x' }), { code: 'LIMIT_EXCEEDED' })
    const epoch = await newEpoch(store)
    assert.throws(
      () => JobRunner.start({ env: time.env, store, epoch, types: [], concurency: 1 } as never),
      /did you mean 'concurrency'/,
    )
    assert.throws(() => JobRunner.start({ env: time.env, store, epoch, types: [type, type] }), {
      code: 'INVALID_ARGUMENT',
    })
  })

  test('an attempt that has ended can do nothing more', async () => {
    const { time, jobs } = newWorld()
    let kept: JobContext<Count> | undefined
    const type = countJob({
      before: async (context) => {
        kept = context
      },
    })
    const { job } = await jobs.create(type, { done: 0, upTo: 1 }, { reason: 'a test' })
    await using _ = await runner([type])
    await time.until(jobs.ended(job.jobId))
    await assert.rejects((kept as JobContext<Count>).checkpoint({ done: 7, upTo: 7 }), { code: 'CLOSED' })
  })

  test('a watch that is late makes no job run again', async () => {
    const { time, store, jobs } = newWorld()
    let runs = 0
    const type: JobType<Count> = { ...countJob(), run: async () => `run ${++runs}` }
    const late = new FaultyStore(
      store,
      () => undefined,
      () => sleep(time.env.timers, 100),
    )
    const epoch = await newEpoch(late)
    await using _ = JobRunner.start({ env: time.env, store: late, epoch, types: [type] })
    await time.settle()
    const { job } = await jobs.create(type, { done: 0, upTo: 1 }, { reason: 'a test' })
    await time.until(jobs.ended(job.jobId))
    const calls = late.calls
    await time.advance(10_000)
    assert.equal(runs, 1)
    assert.equal(late.calls, calls, 'a finished job was taken up again')
  })

  test('a watch shows all jobs and every change', async () => {
    const { time, jobs } = newWorld()
    const abort = new AbortController()
    const seen: string[] = []
    const watching = (async () => {
      for await (const change of jobs.watch({ signal: abort.signal })) {
        if (change.type === 'snapshot') seen.push(`snapshot ${change.jobs.length}`)
        else if (change.type === 'changed') seen.push(change.job.status)
      }
    })()
    await time.settle()
    const { job } = await jobs.create(countJob(), { done: 0, upTo: 1 }, { reason: 'a test' })
    await using _ = await runner([countJob()])
    await time.until(jobs.ended(job.jobId))
    await time.settle()
    abort.abort()
    await watching
    assert.deepEqual(seen, ['snapshot 0', 'queued', 'running', 'running', 'succeeded'])
  })
})

suite('jobs and crashes', () => {
  const types = [countJob({ before: (context) => sleep(world.time.env.timers, 5, context.signal) })]

  /** Runs three jobs, one of which fails for good, with a fault at one call of the first owner. */
  async function scenario(fault: StoreFault | undefined, at: number): Promise<number> {
    const { time, store, jobs } = newWorld()
    const failing: JobType<Count> = {
      ...countJob({
        before: async ({ state }) => {
          if (state.done === 2) throw new KeelsonError('UNSUPPORTED', 'cannot')
        },
      }),
      type: 'failing',
    }
    const all = [...types, failing]
    const a = await jobs.create(all[0] as JobType<Count>, { done: 0, upTo: 3 }, { reason: 'a', key: 'a' })
    const b = await jobs.create(failing, { done: 0, upTo: 5 }, { reason: 'b', key: 'b' })
    let armed = false
    const faulty = new FaultyStore(store, (call) => (armed && call === at ? fault : undefined))
    const epoch = await newEpoch(faulty)
    faulty.calls = 0
    armed = true
    const first = JobRunner.start({ env: time.env, store: faulty, epoch, types: all })
    const ended = Promise.all([jobs.ended(a.job.jobId), jobs.ended(b.job.jobId)])
    await time.advance(500)
    let second: JobRunner | undefined
    if (faulty.crashed) second = await runner(all)
    const [countedJob, failedJob] = await time.until(ended)
    assert.equal(countedJob.status, 'succeeded', `${fault} at ${at}`)
    assert.equal(failedJob.status, 'failed', `${fault} at ${at}`)
    // Each step took effect exactly once, and the steps of the failed job were undone exactly once.
    assert.equal(await counter(), 3, `${fault} at ${at}`)
    assert.equal(await keysUnder('/jobs/unique/'), 0)
    await second?.close()
    if (!faulty.crashed) await first.close()
    return faulty.calls
  }

  test('a crash or a lost answer at any call changes nothing of the result', async () => {
    const calls = await scenario(undefined, 0)
    assert.ok(calls > 12, `only ${calls} calls`)
    for (const fault of ['crash', 'crashAfter', 'lost', 'unknown'] as const) {
      for (let at = 1; at <= calls; at++) await scenario(fault, at)
    }
    assert.ok(conflicts > 0, 'no two jobs ever met at the counter')
  })

  test('a deposed owner changes nothing more and stops', async () => {
    const { time, jobs } = newWorld()
    const { job } = await jobs.create(types[0] as JobType<Count>, { done: 0, upTo: 50 }, { reason: 'a test' })
    const first = await runner(types)
    await time.untilTrue('begun', async () => (await counter()) > 3)
    const second = await runner(types)
    const stopped = await time.until(first.stopped)
    assert.equal(stopped?.code, 'STALE_EPOCH')
    const ended = await time.until(jobs.ended(job.jobId))
    assert.equal(ended.status, 'succeeded')
    assert.equal(await counter(), 50)
    assert.equal(ended.epoch, (await ControllerEpoch.current(world.store, 'controllers'))?.number)
    await second.close()
    assert.equal(await keysUnder('/jobs/0'), 1)
  })

  test('a wish in the middle of a write of unknown outcome is followed', async () => {
    for (const fault of ['lost', 'unknown'] as const) {
      const { time, store, jobs } = newWorld()
      const { job } = await jobs.create(
        types[0] as JobType<Count>,
        { done: 0, upTo: 50 },
        { reason: 'a test' },
      )
      let cancelled: Promise<unknown> | undefined
      const faulty = new FaultyStore(store, (call, what) => {
        if (what !== 'txn' || call < 9 || cancelled !== undefined) return undefined
        cancelled = jobs.cancel(job.jobId, 'enough')
        return fault
      })
      const epoch = await newEpoch(faulty)
      await using _ = JobRunner.start({ env: time.env, store: faulty, epoch, types })
      const ended = await time.until(jobs.ended(job.jobId))
      await cancelled
      assert.equal(ended.status, 'cancelled')
      assert.equal(await counter(), 0)
    }
  })

  test('close waits for the work, which goes on elsewhere', async () => {
    const { time, jobs } = newWorld()
    const { job } = await jobs.create(types[0] as JobType<Count>, { done: 0, upTo: 20 }, { reason: 'a test' })
    const first = await runner(types)
    await time.untilTrue('begun', async () => (await counter()) > 3)
    await time.until(first.close())
    const at = await counter()
    await time.advance(60_000)
    assert.equal(await counter(), at)
    assert.equal((await jobs.get(job.jobId))?.status, 'running')
    await using _ = await runner(types)
    assert.equal((await time.until(jobs.ended(job.jobId))).status, 'succeeded')
    assert.equal(await counter(), 20)
  })
})
