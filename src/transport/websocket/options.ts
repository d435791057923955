import type { PeerCertificate } from 'node:tls'
import {
  booleanOption,
  checkOptions,
  functionOption,
  integerOption,
  type OptionCheck,
  objectOption,
  optional,
  stringOption,
} from '../../core/options.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import { addressOption, isLoopback } from '../addresses.ts'
import type { WebSocketTls } from './tls.ts'

/** Limits and times of a WebSocket transport. Every one has a default in {@link webSocketDefaults}. */
export interface WebSocketLimits {
  /** Largest message and largest chunk of a stream, in bytes. */
  readonly maximumMessageBytes: number
  /** Largest frame that is sent or taken, in bytes. */
  readonly maximumFrameBytes: number
  /** Messages packed into one frame, sent or taken. */
  readonly maximumMessagesPerFrame: number
  /** Messages that wait for one peer, in each traffic class; more are dropped. */
  readonly maximumQueuedMessages: number
  /** Bytes that wait for one peer, in each traffic class; more are dropped. */
  readonly maximumQueuedBytes: number
  /** Bytes handed to one socket that the operating system has not taken yet; the rest waits in the queue. */
  readonly maximumBufferedBytes: number
  /** Peers connected at the same time. */
  readonly maximumConnections: number
  /** Connections that have not said who they are yet. */
  readonly maximumHandshakes: number
  /** Streams with one peer, in each direction. */
  readonly maximumStreams: number
  /** Bytes of one stream that its consumer has not taken yet. */
  readonly streamWindowBytes: number
  /** Time for a connection to be made, from its first packet to the end of the greeting, in milliseconds. */
  readonly handshakeTimeoutMs: number
  /** How often each connection is checked, in milliseconds. Silent three times in a row, it is cut off. */
  readonly pingIntervalMs: number
  /** First pause after a failed dial, in milliseconds; it doubles with each failure and is drawn between half and all. */
  readonly minimumReconnectDelayMs: number
  /** Longest pause after a failed dial, in milliseconds. */
  readonly maximumReconnectDelayMs: number
}

/** Where a transport listens. */
export interface ListenAddress {
  /** Name or address of a local interface. */
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
}

/** What may be given to {@link webSocket}. */
export interface WebSocketOptions extends Partial<WebSocketLimits> {
  /** Absent: the transport only dials, as clients do. */
  readonly listen?: ListenAddress
  /** `host:port` at which others reach this node, where it is not the one that it listens on. */
  readonly advertise?: string
  /**
   * Keys and certificates; absent, everything travels in plaintext. A function is asked before each dial and once a minute
   * for the listening side: what it gives then is used for new connections, so that certificates can be renewed without a
   * restart. It gives the same object as long as nothing has changed.
   */
  readonly tls?: WebSocketTls | (() => WebSocketTls)
  /** Allows plaintext beyond the loopback interface. Everybody on the network can then read, change and forge traffic. */
  readonly insecure?: boolean
  /**
   * Says whether a peer may be who it says it is, before anything else is heard from it; `certificate` is what it proved
   * with TLS, if anything. {@link certificateNamesNode} is a good one. With it the certificate's host name is not
   * checked: the name that counts is the node's.
   */
  readonly verifyPeer?: (peer: PeerIdentity, certificate: PeerCertificate | undefined) => boolean
}

/** Options with every default filled in. */
export interface CheckedWebSocketOptions extends WebSocketLimits {
  readonly listen: ListenAddress | undefined
  readonly advertise: string | undefined
  readonly tls: (() => WebSocketTls) | undefined
  readonly insecure: boolean
  readonly verifyPeer: WebSocketOptions['verifyPeer'] | undefined
}

/** Defaults of {@link WebSocketLimits}. */
export const webSocketDefaults: WebSocketLimits = Object.freeze({
  maximumMessageBytes: 2 * 1024 * 1024,
  maximumFrameBytes: 4 * 1024 * 1024,
  maximumMessagesPerFrame: 4_096,
  maximumQueuedMessages: 65_536,
  maximumQueuedBytes: 32 * 1024 * 1024,
  maximumBufferedBytes: 8 * 1024 * 1024,
  maximumConnections: 10_000,
  maximumHandshakes: 256,
  maximumStreams: 64,
  streamWindowBytes: 1024 * 1024,
  handshakeTimeoutMs: 5_000,
  pingIntervalMs: 5_000,
  minimumReconnectDelayMs: 50,
  maximumReconnectDelayMs: 2_000,
})

/** Room that the header of a message or stream record takes in a frame, at most. */
export const frameOverheadBytes = 256

const listenOption: OptionCheck<ListenAddress> = (value, name) =>
  checkOptions<ListenAddress>(name, value, {
    host: stringOption({ maxLength: 255 }),
    port: integerOption({ min: 0, max: 65_535 }),
  })

const tlsOption: OptionCheck<() => WebSocketTls> = (value, name) => {
  if (typeof value === 'function') return value as () => WebSocketTls
  const tls = objectOption<WebSocketTls>(['key', 'cert'])(value, name)
  return () => tls
}

/** Checks the options of {@link webSocket}. @throws KeelsonError `INVALID_OPTION` */
export function checkWebSocketOptions(options: WebSocketOptions): CheckedWebSocketOptions {
  const limit = (name: keyof WebSocketLimits, min = 1, max?: number): OptionCheck<number> =>
    integerOption({ min, ...(max === undefined ? {} : { max }), fallback: webSocketDefaults[name] })
  const days = 86_400_000
  return checkOptions<CheckedWebSocketOptions>(
    'webSocket',
    options,
    {
      listen: optional(listenOption),
      advertise: optional(addressOption),
      tls: optional(tlsOption),
      insecure: booleanOption(false),
      verifyPeer: optional(functionOption<NonNullable<WebSocketOptions['verifyPeer']>>()),
      maximumMessageBytes: limit('maximumMessageBytes'),
      maximumFrameBytes: limit('maximumFrameBytes', 1_024, 256 * 1024 * 1024),
      maximumMessagesPerFrame: limit('maximumMessagesPerFrame'),
      maximumQueuedMessages: limit('maximumQueuedMessages'),
      maximumQueuedBytes: limit('maximumQueuedBytes'),
      maximumBufferedBytes: limit('maximumBufferedBytes'),
      maximumConnections: limit('maximumConnections'),
      maximumHandshakes: limit('maximumHandshakes'),
      maximumStreams: limit('maximumStreams'),
      streamWindowBytes: limit('streamWindowBytes', 1_024),
      handshakeTimeoutMs: limit('handshakeTimeoutMs', 1, days),
      pingIntervalMs: limit('pingIntervalMs', 1, days),
      minimumReconnectDelayMs: limit('minimumReconnectDelayMs', 1, days),
      maximumReconnectDelayMs: limit('maximumReconnectDelayMs', 1, days),
    },
    (checked, refuse) => {
      if (checked.maximumMessageBytes + frameOverheadBytes > checked.maximumFrameBytes) {
        refuse(`maximumFrameBytes must exceed maximumMessageBytes by ${frameOverheadBytes} at least`)
      }
      if (checked.maximumMessageBytes > checked.maximumQueuedBytes) {
        refuse('maximumQueuedBytes must be at least maximumMessageBytes')
      }
      if (checked.minimumReconnectDelayMs > checked.maximumReconnectDelayMs) {
        refuse('minimumReconnectDelayMs must not exceed maximumReconnectDelayMs')
      }
      const { listen, tls, insecure } = checked
      if (listen !== undefined && tls === undefined && !insecure && !isLoopback(listen.host)) {
        refuse(
          `listening on ${listen.host} without tls would carry everything in plaintext; give tls, listen on 127.0.0.1, or set insecure: true`,
        )
      }
    },
  )
}
