import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { Bookkeeping } from '../../../src/interfaces/index.ts'
import { readAppliedState, splitBookkeeping } from '../../../src/raft/index.ts'
import { type CounterDisk, emptyDisk } from '../support/counter-machine.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'
import { SplittingMachine } from '../support/splitting-machine.ts'

const names = ['n1', 'n2', 'n3']

function machine(node: ClusterNode, groupId: number): SplittingMachine {
  const disk = node.states.get(groupId) ?? emptyDisk()
  node.states.set(groupId, disk)
  const made = new SplittingMachine(disk, groupId === 7 ? 'm' : '')
  node.machines.set(groupId, made)
  made.onSplit = (rightId, right) => {
    // What a host decides in the same breath: whoever has, had or awaits the group makes none.
    if (node.host.stored().has(rightId) || node.host.groups().has(rightId)) return
    node.states.set(rightId, right)
    void node.host.adoptGroup(rightId, { stateMachine: machine(node, rightId) }).catch(() => {})
  }
  return made
}

function makeCluster(seed: number): Cluster {
  return new Cluster({
    seed,
    limits: { compactAfterEntries: 40, keptEntries: 5 },
    raft: { maximumTailBytes: 0 },
  })
}

async function begin(cluster: Cluster): Promise<void> {
  await cluster.add(...names)
  const replicas = cluster.replicas(names)
  for (const name of names) {
    const node = cluster.node(name)
    await node.host.bootstrap(1, { replicas, stateMachine: machine(node, 1) })
  }
}

const byName = ([a]: [string, number], [b]: [string, number]): number => (a < b ? -1 : 1)

const hasGroup = (cluster: Cluster, name: string, groupId: number): boolean =>
  cluster.node(name).host.groups().has(groupId)

suite('groups that are split off', () => {
  test('each replica makes its own, with what the parent had, and retries are known there', async () => {
    const cluster = makeCluster(3)
    await cluster.run(async () => {
      await begin(cluster)
      const leader = await cluster.leader()
      const session = await leader.group().openSession()
      const commandId = { session, sequence: 1 }
      assert.equal(await cluster.propose('z+5', { commandId }), '5')
      await cluster.propose('a+1')
      await Promise.all([cluster.propose('b+1'), cluster.propose('split:m:7'), cluster.propose('c+1')])
      await cluster.until(() => names.every((name) => hasGroup(cluster, name, 7)), 'three replicas')
      const right = await cluster.leader(7)
      // Applied before the split, sent again to the group that has the key now.
      assert.equal(await cluster.propose('z+5', { commandId, groupId: 7 }), '5')
      assert.equal(await cluster.propose('z+1', { groupId: 7 }), '6')
      const status = right.group(7).status()
      assert.deepEqual(
        status.configuration?.replicas.map(({ replicaId, nodeId }) => [replicaId, nodeId]),
        names.map((name, i) => [i + 1, name]),
      )
      assert.equal(status.configuration?.generation, 1)
      // An id that was given out before the split is never minted again.
      assert.ok((await right.group(7).openSession()) > session)
      await cluster.converged(names)
      await cluster.converged(names, 7)
      for (const name of names) {
        assert.deepEqual([...(cluster.node(name).machines.get(1)?.values ?? [])].sort(byName), [
          ['a', 1],
          ['b', 1],
          ['c', 1],
          ['split', 1],
        ])
        assert.deepEqual([...(cluster.node(name).machines.get(7)?.values ?? [])], [['z', 6]])
      }
      const outcome = readAppliedState(right.machines.get(7)?.bookkeeping as Bookkeeping).outcome
      assert.equal(outcome(commandId).type, 'applied')
      assert.equal(outcome({ session, sequence: 2 }).type, 'none')
      assert.equal(outcome({ session: session + 1_000_000, sequence: 1 }).type, 'unknown')
    })
  })

  test('a replica that passes the split by a snapshot awaits the group and is caught up', async () => {
    const cluster = makeCluster(5)
    await cluster.run(async () => {
      await begin(cluster)
      await cluster.leader()
      cluster.node('n3').crash()
      // Long enough to be given up: nothing is held for it.
      await cluster.sleep(1_000)
      await cluster.propose('z+5')
      await cluster.propose('split:m:7')
      await cluster.until(() => ['n1', 'n2'].every((name) => hasGroup(cluster, name, 7)), 'two replicas')
      for (let i = 0; i < 120; i++) await cluster.propose('a+1')
      await cluster.propose('z+1', { groupId: 7 })
      const n3 = cluster.node('n3')
      n3.process.restart()
      await n3.start()
      await n3.host.openGroup(1, { stateMachine: machine(n3, 1) })
      await n3.host.awaitGroup(7, { stateMachine: machine(n3, 7) })
      await cluster.converged(names)
      await cluster.converged(names, 7)
      const [parent, right] = [n3.machines.get(1), n3.machines.get(7)] as [SplittingMachine, SplittingMachine]
      assert.equal(parent.restores, 1)
      assert.deepEqual(parent.alones, [])
      assert.equal(right.restores, 1)
      assert.deepEqual([...right.values], [['z', 6]])
      assert.equal(n3.group(7).status().replicaId, 3)
    })
  })

  test('a split that is applied long after the group has moved away makes nothing', async () => {
    const cluster = makeCluster(7)
    await cluster.run(async () => {
      await begin(cluster)
      await cluster.add('n4')
      await cluster.propose('z+5')
      const n3 = cluster.node('n3')
      if ((await cluster.leader()) === n3) await n3.group().transferLeadership(1)
      await cluster.until(() => (cluster.serving() ?? n3) !== n3, 'another leader')
      // It holds up the parent's log, but takes part in the group that the others have split off.
      let open: () => void = () => {}
      const gate = new Promise<void>((resolve) => {
        open = resolve
      })
      const parent = n3.machines.get(1) as SplittingMachine
      parent.gate = () => gate
      await cluster.propose('split:m:7')
      await n3.host.awaitGroup(7, { stateMachine: machine(n3, 7) })
      await cluster.until(() => n3.group(7).status().replicaId === 3, 'a replica that was awakened')
      await cluster.propose('z+1', { groupId: 7 })
      for (const change of [
        { type: 'addLearner', nodeId: 'n4', incarnation: cluster.node('n4').store.incarnation },
        { type: 'remove', replicaId: 3 },
      ] as const) {
        if (change.type === 'addLearner')
          await cluster.node('n4').host.awaitGroup(7, { stateMachine: machine(cluster.node('n4'), 7) })
        const leader = await cluster.leader(7)
        if (leader.name === 'n3') await leader.group(7).transferLeadership(1)
        await cluster.until(() => cluster.serving(7)?.name !== 'n3', 'another leader')
        await (await cluster.leader(7)).group(7).changeMembership(change)
      }
      await n3.host.destroyGroup(7, { confirm: 'destroy group 7' })
      open()
      await cluster.until(() => parent.alones.length === 1, 'the split')
      await cluster.sleep(500)
      assert.equal(n3.host.stored().get(7)?.destroyed, true)
      assert.equal(n3.host.groups().has(7), false)
      const late = new SplittingMachine({ values: new Map(), bookkeeping: new Map() })
      await assert.rejects(n3.host.adoptGroup(7, { stateMachine: late }), (error) =>
        KeelsonError.hasCode(error, 'ALREADY_BOOTSTRAPPED'),
      )
      assert.equal(await cluster.propose('z+1', { groupId: 7 }), '7')
    })
  })

  test('after a crash between the split and the making of the group, the next start makes it', async () => {
    const cluster = makeCluster(9)
    await cluster.run(async () => {
      await begin(cluster)
      await cluster.propose('z+5')
      const n2 = cluster.node('n2')
      const parent = n2.machines.get(1) as SplittingMachine
      let made: CounterDisk | undefined
      parent.onSplit = (_, right) => {
        made = right
      }
      await cluster.propose('split:m:7')
      await cluster.until(() => made !== undefined, 'the split')
      await parent.flush()
      n2.crash()
      await cluster.propose('z+1', { groupId: 7 })
      n2.process.restart()
      await n2.start()
      await n2.host.openGroup(1, { stateMachine: machine(n2, 1) })
      n2.states.set(7, made as CounterDisk)
      await n2.host.adoptGroup(7, { stateMachine: machine(n2, 7) })
      await cluster.converged(names, 7)
      assert.equal(n2.value('z', 7), 6)
      // It is a group like any other from then on.
      n2.crash()
      n2.process.restart()
      await n2.start()
      for (const groupId of [1, 7]) await n2.host.openGroup(groupId, { stateMachine: machine(n2, groupId) })
      await cluster.propose('z+1', { groupId: 7 })
      await cluster.converged(names, 7)
      assert.equal(n2.value('z', 7), 7)
    })
  })

  test('only a state that is this replica’s is adopted', async () => {
    const cluster = makeCluster(11)
    await cluster.run(async () => {
      await begin(cluster)
      await cluster.leader()
      const [n1, n2] = [cluster.node('n1'), cluster.node('n2')]
      const refused = (node: ClusterNode, disk: CounterDisk): Promise<void> =>
        assert.rejects(node.host.adoptGroup(7, { stateMachine: new SplittingMachine(disk) }), (error) =>
          KeelsonError.hasCode(error, 'INVALID_ARGUMENT'),
        )
      await refused(n1, emptyDisk())
      const disk = emptyDisk()
      const parent = n1.machines.get(1) as SplittingMachine
      await cluster.until(() => parent.bookkeeping.has('replica'), 'a stored replica')
      disk.bookkeeping = new Map(splitBookkeeping(parent.bookkeeping))
      await refused(n2, disk)
      // A node that replays the log as a later member makes nothing of an earlier split.
      const later = new Map(parent.bookkeeping)
      const value = later.get('replica') as Uint8Array
      const other = value.slice()
      other[1] = 99
      later.set('replica', other)
      assert.equal(splitBookkeeping(later), undefined)
      assert.equal(n1.host.stored().has(7), false)
    })
  })
})
