import { ByteReader } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { putVarint, varintBytes } from '../../core/varint.ts'
import { type CommandId, unknownVersion } from './envelope.ts'

/** A command of a client session, as one of several that go into the log together. */
export interface SequencedCommand {
  /** The client's own count, from 1; it ascends within a batch. */
  readonly sequence: number
  /** The host program's bytes. */
  readonly data: Uint8Array
}

/** A command as it is read from an entry, with its whole id. */
export interface IdentifiedCommand extends SequencedCommand, CommandId {}

/** What the entry of several commands holds: one client's, each with its own place in the session. */
export interface BatchEnvelope {
  /** Lease sequence under which they were made; 0 for none. */
  readonly tokenSequence: number
  readonly session: number
  /** The client knows the results of all its commands below this sequence. */
  readonly acknowledgedBelow: number
  /** At least one, by ascending sequence. */
  readonly commands: readonly SequencedCommand[]
}

/** A batch as it is read. The bytes are views into the entry's data. */
export interface ReadBatch extends BatchEnvelope {
  readonly commands: readonly IdentifiedCommand[]
}

/** Version 2 of a command entry. Version 1 has one command: see `encodeEnvelope`. */
export const batchVersion = 2
/** Nodes that send frames of this version read such entries. */
export const batchFrames = 7
const hasToken = 1
/** Most commands of one entry. */
export const maximumBatchCommands = 4_096
/** Bytes of one entry from which on what follows goes into another one. */
export const fullBatchBytes: number = 256 * 1024
/** What a batch adds to its commands: version, flags and four integers, and two integers for each command. */
const headerBytes = 34
const overheadBytes = 13

/** Most bytes that these take in an entry. */
export function batchBytes(commands: number, bytes: number): number {
  return headerBytes + commands * overheadBytes + bytes
}

/**
 * The data of an entry of several commands, made once, in one allocation. All numbers must be safe integers of at least 0,
 * the sequences ascending from 1.
 */
export function encodeBatchEnvelope(envelope: BatchEnvelope): Uint8Array {
  const { tokenSequence, session, acknowledgedBelow, commands } = envelope
  let length = 2 + varintBytes(session) + varintBytes(acknowledgedBelow) + varintBytes(commands.length)
  if (tokenSequence > 0) length += varintBytes(tokenSequence)
  let before = 0
  for (const { sequence, data } of commands) {
    length += varintBytes(sequence - before) + varintBytes(data.length) + data.length
    before = sequence
  }
  const out = new Uint8Array(length)
  out[0] = batchVersion
  out[1] = tokenSequence > 0 ? hasToken : 0
  let at = 2
  if (tokenSequence > 0) at = putVarint(out, at, tokenSequence)
  at = putVarint(out, at, session)
  at = putVarint(out, at, acknowledgedBelow)
  at = putVarint(out, at, commands.length)
  before = 0
  for (const { sequence, data } of commands) {
    at = putVarint(out, at, sequence - before)
    at = putVarint(out, at, data.length)
    out.set(data, at)
    at += data.length
    before = sequence
  }
  return out
}

/** Whether the data of a command entry holds a batch. */
export function isBatch(data: Uint8Array): boolean {
  return data[0] === batchVersion
}

/** How many commands a command entry has, as it says itself. */
export function commandsIn(data: Uint8Array): number {
  return isBatch(data) ? openBatch(data).count : 1
}

/**
 * The inverse of {@link encodeBatchEnvelope}.
 *
 * @throws KeelsonError `FORMAT_VERSION` for a batch of a newer release: the replica must stop rather than guess; `MALFORMED`
 */
export function decodeBatchEnvelope(data: Uint8Array): ReadBatch {
  const { reader, count, tokenSequence, session, acknowledgedBelow } = openBatch(data)
  const commands: IdentifiedCommand[] = []
  let sequence = 0
  // Pushed one by one, so that a count that lies ends with the input and allocates nothing.
  for (let i = 0; i < count; i++) {
    const step = reader.varint()
    sequence += step
    if (step === 0 || !Number.isSafeInteger(sequence)) reader.fail('holds sequences that do not ascend')
    commands.push({ session, sequence, data: reader.bytes() })
  }
  reader.end()
  return { tokenSequence, session, acknowledgedBelow, commands }
}

function openBatch(
  data: Uint8Array,
): Omit<BatchEnvelope, 'commands'> & { readonly reader: ByteReader; readonly count: number } {
  const reader = new ByteReader(data, 'an entry of several commands')
  const found = reader.u8()
  if (found !== batchVersion) throw unknownVersion('an entry of several commands', found)
  const flags = reader.u8()
  if ((flags & ~hasToken) !== 0) throw unknownVersion('an entry of several commands with flags', flags)
  const tokenSequence = (flags & hasToken) === 0 ? 0 : reader.varint()
  const session = reader.varint()
  const acknowledgedBelow = reader.varint()
  const count = reader.varint()
  if (count === 0 || count > maximumBatchCommands) reader.fail(`announces ${count} commands`)
  return { reader, count, tokenSequence, session, acknowledgedBelow }
}

/** The refusal of a list of commands that no batch can hold. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkSequences(commands: readonly SequencedCommand[]): void {
  let before = 0
  for (const { sequence } of commands) {
    if (!Number.isSafeInteger(sequence) || sequence <= before) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the sequences of commands that are proposed together are safe integers that ascend from 1 on, but ${String(sequence)} follows ${before}`,
      )
    }
    before = sequence
  }
}
