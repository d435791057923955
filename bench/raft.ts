// Committed writes a second of one Raft group: proposals of 100 bytes, made in the leader's process, over three processes on
// loopback with fsync. `npm run bench -- raft [--seconds 5] [--outstanding 1,64,1024] [--store segments|level]`
//
// Each of the outstanding callers proposes again as soon as its command is applied.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { nodeEnvironment } from 'keelson/core'
import { RaftHost } from 'keelson/raft'
import { levelLog } from 'keelson/storage/level'
import { segments } from 'keelson/storage/segments'
import { webSocket } from 'keelson/transport/websocket'

type HostOptions = Parameters<typeof RaftHost.open>[0]
type StateMachine = Parameters<RaftHost['bootstrap']>[1]['stateMachine']
type Replicas = Parameters<RaftHost['bootstrap']>[1]['replicas']

interface Result {
  readonly outstanding: number
  readonly writesPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly cpuMicrosecondsPerWrite: number
}

const names = ['n1', 'n2', 'n3']
const payload = new Uint8Array(100).fill(120)

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    outstanding: { type: 'string', default: '1,64,1024' },
    store: { type: 'string', default: 'segments' },
    node: { type: 'string' },
    directory: { type: 'string' },
  },
})
if (values.node === undefined) await orchestrate()
else await serve(values.node, values.directory as string)

/** Does nothing but count, and remembers nothing: what is measured is Raft. */
function countingMachine(): StateMachine {
  let count = 0
  const answer = new Uint8Array(0)
  const bookkeeping = new Map<string, Uint8Array>()
  return {
    open: async () => new Map(),
    apply: async (commands, seal) => {
      count += commands.length
      for (const { key, value } of seal(commands.map(() => answer))) {
        if (value === undefined) bookkeeping.delete(key)
        else bookkeeping.set(key, value)
      }
    },
    flush: async () => {},
    snapshot: async () => ({
      bookkeeping: new Map(bookkeeping),
      async *chunks() {
        yield new TextEncoder().encode(String(count))
      },
      [Symbol.asyncDispose]: async () => {},
    }),
    restore: async (given, chunks) => {
      for await (const chunk of chunks) count = Number(new TextDecoder().decode(chunk))
      for (const [key, value] of given) bookkeeping.set(key, value)
    },
    destroy: async () => {},
    close: async () => {},
  }
}

// One of the three processes

async function serve(nodeId: string, directory: string): Promise<void> {
  const env = nodeEnvironment()
  const clusterId = 'bench'
  const open = values.store === 'level' ? levelLog(directory) : segments(directory)
  const log = await open({ env, clusterId, nodeId })
  let addresses: Record<string, string> = {}
  const transport = await webSocket({ listen: { host: '127.0.0.1', port: 0 } })({
    env,
    clusterId,
    self: { nodeId, incarnation: log.incarnation, role: 'node' },
    resolve: (peer) => (addresses[peer] === undefined ? [] : [addresses[peer]]),
  })
  const options: HostOptions = {
    env,
    log,
    clusterId,
    nodeId,
    channel: transport.channel('raft', { traffic: 'control' }),
  }
  const host = await RaftHost.open(options)
  process.on('message', (message: { addresses: Record<string, string>; replicas: Replicas }) => {
    addresses = message.addresses
    void bootstrap(message.replicas)
  })
  process.on('disconnect', () => process.exit(0))
  process.send?.({ address: transport.addresses[0], incarnation: log.incarnation })

  async function bootstrap(replicas: Replicas): Promise<void> {
    const group = await host.bootstrap(1, { replicas, stateMachine: countingMachine() })
    const stop = group.on('token', (token) => {
      if (token === undefined) return
      stop()
      void measureAll()
    })
    async function measureAll(): Promise<void> {
      const results: Result[] = []
      for (const outstanding of values.outstanding.split(',').map(Number)) {
        await measure(outstanding, Math.min(1, Number(values.seconds)))
        results.push(await measure(outstanding, Number(values.seconds)))
      }
      process.send?.({ results })
    }
    async function measure(outstanding: number, seconds: number): Promise<Result> {
      const latencies: number[] = []
      const startedMs = performance.now()
      const cpu = process.cpuUsage()
      const endMs = startedMs + seconds * 1000
      const caller = async (): Promise<void> => {
        for (let now = performance.now(); now < endMs; ) {
          await group.propose(payload)
          const then = now
          now = performance.now()
          latencies.push(now - then)
        }
      }
      await Promise.all(Array.from({ length: outstanding }, caller))
      const elapsedMs = performance.now() - startedMs
      const { user, system } = process.cpuUsage(cpu)
      latencies.sort((a, b) => a - b)
      const at = (share: number): number => latencies[Math.floor(latencies.length * share)] ?? 0
      return {
        outstanding,
        writesPerSecond: (latencies.length / elapsedMs) * 1000,
        p50Ms: at(0.5),
        p99Ms: at(0.99),
        cpuMicrosecondsPerWrite: (user + system) / latencies.length,
      }
    }
  }
}

// The process that starts the others

async function orchestrate(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-bench-'))
  const children = await Promise.all(
    names.map(async (name) => {
      const path = join(directory, name)
      await mkdir(path, { mode: 0o700 })
      const { seconds, outstanding, store } = values
      const flags = ['--node', name, '--directory', path, '--seconds', seconds]
      return fork(fileURLToPath(import.meta.url), [...flags, '--outstanding', outstanding, '--store', store])
    }),
  )
  try {
    const hellos = await Promise.all(
      children.map(async (child) => {
        const [hello] = (await once(child, 'message')) as [{ address: string; incarnation: number }]
        return hello
      }),
    )
    const addresses = Object.fromEntries(names.map((name, i) => [name, hellos[i]?.address as string]))
    const replicas: Replicas = names.map((nodeId, i) => ({
      replicaId: i + 1,
      nodeId,
      incarnation: hellos[i]?.incarnation as number,
      role: 'voter',
    }))
    const answers = children.map(async (child) => {
      const [answer] = (await once(child, 'message')) as [{ results: Result[] }]
      return answer.results
    })
    for (const child of children) child.send({ addresses, replicas })
    report(await Promise.race(answers))
  } finally {
    const gone = children.map(async (child) => once(child, 'exit'))
    for (const child of children) child.disconnect()
    await Promise.all(gone)
    await rm(directory, { recursive: true, force: true })
  }
}

function report(results: readonly Result[]): void {
  console.log(
    `Raft: 3 processes, ${values.store}, fsync, proposals of ${payload.length} bytes in the leader's process`,
  )
  console.log('outstanding   writes/s     p50 ms     p99 ms   leader CPU µs/write')
  for (const { outstanding, writesPerSecond, p50Ms, p99Ms, cpuMicrosecondsPerWrite } of results) {
    console.log(
      [
        String(outstanding).padStart(11),
        Math.round(writesPerSecond).toLocaleString('en').padStart(10),
        p50Ms.toFixed(2).padStart(10),
        p99Ms.toFixed(2).padStart(10),
        cpuMicrosecondsPerWrite.toFixed(1).padStart(21),
      ].join(' '),
    )
  }
}
