import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Cluster } from '../support/cluster.ts'

/** A leader that compacted what 3, which was away, needs. */
function compacted(size = 3): Cluster {
  const cluster = new Cluster(size)
  cluster.elect(1)
  cluster.crash(3)
  for (const data of ['a', 'b', 'c', 'd']) {
    cluster.propose(1, data)
    cluster.settle()
  }
  compact(cluster, 1)
  cluster.restart(3)
  return cluster
}

function compact(cluster: Cluster, id: number, index = Infinity): void {
  const position = cluster.on(id, (core) => core.compact(Math.min(index, core.appliedIndex)))
  const { disk } = cluster.replica(id)
  disk.compacted = position
  disk.entries = disk.entries.filter((entry) => entry.index > position.index)
}

suite('snapshots', () => {
  test('bring back a follower that needs what was compacted', () => {
    const cluster = compacted()
    cluster.advance(200)
    assert.deepEqual(cluster.applied(3), ['a', 'b', 'c', 'd'])
    assert.equal(cluster.core(1).progress.get(3)?.state, 'replicate')
    assert.deepEqual(cluster.replica(3).disk.compacted, cluster.core(1).log.compacted)
    cluster.propose(1, 'e')
    cluster.settle()
    assert.deepEqual(cluster.applied(3), ['a', 'b', 'c', 'd', 'e'])
    assert.deepEqual(
      cluster.replica(1).needed.map((need) => need.replicaId),
      [3],
    )
  })

  test('are acknowledged by an append answer, with no report of the host', () => {
    const cluster = compacted()
    cluster.restores = false
    cluster.advance(100)
    assert.equal(cluster.core(1).progress.get(3)?.state, 'snapshot')
    cluster.log = []
    cluster.restore(3)
    cluster.settle()
    assert.equal(cluster.core(1).progress.get(3)?.state, 'replicate')
  })

  test('pause replication until they arrive; a lost offer is made again', () => {
    const cluster = compacted()
    cluster.deliver = (message) => message.kind !== 'snapshotOffer'
    cluster.advance(100)
    cluster.log = []
    cluster.propose(1, 'e')
    cluster.advance(200)
    assert.equal(cluster.sent('append', 3).length, 0)
    cluster.heal()
    cluster.advance(500)
    assert.deepEqual(cluster.applied(3), ['a', 'b', 'c', 'd', 'e'])
  })

  test('reported as sent are probed from there, as failed are offered again', () => {
    const cluster = compacted()
    cluster.restores = false
    cluster.advance(100)
    cluster.on(1, (core) => core.reportSnapshot(3, 'failed', cluster.now))
    cluster.on(3, (core) => core.snapshotFailed(cluster.now))
    cluster.replica(3).offer = undefined
    assert.equal(cluster.core(1).progress.get(3)?.state, 'probe')
    cluster.advance(200)
    assert.equal(cluster.core(1).progress.get(3)?.state, 'snapshot')
    assert.ok(cluster.replica(3).offer !== undefined)
    cluster.deliver = (message) => !(message.kind === 'appendReply' && message.from === 3)
    cluster.restore(3)
    cluster.on(1, (core) => core.reportSnapshot(3, 'sent', cluster.now))
    cluster.settle()
    cluster.heal()
    cluster.advance(200)
    assert.equal(cluster.core(1).progress.get(3)?.state, 'replicate')
  })

  test('are not acknowledged by a replica that was quarantined while they came', () => {
    const cluster = compacted()
    cluster.restores = false
    cluster.advance(100)
    cluster.on(3, (core) => core.quarantine())
    cluster.log = []
    cluster.restore(3)
    cluster.advance(500)
    assert.deepEqual(cluster.applied(3), ['a', 'b', 'c', 'd'])
    assert.deepEqual(
      cluster.sent('appendReply').filter(({ from }) => from === 3),
      [],
    )
  })

  test('are offered once while the host is busy with one', () => {
    const cluster = compacted()
    cluster.restores = false
    cluster.advance(100)
    const { offer } = cluster.replica(3)
    assert.ok(offer !== undefined)
    cluster.replica(3).offer = undefined
    cluster.advance(2000)
    assert.equal(cluster.replica(3).offer, undefined)
    cluster.on(3, (core) => core.snapshotFailed(cluster.now))
    cluster.advance(2000)
    assert.ok(cluster.replica(3).offer !== undefined)
  })

  test('that are older than what is there are ignored', () => {
    const cluster = compacted()
    cluster.advance(200)
    const before = cluster.core(3).fingerprint()
    const configuration = cluster.core(3).configuration
    assert.ok(configuration !== undefined)
    cluster.on(3, (core) => core.snapshotRestored({ index: 4, term: 2 }, configuration, cluster.now))
    assert.equal(cluster.core(3).fingerprint(), before)
    // An offer of what is committed already is answered with what is there.
    cluster.log = []
    const offer = { kind: 'snapshotOffer', from: 1, to: 3, term: 2, position: { index: 4, term: 2 } } as const
    cluster.on(3, (core) => core.step(offer, cluster.now))
    cluster.drain(3)
    assert.deepEqual(
      cluster.sent('appendReply').map((m) => [m.index, m.accepted]),
      [[cluster.core(3).commitIndex, true]],
    )
    assert.equal(cluster.replica(3).offer, undefined)
  })

  test('are refused when they contradict what is committed', () => {
    const cluster = new Cluster(1)
    cluster.elect(1)
    cluster.replica(1).idle = true
    cluster.propose(1, 'a')
    cluster.settle()
    const { core } = cluster.replica(1)
    const configuration = core.configuration
    assert.ok(configuration !== undefined)
    assert.throws(() => core.snapshotRestored({ index: core.commitIndex, term: 1 }, configuration, 0), {
      code: 'CORRUPTION',
    })
  })

  test('keep a log that goes on behind them', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.replica(3).idle = true
    for (const data of ['a', 'b', 'c']) {
      cluster.propose(1, data)
      cluster.settle()
    }
    const { core, disk } = cluster.replica(3)
    const position = { index: core.commitIndex - 1, term: 2 }
    const configuration = core.configuration
    assert.ok(configuration !== undefined)
    cluster.invariants.snapshotInstalled(3, position)
    disk.applied = cluster.replica(1).disk.applied.slice(0, -1)
    disk.appliedIndex = position.index
    cluster.on(3, (c) => c.snapshotRestored(position, configuration, cluster.now))
    assert.equal(core.lastIndex, position.index + 1)
    cluster.replica(3).idle = false
    cluster.settle()
    assert.deepEqual(cluster.applied(3), ['a', 'b', 'c'])
  })

  test('carry the configuration, which replaces whatever was in force', () => {
    const cluster = new Cluster(4)
    cluster.elect(4)
    // 4 has an uncommitted change in its log that the others never saw.
    cluster.isolate(4)
    assert.ok(cluster.change(4, { type: 'remove', replicaId: 2 }).accepted)
    cluster.settle()
    cluster.crash(4)
    cluster.elect(2)
    const { disk } = cluster.replica(4)
    assert.ok(cluster.change(2, { type: 'addLearner', nodeId: 'n9', incarnation: 3 }).accepted)
    cluster.settle()
    assert.ok(cluster.change(2, { type: 'remove', replicaId: 1 }).accepted)
    cluster.settle()
    compact(cluster, 2)
    cluster.heal()
    assert.equal(disk.configuration?.generation, 1)
    cluster.restart(4)
    cluster.advance(500)
    assert.equal(cluster.core(4).configuration?.generation, 3)
    assert.deepEqual(cluster.core(4).configurationState(), cluster.core(2).configurationState())
    assert.equal(cluster.core(4).configurations.places.length, 1)
    // And after another start, from the disk alone.
    cluster.crash(4)
    assert.equal(cluster.restart(4).core.configuration?.generation, 3)
  })

  test('that were restored before a crash are completed by the start', () => {
    const cluster = compacted()
    cluster.restores = false
    cluster.advance(100)
    cluster.replica(3).stalled = true
    cluster.restore(3)
    cluster.drain(3)
    assert.ok(cluster.replica(3).writes[0]?.reset !== undefined)
    // The state is switched, the log is not.
    cluster.crash(3)
    cluster.replica(3).writes = []
    cluster.restart(3)
    cluster.restores = true
    cluster.propose(1, 'e')
    cluster.advance(1000)
    assert.deepEqual(cluster.applied(3), ['a', 'b', 'c', 'd', 'e'])
  })

  test('start a replica that is new to a group whose log was compacted', () => {
    const cluster = compacted()
    cluster.awaits = true
    cluster.advance(200)
    compact(cluster, 2)
    compact(cluster, 3)
    const result = cluster.change(1, { type: 'addLearner', nodeId: 'n9', incarnation: 3 })
    assert.ok(result.accepted)
    compact(cluster, 1)
    cluster.advance(500)
    assert.deepEqual(cluster.applied(result.index), ['a', 'b', 'c', 'd'])
    assert.deepEqual(cluster.core(result.index).configuration, cluster.core(1).configuration)
  })

  test('are needed when the store has compacted more than was said', () => {
    const cluster = new Cluster(3, { options: { maximumTailBytes: 0 } })
    cluster.elect(1)
    cluster.crash(3)
    for (const data of ['a', 'b', 'c', 'd']) {
      cluster.propose(1, data)
      cluster.settle()
    }
    // The store dropped what the core still counts on.
    const { disk } = cluster.replica(1)
    disk.entries = disk.entries.filter((entry) => entry.index > cluster.core(1).appliedIndex - 1)
    cluster.restart(3)
    cluster.advance(500)
    assert.deepEqual(cluster.applied(3), ['a', 'b', 'c', 'd'])
  })
})

suite('compaction', () => {
  test('goes no further than what is applied and durable', () => {
    const cluster = new Cluster(1)
    cluster.elect(1)
    cluster.replica(1).idle = true
    cluster.propose(1, 'a', 'b')
    cluster.settle()
    const { core } = cluster.replica(1)
    assert.deepEqual(core.compact(99), { index: core.appliedIndex, term: core.log.termAt(core.appliedIndex) })
    cluster.replica(1).idle = false
    cluster.settle()
    assert.equal(core.compact(99).index, core.lastIndex)
    assert.equal(core.compact(2).index, core.lastIndex)
    assert.equal(core.log.lastTerm, 2)
    cluster.propose(1, 'c')
    cluster.settle()
    assert.deepEqual(cluster.applied(1), ['a', 'b', 'c'])
  })

  test('keeps the configuration that is in force there', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    const result = cluster.change(1, { type: 'remove', replicaId: 3 })
    assert.ok(result.accepted)
    cluster.propose(1, 'a')
    cluster.settle()
    const { core } = cluster.replica(1)
    assert.equal(core.configurationAt(result.index - 1)?.generation, 1)
    compact(cluster, 1)
    assert.equal(core.configurationAt(result.index - 1), undefined)
    assert.equal(core.configurationAt(core.lastIndex)?.generation, 2)
    cluster.crash(1)
    assert.equal(cluster.restart(1).core.configuration?.generation, 2)
  })
})
