/**
 * Serialises work on the same keys within one process: who evaluates a row from what it reads must not be overtaken by
 * another write of that row between the read and the proposal.
 */
export class Latches {
  readonly #held = new Map<string, Promise<void>>()

  /** Runs `work` while no other work of these keys runs. Keys are taken all at once, so nobody waits in a circle. */
  async hold<T>(keys: readonly Uint8Array[], work: () => Promise<T>): Promise<T> {
    const names = [...new Set(keys.map((key) => Buffer.from(key).toString('latin1')))]
    const before = names.map((name) => this.#held.get(name)).filter((held) => held !== undefined)
    let release!: () => void
    const mine = new Promise<void>((resolve) => {
      release = resolve
    })
    for (const name of names) this.#held.set(name, mine)
    try {
      await Promise.all(before)
      return await work()
    } finally {
      release()
      for (const name of names) if (this.#held.get(name) === mine) this.#held.delete(name)
    }
  }
}
