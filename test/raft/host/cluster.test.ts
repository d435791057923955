import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { LeaseToken } from '../../../src/raft/group/group-types.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']

function others(cluster: Cluster, node: ClusterNode): ClusterNode[] {
  return [...cluster.nodes.values()].filter((other) => other !== node)
}

suite('proposals', () => {
  test('three nodes elect a leader and replicate commands', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      const group = leader.group()
      assert.equal(text(await group.propose(utf8('a+1'))), '1')
      const results = await Promise.all([1, 2, 3].map(async (n) => group.propose(utf8(`a+${n}`))))
      assert.deepEqual(results.map(text), ['2', '4', '7'])
      await cluster.converged(names)
      for (const node of cluster.nodes.values()) {
        assert.equal(node.value('a'), 7)
        assert.deepEqual(node.group().status().leader?.nodeId, leader.name)
      }
      const status = group.status()
      assert.equal(status.role, 'leader')
      assert.equal(status.sequence, status.term)
      assert.equal(status.configuration?.generation, 1)
      assert.equal(status.progress.size, 2)
    })
  })

  test('a group of one node commits alone', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap(['n1'])
      await cluster.leader()
      assert.equal(await cluster.propose('a+5'), '5')
    })
  })

  test('proposals of one turn are appended together and become one write', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      await cluster.propose('a+1')
      const { store } = leader
      let writes = 0
      const write = store.write.bind(store)
      store.write = async (batch) => {
        if (batch.some((each) => (each.entries ?? []).length > 0)) writes++
        return write(batch)
      }
      await Promise.all(Array.from({ length: 500 }, async () => leader.group().propose(utf8('a+1'))))
      assert.equal(writes, 1)
      assert.equal(leader.value('a'), 501)
    })
  })

  test('a follower refuses with the leader as a hint', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      await cluster.propose('a+1')
      await cluster.converged(names)
      const follower = others(cluster, leader)[0] as ClusterNode
      for (const call of [
        async () => follower.group().propose(utf8('a+1')),
        async () => follower.group().read(),
      ]) {
        await assert.rejects(call, (error) => {
          assert.ok(KeelsonError.hasCode(error, 'NOT_LEADER'))
          assert.equal(error.outcome, 'none')
          assert.equal(error.details['leaderNodeId'], leader.name)
          return true
        })
      }
      assert.equal(follower.group().token(), undefined)
    })
  })

  test('a command with an id takes effect once, also when its leader dies under it', async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const cluster = new Cluster({ seed })
      await cluster.run(async () => {
        await cluster.bootstrap()
        const leader = await cluster.leader()
        const session = await leader.group().openSession()
        const commandId = { session, sequence: 1 }
        const first = leader.group().propose(utf8('a+1'), { commandId })
        first.catch(() => {})
        await cluster.sleep(seed)
        leader.crash(seed % 2 === 0 ? 'kill' : 'power')
        assert.equal(await cluster.propose('a+1', { commandId }), '1')
        assert.equal(await cluster.propose('a+1', { commandId }), '1')
        assert.equal(await cluster.propose('b+1', { commandId: { session, sequence: 2 } }), '1')
        await leader.restart()
        await cluster.converged(names)
        for (const node of cluster.nodes.values())
          assert.equal(node.value('a'), 1, `${node.name} seed ${seed}`)
      })
    }
  })

  test('proposals of a lost leadership end, also when it is regained', async () => {
    const cluster = new Cluster({ limits: { lostLeadershipGraceMs: 5_000 } })
    await cluster.run(async () => {
      await cluster.bootstrap()
      const old = await cluster.leader()
      await cluster.propose('a+1')
      await cluster.converged(names)
      const heal = cluster.conditions.partition(isolate(old.name, names))
      const open = Array.from({ length: 30 }, async () => old.group().propose(utf8('a+100')))
      const outcomes = Promise.allSettled(open)
      await cluster.until(() => (cluster.serving() ?? old) !== old, 'a new leader')
      heal()
      const next = await cluster.leader()
      await cluster.until(
        () => old.group().status().term === next.group().status().term,
        'the old one follows',
      )
      await next.group().transferLeadership(old.group().status().replicaId)
      await cluster.until(() => cluster.serving() === old, 'the old one leads again')
      for (const outcome of await outcomes) {
        assert.ok(
          outcome.status === 'rejected' &&
            KeelsonError.hasCode(outcome.reason, 'OUTCOME_UNKNOWN', 'NOT_LEADER'),
        )
      }
      await cluster.converged(names)
      for (const name of names) assert.equal(cluster.node(name).value('a'), 1)
    })
  })

  test('an unknown session is refused and says that nothing is known', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const { name } = await cluster.leader()
      const group = cluster.node(name).group()
      const session = await group.openSession()
      await group.closeSessions([session])
      await assert.rejects(group.propose(utf8('a+1'), { commandId: { session, sequence: 1 } }), {
        code: 'SESSION_UNKNOWN',
        outcome: 'unknown',
      })
      await assert.rejects(group.propose(utf8('a+1'), { commandId: { session, sequence: 0 } }), {
        code: 'INVALID_ARGUMENT',
      })
    })
  })

  test('results of sessions are trimmed through the log', async () => {
    const cluster = new Cluster({
      limits: { resultBytesPerSession: 600, totalResultBytes: 1000, resultsPerSession: 10_000 },
    })
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      const group = leader.group()
      const session = await group.openSession()
      for (let from = 1; from <= 2048; from += 256) {
        await Promise.all(
          Array.from({ length: 256 }, async (_, i) =>
            group.propose(utf8('a+1'), { commandId: { session, sequence: from + i } }),
          ),
        )
      }
      await cluster.converged(names)
      for (const node of cluster.nodes.values()) {
        const { sessions } = (node.group().replica as NonNullable<typeof group.replica>).applier
        assert.ok(sessions.bytes <= 600 + 1024 * 4, `${sessions.bytes} bytes`)
      }
      await assert.rejects(group.propose(utf8('a+1'), { commandId: { session, sequence: 1 } }), {
        code: 'SESSION_UNKNOWN',
      })
      assert.equal(leader.value('a'), 2048)
    })
  })

  test('too many or too large proposals are refused', async () => {
    const cluster = new Cluster({ limits: { maximumPendingProposals: 10, maximumPendingBytes: 1000 } })
    await cluster.run(async () => {
      await cluster.bootstrap()
      const group = (await cluster.leader()).group()
      const open = Array.from({ length: 10 }, async () => group.propose(utf8('a+1')))
      await assert.rejects(group.propose(utf8('a+1')), { code: 'OVERLOADED', outcome: 'none' })
      await Promise.all(open)
      const wide = group.propose(utf8(`a${' '.repeat(900)}+1`))
      await assert.rejects(group.propose(utf8(`a${' '.repeat(900)}+1`)), { code: 'OVERLOADED' })
      await wide
      assert.equal(text(await group.propose(utf8('a+1'))), '11')
      await assert.rejects(group.propose(new Uint8Array(3 << 20)), { code: 'LIMIT_EXCEEDED' })
    })
  })

  test('an aborted proposal says whether it may still take effect', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const group = (await cluster.leader()).group()
      const early = new AbortController()
      const never = group.propose(utf8('a+1'), { signal: early.signal })
      early.abort()
      await assert.rejects(never, { code: 'ABORTED', outcome: 'none' })
      const late = new AbortController()
      const sent = group.propose(utf8('b+1'), { signal: late.signal })
      await cluster.sleep(0.01)
      late.abort()
      await assert.rejects(sent, { code: 'ABORTED', outcome: 'unknown' })
      assert.equal(text(await group.propose(utf8('b+1'))), '2')
      assert.equal(text(await group.propose(utf8('a+1'))), '1')
      await assert.rejects(group.propose(utf8('a+1'), { signal: AbortSignal.abort() }), { code: 'ABORTED' })
    })
  })
})

suite('lease tokens', () => {
  test('a command of a deposed leader has no effect', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const old = await cluster.leader()
      const token = old.group().token() as LeaseToken
      assert.equal(text(await old.group().propose(utf8('a+1'), { token })), '1')
      const heal = cluster.conditions.partition(isolate(old.name, names))
      const late = old.group().propose(utf8('a+100'), { token })
      const outcome = late.then(
        () => 'done',
        (error: unknown) => (KeelsonError.is(error) ? error.code : 'other'),
      )
      await cluster.until(() => cluster.serving() !== undefined && cluster.serving() !== old, 'a new leader')
      const next = await cluster.leader()
      const newer = next.group().token() as LeaseToken
      assert.ok(newer.sequence > token.sequence)
      await assert.rejects(next.group().propose(utf8('a+100'), { token }), {
        code: 'STALE_SEQUENCE',
        outcome: 'none',
      })
      assert.equal(text(await next.group().propose(utf8('a+1'), { token: newer })), '2')
      heal()
      assert.ok(['OUTCOME_UNKNOWN', 'NOT_LEADER'].includes(await outcome))
      await cluster.until(() => old.group().status().term === newer.sequence, 'the old leader follows')
      assert.equal(old.group().token(), undefined)
      await cluster.converged(names)
      assert.equal(old.value('a'), 2)
      await assert.rejects(next.group().propose(utf8('a+1'), { token: { groupId: 2, sequence: 1 } }), {
        code: 'INVALID_ARGUMENT',
      })
    })
  })

  test('a leader that was stopped wakes up with an old token, and nothing comes of it', async () => {
    for (let seed = 1; seed <= 4; seed++) {
      const cluster = new Cluster({ seed })
      await cluster.run(async () => {
        await cluster.bootstrap()
        const old = await cluster.leader()
        const token = old.group().token() as LeaseToken
        await old.group().propose(utf8('a+1'), { token })
        old.process.pause()
        await cluster.until(() => (cluster.serving() ?? old) !== old, 'a new leader')
        const next = await cluster.leader()
        const newer = next.group().token() as LeaseToken
        await next.group().propose(utf8('a+1'), { token: newer })
        old.process.resume()
        // It believes to lead until it hears otherwise, so these calls are taken or refused, but never done.
        const late = await Promise.allSettled([
          old.group().propose(utf8('a+100'), { token }),
          old.group().propose(utf8('a+100')),
          old.group().read(),
        ])
        for (const outcome of late) assert.equal(outcome.status, 'rejected')
        await cluster.converged(names)
        for (const name of names) assert.equal(cluster.node(name).value('a'), 2)
      })
    }
  })

  test('a command with an id learns from the log that its token ran out', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const old = await cluster.leader()
      const token = old.group().token() as LeaseToken
      const session = await old.group().openSession()
      const commandId = { session, sequence: 1 }
      assert.equal(text(await old.group().propose(utf8('a+1'), { token, commandId })), '1')
      const to = old
        .group()
        .status()
        .configuration?.replicas.find((r) => r.nodeId !== old.name)
      await old.group().transferLeadership(to?.replicaId as number)
      const next = await cluster.leader()
      assert.notEqual(next, old)
      assert.equal(text(await next.group().propose(utf8('a+1'), { token, commandId })), '1')
      await assert.rejects(
        next.group().propose(utf8('a+1'), { token, commandId: { session, sequence: 2 } }),
        {
          code: 'STALE_SEQUENCE',
        },
      )
    })
  })

  test('the token event tells when a replica may serve and when no more', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.add(...names)
      const events: string[] = []
      const replicas = cluster.replicas(names)
      for (const name of names) {
        const node = cluster.node(name)
        const group = await node.host.bootstrap(1, { replicas, stateMachine: node.machine() })
        group.on('token', (token) => {
          events.push(`${name} ${token?.sequence ?? 'none'}`)
          assert.equal(group.token()?.sequence, token?.sequence)
        })
      }
      const leader = await cluster.leader()
      const { sequence } = leader.group().token() as LeaseToken
      assert.deepEqual(events, [`${leader.name} ${sequence}`])
      cluster.conditions.partition(isolate(leader.name, names))
      await cluster.until(() => leader.group().token() === undefined, 'the isolated leader steps down')
      assert.ok(events.includes(`${leader.name} none`))
    })
  })
})

suite('reads', () => {
  test('a read barrier sees what was acknowledged before', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      for (let i = 1; i <= 5; i++) {
        const write = leader.group().propose(utf8('a+1'))
        await write
        await Promise.all([leader.group().read(), leader.group().read()])
        assert.equal(leader.value('a'), i)
      }
    })
  })

  test('a deposed leader cannot confirm a read', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const old = await cluster.leader()
      cluster.conditions.partition(isolate(old.name, names))
      await assert.rejects(old.group().read(), { code: 'NOT_LEADER' })
      const signal = new AbortController()
      const next = await cluster.leader()
      await next.group().read()
      const waiting = next.group().read({ signal: signal.signal })
      signal.abort()
      await assert.rejects(waiting, { code: 'ABORTED' })
    })
  })
})

suite('crashes', () => {
  test('nothing acknowledged is lost when all nodes lose power again and again', async () => {
    for (let seed = 1; seed <= 4; seed++) {
      const cluster = new Cluster({ seed, limits: { compactAfterEntries: 40, keptEntries: 5 } })
      await cluster.run(async () => {
        await cluster.bootstrap()
        const leader = await cluster.leader()
        const session = await leader.group().openSession()
        let sequence = 0
        for (let round = 0; round < 6; round++) {
          for (let i = 0; i < 25; i++) {
            const result = await cluster.propose('a+1', { commandId: { session, sequence: ++sequence } })
            assert.equal(result, String(sequence), `seed ${seed}`)
          }
          for (const node of cluster.nodes.values()) node.crash('power')
          for (const node of cluster.nodes.values()) await node.restart()
        }
        await cluster.leader()
        await cluster.converged(names)
        for (const node of cluster.nodes.values()) {
          assert.equal(node.value('a'), sequence)
          assert.equal(node.group().status().quarantined, false)
        }
      })
    }
  })

  test('a leader that dies is replaced', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const first = await cluster.leader()
      await cluster.propose('a+1')
      const diedAt = cluster.simulation.nowMs
      first.crash('kill')
      await cluster.until(() => (cluster.serving() ?? first) !== first, 'a new leader')
      assert.ok(cluster.simulation.nowMs - diedAt < 150, `${cluster.simulation.nowMs - diedAt} ms`)
      await first.restart()
      assert.equal(await cluster.propose('a+1'), '2')
      await cluster.converged(names)
    })
  })

  test('a process that was stopped lets waiting heartbeats in before it campaigns', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      await cluster.propose('a+1')
      await cluster.converged(names)
      const { term } = leader.group().status()
      const follower = others(cluster, leader)[0] as ClusterNode
      const roles: string[] = []
      follower.group().on('leadership', ({ role }) => roles.push(role))
      follower.process.pause()
      await cluster.sleep(800)
      follower.process.resume()
      await cluster.sleep(500)
      assert.deepEqual(roles, [])
      assert.equal(leader.group().status().term, term)
    })
  })

  test('a store that fails stops all groups of its node, loudly', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap(names, 1)
      await cluster.bootstrap(names, 2)
      const leader = await cluster.leader(1)
      const stopped: string[] = []
      leader.host.on('stopped', (error) => stopped.push(`host ${error.code}`))
      for (const id of [1, 2]) leader.group(id).on('stopped', (error) => stopped.push(`${id} ${error.code}`))
      leader.disk.setQuality({ syncFailureProbability: 1 })
      const outcomes = await Promise.allSettled([
        leader.group(1).propose(utf8('a+1')),
        leader
          .group(1)
          .read()
          .then(async () => leader.group(1).propose(utf8('a+1'))),
      ])
      assert.ok(
        outcomes.some((o) => o.status === 'rejected' && KeelsonError.hasCode(o.reason, 'OUTCOME_UNKNOWN')),
      )
      await cluster.until(() => stopped.length === 3, 'events')
      assert.deepEqual(stopped, ['1 STORE_POISONED', '2 STORE_POISONED', 'host STORE_POISONED'])
      await assert.rejects(leader.group(2).propose(utf8('a+1')), { code: 'STORE_POISONED' })
      await assert.rejects(leader.host.openGroup(3, { stateMachine: leader.machine(3) }), {
        code: 'STORE_POISONED',
      })
      assert.equal(leader.group(1).status().stopped?.code, 'STORE_POISONED')
      const next = await cluster.leader(1)
      assert.notEqual(next, leader)
      assert.ok(Number(await cluster.propose('a+1')) >= 1)
      await leader.host.close()
    })
  })

  test('a state machine that throws stops its replica, and nothing else', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap(names, 1)
      await cluster.bootstrap(names, 2)
      const leader = await cluster.leader(1)
      await assert.rejects(leader.group(1).propose(utf8('!')), { code: 'OUTCOME_UNKNOWN' })
      await cluster.until(
        () => names.filter((name) => cluster.node(name).group(1).status().stopped !== undefined).length >= 2,
        'each leader that commits the command stops',
      )
      assert.equal(await cluster.propose('a+1', { groupId: 2 }), '1')
    })
  })

  test('closing while busy ends every call and leaves what was acknowledged', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      const session = await leader.group().openSession()
      const calls = Array.from({ length: 50 }, async (_, i) =>
        leader.group().propose(utf8('a+1'), { commandId: { session, sequence: i + 1 } }),
      )
      const reads = Array.from({ length: 3 }, async () => leader.group().read())
      await cluster.sleep(1)
      const closing = Promise.all([leader.host.close(), leader.host.close()])
      const settled = await Promise.allSettled([...calls, ...reads])
      for (const each of settled) {
        if (each.status === 'fulfilled') continue
        assert.ok(KeelsonError.hasCode(each.reason, 'OUTCOME_UNKNOWN', 'CLOSED'), String(each.reason))
      }
      await closing
      const setup = { replicas: cluster.replicas(names), stateMachine: leader.machine(9) }
      await assert.rejects(leader.host.bootstrap(9, setup), { code: 'CLOSED' })
      await leader.transport.close()
      for (let i = 0; i < 50; i++) await cluster.propose('a+1', { commandId: { session, sequence: i + 1 } })
      const next = await cluster.leader()
      assert.equal(next.value('a'), 50)
    })
  })
})
