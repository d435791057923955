import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { emptyBytes, text, utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { ReplicaId } from '../../../src/model/ids.ts'
import type { MembershipChange } from '../../../src/raft/core/membership-types.ts'
import { FramePacker } from '../../../src/raft/host/frame.ts'
import { CounterMachine } from '../support/counter-machine.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']

async function change(cluster: Cluster, wanted: MembershipChange | readonly MembershipChange[]) {
  for (;;) {
    const leader = await cluster.leader()
    try {
      return await leader.group().changeMembership(wanted)
    } catch (error) {
      if (!KeelsonError.is(error) || !error.retryable || error.outcome === 'unknown') throw error
      await cluster.sleep(20)
    }
  }
}

/** Adds a node as a learner, waits for it, makes it a voter. Returns its replica id. */
async function join(cluster: Cluster, node: ClusterNode): Promise<ReplicaId> {
  await node.host.awaitGroup(1, { stateMachine: node.machine() })
  const added = await change(cluster, {
    type: 'addLearner',
    nodeId: node.name,
    incarnation: node.store.incarnation,
  })
  const replicaId = added.replicas.find((r) => r.nodeId === node.name)?.replicaId as ReplicaId
  const promoted = await change(cluster, { type: 'promote', replicaId })
  assert.equal(promoted.replicas.find((r) => r.replicaId === replicaId)?.role, 'voter')
  return replicaId
}

suite('membership', () => {
  test('a node is added as a learner, promoted, and another one removed and destroyed', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      await cluster.add('n4')
      await cluster.propose('a+1')
      const n4 = cluster.node('n4')
      const configurations: number[] = []
      const replicaId = await join(cluster, n4)
      n4.group().on('configuration', ({ generation }) => configurations.push(generation))
      assert.ok(replicaId > 3)
      assert.equal(n4.group().status().replicaId, replicaId)

      const leader = await cluster.leader()
      const victim = names.map((name) => cluster.node(name)).find((node) => node !== leader) as ClusterNode
      const removed: string[] = []
      victim.group().on('removed', () => removed.push(victim.name))
      const victimId = victim.group().status().replicaId
      const after = await change(cluster, { type: 'remove', replicaId: victimId })
      assert.equal(after.generation, 4)
      assert.ok(!after.replicas.some((r) => r.replicaId === victimId))
      await cluster.propose('a+1')
      await cluster.until(() => configurations.includes(4), 'the event of the new configuration')

      await cluster.until(() => removed.length > 0, 'it knows of its removal')
      await victim.host.destroyGroup(1)
      assert.ok(victim.machines.get(1)?.destroyed)
      assert.equal(victim.host.groups().size, 0)
      assert.deepEqual(victim.host.stored().get(1), {
        replicaId: victimId,
        destroyed: true,
        quarantined: false,
        recoveryGeneration: 0,
        superseded: false,
      })
      victim.crash()
      await victim.restart()
      assert.equal(victim.host.groups().size, 0, 'a tombstone is not opened')
      await assert.rejects(victim.host.openGroup(1, { stateMachine: victim.machine() }), {
        code: 'NOT_FOUND',
      })

      // A late message to the replica that was destroyed must not bring it back.
      await victim.host.awaitGroup(1, { stateMachine: victim.machine() })
      const late = new FramePacker(victim.store.incarnation)
      const header = {
        from: leader.group().status().replicaId,
        to: victimId,
        term: leader.group().status().term,
      }
      late.add(1, { kind: 'heartbeat', ...header, round: 1, commit: 0, match: 0 })
      leader.channel.send(victim.name, late.finish())
      await cluster.sleep(100)
      assert.equal(victim.group().status().replicaId, 0)
      assert.equal(victim.host.stored().get(1)?.destroyed, true)

      const again = await joinWaiting(cluster, victim)
      assert.ok(again > victimId, 'it comes back under a new id only')
      await cluster.converged([...names, 'n4'])
      assert.equal(victim.value('a'), 2)
    })
  })

  test('voters are swapped in one joint step, and the call resolves when that is left', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      await cluster.add('n4', 'n5')
      const arriving = ['n4', 'n5'].map((name) => cluster.node(name))
      for (const node of arriving) await node.host.awaitGroup(1, { stateMachine: node.machine() })
      const added = await change(
        cluster,
        arriving.map(({ name, store }) => ({
          type: 'addLearner',
          nodeId: name,
          incarnation: store.incarnation,
        })),
      )
      assert.equal(added.generation, 2)
      const learners = added.replicas.filter(({ role }) => role === 'learner')
      const leader = await cluster.leader()
      const leaderId = leader.group().status().replicaId
      const leaving = added.replicas.filter(
        ({ role, replicaId }) => role === 'voter' && replicaId !== leaderId,
      )
      const swapped = await change(cluster, [
        ...learners.map(({ replicaId }) => ({ type: 'promote', replicaId }) as const),
        ...leaving.map(({ replicaId }) => ({ type: 'remove', replicaId }) as const),
      ])
      assert.equal(swapped.generation, 4)
      assert.equal(swapped.joint, undefined)
      assert.deepEqual(
        swapped.replicas.map(({ nodeId, role }) => `${nodeId} ${role}`),
        [`${leader.name} voter`, 'n4 voter', 'n5 voter'],
      )
      assert.deepEqual((await cluster.leader()).group().status().configuration, swapped)
      for (const { nodeId } of leaving) {
        const node = cluster.node(nodeId)
        await cluster.until(() => node.group().status().removed, 'it knows of its removal')
        await node.host.destroyGroup(1)
      }
      await cluster.propose('a+1')
      await cluster.converged([leader.name, 'n4', 'n5'])
    })
  })

  test('a leader that takes itself out with another one learns that it is done', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap(['n1', 'n2', 'n3', 'n4'])
      const leader = await cluster.leader()
      const other = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
      const after = await leader.group().changeMembership([
        { type: 'remove', replicaId: leader.group().status().replicaId },
        { type: 'demote', replicaId: other.group().status().replicaId },
      ])
      assert.deepEqual(after.replicas.map(({ role }) => role).sort(), ['learner', 'voter', 'voter'])
      await cluster.until(() => leader.group().status().removed, 'the leader knows that it is out')
      assert.notEqual(await cluster.leader(), leader)
    })
  })

  test('a joint configuration that is left on demand stays until then', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const group = (await cluster.leader()).group()
      const voter = [...cluster.nodes.values()].find((node) => node.group() !== group) as ClusterNode
      const { replicaId } = voter.group().status()
      await assert.rejects(change(cluster, { type: 'leaveJoint' }), { code: 'CONFLICT', retryable: false })
      await assert.rejects(change(cluster, []), { code: 'INVALID_ARGUMENT' })
      const joint = await group.changeMembership({ type: 'demote', replicaId }, { autoLeave: false })
      assert.deepEqual(joint.joint, { autoLeave: false })
      await assert.rejects(group.changeMembership({ type: 'remove', replicaId }), (error) => {
        assert.ok(KeelsonError.hasCode(error, 'CONFLICT'))
        assert.equal(error.details.reason, 'joint')
        return true
      })
      await cluster.propose('a+1')
      const left = await group.changeMembership({ type: 'leaveJoint' }, { expectedGeneration: 2 })
      assert.equal(left.generation, 3)
      assert.equal(left.replicas.find((each) => each.replicaId === replicaId)?.role, 'learner')
    })
  })

  test('a caller whose leader falls while joint is told that it does not know, and may go away before', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap(['n1', 'n2', 'n3', 'n4', 'n5'])
      const leader = await cluster.leader()
      const others = [...cluster.nodes.values()].filter((node) => node !== leader)
      const replicaIds = others.map((node) => node.group().status().replicaId)
      const joint = new Promise<void>((resolve) => {
        const stop = leader.group().on('configuration', (configuration) => {
          if (configuration.joint === undefined) return
          stop()
          resolve()
        })
      })
      const removal = replicaIds.slice(0, 2).map((replicaId) => ({ type: 'remove', replicaId }) as const)
      const outcome = leader.group().changeMembership(removal)
      const seen = assert.rejects(outcome, { code: 'OUTCOME_UNKNOWN' })
      await joint
      leader.crash()
      await cluster.until(() => cluster.serving() !== undefined, 'another leader')
      await cluster.until(
        () => (cluster.serving()?.group().status().configuration?.generation ?? 0) === 3,
        'the next leader leaves the joint configuration',
      )
      leader.group().stop(new KeelsonError('CLOSED', 'over'))
      await seen
      const controller = new AbortController()
      const next = await cluster.leader()
      const lost = next
        .group()
        .changeMembership(
          { type: 'demote', replicaId: replicaIds[3] as ReplicaId },
          { signal: controller.signal },
        )
      controller.abort()
      await assert.rejects(lost, { code: 'ABORTED', outcome: 'unknown' })
    })
  })

  test('a removed replica learns of it', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      const victim = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
      const events: string[] = []
      victim.group().on('removed', () => events.push('removed'))
      await change(cluster, { type: 'remove', replicaId: victim.group().status().replicaId })
      await cluster.until(() => victim.group().status().removed, 'the removed one knows', 5_000)
      assert.deepEqual(events, ['removed'])
    })
  })

  test('a change with an old generation is refused, and two at once are', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      await cluster.add('n4', 'n5')
      await cluster.propose('a+1')
      const group = (await cluster.leader()).group()
      const add = (name: string) => ({
        type: 'addLearner' as const,
        nodeId: name,
        incarnation: cluster.node(name).store.incarnation,
      })
      await assert.rejects(group.changeMembership(add('n4'), { expectedGeneration: 7 }), {
        code: 'STALE_GENERATION',
      })
      const first = group.changeMembership(add('n4'), { expectedGeneration: 1 })
      await assert.rejects(group.changeMembership(add('n5')), { code: 'CONFLICT' })
      await assert.rejects(group.changeMembership(add('n5'), { expectedGeneration: 1 }), {
        code: 'STALE_GENERATION',
      })
      const configuration = await first
      assert.equal(configuration.generation, 2)
      await assert.rejects(group.changeMembership({ type: 'promote', replicaId: 99 }), { code: 'NOT_FOUND' })
      await assert.rejects(group.changeMembership(add('n4')), { code: 'CONFLICT' })
      const learner = configuration.replicas.at(-1)?.replicaId as ReplicaId
      await assert.rejects(group.changeMembership({ type: 'promote', replicaId: learner }), {
        code: 'CONFLICT',
        retryable: true,
      })
    })
  })

  test('leadership is handed over on request', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const old = await cluster.leader()
      await cluster.propose('a+1')
      const heir = [...cluster.nodes.values()].find((node) => node !== old) as ClusterNode
      const to = heir.group().status().replicaId
      const open = Array.from({ length: 20 }, async () => old.group().propose(utf8('a+1')))
      await cluster.sleep(0.01)
      await old.group().transferLeadership(to)
      await cluster.until(() => cluster.serving() === heir, 'the heir leads')
      const results = await Promise.all(open)
      assert.deepEqual(
        results.map(text).at(-1),
        '21',
        'what was appended before is acknowledged all the same',
      )
      await assert.rejects(old.group().transferLeadership(to), { code: 'NOT_LEADER' })
      await assert.rejects(heir.group().transferLeadership(77), { code: 'NOT_FOUND' })
    })
  })

  test('a wiped node does not answer for the replica that it lost, and joins as a new one', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      await cluster.propose('a+1')
      const leader = await cluster.leader()
      const victim = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
      const oldId = victim.group().status().replicaId
      const oldIncarnation = victim.store.incarnation
      victim.crash()
      victim.wipe()
      victim.process.restart()
      await victim.start()
      assert.notEqual(victim.store.incarnation, oldIncarnation)
      await victim.host.awaitGroup(1, { stateMachine: victim.machine() })
      for (let i = 0; i < 5; i++) await cluster.propose('a+1')
      await cluster.sleep(2_000)
      assert.equal(victim.group().status().replicaId, 0, 'messages to its former self do not wake it')
      await assert.rejects(victim.group().propose(utf8('a+1')), { code: 'NOT_LEADER' })

      await change(cluster, { type: 'remove', replicaId: oldId })
      const newId = await joinWaiting(cluster, victim)
      assert.ok(newId > oldId)
      await cluster.converged(names)
      assert.equal(victim.value('a'), 6)
    })
  })

  test('a second bootstrap, a foreign one and a machine that is not new are refused', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const n1 = cluster.node('n1')
      const replicas = cluster.replicas(names)
      await assert.rejects(n1.host.bootstrap(1, { replicas, stateMachine: n1.machine() }), {
        code: 'CONFLICT',
      })
      n1.crash()
      n1.process.restart()
      await n1.start()
      await assert.rejects(n1.host.bootstrap(1, { replicas, stateMachine: new CounterMachine() }), {
        code: 'ALREADY_BOOTSTRAPPED',
      })
      const strangers = cluster.replicas(['n2', 'n3'])
      await assert.rejects(n1.host.bootstrap(2, { replicas: strangers, stateMachine: n1.machine(2) }), {
        code: 'INVALID_ARGUMENT',
      })
      const used = new CounterMachine()
      used.bookkeeping.set('replica', new Uint8Array([1, 3, 0, 0, 0, 0, 0, 0, 0]))
      await assert.rejects(n1.host.bootstrap(2, { replicas, stateMachine: used }), { code: 'CONFLICT' })
      assert.equal(used.destroyed, false)
      await n1.host.bootstrap(2, { replicas, stateMachine: n1.machine(2) })
      await assert.rejects(n1.host.destroyGroup(77), { code: 'NOT_FOUND' })
    })
  })
})

suite('an empty replica that a late message awakened', () => {
  /** n4 waits for its replica; a leader's heartbeat to another replica than any that n4 will be reaches it first. */
  async function awakened(
    body: (cluster: Cluster, n4: ClusterNode, awaken: (to: ReplicaId) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      await cluster.add('n4')
      await cluster.propose('a+1')
      const n4 = cluster.node('n4')
      await n4.host.awaitGroup(1, { stateMachine: n4.machine() })
      const awaken = async (to: ReplicaId): Promise<void> => {
        const leader = await cluster.leader()
        const late = new FramePacker(n4.store.incarnation)
        const { replicaId: from, term } = leader.group().status()
        late.add(1, { kind: 'heartbeat', from, to, term, round: 1, commit: 0, match: 0 })
        leader.channel.send('n4', late.finish())
        await cluster.sleep(100)
      }
      await body(cluster, n4, awaken)
    })
  }

  test('becomes the one that the group has', async () => {
    await awakened(async (cluster, n4, awaken) => {
      await awaken(4)
      assert.equal(n4.group().status().replicaId, 4)
      const replicaId = await joinWaiting(cluster, n4)
      assert.ok(replicaId > 4)
      await cluster.converged([...names, 'n4'])
      assert.equal(n4.group().status().replicaId, replicaId)
      n4.crash()
      await n4.restart()
      await cluster.converged([...names, 'n4'])
      assert.equal(n4.group().status().replicaId, replicaId)
      assert.equal(n4.host.stored().get(1)?.replicaId, replicaId)
    })
  })

  test('also with a lower id, and after a restart', async () => {
    await awakened(async (cluster, n4, awaken) => {
      // Minted by a leader that could not commit it.
      await awaken(5_000)
      n4.crash()
      await n4.restart()
      assert.equal(n4.group().status().replicaId, 5_000)
      const replicaId = await joinWaiting(cluster, n4)
      assert.ok(replicaId < 5_000)
      await cluster.converged([...names, 'n4'])
      assert.equal(n4.group().status().replicaId, replicaId)
    })
  })

  test('but never one that was destroyed on this disk, nor another one once it has an entry', async () => {
    await awakened(async (cluster, n4, awaken) => {
      const first = await joinWaiting(cluster, n4)
      await cluster.converged([...names, 'n4'])
      await awaken(first + 50)
      assert.equal(n4.group().status().replicaId, first, 'it holds entries')
      await change(cluster, { type: 'remove', replicaId: first })
      await n4.host.destroyGroup(1, { confirm: 'destroy group 1' })
      await n4.host.awaitGroup(1, { stateMachine: n4.machine() })
      await awaken(first + 100)
      await awaken(first)
      assert.equal(n4.group().status().replicaId, first + 100)
      n4.crash()
      await n4.restart()
      await awaken(first)
      assert.equal(n4.group().status().replicaId, first + 100, 'what was destroyed is remembered')
      const second = await joinWaiting(cluster, n4)
      assert.ok(second > first && second < first + 100)
      await cluster.converged([...names, 'n4'])
    })
  })
})

async function joinWaiting(cluster: Cluster, node: ClusterNode): Promise<ReplicaId> {
  const added = await change(cluster, {
    type: 'addLearner',
    nodeId: node.name,
    incarnation: node.store.incarnation,
  })
  const replicaId = added.replicas.find((r) => r.nodeId === node.name)?.replicaId as ReplicaId
  await change(cluster, { type: 'promote', replicaId })
  return replicaId
}

suite('hostile input', () => {
  test('frames that are damaged, for others or from others are dropped and counted', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      await cluster.propose('a+1')
      const leader = await cluster.leader()
      const [one, two] = [...cluster.nodes.values()].filter((node) => node !== leader) as [
        ClusterNode,
        ClusterNode,
      ]
      const { term } = leader.group().status()
      const send = (build: (packer: FramePacker) => void, incarnation = one.store.incarnation) => {
        const packer = new FramePacker(incarnation)
        build(packer)
        two.channel.send(one.name, packer.finish())
      }
      const from = leader.group().status().replicaId
      const to = one.group().status().replicaId
      send((p) => p.add(1, { kind: 'heartbeat', from, to, term: term + 5, round: 1, commit: 0, match: 0 }))
      send((p) => p.add(9, { kind: 'timeoutNow', from, to, term }))
      send((p) => p.add(1, { kind: 'timeoutNow', from, to: 77, term }))
      send((p) => p.add(1, { kind: 'timeoutNow', from, to, term }), 5)
      two.channel.send(one.name, utf8('this is no frame'))
      two.channel.send(one.name, emptyBytes)
      await cluster.sleep(200)
      assert.equal(one.group().status().term, term, 'nobody speaks for the leader but the leader')
      const metrics = (one.env.metrics as unknown as { text(): string }).text()
      for (const reason of [
        'wrongSender',
        'unknownGroup',
        'wrongReplica',
        'otherIncarnation',
        'MALFORMED',
        'PROTOCOL_VERSION',
      ]) {
        assert.match(metrics, new RegExp(`dropped_total\\{reason="${reason}"\\} 1`))
      }
      assert.equal(await cluster.propose('a+1'), '2')
    })
  })
})
