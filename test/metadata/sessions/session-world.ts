import { chance, SeededRandom } from '../../../src/core/random.ts'
import { HolderCore, type Moment } from '../../../src/metadata/sessions/core/holder.ts'
import { SessionKeeper } from '../../../src/metadata/sessions/core/keeper.ts'

/** A clock that runs at its own rate from its own origin. */
class DriftingClock {
  readonly #rate: number
  readonly #origin: number

  constructor(random: SeededRandom, bound: number) {
    // The worst cases are at the ends.
    const extremes = [1 - bound, 1 + bound, 1 - bound + random.float() * 2 * bound]
    this.#rate = extremes[random.integer(3)] as number
    this.#origin = random.float() * 1e6
  }

  at(realMs: number): number {
    return this.#origin + realMs * this.#rate
  }

  /** Real time until this clock has advanced by `ms`. */
  real(ms: number): number {
    return ms / this.#rate
  }
}

type Entry =
  | { readonly type: 'noop' }
  | { readonly type: 'record'; readonly remainingMs: number }
  | { readonly type: 'restore'; readonly serial: number; readonly applied: () => void }
  | { readonly type: 'revoke' }

interface Leader {
  readonly clock: DriftingClock
  readonly keeper: SessionKeeper
  alive: boolean
}

/** How bad a world is. */
export interface Weather {
  /** Longest way of a message, in milliseconds. */
  readonly delayMs: number
  /** Part of the messages that get lost. */
  readonly loss: number
  /** Mean time between cuts of the way between holder and leader, in milliseconds; a cut lasts up to three TTLs. */
  readonly cutsMs: number
  /** Mean time of a leader in office, in milliseconds. */
  readonly reignMs: number
  /** When the holder dies. */
  readonly holderDiesAtMs: number
  /** Part of the ticks at which the leader's process stands still for a while. */
  readonly stalls: number
}

/** What a run saw. */
export interface Outcome {
  /** Real time at which the session was revoked, if it was. */
  readonly revokedAtMs: number | undefined
  /** The holder still acted when it was. */
  readonly unsafe: boolean
  /** The holder stopped before it died. */
  readonly endedEarly: boolean
}

const ttlMs = 1_000
const bound = 0.02

/**
 * One session, its holder, and one leader after the other over one log: the rules of the keeper and the holder under
 * clock drift, delays, losses, stalls and changes of leaders. Real time is known only to the world.
 */
export class SessionWorld {
  readonly #random: SeededRandom
  readonly #weather: Weather
  readonly #queue: { readonly at: number; readonly order: number; readonly run: () => void }[] = []
  #order = 0
  #now = 0
  #leader: Leader | undefined
  readonly #log: Entry[] = []
  #recorded: number | undefined
  #exists = true
  #revokedAtMs: number | undefined
  #unsafe = false
  #cutUntil = 0
  #endedEarly = false
  readonly #holder: HolderCore
  readonly #holderClock: DriftingClock

  constructor(seed: number, weather: Weather) {
    this.#random = new SeededRandom(seed)
    this.#weather = weather
    this.#holderClock = new DriftingClock(this.#random, bound)
    this.#holder = new HolderCore({
      ttlMs,
      clockDriftBound: bound,
      stasisMs: 50,
      renewAfter: 1 / 3,
      jitter: 0.1,
      sleepToleranceMs: 1e9,
    })
  }

  run(untilMs: number): Outcome {
    const nonce = this.#holder.attempt(this.#holderNow())
    this.#elect()
    this.#holder.confirmed(this.#holderNow(), nonce)
    this.#renewLater()
    this.#cutLater()
    for (;;) {
      this.#queue.sort((a, b) => a.at - b.at || a.order - b.order)
      const next = this.#queue.shift()
      if (next === undefined || next.at > untilMs || !this.#exists) break
      this.#now = next.at
      next.run()
    }
    return { revokedAtMs: this.#revokedAtMs, unsafe: this.#unsafe, endedEarly: this.#endedEarly }
  }

  #after(ms: number, run: () => void): void {
    this.#queue.push({ at: this.#now + ms, order: this.#order++, run })
  }

  #way(): number {
    return this.#random.float() * this.#weather.delayMs
  }

  #lost(): boolean {
    return this.#now < this.#cutUntil || chance(this.#random, this.#weather.loss)
  }

  #cutLater(): void {
    this.#after(this.#random.float() * 2 * this.#weather.cutsMs, () => {
      this.#cutUntil = this.#now + this.#random.float() * 3 * ttlMs
      this.#cutLater()
    })
  }

  #holderNow(): Moment {
    return { monotonicMs: this.#holderClock.at(this.#now), wallMs: 0 }
  }

  #dead(): boolean {
    return this.#now >= this.#weather.holderDiesAtMs
  }

  #renewLater(): void {
    const now = this.#holderNow()
    const waitMs = this.#holder.nextAttemptMs(now, this.#random) - now.monotonicMs
    this.#after(Math.max(40, this.#holderClock.real(waitMs)), () => this.#renew())
  }

  #renew(): void {
    if (this.#dead()) return
    if (this.#holder.status(this.#holderNow()) === 'ended') {
      this.#endedEarly = true
      return
    }
    const nonce = this.#holder.attempt(this.#holderNow())
    this.#renewLater()
    if (this.#lost()) return
    this.#after(this.#way(), () => this.#receive(nonce))
  }

  #receive(nonce: number): void {
    const leader = this.#leader
    if (leader === undefined) return
    const decision = leader.keeper.renewal(leader.clock.at(this.#now), 1)
    const acknowledge = (): void => {
      if (!leader.alive || !leader.keeper.holds(1) || this.#lost()) return
      this.#after(this.#way(), () => void this.#holder.confirmed(this.#holderNow(), nonce))
    }
    // A round of the leader's to its followers: it shows that it led after it had received the renewal.
    if (decision.type === 'confirm') this.#after(this.#way(), acknowledge)
    if (decision.type === 'log')
      this.#propose(leader, { type: 'restore', serial: decision.serial, applied: acknowledge })
  }

  #propose(leader: Leader, entry: Entry): void {
    if (!leader.alive) return
    this.#log.push(entry)
    this.#after(this.#way(), () => {
      if (leader.alive) this.#applyThrough(entry, leader)
    })
  }

  #applyThrough(entry: Entry, leader: Leader | undefined): void {
    while (this.#log.includes(entry)) this.#apply(this.#log.shift() as Entry, leader)
  }

  #apply(entry: Entry, leader: Leader | undefined): void {
    if (entry.type === 'record') this.#recorded = entry.remainingMs
    if (entry.type === 'restore') {
      this.#recorded = undefined
      leader?.keeper.restored(1, entry.serial)
      entry.applied()
    }
    if (entry.type !== 'revoke') return
    this.#exists = false
    this.#revokedAtMs = this.#now
    this.#unsafe = !this.#dead() && this.#holder.status(this.#holderNow()) !== 'ended'
  }

  #elect(): void {
    const keeper = new SessionKeeper({
      clockDriftBound: bound,
      missedAfter: 0.5,
      revocationsPerSecond: 1000,
      lateAfterMs: 100,
    })
    const leader: Leader = { clock: new DriftingClock(this.#random, bound), keeper, alive: true }
    // What the last leader appended may have reached this one, as a prefix.
    this.#log.length = this.#random.integer(this.#log.length + 1)
    while (this.#log.length > 0) this.#apply(this.#log.shift() as Entry, undefined)
    if (!this.#exists) return
    this.#leader = leader
    keeper.lead(leader.clock.at(this.#now), [{ sessionId: 1, ttlMs, remainingMs: this.#recorded }])
    this.#tickLater(leader)
    this.#after(this.#random.float() * 2 * this.#weather.reignMs, () => {
      leader.alive = false
      this.#leader = undefined
      this.#after(this.#way(), () => this.#elect())
    })
  }

  #tickLater(leader: Leader): void {
    const now = leader.clock.at(this.#now)
    const waitMs = leader.clock.real(leader.keeper.nextTickMs(now, 100) - now)
    const stallMs = chance(this.#random, this.#weather.stalls) ? this.#random.float() * 3 * ttlMs : 0
    this.#after(waitMs + stallMs, () => this.#tick(leader))
  }

  #tick(leader: Leader): void {
    if (!leader.alive) return
    const { keeper, clock } = leader
    keeper.tick(clock.at(this.#now))
    for (const { remainingMs } of keeper.checkpoints(clock.at(this.#now)))
      this.#propose(leader, { type: 'record', remainingMs })
    this.#tickLater(leader)
    if (!keeper.hasExpired(clock.at(this.#now))) return
    this.#after(this.#way(), () => {
      if (!leader.alive) return
      if (keeper.expired(clock.at(this.#now)).length > 0) this.#propose(leader, { type: 'revoke' })
    })
  }
}
