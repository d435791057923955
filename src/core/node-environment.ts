import { randomBytes } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { Environment } from './environment.ts'
import { type Logger, silentLogger } from './logger.ts'
import { type Metrics, MetricsRegistry } from './metrics.ts'
import { checkOptions, objectOption } from './options.ts'
import { SeededRandom } from './random.ts'

/** What a host may bring along to {@link nodeEnvironment}. */
export interface NodeEnvironmentOptions {
  /** Default: silent. A pino instance fits. */
  readonly logger?: Logger
  /** Default: a registry of its own. */
  readonly metrics?: Metrics
}

/** `setTimeout` calls at once what it is given for longer: 24.8 days. */
const longestTimeoutMs = 2 ** 31 - 1

/** The environment of a real process: its clocks, timers and a generator seeded by the system. @throws KeelsonError `INVALID_OPTION` */
export function nodeEnvironment(options: NodeEnvironmentOptions = {}): Environment {
  const { logger, metrics } = checkOptions<Required<NodeEnvironmentOptions>>('nodeEnvironment', options, {
    logger: objectOption<Logger>(['trace', 'debug', 'info', 'warn', 'error', 'child'], silentLogger),
    metrics: objectOption<Metrics>(['counter', 'gauge', 'histogram'], new MetricsRegistry()),
  })
  const seed = randomBytes(16)
  return Object.freeze({
    clock: Object.freeze({ monotonicMs: () => performance.now(), wallMs: () => Date.now() }),
    timers: Object.freeze({
      schedule(delayMs: number, callback: () => void) {
        let timer: NodeJS.Timeout
        const wait = (leftMs: number): void => {
          timer =
            leftMs > longestTimeoutMs
              ? setTimeout(() => wait(leftMs - longestTimeoutMs), longestTimeoutMs)
              : setTimeout(callback, Math.max(0, leftMs))
        }
        wait(delayMs)
        return { cancel: () => clearTimeout(timer) }
      },
      defer(callback: () => void) {
        setImmediate(callback)
      },
    }),
    random: new SeededRandom(new Uint32Array(seed.buffer.slice(seed.byteOffset, seed.byteOffset + 16))),
    logger,
    metrics,
  })
}
