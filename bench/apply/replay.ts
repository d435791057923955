import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nodeEnvironment } from 'keelson/core'
import { MetadataServer, MetadataStateMachine, prefixSelector } from 'keelson/metadata'
import { type RaftGroup, RaftHost } from 'keelson/raft'
import { openLevel } from 'keelson/storage/level'
import { MemoryDisk, memoryLog } from 'keelson/storage/memory'
import { memoryNetwork } from 'keelson/transport/memory'

const clusterId = 'bench'
const groupId = 1
const nodeId = 'n1'
const env = nodeEnvironment()
/** The log stays whole, so that it can be applied from its beginning. */
const everything = 2 ** 40

/** A server alone in its cluster: its log in memory, the image of its state in a database on the disk. */
interface Server {
  readonly host: RaftHost
  readonly machine: MetadataStateMachine
  readonly serve: (group: RaftGroup, historyRevisions: number) => Promise<MetadataServer>
  readonly close: () => Promise<void>
}

async function start(disk: MemoryDisk): Promise<Server> {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-bench-'))
  const database = await openLevel(directory)
  const machine = new MetadataStateMachine({ database })
  const log = await memoryLog({ disk })({ env, clusterId, nodeId })
  const network = memoryNetwork()
  const self = { nodeId, incarnation: log.incarnation, role: 'node' } as const
  const transport = await network.transport()({ env, clusterId, self, resolve: network.resolve })
  const host = await RaftHost.open({
    env,
    log,
    clusterId,
    nodeId,
    channel: transport.channel('raft'),
    limits: { compactAfterEntries: everything, compactAfterBytes: everything },
  })
  const servers: MetadataServer[] = []
  return {
    host,
    machine,
    serve: async (group, historyRevisions) => {
      const channel = transport.channel('metadata')
      const server = await MetadataServer.open({ env, group, machine, channel, historyRevisions })
      servers.push(server)
      return server
    },
    close: async () => {
      for (const server of servers) await server.close()
      await host.close()
      await transport.close()
      await database.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** What a load left behind. */
export interface Recording {
  readonly disk: MemoryDisk
  readonly revision: number
  readonly historyRevisions: number
}

/** Has a client put so many keys, `outstanding` at a time, and keeps the log that came of it. */
export async function record(
  keyOf: (put: number) => Uint8Array,
  puts: number,
  outstanding: number,
  historyRevisions: number,
): Promise<Recording> {
  const disk = new MemoryDisk()
  const server = await start(disk)
  const replicas = [{ replicaId: 1, nodeId, incarnation: server.host.incarnation, role: 'voter' }] as const
  const group = await server.host.bootstrap(groupId, { replicas, stateMachine: server.machine })
  const { store } = await server.serve(group, historyRevisions)
  const value = new Uint8Array(100).fill(120)
  let next = 0
  const caller = async (): Promise<void> => {
    while (next < puts) await store.txn({ then: [{ type: 'put', key: keyOf(next++), value }] })
  }
  await Promise.all(Array.from({ length: outstanding }, caller))
  const { revision } = server.machine.reader
  await server.close()
  return { disk, revision, historyRevisions }
}

/** What it took to apply a recording. */
export interface Replayed {
  readonly cpuMicroseconds: number
  readonly digest: string
}

/** Has a server that has nothing but the log apply it. With a watch it tells a watcher of every change meanwhile. */
export async function replay(
  { disk, revision, historyRevisions }: Recording,
  watched: boolean,
): Promise<Replayed> {
  const server = await start(disk)
  const { machine } = server
  let seen = 0
  const applied = new Promise<void>((resolve) => {
    machine.onApplied(() => {
      if (machine.reader.revision >= revision) resolve()
    })
  })
  const before = process.cpuUsage()
  const group = await server.host.openGroup(groupId, { stateMachine: machine })
  let watching: Promise<void> | undefined
  if (watched) {
    const { store } = await server.serve(group, historyRevisions)
    const changes = store.watch(prefixSelector(new Uint8Array(0)), { fromRevision: 1, previous: true })
    watching = (async () => {
      for await (const response of changes) {
        if (response.type === 'changes') seen += response.events.length
        if (response.revision >= revision) return
      }
    })()
  }
  await applied
  await watching
  const { user, system } = process.cpuUsage(before)
  const digest = machine.digest()
  await server.close()
  if (watched && seen === 0) throw new Error('the watch saw nothing')
  return { cpuMicroseconds: user + system, digest }
}
