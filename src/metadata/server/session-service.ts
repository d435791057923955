import { type CallOptions, type Deferred, deferred } from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import type { SessionId } from '../../interfaces/metadata-store.ts'
import type { LeaseToken } from '../../raft/index.ts'
import { type CheckpointEntry, encodeCommand } from '../mvcc/commands.ts'
import type { MetadataStateMachine } from '../mvcc/state-machine.ts'
import { openOutcome } from '../mvcc/wire.ts'
import { SessionKeeper, type SessionKeeperOptions } from '../sessions/core/keeper.ts'
import { type MetadataGroup, notLeading } from './group.ts'

/** What a {@link SessionService} is made of. */
export interface SessionServiceOptions extends SessionKeeperOptions {
  readonly env: Environment
  readonly group: MetadataGroup
  readonly machine: MetadataStateMachine
  /** How often sessions are looked at, at least. */
  readonly tickIntervalMs: number
}

/** A renewal that waits for the entry which takes a record back. */
interface Restore {
  readonly sessionId: SessionId
  readonly serial: number
  readonly done: Deferred<void>
}

/**
 * Drives the {@link SessionKeeper} of a server: leads when its replica leads, confirms renewals, and revokes through the
 * log what ran out.
 */
export class SessionService {
  readonly #options: SessionServiceOptions
  readonly #env: Environment
  readonly #group: MetadataGroup
  readonly #machine: MetadataStateMachine
  readonly #keeper: SessionKeeper
  readonly #stopListening: (() => void)[] = []
  /** Proposed revocations whose outcome is open: nobody renews these. */
  readonly #revoking = new Map<SessionId, Promise<void>>()
  /** Revocations of which nobody knows whether they took effect: they are proposed again. */
  readonly #unsettled = new Set<SessionId>()
  #restores: Restore[] = []
  #timer: TimerHandle | undefined
  #proving = false
  #closed = false

  constructor(options: SessionServiceOptions) {
    this.#options = options
    this.#env = options.env
    this.#group = options.group
    this.#machine = options.machine
    this.#keeper = new SessionKeeper(options)
    this.#stopListening.push(
      options.group.on('token', (token) => this.#turn(token)),
      options.machine.onApplied(() => this.#arm()),
    )
    this.#turn(options.group.token())
  }

  /**
   * Renews a session.
   *
   * @throws KeelsonError `EPOCH_ENDED`, `NOT_LEADER`, and whatever proving the leadership throws
   */
  async renew(sessionId: SessionId, options: CallOptions): Promise<void> {
    const decision = this.#receive(sessionId)
    const { reign } = this.#keeper
    switch (decision.type) {
      case 'notLeading':
        throw notLeading(this.#group)
      case 'unknown':
        await this.#group.read(options)
        // A grant that was applied meanwhile is renewed by the next attempt.
        throw this.#refusal(sessionId)
      case 'revoking':
        await this.#revoking.get(sessionId)
        throw this.#refusal(sessionId)
      case 'confirm':
        await this.#group.read(options)
        break
      case 'log':
        await this.#restore(sessionId, decision.serial)
        break
    }
    // Only now is it known that this leader led when the renewal came; and only if it is still the same one.
    if (this.#keeper.reign !== reign || !this.#keeper.holds(sessionId)) throw this.#refusal(sessionId)
  }

  /** Ends a session, whoever asks. Idempotent. */
  async revoke(sessionId: SessionId, options: CallOptions): Promise<void> {
    const token = this.#group.token()
    if (token === undefined) throw notLeading(this.#group)
    this.#keeper.beginRevocation(sessionId)
    await this.#revoke([sessionId], token, options)
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    for (const stop of this.#stopListening) stop()
    this.#keeper.follow()
  }

  /** Counts a renewal from now. */
  #receive(sessionId: SessionId): ReturnType<SessionKeeper['renewal']> {
    const now = this.#env.clock.monotonicMs()
    const decision = this.#keeper.renewal(now, sessionId)
    if (decision.type !== 'unknown' || this.#machine.reader.session(sessionId) === undefined) return decision
    // Granted since the last look.
    this.#keeper.sync(now, this.#machine.reader.sessions())
    return this.#keeper.renewal(now, sessionId)
  }

  /** Why a renewal does not count. Asked after the leadership was proved or lost. */
  #refusal(sessionId: SessionId): KeelsonError {
    if (this.#group.token() === undefined || this.#machine.reader.session(sessionId) !== undefined)
      return notLeading(this.#group)
    return new KeelsonError('EPOCH_ENDED', `session ${sessionId} was revoked or ran out: grant a new one`, {
      details: { session: sessionId },
    })
  }

  #turn(token: LeaseToken | undefined): void {
    this.#unsettled.clear()
    if (token === undefined) {
      this.#keeper.follow()
      this.#timer?.cancel()
      this.#timer = undefined
      return
    }
    this.#keeper.lead(this.#env.clock.monotonicMs(), this.#machine.reader.sessions())
    this.#arm()
  }

  /** Without sessions there is nothing to look at. */
  #arm(): void {
    if (this.#closed || this.#timer !== undefined || !this.#keeper.leading) return
    const [first] = this.#machine.reader.sessions()
    if (first === undefined) return
    const now = this.#env.clock.monotonicMs()
    const waitMs = this.#keeper.nextTickMs(now, this.#options.tickIntervalMs) - now
    this.#timer = this.#env.timers.schedule(waitMs, () => {
      // A timer that is late finds renewals in the sockets: they come first.
      this.#env.timers.defer(() => {
        this.#timer = undefined
        this.#tick()
      })
    })
  }

  #tick(): void {
    const token = this.#group.token()
    if (this.#closed || token === undefined || !this.#keeper.leading) return
    const now = this.#env.clock.monotonicMs()
    this.#keeper.sync(now, this.#machine.reader.sessions())
    this.#keeper.tick(now)
    const checkpoints = this.#keeper.checkpoints(now)
    if (checkpoints.length > 0) void this.#record(checkpoints, token)
    if (this.#unsettled.size > 0 || this.#keeper.hasExpired(now)) void this.#prove()
    this.#arm()
  }

  async #record(remaining: readonly CheckpointEntry[], token: LeaseToken): Promise<void> {
    try {
      openOutcome(await this.#group.propose(encodeCommand({ type: 'checkpoint', remaining }), { token }))
    } catch (error) {
      // Renewals of these go through the log all the same.
      this.#env.logger.debug({ error, sessions: remaining.length }, 'a checkpoint of sessions failed')
    }
  }

  /** Revokes what ran out, but first proves that this server leads: a deposed leader's clock has no say. */
  async #prove(): Promise<void> {
    if (this.#proving) return
    this.#proving = true
    const { reign } = this.#keeper
    try {
      await this.#group.read()
      const token = this.#group.token()
      if (this.#closed || token === undefined || this.#keeper.reign !== reign) return
      const again = [...this.#unsettled].filter((id) => this.#machine.reader.session(id) !== undefined)
      this.#unsettled.clear()
      const expired = this.#keeper.expired(this.#env.clock.monotonicMs())
      if (expired.length > 0)
        this.#env.logger.info({ sessions: expired.slice(0, 20), count: expired.length }, 'sessions ran out')
      const sessionIds = [...expired, ...again]
      if (sessionIds.length > 0) await this.#revoke(sessionIds, token, {})
    } catch (error) {
      this.#env.logger.debug({ error }, 'sessions that ran out could not be revoked yet')
    } finally {
      this.#proving = false
    }
  }

  async #revoke(sessionIds: readonly SessionId[], token: LeaseToken, options: CallOptions): Promise<void> {
    const settled = deferred<void>()
    const { promise } = settled
    for (const sessionId of sessionIds) this.#revoking.set(sessionId, promise)
    try {
      const command = encodeCommand({ type: 'revoke', sessionIds })
      openOutcome(await this.#group.propose(command, { token, ...options }))
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      for (const sessionId of sessionIds) {
        if (error.outcome === 'none') this.#keeper.abandonRevocation(sessionId)
        else this.#unsettled.add(sessionId)
      }
      throw error
    } finally {
      for (const sessionId of sessionIds)
        if (this.#revoking.get(sessionId) === promise) this.#revoking.delete(sessionId)
      settled.resolve()
    }
  }

  /** Takes the record of a session back; those of one turn share an entry. */
  async #restore(sessionId: SessionId, serial: number): Promise<void> {
    const restore: Restore = { sessionId, serial, done: deferred() }
    this.#restores.push(restore)
    if (this.#restores.length === 1) this.#env.timers.defer(() => void this.#restoreAll())
    await restore.done.promise
  }

  async #restoreAll(): Promise<void> {
    const restores = this.#restores
    this.#restores = []
    try {
      const token = this.#group.token()
      if (token === undefined) throw notLeading(this.#group)
      const ids = new Set(restores.map(({ sessionId }) => sessionId))
      const remaining = [...ids].map((sessionId) => ({ sessionId, remainingMs: undefined }))
      openOutcome(await this.#group.propose(encodeCommand({ type: 'checkpoint', remaining }), { token }))
      for (const { sessionId, serial, done } of restores) {
        this.#keeper.restored(sessionId, serial)
        done.resolve()
      }
    } catch (error) {
      for (const { done } of restores) done.reject(error)
    }
  }
}
