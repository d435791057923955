import { decodeFounding, encodeFounding } from '../../src/control-plane/founding.ts'
import {
  decodeAnswer,
  decodeQuestion,
  encodeAnswer,
  encodeQuestion,
} from '../../src/control-plane/placement-questions.ts'
import {
  decodeChunk,
  decodeChunkResult,
  encodeChunk,
  encodeChunkResult,
} from '../../src/control-plane/schema-wire.ts'
import { decodeServerJoin, encodeServerJoin } from '../../src/control-plane/server-admission.ts'
import {
  decodeCluster,
  decodeServer,
  encodeCluster,
  encodeServer,
} from '../../src/control-plane/server-roster.ts'
import { BytePool } from '../../src/core/byte-pool.ts'
import { ByteReader, ByteWriter, text, utf8 } from '../../src/core/bytes.ts'
import { decodePlain, encodePlain, type Plain } from '../../src/core/codec.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { invariant } from '../../src/core/invariant.ts'
import { decodeError, encodeError } from '../../src/core/wire-error.ts'
import type { KeyValue } from '../../src/interfaces/metadata-store.ts'
import { decodeJob, encodeJob, type Job } from '../../src/jobs/core/record.ts'
import * as leases from '../../src/leases/core/records.ts'
import {
  decodeRangeDescriptor,
  decodeRangeWish,
  decodeWantedRange,
  encodeRangeDescriptor,
  encodeRangeWish,
  encodeWantedRange,
} from '../../src/metadata/directory-codec.ts'
import { decodePendingImport, markImport } from '../../src/metadata/import-mark.ts'
import { decodeCommand, encodeCommand } from '../../src/metadata/mvcc/commands.ts'
import { decodeBlock, decodeSingle, encodeBlock } from '../../src/metadata/mvcc/image-blocks.ts'
import { decodeNumbers, decodePointer, encodeNumbers, encodePointer } from '../../src/metadata/mvcc/layout.ts'
import { MvccState } from '../../src/metadata/mvcc/mvcc-state.ts'
import { decodeSession, encodeSession } from '../../src/metadata/mvcc/session-record.ts'
import { StateDecoder } from '../../src/metadata/mvcc/snapshot-stream.ts'
import { decodeVersion, makeVersion } from '../../src/metadata/mvcc/version.ts'
import {
  encodeOutcome,
  encodeRefusal as encodeOutcomeRefusal,
  openOutcome,
  readTransactionResult,
  writeTransactionResult,
} from '../../src/metadata/mvcc/wire.ts'
import * as protocol from '../../src/metadata/protocol.ts'
import type { RangeDescriptor, ReplicaDescriptor } from '../../src/model/descriptors.ts'
import { decodeTuple, encodeTuple } from '../../src/model/tuple.ts'
import * as nodes from '../../src/nodes/core/record.ts'
import { decodeNodeReport, encodeNodeReport } from '../../src/nodes/core/report.ts'
import { decodeJoinRequest, encodeJoinRequest } from '../../src/nodes/join.ts'
import { type MemberLife, QuorumSet } from '../../src/placement/index.ts'
import { decodeMergeState, encodeMergeState } from '../../src/placement/merge-job.ts'
import { decodeMoveState, encodeMoveState } from '../../src/placement/move-state.ts'
import {
  decodeEvacuation,
  decodeMaintenance,
  decodeRestart,
  evacuationForm,
  maintenanceForm,
  restartForm,
} from '../../src/placement/operations/state.ts'
import {
  decodePrimaryChange,
  decodeReplicaSet,
  decodeSetChange,
  encodePrimaryChange,
  encodeReplicaSet,
  encodeSetChange,
} from '../../src/placement/replica-sets/record.ts'
import { decodeBook, encodeRule, ruleKey } from '../../src/placement/rules/stored-book.ts'
import { decodeSplitState, encodeSplitState } from '../../src/placement/split-job.ts'
import { decodeConfiguration, encodeConfiguration } from '../../src/raft/core/configuration.ts'
import { decodeBatchEnvelope, encodeBatchEnvelope } from '../../src/raft/group/batch-envelope.ts'
import {
  configurationWrite,
  ownerWrites,
  positionWrite,
  readBookkeeping,
  termStartsWrite,
} from '../../src/raft/group/bookkeeping.ts'
import { decodeEnvelope, encodeEnvelope } from '../../src/raft/group/envelope.ts'
import { decodeGroupMetadata, encodeGroupMetadata, newMetadata } from '../../src/raft/group/metadata.ts'
import { decodeSessionEntry, encodeSessionEntry } from '../../src/raft/group/session-entry.ts'
import { DiskHistory } from '../../src/raft/host/disk-history.ts'
import { decodeDiskRecord, encodeDiskRecord } from '../../src/raft/host/disk-record.ts'
import { decodeFrame, FramePacker } from '../../src/raft/host/frame.ts'
import { decodeSnapshotHeader, encodeSnapshotHeader } from '../../src/raft/host/snapshot-wire.ts'
import { decodeChangeState, encodeChangeState, initialChangeState } from '../../src/schema/change-state.ts'
import { decodeTable, decodeUse, encodeTable, encodeUse } from '../../src/schema/core/records.ts'
import { decodeSetting, encodeSetting, parseSettingKey, settingKey } from '../../src/settings/core/records.ts'
import { checkIdentity, encodeIdentity } from '../../src/storage/directory.ts'
import { decodeEndMark, encodeEndMark } from '../../src/storage/segments/end-mark.ts'
import { decodeSegmentHeader, encodeSegmentHeader } from '../../src/storage/segments/segment-file.ts'
import { decodePacket, encodePacket } from '../../src/swim/core/codec.ts'
import { decodeSnapshot, encodeSnapshot } from '../../src/swim/core/snapshot.ts'
import { decodeRpc, RpcEncoder } from '../../src/transport/rpc/frames.ts'
import { FrameReader, FrameWriter, streamRecord } from '../../src/transport/websocket/frame.ts'
import {
  decodeHello,
  decodeRefusal,
  decodeWelcome,
  encodeHello,
  encodeRefusal,
  encodeWelcome,
} from '../../src/transport/websocket/handshake.ts'
import { everyMessage } from '../swim/support/samples.ts'

/** Something that reads bytes of which it knows nothing. */
export interface Decoder {
  /** The function's own name, or that of the class. */
  readonly name: string
  readonly decode: (bytes: Uint8Array) => unknown
  /** What it reads without complaint. */
  readonly samples: readonly Uint8Array[]
}

const key = utf8('/key')
const value = utf8('value')
const replica: ReplicaDescriptor = { replicaId: 1, nodeId: 'n1', incarnation: 7, role: 'voter' }
const range: RangeDescriptor = { rangeId: 1, start: key, end: undefined, generation: 3, replicas: [replica] }
const absence = { nodeIds: ['n2'], stage: 'away', remainingMs: 4, epochs: [9] } as const
const entry: KeyValue = { key, value, createRevision: 1, modRevision: 2, version: 3, session: 4 }
const transaction = {
  if: [
    { key, target: 'value', is: '=', operand: value },
    { key, target: 'version', is: '>', operand: 300 },
  ],
  then: [
    { type: 'put', key, value, session: 5 },
    { type: 'delete', select: { key, end: null } },
  ],
  else: [{ type: 'range', select: { key }, limit: 3 }],
} as const
const table = {
  tableId: 1,
  name: 't',
  version: 2,
  primaryKey: ['id'],
  elements: [
    { type: 'column', elementId: 2, name: 'id', state: 'public', valueType: 'string', required: true },
    { type: 'index', elementId: 3, name: 'i', state: 'writeOnly', columns: ['id'] },
  ],
} as const
const descriptor = {
  nodeId: 'n1',
  incarnation: 7,
  addresses: ['host:1'],
  locality: [{ key: 'zone', value: 'a' }],
  capacity: { bytes: 5 },
  labels: { disk: 'ssd' },
}
const server = { nodeId: 'cp1', incarnation: 7, addresses: ['host:1'] }
const error = new KeelsonError('NOT_LEADER', 'ask n2', {
  details: { leaderNodeId: 'n2', term: 5, sure: true, note: null },
})
const identity = { nodeId: 'n1', incarnation: 7, role: 'node' } as const
const greeter = {
  founding: 12,
  clusterId: 'c',
  identity,
  processId: 9,
  maximumFrameBytes: 1_000,
}
const job: Job = {
  jobId: 1,
  type: 't',
  key: 'k',
  reason: 'r',
  status: 'running',
  wish: 'pause',
  wishReason: 'w',
  state: [1, 'x', value],
  progress: { message: 'm', fraction: 0.5 },
  waitingFor: ['n1'],
  attempts: 1,
  failures: 2,
  lastError: { code: 'IO', message: 'm', atMs: 1 },
  ending: 'cancelled',
  outcome: 'o',
  createdAtMs: 1,
  changedAtMs: 2,
  epoch: 3,
  mark: 4,
}
const rpc = new RpcEncoder(new BytePool())
const seed = { clusterId: 'c', nodeId: 'n1' }
const format = { name: 'segments', version: 1, oldest: 1 }
const position = { index: 5, term: 2 }
const configuration = { generation: 3, replicas: [replica], changes: [] }
const jointConfiguration = {
  generation: 4,
  replicas: [
    { ...replica, priority: 3 },
    { replicaId: 7, nodeId: 'n7', incarnation: 7, role: 'outgoing' as const },
    { replicaId: 8, nodeId: 'n8', incarnation: 8, role: 'incoming' as const },
    { replicaId: 9, nodeId: 'n9', incarnation: 9, role: 'learner' as const, autoPromote: true as const },
  ],
  changes: [
    { type: 'remove' as const, replicaId: 7 },
    { type: 'promote' as const, replicaId: 8 },
  ],
  joint: { autoLeave: true },
}

/** Plain values through their bytes. */
function firstLife(nodeId: string): MemberLife {
  return { nodeId, incarnation: 1 }
}

function plainly(decode: (plain: Plain) => unknown): (bytes: Uint8Array) => unknown {
  return (bytes) => decode(decodePlain(bytes, 'a plain value'))
}

/** The value of a key that is right. */
function stored(at: Uint8Array, decode: (entry: KeyValue) => unknown): (bytes: Uint8Array) => unknown {
  return (bytes) => decode({ ...entry, key: at, value: bytes })
}

/** A header of an HTTP request. */
function asHeader(decode: (header: string) => unknown): (bytes: Uint8Array) => unknown {
  return (bytes) => decode(Buffer.from(bytes).toString('base64url'))
}

function fromHeader(header: string): Uint8Array {
  return new Uint8Array(Buffer.from(header, 'base64url'))
}

function messages(): Uint8Array {
  const packer = new FramePacker(7)
  const header = { from: 1, to: 2, term: 300 }
  packer.add(1, { kind: 'preVote', ...header, candidateTerm: 301, lastIndex: 5, lastTerm: 2 })
  packer.add(1, { kind: 'vote', ...header, lastIndex: 5, lastTerm: 2, transfer: true })
  packer.add(2, {
    kind: 'append',
    ...header,
    prevIndex: 5,
    prevTerm: 2,
    commit: 4,
    entries: [{ index: 6, term: 3, kind: 0, data: value }],
  })
  packer.add(2, { kind: 'appendReply', ...header, index: 5, accepted: false, hintIndex: 3, hintTerm: 1 })
  packer.add(3, { kind: 'heartbeat', ...header, round: 3, commit: 1, match: 2 })
  packer.add(3, { kind: 'snapshotOffer', ...header, position })
  packer.add(3, { kind: 'snapshotRequest', ...header, position, requestId: 8, snapshotId: 9, nextPiece: 5 })
  packer.add(3, { kind: 'timeoutNow', ...header })
  return packer.finish({ kind: 'marks', life: 7, position: 2 ** 40, known: [{ life: 2 ** 45, position: 5 }] })
}

function frame(): Uint8Array {
  const records = [
    { protocol: 'raft', head: undefined, body: value },
    streamRecord({ type: 'open', id: 1, protocol: 'raft', header: value }),
    streamRecord({ type: 'data', id: 1, bytes: value }),
    streamRecord({ type: 'credit', id: 1, limit: 5_000 }),
    streamRecord({ type: 'fail', id: 1, error }),
    streamRecord({ type: 'end', id: 1 }),
  ]
  return new Uint8Array(new FrameWriter().pack(records, 0, 10_000, 100).frame)
}

function watchItem(): Uint8Array {
  const events = [
    { type: 'put', entry, previous: entry },
    { type: 'delete', entry },
  ] as const
  const [item] = protocol.encodeWatchResponse({ type: 'changes', revision: 9, events }, 10_000)
  return item as Uint8Array
}

function outcome(): Uint8Array {
  return encodeOutcome((out) =>
    writeTransactionResult(out, {
      succeeded: true,
      revision: 5,
      results: [
        { type: 'put', previous: entry },
        { type: 'delete', deleted: [entry] },
        { type: 'range', entries: [entry], more: true, count: 7 },
      ],
    }),
  )
}

/** One of several records that are stored side by side, the others being right. */
function bookkeeping(bytes: Uint8Array): unknown {
  const writes = [
    positionWrite(position, 3),
    configurationWrite(4, encodeConfiguration(configuration)),
    termStartsWrite([position]),
    ...ownerWrites(2, 1),
  ]
  const right = writes.map(({ key: name, value: record }) => [name, record as Uint8Array] as const)
  return right.map(([name]) => readBookkeeping(new Map([...right, [name, bytes]])))
}

export const decoders: readonly Decoder[] = [
  {
    name: 'decodePlain',
    decode: (bytes) => decodePlain(bytes, 'x'),
    samples: [encodePlain([1, 'x', value, [null, true, -1.5]])],
  },
  {
    name: 'text',
    decode: text,
    samples: [utf8('grün')],
  },
  { name: 'decodeTuple', decode: decodeTuple, samples: [encodeTuple(['a\0b', -1.5, value, 0])] },
  {
    name: 'ByteReader',
    decode: (bytes) => {
      const reader = new ByteReader(bytes, 'x')
      const read = [
        reader.u8(),
        reader.u16(),
        reader.u32(),
        reader.u53(),
        reader.f64(),
        reader.varint(),
        reader.string(),
      ]
      reader.end()
      return read
    },
    samples: [new ByteWriter().u8(1).u16(2).u32(3).u53(4).f64(5).varint(600).string('x').finish()],
  },
  { name: 'decodeServer', decode: decodeServer, samples: [encodeServer(server)] },
  {
    name: 'decodeCluster',
    decode: decodeCluster,
    samples: [
      encodeCluster({ servers: [server], founding: 12 }),
      encodeCluster({ servers: [], founding: undefined }),
    ],
  },
  { name: 'decodeFounding', decode: decodeFounding, samples: [encodeFounding(12)] },
  {
    name: 'decodeQuestion',
    decode: decodeQuestion,
    samples: [
      encodeQuestion({ type: 'explain', rangeId: 7 }),
      encodeQuestion({
        type: 'whatIf',
        change: {
          loseNodes: ['db1'],
          addNodes: [{ nodeId: 'db9', capacity: { bytes: 7 } }],
          growLoad: { bytes: 2 },
        },
        options: { seed: 1 },
      }),
    ],
  },
  {
    name: 'decodeAnswer',
    decode: decodeAnswer,
    samples: [
      encodeAnswer({ madeBy: { leader: 'cp1', epoch: 1, plannedAtMs: 1 }, parts: [] }, 1000),
      encodeAnswer({ madeBy: {}, bounds: { repair: { ms: Number.POSITIVE_INFINITY } }, none: null }, 1000),
    ],
  },
  {
    name: 'decodeServerJoin',
    decode: decodeServerJoin,
    samples: [encodeServerJoin({ server, secret: 's' })],
  },
  {
    name: 'decodeChunk',
    decode: decodeChunk,
    samples: [encodeChunk({ table, elementId: 3, rangeId: 1, resumeAt: key, maximumRows: 5, epoch: 2 })],
  },
  {
    name: 'decodeChunkResult',
    decode: decodeChunkResult,
    samples: [encodeChunkResult({ resumeAt: key, rows: 1, missing: 2, orphans: 3 })],
  },
  { name: 'decodeJob', decode: decodeJob, samples: [encodeJob(job)] },
  {
    name: 'decodeHolder',
    decode: stored(leases.holderKey('a'), leases.decodeHolder),
    samples: [leases.encodeHolder('h', 5)],
  },
  {
    name: 'decodeRecord',
    decode: stored(leases.recordKey('a'), leases.decodeRecord),
    samples: [leases.encodeRecord({ sequence: 1, released: true })],
  },
  {
    name: 'decodeWaiter',
    decode: stored(leases.waiterKey('a', 1), leases.decodeWaiter),
    samples: [leases.encodeWaiter('h', 2)],
  },
  {
    name: 'decodeHistory',
    decode: stored(leases.historyKey('a', 1), leases.decodeHistory),
    samples: [leases.encodeHistory({ holder: 'h', epoch: 1, change: 'claim', atMs: 5 })],
  },
  { name: 'decodeRangeDescriptor', decode: decodeRangeDescriptor, samples: [encodeRangeDescriptor(range)] },
  {
    name: 'decodeWantedRange',
    decode: decodeWantedRange,
    samples: [
      encodeWantedRange({
        rangeId: 1,
        descriptor: range,
        member: true,
        bootstrap: false,
        change: { type: 'addLearner', nodeId: 'n2', incarnation: 1, generation: 3, epoch: 5 },
      }),
    ],
  },
  {
    name: 'decodeRangeWish',
    decode: decodeRangeWish,
    samples: [
      encodeRangeWish({
        change: { type: 'remove', replicaId: 1, generation: 3, epoch: 5 },
        bootstrap: 'n1',
        nodes: ['n1', 'n2'],
      }),
    ],
  },
  {
    name: 'decodeCommand',
    decode: decodeCommand,
    samples: [
      encodeCommand({ type: 'txn', quotaBytes: 100, transaction }),
      encodeCommand({ type: 'grant', holder: 'h', ttlMs: 1_000 }),
      encodeCommand({ type: 'revoke', sessionIds: [1, 2] }),
      encodeCommand({ type: 'checkpoint', remaining: [{ sessionId: 1, remainingMs: 5 }] }),
    ],
  },
  { name: 'decodePointer', decode: decodePointer, samples: [encodePointer(2)] },
  {
    name: 'decodeNumbers',
    decode: decodeNumbers,
    samples: [encodeNumbers({ revision: 5, compactRevision: 2, historyFrom: 3 }, 'digest')],
  },
  {
    name: 'decodeSession',
    decode: decodeSession,
    samples: [encodeSession({ sessionId: 1, holder: 'h', ttlMs: 1_000, remainingMs: 5 })],
  },
  {
    name: 'decodeBlock',
    decode: (bytes) => decodeBlock(value, bytes, Uint8Array.of(1, 0)),
    samples: [encodeBlock([makeVersion({ ...entry, sub: 0, deleted: false })])],
  },
  {
    name: 'decodeSingle',
    decode: (bytes) => decodeSingle(value, bytes),
    samples: [makeVersion({ ...entry, sub: 0, deleted: false }).record],
  },
  {
    name: 'decodeVersion',
    decode: decodeVersion,
    samples: [makeVersion({ ...entry, sub: 0, deleted: false }).record],
  },
  {
    name: 'StateDecoder',
    decode: (bytes) => {
      const decoder = new StateDecoder({ session: () => {}, version: () => {} })
      decoder.push(bytes)
      return decoder.finish()
    },
    samples: [emptySnapshot()],
  },
  {
    name: 'readTransactionResult',
    decode: (bytes) => readTransactionResult(openOutcome(bytes)),
    samples: [outcome()],
  },
  {
    name: 'openOutcome',
    decode: (bytes) => {
      try {
        return openOutcome(bytes)
      } catch (thrown) {
        // The refusal itself is what was to be read.
        if (KeelsonError.is(thrown) && thrown.code !== 'MALFORMED') return thrown
        throw thrown
      }
    },
    samples: [encodeOutcomeRefusal(error)],
  },
  {
    name: 'decodeRead',
    decode: protocol.decodeRead,
    samples: [protocol.encodeRead({ select: { key, end: key }, revision: 5, limit: 7 })],
  },
  {
    name: 'decodeRangeResult',
    decode: protocol.decodeRangeResult,
    samples: [protocol.encodeRangeResult({ entries: [entry], more: true, count: 5, revision: 9 })],
  },
  {
    name: 'decodeBatch',
    decode: protocol.decodeBatch,
    samples: [
      protocol.encodeBatch({
        clientSession: 1,
        acknowledgedBelow: 2,
        items: [{ type: 'txn', sequence: 3, body: value }],
      }),
    ],
  },
  {
    name: 'decodeTransaction',
    decode: protocol.decodeTransaction,
    samples: [protocol.encodeTransaction(transaction)],
  },
  { name: 'decodeGrant', decode: protocol.decodeGrant, samples: [protocol.encodeGrant('h', 1_000)] },
  {
    name: 'decodeAnswers',
    decode: protocol.decodeAnswers,
    samples: [protocol.encodeAnswers([value, error], 10_000)],
  },
  { name: 'decodeNumber', decode: protocol.decodeNumber, samples: [protocol.encodeNumber(500)] },
  {
    name: 'decodeSessions',
    decode: protocol.decodeSessions,
    samples: [protocol.encodeSessions([{ sessionId: 1, ttlMs: 5, holder: 'h' }])],
  },
  {
    name: 'decodeWatch',
    decode: protocol.decodeWatch,
    samples: [protocol.encodeWatch({ select: { key }, fromRevision: 5, previous: true })],
  },
  {
    name: 'decodeVerification',
    decode: protocol.decodeVerification,
    samples: [protocol.encodeVerification({ index: 5, digest: 'd' })],
  },
  {
    name: 'WatchDecoder',
    decode: (bytes) => new protocol.WatchDecoder().push(bytes),
    samples: [watchItem()],
  },
  {
    name: 'decodeNodeRecord',
    decode: nodes.decodeNodeRecord,
    samples: [
      nodes.encodeNodeRecord({
        descriptor,
        state: 'active',
        reason: 'r',
        credentialHash: value,
        tokenHash: value,
        joinedAtMs: 1,
        changedAtMs: 2,
      }),
    ],
  },
  {
    name: 'decodeTokenRecord',
    decode: nodes.decodeTokenRecord,
    samples: [nodes.encodeTokenRecord({ expiresAtMs: 5, reason: 'r' })],
  },
  { name: 'decodeLiveNode', decode: nodes.decodeLiveNode, samples: [nodes.encodeLiveNode(5)] },
  {
    name: 'decodeNodeReport',
    decode: decodeNodeReport,
    samples: [
      encodeNodeReport({
        nodeId: 'n1',
        incarnation: 7,
        epoch: 1,
        sequence: 2,
        load: { cpu: 0.5 },
        capacity: { bytes: 5 },
        replicas: [
          {
            rangeId: 1,
            replicaId: 1,
            generation: 3,
            replicas: [replica],
            leaseHolder: true,
            sequence: 4,
            caughtUp: [1],
            load: { bytes: 5 },
          },
        ],
      }),
    ],
  },
  {
    name: 'decodeJoinRequest',
    decode: decodeJoinRequest,
    samples: [encodeJoinRequest({ descriptor, credential: 'c'.repeat(20), token: 't'.repeat(20) })],
  },
  {
    name: 'decodeMergeState',
    decode: plainly(decodeMergeState),
    samples: [encodePlain(encodeMergeState({ leftRangeId: 1, rightRangeId: 2 }))],
  },
  {
    name: 'decodeSplitState',
    decode: plainly(decodeSplitState),
    samples: [encodePlain(encodeSplitState({ rangeId: 1, key: Uint8Array.of(1, 2), rightRangeId: 2 }))],
  },
  {
    name: 'decodeMoveState',
    decode: plainly(decodeMoveState),
    samples: [
      encodePlain(
        encodeMoveState({
          goal: {
            rangeId: 1,
            kind: 'replace',
            priority: 2,
            add: { nodeId: 'n2', incarnation: 1 },
            remove: { replicaId: 1, nodeId: 'n1' },
            leaseTo: { replicaId: 1, nodeId: 'n1' },
          },
          brought: 5,
          step: {
            what: 'w',
            generation: 3,
            proof: [{ step: 'now', voters: 3, liveVoters: 3, quorum: 2 }],
            change: { type: 'swap', promote: 4, remove: 1 },
            outcome: 'asked',
            atMs: 5,
          },
          past: [
            {
              what: 'v',
              generation: 2,
              proof: [],
              change: { type: 'addLearner', nodeId: 'n2', incarnation: 1, storeId: 's1' },
              outcome: 'done',
              atMs: 4,
            },
          ],
        }),
      ),
      // Of a release before steps had outcomes.
      encodePlain([1, 1, 2, ['n2', 1], null, null, 5, ['w', 3, [[0, 3, 3, 2]]]]),
    ],
  },
  {
    name: 'decodeReplicaSet',
    decode: decodeReplicaSet,
    samples: [
      encodeReplicaSet({
        set: QuorumSet.of(['n1', 'n2'].map(firstLife)).withCandidate('n2', firstLife('n4')),
        unsealed: [QuorumSet.of(['n1', 'n2'].map(firstLife))],
        primary: 'n1',
        sequence: 7,
      }),
    ],
  },
  {
    name: 'decodeSetChange',
    decode: plainly(decodeSetChange),
    samples: [
      encodePlain(
        encodeSetChange({
          name: 's',
          change: { suspect: 'n1', candidate: 'n2', incarnation: 7, mayReturn: true, begun: true },
        }),
      ),
    ],
  },
  {
    name: 'decodePrimaryChange',
    decode: plainly(decodePrimaryChange),
    samples: [
      encodePlain(
        encodePrimaryChange({
          name: 's',
          change: { to: 'n1', emergency: false, force: false },
          progress: {
            from: 'n2',
            fromSequence: 3,
            stopping: true,
            stoppedAt: { sequence: 3, index: 9 },
            sequence: 4,
            chosen: 'n1',
            target: { sequence: 3, index: 9 },
            lossless: true,
            passedOver: ['n3'],
          },
        }),
      ),
    ],
  },
  {
    name: 'decodeMaintenance',
    decode: plainly(decodeMaintenance),
    samples: [encodePlain(maintenanceForm.encode({ boundMs: 5, force: false, absence }))],
  },
  {
    name: 'decodeRestart',
    decode: plainly(decodeRestart),
    samples: [
      encodePlain(restartForm.encode({ boundMs: 5, atOnce: 2, done: ['n1'], absence, queue: ['n3'] })),
    ],
  },
  {
    name: 'decodeEvacuation',
    decode: plainly(decodeEvacuation),
    samples: [{ nodeIds: ['n1'] }, { tier: 'zone', value: 'a' }].map((target) =>
      encodePlain(evacuationForm.encode({ target, nodeIds: ['n1'], ours: ['n1'], replicas: 7 })),
    ),
  },
  {
    name: 'decodeConfiguration',
    decode: decodeConfiguration,
    samples: [
      encodeConfiguration({ ...configuration, changes: [{ type: 'promote', replicaId: 1 }] }),
      encodeConfiguration(jointConfiguration),
    ],
  },
  {
    name: 'readBookkeeping',
    decode: (bytes) => {
      // Not every record is one of each kind, so what one refuses another may take.
      for (const right of [positionWrite(position, 3), ...ownerWrites(2, 1)])
        readBookkeeping(new Map([[right.key, bytes]]))
      return bookkeeping(bytes)
    },
    samples: [],
  },
  {
    name: 'decodeBatchEnvelope',
    decode: decodeBatchEnvelope,
    samples: [
      encodeBatchEnvelope({
        tokenSequence: 3,
        session: 5,
        acknowledgedBelow: 2,
        commands: [
          { sequence: 2, data: value },
          { sequence: 600, data: value },
        ],
      }),
    ],
  },
  {
    name: 'decodeEnvelope',
    decode: decodeEnvelope,
    samples: [encodeEnvelope(value, 3, { session: 5, sequence: 600 }, 2)],
  },
  {
    name: 'decodeGroupMetadata',
    decode: decodeGroupMetadata,
    samples: [
      encodeGroupMetadata({ ...newMetadata(1), quarantined: true }),
      encodeGroupMetadata({ ...newMetadata(1), countsFrom: 600 }),
    ],
  },
  {
    name: 'decodeDiskRecord',
    decode: decodeDiskRecord,
    samples: [
      encodeGroupMetadata({ ...newMetadata(0), quarantined: true }),
      encodeDiskRecord({
        forgetful: true,
        evidence: { knownBy: 'n1', life: 5, position: 600, openedAt: 70, atMs: 80, settledFrom: 90 },
        history: new DiskHistory([
          { life: 5, openedAt: 6 },
          { life: 2 ** 40, openedAt: 600 },
        ]),
      }),
    ],
  },
  {
    name: 'decodeSessionEntry',
    decode: decodeSessionEntry,
    samples: [
      encodeSessionEntry({ type: 'register', maximumSessions: 5, resultsPerSession: 6, unusedBefore: 7 }),
      encodeSessionEntry({ type: 'evict', sessions: [1, 2] }),
      encodeSessionEntry({ type: 'trim', bytesPerSession: 5, totalBytes: 6 }),
    ],
  },
  { name: 'decodeFrame', decode: (bytes) => decodeFrame(bytes, 7), samples: [messages()] },
  {
    name: 'decodeSnapshotHeader',
    decode: decodeSnapshotHeader,
    samples: [
      encodeSnapshotHeader({
        groupId: 1,
        recoveryGeneration: 2,
        from: 1,
        to: 2,
        incarnation: 7,
        requestId: 8,
        position,
        snapshotId: 9,
        firstPiece: 5,
      }),
    ],
  },
  {
    name: 'decodeChangeState',
    decode: plainly(decodeChangeState),
    samples: [
      encodePlain(
        encodeChangeState({
          ...initialChangeState(1, { type: 'addIndex', name: 'i', columns: ['id'] }),
          progress: { done: [{ start: key, end: undefined }], cursors: new Map([[2, key]]), rows: 5 },
        }),
      ),
    ],
  },
  { name: 'decodeTable', decode: decodeTable, samples: [encodeTable(table)] },
  { name: 'decodeUse', decode: decodeUse, samples: [encodeUse(new Map([[1, 2]]))] },
  {
    name: 'decodeSetting',
    decode: decodeSetting,
    samples: [encodeSetting({ value: { a: [1] }, reason: 'r', atMs: 5, reset: false })],
  },
  {
    name: 'decodeBook',
    decode: (bytes) =>
      decodeBook([
        {
          key: ruleKey('a rule'),
          value: bytes,
          createRevision: 1,
          modRevision: 1,
          version: 1,
          session: 0,
        },
      ]),
    samples: [encodeRule({ id: 'a rule', scope: { type: 'table', tableId: 7 }, voters: 5 })],
  },
  { name: 'parseSettingKey', decode: parseSettingKey, samples: [settingKey('a.b', { nodeId: 'n1' })] },
  {
    name: 'checkIdentity',
    decode: (bytes) => checkIdentity(bytes, 'the directory', format, seed),
    samples: [encodeIdentity({ format: 'segments', version: 1, ...seed, incarnation: 7, ready: true })],
  },
  {
    name: 'decodeEndMark',
    // One that does not read is undefined, and vouches for nothing.
    decode: (bytes) => {
      const end = decodeEndMark(bytes, 7)
      if (end === undefined) throw new KeelsonError('MALFORMED', 'no mark of an end')
      return end
    },
    samples: [encodeEndMark(2 ** 40 + 5, 7)],
  },
  {
    name: 'decodePendingImport',
    decode: decodePendingImport,
    samples: [undefined, 2 ** 40 + 5].map((revision) => {
      const operation = markImport({ revision })
      invariant(operation.type === 'put', 'a mark is put')
      return operation.value
    }),
  },
  {
    name: 'decodeSegmentHeader',
    decode: decodeSegmentHeader,
    samples: [encodeSegmentHeader({ number: 1, start: 0, incarnation: 7, used: false })],
  },
  {
    name: 'decodePacket',
    decode: (bytes) => decodePacket(bytes, 'c'),
    samples: [encodePacket('c', { nodeId: 'n1', incarnation: 7, version: 2 }, everyMessage)],
  },
  {
    name: 'decodeSnapshot',
    decode: decodeSnapshot,
    samples: [
      encodeSnapshot({
        version: 3,
        clock: 9,
        addresses: ['10.0.0.1:7946', '[::1]:1'],
        ownRemoval: 300,
        admitted: [{ nodeId: 'n1', incarnation: 300 }],
        removed: [{ nodeId: 'n2', incarnation: 7, version: 2 ** 32 - 1 }],
        heard: [1, 0xffff_ffff],
        forgotten: 3,
      }),
    ],
  },
  {
    name: 'decodeRpc',
    decode: decodeRpc,
    samples: [
      rpc.encode({ type: 'request', id: 300, method: 'm', body: value }),
      rpc.encode({ type: 'error', id: 300, error }),
      rpc.encode({ type: 'item', id: 300, sequence: 5, body: value }),
      rpc.encode({
        type: 'probe',
        streams: [
          [1, 2],
          [3, 4_000],
        ],
      }),
    ].map((bytes) => new Uint8Array(bytes)),
  },
  {
    name: 'FrameReader',
    decode: (bytes) => new FrameReader(100).read(bytes, { message: () => {}, stream: () => {} }),
    samples: [frame()],
  },
  {
    name: 'decodeHello',
    decode: asHeader(decodeHello),
    samples: [
      fromHeader(
        encodeHello({
          ...greeter,
          oldest: 1,
          newest: 1,
          wanted: 'n2',
          attempt: 5,
          token: value,
          asking: true,
        }),
      ),
    ],
  },
  {
    name: 'decodeWelcome',
    decode: asHeader(decodeWelcome),
    samples: [
      fromHeader(encodeWelcome({ ...greeter, version: 1, attempt: 5, token: value, connected: false })),
    ],
  },
  { name: 'decodeRefusal', decode: asHeader(decodeRefusal), samples: [fromHeader(encodeRefusal(error))] },
  { name: 'decodeError', decode: decodeError, samples: [encodeError(error)] },
]

function emptySnapshot(): Uint8Array {
  const state = new MvccState()
  const header = new ByteWriter().u8(1).varint(0).varint(0).varint(1).string(state.digest()).finish()
  return new ByteWriter().u8(1).bytes(header).u8(4).varint(0).finish()
}
