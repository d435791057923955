import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import { entryKinds, type LogEntry } from '../../interfaces/log-store.ts'
import { decodeConfiguration } from './configuration.ts'
import type { Message, MessageKind } from './messages.ts'

/** Largest term and index that is believed: far beyond any real one, and far enough from the unsafe integers. */
export const maximumNumber: number = 2 ** 52

/**
 * How far a message's term may be ahead of the receiver's. No honest replica is further ahead (it would have run an
 * election a millisecond for weeks), and no single forged message can use the terms up.
 */
export const maximumTermJump: number = 2 ** 32

const replies: ReadonlySet<MessageKind> = new Set([
  'preVoteReply',
  'voteReply',
  'appendReply',
  'heartbeatReply',
])

/**
 * Checks what no correct replica ever gets wrong, whatever the state of sender and receiver: types, ranges and the
 * relations between the fields of one message.
 *
 * @throws KeelsonError `MALFORMED`; `FORMAT_VERSION` for entries that only a later release can read
 */
export function validateMessage(message: Message): void {
  const refuse = (problem: string): never => {
    throw new KeelsonError('MALFORMED', `a Raft message of kind ${showValue(message.kind)} ${problem}`)
  }
  const number = (value: unknown, name: string, least: number): void => {
    if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > maximumNumber) {
      refuse(`has a ${name} out of range: ${showValue(value)}`)
    }
  }
  const flag = (value: unknown, name: string): void => {
    if (typeof value !== 'boolean') refuse(`has a ${name} that is no boolean`)
  }
  const position = (index: number, term: number, name: string, highestTerm: number): void => {
    number(index, `${name} index`, 0)
    number(term, `${name} term`, 0)
    if ((index === 0) !== (term === 0)) refuse(`has a ${name} position of ${index} in term ${term}`)
    if (term > highestTerm) refuse(`has a ${name} term of ${term}, above what its sender's term allows`)
  }
  number(message.from, 'sender', 1)
  number(message.to, 'receiver', 1)
  // An empty replica has term 0, and only ever answers.
  number(message.term, 'term', replies.has(message.kind) ? 0 : 1)
  switch (message.kind) {
    case 'preVote':
      if (message.candidateTerm !== message.term + 1) refuse('asks for a term that is not the next one')
      position(message.lastIndex, message.lastTerm, 'last', message.term)
      break
    case 'preVoteReply':
      number(message.candidateTerm, 'candidate term', 1)
      flag(message.granted, 'granted')
      flag(message.removed, 'removed')
      break
    case 'vote':
      // The term was new when the candidate took it, so its log has none of it.
      position(message.lastIndex, message.lastTerm, 'last', message.term - 1)
      flag(message.transfer, 'transfer')
      break
    case 'voteReply':
      flag(message.granted, 'granted')
      break
    case 'append':
      position(message.prevIndex, message.prevTerm, 'preceding', message.term)
      number(message.commit, 'commit', 0)
      if (!Array.isArray(message.entries)) refuse('has no list of entries')
      validateEntries(message.entries, message.prevIndex, message.prevTerm, message.term, refuse)
      break
    case 'appendReply':
      number(message.index, 'index', 0)
      flag(message.accepted, 'accepted')
      number(message.hintIndex, 'hint', 0)
      number(message.hintTerm, 'hint term', 0)
      break
    case 'heartbeat':
      number(message.round, 'round', 0)
      number(message.commit, 'commit', 0)
      number(message.match, 'match', 0)
      if (message.commit > message.match) refuse('tells of a commit beyond what the receiver acknowledged')
      number(message.epoch ?? 0, 'epoch', 0)
      break
    case 'heartbeatReply':
      number(message.round, 'round', 0)
      number(message.pledgeMs, 'pledge', 0)
      number(message.epoch ?? 0, 'epoch', 0)
      break
    case 'askLeading':
    case 'notLeading':
      number(message.ledTerm, 'led term', 1)
      break
    case 'readIndex':
      number(message.requestId, 'request id', 1)
      flag(message.lease, 'lease')
      break
    case 'readIndexReply':
      number(message.requestId, 'request id', 1)
      number(message.index, 'index', 0)
      break
    case 'snapshotOffer':
      if (typeof message.position !== 'object' || message.position === null) refuse('has no position')
      number(message.position.index, 'snapshot index', 1)
      position(message.position.index, message.position.term, 'snapshot', message.term)
      break
    case 'timeoutNow':
      break
    default:
      throw new KeelsonError('MALFORMED', 'a Raft message has an unknown kind')
  }
}

function validateEntries(
  entries: readonly LogEntry[],
  prevIndex: number,
  prevTerm: number,
  term: number,
  refuse: (problem: string) => never,
): void {
  let index = prevIndex
  let last = Math.max(prevTerm, 1)
  for (const entry of entries) {
    index++
    if (typeof entry !== 'object' || entry === null) refuse(`has something else than an entry at ${index}`)
    if (entry.index !== index) refuse(`has an entry ${showValue(entry.index)} where ${index} belongs`)
    if (!Number.isSafeInteger(entry.term) || entry.term < last || entry.term > term) {
      refuse(`has an entry ${index} of term ${showValue(entry.term)} after one of term ${last}`)
    }
    last = entry.term
    if (!(entry.data instanceof Uint8Array)) refuse(`has an entry ${index} without data`)
    if (entry.kind === entryKinds.configuration) decodeConfiguration(entry.data)
    else if (entry.kind !== 0 && entry.kind !== 1 && entry.kind !== 3) {
      unknownKind(index, entry.kind, refuse)
    }
  }
  if (index > maximumNumber) refuse('has entries beyond the last index')
}

/** A kind that a byte holds may be one of a later release: not nonsense, but nothing that may be passed over either. */
function unknownKind(index: number, kind: unknown, refuse: (problem: string) => never): never {
  if (!Number.isSafeInteger(kind) || (kind as number) < 0 || (kind as number) > 255) {
    return refuse(`has an entry ${index} of the unknown kind ${JSON.stringify(kind)}`)
  }
  throw new KeelsonError(
    'FORMAT_VERSION',
    `log entry ${index} is of kind ${JSON.stringify(kind)}, which this release does not know; upgrade this node, its state is unharmed`,
    { details: { index, kind: kind as number } },
  )
}
