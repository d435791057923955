import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { sleep } from '../../src/core/async.ts'
import { nodeEnvironment } from '../../src/core/node-environment.ts'
import {
  type GroupWrite,
  groupWriteBytes,
  type LogEntry,
  type LogPosition,
  type LogStore,
  type LogStoreContext,
  type LogStoreFactory,
} from '../../src/interfaces/log-store.ts'
import { MemoryDisk, memoryLog } from '../../src/storage/memory/index.ts'
import { logStoreCompliance } from '../../src/testing/index.ts'

const env = nodeEnvironment()

/** Passes everything on: a mistake overrides one method. */
class Wrapped implements LogStore {
  readonly inner: LogStore

  constructor(inner: LogStore) {
    this.inner = inner
  }

  get incarnation(): number {
    return this.inner.incarnation
  }

  get limits(): LogStore['limits'] {
    return this.inner.limits
  }

  recovered(): ReturnType<LogStore['recovered']> {
    return this.inner.recovered()
  }

  write(batch: readonly GroupWrite[]): Promise<void> {
    return this.inner.write(batch)
  }

  read(groupId: number, from: number, to: number, maximumBytes: number): Promise<LogEntry[]> {
    return this.inner.read(groupId, from, to, maximumBytes)
  }

  compact(groupId: number, through: LogPosition): Promise<void> {
    return this.inner.compact(groupId, through)
  }

  destroy(groupId: number, tombstone: Uint8Array): Promise<void> {
    return this.inner.destroy(groupId, tombstone)
  }

  close(): Promise<void> {
    return this.inner.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

// A crash of this disk keeps nothing that was not synced.
const keepNothing = {
  float: () => 0,
  integer: () => 0,
  uint32: () => 0,
  bytes: (n: number) => new Uint8Array(n),
}

type Open = (log: LogStoreFactory, context: LogStoreContext) => Promise<LogStore>

const mistakes: readonly [what: string, open: Open, name: string][] = [
  [
    'acknowledges before its sync',
    async (log, context) =>
      new (class extends Wrapped {
        override async write(batch: readonly GroupWrite[]) {
          void this.inner.write(batch)
        }
      })(await log(context)),
    'what was acknowledged survives a crash',
  ],
  [
    'acknowledges out of order',
    async (log, context) => {
      let count = 0
      return new (class extends Wrapped {
        override async write(batch: readonly GroupWrite[]) {
          const late = ++count === 3
          await this.inner.write(batch)
          if (late) await sleep(env.timers, 20)
        }
      })(await log(context))
    },
    'overlapping writes resolve in their order',
  ],
  [
    'takes the end of the log for an empty answer',
    async (log, context) =>
      new (class extends Wrapped {
        override async read(groupId: number, from: number, to: number, maximumBytes: number) {
          return this.inner.read(groupId, from, to, maximumBytes).catch(() => [])
        }
      })(await log(context)),
    'read refuses what is not there',
  ],
  [
    'knows no limit of bytes',
    async (log, context) =>
      new (class extends Wrapped {
        override read(groupId: number, from: number, to: number) {
          return this.inner.read(groupId, from, to, Number.MAX_SAFE_INTEGER)
        }
      })(await log(context)),
    'read stops at the byte limit, but gives at least one entry',
  ],
  [
    'reads nothing when the first entry does not fit',
    async (log, context) =>
      new (class extends Wrapped {
        override async read(groupId: number, from: number, to: number, maximumBytes: number) {
          const found = await this.inner.read(groupId, from, to, maximumBytes)
          return found.filter(({ data }) => data.length <= maximumBytes)
        }
      })(await log(context)),
    'read stops at the byte limit, but gives at least one entry',
  ],
  [
    'hands out its own memory',
    async (log, context) => {
      const memory = new Map<number, LogEntry[]>()
      return new (class extends Wrapped {
        override async read(groupId: number, from: number, to: number, maximumBytes: number) {
          const found = memory.get(from) ?? (await this.inner.read(groupId, from, to, maximumBytes))
          memory.set(from, found)
          return found
        }
      })(await log(context))
    },
    'the store keeps its own copy of what it was given',
  ],
  [
    'forgets the tombstone',
    async (log, context) =>
      new (class extends Wrapped {
        override destroy(groupId: number) {
          return this.inner.destroy(groupId, new Uint8Array(0))
        }
      })(await log(context)),
    'destroy removes log and hard state and keeps the tombstone',
  ],
  [
    'compacts nothing',
    async (log, context) =>
      new (class extends Wrapped {
        override async compact() {}
      })(await log(context)),
    'compaction hides entries at once and is durable with the next write of the group',
  ],
  [
    'compacts what was compacted before',
    async (log, context) =>
      new (class extends Wrapped {
        override compact(groupId: number, through: LogPosition) {
          return this.inner.compact(groupId, { ...through, index: through.index - 1 })
        }
      })(await log(context)),
    'a log that is compacted to its end goes on behind it',
  ],
  [
    'draws an incarnation at each opening',
    async (log, context) => {
      const incarnation = 1 + env.random.integer(1_000_000)
      return new (class extends Wrapped {
        override get incarnation() {
          return incarnation
        }
      })(await log(context))
    },
    'the incarnation stays with the place and differs between places',
  ],
  [
    'does not care whose log it is',
    (log, context) => log({ ...context, clusterId: 'any', nodeId: 'any' }),
    'another cluster or node is refused and changes nothing',
  ],
  [
    'writes a part of what it then refuses',
    async (log, context) =>
      new (class extends Wrapped {
        override async write(batch: readonly GroupWrite[]) {
          for (const write of batch) await this.inner.write([write])
        }
      })(await log(context)),
    'a refused write leaves no trace',
  ],
  [
    'states that it takes more than it does',
    async (log, context) =>
      new (class extends Wrapped {
        override get limits() {
          return { ...this.inner.limits, writeBytes: this.inner.limits.writeBytes + 1 }
        }
      })(await log(context)),
    'the largest write is taken, as one entry and as many, and one twice as large leaves no trace',
  ],
  [
    'writes a part of what is too large',
    async (log, context) =>
      new (class extends Wrapped {
        override async write(batch: readonly GroupWrite[]) {
          const fits = batch.reduce((sum, write) => sum + groupWriteBytes(write), 0) <= this.limits.writeBytes
          if (!fits) await this.inner.write([{ groupId: 2, metadata: new Uint8Array(1) }])
          return this.inner.write(batch)
        }
      })(await log(context)),
    'the largest write is taken, as one entry and as many, and one twice as large leaves no trace',
  ],
  [
    'lets fewer writes wait than it states',
    async (log, context) =>
      new (class extends Wrapped {
        override get limits() {
          return { ...this.inner.limits, queuedBytes: 2 * this.inner.limits.queuedBytes }
        }
      })(await log(context)),
    'as many bytes as the queue holds may wait, and once they are written as many again',
  ],
]

suite('the suite finds a log store that', () => {
  for (const [what, open, name] of mistakes) {
    test(what, async () => {
      const create = async () => {
        const disk = new MemoryDisk({ timers: env.timers, syncLatencyMs: () => 0.1 })
        const log = memoryLog({ disk, maximumWriteBytes: 2 << 20, maximumQueuedBytes: 4 << 20 })
        return {
          open: (context: LogStoreContext) => open(log, context),
          crash: async () => disk.crash(keepNothing),
        }
      }
      const found = logStoreCompliance({ create }).find((each) => each.name === name)
      assert.ok(found !== undefined, name)
      await assert.rejects(found.run(), assert.AssertionError)
    })
  }
})
