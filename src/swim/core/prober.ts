import type { Random } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import { type Coordinate, medianOf, VivaldiPlace, withRoundTrip } from './coordinates.ts'
import { chooseHelpers } from './helpers.ts'
import { isLive } from './member-table.ts'
import type { Membership } from './membership.ts'
import type { AckMessage, IndirectPingMessage, SwimMessage } from './messages.ts'
import { ProbeOrder } from './probe-order.ts'
import { Relays } from './relays.ts'
import type { SendTo } from './send.ts'
import type { Entry } from './statement.ts'
import type { AnswerPath } from './types.ts'

/** What a prober does beyond SWIM. */
export interface ProberFeatures {
  /** Estimates where members are, in round trips. */
  readonly coordinates: boolean
  /** Asks by a stream too when a datagram was not answered. */
  readonly streams: boolean
}

/** The one probe that is under way. */
export interface Probe {
  readonly sequence: number
  readonly target: NodeId
  /** What the target had said of itself when it was asked. A newer statement is a sign of life. */
  readonly version: number
  readonly startedMs: number
  readonly timeoutAtMs: number
  /** A ping of a node that is held out: it judges our own paths and nobody else. */
  readonly trial: boolean
  answered: boolean
  /** Who were asked to try. */
  helpers: readonly NodeId[]
  /** Those of them that have not said yet that they failed too; undefined before the timeout. */
  silentHelpers: Set<NodeId> | undefined
}

/**
 * SWIM's failure detector: in each protocol period one member is asked, in a shuffled round-robin order; if it does not
 * answer, others are asked to try; if nobody has an answer by the end of the period, it is suspected (SWIM §3, §4.3).
 * Period and timeout grow with the local health score.
 */
export class Prober {
  /** @internal Probes for others. */
  readonly relays: Relays
  readonly #membership: Membership
  readonly #random: Random
  readonly #send: SendTo
  readonly #features: ProberFeatures
  #order = new ProbeOrder()
  #sequence: number
  #probe: Probe | undefined
  #nextPeriodMs: number
  #place = new VivaldiPlace()

  /** `from` makes it a copy, which draws nothing. */
  constructor(
    membership: Membership,
    random: Random,
    send: SendTo,
    features: ProberFeatures,
    nowMs: number,
    from?: Prober,
  ) {
    this.#features = features
    this.#membership = membership
    this.#random = random
    this.#send = send
    this.relays = from?.relays.clone(membership, send) ?? new Relays(membership, send)
    this.#sequence = from === undefined ? random.uint32() : from.#sequence
    // A random phase, so that nodes which start together do not probe together.
    const { probeIntervalMs } = membership.tuning
    this.#nextPeriodMs = from === undefined ? nowMs + random.float() * probeIntervalMs : from.#nextPeriodMs
  }

  /** When time must be advanced next. */
  get deadlineMs(): number {
    return Math.min(this.ownDeadlineMs, this.relays.deadlineMs)
  }

  /** @internal The same without the probes for others. */
  get ownDeadlineMs(): number {
    const probe = this.#probe
    let earliest = this.#isWaiting(probe) ? probe.timeoutAtMs : Number.POSITIVE_INFINITY
    // Alone, or on the way out, there is nobody to ask.
    if (probe !== undefined || this.#active) earliest = Math.min(earliest, this.#nextPeriodMs)
    // Held out, with nobody there to try the paths to: it waits for its time only.
    else earliest = Math.min(earliest, this.#membership.voice.probation?.untilMs ?? earliest)
    return earliest
  }

  advanceTo(nowMs: number): void {
    this.relays.advanceTo(nowMs)
    this.endWait(nowMs)
    this.endPeriod(nowMs)
  }

  /** @internal Asks others when the time for a direct answer is over. */
  endWait(nowMs: number): void {
    const probe = this.#probe
    if (this.#isWaiting(probe) && nowMs >= probe.timeoutAtMs) this.askOthers(probe, nowMs)
  }

  /** @internal Judges the probe and begins the next one when the period is over. */
  endPeriod(nowMs: number): void {
    const probe = this.#probe
    const { peers, voice } = this.#membership
    const { probation } = voice
    if (probation !== undefined && peers === 0 && nowMs >= probation.untilMs) voice.comeBack()
    if (nowMs < this.#nextPeriodMs) return
    if (probe?.trial === true) voice.probation?.note(probe.answered)
    else if (probe !== undefined && !probe.answered) this.conclude(probe, nowMs)
    this.#probe = undefined
    if (voice.probation?.passed(nowMs) === true) voice.comeBack()
    if (this.#active) this.#begin(nowMs)
  }

  /** Drops what is under way without a judgement: we were not there to hear the answers. */
  abandon(nowMs: number): void {
    this.#probe = undefined
    this.relays.clear()
    this.#nextPeriodMs = Math.max(this.#nextPeriodMs, nowMs)
  }

  /** Where this node is, as far as it estimates. */
  get coordinate(): Coordinate | undefined {
    return this.#features.coordinates ? this.#place.coordinate : undefined
  }

  onPing(
    from: string,
    sequence: number,
    target: NodeId,
    sender: NodeId,
    extra: readonly SwimMessage[],
    reliable: boolean,
  ): void {
    const { nodeId } = this.#membership
    // An address may have a new owner: only the one who was meant answers.
    if (target !== nodeId) return
    const { coordinate } = this
    const ack: AckMessage =
      coordinate === undefined
        ? { kind: 'ack', sequence, responder: nodeId }
        : { kind: 'ack', sequence, responder: nodeId, coordinate }
    this.#send(from, [ack, ...extra], sender, reliable)
  }

  onIndirectPing(from: string, request: IndirectPingMessage, nowMs: number): void {
    this.relays.begin(from, request, () => this.#nextSequence(), nowMs)
  }

  /** True for the answer of the member itself to the probe that is under way, by a datagram: it is where it came from. */
  onAck(message: AckMessage, sender: NodeId, nowMs: number, reliable: boolean): boolean {
    const { sequence, responder, coordinate } = message
    const probe = this.#probe
    if (probe !== undefined && probe.sequence === sequence && probe.target === responder) {
      const direct = sender === responder
      if (!reliable) this.#noteDatagram(responder)
      const heard = direct && !reliable
      if (probe.answered) return heard
      probe.answered = true
      if (probe.trial) return heard
      this.#membership.health.add(-1)
      if (reliable) this.#noteStream(responder, nowMs)
      const notes = this.#membership.table.notesFor(responder)
      if (notes === undefined) return heard
      notes.answeredAtMs = nowMs
      notes.answeredBy = pathOf(sender, responder, reliable)
      if (!heard) return false
      const roundTripMs = nowMs - probe.startedMs
      notes.roundTripMs = roundTripMs
      if (coordinate === undefined || !this.#features.coordinates) return true
      notes.recentMs = withRoundTrip(notes.recentMs, roundTripMs)
      notes.coordinate = coordinate
      this.#place.observe(coordinate, medianOf(notes.recentMs), this.#random)
      return true
    }
    this.relays.answered(sequence, responder)
    return false
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
    const unscaledMs = tuning.probeIntervalMs - tuning.probeTimeoutMs
    // Trials come at one pace, or the bad times would count for less than the good ones.
    const restMs = probe.trial ? unscaledMs : health.scaled(unscaledMs)
    this.extendPeriod(nowMs + restMs)
    probe.silentHelpers = new Set()
    if (probe.trial) return
    const helpers = this.helpersFor(probe.target)
    probe.helpers = helpers.map(({ member }) => member.nodeId)
    const { sequence, target } = probe
    // It must arrive before we judge.
    const patienceMs = Math.min(health.scaled(tuning.probeTimeoutMs), restMs)
    for (const { member } of helpers) {
      probe.silentHelpers.add(member.nodeId)
      this.#send(member.address, [{ kind: 'indirectPing', sequence, target, patienceMs }], member.nodeId)
    }
    const address = table.get(target)?.member.address ?? ''
    if (this.#features.streams && address !== '')
      this.#send(address, [{ kind: 'ping', sequence, target }], target, true)
  }

  /** @internal */
  helpersFor(target: NodeId): Entry[] {
    return chooseHelpers({
      membership: this.#membership,
      random: this.#random,
      here: this.coordinate,
      target,
    })
  }

  /** @internal However late we are, those who are asked get their time. */
  extendPeriod(untilMs: number): void {
    this.#nextPeriodMs = Math.max(this.#nextPeriodMs, untilMs)
  }

  /** @internal The period is over without an answer. Helpers that kept silent too speak against ourselves. */
  conclude(probe: Probe, nowMs: number): void {
    const { table, health, nodeId, counters } = this.#membership
    const target = table.get(probe.target)
    if (target === undefined || !isLive(target.member)) return
    counters.failedProbes++
    const { helpers, silentHelpers } = probe
    health.add(helpers.length > 0 ? (silentHelpers?.size ?? 1) : 1)
    table.note(probe.target, {
      failedProbe: {
        atMs: nowMs,
        relays: helpers,
        silentRelays: [...(silentHelpers ?? [])],
        byStream: this.#features.streams && silentHelpers !== undefined,
      },
    })
    this.#membership.applySuspect(probe.target, probe.version, nodeId, nowMs)
  }

  /** @internal The next live member of the shuffled round, in which each comes once. */
  nextTarget(): Entry | undefined {
    const { table } = this.#membership
    for (let rounds = 0; rounds < 2; rounds++) {
      for (let slot = this.#order.next(); slot !== undefined; slot = this.#order.next()) {
        const entry = table.at(slot)
        if (entry !== undefined && isLive(entry.member)) return entry
      }
      this.#order.begin(liveSlots(this.#membership), this.#random)
    }
    return undefined
  }

  /** A new member takes a random place in the rest of the round, so that it waits no longer than the others. */
  include(nodeId: NodeId, nowMs: number): void {
    if (this.#nextPeriodMs < nowMs) {
      this.#nextPeriodMs = nowMs + this.#random.float() * this.#membership.tuning.probeIntervalMs
    }
    const slot = this.#membership.table.slotOf(nodeId)
    if (slot !== undefined && slot > 0) this.#order.include(slot, this.#random)
  }

  clone(membership: Membership, random: Random, send: SendTo): Prober {
    const copy = new Prober(membership, random, send, this.#features, 0, this)
    copy.#order = this.#order.clone()
    copy.#place = this.#place.clone()
    const probe = this.#probe
    if (probe !== undefined) {
      const silentHelpers = probe.silentHelpers === undefined ? undefined : new Set(probe.silentHelpers)
      copy.#probe = { ...probe, silentHelpers }
    }
    return copy
  }

  get #active(): boolean {
    return this.#membership.peers > 0 && !this.#membership.voice.leaving
  }

  #begin(nowMs: number): void {
    const { health, tuning, counters, voice } = this.#membership
    const trial = voice.probation !== undefined
    // From now on, not from when it should have been: what was missed is not caught up with.
    this.#nextPeriodMs = nowMs + (trial ? tuning.probeIntervalMs : health.scaled(tuning.probeIntervalMs))
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
      timeoutAtMs: nowMs + (trial ? tuning.probeTimeoutMs : health.scaled(tuning.probeTimeoutMs)),
      trial,
      answered: false,
      helpers: [],
      silentHelpers: undefined,
    }
    this.#send(address, [{ kind: 'ping', sequence, target: nodeId }], nodeId)
  }

  /** It answered by a stream, and by a datagram not in time. */
  #noteStream(nodeId: NodeId, nowMs: number): void {
    const { table } = this.#membership
    if (table.notes(nodeId)?.degradedSinceMs !== undefined) return
    table.note(nodeId, { degradedSinceMs: nowMs })
    const entry = table.get(nodeId)
    if (entry !== undefined) this.#membership.emit('degraded', entry.member)
  }

  #noteDatagram(nodeId: NodeId): void {
    const { table } = this.#membership
    if (table.notes(nodeId)?.degradedSinceMs === undefined) return
    table.note(nodeId, { degradedSinceMs: undefined })
    const entry = table.get(nodeId)
    if (entry !== undefined) this.#membership.emit('restored', entry.member)
  }

  /** No answer yet, and nobody else was asked. */
  #isWaiting(probe: Probe | undefined): probe is Probe {
    return probe !== undefined && !probe.answered && probe.silentHelpers === undefined
  }

  #nextSequence(): number {
    this.#sequence = (this.#sequence + 1) % 0x1_0000_0000
    return this.#sequence
  }
}

function pathOf(sender: NodeId, responder: NodeId, reliable: boolean): AnswerPath {
  if (sender !== responder) return { kind: 'relay', by: sender }
  return reliable ? byStream : direct
}

const direct: AnswerPath = { kind: 'direct' }
const byStream: AnswerPath = { kind: 'stream' }

function* liveSlots({ table }: Membership): Generator<number> {
  for (let slot = 1; slot < table.slots; slot++) {
    const entry = table.at(slot)
    if (entry !== undefined && isLive(entry.member)) yield slot
  }
}
