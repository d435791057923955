import { type KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { deleteBlock, dropFromBlock, putBlocks, putDropped } from './image-blocks.ts'
import { byteEncodings, type Layout, type Slot, type StateBatch, type StateDatabase } from './layout.ts'
import type { ChangeSink } from './state-types.ts'
import type { ImageBlock, StoredVersion } from './version.ts'

/**
 * What is gathered is handed to the database when it has grown to this size: far above the results of commands that clients
 * have not acknowledged yet, which would be written again and again otherwise, as most of them are forgotten soon.
 */
const gatheredBytes = 1024 * 1024
/** About what a record takes beside its value. */
const recordBytes = 48

/**
 * Writes the image of the state behind the commands: gathers what many of them change and hands it to the database as one
 * atomic batch, one write at a time. A crash takes what was gathered and what was not flushed, always from the end, and the
 * log repeats it: it is compacted only up to what a flush made durable. So nobody waits for the database unless it is slower
 * than the commands, and a record that changes with every command is written once a batch.
 */
export class ImageWriter {
  readonly #database: StateDatabase
  readonly #layout: Layout
  readonly #numbers: () => Uint8Array
  #slot: Slot = 1
  #batch: StateBatch | undefined
  /** Versions that are in no block yet, some of them dropped meanwhile. */
  #versions: StoredVersion[] = []
  /** Blocks of which versions were dropped. */
  readonly #touched = new Set<ImageBlock>()
  #bytes = 0
  /** The latest value of each bookkeeping record that changed, `undefined` for a deletion. */
  #bookkeeping = new Map<string, Uint8Array | undefined>()
  /** The write that is under way, at most one. Never rejects. */
  #writing: Promise<void> = Promise.resolve()
  #failure: KeelsonError | undefined

  /** `numbers` tells what the record of the revisions must say of everything that was gathered. */
  constructor(database: StateDatabase, layout: Layout, numbers: () => Uint8Array) {
    this.#database = database
    this.#layout = layout
    this.#numbers = numbers
  }

  /** Why nothing is written any more. */
  get failure(): KeelsonError | undefined {
    return this.#failure
  }

  /** It is time to {@link send}. */
  get isFull(): boolean {
    return this.#bytes >= gatheredBytes
  }

  /** Writes go to another slot from now on. Nothing is gathered at that time. */
  turn(slot: Slot): void {
    this.#slot = slot
  }

  /** Takes the changes of commands. */
  sink(): ChangeSink {
    const layout = this.#layout
    const slot = this.#slot
    return {
      putVersion: (version) => this.#gather(version),
      dropVersion: (version) => this.#drop(version),
      putSession: (session, record) => this.#put(layout.session(slot, session.sessionId), record),
      dropSession: (sessionId) => this.#delete(layout.session(slot, sessionId)),
    }
  }

  /** Takes a bookkeeping record, which must not change any more. */
  keep(name: string, value: Uint8Array | undefined): void {
    // What it takes the place of is not written: the results of commands are mostly forgotten before.
    if (this.#bookkeeping.has(name)) this.#bytes -= recordBytes + (this.#bookkeeping.get(name)?.length ?? 0)
    this.#bookkeeping.set(name, value)
    this.#bytes += recordBytes + (value?.length ?? 0)
  }

  /**
   * Hands what was gathered to the database, when it has taken what came before. Nothing may be half gathered.
   *
   * @throws KeelsonError when an earlier write failed
   */
  async send(): Promise<void> {
    await this.written()
    if (this.#bytes === 0) return
    const batch = this.#open()
    // After the deletions: a block may get the name of one that was given up.
    const held = this.#versions.filter(({ dropped }) => !dropped)
    this.#versions = []
    putBlocks(batch, this.#layout, this.#slot, held)
    for (const block of this.#touched) putDropped(batch, this.#layout, block)
    this.#touched.clear()
    for (const [name, value] of this.#bookkeeping) {
      const key = this.#layout.bookkeeping(this.#slot, name)
      if (value === undefined) batch.del(key, { keyEncoding: 'view' })
      else batch.put(key, value, byteEncodings)
    }
    batch.put(this.#layout.numbers(this.#slot), this.#numbers(), byteEncodings)
    this.#bookkeeping = new Map()
    this.#batch = undefined
    this.#bytes = 0
    this.#writing = this.#write(batch)
  }

  /** Waits for the write that is under way. @throws KeelsonError when it or an earlier one failed */
  async written(): Promise<void> {
    await this.#writing
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Drops what was gathered, for good: memory and image may differ from now on. */
  async abandon(failure: KeelsonError): Promise<void> {
    this.#failure ??= failure
    this.#bookkeeping.clear()
    this.#versions = []
    this.#touched.clear()
    this.#bytes = 0
    const batch = this.#batch
    this.#batch = undefined
    await batch?.close()
    await this.#writing
  }

  async #write(batch: StateBatch): Promise<void> {
    try {
      await batch.write()
    } catch (error) {
      this.#failure ??= toKeelsonError(error)
      await batch.close().catch(() => {})
    }
  }

  #open(): StateBatch {
    this.#batch ??= this.#database.batch()
    return this.#batch
  }

  #gather(version: StoredVersion): void {
    this.#versions.push(version)
    this.#bytes += recordBytes + version.recordBytes
  }

  #drop(version: StoredVersion): void {
    const { block } = version
    // It was never written, and never will be.
    if (block === undefined) return
    const left = dropFromBlock(block, version)
    if (left === 'kept') {
      if (this.#touched.has(block)) return
      this.#touched.add(block)
      this.#bytes += recordBytes + block.versions.length / 8
      return
    }
    this.#touched.delete(block)
    deleteBlock(this.#open(), this.#layout, block)
    this.#bytes += recordBytes
    if (left === 'empty') return
    for (const held of block.versions) {
      if (held.dropped) continue
      held.block = undefined
      this.#gather(held)
    }
  }

  #put(key: Uint8Array, record: Uint8Array): void {
    this.#open().put(key, record, byteEncodings)
    this.#bytes += recordBytes + record.length
  }

  #delete(key: Uint8Array): void {
    this.#open().del(key, { keyEncoding: 'view' })
    this.#bytes += recordBytes
  }
}
