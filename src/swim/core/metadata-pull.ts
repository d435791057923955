import { crc32 } from '../../core/checksum.ts'
import type { Random } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import type { AnswerBudget } from './answer-budget.ts'
import type { Asker, ExchangeRoom } from './anti-entropy.ts'
import { isLive } from './member-table.ts'
import type { Membership } from './membership.ts'
import type { ChunkMessage, FetchMessage, SwimMessage } from './messages.ts'
import type { Packer } from './packer.ts'
import { type Proofs, proofProtocol } from './proofs.ts'
import type { SendTo } from './send.ts'
import type { Statement } from './statement.ts'

/** Bytes of a chunk message besides its content and its name. */
const chunkOverheadBytes = 40

/** Members whose metadata are pulled at once; the others wait for their turn. */
const maximumPulls = 16

/** Bytes of a `proof` and a `challenge` beside a chunk. */
const proofsBytes = 12

/** Questions without an answer before somebody else is asked, and before it is put off. */
const triesEach = 2
const maximumTries = 12

interface Pull {
  readonly statement: Statement
  readonly bytes: Uint8Array
  offset: number
  /** Whom to ask first: it told us of them, and is nearer than the one that everybody asks. */
  readonly teller: Teller
  tries: number
  retryAtMs: number
}

/** Who told of metadata. */
export interface Teller {
  /** Where it seems to be; empty for nobody. */
  readonly from: string
  /** It is there for certain. Another one is asked once only, as it may be somebody who knows nothing of us. */
  readonly proven: boolean
}

const nobody: Teller = { from: '', proven: false }

/** What pulls work with. */
export interface PullParts {
  readonly membership: Membership
  readonly random: Random
  readonly send: SendTo
  readonly room: ExchangeRoom
  readonly budget: AnswerBudget
  readonly proofs: Proofs
  readonly packer: Packer
}

/**
 * Fetches metadata that are too long for a packet, chunk by chunk, from whoever told of them or from their owner. They are
 * named by the member's statement and checked against the checksum in it. Whoever asks and has not shown that it is where it seems to
 * be gets short chunks, and a number to repeat in its next question; then long ones.
 */
export class MetadataPull {
  readonly #membership: Membership
  readonly #random: Random
  readonly #send: SendTo
  readonly #room: ExchangeRoom
  readonly #budget: AnswerBudget
  readonly #pulls = new Map<NodeId, Pull>()
  readonly #waiting = new Map<NodeId, Teller>()
  /** A number that is to be repeated in the next question, and where. */
  #challenge: { readonly from: string; readonly number: number } | undefined
  readonly #proofs: Proofs
  readonly #packer: Packer
  /** Bytes of each member whose long metadata are kept. */
  readonly #kept = new Map<NodeId, number>()
  #keptBytes = 0

  constructor({ membership, random, send, room, budget, proofs, packer }: PullParts) {
    this.#proofs = proofs
    this.#packer = packer
    this.#membership = membership
    this.#random = random
    this.#send = send
    this.#room = room
    this.#budget = budget
  }

  get deadlineMs(): number {
    let earliest = Number.POSITIVE_INFINITY
    for (const { retryAtMs } of this.#pulls.values()) earliest = Math.min(earliest, retryAtMs)
    return earliest
  }

  /** Begins to fetch what a statement announces, after a short time in which others may get it too. */
  want(statement: Statement, teller: Teller, nowMs: number): void {
    const { nodeId, metadataBytes } = statement
    const { maximumMetadataBytes, maximumMembers, gossipIntervalMs } = this.#membership.tuning
    if (statement.complete || metadataBytes > maximumMetadataBytes) return
    // What was kept of it is of an older statement, and gone.
    this.#keep(nodeId, 0)
    if (!this.#hasRoom(nodeId, metadataBytes)) {
      this.#pulls.delete(nodeId)
      this.#membership.counters.metadataRefused++
      return
    }
    if (!this.#pulls.has(nodeId) && this.#pulls.size >= maximumPulls) {
      // Whoever is forgotten meanwhile leaves its place only in its turn.
      if (this.#waiting.size < maximumMembers) this.#waiting.set(nodeId, teller)
      return
    }
    this.#pulls.set(nodeId, {
      statement,
      bytes: new Uint8Array(metadataBytes),
      offset: 0,
      teller,
      tries: 0,
      retryAtMs: nowMs + this.#random.float() * gossipIntervalMs,
    })
  }

  advanceTo(nowMs: number): void {
    for (const [nodeId, pull] of this.#pulls) {
      if (pull.retryAtMs > nowMs) continue
      if (!this.#isWanted(nodeId, pull)) this.#end(nodeId, nowMs)
      else if (pull.tries < maximumTries) this.#ask(nodeId, pull, nowMs)
      else this.postpone(nodeId, pull, nowMs)
    }
  }

  /** @internal Nobody answers: others get their turn first, or it is tried again much later. */
  postpone(nodeId: NodeId, pull: Pull, nowMs: number): void {
    if (this.#waiting.size > 0) {
      this.#waiting.set(nodeId, nobody)
      this.#end(nodeId, nowMs)
      return
    }
    pull.tries = 0
    pull.retryAtMs = nowMs + this.#membership.tuning.syncIntervalMs * (0.5 + this.#random.float())
  }

  /** Answers with the chunk that was asked for, if we have those metadata. */
  onFetch(asker: Asker, wanted: FetchMessage, reliable: boolean, nowMs: number): void {
    const { from, sender, challenge, proven } = asker
    const { nodeId, version, offset } = wanted
    const statement = this.#membership.table.get(nodeId)?.statement
    if (statement === undefined || statement.version !== version || !statement.complete) return
    if (offset >= statement.metadata.length) return
    const overhead = chunkOverheadBytes + nodeId.length
    const { datagramBytes, streamBytes } = this.#room
    const whole = (reliable ? streamBytes : datagramBytes) - overhead
    // Whoever is known to be there has no bound, and nothing to prove.
    const allowed = this.#packer.allowedRoomBytes
    const bounded = !proven && challenge !== undefined && allowed < datagramBytes
    const room = Math.min(whole, allowed - overhead - (bounded ? proofsBytes : 0))
    if (room <= 0 || !this.#budget.allows(nowMs)) {
      this.#membership.counters.requestsRefused++
      return
    }
    const bytes = statement.metadata.subarray(offset, offset + room)
    this.#budget.spend(bytes.length)
    const chunk = { kind: 'chunk', nodeId, version, offset, bytes } as const
    if (!bounded) this.#send(from, [chunk], sender, reliable)
    else {
      const question = { kind: 'challenge', number: this.#proofs.ask(nowMs) } as const
      this.#send(from, [{ kind: 'proof', number: challenge }, question, chunk], sender)
    }
  }

  /** Whoever answers us does not know that we are there: the next question to it says so. */
  noteChallenge({ from, proven, challenge }: Asker): void {
    if (proven && challenge !== undefined) this.#challenge = { from, number: challenge }
  }

  onChunk({ nodeId, version, offset, bytes }: ChunkMessage, nowMs: number): void {
    const pull = this.#pulls.get(nodeId)
    if (pull === undefined || pull.statement.version !== version || pull.offset !== offset) return
    if (bytes.length === 0 || offset + bytes.length > pull.bytes.length) return
    pull.bytes.set(bytes, offset)
    pull.offset += bytes.length
    pull.tries = 0
    if (pull.offset < pull.bytes.length) {
      this.#ask(nodeId, pull, nowMs)
      return
    }
    if ((crc32(pull.bytes) || 1) === pull.statement.metadataChecksum)
      this.accept(nodeId, pull.statement, pull.bytes)
    this.#end(nodeId, nowMs)
  }

  /** @internal Puts what has arrived into the view. */
  accept(nodeId: NodeId, statement: Statement, bytes: Uint8Array): void {
    const { table } = this.#membership
    const known = table.get(nodeId)
    if (known === undefined || known.statement.complete || !known.statement.sameMetadata(statement)) return
    this.#keep(nodeId, bytes.length)
    const { state, version } = known.member
    const entry = known.statement.with({ metadata: bytes }).entry(state, version)
    table.set(entry, table.sinceMs(nodeId))
    this.#membership.emit('updated', entry.member)
  }

  clone(parts: PullParts): MetadataPull {
    const copy = new MetadataPull(parts)
    for (const [nodeId, pull] of this.#pulls) copy.#pulls.set(nodeId, { ...pull, bytes: pull.bytes.slice() })
    for (const [nodeId, teller] of this.#waiting) copy.#waiting.set(nodeId, teller)
    for (const [nodeId, bytes] of this.#kept) copy.#kept.set(nodeId, bytes)
    copy.#keptBytes = this.#keptBytes
    return copy
  }

  /** Bytes of others that are kept or on their way: never above {@link SwimTuning.maximumMetadataCacheBytes}. */
  get cachedBytes(): number {
    let bytes = this.#keptBytes
    for (const { bytes: wanted } of this.#pulls.values()) bytes += wanted.length
    return bytes
  }

  /** Whether so many bytes more may be kept of a member, in place of those that are fetched of it now. */
  #hasRoom(nodeId: NodeId, metadataBytes: number): boolean {
    const limit = this.#membership.tuning.maximumMetadataCacheBytes
    const wanted = metadataBytes - (this.#pulls.get(nodeId)?.bytes.length ?? 0)
    if (this.#kept.size <= this.#membership.table.size && this.cachedBytes + wanted <= limit) return true
    this.#forget()
    return this.cachedBytes + wanted <= limit
  }

  /** Lets go of what no view holds any more: of members that are forgotten, or say something else of themselves now. */
  #forget(): void {
    for (const [nodeId, bytes] of this.#kept) {
      const held = this.#membership.table.get(nodeId)?.statement.metadata.length
      if (held !== bytes) this.#keep(nodeId, 0)
    }
  }

  #keep(nodeId: NodeId, bytes: number): void {
    this.#keptBytes += bytes - (this.#kept.get(nodeId) ?? 0)
    if (bytes === 0) this.#kept.delete(nodeId)
    else this.#kept.set(nodeId, bytes)
  }

  #isWanted(nodeId: NodeId, { statement }: Pull): boolean {
    const known = this.#membership.table.get(nodeId)
    return known !== undefined && isLive(known.member) && known.statement.version === statement.version
  }

  #ask(nodeId: NodeId, pull: Pull, nowMs: number): void {
    const { probeTimeoutMs } = this.#membership.tuning
    const { version, address } = pull.statement
    const { from, proven } = pull.teller
    const asksTeller = proven ? Math.floor(pull.tries / triesEach) % 2 === 0 : pull.tries === 0
    pull.tries++
    pull.retryAtMs = nowMs + probeTimeoutMs * Math.min(pull.tries, 4)
    const to = asksTeller && from !== '' ? from : address
    const fetch = { kind: 'fetch', nodeId, version, offset: pull.offset } as const
    const reliable = this.#room.streamBytes > 0 && to === address
    const messages = reliable ? [fetch] : [...this.#proofFor(to, pull, nowMs), fetch]
    this.#send(to, messages, to === address ? nodeId : undefined, reliable)
  }

  /** What shows whoever is asked that we are there: its number, if it wants one repeated, and at first a number for it to repeat. */
  #proofFor(to: string, { offset }: Pull, nowMs: number): SwimMessage[] {
    if (this.#challenge?.from === to) {
      const { number } = this.#challenge
      this.#challenge = undefined
      return [{ kind: 'proof', number }]
    }
    if (offset > 0 || this.#membership.statement.protocols.maximum < proofProtocol) return []
    return [{ kind: 'challenge', number: this.#proofs.ask(nowMs) }]
  }

  #end(nodeId: NodeId, nowMs: number): void {
    this.#pulls.delete(nodeId)
    for (const [next, teller] of this.#waiting) {
      this.#waiting.delete(next)
      const statement = this.#membership.table.get(next)?.statement
      if (statement === undefined || statement.complete) continue
      this.want(statement, teller, nowMs)
      // Where the cache is full the next one may be shorter.
      if (this.#pulls.has(next)) return
    }
  }
}
