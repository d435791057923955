import { invariant } from './invariant.ts'

/** A source of random numbers. It is injected, so that a run can be repeated. */
export interface Random {
  /** A float in [0, 1). */
  float(): number
  /** An integer in [0, bound). `bound` is in [1, 2^53). */
  integer(bound: number): number
  /** 32 random bits as an unsigned integer. */
  uint32(): number
  /** `length` random bytes. */
  bytes(length: number): Uint8Array
}

/** Derived draws, the same for every {@link Random}. */
export function between(random: Random, low: number, high: number): number {
  return low + random.float() * (high - low)
}

/** True with the given probability. */
export function chance(random: Random, probability: number): boolean {
  return random.float() < probability
}

/** A random element of a list that is not empty. */
export function pick<T>(random: Random, items: readonly T[]): T {
  invariant(items.length > 0, 'pick needs at least one item')
  return items[random.integer(items.length)] as T
}

/** A shuffled copy (Fisher–Yates). */
export function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const copy = items.slice()
  for (let i = copy.length - 1; i > 0; i--) {
    const j = random.integer(i + 1)
    const held = copy[i] as T
    copy[i] = copy[j] as T
    copy[j] = held
  }
  return copy
}

/**
 * xoshiro128** (Blackman and Vigna, 2018), seeded through splitmix32. Its stream for a seed never changes between
 * versions, so that a recorded seed stays a recorded run. Not for secrets.
 */
export class SeededRandom implements Random {
  readonly #state: Uint32Array

  /** Begins with a seed, a safe integer of at least 0, or goes on from the four words of a state. */
  constructor(seed: number | Uint32Array) {
    if (seed instanceof Uint32Array) {
      invariant(seed.length === 4, 'a xoshiro128 state has four words')
      this.#state = seed.slice()
      return
    }
    invariant(Number.isSafeInteger(seed) && seed >= 0, 'a seed is a safe integer of at least 0')
    this.#state = new Uint32Array(4)
    let mixed = (seed ^ Math.floor(seed / 0x1_0000_0000)) >>> 0
    for (let i = 0; i < 4; i++) {
      mixed = (mixed + 0x9e3779b9) >>> 0
      let z = mixed
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      this.#state[i] = (z ^ (z >>> 15)) >>> 0
    }
  }

  /**
   * An independent generator named by `label`: a child per node and per kind of fault keeps their streams apart, so
   * that one more draw in one place does not shift the others.
   */
  child(label: string): SeededRandom {
    let hash = 0x811c9dc5
    for (let i = 0; i < label.length; i++) hash = Math.imul(hash ^ label.charCodeAt(i), 0x01000193) >>> 0
    const state = this.#state
    const mixed = ((state[0] as number) ^ Math.imul(state[3] as number, 0x85ebca6b) ^ hash) >>> 0
    return new SeededRandom(mixed * 0x20_0000 + (hash & 0x1f_ffff))
  }

  uint32(): number {
    const s = this.#state
    const s0 = s[0] as number
    const s1 = s[1] as number
    const s2 = s[2] as number
    const s3 = s[3] as number
    const scrambled = Math.imul(s1, 5)
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0
    const t = s1 << 9
    const n2 = s2 ^ s0
    const n3 = s3 ^ s1
    s[1] = s1 ^ n2
    s[0] = s0 ^ n3
    s[2] = n2 ^ t
    s[3] = (n3 << 11) | (n3 >>> 21)
    return result
  }

  float(): number {
    return ((this.uint32() >>> 5) * 0x400_0000 + (this.uint32() >>> 6)) / 0x20_0000_0000_0000
  }

  integer(bound: number): number {
    invariant(
      Number.isSafeInteger(bound) && bound > 0,
      'the bound of a random integer is a positive safe integer',
    )
    return Math.floor(this.float() * bound)
  }

  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length)
    for (let i = 0; i < length; i += 4) {
      let word = this.uint32()
      for (let j = i; j < Math.min(i + 4, length); j++) {
        out[j] = word & 0xff
        word >>>= 8
      }
    }
    return out
  }

  /** A copy of the four words of the state, for a generator that goes on from here. */
  get state(): Uint32Array {
    return this.#state.slice()
  }

  /** A generator that goes on with the same stream. */
  clone(): SeededRandom {
    return new SeededRandom(this.#state)
  }
}
