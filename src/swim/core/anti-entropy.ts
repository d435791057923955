import { pick, type Random, shuffled } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import type { AnswerBudget } from './answer-budget.ts'
import { encodeMessage } from './codec.ts'
import { differingBuckets, maskHas } from './digest.ts'
import { syncScale } from './formulas.ts'
import { isLive } from './member-table.ts'
import type { Membership } from './membership.ts'
import type { OfferMessage, StateMessage, SwimMessage, SyncRecord } from './messages.ts'
import { type Proofs, proofProtocol } from './proofs.ts'
import type { SendTo } from './send.ts'
import { recordBytes, recordOf } from './sync-records.ts'
import { type Telling, Tellings } from './tellings.ts'
import { ViewTransfer, viewPieceBytes, viewStreamProtocol } from './view-transfer.ts'

/** Seeds that are asked at once. */
const seedsAtOnce = 8

/** Probe intervals after which a node that nobody answers says so. */
const patienceIntervals = 10

/** Seeds that are named then. */
const seedsNamed = 10

/** Bytes of a `state` message besides its records. */
const stateMessageBytes = 4 + 4 + 1 + 8

/** Bytes of a `proof` message. */
const proofMessageBytes = 6

/** Messages of one answer by streams, to members that take no longer ones. */
const maximumMessages = 256

/** Members of whom it is remembered that they have no streams. */
const maximumStreamless = 1_024

/** What the exchange of views is given besides the view. */
export interface ExchangeRoom {
  /** Bytes that a datagram has for messages. */
  readonly datagramBytes: number
  /** Bytes that a message by a stream has for messages; 0 where there are no streams. */
  readonly streamBytes: number
  /** Views of more members than this go as one stream to whoever takes that; 0 where none does. */
  readonly streamedViewMembers: number
}

/** What an exchange works with. */
export interface ExchangeParts {
  readonly membership: Membership
  readonly random: Random
  readonly send: SendTo
  readonly room: ExchangeRoom
  readonly token: Uint8Array
  readonly news: News
  readonly budget: AnswerBudget
  readonly proofs: Proofs
  /** The version of the protocol that is spoken with a member. */
  readonly protocolFor: (nodeId: NodeId) => number
}

/** Who asks for a view, and what speaks for it. */
export interface Asker {
  /** Where it seems to be. */
  readonly from: string
  readonly sender: NodeId
  /** It repeated a number of ours, or came by a stream: it is there and asks now. */
  readonly proven: boolean
  /** The number that it wants to see repeated. */
  readonly challenge: number | undefined
}

/** What hosts told each other, as far as an offer says. */
interface News {
  readonly clock: number
  digest(nowMs: number): number
}

/**
 * Push-pull anti-entropy: two nodes compare digests of their views, 32 buckets in one packet, and tell each other only the
 * members of the buckets that differ. Equal views cost one packet. Nobody is told a view before it has proven that it asks now:
 * whoever records packets and sends them on would turn each into hundreds. It lets a node join, repairs what gossip lost, and,
 * tried with the dead and with seeds, makes the halves of a partition one cluster again.
 */
export class AntiEntropy {
  readonly #membership: Membership
  readonly #random: Random
  readonly #send: SendTo
  readonly #room: ExchangeRoom
  readonly #token: Uint8Array
  readonly #news: News
  #seeds: readonly string[] = []
  /** Who was found at a seed's address last. */
  readonly #owners = new Map<string, NodeId>()
  /** Members to whom no stream could be had when one was wanted last. */
  readonly #streamless = new Set<NodeId>()
  #syncAtMs: number | undefined
  #reconnectAtMs: number | undefined
  #joinAtMs: number | undefined
  #joinDelayMs: number
  /** When it is said that no seed has answered; undefined when it was, or when there is nothing to say. */
  #complainAtMs: number | undefined
  readonly #budget: AnswerBudget
  readonly #proofs: Proofs
  readonly #protocolFor: (nodeId: NodeId) => number
  /** Views that are to go by a stream. */
  views: ViewTransfer[] = []
  /** Views that go by packets, some at a time. */
  readonly #tellings: Tellings

  constructor({ membership, random, send, room, token, news, budget, proofs, protocolFor }: ExchangeParts) {
    this.#proofs = proofs
    this.#protocolFor = protocolFor
    this.#membership = membership
    this.#random = random
    this.#send = send
    this.#room = room
    this.#token = token
    this.#news = news
    this.#budget = budget
    this.#joinDelayMs = membership.tuning.probeIntervalMs
    const { datagramBytes, streamBytes } = room
    this.#tellings = new Tellings({ membership, random, send, budget, datagramBytes, streamBytes })
  }

  get deadlineMs(): number {
    const never = Number.POSITIVE_INFINITY
    const planned = Math.min(this.#syncAtMs ?? never, this.#reconnectAtMs ?? never, this.#joinAtMs ?? never)
    return Math.min(planned, this.#tellings.deadlineMs)
  }

  /** Sets the addresses at which others may be found, and asks them at once. */
  join(seeds: readonly string[], nowMs: number): void {
    this.#seeds = [...new Set(seeds)].filter((seed) => seed !== this.#membership.statement.address)
    this.#owners.clear()
    this.#joinDelayMs = this.#membership.tuning.probeIntervalMs
    this.#complainAtMs = nowMs + this.#membership.tuning.probeIntervalMs * patienceIntervals
    this.#askSeeds(nowMs)
  }

  /** Plans what the present view calls for. After every input. */
  plan(nowMs: number): void {
    const { peers, voice, tuning, table } = this.#membership
    if (voice.leaving) {
      this.#tellings.drop()
      this.#syncAtMs = undefined
      this.#reconnectAtMs = undefined
      this.#joinAtMs = undefined
      return
    }
    if (peers === 0) this.#syncAtMs = undefined
    // The first exchange comes soon: whoever is new may have heard of a part of the cluster only.
    else this.#syncAtMs ??= nowMs + tuning.probeIntervalMs * (1 + this.#random.float())
    if (table.size > 1 || this.#seeds.length > 0) {
      this.#reconnectAtMs ??= nowMs + tuning.reconnectIntervalMs * (0.5 + this.#random.float())
    } else this.#reconnectAtMs = undefined
    if (peers > 0 || this.#seeds.length === 0) {
      this.#joinAtMs = undefined
      this.#joinDelayMs = tuning.probeIntervalMs
      this.#complainAtMs = undefined
    } else if (this.#joinAtMs === undefined) {
      this.#joinAtMs = nowMs + this.#joinDelayMs * (0.5 + this.#random.float())
      this.#complainAtMs = nowMs + tuning.probeIntervalMs * patienceIntervals
    }
  }

  advanceTo(nowMs: number): void {
    const { tuning, table } = this.#membership
    this.#tellings.advanceTo(nowMs)
    if (this.#joinAtMs !== undefined && nowMs >= this.#joinAtMs) {
      this.#complain(nowMs)
      this.#askSeeds(nowMs)
    }
    if (this.#syncAtMs !== undefined && nowMs >= this.#syncAtMs) {
      const intervalMs = tuning.syncIntervalMs * syncScale(table.live)
      this.#syncAtMs = nowMs + intervalMs * (0.75 + this.#random.float() / 2)
      const [partner] = table.pick(1, this.#random, ({ member }) => isLive(member))
      if (partner !== undefined) this.#offer(partner.member.address, [], nowMs, partner.member.nodeId)
    }
    if (this.#reconnectAtMs !== undefined && nowMs >= this.#reconnectAtMs) {
      this.#reconnectAtMs = nowMs + tuning.reconnectIntervalMs * (0.75 + this.#random.float() / 2)
      this.reconnect(nowMs)
    }
  }

  /** @internal Tries one that is held dead, or a seed where no member lives: it may be the other half of a partition. */
  reconnect(nowMs: number): void {
    const { table, admissions } = this.#membership
    const strangers = this.#seeds.filter(
      (seed) => !this.#isCovered(seed) && !admissions.refusals.hasAddress(seed, nowMs),
    )
    // As often a seed as a dead member, however many of either there are: all dead may be gone for good.
    const [dead] =
      table.gone === 0
        ? []
        : table.pick(1, this.#random, ({ member }) => member.state === 'dead' && member.address !== '')
    const candidates = dead === undefined ? [] : [dead.member.address]
    if (strangers.length > 0) candidates.push(pick(this.#random, strangers))
    if (candidates.length > 0) this.#introduce(pick(this.#random, candidates), nowMs)
  }

  /** Answers a peer's digests with our records of the buckets that differ. */
  onOffer({ from, sender, challenge }: Asker, theirs: Uint32Array, nowMs: number): void {
    const mask = differingBuckets(this.#membership.table.buckets, theirs)
    if (mask !== 0) this.#sendState({ to: from, recipient: sender, mask, wantReturn: true, challenge }, nowMs)
  }

  onState(asker: Asker, message: StateMessage, nowMs: number): void {
    const { refusals } = this.#membership.admissions
    for (const record of message.records) {
      this.#membership.merge(record, asker.sender, nowMs)
      // Who tells its view stands first in it. Of one that the host keeps out nothing more is taken, and it is told nothing.
      if (refusals.get(asker.sender, nowMs) !== undefined) return
    }
    this.hurry(nowMs)
    if (!message.wantReturn || !this.mayBeTold(asker)) return
    const { from: to, sender: recipient } = asker
    this.#sendState({ to, recipient, mask: message.mask, wantReturn: false, challenge: undefined }, nowMs)
  }

  /** @internal Whether it asks now, as far as that can be known: older releases cannot prove it. */
  mayBeTold({ sender, proven }: Asker): boolean {
    if (proven || !this.#provesItself) return true
    const theirs = this.#membership.table.get(sender)?.statement.protocols
    return theirs !== undefined && theirs.maximum < proofProtocol
  }

  /**
   * Asks for a proof before a view is told. Who wants none repeated itself is of a release that can give none, or seems to be: it
   * hears what is said about itself and no more, and is known for what it is as soon as it speaks up above that. Either costs
   * no more than the question did.
   */
  demandProof({ from, sender, challenge }: Asker, about: readonly SwimMessage[], nowMs: number): void {
    if (challenge !== undefined) {
      const question = { kind: 'challenge', number: this.#proofs.ask(nowMs) } as const
      this.#send(from, [{ kind: 'proof', number: challenge }, question], sender)
    } else if (about.length > 0) {
      // In the oldest protocol, whatever its last life spoke.
      this.#send(from, about)
    }
  }

  /** Proves that an offer of ours was made just now, by making it again. */
  prove({ from, sender, challenge }: Asker, nowMs: number): void {
    if (challenge === undefined || !this.#provesItself || this.#membership.voice.leaving) return
    this.#offer(from, [{ kind: 'proof', number: challenge }], nowMs, sender)
  }

  /**
   * @internal Two views differed, so others do: the next exchange does not wait as long as a large cluster does at rest. After a
   * storm of joins that is what tells the last ones.
   */
  hurry(nowMs: number): void {
    if (this.#syncAtMs === undefined) return
    const soonMs = nowMs + this.#membership.tuning.syncIntervalMs * (0.25 + this.#random.float() / 4)
    this.#syncAtMs = Math.min(this.#syncAtMs, soonMs)
  }

  /**
   * The next records of a view that goes by a stream, and whether they are the last ones. `undefined` while the budget is
   * spent.
   */
  nextOfView(view: ViewTransfer, nowMs: number): StateMessage | undefined {
    if (!this.#budget.allows(nowMs)) return undefined
    const { table } = this.#membership
    const records: SyncRecord[] = []
    let bytes = stateMessageBytes
    for (; view.nextSlot < table.slots; view.nextSlot++) {
      const entry = table.at(view.nextSlot)
      if (entry === undefined || !maskHas(view.mask, entry.bucket)) continue
      const record = recordOf(this.#membership, entry, nowMs)
      const length = recordBytes(record)
      if (bytes + length > viewPieceBytes && records.length > 0) break
      records.push(record)
      bytes += length
    }
    view.done = view.nextSlot >= table.slots
    this.#budget.spend(bytes)
    return { kind: 'state', mask: view.mask, wantReturn: view.wantReturn && view.done, records }
  }

  /** A view could not go by a stream: it goes by datagrams, as far as they carry it. */
  viewFailed(view: ViewTransfer, nowMs: number): void {
    this.noteStream(view.recipient, false)
    this.#sendState(view, nowMs)
  }

  noteStream(nodeId: NodeId, works: boolean): void {
    if (works || this.#streamless.size >= maximumStreamless) this.#streamless.delete(nodeId)
    else this.#streamless.add(nodeId)
  }

  /** @internal */
  offerOfView(nowMs: number): OfferMessage {
    const { clock } = this.#news
    const buckets = this.#membership.table.buckets.slice()
    return { kind: 'offer', buckets, clock, news: this.#news.digest(nowMs) }
  }

  clone(parts: ExchangeParts): AntiEntropy {
    const copy = new AntiEntropy(parts)
    copy.#seeds = this.#seeds
    for (const [seed, owner] of this.#owners) copy.#owners.set(seed, owner)
    for (const nodeId of this.#streamless) copy.#streamless.add(nodeId)
    copy.#syncAtMs = this.#syncAtMs
    copy.#reconnectAtMs = this.#reconnectAtMs
    copy.#joinAtMs = this.#joinAtMs
    copy.#joinDelayMs = this.#joinDelayMs
    copy.#complainAtMs = this.#complainAtMs
    copy.#tellings.takeOver(this.#tellings)
    return copy
  }

  /** Somebody answered, if only to say no: the addresses are right. */
  noteAnswer(): void {
    this.#complainAtMs = undefined
  }

  /** Nobody is found, and nobody says why: tells the host once, when it has looked for long enough. */
  #complain(nowMs: number): void {
    if (this.#complainAtMs === undefined || nowMs < this.#complainAtMs) return
    this.#complainAtMs = undefined
    const seeds = this.#seeds
    const more = seeds.length > seedsNamed ? ` and ${seeds.length - seedsNamed} others` : ''
    const reason = `no answer yet from ${seeds.slice(0, seedsNamed).join(', ')}${more}: check the addresses, the cluster's label and the key ring; they are asked on`
    this.#membership.emit('unanswered', this.#membership.voice.self, [], reason)
  }

  #askSeeds(nowMs: number): void {
    const { tuning } = this.#membership
    for (const seed of shuffled(this.#random, this.#seeds).slice(0, seedsAtOnce)) this.#introduce(seed, nowMs)
    this.#joinAtMs = nowMs + this.#joinDelayMs * (0.5 + this.#random.float())
    this.#joinDelayMs = Math.min(this.#joinDelayMs * 2, tuning.reconnectIntervalMs)
  }

  /** An offer to somebody who may not know us: what we say of ourselves goes first. */
  #introduce(address: string, nowMs: number): void {
    const messages: SwimMessage[] = [{ kind: 'hello', token: this.#token }]
    // Who is held out does not speak up.
    const { voice, statement } = this.#membership
    if (voice.state === 'member') messages.push({ kind: 'alive', statement })
    const offer = this.#offerMessages(nowMs)
    const bytes = [...messages, ...offer].reduce((sum, message) => sum + encodeMessage(message).length, 0)
    if (bytes <= this.#room.datagramBytes) this.#send(address, [...messages, ...offer])
    else {
      this.#send(address, messages)
      this.#send(address, offer)
    }
  }

  #offer(to: string, before: readonly SwimMessage[], nowMs: number, recipient: NodeId): void {
    this.#send(to, [...before, ...this.#offerMessages(nowMs)], recipient)
  }

  #offerMessages(nowMs: number): SwimMessage[] {
    const offer = this.offerOfView(nowMs)
    return this.#provesItself ? [{ kind: 'challenge', number: this.#proofs.ask(nowMs) }, offer] : [offer]
  }

  get #provesItself(): boolean {
    return this.#membership.statement.protocols.maximum >= proofProtocol
  }

  /** Whether a member lives at a seed's address. */
  #isCovered(seed: string): boolean {
    const { table } = this.#membership
    const owner = table.get(this.#owners.get(seed) ?? '')?.member
    if (owner !== undefined && isLive(owner) && owner.address === seed) return true
    for (const { member } of table.entries()) {
      if (member.address !== seed || !isLive(member)) continue
      this.#owners.set(seed, member.nodeId)
      return true
    }
    return false
  }

  #sendState(telling: Telling, nowMs: number): void {
    const { to, recipient, mask, wantReturn, challenge } = telling
    if (!this.#budget.allows(nowMs)) {
      this.#membership.counters.requestsRefused++
      return
    }
    const streams = this.#room.streamBytes > 0 && !this.#streamless.has(recipient)
    const long = streams && this.#isLong(mask)
    if (long && this.#protocolFor(recipient) >= viewStreamProtocol) {
      this.views.push(new ViewTransfer(to, recipient, mask, wantReturn, challenge))
      return
    }
    if (!streams || long) {
      if (!this.#tellings.begin(telling, streams, nowMs)) this.#membership.counters.requestsRefused++
      return
    }
    const records = this.#recordsOf(mask, nowMs)
    const bytes = records.reduce((sum, [, length]) => sum + length, 0)
    // A message by a stream where it saves packets.
    const reliable = streams && bytes > this.#room.datagramBytes
    const roomBytes = reliable ? this.#room.streamBytes : this.#room.datagramBytes
    let packets = 0
    let chunk: SyncRecord[] = []
    let chunkBytes = stateMessageBytes + (challenge === undefined ? 0 : proofMessageBytes)
    const flush = (): void => {
      const first = packets === 0
      const message = { kind: 'state', mask, wantReturn: wantReturn && first, records: chunk } as const
      const proof = { kind: 'proof', number: challenge ?? 0 } as const
      this.#send(to, first && challenge !== undefined ? [proof, message] : [message], recipient, reliable)
      this.#budget.spend(chunkBytes)
      packets++
      chunk = []
      chunkBytes = stateMessageBytes
    }
    for (const [record, length] of records) {
      if (chunkBytes + length > roomBytes) flush()
      if (packets >= maximumMessages) return
      chunk.push(record)
      chunkBytes += length
    }
    if (packets === 0 || chunk.length > 0) flush()
  }

  /** Whether these buckets hold more members than are told in messages made at once. */
  #isLong(mask: number): boolean {
    const { streamedViewMembers } = this.#room
    if (streamedViewMembers === 0 || this.#membership.table.size <= streamedViewMembers) return false
    let members = 0
    for (const { bucket } of this.#membership.table.entries()) if (maskHas(mask, bucket)) members++
    return members > streamedViewMembers
  }

  /**
   * Members of these buckets with their encoded lengths, as many as one answer carries: this node first, whom a newcomer may not
   * know yet, then the others from anywhere on, so that no part always comes last.
   */
  #recordsOf(mask: number, nowMs: number): [record: SyncRecord, length: number][] {
    const found: [SyncRecord, number][] = []
    const { table } = this.#membership
    const others = table.slots - 1
    let left = maximumMessages * this.#room.streamBytes
    const first = others > 0 ? this.#random.integer(others) : 0
    for (let i = -1; i < others && left > 0; i++) {
      const entry = table.at(i < 0 ? 0 : 1 + ((first + i) % others))
      if (entry === undefined || !maskHas(mask, entry.bucket)) continue
      const record = recordOf(this.#membership, entry, nowMs)
      const length = recordBytes(record)
      found.push([record, length])
      left -= length
    }
    return found
  }
}
