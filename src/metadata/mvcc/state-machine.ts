import { deferred } from '../../core/async.ts'
import { copyBytes, hex, utf8 } from '../../core/bytes.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { checkOptions, objectOption, stringOption } from '../../core/options.ts'
import type {
  Bookkeeping,
  BookkeepingWrite,
  Command,
  CommandOutput,
  StateMachine,
  StateSnapshot,
} from '../../interfaces/state-machine.ts'
import { checkFlushable, flushLevel } from '../../storage/level/durability.ts'
import { decodeCommand } from './commands.ts'
import { execute, executePut } from './execute.ts'
import { decodeBlock, decodeSingle, putBlocks } from './image-blocks.ts'
import { ImageWriter } from './image-writer.ts'
import {
  byteEncodings,
  decodeNumbers,
  decodePointer,
  encodeNumbers,
  encodePointer,
  Layout,
  recordKinds,
  type Slot,
  type StateDatabase,
  type StateIterator,
} from './layout.ts'
import { MvccState } from './mvcc-state.ts'
import { PlainPut } from './plain-put.ts'
import { decodeSession } from './session-record.ts'
import { encodeState, StateDecoder } from './snapshot-stream.ts'
import type { MvccReader } from './state-types.ts'
import type { StoredVersion } from './version.ts'
import { encodeRefusal } from './wire.ts'

/** What a {@link MetadataStateMachine} is made of. */
export interface MetadataStateMachineOptions {
  /**
   * Any abstract-level that `flushLevel` can flush. A classic-level is opened by `openLevel`, as it may otherwise lose
   * writes from the middle in a power cut. The machine never closes it.
   */
  readonly database: StateDatabase
  /** Its keys start with this. Default: `metadata/`. */
  readonly prefix?: string
}

/** Reads the records of a slot as they are when it is made, by their kind. */
type ImageView = Readonly<Record<keyof typeof recordKinds, StateIterator>>

/** Sizes of what goes over the wire or into one batch. */
const snapshotChunkBytes = 256 * 1024
const restoreBatchBytes = 1024 * 1024
const loadPage = 1_000
/** After so many batches and commands their bookkeeping is made, whether or not it is time to store it: until then it takes memory. */
const gatheredCommands = 16_384

const nothing = (): readonly BookkeepingWrite[] => []

/**
 * The metadata store's state machine: an MVCC state in memory with an image of it in an abstract-level. What commands
 * changed, the new digest and the group's bookkeeping go there in atomic batches of whole `apply`s, behind them: `apply`
 * resolves when memory has it, a crash takes batches from the end, and the log repeats them.
 *
 * Opening reads the whole image back and compares its hash with the one that was stored: an image that lost a record
 * is refused with `CORRUPTION`.
 *
 * A command of a version that this release does not know stops the machine: `apply` throws `UNSUPPORTED`, now and at
 * every later call.
 */
export class MetadataStateMachine implements StateMachine {
  readonly #database: StateDatabase
  readonly #layout: Layout
  readonly #listeners = new Set<() => void>()
  #state = new MvccState()
  #slot: Slot = 1
  #bookkeeping = new Map<string, Uint8Array>()
  /** Makes the bookkeeping that has changed, for a group that leaves it to the machine when. */
  #changed: () => readonly BookkeepingWrite[] = nothing
  /** Batches and commands that were applied since it was last made. */
  #since = 0
  #stopped: KeelsonError | undefined
  #verified: { readonly index: number; readonly digest: string } | undefined
  #opened = false
  #closed = false
  readonly #image: ImageWriter
  readonly #put = new PlainPut()
  /** Nothing is applied before it settles. */
  #held: Promise<void> | undefined
  /** The batch that is being applied, or waits for that. */
  #applying: Promise<void> | undefined

  /**
   * Nothing is read before `open`, which the group calls.
   *
   * @throws KeelsonError `INVALID_OPTION`; `UNSUPPORTED` for a database that `flushLevel` refuses
   */
  constructor(options: MetadataStateMachineOptions) {
    const { database, prefix } = checkOptions<Required<MetadataStateMachineOptions>>(
      'MetadataStateMachine',
      options,
      {
        database: objectOption<StateDatabase>(['open', 'get', 'batch', 'clear', 'iterator']),
        prefix: stringOption({ fallback: 'metadata/' }),
      },
    )
    checkFlushable(database)
    this.#database = database
    this.#layout = new Layout(utf8(prefix))
    this.#image = new ImageWriter(database, this.#layout, () =>
      encodeNumbers(this.#state, this.#state.digest()),
    )
  }

  /** What is applied now. A restore replaces the object: ask for it again after every wait. */
  get reader(): MvccReader {
    return this.#state
  }

  /** Bytes that count against the database quota. */
  get bytes(): number {
    return this.#state.bytes
  }

  /** Sessions that have not ended. */
  get sessionCount(): number {
    return this.#state.sessionCount
  }

  /** Versions that a compaction left behind wait for `clear` commands. */
  get hasGarbage(): boolean {
    return this.#state.hasGarbage
  }

  /** Hash of the state at {@link MvccReader.revision}: equal on all replicas with the same applied index. */
  digest(): string {
    return this.#state.digest()
  }

  /** Where the last `verify` command stood in the log, and the digest there: members compare theirs. */
  get verified():
    | {
        /** Log index up to which the states were compared. */
        readonly index: number
        /** Hash of the state there. */
        readonly digest: string
      }
    | undefined {
    return this.#verified
  }

  /** Calls `listener` after each batch and after each restore, until the function that is returned is called. */
  onApplied(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  async open(): Promise<Bookkeeping> {
    if (this.#opened)
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        'the state machine is open already; make another one for another replica',
      )
    this.#opened = true
    await this.#database.open()
    const pointer = await this.#get(this.#layout.pointer)
    this.#slot = pointer === undefined ? 1 : decodePointer(pointer)
    this.#image.turn(this.#slot)
    // What an interrupted restore left behind.
    await this.#database.clear({ ...this.#layout.within(this.#slot === 1 ? 2 : 1), keyEncoding: 'view' })
    const loaded = await this.#read(this.#view(this.#slot))
    this.#state = loaded.state
    this.#bookkeeping = loaded.bookkeeping
    return new Map(this.#bookkeeping)
  }

  gatherBookkeeping(changed: () => readonly BookkeepingWrite[]): void {
    this.#changed = changed
  }

  async apply(
    commands: readonly Command[],
    seal: (results: readonly CommandOutput[]) => readonly BookkeepingWrite[],
  ): Promise<void> {
    const ended = deferred<void>()
    this.#applying = ended.promise
    try {
      while (this.#held !== undefined) await this.#held
      this.#checkUsable()
      const state = this.#state
      try {
        state.attach(this.#image.sink())
        const results = commands.map((command) => this.#execute(state, command))
        this.#put.clear()
        this.#keep(seal(results))
        this.#since += 1 + commands.length
        if (this.#since >= gatheredCommands || this.#image.isFull) this.#gather()
        // What the database cannot take in waits here.
        if (this.#image.isFull) await this.#image.send()
      } catch (error) {
        // Memory and disk may differ now; only opening again makes them one.
        this.#stopped = toKeelsonError(error)
        await this.#image.abandon(this.#stopped)
        throw this.#stopped
      }
    } finally {
      this.#applying = undefined
      ended.resolve()
    }
    this.#notify()
  }

  /** Makes the bookkeeping what it is as of the last batch, which has come to its end. */
  #gather(): void {
    this.#since = 0
    this.#keep(this.#changed())
  }

  #keep(writes: readonly BookkeepingWrite[]): void {
    for (const { key, value } of writes) {
      // The group may reuse its buffer.
      const copy = value === undefined ? undefined : copyBytes(value)
      if (copy === undefined) this.#bookkeeping.delete(key)
      else this.#bookkeeping.set(key, copy)
      this.#image.keep(key, copy)
    }
  }

  /** Waits until the image is that of the state. No batch is under way. @throws KeelsonError when a write failed */
  async #written(): Promise<void> {
    this.#gather()
    await this.#image.send()
    await this.#image.written()
  }

  async flush(): Promise<void> {
    this.#checkUsable()
    await this.#written()
    await this.#flush()
  }

  /** A view of the state as it is now, which shares its data with the state. Close it after use. */
  async snapshot(): Promise<StateSnapshot> {
    this.#checkUsable()
    this.#gather()
    const view = this.#state.view()
    const bookkeeping = new Map(this.#bookkeeping)
    return {
      bookkeeping,
      async *chunks() {
        yield* encodeState(view, snapshotChunkBytes)
      },
      async [Symbol.asyncDispose]() {},
    }
  }

  async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    while (this.#held !== undefined) await this.#held
    this.#checkUsable()
    await this.#written()
    const slot: Slot = this.#slot === 1 ? 2 : 1
    await this.#database.clear({ ...this.#layout.within(slot), keyEncoding: 'view' })
    const state = await this.#fill(slot, bookkeeping, chunks)
    // The pointer must never lead to records that are not there.
    await this.#flush()
    try {
      await this.#turn(slot)
      await this.#flush()
    } catch (cause) {
      // The pointer may or may not be on the disk: only opening again tells which state it is.
      this.#stopped = new KeelsonError(
        'STORE_POISONED',
        'the switch to a restored metadata store failed half-way; open it again to see which one it is',
        { cause },
      )
      throw this.#stopped
    }
    const old = this.#slot
    this.#slot = slot
    this.#image.turn(slot)
    this.#state = state
    this.#bookkeeping = new Map(bookkeeping)
    this.#notify()
    // The state has changed: no failure may say otherwise. What stays behind is deleted on the next open.
    await this.#database.clear({ ...this.#layout.within(old), keyEncoding: 'view' }).catch(() => {})
  }

  async destroy(): Promise<void> {
    this.#stopped = new KeelsonError('CLOSED', 'the state of this replica was destroyed')
    await this.#image.abandon(this.#stopped)
    const other: Slot = this.#slot === 1 ? 2 : 1
    // The pointer goes last, and leads to an empty slot until then: a crash on the way leaves an empty state.
    await this.#database.clear({ ...this.#layout.within(other), keyEncoding: 'view' })
    await this.#turn(other)
    await this.#database.clear({ ...this.#layout.within(this.#slot), keyEncoding: 'view' })
    await this.#flush()
    await this.#database.clear({ ...this.#layout.whole, keyEncoding: 'view' })
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#listeners.clear()
    // What cannot be written is in the log. So is a batch that comes too late, and the bookkeeping has seen it already.
    const whole = this.#opened && this.#stopped === undefined && this.#applying === undefined
    if (whole) await this.#written().catch(() => {})
  }

  /**
   * Reads the image again and compares it with memory. Commands wait until what was applied is written, and go on while the
   * image of that moment is read.
   *
   * @throws KeelsonError `CORRUPTION`
   */
  async verify(): Promise<void> {
    const { view, digest, revision } = await this.#hold(async () => {
      await this.#written()
      // In one turn, so that nothing comes in between.
      return { view: this.#view(this.#slot), digest: this.#state.digest(), revision: this.#state.revision }
    })
    const { state } = await this.#read(view)
    if (state.digest() === digest && state.revision === revision) return
    throw new KeelsonError(
      'CORRUPTION',
      'the metadata store in memory differs from its image on disk; replace this replica',
    )
  }

  /** Begins between two batches, and has the next one wait for its end. */
  async #hold<T>(act: () => Promise<T>): Promise<T> {
    for (let other = this.#busy; other !== undefined; other = this.#busy) await other
    this.#checkUsable()
    const acting = act()
    this.#held = acting.then(
      () => {},
      () => {},
    )
    try {
      return await acting
    } finally {
      this.#held = undefined
    }
  }

  get #busy(): Promise<void> | undefined {
    return this.#held ?? this.#applying
  }

  #execute(state: MvccState, command: Command): CommandOutput {
    try {
      if (this.#put.read(command.data)) {
        const answer = executePut(state, this.#put)
        if (answer !== undefined) return answer
      }
      const decoded = decodeCommand(command.data)
      if (decoded.type === 'verify') this.#verified = { index: command.index, digest: state.digest() }
      return execute(state, decoded)
    } catch (error) {
      // What is not even a command is refused by every replica alike.
      if (KeelsonError.hasCode(error, 'MALFORMED')) return encodeRefusal(error)
      throw error
    }
  }

  #checkUsable(): void {
    const stopped = this.#stopped ?? this.#image.failure
    if (stopped !== undefined) throw stopped
    if (this.#closed || !this.#opened)
      throw new KeelsonError('CLOSED', 'the state machine is not open; open it first')
  }

  #notify(): void {
    for (const listener of this.#listeners) listener()
  }

  async #flush(): Promise<void> {
    await flushLevel(this.#database, this.#layout.flushMark)
  }

  async #turn(slot: Slot): Promise<void> {
    const batch = this.#database.batch()
    batch.put(this.#layout.pointer, encodePointer(slot), byteEncodings)
    await batch.write({ sync: true })
  }

  async #get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#database.get(key, byteEncodings)
  }

  #view(slot: Slot): ImageView {
    const over = (kind: number): StateIterator =>
      this.#database.iterator({ ...this.#layout.within(slot, kind), ...byteEncodings })
    return {
      bookkeeping: over(recordKinds.bookkeeping),
      session: over(recordKinds.session),
      version: over(recordKinds.version),
      numbers: over(recordKinds.numbers),
      block: over(recordKinds.block),
      dropped: over(recordKinds.dropped),
    }
  }

  async #read(
    view: ImageView,
  ): Promise<{ readonly state: MvccState; readonly bookkeeping: Map<string, Uint8Array> }> {
    try {
      const bookkeeping = new Map<string, Uint8Array>()
      await each(view.bookkeeping, (key, value) => {
        bookkeeping.set(this.#layout.bookkeepingName(key), copyBytes(value))
      })
      const [record] = await view.numbers.nextv(1)
      if (record === undefined) {
        const others = [view.session, view.version, view.block]
        const unexpected = (await Promise.all(others.map(async (kind) => kind.nextv(1)))).flat()
        if (unexpected.length === 0) return { state: new MvccState(), bookkeeping }
        throw new KeelsonError(
          'CORRUPTION',
          'the metadata store on disk lost the record of its revisions; replace this replica',
        )
      }
      const numbers = decodeNumbers(record[1])
      const state = new MvccState(numbers)
      await each(view.session, (_key, value) => {
        state.loadSession(decodeSession(value), value)
      })
      const versions: StoredVersion[] = []
      await each(view.version, (key, value) => versions.push(decodeSingle(key, value)))
      const dropped = new Map<string, Uint8Array>()
      await each(view.dropped, (key, value) => dropped.set(hex(key), copyBytes(value)))
      await each(view.block, (key, value) => {
        versions.push(...decodeBlock(key, value, dropped.get(hex(this.#layout.droppedOf(key)))))
      })
      // What was moved to another block is out of order.
      versions.sort((a, b) => a.modRevision - b.modRevision || a.sub - b.sub)
      for (const version of versions) state.loadVersion(version)
      state.checkLoaded(numbers.digest)
      return { state, bookkeeping }
    } finally {
      for (const iterator of Object.values(view)) await iterator.close()
    }
  }

  /** Writes a snapshot into a slot that nobody reads yet. */
  async #fill(slot: Slot, bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<MvccState> {
    let batch = this.#database.batch()
    let pending = 0
    let versions: StoredVersion[] = []
    try {
      const layout = this.#layout
      const decoder = new StateDecoder({
        session: (session, record) => {
          batch.put(layout.session(slot, session.sessionId), copyBytes(record), byteEncodings)
          pending += record.length
        },
        version: (version) => {
          versions.push(version)
          pending += version.recordBytes
        },
      })
      for await (const chunk of chunks) {
        decoder.push(chunk)
        if (pending < restoreBatchBytes) continue
        putBlocks(batch, layout, slot, versions)
        versions = []
        await batch.write()
        batch = this.#database.batch()
        pending = 0
      }
      const state = decoder.finish()
      putBlocks(batch, layout, slot, versions)
      for (const [name, value] of bookkeeping)
        batch.put(layout.bookkeeping(slot, name), copyBytes(value), byteEncodings)
      batch.put(layout.numbers(slot), encodeNumbers(state, state.digest()), byteEncodings)
      await batch.write()
      return state
    } catch (error) {
      await batch.close()
      throw error
    }
  }
}

async function each(
  iterator: StateIterator,
  visit: (key: Uint8Array, value: Uint8Array) => void,
): Promise<void> {
  for (;;) {
    const page = await iterator.nextv(loadPage)
    if (page.length === 0) return
    for (const [key, value] of page) visit(key, value)
  }
}
