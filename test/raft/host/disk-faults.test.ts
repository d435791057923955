import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import {
  allConverged,
  bootstrap,
  fill,
  followerOf,
  groups,
  makeCluster,
  names,
  restart,
  sameValues,
  segmentsOf,
} from '../support/restored-disk.ts'

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
      await assert.rejects(node.host.destroyGroup(1), { code: 'INVALID_ARGUMENT' })
      await node.host.destroyGroup(1, { confirm: 'destroy group 1' })
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
