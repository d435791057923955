import type { Environment } from '../../core/environment.ts'
import { checkOptions, functionOption, integerOption, objectOption } from '../../core/options.ts'
import type { Channel, PeerIdentity } from '../../interfaces/transport.ts'
import { rpcOverheadBytes } from './frames.ts'

/** Limits of an {@link Rpc}. Every one has a default in {@link rpcDefaults}. */
export interface RpcLimits {
  /** Time for a call that names none, in milliseconds. */
  readonly callTimeoutMs: number
  /** Calls that wait for one peer's answer. */
  readonly maximumCallsPerPeer: number
  /** Calls that wait for an answer in total. */
  readonly maximumCalls: number
  /** Requests of one peer whose handlers run. */
  readonly maximumRequestsPerPeer: number
  /** Requests whose handlers run in total. */
  readonly maximumRequests: number
  /** Streams with one peer, counted for each direction. */
  readonly maximumStreamsPerPeer: number
  /** Streams in total, counted for each direction. */
  readonly maximumStreams: number
  /** Bytes of one stream that its consumer has not taken yet; one item may go beyond. */
  readonly streamWindowBytes: number
  /** Largest request, response or item in bytes; never more than the channel carries. */
  readonly maximumBodyBytes: number
  /**
   * How often an open stream from which nothing came is checked for life, in milliseconds. A peer that stays silent four
   * times in a row has broken its streams.
   */
  readonly probeIntervalMs: number
}

/** What an {@link Rpc} needs and what may be changed of it. */
export interface RpcOptions extends Partial<RpcLimits> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** A channel of its own: calls and answers take all of its messages and streams. */
  readonly channel: Channel
  /**
   * Says whether a peer may use a method; refused calls fail with `UNAUTHORIZED`. Default: everybody may use
   * everything.
   */
  readonly authorize?: (peer: PeerIdentity, method: string) => boolean
}

/** Defaults of {@link RpcLimits}. */
export const rpcDefaults: RpcLimits = Object.freeze({
  callTimeoutMs: 10_000,
  maximumCallsPerPeer: 8_192,
  maximumCalls: 32_768,
  maximumRequestsPerPeer: 8_192,
  maximumRequests: 32_768,
  maximumStreamsPerPeer: 2_048,
  maximumStreams: 16_384,
  streamWindowBytes: 256 * 1024,
  maximumBodyBytes: 1024 * 1024,
  probeIntervalMs: 2_000,
})

/** Longest time a call may be given, in milliseconds. */
const maximumTimeoutMs = 86_400_000

/** Checks a call's own timeout. */
export const timeoutOption: (value: unknown, name: string) => number = integerOption({
  min: 1,
  max: maximumTimeoutMs,
})

/** Options with every default filled in. */
export type CheckedRpcOptions = Required<RpcOptions>

/** Checks the options of an {@link Rpc}. @throws KeelsonError `INVALID_OPTION` */
export function checkRpcOptions(options: RpcOptions): CheckedRpcOptions {
  const count = (fallback: number) => integerOption({ min: 1, max: 1_000_000, fallback })
  const carried: unknown = (options as RpcOptions | null | undefined)?.channel?.maximumMessageBytes
  const room = Math.max(1, (typeof carried === 'number' ? carried : 0) - rpcOverheadBytes)
  return checkOptions<CheckedRpcOptions>('Rpc', options, {
    env: objectOption(['clock', 'timers', 'random', 'logger', 'metrics']),
    channel: objectOption(['send', 'onMessage', 'onLost', 'self', 'maximumMessageBytes']),
    authorize: functionOption<(peer: PeerIdentity, method: string) => boolean>(() => true),
    callTimeoutMs: integerOption({ min: 1, max: maximumTimeoutMs, fallback: rpcDefaults.callTimeoutMs }),
    maximumCallsPerPeer: count(rpcDefaults.maximumCallsPerPeer),
    maximumCalls: count(rpcDefaults.maximumCalls),
    maximumRequestsPerPeer: count(rpcDefaults.maximumRequestsPerPeer),
    maximumRequests: count(rpcDefaults.maximumRequests),
    maximumStreamsPerPeer: count(rpcDefaults.maximumStreamsPerPeer),
    maximumStreams: count(rpcDefaults.maximumStreams),
    streamWindowBytes: integerOption({ min: 1_024, fallback: rpcDefaults.streamWindowBytes }),
    maximumBodyBytes: integerOption({
      min: 1,
      max: room,
      fallback: Math.min(room, rpcDefaults.maximumBodyBytes),
    }),
    probeIntervalMs: integerOption({ min: 1, max: maximumTimeoutMs, fallback: rpcDefaults.probeIntervalMs }),
  })
}
