import { type CallOptions, deadline, sleep } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { type ErrorCode, KeelsonError, toKeelsonError } from '../core/errors.ts'
import { LogLimit } from '../core/log-limit.ts'
import { checkOptions, functionOption, integerOption, objectOption, optional } from '../core/options.ts'
import { between } from '../core/random.ts'
import type { ObservedReplica } from '../interfaces/range-host.ts'
import type { Load, StoreReport } from '../model/descriptors.ts'
import { encodeNodeReport } from './core/report.ts'
import type { NodeSession } from './session.ts'

/** Options of {@link NodeReporter.start}. */
export interface NodeReporterOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** The session under whose epoch reports are made. */
  readonly session: NodeSession
  /** Replicas as they are now: `RangeHost.observe`. */
  readonly observe: () => readonly ObservedReplica[]
  /** Load of the node as a whole, now. */
  readonly load: () => Load
  /** What the node can hold now. */
  readonly capacity: () => Load
  /** How its stores do, where it has several. Default: it has one. */
  readonly stores?: () => readonly StoreReport[]
  /** Brings a report to the leader. */
  readonly send: (report: Uint8Array, options: Required<CallOptions>) => Promise<void>
  /**
   * Is told of a report that is not what a report may be, by this side (`INVALID_ARGUMENT`, `LIMIT_EXCEEDED`) or by the leader
   * (`MALFORMED`): until the host mends what it says, the leader goes by what it knew. Once a minute at most.
   */
  readonly refused?: (error: KeelsonError) => void
  /** How often a report is sent. Default: 1,000. */
  readonly intervalMs?: number
  /** How long one may take. Default: 3,000. */
  readonly timeoutMs?: number
}

type CheckedOptions = Required<Omit<NodeReporterOptions, 'stores'>> & {
  readonly stores: NodeReporterOptions['stores']
}

/** Codes that say that a report itself is wrong, not that it did not arrive. */
const refusals: readonly ErrorCode[] = ['INVALID_ARGUMENT', 'LIMIT_EXCEEDED', 'MALFORMED']

/** Sends a node's reports to the leader, one at a time, and never waits for work that the leader may do with them. */
export class NodeReporter implements AsyncDisposable {
  readonly #options: CheckedOptions
  readonly #logLimit: LogLimit
  readonly #stop = new AbortController()
  readonly #done: Promise<void>
  #wake: AbortController | undefined
  #sequence = 0
  #soon = false

  /** @throws KeelsonError `INVALID_OPTION` */
  static start(options: NodeReporterOptions): NodeReporter {
    return new NodeReporter(
      checkOptions<CheckedOptions>('NodeReporter.start', options, {
        env: objectOption<Environment>(['clock', 'timers', 'random', 'logger']),
        session: objectOption<NodeSession>(['epoch', 'isLive']),
        observe: functionOption<NodeReporterOptions['observe']>(),
        load: functionOption<NodeReporterOptions['load']>(),
        capacity: functionOption<NodeReporterOptions['capacity']>(),
        stores: optional(functionOption<NonNullable<NodeReporterOptions['stores']>>()),
        send: functionOption<NodeReporterOptions['send']>(),
        refused: functionOption<NonNullable<NodeReporterOptions['refused']>>(() => {}),
        intervalMs: integerOption({ min: 1, fallback: 1000 }),
        timeoutMs: integerOption({ min: 1, fallback: 3000 }),
      }),
    )
  }

  private constructor(options: CheckedOptions) {
    this.#options = options
    this.#logLimit = new LogLimit(options.env.clock)
    this.#done = this.#run()
  }

  /** Something changed that the leader waits for: report at once. */
  reportSoon(): void {
    this.#soon = true
    this.#wake?.abort()
  }

  /** Stops reporting and waits until no report is under way. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new KeelsonError('CLOSED', 'the reporter was closed'))
    this.#wake?.abort()
    await this.#done
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #run(): Promise<void> {
    const { env, session, intervalMs } = this.#options
    while (!this.#stop.signal.aborted && !session.isLost) {
      this.#soon = false
      await this.#report()
      if (this.#soon) continue
      this.#wake = new AbortController()
      // Spread, so that a thousand nodes that started together do not report together for ever.
      const delayMs = between(env.random, 0.9, 1.1) * intervalMs
      if (!this.#stop.signal.aborted) await sleep(env.timers, delayMs, this.#wake.signal).catch(() => {})
    }
  }

  async #report(): Promise<void> {
    const { env, session, send, timeoutMs } = this.#options
    const limit = deadline(
      env.timers,
      timeoutMs,
      () => new KeelsonError('TIMEOUT', 'the leader did not take the report in time; it is sent again'),
      this.#stop.signal,
    )
    try {
      const stores = this.#options.stores?.()
      const report = encodeNodeReport({
        nodeId: session.nodeId,
        incarnation: session.incarnation,
        epoch: session.epoch,
        sequence: ++this.#sequence,
        replicas: this.#options.observe(),
        load: this.#options.load(),
        capacity: this.#options.capacity(),
        ...(stores === undefined ? {} : { stores }),
      })
      await send(report, { signal: limit.signal })
    } catch (thrown) {
      if (this.#stop.signal.aborted) return
      const error = toKeelsonError(thrown)
      if (refusals.includes(error.code)) this.#refuse(error)
      else env.logger.debug({ nodeId: session.nodeId, error: error.toJSON() }, 'a report did not arrive')
      if (error.code === 'EPOCH_ENDED') session.verify()
    } finally {
      limit.release()
    }
  }

  /** What the host says cannot be: nobody but the host can mend it. */
  #refuse(error: KeelsonError): void {
    const { env, session, refused } = this.#options
    if (!this.#logLimit.lets('')) return
    env.logger.error(
      { nodeId: session.nodeId, error: error.toJSON() },
      'what this node reports is refused, and the leader goes by older reports; mend what the host says',
    )
    try {
      refused(error)
    } catch (thrown) {
      env.logger.warn({ error: toKeelsonError(thrown).toJSON() }, 'a listener threw')
    }
  }
}
