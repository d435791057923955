/**
 * 128 bits of words and text: MurmurHash3_x86_128 (Appleby, 2011), fed one 32-bit word after the other. Well mixed, so
 * that any of its words serves as a shorter hash; not for input that somebody chooses to make it collide.
 */
export class StateHash {
  #h1 = 0
  #h2 = 0
  #h3 = 0
  #h4 = 0
  #k1 = 0
  #k2 = 0
  #k3 = 0
  /** Words since the start. */
  #length = 0

  /** Forgets everything. */
  reset(): this {
    this.#h1 = this.#h2 = this.#h3 = this.#h4 = 0
    this.#length = 0
    return this
  }

  /** Adds 32 bits. */
  word(value: number): this {
    switch (this.#length++ & 3) {
      case 0:
        this.#k1 = value
        break
      case 1:
        this.#k2 = value
        break
      case 2:
        this.#k3 = value
        break
      default:
        this.#block(this.#k1, this.#k2, this.#k3, value)
    }
    return this
  }

  /** Adds a text with its length, so that two texts are not one. */
  text(value: string): this {
    const { length } = value
    this.word(length)
    for (let i = 0; i < length; i += 2) {
      this.word(value.charCodeAt(i) | (i + 1 < length ? value.charCodeAt(i + 1) << 16 : 0))
    }
    return this
  }

  /** Writes the four words of the hash of all that was added. */
  digest(into: Uint32Array, offset = 0): void {
    const bytes = this.#length * 4
    while ((this.#length & 3) !== 0) this.word(0)
    let h1 = this.#h1 ^ bytes
    let h2 = this.#h2 ^ bytes
    let h3 = this.#h3 ^ bytes
    let h4 = this.#h4 ^ bytes
    h1 = (h1 + h2 + h3 + h4) | 0
    h2 = (h2 + h1) | 0
    h3 = (h3 + h1) | 0
    h4 = (h4 + h1) | 0
    h1 = finalMix(h1)
    h2 = finalMix(h2)
    h3 = finalMix(h3)
    h4 = finalMix(h4)
    h1 = (h1 + h2 + h3 + h4) | 0
    into[offset] = h1
    into[offset + 1] = h2 + h1
    into[offset + 2] = h3 + h1
    into[offset + 3] = h4 + h1
  }

  #block(k1: number, k2: number, k3: number, k4: number): void {
    let { h1, h2, h3, h4 } = { h1: this.#h1, h2: this.#h2, h3: this.#h3, h4: this.#h4 }
    h1 ^= Math.imul(rotate(Math.imul(k1, 0x239b961b), 15), 0xab0e9789)
    h1 = (Math.imul((rotate(h1, 19) + h2) | 0, 5) + 0x561ccd1b) | 0
    h2 ^= Math.imul(rotate(Math.imul(k2, 0xab0e9789), 16), 0x38b34ae5)
    h2 = (Math.imul((rotate(h2, 17) + h3) | 0, 5) + 0x0bcaa747) | 0
    h3 ^= Math.imul(rotate(Math.imul(k3, 0x38b34ae5), 17), 0xa1e38b93)
    h3 = (Math.imul((rotate(h3, 15) + h4) | 0, 5) + 0x96cd1c35) | 0
    h4 ^= Math.imul(rotate(Math.imul(k4, 0xa1e38b93), 18), 0x239b961b)
    h4 = (Math.imul((rotate(h4, 13) + h1) | 0, 5) + 0x32ac3b17) | 0
    this.#h1 = h1
    this.#h2 = h2
    this.#h3 = h3
    this.#h4 = h4
  }
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}

function finalMix(value: number): number {
  let h = value
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
