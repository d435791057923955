import { chance, pick } from '../../../src/core/random.ts'
import { drawSwarm, FaultInjector, type FaultKind } from '../../../src/simulation/faults.ts'
import type { BlockedLink } from '../../../src/simulation/partitions.ts'
import type { MetadataCluster } from './cluster.ts'

/** Faults of servers and their network, another mix for each seed. Never more than a minority of the servers is down. */
export function injectFaults(cluster: MetadataCluster): FaultInjector {
  const down = new Set<string>()
  const minority = (): boolean => down.size < (cluster.servers.length - 1) / 2
  const kinds: FaultKind[] = [
    {
      name: 'crash',
      meanIntervalMs: 4_000,
      durationMs: [50, 2_000],
      begin: (random) => {
        const node = pick(random, cluster.servers)
        if (!minority() || !node.running) return undefined
        down.add(node.name)
        node.crash(chance(random, 0.5) ? 'kill' : 'power')
        return () => {
          void node.restart().then(() => down.delete(node.name))
        }
      },
    },
    {
      name: 'pause',
      meanIntervalMs: 4_000,
      durationMs: [20, 6_000],
      begin: (random) => {
        const node = pick(random, cluster.servers)
        if (!node.running) return undefined
        node.process.pause({ suspend: false })
        return () => node.process.resume()
      },
    },
    {
      name: 'isolate',
      meanIntervalMs: 4_000,
      durationMs: [100, 4_000],
      begin: (random) => {
        const node = pick(random, cluster.servers)
        const others = cluster.servers.filter((each) => each !== node)
        const both = others.flatMap((each): BlockedLink[] => [
          [node.name, each.name],
          [each.name, node.name],
        ])
        return cluster.conditions.partition(chance(random, 0.3) ? both.slice(0, 2) : both)
      },
    },
    {
      name: 'break',
      meanIntervalMs: 1_000,
      begin: (random) => {
        const names = [...cluster.simulation.processes.keys()]
        cluster.network.breakConnections(pick(random, names), pick(random, names))
        return undefined
      },
    },
  ]
  const random = cluster.simulation.random('swarm')
  const drawn = drawSwarm(random, kinds, { probability: 0.6 })
  return new FaultInjector(cluster.simulation, drawn.length > 0 ? drawn : kinds.slice(0, 1))
}
