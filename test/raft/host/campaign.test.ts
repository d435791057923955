import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Replica } from '../../../src/raft/group/replica.ts'
import { Cluster } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3', 'n4', 'n5']

/** A group without a leader, of which one replica is told to stand again and again, faster than the others can answer. */
async function toldAgainAndAgain(cluster: Cluster): Promise<void> {
  await cluster.bootstrap(names)
  cluster.conditions.setQuality({ minimumDelayMs: 20 })
  const group = cluster.node('n1').group()
  const until = cluster.simulation.nowMs + 400
  while (cluster.simulation.nowMs < until && cluster.serving() === undefined) {
    group.campaign()
    await cluster.sleep(10)
  }
}

const options = { raft: { electionTimeoutMs: 1_000, heartbeatIntervalMs: 100 } }

suite('a replica that is told to stand for election', () => {
  test('wins, however often it is told while the votes are on their way', async () => {
    const cluster = new Cluster(options)
    await cluster.run(async () => {
      await toldAgainAndAgain(cluster)
      assert.equal(cluster.serving()?.name, 'n1')
      const { term } = cluster.node('n1').group().status()
      assert.ok(term <= 2, `it took ${term} terms`)
    })
  })

  test('would not if it began anew each time', async (t) => {
    t.mock.method(Replica.prototype, 'isCampaigning', () => false)
    const cluster = new Cluster(options)
    await cluster.run(async () => {
      await toldAgainAndAgain(cluster)
      assert.equal(cluster.serving(), undefined)
      const { term } = cluster.node('n1').group().status()
      assert.ok(term > 2, `it is in term ${term}`)
    })
  })
})
