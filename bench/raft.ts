// What Raft costs. Commands of 100 bytes, closed loops of callers:
//
//   proposals   made in the leader's process; three processes over WebSocket with fsync
//   reads       linearizable reads in the leader's process, by ReadIndex
//   leases      the same by leader lease; gets of the client, and failovers, where leaders hold leases
//   client      puts and linearizable gets of the metadata store through its network client, in another process
//   memory      proposals in one process, network and logs in memory
//   failover    how long writes are impossible after the leader is killed or stopped
//
// `npm run bench -- raft [--only proposals,client] [--outstanding 1,64,1024] [--seconds 3] [--rounds 1] [--failovers 20]
//   [--store segments|level] [--etcd [--etcd-binary etcd]] [--profile DIR]`
//
// `--etcd` has an etcd that is installed on this machine do what the client does, in turn, and prints the ratios. It is
// looked for on the PATH, where Debian's package `etcd-server` puts it, or at `--etcd-binary`.
//
// `--profile` has every process write a processor profile of each figure into a directory, for a browser's developer tools:
// `put-1024-n1.leader.cpuprofile`. Sampling takes time of its own, so what is printed then is not for comparison.

import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { EtcdCluster } from './raft/etcd.ts'
import { type Failover, failover } from './raft/failover.ts'
import { MemoryCluster } from './raft/in-memory.ts'
import { type LoadResult, load, median, watchSpending } from './raft/load.ts'
import { BenchCluster, BenchProcess } from './raft/processes.ts'
import { countingGroup, metadataGroup, type Operation } from './raft/protocol.ts'
import { amount, choice, commandLine, list, toggle, wholeNumber, word } from './support/command-line.ts'

/** One line of a table: medians of all rounds. */
interface Line {
  readonly operation: string
  readonly outstanding: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of all processes that take part. */
  readonly cpuMicroseconds: number
  /** Of the leader, of a follower in the middle, and of the client: where they are processes of their own. */
  readonly cpuByProcess: readonly number[]
  readonly loopDelayP99Ms: number
  readonly leaderMebibytes: number
}

const sections = ['proposals', 'reads', 'client', 'memory', 'failover', 'leases'] as const
const values = commandLine({
  call: 'npm run bench -- raft',
  about:
    'Proposals, reads, the metadata store through its client, and failover, of three servers; beside etcd if it is there.',
  flags: {
    only: list(sections, sections.join(), 'what is measured'),
    outstanding: list([], '1,16,64,256,1024,8192', 'operations under way at a time'),
    seconds: amount(3, 'of load for each figure'),
    rounds: wholeNumber(1, 'of which the medians are printed'),
    failovers: wholeNumber(20, 'for each signal', 0),
    store: choice(['segments', 'level'], 'segments', 'log store'),
    etcd: toggle('has etcd do the same, in turn'),
    'etcd-binary': word('etcd', 'FILE', 'where its server is'),
    profile: word('', 'DIR', 'has every process write processor profiles'),
  },
})
const counts = values.outstanding.map(Number)
const { seconds, rounds, store } = values
const wanted = (section: (typeof sections)[number]): boolean => values.only.includes(section)
if (values.profile !== '') await mkdir(values.profile, { recursive: true })
const warmUpSeconds = Math.min(1, seconds)
/** A server has long been compiled: with one operation at a time that alone would take minutes. */
const compiling = { outstanding: 64, seconds: 30 }
/** After a change of leaders, which takes about as long. */
const pauseMs = 500

if (wanted('proposals') || wanted('reads') || wanted('client') || wanted('failover')) {
  await using cluster = await BenchCluster.start(store)
  if (wanted('proposals')) {
    title(`proposals in the leader's process: 3 processes, ${store}, fsync`)
    await compile(cluster, 'propose')
    for (const count of counts) print(await inLeader(cluster, 'propose', count))
  }
  if (wanted('reads')) {
    title("linearizable reads in the leader's process, by ReadIndex")
    await compile(cluster, 'readIndex')
    for (const count of counts) print(await inLeader(cluster, 'readIndex', count))
  }
  if (wanted('client')) {
    title(`metadata store through its network client: 3 processes, ${store}, fsync, and the client's`)
    await measureClient(cluster, ['put', 'get'])
  }
  if (wanted('failover')) await measureFailover(cluster, '')
}
if (wanted('leases')) {
  await using cluster = await BenchCluster.start(store, 0.001)
  title("linearizable reads in the leader's process, by its lease")
  await compile(cluster, 'leaseRead')
  for (const count of counts) print(await inLeader(cluster, 'leaseRead', count))
  title('metadata store through its network client, whose reads a lease confirms')
  await measureClient(cluster, ['get'])
  await measureFailover(cluster, ' and held a lease of 100 ms')
}
if (wanted('memory')) {
  title('proposals in one process, network and logs in memory')
  await using cluster = await MemoryCluster.start()
  const payload = new Uint8Array(100).fill(120)
  for (const count of counts) {
    const results = []
    for (let round = 0; round < rounds; round++) {
      const measured = await steadily(async () => {
        const leader = await cluster.leader()
        await load(count, warmUpSeconds, async () => leader.propose(payload))
        const spent = watchSpending()
        const result = await load(count, seconds, async () => leader.propose(payload))
        return { result, ...spent() }
      })
      results.push(measured)
    }
    print(middle('propose', count, results))
  }
}

type Measured = {
  readonly result: LoadResult
  readonly cpuMicroseconds: number
  readonly cpuByProcess?: readonly number[]
  readonly loopDelayP99Ms: number
  readonly residentBytes: number
}

function middle(operation: string, outstanding: number, results: readonly Measured[]): Line {
  const of = (figure: (measured: Measured) => number): number => median(results.map(figure))
  return {
    operation,
    outstanding,
    perSecond: of(({ result }) => result.perSecond),
    p50Ms: of(({ result }) => result.p50Ms),
    p99Ms: of(({ result }) => result.p99Ms),
    cpuMicroseconds: of(({ result, cpuMicroseconds }) => cpuMicroseconds / result.operations),
    cpuByProcess: (results[0]?.cpuByProcess ?? []).map((_, i) =>
      of(({ result, cpuByProcess }) => (cpuByProcess?.[i] ?? Number.NaN) / result.operations),
    ),
    loopDelayP99Ms: of(({ loopDelayP99Ms }) => loopDelayP99Ms),
    leaderMebibytes: of(({ residentBytes }) => residentBytes / 2 ** 20),
  }
}

/** A load in one of the processes, with what all of them spend on it. */
async function measure(
  cluster: BenchCluster,
  place: BenchProcess,
  leader: BenchProcess,
  operation: Operation,
  outstanding: number,
): Promise<Measured> {
  await place.load({ type: 'load', operation, outstanding, seconds: warmUpSeconds })
  const parts = [...cluster.servers, ...(place === cluster.client ? [place] : [])]
  await Promise.all(
    parts.map(async (part) => {
      const file = `${operation}-${outstanding}-${part.name}${part === leader ? '.leader' : ''}.cpuprofile`
      const profile = values.profile === '' ? {} : { profile: join(values.profile, file) }
      return part.ask({ type: 'watchSpending', ...profile })
    }),
  )
  const result = await place.load({ type: 'load', operation, outstanding, seconds })
  const spent = await Promise.all(parts.map(async (part) => part.spent()))
  const at = parts.indexOf(leader)
  const ofLeader = spent[at]
  const cpu = spent.map(({ cpuMicroseconds }) => cpuMicroseconds)
  const followers = cpu.filter((_, i) => i !== at && i < cluster.servers.length)
  return {
    result,
    cpuMicroseconds: cpu.reduce((sum, each) => sum + each, 0),
    cpuByProcess: [cpu[at] ?? Number.NaN, median(followers), ...cpu.slice(cluster.servers.length)],
    loopDelayP99Ms: ofLeader?.loopDelayP99Ms ?? Number.NaN,
    residentBytes: ofLeader?.residentBytes ?? Number.NaN,
  }
}

/** Again when leadership changed in the middle, as it may on a machine that is busy with other things. */
async function steadily<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = 20; ; left--) {
    try {
      return await attempt()
    } catch (error) {
      if (left === 0) throw error
      console.log(`once more: ${error instanceof Error ? error.message : String(error)}`)
      await setTimeout(pauseMs)
    }
  }
}

async function compile(
  cluster: BenchCluster,
  operation: 'propose' | 'readIndex' | 'leaseRead',
): Promise<void> {
  await steadily(async () => {
    const leader = await cluster.leader(countingGroup)
    return leader.load({ type: 'load', operation, ...compiling })
  })
}

async function inLeader(
  cluster: BenchCluster,
  operation: 'propose' | 'readIndex' | 'leaseRead',
  outstanding: number,
): Promise<Line> {
  const results = []
  for (let round = 0; round < rounds; round++) {
    results.push(
      await steadily(async () => {
        const leader = await cluster.leader(countingGroup)
        return measure(cluster, leader, leader, operation, outstanding)
      }),
    )
  }
  return middle(operation, outstanding, results)
}

async function measureClient(cluster: BenchCluster, operations: readonly ('put' | 'get')[]): Promise<void> {
  await using etcd = values.etcd ? await EtcdCluster.start(values['etcd-binary']) : undefined
  const etcdClient =
    etcd === undefined
      ? undefined
      : new BenchProcess('client', {
          name: 'etcd-client',
          directory: '',
          store,
          servers: [],
          clockDriftBound: 0,
          etcd: await etcd.leader(),
        })
  await etcdClient?.start()
  try {
    for (const operation of operations) {
      await cluster.client.load({ type: 'load', operation, ...compiling })
      await etcdClient?.load({ type: 'load', operation, ...compiling })
      for (const count of counts) {
        const own: Measured[] = []
        const theirs: Measured[] = []
        const ratios: number[] = []
        for (let round = 0; round < rounds; round++) {
          const leader = await cluster.leader(metadataGroup)
          const mine = await measure(cluster, cluster.client, leader, operation, count)
          own.push(mine)
          if (etcd === undefined || etcdClient === undefined) continue
          const other = await measureEtcd(etcd, etcdClient, operation, count)
          theirs.push(other)
          ratios.push(mine.result.perSecond / other.result.perSecond)
        }
        print(middle(operation, count, own))
        if (theirs.length === 0) continue
        print(middle(`etcd ${operation}`, count, theirs))
        console.log(
          `${' '.repeat(9)} × ${median(ratios).toFixed(1)} of etcd's throughput, median of ${ratios.length}`,
        )
      }
    }
  } finally {
    await etcdClient?.stop()
  }
}

async function measureEtcd(
  etcd: EtcdCluster,
  client: BenchProcess,
  operation: Operation,
  outstanding: number,
): Promise<Measured> {
  await client.load({ type: 'load', operation, outstanding, seconds: warmUpSeconds })
  await client.ask({ type: 'watchSpending' })
  const before = await etcd.cpuMicroseconds(cpuOf)
  const result = await client.load({ type: 'load', operation, outstanding, seconds })
  const { cpuMicroseconds } = await client.spent()
  const members = (await etcd.cpuMicroseconds(cpuOf)) - before
  return {
    result,
    cpuMicroseconds: cpuMicroseconds + members,
    loopDelayP99Ms: Number.NaN,
    residentBytes: Number.NaN,
  }
}

/** User and system time of another process on Linux, whose clock ticks a hundred times a second. */
async function cpuOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

async function measureFailover(cluster: BenchCluster, how: string): Promise<void> {
  const times = values.failovers
  title(`first write after the leader is gone${how}, ${times} times each, in milliseconds`)
  console.log(
    `${'signal'.padEnd(10)}${'in the group: median'.padStart(22)}${'worst'.padStart(8)}` +
      `${'for a client: median'.padStart(24)}${'worst'.padStart(8)}`,
  )
  for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
    const seen: Failover[] = []
    for (let i = 0; i < times; i++) seen.push(await failover(cluster, signal))
    const group = seen.map(({ groupMs }) => groupMs)
    const client = seen.map(({ clientMs }) => clientMs)
    console.log(
      signal.padEnd(10) +
        median(group).toFixed(0).padStart(22) +
        Math.max(...group)
          .toFixed(0)
          .padStart(8) +
        median(client).toFixed(0).padStart(24) +
        Math.max(...client)
          .toFixed(0)
          .padStart(8),
    )
  }
}

function title(text: string): void {
  console.log(`\n${text}`)
  if (text.startsWith('first')) return
  console.log(
    'operation  outstanding  operations/s     p50 ms     p99 ms   CPU µs/op  loop p99 ms  leader MiB  CPU µs/op of leader, follower, client',
  )
}

function print(line: Line): void {
  const figure = (value: number, digits: number): string =>
    Number.isNaN(value) ? '-' : value.toFixed(digits)
  console.log(
    [
      line.operation.padEnd(9),
      String(line.outstanding).padStart(12),
      Math.round(line.perSecond).toLocaleString('en').padStart(13),
      figure(line.p50Ms, 2).padStart(10),
      figure(line.p99Ms, 2).padStart(10),
      figure(line.cpuMicroseconds, 1).padStart(11),
      figure(line.loopDelayP99Ms, 1).padStart(12),
      figure(line.leaderMebibytes, 0).padStart(11),
      ` ${line.cpuByProcess.map((each) => figure(each, 1)).join(' / ')}`,
    ].join(' '),
  )
}
