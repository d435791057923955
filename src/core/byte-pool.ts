import { copyInto, copyPart } from './bytes.ts'

const poolBytes = 8 * 1024
const largestPooled = poolBytes / 8

/**
 * Gives out small arrays as parts of larger ones, as Node does for its Buffers: an allocation of its own costs more than
 * everything else that a small message goes through. No part is given out twice, so the arrays are as good as new ones;
 * who keeps a small one keeps 8 KiB: for what does not live long, or dies in the order in which it was made. @internal
 */
export class BytePool {
  #pool = new Uint8Array(poolBytes)
  #used = 0
  /** What {@link BytePool.reserve} reserved last is a part of this. */
  slab: Uint8Array = this.#pool

  /** Zeros. */
  allocate(length: number): Uint8Array {
    if (length > largestPooled) return new Uint8Array(length)
    if (this.#used + length > poolBytes) {
      this.#pool = new Uint8Array(poolBytes)
      this.#used = 0
    }
    const part = this.#pool.subarray(this.#used, this.#used + length)
    this.#used += length
    return part
  }

  /** As {@link BytePool.allocate}, for who needs no array of the part alone. @returns where it begins in `slab` */
  reserve(length: number): number {
    if (length > largestPooled) {
      this.slab = new Uint8Array(length)
      return 0
    }
    if (this.#used + length > poolBytes) {
      this.#pool = new Uint8Array(poolBytes)
      this.#used = 0
    }
    const at = this.#used
    this.#used += length
    this.slab = this.#pool
    return at
  }

  copy(bytes: Uint8Array): Uint8Array {
    return this.copyOf(bytes, 0, bytes.length)
  }

  /** A copy of the bytes from `from` up to but without `to`. */
  copyOf(bytes: Uint8Array, from: number, to: number): Uint8Array {
    const length = to - from
    const isWhole = length === bytes.length
    // Zeros that are written over at once are left out.
    if (length > largestPooled) return new Uint8Array(isWhole ? bytes : bytes.subarray(from, to))
    const copy = this.allocate(length)
    if (isWhole) copyInto(copy, 0, bytes, length)
    else copyPart(copy, 0, bytes, from, to)
    return copy
  }
}
