const windowBits = 1_024
const wordBits = 32

/**
 * Which counters of one sender were seen: a sliding window as in RFC 6479. Counters below the window are refused, since
 * nobody remembers them.
 */
export class ReplayWindow {
  readonly #words = new Uint32Array(windowBits / wordBits)
  #highest = -1

  /** True exactly once per counter, and only while it is not older than the window. */
  accept(counter: number): boolean {
    if (counter <= this.#highest - windowBits) return false
    if (counter > this.#highest) this.#advance(counter)
    const bit = 1 << (counter % wordBits)
    const word = Math.floor(counter / wordBits) % this.#words.length
    const seen = this.#words[word] as number
    if ((seen & bit) !== 0) return false
    this.#words[word] = seen | bit
    return true
  }

  /** Forgets the counters that fall out of the window; bits are cleared word by word when a new word begins. */
  #advance(counter: number): void {
    const from = Math.floor(this.#highest / wordBits)
    const to = Math.floor(counter / wordBits)
    const fresh = Math.min(to - from, this.#words.length)
    for (let i = 0; i < fresh; i++) this.#words[(to - i) % this.#words.length] = 0
    this.#highest = counter
  }
}

/** The windows of all senders, the least recently heard one forgotten first. */
export class ReplayGuard {
  readonly #limit: number
  readonly #windows = new Map<number, ReplayWindow>()
  /** Whoever was heard last is at the end of the map already. */
  #last: number | undefined

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Takes the counter of a packet that was authenticated. False for one that was seen, or is too old to tell. */
  accept(session: number, counter: number): boolean {
    const window = this.#windows.get(session) ?? new ReplayWindow()
    if (session !== this.#last) {
      this.#last = session
      this.#windows.delete(session)
      this.#windows.set(session, window)
      if (this.#windows.size > this.#limit) {
        const [oldest] = this.#windows.keys()
        this.#windows.delete(oldest as number)
      }
    }
    return window.accept(counter)
  }
}
