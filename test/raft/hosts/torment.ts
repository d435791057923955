import { between, chance, pick, shuffled } from '../../../src/core/random.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import type { MembershipChange } from '../../../src/raft/core/membership-types.ts'
import { drawPartition, drawPartitionShape } from '../../../src/simulation/partitions.ts'
import type { ClusterNode } from '../support/host-cluster.ts'
import type { HostWorld } from './world.ts'

/** One fault after the other, for as long as there are to be some. */
export async function torment(world: HostWorld): Promise<void> {
  const { cluster, random } = world
  const until = cluster.simulation.nowMs + world.settings.faultMs
  const drawn = shuffled(random, Object.keys(faults)).slice(0, 3 + random.integer(6))
  const kinds = world.settings.faults ?? drawn
  while (cluster.simulation.nowMs < until) {
    const kind = pick(random, kinds) as keyof typeof faults
    world.count(kind)
    await faults[kind](world)
    await cluster.sleep(between(random, 10, 400))
  }
}

function any(world: HostWorld): ClusterNode {
  const leader = world.cluster.serving()
  if (leader !== undefined && chance(world.random, 0.4)) return leader
  return world.cluster.node(pick(world.random, world.names))
}

const faults = {
  crash: async (world: HostWorld): Promise<void> => {
    const node = any(world)
    world.crash(node)
    await world.cluster.sleep(between(world.random, 10, 700))
    world.revive(node)
  },
  'long absence': async (world: HostWorld): Promise<void> => {
    const node = any(world)
    world.crash(node)
    await world.cluster.sleep(between(world.random, 500, 3_000))
    world.revive(node)
  },
  'crash while catching up': async (world: HostWorld): Promise<void> => {
    const node = any(world)
    world.crash(node)
    await world.cluster.sleep(between(world.random, 100, 1_500))
    world.revive(node)
    const lastIndex = (): number => (world.isOpen(node) ? node.group().status().lastIndex : 0)
    for (let had = 0, waited = 0; waited < 4_000; waited++) {
      await world.cluster.sleep(0.25)
      had ||= lastIndex()
      if (lastIndex() > had) break
    }
    // What it has got waits for the disk, and some of it is there after the power cut.
    const end = node.disk.stall()
    await world.cluster.sleep(between(world.random, 0, 5))
    if (node.process.state !== 'crashed') node.crash('power')
    end()
    await world.cluster.sleep(between(world.random, 1, 50))
    world.revive(node)
  },
  'crash of all': async (world: HostWorld): Promise<void> => {
    for (const node of world.cluster.nodes.values()) world.crash(node)
    await world.cluster.sleep(between(world.random, 0, 100))
    for (const node of world.cluster.nodes.values()) world.revive(node)
  },
  partition: async (world: HostWorld): Promise<void> => {
    const { random } = world
    const links = drawPartition(random, drawPartitionShape(random), world.names)
    const heal = world.cluster.conditions.partition(links)
    await world.cluster.sleep(between(random, 50, 1_500))
    heal()
  },
  pause: async (world: HostWorld): Promise<void> => {
    const node = any(world)
    if (node.process.state !== 'running') return
    node.process.pause()
    await world.cluster.sleep(between(world.random, 50, 1_500))
    node.process.resume()
  },
  'connections broken': async (world: HostWorld): Promise<void> => {
    world.cluster.network.breakConnections(any(world).name)
  },
  'disk stall': async (world: HostWorld): Promise<void> => {
    const end = any(world).disk.stall()
    await world.cluster.sleep(between(world.random, 10, 1_000))
    end()
  },
  transfer: async (world: HostWorld): Promise<void> => {
    world.handOver(world.cluster.serving())
  },
  'leader forgotten': async (world: HostWorld): Promise<void> => {
    const node = any(world)
    if (node.process.state === 'running' && world.isOpen(node)) node.group().forgetLeader()
  },
  'store failure': async (world: HostWorld): Promise<void> => {
    const node = any(world)
    if (node.process.state !== 'running') return
    node.disk.setQuality({ syncFailureProbability: 1 })
    await world.cluster.sleep(between(world.random, 10, 100))
    node.disk.setQuality({ syncFailureProbability: 0 })
    world.crash(node)
    await world.cluster.sleep(20)
    world.revive(node)
  },
}

/** The names of all faults. */
export const faultNames: readonly string[] = Object.keys(faults)

/** Adds spare nodes, promotes them, removes others, or does all of that at once; what was removed is destroyed and waits to come back. */
export async function changeMembers(world: HostWorld): Promise<void> {
  const { cluster, random, settings } = world
  while (!world.calm) {
    await cluster.sleep(between(random, 0.2, 1.8) * settings.changeMs)
    const leader = cluster.serving()
    if (leader === undefined || world.calm) continue
    if (chance(random, settings.replaceShare)) {
      replaceOne(world, leader)
      tidy(world)
      continue
    }
    const change = drawChange(world, leader)
    if (change === undefined) continue
    const done = leader.group().changeMembership(change)
    done.then(
      () => world.count(`change ${change.type}`),
      () => {},
    )
    tidy(world)
  }
}

/** One member goes for a node that waits. It goes on for as long as it needs; another leader may get the same call. */
function replaceOne(world: HostWorld, leader: ClusterNode): void {
  const replicas = leader.group().status().configuration?.replicas ?? []
  const spare = spareOf(world, replicas)
  if (spare === undefined || replicas.length === 0) return
  const { replicaId } = pick(world.random, replicas)
  const replacement = { replicaId, nodeId: spare.name, incarnation: spare.store.incarnation }
  leader
    .group()
    .replace(replacement, { catchUpTimeoutMs: 3_000 })
    .then(
      () => world.count('change replace'),
      () => {},
    )
}

function spareOf(world: HostWorld, replicas: readonly ReplicaDescriptor[]): ClusterNode | undefined {
  return world.names
    .map((name) => world.cluster.node(name))
    .find(
      (node) =>
        world.isOpen(node) &&
        node.group().status().replicaId === 0 &&
        replicas.every(({ nodeId }) => nodeId !== node.name),
    )
}

function drawChange(world: HostWorld, leader: ClusterNode): MembershipChange | undefined {
  const { random, settings } = world
  const replicas = leader.group().status().configuration?.replicas ?? []
  const learner = replicas.find(({ role }) => role === 'learner')
  if (settings.priorities && chance(random, 0.2)) {
    return { type: 'setPriority', replicaId: pick(random, replicas).replicaId, priority: random.integer(3) }
  }
  if (learner?.autoPromote === true && chance(random, 0.7)) return undefined
  if (learner !== undefined && chance(random, 0.8)) return { type: 'promote', replicaId: learner.replicaId }
  const spare = spareOf(world, replicas)
  if (spare !== undefined && replicas.length <= settings.size && learner === undefined) {
    const autoPromote = chance(random, settings.autoPromoteShare)
    return { type: 'addLearner', nodeId: spare.name, incarnation: spare.store.incarnation, autoPromote }
  }
  if (replicas.length <= settings.size) return undefined
  return { type: 'remove', replicaId: pick(random, replicas).replicaId }
}

/** A replica whose removal is committed makes room for a later one, whether it knows of it or not. */
export function tidy(world: HostWorld): void {
  const leader = world.cluster.serving()?.group().status()
  const isRemoved = (replicaId: number): boolean =>
    leader?.configuration !== undefined &&
    replicaId > 0 &&
    replicaId <= leader.commitIndex &&
    leader.configuration.replicas.every((replica) => replica.replicaId !== replicaId)
  for (const node of world.running()) {
    const group = node.host.groups().get(1)
    if (group === undefined) continue
    if (world.replacing.has(group)) continue
    const { stopped, removed, replicaId } = group.status()
    const superseded = stopped?.code === 'SUPERSEDED'
    if (!removed && !superseded && !isRemoved(replicaId)) continue
    const { life } = node.process
    const replace = async (): Promise<void> => {
      world.replacing.add(group)
      const known = removed || superseded
      await node.host.destroyGroup(1, known ? {} : { confirm: 'destroy group 1' })
      world.count(superseded ? 'superseded replica destroyed' : 'replica destroyed')
      await world.open(node)
    }
    replace().catch((error: unknown) => {
      if (node.process.life === life && node.process.state !== 'crashed') world.failure ??= error
    })
  }
}
