import { resolve as resolvePath } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { type NodeId, nodeEnvironment, PlaneClient, type RangeDescriptor, SeededRandom, sleep } from 'keelson'
import type { Job } from 'keelson/jobs'
import { Rpc } from 'keelson/transport'
import { webSocket } from 'keelson/transport/websocket'
import { loadCities } from './cities.ts'
import { CityClient } from './client.ts'
import { Cluster, type Member } from './cluster.ts'
import { channelName } from './protocol.ts'
import { Timeline } from './timeline.ts'
import { Workload } from './workload.ts'

const breaks = ['fence', 'dedupe', 'index']
const usage = `npm run demo -- [--quick] [--verbose] [--break ${breaks.join('|')}]

A database of five nodes and three servers of the control plane, each a process, on this machine: loads a table, splits it, kills and stops
processes, changes the schema, drains a node, and reads everything back. --quick takes a seventh of the rows and shorter pauses;
--verbose prints what the processes log; --break takes a safety rule out of the product, to show that the demonstration finds out.`
const flags = readFlags()

const plan = flags.quick
  ? {
      everyNth: 7,
      pauseMs: 5_000,
      outageMs: 6_000,
      calmMs: 250,
      thinkMs: 60,
      rangeBytes: 900_000,
      requests: 24,
    }
  : {
      everyNth: 1,
      pauseMs: 15_000,
      outageMs: 30_000,
      calmMs: 1_500,
      thinkMs: 30,
      rangeBytes: 6_000_000,
      requests: 50,
    }
const tableName = 'cities'
const index = { name: 'by_population', columns: ['country', 'population'] }
const replicas = 3
/** Splits by load take a moment, merges at the end a longer one: a demonstration waits no longer. */
const splitWaitMs = 6_000
const mergeWaitMs = 12_000

const env = nodeEnvironment()
const timeline = new Timeline()
const measured: Record<string, number> = {}
/** Effects of each process that were refused because somebody newer had taken over. */
const refusals = new Map<string, number>()
let finished = false

/** The switch that breaks the product for a demonstration lives with the tests. */
const preload =
  flags.break === undefined ? [] : [pathToFileURL(resolvePath(`build/test/break/${flags.break}.js`)).href]

const tokens = new Map<NodeId, string>()
await using cluster = await Cluster.create({
  servers: 3,
  nodes: 5,
  deadAfterMs: 3_000,
  maximumRangeBytes: plan.rangeBytes,
  maximumRangeRequests: plan.requests,
  tokens,
  preload,
  onEvent: (member, event) => {
    if (finished) return
    if (event.event === 'leading')
      timeline.line('info', `${member.name} leads the control plane (epoch ${event.epoch})`)
    if (event.event === 'refused') {
      refusals.set(member.name, (refusals.get(member.name) ?? 0) + 1)
      timeline.line('good', `${member.name} was refused: ${event.what}`)
    }
    if (event.event === 'log' && flags.verbose) {
      timeline.line('info', `${member.name} ${event.level}: ${event.message} ${JSON.stringify(event.fields)}`)
    }
  },
})

const interrupted = new AbortController()
process.once('SIGINT', () => interrupted.abort(new Error('interrupted')))

timeline.line('step', 'citydb: a range-partitioned, replicated database on keelson')
timeline.line('info', 'processes are killed with SIGKILL; that does not test fsync: the simulated disk does')

// --- A control plane of three, a client, and five nodes ---
// Side by side: the one that begins the cluster waits until the others have said that they know of none.
await Promise.all(cluster.servers.map((server) => server.start()))
timeline.line('good', `${cluster.servers.map(({ name }) => name).join(', ')} form the control plane`)

await using client = await PlaneClient.connect({
  env,
  clusterId: cluster.clusterId,
  seeds: cluster.servers.map(({ address }) => address),
  transport: webSocket({}),
})
for (const { name } of cluster.nodes) {
  tokens.set(name, await client.admin.nodes.createToken({ reason: `demo: ${name}` }))
}
await Promise.all(cluster.nodes.map((node) => node.start()))
timeline.line('good', `${cluster.nodes.map(({ name }) => name).join(', ')} have joined`)

// --- A table of one range, which splits while it is loaded with cities ---
let cities = loadCities(1)
const table = await client.admin.createTable(
  {
    name: tableName,
    columns: [
      { name: 'country', valueType: 'string', required: true },
      { name: 'name', valueType: 'string', required: true },
      { name: 'id', valueType: 'number', required: true },
      { name: 'population', valueType: 'number', required: false },
      { name: 'longitude', valueType: 'number', required: false },
      { name: 'latitude', valueType: 'number', required: false },
      { name: 'visits', valueType: 'number', required: false },
    ],
    primaryKey: ['country', 'name', 'id'],
  },
  { replicas },
)
if (table.tableId !== 1) throw new Error('the first table of a new cluster has the id 1')
timeline.line('good', `table ${tableName}: one range of ${replicas} replicas is served`)

const rpc = new Rpc({ env, channel: client.channel(channelName, { traffic: 'bulk' }) })
const cityClient = new CityClient({ env, rpc })
/** Ranges that splits have made, and that merges have ended. */
const known = new Set<number>()
const merged = new Set<number>()
const learn = (updated: Iterable<RangeDescriptor>): void => {
  cityClient.learn(updated)
  const present = new Set(cityClient.ranges.ranges().map(({ rangeId }) => rangeId))
  for (const rangeId of present) known.add(rangeId)
  for (const rangeId of known) if (!present.has(rangeId)) merged.add(rangeId)
}
const stopLearning = client.directory.on('change', learn)
await client.directory.ready()
learn(client.directory.ranges())
const rangeCount = (): number => client.directory.ranges().length

cities = cities.filter((_, i) => i % plan.everyNth === 0)
const random = new SeededRandom(Date.now())
const workload = new Workload({ env, client: cityClient, cities, random })
const loadStartMs = timeline.elapsedMs
await workload.load(16, 200, (rows) => timeline.progress(`loading: ${rows} of ${cities.length} cities`))
measured['load'] = timeline.elapsedMs - loadStartMs
timeline.line(
  'good',
  `${cities.length} cities loaded in ${(measured['load'] / 1000).toFixed(1)} s; the range was split by size into ${rangeCount()}`,
)
const afterLoad = rangeCount()

workload.start(16, 8, plan.thinkMs)
const ticker = setInterval(() => {
  const { acknowledgedWrites, acknowledgedIncrements, reads } = workload.figures
  timeline.progress(`${acknowledgedWrites + acknowledgedIncrements} writes acknowledged, ${reads} reads`)
}, 500)

/** What the demonstration was told; ends the process where that is help, or makes no sense. */
function readFlags(): { quick: boolean; verbose: boolean; break: string | undefined } {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
        break: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(usage)
      process.exit(0)
    }
    if (values.break === undefined || breaks.includes(values.break)) return { break: undefined, ...values }
    throw new Error(`--break takes one of ${breaks.join(', ')}`)
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`)
    process.exit(2)
  }
}

/** Waits until something is true, and says how long that took. */
async function until(
  what: string | (() => string),
  limitMs: number,
  ask: () => Promise<boolean> | boolean,
): Promise<number> {
  const startMs = timeline.elapsedMs
  for (;;) {
    if (await ask()) return timeline.elapsedMs - startMs
    interrupted.signal.throwIfAborted()
    if (timeline.elapsedMs - startMs > limitMs) {
      for (const line of await underWay()) timeline.line('info', line)
      const missing = typeof what === 'string' ? what : what()
      throw new Error(`after ${limitMs} ms it is not true yet that ${missing}`)
    }
    await sleep(env.timers, 25)
  }
}

/** What the control plane tries, the latest last, and which replicas every range has: for when something takes too long. */
async function underWay(): Promise<string[]> {
  const jobs = await client.admin.jobs.list({ signal: within(5_000) }).catch(() => [])
  return [
    ...jobs
      .slice(-20)
      .map(({ jobId, type, key, status, reason, lastError }) =>
        [
          `job ${jobId}, ${type} ${key ?? ''}, ${status}: ${reason}`,
          ...(lastError === undefined ? [] : [lastError.message]),
        ].join('; '),
      ),
    ...client.directory.ranges().map(({ rangeId, generation, replicas: present }) => {
      const where = present.map(({ nodeId, role, replicaId }) => `${nodeId} (${role} ${replicaId})`)
      return `range ${rangeId}, generation ${generation}: ${where.join(', ')}`
    }),
  ]
}

const calm = async (): Promise<void> => sleep(env.timers, plan.calmMs)
const within = (ms: number): AbortSignal => AbortSignal.timeout(ms)
const running = (members: readonly Member[]): Member[] =>
  members.filter((member) => member.running && !member.stopped)

/** Every range has its full number of voters, all on nodes that run. */
function isWhole(without: readonly NodeId[] = []): boolean {
  const alive = new Set(running(cluster.nodes).map(({ name }) => name))
  return client.directory.ranges().every((range) => {
    const voters = range.replicas.filter(({ role }) => role === 'voter')
    return (
      range.replicas.length === replicas &&
      voters.length === replicas &&
      voters.every(({ nodeId }) => alive.has(nodeId) && !without.includes(nodeId))
    )
  })
}

/** Node that holds most leases, as the client found out by asking. */
function busiest(): Member {
  const counts = cityClient.leaseCounts()
  const sorted = running(cluster.nodes).sort((a, b) => (counts.get(b.name) ?? 0) - (counts.get(a.name) ?? 0))
  return sorted[0] as Member
}

function replicasOn({ name }: Member): number {
  return client.directory.ranges().filter((range) => range.replicas.some(({ nodeId }) => nodeId === name))
    .length
}

/** Node with the most replicas. */
function fullest(): Member {
  return running(cluster.nodes).sort((a, b) => replicasOn(b) - replicasOn(a))[0] as Member
}

async function controlPlaneAnswers(): Promise<boolean> {
  try {
    await client.store.txn(
      { then: [{ type: 'put', key: heartbeatKey, value: new Uint8Array(1) }] },
      { signal: within(2_000) },
    )
    return true
  } catch {
    return false
  }
}
const heartbeatKey = new TextEncoder().encode('/demo/heartbeat')

async function killLeader(why: string): Promise<Member> {
  await until('somebody leads the control plane', 20_000, () => cluster.leader() !== undefined)
  const leader = cluster.leader() as Member
  timeline.line('fault', `SIGKILL ${leader.name}, which leads the control plane${why}`)
  await leader.kill()
  return leader
}

// --- The load splits ranges further ---
const splitDeadline = timeline.elapsedMs + splitWaitMs
while (rangeCount() < afterLoad + 3 && timeline.elapsedMs < splitDeadline) await sleep(env.timers, 50)
timeline.line('good', `${rangeCount()} ranges since the load splits them`)

// --- A data node dies ---
await calm()
const victim = busiest()
timeline.line('fault', `SIGKILL ${victim.name}, which holds most leases`)
await victim.kill()
measured['repair'] = await until('every range has three live voters again', 60_000, () => isWhole())
timeline.line(
  'good',
  `all ranges have ${replicas} live replicas again after ${(measured['repair'] / 1000).toFixed(1)} s`,
)
await victim.start()
timeline.line('info', `${victim.name} is back`)

// --- The control plane's leader dies ---
await calm()
const killed = await killLeader('')
measured['failover'] = await until('the control plane takes writes again', 20_000, controlPlaneAnswers)
timeline.line('good', `the control plane takes writes again after ${measured['failover'].toFixed(0)} ms`)
await killed.start()

// --- An index is added online; the coordinator dies in the middle ---
await calm()
const schemaStartMs = timeline.elapsedMs
const job = await client.admin.changeSchema(tableName, { type: 'addIndex', ...index }, { reason: 'demo' })
timeline.line('step', `adding the index ${index.name} (${index.columns.join(', ')}) while writes go on`)
let shown = ''
const isBackfilling = (seen: Job | undefined): boolean => {
  const message = seen?.progress?.message ?? ''
  if (message !== shown) timeline.line('info', `job ${job.jobId}: ${message}`)
  shown = message
  return message.startsWith('backfill')
}
await until('the backfill runs', 60_000, async () => isBackfilling(await client.admin.jobs.get(job.jobId)))
const coordinator = await killLeader(', in the middle of the backfill')
await client.admin.finished(job, { signal: within(90_000) })
measured['schema'] = timeline.elapsedMs - schemaStartMs
timeline.line('good', `the index is public after ${(measured['schema'] / 1000).toFixed(1)} s`)
await coordinator.start()

// --- Two processes stand still and wake up with old authority ---
await calm()
await until('somebody leads the control plane', 20_000, () => cluster.leader() !== undefined)
const sleeper = busiest()
const sleepingLeader = cluster.leader() as Member
const refusedBefore = new Map(refusals)
timeline.line(
  'fault',
  `SIGSTOP ${sleeper.name} (most leases) and ${sleepingLeader.name} (control-plane leader) for ${plan.pauseMs / 1000} s`,
)
sleeper.pause()
sleepingLeader.pause()
await sleep(env.timers, plan.pauseMs)
sleeper.resume()
sleepingLeader.resume()
timeline.line(
  'info',
  `${sleeper.name} and ${sleepingLeader.name} wake up and go on with what they were doing`,
)
const learned = ({ name }: Member): boolean => (refusals.get(name) ?? 0) > (refusedBefore.get(name) ?? 0)
await until('both were refused what they tried', 20_000, () => learned(sleeper) && learned(sleepingLeader))

// --- A node is drained ---
await calm()
await until('every range is whole', 60_000, () => isWhole())
const drained = fullest()
timeline.line('step', `draining ${drained.name}, which has ${replicasOn(drained)} replicas`)
await client.admin.nodes.drain(drained.name, 'demo', { signal: within(10_000) })
measured['drain'] = await until(`${drained.name} holds nothing`, 90_000, () => isWhole([drained.name]))
timeline.line('good', `${drained.name} is empty after ${(measured['drain'] / 1000).toFixed(1)} s`)

// --- The control plane goes away altogether ---
await calm()
workload.takeSlowest()
const writesBefore = workload.figures.acknowledgedWrites + workload.figures.acknowledgedIncrements
timeline.line('fault', `SIGKILL all control-plane servers for ${plan.outageMs / 1000} s`)
await Promise.all(cluster.servers.map((server) => server.kill()))
await sleep(env.timers, plan.outageMs)
// What rests on something that only the control plane can renew or tell has stopped by now, whatever else goes on.
const unwritten = workload.unwrittenSince.bind(workload, env.clock.monotonicMs())
await until(
  () => `ranges ${unwritten().join(', ')} acknowledge writes without a control plane`,
  30_000,
  () => unwritten().length === 0,
)
measured['slowestInOutage'] = workload.takeSlowest()
const writesInOutage =
  workload.figures.acknowledgedWrites + workload.figures.acknowledgedIncrements - writesBefore
timeline.line(
  'good',
  `${writesInOutage} writes acknowledged without a control plane, in the end in every range; the slowest call took ${measured['slowestInOutage'].toFixed(0)} ms`,
)
await Promise.all(cluster.servers.map((server) => server.start()))
measured['return'] = await until('the control plane takes writes again', 30_000, controlPlaneAnswers)
timeline.line('good', 'the control plane is back')

// --- Nobody asks for anything any more: small neighbours are merged ---
await calm()
await workload.stop()
clearInterval(ticker)
const beforeMerges = merged.size
const mergeDeadline = timeline.elapsedMs + mergeWaitMs
while (merged.size < beforeMerges + 2 && timeline.elapsedMs < mergeDeadline) await sleep(env.timers, 50)
timeline.line('good', `${merged.size} ranges were merged into their neighbours, ${rangeCount()} are left`)

// --- Everything is read back ---
timeline.line('step', 'reading back every acknowledged write, every counter and every index entry')
const found = await workload.verify(index, (rows) => timeline.progress(`verifying: ${rows} rows`))
finished = true
stopLearning()
await rpc.close()

const { figures } = workload
const seconds = (ms: number | undefined): string => `${((ms ?? Number.NaN) / 1000).toFixed(1)} s`
const none = (count: number): readonly [string, boolean] => [String(count), count === 0]
timeline.line('step', 'measured')
timeline.table([
  ['load', seconds(measured['load'])],
  ['splits', String(known.size - 1), known.size > 1],
  ['merges', String(merged.size), merged.size > 0],
  ['ranges at the end', String(rangeCount())],
  ['control-plane failover', `${(measured['failover'] ?? Number.NaN).toFixed(0)} ms`],
  ['repair after a node died', seconds(measured['repair'])],
  ['schema change under writes', seconds(measured['schema'])],
  ['drain', seconds(measured['drain'])],
  ['longest pause seen by a client', seconds(figures.longestPauseMs)],
  ['slowest call without control plane', seconds(measured['slowestInOutage'])],
  [
    'effects of former holders refused',
    String([...refusals.values()].reduce((sum, count) => sum + count, 0)),
  ],
  ['acknowledged writes', String(figures.acknowledgedWrites + figures.acknowledgedIncrements)],
  ['commands sent again on purpose', String(figures.repeated)],
  ['reads', String(figures.reads)],
  ['stale reads', ...none(figures.staleReads)],
  ['lost', ...none(found.lost)],
  ['doubled', ...none(found.doubled)],
  ['index missing', ...none(found.indexMissing)],
  ['index orphans', ...none(found.indexOrphans)],
  ['stale effects', ...none(found.staleEffects)],
  ['client errors', ...none(figures.errors.length)],
  ['total', seconds(timeline.elapsedMs)],
])
for (const error of figures.errors.slice(0, 5)) timeline.line('bad', error)
const sound =
  known.size > 1 &&
  merged.size > 0 &&
  found.rows === cities.length &&
  [
    figures.staleReads,
    found.lost,
    found.doubled,
    found.indexMissing,
    found.indexOrphans,
    found.staleEffects,
    figures.errors.length,
  ].every((count) => count === 0)
timeline.line(sound ? 'good' : 'bad', sound ? 'nothing was lost' : 'THE DEMO FAILED')
process.exitCode = sound ? 0 : 1
