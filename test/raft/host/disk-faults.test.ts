import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import { decodeGroupMetadata, encodeGroupMetadata } from '../../../src/raft/group/metadata.ts'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import { LogGate } from '../../../src/raft/host/log-gate.ts'
import { inspectGroup, recoverGroup } from '../../../src/raft/host/recover-group.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { type SegmentsOptions, segments } from '../../../src/storage/segments/index.ts'
import { Cluster, type ClusterNode, type ClusterOptions } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3'] as const
const groups = [1, 2, 3, 4, 5] as const

/** Nodes whose logs are real segments on simulated disks. */
function makeCluster(seed: number, options: SegmentsOptions = {}, more: ClusterOptions = {}): Cluster {
  return new Cluster({
    seed,
    raft: { electionTimeoutMs: 100, heartbeatIntervalMs: 20 },
    log: (node) =>
      segments('raft', {
        segmentBytes: 16 * 1024,
        cleanFromBytes: 2 ** 40,
        damage: 'contain',
        fileSystem: node.disk.fileSystem(),
        ...options,
      }),
    ...more,
  })
}

async function bootstrap(cluster: Cluster): Promise<void> {
  for (const groupId of groups) await cluster.bootstrap(names, groupId)
}

/** Counts up in all groups. The lines are long, so that a page holds few of them. */
async function fill(cluster: Cluster, rounds: number): Promise<void> {
  for (let i = 0; i < rounds; i++) {
    await Promise.all(groups.map((groupId) => cluster.propose(`${'counter'.repeat(20)}+1`, { groupId })))
  }
}

function values(node: ClusterNode): (number | undefined)[] {
  return groups.map((groupId) => node.value('counter'.repeat(20), groupId))
}

function segmentsOf(node: ClusterNode): string[] {
  return node.disk
    .mount()
    .list('raft/')
    .filter((path) => path.endsWith('.segment'))
}

async function followerOf(cluster: Cluster): Promise<ClusterNode> {
  const leaders = new Set<ClusterNode>()
  for (const groupId of groups) leaders.add(await cluster.leader(groupId))
  return [...cluster.nodes.values()].find((node) => !leaders.has(node)) ?? cluster.node('n3')
}

/** Has one node lead all groups. */
async function leadAll(cluster: Cluster, name: string): Promise<void> {
  for (const groupId of groups) {
    for (
      let leader = await cluster.leader(groupId);
      leader.name !== name;
      leader = await cluster.leader(groupId)
    ) {
      const to = cluster.node(name).group(groupId).status().replicaId
      await leader
        .group(groupId)
        .transferLeadership(to)
        .catch(() => {})
      await cluster.sleep(50)
    }
  }
}

async function allConverged(cluster: Cluster): Promise<void> {
  for (const groupId of groups) await cluster.converged(names, groupId)
}

/** All replicas have counted the same, and everything that was acknowledged: some of it twice, where nobody knew. */
async function sameValues(cluster: Cluster, acknowledged: number): Promise<void> {
  await allConverged(cluster)
  const found = names.map((name) => values(cluster.node(name)))
  assert.deepEqual(found[1], found[0])
  assert.deepEqual(found[2], found[0])
  for (const value of found[0] ?? []) {
    assert.ok((value ?? 0) >= acknowledged, `${value} of ${acknowledged} are left`)
    assert.ok((value ?? 0) <= acknowledged + 10, `${value} are too many for ${acknowledged}`)
  }
}

/** Starts a node again, and notes what its log lost. */
async function restart(node: ClusterNode, opened: readonly number[] = groups): Promise<number[]> {
  node.process.restart()
  await node.start()
  const lost = [...node.store.recovered()].flatMap(([groupId, group]) =>
    group.lost === undefined ? [] : [groupId],
  )
  for (const groupId of opened) {
    await node.host.openGroup(groupId, { stateMachine: node.machine(groupId) })
  }
  return lost
}

suite('a page that a disk lost', () => {
  test('is repaired from the other replicas, entry by entry, and the node serves all its groups', async () => {
    let repaired = 0
    for (let seed = 0; seed < 4; seed++) {
      const cluster = makeCluster(seed)
      await cluster.run(async () => {
        await bootstrap(cluster)
        await fill(cluster, 60)
        await allConverged(cluster)
        const node = await followerOf(cluster)
        node.crash()
        node.process.restart()
        const files = segmentsOf(node)
        assert.ok(files.length > 3, `${files.length} segments`)
        const random = cluster.simulation.random('damage')
        // Not in the last two: one takes batches, and one may be prepared.
        const path = files[random.integer(files.length - 2)] as string
        node.disk.overwrite(path, random.integer(4) * 4_096, new Uint8Array(4_096))
        node.process.crash('kill')
        const lost = await restart(node)
        if (lost.length > 0) repaired++
        // The others go on without waiting for it.
        await fill(cluster, 5)
        await allConverged(cluster)
        for (const groupId of groups) {
          assert.equal(node.group(groupId).status().quarantined, false)
          assert.equal(node.group(groupId).status().stopped, undefined)
        }
        await sameValues(cluster, 65)
        // What was put back is durable, and just as it was.
        node.crash()
        assert.deepEqual(await restart(node), [])
        await sameValues(cluster, 65)
      })
    }
    assert.ok(repaired > 1, `${repaired} runs had something to repair`)
  })

  test('costs nothing where the state machine has it all', async () => {
    const cluster = makeCluster(20)
    await cluster.run(async () => {
      await bootstrap(cluster)
      await fill(cluster, 40)
      await allConverged(cluster)
      const node = cluster.node('n2')
      for (const groupId of groups) await node.machines.get(groupId)?.flush()
      node.crash()
      node.process.restart()
      node.disk.overwrite(segmentsOf(node)[0] as string, 4_096, new Uint8Array(4_096))
      node.process.crash('kill')
      // Nobody else is there to repair it.
      cluster.node('n1').crash()
      cluster.node('n3').crash()
      assert.notEqual((await restart(node)).length, 0)
      for (const groupId of groups) {
        assert.notEqual(node.group(groupId).status().replicaId, 0, 'it has started')
        assert.equal(node.group(groupId).status().quarantined, false)
      }
      await cluster.node('n1').restart()
      await cluster.node('n3').restart()
      await fill(cluster, 2)
      await allConverged(cluster)
      await sameValues(cluster, 42)
    })
  })

  test('has its group quarantined where nobody has the entries any more, and the others go on', async () => {
    const limits = { compactAfterEntries: 60, keptEntries: 2 }
    const cluster = makeCluster(21, {}, { limits })
    await cluster.run(async () => {
      await bootstrap(cluster)
      const node = cluster.node('n3')
      await cluster.converged(names)
      // Its states are not flushed yet, so its log is all it has.
      await fill(cluster, 40)
      await allConverged(cluster)
      node.crash()
      await fill(cluster, 150)
      node.process.restart()
      node.disk.overwrite(segmentsOf(node)[1] as string, 4_096, new Uint8Array(512))
      node.process.crash('kill')
      const lost = await restart(node)
      assert.ok(lost.length > 0 && lost.length < groups.length, `${lost.length} groups are concerned`)
      await cluster.until(
        () => lost.every((groupId) => node.group(groupId).status().quarantined),
        'the damaged groups are quarantined',
        120_000,
      )
      for (const groupId of groups) {
        if (lost.includes(groupId)) {
          await assert.rejects(node.group(groupId).propose(new Uint8Array(1)), { code: 'QUARANTINED' })
        } else {
          await cluster.converged(names, groupId)
          assert.equal(node.group(groupId).status().quarantined, false)
        }
      }
      await fill(cluster, 2)
      // And stays so.
      node.crash()
      await restart(node)
      for (const groupId of lost) assert.ok(node.group(groupId).status().quarantined)
    })
  })

  test('waits for peers that are away, is given up with its group, and never promises anything meanwhile', async () => {
    const cluster = makeCluster(22)
    await cluster.run(async () => {
      await bootstrap(cluster)
      await fill(cluster, 40)
      await allConverged(cluster)
      const node = cluster.node('n1')
      for (const name of names) cluster.node(name).crash()
      node.process.restart()
      node.disk.overwrite(segmentsOf(node)[0] as string, 0, new Uint8Array(16_000))
      node.process.crash('kill')
      const lost = await restart(node)
      assert.deepEqual(lost, [...groups])
      await cluster.sleep(60_000)
      for (const groupId of groups) {
        assert.equal(node.group(groupId).status().replicaId, 0)
        await assert.rejects(node.group(groupId).propose(new Uint8Array(1)), { code: 'NOT_LEADER' })
      }
      await node.host.destroyGroup(1)
      assert.ok(node.machines.get(1)?.destroyed)
      // Two of three cannot vote without it: it has nothing to show yet.
      await cluster.node('n2').restart()
      for (const groupId of groups.slice(1)) {
        await cluster.until(() => node.group(groupId).status().replicaId !== 0, 'repaired', 60_000)
        await cluster.propose('x+1', { groupId })
      }
      await node.host.close()
    })
  })
})

/**
 * An older image of a disk comes back; what its replicas acknowledged meanwhile is gone. With `newLeaders` the groups have
 * leaders by then that know nothing of these acknowledgements.
 */
async function restoredDisk(
  cluster: Cluster,
  newLeaders: boolean,
  opened: readonly number[] = groups,
  beforeCrash: (node: ClusterNode) => void = () => {},
): Promise<ClusterNode> {
  await bootstrap(cluster)
  await leadAll(cluster, 'n1')
  await fill(cluster, 10)
  await allConverged(cluster)
  const node = cluster.node('n2')
  for (const groupId of groups) await node.machines.get(groupId)?.flush()
  const image = node.image()
  await fill(cluster, 10)
  await allConverged(cluster)
  beforeCrash(node)
  node.crash('kill')
  node.restore(image)
  if (newLeaders) await leadAll(cluster, 'n3')
  await restart(node, opened)
  return node
}

/** As {@link restoredDisk}, and the node hears of nobody yet. */
async function restoredAndCutOff(cluster: Cluster): Promise<{ position: number; node: ClusterNode }> {
  let position = 0
  const node = await restoredDisk(cluster, true, groups, (found) => {
    position = found.store.durablePosition?.() ?? 0
    cluster.conditions.partition(isolate('n2', names))
  })
  return { position, node }
}

/**
 * A restored disk was found out while a group was being opened that had read its metadata before, and wrote them after. The
 * others, who knew, are gone, and the node is down.
 */
async function overwritten(cluster: Cluster): Promise<ClusterNode> {
  const node = await restoredDisk(cluster, true, [1])
  await cluster.until(() => node.group(1).status().quarantined, 'it is found out', 10_000)
  await cluster.sleep(100)
  for (const name of names) cluster.node(name).crash('power')
  node.process.restart()
  await using store = await node.openLog()
  const before = decodeGroupMetadata(store.recovered().get(2)?.metadata as Uint8Array)
  assert.ok(before.quarantined)
  await store.write([{ groupId: 2, metadata: encodeGroupMetadata({ ...before, quarantined: false }) }])
  return node
}

async function allQuarantined(cluster: Cluster, node: ClusterNode): Promise<void> {
  await cluster.until(
    () => groups.every((groupId) => node.group(groupId).status().quarantined),
    'every group is quarantined',
    10_000,
  )
}

suite('a disk of which an older image comes back', () => {
  test('is found out, whoever leads by then, and stays so', async () => {
    for (let seed = 0; seed < 6; seed++) {
      const cluster = makeCluster(seed)
      await cluster.run(async () => {
        const node = await restoredDisk(cluster, seed % 2 === 0)
        await allQuarantined(cluster, node)
        await fill(cluster, 2)
        node.crash()
        await restart(node)
        for (const groupId of groups) {
          assert.ok(node.group(groupId).status().quarantined)
          assert.notEqual(node.group(groupId).status().role, 'leader')
        }
      })
    }
  })

  test('is found out before it can vote a second time', async () => {
    const cluster = makeCluster(7)
    await cluster.run(async () => {
      const node = await restoredDisk(cluster, true)
      // The others cannot make a majority without it, and it must not help them to one that lacks what it acknowledged.
      cluster.node('n3').crash()
      await allQuarantined(cluster, node)
      await cluster.sleep(5_000)
      assert.equal(cluster.serving(1), undefined)
      await cluster.node('n3').restart()
      await fill(cluster, 1)
    })
  })

  test('is found out although it has written more since than it lost', async () => {
    const cluster = makeCluster(11)
    await cluster.run(async () => {
      const { position, node } = await restoredAndCutOff(cluster)
      // A group of its own, of which nobody else hears.
      await cluster.bootstrap(['n2'], 20)
      while ((node.store.durablePosition?.() ?? 0) <= position)
        await cluster.propose('own+1', { groupId: 20 })
      assert.ok(groups.every((groupId) => !node.group(groupId).status().quarantined))
      cluster.conditions.heal()
      await allQuarantined(cluster, node)
    })
  })

  test('makes nothing new: neither a group nor a replica', async () => {
    const cluster = makeCluster(8)
    await cluster.run(async () => {
      const node = await restoredDisk(cluster, true)
      await allQuarantined(cluster, node)
      const replicas = cluster.replicas(['n2'])
      await assert.rejects(node.host.bootstrap(9, { replicas, stateMachine: node.machine(9) }), {
        code: 'QUARANTINED',
      })
      await cluster.bootstrap(['n1', 'n3'], 10)
      await node.host.awaitGroup(10, { stateMachine: node.machine(10) })
      const leader = await cluster.leader(10)
      const { incarnation } = node.store
      await leader.group(10).changeMembership({ type: 'addLearner', nodeId: 'n2', incarnation })
      await cluster.sleep(2_000)
      assert.equal(node.group(10).status().replicaId, 0)
    })
  })

  test('has groups quarantined that are not open yet', async () => {
    const cluster = makeCluster(9)
    await cluster.run(async () => {
      const node = await restoredDisk(cluster, true, [1])
      await cluster.until(() => node.group(1).status().quarantined, 'it is found out', 10_000)
      for (const [, { quarantined }] of node.host.stored()) assert.ok(quarantined)
      await node.host.openGroup(2, { stateMachine: node.machine(2) })
      assert.ok(node.group(2).status().quarantined)
      // It is stored.
      await cluster.sleep(100)
      node.crash('power')
      cluster.node('n1').crash()
      cluster.node('n3').crash()
      await restart(node)
      for (const groupId of groups) assert.ok(node.group(groupId).status().quarantined)
    })
  })

  test('is not believed by its next life either, although nobody is left who knows', async () => {
    const cluster = makeCluster(12)
    await cluster.run(async () => {
      const node = await restoredDisk(cluster, true)
      await allQuarantined(cluster, node)
      await cluster.sleep(100)
      for (const name of names) cluster.node(name).crash('power')
      for (const name of names) await cluster.node(name).restart()
      const replicas = cluster.replicas(['n2'])
      await assert.rejects(node.host.bootstrap(9, { replicas, stateMachine: node.machine(9) }), {
        code: 'QUARANTINED',
      })
      await assert.rejects(node.host.adoptGroup(9, { stateMachine: node.machine(9) }), {
        code: 'QUARANTINED',
      })
      await cluster.bootstrap(['n1', 'n3'], 10)
      await node.host.awaitGroup(10, { stateMachine: node.machine(10) })
      const leader = await cluster.leader(10)
      const { incarnation } = node.store
      await leader.group(10).changeMembership({ type: 'addLearner', nodeId: 'n2', incarnation })
      await cluster.sleep(2_000)
      assert.equal(node.group(10).status().replicaId, 0)
      await fill(cluster, 1)
    })
  })

  test('has a group quarantined that was being opened when it was found out, and wrote that it is well', async () => {
    const cluster = makeCluster(13)
    await cluster.run(async () => {
      const node = await overwritten(cluster)
      assert.equal((await inspectGroup(node.offline(2))).quarantined, true)
      await node.startAgain()
      assert.equal(node.host.stored().size, groups.length)
      for (const groupId of groups) {
        assert.ok(node.host.stored().get(groupId)?.quarantined)
        assert.ok(node.group(groupId).status().quarantined)
      }
    })
  })

  test('would have that group believed again if it were not stored for all groups at once', async (t) => {
    const { recovered } = LogGate.prototype
    t.mock.method(LogGate.prototype, 'recovered', function broken(this: LogGate) {
      return new Map([...recovered.call(this)].filter(([groupId]) => groupId !== Number.MAX_SAFE_INTEGER))
    })
    const cluster = makeCluster(13)
    await cluster.run(async () => {
      const node = await overwritten(cluster)
      await node.startAgain()
      assert.equal(node.group(2).status().quarantined, false)
      await node.host.bootstrap(9, { replicas: cluster.replicas(['n2']), stateMachine: node.machine(9) })
    })
  })

  test('is told of under an id that no group has', async () => {
    const cluster = makeCluster(14)
    await cluster.run(async () => {
      await cluster.add(...names)
      const { host } = cluster.node('n1')
      const replicas = cluster.replicas(names)
      const groupId = Number.MAX_SAFE_INTEGER
      const refused = { code: 'INVALID_ARGUMENT', message: /less than 9007199254740991/ }
      const stateMachine = cluster.node('n1').machine(9)
      await assert.rejects(host.bootstrap(groupId, { replicas, stateMachine }), refused)
      await assert.rejects(host.adoptGroup(groupId, { stateMachine }), refused)
      await assert.rejects(host.openGroup(groupId, { stateMachine }), refused)
      await assert.rejects(host.awaitGroup(groupId, { stateMachine }), refused)
      await assert.rejects(host.destroyGroup(groupId), refused)
      await assert.rejects(inspectGroup({ ...cluster.node('n1').offline(1), groupId }), {
        code: 'INVALID_OPTION',
      })
    })
  })

  test('may be the last that a group has: recovered from its lost quorum, it is believed again', async () => {
    const cluster = makeCluster(10)
    await cluster.run(async () => {
      const node = await restoredDisk(cluster, true)
      await allQuarantined(cluster, node)
      const heal = cluster.conditions.partition(isolate('n2', names))
      await node.stop()
      const survivors = [await inspectGroup(node.offline(1))]
      const acknowledged = { acceptDataLoss: true, confirm: 'recover group 1' }
      await recoverGroup({ ...node.offline(1), survivors, ...acknowledged })
      await node.startAgain()
      await cluster.until(() => node.group(1).status().role === 'leader', 'it leads')
      // The others remember what its disk had before.
      heal()
      await cluster.until(
        () =>
          names.every((name) => name === 'n2' || cluster.node(name).group(1).status().stopped !== undefined),
        'they hear that the group goes on without them',
      )
      await cluster.sleep(1_000)
      assert.equal(node.group(1).status().role, 'leader')
      assert.ok(groups.slice(1).every((groupId) => node.group(groupId).status().quarantined))
    })
  })

  // Each of the two sees what the other cannot; without both nobody does.
  const bugs: [what: string, marks: boolean, acknowledgements: boolean, newLeaders: boolean][] = [
    ['by a leader of the same term alone', false, true, false],
    ['by what all nodes know of each other alone', true, false, false],
    ['over terms by what all nodes know of each other alone', true, false, true],
    ['not at all by a leader that is new', false, true, true],
    ['not at all without both', false, false, false],
  ]
  for (const [what, marks, acknowledgements, newLeaders] of bugs) {
    test(`is found out ${what}`, async (t) => {
      if (!marks) t.mock.method(DiskMarks.prototype, 'hasForgotten', () => false)
      if (!acknowledgements) t.mock.method(RaftCore.prototype, 'hasForgotten', () => false)
      const cluster = makeCluster(3)
      await cluster.run(async () => {
        const node = await restoredDisk(cluster, newLeaders)
        const found = acknowledgements && !newLeaders ? true : marks
        if (found) await allQuarantined(cluster, node)
        else {
          await cluster.sleep(5_000)
          assert.ok(groups.every((groupId) => !node.group(groupId).status().quarantined))
        }
      })
    })
  }
})

suite('a disk that forgets what it had confirmed', () => {
  test('is found out when it lied about its syncs and the power went', async () => {
    let quarantined = 0
    for (let seed = 0; seed < 15; seed++) {
      const cluster = makeCluster(seed)
      await cluster.run(async () => {
        await bootstrap(cluster)
        await fill(cluster, 5)
        await allConverged(cluster)
        const node = await followerOf(cluster)
        node.disk.setQuality({ lostSyncProbability: 1 })
        await fill(cluster, 5)
        await allConverged(cluster)
        node.disk.setQuality({ lostSyncProbability: 0 })
        node.crash('power')
        try {
          await restart(node)
        } catch (error) {
          // What is missing in the middle is found by the store itself.
          assert.ok(KeelsonError.hasCode(error, 'CORRUPTION'), String(error))
          quarantined++
          return
        }
        await fill(cluster, 2)
        await cluster.sleep(1_000)
        for (const groupId of groups) {
          const { quarantined: found } = node.group(groupId).status()
          if (found) quarantined++
          else await cluster.converged(names, groupId)
        }
      })
    }
    assert.ok(quarantined > 5, `${quarantined} replicas were found out`)
  })

  test('stops its node when a sync fails, and nothing that was acknowledged is lost', async () => {
    const cluster = makeCluster(30)
    await cluster.run(async () => {
      await bootstrap(cluster)
      await fill(cluster, 5)
      const node = await cluster.leader()
      const stopped: KeelsonError[] = []
      node.host.on('stopped', (error) => stopped.push(error))
      node.disk.setQuality({ syncFailureProbability: 1 })
      await fill(cluster, 5)
      assert.equal(stopped[0]?.code, 'STORE_POISONED')
      assert.match(stopped[0]?.message ?? '', /the log store failed.*simulated failure of a sync/)
      node.disk.setQuality({ syncFailureProbability: 0 })
      node.crash('power')
      assert.deepEqual(await restart(node), [])
      await fill(cluster, 2)
      await sameValues(cluster, 12)
    })
  })

  test('stops its node with a clear error when it is full, and goes on when there is room', async () => {
    // Room for what all groups catch up with at once.
    const cluster = makeCluster(31, { segmentBytes: 64 * 1024 })
    await cluster.run(async () => {
      await bootstrap(cluster)
      await fill(cluster, 5)
      const node = await cluster.leader()
      const stopped: KeelsonError[] = []
      node.host.on('stopped', (error) => stopped.push(error))
      node.disk.setQuality({ capacityBytes: 0 })
      await fill(cluster, 140)
      assert.equal(stopped[0]?.code, 'STORE_POISONED')
      assert.match(stopped[0]?.message ?? '', /no room for another segment/)
      await node.host.close()
      node.crash('kill')
      node.disk.setQuality({ capacityBytes: 2 ** 40 })
      assert.deepEqual(await restart(node), [])
      await fill(cluster, 2)
      await sameValues(cluster, 147)
    })
  })
})
