import { createHash, createSecretKey, type KeyObject } from 'node:crypto'
import { copyBytes, hex } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'

/** A key and the few bytes by which packets name it. */
export interface RingKey {
  readonly id: string
  readonly idBytes: Uint8Array
  readonly key: KeyObject
  readonly secret: Uint8Array
}

const keyBytes = 32
const maximumKeys = 16

/** Length of a key's name in a packet. */
export const keyIdBytes = 4

/**
 * The keys of a cluster's gossip. One is used to send, all are accepted. To change keys without losing a packet: `add` the
 * new key on every node, then `use` it on every node, then `remove` the old one from every node; `KeyRotation` of
 * `keelson/swim` does so while the cluster runs.
 *
 * Keys are 32 random bytes. They are never logged; `ids` names them by the beginning of their hash.
 */
export class KeyRing {
  readonly #keys = new Map<string, RingKey>()
  #primary: RingKey
  #mismatches = 0

  /** The first key is used to send. @throws KeelsonError `INVALID_OPTION` */
  constructor(keys: readonly Uint8Array[]) {
    const [first, ...others] = Array.isArray(keys) ? keys : []
    if (first === undefined)
      throw new KeelsonError('INVALID_OPTION', `a key ring is made of an array of keys, one at least`)
    this.#primary = this.#add(first)
    for (const key of others) this.#add(key)
  }

  /** Names of all keys, the one that is used to send first. */
  get ids(): readonly string[] {
    return [this.#primary.id, ...[...this.#keys.keys()].filter((id) => id !== this.#primary.id)]
  }

  /** Accepts a key from now on. Idempotent. @throws KeelsonError `INVALID_OPTION`, `LIMIT_EXCEEDED` */
  add(key: Uint8Array): void {
    this.#add(key)
  }

  /** Sends with a key that was added. @throws KeelsonError `NOT_FOUND`, `INVALID_OPTION` */
  use(key: Uint8Array): void {
    const found = this.#keys.get(nameOf(checkKey(key)).id)
    if (found === undefined) throw new KeelsonError('NOT_FOUND', 'add the key to the ring before it is used')
    this.#primary = found
  }

  /** Does not accept a key any more. Idempotent. @throws KeelsonError `INVALID_ARGUMENT` for the one that is used */
  remove(key: Uint8Array): void {
    const { id } = nameOf(checkKey(key))
    if (id === this.#primary.id) {
      throw new KeelsonError('INVALID_ARGUMENT', 'the key is used to send: use another one, then remove it')
    }
    this.#keys.delete(id)
  }

  /** Packets that came under another key than the one that is used to send, or under one that is not known. */
  get mismatches(): number {
    return this.#mismatches
  }

  /** All keys, the one that is used to send first: for handing them to a node that has missed a change of keys. */
  secrets(): readonly Uint8Array[] {
    return this.ids.map((id) => copyBytes((this.#keys.get(id) as RingKey).secret))
  }

  /** @internal */
  noteMismatch(): void {
    this.#mismatches++
  }

  /** The key to send with. @internal */
  get primary(): RingKey {
    return this.#primary
  }

  /** The key of this name. @internal */
  find(id: string): RingKey | undefined {
    return this.#keys.get(id)
  }

  /** The key whose name stands in a packet at `at`. @internal */
  findIn(packet: Uint8Array, at: number): RingKey | undefined {
    // Nearly always the one that we send with ourselves.
    if (isNamed(this.#primary, packet, at)) return this.#primary
    for (const key of this.#keys.values()) if (isNamed(key, packet, at)) return key
    return undefined
  }

  #add(bytes: Uint8Array): RingKey {
    const { id, idBytes } = nameOf(checkKey(bytes))
    const known = this.#keys.get(id)
    if (known !== undefined) return known
    if (this.#keys.size >= maximumKeys) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a key ring holds at most ${maximumKeys} keys; remove an old one`,
      )
    }
    const secret = copyBytes(bytes)
    const entry = { id, idBytes, key: createSecretKey(secret), secret }
    this.#keys.set(id, entry)
    return entry
  }
}

function isNamed({ idBytes }: RingKey, packet: Uint8Array, at: number): boolean {
  for (let i = 0; i < keyIdBytes; i++) if (packet[at + i] !== idBytes[i]) return false
  return true
}

/** Says nothing of the value: it may be a secret. */
function checkKey(key: unknown): Uint8Array {
  if (key instanceof Uint8Array && key.length === keyBytes) return key
  throw new KeelsonError('INVALID_OPTION', `a key of the ring is a Uint8Array of ${keyBytes} random bytes`)
}

function nameOf(key: Uint8Array): { id: string; idBytes: Uint8Array } {
  const digest = createHash('sha256').update('keelson key name').update(key).digest()
  const idBytes = new Uint8Array(digest.subarray(0, keyIdBytes))
  return { id: hex(idBytes), idBytes }
}
