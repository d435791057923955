import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { hex, utf8 } from '../../../src/core/bytes.ts'
import type { BookkeepingWrite } from '../../../src/interfaces/index.ts'
import {
  decodeConfiguration,
  encodeConfiguration,
  makeConfiguration,
} from '../../../src/raft/core/configuration.ts'
import { decodeBatchEnvelope, encodeBatchEnvelope } from '../../../src/raft/group/batch-envelope.ts'
import {
  configurationWrite,
  ownerWrites,
  positionWrite,
  readBookkeeping,
  termStartsWrite,
} from '../../../src/raft/group/bookkeeping.ts'
import { decodeEnvelope, encodeEnvelope } from '../../../src/raft/group/envelope.ts'
import { decodeGroupMetadata, encodeGroupMetadata } from '../../../src/raft/group/metadata.ts'
import {
  decodeSessionEntry,
  encodeSessionEntry,
  type SessionEntry,
} from '../../../src/raft/group/session-entry.ts'
import { SessionTable } from '../../../src/raft/group/session-table.ts'
import { DiskHistory } from '../../../src/raft/host/disk-history.ts'
import { decodeDiskRecord, encodeDiskRecord } from '../../../src/raft/host/disk-record.ts'
import { decodeFrame, FramePacker } from '../../../src/raft/host/frame.ts'
import {
  decodeSnapshotHeader,
  encodeSnapshot,
  encodeSnapshotHeader,
  PieceChecker,
  SnapshotReader,
} from '../../../src/raft/host/snapshot-wire.ts'
import { bookkeeping1, bookkeeping2, bookkeeping3 } from './bookkeeping.ts'
import { configuration1, configuration2 } from './configuration.ts'
import { diskRecord2, diskRecord3, diskRecord3Found } from './disk-record.ts'
import { envelope1, envelope2 } from './envelope.ts'
import { frame2, frame3, frame4, frame5, frame6 } from './frame.ts'
import { metadata1, metadata2, metadata2Pledged, metadata3 } from './metadata.ts'
import {
  sampleBatches,
  sampleBeats5,
  sampleConfiguration,
  sampleDiskRecord,
  sampleEnvelopes,
  sampleJointConfiguration,
  sampleMarks6,
  sampleMessages2,
  sampleMessages3,
  sampleMessages4,
  sampleMessages5,
  sampleMetadata,
  sampleSessionEntries,
  sampleSnapshot,
  sampleSnapshotHeader,
} from './samples.ts'
import { sessionEntry1 } from './session-entry.ts'
import { snapshot2, snapshotHeader2 } from './snapshot.ts'

// What each version of a format looks like. A change here is a new version; an old one is still read, or refused by name.

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))

suite('golden', () => {
  test('frames of versions 2 to 7, a message of each kind', () => {
    const packer = new FramePacker(42)
    for (const { groupId, recoveryGeneration, message } of sampleMessages5) {
      packer.add(groupId, message, recoveryGeneration)
    }
    for (const beat of sampleBeats5) packer.addBeat(beat)
    // Of the same form; its sender can read more of what is in the log.
    const frame7 = frame6.replace(/^06/, '07')
    assert.equal(hex(packer.finish(sampleMarks6)), frame7)
    const read = (frame: string): unknown => decodeFrame(bytes(frame), 42)
    const unknownMessages = 0
    const version5 = { messages: sampleMessages5, beats: sampleBeats5, unknownMessages }
    assert.deepEqual(read(frame7), { version: 7, ...version5, marks: sampleMarks6 })
    assert.deepEqual(read(frame6), { version: 6, ...version5, marks: sampleMarks6 })
    assert.deepEqual(read(frame5), { version: 5, ...version5, marks: undefined })
    const before = { beats: [], marks: undefined, unknownMessages }
    assert.deepEqual(read(frame4), { version: 4, messages: sampleMessages4, ...before })
    assert.deepEqual(read(frame3), { version: 3, messages: sampleMessages3, ...before })
    assert.deepEqual(read(frame2), { version: 2, messages: sampleMessages2, ...before })
  })

  test('command envelopes of version 1', () => {
    sampleEnvelopes.forEach((envelope, i) => {
      const { payload, tokenSequence, commandId, acknowledgedBelow } = envelope
      const data = encodeEnvelope(payload, tokenSequence, commandId, acknowledgedBelow)
      assert.equal(hex(data), envelope1[i])
      const decoded = decodeEnvelope(bytes(envelope1[i] as string))
      assert.deepEqual({ ...decoded, payload: hex(decoded.payload) }, { ...envelope, payload: hex(payload) })
    })
  })

  test('command envelopes of version 2, of several commands', () => {
    sampleBatches.forEach((batch, i) => {
      assert.equal(hex(encodeBatchEnvelope(batch)), envelope2[i])
      const { commands, ...header } = decodeBatchEnvelope(bytes(envelope2[i] as string))
      assert.deepEqual(
        { ...header, commands: commands.map(({ sequence, data }) => ({ sequence, data: bytes(hex(data)) })) },
        batch,
      )
    })
    assert.throws(() => decodeEnvelope(bytes(envelope2[0] as string)), { code: 'FORMAT_VERSION' })
  })

  test('session entries of version 1', () => {
    sampleSessionEntries.forEach((entry, i) => {
      assert.equal(hex(encodeSessionEntry(entry)), sessionEntry1[i])
      assert.deepEqual(decodeSessionEntry(bytes(sessionEntry1[i] as string)), entry)
    })
  })

  test('metadata of groups, of versions 1 to 3', () => {
    assert.equal(hex(encodeGroupMetadata(sampleMetadata)), metadata2)
    assert.deepEqual(decodeGroupMetadata(bytes(metadata2)), sampleMetadata)
    const pledged = { ...sampleMetadata, pledgeMs: 1_234 }
    assert.equal(hex(encodeGroupMetadata(pledged)), metadata2Pledged)
    assert.deepEqual(decodeGroupMetadata(bytes(metadata2Pledged)), pledged)
    assert.deepEqual(decodeGroupMetadata(bytes(metadata1)), {
      ...sampleMetadata,
      floor: sampleMetadata.replicaId,
      recoveryGeneration: 0,
      supersededBy: 0,
    })
    const recovered = { ...sampleMetadata, countsFrom: 2 ** 33 }
    assert.equal(hex(encodeGroupMetadata(recovered)), metadata3)
    assert.deepEqual(decodeGroupMetadata(bytes(metadata3)), recovered)
  })

  test('records of disks, of version 3, and what there was before', () => {
    const { history } = sampleDiskRecord
    const trusted = { forgetful: false, evidence: undefined, history }
    assert.equal(hex(encodeDiskRecord(sampleDiskRecord)), diskRecord3Found)
    assert.deepEqual(decodeDiskRecord(bytes(diskRecord3Found)), sampleDiskRecord)
    assert.equal(hex(encodeDiskRecord(trusted)), diskRecord3)
    assert.deepEqual(decodeDiskRecord(bytes(diskRecord3)), trusted)
    const unknown = { forgetful: true, evidence: undefined, history: new DiskHistory() }
    assert.deepEqual(decodeDiskRecord(bytes(diskRecord2)), unknown)
    // It stands where earlier releases look for metadata, which they refuse by its version.
    assert.ok((bytes(diskRecord3)[1] as number) > 2)
  })

  test('configurations of version 1', () => {
    assert.equal(hex(encodeConfiguration(sampleConfiguration)), configuration1)
    assert.deepEqual(decodeConfiguration(bytes(configuration1)), sampleConfiguration)
    const first = makeConfiguration(1, sampleConfiguration.replicas.slice(0, 1))
    assert.deepEqual(decodeConfiguration(encodeConfiguration(first)), first)
  })

  test('configurations of version 2: joint ones, and what the first cannot say', () => {
    assert.equal(hex(encodeConfiguration(sampleJointConfiguration)), configuration2)
    assert.deepEqual(decodeConfiguration(bytes(configuration2)), sampleJointConfiguration)
  })

  test('snapshots of version 2, header and pieces', async () => {
    assert.equal(hex(encodeSnapshotHeader(sampleSnapshotHeader)), snapshotHeader2)
    assert.deepEqual(decodeSnapshotHeader(bytes(snapshotHeader2)), sampleSnapshotHeader)
    const pieces: string[] = []
    for await (const piece of encodeSnapshot(sampleSnapshot, 64)) pieces.push(hex(piece))
    assert.deepEqual(pieces, snapshot2)
    const checker = new PieceChecker()
    const reader = new SnapshotReader(
      (async function* () {
        for (const piece of snapshot2) yield checker.check(bytes(piece))
      })(),
    )
    assert.deepEqual(await reader.bookkeeping(), sampleSnapshot.bookkeeping)
    const chunks: string[] = []
    for await (const chunk of reader.chunks()) chunks.push(hex(chunk))
    const expected: string[] = []
    for await (const chunk of sampleSnapshot.chunks()) expected.push(hex(chunk))
    assert.deepEqual(chunks, expected)
  })

  test('bookkeeping of version 3, sessions included, and of those before', () => {
    const sessions = new SessionTable()
    sessions.apply(sampleSessionEntries[0] as SessionEntry, 300)
    const id = { session: 300, sequence: 2 }
    sessions.touch(id, 1, 301)
    sessions.admit(id)
    sessions.record(id, utf8('done'))
    const writes: BookkeepingWrite[] = [
      positionWrite({ index: 2 ** 33, term: 7 }, 6),
      configurationWrite(299, encodeConfiguration(sampleConfiguration)),
      termStartsWrite([
        { index: 1, term: 1 },
        { index: 200, term: 7 },
      ]),
      ...ownerWrites(2 ** 34, 9),
      ...sessions.takeWrites(),
    ]
    assert.deepEqual(
      writes.map(({ key, value }) => [key, hex(value as Uint8Array)]),
      bookkeeping3,
    )
    for (const stored of [bookkeeping1, bookkeeping2, bookkeeping3]) {
      const read = readBookkeeping(new Map(stored.map(([key, value]) => [key, bytes(value)])))
      assert.deepEqual(read.applied, { index: 2 ** 33, term: 7 })
      assert.equal(read.sequence, 6)
      assert.deepEqual(read.configuration?.configuration, sampleConfiguration)
      assert.deepEqual(read.termStarts.at(-1), { index: 200, term: 7 })
      assert.equal(read.replicaId, 9)
      assert.equal(read.groupId, stored === bookkeeping3 ? 2 ** 34 : 0)
      assert.deepEqual(read.sessions.lookup(id), { type: 'duplicate', result: utf8('done') })
    }
  })

  test('what a later release writes is refused by name', () => {
    const later = (text: string): Uint8Array => {
      const data = bytes(text)
      // In an array of fields the version is the first of them.
      const at = (data[0] as number) >= 0x90 ? 1 : 0
      data[at] = 99
      return data
    }
    assert.throws(() => decodeEnvelope(later(envelope1[0] as string)), { code: 'FORMAT_VERSION' })
    assert.throws(() => decodeSessionEntry(later(sessionEntry1[0] as string)), { code: 'FORMAT_VERSION' })
    assert.throws(() => decodeGroupMetadata(later(metadata2)), { code: 'FORMAT_VERSION' })
    assert.throws(() => decodeDiskRecord(later(diskRecord3)), { code: 'FORMAT_VERSION' })
    assert.throws(() => decodeConfiguration(later(configuration1)), { code: 'FORMAT_VERSION' })
    assert.throws(() => decodeConfiguration(later(configuration2)), { code: 'FORMAT_VERSION' })
    assert.throws(() => decodeSnapshotHeader(later(snapshotHeader2)), { code: 'PROTOCOL_VERSION' })
    const now = new Map(bookkeeping3.map(([key, value]) => [key, bytes(value)]))
    for (const [key, value] of bookkeeping3) {
      assert.throws(() => readBookkeeping(new Map([...now, [key, later(value)]])), { code: 'FORMAT_VERSION' })
    }
  })
})
