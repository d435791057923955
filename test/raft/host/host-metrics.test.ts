import assert from 'node:assert/strict'
import { tracingChannel } from 'node:diagnostics_channel'
import { suite, test } from 'node:test'
import { utf8 } from '../../../src/core/bytes.ts'
import type { MetricsRegistry } from '../../../src/core/metrics.ts'
import { Cluster, type ClusterNode, type ClusterOptions } from '../support/host-cluster.ts'

/** The value of a series on a node, 0 where there is none. */
function value(node: ClusterNode, series: string): number {
  const lines = (node.env.metrics as MetricsRegistry).text().split('\n')
  return Number(lines.find((line) => line.startsWith(`${series} `))?.split(' ')[1] ?? 0)
}

function gauge(node: ClusterNode, name: string): number {
  return value(node, `keelson_raft_${name}{node="${node.name}"}`)
}

async function measured(
  body: (cluster: Cluster) => Promise<void>,
  options: ClusterOptions = {},
): Promise<void> {
  const cluster = new Cluster(options)
  await cluster.run(async () => {
    await cluster.bootstrap(['n1', 'n2', 'n3'], 1)
    await cluster.bootstrap(['n1', 'n2', 'n3'], 2)
    for (const groupId of [1, 2]) await cluster.propose('a+1', { groupId })
    await body(cluster)
  })
}

suite('the metrics of a host', () => {
  test('count what its groups do', async () => {
    await measured(async (cluster) => {
      const nodes = [...cluster.nodes.values()]
      const sum = (series: string): number => nodes.reduce((all, node) => all + value(node, series), 0)
      const led = (): number => nodes.reduce((all, node) => all + gauge(node, 'groups_led'), 0)
      assert.equal(led(), 2)
      assert.equal(sum('keelson_raft_elections_total{outcome="won"}'), 2)
      assert.ok(sum('keelson_raft_elections_total{outcome="begun"}') >= 2)
      for (const node of nodes) {
        assert.equal(gauge(node, 'groups_open'), 2)
        assert.equal(value(node, 'keelson_raft_leader_changes_total'), 2)
      }
      assert.equal(sum('keelson_raft_proposals_total'), 2)
      const leader = await cluster.leader()
      const follower = nodes.find((node) => node !== leader) as ClusterNode
      await assert.rejects(follower.group().propose(utf8('a+1')), { code: 'NOT_LEADER' })
      assert.equal(value(follower, 'keelson_raft_proposals_refused_total{code="NOT_LEADER"}'), 1)
      await leader.group().read()
      assert.equal(value(leader, 'keelson_raft_reads_total{by="round"}'), 1)
      assert.equal(value(leader, 'keelson_raft_read_seconds_count'), 1)
      assert.ok(value(leader, 'keelson_raft_propose_seconds_count') >= 1)
      await leader.group().transferLeadership(follower.group().status().replicaId)
      await cluster.until(() => cluster.serving() === follower, 'the heir leads')
      assert.equal(led(), 2)
      assert.equal(sum('keelson_raft_elections_total{outcome="won"}'), 3)
      await leader.host.close()
      assert.equal(gauge(leader, 'groups_led'), 0)
      assert.equal(gauge(leader, 'groups_open'), 0)
    })
  })

  test('tell what is open: proposals, lags, and who rests', async () => {
    await measured(async (cluster) => {
      const nodes = [...cluster.nodes.values()]
      await cluster.until(() => nodes.every((node) => gauge(node, 'groups_at_rest') === 2), 'all groups rest')
      const leader = await cluster.leader()
      for (const node of nodes) if (node !== leader) node.crash()
      const open = [1, 2, 3].map(async () => leader.group().propose(utf8('a+1')))
      for (const each of open) each.catch(() => {})
      await cluster.sleep(5)
      assert.equal(gauge(leader, 'proposals_pending'), 3)
      assert.equal(gauge(leader, 'commit_lag_entries'), 3)
      assert.equal(gauge(leader, 'commit_lag_entries_max'), 3)
    })
  })

  test('tell which leaders hold a lease, and which replicas are quarantined', async () => {
    await measured(
      async (cluster) => {
        const leader = await cluster.leader()
        await leader.group().read()
        assert.ok(gauge(leader, 'leases_held') >= 1)
        await leader.group().read()
        assert.ok(value(leader, 'keelson_raft_reads_total{by="lease"}') >= 1)
        const victim = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
        victim.group().replica?.quarantine()
        await cluster.until(() => gauge(victim, 'groups_quarantined') === 1, 'one that is quarantined')
        assert.ok(victim.group().status().quarantined)
        await victim.host.destroyGroup(1)
        assert.equal(gauge(victim, 'groups_quarantined'), 0)
      },
      { raft: { clockDriftBound: 0.01, quiescence: false } },
    )
  })

  test('look at no replica that rests', async (t) => {
    await measured(async (cluster) => {
      const node = cluster.node('n1')
      await cluster.until(() => gauge(node, 'groups_at_rest') === 2, 'all groups rest')
      const looked = [1, 2].map((groupId) => {
        const replica = node.group(groupId).replica as NonNullable<ReturnType<typeof node.group>['replica']>
        return t.mock.method(replica.core, 'status')
      })
      gauge(node, 'groups_open')
      assert.deepEqual(
        looked.map(({ mock }) => mock.callCount()),
        [0, 0],
      )
    })
  })
})

test('calls are traced for those who subscribe, with their group and how they ended', async () => {
  const events: string[] = []
  const note =
    (call: string, event: string) =>
    (context: object): void => {
      const { groupId, error } = context as { groupId: number; error?: { code: string } }
      events.push(`${call} ${groupId} ${event}${error === undefined ? '' : ` ${error.code}`}`)
    }
  const subscriptions = ['propose', 'read', 'changeMembership', 'transferLeadership', 'proposeBatch'].map(
    (call) => {
      const channel = tracingChannel(`keelson:raft:${call}`)
      const handlers = {
        start: note(call, 'start'),
        end: () => {},
        asyncStart: () => {},
        asyncEnd: note(call, 'end'),
        error: note(call, 'error'),
      }
      channel.subscribe(handlers)
      return () => channel.unsubscribe(handlers)
    },
  )
  const cluster = new Cluster()
  await cluster.run(async () => {
    await cluster.bootstrap()
    const leader = await cluster.leader()
    const group = leader.group()
    const session = await group.openSession()
    await group.propose(utf8('a+1'))
    await group.proposeBatch([{ sequence: 1, data: utf8('a+1') }], { session })
    await group.read()
    const learner = { type: 'addLearner', nodeId: 'n9', incarnation: 5 } as const
    await assert.rejects(group.changeMembership(learner, { expectedGeneration: 77 }), {
      code: 'STALE_GENERATION',
    })
    await group.transferLeadership(group.status().replicaId)
    for (const unsubscribe of subscriptions) unsubscribe()
    await cluster.propose('a+1')
  })
  assert.deepEqual(events, [
    'propose 1 start',
    'propose 1 end',
    'proposeBatch 1 start',
    'proposeBatch 1 end',
    'read 1 start',
    'read 1 end',
    'changeMembership 1 start',
    'changeMembership 1 error STALE_GENERATION',
    'changeMembership 1 end STALE_GENERATION',
    'transferLeadership 1 start',
    'transferLeadership 1 end',
  ])
})
