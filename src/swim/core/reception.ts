import type { Random } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import type { AnswerBudget } from './answer-budget.ts'
import type { AntiEntropy, Asker, ExchangeRoom } from './anti-entropy.ts'
import type { SwimCoreOptions } from './core-options.ts'
import { differingBuckets } from './digest.ts'
import type { Membership } from './membership.ts'
import type { DecodedPacket, OfferMessage, SwimMessage } from './messages.ts'
import type { MetadataPull } from './metadata-pull.ts'
import type { NameVote } from './name-vote.ts'
import type { Packer } from './packer.ts'
import type { Prober } from './prober.ts'
import type { Proofs } from './proofs.ts'
import type { Rumours } from './rumours.ts'
import type { SendTo } from './send.ts'
import type { Statement } from './statement.ts'

/**
 * So many times its bytes a packet draws at most while its sender has not shown that it is where the packet seems to come from (as in
 * QUIC, RFC 9000, 8.1): a forged or a recorded one must not make a flood at somebody else.
 */
export const amplification = 3

/** Messages of one packet that are answered: a packet holds hundreds, and honest ones hold a few. */
const maximumRequests = 16

/** Nodes of which it is remembered when they were turned away. */
const maximumTurnedAway = 256

/** Bytes of news that are told in one exchange: less than the buffer of a socket holds. */
const maximumNewsBytes = 65_536

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

/** What those are heard say of whom our host knows nothing yet. */
const ofStrangers: ReadonlySet<SwimMessage['kind']> = new Set([
  'hello',
  'alive',
  'state',
  'challenge',
  'proof',
  'refusal',
  'contest',
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
  readonly packer: Packer
  readonly send: SendTo
  readonly room: ExchangeRoom
  readonly random: Random
  readonly admit: SwimCoreOptions['admit']
  /** The host has a say about every member. */
  readonly vetoes: boolean
}

/** Where a packet comes from. */
export interface Arrival {
  readonly from: string
  readonly packet: DecodedPacket
  /** Its length. */
  readonly bytes: number
  /** It came by a stream. */
  readonly reliable: boolean
  readonly nowMs: number
}

/** Takes packets in: lets their senders in or not, and hands each message to whom it concerns. */
export class Reception {
  readonly #parts: ReceptionParts
  /** When somebody was turned away last: whoever does not heed it is not answered packet for packet. */
  readonly #turnedAwayMs = new Map<string, number>()

  constructor(parts: ReceptionParts) {
    this.#parts = parts
  }

  take(arrival: Arrival): void {
    const { from, packet, nowMs } = arrival
    const { membership, metadataPull, nameVote, packer } = this.#parts
    membership.counters.packetsReceived++
    if (membership.voice.mute) return
    membership.voice.answerDue = false
    const proven = this.isProven(arrival)
    if (!proven) packer.allowanceBytes = arrival.bytes * amplification
    try {
      this.#takeIn(arrival)
    } finally {
      // Whatever was thrown, the member must not be silent from now on, nor say that others told what it found out itself.
      packer.allowanceBytes = Number.POSITIVE_INFINITY
      membership.teller = membership.nodeId
    }
    if (membership.voice.contested !== undefined) {
      nameVote.begin(membership.voice.contested, nowMs)
      membership.voice.contested = undefined
    }
    // A newcomer is known only now.
    if (proven) this.#noteProven(packet.sender.nodeId, arrival)
    if (membership.incomplete.length === 0) return
    for (const statement of membership.incomplete) metadataPull.want(statement, { from, proven }, nowMs)
    membership.incomplete = []
  }

  #takeIn(arrival: Arrival): void {
    const { from, packet } = arrival
    const { membership, send } = this.#parts
    const ours = packet.sender.nodeId === membership.nodeId
    if (!ours && (this.shuns(arrival) || !this.admits(from, packet))) return
    membership.teller = packet.sender.nodeId
    if (ours) this.#hearNamesake(arrival)
    else this.#hear(arrival)
    // Whoever doubts us hears the answer from us, and not only from gossip, which may pass it by.
    if (membership.voice.answerDue && !ours && membership.voice.state === 'member')
      send(from, [{ kind: 'alive', statement: membership.statement }])
  }

  /** @internal Whether the sender of a packet is known to be where it seems to come from. */
  isProven(arrival: Arrival): boolean {
    const { packet, from, reliable } = arrival
    if (reliable || this.#parts.membership.table.notes(packet.sender.nodeId)?.provenAddress === from)
      return true
    return this.#askerOf(arrival).proven
  }

  #noteProven(nodeId: NodeId, { from, reliable }: Arrival): void {
    const notes = reliable ? undefined : this.#parts.membership.table.notesFor(nodeId)
    if (notes !== undefined) notes.provenAddress = from
  }

  /**
   * @internal Whether nothing of a packet may be taken in: an operator removed this life of its sender, or our host keeps it out.
   * Either is told so.
   */
  shuns(arrival: Arrival): boolean {
    const { membership } = this.#parts
    const { packet, nowMs } = arrival
    const { sender } = packet
    if (membership.admissions.isRemoved(sender)) {
      membership.admissions.upholdRemoval(sender, nowMs)
      const removal = membership.admissions.removalOf(sender)
      this.#turnAway(arrival, [removal], 'an operator removed this life of the node')
      return true
    }
    const refused = membership.admissions.refusals.get(sender.nodeId, nowMs)
    if (refused?.statement.incarnation !== sender.incarnation) return false
    const own = ownStatementIn(packet)
    // What it says of itself may be another thing now.
    if (own !== undefined && !own.sameContent(refused.statement)) return false
    this.#turnAway(arrival, [], refused.reason)
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
    if (membership.admissions.wasAdmitted(packet.sender)) return true
    if (alive?.kind !== 'alive' || alive.statement.nodeId !== packet.sender.nodeId) return false
    const reason = judgement(() => admit(alive.statement.entry('alive').member, hello.token))
    if (reason === undefined) return true
    membership.counters.membersVetoed++
    send(from, [{ kind: 'refusal', reason }])
    return false
  }

  #hear(arrival: Arrival): void {
    const { membership } = this.#parts
    const { packet, nowMs } = arrival
    const { sender } = packet
    let asked = 0
    for (const message of packet.messages) {
      if (requests.has(message.kind) && ++asked > maximumRequests) membership.counters.requestsRefused++
      else if (this.isHeard(packet, message)) this.handle(arrival, message)
      const refused = membership.admissions.refusals.get(sender.nodeId, nowMs)
      if (refused?.statement.incarnation !== sender.incarnation) continue
      this.#turnAway(arrival, [], refused.reason)
      return
    }
  }

  /**
   * @internal A host with a veto has a say about everybody whom its node listens to: until a stranger has said who it is, it can only
   * do that. A node that is alone looks for a cluster, and listens to all.
   */
  isHeard({ sender }: DecodedPacket, { kind }: SwimMessage): boolean {
    const { membership, vetoes } = this.#parts
    if (!vetoes || membership.peers === 0 || ofStrangers.has(kind)) return true
    return membership.table.get(sender.nodeId)?.statement.incarnation === sender.incarnation
  }

  /** Whoever speaks under our own name can only tell us that somebody does, and how a vote about the name went. */
  #hearNamesake({ from, packet, nowMs }: Arrival): void {
    const { membership, nameVote } = this.#parts
    const { nodeId, voice } = membership
    let rival: Statement | undefined
    for (const message of packet.messages) {
      if (message.kind === 'alive') {
        if (message.statement.nodeId === nodeId) rival = message.statement
        membership.apply(message, nowMs)
      } else if (message.kind === 'contest' && rival !== undefined) {
        voice.answerContest(rival)
        nameVote.noteContest(rival, message.sequence)
      } else if (message.kind === 'ballot') nameVote.onVerdict(message)
    }
    if (rival !== undefined && voice.contested === undefined && !nameVote.isHeld(nowMs))
      this.answerNamesake(from, rival)
  }

  /**
   * @internal Perhaps nobody else knows both processes of our name: the other one hears us, and answers in turn, until it is clear
   * that both live. What we said ourselves comes back at most.
   */
  answerNamesake(from: string, rival: Statement): void {
    const { membership, send } = this.#parts
    const { statement, voice } = membership
    if (voice.state === 'member' && !voice.isOwn(rival)) send(from, [{ kind: 'alive', statement }])
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
        if (prober.onAck(message, sender, nowMs, reliable)) this.#noteProven(sender, arrival)
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
        antiEntropy.onState(this.#unbound(this.#askerOf(arrival)), message, nowMs)
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
        metadataPull.onFetch(this.#askerOf(arrival), message, reliable, nowMs)
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
    this.#unbound(asker)
    antiEntropy.onOffer(asker, buckets, nowMs)
    if (!missesNews) return
    this.#tellRecent(asker, nowMs)
    const { from, sender, challenge } = asker
    const recall = { kind: 'recall' } as const
    send(from, challenge === undefined ? [recall] : [{ kind: 'proof', number: challenge }, recall], sender)
  }

  #onRecall(asker: Asker, nowMs: number): void {
    if (this.#parts.antiEntropy.mayBeTold(asker)) this.#tellRecent(this.#unbound(asker), nowMs)
  }

  /** Members of older releases cannot prove anything, and are told views and news all the same. */
  #unbound(asker: Asker): Asker {
    if (this.#parts.antiEntropy.mayBeTold(asker)) this.#parts.packer.allowanceBytes = Number.POSITIVE_INFINITY
    return asker
  }

  /** The answer to an offer of ours that proved nothing yet. Beside an offer it is for our answer to that. */
  #onChallenge(arrival: Arrival): void {
    const asker = this.#askerOf(arrival)
    const { messages } = arrival.packet
    // Whoever answers a question for metadata wants to see its number in the next one; whoever asks for them need not be answered.
    if (messages.some(({ kind }) => kind === 'chunk')) this.#parts.metadataPull.noteChallenge(asker)
    else if (messages.some(({ kind }) => kind === 'fetch')) return
    else if (asker.proven && !messages.some(({ kind }) => kind === 'offer'))
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

  /**
   * Tells the news of late, as many of them in a packet as fit. Of very many a part, from anywhere on: what is still missing is for
   * the next exchange.
   */
  #tellRecent({ from, sender }: Asker, nowMs: number): void {
    const { rumours, budget, membership, send, room, random } = this.#parts
    const recent = rumours.recent(nowMs)
    let bytes = 0
    const all = recent.reduce((sum, news) => sum + news.bytes, 0)
    const first = all > maximumNewsBytes ? random.integer(recent.length) : 0
    let told: SwimMessage[] = []
    let toldBytes = 0
    const flush = (): void => {
      if (told.length === 0) return
      budget.spend(toldBytes)
      send(from, told, sender)
      told = []
      toldBytes = 0
    }
    for (let i = 0; i < recent.length && bytes < maximumNewsBytes; i++) {
      const news = recent[(first + i) % recent.length] as (typeof recent)[number]
      if (toldBytes + news.bytes > room.datagramBytes) flush()
      if (!budget.allows(nowMs)) {
        membership.counters.requestsRefused++
        break
      }
      told.push(rumours.asOf(news, nowMs))
      toldBytes += news.bytes
      bytes += news.bytes
    }
    flush()
  }

  /** Answers whoever is not heard, unless it was turning us away itself. */
  #turnAway({ from, packet, nowMs }: Arrival, about: readonly SwimMessage[], reason: string): void {
    const { budget, send, membership } = this.#parts
    const { nodeId } = packet.sender
    if (packet.messages.some(({ kind }) => kind === 'refusal') || !budget.allows(nowMs)) return
    const lastMs = this.#turnedAwayMs.get(nodeId)
    if (lastMs !== undefined && nowMs - lastMs < membership.tuning.probeIntervalMs / 2) return
    this.#turnedAwayMs.delete(nodeId)
    this.#turnedAwayMs.set(nodeId, nowMs)
    if (this.#turnedAwayMs.size > maximumTurnedAway)
      this.#turnedAwayMs.delete(this.#turnedAwayMs.keys().next().value as string)
    budget.spend(refusalBytes)
    send(from, [...about, { kind: 'refusal', reason }])
  }

  #onRefusal(reason: string): void {
    const { peers, voice } = this.#parts.membership
    this.#parts.antiEntropy.noteAnswer()
    // Who has found others needs nobody's consent any more.
    if (peers === 0) this.#parts.membership.emit('refused', voice.self, [], reason)
  }
}

/** What a host says; one that cannot say anything lets nobody in. */
function judgement(ask: () => string | undefined): string | undefined {
  try {
    const reason = ask()
    return reason === undefined || typeof reason === 'string' ? reason : unjudged
  } catch {
    return unjudged
  }
}

const unjudged = 'the host could not judge this node'

/** What the sender of a packet says about itself in it. */
export function ownStatementIn({ sender, messages }: DecodedPacket): Statement | undefined {
  for (const message of messages) {
    if (message.kind === 'alive' && message.statement.nodeId === sender.nodeId) return message.statement
    if (message.kind !== 'state') continue
    const own = message.records.find(({ statement }) => statement.nodeId === sender.nodeId)
    if (own !== undefined) return own.statement
  }
  return undefined
}
