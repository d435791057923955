import { ByteReader, ByteWriter, copyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Bookkeeping, BookkeepingWrite, CommandOutput } from '../../interfaces/state-machine.ts'
import { type CommandId, unknownVersion } from './envelope.ts'
import type { SessionEntry } from './session-entry.ts'
import { indexIn, type ResultBlock, SessionResults } from './session-results.ts'

/**
 * What the table knows of a command id.
 *
 * - `new`: it has not taken effect and may do so now.
 * - `duplicate`: it took effect before, with this result.
 * - `pending`: it was admitted, and its result is not recorded yet: a duplicate within one batch.
 * - `forgotten`: it lies below what the client acknowledged or what the table keeps: whether it took effect is not known.
 * - `unknown`: no such session, perhaps not any more.
 */
export type SessionLookup =
  | { readonly type: 'new' | 'pending' | 'forgotten' | 'unknown' }
  | { readonly type: 'duplicate'; readonly result: Uint8Array }

interface Session {
  readonly id: number
  readonly resultsPerSession: number
  /** Index of the last entry that used the session. No two sessions have the same. */
  lastUsed: number
  /** Sequences below are forgotten. */
  floor: number
  /** Commands with a result or admitted, all of at least `floor`. */
  readonly results: SessionResults
  bytes: number
  /** Sequences whose results were recorded and are in no block yet, or in none any more; some of them are forgotten. */
  fresh: number[]
  /** With so many the forgotten ones are taken out. */
  freshBound: number
  /** What is stored of the results. */
  blocks: ResultBlock[]
}

/** Of a session's record. With version 1 every result had a record of its own. */
const version = 2
const blockVersion = 1
const sessionPrefix = 'session/'
const blockPrefix = 'results/'
const resultPrefix = 'result/'
const isNew: SessionLookup = Object.freeze({ type: 'new' })
const isPending: SessionLookup = Object.freeze({ type: 'pending' })
const isForgotten: SessionLookup = Object.freeze({ type: 'forgotten' })
const isUnknown: SessionLookup = Object.freeze({ type: 'unknown' })

/** Of most groups, which have none: an empty map takes memory. */
const noSessions: Map<number, Session> = new Map()

/**
 * Client sessions for exactly-once commands (Ongaro's thesis, section 6.3). A part of the replicated state: every change
 * comes from a log entry, and depends on nothing but the entries so far, neither on how they were batched nor on local
 * options. So limits come inside the session entries.
 *
 * Changes are collected as writes for the state machine's bookkeeping: for each session that a batch used one header and one
 * block of results, which is deleted when the last of them is forgotten. How results fall into blocks depends on the
 * batches; what the table says does not: of a block, results below the session's floor do not count.
 */
export class SessionTable {
  /** By last use, longest unused first. */
  #sessions = noSessions
  /** The last of them, if it is known. */
  #newest: Session | undefined
  #bytes = 0
  #dirtySessions: Set<number> | undefined
  /** Records of sessions that have ended. */
  #deleted: Set<string> | undefined

  /** The table as it was stored. @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
  static restore(bookkeeping: Bookkeeping): SessionTable {
    const table = new SessionTable()
    const sessions: Session[] = []
    for (const [key, value] of bookkeeping) {
      if (key.startsWith(sessionPrefix)) sessions.push(decodeSession(key, value))
    }
    sessions.sort((a, b) => a.lastUsed - b.lastUsed)
    if (sessions.length > 0) table.#sessions = new Map(sessions.map((session) => [session.id, session]))
    for (const [key, value] of bookkeeping) {
      const single = key.startsWith(resultPrefix)
      if (!single && !key.startsWith(blockPrefix)) continue
      const [id, first] = key
        .slice((single ? resultPrefix : blockPrefix).length)
        .split('/')
        .map(Number)
      const session = table.#sessions.get(id as number)
      if (session === undefined || !Number.isSafeInteger(first)) {
        throw new KeelsonError('CORRUPTION', `the stored result ${JSON.stringify(key)} belongs to no session`)
      }
      const record = copyBytes(value)
      const results: (readonly [number, Uint8Array])[] = single
        ? [[first as number, record]]
        : decodeBlock(key, first as number, record)
      for (const [sequence, result] of results) table.#restore(session, sequence, result)
      session.blocks.push({
        key,
        sequences: results.map(([sequence]) => sequence),
        ends: results.map(([, { byteOffset, length }]) => byteOffset + length - record.byteOffset),
        value: record,
      })
    }
    return table
  }

  #restore(session: Session, sequence: number, result: Uint8Array): void {
    if (sequence < session.floor) return
    const more = result.length - session.results.admit(sequence)
    session.results.store(sequence, result)
    session.bytes += more
    this.#bytes += more
  }

  get size(): number {
    return this.#sessions.size
  }

  /** Bytes of all stored results. */
  get bytes(): number {
    return this.#bytes
  }

  has(session: number): boolean {
    return this.#sessions.has(session)
  }

  /** Ids of all sessions, longest unused first. */
  sessionIds(): number[] {
    return [...this.#sessions.keys()]
  }

  /** Whether a session stores more than `bytesPerSession`, or all together more than `totalBytes`. O(sessions). */
  exceeds(bytesPerSession: number, totalBytes: number): boolean {
    if (this.#bytes > totalBytes) return true
    if (this.#bytes <= bytesPerSession) return false
    for (const session of this.#sessions.values()) if (session.bytes > bytesPerSession) return true
    return false
  }

  /** What is known of a command. Changes nothing. @internal */
  lookup(id: CommandId): SessionLookup {
    const session = this.#sessionOf(id)
    if (session === undefined) return isUnknown
    if (id.sequence < session.floor) return isForgotten
    if (!session.results.has(id.sequence)) return isNew
    const result = session.results.get(id.sequence)
    return result === undefined ? isPending : { type: 'duplicate', result }
  }

  /** Notes that the entry at `index` used the session, and what its client acknowledged by it. @internal */
  touch(id: CommandId, acknowledgedBelow: number, index: number): void {
    const session = this.#sessionOf(id)
    if (session === undefined) return
    if (session.lastUsed !== index) this.#used(session, index)
    const floor = Math.min(acknowledgedBelow, id.sequence)
    if (floor > session.floor) session.floor = floor
    while (session.results.count > 0 && session.results.first < session.floor) this.#dropOldest(session)
  }

  /**
   * Reserves the place of a new command's result. What the session has room for is decided here, before the result is
   * known, so that it does not depend on the batch. @internal
   */
  admit(id: CommandId): void {
    const session = this.#sessionOf(id)
    if (session === undefined) return
    const before = session.results.admit(id.sequence)
    session.bytes -= before
    this.#bytes -= before
    while (session.results.count > session.resultsPerSession) {
      session.floor = Math.max(session.floor, session.results.first + 1)
      this.#dropOldest(session)
    }
  }

  /** Stores the result of a command that was admitted, unless its place was given away since. @internal */
  record(id: CommandId, result: CommandOutput): void {
    const session = this.#sessionOf(id)
    // As it came, perhaps a part of something larger or not made yet, until it has its place in a block.
    if (session === undefined || !session.results.store(id.sequence, result)) return
    session.bytes += result.length
    this.#bytes += result.length
    if (session.fresh.push(id.sequence) >= session.freshBound) boundFresh(session)
    this.#dirty().add(session.id)
  }

  /** Applies a session entry. All results must be recorded before. @returns the sessions that ended by it */
  apply(entry: SessionEntry, index: number): number[] {
    switch (entry.type) {
      case 'register':
        return this.#register(entry.maximumSessions, entry.resultsPerSession, entry.unusedBefore, index)
      case 'evict':
        return entry.sessions.filter((id) => this.#evict(id))
      case 'trim':
        return this.#trim(entry.bytesPerSession, entry.totalBytes)
    }
  }

  /** What changed since the last call, for the bookkeeping. */
  takeWrites(): BookkeepingWrite[] {
    const writes: BookkeepingWrite[] = []
    for (const key of this.#deleted ?? []) writes.push({ key, value: undefined })
    for (const id of this.#dirtySessions ?? []) {
      const session = this.#sessions.get(id)
      if (session === undefined) continue
      writeBlocks(session, writes)
      writes.push({ key: sessionKey(id), value: encodeSession(session) })
    }
    this.#deleted = undefined
    this.#dirtySessions = undefined
    return writes
  }

  #sessionOf({ session }: CommandId): Session | undefined {
    // Most commands come after another one of their session.
    return this.#newest?.id === session ? this.#newest : this.#sessions.get(session)
  }

  /** Among the sessions it is the one that was used last. */
  #used(session: Session, index: number): void {
    session.lastUsed = index
    if (this.#newest !== session) {
      this.#sessions.delete(session.id)
      this.#sessions.set(session.id, session)
      this.#newest = session
    }
    this.#dirty().add(session.id)
  }

  #register(
    maximumSessions: number,
    resultsPerSession: number,
    unusedBefore: number,
    index: number,
  ): number[] {
    const evicted: number[] = []
    const session: Session = {
      id: index,
      resultsPerSession,
      lastUsed: index,
      floor: 1,
      results: new SessionResults(),
      bytes: 0,
      fresh: [],
      freshBound: leastFreshBound,
      blocks: [],
    }
    for (const other of this.#sessions.values()) {
      if (other.lastUsed >= unusedBefore && this.#sessions.size < maximumSessions) break
      this.#evict(other.id)
      evicted.push(other.id)
    }
    if (this.#sessions === noSessions) this.#sessions = new Map()
    this.#sessions.set(index, session)
    this.#newest = session
    this.#dirty().add(index)
    return evicted
  }

  #trim(bytesPerSession: number, totalBytes: number): number[] {
    const evicted: number[] = []
    for (const session of this.#sessions.values()) {
      while (session.bytes > bytesPerSession && session.results.count > 0) {
        session.floor = Math.max(session.floor, session.results.first + 1)
        this.#dropOldest(session)
        this.#dirty().add(session.id)
      }
    }
    for (const session of this.#sessions.values()) {
      if (this.#bytes <= totalBytes) break
      this.#evict(session.id)
      evicted.push(session.id)
    }
    return evicted
  }

  #evict(id: number): boolean {
    const session = this.#sessions.get(id)
    if (session === undefined) return false
    while (session.results.count > 0) this.#dropOldest(session)
    this.#sessions.delete(id)
    if (this.#newest === session) this.#newest = undefined
    this.#dirtySessions?.delete(id)
    this.#gone().add(sessionKey(id))
    for (const { key } of session.blocks) this.#gone().add(key)
    return true
  }

  #dropOldest(session: Session): void {
    const bytes = session.results.dropFirst()
    session.bytes -= bytes
    this.#bytes -= bytes
  }

  #dirty(): Set<number> {
    this.#dirtySessions ??= new Set()
    return this.#dirtySessions
  }

  #gone(): Set<string> {
    this.#deleted ??= new Set()
    return this.#deleted
  }
}

/** Whether a record of a group's bookkeeping belongs to its client sessions. */
export function isSessionRecord(key: string): boolean {
  return key.startsWith(sessionPrefix) || key.startsWith(blockPrefix) || key.startsWith(resultPrefix)
}

function sessionKey(id: number): string {
  return `${sessionPrefix}${id}`
}

const leastFreshBound = 1024

/** In constant time on average. */
function boundFresh(session: Session): void {
  session.fresh = session.fresh.filter((sequence) => sequence >= session.floor)
  session.freshBound = Math.max(leastFreshBound, session.fresh.length * 2)
}

/** Most bytes that a block adds to a result: two integers. */
const resultOverheadBytes = 16
/** A block of this size is made anew when a quarter of it or less is remembered. */
const wastefulBytes = 4096

/**
 * A client that acknowledges out of order could else have a block of any size kept for a byte of it. Of the results in a
 * block those from the floor on are remembered.
 */
function isWasteful({ sequences, ends, value }: ResultBlock, { floor }: Session): boolean {
  if (value.length < wastefulBytes || (sequences[0] as number) >= floor) return false
  const forgotten = indexIn(sequences, floor, 0)
  return (value.length - (ends[forgotten - 1] as number)) * 4 <= value.length
}

/**
 * Stores what is new as one block, named after its first sequence, and deletes the blocks that nobody needs any more. From
 * then on the block is where the table has these results, too.
 */
function writeBlocks(session: Session, writes: BookkeepingWrite[]): void {
  const { id, floor, results } = session
  session.blocks = session.blocks.filter((block) => {
    const { key, sequences } = block
    const over = (sequences.at(-1) as number) < floor
    if (!over && !isWasteful(block, session)) return true
    writes.push({ key, value: undefined })
    if (!over) session.fresh.push(...sequences)
    return false
  })
  const kept = ascending(session.fresh.filter((sequence) => sequence >= floor))
  session.fresh = []
  const [first] = kept
  if (first === undefined) return
  const found = kept.map((sequence) => results.get(sequence) as Uint8Array)
  let bytes = 1
  for (const { length } of found) bytes += length + resultOverheadBytes
  const out = new ByteWriter(bytes).u8(blockVersion)
  const ends: number[] = []
  let before = first
  kept.forEach((sequence, i) => {
    out.varint(sequence - before).bytes(found[i] as Uint8Array)
    ends.push(out.length)
    before = sequence
  })
  const key = `${blockPrefix}${id}/${first}`
  const block = { key, sequences: kept, ends, value: out.view() }
  results.move(block)
  session.blocks.push(block)
  writes.push({ key, value: block.value })
}

/** Nearly always they are in order already. */
function ascending(sequences: number[]): number[] {
  for (let i = 1; i < sequences.length; i++)
    if ((sequences[i - 1] as number) > (sequences[i] as number)) return sequences.sort((a, b) => a - b)
  return sequences
}

/** Sequences and results of a block, ascending, at least one. */
function decodeBlock(key: string, first: number, value: Uint8Array): (readonly [number, Uint8Array])[] {
  const reader = new ByteReader(value, `the stored results ${JSON.stringify(key)}`)
  try {
    const found = reader.u8()
    if (found !== blockVersion) throw unknownVersion('a stored block of results', found)
    const results: (readonly [number, Uint8Array])[] = []
    let sequence = first
    do {
      const step = reader.varint()
      if ((step === 0) !== (results.length === 0)) reader.fail('holds a result twice')
      sequence += step
      if (!Number.isSafeInteger(sequence)) reader.fail('holds a sequence above the safe integers')
      results.push([sequence, reader.bytes()])
    } while (reader.remaining > 0)
    return results
  } catch (error) {
    if (KeelsonError.hasCode(error, 'FORMAT_VERSION')) throw error
    throw new KeelsonError('CORRUPTION', `the stored results ${JSON.stringify(key)} cannot be read`, {
      cause: error,
    })
  }
}

function encodeSession(session: Session): Uint8Array {
  return new ByteWriter(24)
    .u8(version)
    .varint(session.resultsPerSession)
    .varint(session.lastUsed)
    .varint(session.floor)
    .finish()
}

function decodeSession(key: string, value: Uint8Array): Session {
  const id = Number(key.slice(sessionPrefix.length))
  const reader = new ByteReader(value, `the stored session ${id}`)
  try {
    const found = reader.u8()
    if (found !== 1 && found !== version) throw unknownVersion('a stored session', found)
    const session = {
      id,
      resultsPerSession: reader.varint(),
      lastUsed: reader.varint(),
      floor: reader.varint(),
      results: new SessionResults(),
      bytes: 0,
      fresh: [],
      freshBound: leastFreshBound,
      blocks: [],
    }
    reader.end()
    if (!Number.isSafeInteger(id) || id <= 0) reader.fail('has no valid id')
    return session
  } catch (error) {
    if (KeelsonError.hasCode(error, 'FORMAT_VERSION')) throw error
    throw new KeelsonError('CORRUPTION', `the stored session ${JSON.stringify(key)} cannot be read`, {
      cause: error,
    })
  }
}
