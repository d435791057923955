import type {
  Bookkeeping,
  BookkeepingWrite,
  Command,
  RangeBounds,
  StateMachine,
  StateSnapshot,
} from 'keelson'
import { type ByteLevel, LevelState, type LevelStateReader } from 'keelson/storage/level'
import { changeBounds } from './bounds-changes.ts'
import { tookEffectElsewhere } from './command-history.ts'
import { changesBounds, decodeCommand } from './commands.ts'
import type { CommandNumber } from './protocol.ts'
import { encodeFacts, type Facts, factsKey, noFacts, readFacts } from './range-facts.ts'
import { decodeLayout, emptyLayout, encodeLayout, type Layout, layoutKey, lies } from './range-layout.ts'
import { RangeReads } from './range-reads.ts'
import { type ExportedPart, exportPart, prefixOf, type SplitPort, storedRow } from './range-surgery.ts'
import { carryOut } from './row-commands.ts'

/** The rows and index entries of one range: a replicated state machine. */
export class RangeMachine extends RangeReads implements StateMachine {
  readonly #db: ByteLevel
  readonly #rangeId: number
  readonly #state: LevelState
  readonly #port: SplitPort | undefined
  readonly #initial: Layout
  #facts: Facts = noFacts
  #layout: Layout
  /** Where rows may be read: from before a change is written that takes some away, or all. */
  #readable: RangeBounds | undefined

  /**
   * @param bounds where a range lies whose log does not say it
   * @param port makes the right-hand replicas of splits; without one there are none here
   */
  constructor(db: ByteLevel, rangeId: number, bounds?: RangeBounds, port?: SplitPort) {
    const state = new LevelState(db, prefixOf(rangeId))
    super(state)
    this.#state = state
    this.#db = db
    this.#rangeId = rangeId
    this.#port = port
    this.#initial = { ...emptyLayout, bounds }
    this.#layout = this.#initial
    this.#readable = bounds
  }

  /** What the range knows about itself, as of the last applied command. */
  get facts(): Facts {
    return this.#facts
  }

  /** Where the range lies, as of the last applied command. */
  get layout(): Layout {
    return this.#layout
  }

  /** Whether what was just read of a key is the range's to tell. Asked after reading: the key may have gone meanwhile. */
  mayTell(key: Uint8Array): boolean {
    return lies(key, this.#readable)
  }

  async open(): Promise<Bookkeeping> {
    const bookkeeping = await this.#state.open()
    this.#facts = await readFacts(this.#state)
    this.#setLayout(await this.#readLayout(this.#state))
    return bookkeeping
  }

  alone(data: Uint8Array): boolean {
    return changesBounds(data)
  }

  async apply(
    commands: readonly Command[],
    seal: (results: readonly Uint8Array[]) => readonly BookkeepingWrite[],
  ): Promise<void> {
    const decoded = commands.map((command) => ({ term: command.term, command: decodeCommand(command.data) }))
    const [first] = decoded
    if (first !== undefined && 'generation' in first.command) {
      await this.#changeBounds(first.command, (commands[0] as Command).index, seal)
      return
    }
    const batch = this.#state.batch()
    // One read for all rows that the batch will touch.
    await batch.prefetch(
      decoded.flatMap(({ command }) =>
        command.type === 'write' ? command.writes.map((write) => storedRow(write.key)) : [],
      ),
    )
    const results: Uint8Array[] = []
    const before = this.#facts
    const layoutBefore = this.#layout
    let facts = before
    let layout = layoutBefore
    for (const { term, command } of decoded) {
      const outcome = await carryOut(batch, facts, layout, command, term)
      facts = outcome.facts
      layout = outcome.layout ?? layout
      results.push(outcome.result)
    }
    if (facts !== before) batch.put(factsKey, encodeFacts(facts))
    if (layout !== layoutBefore) batch.put(layoutKey, encodeLayout(layout))
    await this.#state.commit(batch, seal(results))
    this.#facts = facts
    this.#setLayout(layout)
  }

  async flush(): Promise<void> {
    await this.#state.flush()
  }

  async snapshot(): Promise<StateSnapshot> {
    return this.#state.snapshot()
  }

  async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    let facts = noFacts
    let layout = this.#initial
    // Read before the state switches: afterwards a failure would leave old facts to new rows.
    await this.#state.restore(bookkeeping, chunks, async (content) => {
      facts = await readFacts(content)
      layout = await this.#readLayout(content)
    })
    this.#facts = facts
    this.#setLayout(layout)
  }

  async destroy(): Promise<void> {
    await this.#state.destroy()
  }

  async close(): Promise<void> {
    // The database is shared by all ranges of the node, which closes it.
  }

  /** A part of what a neighbour takes in, of a range that is frozen at this generation. */
  async exportPart(resumeAt: Uint8Array | undefined, maximumBytes: number): Promise<ExportedPart> {
    return exportPart(this.#state, this.#rangeId, resumeAt, maximumBytes)
  }

  /** What this range knows of itself, for the merge command of its neighbour. */
  exportHead(): { readonly facts: Uint8Array; readonly layout: Uint8Array } {
    return { facts: encodeFacts(this.#facts), layout: encodeLayout(this.#layout) }
  }

  /**
   * Whether a command that was sent to another range first, or to one that this one comes from, took effect already.
   *
   * @throws KeelsonError as {@link tookEffectElsewhere}
   */
  async tookEffectElsewhere(command: CommandNumber): Promise<boolean> {
    return tookEffectElsewhere({ rangeId: this.#rangeId, layout: this.#layout, state: this.#state }, command)
  }

  async #changeBounds(
    command: Parameters<typeof changeBounds>[1],
    index: number,
    seal: Parameters<typeof changeBounds>[3],
  ): Promise<void> {
    const range = {
      db: this.#db,
      rangeId: this.#rangeId,
      state: this.#state,
      port: this.#port,
      facts: this.#facts,
      layout: this.#layout,
      narrow: (readable: RangeBounds | undefined) => {
        this.#readable = readable
      },
      became: (facts: Facts, layout: Layout) => {
        this.#facts = facts
        this.#setLayout(layout)
      },
    }
    await changeBounds(range, command, index, seal)
  }

  #setLayout(layout: Layout): void {
    this.#layout = layout
    this.#readable = layout.frozen === undefined ? layout.bounds : undefined
  }

  async #readLayout(reader: LevelStateReader): Promise<Layout> {
    const bytes = await reader.get(layoutKey)
    return bytes === undefined ? this.#initial : decodeLayout(bytes)
  }
}
