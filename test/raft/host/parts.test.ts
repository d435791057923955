import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { encodePlain } from '../../../src/core/codec.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { MetricsRegistry } from '../../../src/core/metrics.ts'
import type { Channel, StateSnapshot } from '../../../src/interfaces/index.ts'
import { defaultRaftOptions } from '../../../src/raft/core/options.ts'
import { decodeGroupMetadata, encodeGroupMetadata, newMetadata } from '../../../src/raft/group/metadata.ts'
import { Deadlines } from '../../../src/raft/host/deadlines.ts'
import { DiskHistory } from '../../../src/raft/host/disk-history.ts'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import { decodeFrame } from '../../../src/raft/host/frame.ts'
import { checkHostOptions, fitRaftOptions } from '../../../src/raft/host/options.ts'
import { Outbox } from '../../../src/raft/host/outbox.ts'
import { RaftHost } from '../../../src/raft/host/raft-host.ts'
import {
  decodeSnapshotHeader,
  encodeSnapshot,
  encodeSnapshotHeader,
  PieceChecker,
  type SnapshotPiece,
  SnapshotReader,
} from '../../../src/raft/host/snapshot-wire.ts'
import { Cluster } from '../support/host-cluster.ts'

suite('deadlines', () => {
  test('come due in time, however they move', () => {
    const move = fc.record({ item: fc.nat({ max: 5 }), at: fc.nat({ max: 100 }), step: fc.nat({ max: 10 }) })
    fc.assert(
      fc.property(fc.array(move, { maxLength: 80 }), (moves) => {
        const items = Array.from({ length: 6 }, () => ({ nextDeadlineMs: Number.POSITIVE_INFINITY }))
        const deadlines = new Deadlines<{ nextDeadlineMs: number }>()
        let now = 0
        for (const { item, at, step } of moves) {
          const moved = items[item] as { nextDeadlineMs: number }
          moved.nextDeadlineMs = now + at
          deadlines.update(moved)
          now += step
          const expected = items.filter((each) => each.nextDeadlineMs <= now)
          assert.ok(expected.length === 0 || deadlines.earliestMs <= now)
          assert.equal(deadlines.isDue(now), expected.length > 0)
          assert.ok(expected.length > 0 || deadlines.earliestMs > now)
          const due = deadlines.takeDue(now)
          assert.deepEqual(new Set(due), new Set(expected))
          assert.equal(due.length, expected.length)
          for (const each of due) {
            each.nextDeadlineMs = Number.POSITIVE_INFINITY
            deadlines.update(each)
          }
          assert.ok(deadlines.earliestMs > now)
        }
      }),
    )
  })

  test('what was removed never comes due', () => {
    const deadlines = new Deadlines<{ nextDeadlineMs: number }>()
    const item = { nextDeadlineMs: 5 }
    deadlines.update(item)
    deadlines.remove(item)
    assert.deepEqual(deadlines.takeDue(10), [])
    assert.equal(deadlines.earliestMs, Number.POSITIVE_INFINITY)
  })
})

suite('snapshots on the wire', () => {
  const header = {
    groupId: 3,
    recoveryGeneration: 1,
    from: 1,
    to: 9,
    incarnation: 2 ** 50,
    requestId: 4,
    position: { index: 77, term: 5 },
    snapshotId: 12,
    firstPiece: 3,
  }

  function snapshot(
    chunks: readonly Uint8Array[],
    bookkeeping: ReadonlyMap<string, Uint8Array>,
  ): StateSnapshot {
    return {
      bookkeeping,
      async *chunks() {
        for (const chunk of chunks) yield chunk
      },
      async [Symbol.asyncDispose]() {},
    }
  }

  async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
    const all: T[] = []
    for await (const each of source) all.push(each)
    return all
  }

  async function* replay(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
    for (const piece of pieces) yield piece
  }

  async function* checked(pieces: readonly Uint8Array[]): AsyncGenerator<SnapshotPiece> {
    const checker = new PieceChecker()
    for await (const piece of replay(pieces)) yield checker.check(piece)
  }

  async function read(pieces: readonly Uint8Array[]) {
    const reader = new SnapshotReader(checked(pieces))
    const bookkeeping = await reader.bookkeeping()
    return { bookkeeping, chunks: await collect(reader.chunks()) }
  }

  test('bookkeeping and chunks arrive as they were, in pieces of any size', async () => {
    const bytes = fc.uint8Array({ maxLength: 200 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(bytes, { maxLength: 6 }),
        fc.uniqueArray(fc.tuple(fc.string({ maxLength: 20 }), bytes), {
          maxLength: 6,
          selector: ([key]) => key,
        }),
        fc.integer({ min: 24, max: 300 }),
        async (chunks, pairs, size) => {
          const bookkeeping = new Map(pairs)
          const pieces = await collect(encodeSnapshot(snapshot(chunks, bookkeeping), size))
          assert.ok(pieces.every((piece) => piece.length <= size))
          const result = await read(pieces.map((piece) => piece.slice()))
          assert.deepEqual(result.bookkeeping, bookkeeping)
          assert.deepEqual(
            result.chunks.map((chunk) => [...chunk]),
            chunks.map((chunk) => [...chunk]),
          )
        },
      ),
      { numRuns: 50 },
    )
  })

  test('a piece that is damaged, missing, doubled or out of place is found', async () => {
    const state = snapshot(
      [new Uint8Array(50).fill(1), new Uint8Array(50).fill(2)],
      new Map([['key', new Uint8Array(9)]]),
    )
    const pieces = (await collect(encodeSnapshot(state, 40))).map((piece) => piece.slice())
    const wrong: Uint8Array[][] = []
    for (let i = 0; i < pieces.length; i++) {
      const piece = pieces[i] as Uint8Array
      wrong.push([...pieces.slice(0, i), ...pieces.slice(i + 1)])
      wrong.push([...pieces.slice(0, i), piece, piece, ...pieces.slice(i + 1)])
      wrong.push(pieces.slice(0, i))
      const flipped = piece.slice()
      flipped[flipped.length - 1] = (flipped.at(-1) as number) ^ 0x10
      wrong.push([...pieces.slice(0, i), flipped, ...pieces.slice(i + 1)])
    }
    for (const attempt of wrong) await assert.rejects(read(attempt), { code: 'MALFORMED' })
  })

  test('a header survives, and no bytes break its decoder', () => {
    assert.deepEqual(decodeSnapshotHeader(encodeSnapshotHeader(header)), header)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          decodeSnapshotHeader(bytes)
        } catch (error) {
          assert.ok(KeelsonError.hasCode(error, 'MALFORMED', 'PROTOCOL_VERSION'))
        }
      }),
    )
  })

  test('no pieces break the reader in an untyped way', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 5 }), async (pieces) => {
        await assert.rejects(read(pieces), (error) => KeelsonError.hasCode(error, 'MALFORMED'))
      }),
    )
  })
})

suite('the metadata of a group', () => {
  test('survives, and what cannot be read is corruption or a newer version', () => {
    const metadata = { ...newMetadata(2 ** 40, 3, 7), destroyed: true, restoring: true, supersededBy: 9 }
    assert.deepEqual(decodeGroupMetadata(encodeGroupMetadata(metadata)), metadata)
    const before = encodePlain([1, 12, false, false, false])
    assert.equal(decodeGroupMetadata(before).floor, 12, 'without it only later ids are taken')
    assert.throws(() => decodeGroupMetadata(new Uint8Array([0x91, 9])), { code: 'FORMAT_VERSION' })
    assert.throws(() => decodeGroupMetadata(new Uint8Array([1, 2, 3])), { code: 'CORRUPTION' })
  })
})

suite('the outbox', () => {
  test('packs a turn into one frame per node, and no frame beyond the limit', () => {
    const sent: [string, Uint8Array][] = []
    const channel = {
      maximumMessageBytes: 1000,
      send: (peer: string, bytes: Uint8Array) => sent.push([peer, bytes.slice()]) > 0,
    } as unknown as Channel
    const outbox = new Outbox(
      channel,
      new MetricsRegistry(),
      new DiskMarks(new DiskHistory([{ life: 2 ** 50 - 1, openedAt: 0 }]), () => 2 ** 50),
      () => {},
      () => false,
    )
    const message = { kind: 'heartbeat', from: 1, to: 2, term: 3, round: 4, commit: 5, match: 6 } as const
    for (let groupId = 1; groupId <= 40; groupId++) {
      outbox.add(groupId, 0, { nodeId: 'a', incarnation: 1 }, message)
      if (groupId <= 3) outbox.add(groupId, 0, { nodeId: 'b', incarnation: 2 }, message)
    }
    outbox.add(41, 0, { nodeId: 'b', incarnation: 3 }, message)
    outbox.flush()
    outbox.flush()
    assert.ok(sent.every(([, bytes]) => bytes.length <= 1000))
    const groups = (node: string, incarnation: number) =>
      sent
        .filter(([peer]) => peer === node)
        .flatMap(([, bytes]) => decodeFrame(bytes, incarnation)?.messages ?? [])
        .map(({ groupId }) => groupId)
    assert.deepEqual(
      groups('a', 1),
      Array.from({ length: 40 }, (_, i) => i + 1),
    )
    assert.equal(sent.filter(([peer]) => peer === 'a').length, 1)
    assert.deepEqual(groups('b', 2), [1, 2, 3])
    assert.deepEqual(groups('b', 3), [41])
  })
})

suite('options', () => {
  test('defaults are lowered to what the channel carries, wishes are refused', () => {
    const small = fitRaftOptions({}, 64 << 10, 1 << 24)
    assert.ok(small.maximumEntryBytes < 64 << 10)
    assert.ok(small.maximumAppendBytes + small.maximumAppendEntries * 24 < 64 << 10)
    assert.equal(
      fitRaftOptions({}, 64 << 20, 1 << 24).maximumAppendBytes,
      defaultRaftOptions.maximumAppendBytes,
    )
    assert.throws(() => fitRaftOptions({ maximumEntryBytes: 1 << 20 }, 64 << 10, 1 << 24), {
      code: 'INVALID_OPTION',
      message: /maximumEntryBytes/,
    })
    assert.throws(() => fitRaftOptions({ maximumAppendBytes: 1 << 20 }, 64 << 10, 1 << 24), {
      code: 'INVALID_OPTION',
    })
    assert.throws(() => fitRaftOptions({ heartbeatIntervalMs: 200 }, 64 << 20, 1 << 24), {
      code: 'INVALID_OPTION',
    })
  })

  test('unknown and contradicting options are refused by name', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.add('n1')
      const { store, channel, env } = cluster.node('n1')
      const good = { env, log: store, clusterId: 'test', nodeId: 'n1', channel }
      assert.throws(() => checkHostOptions({ ...good, snapshotTimeout: 5 } as never), {
        code: 'INVALID_OPTION',
        message: /did you mean 'snapshotTimeoutMs'/,
      })
      assert.throws(() => checkHostOptions({ ...good, log: {} } as never), { code: 'INVALID_OPTION' })
      assert.throws(() => checkHostOptions({ ...good, limits: { keptEntries: 1 << 20 } }), {
        code: 'INVALID_OPTION',
        message: /keptEntries/,
      })
    })
  })

  test('a channel that speaks for another life of the node is refused', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.add('n1')
      const n1 = cluster.node('n1')
      const { channel } = n1
      n1.crash()
      n1.wipe()
      n1.process.restart()
      const options = { env: n1.env, log: await n1.openLog(), clusterId: 'test', nodeId: 'n1', channel }
      await assert.rejects(RaftHost.open(options), { code: 'FOREIGN_NODE' })
    })
  })
})

suite('many groups', () => {
  test('share writes and frames', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const names = ['n1', 'n2', 'n3']
      await cluster.add(...names)
      const ids = Array.from({ length: 30 }, (_, i) => i + 1)
      for (const id of ids) await cluster.bootstrap(names, id)
      for (const id of ids) await cluster.leader(id)
      const n1 = cluster.node('n1')
      // One node leads all, so that their work meets.
      for (const id of ids) {
        const leader = await cluster.leader(id)
        if (leader !== n1) await leader.group(id).transferLeadership(1)
        await cluster.until(() => cluster.serving(id) === n1, 'n1 leads')
      }
      let writes = 0
      let frames = 0
      const write = n1.store.write.bind(n1.store)
      n1.store.write = async (batch) => {
        if (batch.some((each) => (each.entries ?? []).length > 0)) {
          writes++
          assert.equal(batch.length, ids.length)
        }
        return write(batch)
      }
      const send = n1.channel.send.bind(n1.channel)
      n1.channel.send = (peer, bytes) => {
        const messages = decodeFrame(bytes, cluster.node(peer).store.incarnation)?.messages ?? []
        const appends = messages.filter(
          ({ message }) => message.kind === 'append' && message.entries.length > 0,
        )
        if (appends.length > 0) {
          frames++
          assert.equal(appends.length, ids.length)
        }
        return send(peer, bytes)
      }
      await Promise.all(ids.map(async (id) => n1.group(id).propose(new TextEncoder().encode('a+1'))))
      assert.equal(writes, 1)
      assert.equal(frames, 2)
    })
  })
})
