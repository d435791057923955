import { checkOptions, integerOption, numberOption } from '../../core/options.ts'
import type { RateAdaptation } from './adaptive-rate.ts'

/** How fast replicas move: rates that adapt to what each node can bear, and bounds that nothing passes. */
export interface MoveRates extends RateAdaptation {
  /** Copies that one node is sent per minute. PD's store limit: 15. */
  readonly incomingPerMinute: number
  /** Copies that one node sends per minute. */
  readonly outgoingPerMinute: number
  /** Replicas that are removed from one node per minute: to delete is work for a disk, too. PD's store limit: 15. */
  readonly removalsPerMinute: number
  /** Bytes that one node is sent per second. */
  readonly incomingBytesPerSecond: number
  /** Bytes that one node sends per second. */
  readonly outgoingBytesPerSecond: number
  /** Copies in the whole cluster per minute. */
  readonly clusterPerMinute: number
  /** Bytes in the whole cluster per second. */
  readonly clusterBytesPerSecond: number
  /** How many seconds of its rate a bucket holds: what may begin at once after a quiet time. */
  readonly burstSeconds: number
  /** Copies on their way to one node at once. Nothing passes it. */
  readonly maximumIncoming: number
  /** Copies on their way from one node at once. Nothing passes it. */
  readonly maximumOutgoing: number
  /** Copies on their way in the cluster at once. Nothing passes it. */
  readonly maximumCopies: number
  /** Reported share of what its disk can do (`ioOverload`, 1 is all) from which on a node is in trouble. */
  readonly ioOverload: number
  /** Reported latency of a node's disk (`diskLatencyMs`) from which on it is in trouble. */
  readonly diskLatencyMs: number
  /** A copy that takes longer than its bytes at this rate was slow: a sign of trouble at both of its ends. */
  readonly slowBytesPerSecond: number
}

/** Used when nothing else is given. */
export const defaultMoveRates: MoveRates = Object.freeze({
  incomingPerMinute: 15,
  outgoingPerMinute: 15,
  removalsPerMinute: 15,
  incomingBytesPerSecond: 32 * 1024 * 1024,
  outgoingBytesPerSecond: 32 * 1024 * 1024,
  clusterPerMinute: 1200,
  clusterBytesPerSecond: 4 * 1024 * 1024 * 1024,
  burstSeconds: 60,
  maximumIncoming: 8,
  maximumOutgoing: 16,
  maximumCopies: 1024,
  ioOverload: 0.9,
  diskLatencyMs: 100,
  slowBytesPerSecond: 1024 * 1024,
  startFactor: 0.25,
  minimumFactor: 0.0625,
  maximumFactor: 4,
  decrease: 0.5,
  increase: 0.1,
  intervalMs: 10_000,
})

/** Checks rates. @throws KeelsonError `INVALID_OPTION` */
export function moveRates(rates: Partial<MoveRates> = {}): MoveRates {
  const fallback = defaultMoveRates
  const count = (name: keyof MoveRates): ReturnType<typeof integerOption> =>
    integerOption({ min: 1, fallback: fallback[name] })
  const share = (name: keyof MoveRates, min: number, max: number): ReturnType<typeof numberOption> =>
    numberOption({ min, max, fallback: fallback[name] })
  return checkOptions<MoveRates>(
    'move rates',
    rates,
    {
      incomingPerMinute: count('incomingPerMinute'),
      outgoingPerMinute: count('outgoingPerMinute'),
      removalsPerMinute: count('removalsPerMinute'),
      incomingBytesPerSecond: count('incomingBytesPerSecond'),
      outgoingBytesPerSecond: count('outgoingBytesPerSecond'),
      clusterPerMinute: count('clusterPerMinute'),
      clusterBytesPerSecond: count('clusterBytesPerSecond'),
      burstSeconds: count('burstSeconds'),
      maximumIncoming: count('maximumIncoming'),
      maximumOutgoing: count('maximumOutgoing'),
      maximumCopies: count('maximumCopies'),
      ioOverload: share('ioOverload', 0, 1000),
      diskLatencyMs: count('diskLatencyMs'),
      slowBytesPerSecond: count('slowBytesPerSecond'),
      startFactor: share('startFactor', 0.001, 1),
      minimumFactor: share('minimumFactor', 0.001, 1),
      maximumFactor: share('maximumFactor', 1, 1000),
      decrease: share('decrease', 0.01, 0.99),
      increase: share('increase', 0.001, 1000),
      intervalMs: count('intervalMs'),
    },
    (checked, refuse) => {
      if (checked.minimumFactor > checked.startFactor)
        refuse(
          `minimumFactor (${checked.minimumFactor}) must be at most startFactor (${checked.startFactor})`,
        )
    },
  )
}
