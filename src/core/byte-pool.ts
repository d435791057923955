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

  copy(bytes: Uint8Array): Uint8Array {
    const copy = this.allocate(bytes.length)
    copy.set(bytes)
    return copy
  }
}
