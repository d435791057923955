import type { CallOptions } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import {
  checkOptions,
  functionOption,
  integerOption,
  type OptionCheck,
  objectOption,
} from '../../core/options.ts'
import type { Channel } from '../../interfaces/transport.ts'
import type { NodeId } from '../../model/ids.ts'

/** Asks a server. Fails with `UNREACHABLE`, `OUTCOME_UNKNOWN` after the timeout, or with what the server threw. */
export type AskServer = (
  peer: NodeId,
  method: string,
  body: Uint8Array,
  options: CallOptions & { readonly timeoutMs: number },
) => Promise<Uint8Array>

/** Numbers of a client. Every one has a default in {@link clientTuningDefaults}. */
export interface ClientTuning {
  /** A call that was not answered after all its attempts within this time fails. */
  readonly callTimeoutMs: number
  /** An attempt that was not answered within this time is followed by another one, elsewhere. */
  readonly attemptTimeoutMs: number
  /** The first wait between attempts is at most this, each later one at most twice the one before. */
  readonly retryBaseMs: number
  /** No wait between attempts is longer. */
  readonly retryLimitMs: number
  /** Writes whose outcome is open at a time; others queue. */
  readonly maximumInFlight: number
  /** Calls that queue. More are refused with `OVERLOADED`. */
  readonly maximumQueued: number
}

/** Defaults of {@link ClientTuning}. */
export const clientTuningDefaults: ClientTuning = Object.freeze({
  callTimeoutMs: 10_000,
  attemptTimeoutMs: 1_000,
  retryBaseMs: 10,
  retryLimitMs: 500,
  maximumInFlight: 1_000,
  maximumQueued: 10_000,
})

/** Checks of {@link ClientTuning}. */
export const clientOptionChecks: { readonly [K in keyof ClientTuning]: OptionCheck<number> } = Object.freeze({
  callTimeoutMs: integerOption({ min: 1, max: 3_600_000, fallback: clientTuningDefaults.callTimeoutMs }),
  attemptTimeoutMs: integerOption({
    min: 1,
    max: 3_600_000,
    fallback: clientTuningDefaults.attemptTimeoutMs,
  }),
  retryBaseMs: integerOption({ min: 1, max: 60_000, fallback: clientTuningDefaults.retryBaseMs }),
  retryLimitMs: integerOption({ min: 1, max: 60_000, fallback: clientTuningDefaults.retryLimitMs }),
  // A client session of the Raft group keeps the results of 1,024 commands.
  maximumInFlight: integerOption({ min: 1, max: 1_000, fallback: clientTuningDefaults.maximumInFlight }),
  maximumQueued: integerOption({ min: 1, fallback: clientTuningDefaults.maximumQueued }),
})

/** Options of `MetadataClient`. */
export interface MetadataClientOptions extends Partial<ClientTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** A channel of its own, by custom `metadata`. */
  readonly channel: Channel
  /** The servers that are known now. Asked again before every attempt. */
  readonly servers: () => readonly NodeId[]
}

/** @throws KeelsonError `INVALID_OPTION` */
export function checkClientOptions(options: MetadataClientOptions): Required<MetadataClientOptions> {
  return checkOptions<Required<MetadataClientOptions>>('MetadataClient', options, {
    env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
    channel: objectOption<Channel>(['send', 'onMessage', 'onLost']),
    servers: functionOption<() => readonly NodeId[]>(),
    ...clientOptionChecks,
  })
}
