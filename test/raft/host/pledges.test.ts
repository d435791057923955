import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { decodeGroupMetadata } from '../../../src/raft/group/metadata.ts'
import type { RaftHostOptions } from '../../../src/raft/host/options.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

/** The longest pledge that the node's log knows of. */
async function storedPledgeMs(node: ClusterNode): Promise<number> {
  const metadata = node.store.recovered().get(1)?.metadata
  return metadata === undefined ? 0 : decodeGroupMetadata(metadata).pledgeMs
}

/** Three nodes whose options change from life to life. */
function world(before: RaftHostOptions['raft'], after: RaftHostOptions['raft']) {
  const raft: { now: RaftHostOptions['raft'] } = { now: before }
  const cluster = new Cluster({
    seed: 3,
    host: {
      get raft() {
        return raft.now
      },
    } as never,
  })
  const restartAll = async (options = after): Promise<void> => {
    raft.now = options
    for (const node of cluster.nodes.values()) node.crash('power')
    for (const node of cluster.nodes.values()) await node.restart()
  }
  return { cluster, restartAll }
}

const base = { electionTimeoutMs: 100, heartbeatIntervalMs: 20 }

suite('a replica that starts with a shorter lease', () => {
  for (const [what, after] of [
    ['shorter leases', { ...base, leaseMs: 10, clockDriftBound: 0.01 }],
    ['no leases', base],
  ] as const) {
    test(`votes for nobody for as long as it was pledged before: with ${what}`, async () => {
      const { cluster, restartAll } = world({ ...base, leaseMs: 5_000, clockDriftBound: 0.01 }, after)
      await cluster.run(async () => {
        await cluster.bootstrap()
        await cluster.propose('a+1')
        await restartAll()
        const fromMs = cluster.simulation.nowMs
        assert.equal(await storedPledgeMs(cluster.node('n1')), 5_050)
        await cluster.sleep(4_900)
        assert.equal(cluster.serving(), undefined)
        await cluster.leader()
        assert.ok(cluster.simulation.nowMs - fromMs < 6_500)
        // From now on it is the shorter one that counts.
        await cluster.propose('a+1')
        await restartAll()
        const againMs = cluster.simulation.nowMs
        assert.ok((await storedPledgeMs(cluster.node('n1'))) <= 11)
        await cluster.leader()
        assert.ok(cluster.simulation.nowMs - againMs < 1_500)
      })
    })
  }

  test('and a longer one is stored before it is promised', async () => {
    const { cluster, restartAll } = world(base, { ...base, leaseMs: 3_000, clockDriftBound: 0.01 })
    await cluster.run(async () => {
      await cluster.bootstrap()
      await cluster.propose('a+1')
      assert.equal(await storedPledgeMs(cluster.node('n2')), 0)
      await restartAll()
      await cluster.propose('a+1')
      await restartAll(base)
      assert.equal(await storedPledgeMs(cluster.node('n2')), 3_030)
    })
  })
})
