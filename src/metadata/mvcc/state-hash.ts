import { crc32 } from '../../core/checksum.ts'

/**
 * A hash of a set of records that can be kept up to date: the sum, in two lanes of 32 bits, of every record's own
 * hashes. It does not depend on the order in which records came, so the running one and one that is computed again
 * from the disk must be equal.
 */
export class StateHash {
  #first = 0
  #second = 0

  add(record: Uint8Array): void {
    this.#first = (this.#first + crc32(record)) >>> 0
    this.#second = (this.#second + fnv1a(record)) >>> 0
  }

  remove(record: Uint8Array): void {
    this.#first = (this.#first - crc32(record)) >>> 0
    this.#second = (this.#second - fnv1a(record)) >>> 0
  }

  addLanes({ firstLane, secondLane }: HashLanes): void {
    this.#first = (this.#first + firstLane) >>> 0
    this.#second = (this.#second + secondLane) >>> 0
  }

  removeLanes({ firstLane, secondLane }: HashLanes): void {
    this.#first = (this.#first - firstLane) >>> 0
    this.#second = (this.#second - secondLane) >>> 0
  }

  /** The hash of the records and one more, as 16 hexadecimal digits. */
  digest(last: Uint8Array): string {
    const lanes = [this.#first + crc32(last), this.#second + fnv1a(last)]
    return lanes.map((lane) => (lane >>> 0).toString(16).padStart(8, '0')).join('')
  }
}

/** What a record adds to the lanes, where it is known already. */
export interface HashLanes {
  readonly firstLane: number
  readonly secondLane: number
}

/** FNV-1a, 32 bits, of bytes: independent of the CRC in the other lane. */
function fnv1a(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193)
  return hash >>> 0
}
