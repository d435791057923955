import type { SessionId } from '../../../interfaces/metadata-store.ts'

/** What a keeper must know of a session: the part of its record in the log. */
export interface KeptSession {
  readonly sessionId: SessionId
  readonly ttlMs: number
  /** What an earlier leader recorded; see {@link SessionKeeper.checkpoints}. */
  readonly remainingMs: number | undefined
}

/** Numbers that a keeper works with. */
export interface SessionKeeperOptions {
  /**
   * How far a clock may run fast or slow, as a fraction: 0.01 is one per cent. The same bound must be given to the
   * holders.
   */
  readonly clockDriftBound: number
  /** A session that was not renewed for this part of its TTL has missed renewals. */
  readonly missedAfter: number
  /** Revocations a second, and at once after a quiet time. */
  readonly revocationsPerSecond: number
  /** A tick that comes later than that after its time shows that the process stood still. */
  readonly lateAfterMs: number
}

/** What a leader recorded of a session that missed renewals. */
export interface SessionCheckpoint {
  readonly sessionId: SessionId
  readonly remainingMs: number
}

/**
 * What to do with a renewal:
 * - `confirm`: it counts as soon as the leader has proved, after it came, that it still leads;
 * - `log`: the log holds a record of less time; it counts when an entry that takes the record back is applied;
 * - `revoking`: a revocation was proposed; refuse it;
 * - `unknown`: there is no such session;
 * - `notLeading`: not now.
 */
export type RenewalDecision =
  | { readonly type: 'confirm' | 'revoking' | 'unknown' | 'notLeading' }
  | { readonly type: 'log'; readonly serial: number }

interface Entry {
  readonly ttlMs: number
  renewedAtMs: number
  deadlineMs: number
  /** Less time than a whole TTL that the log may hold for the session. */
  recordedMs: number | undefined
  /** Counts the checkpoints proposed, so that only the last one can be taken back. */
  serial: number
  revoking: boolean
}

/** A checkpoint is repeated when the session lost this part of its TTL since. */
const checkpointStep = 0.25
/** Ticks come no closer together. */
const shortestTickMs = 10
/** Sessions in one batch of checkpoints. */
const checkpointBatch = 1_000

/**
 * The leader's side of sessions: when each of them ends. Pure: time comes in, in the leader's monotonic milliseconds.
 *
 * Safety (with every clock's rate within 1 ± drift bound, a holder stops before its session is revoked): the holder
 * counts `ttl·(1 − ρ)` from when it sent a renewal, the keeper `ttl·(1 + ρ)` from when it received it. A renewal is
 * confirmed only by a leader that led after it was received, so a later leader starts later than that; it starts
 * with a whole TTL for every session, or with what the log recorded, and no renewal counts beside a record.
 */
export class SessionKeeper {
  readonly #options: SessionKeeperOptions
  readonly #entries = new Map<SessionId, Entry>()
  #leading = false
  #reign = 0
  #nextTickMs = Number.POSITIVE_INFINITY
  #allowance: number
  #allowanceAtMs = 0

  constructor(options: SessionKeeperOptions) {
    this.#options = options
    this.#allowance = options.revocationsPerSecond
  }

  get leading(): boolean {
    return this.#leading
  }

  /** Counts the leaderships: what was decided in one says nothing in the next. */
  get reign(): number {
    return this.#reign
  }

  get size(): number {
    return this.#entries.size
  }

  /** Starts a leadership, when the first entry of its term is applied: everybody gets a whole TTL, or what was recorded. */
  lead(nowMs: number, sessions: Iterable<KeptSession>): void {
    this.#entries.clear()
    this.#leading = true
    this.#reign++
    this.#allowanceAtMs = nowMs
    this.#nextTickMs = Number.POSITIVE_INFINITY
    for (const session of sessions) this.#entries.set(session.sessionId, this.firstEntry(nowMs, session))
  }

  /** Ends the leadership: nothing is known and nothing confirmed any more. */
  follow(): void {
    this.#leading = false
    this.#entries.clear()
  }

  /** Takes in what the log did: new sessions get a whole TTL, those that ended are forgotten. */
  sync(nowMs: number, sessions: Iterable<KeptSession>): void {
    if (!this.#leading) return
    const gone = new Set(this.#entries.keys())
    for (const session of sessions) {
      gone.delete(session.sessionId)
      if (!this.#entries.has(session.sessionId))
        this.#entries.set(session.sessionId, this.firstEntry(nowMs, session))
    }
    for (const sessionId of gone) this.#entries.delete(sessionId)
  }

  /** A renewal came in. */
  renewal(nowMs: number, sessionId: SessionId): RenewalDecision {
    if (!this.#leading) return { type: 'notLeading' }
    const entry = this.#entries.get(sessionId)
    if (entry === undefined) return { type: 'unknown' }
    if (entry.revoking) return { type: 'revoking' }
    entry.renewedAtMs = nowMs
    entry.deadlineMs = Math.max(entry.deadlineMs, nowMs + this.granterMs(entry.ttlMs))
    return entry.recordedMs === undefined ? { type: 'confirm' } : { type: 'log', serial: entry.serial }
  }

  /** The entry that takes a record back is applied, unless a later record is on its way. */
  restored(sessionId: SessionId, serial: number): void {
    const entry = this.#entries.get(sessionId)
    if (entry?.serial === serial) entry.recordedMs = undefined
  }

  /** True while no revocation of the session was proposed and it exists: what a confirmed renewal is answered by. */
  holds(sessionId: SessionId): boolean {
    const entry = this.#entries.get(sessionId)
    return entry !== undefined && !entry.revoking
  }

  /** Somebody asks for the end of a session: from now on it is not renewed. */
  beginRevocation(sessionId: SessionId): void {
    const entry = this.#entries.get(sessionId)
    if (entry !== undefined) entry.revoking = true
  }

  /** The proposal of a revocation surely had no effect: the session may be renewed again. */
  abandonRevocation(sessionId: SessionId): void {
    const entry = this.#entries.get(sessionId)
    if (entry !== undefined) entry.revoking = false
  }

  /**
   * Time passed. Call it before {@link SessionKeeper.expired} and {@link SessionKeeper.checkpoints}, no later than
   * {@link SessionKeeper.nextTickMs}. If it is late, the process stood still and renewals wait to be read: everybody
   * gets the time that was lost.
   */
  tick(nowMs: number): void {
    const lateMs = nowMs - this.#nextTickMs
    if (lateMs > this.#options.lateAfterMs)
      for (const entry of this.#entries.values()) entry.deadlineMs += lateMs
    const quietMs = nowMs - this.#allowanceAtMs
    const { revocationsPerSecond } = this.#options
    this.#allowance = Math.min(
      revocationsPerSecond,
      this.#allowance + (quietMs * revocationsPerSecond) / 1000,
    )
    this.#allowanceAtMs = nowMs
  }

  /** When the next tick is due, at the latest after `withinMs`. */
  nextTickMs(nowMs: number, withinMs: number): number {
    let next = nowMs + withinMs
    for (const entry of this.#entries.values()) if (!entry.revoking) next = Math.min(next, entry.deadlineMs)
    // What has expired already waits for the proof of leadership or for the rate.
    this.#nextTickMs = Math.max(next, nowMs + shortestTickMs)
    return this.#nextTickMs
  }

  /** Is there anything to revoke? */
  hasExpired(nowMs: number): boolean {
    for (const entry of this.#entries.values()) if (this.isExpired(entry, nowMs)) return true
    return false
  }

  /**
   * Sessions whose time is over and that are to be revoked now, as many as the rate allows. From here on they are not
   * renewed. Call it only right after the leader has proved that it leads.
   */
  expired(nowMs: number): SessionId[] {
    const revoke: SessionId[] = []
    for (const [sessionId, entry] of this.#entries) {
      if (revoke.length + 1 > this.#allowance) break
      if (!this.isExpired(entry, nowMs)) continue
      entry.revoking = true
      revoke.push(sessionId)
    }
    this.#allowance -= revoke.length
    return revoke
  }

  /**
   * Sessions that missed renewals and what they have left, to be recorded in the log, so that a change of leaders does
   * not give the dead a whole TTL again. From here on a renewal of theirs goes through the log.
   */
  checkpoints(nowMs: number): SessionCheckpoint[] {
    const found: SessionCheckpoint[] = []
    for (const [sessionId, entry] of this.#entries) {
      if (found.length >= checkpointBatch) break
      const remainingMs = this.toRecord(entry, nowMs)
      if (remainingMs === undefined) continue
      entry.recordedMs = remainingMs
      entry.serial++
      found.push({ sessionId, remainingMs })
    }
    return found
  }

  /** How long a granter waits for a holder that was granted `ttlMs`. @internal */
  granterMs(ttlMs: number): number {
    return ttlMs * (1 + this.#options.clockDriftBound)
  }

  /** What a session starts with under this leader. @internal */
  firstEntry(nowMs: number, session: KeptSession): Entry {
    const { ttlMs, remainingMs } = session
    return {
      ttlMs,
      renewedAtMs: nowMs,
      deadlineMs: nowMs + this.granterMs(remainingMs ?? ttlMs),
      recordedMs: remainingMs,
      serial: 0,
      revoking: false,
    }
  }

  /** @internal */
  isExpired(entry: Entry, nowMs: number): boolean {
    return !entry.revoking && nowMs >= entry.deadlineMs
  }

  /** What to record of a session, if anything. Rounded up: more time is always safe. @internal */
  toRecord(entry: Entry, nowMs: number): number | undefined {
    if (entry.revoking || nowMs - entry.renewedAtMs < entry.ttlMs * this.#options.missedAfter)
      return undefined
    const remainingMs = Math.ceil(Math.max(0, entry.deadlineMs - nowMs))
    const recordedMs = entry.recordedMs ?? entry.ttlMs * (1 + this.#options.clockDriftBound)
    return recordedMs - remainingMs >= entry.ttlMs * checkpointStep ? remainingMs : undefined
  }
}
