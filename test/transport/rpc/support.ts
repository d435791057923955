import type { Environment } from '../../../src/core/environment.ts'
import { type LogRecord, recordLogger } from '../../../src/core/logger.ts'
import { MetricsRegistry } from '../../../src/core/metrics.ts'
import { nodeEnvironment } from '../../../src/core/node-environment.ts'
import type { Channel, Transport } from '../../../src/interfaces/transport.ts'
import {
  type MemoryNetwork,
  type MemoryNetworkOptions,
  memoryNetwork,
} from '../../../src/transport/memory/index.ts'
import { Rpc, type RpcOptions } from '../../../src/transport/rpc.ts'

export interface RpcWorld extends AsyncDisposable {
  readonly env: Environment
  readonly metrics: MetricsRegistry
  readonly logs: LogRecord[]
  readonly network: MemoryNetwork
  readonly transports: ReadonlyMap<string, Transport>
  /** A node with remote calls. */
  rpc(nodeId: string, options?: Partial<RpcOptions>): Promise<Rpc>
  /** A node without: its channel speaks raw bytes. */
  raw(nodeId: string): Promise<Channel>
}

export function world(limits: MemoryNetworkOptions = {}): RpcWorld {
  const logs: LogRecord[] = []
  const metrics = new MetricsRegistry()
  const env = nodeEnvironment({ logger: recordLogger((record) => logs.push(record)), metrics })
  const network = memoryNetwork(limits)
  const transports = new Map<string, Transport>()
  const rpcs: Rpc[] = []
  const raw = async (nodeId: string): Promise<Channel> => {
    const transport = await network.transport()({
      env,
      clusterId: 'test',
      self: { nodeId, incarnation: 1, role: nodeId.startsWith('client') ? 'client' : 'node' },
      resolve: network.resolve,
    })
    transports.set(nodeId, transport)
    return transport.channel('rpc')
  }
  return {
    env,
    metrics,
    logs,
    network,
    transports,
    raw,
    rpc: async (nodeId, options = {}) => {
      const rpc = new Rpc({ env, channel: await raw(nodeId), ...options })
      rpcs.push(rpc)
      return rpc
    },
    [Symbol.asyncDispose]: async () => {
      for (const rpc of rpcs) await rpc.close()
      for (const transport of transports.values()) await transport.close()
    },
  }
}

export const bytes = (...values: number[]): Uint8Array => new Uint8Array(values)
