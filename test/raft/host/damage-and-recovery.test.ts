import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text, utf8 } from '../../../src/core/bytes.ts'
import type { KeelsonError } from '../../../src/core/errors.ts'
import type { LogStoreFactory } from '../../../src/interfaces/log-store.ts'
import { inspectGroup, recoverGroup, type StoppedGroupOptions } from '../../../src/raft/host/recover-group.ts'
import { segments } from '../../../src/storage/segments/index.ts'
import { copyDisk } from '../support/counter-machine.ts'
import { Cluster, type ClusterNode, type ClusterOptions } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3'] as const
const five = [...names, 'n4', 'n5']
const acknowledged = { acceptDataLoss: true, confirm: 'recover group 1' }

/** A counter with a long name: its commands fill segments. */
const counter = 'counter'.repeat(20)

function logOf(node: ClusterNode): LogStoreFactory {
  return segments('raft', {
    segmentBytes: 16 * 1024,
    cleanFromBytes: 2 ** 40,
    damage: 'contain',
    fileSystem: node.disk.fileSystem(),
  })
}

function makeCluster(seed: number, more: ClusterOptions = {}): Cluster {
  return new Cluster({
    seed,
    raft: {
      electionTimeoutMs: 100,
      heartbeatIntervalMs: 20,
      maximumAppendBytes: 1_024,
      maximumInFlightMessages: 4,
    },
    log: logOf,
    ...more,
  })
}

function offline(node: ClusterNode): StoppedGroupOptions {
  return { ...node.offline(), log: logOf(node) }
}

async function fill(cluster: Cluster, commands: number): Promise<void> {
  for (let i = 0; i < commands; i++) await cluster.propose(`${counter}+1`)
}

/** What happens to a cluster of which every member has applied so many commands. */
function withFilled(
  seed: number,
  commands: number,
  act: (cluster: Cluster) => Promise<void>,
  members: readonly string[] = names,
): Promise<void> {
  const cluster = makeCluster(seed)
  return cluster.run(async () => {
    await cluster.bootstrap(members)
    await fill(cluster, commands)
    await cluster.converged(members)
    await act(cluster)
  })
}

/** Has the disk of a stopped node lose a page of some of its segments. The node's process runs again afterwards. */
function damage(node: ClusterNode, ...damaged: number[]): void {
  node.process.restart()
  const files = node.disk
    .mount()
    .list('raft/')
    .filter((path) => path.endsWith('.segment'))
  for (const segment of damaged) {
    assert.ok(files.length > segment + 2, `${files.length} segments`)
    node.disk.overwrite(files[segment] as string, 4_096, new Uint8Array(4_096))
  }
  node.process.crash('kill')
  node.process.restart()
}

suite('a damaged log', () => {
  test('gives up only what the state machine has on its disk, not what it has in a cache', async () => {
    await withFilled(1, 300, async (cluster) => {
      const node = cluster.node('n2')
      const before = node.machines.get(1)
      const flushed = copyDisk(node.states.get(1) ?? assert.fail())
      node.crash('kill')
      damage(node, 0)
      // The process alone was killed: what the state machine had written and not synced is there still.
      assert.ok(before !== undefined)
      node.states.set(1, copyDisk(before))
      await node.startAgain()
      assert.notEqual(node.store.recovered().get(1)?.lost, undefined, 'something is lost')
      await cluster.until(() => node.group().status().replicaId !== 0, 'it has started')
      const synced = (node.machines.get(1)?.flushes ?? 0) > 0
      node.crash('power')
      if (!synced) node.states.set(1, flushed)
      await node.restart()
      await cluster.propose(`${counter}+1`)
      await cluster.converged(names)
      assert.equal(node.value(counter), 301)
    })
  })

  test('is not given up by looking at it', async () => {
    await withFilled(2, 300, async (cluster) => {
      const node = cluster.node('n2')
      node.crash()
      damage(node, 1)
      const report = await inspectGroup(offline(node))
      assert.ok(report.lastIndex > 0 && report.lastIndex < 300, `what is intact counts: ${report.lastIndex}`)
      await node.startAgain()
      await cluster.until(() => node.group().status().replicaId !== 0, 'it is repaired')
      await cluster.converged(names)
      assert.equal(node.group().status().quarantined, false)
      assert.equal(node.value(counter), 300)
    })
  })

  test('is cut before the damage when its group is recovered from a lost quorum', async () => {
    for (const alone of [true, false]) {
      const act = async (cluster: Cluster): Promise<void> => {
        for (const name of five) cluster.node(name).crash()
        const damaged = cluster.node('n2')
        damage(damaged, 1)
        const other = cluster.node('n3')
        other.process.restart()
        const nodes = alone ? [damaged] : [damaged, other]
        const survivors = []
        for (const node of nodes) survivors.push(await inspectGroup(offline(node)))
        const [report] = survivors
        for (const node of nodes) {
          const recovery = await recoverGroup({ ...offline(node), survivors, ...acknowledged })
          assert.equal(recovery.source.nodeId, alone ? 'n2' : 'n3')
        }
        for (const node of nodes) await node.startAgain()
        await cluster.sleep(5_000)
        await cluster.propose(`${counter}+1`)
        await cluster.converged(nodes.map(({ name }) => name))
        assert.equal(damaged.group().status().quarantined, false)
        const value = damaged.value(counter) ?? 0
        if (!alone) assert.equal(value, 301)
        else assert.ok(value > 1 && value <= (report?.lastIndex ?? 0), `${value} commands are left`)
        // And it stays so.
        damaged.crash()
        await damaged.restart()
        await cluster.propose(`${counter}+1`)
        await cluster.converged(nodes.map(({ name }) => name))
        assert.equal(damaged.value(counter), value + 1)
      }
      await withFilled(3, 300, act, five)
    }
  })

  test('is repaired by another replica that waits for its own repair', async () => {
    await withFilled(4, 400, async (cluster) => {
      for (const name of names) cluster.node(name).crash()
      const [one, two] = [cluster.node('n1'), cluster.node('n2')]
      damage(one, 0)
      damage(two, 3)
      for (const node of [one, two]) await node.startAgain()
      for (const node of [one, two]) {
        assert.notEqual(node.store.recovered().get(1)?.lost, undefined, `${node.name} is damaged`)
      }
      await cluster.until(
        () => [one, two].every((node) => node.group().status().replicaId !== 0),
        'both are repaired',
        60_000,
      )
      await cluster.propose(`${counter}+1`)
      await cluster.converged(['n1', 'n2'])
      for (const node of [one, two]) {
        assert.equal(node.group().status().quarantined, false)
        assert.equal(node.value(counter), 401)
      }
    })
  })

  test('waits where the others lost the same entries, as one that is away may have them', async () => {
    await withFilled(5, 300, async (cluster) => {
      for (const name of names) cluster.node(name).crash()
      const [one, two] = [cluster.node('n1'), cluster.node('n2')]
      for (const node of [one, two]) {
        damage(node, 0, 1)
        await node.startAgain()
      }
      await cluster.sleep(60_000)
      for (const node of [one, two]) assert.equal(node.group().status().quarantined, false)
      await cluster.node('n3').restart()
      await cluster.propose(`${counter}+1`)
      await cluster.converged(names)
      for (const name of names) assert.equal(cluster.node(name).value(counter), 301)
    })
  })

  test('is repaired to the end however often its node crashes meanwhile', async () => {
    let interrupted = 0
    for (let seed = 1; seed <= 4; seed++) {
      await withFilled(seed, 200, async (cluster) => {
        const node = cluster.node('n2')
        const random = cluster.simulation.random('crashes')
        node.crash()
        damage(node, 0, 1)
        await node.startAgain()
        const before = node.store.recovered().get(1)
        for (let crashes = 0; crashes < 6; crashes++) {
          await cluster.sleep(random.integer(40))
          node.crash(random.float() < 0.5 ? 'power' : 'kill')
          await node.restart()
          const { lost = [], last, hardState } = node.store.recovered().get(1) ?? assert.fail()
          if (lost.length > 0 && lost.length < (before?.lost?.length ?? 0)) interrupted++
          assert.ok(last.index >= (before?.last.index ?? 0), 'the log has not become shorter')
          assert.ok((hardState?.term ?? 0) >= (before?.hardState?.term ?? 0), 'nor its term lower')
        }
        await cluster.until(() => node.group().status().replicaId !== 0, 'repaired', 60_000)
        await cluster.propose(`${counter}+1`)
        await cluster.converged(names)
        for (const name of names) assert.equal(cluster.node(name).value(counter), 201)
      })
    }
    assert.ok(interrupted > 0, 'some were half repaired')
  })

  test('of a replica that was left behind is not repaired: it stops and says so', async () => {
    await withFilled(6, 300, async (cluster) => {
      for (const name of names) cluster.node(name).crash()
      const [one, two] = [cluster.node('n1'), cluster.node('n2')]
      one.process.restart()
      const survivors = [await inspectGroup(offline(one))]
      await recoverGroup({ ...offline(one), survivors, ...acknowledged })
      await one.startAgain()
      assert.equal(await cluster.propose(`${counter}+1`), '301')
      damage(two, 0)
      await two.startAgain()
      const stopped: KeelsonError[] = []
      two.group().on('stopped', (error) => stopped.push(error))
      await cluster.until(() => stopped.length > 0, 'it hears of it')
      assert.equal(stopped[0]?.code, 'SUPERSEDED')
      assert.equal(two.host.stored().get(1)?.superseded, true)
      await two.stop()
      await two.start()
      assert.equal(two.host.stored().get(1)?.superseded, true, 'it is stored')
      await assert.rejects(two.host.openGroup(1, { stateMachine: two.machine() }), { code: 'SUPERSEDED' })
      await two.host.destroyGroup(1, { stateMachine: two.machine() })
      assert.equal(await cluster.propose(`${counter}+1`), '302')
    })
  })
})

suite('two recoveries from a lost quorum that know nothing of each other', () => {
  test('never make one group of two histories', async () => {
    for (let seed = 1; seed <= 6; seed++) {
      const cluster = new Cluster({ seed, raft: { electionTimeoutMs: 100, heartbeatIntervalMs: 20 } })
      await cluster.run(async () => {
        await cluster.bootstrap(five)
        for (let i = 0; i < 10; i++) await cluster.propose('a+1')
        await cluster.converged(five)
        for (const name of five) cluster.node(name).crash()
        const [one, two] = [cluster.node('n1'), cluster.node('n2')]
        for (const node of [one, two]) node.process.restart()
        const both = [await inspectGroup(one.offline()), await inspectGroup(two.offline())]
        // The first try gets no further than the source; its node is lost as well, so it is done again without it.
        const first = await recoverGroup({ ...one.offline(), survivors: both, ...acknowledged })
        assert.equal(first.source.nodeId, 'n1')
        const second = await recoverGroup({
          ...two.offline(),
          survivors: both.slice(1),
          ...acknowledged,
        })
        assert.notEqual(first.recoveryGeneration, second.recoveryGeneration)
        // The first one is not lost after all, and knows a configuration with both.
        await one.startAgain()
        await two.startAgain()
        await cluster.until(() => two.group().token() !== undefined, 'it leads alone')
        const result = await two.group().propose(utf8('a+1'))
        assert.equal(text(result), '11')
        await cluster.sleep(3_000)
        const [found, other] = [one, two].map((node) => node.group().replica?.status())
        assert.equal(found?.configuration.latest?.replicas.length, 2)
        assert.equal(found.configuration.committed?.replicas.length, 5, 'it got nowhere')
        assert.equal(found.lastIndex, first.lastIndex + 1, 'nothing came to it from the other one')
        assert.equal(other?.configuration.committed?.replicas.length, 1)
        assert.equal(two.group().token() !== undefined, true)
      })
    }
  })

  test('never share a replica that both of them add', async () => {
    for (let seed = 1; seed <= 6; seed++) {
      const cluster = new Cluster({ seed, raft: { electionTimeoutMs: 100, heartbeatIntervalMs: 20 } })
      await cluster.run(async () => {
        await cluster.bootstrap(names)
        for (let i = 0; i < 10; i++) await cluster.propose('a+1')
        await cluster.converged(names)
        for (const name of names) cluster.node(name).crash()
        const pair = [cluster.node('n1'), cluster.node('n2')]
        for (const node of pair) {
          node.process.restart()
          const survivors = [await inspectGroup(node.offline())]
          await recoverGroup({ ...node.offline(), survivors, ...acknowledged })
          await node.startAgain()
        }
        const leads = (node: ClusterNode): boolean => node.group().token() !== undefined
        await cluster.until(() => pair.every(leads), 'both lead')
        // The second one in a later term, with its log as long as that of the first.
        const [one, two] = pair as [ClusterNode, ClusterNode]
        await two.stop()
        await two.startAgain()
        await cluster.until(() => leads(two), 'it leads again')
        await one.group().propose(utf8('b+1'))
        assert.equal(one.group().status().lastIndex, two.group().status().lastIndex)
        await cluster.add('n4')
        const added = cluster.node('n4')
        await added.host.awaitGroup(1, { stateMachine: added.machine() })
        for (const node of pair) {
          const change = {
            type: 'addLearner',
            nodeId: 'n4',
            incarnation: added.store.incarnation,
          } as const
          await node
            .group()
            .changeMembership(change)
            .catch(() => {})
        }
        await cluster.sleep(2_000)
        const with4 = pair.filter((node) => {
          const progress = [...node.group().status().progress.values()]
          return progress.some(({ matchIndex }) => matchIndex > 0)
        })
        const { recoveryGeneration, leader, stopped } = added.group().status()
        assert.ok(with4.length < 2, 'it has one history')
        // Or none: it heard of the one before it was anything in the other.
        if (with4[0] === undefined) {
          assert.equal(stopped?.code, 'SUPERSEDED')
          return
        }
        assert.equal(leader?.nodeId, with4[0].name)
        assert.equal(recoveryGeneration, with4[0].group().status().recoveryGeneration)
      })
    }
  })
})
