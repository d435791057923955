import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { RaftOptions } from '../../../src/raft/core/types.ts'
import { decodeFrame } from '../../../src/raft/host/frame.ts'
import { NodeNews } from '../../../src/raft/host/node-news.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']
const groupIds = Array.from({ length: 20 }, (_, i) => i + 1)

/** Three nodes with twenty groups, all at rest. */
async function rested(options: { raft?: Partial<RaftOptions>; seed?: number } = {}): Promise<Cluster> {
  const cluster = new Cluster(options)
  await cluster.run(async () => {
    await cluster.add(...names)
    for (const groupId of groupIds) await cluster.bootstrap(names, groupId)
    for (const groupId of groupIds) await cluster.propose('a+1', { groupId })
    await allAtRest(cluster)
  })
  return cluster
}

function atRest(cluster: Cluster, groupId: number, members: readonly string[] = names): boolean {
  return members.every((name) => cluster.node(name).group(groupId).status().atRest)
}

async function allAtRest(cluster: Cluster, members: readonly string[] = names): Promise<void> {
  await cluster.until(() => groupIds.every((id) => atRest(cluster, id, members)), 'all groups at rest', 5_000)
}

/** Counts what a node sends from now on, by kind. */
function watch(cluster: Cluster, node: ClusterNode): Map<string, number> {
  const kinds = new Map<string, number>()
  const { channel } = node
  const send = channel.send.bind(channel)
  channel.send = (peer, bytes) => {
    const to = [...cluster.nodes.values()].find(({ name }) => name === peer)
    const frame = decodeFrame(bytes, to?.store.incarnation ?? 0)
    for (const { kind } of [
      ...(frame?.beats ?? []),
      ...(frame?.messages ?? []).map(({ message }) => message),
    ]) {
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    }
    return send(peer, bytes)
  }
  return kinds
}

/** The same for what it sends to one other node, from when that is silent. */
function watchTo(cluster: Cluster, node: ClusterNode, to: string): Map<string, number> {
  const kinds = new Map<string, number>()
  const { channel } = node
  const send = channel.send.bind(channel)
  const fromMs = cluster.simulation.nowMs + 700
  channel.send = (peer, bytes) => {
    if (peer === to && cluster.simulation.nowMs > fromMs) {
      const frame = decodeFrame(bytes, cluster.node(to).store.incarnation)
      const messages = (frame?.messages ?? []).map(({ message }) => message)
      for (const { kind } of [...(frame?.beats ?? []), ...messages]) {
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
      }
    }
    return send(peer, bytes)
  }
  return kinds
}

async function leaderOtherThan(cluster: Cluster, old: ClusterNode, groupId: number): Promise<ClusterNode> {
  await cluster.until(() => (cluster.serving(groupId) ?? old) !== old, 'a new leader', 3_000)
  return cluster.serving(groupId) as ClusterNode
}

suite('groups that have nothing to say', () => {
  test('cost no message and no timer: their nodes speak for all of them', async () => {
    const cluster = await rested()
    await cluster.run(async () => {
      const seen = names.map((name) => watch(cluster, cluster.node(name)))
      await cluster.sleep(10_000)
      for (const kinds of seen) {
        assert.deepEqual([...kinds.keys()].sort(), ['beat', 'beatReply'])
        // Two other nodes, a beat each 150 ms, and as many answers.
        assert.ok(
          [...kinds.values()].every((count) => count > 100 && count <= 136),
          JSON.stringify([...kinds]),
        )
      }
      for (const name of names)
        for (const groupId of groupIds) {
          const replica = cluster.node(name).group(groupId).replica
          assert.equal(replica?.nextDeadlineMs, Number.POSITIVE_INFINITY)
        }
    })
  })

  test('wake up one at a time', async () => {
    const cluster = await rested()
    await cluster.run(async () => {
      await cluster.sleep(5_000)
      await cluster.propose('a+1', { groupId: 7 })
      assert.equal(atRest(cluster, 7), false)
      for (const groupId of groupIds)
        if (groupId !== 7) assert.ok(atRest(cluster, groupId), `group ${groupId}`)
      await allAtRest(cluster)
      for (const name of names) assert.equal(cluster.node(name).value('a', 7), 2)
    })
  })

  test('are read by lease without a message, by what their nodes pledge', async () => {
    const cluster = await rested({ raft: { clockDriftBound: 0.01 } })
    await cluster.run(async () => {
      await cluster.sleep(5_000)
      const node = cluster.serving(3) as ClusterNode
      const kinds = watch(cluster, node)
      for (let i = 0; i < 50; i++) {
        await node.group(3).read()
        await cluster.sleep(10)
      }
      assert.equal(kinds.get('heartbeat'), undefined)
      assert.ok(atRest(cluster, 3))
    })
  })

  test('have new leaders soon after a node died, and serve', async () => {
    for (const kind of ['kill', 'power'] as const) {
      const cluster = await rested({ raft: { clockDriftBound: 0.01 } })
      await cluster.run(async () => {
        await cluster.sleep(5_000)
        const dead = cluster.serving(1) as ClusterNode
        const led = groupIds.filter((id) => cluster.serving(id) === dead)
        const from = cluster.simulation.nowMs
        dead.crash(kind)
        for (const groupId of led) await leaderOtherThan(cluster, dead, groupId)
        const tookMs = cluster.simulation.nowMs - from
        // A socket that closes is news at once; a machine that is gone is missed after a timeout.
        assert.ok(tookMs < (kind === 'kill' ? 200 : 1_000), `${tookMs} ms after a ${kind}`)
        for (const groupId of groupIds) assert.equal(await cluster.propose('a+1', { groupId }), '2')
        const alive = names.filter((name) => name !== dead.name)
        await allAtRest(cluster, alive)
        await dead.restart()
        for (const groupId of groupIds) await cluster.converged(names, groupId)
        await allAtRest(cluster)
      })
    }
  })

  test('stay at rest when a node that leads none of them dies, and take it in again', async () => {
    const cluster = await rested()
    await cluster.run(async () => {
      const [first, second, third] = names.map((name) => cluster.node(name))
      for (const groupId of groupIds) {
        const leader = cluster.serving(groupId)
        if (leader !== third) continue
        await leader?.group(groupId).transferLeadership(1)
      }
      await allAtRest(cluster)
      third?.crash('power')
      await cluster.sleep(3_000)
      await allAtRest(cluster, ['n1', 'n2'])
      const terms = groupIds.map((id) => first?.group(id).status().term)
      await third?.restart()
      await allAtRest(cluster)
      assert.deepEqual(
        groupIds.map((id) => second?.group(id).status().term),
        terms,
        'nobody was elected',
      )
    })
  })

  test('do not follow a node that can be reached no more', async () => {
    const cluster = await rested({ raft: { clockDriftBound: 0.01 } })
    await cluster.run(async () => {
      const old = cluster.serving(1) as ClusterNode
      const heal = cluster.conditions.partition(isolate(old.name, names))
      await leaderOtherThan(cluster, old, 1)
      await cluster.until(() => old.group(1).status().role !== 'leader', 'the old one steps down', 3_000)
      heal()
      for (const groupId of groupIds) await cluster.converged(names, groupId)
      await allAtRest(cluster)
    })
  })

  test('do not follow a node that stood still for long', async () => {
    const cluster = await rested({ raft: { clockDriftBound: 0.01 } })
    await cluster.run(async () => {
      const old = cluster.serving(1) as ClusterNode
      old.process.pause()
      const next = await leaderOtherThan(cluster, old, 1)
      old.process.resume()
      await cluster.until(() => old.group(1).status().leader?.nodeId === next.name, 'it follows', 3_000)
      await allAtRest(cluster)
    })
  })

  test('do not speak to a node that stands still, and take it in again when it goes on', async () => {
    const cluster = await rested({ raft: { clockDriftBound: 0.01 } })
    await cluster.run(async () => {
      await cluster.sleep(5_000)
      const still = cluster.serving(1) as ClusterNode
      const alive = names.filter((name) => name !== still.name)
      const sent = alive.map((name) => watchTo(cluster, cluster.node(name), still.name))
      still.process.pause()
      for (const groupId of groupIds) {
        if (cluster.serving(groupId) === still) await leaderOtherThan(cluster, still, groupId)
      }
      for (const groupId of groupIds) await cluster.propose('a+1', { groupId })
      await allAtRest(cluster, alive)
      await cluster.sleep(1_000)
      for (const kinds of sent) assert.deepEqual([...kinds.keys()], ['beat'])
      still.process.resume()
      await cluster.until(
        () => groupIds.every((id) => still.group(id).status().leader?.nodeId !== still.name),
        'it follows',
        3_000,
      )
      await allAtRest(cluster)
      for (const groupId of groupIds) assert.equal(still.value('a', groupId), 2)
    })
  })

  test('hear of a dead node when they are used, though the others are told later', async () => {
    const { tell } = NodeNews.prototype
    const cluster = await rested({ raft: { clockDriftBound: 0.01 } })
    try {
      await cluster.run(async () => {
        await cluster.sleep(5_000)
        const dead = cluster.serving(1) as ClusterNode
        const led = groupIds.filter((id) => cluster.serving(id) === dead)
        const [first, ...others] = led as [number]
        assert.ok(others.length > 0)
        const told: (() => void)[] = []
        NodeNews.prototype.tell = function (this: NodeNews<never>) {
          told.push(() => tell.call(this))
        }
        dead.crash('power')
        await cluster.sleep(1_000)
        assert.ok(told.length > 0)
        const alive = names.filter((name) => name !== dead.name)
        const asked = cluster.node(alive[0] as string).group(first)
        await assert.rejects(asked.propose(utf8('a+1'), { forward: false }))
        await leaderOtherThan(cluster, dead, first)
        for (const groupId of others) assert.ok(atRest(cluster, groupId, alive), `group ${groupId}`)
        NodeNews.prototype.tell = tell
        for (const tellNow of told) tellNow()
        for (const groupId of others) await leaderOtherThan(cluster, dead, groupId)
        await allAtRest(cluster, alive)
      })
    } finally {
      NodeNews.prototype.tell = tell
    }
  })

  test('hand over, and change their members', async () => {
    const cluster = await rested({ raft: { clockDriftBound: 0.01 } })
    await cluster.run(async () => {
      const leader = cluster.serving(2) as ClusterNode
      const to = leader.name === 'n2' ? 3 : 2
      await leader.group(2).transferLeadership(to)
      await allAtRest(cluster)
      assert.equal(cluster.node(`n${to}`).group(2).status().role, 'leader')
      await cluster.node(`n${to}`).group(2).changeMembership({ type: 'remove', replicaId: 1 })
      await cluster.until(() => cluster.node('n1').group(2).status().removed, 'removed')
      await cluster.node('n1').host.destroyGroup(2)
      await cluster.sleep(1_000)
      assert.ok(atRest(cluster, 2, ['n2', 'n3']))
    })
  })

  test('elect another when the replica that leads them fails, though its node is well', async () => {
    const cluster = await rested({ raft: { clockDriftBound: 0.01 } })
    await cluster.run(async () => {
      const leader = cluster.serving(5) as ClusterNode
      const { replica } = leader.group(5)
      replica?.stop(new KeelsonError('CORRUPTION', 'on purpose'))
      await leaderOtherThan(cluster, leader, 5)
      for (const groupId of groupIds)
        if (groupId !== 5) assert.ok(atRest(cluster, groupId), `group ${groupId}`)
    })
  })

  test('wake up when the transport has dropped what was sent to them', async () => {
    const cluster = await rested()
    await cluster.run(async () => {
      const leader = cluster.serving(1) as ClusterNode
      const { channel } = leader
      const send = channel.send.bind(channel)
      // What makes the replica stop leading is lost, and nobody else knows.
      channel.send = () => false
      leader.group(1).replica?.stop(new KeelsonError('CORRUPTION', 'on purpose'))
      await cluster.sleep(1)
      channel.send = send
      await leaderOtherThan(cluster, leader, 1)
    })
  })
})
