import { BytePool } from '../../core/byte-pool.ts'
import { ByteReader } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { putVarint, varintBytes } from '../../core/varint.ts'

/**
 * Names a command, so that it takes effect once however often it is proposed. `session` is the log index of the entry
 * that registered the client's session, `sequence` counts the client's commands from 1.
 */
export interface CommandId {
  /** From `openSession`; unknown ones are refused with `SESSION_UNKNOWN`. */
  readonly session: number
  /** The client's own count, from 1; lower ones than were seen are refused with `STALE_SEQUENCE`. */
  readonly sequence: number
}

/** What a command entry's data holds. */
export interface CommandEnvelope {
  /** Lease sequence under which the command was made; 0 for a command without a token. */
  readonly tokenSequence: number
  readonly commandId: CommandId | undefined
  /** The client knows the results of all its commands below this sequence, so they need not be kept. */
  readonly acknowledgedBelow: number
  /** The host program's bytes, as a view into the entry's data. */
  readonly payload: Uint8Array
}

const version = 1
const pool = new BytePool()
const hasToken = 1
const hasCommandId = 2
const knownFlags = hasToken | hasCommandId

/** Most bytes that an envelope adds to its payload: version, flags and four integers of up to eight bytes. */
export const maximumEnvelopeBytes = 34

/**
 * The data of a command entry: made once, when the command is proposed, in one allocation of the final size. All
 * numbers must be safe integers of at least 0.
 */
export function encodeEnvelope(
  payload: Uint8Array,
  tokenSequence: number,
  commandId: CommandId | undefined,
  acknowledgedBelow: number,
): Uint8Array {
  let header = 2
  if (tokenSequence > 0) header += varintBytes(tokenSequence)
  if (commandId !== undefined) {
    header +=
      varintBytes(commandId.session) + varintBytes(commandId.sequence) + varintBytes(acknowledgedBelow)
  }
  // Entries leave memory in the order in which they came.
  const out = pool.allocate(header + payload.length)
  out[0] = version
  out[1] = (tokenSequence > 0 ? hasToken : 0) | (commandId === undefined ? 0 : hasCommandId)
  let at = 2
  if (tokenSequence > 0) at = putVarint(out, at, tokenSequence)
  if (commandId !== undefined) {
    at = putVarint(out, at, commandId.session)
    at = putVarint(out, at, commandId.sequence)
    at = putVarint(out, at, acknowledgedBelow)
  }
  out.set(payload, at)
  return out
}

/**
 * The inverse of {@link encodeEnvelope}.
 *
 * @throws KeelsonError `FORMAT_VERSION` for an envelope of a newer release: the replica must stop rather than guess;
 * `MALFORMED`
 */
export function decodeEnvelope(data: Uint8Array): CommandEnvelope {
  // Nearly all commands of a data plane come without an id, many without a token: no reader for those.
  if (data.length >= 2 && data[0] === version && data[1] === 0) {
    return { tokenSequence: 0, commandId: undefined, acknowledgedBelow: 0, payload: data.subarray(2) }
  }
  const reader = new ByteReader(data, 'a command entry')
  const found = reader.u8()
  if (found !== version) throw unknownVersion('a command entry', found)
  const flags = reader.u8()
  if ((flags & ~knownFlags) !== 0) throw unknownVersion('a command entry with flags', flags)
  const tokenSequence = (flags & hasToken) === 0 ? 0 : reader.varint()
  if ((flags & hasCommandId) === 0) {
    return {
      tokenSequence,
      commandId: undefined,
      acknowledgedBelow: 0,
      payload: reader.raw(reader.remaining),
    }
  }
  const commandId = { session: reader.varint(), sequence: reader.varint() }
  const acknowledgedBelow = reader.varint()
  return { tokenSequence, commandId, acknowledgedBelow, payload: reader.raw(reader.remaining) }
}

/** The error of a replica that meets an entry of a newer release. */
export function unknownVersion(what: string, found: number): KeelsonError {
  return new KeelsonError(
    'FORMAT_VERSION',
    `${what} has version ${found}, which this release does not know; upgrade this node, its state is unharmed`,
    { details: { version: found } },
  )
}
