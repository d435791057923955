import assert from 'node:assert/strict'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { between, chance, pick } from '../../../src/core/random.ts'
import { entryKinds } from '../../../src/interfaces/log-store.ts'
import { decodeEnvelope } from '../../../src/raft/group/envelope.ts'
import { decodeFrame } from '../../../src/raft/host/frame.ts'
import { drawPartition, drawPartitionShape } from '../../../src/simulation/partitions.ts'
import { Cluster, type ClusterNode } from './host-cluster.ts'

const names = ['n1', 'n2', 'n3']

/** What the caller of a command was told; nothing by a process that died. */
type Told = 'done' | 'none' | 'unknown'

/**
 * Commands with and without ids, each on a counter of its own, from all nodes at once, which have room for few of them;
 * meanwhile leaders, connections and disks come and go.
 */
export async function survive(seed: number): Promise<string[]> {
  const hops: string[] = []
  const cluster: Cluster = new Cluster({
    seed,
    onChannel: (node) => watchHops(cluster, node, hops),
    host: { forwardProposals: true },
    raft: { electionTimeoutMs: 150, heartbeatIntervalMs: 30, leaseMs: 60, clockDriftBound: 0.01 },
    limits: {
      maximumPendingProposals: 4,
      maximumForwarded: 12,
      forwardTimeoutMs: 800,
      lostLeadershipGraceMs: 60,
    },
  })
  const problems: string[] = []
  await cluster.run(async () => {
    await cluster.bootstrap(names)
    await cluster.leader()
    const random = cluster.simulation.random('commands')
    const told = new Map<string, Told>()
    const wrong: string[] = []
    let session = 0
    for (; session === 0; await cluster.sleep(50)) {
      session =
        (await cluster
          .serving()
          ?.group()
          .openSession()
          .catch(() => 0)) ?? 0
    }
    let sequence = 0
    const call = (name: string): void => {
      const node = cluster.node(pick(random, names))
      const group = node.process.state === 'running' ? node.host.groups().get(1) : undefined
      if (group === undefined) return
      const commandId = chance(random, 0.6) ? { session, sequence: ++sequence } : undefined
      told.set(name, 'unknown')
      // Some give up while it is on its way.
      const signal = chance(random, 0.3) ? giveUp(cluster, between(random, 0, 60)) : undefined
      const options = {
        ...(commandId === undefined ? {} : { commandId }),
        ...(signal === undefined ? {} : { signal }),
      }
      group.propose(utf8(`${name}+1`), options).then(
        (result) => {
          told.set(name, 'done')
          if (text(result) !== '1') wrong.push(`${name} was told ${text(result)}`)
        },
        (error: unknown) => told.set(name, KeelsonError.is(error) ? error.outcome : 'unknown'),
      )
    }
    let over = false
    const calls = (async () => {
      for (let n = 0; !over; n++) {
        for (let burst = random.integer(6); burst >= 0; burst--) call(`c${n}.${burst}`)
        await cluster.sleep(between(random, 1, 25))
      }
    })()
    await torment(cluster, 14)
    over = true
    await calls
    await cluster.sleep(2_000)
    await cluster.propose('end+1')
    await cluster.converged(names)
    const { values } = cluster.node(pick(random, names)).machines.get(1) ?? { values: new Map() }
    for (const [name, outcome] of told) {
      const count = values.get(name) ?? 0
      if (count > 1) wrong.push(`${name} took effect ${count} times`)
      if (outcome === 'done' && count === 0) wrong.push(`${name} was done, but had no effect`)
      if (outcome === 'none' && count > 0) wrong.push(`${name} had an effect, but its caller was told none`)
    }
    const count = (outcome: Told): number => [...told.values()].filter((each) => each === outcome).length
    assert.ok(count('done') > 100 && count('none') > 0, `seed ${seed}: ${count('done')}/${count('none')}`)
    problems.push(...hops.map((problem) => `seed ${seed}: ${problem}`))
    problems.push(...wrong.map((problem) => `seed ${seed}: ${problem}`))
  })
  return problems
}

function giveUp(cluster: Cluster, afterMs: number): AbortSignal {
  const controller = new AbortController()
  cluster.simulation.scheduler.schedule(afterMs, () => controller.abort())
  return controller.signal
}

/** Notes every command that is forwarded by two nodes. */
function watchHops(cluster: Cluster, node: ClusterNode, problems: string[]): void {
  const send = node.channel.send.bind(node.channel)
  node.channel.send = (peer, bytes) => {
    const frame = decodeFrame(bytes, cluster.node(peer).store.incarnation)
    for (const { message } of frame?.messages ?? []) {
      if (message.kind !== 'forward' || message.entryKind !== entryKinds.command) continue
      const command = text(decodeEnvelope(message.data).payload)
      const before = forwardedBy.get(problems)?.get(command)
      if (before !== undefined && before !== node.name)
        problems.push(`${command} went from ${before} to ${node.name} and on`)
      const known = forwardedBy.get(problems) ?? new Map<string, string>()
      forwardedBy.set(problems, known.set(command, node.name))
    }
    return send(peer, bytes)
  }
}

/** Who has forwarded a command first, by run. */
const forwardedBy = new WeakMap<string[], Map<string, string>>()

async function torment(cluster: Cluster, rounds: number): Promise<void> {
  const random = cluster.simulation.random('torment')
  for (let round = 0; round < rounds; round++) {
    const node = cluster.node(pick(random, names))
    const leader = cluster.serving()
    const kind = random.integer(6)
    if (kind === 0) {
      node.crash('kill')
      await cluster.sleep(between(random, 5, 120))
      await node.restart()
    } else if (kind === 1) {
      const heal = cluster.conditions.partition(drawPartition(random, drawPartitionShape(random), names))
      await cluster.sleep(between(random, 50, 600))
      heal()
    } else if (kind === 2) {
      cluster.network.breakConnections(node.name)
    } else if (kind === 3) {
      leader
        ?.group()
        .transferLeadership(1 + random.integer(names.length))
        .catch(() => {})
    } else if (kind === 4) {
      const goOn = (leader ?? node).disk.stall()
      await cluster.sleep(between(random, 10, 250))
      goOn()
    } else {
      node.process.pause()
      await cluster.sleep(between(random, 20, 400))
      node.process.resume()
    }
    await cluster.sleep(between(random, 5, 200))
  }
}
