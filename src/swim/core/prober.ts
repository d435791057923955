import { type Random, shuffled } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import type { SwimMessage } from './codec.ts'
import { isLive, type MemberRecord } from './member-table.ts'
import type { Membership } from './membership.ts'

/** Sends messages in one packet to a member; its recipient's name is for buddy updates. */
export type SendTo = (address: string, messages: readonly SwimMessage[], recipient?: NodeId) => void

/** The one probe that is under way. */
export interface Probe {
  readonly sequence: number
  readonly target: NodeId
  /** What the target had said of itself when it was asked. A newer statement is a sign of life. */
  readonly version: number
  readonly startedMs: number
  readonly timeoutAtMs: number
  answered: boolean
  /** How many members were asked to try. */
  asked: number
  /** Those of them that have not said yet that they failed too; undefined before the timeout. */
  silentHelpers: Set<NodeId> | undefined
}

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

/**
 * SWIM's failure detector: in each protocol period one member is asked, in a shuffled round-robin order; if it does not
 * answer, others are asked to try; if nobody has an answer by the end of the period, it is suspected (SWIM §3, §4.3).
 * Period and timeout grow with the local health score.
 */
export class Prober {
  readonly #membership: Membership
  readonly #random: Random
  readonly #send: SendTo
  #order: NodeId[] = []
  #next = 0
  #sequence: number
  #probe: Probe | undefined
  #nextPeriodMs: number
  readonly #relays = new Map<number, Relay>()

  /** `from` makes it a copy, which draws nothing. */
  constructor(membership: Membership, random: Random, send: SendTo, nowMs: number, from?: Prober) {
    this.#membership = membership
    this.#random = random
    this.#send = send
    this.#sequence = from === undefined ? random.uint32() : from.#sequence
    // A random phase, so that nodes which start together do not probe together.
    const { probeIntervalMs } = membership.tuning
    this.#nextPeriodMs = from === undefined ? nowMs + random.float() * probeIntervalMs : from.#nextPeriodMs
  }

  /** When time must be advanced next. */
  get deadlineMs(): number {
    let earliest = Number.POSITIVE_INFINITY
    const probe = this.#probe
    if (probe !== undefined && !probe.answered && probe.silentHelpers === undefined)
      earliest = probe.timeoutAtMs
    // Alone, or on the way out, there is nobody to ask.
    if (probe !== undefined || this.#active) earliest = Math.min(earliest, this.#nextPeriodMs)
    for (const relay of this.#relays.values()) {
      earliest = Math.min(earliest, relay.nacked ? relay.endsAtMs : relay.nackAtMs)
    }
    return earliest
  }

  advanceTo(nowMs: number): void {
    this.#advanceRelays(nowMs)
    const probe = this.#probe
    if (probe !== undefined && !probe.answered && probe.silentHelpers === undefined) {
      if (nowMs >= probe.timeoutAtMs) this.askOthers(probe, nowMs)
    }
    if (nowMs < this.#nextPeriodMs) return
    if (probe !== undefined && !probe.answered) this.conclude(probe, nowMs)
    this.#probe = undefined
    if (this.#active) this.#begin(nowMs)
  }

  /** Drops what is under way without a judgement: we were not there to hear the answers. */
  abandon(nowMs: number): void {
    this.#probe = undefined
    this.#relays.clear()
    this.#nextPeriodMs = Math.max(this.#nextPeriodMs, nowMs)
  }

  onPing(from: string, sequence: number, target: NodeId, extra: readonly SwimMessage[]): void {
    const self = this.#membership.self.nodeId
    // An address may have a new owner: only the one who was meant answers.
    if (target !== self) return
    this.#send(from, [{ kind: 'ack', sequence, responder: self }, ...extra])
  }

  onIndirectPing(from: string, sequence: number, target: NodeId, nowMs: number): void {
    const address = this.#membership.table.get(target)?.member.address ?? ''
    if (address === '' || this.#relays.size >= maximumRelays) {
      this.#send(from, [{ kind: 'nack', sequence }])
      return
    }
    const { probeTimeoutMs, probeIntervalMs } = this.#membership.tuning
    const own = this.#nextSequence()
    this.#relays.set(own, {
      origin: from,
      originSequence: sequence,
      target,
      nackAtMs: nowMs + probeTimeoutMs * nackShare,
      endsAtMs: nowMs + probeIntervalMs * 2,
      nacked: false,
    })
    this.#send(address, [{ kind: 'ping', sequence: own, target }], target)
  }

  onAck(sequence: number, responder: NodeId, sender: NodeId, nowMs: number): void {
    const probe = this.#probe
    if (probe !== undefined && probe.sequence === sequence && probe.target === responder) {
      if (probe.answered) return
      probe.answered = true
      this.#membership.health.add(-1)
      const record = this.#membership.table.get(responder)
      if (record !== undefined) {
        record.answeredAtMs = nowMs
        if (sender === responder) record.roundTripMs = nowMs - probe.startedMs
      }
      return
    }
    const relay = this.#relays.get(sequence)
    if (relay === undefined || relay.target !== responder) return
    this.#relays.delete(sequence)
    this.#send(relay.origin, [{ kind: 'ack', sequence: relay.originSequence, responder }])
  }

  onNack(sequence: number, sender: NodeId): void {
    if (this.#probe?.sequence === sequence) this.#probe.silentHelpers?.delete(sender)
  }

  /** Asks a member out of turn; nothing is judged by whether it answers. */
  nudge(target: NodeId, address: string): void {
    this.#send(address, [{ kind: 'ping', sequence: this.#nextSequence(), target }], target)
  }

  /** @internal No direct answer in time: asks others to try, who may have a path where we have none. */
  askOthers(probe: Probe, nowMs: number): void {
    const { table, tuning, health } = this.#membership
    // However late we are, they get their time.
    const restMs = health.scaled(tuning.probeIntervalMs - tuning.probeTimeoutMs)
    this.#nextPeriodMs = Math.max(this.#nextPeriodMs, nowMs + restMs)
    const helpers = table.pick(
      tuning.indirectProbes,
      this.#random,
      ({ member }) => member.state === 'alive' && member.nodeId !== probe.target,
    )
    probe.asked = helpers.length
    probe.silentHelpers = new Set(helpers.map(({ member }) => member.nodeId))
    for (const { member } of helpers) {
      const message = { kind: 'indirectPing', sequence: probe.sequence, target: probe.target } as const
      this.#send(member.address, [message], member.nodeId)
    }
  }

  /** @internal The period is over without an answer. Helpers that kept silent too speak against ourselves. */
  conclude(probe: Probe, nowMs: number): void {
    const { table, health, self, counters } = this.#membership
    const record = table.get(probe.target)
    if (record === undefined || !isLive(record.member)) return
    counters.failedProbes++
    health.add(probe.asked > 0 ? (probe.silentHelpers?.size ?? 1) : 1)
    this.#membership.applySuspect(probe.target, probe.version, self.nodeId, nowMs)
  }

  /** @internal The next live member of the shuffled round, in which each comes once. */
  nextTarget(): MemberRecord | undefined {
    const { table } = this.#membership
    for (let rounds = 0; rounds < 2; rounds++) {
      while (this.#next < this.#order.length) {
        const record = table.get(this.#order[this.#next++] as NodeId)
        if (record !== undefined && isLive(record.member)) return record
      }
      const live = table.others.filter(({ member }) => isLive(member))
      this.#order = shuffled(this.#random, live).map(({ member }) => member.nodeId)
      this.#next = 0
    }
    return undefined
  }

  /** A new member takes a random place in the rest of the round, so that it waits no longer than the others. */
  include(nodeId: NodeId, nowMs: number): void {
    if (this.#nextPeriodMs < nowMs) {
      this.#nextPeriodMs = nowMs + this.#random.float() * this.#membership.tuning.probeIntervalMs
    }
    const at = this.#next + this.#random.integer(this.#order.length - this.#next + 1)
    this.#order.splice(at, 0, nodeId)
  }

  clone(membership: Membership, random: Random, send: SendTo): Prober {
    const copy = new Prober(membership, random, send, 0, this)
    copy.#order = this.#order.slice()
    copy.#next = this.#next
    const probe = this.#probe
    if (probe !== undefined) {
      const silentHelpers = probe.silentHelpers === undefined ? undefined : new Set(probe.silentHelpers)
      copy.#probe = { ...probe, silentHelpers }
    }
    for (const [sequence, relay] of this.#relays) copy.#relays.set(sequence, { ...relay })
    return copy
  }

  get #active(): boolean {
    return this.#membership.peers > 0 && !this.#membership.leaving
  }

  #begin(nowMs: number): void {
    const { health, tuning, counters } = this.#membership
    // From now on, not from when it should have been: what was missed is not caught up with.
    this.#nextPeriodMs = nowMs + health.scaled(tuning.probeIntervalMs)
    const target = this.nextTarget()
    if (target === undefined) return
    counters.probes++
    const { nodeId, address, version } = target.member
    const sequence = this.#nextSequence()
    this.#probe = {
      sequence,
      target: nodeId,
      version,
      startedMs: nowMs,
      timeoutAtMs: nowMs + health.scaled(tuning.probeTimeoutMs),
      answered: false,
      asked: 0,
      silentHelpers: undefined,
    }
    this.#send(address, [{ kind: 'ping', sequence, target: nodeId }], nodeId)
  }

  #advanceRelays(nowMs: number): void {
    for (const [sequence, relay] of this.#relays) {
      if (!relay.nacked && nowMs >= relay.nackAtMs) {
        relay.nacked = true
        this.#send(relay.origin, [{ kind: 'nack', sequence: relay.originSequence }])
      }
      if (nowMs >= relay.endsAtMs) this.#relays.delete(sequence)
    }
  }

  #nextSequence(): number {
    this.#sequence = (this.#sequence + 1) % 0x1_0000_0000
    return this.#sequence
  }
}
