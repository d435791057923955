import type { Clock, Timers } from './clock.ts'
import type { Logger } from './logger.ts'
import type { Metrics } from './metrics.ts'
import type { Random } from './random.ts'

/**
 * Everything that a component takes from the world, but for network and disk, which are ports of their own. Production
 * and the simulator differ only in what stands behind it.
 */
export interface Environment {
  readonly clock: Clock
  readonly timers: Timers
  readonly random: Random
  readonly logger: Logger
  readonly metrics: Metrics
}
