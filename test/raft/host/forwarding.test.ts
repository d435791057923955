import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { encodeEnvelope } from '../../../src/raft/group/envelope.ts'
import { FramePacker } from '../../../src/raft/host/frame.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']

async function setUp(cluster: Cluster): Promise<{ leader: ClusterNode; follower: ClusterNode }> {
  await cluster.bootstrap()
  const leader = await cluster.leader()
  await cluster.propose('a+0')
  await cluster.converged(names)
  return { leader, follower: [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode }
}

suite('a proposal where the group is not led', () => {
  test('goes to the leader when that is asked for, by call or by host', async () => {
    for (const byHost of [false, true]) {
      const cluster = new Cluster({ host: { forwardProposals: byHost } })
      await cluster.run(async () => {
        const { leader, follower } = await setUp(cluster)
        const group = follower.group()
        assert.equal(text(await group.propose(utf8('a+1'), byHost ? {} : { forward: true })), '1')
        await assert.rejects(group.propose(utf8('a+1'), byHost ? { forward: false } : {}), {
          code: 'NOT_LEADER',
          details: {
            groupId: 1,
            leaderNodeId: leader.name,
            leaderReplicaId: leader.group().status().replicaId,
          },
        })
        const session = await group.openSession({ forward: true })
        const commandId = { session, sequence: 1 }
        assert.equal(text(await group.propose(utf8('a+1'), { commandId, forward: true })), '2')
        assert.equal(text(await group.propose(utf8('a+1'), { commandId, forward: true })), '2', 'once')
        await group.closeSessions([session], { forward: true })
        await assert.rejects(group.propose(utf8('a+1'), { commandId, forward: true }), {
          code: 'SESSION_UNKNOWN',
        })
        // What a turn proposes travels together, and comes back in order.
        const results = await Promise.all(
          Array.from({ length: 50 }, async () => group.propose(utf8('a+1'), { forward: true })),
        )
        assert.deepEqual(
          results.map((result) => Number(text(result))),
          Array.from({ length: 50 }, (_, i) => i + 3),
        )
      })
    }
  })

  test('takes effect once with an id, whatever happens to leaders and connections', async () => {
    for (let seed = 1; seed <= 4; seed++) {
      const cluster = new Cluster({ seed, host: { forwardProposals: true } })
      await cluster.run(async () => {
        const { follower } = await setUp(cluster)
        const session = await follower.group().openSession()
        let over = false
        const torment = async (): Promise<void> => {
          for (let round = 0; !over; round++) {
            await cluster.sleep(150)
            const leader = cluster.serving()
            if (leader === undefined || leader === follower) continue
            if (round % 3 === 0) cluster.network.breakConnections(follower.name, leader.name)
            else if (round % 3 === 1) {
              const heal = cluster.conditions.partition(isolate(leader.name, names))
              await cluster.sleep(700)
              heal()
            } else {
              leader.crash('kill')
              await cluster.sleep(100)
              await leader.restart()
            }
          }
        }
        const tormented = torment()
        for (let sequence = 1; sequence <= 150; sequence++) {
          const commandId = { session, sequence }
          for (;;) {
            try {
              const result = text(await follower.group().propose(utf8('b+1'), { commandId }))
              assert.equal(result, String(sequence), `seed ${seed}`)
              break
            } catch (error) {
              // Nobody led for longer than a forwarded proposal waits.
              assert.ok(KeelsonError.hasCode(error, 'OUTCOME_UNKNOWN', 'NOT_LEADER'), String(error))
            }
          }
          await cluster.sleep(10)
        }
        over = true
        await tormented
        await cluster.converged(names)
        for (const name of names) assert.equal(cluster.node(name).value('b'), 150)
      })
    }
  })

  test('without an id is unknown when its answer is lost, and never done twice', async () => {
    const cluster = new Cluster({ host: { forwardProposals: true } })
    await cluster.run(async () => {
      const { leader, follower } = await setUp(cluster)
      const lost = follower.group().propose(utf8('a+1'))
      await cluster.sleep(0.05)
      cluster.network.breakConnections(follower.name, leader.name)
      await assert.rejects(lost, { code: 'OUTCOME_UNKNOWN' })
      await cluster.sleep(500)
      assert.ok((leader.value('a') ?? 0) <= 1)
      // A leader that is cut off is not asked for ever.
      const others = [...cluster.nodes.values()].filter((node) => node !== follower)
      for (const node of others) node.crash('power')
      const late = follower.group().propose(utf8('a+1'))
      await assert.rejects(late, (error) => KeelsonError.hasCode(error, 'OUTCOME_UNKNOWN', 'NOT_LEADER'))
      await assert.rejects(follower.group().propose(utf8('a+1')), { code: 'NOT_LEADER' })
    })
  })

  test('does not end with the answer to one of the life before', async () => {
    const cluster = new Cluster({ host: { forwardProposals: true }, raft: { electionTimeoutMs: 2_000 } })
    await cluster.run(async () => {
      const { leader, follower } = await setUp(cluster)
      const third = [...cluster.nodes.values()].find((node) => node !== leader && node !== follower)
      third?.crash('power')
      // The leader has the command, but it is not committed before the disk goes on.
      const goOn = leader.disk.stall()
      follower
        .group()
        .propose(utf8('a+1'))
        .catch(() => {})
      await cluster.sleep(20)
      follower.crash('kill')
      await cluster.sleep(5)
      await follower.restart()
      await cluster.until(() => follower.group().status().leader !== undefined, 'a leader that is known')
      const second = follower.group().propose(utf8('b+10'))
      await cluster.sleep(20)
      goOn()
      assert.equal(text(await second), '10')
      await cluster.until(() => leader.value('a') === 1, 'the first one')
    })
  })

  test('of somebody who is no member is not taken', async () => {
    const cluster = new Cluster({ host: { forwardProposals: true } })
    await cluster.run(async () => {
      const { leader, follower } = await setUp(cluster)
      await cluster.add('n4')
      const { replicaId, term } = leader.group().status()
      const forge = async (from: number, node: ClusterNode): Promise<void> => {
        const packer = new FramePacker(leader.store.incarnation)
        const data = encodeEnvelope(utf8('a+1'), 0, undefined, 0)
        const message = {
          kind: 'forward',
          from,
          to: replicaId,
          term,
          forwardId: 7,
          entryKind: 1,
          data,
        } as const
        packer.add(1, message)
        node.channel.send(leader.name, packer.finish())
        await cluster.sleep(100)
      }
      const stranger = cluster.node('n4')
      await forge(99, stranger)
      await forge(follower.group().status().replicaId, stranger)
      assert.equal(leader.value('a'), 0)
      // Nor one that was a member once and has not heard yet that it is none any more.
      const heal = cluster.conditions.partition(isolate(follower.name, names))
      const removed = follower.group().status().replicaId
      await leader.group().changeMembership({ type: 'remove', replicaId: removed })
      heal()
      await forge(removed, follower)
      assert.equal(leader.value('a'), 0)
      await forge(replicaId, stranger)
      assert.equal(leader.value('a'), 0)
    })
  })

  test('or anything else, is not taken from a client, which speaks for no replica', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const { leader } = await setUp(cluster)
      const visitor = cluster.simulation.process('visitor')
      const transport = await cluster.network.factory(visitor, { listen: false })({
        env: visitor.environment,
        clusterId: 'test',
        self: { nodeId: 'visitor', incarnation: 1, role: 'client' },
        resolve: cluster.network.resolve,
      })
      const channel = transport.channel('raft', { traffic: 'control' })
      const { replicaId, term, lastIndex } = leader.group().status()
      const packer = new FramePacker(leader.store.incarnation)
      const header = { from: 98, to: replicaId, term: term + 1 }
      packer.add(1, { kind: 'vote', ...header, lastIndex, lastTerm: term, transfer: true })
      assert.ok(channel.send(leader.name, packer.finish()))
      await cluster.sleep(100)
      assert.deepEqual([leader.group().status().role, leader.group().status().term], ['leader', term])
      await transport.close()
    })
  })

  test('goes one hop and no further', async () => {
    const cluster = new Cluster({ host: { forwardProposals: true } })
    await cluster.run(async () => {
      const { leader, follower } = await setUp(cluster)
      const third = [...cluster.nodes.values()].find((node) => node !== leader && node !== follower)
      assert.ok(third !== undefined)
      let forwards = 0
      const send = third.channel.send.bind(third.channel)
      third.channel.send = (peer, bytes) => {
        if (peer === leader.name) forwards++
        return send(peer, bytes)
      }
      await cluster.sleep(1)
      // The follower takes the third one for the leader: it is told better.
      const packer = new FramePacker(third.store.incarnation)
      const header = {
        from: follower.group().status().replicaId,
        to: third.group().status().replicaId,
        term: follower.group().status().term,
      }
      const before = forwards
      const data = encodeEnvelope(utf8('a+1'), 0, undefined, 0)
      packer.add(1, { kind: 'forward', ...header, forwardId: 1, entryKind: 1, data })
      follower.channel.send(third.name, packer.finish())
      await cluster.sleep(5)
      assert.ok(forwards - before <= 1, 'a heartbeat at most')
      await cluster.sleep(200)
      assert.equal(leader.value('a'), 0)
    })
  })

  test('is refused by a leader when its log could not be read, or when it has too much to do', async () => {
    const cluster = new Cluster({
      host: { forwardProposals: true },
      limits: { maximumPendingProposals: 3, maximumForwarded: 6 },
    })
    await cluster.run(async () => {
      const { leader, follower } = await setUp(cluster)
      const { replicaId, term } = follower.group().status()
      for (const [entryKind, data] of [
        [1, new Uint8Array([77, 0])],
        [2, new Uint8Array(4)],
        [3, utf8('nonsense')],
        [1, new Uint8Array(0)],
      ] as const) {
        const packer = new FramePacker(leader.store.incarnation)
        const header = { from: replicaId, to: leader.group().status().replicaId, term }
        packer.add(1, { kind: 'forward', ...header, forwardId: 99, entryKind, data })
        follower.channel.send(leader.name, packer.finish())
      }
      await cluster.sleep(50)
      assert.equal(leader.group().status().stopped, undefined)
      const goOn = leader.disk.stall()
      const outcomes = await Promise.allSettled(
        Array.from({ length: 8 }, async (_, i) => {
          if (i === 6) goOn()
          return follower.group().propose(utf8('a+1'))
        }),
      )
      const codes = outcomes.map((o) => (o.status === 'fulfilled' ? 'done' : (o.reason as KeelsonError).code))
      assert.deepEqual(codes, [
        'done',
        'done',
        'done',
        'OVERLOADED',
        'OVERLOADED',
        'OVERLOADED',
        'OVERLOADED',
        'OVERLOADED',
      ])
    })
  })

  test('says when it is too large, or its result is', async () => {
    const cluster = new Cluster({ host: { forwardProposals: true }, maximumMessageBytes: 8 << 10 })
    await cluster.run(async () => {
      const { leader, follower } = await setUp(cluster)
      await assert.rejects(follower.group().propose(new Uint8Array(9 << 10)), {
        code: 'LIMIT_EXCEEDED',
        outcome: 'none',
      })
      const machine = leader.machines.get(1)
      assert.ok(machine !== undefined)
      const apply = machine.apply.bind(machine)
      machine.apply = async (commands, seal) =>
        apply(commands, (results) => seal(results.map((r) => (r.length === 3 ? new Uint8Array(9 << 10) : r))))
      await assert.rejects(follower.group().propose(utf8('a+100')), {
        code: 'LIMIT_EXCEEDED',
        outcome: 'unknown',
        message: /took effect/,
      })
      assert.equal(leader.value('a'), 100)
    })
  })

  test('can be given up', async () => {
    const cluster = new Cluster({ host: { forwardProposals: true } })
    await cluster.run(async () => {
      const { follower } = await setUp(cluster)
      const controller = new AbortController()
      const early = follower.group().propose(utf8('a+1'), { signal: controller.signal })
      controller.abort()
      await assert.rejects(early, { code: 'ABORTED', outcome: 'none' })
      const second = new AbortController()
      const late = follower.group().propose(utf8('a+1'), { signal: second.signal })
      await cluster.sleep(0.1)
      second.abort()
      await assert.rejects(late, { code: 'ABORTED', outcome: 'unknown' })
      const open = follower.group().propose(utf8('a+1'))
      await cluster.sleep(0.1)
      await follower.host.close()
      await assert.rejects(open, { code: 'OUTCOME_UNKNOWN' })
    })
  })
})
