import type { Clock, Timers } from './clock.ts'
import type { Logger } from './logger.ts'
import type { Metrics } from './metrics.ts'
import type { Random } from './random.ts'

/**
 * Everything that a component takes from the world, but for network and disk, which are ports of their own. Production
 * and the simulator differ only in what stands behind it.
 */
export interface Environment {
  /** Monotonic time for durations, wall time for people. */
  readonly clock: Clock
  /** Every wait of the library goes through it. */
  readonly timers: Timers
  /** Every random choice of the library comes from it. */
  readonly random: Random
  /** Where records of what happens go. */
  readonly logger: Logger
  /** Where counters, gauges and histograms are registered. */
  readonly metrics: Metrics
}
