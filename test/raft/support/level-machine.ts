import { text, utf8 } from '../../../src/core/bytes.ts'
import type {
  Bookkeeping,
  BookkeepingWrite,
  Command,
  StateMachine,
  StateSnapshot,
} from '../../../src/interfaces/index.ts'
import { type ByteLevel, LevelState } from '../../../src/storage/level/index.ts'

/** Named counters in a database: a command `name+n` adds n and returns the new value as text. */
export class LevelCounterMachine implements StateMachine {
  readonly #state: LevelState

  constructor(database: ByteLevel, prefix: string) {
    this.#state = new LevelState(database, utf8(prefix))
  }

  async open(): Promise<Bookkeeping> {
    return this.#state.open()
  }

  async value(name: string): Promise<number> {
    const stored = await this.#state.get(utf8(name))
    return stored === undefined ? 0 : Number(text(stored))
  }

  async apply(
    commands: readonly Command[],
    seal: (results: readonly Uint8Array[]) => readonly BookkeepingWrite[],
  ): Promise<void> {
    const lines = commands.map((command) => text(command.data).split('+') as [string, string])
    const names = [...new Set(lines.map(([name]) => name))]
    const stored = await this.#state.getMany(names.map(utf8))
    const values = new Map(
      names.map((name, i) => {
        const bytes = stored[i]
        return [name, bytes === undefined ? 0 : Number(text(bytes))]
      }),
    )
    const results = lines.map(([name, amount]) => {
      const value = (values.get(name) as number) + Number(amount)
      values.set(name, value)
      return utf8(String(value))
    })
    const batch = this.#state.batch()
    for (const [name, value] of values) batch.put(utf8(name), utf8(String(value)))
    await this.#state.commit(batch, seal(results))
  }

  async flush(): Promise<void> {
    await this.#state.flush()
  }

  async snapshot(): Promise<StateSnapshot> {
    return this.#state.snapshot()
  }

  async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#state.restore(bookkeeping, chunks)
  }

  async destroy(): Promise<void> {
    await this.#state.destroy()
  }

  async close(): Promise<void> {}
}
