import { createHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks'

/** What a closed loop of callers saw: each begins its next operation when the last one has ended. */
export interface LoadResult {
  readonly outstanding: number
  readonly operations: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** What a process spent meanwhile. */
export interface Spent {
  readonly cpuMicroseconds: number
  /** 99th percentile of how late timers were. */
  readonly loopDelayP99Ms: number
  readonly residentBytes: number
}

/** Rare enough that watching costs nothing beside what is watched. */
const delayResolutionMs = 10

/** Keeps `outstanding` operations under way for `seconds`. */
export async function load(
  outstanding: number,
  seconds: number,
  operation: () => Promise<unknown>,
): Promise<LoadResult> {
  // Sorting millions of latencies would stop a leader for long enough to cost it its office.
  const latencies = createHistogram()
  const startedMs = performance.now()
  const endMs = startedMs + seconds * 1000
  const caller = async (): Promise<void> => {
    for (let now = performance.now(); now < endMs; ) {
      await operation()
      const then = now
      now = performance.now()
      latencies.record(Math.max(1, Math.round((now - then) * 1e6)))
    }
  }
  await Promise.all(Array.from({ length: outstanding }, caller))
  const elapsedMs = performance.now() - startedMs
  const { count } = latencies
  return {
    outstanding,
    operations: count,
    perSecond: (count / elapsedMs) * 1000,
    p50Ms: latencies.percentile(50) / 1e6,
    p99Ms: latencies.percentile(99) / 1e6,
  }
}

/** Starts to watch what this process spends; the function returned says what it was. */
export function watchSpending(): () => Spent {
  const cpu = process.cpuUsage()
  const delay = monitorEventLoopDelay({ resolution: delayResolutionMs })
  delay.enable()
  return () => {
    const { user, system } = process.cpuUsage(cpu)
    delay.disable()
    return {
      cpuMicroseconds: user + system,
      // The histogram counts the wait itself.
      loopDelayP99Ms: Math.max(0, delay.percentile(99) / 1e6 - delayResolutionMs),
      residentBytes: process.memoryUsage.rss(),
    }
  }
}

/** Middle of an odd number of figures, mean of the two in the middle of an even one. */
export function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2
}
