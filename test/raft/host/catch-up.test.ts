import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { sleep } from '../../../src/core/async.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']
const readMs = 50

/** A follower that was away for `count` commands, which no leader has in memory any more but all have in their logs. */
async function behind(cluster: Cluster, count: number): Promise<{ leader: ClusterNode; late: ClusterNode }> {
  await cluster.bootstrap()
  const leader = await cluster.leader()
  const late = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
  await cluster.propose('a+1')
  await cluster.converged(names)
  late.crash()
  for (let i = 0; i < count; i += 10) {
    await Promise.all(Array.from({ length: 10 }, async () => cluster.propose('a+1')))
  }
  return { leader, late }
}

function makeCluster(): Cluster {
  return new Cluster({ raft: { maximumTailBytes: 0, maximumAppendEntries: 20 } })
}

suite('catching up from the log', () => {
  test('reads what is not in memory from the store, and nothing waits for that', async () => {
    const cluster = makeCluster()
    await cluster.run(async () => {
      const { leader, late } = await behind(cluster, 300)
      const read = leader.store.read.bind(leader.store)
      let reads = 0
      let atATime = 0
      let most = 0
      leader.store.read = async (...parameters) => {
        reads++
        most = Math.max(most, ++atATime)
        await sleep(leader.env.timers, readMs)
        atATime--
        return read(...parameters)
      }
      await late.restart()
      let slowestMs = 0
      while (late.value('a') !== leader.value('a')) {
        const before = cluster.simulation.nowMs
        await cluster.propose('b+1')
        slowestMs = Math.max(slowestMs, cluster.simulation.nowMs - before)
      }
      assert.ok(reads >= 300 / 20, `${reads} reads`)
      assert.equal(most, 1, 'one at a time for one follower')
      assert.ok(slowestMs < readMs, `a proposal took ${slowestMs} ms while the store was read`)
      await cluster.converged(names)
      assert.equal(late.machines.get(1)?.restores, 0)
      assert.equal(leader.group().status().role, 'leader')
    })
  })

  test('goes on after reads that failed, and by a snapshot when the log went away meanwhile', async () => {
    for (const code of ['UNREACHABLE', 'COMPACTED'] as const) {
      const cluster = makeCluster()
      await cluster.run(async () => {
        const { leader, late } = await behind(cluster, 200)
        const read = leader.store.read.bind(leader.store)
        let failed = 0
        leader.store.read = async (...parameters) => {
          if (failed++ < 3) throw new KeelsonError(code, 'the entries cannot be read')
          return read(...parameters)
        }
        await late.restart()
        await cluster.converged(names)
        assert.ok(failed >= 1)
        assert.equal(late.machines.get(1)?.restores, code === 'COMPACTED' ? 1 : 0)
        assert.equal(late.value('a'), 201)
        assert.equal(leader.group().status().stopped, undefined)
      })
    }
  })

  test('holds a range back that was read under another truncation, term or snapshot', async () => {
    const cluster = makeCluster()
    await cluster.run(async () => {
      const { leader, late } = await behind(cluster, 200)
      const read = leader.store.read.bind(leader.store)
      let held: (() => void) | undefined
      leader.store.read = async (...parameters) => {
        const entries = await read(...parameters)
        if (held === undefined) await new Promise<void>((resolve) => (held = resolve))
        return entries
      }
      await late.restart()
      await cluster.until(() => held !== undefined, 'a read that hangs')
      const heir = names.find((name) => name !== leader.name && name !== late.name) as string
      await leader.group().transferLeadership(cluster.node(heir).group().status().replicaId)
      await cluster.until(() => cluster.serving()?.name === heir, 'another leader')
      await cluster.converged(names)
      held?.()
      await cluster.propose('a+1')
      await cluster.converged(names)
      assert.equal(late.value('a'), 202)
      assert.deepEqual(late.machines.get(1)?.values, leader.machines.get(1)?.values)
    })
  })
})
