import { BytePool } from '../../core/byte-pool.ts'
import { copyBytes } from '../../core/bytes.ts'
import type { LogEntry } from '../../interfaces/log-store.ts'
import type { BookkeepingWrite, Command, CommandOutput } from '../../interfaces/state-machine.ts'
import { decodeBatchEnvelope, isBatch, type ReadBatch } from './batch-envelope.ts'
import { type CommandId, decodeEnvelope } from './envelope.ts'
import type { LeaseFence } from './lease-fence.ts'
import {
  type CommandResult,
  commandForgotten,
  type Outcomes,
  sessionUnknown,
  staleSequence,
} from './outcomes.ts'
import type { SessionTable } from './session-table.ts'

/** Callers mostly let go of what they get soon, and in the order in which they got it. */
const copies = new BytePool()

/** Where the outcome of a command comes from: a number is a place in the results. */
type Source = number | CommandResult

/**
 * What the state machine is given at a time: of some entries the commands that take effect, and for each entry where its
 * outcome comes from.
 */
export class BatchPlan {
  readonly entries: readonly LogEntry[]
  readonly commands: Command[] = []
  /** What else is stored with the results. */
  readonly writes: BookkeepingWrite[] = []
  readonly #fence: LeaseFence
  readonly sessions: SessionTable
  readonly #sources: (Source | readonly Source[])[] = []
  /** Ids of the commands, by their place in the results. */
  readonly #ids: (CommandId | undefined)[] = []
  /** Places of the commands with an id, by session and sequence, once a command is there twice. */
  #places: Map<number, Map<number, number>> | undefined

  constructor(entries: readonly LogEntry[], fence: LeaseFence, sessions: SessionTable) {
    this.entries = entries
    this.#fence = fence
    this.sessions = sessions
  }

  /** The next entry has this outcome, whatever the state machine says. */
  settled(outcome: CommandResult): void {
    this.#sources.push(outcome)
  }

  /** The next entry is one of commands. */
  add(entry: LogEntry): void {
    if (isBatch(entry.data)) {
      this.#sources.push(this.#addBatch(entry, decodeBatchEnvelope(entry.data)))
      return
    }
    const { commandId, tokenSequence, acknowledgedBelow, payload } = decodeEnvelope(entry.data)
    this.#sources.push(this.#addCommand(entry, payload, commandId, tokenSequence, acknowledgedBelow))
  }

  /** Notes the results of the commands in their sessions, for their repetitions. */
  record(results: readonly CommandOutput[]): void {
    this.#ids.forEach((id, place) => {
      if (id !== undefined) this.sessions.record(id, results[place] as CommandOutput)
    })
  }

  /** One outcome for each entry. A result that is `shared` with the session is copied: its caller may change what it gets. */
  outcomes(results: readonly CommandOutput[], shared: boolean): Outcomes {
    const sources = this.#sources
    const ids = this.#ids
    const outcomeOf = (source: Source): CommandResult => {
      if (typeof source !== 'number') return source
      const result = results[source] as CommandOutput
      if (!(result instanceof Uint8Array)) return result.bytes()
      return shared && ids[source] !== undefined ? copies.copy(result) : result
    }
    return {
      size: sources.reduce<number>((size, source) => size + (isList(source) ? source.length : 1), 0),
      at: (place) => {
        const source = sources[place] as Source | readonly Source[]
        return isList(source) ? source.map(outcomeOf) : outcomeOf(source)
      },
    }
  }

  /** Each command has its own place in the session, as if it had come by itself: some may be there already. */
  #addBatch(entry: LogEntry, envelope: ReadBatch): readonly Source[] {
    const { tokenSequence, acknowledgedBelow, commands } = envelope
    const ids = this.idsOf(envelope)
    return commands.map(({ data }, i) =>
      this.#addCommand(entry, data, ids[i] as CommandId, tokenSequence, acknowledgedBelow),
    )
  }

  /** @internal */
  idsOf({ commands }: ReadBatch): readonly CommandId[] {
    return commands
  }

  /**
   * What to do with a command. The session is asked before the fence: a repetition of what took effect is answered with
   * its result even when its token has run out since, or the caller would take it for undone.
   */
  #addCommand(
    entry: LogEntry,
    data: Uint8Array,
    id: CommandId | undefined,
    tokenSequence: number,
    acknowledgedBelow: number,
  ): Source {
    if (id !== undefined) {
      const known = this.sessions.lookup(id)
      if (known.type === 'unknown') return sessionUnknown(id)
      this.sessions.touch(id, acknowledgedBelow, entry.index)
      // Its caller may change it; what the session says must not change with it.
      if (known.type === 'duplicate') return copyBytes(known.result)
      if (known.type === 'pending') return this.#placeOf(id) ?? commandForgotten(id)
      if (known.type === 'forgotten') return commandForgotten(id)
    }
    if (tokenSequence > 0 && !this.#fence.admits(tokenSequence)) {
      return staleSequence(tokenSequence, this.#fence.sequence)
    }
    const place = this.commands.length
    if (id !== undefined) {
      this.sessions.admit(id)
      if (this.#places !== undefined) notePlace(this.#places, id, place)
    }
    this.commands.push({ index: entry.index, term: entry.term, data })
    this.#ids.push(id)
    return place
  }

  #placeOf({ session, sequence }: CommandId): number | undefined {
    if (this.#places === undefined) {
      const places = new Map<number, Map<number, number>>()
      this.#ids.forEach((id, place) => {
        if (id !== undefined) notePlace(places, id, place)
      })
      this.#places = places
    }
    return this.#places.get(session)?.get(sequence)
  }
}

function isList(source: Source | readonly Source[]): source is readonly Source[] {
  return Array.isArray(source)
}

function notePlace(
  places: Map<number, Map<number, number>>,
  { session, sequence }: CommandId,
  place: number,
): void {
  const known = places.get(session)
  if (known === undefined) places.set(session, new Map([[sequence, place]]))
  else known.set(sequence, place)
}
