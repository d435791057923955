import { checkOptions, numberOption, optional } from '../core/options.ts'

/** How a disk fares. Times are in milliseconds, probabilities per operation. */
export interface DiskQuality {
  /** Least time of an operation that goes to the device. */
  readonly minimumDelayMs: number
  /** Mean of the additional time, exponentially distributed. */
  readonly meanExtraDelayMs: number
  /** An operation that is hit takes {@link DiskQuality.slowDelayMs} longer at most. */
  readonly slowProbability: number
  /** Longest additional time of an operation that is hit. */
  readonly slowDelayMs: number
  /** A sync that is hit fails, and what it should have made durable never will be by a later one. */
  readonly syncFailureProbability: number
  /** A read that is hit fails. */
  readonly readFailureProbability: number
  /** A write to a file that is hit fails after its first half. */
  readonly writeFailureProbability: number
  /** A sync of a file that is hit says that it is done, and what it should have made durable is lost in a power cut. */
  readonly lostSyncProbability: number
  /** A write to a file that is hit lands elsewhere on the device. The page cache does not know. */
  readonly misdirectedWriteProbability: number
  /** Bytes after which a write fails with `DISK_FULL`. */
  readonly capacityBytes: number
}

/** A good solid-state disk. */
export const diskDefaults: DiskQuality = Object.freeze({
  minimumDelayMs: 0.2,
  meanExtraDelayMs: 0.3,
  slowProbability: 0,
  slowDelayMs: 500,
  syncFailureProbability: 0,
  readFailureProbability: 0,
  writeFailureProbability: 0,
  lostSyncProbability: 0,
  misdirectedWriteProbability: 0,
  capacityBytes: Number.POSITIVE_INFINITY,
})

/** @throws KeelsonError `INVALID_OPTION` */
export function checkQuality(quality: Partial<DiskQuality>): Partial<DiskQuality> {
  const delay = optional(numberOption({ min: 0 }))
  const probability = optional(numberOption({ min: 0, max: 1 }))
  return checkOptions<{ readonly [K in keyof DiskQuality]: number | undefined }>(
    'the quality of a disk',
    quality,
    {
      minimumDelayMs: delay,
      meanExtraDelayMs: delay,
      slowProbability: probability,
      slowDelayMs: delay,
      syncFailureProbability: probability,
      readFailureProbability: probability,
      writeFailureProbability: probability,
      lostSyncProbability: probability,
      misdirectedWriteProbability: probability,
      capacityBytes: (value, name) => (value === Number.POSITIVE_INFINITY ? value : delay(value, name)),
    },
  ) as Partial<DiskQuality>
}
