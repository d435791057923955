import type { Random } from '../../core/random.ts'
import type { RaftRequests } from './requests.ts'

interface Cloneable {
  clone(): unknown
}

/**
 * A copy of a field's value. Objects that change in place have a `clone` method or are maps and arrays; everything else
 * (entries, messages, configurations, options) is replaced as a whole and can be shared.
 */
function copyValue(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.slice()
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, copyValue(item)]))
  return 'clone' in value ? (value as Cloneable).clone() : value
}

/** An independent copy of a core, of the same class. */
export function copyState<T extends RaftRequests>(core: T, random: Random): T {
  const copy = Object.create(Object.getPrototypeOf(core) as object) as T
  for (const [name, value] of Object.entries(core)) {
    Object.assign(copy, { [name]: name === 'random' ? random : copyValue(value) })
  }
  return copy
}

/** Fields that say nothing of what a core will do. */
const irrelevant: ReadonlySet<string> = new Set([
  'options',
  'pool',
  'random',
  'nowMs',
  'dropped',
  'reportedLeadership',
  'reportedConfiguration',
  'sharedSlice',
])

/** Fields that hold a point of time, which matters only relative to now. */
const times: ReadonlySet<string> = new Set([
  'lastHeardMs',
  'leaderHeardMs',
  'offeredAtMs',
  'coveredAtMs',
  'catchUpStartedMs',
  'checkedAtMs',
  'pledgedUntilMs',
  'leaseUntilMs',
  'atMs',
  'deadlineMs',
  'yieldNotBeforeMs',
  'yieldedAtMs',
])

/** The same by the wall clock. */
const wallTimes: ReadonlySet<string> = new Set(['wallMs', 'leaseUntilWallMs'])

/** Whatever lies an hour back or ahead might as well be never. */
function relative(timeMs: number, nowMs: number): number {
  return timeMs === nowMs ? 0 : Math.max(-3.6e6, Math.min(3.6e6, timeMs - nowMs))
}

/** The state of a core as text: equal for cores that will do the same, random draws aside. */
export function describeState(core: RaftRequests): string {
  const { nowMs, wallMs } = core
  const describe = (value: unknown): unknown => {
    if (value instanceof Uint8Array) return Array.from(value).join(',')
    if (value instanceof Map) {
      return [...value].sort(([a], [b]) => Number(a) - Number(b)).map(([key, item]) => [key, describe(item)])
    }
    if (Array.isArray(value)) return value.map(describe)
    if (typeof value !== 'object' || value === null) return value
    const out: [string, unknown][] = []
    for (const [name, item] of Object.entries(value)) {
      if (irrelevant.has(name)) continue
      if (typeof item !== 'number') out.push([name, describe(item)])
      else if (name.endsWith('DeadlineMs') || times.has(name)) out.push([name, relative(item, nowMs)])
      else out.push([name, wallTimes.has(name) ? relative(item, wallMs) : item])
    }
    return out
  }
  return JSON.stringify(describe(core))
}
