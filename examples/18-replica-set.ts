// A log with a primary and replicas, and no quorum of its own that could decide about itself: the control plane changes its
// primary, planned and in an emergency, and its members, by epochs that can be undone.
import assert from 'node:assert/strict'
import { KeelsonError, nodeEnvironment } from 'keelson'
import { type Job, JobRunner, Jobs, type JobType } from 'keelson/jobs'
import { ControllerEpoch, memoryStore } from 'keelson/metadata'
import { primaryChangeJob, QuorumSet, ReplicaSets, setChangeJob } from 'keelson/placement'
import { LogHost } from './replica-log/log-host.ts'

const env = nodeEnvironment()
const store = memoryStore({ env })
const sets = new ReplicaSets({ env, store })
const jobs = new Jobs({ env, store })
const name = 'accounts'

/** Nodes that are down. */
const down = new Set<string>()
const host = new LogHost({
  name,
  timers: env.timers,
  newest: async () => (await current()).set,
  reach: async (from, to, act) => {
    if (down.has(from) || down.has(to)) throw new KeelsonError('UNREACHABLE', `${from} does not reach ${to}`)
    return act()
  },
})
async function current(): Promise<NonNullable<Awaited<ReturnType<ReplicaSets['get']>>>['record']> {
  const stored = await sets.get(name)
  assert(stored !== undefined)
  return stored.record
}
async function done(job: Job): Promise<Job> {
  const ended = await jobs.ended(job.jobId)
  console.log(`job ${job.jobId} ${ended.status}: ${ended.lastError?.message ?? ended.outcome}`)
  return ended
}
async function write(value: string): Promise<void> {
  const primary = host.primary()
  assert(primary !== undefined, 'nobody is primary')
  const { index } = await primary.write(value)
  console.log(`${primary.nodeId} has taken '${value}' at index ${index}`)
}
const because = { reason: 'an example' }

// Whoever leads runs the changes as jobs. Six copies: a write needs four of them, a read three.
const epoch = await ControllerEpoch.acquire(store, 'controllers', 'the leader')
const ports = { env, store, host, pollIntervalMs: 20, callTimeoutMs: 500, stepTimeoutMs: 3_000 }
const types = [setChangeJob(ports), primaryChangeJob(ports)] as JobType<unknown>[]
const runner = JobRunner.start({ env, store, epoch, types })
const members = ['a', 'b', 'c', 'd', 'e', 'f'].map((nodeId) => host.life(nodeId))
const set = QuorumSet.of(members, { writeQuorum: 4, readQuorum: 3 })
await sets.create(name, set)
for (const { nodeId } of set.members) host.node(nodeId).install({ name, set, sequence: 0 })
await done(await sets.changePrimary(name, { to: 'a', emergency: true }, because))
await write('one')

// Planned: a stops, b gets to where a stopped, and only then a sequence is installed that refuses a.
await done(await sets.changePrimary(name, { to: 'b' }, because))
await write('two')

// f is suspect. While g takes over, writes need four of abcdef and four of abcdeg; f comes back, and it is undone.
down.add('f')
const { incarnation } = host.life('g')
const suspicion = await sets.changeMember(name, { suspect: 'f', candidate: 'g', incarnation }, because)
while ((await current()).set.epoch === 1)
  await new Promise<void>((resolve) => void env.timers.schedule(5, resolve))
assert.equal((await current()).set.slots.at(-1)?.length, 2)
await jobs.cancel(suspicion.jobId, 'f was only slow')
down.delete('f')
await done(suspicion)
assert.deepEqual(
  (await current()).set.slots.at(-1)?.map(({ nodeId }) => nodeId),
  ['f'],
)
await write('three')

// The next time f is gone for good.
down.add('f')
await done(await sets.changeMember(name, { suspect: 'f', candidate: 'g', incarnation }, because))
const { set: changed } = await current()
assert.deepEqual(
  changed.slots.at(-1)?.map(({ nodeId }) => nodeId),
  ['g'],
)
console.log(`epoch ${changed.epoch}: ${changed.members.map(({ nodeId }) => nodeId).join(' ')}`)
await write('four')

// b dies. Of a read quorum the most advanced log has everything that was acknowledged.
down.add('b')
host.node('b').crash()
await done(await sets.changePrimary(name, { emergency: true }, because))
await write('five')

// With three of six left that answer nothing would be lost; with two the change is refused, and says what it might cost.
for (const nodeId of ['c', 'd', 'e']) down.add(nodeId)
const refused = await done(await sets.changePrimary(name, { emergency: true }, because))
assert.equal(refused.status, 'failed')
assert.match(refused.lastError?.message ?? '', /acknowledged may be lost/)

down.clear()
await done(await sets.changePrimary(name, { emergency: true }, because))
await write('six')
const values = host
  .primary()
  ?.records.map(({ value }) => value)
  .filter((value) => value !== '')
console.log(values?.join(', '))
assert.deepEqual(values, ['one', 'two', 'three', 'four', 'five', 'six'])

host.close()
await runner.close()
await store.close()
