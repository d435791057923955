import type { Environment } from '../core/environment.ts'
import type { ClusterId, NodeId } from '../model/ids.ts'

/** What the composition hands to a datagram adapter when it opens it. */
export interface DatagramContext {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Datagrams of other clusters are not delivered where the adapter authenticates. */
  readonly clusterId: ClusterId
  /** For logs only; datagrams carry no identity of their own. */
  readonly nodeId: NodeId
}

/**
 * Adapters are factories: `datagram({ listen })` gives one of these.
 *
 * Opening throws KeelsonError `IO` (the address is taken), `INVALID_OPTION`.
 */
export type DatagramFactory = (context: DatagramContext) => Promise<DatagramSocket>

/**
 * Unreliable, unordered, connectionless packets, as gossip wants them. A packet arrives whole, or not at all, perhaps
 * late, and where the adapter has no replay protection perhaps more than once.
 *
 * Addresses are `host:port`, IPv6 hosts in brackets: `127.0.0.1:7946`, `[::1]:7946`. The host of a received packet is
 * always numeric.
 */
export interface DatagramSocket extends AsyncDisposable {
  /** Where others reach this socket. */
  readonly address: string
  /** Largest payload in bytes that one packet carries, after everything that the adapter itself adds. */
  readonly maximumPayloadBytes: number
  /**
   * Sends a packet, best effort, without waiting: whatever goes wrong after the checks (an unknown host, a full buffer)
   * is a lost packet. The bytes must not change afterwards. After `close` it does nothing.
   *
   * @throws KeelsonError `LIMIT_EXCEEDED` above {@link DatagramSocket.maximumPayloadBytes}, `INVALID_ARGUMENT` for an
   * address that is not `host:port`
   */
  send(address: string, bytes: Uint8Array): void
  /**
   * Sets the receiver. It must not throw for bad input, and must not keep `bytes` beyond the call. `from` is the address
   * that the packet came from, which a sender can forge unless the adapter authenticates; packets are never delivered
   * within a call of `send`.
   */
  onMessage(handler: (from: string, bytes: Uint8Array) => void): void
  /** Releases the port. Nothing is delivered afterwards. Idempotent. */
  close(): Promise<void>
}
