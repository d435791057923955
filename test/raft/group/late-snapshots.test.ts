import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sleep } from '../../../src/core/async.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import type { GroupWrite, LogStore, RecoveredGroup } from '../../../src/interfaces/log-store.ts'
import type { Channel, PeerIdentity } from '../../../src/interfaces/transport.ts'
import { bootstrapState } from '../../../src/raft/core/configuration.ts'
import { ConfigurationPool } from '../../../src/raft/core/configuration-pool.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import { configurationWrite, positionWrite, readBookkeeping } from '../../../src/raft/group/bookkeeping.ts'
import { checkGroupLimits } from '../../../src/raft/group/limits.ts'
import { decodeGroupMetadata, newMetadata } from '../../../src/raft/group/metadata.ts'
import { recoverReplica } from '../../../src/raft/group/recovery.ts'
import { Replica } from '../../../src/raft/group/replica.ts'
import { SnapshotTransfers } from '../../../src/raft/host/snapshot-transfers.ts'
import { encodeSnapshot, encodeSnapshotHeader } from '../../../src/raft/host/snapshot-wire.ts'
import { Simulation } from '../../../src/simulation/index.ts'
import { ignoredMetrics } from '../support/ignored-metrics.ts'

const replicas = [1, 2, 3].map((replicaId) => ({
  replicaId,
  nodeId: `n${replicaId}`,
  incarnation: 1,
  role: 'voter' as const,
}))

function bookkeepingAt(index: number, term: number): Map<string, Uint8Array> {
  const [first] = bootstrapState(replicas).entries
  assert.ok(first !== undefined)
  const writes = [positionWrite({ index, term }, term), configurationWrite(1, first.data)]
  return new Map(writes.map(({ key, value }) => [key, value as Uint8Array]))
}

function follower(): RaftCore {
  const { entries, hardState } = bootstrapState(replicas)
  const restored = { entries, hardState, compacted: { index: 0, term: 0 }, appliedIndex: 3 }
  const core = new RaftCore({ replicaId: 3, restored, random: new SeededRandom(1), nowMs: 0 })
  core.step({ kind: 'snapshotOffer', from: 1, to: 3, term: 2, position: { index: 40, term: 2 } }, 1)
  return core
}

test('a snapshot of a later term than its offer takes the replica to that term, durably with it', () => {
  const core = follower()
  const configuration = core.configurationAt(3)
  assert.ok(configuration !== undefined)
  for (let ready = core.takeReady(); ready !== undefined; ready = core.takeReady()) {
    if (ready.write !== undefined) core.persisted(ready.write.writeId, 1)
  }
  // The sender was deposed after its offer and has applied what the next leader committed.
  core.snapshotRestored({ index: 50, term: 3 }, configuration, 2)
  const write = core.takeReady()?.write
  assert.deepEqual(write?.reset, { index: 50, term: 3 })
  assert.equal(write?.hardState?.term, 3)
  assert.equal(core.status().term, 3)
})

test('a start that completes a restore writes the term of the snapshot down as well', async () => {
  const written: GroupWrite[] = []
  const store = {
    write: async (batch: readonly GroupWrite[]) => void written.push(...batch),
    read: async () => [],
  } as unknown as LogStore
  const found: RecoveredGroup = {
    groupId: 1,
    compacted: { index: 0, term: 0 },
    last: { index: 0, term: 0 },
    hardState: { term: 2, votedFor: 1, commit: 0 },
    metadata: new Uint8Array(0),
  }
  const stored = readBookkeeping(bookkeepingAt(50, 3))
  const metadata = { ...newMetadata(3), restoring: true }
  const { restored, quarantined } = await recoverReplica(store, found, metadata, stored, async () => {})
  assert.equal(quarantined, false)
  assert.deepEqual(written[0]?.hardState, { term: 3, votedFor: 0, commit: 50 })
  assert.equal(decodeGroupMetadata(written[0]?.metadata as Uint8Array).restoring, false)
  assert.equal(restored.hardState?.term, 3)
})

test('an offer that comes while a snapshot is being restored leaves the mark of the restore alone', async () => {
  const sim = new Simulation({ seed: 1 })
  const env = sim.environment('n3')
  let receive:
    | ((peer: PeerIdentity, header: Uint8Array, chunks: AsyncIterable<Uint8Array>) => Promise<void>)
    | undefined
  const channel = {
    onStream: (handler: typeof receive) => {
      receive = handler
    },
  } as unknown as Channel
  const endless = {
    bookkeeping: bookkeepingAt(40, 2),
    async *chunks() {
      yield new Uint8Array(10)
      await new Promise<void>(() => {})
    },
    async [Symbol.asyncDispose]() {},
  }
  let requestId = 0
  const transfers = new SnapshotTransfers({
    env,
    channel,
    incarnation: 1,
    maximumTransfers: 4,
    timeoutMs: 1000,
    bytesPerSecond: 1 << 20,
    windowBytes: 1 << 20,
    sendRequest: (_replica, _peer, request) => {
      requestId = request.requestId
    },
  })
  const replica = new Replica(
    1,
    follower(),
    {
      restore: async (_bookkeeping: unknown, chunks: AsyncIterable<Uint8Array>) => {
        for await (const _ of chunks);
      },
    } as never,
    readBookkeeping(new Map()),
    newMetadata(3),
    {
      env,
      log: undefined as never,
      limits: checkGroupLimits({}),
      configurations: new ConfigurationPool(),
      maximumEntryBytes: 1000,
      readMode: 'readIndex',
      pledgeMs: 0,
      nodes: {} as never,
      metrics: ignoredMetrics,
      schedule: () => {},
      write: async () => {},
      send: () => {},
      frameVersionOf: () => 0,
      maximumMessageBytes: 1 << 20,
      snapshotOffered: () => {},
    },
    {} as never,
  )
  const offer = { from: 1, term: 2, position: { index: 40, term: 2 } }
  const body = async (): Promise<void> => {
    transfers.offered(replica, offer)
    const header = encodeSnapshotHeader({
      groupId: 1,
      from: 1,
      to: 3,
      incarnation: 1,
      requestId,
      position: offer.position,
      recoveryGeneration: 0,
      snapshotId: 1,
      firstPiece: 0,
    })
    const peer = { nodeId: 'n1', incarnation: 1, role: 'node' } as const
    const received = receive?.(peer, header, encodeSnapshot(endless, 1000))
    await sleep(env.timers, 1)
    assert.equal(replica.metadata.restoring, true)
    // A new leader does not know of the transfer.
    transfers.offered(replica, { ...offer, from: 2, term: 3 })
    assert.equal(replica.metadata.restoring, true)
    transfers.close()
    await assert.rejects(async () => received)
    await sleep(env.timers, 1)
    assert.equal(replica.metadata.restoring, false)
  }
  await sim.until(body())
})
