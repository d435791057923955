import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Cluster } from '../support/cluster.ts'

suite('elections', () => {
  for (const size of [1, 2, 3, 5]) {
    test(`${size} replicas elect one leader and commit`, () => {
      const cluster = new Cluster(size)
      cluster.advance(2000)
      const leader = cluster.leader()
      cluster.propose(leader.replicaId, 'a', 'b')
      cluster.settle()
      for (const id of cluster.replicas.keys()) {
        assert.deepEqual(cluster.applied(id), ['a', 'b'])
        assert.equal(cluster.core(id).leader, leader.replicaId)
        assert.equal(cluster.core(id).term, leader.term)
      }
      assert.equal([...cluster.replicas.values()].filter((r) => r.core.role === 'leader').length, 1)
    })
  }
})
