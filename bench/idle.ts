// What groups cost that have nothing to say: heap and processor time of 100,000 idle groups on each of three nodes, three
// processes over WebSocket on loopback. `npm run bench -- idle [--groups 100000] [--seconds 20] [--store segments|memory]`
//
// Each group is bootstrapped, elects a leader, commits its first entry and goes to rest. Heap is what a full collection
// leaves, less what the node had with its host open and no group, log store included. The state machine of a group is an
// empty object: what a host program keeps is its own. Processor time is all that the process used while nobody asked for
// anything, collections included.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { nodeEnvironment } from 'keelson/core'
import { RaftHost } from 'keelson/raft'
import { memoryLog } from 'keelson/storage/memory'
import { segments } from 'keelson/storage/segments'
import { webSocket } from 'keelson/transport/websocket'

type StateMachine = Parameters<RaftHost['bootstrap']>[1]['stateMachine']
type Replicas = Parameters<RaftHost['bootstrap']>[1]['replicas']

type Command =
  | { readonly type: 'bootstrap'; readonly addresses: Record<string, string>; readonly replicas: Replicas }
  | { readonly type: 'measure'; readonly seconds: number }

/** What a node found, of its process. */
interface Result {
  readonly groups: number
  readonly led: number
  readonly heapPerReplica: number
  readonly externalPerReplica: number
  readonly residentMb: number
  readonly cpuShare: number
  readonly writesPerSecondAfter: number
}

const names = ['n1', 'n2', 'n3']
const together = 1_000

const { values } = parseArgs({
  options: {
    groups: { type: 'string', default: '100000' },
    seconds: { type: 'string', default: '20' },
    store: { type: 'string', default: 'segments' },
    drift: { type: 'string', default: '0.001' },
    node: { type: 'string' },
    directory: { type: 'string' },
  },
})
const groups = Number(values.groups)
if (values.node === undefined) await orchestrate()
else await serve(values.node, values.directory as string)

/** Remembers nothing. */
class EmptyMachine implements StateMachine {
  async open(): ReturnType<StateMachine['open']> {
    return new Map()
  }
  async apply(...[commands, seal]: Parameters<StateMachine['apply']>): Promise<void> {
    seal(commands.map(() => nothing))
  }
  async flush(): Promise<void> {}
  async snapshot(): Promise<never> {
    throw new Error('an idle group needs no snapshot')
  }
  async restore(): Promise<void> {}
  async destroy(): Promise<void> {}
  async close(): Promise<void> {}
}
const nothing = new Uint8Array(0)

// One of the three processes

async function serve(nodeId: string, directory: string): Promise<void> {
  const env = nodeEnvironment()
  const clusterId = 'bench'
  const open = values.store === 'memory' ? memoryLog() : segments(directory)
  const log = await open({ env, clusterId, nodeId })
  let addresses: Record<string, string> = {}
  const transport = await webSocket({ listen: { host: '127.0.0.1', port: 0 } })({
    env,
    clusterId,
    self: { nodeId, incarnation: log.incarnation, role: 'node' },
    resolve: (peer) => (addresses[peer] === undefined ? [] : [addresses[peer]]),
  })
  const channel = transport.channel('raft', { traffic: 'control' })
  const raft = { clockDriftBound: Number(values.drift) }
  const host = await RaftHost.open({ env, log, clusterId, nodeId, channel, maximumGroups: groups, raft })
  const before = await memory()
  process.on('message', (command: Command) => {
    if (command.type === 'measure') void measure(command.seconds)
    else void bootstrap(command.addresses, command.replicas)
  })
  process.on('disconnect', () => process.exit(0))
  process.send?.({ address: transport.addresses[0], incarnation: log.incarnation })

  async function bootstrap(known: Record<string, string>, replicas: Replicas): Promise<void> {
    addresses = known
    for (let first = 1; first <= groups; first += together) {
      const count = Math.min(together, groups - first + 1)
      await Promise.all(
        Array.from({ length: count }, async (_, i) =>
          host.bootstrap(first + i, { replicas, stateMachine: new EmptyMachine() }),
        ),
      )
    }
    const rests = (): boolean => [...host.groups().values()].every((group) => group.status().atRest)
    do await pause(1_000)
    while (!rests())
    process.send?.('at rest')
  }

  async function measure(seconds: number): Promise<void> {
    const after = await memory()
    const { user, system } = process.cpuUsage()
    const startedMs = performance.now()
    await pause(seconds * 1000)
    const used = process.cpuUsage({ user, system })
    const elapsedMs = performance.now() - startedMs
    const led = [...host.groups().values()].filter((group) => group.status().role === 'leader')
    const result: Result = {
      groups: host.groups().size,
      led: led.length,
      heapPerReplica: (after.heapUsed - before.heapUsed) / groups,
      externalPerReplica: (after.external - before.external) / groups,
      residentMb: after.rss / 2 ** 20,
      cpuShare: (used.user + used.system) / 1000 / elapsedMs,
      writesPerSecondAfter: await write(led.slice(0, together)),
    }
    process.send?.(result)
  }

  /** That they are there indeed: each of some groups takes a command. */
  async function write(some: readonly Awaited<ReturnType<RaftHost['openGroup']>>[]): Promise<number> {
    const startedMs = performance.now()
    await Promise.all(some.map(async (group) => group.propose(nothing)))
    return (some.length / (performance.now() - startedMs)) * 1000
  }
}

async function memory(): Promise<NodeJS.MemoryUsage> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await pause(100)
  }
  return process.memoryUsage()
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

// The process that starts the others

async function orchestrate(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-bench-'))
  const children = await Promise.all(names.map(async (name) => start(name, join(directory, name))))
  try {
    const hellos = await all<{ address: string; incarnation: number }>(children)
    const addresses = Object.fromEntries(names.map((name, i) => [name, hellos[i]?.address as string]))
    const replicas: Replicas = names.map((nodeId, i) => ({
      replicaId: i + 1,
      nodeId,
      incarnation: hellos[i]?.incarnation as number,
      role: 'voter',
    }))
    const startedMs = performance.now()
    await all(children, { type: 'bootstrap', addresses, replicas })
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0)
    console.log(
      `Raft at rest: 3 processes, ${values.store}, ${groups.toLocaleString('en')} groups, made in ${seconds} s`,
    )
    report(await all<Result>(children, { type: 'measure', seconds: Number(values.seconds) }))
  } finally {
    const gone = children.map(async (child) => once(child, 'exit'))
    for (const child of children) child.disconnect()
    await Promise.all(gone)
    await rm(directory, { recursive: true, force: true })
  }
}

async function start(name: string, path: string): Promise<ChildProcess> {
  await mkdir(path, { mode: 0o700 })
  const { store, drift } = values
  const flags = ['--node', name, '--directory', path, '--groups', String(groups), '--store', store]
  const execArgv = [...process.execArgv, '--expose-gc', '--max-old-space-size=6144']
  return fork(fileURLToPath(import.meta.url), [...flags, '--drift', drift], { execArgv })
}

/** Tells all of them, and waits for their answers. */
async function all<T>(children: readonly ChildProcess[], command?: Command): Promise<T[]> {
  return Promise.all(
    children.map(async (child) => {
      if (command !== undefined) child.send(command)
      const [answer] = (await once(child, 'message')) as [T]
      return answer
    }),
  )
}

function report(results: readonly Result[]): void {
  console.log(
    'node   groups      led   heap/replica   external/replica   resident   CPU of a core   writes/s after',
  )
  results.forEach((result, i) => {
    console.log(
      [
        (names[i] as string).padEnd(4),
        result.groups.toLocaleString('en').padStart(8),
        result.led.toLocaleString('en').padStart(8),
        `${Math.round(result.heapPerReplica).toLocaleString('en')} B`.padStart(14),
        `${Math.round(result.externalPerReplica).toLocaleString('en')} B`.padStart(18),
        `${Math.round(result.residentMb)} MiB`.padStart(10),
        `${(result.cpuShare * 100).toFixed(2)} %`.padStart(15),
        Math.round(result.writesPerSecondAfter).toLocaleString('en').padStart(16),
      ].join(' '),
    )
  })
}
