import type { Environment } from '../core/environment.ts'
import type { KeelsonError } from '../core/errors.ts'
import { LogLimit } from '../core/log-limit.ts'
import type { Gauge } from '../core/metrics.ts'
import type { NodeId, RangeId } from '../model/ids.ts'

/**
 * Ranges and nodes of which placement cannot take in what it is told, as it is: it goes on by what it knew of them before. They
 * are counted, and logged once in a while.
 */
export class RefusedViews {
  readonly #env: Environment
  readonly #gauge: Gauge
  readonly #limit: LogLimit
  readonly #ranges = new Set<RangeId>()
  readonly #nodes = new Set<NodeId>()

  constructor(env: Environment) {
    this.#env = env
    this.#limit = new LogLimit(env.clock)
    this.#gauge = env.metrics.gauge(
      'keelson_placement_refused_views',
      'Ranges and nodes of which something is reported that cannot be, and that are planned by what was known before.',
    )
    this.#gauge.set(0, { of: 'range' })
    this.#gauge.set(0, { of: 'node' })
  }

  /** Ranges that are planned by what was known of them before. */
  get ranges(): ReadonlySet<RangeId> {
    return this.#ranges
  }

  /** Nodes that are seen by what was known of them before. */
  get nodes(): ReadonlySet<NodeId> {
    return this.#nodes
  }

  /** What a range is said to be was taken in, as it is or, with an error, not. */
  range(rangeId: RangeId, error: KeelsonError | undefined): void {
    if (!mark(this.#ranges, rangeId, error !== undefined)) return
    this.#gauge.set(this.#ranges.size, { of: 'range' })
    if (error !== undefined) this.#tell(`range ${rangeId}`, { rangeId, error: error.toJSON() })
  }

  /** What a node is said to be was taken in, as it is or, with an error, not. */
  node(nodeId: NodeId, error: KeelsonError | undefined): void {
    if (!mark(this.#nodes, nodeId, error !== undefined)) return
    this.#gauge.set(this.#nodes.size, { of: 'node' })
    if (error !== undefined) this.#tell(`node ${nodeId}`, { nodeId, error: error.toJSON() })
  }

  #tell(subject: string, fields: Readonly<Record<string, unknown>>): void {
    if (this.#limit.lets(subject))
      this.#env.logger.warn(
        fields,
        'placement cannot take in what it is told, and goes by what it knew before',
      )
  }
}

/** @returns whether that is news */
function mark<T>(all: Set<T>, one: T, isIn: boolean): boolean {
  if (isIn === all.has(one)) return false
  if (isIn) all.add(one)
  else all.delete(one)
  return true
}
