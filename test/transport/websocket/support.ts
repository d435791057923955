import type { Environment } from '../../../src/core/environment.ts'
import { type LogRecord, recordLogger } from '../../../src/core/logger.ts'
import { MetricsRegistry } from '../../../src/core/metrics.ts'
import { nodeEnvironment } from '../../../src/core/node-environment.ts'
import type { Transport } from '../../../src/interfaces/transport.ts'
import type { TransportHarness } from '../../../src/testing/transport.ts'
import { type WebSocketOptions, webSocket } from '../../../src/transport/websocket/index.ts'

export interface WebSocketHarness extends TransportHarness, AsyncDisposable {
  readonly env: Environment
  readonly metrics: MetricsRegistry
  readonly logs: LogRecord[]
  /** Addresses by node; a test may change them. */
  readonly addresses: Map<string, readonly string[]>
  open(
    options: Parameters<TransportHarness['open']>[0] & { readonly options?: WebSocketOptions },
  ): Promise<Transport>
}

/** Nodes on the loopback interface, on ports that are free. */
export function webSocketHarness(defaults: WebSocketOptions = {}): WebSocketHarness {
  const logs: LogRecord[] = []
  const metrics = new MetricsRegistry()
  const env = nodeEnvironment({ metrics, logger: recordLogger((record) => logs.push(record), 'debug') })
  const addresses = new Map<string, readonly string[]>()
  const opened: Transport[] = []
  const close = async (): Promise<void> => {
    await Promise.all(opened.map((transport) => transport.close()))
  }
  return {
    env,
    metrics,
    logs,
    addresses,
    open: async ({ nodeId, incarnation = 1, clusterId = 'test', founding, role = 'node', options = {} }) => {
      const listen = { host: '127.0.0.1', port: 0 }
      const factory = webSocket({ ...(role === 'node' ? { listen } : {}), ...defaults, ...options })
      const transport = await factory({
        env,
        clusterId,
        founding,
        self: { nodeId, incarnation, role },
        resolve: (peer) => addresses.get(peer) ?? [],
      })
      if (role === 'node') addresses.set(nodeId, transport.addresses)
      opened.push(transport)
      return transport
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
