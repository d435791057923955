import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { LogPosition } from '../../../../src/interfaces/log-store.ts'
import type { ReplicaId } from '../../../../src/model/ids.ts'
import { Cluster } from '../../support/cluster.ts'

function compact(cluster: Cluster, id: ReplicaId): LogPosition {
  const position = cluster.on(id, (core) => core.compact(core.appliedIndex))
  const { disk } = cluster.replica(id)
  disk.compacted = position
  disk.entries = disk.entries.filter((entry) => entry.index > position.index)
  return position
}

function propose(cluster: Cluster, ...data: string[]): void {
  for (const item of data) {
    cluster.propose(1, item)
    cluster.settle()
  }
}

suite('snapshots', () => {
  test('slow follower after compaction', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.settle()
    // It lives, and what is sent to it is held up, and lost in the end.
    cluster.deliver = (message) => message.to !== 3
    propose(cluster, 'a', 'b', 'c')
    assert.equal(cluster.core(1).progress.get(3)?.state, 'replicate')
    const { index } = compact(cluster, 1)
    assert.ok((cluster.core(1).progress.get(3)?.matchIndex ?? 0) < index)
    // Then it answers a heartbeat: what it needs next is gone.
    cluster.heal()
    cluster.log = []
    cluster.advance(300)
    assert.deepEqual(
      cluster.sent('snapshotOffer', 3).map(({ position }) => position.index),
      [index],
    )
    assert.equal(cluster.core(1).progress.get(3)?.state, 'replicate')
    assert.deepEqual(cluster.applied(3), ['a', 'b', 'c'])
    propose(cluster, 'd')
    assert.deepEqual(cluster.applied(3), ['a', 'b', 'c', 'd'])
  })

  test('snapshot older than pending snapshot', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.crash(3)
    propose(cluster, 'a', 'b')
    const first = compact(cluster, 1)
    cluster.restart(3)
    cluster.restores = false
    cluster.advance(100)
    const { core, disk } = cluster.replica(3)
    assert.equal(cluster.replica(3).offer?.position.index, first.index)
    const applied = cluster.replica(1).disk.applied.slice()
    const { configuration } = cluster.core(1)
    assert.ok(configuration !== undefined)
    // While 3 fetches the snapshot, the leader compacts what follows on it, and offers the later one.
    propose(cluster, 'c', 'd')
    const second = compact(cluster, 1)
    cluster.advance(500)
    const progress = cluster.core(1).progress.get(3)
    assert.deepEqual([progress?.state, progress?.snapshotIndex], ['snapshot', second.index])
    // What arrives is the first one. It helps, but the leader must not take 3 for one that can be served from the log.
    cluster.invariants.snapshotInstalled(3, first)
    disk.applied = applied
    disk.appliedIndex = first.index
    disk.appliedTerm = first.term
    disk.configuration = configuration
    cluster.replica(3).offer = undefined
    cluster.on(3, (own) => own.snapshotRestored(first, configuration, cluster.now))
    cluster.settle()
    assert.equal(core.commitIndex, first.index)
    assert.deepEqual(cluster.applied(3), ['a', 'b'])
    assert.deepEqual([progress?.state, progress?.matchIndex], ['snapshot', first.index])
    cluster.restores = true
    cluster.advance(500)
    assert.equal(progress?.state, 'replicate')
    assert.deepEqual(cluster.applied(3), ['a', 'b', 'c', 'd'])
  })
})
