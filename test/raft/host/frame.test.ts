import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { EntryKind } from '../../../src/interfaces/index.ts'
import { decodeFrame, FramePacker, marksBytes, maximumKnownMarks } from '../../../src/raft/host/frame.ts'
import type { HostMessage } from '../../../src/raft/host/host-messages.ts'
import { messageBytes } from '../../../src/raft/host/message-fields.ts'
import { extendFrame } from '../support/later-release.ts'

const big = Number.MAX_SAFE_INTEGER
const header = { from: 3, to: big, term: 9 }
const entry = (index: number, term: number, kind: EntryKind, text: string) => ({
  index,
  term,
  kind,
  data: new Uint8Array(Buffer.from(text)),
})
const messages: HostMessage[] = [
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
    entries: [entry(8, 2, 0, ''), entry(9, 4, 1, 'hello'), entry(10, 9, 2, 'x'.repeat(300))],
  },
  { ...header, kind: 'append', prevIndex: 0, prevTerm: 0, commit: 0, entries: [] },
  { ...header, kind: 'appendReply', index: 4, accepted: false, hintIndex: 3, hintTerm: 2 },
  { ...header, kind: 'heartbeat', round: 77, commit: 5, match: 6 },
  { ...header, kind: 'heartbeatReply', round: 77, pledgeMs: 100 },
  { ...header, kind: 'snapshotOffer', position: { index: 12, term: 3 } },
  { ...header, kind: 'timeoutNow' },
  {
    ...header,
    kind: 'snapshotRequest',
    position: { index: 12, term: 3 },
    requestId: big,
    snapshotId: big,
    nextPiece: 7,
  },
  { ...header, kind: 'entriesRequest', first: 5, last: 300, requestId: big },
  {
    ...header,
    kind: 'entriesReply',
    requestId: big,
    first: 5,
    entries: [entry(5, 2, 1, 'hello'), entry(6, 300, 0, '')],
  },
  { ...header, kind: 'entriesReply', requestId: 4, first: 7, entries: [] },
  { ...header, kind: 'readIndex', requestId: 2 ** 50, lease: true },
  { ...header, kind: 'readIndexReply', requestId: 2 ** 50, index: 8 },
]

const marks = {
  kind: 'marks',
  life: 2 ** 50 - 1,
  position: 2 ** 52,
  known: [
    { life: 5, position: 300 },
    { life: 6, position: 299 },
  ],
} as const

function packed(): Uint8Array {
  const packer = new FramePacker(42)
  messages.forEach((message, i) => {
    packer.add(i + 1, message, i % 3)
  })
  return packer.finish(marks).slice()
}

test('a frame carries the messages of many groups', () => {
  const frame = packed()
  const decoded = decodeFrame(frame, 42)
  assert.deepEqual(decoded, {
    version: 7,
    messages: messages.map((message, i) => ({ groupId: i + 1, recoveryGeneration: i % 3, message })),
    beats: [],
    marks,
    unknownMessages: 0,
  })
  frame.fill(0)
  assert.deepEqual(decoded?.messages[5]?.message, messages[5], 'the result does not refer to the frame')
})

test('a frame for another incarnation of the node is not for us', () => {
  assert.equal(decodeFrame(packed(), 43), undefined)
})

test('a frame of another version is refused, unless a later release wrote it for this one', () => {
  const frame = packed()
  frame[0] = 1
  assert.throws(() => decodeFrame(frame, 42), { code: 'PROTOCOL_VERSION' })
  frame[0] = 8
  assert.equal(decodeFrame(frame, 42)?.version, 8)
  frame[1] = 8
  assert.throws(() => decodeFrame(frame, 42), { code: 'PROTOCOL_VERSION', message: /version 8.*upgrade/ })
})

test('what only a later release knows is passed over', () => {
  const decoded = decodeFrame(extendFrame(packed()), 42)
  assert.equal(decoded?.version, 8)
  assert.deepEqual(decoded.marks, marks)
  // One after each message, and one after the marks.
  assert.equal(decoded.unknownMessages, messages.length + 1)
  assert.deepEqual(
    decoded.messages.map(({ message }) => message),
    messages,
  )
})

test('damaged frames are malformed and nothing else', () => {
  const frame = packed()
  for (let length = 0; length < frame.length; length++) {
    try {
      const decoded = decodeFrame(frame.subarray(0, length), 42)
      assert.ok(decoded !== undefined)
    } catch (error) {
      assert.ok(KeelsonError.hasCode(error, 'MALFORMED'), String(error))
    }
  }
  fc.assert(
    fc.property(fc.nat({ max: frame.length - 1 }), fc.nat({ max: 255 }), (at, byte) => {
      const damaged = frame.slice()
      damaged[at] = byte
      try {
        decodeFrame(damaged, 42)
      } catch (error) {
        assert.ok(KeelsonError.hasCode(error, 'MALFORMED', 'PROTOCOL_VERSION'), String(error))
      }
    }),
  )
})

test('a count of entries that cannot be true allocates nothing', () => {
  const packer = new FramePacker(42)
  packer.add(1, { ...header, kind: 'append', prevIndex: 1, prevTerm: 1, commit: 0, entries: [] })
  const frame = packer.finish().slice()
  const lying = new Uint8Array([...frame.slice(0, -1), 0xff, 0xff, 0xff, 0x07])
  new DataView(lying.buffer).setUint32(13, lying.length - 17, true)
  assert.throws(() => decodeFrame(lying, 42), { code: 'MALFORMED' })
})

test('the estimate of a message is never below its size', () => {
  const packer = new FramePacker(big)
  for (const message of messages) {
    const before = packer.length
    packer.add(big, message)
    assert.ok(packer.length - before <= messageBytes(message), message.kind)
  }
})

test('what a frame says of disks takes no more than is kept free for it', () => {
  const packer = new FramePacker(42)
  const { length } = packer
  const largest = {
    kind: 'marks',
    life: big,
    position: big,
    known: Array.from({ length: maximumKnownMarks }, () => ({ life: big, position: big })),
  } as const
  assert.ok(packer.finish(largest).length - length <= marksBytes)
})

test('of what a frame says of disks no more is read than is of any use', () => {
  const known = Array.from({ length: 1_000 }, (_, i) => ({ life: i, position: i }))
  const frame = new FramePacker(42).finish({ ...marks, known })
  assert.deepEqual(decodeFrame(frame, 42)?.marks?.known, known.slice(0, 16))
})

test('a frame that says twice how far disks have got is malformed', () => {
  const packer = new FramePacker(42)
  packer.finish(marks)
  assert.throws(() => decodeFrame(packer.finish(marks), 42), { code: 'MALFORMED', message: /twice/ })
})

test('a small frame keeps no room for a large one, however much was expected', () => {
  const packer = new FramePacker(42, 1 << 20)
  packer.add(1, { ...header, kind: 'timeoutNow' })
  const frame = packer.finish()
  assert.ok(frame.buffer.byteLength <= 256)
  assert.equal(decodeFrame(frame, 42)?.messages.length, 1)
})
