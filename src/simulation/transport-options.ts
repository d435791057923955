/** Options of `SimulatedTransports.factory`. */
export interface SimulatedTransportOptions {
  /** False for one that only dials. A client never listens. Default: true. */
  readonly listen?: boolean
  /** Port of the address `<process>:<port>`. Default: 7000. */
  readonly port?: number
  /** Largest message or chunk. Default: 2 MiB. */
  readonly maximumMessageBytes?: number
  /** Bytes under way to one peer before `send` drops. Default: 64 MiB. */
  readonly maximumQueuedBytes?: number
  /** Streams in each direction of one connection. Default: 64. */
  readonly maximumStreams?: number
  /** Bytes of one stream that its consumer has not taken yet. Default: 1 MiB. */
  readonly streamWindowBytes?: number
  /** Time after which an attempt to connect is given up. Default: 1,000. */
  readonly connectTimeoutMs?: number
  /** Time after which a connection over which nothing passes is given up by both ends. Default: 1,000. */
  readonly pingTimeoutMs?: number
}

/** Defaults of {@link SimulatedTransportOptions}. */
export const simulatedTransportDefaults: Required<SimulatedTransportOptions> = Object.freeze({
  listen: true,
  port: 7_000,
  maximumMessageBytes: 2 * 1024 * 1024,
  maximumQueuedBytes: 64 * 1024 * 1024,
  maximumStreams: 64,
  streamWindowBytes: 1024 * 1024,
  connectTimeoutMs: 1_000,
  pingTimeoutMs: 1_000,
})
