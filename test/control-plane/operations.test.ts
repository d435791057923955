import assert from 'node:assert/strict'
import { test } from 'node:test'
import { devCluster } from '../../src/index.ts'
import { QuorumSet } from '../../src/placement/index.ts'

test('an operator takes nodes of a cluster down for a while, and empties a rack', async () => {
  await using cluster = await devCluster({ servers: 1 })
  const { admin } = cluster.client
  await cluster.addNode('db1', { locality: 'rack=a' })
  await cluster.addNode('db2', { locality: 'rack=b' })
  const reason = { reason: 'a new disk' }
  const maintenance = await admin.operations.maintenance(['db1'], { ...reason, boundMs: 400 })
  const over = await admin.finished(maintenance)
  assert.equal(over.outcome, 'the bound has passed; the nodes take leases and replicas again')
  // Nobody restarts it.
  const restart = await admin.operations.rollingRestart(['db2'], { ...reason, boundMs: 400 })
  await assert.rejects(admin.finished(restart), /db2 not restarted in time/)
  const evacuation = await admin.operations.evacuate({ tier: 'rack', value: 'b' }, reason)
  assert.equal((await admin.finished(evacuation)).outcome, 'db2 hold nothing any more')
  assert.notEqual((await admin.nodes.get('db2'))?.state, 'active')
  assert.equal((await admin.nodes.get('db1'))?.state, 'active')
})

test('replica sets are kept beside everything else', async () => {
  await using cluster = await devCluster({ servers: 1 })
  const { replicaSets } = cluster.client.admin
  await replicaSets.create(
    'accounts',
    QuorumSet.of(['a', 'b', 'c'].map((nodeId) => ({ nodeId, incarnation: 1 }))),
  )
  assert.equal((await replicaSets.get('accounts'))?.record.set.epoch, 1)
  assert.equal(await replicaSets.get('nothing'), undefined)
})
