import type { NodeId } from '../../model/ids.ts'
import type { Membership } from './membership.ts'
import type { IndirectPingMessage } from './messages.ts'
import type { SendTo } from './send.ts'

/** A probe that we make for somebody else. */
interface Relay {
  readonly origin: string
  readonly originSequence: number
  readonly target: NodeId
  readonly nackAtMs: number
  readonly endsAtMs: number
  nacked: boolean
}

const maximumRelays = 1_024

/** A helper says that it got no answer after this share of the probe timeout (Lifeguard §IV-A). */
const nackShare = 0.8

/** Probes that we make for others, who got no answer themselves. */
export class Relays {
  readonly #membership: Membership
  readonly #send: SendTo
  readonly #bySequence = new Map<number, Relay>()

  constructor(membership: Membership, send: SendTo) {
    this.#membership = membership
    this.#send = send
  }

  /** When time must be advanced next. */
  get deadlineMs(): number {
    let earliest = Number.POSITIVE_INFINITY
    for (const relay of this.#bySequence.values()) {
      earliest = Math.min(earliest, relay.nacked ? relay.endsAtMs : relay.nackAtMs)
    }
    return earliest
  }

  advanceTo(nowMs: number): void {
    if (this.#bySequence.size === 0) return
    for (const [sequence, relay] of this.#bySequence) {
      if (!relay.nacked && nowMs >= relay.nackAtMs) {
        relay.nacked = true
        this.#send(relay.origin, [{ kind: 'nack', sequence: relay.originSequence }])
      }
      if (nowMs >= relay.endsAtMs) this.#bySequence.delete(sequence)
    }
  }

  /** Asks a target on behalf of another, by a ping of ours with the number that `sequence` draws. */
  begin(from: string, request: IndirectPingMessage, sequence: () => number, nowMs: number): void {
    const { target, patienceMs } = request
    const address = this.#membership.table.get(target)?.member.address ?? ''
    if (address === '' || this.#bySequence.size >= maximumRelays) {
      this.#send(from, [{ kind: 'nack', sequence: request.sequence }])
      return
    }
    const { probeTimeoutMs, probeIntervalMs, healthMaximum } = this.#membership.tuning
    const waitMs = Math.min(Math.max(patienceMs, 1), probeTimeoutMs * healthMaximum)
    const own = sequence()
    this.#bySequence.set(own, {
      origin: from,
      originSequence: request.sequence,
      target,
      nackAtMs: nowMs + waitMs * nackShare,
      endsAtMs: nowMs + waitMs + probeIntervalMs,
      nacked: false,
    })
    this.#send(address, [{ kind: 'ping', sequence: own, target }], target)
  }

  /** Passes an answer on to whoever wanted it. */
  answered(sequence: number, responder: NodeId): void {
    const relay = this.#bySequence.get(sequence)
    if (relay === undefined || relay.target !== responder) return
    this.#bySequence.delete(sequence)
    this.#send(relay.origin, [{ kind: 'ack', sequence: relay.originSequence, responder }])
  }

  clear(): void {
    this.#bySequence.clear()
  }

  clone(membership: Membership, send: SendTo): Relays {
    const copy = new Relays(membership, send)
    for (const [sequence, relay] of this.#bySequence) copy.#bySequence.set(sequence, { ...relay })
    return copy
  }
}
