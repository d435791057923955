import type { Environment } from '../core/environment.ts'
import {
  checkOptions,
  functionOption,
  integerOption,
  numberOption,
  objectOption,
  stringOption,
} from '../core/options.ts'
import type { MetadataStore, SessionId } from '../interfaces/metadata-store.ts'

/** A session that somebody keeps alive: a `SessionHolder`, a `NodeSession`, or a host's own. */
export interface LeaseSession {
  /** Its number: the epoch of everything that is held under it. */
  readonly sessionId: SessionId
  /**
   * Time until the holder's own deadline, which is counted from when a renewal was sent and comes before the store's; 0
   * when it has passed. Synchronous, no I/O.
   */
  remainingMs(): number
}

/** Tuning of {@link Leases}. */
export interface LeasesTuning {
  /** Before the session's deadline its leases are in stasis that long: nothing new is begun under them. */
  readonly stasisMs: number
  /** One who waits lets each one that comes before it go first for so long. */
  readonly takeoverStaggerMs: number
  /** When a holder's session has ended, each who waits adds up to so much, at random. */
  readonly takeoverSpreadMs: number
  /** Leases of ended sessions that this process takes over, a second. The rest of them wait. */
  readonly takeoversPerSecond: number
  /** Calls of `acquire` that wait at a time. */
  readonly maximumWaiting: number
}

/** Defaults of {@link LeasesTuning}. */
export const leasesDefaults: LeasesTuning = Object.freeze({
  stasisMs: 250,
  takeoverStaggerMs: 50,
  takeoverSpreadMs: 100,
  takeoversPerSecond: 100,
  maximumWaiting: 10_000,
})

/** Options of {@link Leases.open}. */
export interface LeasesOptions extends Partial<LeasesTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where the leases are kept. */
  readonly store: MetadataStore
  /** Name of this process, by which others hand leases to it: a node id. */
  readonly holder: string
  /**
   * The session that leases hang on, asked whenever it matters. When it has ended, return the next one, or undefined
   * while there is none: leases of an earlier session are over.
   */
  readonly session: () => LeaseSession | undefined
}

/** @internal */
export function checkLeasesOptions(options: LeasesOptions): Required<LeasesOptions> {
  const defaults = leasesDefaults
  return checkOptions<Required<LeasesOptions>>('Leases.open', options, {
    env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
    store: objectOption<MetadataStore>(['txn', 'watch', 'range']),
    holder: stringOption({ maxLength: 256 }),
    session: functionOption<LeasesOptions['session']>(),
    stasisMs: numberOption({ min: 0, fallback: defaults.stasisMs }),
    takeoverStaggerMs: numberOption({ min: 0, max: 60_000, fallback: defaults.takeoverStaggerMs }),
    takeoverSpreadMs: numberOption({ min: 0, max: 600_000, fallback: defaults.takeoverSpreadMs }),
    takeoversPerSecond: numberOption({ min: 0.01, max: 100_000, fallback: defaults.takeoversPerSecond }),
    maximumWaiting: integerOption({ min: 1, max: 1_000_000, fallback: defaults.maximumWaiting }),
  })
}
