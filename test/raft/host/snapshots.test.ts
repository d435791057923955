import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { RaftHostOptions } from '../../../src/raft/host/options.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']

/** Commands that spread over many counters, so that a snapshot has many chunks. */
async function fill(cluster: Cluster, count: number): Promise<void> {
  for (let i = 0; i < count; i += 10) {
    await Promise.all(Array.from({ length: 10 }, async (_, j) => cluster.propose(`c${(i + j) % 40}+1`)))
  }
}

interface Lagging {
  readonly cluster: Cluster
  /** Down for so long that the log of the others does not reach back to it. */
  readonly late: ClusterNode
  readonly session: number
}

async function lagging(cluster: Cluster): Promise<Lagging> {
  await cluster.bootstrap()
  const leader = await cluster.leader()
  await cluster.propose('a+1')
  await cluster.converged(names)
  const late = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
  late.crash()
  // Long enough to be given up: nothing is held for it.
  await cluster.sleep(400)
  const session = await (await cluster.leader()).group().openSession()
  await cluster.propose('a+1', { commandId: { session, sequence: 1 } })
  await fill(cluster, 200)
  return { cluster, late, session }
}

function makeCluster(seed = 1, host: Partial<RaftHostOptions> = {}): Cluster {
  return new Cluster({
    seed,
    host,
    limits: { compactAfterEntries: 30, keptEntries: 3 },
    raft: { maximumTailBytes: 0 },
    maximumMessageBytes: 16 << 10,
  })
}

function compactedIndex(node: ClusterNode): number {
  return node.group().replica?.status().compacted.index ?? 0
}

suite('snapshots', () => {
  test('the log is compacted, and a follower that was away gets a snapshot', async () => {
    const cluster = makeCluster()
    await cluster.run(async () => {
      const { late, session } = await lagging(cluster)
      const leader = await cluster.leader()
      assert.ok(compactedIndex(leader) > 100)
      await late.restart()
      await cluster.converged(names)
      assert.equal(late.machines.get(1)?.restores, 1)
      assert.equal(late.value('c1'), 5)
      assert.equal(late.value('a'), 2)
      assert.equal(late.group().status().configuration?.generation, 1)
      // Sessions came along: the command is not done again, whoever leads.
      await leader.group().transferLeadership(late.group().status().replicaId)
      await cluster.until(() => cluster.serving() === late, 'the late one leads')
      assert.equal(await cluster.propose('a+1', { commandId: { session, sequence: 1 } }), '2')
      late.crash()
      await late.restart()
      await cluster.converged(names)
      assert.equal(late.value('a'), 2)
      assert.equal(late.group().status().quarantined, false)
    })
  })

  test('a new learner is filled by a snapshot', async () => {
    const cluster = makeCluster()
    await cluster.run(async () => {
      await cluster.bootstrap()
      await cluster.add('n4')
      await fill(cluster, 200)
      const n4 = cluster.node('n4')
      await n4.host.awaitGroup(1, { stateMachine: n4.machine() })
      const leader = await cluster.leader()
      await leader.group().changeMembership({
        type: 'addLearner',
        nodeId: 'n4',
        incarnation: n4.store.incarnation,
      })
      await cluster.converged([...names, 'n4'])
      assert.equal(n4.machines.get(1)?.restores, 1)
      assert.equal(n4.value('c1'), 5)
      n4.crash()
      await n4.restart()
      await cluster.propose('c1+1')
      await cluster.converged([...names, 'n4'])
      assert.equal(n4.value('c1'), 6)
    })
  })

  test('a transfer that breaks in the middle loses nothing and is done again', async () => {
    const cluster = makeCluster(2)
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      let broken = 0
      await restartWith(late, (machine) => {
        machine.onChunk = () => {
          if (broken++ >= 2) return
          cluster.network.breakConnections(late.name)
        }
      })
      await cluster.converged(names)
      assert.ok(broken >= 3)
      assert.equal(late.machines.get(1)?.restores, 1)
      assert.equal(late.value('a'), 2)
    })
  })

  test('a transfer that stands still is given up', async () => {
    const cluster = makeCluster(3, { snapshotTimeoutMs: 500 })
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      let stuck = 0
      interceptStreams(cluster, late, async (chunk, count) => {
        if (count === 4 && stuck++ === 0) await new Promise(() => {})
        return chunk
      })
      await late.restart()
      await cluster.converged(names)
      assert.equal(stuck, 2)
      assert.equal(late.machines.get(1)?.restores, 1)
      assert.equal(late.value('a'), 2)
    })
  })

  test('a crash in the middle of a restore leaves the old state, which is then replaced', async () => {
    const cluster = makeCluster(4)
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      let crashed = false
      await restartWith(late, (machine) => {
        machine.onChunk = () => {
          if (!crashed) late.crash('power')
          crashed = true
        }
      })
      await cluster.until(() => crashed, 'the crash')
      await cluster.sleep(100)
      await late.restart()
      assert.equal(late.group().status().quarantined, false)
      await cluster.converged(names)
      assert.equal(late.value('a'), 2)
    })
  })

  test('a crash between the switch of the state and the reset of the log is completed by the next start', async () => {
    for (let seed = 1; seed <= 4; seed++) {
      const cluster = makeCluster(seed)
      await cluster.run(async () => {
        const { late } = await lagging(cluster)
        let crashed = false
        await restartWith(late, (machine) => {
          machine.onRestored = () => {
            late.crash('power')
            crashed = true
          }
        })
        await cluster.until(() => crashed, 'the crash')
        // Alone: it completes what it began by itself.
        for (const name of names) if (name !== late.name) cluster.node(name).crash('power')
        await late.restart()
        const status = late.group().status()
        assert.equal(status.quarantined, false)
        assert.ok(status.appliedIndex > 100)
        assert.equal(status.lastIndex, status.appliedIndex)
        assert.equal(status.configuration?.replicas.length, 3)
        for (const name of names) if (name !== late.name) await cluster.node(name).restart()
        await cluster.leader()
        await cluster.converged(names)
        assert.equal(late.value('a'), 2)
        assert.equal(await cluster.propose('a+1'), '3')
      })
    }
  })

  test('a state that is ahead of its log without a snapshot under way means that the log lost something', async () => {
    const cluster = makeCluster(5)
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      const late = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
      await fill(cluster, 20)
      await cluster.converged(names)
      const older = await late.saveLog()
      await fill(cluster, 20)
      await cluster.converged(names)
      await late.machines.get(1)?.flush()
      late.crash()
      late.restoreLog(older)
      await late.restart()
      assert.ok(late.group().status().quarantined)
      assert.ok(late.host.stored().get(1)?.quarantined)
      await fill(cluster, 10)
      late.crash()
      await late.restart()
      assert.ok(late.group().status().quarantined, 'it stays so')
      await assert.rejects(late.group().propose(new Uint8Array(1)), { code: 'QUARANTINED' })
    })
  })

  test('a whole disk that is older than what it acknowledged is found out by the leader', async () => {
    const cluster = makeCluster(6)
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      const late = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
      await fill(cluster, 10)
      await cluster.converged(names)
      const older = await late.saveLog()
      await fill(cluster, 10)
      await cluster.converged(names)
      const events: string[] = []
      late.crash('kill')
      late.restoreLog(older)
      late.process.restart()
      await late.start()
      const group = await late.host.openGroup(1, { stateMachine: late.machine() })
      group.on('quarantined', () => events.push('quarantined'))
      await cluster.until(() => group.status().quarantined, 'the leader tells', 5_000)
      assert.deepEqual(events, ['quarantined'])
      await cluster.until(() => late.host.stored().get(1)?.quarantined === true, 'it is stored')
      await cluster.propose('a+1')
    })
  })

  test('a snapshot with a damaged chunk is refused', async () => {
    const cluster = makeCluster(7)
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      let damaged = 0
      interceptStreams(cluster, late, async (chunk, count) => {
        const copy = chunk.slice()
        if (count === 4 && damaged++ === 0) copy[copy.length - 1] = (copy.at(-1) as number) ^ 1
        return copy
      })
      await late.restart()
      await cluster.converged(names)
      assert.ok(damaged > 1)
      assert.equal(late.machines.get(1)?.restores, 1)
      assert.equal(late.value('a'), 2)
    })
  })

  test('a machine that confirms no flush keeps its log', async () => {
    const cluster = makeCluster(8)
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      const machine = leader.machines.get(1)
      assert.ok(machine !== undefined)
      machine.flush = async () => {
        throw new KeelsonError('DISK_FULL', 'there is no room')
      }
      await fill(cluster, 100)
      await cluster.until(() => leader.group().status().stopped !== undefined, 'the replica stops')
      assert.equal(compactedIndex(leader), 0)
      await cluster.until(() => cluster.serving() !== leader, 'another leads')
      assert.equal(await cluster.propose('a+1'), '1')
    })
  })
})

async function restartWith(
  node: ClusterNode,
  prepare: (machine: ReturnType<ClusterNode['machine']>) => void,
): Promise<void> {
  node.process.restart()
  await node.start()
  const machine = node.machine()
  prepare(machine)
  await node.host.openGroup(1, { stateMachine: machine })
}

/** Lets `change` see every chunk of the streams that the other nodes open, with its number within the stream. */
function interceptStreams(
  cluster: Cluster,
  receiver: ClusterNode,
  change: (chunk: Uint8Array, count: number) => Promise<Uint8Array>,
): void {
  for (const node of cluster.nodes.values()) {
    if (node === receiver) continue
    const open = node.channel.openStream.bind(node.channel)
    node.channel.openStream = async (peer, header, options) => {
      const stream = await open(peer, header, options)
      let count = 0
      return {
        write: async (chunk, callOptions) => stream.write(await change(chunk, ++count), callOptions),
        end: async (callOptions) => stream.end(callOptions),
        destroy: () => stream.destroy(),
      }
    }
  }
}
