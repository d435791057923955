import { compareBytes, equalBytes } from '../../core/bytes.ts'
import { checkOptions, functionOption, integerOption, numberOption, optional } from '../../core/options.ts'
import type { SplitKeys } from '../../interfaces/range-host.ts'
import type { RangeDescriptor } from '../../model/descriptors.ts'
import type { RangeId } from '../../model/ids.ts'
import { isJoint } from '../../model/replica-roles.ts'
import { liesInside } from './load-sampler.ts'

/** When ranges are split and merged. */
export interface SplitPolicy {
  /** A range that is larger is split. */
  readonly maximumBytes: number
  /** A range that serves more requests a second is split, where a key halves them. */
  readonly maximumRequestsPerSecond: number
  /** A range whose lease holder keeps more processor cores busy is split, where a key halves the load. */
  readonly maximumCpuCores: number
  /** Two neighbours that together are smaller, and serve less, are merged. 0: never. */
  readonly mergeBelowBytes: number
  /** See `mergeBelowBytes`. */
  readonly mergeBelowRequestsPerSecond: number
  /** See `mergeBelowBytes`. */
  readonly mergeBelowCpuCores: number
  /** How long the outcome of a split is not merged again, or the two would take turns for ever. */
  readonly splitMergeBackoffMs: number
  /** How long a range is left alone after a split or a merge of it failed. */
  readonly retryAfterMs: number
  /** Splits under way at a time. */
  readonly splits: number
  /** Merges under way at a time. */
  readonly merges: number
  /**
   * Whether two neighbours may become one range: of two tables they may not, perhaps. Asked again when one of both is another.
   * Default: all may.
   */
  readonly mayMerge?: (left: RangeDescriptor, right: RangeDescriptor) => boolean
}

/** Used when nothing else is given. */
export const defaultSplitPolicy: Readonly<Omit<SplitPolicy, 'mayMerge'>> = Object.freeze({
  maximumBytes: 512 * 1024 * 1024,
  maximumRequestsPerSecond: 2500,
  maximumCpuCores: 0.5,
  mergeBelowBytes: 64 * 1024 * 1024,
  mergeBelowRequestsPerSecond: 250,
  mergeBelowCpuCores: 0.05,
  splitMergeBackoffMs: 3_600_000,
  retryAfterMs: 30_000,
  splits: 8,
  merges: 4,
})

/** Checks when ranges are split and merged. @throws KeelsonError `INVALID_OPTION` */
export function splitPolicy(policy: Partial<SplitPolicy> = {}): SplitPolicy {
  const d = defaultSplitPolicy
  const checked = checkOptions<
    Omit<SplitPolicy, 'mayMerge'> & { readonly mayMerge: SplitPolicy['mayMerge'] | undefined }
  >(
    'a split policy',
    policy,
    {
      maximumBytes: integerOption({ min: 1, fallback: d.maximumBytes }),
      maximumRequestsPerSecond: numberOption({ min: 0, fallback: d.maximumRequestsPerSecond }),
      maximumCpuCores: numberOption({ min: 0, fallback: d.maximumCpuCores }),
      mergeBelowBytes: integerOption({ min: 0, fallback: d.mergeBelowBytes }),
      mergeBelowRequestsPerSecond: numberOption({ min: 0, fallback: d.mergeBelowRequestsPerSecond }),
      mergeBelowCpuCores: numberOption({ min: 0, fallback: d.mergeBelowCpuCores }),
      splitMergeBackoffMs: integerOption({ min: 0, fallback: d.splitMergeBackoffMs }),
      retryAfterMs: integerOption({ min: 0, fallback: d.retryAfterMs }),
      splits: integerOption({ min: 0, fallback: d.splits }),
      merges: integerOption({ min: 0, fallback: d.merges }),
      mayMerge: optional(functionOption<NonNullable<SplitPolicy['mayMerge']>>()),
    },
    (given, refuse) => {
      if (given.mergeBelowBytes > given.maximumBytes / 2)
        refuse(
          "'mergeBelowBytes' is at most half of 'maximumBytes', or what was merged would soon be split again",
        )
      if (given.mergeBelowRequestsPerSecond > given.maximumRequestsPerSecond / 2)
        refuse(
          "'mergeBelowRequestsPerSecond' is at most half of 'maximumRequestsPerSecond', or what was merged would soon be split again",
        )
      if (given.mergeBelowCpuCores > given.maximumCpuCores / 2)
        refuse(
          "'mergeBelowCpuCores' is at most half of 'maximumCpuCores', or what was merged would soon be split again",
        )
    },
  )
  const { mayMerge, ...rest } = checked
  return mayMerge === undefined ? rest : { ...rest, mayMerge }
}

/** A range as splits and merges see it. */
export interface SplitRange {
  /** The range as the directory has it. */
  readonly descriptor: RangeDescriptor
  /** Its size, as its lease holder reports it. */
  readonly bytes?: number
  /** What it serves, as its lease holder reports it. */
  readonly requestsPerSecond?: number
  /** Processor cores that its lease holder keeps busy with it, as it reports. */
  readonly cpuCores?: number
  /** Where it could be split, as its lease holder reports it. */
  readonly splitKeys?: SplitKeys
  /** Its host can change its bounds: somebody leads it and says where it lies. */
  readonly able: boolean
  /** Why nothing may be begun with it now: something else is under way, or was tried not long ago. */
  readonly busy?: string
  /** How long ago it was made by a split, or was split, as far as is known. */
  readonly splitForMs?: number
}

/** A split to be made. */
export interface PlannedSplit {
  /** The range that is cut. */
  readonly rangeId: RangeId
  /** First key of the right-hand range. */
  readonly key: Uint8Array
  /** What for. */
  readonly kind: 'size' | 'load'
  /** Why, in one line. */
  readonly reason: string
}

/** A merge to be made. */
export interface PlannedMerge {
  /** The range that stays. */
  readonly leftRangeId: RangeId
  /** Its right-hand neighbour, which it takes in. */
  readonly rightRangeId: RangeId
  /** Why, in one line. */
  readonly reason: string
}

/** What to do about the bounds of ranges. */
export interface SplitPlan {
  /** Splits, the most urgent first. */
  readonly splits: readonly PlannedSplit[]
  /** Merges, the smallest first. */
  readonly merges: readonly PlannedMerge[]
}

/** Why a range is split, or is not. */
export type SplitVerdict =
  | {
      /** It is to be split. */
      readonly type: 'split'
      /** First key of the right-hand range. */
      readonly key: Uint8Array
      /** What for. */
      readonly kind: PlannedSplit['kind']
      /** By how much it is too large or too hot: 1 is just enough. */
      readonly excess: number
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** `none`: it needs no split. `blocked`: it needs one that cannot be made. */
      readonly type: 'none' | 'blocked'
      /** Why, in one line. */
      readonly why: string
    }

/** What a range is, as far as it is its size and what it serves that make it one to split or to merge. @internal */
export type RangeSize = Pick<SplitRange, 'bytes' | 'requestsPerSecond' | 'cpuCores'>

/** By how much a range exceeds what it may be: 1 is just enough. */
function excessOf(
  { bytes = 0, requestsPerSecond = 0, cpuCores = 0 }: RangeSize,
  policy: SplitPolicy,
): [number, number] {
  const requests = requestsPerSecond / policy.maximumRequestsPerSecond
  // No load is no excess, also of a limit of 0.
  const cpu = cpuCores === 0 ? 0 : cpuCores / policy.maximumCpuCores
  return [bytes / policy.maximumBytes, Math.max(requestsPerSecond === 0 ? 0 : requests, cpu)]
}

/** Whether a range is to be split as soon as it can be. @internal */
export function isTooLarge(range: RangeSize, policy: SplitPolicy): boolean {
  return Math.max(...excessOf(range, policy)) > 1
}

/** Whether a range is split, where, and why. Pure. */
export function judgeSplit(range: SplitRange, policy: SplitPolicy): SplitVerdict {
  const { descriptor, bytes, requestsPerSecond, cpuCores, splitKeys = {}, able, busy } = range
  const [size, load] = excessOf(range, policy)
  const what = describe(range, policy)
  if (bytes === undefined && requestsPerSecond === undefined && cpuCores === undefined)
    return { type: 'none', why: 'nobody reports its size or its load' }
  if (size <= 1 && load <= 1) return { type: 'none', why: `${what}: that is within the limits` }
  const needs = size > 1 ? `${what}: it is too large` : `${what}: it serves too much`
  if (!able) return { type: 'blocked', why: `${needs}, but nobody who leads it can split it` }
  if (busy !== undefined) return { type: 'blocked', why: `${needs}, but ${busy}` }
  if (isJoint(descriptor.replicas))
    return { type: 'blocked', why: `${needs}, but its voters are changing places` }
  const { bySize, byLoad, unsplittable } = splitKeys
  if (load > 1 && liesInside(byLoad, descriptor))
    return { type: 'split', key: byLoad, kind: 'load', excess: load, why: needs }
  if (size > 1 && liesInside(bySize, descriptor))
    return { type: 'split', key: bySize, kind: 'size', excess: size, why: needs }
  if (size > 1)
    return { type: 'blocked', why: `${needs}, but its lease holder knows of no key that halves it yet` }
  return {
    type: 'blocked',
    why: `${needs}, but ${unsplittable ?? 'its lease holder does not know yet where the load lies'}`,
  }
}

/** Why two neighbours are merged, or are not. */
export interface MergeVerdict {
  /** They are to be merged. */
  readonly merge: boolean
  /** Why, in one line. */
  readonly why: string
}

/** Why two ranges are not merged as long as they are, and are as large, as now. @internal */
export function whyNeverMerged(
  left: RangeSize & Pick<SplitRange, 'descriptor'>,
  right: RangeSize & Pick<SplitRange, 'descriptor'>,
  policy: SplitPolicy,
): string | undefined {
  const { descriptor: l } = left
  const { descriptor: r } = right
  if (l.end === undefined || !equalBytes(l.end, r.start))
    return `ranges ${l.rangeId} and ${r.rangeId} are no neighbours`
  if (policy.mergeBelowBytes === 0) return 'merges are switched off'
  if (policy.mayMerge?.(l, r) === false) return `the policy keeps ranges ${l.rangeId} and ${r.rangeId} apart`
  if (left.bytes === undefined || right.bytes === undefined) return 'the size of one of them is not known'
  const { bytes, requests, cpuCores } = together(left, right)
  if (bytes >= policy.mergeBelowBytes) return `together they would have ${bytes} bytes`
  if (requests >= policy.mergeBelowRequestsPerSecond)
    return `together they would serve ${rounded(requests)} requests a second`
  if (cpuCores > 0 && cpuCores >= policy.mergeBelowCpuCores)
    return `together they would keep ${inCores(cpuCores)} processor cores busy`
  return undefined
}

function together(
  left: RangeSize,
  right: RangeSize,
): { readonly bytes: number; readonly requests: number; readonly cpuCores: number } {
  return {
    cpuCores: (left.cpuCores ?? 0) + (right.cpuCores ?? 0),
    bytes: (left.bytes ?? 0) + (right.bytes ?? 0),
    requests: (left.requestsPerSecond ?? 0) + (right.requestsPerSecond ?? 0),
  }
}

/** Whether two neighbours are merged, and why or why not. Pure. */
export function judgeMerge(left: SplitRange, right: SplitRange, policy: SplitPolicy): MergeVerdict {
  const no = (why: string): MergeVerdict => ({ merge: false, why })
  const never = whyNeverMerged(left, right, policy)
  if (never !== undefined) return no(never)
  const { bytes, requests } = together(left, right)
  for (const { descriptor, able, busy, splitForMs } of [left, right]) {
    const { rangeId } = descriptor
    if (!able) return no(`nobody who leads range ${rangeId} can merge it`)
    if (busy !== undefined) return no(`range ${rangeId}: ${busy}`)
    if (isJoint(descriptor.replicas)) return no(`the voters of range ${rangeId} are changing places`)
    if (splitForMs !== undefined && splitForMs < policy.splitMergeBackoffMs)
      return no(`range ${rangeId} comes from a split ${rounded(splitForMs / 1000)} s ago`)
  }
  return {
    merge: true,
    why: `together they have ${bytes} bytes and serve ${rounded(requests)} requests a second`,
  }
}

/**
 * What to split and what to merge, at most as much as the policy has room for. Pure and deterministic: it depends on nothing
 * but its arguments, and not on the order of the ranges.
 */
export function planSplits(
  given: readonly SplitRange[],
  policy: SplitPolicy,
  underWay: { readonly splits: number; readonly merges: number } = { splits: 0, merges: 0 },
): SplitPlan {
  const ranges = [...given].sort((a, b) => compareBytes(a.descriptor.start, b.descriptor.start))
  const wanted: (PlannedSplit & { readonly excess: number })[] = []
  const used = new Set<RangeId>()
  for (const range of ranges) {
    const verdict = judgeSplit(range, policy)
    if (verdict.type !== 'split') continue
    const { rangeId } = range.descriptor
    const { key, kind, why, excess } = verdict
    wanted.push({ rangeId, key, kind, reason: why, excess })
    used.add(rangeId)
  }
  wanted.sort((a, b) => b.excess - a.excess || a.rangeId - b.rangeId)
  const pairs: (PlannedMerge & { readonly bytes: number })[] = []
  for (const [i, right] of ranges.entries()) {
    const left = ranges[i - 1]
    if (left === undefined || used.has(left.descriptor.rangeId) || used.has(right.descriptor.rangeId))
      continue
    const { merge, why } = judgeMerge(left, right, policy)
    if (!merge) continue
    const [leftRangeId, rightRangeId] = [left.descriptor.rangeId, right.descriptor.rangeId]
    pairs.push({ leftRangeId, rightRangeId, reason: why, bytes: together(left, right).bytes })
  }
  pairs.sort((a, b) => a.bytes - b.bytes || a.leftRangeId - b.leftRangeId)
  const merges: PlannedMerge[] = []
  for (const { bytes: _, ...pair } of pairs) {
    if (merges.length >= Math.max(0, policy.merges - underWay.merges)) break
    // A range is in one merge at a time.
    if (used.has(pair.leftRangeId) || used.has(pair.rightRangeId)) continue
    used.add(pair.leftRangeId)
    used.add(pair.rightRangeId)
    merges.push(pair)
  }
  const splits = wanted
    .slice(0, Math.max(0, policy.splits - underWay.splits))
    .map(({ excess: _, ...split }) => split)
  return { splits, merges }
}

function describe({ bytes, requestsPerSecond, cpuCores }: SplitRange, policy: SplitPolicy): string {
  const parts: string[] = []
  if (bytes !== undefined) parts.push(`${bytes} of at most ${policy.maximumBytes} bytes`)
  if (requestsPerSecond !== undefined)
    parts.push(
      `${rounded(requestsPerSecond)} of at most ${policy.maximumRequestsPerSecond} requests a second`,
    )
  if (cpuCores !== undefined)
    parts.push(`${inCores(cpuCores)} of at most ${policy.maximumCpuCores} processor cores`)
  return parts.join(', ')
}

function inCores(cores: number): number {
  return Math.round(cores * 1000) / 1000
}

function rounded(value: number): number {
  return value < 10 ? Math.round(value * 10) / 10 : Math.round(value)
}
