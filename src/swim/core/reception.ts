import type { AnswerBudget } from './answer-budget.ts'
import type { AntiEntropy, Asker } from './anti-entropy.ts'
import type { SwimCoreOptions } from './core-options.ts'
import { differingBuckets } from './digest.ts'
import type { Membership } from './membership.ts'
import type { DecodedPacket, OfferMessage, SwimMessage } from './messages.ts'
import type { MetadataPull } from './metadata-pull.ts'
import type { NameVote } from './name-vote.ts'
import type { Prober } from './prober.ts'
import type { Proofs } from './proofs.ts'
import type { Rumours } from './rumours.ts'
import type { SendTo } from './send.ts'
import type { Statement } from './statement.ts'

/** Messages of one packet that are answered: a packet holds hundreds, and honest ones hold a few. */
const maximumRequests = 16

/** Of the answer to whoever is turned away, about. */
const refusalBytes = 128

const requests: ReadonlySet<SwimMessage['kind']> = new Set([
  'ping',
  'indirectPing',
  'offer',
  'state',
  'recall',
  'fetch',
  'contest',
  'challenge',
])

/** Whom packets concern. */
export interface ReceptionParts {
  readonly membership: Membership
  readonly prober: Prober
  readonly antiEntropy: AntiEntropy
  readonly rumours: Rumours
  readonly metadataPull: MetadataPull
  readonly nameVote: NameVote
  readonly budget: AnswerBudget
  readonly proofs: Proofs
  readonly send: SendTo
  readonly admit: SwimCoreOptions['admit']
}

/** Where a packet comes from. */
export interface Arrival {
  readonly from: string
  readonly packet: DecodedPacket
  /** It came by a stream. */
  readonly reliable: boolean
  readonly nowMs: number
}

/** Takes packets in: lets their senders in or not, and hands each message to whom it concerns. */
export class Reception {
  readonly #parts: ReceptionParts

  constructor(parts: ReceptionParts) {
    this.#parts = parts
  }

  take(arrival: Arrival): void {
    const { from, packet, nowMs } = arrival
    const { membership, metadataPull, nameVote, send } = this.#parts
    membership.counters.packetsReceived++
    if (membership.voice.mute) return
    membership.voice.answerDue = false
    const ours = packet.sender.nodeId === membership.nodeId
    if (!ours && (this.shuns(arrival) || !this.admits(from, packet))) return
    membership.teller = packet.sender.nodeId
    let asked = 0
    let namesake: Statement | undefined
    for (const message of packet.messages) {
      if (requests.has(message.kind) && ++asked > maximumRequests) membership.counters.requestsRefused++
      // Whoever speaks under our own name can only tell us that somebody does.
      else if (!ours) this.handle(arrival, message)
      else if (message.kind === 'alive') {
        if (message.statement.nodeId === membership.nodeId) namesake = message.statement
        membership.apply(message, nowMs)
      } else if (message.kind === 'contest' && namesake !== undefined)
        membership.voice.answerContest(namesake)
    }
    membership.teller = membership.nodeId
    // Whoever doubts us hears the answer from us, and not only from gossip, which may pass it by.
    if (membership.voice.answerDue && !ours && membership.voice.state === 'member')
      send(from, [{ kind: 'alive', statement: membership.statement }])
    if (membership.voice.contested !== undefined) {
      nameVote.begin(membership.voice.contested, nowMs)
      membership.voice.contested = undefined
    }
    if (membership.incomplete.length === 0) return
    for (const statement of membership.incomplete) metadataPull.want(statement, from, nowMs)
    membership.incomplete = []
  }

  /** @internal Whether nothing of a packet may be taken in: an operator removed this life of its sender, which is told so. */
  shuns(arrival: Arrival): boolean {
    const { membership } = this.#parts
    const { sender } = arrival.packet
    if (!membership.isRemoved(sender)) return false
    membership.upholdRemoval(sender, arrival.nowMs)
    this.#turnAway(arrival, membership.removalOf(sender), 'an operator removed this life of the node')
    return true
  }

  /**
   * @internal Whether a packet may be handled: a node that asks to be let in needs the host's consent. A life that was let in
   * once does not need it again: what it showed then may have expired, and the halves of a partition must find each other.
   */
  admits(from: string, packet: DecodedPacket): boolean {
    const [hello, alive] = packet.messages
    const { admit, membership, send } = this.#parts
    if (hello?.kind !== 'hello' || admit === undefined) return true
    if (membership.wasAdmitted(packet.sender)) return true
    if (alive?.kind !== 'alive' || alive.statement.nodeId !== packet.sender.nodeId) return false
    const reason = admit(alive.statement.entry('alive').member, hello.token)
    if (reason === undefined) return true
    membership.counters.membersVetoed++
    send(from, [{ kind: 'refusal', reason }])
    return false
  }

  /** @internal */
  handle(arrival: Arrival, message: SwimMessage): void {
    const { from, packet, nowMs, reliable } = arrival
    const { membership, prober, antiEntropy, rumours, metadataPull, nameVote } = this.#parts
    const sender = packet.sender.nodeId
    switch (message.kind) {
      case 'ping':
        prober.onPing(from, message.sequence, message.target, sender, this.correction(packet), reliable)
        break
      case 'ack':
        prober.onAck(message, sender, nowMs, reliable)
        break
      case 'indirectPing':
        prober.onIndirectPing(from, message, nowMs)
        break
      case 'nack':
        prober.onNack(message.sequence, sender)
        break
      case 'offer':
        rumours.witness(message.clock)
        this.#onOffer(arrival, message)
        break
      case 'recall':
        this.#onRecall(this.#askerOf(arrival), nowMs)
        break
      case 'state':
        antiEntropy.onState(this.#askerOf(arrival), message, nowMs)
        break
      case 'challenge':
        this.#onChallenge(arrival)
        break
      case 'event':
        rumours.onEvent(message, nowMs)
        break
      case 'query':
        rumours.onQuery(message, nowMs)
        break
      case 'answer':
        rumours.onAnswer(message, sender)
        break
      case 'fetch':
        metadataPull.onFetch(from, sender, message, reliable, nowMs)
        break
      case 'chunk':
        metadataPull.onChunk(message, nowMs)
        break
      case 'contest':
        nameVote.onContest(from, sender, message.sequence, nowMs)
        break
      case 'ballot':
        nameVote.onBallot(message, sender)
        break
      case 'refusal':
        this.#onRefusal(message.reason)
        break
      case 'hello':
      case 'proof':
        break
      default:
        membership.apply(message, nowMs)
    }
  }

  /**
   * @internal What the sender of a packet should hear about itself: that it is suspected or held dead, or that a higher
   * version of it is known, from before its restart.
   */
  correction({ sender }: DecodedPacket): SwimMessage[] {
    const { membership } = this.#parts
    const known = membership.table.get(sender.nodeId)
    if (known === undefined || !membership.knowsBetter(known, sender.incarnation, sender.version)) return []
    return [membership.updateAbout(known)]
  }

  #onOffer(arrival: Arrival, { buckets, news }: OfferMessage): void {
    const { packet, nowMs } = arrival
    const asker = this.#askerOf(arrival)
    const { membership, antiEntropy, rumours, send } = this.#parts
    const missesNews = news !== rumours.digest(nowMs)
    if (!missesNews && differingBuckets(membership.table.buckets, buckets) === 0) return
    if (!antiEntropy.mayBeTold(asker)) {
      // Whoever is held alive is probed, and hears it by that; it would take more bytes here than the question had.
      const about = this.correction(packet).filter(({ kind }) => kind !== 'alive')
      antiEntropy.demandProof(asker, about, nowMs)
      return
    }
    antiEntropy.onOffer(asker, buckets, nowMs)
    if (!missesNews) return
    this.#tellRecent(asker, nowMs)
    const { from, sender, challenge } = asker
    const recall = { kind: 'recall' } as const
    send(from, challenge === undefined ? [recall] : [{ kind: 'proof', number: challenge }, recall], sender)
  }

  #onRecall(asker: Asker, nowMs: number): void {
    if (this.#parts.antiEntropy.mayBeTold(asker)) this.#tellRecent(asker, nowMs)
  }

  /** The answer to an offer of ours that proved nothing yet. Beside an offer it is for our answer to that. */
  #onChallenge(arrival: Arrival): void {
    const asker = this.#askerOf(arrival)
    if (asker.proven && !arrival.packet.messages.some(({ kind }) => kind === 'offer'))
      this.#parts.antiEntropy.prove(asker, arrival.nowMs)
  }

  /** What the messages of a packet say about the packet. */
  #askerOf({ from, packet, nowMs, reliable }: Arrival): Asker {
    let proven = reliable
    let challenge: number | undefined
    for (const message of packet.messages) {
      if (message.kind === 'proof') proven ||= this.#parts.proofs.accepts(message.number, nowMs)
      else if (message.kind === 'challenge') challenge = message.number
    }
    return { from, sender: packet.sender.nodeId, proven, challenge }
  }

  #tellRecent({ from, sender }: Asker, nowMs: number): void {
    const { rumours, budget, membership, send } = this.#parts
    for (const { message, bytes } of rumours.recent(nowMs)) {
      if (!budget.allows(nowMs)) {
        membership.counters.requestsRefused++
        return
      }
      budget.spend(bytes)
      send(from, [message], sender)
    }
  }

  /** Answers whoever is not heard, unless it was turning us away itself. */
  #turnAway({ from, packet, nowMs }: Arrival, about: SwimMessage, reason: string): void {
    const { budget, send } = this.#parts
    if (packet.messages.some(({ kind }) => kind === 'refusal') || !budget.allows(nowMs)) return
    budget.spend(refusalBytes)
    send(from, [about, { kind: 'refusal', reason }])
  }

  #onRefusal(reason: string): void {
    const { peers, voice } = this.#parts.membership
    // Who has found others needs nobody's consent any more.
    if (peers === 0) this.#parts.membership.emit('refused', voice.self, [], reason)
  }
}
