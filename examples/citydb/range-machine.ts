import {
  type Bookkeeping,
  type BookkeepingWrite,
  type Command,
  compareBytes,
  concatBytes,
  decodePlain,
  encodePlain,
  equalBytes,
  Fields,
  prefixEnd,
  type StateMachine,
  type StateSnapshot,
} from 'keelson'
import { SchemaFence } from 'keelson/schema'
import {
  type ByteLevel,
  LevelState,
  type LevelStateBatch,
  type LevelStatePair,
  type LevelStateReader,
} from 'keelson/storage/level'
import { decodeCommand, encodeRefusal, encodeResult, type RangeCommand } from './commands.ts'
import { entryKey, entryPrefix, IndexMaintenance } from './index-maintenance.ts'
import { decodeRow, encodeRow, type IndexPlan, type Row } from './schema.ts'

const rowTag = 0x72
const factsKey = Uint8Array.of(0x66)

/** Where the machine keeps a row. */
function stored(key: Uint8Array): Uint8Array {
  return concatBytes([Uint8Array.of(rowTag), key])
}

/** What a range knows about itself beside its rows; part of the replicated state. */
interface Facts {
  /** Oldest schema version that a command may be planned under. */
  readonly minimumVersion: number
  /** Highest epoch of a schema coordinator that has worked here. */
  readonly epoch: number
  /** Writes taken, as the lease holders booked them. */
  readonly ledger: number
  /**
   * Effects of a lease holder that were accepted after a newer holder had taken over. The library's fence refuses them,
   * so this stays 0; it is counted from the log itself, apart from the fence, to prove it.
   */
  readonly staleEffects: number
}

const noFacts: Facts = { minimumVersion: 0, epoch: 0, ledger: 0, staleEffects: 0 }

/** Bounds of a range, in row keys. */
export interface RangeBounds {
  readonly start: Uint8Array
  readonly end: Uint8Array | undefined
}

/** A page of rows or entries. */
export interface Page<T> {
  readonly items: readonly T[]
  /** Where the next page starts; undefined at the end. */
  readonly resumeAt: Uint8Array | undefined
}

/** The rows and index entries of one range: a replicated state machine. */
export class RangeMachine implements StateMachine {
  readonly #state: LevelState
  readonly #bounds: RangeBounds
  readonly #indexes = new IndexMaintenance()
  #facts: Facts = noFacts

  constructor(db: ByteLevel, rangeId: number, bounds: RangeBounds) {
    const prefix = new Uint8Array(9)
    prefix[0] = rowTag
    new DataView(prefix.buffer).setBigUint64(1, BigInt(rangeId))
    this.#state = new LevelState(db, prefix)
    this.#bounds = bounds
  }

  /** What the range knows about itself, as of the last applied command. */
  get facts(): Facts {
    return this.#facts
  }

  async open(): Promise<Bookkeeping> {
    const bookkeeping = await this.#state.open()
    this.#facts = await readFacts(this.#state)
    return bookkeeping
  }

  async apply(
    commands: readonly Command[],
    seal: (results: readonly Uint8Array[]) => readonly BookkeepingWrite[],
  ): Promise<void> {
    const decoded = commands.map((command) => ({ term: command.term, command: decodeCommand(command.data) }))
    const batch = this.#state.batch()
    // One read for all rows that the batch will touch.
    await batch.prefetch(
      decoded.flatMap(({ command }) =>
        command.type === 'write' ? command.writes.map((write) => stored(write.key)) : [],
      ),
    )
    const results: Uint8Array[] = []
    const before = this.#facts
    let facts = before
    for (const { term, command } of decoded) {
      const outcome = await this.#execute(batch, facts, command, term)
      facts = outcome.facts
      results.push(outcome.result)
    }
    if (facts !== before) batch.put(factsKey, encodeFacts(facts))
    await this.#state.commit(batch, seal(results))
    this.#facts = facts
  }

  async flush(): Promise<void> {
    await this.#state.flush()
  }

  async snapshot(): Promise<StateSnapshot> {
    return this.#state.snapshot()
  }

  async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    let facts = noFacts
    // Read before the state switches: afterwards a failure would leave old facts to new rows.
    await this.#state.restore(bookkeeping, chunks, async (content) => {
      facts = await readFacts(content)
    })
    this.#facts = facts
  }

  async destroy(): Promise<void> {
    await this.#state.destroy()
  }

  async close(): Promise<void> {
    // The database is shared by all ranges of the node, which closes it.
  }

  /** One row as applied here. */
  async row(key: Uint8Array): Promise<Row | undefined> {
    const bytes = await this.#state.get(stored(key))
    return bytes === undefined ? undefined : decodeRow(bytes)
  }

  /** Rows in key order. */
  async rows(resumeAt: Uint8Array | undefined, limit: number): Promise<Page<{ key: Uint8Array; row: Row }>> {
    const start = stored(resumeAt ?? new Uint8Array(0))
    const page = await readPage(this.#state, start, Uint8Array.of(rowTag + 1), limit)
    return {
      items: page.items.map(([key, value]) => ({ key: key.slice(1), row: decodeRow(value) })),
      resumeAt: page.resumeAt?.slice(1),
    }
  }

  /** Entries of an index, without its prefix, with the keys of their rows. */
  async entries(
    indexId: number,
    resumeAt: Uint8Array | undefined,
    limit: number,
  ): Promise<Page<LevelStatePair>> {
    const prefix = entryPrefix(indexId)
    const start = resumeAt === undefined ? prefix : concatBytes([prefix, resumeAt])
    const page = await readPage(this.#state, start, prefixEnd(prefix), limit)
    return {
      items: page.items.map(([entry, key]) => [entry.slice(prefix.length), key]),
      resumeAt: page.resumeAt?.slice(prefix.length),
    }
  }

  /**
   * Compares rows with the entries of an index, a chunk at a time: first every row must have its entry, then every
   * entry its row. A chunk reads from one moment, so writes that go on do not disturb it.
   */
  async validate(
    index: Pick<IndexPlan, 'indexId' | 'columns'>,
    resumeAt: Uint8Array | undefined,
    limit: number,
  ): Promise<{ resumeAt: Uint8Array | undefined; rows: number; missing: number; orphans: number }> {
    const phase = resumeAt?.[0] ?? 0
    const inner = resumeAt !== undefined && resumeAt.length > 1 ? resumeAt.subarray(1) : undefined
    return this.#state.view(async (reader) => {
      if (phase === 0) {
        const page = await readPage(
          reader,
          inner ?? stored(new Uint8Array(0)),
          Uint8Array.of(rowTag + 1),
          limit,
        )
        const entries = await reader.getMany(
          page.items.map(([key, row]) => entryKey(index, decodeRow(row), key.subarray(1))),
        )
        const missing = entries.filter((entry) => entry === undefined).length
        const next = concatBytes(
          page.resumeAt === undefined ? [Uint8Array.of(1)] : [Uint8Array.of(0), page.resumeAt],
        )
        return { resumeAt: next, rows: page.items.length, missing, orphans: 0 }
      }
      const prefix = entryPrefix(index.indexId)
      const page = await readPage(reader, inner ?? prefix, prefixEnd(prefix), limit)
      const rows = await reader.getMany(page.items.map(([, key]) => stored(key)))
      const orphans = page.items.filter(([entry, key], i) => {
        const row = rows[i]
        return row === undefined || !equalBytes(entryKey(index, decodeRow(row), key), entry)
      }).length
      const next = page.resumeAt === undefined ? undefined : concatBytes([Uint8Array.of(1), page.resumeAt])
      return { resumeAt: next, rows: page.items.length, missing: 0, orphans }
    })
  }

  async #execute(
    batch: LevelStateBatch,
    facts: Facts,
    command: RangeCommand,
    term: number,
  ): Promise<{ result: Uint8Array; facts: Facts }> {
    const refuse = (...refusal: Parameters<typeof encodeRefusal>): { result: Uint8Array; facts: Facts } => ({
      result: encodeRefusal(...refusal),
      facts,
    })
    const done = (rows: number, next: Partial<Facts> = {}, resumeAt?: Uint8Array) => ({
      result: encodeResult({ rows, resumeAt }),
      facts: Object.keys(next).length === 0 ? facts : { ...facts, ...next },
    })
    const staleEffects = (sequence: number): Partial<Facts> =>
      sequence !== 0 && sequence !== term ? { staleEffects: facts.staleEffects + 1 } : {}

    const fence = new SchemaFence(facts)
    const deposed = 'epoch' in command ? fence.refusalOfChunk(command.epoch) : undefined
    if (deposed !== undefined) return refuse(deposed.code, deposed.message)
    switch (command.type) {
      case 'write': {
        const stale = fence.refusal(command.version)
        if (stale !== undefined) return refuse(stale.code, stale.message)
        if (command.writes.some(({ key }) => !this.#holds(key))) {
          return refuse('STALE_GENERATION', 'a key lies outside this range; look the range up again')
        }
        for (const write of command.writes) {
          const bytes = batch.getFetched(stored(write.key))
          const before = bytes === undefined ? undefined : decodeRow(bytes)
          const after = write.type === 'replace' ? write.row : { ...before, ...write.columns }
          this.#indexes.apply(batch, command.indexes, write.key, before, after)
          batch.put(stored(write.key), encodeRow(after))
        }
        return done(command.writes.length, staleEffects(command.sequence))
      }
      case 'ledger':
        return done(0, { ledger: command.writes, ...staleEffects(command.sequence) })
      case 'barrier': {
        const { minimumVersion, epoch } = fence.raised(command)
        return done(0, { minimumVersion, epoch })
      }
      case 'backfill': {
        const filled: Uint8Array[] = []
        const keys: Uint8Array[] = []
        let next: Uint8Array | undefined
        const start = stored(command.resumeAt ?? new Uint8Array(0))
        for await (const [key, value] of batch.range({ start, end: Uint8Array.of(rowTag + 1) })) {
          const primaryKey = key.slice(1)
          if (keys.length === command.maximumRows) {
            next = primaryKey
            break
          }
          keys.push(primaryKey)
          filled.push(entryKey(command.index, decodeRow(value), primaryKey))
        }
        for (const [i, entry] of filled.entries()) batch.put(entry, keys[i] as Uint8Array)
        return done(keys.length, { epoch: command.epoch }, next)
      }
      case 'purge': {
        const prefix = entryPrefix(command.indexId)
        const end = prefixEnd(prefix)
        const doomed: Uint8Array[] = []
        for await (const [key] of batch.range({ start: prefix, ...(end === undefined ? {} : { end }) })) {
          if (doomed.length === command.maximumRows) break
          doomed.push(key)
        }
        for (const key of doomed) batch.delete(key)
        const more = doomed.length === command.maximumRows ? prefix : undefined
        return done(doomed.length, { epoch: command.epoch }, more)
      }
    }
  }

  #holds(key: Uint8Array): boolean {
    const { start, end } = this.#bounds
    return compareBytes(start, key) <= 0 && (end === undefined || compareBytes(key, end) < 0)
  }
}

async function readPage(
  reader: LevelStateReader,
  start: Uint8Array,
  end: Uint8Array | undefined,
  limit: number,
): Promise<Page<LevelStatePair>> {
  const items: LevelStatePair[] = []
  for await (const pair of reader.range({ start, ...(end === undefined ? {} : { end }) })) {
    if (items.length === limit) return { items, resumeAt: pair[0].slice() }
    items.push([pair[0].slice(), pair[1].slice()])
  }
  return { items, resumeAt: undefined }
}

function encodeFacts(facts: Facts): Uint8Array {
  return encodePlain([1, facts.minimumVersion, facts.epoch, facts.ledger, facts.staleEffects])
}

/** @throws KeelsonError `MALFORMED` */
async function readFacts(reader: LevelStateReader): Promise<Facts> {
  const bytes = await reader.get(factsKey)
  if (bytes === undefined) return noFacts
  const fields = new Fields(decodePlain(bytes, 'the facts of a range'), 'the facts of a range')
  fields.oneOf('version', [1])
  return {
    minimumVersion: fields.uint('minimum version'),
    epoch: fields.uint('epoch'),
    ledger: fields.uint('ledger'),
    staleEffects: fields.uint('stale effects'),
  }
}
