import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../../src/core/bytes.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import { makeConfiguration } from '../../../src/raft/core/configuration.ts'
import { type GroupReport, planRecovery } from '../../../src/raft/group/lost-quorum.ts'
import { type GroupRecovery, inspectGroup, recoverGroup } from '../../../src/raft/host/recover-group.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3', 'n4', 'n5']
const acknowledged = { acceptDataLoss: true, confirm: 'recover group 1' }

async function inspectAll(nodes: readonly ClusterNode[]): Promise<GroupReport[]> {
  const reports: GroupReport[] = []
  // As it is carried from node to node.
  for (const node of nodes) reports.push(JSON.parse(JSON.stringify(await inspectGroup(node.offline()))))
  return reports
}

async function recoverAll(nodes: readonly ClusterNode[]): Promise<GroupRecovery[]> {
  const survivors = await inspectAll(nodes)
  const recoveries: GroupRecovery[] = []
  for (const node of nodes) {
    recoveries.push(await recoverGroup({ ...node.offline(), survivors, ...acknowledged }))
  }
  return recoveries
}

/** Five nodes of which a leader and two more are gone. */
async function loseThree(cluster: Cluster): Promise<{ lost: ClusterNode[]; survivors: ClusterNode[] }> {
  await cluster.bootstrap(names)
  for (let i = 1; i <= 10; i++) await cluster.propose('a+1')
  await cluster.converged(names)
  const leader = await cluster.leader()
  const nodes = [...cluster.nodes.values()]
  const lost = [leader, ...nodes.filter((node) => node !== leader).slice(0, 2)]
  for (const node of lost) node.crash('power')
  const survivors = nodes.filter((node) => !lost.includes(node))
  await cluster.sleep(1_000)
  assert.equal(cluster.serving(), undefined, 'nobody serves')
  for (const node of survivors) await node.stop()
  return { lost, survivors }
}

function metric(node: ClusterNode): string {
  return (node.env.metrics as unknown as { text(): string }).text()
}

suite('a group that lost its quorum', () => {
  test('goes on with the survivors, and the lost ones that come back are no part of it', async () => {
    for (let seed = 1; seed <= 3; seed++) {
      const cluster = new Cluster({ seed })
      await cluster.run(async () => {
        const { lost, survivors } = await loseThree(cluster)
        const [first, second] = await recoverAll(survivors)
        assert.ok(first !== undefined && first.recoveryGeneration > 0)
        assert.deepEqual(first.configuration, second?.configuration)
        assert.deepEqual(
          first.configuration.replicas.map(({ nodeId, role }) => [nodeId, role]),
          survivors.map(({ name }) => [name, 'voter']),
        )
        assert.equal(first.repeated, false)
        for (const node of survivors) await node.startAgain()
        assert.equal(await cluster.propose('a+1'), '11')
        const leader = await cluster.leader()
        assert.equal(leader.group().status().recoveryGeneration, first.recoveryGeneration)
        assert.equal(leader.group().status().configuration?.replicas.length, 2)

        // Two of the lost have each other again, but not a quorum of what they knew.
        const back = lost.slice(0, 2)
        const stopped: string[] = []
        for (const node of back) {
          node.process.restart()
          await node.start()
          const group = await node.host.openGroup(1, { stateMachine: node.machine() })
          group.on('stopped', ({ code }) => stopped.push(`${node.name} ${code}`))
        }
        await cluster.until(() => stopped.length === 2, 'they hear of it')
        assert.deepEqual(
          stopped.sort(),
          back.map(({ name }) => `${name} SUPERSEDED`).sort(),
          'they stop with a name for it',
        )
        assert.equal(await cluster.propose('a+1'), '12')
        for (const node of back) {
          await cluster.until(() => node.host.stored().get(1)?.superseded === true, 'it is stored')
          await assert.rejects(node.group().propose(utf8('a+1')), { code: 'SUPERSEDED' })
          await cluster.sleep(50)
          node.crash('power')
          node.process.restart()
          await node.start()
          await assert.rejects(node.host.openGroup(1, { stateMachine: node.machine() }), {
            code: 'SUPERSEDED',
          })
        }
        assert.match(metric(leader), /dropped_total\{reason="superseded"\}/)

        // They get a new replica like any other node.
        for (const node of back) {
          await node.host.destroyGroup(1, { stateMachine: node.machine() })
          assert.equal(node.host.stored().get(1)?.recoveryGeneration, first.recoveryGeneration)
          await node.host.awaitGroup(1, { stateMachine: node.machine() })
          const group = (await cluster.leader()).group()
          const { incarnation } = node.store
          await group.changeMembership({ type: 'addLearner', nodeId: node.name, incarnation })
        }
        await cluster.converged([...survivors, ...back].map(({ name }) => name))
        for (const node of back) assert.equal(node.value('a'), 12)
      })
    }
  })

  test('one survivor of three is enough, and is all there is', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const three = ['n1', 'n2', 'n3']
      await cluster.bootstrap(three)
      await cluster.propose('a+5')
      await cluster.converged(three)
      for (const name of ['n2', 'n3']) cluster.node(name).crash('power')
      const n1 = cluster.node('n1')
      await n1.stop()
      const [recovery] = await recoverAll([n1])
      assert.equal(recovery?.configuration.replicas.length, 1)
      await n1.startAgain()
      assert.equal(await cluster.propose('a+1'), '6')
      // It can be lost and recovered, but not by itself: it is its own quorum.
      await n1.stop()
      await assert.rejects(recoverAll([n1]), { code: 'INVALID_ARGUMENT', message: /are a quorum/ })
    })
  })

  test('keeps all that any survivor knows to be committed, and says what may be lost', async () => {
    const cluster = new Cluster({ limits: { compactAfterEntries: 20, keptEntries: 3 } })
    await cluster.run(async () => {
      await cluster.bootstrap(names)
      await cluster.propose('a+1')
      await cluster.converged(names)
      const leader = await cluster.leader()
      const [behind, ahead, ...rest] = [...cluster.nodes.values()].filter((node) => node !== leader)
      assert.ok(behind !== undefined && ahead !== undefined)
      // One survivor is far behind, the other one only a little.
      const heal = cluster.conditions.partition(isolate(behind.name, names))
      for (let i = 2; i <= 100; i++) await cluster.propose('a+1')
      await cluster.until(() => ahead.value('a') === 100, 'the other one follows')
      const healBoth = cluster.conditions.partition(isolate(ahead.name, names))
      for (let i = 101; i <= 103; i++) assert.equal(await cluster.propose('a+1'), String(i))
      const { lastIndex } = leader.group().status()
      for (const node of [leader, ...rest]) node.crash('power')
      heal()
      healBoth()
      for (const node of [behind, ahead]) await node.stop()
      const [recovery] = await recoverAll([behind, ahead])
      assert.equal(recovery?.source.nodeId, ahead.name)
      assert.ok(recovery.lastIndex < lastIndex, 'what the others had committed is lost, and it says so')
      for (const node of [behind, ahead]) await node.startAgain()
      assert.equal(await cluster.propose('a+1'), '101')
      await cluster.converged([behind.name, ahead.name])
      assert.equal(behind.value('a'), 101)
      // The lost leader had more. Nothing of it comes back.
      await leader.restart()
      await cluster.until(() => leader.group().status().stopped?.code === 'SUPERSEDED', 'it hears of it')
      assert.equal(await cluster.propose('a+1'), '102')
      await cluster.converged([behind.name, ahead.name])
      assert.equal(ahead.value('a'), 102)
    })
  })

  test('a survivor that was interrupted is completed by doing it again', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const { survivors } = await loseThree(cluster)
      const reports = await inspectAll(survivors)
      const [one, two] = survivors as [ClusterNode, ClusterNode]
      const options = { survivors: reports, ...acknowledged }
      await recoverGroup({ ...one.offline(), ...options })
      one.crash('power')
      one.process.restart()
      const again = await recoverGroup({ ...one.offline(), ...options })
      assert.equal(again.repeated, true)
      // Alone it has no quorum, and the other one does not listen to it before it is brought along.
      await one.startAgain()
      await two.startAgain()
      await cluster.sleep(2_000)
      assert.equal(cluster.serving(), undefined)
      assert.equal(two.group().status().stopped?.code, 'SUPERSEDED')
    })
  })

  test('is not recovered by mistake', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap(names)
      await cluster.propose('a+1')
      await cluster.converged(names)
      const [n1, n2, n3] = names.map((name) => cluster.node(name)) as [ClusterNode, ClusterNode, ClusterNode]
      await assert.rejects(inspectGroup(n1.offline()), { code: 'DIRECTORY_LOCKED' })
      for (const name of ['n4', 'n5']) cluster.node(name).crash('power')
      for (const node of [n1, n2, n3]) await node.stop()
      const reports = await inspectAll([n1, n2, n3])
      const two = reports.slice(0, 2)
      const recover = async (
        node: ClusterNode,
        changes: Partial<Parameters<typeof recoverGroup>[0]>,
      ): Promise<GroupRecovery> =>
        recoverGroup({ ...node.offline(), survivors: two, ...acknowledged, ...changes })

      await assert.rejects(recover(n1, { acceptDataLoss: false }), {
        code: 'INVALID_ARGUMENT',
        message: /confirm: 'recover group 1'/,
      })
      await assert.rejects(recover(n1, { confirm: 'recover group 2' }), { code: 'INVALID_ARGUMENT' })
      await assert.rejects(recover(n1, { survivors: reports }), { message: /are a quorum/ })
      await assert.rejects(recover(n1, { survivors: [] }), { message: /no survivor/ })
      await assert.rejects(recover(n3, {}), { message: /have none of replica 3/ })
      await assert.rejects(recover(n1, { groupId: 2, confirm: 'recover group 2' }), { message: /not of 2/ })
      await assert.rejects(recoverGroup({ ...n1.offline(), ...acknowledged, survivor: two } as never), {
        code: 'INVALID_OPTION',
      })
      await assert.rejects(inspectGroup(n1.offline(7)), { code: 'NOT_FOUND' })
      // It ran since: what its report says is out of date.
      const healed = cluster.conditions.partition(isolate('n1', names))
      await n1.startAgain()
      await cluster.sleep(3_000)
      await n1.stop()
      healed()
      const store = await n1.openLog()
      await store.write([{ groupId: 1, hardState: { term: 50, votedFor: 0, commit: 1 } }])
      await store.close()
      await assert.rejects(recover(n1, {}), { code: 'CONFLICT', message: /\(term, commitIndex\)/ })
      // None of it changed anything.
      for (const node of [n1, n2, n3]) await node.startAgain()
      assert.equal(await cluster.propose('a+1'), '2')
      assert.equal(n1.group().status().recoveryGeneration, 0)
    })
  })

  test('a recovered group loses its quorum again', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const { lost, survivors } = await loseThree(cluster)
      const [before] = await recoverAll(survivors)
      for (const node of survivors) await node.startAgain()
      assert.equal(await cluster.propose('a+1'), '11')
      await cluster.converged(survivors.map(({ name }) => name))
      const [one, two] = survivors as [ClusterNode, ClusterNode]
      two.crash('power')
      await one.stop()
      const [second] = await recoverAll([one])
      assert.ok((second?.recoveryGeneration ?? 0) > (before?.recoveryGeneration ?? Infinity))
      await one.startAgain()
      assert.equal(await cluster.propose('a+1'), '12')
      for (const node of [two, lost[0] as ClusterNode]) {
        await node.restart()
        await cluster.until(() => node.group().status().stopped?.code === 'SUPERSEDED', 'it hears of it')
      }
    })
  })
})

suite('a plan of recovery', () => {
  const voters = (...ids: number[]): ReplicaDescriptor[] =>
    ids.map((replicaId) => ({ replicaId, nodeId: `n${replicaId}`, incarnation: replicaId, role: 'voter' }))
  const report = (replicaId: number, changes: Partial<GroupReport> = {}): GroupReport => ({
    groupId: 1,
    nodeId: `n${replicaId}`,
    incarnation: replicaId,
    replicaId,
    recoveryGeneration: 0,
    term: 7,
    commitIndex: 10,
    appliedIndex: 10,
    lastIndex: 20,
    lastTerm: 5,
    terms: [
      { index: 0, term: 0 },
      { index: 1, term: changes.lastTerm ?? 5 },
    ],
    quarantined: false,
    configuration: makeConfiguration(3, voters(1, 2, 3, 4, 5)),
    ...changes,
  })

  test('takes the log that would win an election, and a term above all', () => {
    const terms = [
      { index: 8, term: 4 },
      { index: 9, term: 5 },
      { index: 12, term: 6 },
    ]
    const reports = [report(1, { lastIndex: 90 }), report(2, { lastTerm: 6, lastIndex: 12, terms, term: 9 })]
    const plan = planRecovery(reports)
    assert.equal(plan.source.replicaId, 2)
    assert.equal(plan.configurationIndex, 13)
    assert.equal(plan.term, 10)
    assert.deepEqual(planRecovery(reports.reverse()), plan, 'whatever the order of the reports')
    assert.equal(planRecovery([report(4), report(2)]).source.replicaId, 2)
  })

  test('has a generation of its own, above all before', () => {
    const one = planRecovery([report(1), report(2)]).recoveryGeneration
    for (const reports of [[report(1)], [report(3), report(4)], [report(1), report(2, { term: 8 })]]) {
      const other = planRecovery(reports).recoveryGeneration
      assert.notEqual(other, one)
      const next = planRecovery(reports.map((given) => ({ ...given, recoveryGeneration: other })))
      assert.ok(next.recoveryGeneration > Math.max(one, other))
    }
    const last = report(1, { recoveryGeneration: 2 ** 53 - 1 })
    assert.throws(() => planRecovery([last]), { code: 'INVALID_ARGUMENT', message: /too often/ })
  })

  test('has a configuration of a generation above all that those who were lost may have committed', () => {
    const older = makeConfiguration(2, voters(1, 2, 3, 4, 5))
    const reports = [report(1), report(2, { configuration: older, lastIndex: 30 })]
    const { configuration } = planRecovery(reports)
    assert.ok(configuration.generation >= 1_000_000)
    // So do those who recover it again, whatever it has changed since.
    const { replicas } = configuration
    for (const changes of [0, 1, 1_000]) {
      const again = makeConfiguration(configuration.generation + changes, [...replicas, ...voters(8, 9)])
      const plan = planRecovery([report(1, { configuration: again })])
      assert.ok(plan.configuration.generation > configuration.generation + 1_000_000)
    }
    const last = makeConfiguration(Number.MAX_SAFE_INTEGER, voters(1, 2, 3))
    assert.throws(() => planRecovery([report(1, { configuration: last })]), { message: /too often/ })
  })

  test('does not count on the votes of those that are quarantined', () => {
    const reports = [report(1), report(2), report(3, { quarantined: true, lastIndex: 30 })]
    assert.equal(planRecovery(reports).source.replicaId, 3)
    assert.throws(() => planRecovery([report(1), report(2), report(3)]), { message: /are a quorum/ })
  })

  test('leaves out quarantined replicas that could elect one of themselves past the best log', () => {
    const quarantined = [report(3, { quarantined: true }), report(4, { quarantined: true })] as const
    const reports = [report(1, { lastIndex: 21 }), report(2), ...quarantined]
    assert.throws(() => planRecovery(reports), {
      code: 'INVALID_ARGUMENT',
      message: /past replica 1.*\(3, 4\)/,
    })
    const plan = planRecovery(reports.slice(0, 3))
    assert.equal(plan.source.replicaId, 1)
    assert.deepEqual(plan.configuration.replicas, voters(1, 2, 3))
  })

  test('is not stopped by an old configuration of one that fell behind, whom nobody would elect', () => {
    const behind = { configuration: makeConfiguration(2, voters(1, 2, 3)), lastIndex: 10 }
    const plan = planRecovery([report(1), report(2, behind)])
    assert.deepEqual(plan.configuration.replicas, voters(1, 2))
    const equal = { configuration: makeConfiguration(2, voters(1, 2, 3)) }
    assert.throws(() => planRecovery([report(1), report(2, equal)]), { message: /are a quorum/ })
  })

  test('makes a voter of a learner that survived', () => {
    const replicas = [
      ...voters(1, 2, 3),
      { ...(voters(8)[0] as ReplicaDescriptor), role: 'learner' as const },
    ]
    const configuration = makeConfiguration(3, replicas)
    const plan = planRecovery([report(8, { configuration })])
    assert.deepEqual(plan.configuration.replicas, voters(8))
  })

  test('is refused for reports that do not belong together', () => {
    const refused = (reports: GroupReport[], message: RegExp): void => {
      assert.throws(() => planRecovery(reports), { code: 'INVALID_ARGUMENT', message })
    }
    refused([report(1), report(2, { groupId: 2 })], /groups 1 and 2/)
    refused([report(1), report(2, { recoveryGeneration: 1 })], /different recovery generations/)
    refused([report(1, { terms: undefined as never })], /inspect it with this release/)
    refused([report(1), report(1)], /two reports/)
    refused([report(1), report(6)], /no member/)
    refused([report(1), report(2, { incarnation: 9 })], /no member/)
    refused([report(1, { configuration: undefined })], /still empty/)
    // By its own configuration, which is older, the second one is a quorum with the third.
    const older = { configuration: makeConfiguration(2, voters(2, 3, 4)), lastIndex: 10 }
    const newer = { configuration: makeConfiguration(3, voters(1, 2, 3, 4, 5, 6, 7)) }
    refused([report(1, newer), report(2, older), report(3, older)], /are a quorum/)
  })
})
