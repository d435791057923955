import { KeelsonError } from '../../core/errors.ts'
import type { Logger } from '../../core/logger.ts'
import { type BatchHeader, batchHeaderBytes, checkPayload, readBatchHeader } from '../batch-format.ts'
import type { LogExtent, LogMedium, LogReplay, Stretch } from '../log-medium.ts'
import { byteEncodings, type LevelDatabase, synced } from './database.ts'
import { levelError } from './open.ts'

/** First byte of the key of a batch; its position follows, big endian, so that the order of keys is that of the log. */
const batchTag = 0x62

/** The least that is worth giving up at a time. */
const leastToGiveUp = 256 * 1024

function batchKey(position: number): Uint8Array {
  const key = new Uint8Array(9)
  const view = new DataView(key.buffer)
  view.setUint8(0, batchTag)
  view.setUint32(1, Math.floor(position / 0x1_0000_0000))
  view.setUint32(5, position % 0x1_0000_0000)
  return key
}

const firstKey = batchKey(0)
const endKey = Uint8Array.of(batchTag + 1)

function positionOf(key: Uint8Array): number {
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength)
  return key.length === 9 ? view.getUint32(1) * 0x1_0000_0000 + view.getUint32(5) : Number.NaN
}

/**
 * A log in an ordered database: one value per batch, one synced write at a time. What is given up is deleted in the same
 * synced write.
 *
 * LevelDB skips a damaged block without a word, so a batch could vanish from the middle. Their positions give it away:
 * each batch is where the one before ends, and each says where the log begins.
 *
 * LevelDB also closes its own log file without a sync when its memtable is full. That cannot hurt here: each write is
 * synced before the next one begins, and a sync covers all that stands before it in its file, so at a change of files
 * nothing of this log is left unsynced. Unsynced writes of others to the same database may be lost in a power cut, and
 * LevelDB shows what comes after them (only `openLevel` does not, and a log is not put into its databases). The one
 * unsynced write of a log, the deletion of leftovers when it is opened, is only done again.
 */
export class LevelMedium implements LogMedium {
  readonly maximumBatchBytes: number
  /** LevelDB does not tell how much room there is. */
  readonly short = false
  readonly #database: LevelDatabase
  readonly #where: string
  readonly #seed: number
  readonly #ready: boolean
  readonly #logger: Logger
  /** Positions of the batches that are stored, and their sizes; what was given up is cut off now and then. */
  #positions: number[] = []
  #sizes: number[] = []
  #oldest = 0
  #storedBytes = 0

  constructor(
    database: LevelDatabase,
    where: string,
    seed: number,
    maximumBatchBytes: number,
    ready: boolean,
    logger: Logger,
  ) {
    this.#database = database
    this.#where = where
    this.#seed = seed
    this.maximumBatchBytes = maximumBatchBytes
    this.#ready = ready
    this.#logger = logger
  }

  get storedBytes(): number {
    return this.#storedBytes
  }

  admit(): void {
    // Nothing is known that would speak against it.
  }

  async recover(replay: LogReplay): Promise<LogExtent> {
    const database = this.#database
    try {
      const all = { gte: firstKey, lt: endKey, ...byteEncodings }
      const [last] = await database.iterator({ ...all, reverse: true, limit: 1 }).all()
      if (last === undefined) {
        // A log that was made has at least one batch.
        if (this.#ready) throw this.#corruption(0, 'it is empty')
        return { end: 0, first: 0 }
      }
      const { first } = this.#header(last[0], last[1])
      // What was given up is deleted in one act with the batch that says so; more of it only comes back with damage.
      await database.clear({ gte: firstKey, lt: batchKey(first), keyEncoding: 'view' })
      let expected = first
      for await (const [key, value] of database.iterator({
        ...all,
        gte: batchKey(first),
      })) {
        const header = this.#header(key, value)
        const { position } = header
        if (position !== expected) {
          throw this.#corruption(
            expected,
            `the batches up to ${position} are missing, which a damaged block of LevelDB swallows in silence`,
          )
        }
        this.#replay(value, header, replay)
        this.#positions.push(position)
        this.#sizes.push(value.length)
        this.#storedBytes += value.length
        expected = position + value.length
      }
      return { end: expected, first }
    } catch (error) {
      throw levelError(error, this.#where)
    }
  }

  async append(bytes: Uint8Array, position: number, first: number): Promise<void> {
    let given = this.#oldest
    while (given < this.#positions.length && (this.#positions[given] as number) < first) given++
    try {
      if (given === this.#oldest) {
        await this.#database.put(batchKey(position), bytes, synced)
      } else {
        // The chained form: the array form costs several times as much.
        const batch = this.#database.batch()
        batch.put(batchKey(position), bytes, byteEncodings)
        for (let i = this.#oldest; i < given; i++) {
          batch.del(batchKey(this.#positions[i] as number), byteEncodings)
        }
        await batch.write({ sync: true })
      }
    } catch (error) {
      throw levelError(error, this.#where)
    }
    this.#positions.push(position)
    this.#sizes.push(bytes.length)
    this.#storedBytes += bytes.length
    for (; this.#oldest < given; this.#oldest++) this.#storedBytes -= this.#sizes[this.#oldest] as number
    if (this.#oldest > 1_000 && this.#oldest > this.#positions.length / 2) {
      this.#positions = this.#positions.slice(this.#oldest)
      this.#sizes = this.#sizes.slice(this.#oldest)
      this.#oldest = 0
    }
  }

  async read(stretches: readonly Stretch[]): Promise<Uint8Array[]> {
    const keys: Uint8Array[] = []
    const places: { readonly key: number; readonly offset: number }[] = []
    let known = -1
    for (const { position } of stretches) {
      const start = this.#positions[this.#find(position)] as number
      // Neighbours often share a batch.
      if (start !== known) keys.push(batchKey(start))
      known = start
      places.push({ key: keys.length - 1, offset: position - start })
    }
    let values: (Uint8Array | undefined)[]
    try {
      values = await this.#database.getMany(keys, byteEncodings)
    } catch (error) {
      throw levelError(error, this.#where)
    }
    return stretches.map(({ position, bytes }, i) => {
      const { key, offset } = places[i] as (typeof places)[number]
      const value = values[key]
      if (value === undefined) throw this.#corruption(position, 'the batch is missing')
      // A copy: an entry that is kept must not keep its whole batch.
      return new Uint8Array(value.subarray(offset, offset + bytes))
    })
  }

  boundary(): number | undefined {
    const enough = Math.max(leastToGiveUp, this.#storedBytes / 8)
    let bytes = 0
    let i = this.#oldest
    for (; i < this.#positions.length - 1 && bytes < enough; i++) bytes += this.#sizes[i] as number
    return i === this.#oldest ? undefined : this.#positions[i]
  }

  locate(position: number): string {
    return `${this.#where}, batch ${this.#positions[this.#find(position)] ?? position}`
  }

  async close(): Promise<void> {
    // The database belongs to whoever opened it.
  }

  /** Number of the batch that holds a position. */
  #find(position: number): number {
    let low = this.#oldest
    let high = this.#positions.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#positions[middle] as number) <= position) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  #header(key: Uint8Array, value: Uint8Array): BatchHeader {
    const position = positionOf(key)
    const header = readBatchHeader(value, 0, this.#seed)
    if (
      header === undefined ||
      header.position !== position ||
      header.payloadBytes !== value.length - batchHeaderBytes
    ) {
      throw this.#corruption(position, 'its header is damaged')
    }
    return header
  }

  #replay(value: Uint8Array, header: BatchHeader, replay: LogReplay): void {
    const { position } = header
    const payload = value.subarray(batchHeaderBytes)
    try {
      replay.batch(payload, position + batchHeaderBytes, checkPayload(payload, header, this.#seed))
    } catch (error) {
      if (KeelsonError.hasCode(error, 'MALFORMED')) throw this.#corruption(position, error.message)
      throw error
    }
  }

  #corruption(position: number, problem: string): KeelsonError {
    this.#logger.error({ where: this.#where, position, problem }, 'the log is damaged')
    return new KeelsonError(
      'CORRUPTION',
      `the log in ${this.#where} is damaged at batch ${position}: ${problem}. Nothing was repaired: replace this node, ` +
        'or restore the database',
      { details: { position } },
    )
  }
}
