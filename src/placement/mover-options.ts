import type { Environment } from '../core/environment.ts'
import { checkOptions, functionOption, integerOption, objectOption } from '../core/options.ts'
import type { RangeDirectory } from '../metadata/directory.ts'
import type { ControllerEpoch } from '../metadata/epoch.ts'
import type { NodeId } from '../model/ids.ts'
import type { PlacementNode } from './core/snapshot.ts'
import { MoveThrottle } from './core/throttle.ts'
import type { ObserveRange } from './range-reports.ts'

/** Tuning of moves. */
export interface MoverTuning {
  /** How often the reports are looked at. */
  readonly pollIntervalMs: number
  /** How long one step may take until it shows in the reports. */
  readonly stepTimeoutMs: number
  /** How long a lease may take to change hands, somebody who is ready for it included. */
  readonly leaseTimeoutMs: number
  /** How long a range may stay between two sets of voters. */
  readonly jointTimeoutMs: number
  /** How long a learner may take to catch up without a byte more of it being reported. */
  readonly catchUpTimeoutMs: number
  /** How long a move that only makes something better may wait for room; a repair waits for as long as it takes. */
  readonly roomTimeoutMs: number
  /** How long a removed replica may take to vanish before the node is left to itself. */
  readonly tidyTimeoutMs: number
  /** How long a move that is undone waits for a learner that it asked for to show up. */
  readonly settleMs: number
}

/** Used when nothing else is given. */
export const defaultMoverTuning: MoverTuning = Object.freeze({
  pollIntervalMs: 250,
  stepTimeoutMs: 60_000,
  leaseTimeoutMs: 60_000,
  jointTimeoutMs: 60_000,
  catchUpTimeoutMs: 3_600_000,
  roomTimeoutMs: 600_000,
  tidyTimeoutMs: 10_000,
  settleMs: 3000,
})

/** What moves need. */
export interface MoverPorts extends Partial<MoverTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** The epoch of this leader: every write compares it. */
  readonly epoch: ControllerEpoch
  /** Where changes are asked for. */
  readonly directory: RangeDirectory
  /** What the nodes report of a range. */
  readonly observed: ObserveRange
  /** A node as it is now. */
  readonly node: (nodeId: NodeId) => PlacementNode | undefined
  /** Lets moves begin; one for all moves of a leader. Default: one with `defaultMoveRates`. */
  readonly throttle?: MoveThrottle
}

/** @throws KeelsonError `INVALID_OPTION` */
export function checkMoverPorts(ports: MoverPorts): Required<MoverPorts> {
  const fallback = defaultMoverTuning
  return checkOptions<Required<MoverPorts>>('moveJob', ports, {
    env: objectOption<Environment>(['clock', 'timers']),
    epoch: objectOption<ControllerEpoch>(['number', 'txn']),
    directory: objectOption<RangeDirectory>(['get', 'want', 'project']),
    observed: functionOption<ObserveRange>(),
    node: functionOption<MoverPorts['node']>(),
    pollIntervalMs: integerOption({ min: 1, fallback: fallback.pollIntervalMs }),
    throttle: objectOption<MoveThrottle>(['ask', 'ended'], new MoveThrottle()),
    stepTimeoutMs: integerOption({ min: 1, fallback: fallback.stepTimeoutMs }),
    leaseTimeoutMs: integerOption({ min: 1, fallback: fallback.leaseTimeoutMs }),
    jointTimeoutMs: integerOption({ min: 1, fallback: fallback.jointTimeoutMs }),
    roomTimeoutMs: integerOption({ min: 0, fallback: fallback.roomTimeoutMs }),
    catchUpTimeoutMs: integerOption({ min: 1, fallback: fallback.catchUpTimeoutMs }),
    tidyTimeoutMs: integerOption({ min: 0, fallback: fallback.tidyTimeoutMs }),
    settleMs: integerOption({ min: 0, fallback: fallback.settleMs }),
  })
}
