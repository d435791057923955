import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text, utf8 } from '../../src/core/bytes.ts'
import { type Random, SeededRandom } from '../../src/core/random.ts'
import type { Bookkeeping, Command, StateMachine, StateSnapshot } from '../../src/interfaces/state-machine.ts'
import { encodeCommand } from '../../src/metadata/mvcc/commands.ts'
import { MetadataStateMachine } from '../../src/metadata/mvcc/state-machine.ts'
import { LevelState } from '../../src/storage/level/index.ts'
import { MemoryDisk, MemoryLevel } from '../../src/storage/memory/index.ts'
import { stateMachineCompliance } from '../../src/testing/index.ts'
import { sharedLevel } from '../support/shared-level.ts'

type Database = MemoryLevel<Uint8Array, Uint8Array>

let seed = 0

/** Gives machines a database each time they are made, on a disk that crashes; a {@link sharedLevel} with `random`. */
function place<M extends StateMachine>(make: (database: Database) => M, random?: Random) {
  const disk = new MemoryDisk()
  let database: Database | undefined
  return {
    create: async () => {
      await database?.close()
      database =
        random === undefined
          ? new MemoryLevel<Uint8Array, Uint8Array>({ disk, keyEncoding: 'view', valueEncoding: 'view' })
          : sharedLevel(disk, random)
      await database.open()
      return make(database)
    },
    crash: async () => {
      database = undefined
      disk.crash(random ?? new SeededRandom(seed++))
    },
  }
}

/** Adds up numbers: the smallest machine on a {@link LevelState}. A command is `name=amount`. */
class Sums implements StateMachine {
  readonly state: LevelState
  readonly database: Database

  constructor(database: Database) {
    this.database = database
    this.state = new LevelState(database, utf8('sums/'))
  }

  open(): Promise<Bookkeeping> {
    return this.state.open()
  }

  async apply(commands: readonly Command[], seal: Parameters<StateMachine['apply']>[1]): Promise<void> {
    const batch = this.state.batch()
    const results: Uint8Array[] = []
    for (const { data } of commands) {
      const [name = '', amount] = text(data).split('=')
      const old = await batch.get(utf8(name))
      const sum = utf8(String((old === undefined ? 0 : Number(text(old))) + Number(amount)))
      batch.put(utf8(name), sum)
      results.push(sum)
    }
    await this.state.commit(batch, seal(results))
  }

  flush(): Promise<void> {
    return this.state.flush()
  }

  snapshot(): Promise<StateSnapshot> {
    return this.state.snapshot()
  }

  restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    return this.state.restore(bookkeeping, chunks)
  }

  destroy(): Promise<void> {
    return this.state.destroy()
  }

  async close(): Promise<void> {}

  async describe(): Promise<string> {
    const pairs: string[] = []
    for await (const [key, value] of this.state.range()) pairs.push(`${text(key)}=${text(value)}`)
    return pairs.join(' ')
  }
}

const sums = (make: (database: Database) => Sums, random?: Random) => ({
  create: async () => place(make, random),
  command: (number: number) => utf8(`n${number % 5}=${number}`),
  describe: (machine: Sums) => machine.describe(),
})

suite('a state machine on LevelState', () => {
  for (const { name, run } of stateMachineCompliance(sums((database) => new Sums(database)))) test(name, run)
})

const metadata = (make: (database: Database) => MetadataStateMachine, random?: Random) => ({
  create: async () => place(make, random),
  command: (number: number) =>
    encodeCommand({
      type: 'txn',
      quotaBytes: 1e9,
      transaction: { then: [{ type: 'put', key: utf8(`k${number % 5}`), value: utf8(String(number)) }] },
    }),
  describe: (machine: MetadataStateMachine) => String(machine.digest()),
})

const newMetadata = (database: Database) => new MetadataStateMachine({ database, prefix: 'm/' })

suite('the state machine of the metadata store', () => {
  for (const { name, run } of stateMachineCompliance(metadata(newMetadata))) test(name, run)
})

suite('on a database that changes its log file', () => {
  type Cases = ReturnType<typeof stateMachineCompliance>
  const newSums = (database: Database) => new Sums(database)
  const failures = async (cases: Cases): Promise<unknown[]> => {
    const found: unknown[] = []
    for (const { run } of cases) {
      for (let round = 0; round < 10; round++) await run().catch((error: unknown) => found.push(error))
    }
    return found
  }

  const sound: readonly [what: string, cases: Cases][] = [
    ['LevelState', stateMachineCompliance(sums(newSums, new SeededRandom(1)))],
    ['the metadata store', stateMachineCompliance(metadata(newMetadata, new SeededRandom(1)))],
  ]
  for (const [what, cases] of sound) {
    test(`${what} keeps its promises`, async () => assert.deepEqual(await failures(cases), []))
  }

  /** A write with a sync, and nothing else. abstract-level does not know the option. */
  const writeSynced = (database: Database, key: string) =>
    database.put(utf8(key), new Uint8Array(0), { sync: true } as object)
  class MistakenSums extends Sums {
    override flush = () => writeSynced(this.database, 'sums/flushed')
  }
  class MistakenMetadata extends MetadataStateMachine {
    override flush = () => writeSynced(this.database, 'm/flushed')
    readonly database: Database
    constructor(database: Database) {
      super({ database, prefix: 'm/' })
      this.database = database
    }
  }
  const mistaken: readonly [what: string, cases: Cases][] = [
    ['LevelState', stateMachineCompliance(sums((db) => new MistakenSums(db), new SeededRandom(1)))],
    [
      'the metadata store',
      stateMachineCompliance(metadata((db) => new MistakenMetadata(db), new SeededRandom(1))),
    ],
  ]
  for (const [what, cases] of mistaken) {
    for (const name of [
      'what was flushed survives a crash',
      'a crash leaves a state that its bookkeeping tells of, not older than the last flush',
    ]) {
      test(`a synced write alone is no flush of ${what}: ${name}`, async () => {
        const found = await failures(cases.filter((each) => each.name === name))
        assert.ok(found.length > 0, 'nothing was lost')
        for (const error of found) assert.ok(error instanceof assert.AssertionError, String(error))
      })
    }
  }
})

/** Mistakes that the suite exists to find, each with cases that must fail. */
const mistakes: readonly [what: string, make: (database: Database) => Sums, cases: readonly string[]][] = [
  [
    'stores effects and bookkeeping one after the other',
    (database) =>
      new (class extends Sums {
        override async apply(commands: readonly Command[], seal: Parameters<StateMachine['apply']>[1]) {
          let writes: ReturnType<typeof seal> = []
          await super.apply(commands, (results) => {
            writes = seal(results)
            return []
          })
          await this.state.commit(this.state.batch(), writes)
        }
      })(database),
    ['a crash leaves a state that its bookkeeping tells of, not older than the last flush'],
  ],
  [
    'does not flush',
    (database) =>
      new (class extends Sums {
        override async flush() {}
      })(database),
    ['what was flushed survives a crash'],
  ],
  [
    'keeps the bytes of a command',
    (database) =>
      new (class extends Sums {
        readonly kept: Uint8Array[] = []
        override async apply(commands: readonly Command[], seal: Parameters<StateMachine['apply']>[1]) {
          this.kept.push(...commands.map(({ data }) => data))
          await super.apply(commands, seal)
        }
        override async describe() {
          return `${await super.describe()} ${this.kept.map((bytes) => bytes[0])}`
        }
      })(database),
    ['the bytes of a command are not used after it was applied'],
  ],
  [
    'restores on top of what is there',
    (database) =>
      new (class extends Sums {
        override async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>) {
          const before = await this.describe()
          await super.restore(bookkeeping, chunks)
          const batch = this.state.batch()
          for (const pair of before === '' ? [] : before.split(' ')) {
            const [key = '', value = ''] = pair.split('=')
            if ((await batch.get(utf8(key))) === undefined) batch.put(utf8(key), utf8(value))
          }
          await this.state.commit(batch, [])
        }
      })(database),
    ['a snapshot of an empty machine can be restored'],
  ],
  [
    'forgets a result',
    (database) =>
      new (class extends Sums {
        override async apply(commands: readonly Command[], seal: Parameters<StateMachine['apply']>[1]) {
          await super.apply(commands, (results) => seal(results.slice(0, 3)))
        }
      })(database),
    ['commands change the state and give one result each'],
  ],
  [
    'makes a result of what was applied meanwhile',
    (database) =>
      new (class extends Sums {
        batches = 0
        override async apply(commands: readonly Command[], seal: Parameters<StateMachine['apply']>[1]) {
          this.batches++
          await super.apply(commands, (results) =>
            seal(
              results.map(({ length }) => ({
                length,
                bytes: () => new Uint8Array(length).fill(this.batches),
              })),
            ),
          )
        }
      })(database),
    ['commands change the state and give one result each'],
  ],
  [
    'says another length of a result than it has',
    (database) =>
      new (class extends Sums {
        override async apply(commands: readonly Command[], seal: Parameters<StateMachine['apply']>[1]) {
          await super.apply(commands, (results) =>
            seal(results.map(({ length }) => ({ length: length + 1, bytes: () => new Uint8Array(length) }))),
          )
        }
      })(database),
    ['commands change the state and give one result each'],
  ],
  [
    'is not deterministic',
    (database) => {
      const salt = ++seed
      return new (class extends Sums {
        override async describe() {
          return `${salt} ${await super.describe()}`
        }
      })(database)
    },
    ['equal commands make equal results and states, however they are batched'],
  ],
  [
    'is destroyed piece by piece',
    (database) =>
      new (class extends Sums {
        override async destroy() {
          const batch = this.state.batch()
          for await (const [key] of this.state.range()) batch.delete(key)
          await this.state.commit(batch, [])
          await super.destroy()
        }
      })(database),
    ['a crash while a state is destroyed leaves all of it or an empty one'],
  ],
  [
    'leaves something behind when it is destroyed',
    (database) =>
      new (class extends Sums {
        override async destroy() {}
      })(database),
    ['a destroyed state is gone'],
  ],
]

suite('the suite finds a machine that', () => {
  for (const [what, make, names] of mistakes) {
    test(what, async () => {
      const cases = stateMachineCompliance(sums(make))
      for (const name of names) {
        const found = cases.find((each) => each.name === name)
        assert.ok(found !== undefined, name)
        let failure: unknown
        // What a crash takes is a matter of chance.
        for (let round = 0; round < 10 && failure === undefined; round++) {
          failure = await found.run().then(
            () => undefined,
            (error: unknown) => error,
          )
        }
        assert.ok(failure instanceof assert.AssertionError, `${name}: ${failure}`)
      }
    })
  }
})
