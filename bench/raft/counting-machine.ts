import type { StateMachine } from 'keelson'
import { LevelState } from 'keelson/storage/level'

/** Does nothing but count, and remembers nothing: what is measured is Raft. */
export function countingMachine(): StateMachine {
  let count = 0
  const answer = new Uint8Array(0)
  const bookkeeping = new Map<string, Uint8Array>()
  return {
    open: async () => new Map(),
    apply: async (commands, seal) => {
      count += commands.length
      for (const { key, value } of seal(commands.map(() => answer))) {
        if (value === undefined) bookkeeping.delete(key)
        else bookkeeping.set(key, value)
      }
    },
    flush: async () => {},
    snapshot: async () => ({
      bookkeeping: new Map(bookkeeping),
      async *chunks() {
        yield new TextEncoder().encode(String(count))
      },
      [Symbol.asyncDispose]: async () => {},
    }),
    restore: async (given, chunks) => {
      for await (const chunk of chunks) count = Number(new TextDecoder().decode(chunk))
      for (const [key, value] of given) bookkeeping.set(key, value)
    },
    destroy: async () => {},
    close: async () => {},
  }
}

/** Counts on a disk, so that its process may be killed and started again. */
export class DurableCounter extends LevelState implements StateMachine {
  readonly apply: StateMachine['apply'] = async (commands, seal) => {
    const key = new TextEncoder().encode('count')
    const count = Number(new TextDecoder().decode((await this.get(key)) ?? new Uint8Array(0)))
    const batch = this.batch()
    batch.put(key, new TextEncoder().encode(String(count + commands.length)))
    await this.commit(batch, seal(commands.map(() => new Uint8Array(0))))
  }

  async close(): Promise<void> {}
}
