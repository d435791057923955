import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { entryKinds } from '../../../src/interfaces/log-store.ts'
import { bootstrapState } from '../../../src/raft/core/configuration.ts'
import { ConfigurationPool } from '../../../src/raft/core/configuration-pool.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import { readBookkeeping } from '../../../src/raft/group/bookkeeping.ts'
import { checkGroupLimits } from '../../../src/raft/group/limits.ts'
import { newMetadata } from '../../../src/raft/group/metadata.ts'
import { Replica } from '../../../src/raft/group/replica.ts'
import type { TurnSink } from '../../../src/raft/group/replica-port.ts'
import { Simulation } from '../../../src/simulation/index.ts'
import { ignoredMetrics } from '../support/ignored-metrics.ts'

const replicas = [1, 2, 3].map((replicaId) => ({
  replicaId,
  nodeId: `n${replicaId}`,
  incarnation: 1,
  role: 'voter' as const,
}))
const leader = { nodeId: 'n1', incarnation: 1, role: 'node' } as const

/** Replica 3, which has taken an entry from its leader, and whose disk is slow. */
function acknowledging() {
  const { entries, hardState } = bootstrapState(replicas)
  const restored = { entries, hardState, compacted: { index: 0, term: 0 }, appliedIndex: 3 }
  const core = new RaftCore({ replicaId: 3, restored, random: new SeededRandom(1), nowMs: 0 })
  const replica = new Replica(
    1,
    core,
    {} as never,
    readBookkeeping(new Map()),
    newMetadata(3),
    {
      env: new Simulation({ seed: 1 }).environment('n3'),
      log: undefined as never,
      limits: checkGroupLimits({}),
      configurations: new ConfigurationPool(),
      maximumEntryBytes: 1000,
      readMode: 'readIndex',
      pledgeMs: 0,
      nodes: { supports: () => false } as never,
      metrics: ignoredMetrics,
      schedule: () => {},
      write: async () => {},
      send: () => {},
      frameVersionOf: () => 0,
      maximumMessageBytes: 1 << 20,
      snapshotOffered: () => {},
    },
    { leadership() {}, configuration() {}, token() {}, removed() {}, quarantined() {}, stopped() {} },
  )
  const sent: Message[] = []
  const writes: number[] = []
  const sink: TurnSink<Replica> = {
    write: (_replica, _write, writeId) => void writes.push(writeId),
    send: (_replica, _peer, message) => void sent.push(message),
  }
  const entry = { index: 4, term: 2, kind: entryKinds.command, data: new Uint8Array(1) }
  const append = { kind: 'append', from: 1, to: 3, term: 2, prevIndex: 3, prevTerm: 1, commit: 3 } as const
  assert.equal(replica.receive(leader, { ...append, entries: [entry] }, 1), undefined)
  replica.turn(1, sink)
  assert.deepEqual(sent, [])
  const finish = (): Message[] => {
    replica.persisted(writes.at(-1) ?? 0, 2, sink)
    return sent.filter(({ kind }) => kind === 'appendReply')
  }
  return { replica, finish }
}

/** Its leader has an acknowledgement of more than its log has. */
const heartbeat = { kind: 'heartbeat', from: 1, to: 3, term: 2, round: 1, commit: 3, match: 99 } as const

suite('what a replica promised before it was quarantined', () => {
  test('leaves when it is durable where nothing came in between', () => {
    const { finish } = acknowledging()
    assert.equal(finish().length, 1)
  })

  test('is not said any more', () => {
    const { replica, finish } = acknowledging()
    replica.quarantine()
    assert.deepEqual(finish(), [])
  })

  test('nor where its own leader finds it out, before there was a turn', () => {
    const { replica, finish } = acknowledging()
    assert.equal(replica.receive(leader, heartbeat, 1), undefined)
    assert.deepEqual(finish(), [])
  })

  test('would be said otherwise', (t) => {
    t.mock.method(Replica.prototype, 'breaksPromises', () => false)
    const { replica, finish } = acknowledging()
    replica.quarantine()
    assert.equal(finish().length, 1)
  })
})
