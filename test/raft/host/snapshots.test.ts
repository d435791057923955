import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { decodeSnapshotHeader, encodeSnapshotHeader } from '../../../src/raft/host/snapshot-wire.ts'
import type { ClusterNode } from '../support/host-cluster.ts'
import { fill, interceptStreams, lagging, makeCluster, metrics, restartWith } from '../support/lagging.ts'

const names = ['n1', 'n2', 'n3']

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
      assert.ok(stuck >= 1)
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
      assert.ok(damaged > 0)
      assert.equal(late.machines.get(1)?.restores, 1)
      assert.equal(late.value('a'), 2)
    })
  })

  test('a transfer goes on after a broken connection where it was, in however many segments', async () => {
    for (const snapshotWindowBytes of [1, 100, 4 << 20]) {
      const cluster = makeCluster(9, { snapshotWindowBytes })
      await cluster.run(async () => {
        const { late } = await lagging(cluster)
        const seen: string[] = []
        let sent = 0
        interceptStreams(cluster, late, async (chunk) => {
          sent++
          return chunk
        })
        let begun = 0
        await restartWith(late, (machine) => {
          const restore = machine.restore.bind(machine)
          machine.restore = async (bookkeeping, chunks) => {
            begun++
            return restore(bookkeeping, chunks)
          }
          machine.onChunk = (chunk) => {
            seen.push(text(chunk))
            if (seen.length % 4 === 2) cluster.network.breakConnections(late.name)
          }
        })
        await cluster.converged(names)
        assert.equal(begun, 1, 'one restore, whatever broke')
        assert.equal(new Set(seen).size, seen.length, 'no chunk came twice')
        assert.ok(seen.length > 10)
        assert.ok(sent >= seen.length)
        assert.equal(late.value('a'), 2)
        assert.match(metrics(late), /snapshots_total\{direction="received",outcome="done"\} 1/)
        assert.match(metrics(late), /snapshot_segments_total [1-9]/)
      })
    }
  })

  test('a transfer whose sender lost its view begins again, and takes nothing of the one before', async () => {
    const cluster = makeCluster(10, { snapshotWindowBytes: 100 })
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      const leader = await cluster.leader()
      let crashed = 0
      let begun = 0
      await restartWith(late, (machine) => {
        const restore = machine.restore.bind(machine)
        machine.restore = async (bookkeeping, chunks) => {
          begun++
          return restore(bookkeeping, chunks)
        }
        machine.onChunk = () => {
          if (crashed++ === 5) leader.crash('kill')
        }
      })
      await cluster.until(() => crashed > 5, 'the crash')
      await cluster.sleep(50)
      await leader.restart()
      for (let i = 0; i < 60; i++) await cluster.propose(`c${i % 40}+1`)
      await cluster.converged(names)
      assert.ok(begun >= 2)
      assert.equal(late.machines.get(1)?.restores, 1)
      assert.deepEqual(late.machines.get(1)?.values, leader.machines.get(1)?.values)
    })
  })

  test('a transfer keeps to its rate, and holds up neither heartbeats nor what the sender applies', async () => {
    const cluster = makeCluster(11, { snapshotBytesPerSecond: 1_024, snapshotTimeoutMs: 60_000 })
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      const leader = await cluster.leader()
      const { term } = leader.group().status()
      await late.restart()
      const machine = late.machines.get(1)
      assert.ok(machine !== undefined)
      const from = cluster.simulation.nowMs
      let slowest = 0
      while (machine.restores === 0) {
        const before = cluster.simulation.nowMs
        await cluster.propose('a+1')
        slowest = Math.max(slowest, cluster.simulation.nowMs - before)
        await cluster.sleep(20)
      }
      const tookMs = cluster.simulation.nowMs - from
      const bytes = Number(/snapshot_bytes_total\{direction="received"\} (\d+)/.exec(metrics(late))?.[1])
      assert.ok(tookMs > ((bytes - 1_024) / 1_024) * 1_000 * 0.9, `${bytes} bytes in ${tookMs} ms`)
      assert.ok(tookMs > 500 && slowest < 50, `${tookMs} ms, proposals up to ${slowest} ms`)
      assert.equal(leader.group().status().term, term, 'the receiver heard its heartbeats')
      await cluster.converged(names)
    })
  })

  test('a damaged piece is asked for again, alone', async () => {
    const cluster = makeCluster(12)
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      let damaged = 0
      let begun = 0
      interceptStreams(cluster, late, async (chunk, count) => {
        if (count !== 3 || damaged++ >= 3) return chunk
        const copy = chunk.slice()
        copy[7] = (copy[7] as number) ^ 4
        return copy
      })
      await restartWith(late, (machine) => {
        const restore = machine.restore.bind(machine)
        machine.restore = async (bookkeeping, chunks) => {
          begun++
          return restore(bookkeeping, chunks)
        }
      })
      await cluster.converged(names)
      assert.ok(damaged >= 3)
      assert.equal(begun, 1)
    })
  })

  test('a snapshot older than the pending one is refused', async () => {
    const cluster = makeCluster(13, { snapshotTimeoutMs: 1_000 })
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      const refused: unknown[] = []
      let older = 0
      for (const node of cluster.nodes.values()) {
        if (node === late) continue
        const open = node.channel.openStream.bind(node.channel)
        node.channel.openStream = async (peer, header, options) => {
          if (older++ >= 2) return open(peer, header, options)
          const read = decodeSnapshotHeader(header)
          const position = { index: 5, term: read.position.term }
          try {
            const stream = await open(peer, encodeSnapshotHeader({ ...read, position }), options)
            await stream.end()
            return stream
          } catch (error) {
            refused.push(error)
            throw error
          }
        }
      }
      await late.restart()
      await cluster.converged(names)
      assert.equal(refused.length, 2)
      for (const error of refused) {
        assert.ok(KeelsonError.hasCode(error, 'CONFLICT'))
        assert.match(error.message, /older than the pending one/)
      }
      assert.equal(late.machines.get(1)?.restores, 1)
    })
  })

  test('no more are received at a time than the limit says', async () => {
    const cluster = makeCluster(14, { maximumSnapshotTransfers: 1 })
    await cluster.run(async () => {
      const groups = [1, 2, 3]
      for (const groupId of groups) await cluster.bootstrap(names, groupId)
      const leader = await cluster.leader(1)
      const late = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
      late.crash()
      await cluster.sleep(400)
      for (const groupId of groups) {
        for (let i = 0; i < 100; i++) await cluster.propose(`c${i}+1`, { groupId })
      }
      late.process.restart()
      await late.start()
      let running = 0
      let most = 0
      for (const groupId of groups) {
        const machine = late.machine(groupId)
        const restore = machine.restore.bind(machine)
        machine.restore = async (bookkeeping, chunks) => {
          most = Math.max(most, ++running)
          await cluster.sleep(30)
          await restore(bookkeeping, chunks)
          running--
        }
        await late.host.openGroup(groupId, { stateMachine: machine })
      }
      for (const groupId of groups) await cluster.converged(names, groupId)
      for (const groupId of groups) assert.equal(late.machines.get(groupId)?.restores, 1)
      assert.equal(most, 1)
    })
  })

  test('a state that cannot be read on the sender, or not be restored on the receiver, is tried again', async () => {
    const cluster = makeCluster(15)
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      const leader = await cluster.leader()
      const source = leader.machines.get(1)
      assert.ok(source !== undefined)
      const snapshot = source.snapshot.bind(source)
      let broken = 0
      let disposed = 0
      source.snapshot = async () => {
        const view = await snapshot()
        const fails = broken++ < 2
        return {
          bookkeeping: view.bookkeeping,
          async *chunks() {
            for await (const chunk of view.chunks()) {
              yield chunk
              if (fails) throw new Error('the view cannot be read')
            }
          },
          async [Symbol.asyncDispose]() {
            disposed++
          },
        }
      }
      let failed = 0
      await restartWith(late, (machine) => {
        machine.onChunk = () => {
          if (broken > 2 && failed++ < 2) throw new Error('the state cannot be written')
        }
      })
      await cluster.converged(names)
      assert.ok(broken >= 4)
      assert.equal(late.machines.get(1)?.restores, 1)
      await cluster.sleep(100)
      assert.equal(disposed, broken, 'every view was closed')
      assert.equal(late.group().status().stopped, undefined)
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
