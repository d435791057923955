import { utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { EntryKind, LogEntry, StateSnapshot } from '../../../src/interfaces/index.ts'
import { makeConfiguration } from '../../../src/raft/core/configuration.ts'
import type { Configuration } from '../../../src/raft/core/membership-types.ts'
import type { BatchEnvelope } from '../../../src/raft/group/batch-envelope.ts'
import type { CommandEnvelope } from '../../../src/raft/group/envelope.ts'
import type { GroupMetadata } from '../../../src/raft/group/metadata.ts'
import type { SessionEntry } from '../../../src/raft/group/session-entry.ts'
import { DiskHistory } from '../../../src/raft/host/disk-history.ts'
import type { DiskRecord } from '../../../src/raft/host/disk-record.ts'
import type {
  Beat,
  BeatReply,
  GroupMessage,
  HostMessage,
  Marks,
} from '../../../src/raft/host/host-messages.ts'
import type { SnapshotHeader } from '../../../src/raft/host/snapshot-wire.ts'

// What the golden files hold, as values.

const header = { from: 3, to: 2 ** 40, term: 9 }

const entry = (index: number, term: number, kind: EntryKind, data: string): LogEntry => ({
  index,
  term,
  kind,
  data: utf8(data),
})

const sampleError = new KeelsonError('OVERLOADED', 'full', { details: { count: 3, hint: null } })

const messages: readonly HostMessage[] = [
  { ...header, kind: 'preVote', candidateTerm: 10, lastIndex: 4, lastTerm: 9 },
  { ...header, kind: 'preVoteReply', candidateTerm: 10, granted: true, removed: false },
  { ...header, kind: 'preVoteReply', candidateTerm: 10, granted: false, removed: true },
  { ...header, kind: 'vote', lastIndex: 4, lastTerm: 9, transfer: true },
  { ...header, kind: 'voteReply', granted: true },
  {
    ...header,
    kind: 'append',
    prevIndex: 7,
    prevTerm: 2,
    commit: 6,
    entries: [entry(8, 2, 0, ''), entry(9, 4, 1, 'hello'), entry(10, 9, 3, 'x'.repeat(130))],
  },
  { ...header, kind: 'append', prevIndex: 0, prevTerm: 0, commit: 0, entries: [] },
  { ...header, kind: 'appendReply', index: 4, accepted: false, hintIndex: 3, hintTerm: 2 },
  { ...header, kind: 'heartbeat', round: 77, commit: 5, match: 6 },
  { ...header, kind: 'heartbeatReply', round: 77, pledgeMs: 0 },
  { ...header, kind: 'snapshotOffer', position: { index: 12, term: 3 } },
  { ...header, kind: 'timeoutNow' },
  {
    ...header,
    kind: 'snapshotRequest',
    position: { index: 12, term: 3 },
    requestId: 2 ** 35,
    snapshotId: 0,
    nextPiece: 0,
  },
  { ...header, kind: 'superseded' },
  { ...header, kind: 'entriesRequest', first: 5, last: 300, requestId: 2 ** 35 },
  {
    ...header,
    kind: 'entriesReply',
    requestId: 2 ** 35,
    first: 5,
    entries: [entry(5, 2, 1, 'hello'), entry(6, 300, 0, '')],
  },
  { ...header, kind: 'entriesReply', requestId: 4, first: 7, entries: [] },
  { ...header, kind: 'forward', forwardId: 300, entryKind: 1, data: utf8('forwarded') },
  { ...header, kind: 'forwardReply', forwardId: 300, index: 2 ** 33, outcome: utf8('result') },
  { ...header, kind: 'forwardReply', forwardId: 1, index: 0, outcome: sampleError },
]

const inGroups = (list: readonly HostMessage[]): GroupMessage[] =>
  list.map((message, i) => ({ groupId: 120 + i, recoveryGeneration: i % 3, message }))

/** What frames of version 2 held. */
export const sampleMessages2: readonly GroupMessage[] = inGroups(messages)

const messages3: readonly HostMessage[] = [
  ...messages,
  { ...header, kind: 'heartbeatReply', round: 78, pledgeMs: 100 },
  { ...header, kind: 'readIndex', requestId: 2 ** 48, lease: true },
  { ...header, kind: 'readIndexReply', requestId: 2 ** 48, index: 9 },
]

/** And those of version 3. */
export const sampleMessages3: readonly GroupMessage[] = inGroups(messages3)

const messages4: readonly HostMessage[] = [
  ...messages3,
  {
    ...header,
    kind: 'snapshotRequest',
    position: { index: 12, term: 3 },
    requestId: 2 ** 35,
    snapshotId: 2 ** 40,
    nextPiece: 300,
  },
]

/** And those of version 4. */
export const sampleMessages4: readonly GroupMessage[] = inGroups(messages4)

/** And those of version 5. */
export const sampleMessages5: readonly GroupMessage[] = inGroups([
  ...messages4,
  { ...header, kind: 'heartbeat', round: 79, commit: 6, match: 6, idle: true, epoch: 2 ** 50 },
  { ...header, kind: 'heartbeatReply', round: 79, pledgeMs: 100, epoch: 2 ** 50 },
  { ...header, kind: 'askLeading', ledTerm: 8 },
  { ...header, kind: 'notLeading', ledTerm: 300 },
])

export const sampleBeats5: readonly (Beat | BeatReply)[] = [
  { kind: 'beat', stream: 2 ** 50, sequence: 300 },
  { kind: 'beatReply', stream: 2 ** 50, sequence: 300, epoch: 2 ** 49, pledgeMs: 100 },
]

/** Several commands in one entry, as a batch. */
export const sampleBatches: readonly BatchEnvelope[] = [
  {
    tokenSequence: 0,
    session: 5,
    acknowledgedBelow: 1,
    commands: [
      { sequence: 1, data: utf8('first') },
      { sequence: 4, data: utf8('second') },
    ],
  },
  {
    tokenSequence: 7,
    session: 2 ** 40,
    acknowledgedBelow: 300,
    commands: [
      { sequence: 300, data: utf8('') },
      { sequence: 2 ** 41, data: utf8('b') },
      { sequence: 2 ** 41 + 1, data: utf8('c') },
    ],
  },
]

export const sampleEnvelopes: readonly CommandEnvelope[] = [
  { tokenSequence: 0, commandId: undefined, acknowledgedBelow: 0, payload: utf8('plain') },
  { tokenSequence: 300, commandId: undefined, acknowledgedBelow: 0, payload: utf8('') },
  {
    tokenSequence: 0,
    commandId: { session: 2 ** 40, sequence: 5 },
    acknowledgedBelow: 4,
    payload: utf8('once'),
  },
  { tokenSequence: 7, commandId: { session: 1, sequence: 1 }, acknowledgedBelow: 0, payload: utf8('both') },
]

export const sampleSessionEntries: readonly SessionEntry[] = [
  { type: 'register', maximumSessions: 500, resultsPerSession: 6, unusedBefore: 70_000 },
  { type: 'evict', sessions: [1, 2 ** 40] },
  { type: 'trim', bytesPerSession: 1000, totalBytes: 2 ** 33 },
]

export const sampleMetadata: GroupMetadata = {
  replicaId: 2 ** 34,
  floor: 9,
  pledgeMs: 0,
  destroyed: true,
  quarantined: false,
  restoring: true,
  recoveryGeneration: 3,
  supersededBy: 4,
}

export const sampleDiskRecord: DiskRecord = {
  forgetful: true,
  evidence: {
    knownBy: 'n1',
    life: 7 * 2 ** 34 + 5,
    position: 301,
    openedAt: 2 ** 40,
    atMs: 1_700_000_000_000.5,
    settledFrom: 300,
  },
  history: new DiskHistory([
    { life: 7 * 2 ** 34 + 5, openedAt: 0 },
    { life: 7 * 2 ** 34, openedAt: 300 },
    { life: 9 * 2 ** 34 + 6, openedAt: 2 ** 40 },
  ]),
}

export const sampleConfiguration: Configuration = makeConfiguration(
  4,
  [
    { replicaId: 1, nodeId: 'a', incarnation: 2 ** 50, role: 'voter' },
    { replicaId: 70, nodeId: 'db-2', incarnation: 5, role: 'learner' },
  ],
  [{ type: 'addLearner', replicaId: 70 }],
)

export const sampleJointConfiguration: Configuration = makeConfiguration(
  8,
  [
    { replicaId: 1, nodeId: 'n1', incarnation: 101, role: 'voter', priority: 3 },
    { replicaId: 2, nodeId: 'n2', incarnation: 102, role: 'outgoing' },
    { replicaId: 3, nodeId: 'n3', incarnation: 103, role: 'demoting' },
    { replicaId: 9, nodeId: 'n9', incarnation: 109, role: 'incoming' },
    { replicaId: 10, nodeId: 'n10', incarnation: 110, role: 'learner', autoPromote: true },
  ],
  [
    { type: 'remove', replicaId: 2 },
    { type: 'demote', replicaId: 3 },
    { type: 'promote', replicaId: 9 },
    { type: 'addLearner', replicaId: 10 },
  ],
  { autoLeave: true },
)

export const sampleSnapshotHeader: SnapshotHeader = {
  groupId: 3,
  recoveryGeneration: 2,
  from: 1,
  to: 9,
  incarnation: 2 ** 50,
  requestId: 4,
  position: { index: 77, term: 5 },
  snapshotId: 2 ** 40,
  firstPiece: 300,
}

export const sampleSnapshot: StateSnapshot = {
  bookkeeping: new Map([['position', new Uint8Array([1, 2, 3])]]),
  async *chunks() {
    yield utf8('a first chunk')
    yield utf8('a chunk that is too long for one piece, which holds 64 bytes with its header')
  },
  async [Symbol.asyncDispose]() {},
}

export const sampleMarks6: Marks = {
  kind: 'marks',
  life: 2 ** 49 + 3,
  position: 2 ** 50 + 5,
  known: [
    { life: 2 ** 48 + 7, position: 300 },
    { life: 9, position: 200 },
  ],
}
