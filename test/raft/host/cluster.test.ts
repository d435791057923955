import assert from 'node:assert/strict'
import { test } from 'node:test'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { Cluster } from '../support/host-cluster.ts'

test('three nodes elect a leader and replicate commands', async () => {
  const cluster = new Cluster()
  await cluster.run(async () => {
    await cluster.bootstrap()
    const leader = await cluster.leader()
    const group = leader.group()
    assert.equal(text(await group.propose(utf8('a+1'))), '1')
    const results = await Promise.all([1, 2, 3].map(async (n) => group.propose(utf8(`a+${n}`))))
    assert.deepEqual(results.map(text), ['2', '4', '7'])
    await cluster.converged(['n1', 'n2', 'n3'])
    for (const node of cluster.nodes.values()) {
      assert.equal(node.value('a'), 7)
      assert.deepEqual(node.group().status().leader?.nodeId, leader.name)
    }
    const status = group.status()
    assert.equal(status.role, 'leader')
    assert.equal(status.sequence, status.term)
    assert.equal(status.configuration?.generation, 1)
    assert.equal(status.progress.size, 2)
  })
})
