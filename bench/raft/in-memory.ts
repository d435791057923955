import type { ReplicaDescriptor } from 'keelson'
import { nodeEnvironment } from 'keelson/core'
import { type RaftGroup, RaftHost } from 'keelson/raft'
import { memoryLog } from 'keelson/storage/memory'
import { memoryNetwork } from 'keelson/transport/memory'
import { countingMachine } from './counting-machine.ts'
import { clusterId, countingGroup } from './protocol.ts'

/** Three hosts in this process, with network and logs in memory: what is left is the cost of Raft itself. */
export class MemoryCluster implements AsyncDisposable {
  readonly #groups: readonly RaftGroup[]
  readonly #closers: readonly (() => Promise<void>)[]

  private constructor(groups: readonly RaftGroup[], closers: readonly (() => Promise<void>)[]) {
    this.#groups = groups
    this.#closers = closers
  }

  /** Whoever leads now, or next. */
  async leader(): Promise<RaftGroup> {
    const leading = this.#groups.find((group) => group.token() !== undefined)
    if (leading !== undefined) return leading
    return new Promise<RaftGroup>((resolve) => {
      for (const group of this.#groups) {
        group.on('token', (token) => {
          if (token !== undefined) resolve(group)
        })
      }
    })
  }

  static async start(): Promise<MemoryCluster> {
    const env = nodeEnvironment()
    const network = memoryNetwork()
    const closers: (() => Promise<void>)[] = []
    const hosts: RaftHost[] = []
    for (const nodeId of ['n1', 'n2', 'n3']) {
      const log = await memoryLog()({ env, clusterId, nodeId })
      const self = { nodeId, incarnation: log.incarnation, role: 'node' } as const
      const transport = await network.transport()({ env, clusterId, self, resolve: network.resolve })
      const channel = transport.channel('raft')
      const host = await RaftHost.open({ env, log, clusterId, nodeId, channel })
      closers.push(async () => {
        await host.close()
        await transport.close()
      })
      hosts.push(host)
    }
    const replicas = hosts.map(
      (host, i): ReplicaDescriptor => ({
        replicaId: i + 1,
        nodeId: host.nodeId,
        incarnation: host.incarnation,
        role: 'voter',
      }),
    )
    const groups = await Promise.all(
      hosts.map(async (host) => host.bootstrap(countingGroup, { replicas, stateMachine: countingMachine() })),
    )
    const cluster = new MemoryCluster(groups, closers)
    await cluster.leader()
    return cluster
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.#closers) await close()
  }
}
