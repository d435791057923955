import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { GroupWrite, LogStore, LogStoreFactory } from '../../../src/interfaces/log-store.ts'
import type { PeerIdentity } from '../../../src/interfaces/transport.ts'
import { diskGroupId, readDiskRecord } from '../../../src/raft/host/disk-record.ts'
import { FramePacker } from '../../../src/raft/host/frame.ts'
import { inspectGroup, recoverGroup } from '../../../src/raft/host/recover-group.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { segments } from '../../../src/storage/segments/index.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'
import {
  allConverged,
  allQuarantined,
  bootstrap,
  fill,
  groups,
  leadAll,
  makeCluster,
  names,
  restart,
  restoredAndCutOff,
} from '../support/restored-disk.ts'

const acknowledged = { acceptDataLoss: true, confirm: 'recover group 1' }

const position = (node: ClusterNode): number => node.store.durablePosition?.() ?? assert.fail()

/** A group of its own: what is written there nobody else hears of. */
async function outgrow(cluster: Cluster, node: ClusterNode, from: number): Promise<void> {
  if (!node.host.stored().has(20)) await cluster.bootstrap([node.name], 20)
  else if (!node.host.groups().has(20)) await node.host.openGroup(20, { stateMachine: node.machine(20) })
  while (position(node) <= from) await cluster.propose('own+1', { groupId: 20 })
}

function noneQuarantined(node: ClusterNode): void {
  for (const [groupId, { quarantined }] of node.host.stored()) assert.equal(quarantined, false, `${groupId}`)
  for (const group of node.host.groups().values()) assert.equal(group.status().quarantined, false)
}

/** What happens to the write of the record of the disk. */
type OnRecord = (write: () => Promise<void>, store: LogStore) => Promise<void>

/** The nodes' stores, of which those of one node do as they are told when its record is written. */
function hooked(seed: number, of: string, onRecord: () => OnRecord | undefined): Cluster {
  const log = (node: ClusterNode): LogStoreFactory => {
    const open = segments('raft', { segmentBytes: 16 * 1024, fileSystem: node.disk.fileSystem() })
    return async (context) => {
      const store = await open(context)
      const write = store.write.bind(store)
      store.write = async (batch: readonly GroupWrite[]) => {
        const act = batch.some(({ groupId }) => groupId === diskGroupId) ? onRecord() : undefined
        return node.name !== of || act === undefined ? write(batch) : act(async () => write(batch), store)
      }
      return store
    }
  }
  return makeCluster(seed, {}, { log })
}

/** A frame comes that says how far the disk had got in a life of which nobody knows. */
function tell(node: ClusterNode, known: number): void {
  const frame = new FramePacker(node.store.incarnation).finish({
    kind: 'marks',
    life: 0,
    position: 0,
    known: [{ life: 5, position: known }],
  })
  const channel = node.channel as unknown as { deliver(peer: PeerIdentity, bytes: Uint8Array): void }
  channel.deliver({ nodeId: 'n9', incarnation: 1, role: 'node' }, frame)
}

const never = new Promise<void>(() => {})

suite('a disk that forgot is found out in whatever later life it is told', () => {
  for (const told of [true, false]) {
    test(`when it ${told ? 'was found out, and that was not stored' : 'had not been told before'}`, async () => {
      let cut = false
      const node = (): ClusterNode => cluster.node('n2')
      const cluster = hooked(11, 'n2', () =>
        cut
          ? async () => {
              cut = false
              node().crash('power')
              return never
            }
          : undefined,
      )
      await cluster.run(async () => {
        const { position: before } = await restoredAndCutOff(cluster)
        await outgrow(cluster, node(), before)
        if (told) {
          cut = true
          cluster.conditions.heal()
          await cluster.until(() => !cut, 'it is found out')
        } else {
          node().crash('power')
          cluster.conditions.heal()
        }
        await restart(node())
        assert.ok(position(node()) > before)
        await allQuarantined(cluster, node())
        await fill(cluster, 1)
      })
    })
  }

  test('many lives later, each of which wrote more than was lost', async () => {
    const cluster = makeCluster(12)
    await cluster.run(async () => {
      const { position: before, node } = await restoredAndCutOff(cluster)
      for (let life = 0; life < 40; life++) {
        await outgrow(cluster, node, life === 0 ? before : position(node))
        noneQuarantined(node)
        node.crash(life % 2 === 0 ? 'power' : 'kill')
        if (life === 39) cluster.conditions.heal()
        await restart(node)
      }
      await allQuarantined(cluster, node)
    })
  })

  test('although the image does not know the life that had more', async () => {
    const cluster = makeCluster(13)
    await cluster.run(async () => {
      await bootstrap(cluster)
      const node = cluster.node('n2')
      await leadAll(cluster, 'n1')
      await allConverged(cluster)
      for (const groupId of groups) await node.machines.get(groupId)?.flush()
      const image = node.image()
      node.crash('power')
      await restart(node)
      await fill(cluster, 5)
      await allConverged(cluster)
      const before = position(node)
      cluster.conditions.partition(isolate('n2', names))
      node.crash('kill')
      node.restore(image)
      await leadAll(cluster, 'n3')
      await restart(node)
      await outgrow(cluster, node, before)
      node.crash('power')
      cluster.conditions.heal()
      await restart(node)
      await allQuarantined(cluster, node)
    })
  })

  test('and stays so when the host is closed at once, with much to write before', async () => {
    const cluster = new Cluster({ seed: 14 })
    await cluster.run(async () => {
      await cluster.bootstrap()
      await cluster.propose('a+1')
      await cluster.converged(names)
      const node = await cluster.leader()
      const end = node.disk.stall()
      for (let i = 0; i < 3; i++) {
        node
          .group()
          .propose(new Uint8Array(12 << 20))
          .catch(() => {})
        await cluster.sleep(1)
      }
      tell(node, position(node) + 1)
      assert.ok(node.group().status().quarantined)
      const closed = node.stop()
      await cluster.sleep(10)
      end()
      await closed
      for (const name of names) if (name !== node.name) cluster.node(name).crash()
      await node.start()
      assert.ok(node.host.stored().get(1)?.quarantined)
    })
  })
})

suite('a healthy disk is believed', () => {
  /** Its node crashes in the writes of its record, in each life, and tells the others what it has in every other one. */
  const crashes: Readonly<Record<string, (node: ClusterNode) => OnRecord>> = {
    'before the record of its life is given to the store': (node) => async () => {
      node.crash('power')
      return never
    },
    'while that is being written': (node) => async (write) => {
      void write()
      node.crash('power')
      return never
    },
    'as a process, while that is being written': (node) => async (write) => {
      void write()
      node.crash('kill')
      return never
    },
    'when that is durable, before its first frame': (node) => async (write) => {
      await write()
      node.crash('power')
      return never
    },
  }
  for (const [where, crash] of Object.entries(crashes)) {
    test(`although it crashes again and again ${where}`, async () => {
      let crashing = false
      const node = (): ClusterNode => cluster.node('n2')
      const cluster = hooked(21, 'n2', () => (crashing ? crash(node()) : undefined))
      await cluster.run(async () => {
        await bootstrap(cluster)
        for (let round = 0; round < 6; round++) {
          await fill(cluster, 1)
          await allConverged(cluster)
          node().crash(round % 2 === 0 ? 'power' : 'kill')
          crashing = true
          for (let life = 0; life < 3; life++) {
            node().process.restart()
            node()
              .start()
              .catch(() => {})
            await cluster.until(() => node().process.state === 'crashed', 'it crashes again')
          }
          crashing = false
          await restart(node())
          await fill(cluster, 1)
          await allConverged(cluster)
          noneQuarantined(node())
        }
      })
    })
  }

  test('of which the others hear nothing before its life is noted', async () => {
    let held = false
    const cluster = hooked(24, 'n2', () => (held ? async () => never : undefined))
    await cluster.run(async () => {
      await bootstrap(cluster)
      const node = cluster.node('n2')
      for (let life = 0; life < 3; life++) {
        await fill(cluster, 1)
        await allConverged(cluster)
        node.crash('power')
        held = true
        node.process.restart()
        let open = false
        const start = async (): Promise<void> => {
          await node.start()
          open = true
        }
        start().catch(() => {})
        await cluster.sleep(5_000)
        assert.equal(open, false)
        node.crash('power')
        held = false
        await restart(node)
      }
      await allConverged(cluster)
      noneQuarantined(node)
    })
  })

  test('in more lives than are kept', async () => {
    // Room for six of them.
    const limits = { writeBytes: 900, queuedBytes: 16_000 }
    const cluster = new Cluster({ seed: 22, logLimits: () => limits, maximumMessageBytes: 8_000 })
    await cluster.run(async () => {
      await cluster.bootstrap()
      const node = cluster.node('n2')
      for (let life = 0; life < 20; life++) {
        await cluster.propose('a+1')
        await cluster.converged(names)
        noneQuarantined(node)
        node.crash(life % 2 === 0 ? 'power' : 'kill')
        // In some of them it says nothing to anybody.
        if (life % 5 === 4) {
          node.process.restart()
          await node.start()
          node.crash('power')
        }
        await node.restart()
      }
      assert.equal(readDiskRecord(node.store).history.lives.length, 6)
    })
  })

  test('whatever number somebody invents', async () => {
    const cluster = new Cluster({ seed: 23 })
    await cluster.run(async () => {
      await cluster.bootstrap()
      const node = await cluster.leader()
      tell(node, 2 ** 53 - 1)
      tell(node, position(node) + 2 ** 50 + 1)
      noneQuarantined(node)
      await cluster.propose('a+1')
      tell(node, position(node) + 2 ** 50)
      assert.ok(node.group().status().quarantined)
    })
  })
})

suite('what tools write to a disk', () => {
  test('does not hide what it forgot before', async () => {
    const cluster = makeCluster(31)
    await cluster.run(async () => {
      await bootstrap(cluster)
      await leadAll(cluster, 'n1')
      await allConverged(cluster)
      const node = cluster.node('n2')
      for (const groupId of groups) await node.machines.get(groupId)?.flush()
      const image = node.image()
      await cluster.propose('b+1', { groupId: 3 })
      await cluster.converged(names, 3)
      const before = position(node)
      node.crash('kill')
      node.restore(image)
      // New leaders, which hold no acknowledgements of its.
      await leadAll(cluster, 'n3')
      node.process.restart()
      for (const groupId of groups) await inspectGroup(node.offline(groupId))
      const store = await node.openLog()
      assert.ok((store.durablePosition?.() ?? 0) >= before, 'it wrote as much as was lost')
      const { lives } = readDiskRecord(store).history
      assert.equal(lives.length, 2, 'all tools have one place')
      await store.close()
      await node.startAgain()
      await allQuarantined(cluster, node)
    })
  })
})

suite('a group that was recovered from a lost quorum', () => {
  /** Group 1 goes on with n2 alone; the others stay as they are. */
  async function recover(cluster: Cluster, node: ClusterNode): Promise<void> {
    const survivors = [await inspectGroup(node.offline(1))]
    await recoverGroup({ ...node.offline(1), survivors, ...acknowledged })
    await node.startAgain()
    await cluster.until(() => node.group(1).token() !== undefined, 'it leads alone')
  }

  async function fillOthers(cluster: Cluster, rounds: number): Promise<void> {
    for (let i = 0; i < rounds; i++) {
      for (const groupId of groups.slice(1)) await cluster.propose('a+1', { groupId })
    }
    for (const groupId of groups.slice(1)) await cluster.converged(names, groupId)
  }

  test('is concerned by what the disk forgets later', async () => {
    for (const lives of [0, 2]) {
      const cluster = makeCluster(41)
      await cluster.run(async () => {
        await bootstrap(cluster)
        await fill(cluster, 3)
        const node = cluster.node('n2')
        await node.stop()
        await recover(cluster, node)
        await fillOthers(cluster, 3)
        for (const groupId of groups) await node.machines.get(groupId)?.flush()
        const image = node.image()
        for (let life = 0; life < lives; life++) {
          node.crash('power')
          await node.restart()
        }
        await fillOthers(cluster, 3)
        node.crash('kill')
        node.restore(image)
        await node.restart()
        await allQuarantined(cluster, node)
        // What is known in memory alone is found out once more; this is about what the node knows by itself.
        await cluster.sleep(500)
        node.crash('power')
        for (const name of names) if (name !== 'n2') cluster.node(name).crash('power')
        await node.restart()
        for (const { quarantined } of node.host.stored().values()) assert.ok(quarantined)
      })
    }
  })

  test('is not concerned by what the disk had forgotten before', async () => {
    for (const lives of [0, 2]) {
      const cluster = makeCluster(42)
      await cluster.run(async () => {
        await bootstrap(cluster)
        await fill(cluster, 3)
        await allConverged(cluster)
        const node = cluster.node('n2')
        for (const groupId of groups) await node.machines.get(groupId)?.flush()
        const image = node.image()
        for (let life = 0; life < lives; life++) {
          node.crash('power')
          await node.restart()
        }
        await fill(cluster, 3)
        await allConverged(cluster)
        const heal = cluster.conditions.partition(isolate('n2', names))
        node.crash('kill')
        node.restore(image)
        node.process.restart()
        await recover(cluster, node)
        node.crash('power')
        await node.restart()
        heal()
        const others = groups.slice(1)
        await cluster.until(
          () => others.every((groupId) => node.group(groupId).status().quarantined),
          'the others are quarantined',
        )
        for (let life = 0; life < 2; life++) {
          await cluster.sleep(1_000)
          assert.equal(node.group(1).status().quarantined, false)
          node.crash('power')
          await node.restart()
        }
        await cluster.until(() => node.group(1).token() !== undefined, 'it leads')
      })
    }
  })
})

test('a disk that was found out says why at each start', async () => {
  const cluster = makeCluster(51)
  await cluster.run(async () => {
    const { node } = await restoredAndCutOff(cluster)
    cluster.conditions.heal()
    await allQuarantined(cluster, node)
    await cluster.sleep(100)
    node.crash('power')
    await restart(node)
    const { evidence } = readDiskRecord(node.store)
    assert.ok(evidence !== undefined)
    assert.match(evidence.knownBy, /^n[13]$/)
    assert.ok(evidence.position > evidence.openedAt)
    const lines = cluster.simulation.trace
      .lines()
      .filter((line) => line.includes('an older image of the disk'))
    assert.equal(lines.length, 2)
    for (const line of lines) assert.ok(line.includes(`${evidence.position}`), line)
  })
})
