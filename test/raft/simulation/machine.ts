import { ByteReader, ByteWriter, copyBytes, text, utf8 } from '../../../src/core/bytes.ts'
import { crc32 } from '../../../src/core/checksum.ts'
import { entryKinds, type LogEntry, type LogPosition } from '../../../src/interfaces/log-store.ts'
import { decodeConfiguration, encodeConfiguration } from '../../../src/raft/core/configuration.ts'
import type { Configuration } from '../../../src/raft/core/membership-types.ts'
import { type CommandId, decodeEnvelope } from '../../../src/raft/group/envelope.ts'
import { decodeSessionEntry } from '../../../src/raft/group/session-entry.ts'
import { SessionTable } from '../../../src/raft/group/session-table.ts'

/** What a client asks the replicated state to do. */
export type Command =
  | { readonly type: 'put'; readonly key: string; readonly value: string }
  | {
      readonly type: 'cas'
      readonly key: string
      readonly expected: string | undefined
      readonly value: string
    }
  | { readonly type: 'add'; readonly key: string; readonly amount: number }

/** What came of an entry: a result, or why the command was refused. */
export type Outcome =
  | { readonly type: 'result'; readonly value: string }
  | { readonly type: 'sessionUnknown' }
  | { readonly type: 'forgotten' }

export function encodeCommand(command: Command): Uint8Array {
  return utf8(
    JSON.stringify(
      command.type === 'put'
        ? ['put', command.key, command.value]
        : command.type === 'cas'
          ? ['cas', command.key, command.value, command.expected ?? null]
          : ['add', command.key, command.amount],
    ),
  )
}

/**
 * The replicated state of the simulation: a map, counters, and with it, atomically, what a group keeps beside the state:
 * applied position, configuration, client sessions. The sessions are the library's own.
 */
export class Machine {
  applied: LogPosition = { index: 0, term: 0 }
  configuration: Configuration | undefined
  /** First applied position of each term. */
  termStarts: LogPosition[] = []
  readonly values: Map<string, string> = new Map()
  readonly counters: Map<string, number> = new Map()
  /** The fold of everything applied: equal on all replicas at equal index. */
  chain = 0
  #sessions = new SessionTable()
  readonly #bookkeeping: Map<string, Uint8Array> = new Map()

  apply(entry: LogEntry): Outcome {
    const outcome = this.#execute(entry)
    if (entry.term > (this.termStarts.at(-1)?.term ?? 0)) {
      this.termStarts.push({ index: entry.index, term: entry.term })
    }
    this.applied = { index: entry.index, term: entry.term }
    const seen = utf8(`${entry.index} ${entry.term} ${JSON.stringify(outcome)}`)
    this.chain = crc32(seen, this.chain)
    for (const { key, value } of this.#sessions.takeWrites()) {
      if (value === undefined) this.#bookkeeping.delete(key)
      else this.#bookkeeping.set(key, value)
    }
    return outcome
  }

  /** Whether the session of a command is still there. */
  knows(commandId: CommandId): boolean {
    return this.#sessions.lookup(commandId).type !== 'unknown'
  }

  get(key: string): string | undefined {
    return this.values.get(key)
  }

  /** All of it as bytes: what a flush makes durable, and what a snapshot carries. Only a mutant leaves the sessions out. */
  encode(parts: { readonly sessions: boolean } = { sessions: true }): Uint8Array {
    const out = new ByteWriter(1024)
    out.u53(this.applied.index).u53(this.applied.term).u32(this.chain)
    const configuration = this.configuration === undefined ? [] : [encodeConfiguration(this.configuration)]
    out.varint(configuration.length)
    for (const bytes of configuration) out.bytes(bytes)
    out.varint(this.termStarts.length)
    for (const { index, term } of this.termStarts) out.varint(index).varint(term)
    out.varint(this.values.size)
    for (const [key, value] of [...this.values].sort(byKey)) out.string(key).string(value)
    out.varint(this.counters.size)
    for (const [key, value] of [...this.counters].sort(byKey)) out.string(key).varint(value)
    const bookkeeping = parts.sessions ? [...this.#bookkeeping].sort(byKey) : []
    out.varint(bookkeeping.length)
    for (const [key, value] of bookkeeping) out.string(key).bytes(value)
    return out.finish()
  }

  static decode(bytes: Uint8Array): Machine {
    const reader = new ByteReader(bytes, 'a simulated state')
    const machine = new Machine()
    machine.applied = { index: reader.u53(), term: reader.u53() }
    machine.chain = reader.u32()
    if (reader.varint() === 1) machine.configuration = decodeConfiguration(copyBytes(reader.bytes()))
    for (let i = reader.varint(); i > 0; i--) {
      machine.termStarts.push({ index: reader.varint(), term: reader.varint() })
    }
    for (let i = reader.varint(); i > 0; i--) machine.values.set(reader.string(), reader.string())
    for (let i = reader.varint(); i > 0; i--) machine.counters.set(reader.string(), reader.varint())
    for (let i = reader.varint(); i > 0; i--) {
      machine.#bookkeeping.set(reader.string(), copyBytes(reader.bytes()))
    }
    reader.end()
    machine.#sessions = SessionTable.restore(machine.#bookkeeping)
    return machine
  }

  #execute(entry: LogEntry): Outcome {
    switch (entry.kind) {
      case entryKinds.noop:
        return { type: 'result', value: '' }
      case entryKinds.configuration:
        this.configuration = decodeConfiguration(entry.data)
        return { type: 'result', value: String(this.configuration.generation) }
      case entryKinds.session:
        this.#sessions.apply(decodeSessionEntry(entry.data), entry.index)
        return { type: 'result', value: String(entry.index) }
      case entryKinds.command:
        return this.#command(entry)
    }
  }

  #command(entry: LogEntry): Outcome {
    const { commandId, acknowledgedBelow, payload } = decodeEnvelope(asPresent(entry.data))
    if (commandId === undefined) return { type: 'result', value: this.#run(payload) }
    const known = this.#sessions.lookup(commandId)
    if (known.type === 'unknown') return { type: 'sessionUnknown' }
    this.#sessions.touch(commandId, acknowledgedBelow, entry.index)
    if (known.type === 'duplicate') return { type: 'result', value: text(known.result) }
    if (known.type !== 'new') return { type: 'forgotten' }
    this.#sessions.admit(commandId)
    const value = this.#run(payload)
    this.#sessions.record(commandId, utf8(value))
    return { type: 'result', value }
  }

  #run(payload: Uint8Array): string {
    const [type, key, argument, expected] = JSON.parse(text(payload)) as [
      string,
      string,
      string,
      string | null,
    ]
    switch (type) {
      case 'put':
        this.values.set(key, argument)
        return ''
      case 'cas':
        if ((this.values.get(key) ?? null) !== expected) return 'false'
        this.values.set(key, argument)
        return 'true'
      default: {
        const sum = (this.counters.get(key) ?? 0) + Number(argument)
        this.counters.set(key, sum)
        return String(sum)
      }
    }
  }
}

function byKey(a: readonly [string, unknown], b: readonly [string, unknown]): number {
  return a[0] < b[0] ? -1 : 1
}

/** The durable side of a {@link Machine}: what a crash leaves of it. */
export class MachineDisk {
  /** The last flush. */
  #flushed: Uint8Array = new Machine().encode()
  /** Batches applied since, each atomic with its position; a crash keeps some of the first. */
  #since: LogEntry[][] = []
  flushedIndex = 0

  applied(batch: readonly LogEntry[]): void {
    this.#since.push(batch.slice())
  }

  /** What was applied up to `state` is durable. */
  flush(state: Uint8Array, index: number): void {
    this.#flushed = state
    this.flushedIndex = index
    this.#since = this.#since.filter((batch) => (batch.at(-1)?.index ?? 0) > index)
  }

  /** A snapshot replaces everything, durably and atomically. */
  replace(state: Uint8Array, index: number): void {
    this.#flushed = state
    this.flushedIndex = index
    this.#since = []
  }

  /** For a backup: the state as the disk has it, with all that was applied so far. */
  image(): MachineDisk {
    const copy = new MachineDisk()
    copy.restore(this)
    return copy
  }

  restore(image: MachineDisk): void {
    this.#flushed = image.#flushed
    this.#since = image.#since.slice()
    this.flushedIndex = image.flushedIndex
  }

  clear(): void {
    this.replace(new Machine().encode(), 0)
  }

  get unflushedBatches(): number {
    return this.#since.length
  }

  /** The state after a crash that left `batches` of those since the last flush. */
  recover(batches: number): Machine {
    const machine = Machine.decode(this.#flushed)
    this.#since.length = Math.min(this.#since.length, batches)
    for (const batch of this.#since) {
      for (const entry of batch) if (entry.index > machine.applied.index) machine.apply(entry)
    }
    return machine
  }
}

/** The version of commands that a later release writes, and how it reads them: they mean the same. */
export const later = 2

/** Its data as this release would have written it. */
export function asPresent(data: Uint8Array): Uint8Array {
  if (data[0] !== later) return data
  const copy = copyBytes(data)
  copy[0] = 1
  return copy
}
