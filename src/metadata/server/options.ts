import type { Environment } from '../../core/environment.ts'
import { checkOptions, integerOption, numberOption, objectOption } from '../../core/options.ts'
import type { Channel } from '../../interfaces/transport.ts'
import { type ClientTuning, clientOptionChecks, clientTuningDefaults } from '../client/options.ts'
import type { MetadataStateMachine } from '../mvcc/state-machine.ts'
import { defaultClockDriftBound } from '../sessions/limits.ts'
import type { MetadataGroup } from './group.ts'

/** Numbers of a metadata server. Every one has a default in {@link metadataServerDefaults}. */
export interface MetadataServerTuning extends ClientTuning {
  /** Largest size of keys, values and history, in bytes. Writes beyond it are refused. */
  readonly quotaBytes: number
  /** Revisions whose history is kept; older ones are compacted away by the leader. */
  readonly historyRevisions: number
  /** Watches at a time, of all clients. */
  readonly maximumWatchers: number
  /** An idle watch is told that often how far the store has come. */
  readonly progressIntervalMs: number
  /**
   * A server that knows no leader for so long sends its remote watches elsewhere, lest they stand still behind a
   * partition. Its own store is not concerned.
   */
  readonly staleAfterMs: number
  /** How far a clock may run fast or slow, as a fraction; the same on all servers and holders of sessions. */
  readonly clockDriftBound: number
  /** A session that was not renewed for this part of its TTL has missed renewals, which the log takes down. */
  readonly missedAfter: number
  /** Sessions that are revoked in a second, so that a mass failure is no avalanche. */
  readonly revocationsPerSecond: number
  /** How often sessions are looked at, at least. */
  readonly sessionTickMs: number
  /** How often the leader has all members compare the hashes of their states; 0 for never. */
  readonly verifyIntervalMs: number
}

/** Options of `MetadataServer.open`. */
export interface MetadataServerOptions extends Partial<MetadataServerTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** This server's replica of the metadata group. */
  readonly group: MetadataGroup
  /** The state machine that was given to the group. */
  readonly machine: MetadataStateMachine
  /** A channel of its own, by custom `metadata`. */
  readonly channel: Channel
}

/** Defaults of {@link MetadataServerTuning}. */
export const metadataServerDefaults: MetadataServerTuning = Object.freeze({
  ...clientTuningDefaults,
  quotaBytes: 2 * 1024 * 1024 * 1024,
  historyRevisions: 100_000,
  maximumWatchers: 100_000,
  progressIntervalMs: 10_000,
  staleAfterMs: 3_000,
  clockDriftBound: defaultClockDriftBound,
  missedAfter: 0.6,
  revocationsPerSecond: 1_000,
  sessionTickMs: 500,
  verifyIntervalMs: 60_000,
})

/** @throws KeelsonError `INVALID_OPTION` */
export function checkServerOptions(options: MetadataServerOptions): Required<MetadataServerOptions> {
  const defaults = metadataServerDefaults
  return checkOptions<Required<MetadataServerOptions>>('MetadataServer.open', options, {
    env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
    group: objectOption<MetadataGroup>([
      'propose',
      'proposeBatch',
      'read',
      'token',
      'status',
      'on',
      'openSession',
    ]),
    machine: objectOption<MetadataStateMachine>(['apply', 'onApplied', 'reader']),
    channel: objectOption<Channel>(['send', 'onMessage', 'onLost']),
    ...clientOptionChecks,
    quotaBytes: integerOption({ min: 1024, fallback: defaults.quotaBytes }),
    historyRevisions: integerOption({ min: 1, max: 5_000_000, fallback: defaults.historyRevisions }),
    maximumWatchers: integerOption({ min: 1, fallback: defaults.maximumWatchers }),
    progressIntervalMs: integerOption({ min: 1, fallback: defaults.progressIntervalMs }),
    staleAfterMs: integerOption({ min: 1, fallback: defaults.staleAfterMs }),
    clockDriftBound: numberOption({ min: 0, max: 0.2, fallback: defaults.clockDriftBound }),
    missedAfter: numberOption({ min: 0.1, max: 0.95, fallback: defaults.missedAfter }),
    revocationsPerSecond: integerOption({ min: 1, fallback: defaults.revocationsPerSecond }),
    sessionTickMs: integerOption({ min: 10, fallback: defaults.sessionTickMs }),
    verifyIntervalMs: integerOption({ min: 0, fallback: defaults.verifyIntervalMs }),
  })
}
