import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { KeelsonError } from '../../../src/core/errors.ts'
import {
  batchBytes,
  commandsIn,
  decodeBatchEnvelope,
  encodeBatchEnvelope,
  fullBatchBytes,
  isBatch,
  maximumBatchCommands,
  type SequencedCommand,
} from '../../../src/raft/group/batch-envelope.ts'
import { type BatchLimits, stretchesOf } from '../../../src/raft/group/batch-proposal.ts'
import { decodeEnvelope, encodeEnvelope } from '../../../src/raft/group/envelope.ts'

const safe = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const commandLists = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), fc.uint8Array()), {
    minLength: 1,
    selector: ([sequence]) => sequence,
  })
  .map((pairs) =>
    pairs.map(([sequence, data]) => ({ sequence, data })).sort((a, b) => a.sequence - b.sequence),
  )

test('several commands survive the way through the log', () => {
  fc.assert(
    fc.property(commandLists, safe, safe, safe, (commands, tokenSequence, session, acknowledgedBelow) => {
      const envelope = { tokenSequence, session, acknowledgedBelow, commands }
      const data = encodeBatchEnvelope(envelope)
      const bytes = commands.reduce((sum, command) => sum + command.data.length, 0)
      assert.ok(data.length <= batchBytes(commands.length, bytes))
      assert.ok(isBatch(data))
      assert.equal(commandsIn(data), commands.length)
      const decoded = decodeBatchEnvelope(data)
      const plain = (list: readonly SequencedCommand[]): unknown => list.map((c) => [c.sequence, [...c.data]])
      assert.deepEqual(
        { ...decoded, commands: plain(decoded.commands) },
        { ...envelope, commands: plain(commands) },
      )
    }),
  )
})

test('a batch of another version, with unknown flags or of an older reader is refused by name', () => {
  const commands = [{ sequence: 7, data: new Uint8Array(3) }]
  const data = encodeBatchEnvelope({ tokenSequence: 1, session: 2, acknowledgedBelow: 3, commands })
  assert.throws(() => decodeEnvelope(data), { code: 'FORMAT_VERSION' })
  data[1] = 0x80
  assert.throws(() => decodeBatchEnvelope(data), { code: 'FORMAT_VERSION' })
  data[0] = 3
  assert.throws(() => decodeBatchEnvelope(data), { code: 'FORMAT_VERSION' })
  assert.equal(commandsIn(encodeEnvelope(new Uint8Array(3), 0, undefined, 0)), 1)
})

test('sequences that stand still or go beyond the safe integers, and counts that lie, are malformed', () => {
  const wrong = [
    [2, 0, 1, 1, 0],
    [2, 0, 1, 1, 2, 1, 0, 0, 0],
    [2, 0, 1, 1, 2, 255, 255, 255, 255, 255, 255, 255, 15, 0, 1, 0],
    [2, 0, 1, 1, 255, 255, 3, 1, 0],
    [2, 0, 1, 1, 1, 1, 0, 9],
  ]
  for (const bytes of wrong)
    assert.throws(() => decodeBatchEnvelope(Uint8Array.from(bytes)), { code: 'MALFORMED' }, String(bytes))
})

test('no bytes make the decoder of batches fail in an untyped way', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        decodeBatchEnvelope(Uint8Array.of(2, 0, ...bytes))
      } catch (error) {
        assert.ok(KeelsonError.hasCode(error, 'MALFORMED', 'FORMAT_VERSION'))
      }
    }),
  )
})

test('commands go into as few entries as they fit into, in order', () => {
  const sized = (...sizes: number[]): SequencedCommand[] =>
    sizes.map((size, i) => ({ sequence: i + 1, data: new Uint8Array(size) }))
  const wide: BatchLimits = { together: true, entryBytes: 1 << 20, alone: () => false }
  const cut = (commands: SequencedCommand[], limits = wide): number[][] =>
    stretchesOf(commands, limits).map(({ from, to }) => [from, to])
  assert.deepEqual(cut([]), [])
  assert.deepEqual(cut(sized(1, 2, 3)), [[0, 3]])
  assert.deepEqual(cut(sized(1, 2, 3), { ...wide, together: false }), [
    [0, 1],
    [1, 2],
    [2, 3],
  ])
  const half = fullBatchBytes / 2
  assert.deepEqual(cut(sized(10, half, half, 10)), [
    [0, 2],
    [2, 4],
  ])
  // One that is larger by itself is for the group to refuse.
  assert.deepEqual(cut(sized(1, fullBatchBytes * 2, 1)), [
    [0, 1],
    [1, 2],
    [2, 3],
  ])
  assert.deepEqual(cut(sized(50, 50, 50), { ...wide, entryBytes: 170 }), [
    [0, 2],
    [2, 3],
  ])
  assert.deepEqual(cut(sized(1, 1, 9, 1, 1), { ...wide, alone: (data) => data.length === 9 }), [
    [0, 2],
    [2, 3],
    [3, 5],
  ])
  assert.deepEqual(cut(sized(...Array.from({ length: maximumBatchCommands + 1 }, () => 0))), [
    [0, maximumBatchCommands],
    [maximumBatchCommands, maximumBatchCommands + 1],
  ])
})
