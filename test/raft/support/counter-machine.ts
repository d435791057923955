import { text, utf8 } from '../../../src/core/bytes.ts'
import type {
  Bookkeeping,
  BookkeepingWrite,
  Command,
  StateMachine,
  StateSnapshot,
} from '../../../src/interfaces/index.ts'

/** What survives a crash of {@link CounterMachine}. */
export interface CounterDisk {
  values: Map<string, number>
  bookkeeping: Map<string, Uint8Array>
}

export function emptyDisk(): CounterDisk {
  return { values: new Map(), bookkeeping: new Map() }
}

export function copyDisk({ values, bookkeeping }: CounterDisk): CounterDisk {
  return { values: new Map(values), bookkeeping: new Map(bookkeeping) }
}

/**
 * Named counters. A command `name+n` adds n and returns the new value as text; `!` throws. What was not flushed is lost when
 * the same `disk` is opened again, as after a power cut.
 */
export class CounterMachine implements StateMachine {
  readonly #disk: CounterDisk
  readonly values = new Map<string, number>()
  readonly bookkeeping = new Map<string, Uint8Array>()
  /** Every command that was executed, in order: `index:text`. */
  readonly executed: string[] = []
  batches = 0
  restores = 0
  flushes = 0
  destroyed = false
  /** Awaited within apply, to hold it up. */
  gate: (() => Promise<void>) | undefined
  /** Called with each chunk of a restore. */
  onChunk: ((chunk: Uint8Array) => void) | undefined
  /** Called when a restore has switched the state. */
  onRestored: (() => void) | undefined
  /** Chunk size of snapshots in counters. */
  perChunk = 3

  constructor(disk: CounterDisk = emptyDisk()) {
    this.#disk = disk
  }

  async open(): Promise<Bookkeeping> {
    for (const [name, value] of this.#disk.values) this.values.set(name, value)
    for (const [key, value] of this.#disk.bookkeeping) this.bookkeeping.set(key, value)
    return new Map(this.bookkeeping)
  }

  async apply(
    commands: readonly Command[],
    seal: (results: readonly Uint8Array[]) => readonly BookkeepingWrite[],
  ): Promise<void> {
    await this.gate?.()
    this.batches++
    const results = commands.map((command) => {
      const line = text(command.data)
      if (line === '!') throw new Error('this command breaks the machine')
      const [name, amount] = line.split('+')
      const value = (this.values.get(name as string) ?? 0) + Number(amount ?? 0)
      this.values.set(name as string, value)
      this.executed.push(`${command.index}:${line}`)
      return utf8(String(value))
    })
    for (const { key, value } of seal(results)) {
      if (value === undefined) this.bookkeeping.delete(key)
      else this.bookkeeping.set(key, value)
    }
  }

  async flush(): Promise<void> {
    this.flushes++
    this.#disk.values = new Map(this.values)
    this.#disk.bookkeeping = new Map(this.bookkeeping)
  }

  async snapshot(): Promise<StateSnapshot> {
    const values = [...this.values]
    const perChunk = this.perChunk
    const bookkeeping = new Map(this.bookkeeping)
    return {
      bookkeeping,
      async *chunks() {
        for (let at = 0; at < values.length; at += perChunk) {
          yield utf8(JSON.stringify(values.slice(at, at + perChunk)))
        }
      },
      async [Symbol.asyncDispose]() {},
    }
  }

  async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const values = new Map<string, number>()
    for await (const chunk of chunks) {
      this.onChunk?.(chunk)
      for (const [name, value] of JSON.parse(text(chunk)) as [string, number][]) values.set(name, value)
    }
    this.values.clear()
    for (const [name, value] of values) this.values.set(name, value)
    this.bookkeeping.clear()
    for (const [key, value] of bookkeeping) this.bookkeeping.set(key, value)
    await this.flush()
    this.restores++
    this.onRestored?.()
  }

  async destroy(): Promise<void> {
    this.destroyed = true
    this.values.clear()
    this.bookkeeping.clear()
    await this.flush()
  }

  async close(): Promise<void> {}
}
