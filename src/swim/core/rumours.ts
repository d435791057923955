import { KeelsonError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import { encodeMessage } from './codec.ts'
import { syncScale } from './formulas.ts'
import type { Membership } from './membership.ts'
import type { AnswerMessage, QueryMessage, UserEventMessage } from './messages.ts'
import type { SwimSnapshot } from './snapshot.ts'
import type { SwimDelivery } from './types.ts'

/** News of which it is remembered that they came. */
const maximumRemembered = 4_096

/** News that are kept for whoever missed them, and for how many exchanges of views. */
const maximumKept = 1_024
const keptExchanges = 8

/** Exchanges of views after which as good as everybody has had the chance to ask for what it missed. */
const safeExchanges = 3

/** News that travel at once; the oldest stops where it is when there are more. */
const maximumTravelling = 1_024

/**
 * This node tells nothing new while so many travel, or are so young that somebody may have missed them: the room above is for what
 * others tell at the same time. So nothing of its own is pushed out before it was told to all.
 */
const maximumToAdd = 512

/** Questions of our own to which answers are taken. */
const maximumAsked = 1_024

/** A Lamport time is believed only this far above ours, and not beyond what leaves room to count on. */
const maximumClockStep = 2 ** 32
const maximumClock = 2 ** 52

/** News that are older than this, counted in news, were forgotten and are not taken again. */
const maximumAge = 1_024

/** Something that was heard not long ago. */
interface KeptNews {
  readonly message: UserEventMessage | QueryMessage
  readonly bytes: number
  readonly heardMs: number
  /** When nobody waits for answers to a question any more. */
  readonly endsAtMs: number
}

/** What is remembered of news beyond the life of a process. */
export type NewsMemory = Pick<SwimSnapshot, 'clock' | 'heard' | 'forgotten'>

/** No question is open for longer. */
export const maximumQueryTimeoutMs = 86_400_000

/**
 * What hosts tell and ask all members: it spreads like an update, each once, and is ordered by Lamport time (as in serf). Whoever
 * missed it hears it in the exchange of views, as long as it is recent; so a newcomer may hear what was told just before.
 */
export class Rumours {
  readonly #membership: Membership
  readonly #random: Random
  #clock = 0
  /** Ids by origin and id, the oldest first. */
  readonly #heard = new Map<string, { readonly id: number; readonly time: number }>()
  /** Lamport time of the newest of which it is not remembered any more whether it was heard. */
  #forgotten = 0
  /** Ids that an earlier process of this node heard: drawn at random, so that they need no origin. The oldest first. */
  #heardBefore: ReadonlySet<number> = new Set()
  /** Lamport time to which that process had come. */
  #clockBefore = 0
  /** Our own last questions. */
  readonly #asked = new Set<number>()
  #kept: KeptNews[] = []
  /** Keys of what may still wait in the queue, the oldest first. */
  #travelling: string[] = []
  deliveries: SwimDelivery[] = []

  constructor(membership: Membership, random: Random) {
    this.#membership = membership
    this.#random = random
  }

  /** Lamport time of the newest that is known. */
  get clock(): number {
    return this.#clock
  }

  /** @throws KeelsonError `OVERLOADED` while so much travels that one more could not be told to all */
  mustHaveRoom(nowMs: number): void {
    const travelling =
      this.#membership.peers > 0 &&
      this.#travelling.length >= maximumToAdd &&
      this.#stillTravelling() >= maximumToAdd
    const young = this.#kept.length >= maximumToAdd && this.#young(nowMs) >= maximumToAdd
    if (!travelling && !young) return
    throw new KeelsonError(
      'OVERLOADED',
      `${maximumToAdd} events and queries are on their way already, and one more could push one out before all have heard it; try it again in some seconds, tell less often, or keep what changes often in the metadata store`,
      { details: { onTheirWay: maximumToAdd } },
    )
  }

  /** Tells all members something, this one included. */
  tell(name: string, payload: Uint8Array, nowMs: number): void {
    const origin = this.#membership.nodeId
    const id = this.#random.uint32()
    this.onEvent({ kind: 'event', origin, time: ++this.#clock, id, name, payload }, nowMs)
  }

  /** Asks all members something, this one included; the id by which answers name it. */
  ask(name: string, payload: Uint8Array, timeoutMs: number, nowMs: number): number {
    const origin = this.#membership.nodeId
    const id = this.#random.uint32()
    this.#asked.add(id)
    if (this.#asked.size > maximumAsked) this.#asked.delete(this.#asked.keys().next().value as number)
    const leftMs = Math.min(maximumQueryTimeoutMs, Math.max(1, Math.ceil(timeoutMs)))
    this.onQuery({ kind: 'query', origin, time: ++this.#clock, id, name, payload, leftMs }, nowMs)
    return id
  }

  onEvent(event: UserEventMessage, nowMs: number): void {
    if (!this.isNews(event, nowMs)) return
    const { origin, time, id, name, payload } = event
    this.deliveries.push({ kind: 'event', origin, time, id, name, payload })
  }

  onQuery(query: QueryMessage, nowMs: number): void {
    if (!this.isNews(query, nowMs)) return
    const { origin, time, id, name, payload, leftMs = Number.POSITIVE_INFINITY } = query
    this.deliveries.push({ kind: 'query', origin, time, id, name, payload, leftMs })
  }

  onAnswer({ id, payload }: AnswerMessage, responder: NodeId): void {
    // What nobody asked for would push out what others told.
    if (this.#asked.has(id)) this.deliveries.push({ kind: 'answer', id, responder, payload })
  }

  /** What is recent enough that somebody may have missed it. Questions whose asker has given up are not told to newcomers. */
  recent(nowMs: number): readonly KeptNews[] {
    const keptMs = this.#exchangeMs * keptExchanges
    this.#kept = this.#kept.filter(({ heardMs, endsAtMs }) => nowMs - heardMs < keptMs && nowMs < endsAtMs)
    return this.#kept
  }

  /** Questions that travel say how long answers are waited for now; those whose asker has given up travel no more. */
  keepTime(nowMs: number): void {
    const { queue } = this.#membership
    for (const news of this.#kept) {
      if (news.endsAtMs === Number.POSITIVE_INFINITY) continue
      const key = keyOf(news.message)
      if (!queue.has(key)) continue
      const message = this.asOf(news, nowMs)
      if (nowMs < news.endsAtMs) queue.reword(key, message, encodeMessage(message))
      else queue.remove(key)
    }
  }

  /** A message as it is to be told now. */
  asOf({ message, endsAtMs }: KeptNews, nowMs: number): UserEventMessage | QueryMessage {
    if (message.kind === 'event' || message.leftMs === undefined) return message
    return { ...message, leftMs: Math.ceil(endsAtMs - nowMs) }
  }

  /** A digest of the recent news: who has another one should be told, and asked. */
  digest(nowMs: number): number {
    if (this.#kept.length === 0) return 0
    return this.recent(nowMs).reduce((sum, { message }) => (sum + message.id) >>> 0, 0)
  }

  /** What a life after this one has to know: it must not hear the same again. The newest ids are the last. */
  memory(): NewsMemory {
    const ids = [...this.#heardBefore, ...Array.from(this.#heard.values(), ({ id }) => id)]
    const whole = ids.length <= maximumRemembered
    return {
      clock: this.#clock,
      heard: ids.slice(-maximumRemembered),
      // What is left out was heard by the former life, or by this one after all of that.
      forgotten: whole ? this.#forgotten : Math.max(this.#forgotten, this.#clockBefore),
    }
  }

  /** Takes over what an earlier process of this node heard. */
  restore({ clock, heard, forgotten }: NewsMemory): void {
    this.witness(clock)
    this.#clockBefore = this.#clock
    this.#heardBefore = new Set(heard)
    this.#forgotten = Math.max(this.#forgotten, Math.min(forgotten, this.#clock))
  }

  /** Takes over the time of others, so that what this node tells comes after what it heard of. */
  witness(time: number): void {
    if (time <= Math.min(this.#clock + maximumClockStep, maximumClock))
      this.#clock = Math.max(this.#clock, time)
  }

  /** @internal True for what was not heard before; it travels on. */
  isNews(message: UserEventMessage | QueryMessage, nowMs: number): boolean {
    if (this.#membership.admissions.isShunned(message.origin, nowMs)) return false
    const endsAtMs = this.endOf(message, nowMs)
    if (endsAtMs <= nowMs) return false
    const key = keyOf(message)
    if (this.#heard.has(key) || this.#heardBefore.has(message.id)) return false
    const { counters, queue, peers } = this.#membership
    // Perhaps it was heard: what is not remembered any more must not begin its way anew.
    if (message.time <= Math.max(this.#clock - maximumAge, this.#forgotten)) {
      counters.newsDropped++
      return false
    }
    this.witness(message.time)
    this.#remember(key, message)
    const bytes = encodeMessage(message)
    this.#kept.push({ message, bytes: bytes.length, heardMs: nowMs, endsAtMs })
    // Questions that nobody waits for any more go first.
    if (this.#kept.length > maximumKept && this.recent(nowMs).length > maximumKept) {
      const dropped = this.#kept.shift()
      if (dropped !== undefined && this.#isYoung(dropped, nowMs)) counters.newsDropped++
    }
    queue.put(key, message, bytes)
    this.#travelling.push(key)
    if (this.#travelling.length > maximumTravelling && this.#stillTravelling() > maximumTravelling) {
      queue.remove(this.#travelling.shift() as string)
      // Alone nobody misses it: newcomers are told of what is kept.
      if (peers > 0) counters.newsDropped++
    }
    return true
  }

  #remember(key: string, { id, time }: UserEventMessage | QueryMessage): void {
    this.#heard.set(key, { id, time })
    if (this.#heard.size <= maximumRemembered) return
    for (const [oldest, forgotten] of this.#heard) {
      this.#heard.delete(oldest)
      this.#forgotten = Math.max(this.#forgotten, forgotten.time)
      return
    }
  }

  /** Time between two exchanges of views that a member begins. */
  get #exchangeMs(): number {
    const { tuning, table } = this.#membership
    return tuning.syncIntervalMs * syncScale(table.live)
  }

  /** Whether somebody may have missed it who has not had the chance to ask since. */
  #isYoung({ heardMs, endsAtMs }: KeptNews, nowMs: number): boolean {
    return nowMs < endsAtMs && nowMs - heardMs < this.#exchangeMs * safeExchanges
  }

  #young(nowMs: number): number {
    return this.#kept.reduce((count, news) => count + (this.#isYoung(news, nowMs) ? 1 : 0), 0)
  }

  /** @internal When nobody waits for answers any more; never for what is no question. */
  endOf(message: UserEventMessage | QueryMessage, nowMs: number): number {
    if (message.kind === 'event' || message.leftMs === undefined) return Number.POSITIVE_INFINITY
    return nowMs + Math.min(message.leftMs, maximumQueryTimeoutMs)
  }

  #stillTravelling(): number {
    const { queue } = this.#membership
    this.#travelling = this.#travelling.filter((key) => queue.has(key))
    return this.#travelling.length
  }

  clone(membership: Membership, random: Random): Rumours {
    const copy = new Rumours(membership, random)
    copy.#clock = this.#clock
    for (const [key, news] of this.#heard) copy.#heard.set(key, news)
    copy.#forgotten = this.#forgotten
    copy.#heardBefore = this.#heardBefore
    copy.#clockBefore = this.#clockBefore
    for (const id of this.#asked) copy.#asked.add(id)
    copy.#kept = this.#kept.slice()
    copy.#travelling = this.#travelling.slice()
    return copy
  }
}

function keyOf({ origin, id }: UserEventMessage | QueryMessage): string {
  return `!${origin} ${id}`
}
