import { ByteWriter, emptyBytes } from '../../core/bytes.ts'
import type { NodeId } from '../../model/ids.ts'
import { encodeHeader, encodeMessage, messageOverheadBytes, putMessage } from './codec.ts'
import { retransmitLimit } from './formulas.ts'
import type { Membership } from './membership.ts'
import type { SwimMessage } from './messages.ts'
import type { SwimPacket } from './output.ts'
import { inlineMetadataBytes } from './statement.ts'
import type { ProtocolRange } from './types.ts'

/** Bytes that are taken from the memory at once for small packets. */
const blockBytes = 4_096

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
  /** The header behind the version of the protocol. */
  #headerRest: Uint8Array
  /** Packets are cut out of it; no part of it is used twice. */
  #block: Uint8Array = emptyBytes
  #blockUsed = 0
  #headerVersion: number
  /** Bytes that may still be sent because of the packet that is taken in now; infinity where its sender is known to be there. */
  #allowanceBytes: number = Number.POSITIVE_INFINITY

  constructor(membership: Membership, options: PackerOptions) {
    this.#membership = membership
    this.#options = options
    this.#headerVersion = membership.statement.version
    this.#header = encodeHeader(options.label, membership.statement)
    this.#headerRest = this.#header.subarray(1)
  }

  /** Bytes of a datagram that are left for one message. */
  get datagramRoomBytes(): number {
    return this.#membership.tuning.maximumPacketBytes - this.#overheadBytes
  }

  /** Bounds what is sent from now on, to whomever: infinity, as at first, for no bound. */
  set allowanceBytes(bytes: number) {
    this.#allowanceBytes = bytes
  }

  /** Bytes for one message of what may be sent now; infinity where that is not bounded. */
  get allowedRoomBytes(): number {
    return this.#allowanceBytes - this.#overheadBytes
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
   * (Lifeguard's buddy system), also when we ask on behalf of another. Within an allowance the messages come first, as many of them as
   * fit; of whom we do not know who it is nobody is told news.
   */
  send(to: string, messages: readonly SwimMessage[], recipient?: NodeId, reliable = false): void {
    const { statement, queue, table, tuning, counters, voice } = this.#membership
    if (voice.mute) return
    const out = this.#begin(recipient)
    const content = this.#content(out, messages, recipient)
    if (content.length === 0 && messages.length > 0) {
      counters.requestsRefused++
      return
    }
    // Who is not let in, or may be of another cluster, learns nothing; who has not proven that it asks is sent no more than it sent.
    const last = messages.at(-1)?.kind
    if (queue.size > 0 && recipient !== undefined && last !== 'refusal' && last !== 'challenge') {
      const limit = retransmitLimit(tuning.retransmitMultiplier, table.live)
      const room = Math.min(tuning.maximumPacketBytes, this.#allowanceBytes) - out.length
      for (const update of queue.take(room, limit)) {
        out.raw(update.bytes)
        content.push(update.message)
      }
    }
    this.#allowanceBytes -= out.length
    const bytes = this.#cut(out)
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

  /** Writes what is to be said and may be. */
  #content(out: ByteWriter, messages: readonly SwimMessage[], recipient: NodeId | undefined): SwimMessage[] {
    const content = this.buddy(recipient)
    for (const message of messages) content.push(message)
    if (this.#allowanceBytes === Number.POSITIVE_INFINITY) {
      for (const message of content) putMessage(out, message)
      return content
    }
    let left = this.#allowanceBytes - out.length
    return content.filter((message) => {
      const bytes = encodeMessage(message)
      if (bytes.length > left) return false
      out.raw(bytes)
      left -= bytes.length
      return true
    })
  }

  /** A packet of what was written. One out of many takes a part of a block: memory of its own costs more than to fill it. */
  #cut(out: ByteWriter): Uint8Array {
    const { length } = out
    if (length > blockBytes / 4) return out.finish()
    if (this.#blockUsed + length > this.#block.length) {
      this.#block = new Uint8Array(blockBytes)
      this.#blockUsed = 0
    }
    const packet = this.#block.subarray(this.#blockUsed, this.#blockUsed + length)
    out.copyTo(packet)
    this.#blockUsed += length
    return packet
  }

  get #overheadBytes(): number {
    return this.#header.length + versionGrowthBytes + messageOverheadBytes
  }

  #begin(recipient: NodeId | undefined): ByteWriter {
    const { statement } = this.#membership
    if (this.#headerVersion !== statement.version) {
      this.#headerVersion = statement.version
      this.#header = encodeHeader(this.#options.label, statement)
      this.#headerRest = this.#header.subarray(1)
    }
    return this.#writer.clear().u8(this.protocolFor(recipient)).raw(this.#headerRest)
  }
}
