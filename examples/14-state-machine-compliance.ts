// A state machine of one's own, from the interface alone, and the suite that says whether Raft can rely on it.
import assert from 'node:assert/strict'
import { type Bookkeeping, KeelsonError, type StateMachine, text, utf8 } from 'keelson'
import { stateMachineCompliance } from 'keelson/testing'

/** Where a tally lives: a file, say, that is replaced as a whole. */
interface Place {
  saved: string
}

/** Counts words. What it holds is saved as one text. */
class Tally implements StateMachine {
  readonly #place: Place
  #counts = new Map<string, number>()
  #bookkeeping = new Map<string, Uint8Array>()

  constructor(place: Place) {
    this.#place = place
  }

  async open(): Promise<Bookkeeping> {
    this.#load(this.#place.saved)
    return new Map(this.#bookkeeping)
  }

  readonly apply: StateMachine['apply'] = async (commands, seal) => {
    const results = commands.map(({ data }) => {
      const word = text(data)
      const count = (this.#counts.get(word) ?? 0) + 1
      this.#counts.set(word, count)
      return utf8(String(count))
    })
    for (const { key, value } of seal(results)) {
      if (value === undefined) this.#bookkeeping.delete(key)
      else this.#bookkeeping.set(key, value.slice())
    }
  }

  async flush(): Promise<void> {
    const bookkeeping = [...this.#bookkeeping].map(([key, value]) => [key, text(value)])
    this.#place.saved = JSON.stringify([[...this.#counts], bookkeeping])
  }

  readonly snapshot: StateMachine['snapshot'] = async () => {
    const counts = utf8(JSON.stringify([...this.#counts]))
    return {
      bookkeeping: new Map(this.#bookkeeping),
      async *chunks() {
        for (let at = 0; at < counts.length; at += 64 * 1024) yield counts.subarray(at, at + 64 * 1024)
      },
      async [Symbol.asyncDispose]() {},
    }
  }

  async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const parts: Uint8Array[] = []
    // Nothing has changed yet if this throws.
    for await (const chunk of chunks) parts.push(chunk.slice())
    this.#counts = new Map(JSON.parse(text(Buffer.concat(parts))) as [string, number][])
    this.#bookkeeping = new Map(bookkeeping)
    await this.flush()
  }

  async destroy(): Promise<void> {
    this.#place.saved = ''
    this.#load('')
  }

  async close(): Promise<void> {
    await this.flush()
  }

  /** The state as text, which the suite compares. Bookkeeping is no part of it. */
  describe(): string {
    return JSON.stringify([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  #load(saved: string): void {
    type Saved = [[string, number][], [string, string][]]
    const [counts, bookkeeping] = saved === '' ? [[], []] : (JSON.parse(saved) as Saved)
    this.#counts = new Map(counts)
    this.#bookkeeping = new Map(bookkeeping.map(([key, value]) => [key, utf8(value)]))
  }
}

/** Runs the suite; in a project of one's own it would be `test(name, run)` for each case. */
async function failures(make: (place: Place) => Tally): Promise<string[]> {
  const failed: string[] = []
  const suite = stateMachineCompliance<Tally>({
    create: async () => {
      const place: Place = { saved: '' }
      // A power cut takes what was not saved.
      return { create: () => make(place), crash: async () => {} }
    },
    command: (number) => utf8(`word ${number % 3}`),
    describe: (tally) => tally.describe(),
  })
  for (const { name, run } of suite) {
    await run().catch((error: unknown) => {
      failed.push(KeelsonError.is(error) ? `${name}: ${error.code}` : name)
    })
  }
  console.log(`${suite.length - failed.length} of ${suite.length} cases passed`)
  return failed
}

assert.deepEqual(await failures((place) => new Tally(place)), [])

/** Says that it has flushed, and has not. */
class Lazy extends Tally {
  override async flush(): Promise<void> {}
}
const broken = await failures((place) => new Lazy(place))
console.log(`one that does not flush fails: ${broken.join('; ')}`)
assert(broken.includes('what was flushed survives a crash'))
