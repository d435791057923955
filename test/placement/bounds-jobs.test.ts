import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { sleep } from '../../src/core/async.ts'
import { utf8 } from '../../src/core/bytes.ts'
import type { Environment } from '../../src/core/environment.ts'
import type { ObservedReplica, WantedRange } from '../../src/interfaces/range-host.ts'
import { isFinished, type Job, JobRunner, Jobs, type JobType } from '../../src/jobs/index.ts'
import { ControllerEpoch, memoryStore, RangeDirectory } from '../../src/metadata/index.ts'
import type { ReplicaDescriptor } from '../../src/model/descriptors.ts'
import { mergeJob, mergeJobType, SplitController, splitJob, splitPolicy } from '../../src/placement/index.ts'
import { mergeStep } from '../../src/placement/merge-job.ts'
import { VirtualTime } from '../metadata/support/virtual-environment.ts'

const members: readonly ReplicaDescriptor[] = ['n1', 'n2', 'n3'].map((nodeId, i) => ({
  replicaId: i + 1,
  nodeId,
  incarnation: 7,
  role: 'voter',
}))

interface Range {
  readonly rangeId: number
  readonly start: Uint8Array
  end: Uint8Array | undefined
  generation: number
  bytes: number
  splitOff?: number
  frozen?: { readonly into: number; readonly intoGeneration: number }
}

/** Ranges that do what is wanted of them, as one log each would; all nodes see the same at once. */
class Ranges {
  readonly ranges = new Map<number, Range>()
  readonly done: string[] = []
  /** Changes that are not carried out. */
  readonly deaf = new Set<string>()
  nobodyLeads = false

  report(rangeId: number): readonly { readonly nodeId: string; readonly replica: ObservedReplica }[] {
    const range = this.ranges.get(rangeId)
    if (range === undefined) return []
    const { start, end, generation, bytes, splitOff, frozen } = range
    return members.map(({ nodeId, replicaId }) => ({
      nodeId,
      replica: {
        rangeId,
        replicaId,
        generation,
        replicas: members,
        leaseHolder: replicaId === 1 && !this.nobodyLeads,
        sequence: 1,
        caughtUp: [1, 2, 3],
        load: { bytes, requests: 0 },
        bounds: { start, end },
        ...(splitOff === undefined ? {} : { splitOff }),
        ...(frozen === undefined ? {} : { frozen }),
        splitKeys: { bySize: utf8('m') },
      },
    }))
  }

  take({ rangeId, change }: WantedRange): void {
    const range = this.ranges.get(rangeId)
    if (range === undefined || change === undefined || this.nobodyLeads) return
    if (change.generation !== range.generation || this.deaf.has(change.type)) return
    this.done.push(`${change.type} ${rangeId}`)
    switch (change.type) {
      case 'split': {
        const { key, rightRangeId } = change
        range.generation++
        this.ranges.set(rightRangeId, {
          rangeId: rightRangeId,
          start: key,
          end: range.end,
          generation: range.generation,
          bytes: range.bytes / 2,
        })
        range.end = key
        range.bytes /= 2
        range.splitOff = rightRangeId
        break
      }
      case 'freeze':
        range.frozen = { into: change.into, intoGeneration: change.intoGeneration }
        range.generation++
        break
      case 'thaw':
        delete range.frozen
        range.generation++
        break
      case 'touch':
        range.generation++
        break
      case 'merge': {
        const right = this.ranges.get(change.rightRangeId) as Range
        assert.equal(right.frozen?.intoGeneration, range.generation)
        range.generation = Math.max(range.generation, right.generation) + 1
        range.end = right.end
        range.bytes += right.bytes
        this.ranges.delete(change.rightRangeId)
        break
      }
      default:
        assert.fail(`nobody asks for ${change.type}`)
    }
  }
}

interface World {
  readonly env: Environment
  readonly ranges: Ranges
  readonly directory: RangeDirectory
  readonly jobs: Jobs
  readonly types: { readonly split: JobType<unknown>; readonly merge: JobType<unknown> }
  readonly controller: () => SplitController
  readonly until: (what: string, ask: () => Promise<boolean> | boolean) => Promise<void>
  readonly finished: (job: Job) => Promise<Job>
  /** The next leader takes over. */
  readonly takeOver: () => Promise<void>
}

async function world(body: (given: World) => Promise<void>): Promise<void> {
  const env = new VirtualTime().environment()
  const store = memoryStore({ env })
  const directory = new RangeDirectory(store)
  const ranges = new Ranges()
  const jobs = new Jobs({ store, env })
  const stop = new AbortController()
  let runner: JobRunner | undefined
  let controller: SplitController | undefined
  let epoch = await ControllerEpoch.acquire(store, 'placement', 'cp1')
  const make = (): World['types'] => {
    const ports = {
      env,
      epoch,
      directory,
      observed: (rangeId: number) => ranges.report(rangeId),
      isLive: () => true,
      stepTimeoutMs: 5_000,
      settleMs: 500,
    }
    return { split: splitJob(ports), merge: mergeJob(ports) }
  }
  let types = make()
  const start = (): void => {
    runner = JobRunner.start({ env, store, epoch, types: [types.split, types.merge] })
  }
  start()
  const until: World['until'] = async (what, ask) => {
    for (let i = 0; i < 3_000; i++) {
      if (await ask()) return
      await sleep(env.timers, 20)
    }
    assert.fail(`it is still not true that ${what}`)
  }
  const host = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      for (const wanted of await directory.wantedFor('n1')) ranges.take(wanted)
      await sleep(env.timers, 50)
    }
  }
  const hosting = host()
  const first = { rangeId: 1, start: utf8(''), end: undefined, generation: 1, bytes: 100 }
  ranges.ranges.set(1, { ...first })
  await directory.create(epoch, [{ ...first, replicas: members }])
  try {
    await body({
      env,
      ranges,
      directory,
      jobs,
      until,
      get types() {
        return types
      },
      controller: () => {
        controller = SplitController.start({
          env,
          store,
          epoch,
          directory,
          observed: (rangeId) => ranges.report(rangeId),
          changed: () => [...ranges.ranges.keys()],
          moving: () => new Set(),
          split: types.split as never,
          merge: types.merge as never,
          policy: splitPolicy({
            maximumBytes: 1000,
            mergeBelowBytes: 400,
            splitMergeBackoffMs: 2_000,
            retryAfterMs: 500,
          }),
        })
        return controller
      },
      finished: async (job) => {
        await until('the job has ended', async () => isFinished((await jobs.get(job.jobId)) as Job))
        return (await jobs.get(job.jobId)) as Job
      },
      takeOver: async () => {
        await runner?.close()
        epoch = await ControllerEpoch.acquire(store, 'placement', 'cp2')
        types = make()
        start()
      },
    })
  } finally {
    stop.abort()
    await hosting
    await controller?.close()
    await runner?.close()
  }
}

const inWords = async (directory: RangeDirectory): Promise<string> =>
  (await directory.list()).map(({ rangeId, generation }) => `${rangeId}:${generation}`).join(' ')

const split = { rangeId: 1, key: utf8('m'), rightRangeId: 0 }

suite('splits and merges as jobs', () => {
  test('a range is split, and merged again', async () => {
    await world(async ({ jobs, types, finished, directory, ranges }) => {
      const { job } = await jobs.create(types.split, split, { reason: 'test' })
      assert.equal((await finished(job)).status, 'succeeded')
      assert.equal(await inWords(directory), '1:2 2:2')
      const merge = await jobs.create(types.merge, { leftRangeId: 1, rightRangeId: 2 }, { reason: 'test' })
      assert.equal((await finished(merge.job)).status, 'succeeded')
      assert.equal(await inWords(directory), '1:4')
      assert.deepEqual(ranges.done, ['split 1', 'freeze 2', 'merge 1'])
      assert.deepEqual(await directory.told(2), [])
    })
  })

  test('the next leader goes on where the ranges stand', async () => {
    await world(async ({ jobs, types, finished, directory, ranges, takeOver, until }) => {
      ranges.deaf.add('split')
      const { job } = await jobs.create(types.split, split, { reason: 'test' })
      await until('it is asked for', async () => (await directory.wantedFor('n1'))[0]?.change !== undefined)
      await takeOver()
      ranges.deaf.clear()
      assert.equal((await finished(job)).status, 'succeeded')
      assert.equal(await inWords(directory), '1:2 2:2')
    })
  })

  test('what was asked of a range that nobody leads is taken back when the time is over', async () => {
    await world(async ({ jobs, types, finished, directory, ranges }) => {
      ranges.nobodyLeads = true
      const { job } = await jobs.create(types.split, split, { reason: 'test' })
      const ended = await finished(job)
      assert.equal(ended.status, 'failed')
      assert.match(ended.lastError?.message ?? '', /nobody leads/)
      assert.equal((await directory.wantedFor('n1'))[0]?.change, undefined)
      assert.equal(await inWords(directory), '1:1')
    })
  })

  test('a merge that is cancelled when the range is frozen leaves nothing frozen', async () => {
    await world(async ({ jobs, types, finished, directory, ranges, until }) => {
      await finished((await jobs.create(types.split, split, { reason: 'test' })).job)
      ranges.deaf.add('merge')
      const { job } = await jobs.create(types.merge, { leftRangeId: 1, rightRangeId: 2 }, { reason: 'test' })
      await until('it is frozen', () => ranges.ranges.get(2)?.frozen !== undefined)
      await jobs.cancel(job.jobId, 'test')
      assert.equal((await finished(job)).status, 'cancelled')
      // First the one that could merge rules that out, then the other one thaws.
      assert.deepEqual(ranges.done.slice(-3), ['freeze 2', 'touch 1', 'thaw 2'])
      ranges.deaf.clear()
      assert.equal(await inWords(directory), '1:3 2:4')
    })
  })

  test('a merge is cancelled, whatever it finds when it is taken back', async () => {
    await world(async ({ jobs, types, finished, directory, ranges, until }) => {
      await finished((await jobs.create(types.split, split, { reason: 'test' })).job)
      const state = { leftRangeId: 1, rightRangeId: 2 }
      // Frozen for another range: that one's merge is not for this job to end.
      const right = ranges.ranges.get(2) as Range
      ranges.deaf.add('freeze')
      const first = await jobs.create(types.merge, state, { reason: 'test' })
      await until('it is asked for', async () => (await directory.wantedFor('n1'))[1]?.change !== undefined)
      right.frozen = { into: 9, intoGeneration: 1 }
      await jobs.cancel(first.job.jobId, 'test')
      assert.equal((await finished(first.job)).status, 'cancelled')
      assert.equal(right.frozen?.into, 9)
      delete right.frozen
      // Nobody answers: what is frozen is found by the next round.
      ranges.deaf.clear()
      ranges.deaf.add('merge')
      const second = await jobs.create(types.merge, state, { reason: 'test' })
      await until('it is frozen', () => right.frozen !== undefined)
      ranges.nobodyLeads = true
      await jobs.cancel(second.job.jobId, 'test')
      const ended = await finished(second.job)
      assert.equal(ended.status, 'cancelled')
      assert.match(ended.outcome ?? '', /did not answer in time/)
    })
  })

  test('the controller splits what is large, merges what is small again, and says why', async () => {
    await world(async ({ controller, directory, ranges, until }) => {
      const deciding = controller()
      await until('it is known', async () => (await directory.list()).length === 1)
      await until('it is explained', () => {
        try {
          return /within the limits/.test(deciding.explain(1).split)
        } catch {
          return false
        }
      })
      const first = ranges.ranges.get(1) as Range
      first.bytes = 1500
      await until('it is split', async () => (await directory.list()).length === 2)
      await until('the back-off shows', () => /comes from a split|bytes/.test(deciding.explain(1).mergeRight))
      for (const range of ranges.ranges.values()) range.bytes = 100
      await until('it is merged', async () => (await directory.list()).length === 1)
      assert.equal(ranges.ranges.size, 1)
    })
  })

  test('a frozen range that nobody works on is finished by the next leader', async () => {
    await world(async ({ controller, jobs, types, finished, directory, ranges, until }) => {
      await finished((await jobs.create(types.split, split, { reason: 'test' })).job)
      const right = ranges.ranges.get(2) as Range
      right.frozen = { into: 1, intoGeneration: 1 }
      right.generation++
      controller()
      await until('it thaws', () => right.frozen === undefined)
      await until('a job did it', async () =>
        (await jobs.list()).some(({ type, status }) => type === mergeJobType && status === 'failed'),
      )
      assert.equal((await directory.list()).length, 2)
    })
  })
})

suite('the steps of a merge', () => {
  const view = (rangeId: number, generation: number, frozen?: Range['frozen']): never =>
    ({
      descriptor: {
        rangeId,
        generation,
        replicas: members,
        start: utf8(rangeId === 1 ? '' : 'm'),
        end: rangeId === 1 ? utf8('m') : undefined,
      },
      newest: frozen === undefined ? {} : { frozen },
    }) as never

  test('nothing thaws while its neighbour may still take it in', () => {
    const frozen = { into: 1, intoGeneration: 5 }
    assert.equal(mergeStep(1, view(1, 5), view(2, 9, frozen), true).type, 'merge')
    assert.equal(mergeStep(1, view(1, 5), view(2, 9, frozen), false).type, 'touch')
    assert.equal(mergeStep(1, view(1, 6), view(2, 9, frozen), false).type, 'thaw')
    assert.equal(mergeStep(1, view(1, 6), view(2, 9, frozen), true).type, 'thaw')
    assert.equal(mergeStep(1, view(1, 4), view(2, 9, frozen), true).type, 'wait')
    assert.equal(mergeStep(1, undefined, view(2, 9, frozen), true).type, 'thaw')
    assert.equal(mergeStep(1, view(1, 5), undefined, false).type, 'done')
    assert.equal(mergeStep(1, view(1, 5), view(2, 9), false).type, 'done')
    assert.equal(mergeStep(1, view(1, 5), view(2, 9), true).type, 'freeze')
  })

  test('a range that is frozen for another neighbour is left to whoever asks that one', () => {
    const other = { into: 3, intoGeneration: 1 }
    assert.equal(mergeStep(1, view(1, 5), view(2, 9, other), true).type, 'abandon')
    // Also when the left-hand range of this merge is no more: range 3 may take it in at this moment.
    assert.equal(mergeStep(1, undefined, view(2, 9, other), true).type, 'abandon')
    assert.equal(mergeStep(1, undefined, view(2, 9, other), false).type, 'done')
    assert.equal(mergeStep(1, view(1, 5), view(2, 9, other), false).type, 'done')
  })
})
