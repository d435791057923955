// What groups cost that have nothing to say: heap and processor time of 100,000 idle groups on each of three nodes, three
// processes over WebSocket on loopback. `npm run bench -- idle [--groups 100000] [--seconds 20] [--stop 5] [--store segments|memory]`
//
// A thousand groups at a time are bootstrapped, elect a leader (each node campaigns in a third of them), commit their first
// entry and go to rest. Processor time is all that a process used while nobody asked for anything, its connections and their signs of life included; `rested` says
// how many of its replicas did so from beginning to end. Then one node is stopped (SIGSTOP) for longer than the others wait
// for it, and goes on: how long it takes until all groups rest again, and how many of them have another leader. Then a thousand of the groups that a node leads take a command
// each, a hundred at a time. Heap comes last, when they rest again, since a full collection of a large heap stops a process
// for longer than others wait for it: it is what the collection leaves, less what the node had with its host open and no
// group, log store included. The state machine of a group is an empty object: what a host program keeps is its own.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { nodeEnvironment } from 'keelson/core'
import { RaftHost } from 'keelson/raft'
import { memoryLog } from 'keelson/storage/memory'
import { segments } from 'keelson/storage/segments'
import { webSocket } from 'keelson/transport/websocket'
import { amount, choice, commandLine, wholeNumber, word } from './support/command-line.ts'

type StateMachine = Parameters<RaftHost['bootstrap']>[1]['stateMachine']
type Replicas = Parameters<RaftHost['bootstrap']>[1]['replicas']

type RaftGroup = Awaited<ReturnType<RaftHost['openGroup']>>

type Command =
  | { readonly type: 'meet'; readonly addresses: Record<string, string>; readonly replicas: Replicas }
  | { readonly type: 'bootstrap' | 'campaign'; readonly first: number; readonly count: number }
  | { readonly type: 'rest' }
  | { readonly type: 'idle'; readonly seconds: number }
  | { readonly type: 'write' }
  | { readonly type: 'heap' }

/** What a node found of its process. */
interface IdleResult {
  readonly rested: number
  readonly led: number
  readonly cpuShare: number
}

/** What making the groups has cost. */
interface MadeResult {
  readonly cpuSeconds: number
  readonly led: number
}

interface HeapResult {
  readonly heapPerReplica: number
  readonly externalPerReplica: number
  readonly residentMb: number
}

const names = ['n1', 'n2', 'n3']
const together = 1_000
const writtenTogether = 100

const values = commandLine({
  call: 'npm run bench -- idle',
  about:
    'What many groups cost three nodes while nobody asks anything of them, and after one of the nodes stood still.',
  flags: {
    groups: wholeNumber(100_000, 'groups, each with a replica on all three nodes'),
    seconds: amount(20, 'how long they are watched at rest'),
    stop: amount(5, 'seconds for which one node stands still; 0 leaves it out'),
    store: choice(['segments', 'memory'], 'segments', 'log store'),
    drift: amount(0.001, 'bound of the clock drift; with 0 there are no leases'),
    node: word(undefined, 'NAME', 'for the processes that it starts itself'),
    directory: word(undefined, 'DIR', 'likewise'),
  },
})
const { groups } = values
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
  let replicas: Replicas = []
  /** Those that may not have come to rest yet. */
  let young: RaftGroup[] = []
  const transport = await webSocket({ listen: { host: '127.0.0.1', port: 0 } })({
    env,
    clusterId,
    self: { nodeId, incarnation: log.incarnation, role: 'node' },
    resolve: (peer) => (addresses[peer] === undefined ? [] : [addresses[peer]]),
  })
  const channel = transport.channel('raft', { traffic: 'control' })
  const raft = { clockDriftBound: values.drift }
  const host = await RaftHost.open({ env, log, clusterId, nodeId, channel, maximumGroups: groups, raft })
  await pause(100)
  const empty = memory()
  process.on('message', (command: Command) => {
    void carryOut(command).then((answer) => process.send?.(answer))
  })
  process.on('disconnect', () => process.exit(0))
  process.send?.({ address: transport.addresses[0], incarnation: log.incarnation })

  async function carryOut(command: Command): Promise<unknown> {
    switch (command.type) {
      case 'meet':
        ;({ addresses, replicas } = command)
        return 'met'
      case 'bootstrap':
        return bootstrap(command.first, command.count)
      case 'campaign':
        return campaign(command.first, command.count)
      case 'rest':
        return allRest()
      case 'idle':
        return idle(command.seconds)
      case 'write':
        return write()
      case 'heap':
        return heap()
    }
  }

  /** More, when those before them rest. */
  async function bootstrap(first: number, count: number): Promise<string> {
    await rest(young)
    young = await Promise.all(
      Array.from({ length: count }, async (_, i) =>
        host.bootstrap(first + i, { replicas, stateMachine: new EmptyMachine() }),
      ),
    )
    return 'made'
  }

  /** Each node leads a part of them. */
  async function campaign(first: number, count: number): Promise<string> {
    const place = names.indexOf(nodeId)
    for (let groupId = first; groupId < first + count; groupId++) {
      if (groupId % names.length === place) host.groups().get(groupId)?.campaign()
    }
    return 'campaigning'
  }

  async function allRest(): Promise<MadeResult> {
    await rest([...host.groups().values()])
    const { user, system } = process.cpuUsage()
    const all = [...host.groups().values()]
    const led = all.filter((group) => group.status().role === 'leader').length
    return { cpuSeconds: (user + system) / 1e6, led }
  }

  /** One after the other, as looking at all of them takes its time. */
  async function rest(some: readonly RaftGroup[]): Promise<void> {
    for (const [i, group] of some.entries()) {
      while (!group.status().atRest) await pause(20)
      if (i % together === 0) await pause(0)
    }
  }

  /** Processor time of a while in which nothing is asked for. */
  async function idle(seconds: number): Promise<IdleResult> {
    const all = [...host.groups().values()]
    const before = all.map((group) => group.status())
    await pause(1_000)
    const { user, system } = process.cpuUsage()
    const startedMs = performance.now()
    await pause(seconds * 1000)
    const used = process.cpuUsage({ user, system })
    const cpuShare = (used.user + used.system) / 1000 / (performance.now() - startedMs)
    const rested = all.filter((group, i) => {
      const status = group.status()
      return status.atRest && before[i]?.atRest === true && before[i].term === status.term
    })
    const led = rested.filter((group) => group.status().role === 'leader')
    return { rested: rested.length, led: led.length, cpuShare }
  }

  /** That they are there indeed: each of some groups takes a command. @returns commands per second */
  async function write(): Promise<number> {
    const led = [...host.groups().values()].filter((group) => group.status().role === 'leader')
    const some = led.slice(0, together)
    let written = 0
    const startedMs = performance.now()
    for (let at = 0; at < some.length; at += writtenTogether) {
      const outcomes = await Promise.allSettled(
        some.slice(at, at + writtenTogether).map(async (group) => group.propose(nothing)),
      )
      written += outcomes.filter(({ status }) => status === 'fulfilled').length
    }
    return (written / (performance.now() - startedMs)) * 1000
  }

  /** What is kept for replicas that rest. */
  async function heap(): Promise<HeapResult> {
    await rest([...host.groups().values()])
    const after = memory()
    return {
      heapPerReplica: (after.heapUsed - empty.heapUsed) / groups,
      externalPerReplica: (after.external - empty.external) / groups,
      residentMb: after.rss / 2 ** 20,
    }
  }
}

/** After full collections, and before anything else happens. */
function memory(): NodeJS.MemoryUsage {
  globalThis.gc?.()
  globalThis.gc?.()
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
    await all(children, { type: 'meet', addresses, replicas })
    for (let first = 1; first <= groups; first += together) {
      const batch = { first, count: Math.min(together, groups - first + 1) }
      await all(children, { type: 'bootstrap', ...batch })
      await all(children, { type: 'campaign', ...batch })
    }
    const made = await all<MadeResult>(children, { type: 'rest' })
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0)
    const cpuSeconds = made.reduce((sum, each) => sum + each.cpuSeconds, 0).toFixed(0)
    console.log(
      `Raft at rest: 3 processes, ${values.store}, ${groups.toLocaleString('en')} groups, made in ${seconds} s with ${cpuSeconds} s of processor time`,
    )
    reportIdle(await all<IdleResult>(children, { type: 'idle', seconds: values.seconds }))
    if (values.stop > 0) await standStill(children, made)
    const writes = await all<number>(children, { type: 'write' })
    const heaps: HeapResult[] = []
    // One after the other: whoever is waited for wakes the others.
    for (const child of children) heaps.push(...(await all<HeapResult>([child], { type: 'heap' })))
    reportHeap(writes, heaps)
  } finally {
    const gone = children.map(async (child) => once(child, 'exit'))
    for (const child of children) child.disconnect()
    await Promise.all(gone)
    await rm(directory, { recursive: true, force: true })
  }
}

/** One of them does nothing for a while. */
async function standStill(children: readonly ChildProcess[], before: readonly MadeResult[]): Promise<void> {
  const [stopped] = children as [ChildProcess]
  stopped.kill('SIGSTOP')
  await pause(values.stop * 1000)
  stopped.kill('SIGCONT')
  const startedMs = performance.now()
  // A node that does not know yet what it missed rests, too, and leads what others lead by now.
  let after = await all<MadeResult>(children, { type: 'rest' })
  while (after.reduce((led, each) => led + each.led, 0) !== groups) {
    await pause(100)
    after = await all<MadeResult>(children, { type: 'rest' })
  }
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  const sum = (results: readonly MadeResult[]): number =>
    results.reduce((total, { cpuSeconds }) => total + cpuSeconds, 0)
  const moved = (before[0]?.led ?? 0) - (after[0]?.led ?? 0)
  console.log(
    `${names[0]} was stopped for ${values.stop} s: all groups rest again after ${seconds} s with ${(sum(after) - sum(before)).toFixed(1)} s of processor time, and it leads ${moved} groups less`,
  )
}

async function start(name: string, path: string): Promise<ChildProcess> {
  await mkdir(path, { mode: 0o700 })
  const { store, drift } = values
  const flags = ['--node', name, '--directory', path, '--groups', String(groups), '--store', store]
  const execArgv = [...process.execArgv, '--expose-gc', '--max-old-space-size=6144']
  return fork(fileURLToPath(import.meta.url), [...flags, '--drift', String(drift)], { execArgv })
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

function reportIdle(idle: readonly IdleResult[]): void {
  console.log('node   groups      led   rested   CPU of a core')
  idle.forEach(({ led, rested, cpuShare }, i) => {
    const counts = [groups, led, rested].map((count) => count.toLocaleString('en').padStart(8))
    console.log([names[i]?.padEnd(4), ...counts, `${(cpuShare * 100).toFixed(2)} %`.padStart(15)].join(' '))
  })
}

function reportHeap(writes: readonly number[], heaps: readonly HeapResult[]): void {
  console.log('node   writes/s   heap/replica   external/replica   resident')
  heaps.forEach(({ heapPerReplica, externalPerReplica, residentMb }, i) => {
    const figures = [
      Math.round(writes[i] as number)
        .toLocaleString('en')
        .padStart(10),
      `${Math.round(heapPerReplica).toLocaleString('en')} B`.padStart(14),
      `${Math.round(externalPerReplica).toLocaleString('en')} B`.padStart(18),
      `${Math.round(residentMb)} MiB`.padStart(10),
    ]
    console.log([names[i]?.padEnd(4), ...figures].join(' '))
  })
}
