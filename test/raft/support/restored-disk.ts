import assert from 'node:assert/strict'
import { decodeGroupMetadata, encodeGroupMetadata } from '../../../src/raft/group/metadata.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { type SegmentsOptions, segments } from '../../../src/storage/segments/index.ts'
import { Cluster, type ClusterNode, type ClusterOptions } from './host-cluster.ts'

export const names = ['n1', 'n2', 'n3'] as const
export const groups = [1, 2, 3, 4, 5] as const

/** Nodes whose logs are real segments on simulated disks. */
export function makeCluster(seed: number, options: SegmentsOptions = {}, more: ClusterOptions = {}): Cluster {
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

export async function bootstrap(cluster: Cluster): Promise<void> {
  for (const groupId of groups) await cluster.bootstrap(names, groupId)
}

/** Counts up in all groups. The lines are long, so that a page holds few of them. */
export async function fill(cluster: Cluster, rounds: number): Promise<void> {
  for (let i = 0; i < rounds; i++) {
    await Promise.all(groups.map((groupId) => cluster.propose(`${'counter'.repeat(20)}+1`, { groupId })))
  }
}

export function values(node: ClusterNode): (number | undefined)[] {
  return groups.map((groupId) => node.value('counter'.repeat(20), groupId))
}

export function segmentsOf(node: ClusterNode): string[] {
  return node.disk
    .mount()
    .list('raft/')
    .filter((path) => path.endsWith('.segment'))
}

export async function followerOf(cluster: Cluster): Promise<ClusterNode> {
  const leaders = new Set<ClusterNode>()
  for (const groupId of groups) leaders.add(await cluster.leader(groupId))
  return [...cluster.nodes.values()].find((node) => !leaders.has(node)) ?? cluster.node('n3')
}

/** Has one node lead all groups. */
export async function leadAll(cluster: Cluster, name: string): Promise<void> {
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

export async function allConverged(cluster: Cluster): Promise<void> {
  for (const groupId of groups) await cluster.converged(names, groupId)
}

/** All replicas have counted the same, and everything that was acknowledged: some of it twice, where nobody knew. */
export async function sameValues(cluster: Cluster, acknowledged: number): Promise<void> {
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
export async function restart(node: ClusterNode, opened: readonly number[] = groups): Promise<number[]> {
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

/**
 * An older image of a disk comes back; what its replicas acknowledged meanwhile is gone. With `newLeaders` the groups have
 * leaders by then that know nothing of these acknowledgements.
 */
export async function restoredDisk(
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
export async function restoredAndCutOff(cluster: Cluster): Promise<{ position: number; node: ClusterNode }> {
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
export async function overwritten(cluster: Cluster): Promise<ClusterNode> {
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

export async function allQuarantined(cluster: Cluster, node: ClusterNode): Promise<void> {
  await cluster.until(
    () => groups.every((groupId) => node.group(groupId).status().quarantined),
    'every group is quarantined',
    10_000,
  )
}
