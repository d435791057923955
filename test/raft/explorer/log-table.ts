import { entryKinds, type LogEntry } from '../../../src/interfaces/log-store.ts'
import { decodeConfiguration } from '../../../src/raft/core/configuration.ts'
import type { Configuration } from '../../../src/raft/core/membership-types.ts'

/**
 * Logs as numbers: 0 is the empty one, and equal logs have equal numbers. A log is its last entry and the log before it,
 * so that comparing two of them costs no more than their lengths.
 */
export class LogTable {
  readonly #byKey = new Map<string, number>()
  readonly #before: number[] = [0]
  readonly #entries: (LogEntry | undefined)[] = [undefined]
  readonly #lengths: number[] = [0]
  readonly #configurations: (Configuration | undefined)[] = [undefined]

  append(log: number, entry: LogEntry): number {
    const key = `${log}/${entry.term}/${entry.kind}/${entry.data.join(',')}`
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    const made = this.#before.length
    this.#byKey.set(key, made)
    this.#before.push(log)
    this.#entries.push(entry)
    this.#lengths.push(this.length(log) + 1)
    this.#configurations.push(
      entry.kind === entryKinds.configuration ? decodeConfiguration(entry.data) : this.configuration(log),
    )
    return made
  }

  of(entries: readonly LogEntry[]): number {
    let log = 0
    for (const entry of entries) log = this.append(log, entry)
    return log
  }

  /** Its number of entries, and the index of the last one. */
  length(log: number): number {
    return this.#lengths[log] as number
  }

  before(log: number): number {
    return this.#before[log] as number
  }

  /** The last entry. */
  last(log: number): LogEntry | undefined {
    return this.#entries[log]
  }

  /** The configuration that its last configuration entry carries. */
  configuration(log: number): Configuration | undefined {
    return this.#configurations[log]
  }

  /** Its first `length` entries, or all of them where there are fewer. */
  prefix(log: number, length: number): number {
    let at = log
    while (this.length(at) > length) at = this.before(at)
    return at
  }

  isPrefix(log: number, of: number): boolean {
    return this.prefix(of, this.length(log)) === log
  }

  entries(log: number): LogEntry[] {
    const entries: LogEntry[] = []
    for (let at = log; at !== 0; at = this.before(at)) entries.push(this.last(at) as LogEntry)
    return entries.reverse()
  }

  /** The first index at which two logs have entries of one term that are not, with all before them, the same; 0 for none. */
  contradiction(a: number, b: number): number {
    const common = Math.min(this.length(a), this.length(b))
    let [x, y] = [this.prefix(a, common), this.prefix(b, common)]
    let found = 0
    while (x !== y) {
      if (this.last(x)?.term === this.last(y)?.term) found = this.length(x)
      x = this.before(x)
      y = this.before(y)
    }
    return found
  }
}
