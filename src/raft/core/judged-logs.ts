import { equalBytes } from '../../core/bytes.ts'
import { entryKinds, type LogEntry, type LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { decodeConfiguration } from './configuration.ts'
import { electorateOf, overlap } from './electorate.ts'
import type { RaftCore } from './raft.ts'
import { moveKey, type Seen } from './seen.ts'
import { violated } from './violation.ts'

/** The entries of a core as they were last seen, from index `first` on. Changed in place. */
interface SeenLog {
  first: number
  entries: LogEntry[]
}

/** An entry of the history: what every log that has this index and term must hold. */
interface Known {
  readonly entry: LogEntry
  readonly previousTerm: number
}

/** Judges the logs of a group: a leader only appends to its own, and what two of them share is the same all the way back. */
export class JudgedLogs {
  readonly #logs: Map<ReplicaId, SeenLog> = new Map()
  /** By `index/term`. */
  readonly #history: Map<string, Known> = new Map()
  readonly #recovered: LogPosition | undefined

  constructor(recovered: LogPosition | undefined) {
    this.#recovered = recovered
  }

  /** The entry that every log with this index and term has, if any log ever had it. */
  entry(index: number, term: number | undefined): LogEntry | undefined {
    return this.#history.get(`${index}/${term}`)?.entry
  }

  forget(replicaId: ReplicaId): void {
    this.#logs.delete(replicaId)
  }

  rename(from: ReplicaId, to: ReplicaId): void {
    moveKey(this.#logs, from, to)
  }

  check(core: RaftCore, before: Seen | undefined): void {
    const { log } = core
    if (before?.leads === true && core.role === 'leader' && core.term === before.term) {
      if (log.truncations !== before.truncations || log.lastIndex < before.lastIndex) {
        violated('leader append-only', `${core.replicaId} cut its log as leader of ${core.term}`)
      }
    }
    let seen = this.#logs.get(core.replicaId)
    if (seen === undefined || before === undefined || log.memoryFirst > seen.first + seen.entries.length) {
      seen = { first: log.memoryFirst, entries: [] }
      this.#logs.set(core.replicaId, seen)
    }
    // From the end backwards, until what was there before.
    let index = log.lastIndex
    while (index >= log.memoryFirst) {
      const entry = log.entries[index - log.memoryFirst] as LogEntry
      if (seen.entries[index - seen.first] === entry) break
      this.#checkEntry(core, entry, log.termAt(index - 1) as number)
      index--
    }
    if (index < seen.first) seen.first = index + 1
    seen.entries.length = index + 1 - seen.first
    while (index < log.lastIndex) seen.entries.push(log.entries[++index - log.memoryFirst] as LogEntry)
    if ((log.memoryFirst - seen.first) * 2 > seen.entries.length) {
      seen.entries.splice(0, log.memoryFirst - seen.first)
      seen.first = log.memoryFirst
    }
  }

  #checkEntry(core: RaftCore, entry: LogEntry, previousTerm: number): void {
    const key = `${entry.index}/${entry.term}`
    const known = this.#history.get(key)
    if (known === undefined) {
      this.#history.set(key, { entry, previousTerm })
      if (entry.kind === entryKinds.configuration) this.#checkConfiguration(core, entry)
      return
    }
    if (!sameEntry(known.entry, entry) || previousTerm !== known.previousTerm) {
      violated('log matching', `two logs differ at or before entry ${entry.index} of term ${entry.term}`)
    }
  }

  #checkConfiguration(core: RaftCore, entry: LogEntry): void {
    const before = core.configurations.at(entry.index - 1)?.configuration
    if (before === undefined) return
    const after = decodeConfiguration(entry.data)
    const forced = entry.index === this.#recovered?.index && entry.term === this.#recovered.term
    const overlaps = forced || overlap(electorateOf(before), electorateOf(after))
    const follows = forced ? after.generation > before.generation : after.generation === before.generation + 1
    if (!follows || !overlaps) {
      violated(
        'configurations overlap',
        `generation ${after.generation} at ${entry.index} does not follow on ${before.generation}`,
      )
    }
  }
}

export function sameEntry(a: LogEntry, b: LogEntry): boolean {
  return (
    a === b || (a.index === b.index && a.term === b.term && a.kind === b.kind && equalBytes(a.data, b.data))
  )
}
