import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import { commandLimits } from '../mvcc/limits.ts'

/** Bounds of a session's TTL. Below the shortest one, scheduling delays alone would end sessions. */
export const sessionTtlBounds: {
  /** Shortest TTL. */
  readonly minimumMs: number
  /** Longest TTL. */
  readonly maximumMs: number
} = Object.freeze({
  minimumMs: 100,
  maximumMs: 24 * 60 * 60 * 1000,
})

/** @throws KeelsonError `INVALID_ARGUMENT` */
export function checkTtl(ttlMs: unknown): void {
  const { minimumMs, maximumMs } = sessionTtlBounds
  if (Number.isSafeInteger(ttlMs) && (ttlMs as number) >= minimumMs && (ttlMs as number) <= maximumMs) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `the TTL of a session is an integer from ${minimumMs} to ${maximumMs} ms, not ${showValue(ttlMs)}`,
  )
}

/** @throws KeelsonError `INVALID_ARGUMENT` */
export function checkSession(sessionId: unknown): number {
  if (Number.isSafeInteger(sessionId) && (sessionId as number) >= 0) return sessionId as number
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `a session id is the number that grantSession gave, not ${showValue(sessionId)}`,
  )
}

/** @throws KeelsonError `INVALID_ARGUMENT` */
export function checkHolder(holder: unknown): void {
  if (typeof holder === 'string' && holder.length > 0 && holder.length <= commandLimits.holderLength) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `the holder of a session is a name of 1 to ${commandLimits.holderLength} characters, not ${showValue(holder)}`,
  )
}

/** How far a clock may run fast or slow by default: far more than crystals do, to leave room for their correction. */
export const defaultClockDriftBound = 0.01
