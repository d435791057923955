import type { Random } from '../../core/random.ts'
import type { AnswerBudget } from './answer-budget.ts'
import { maskHas } from './digest.ts'
import type { Membership } from './membership.ts'
import type { SwimMessage, SyncRecord } from './messages.ts'
import type { SendTo } from './send.ts'
import { recordBytes, recordOf } from './sync-records.ts'
import type { ViewTransfer } from './view-transfer.ts'

/** A part of a view that is to be told. */
export type Telling = Pick<ViewTransfer, 'to' | 'recipient' | 'mask' | 'wantReturn' | 'challenge'>

/** Bytes of a `state` message besides its records, and of a `proof`. */
const stateMessageBytes = 4 + 4 + 1 + 8
const proofMessageBytes = 6

/** Packets of one answer; what does not fit is for the next exchange, which compares what is still different. */
const maximumPackets = 256

/** Datagrams that are made at once: two milliseconds' work at most, and less than the buffer of a socket holds. */
const datagramsAtOnce = 12

/** A message by a stream for whoever takes no view as a stream: as many bytes are made in about a millisecond. */
const messageRoomBytes = 16_384

/** Between two such parts. */
const pauseMs = 5

/** Views on their way at once. */
const maximumTellings = 64

/** What is told, and how far it is. */
interface Progress extends Telling {
  /** Goes as messages by a stream. */
  readonly reliable: boolean
  /** Where in the table it began, so that no part always comes last, and how many slots there were. */
  readonly first: number
  readonly others: number
  /** This node itself is -1: a newcomer may not know it yet. */
  next: number
  packets: number
}

/** What tellings work with. */
interface TellingParts {
  readonly membership: Membership
  readonly random: Random
  readonly send: SendTo
  readonly budget: AnswerBudget
  /** Bytes that a datagram has for messages. */
  readonly datagramBytes: number
  /** Bytes that a message by a stream has for messages; 0 where there are no streams. */
  readonly streamBytes: number
}

/**
 * Tells views by datagrams, and by messages of streams to releases that take no view as one stream: a long one part by part, so that
 * neither this process nor the buffers of the other end are held up.
 */
export class Tellings {
  readonly #parts: TellingParts
  #waiting: Progress[] = []
  #atMs: number = Number.POSITIVE_INFINITY

  constructor(parts: TellingParts) {
    this.#parts = parts
  }

  get deadlineMs(): number {
    return this.#atMs
  }

  /** Tells the first part now. False if too many wait already. */
  begin({ to, recipient, mask, wantReturn, challenge }: Telling, reliable: boolean, nowMs: number): boolean {
    if (this.#waiting.length >= maximumTellings) return false
    const { membership, random } = this.#parts
    const others = membership.table.slots - 1
    const first = others > 0 ? random.integer(others) : 0
    const about = { to, recipient, mask, wantReturn, challenge, reliable }
    const progress = { ...about, first, others, next: -1, packets: 0 }
    if (this.#tellSome(progress, nowMs)) return true
    this.#waiting.push(progress)
    this.#atMs = Math.min(this.#atMs, nowMs + pauseMs)
    return true
  }

  /** Goes on with the one that has waited longest, when there is something to spend. */
  advanceTo(nowMs: number): void {
    if (nowMs < this.#atMs) return
    const progress = this.#parts.budget.allows(nowMs) ? this.#waiting.shift() : undefined
    if (progress !== undefined && !this.#tellSome(progress, nowMs)) this.#waiting.push(progress)
    this.#atMs = this.#waiting.length > 0 ? nowMs + pauseMs : Number.POSITIVE_INFINITY
  }

  drop(): void {
    this.#waiting = []
    this.#atMs = Number.POSITIVE_INFINITY
  }

  takeOver(from: Tellings): void {
    this.#waiting = from.#waiting.map((progress) => ({ ...progress }))
    this.#atMs = from.#atMs
  }

  /** True when that was all. */
  #tellSome(progress: Progress, nowMs: number): boolean {
    const { membership, datagramBytes, streamBytes } = this.#parts
    const { reliable } = progress
    const roomBytes = reliable ? Math.min(streamBytes, messageRoomBytes) : datagramBytes
    const until = Math.min(progress.packets + (reliable ? 1 : datagramsAtOnce), maximumPackets)
    let records: SyncRecord[] = []
    const proofBytes = progress.challenge === undefined ? 0 : proofMessageBytes
    let bytes = stateMessageBytes + proofBytes
    for (; progress.next < progress.others; progress.next++) {
      const { next, first, others, mask } = progress
      const entry = membership.table.at(next < 0 ? 0 : 1 + ((first + next) % others))
      if (entry === undefined || !maskHas(mask, entry.bucket)) continue
      const record = recordOf(membership, entry, nowMs)
      const length = recordBytes(record)
      if (bytes + length > roomBytes) {
        this.#tell(progress, records, bytes)
        if (progress.packets >= until) return progress.packets >= maximumPackets
        records = []
        bytes = stateMessageBytes
      }
      records.push(record)
      bytes += length
    }
    if (progress.packets === 0 || records.length > 0) this.#tell(progress, records, bytes)
    return true
  }

  #tell(progress: Progress, records: readonly SyncRecord[], bytes: number): void {
    const { send, budget } = this.#parts
    const { to, recipient, mask, challenge, reliable } = progress
    const first = progress.packets++ === 0
    const state: SwimMessage = { kind: 'state', mask, wantReturn: progress.wantReturn && first, records }
    const proof = first && challenge !== undefined
    send(to, proof ? [{ kind: 'proof', number: challenge }, state] : [state], recipient, reliable)
    budget.spend(bytes)
  }
}
