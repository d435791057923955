import { chance, shuffled } from '../../../src/core/random.ts'
import type { GroupReport } from '../../../src/raft/group/lost-quorum.ts'
import { inspectGroup, recoverGroup } from '../../../src/raft/host/recover-group.ts'
import type { ClusterNode } from '../support/host-cluster.ts'
import { SessionClient } from './clients.ts'
import { tidy } from './torment.ts'
import type { HostWorld } from './world.ts'

/** Under load more than half of the voters go for good. The group is recovered without them, and some come back. */
export async function loseAndRecover(world: HostWorld): Promise<void> {
  const { cluster, random } = world
  const replicas = cluster.serving()?.group().status().configuration?.replicas ?? []
  const voters = shuffled(
    random,
    replicas.filter(({ role }) => role === 'voter'),
  ).map(({ nodeId }) => cluster.node(nodeId))
  if (voters.length < 3) return
  world.count('quorum lost')
  // From here on there are two histories: that of the survivors, and what the lost ones go on applying.
  world.history.end()
  const survivors = voters.slice(0, 1 + random.integer(Math.floor(voters.length / 2)))
  await underLoad(world, 'l', 200 + random.float() * 600, () => {
    for (const node of cluster.nodes.values()) {
      if (survivors.includes(node)) continue
      world.dead.add(node)
      node.crash('power')
    }
  })
  for (const node of survivors) await stop(world, node)
  const reports: GroupReport[] = []
  for (const node of survivors) reports.push(await inspectGroup(node.offline()))
  const acknowledged = { survivors: reports, acceptDataLoss: true, confirm: 'recover group 1' }
  for (const node of shuffled(random, survivors)) {
    const recovery = await recoverGroup({ ...node.offline(), ...acknowledged })
    if (recovery.configuration.replicas.length !== survivors.length) {
      world.broken('recovery', 'the configuration is not that of the survivors')
    }
    if (chance(random, 0.5)) await recoverGroup({ ...node.offline(), ...acknowledged })
    await node.start()
    await world.open(node)
  }
  // Not so many that they are a quorum of the old group by themselves.
  const back = voters.filter((node) => !survivors.includes(node)).slice(0, Math.floor(voters.length / 2))
  const done = underLoad(world, 'r', 3_000, () => {})
  for (const node of back) {
    await cluster.sleep(random.float() * 1_000)
    world.dead.delete(node)
    world.revive(node)
  }
  const clients = await done
  await cluster.until(() => back.every((node) => isLeftBehind(node)), 'the lost ones hear that they are lost')
  tidy(world)
  for (const node of back) await rejoin(world, node)
  const names = [...survivors, ...back].map(({ name }) => name)
  await cluster.converged(names)
  for (const name of names) {
    for (const { counter, sequence } of clients) {
      const value = cluster.node(name).value(counter)
      if (value !== sequence) {
        world.broken('no second history', `${name} ends with ${counter} = ${value}, not ${sequence}`)
      }
    }
  }
}

function isLeftBehind(node: ClusterNode): boolean {
  const group = node.host.groups().get(1)
  const stored = node.host.stored().get(1)
  const tombstone = stored?.destroyed === true && stored.recoveryGeneration > 0
  return tombstone || group?.status().stopped?.code === 'SUPERSEDED' || stored?.superseded === true
}

async function rejoin(world: HostWorld, node: ClusterNode): Promise<void> {
  const { cluster } = world
  await cluster.until(() => world.isOpen(node) && node.group().status().replicaId === 0, 'it waits again')
  for (;;) {
    const leader = await cluster.leader()
    try {
      const { incarnation } = node.store
      await leader.group().changeMembership({ type: 'addLearner', nodeId: node.name, incarnation })
      world.count('lost member added anew')
      return
    } catch {
      await cluster.sleep(50)
      const replicas = cluster.serving()?.group().status().configuration?.replicas ?? []
      if (replicas.some(({ nodeId }) => nodeId === node.name)) return
    }
  }
}

async function stop(world: HostWorld, node: ClusterNode): Promise<void> {
  if (chance(world.random, 0.5)) await node.stop()
  else {
    node.crash('power')
    node.process.restart()
  }
}

/** Clients of new counters work for a while; `act` comes at its end. */
async function underLoad(
  world: HostWorld,
  prefix: string,
  ms: number,
  act: () => void,
): Promise<readonly SessionClient[]> {
  const clients = [1, 2].map((n) => new SessionClient(world, `${prefix}${n}`))
  let working = true
  const work = clients.map(async (client) => client.run(() => working && world.failure === undefined))
  await world.cluster.sleep(ms)
  act()
  working = false
  // Where the quorum is gone nobody is ever answered.
  if (prefix === 'r') await Promise.all(work)
  else for (const promise of work) promise.catch(() => {})
  return clients
}
