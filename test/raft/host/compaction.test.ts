import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']

/** A follower whose disk stands still must not have everything in memory already. */
const fewInFlight = { maximumInFlightMessages: 4, maximumAppendEntries: 10 }

async function setUp(cluster: Cluster): Promise<{ leader: ClusterNode; slow: ClusterNode }> {
  await cluster.bootstrap()
  const leader = await cluster.leader()
  await cluster.propose('a+1')
  await cluster.converged(names)
  return { leader, slow: [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode }
}

async function write(cluster: Cluster, count: number, padding = ''): Promise<void> {
  for (let i = 0; i < count; i += 10) {
    await Promise.all(Array.from({ length: 10 }, async () => cluster.propose(`a+1+${padding}`)))
  }
}

function held(node: ClusterNode): number {
  const status = node.group().replica?.status()
  return (status?.lastIndex ?? 0) - (status?.compacted.index ?? 0)
}

suite('the log of a group', () => {
  test('is held for a follower that is at work and a little behind', async () => {
    const cluster = new Cluster({
      limits: { compactAfterEntries: 100, keptEntries: 10, maximumLagEntries: 1_000 },
    })
    await cluster.run(async () => {
      const { leader, slow } = await setUp(cluster)
      const goOn = slow.disk.stall()
      await write(cluster, 500)
      assert.ok(held(leader) >= 500)
      const flushes = leader.machines.get(1)?.flushes ?? 0
      assert.ok(flushes < 60, `what is held in vain is not flushed with every batch: ${flushes}`)
      goOn()
      await cluster.converged(names)
      assert.equal(slow.machines.get(1)?.restores, 0)
      await write(cluster, 100)
      assert.ok(held(leader) < 200, 'then it goes')
    })
  })

  test('has a bound in entries: who lags further gets a snapshot', async () => {
    const cluster = new Cluster({
      limits: { compactAfterEntries: 100, keptEntries: 10, maximumLagEntries: 200 },
      raft: fewInFlight,
    })
    await cluster.run(async () => {
      const { leader, slow } = await setUp(cluster)
      const goOn = slow.disk.stall()
      let most = 0
      for (let i = 0; i < 50; i++) {
        await write(cluster, 20)
        most = Math.max(most, held(leader))
      }
      assert.ok(most < 300, String(most))
      goOn()
      await cluster.converged(names)
      assert.ok((slow.machines.get(1)?.restores ?? 0) >= 1)
      assert.equal(slow.value('a'), 1001)
    })
  })

  test('has a bound in bytes', async () => {
    const cluster = new Cluster({
      limits: { compactAfterBytes: 50_000, maximumLagBytes: 100_000 },
      raft: fewInFlight,
    })
    await cluster.run(async () => {
      const { leader, slow } = await setUp(cluster)
      const goOn = slow.disk.stall()
      let most = 0
      for (let i = 0; i < 40; i++) {
        await write(cluster, 10, 'x'.repeat(1_000))
        most = Math.max(most, held(leader))
      }
      assert.ok(most > 50 && most < 130, `${most} entries of a kilobyte`)
      goOn()
      await cluster.converged(names)
      assert.ok((slow.machines.get(1)?.restores ?? 0) >= 1)
    })
  })

  test('is held for a follower that gets a snapshot, which would need another one else', async () => {
    const cluster = new Cluster({
      limits: { compactAfterEntries: 30, keptEntries: 3, maximumLagEntries: 10_000 },
    })
    await cluster.run(async () => {
      const { leader, slow: late } = await setUp(cluster)
      late.crash()
      await cluster.sleep(500)
      for (let i = 0; i < 30; i++) await cluster.propose(`c${i}+1`)
      await write(cluster, 200)
      late.process.restart()
      await late.start()
      const machine = late.machine()
      let finish = (): void => {}
      const restore = machine.restore.bind(machine)
      machine.restore = async (bookkeeping, chunks) => {
        await restore(bookkeeping, chunks)
        await new Promise<void>((resolve) => {
          finish = resolve
        })
      }
      await late.host.openGroup(1, { stateMachine: machine })
      await cluster.until(() => machine.restores === 1, 'it is being restored')
      await write(cluster, 400)
      assert.ok(held(leader) >= 400)
      finish()
      await cluster.converged(names)
      assert.equal(machine.restores, 1)
    })
  })

  test('goes as soon as may be when an earlier life left much of it', async () => {
    const cluster = new Cluster({ limits: { compactAfterEntries: 1_000, keptEntries: 10 } })
    await cluster.run(async () => {
      await setUp(cluster)
      await write(cluster, 500)
      await cluster.converged(names)
      for (const node of cluster.nodes.values()) await node.machines.get(1)?.flush()
      for (const node of cluster.nodes.values()) node.crash('kill')
      for (const node of cluster.nodes.values()) await node.restart()
      await write(cluster, 200)
      await cluster.converged(names)
      for (const name of names) assert.ok(held(cluster.node(name)) < 250, 'nobody waits for the thousandth')
    })
  })
})
