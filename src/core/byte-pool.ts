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
    const copy = this.allocate(bytes.length)
    copy.set(bytes)
    return copy
  }
}
