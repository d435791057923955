import { KeelsonError } from '../../core/errors.ts'
import { encodeError } from '../../core/wire-error.ts'
import { type EntryKind, entryKinds } from '../../interfaces/log-store.ts'
import type { MessageHeader } from '../core/messages.ts'
import { decodeEnvelope } from './envelope.ts'
import { decodeSessionEntry } from './session-entry.ts'

/** A proposal that a follower sends to the leader. It goes no further: who does not lead refuses it. */
export interface ForwardedProposal extends MessageHeader {
  readonly kind: 'forward'
  /** Comes back with the reply. Never used twice, not by a later life of the sender either. */
  readonly forwardId: number
  readonly entryKind: EntryKind
  /** The data of the entry, as the follower made it. */
  readonly data: Uint8Array
}

/** What came of a {@link ForwardedProposal}. */
export interface ForwardReply extends MessageHeader {
  readonly kind: 'forwardReply'
  readonly forwardId: number
  /** Log index of the entry that was applied; 0 with an error. */
  readonly index: number
  readonly outcome: Uint8Array | KeelsonError
}

/** The messages of replicas that their cores do not see. */
export type ReplicaMessage = ForwardedProposal | ForwardReply

/** Most bytes that a reply adds to a result or an error. */
const replyOverheadBytes = 512

/** The outcome as it fits into one message of so many bytes. */
export function outcomeForPeer(
  outcome: Uint8Array | KeelsonError,
  maximumBytes: number,
): ForwardReply['outcome'] {
  const room = maximumBytes - replyOverheadBytes
  if (KeelsonError.is(outcome)) {
    if (encodeError(outcome).length <= room) return outcome
    const { code, retryable, message } = outcome
    return new KeelsonError(code, message.slice(0, 50), { retryable, outcome: outcome.outcome })
  }
  if (outcome.length <= room) return outcome
  return new KeelsonError(
    'LIMIT_EXCEEDED',
    `the command took effect, but its result of ${outcome.length} bytes does not fit into a message to the node that forwarded it; propose it where the group is led`,
    { outcome: 'unknown', details: { bytes: outcome.length, maximum: room } },
  )
}

/**
 * Whether this release can apply what a follower forwards. Once it is in the log, every replica must be able to.
 *
 * @throws KeelsonError `MALFORMED`, `FORMAT_VERSION`
 */
export function checkForwarded({ entryKind, data }: ForwardedProposal): void {
  if (entryKind === entryKinds.command) decodeEnvelope(data)
  else if (entryKind === entryKinds.session) decodeSessionEntry(data)
  else throw new KeelsonError('MALFORMED', `entries of kind ${entryKind} are not forwarded`)
}
