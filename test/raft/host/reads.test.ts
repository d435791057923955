import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { isolate } from '../../../src/simulation/partitions.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']
const raft = { leaseMs: 100, clockDriftBound: 0.01 }

function follower(cluster: Cluster, leader: ClusterNode): ClusterNode {
  return [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
}

/** Messages of Raft that leave a node from now on. */
function countFrames(node: ClusterNode): () => number {
  let frames = 0
  const { channel } = node
  const send = channel.send.bind(channel)
  channel.send = (peer, bytes) => {
    frames++
    return send(peer, bytes)
  }
  return () => frames
}

suite('reads of a group', () => {
  test('are by lease, without messages and without a turn, on a host with a bound on the drift', async () => {
    const cluster = new Cluster({ raft })
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      await cluster.propose('a+1')
      await cluster.sleep(120)
      const frames = countFrames(leader)
      const before = cluster.simulation.nowMs
      for (let i = 0; i < 100; i++) await leader.group().read()
      assert.equal(frames(), 0)
      assert.equal(cluster.simulation.nowMs, before)
      await leader.group().read({ readMode: 'readIndex' })
      assert.ok(frames() > 0)
    })
  })

  test('cost a round of messages on a host without one', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      await cluster.propose('a+1')
      await cluster.sleep(120)
      const frames = countFrames(leader)
      await leader.group().read({ readMode: 'lease' })
      assert.ok(frames() > 0)
    })
  })

  test('by the lease of a leader that is cut off end with it, before the next one is elected', async () => {
    const cluster = new Cluster({ raft: { ...raft, leaseMs: 1_000 } })
    await cluster.run(async () => {
      await cluster.bootstrap()
      const old = await cluster.leader()
      await cluster.propose('a+1')
      await cluster.converged(names)
      await cluster.sleep(120)
      const heal = cluster.conditions.partition(isolate(old.name, names))
      await old.group().read()
      const next = async (): Promise<ClusterNode> => {
        await cluster.until(() => (cluster.serving() ?? old) !== old, 'a new leader')
        return cluster.serving() as ClusterNode
      }
      const leader = await next()
      await assert.rejects(old.group().read(), { code: 'NOT_LEADER' })
      await leader.group().read()
      heal()
    })
  })

  test('of a machine that slept are confirmed anew', async () => {
    const cluster = new Cluster({ raft: { ...raft, leaseMs: 1_000 } })
    await cluster.run(async () => {
      await cluster.bootstrap()
      const old = await cluster.leader()
      await cluster.propose('a+1')
      await cluster.sleep(120)
      old.process.pause({ suspend: true })
      await cluster.until(() => (cluster.serving() ?? old) !== old, 'a new leader')
      await cluster.propose('a+1')
      // Nothing of the others reaches it, so that its clocks are all it has.
      const heal = cluster.conditions.partition(isolate(old.name, names))
      old.process.resume()
      const read = old.group().read()
      read.catch(() => {})
      let open = true
      void read.finally(() => (open = false)).catch(() => {})
      await cluster.sleep(1)
      assert.ok(open)
      heal()
      await assert.rejects(read, { code: 'NOT_LEADER' })
    })
  })

  test('are served by a follower that asks its leader, if the caller allows it', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      const other = follower(cluster, leader)
      await cluster.until(() => other.group().status().leader !== undefined, 'a leader that is known')
      for (let n = 1; n <= 20; n++) {
        await cluster.propose('a+1')
        await other.group().read({ from: 'any' })
        assert.equal(other.value('a'), n)
      }
      await assert.rejects(other.group().read(), { code: 'NOT_LEADER', outcome: 'none' })
      await leader.group().read({ from: 'any' })
    })
  })

  test('of a follower fail when its leader is gone, and are served again by the next', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      const other = follower(cluster, leader)
      await cluster.propose('a+1')
      await cluster.converged(names)
      const heal = cluster.conditions.partition(isolate(leader.name, names))
      await assert.rejects(other.group().read({ from: 'any' }), { code: 'NOT_LEADER', retryable: true })
      await cluster.until(() => (cluster.serving() ?? leader) !== leader, 'a new leader')
      await cluster.propose('a+1')
      await other.group().read({ from: 'any' })
      assert.equal(other.value('a'), 2)
      heal()
    })
  })

  test('refuse what is neither a mode nor a place', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap(['n1'])
      const group = (await cluster.leader()).group()
      const code = 'INVALID_ARGUMENT'
      await assert.rejects(group.read({ readMode: 'leases' as never }), { code })
      await assert.rejects(group.read({ from: 'follower' as never }), { code })
    })
  })
})
