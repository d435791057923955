// A durable job: its runner is stopped in the middle, and the next one goes on from the last checkpoint.
import assert from 'node:assert/strict'
import { nodeEnvironment } from 'keelson'
import { type JobContext, JobRunner, Jobs, type JobType } from 'keelson/jobs'
import { ControllerEpoch, memoryStore } from 'keelson/metadata'

const env = nodeEnvironment()
await using store = memoryStore({ env })
const copied: number[] = []
let onCopied: (n: number) => void = () => {}

/** Copies ten chunks. The checkpoint is how many are done. */
const copyJob: JobType<number> = {
  type: 'copy',
  encode: (done) => done,
  decode: (done) => Number(done),
  async run(context: JobContext<number>): Promise<string> {
    while (context.state < 10) {
      copied.push(context.state)
      onCopied(context.state)
      await context.sleep(20)
      await context.checkpoint(context.state + 1, { message: `${context.state + 1} of 10 chunks` })
    }
    return 'all chunks are copied'
  },
}

const jobs = new Jobs({ env, store })
const { job } = await jobs.create(copyJob, 0, { reason: 'a new disk', key: 'disk 7' })

async function run(owner: string): Promise<JobRunner> {
  const epoch = await ControllerEpoch.acquire(store, 'jobs', owner)
  return JobRunner.start({ env, store, epoch, types: [copyJob] })
}

const half = new Promise<void>((resolve) => {
  onCopied = (n) => {
    if (n === 5) resolve()
  }
})
const first = await run('leader 1')
await half
await first.close()
const stopped = await jobs.get(job.jobId)
console.log(`leader 1 stopped: the job is ${stopped?.status}, ${stopped?.progress?.message}`)

const second = await run('leader 2')
const ended = await jobs.ended(job.jobId)
console.log(`leader 2: ${ended.status}, ${ended.outcome}`)
await second.close()
// What was done since the last checkpoint is done again, so chunks have to be idempotent. Nothing is left out.
assert.equal(ended.status, 'succeeded')
assert.deepEqual([...new Set(copied)], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
assert(copied.length <= 11)
