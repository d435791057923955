import type { RaftHostOptions } from '../../../src/raft/host/options.ts'
import { Cluster, type ClusterNode } from './host-cluster.ts'

/** Commands that spread over many counters, so that a snapshot has many chunks. */
export async function fill(cluster: Cluster, count: number): Promise<void> {
  for (let i = 0; i < count; i += 10) {
    await Promise.all(Array.from({ length: 10 }, async (_, j) => cluster.propose(`c${(i + j) % 40}+1`)))
  }
}

interface Lagging {
  readonly cluster: Cluster
  /** Down for so long that the log of the others does not reach back to it. */
  readonly late: ClusterNode
  readonly session: number
}

export async function lagging(cluster: Cluster): Promise<Lagging> {
  await cluster.bootstrap()
  const leader = await cluster.leader()
  await cluster.propose('a+1')
  await cluster.converged([...cluster.nodes.keys()])
  const late = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
  late.crash()
  // Long enough to be given up: nothing is held for it.
  await cluster.sleep(400)
  const session = await (await cluster.leader()).group().openSession()
  await cluster.propose('a+1', { commandId: { session, sequence: 1 } })
  await fill(cluster, 200)
  return { cluster, late, session }
}

/** Logs that are compacted soon, and pieces that are small. */
export function makeCluster(seed = 1, host: Partial<RaftHostOptions> = {}): Cluster {
  return new Cluster({
    seed,
    host,
    limits: { compactAfterEntries: 30, keptEntries: 3 },
    raft: { maximumTailBytes: 0 },
    maximumMessageBytes: 16 << 10,
  })
}

/** The metrics of a node, as text. */
export function metrics(node: ClusterNode): string {
  return (node.env.metrics as unknown as { text(): string }).text()
}

/** Starts a node that is down, with a machine that was changed first. */
export async function restartWith(
  node: ClusterNode,
  prepare: (machine: ReturnType<ClusterNode['machine']>) => void,
): Promise<void> {
  node.process.restart()
  await node.start()
  const machine = node.machine()
  prepare(machine)
  await node.host.openGroup(1, { stateMachine: machine })
}

/** Lets `change` see every chunk of the streams that the other nodes open, with its number within the stream. */
export function interceptStreams(
  cluster: Cluster,
  receiver: ClusterNode,
  change: (chunk: Uint8Array, count: number) => Promise<Uint8Array>,
): void {
  for (const node of cluster.nodes.values()) {
    if (node === receiver) continue
    const open = node.channel.openStream.bind(node.channel)
    node.channel.openStream = async (peer, header, options) => {
      const stream = await open(peer, header, options)
      let count = 0
      return {
        write: async (chunk, callOptions) => stream.write(await change(chunk, ++count), callOptions),
        end: async (callOptions) => stream.end(callOptions),
        destroy: () => stream.destroy(),
      }
    }
  }
}
