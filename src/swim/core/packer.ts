import { ByteWriter } from '../../core/bytes.ts'
import type { NodeId } from '../../model/ids.ts'
import { encodeHeader, encodeMessage, messageOverheadBytes, putMessage } from './codec.ts'
import { retransmitLimit } from './formulas.ts'
import type { Membership } from './membership.ts'
import type { SwimMessage } from './messages.ts'
import type { SwimPacket } from './output.ts'
import { inlineMetadataBytes } from './statement.ts'
import type { ProtocolRange } from './types.ts'

/** Digits that a version may grow by after a header was made. */
const versionGrowthBytes = 7

/** What packets are made with besides their messages. */
export interface PackerOptions {
  readonly label: string
  readonly protocols: ProtocolRange
  /** Bytes of a packet that goes by a stream; 0 where there are no streams. */
  readonly streamPacketBytes: number
}

/** Makes packets: who speaks, what it has to say, and as much of the waiting news as fits behind it. */
export class Packer {
  /** What was packed and not taken yet. */
  packets: SwimPacket[] = []
  readonly #membership: Membership
  readonly #options: PackerOptions
  readonly #writer: ByteWriter = new ByteWriter(2_048)
  #header: Uint8Array
  #headerVersion: number

  constructor(membership: Membership, options: PackerOptions) {
    this.#membership = membership
    this.#options = options
    this.#headerVersion = membership.statement.version
    this.#header = encodeHeader(options.label, membership.statement)
  }

  /** Bytes of a datagram that are left for one message. */
  get datagramRoomBytes(): number {
    return this.#membership.tuning.maximumPacketBytes - this.#overheadBytes
  }

  /** Bytes of a packet by a stream that are left for one message; 0 where there are no streams. */
  get streamRoomBytes(): number {
    return Math.max(0, this.#options.streamPacketBytes - this.#overheadBytes)
  }

  /** What an introduction takes at most: the token, and what this node says about itself with metadata of any length. */
  introductionBytes(token: Uint8Array): number {
    const { statement } = this.#membership
    const longest = statement.with({ metadata: new Uint8Array(inlineMetadataBytes) })
    const messages: SwimMessage[] = [
      { kind: 'hello', token },
      { kind: 'alive', statement: longest },
    ]
    const bytes = messages.reduce((sum, message) => sum + encodeMessage(message).length, 0)
    return this.#header.length + versionGrowthBytes * 2 + bytes
  }

  /**
   * Makes one packet of these messages and as many waiting updates as fit. A recipient under suspicion hears that first
   * (Lifeguard's buddy system), also when we ask on behalf of another.
   */
  send(to: string, messages: readonly SwimMessage[], recipient?: NodeId, reliable = false): void {
    const { statement, queue, table, tuning, counters, voice } = this.#membership
    if (voice.state === 'silent') return
    const out = this.#begin(recipient)
    const content: SwimMessage[] = [...this.buddy(recipient), ...messages]
    for (const message of content) putMessage(out, message)
    // Who is not let in learns nothing.
    if (queue.size > 0 && messages[0]?.kind !== 'refusal') {
      const limit = retransmitLimit(tuning.retransmitMultiplier, table.live)
      for (const update of queue.take(tuning.maximumPacketBytes - out.length, limit)) {
        out.raw(update.bytes)
        content.push(update.message)
      }
    }
    const bytes = out.finish()
    counters.packetsSent++
    counters.bytesSent += bytes.length
    this.packets.push({
      to,
      recipient,
      reliable: reliable && this.#options.streamPacketBytes > 0 && recipient !== undefined,
      bytes,
      content: { sender: statement, messages: content },
    })
  }

  /** One packet of one message, for a stream; nothing else travels with it. */
  piece(recipient: NodeId, message: SwimMessage): Uint8Array {
    const { counters } = this.#membership
    const out = this.#begin(recipient)
    putMessage(out, message)
    counters.packetsSent++
    counters.bytesSent += out.length
    return out.finish()
  }

  /** The newest version that a recipient speaks too; the oldest of ours for whoever is not known. */
  protocolFor(recipient: NodeId | undefined): number {
    const { minimum, maximum } = this.#options.protocols
    if (minimum === maximum || recipient === undefined) return minimum
    const theirs = this.#membership.table.get(recipient)?.statement.protocols
    return theirs === undefined ? minimum : Math.max(minimum, Math.min(maximum, theirs.maximum))
  }

  /** @internal */
  buddy(recipient: NodeId | undefined): SwimMessage[] {
    if (recipient === undefined || !this.#membership.suspicions.has(recipient)) return []
    const known = this.#membership.table.get(recipient)
    return known === undefined ? [] : [this.#membership.updateAbout(known)]
  }

  get #overheadBytes(): number {
    return this.#header.length + versionGrowthBytes + messageOverheadBytes
  }

  #begin(recipient: NodeId | undefined): ByteWriter {
    const { statement } = this.#membership
    if (this.#headerVersion !== statement.version) {
      this.#headerVersion = statement.version
      this.#header = encodeHeader(this.#options.label, statement)
    }
    return this.#writer.clear().u8(this.protocolFor(recipient)).raw(this.#header.subarray(1))
  }
}
