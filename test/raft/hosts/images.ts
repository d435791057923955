import { utf8 } from '../../../src/core/bytes.ts'
import { between, chance, pick } from '../../../src/core/random.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { CounterMachine, emptyDisk } from '../support/counter-machine.ts'
import type { ClusterNode } from '../support/host-cluster.ts'
import type { HostWorld } from './world.ts'

/** A group of one node's own: what is written there nobody else hears of. */
const ownGroup = 20

/**
 * Older images of disks come back, of fewer nodes than a majority. What a node promised since its image is gone then. So that
 * nothing is lost with it that nobody else has, it happens where all others have everything; but they have no leader that
 * holds its acknowledgements any more, perhaps, and it goes through some lives, and writes as much as it lost, before
 * anybody speaks to it. Other nodes go through as many lives, and have lost nothing.
 */
export async function restoreImages(world: HostWorld): Promise<void> {
  const { cluster, random, settings } = world
  let left = Math.floor((settings.size - 1) / 2)
  while (!world.calm) {
    await cluster.sleep(between(random, 100, 1_500))
    const node = cluster.node(pick(random, world.names.slice(0, settings.size)))
    if (world.calm || !isMember(world, node) || world.disks.isForgetful(node)) continue
    if (left === 0 || chance(random, 0.3)) await liveOften(world, node)
    else if (await goBack(world, node)) left--
  }
}

function isMember(world: HostWorld, node: ClusterNode): boolean {
  return world.isOpen(node) && node.group().status().replicaId > 0 && !node.group().status().quarantined
}

/** Crashes again and again, with little time to live. */
async function liveOften(world: HostWorld, node: ClusterNode): Promise<void> {
  const { cluster, random } = world
  world.count('lives in a row')
  // It is slow to note that it lives.
  if (chance(random, 0.7)) node.disk.setQuality({ slowProbability: 0.4, slowDelayMs: 400 })
  for (let lives = 1 + random.integer(8); lives > 0 && !world.calm; lives--) {
    world.crash(node)
    world.revive(node)
    await cluster.sleep(between(random, 0, 150))
    if (chance(random, 0.3)) await write(world, node)
  }
  node.disk.setQuality({ slowProbability: 0 })
}

/** @returns whether an older image came back */
async function goBack(world: HostWorld, node: ClusterNode): Promise<boolean> {
  const { cluster, random, disks } = world
  await node.machines.get(1)?.flush()
  if (!isMember(world, node)) return false
  const image = disks.take(node)
  if (chance(random, 0.5)) await liveOften(world, node)
  await cluster.sleep(between(random, 20, 1_500))
  if (world.calm || !world.isOpen(node)) return false
  const heal = cluster.conditions.partition(isolate(node.name, world.names))
  try {
    if (!(await othersHaveAll(world, node))) return false
    const position = node.store.durablePosition?.() ?? 0
    world.crash(node)
    disks.restore(node, image)
    world.count('image comes back')
    const grows = chance(random, 0.6)
    for (let lives = random.integer(5); lives > 0; lives--) {
      world.revive(node)
      await cluster.sleep(between(random, 5, 200))
      while (grows && world.isOpen(node) && (node.store.durablePosition?.() ?? 0) <= position) {
        if (!(await write(world, node))) break
      }
      if (!world.calm) world.crash(node)
    }
    world.revive(node)
    if (chance(random, 0.5)) await cluster.sleep(between(random, 0, 300))
    return true
  } finally {
    heal()
  }
}

/** @returns whether it could be done */
async function write(world: HostWorld, node: ClusterNode): Promise<boolean> {
  const { cluster } = world
  const { life } = node.process
  const goesOn = (): boolean => node.process.life === life && world.isOpen(node)
  if (!goesOn()) return false
  const { host } = node
  const work = async (): Promise<void> => {
    // The world follows the machines of the group that all share.
    const disk = node.states.get(ownGroup) ?? emptyDisk()
    node.states.set(ownGroup, disk)
    const stateMachine = new CounterMachine(disk)
    const replicas = cluster.replicas([node.name])
    if (!host.stored().has(ownGroup)) await host.bootstrap(ownGroup, { replicas, stateMachine })
    else if (!host.groups().has(ownGroup)) await host.openGroup(ownGroup, { stateMachine })
    const group = host.groups().get(ownGroup)
    while (goesOn() && group !== undefined && group.token() === undefined) await cluster.sleep(5)
    for (let i = 0; i < 5 && goesOn(); i++) await group?.propose(utf8(`${'own'.repeat(100)}+1`))
  }
  let done = false
  const end = work().then(
    () => {
      done = true
    },
    () => {},
  )
  // A call into a process that dies is never answered.
  for (let waited = 0; waited < 200 && goesOn() && !done; waited++) {
    await Promise.race([end, cluster.sleep(10)])
  }
  return done
}

/** The other members have applied, from their disks, all that anybody knows to be committed, in terms as high as any. */
async function othersHaveAll(world: HostWorld, node: ClusterNode): Promise<boolean> {
  const { cluster } = world
  const members = world.names.slice(0, world.settings.size).map((name) => cluster.node(name))
  const lives = members.map(({ process }) => process.life)
  const have = (): boolean => {
    if (!members.every((member) => world.isOpen(member))) return false
    const statuses = members.map((member) => member.group().status())
    const commitIndex = Math.max(...statuses.map((status) => status.commitIndex))
    const term = Math.max(...statuses.map((status) => status.term))
    return members.every(
      (member, i) =>
        member === node ||
        ((statuses[i]?.appliedIndex ?? 0) >= commitIndex &&
          (statuses[i]?.term ?? 0) >= (node.group().status().term ?? 0) &&
          term > 0),
    )
  }
  for (let waited = 0; waited < 40 && !world.calm; waited++) {
    await cluster.sleep(50)
    if (!have()) continue
    // What they have is on their disks by then.
    await cluster.sleep(200)
    return have() && members.every(({ process }, i) => process.life === lives[i])
  }
  return false
}

/** What an operator does with nodes that were found out: their replicas go, and they start with empty disks. */
export async function replaceForgetful(world: HostWorld): Promise<void> {
  const { cluster } = world
  // Everybody speaks to everybody.
  await cluster.sleep(2_000)
  for (const node of world.running()) world.disks.look(node)
  for (const name of world.names) {
    const node = cluster.node(name)
    if (node.host.stored().get(1)?.quarantined !== true) continue
    world.count('forgetful disk found out')
    const { replicaId } = node.group().status()
    for (let gone = false; !gone; ) {
      const leader = await cluster.leader()
      const { configuration } = leader.group().status()
      gone = configuration?.replicas.every((replica) => replica.replicaId !== replicaId) ?? false
      if (gone) continue
      await leader
        .group()
        .changeMembership({ type: 'remove', replicaId })
        .catch(() => {})
      await cluster.sleep(50)
    }
    node.crash('power')
    node.wipe()
    world.revive(node)
  }
}
