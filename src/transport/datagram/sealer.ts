import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { utf8 } from '../../core/bytes.ts'
import { crc32 } from '../../core/checksum.ts'
import type { ClusterId } from '../../model/ids.ts'
import { type KeyRing, keyIdBytes, type RingKey } from './key-ring.ts'
import { ReplayGuard } from './replay-window.ts'

/** Why a packet was not delivered. */
export type PacketProblem = 'malformed' | 'foreign cluster' | 'unknown key' | 'forged' | 'replayed'

/** Puts payloads into packets and takes them out again. */
export interface Sealer {
  /** Bytes that it adds to a payload. */
  readonly overheadBytes: number
  /** `to` is where the packet goes. */
  seal(payload: Uint8Array, to: string): Uint8Array
  /** `from` is where the packet came from. */
  open(packet: Uint8Array, from: string): Uint8Array | PacketProblem
}

/** First byte of a packet: the format's version and whether it is encrypted. */
const formats = { plain: 0x10, sealed: 0x11 } as const

/** For loopback and trusted networks: a packet names its cluster by a checksum, against mistakes and not against malice. */
export class PlainSealer implements Sealer {
  readonly overheadBytes = 5
  readonly #label: number

  constructor(clusterId: ClusterId) {
    this.#label = crc32(utf8(clusterId))
  }

  seal(payload: Uint8Array): Uint8Array {
    const packet = new Uint8Array(this.overheadBytes + payload.length)
    packet[0] = formats.plain
    new DataView(packet.buffer).setUint32(1, this.#label)
    packet.set(payload, this.overheadBytes)
    return packet
  }

  open(packet: Uint8Array): Uint8Array | PacketProblem {
    if (packet.length < this.overheadBytes || packet[0] !== formats.plain) return 'malformed'
    const label = new DataView(packet.buffer, packet.byteOffset).getUint32(1)
    return label === this.#label ? packet.subarray(this.overheadBytes) : 'foreign cluster'
  }
}

const sessionBytes = 8
const counterBytes = 4
const nonceBytes = sessionBytes + counterBytes
const headerBytes = 1 + keyIdBytes + nonceBytes
const tagBytes = 16
const lastCounter = 0xffff_ffff
const algorithm = 'aes-256-gcm'
const cipherOptions = { authTagLength: tagBytes } as const

/** Senders whose counters are remembered. */
const maximumSessions = 16_384

/**
 * AES-256-GCM (NIST SP 800-38D). The nonce is a random number of 64 bits, drawn when the socket is opened, and a counter: no
 * two packets under one key share it. The header and the cluster's name are authenticated with the payload, so a packet of
 * another cluster fails even under the same key.
 *
 * A packet is accepted once. What a node forgets when it restarts it cannot refuse: a protocol above must not be harmed by
 * an old packet, as SWIM is not, thanks to incarnations.
 */
export class GcmSealer implements Sealer {
  readonly overheadBytes: number = headerBytes + tagBytes
  readonly #ring: KeyRing
  /** What is authenticated besides the payload: a packet's header, then the cluster's name. */
  readonly #associated: Uint8Array
  readonly #guard = new ReplayGuard(maximumSessions)
  /** By address: the key that was used there last, where it is not the one that we send with. */
  readonly #olderKeys = new Map<string, string>()
  #session: Uint8Array = new Uint8Array(randomBytes(sessionBytes))
  #counter = 0

  constructor(ring: KeyRing, clusterId: ClusterId) {
    this.#ring = ring
    const label = utf8(clusterId)
    this.#associated = new Uint8Array(headerBytes + label.length)
    this.#associated.set(label, headerBytes)
  }

  seal(payload: Uint8Array, to = ''): Uint8Array {
    const { idBytes, key } = this.#keyFor(to)
    const packet = new Uint8Array(this.overheadBytes + payload.length)
    packet[0] = formats.sealed
    packet.set(idBytes, 1)
    packet.set(this.#session, 1 + keyIdBytes)
    writeU32(packet, 1 + keyIdBytes + sessionBytes, this.#counter)
    this.#count()
    const nonce = packet.subarray(1 + keyIdBytes, headerBytes)
    const cipher = createCipheriv(algorithm, key, nonce, cipherOptions)
    cipher.setAAD(this.#withHeader(packet))
    packet.set(cipher.update(payload), headerBytes)
    cipher.final()
    packet.set(cipher.getAuthTag(), headerBytes + payload.length)
    return packet
  }

  open(packet: Uint8Array, from = ''): Uint8Array | PacketProblem {
    if (packet.length < this.overheadBytes || packet[0] !== formats.sealed) return 'malformed'
    const found = this.#ring.findIn(packet, 1)
    if (found === undefined) {
      this.#ring.noteMismatch()
      return 'unknown key'
    }
    const nonce = packet.subarray(1 + keyIdBytes, headerBytes)
    const body = packet.subarray(headerBytes, packet.length - tagBytes)
    const decipher = createDecipheriv(algorithm, found.key, nonce, cipherOptions)
    decipher.setAAD(this.#withHeader(packet))
    decipher.setAuthTag(packet.subarray(packet.length - tagBytes))
    const payload = decipher.update(body)
    try {
      decipher.final()
    } catch {
      return 'forged'
    }
    // 53 bits of the random 64 tell sessions apart as well as all of them.
    const session = readU32(nonce, 0) * 0x20_0000 + (readU32(nonce, 4) >>> 11)
    const counter = readU32(nonce, sessionBytes)
    // Only what is authentic may move a window.
    if (!this.#guard.accept(session, counter)) return 'replayed'
    this.#noteKey(from, found)
    return new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength)
  }

  /** Whoever sends with an older key has missed a change of keys: it is answered with a key that it knows. */
  #keyFor(to: string): RingKey {
    const { primary } = this.#ring
    if (this.#olderKeys.size === 0) return primary
    return this.#ring.find(this.#olderKeys.get(to) ?? '') ?? primary
  }

  #noteKey(from: string, { id }: RingKey): void {
    if (id === this.#ring.primary.id) {
      if (this.#olderKeys.size > 0) this.#olderKeys.delete(from)
      return
    }
    this.#ring.noteMismatch()
    this.#olderKeys.delete(from)
    this.#olderKeys.set(from, id)
    if (this.#olderKeys.size <= maximumSessions) return
    const [oldest] = this.#olderKeys.keys()
    this.#olderKeys.delete(oldest as string)
  }

  #count(): void {
    if (this.#counter === lastCounter) {
      this.#session = new Uint8Array(randomBytes(sessionBytes))
      this.#counter = 0
    } else this.#counter++
  }

  /** Valid until the next call: the cipher takes it in at once. */
  #withHeader(packet: Uint8Array): Uint8Array {
    const data = this.#associated
    for (let i = 0; i < headerBytes; i++) data[i] = packet[i] as number
    return data
  }
}

/** Big endian. A view of the bytes would cost more than the four of them. */
function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}

function readU32(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
  return high * 0x1_0000 + (((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number))
}
