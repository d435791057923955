import { between, chance, pick, shuffled } from '../../../src/core/random.ts'
import { type Mutant, SimulatedCluster } from './cluster.ts'

export interface ScenarioOptions {
  readonly seed: number
  readonly mutant?: Mutant
}

/**
 * A random run: a cluster of a drawn size forms, suffers a drawn mixture of faults, and is then left alone. The invariants
 * are checked after every input, and the views at the end.
 */
export function runScenario({ seed, mutant }: ScenarioOptions): SimulatedCluster {
  const cluster = new SimulatedCluster(mutant === undefined ? { seed } : { seed, mutant })
  const random = cluster.random.child('scenario')
  const size = 5 + random.integer(28)
  cluster.startMany(size, 8_000)
  cluster.invariants.healthy = true
  cluster.run(10_000)
  cluster.invariants.healthy = false
  cluster.faults.loss = chance(random, 0.5) ? random.float() * 0.3 : 0
  cluster.faults.duplication = chance(random, 0.5) ? random.float() * 0.3 : 0
  cluster.faults.maximumDelayMs = chance(random, 0.5) ? between(random, 2, 300) : 2
  const seeds = ['n0', 'n1'].map((nodeId) => cluster.address(nodeId))
  const acts: (() => void)[] = [
    () => {
      // Somebody who is told of all this must stay.
      if (cluster.running.length > 3) cluster.crash(pick(random, cluster.running.slice(2)))
    },
    () => cluster.pause(pick(random, cluster.running), between(random, 500, 20_000)),
    () => {
      const mixed = shuffled(random, cluster.nodeIds)
      const cut = 1 + random.integer(mixed.length - 1)
      cluster.partition(mixed.slice(0, cut), mixed.slice(cut))
      cluster.at(between(random, 5_000, 60_000), () => cluster.partition())
    },
    () => {
      const gone = cluster.nodeIds.filter((nodeId) => !cluster.running.includes(nodeId))
      if (gone.length > 0) cluster.start(pick(random, gone), seeds)
    },
    () => {
      const staying = cluster.running.slice(2).filter((nodeId) => !cluster.core(nodeId).membership.leaving)
      if (staying.length > 2) cluster.leave(pick(random, staying))
    },
    () => {
      const nodeId = pick(random, cluster.running)
      cluster.input(nodeId, (core) => core.setMetadata(random.bytes(random.integer(40)), cluster.nowMs))
    },
    () => {
      const [observer, subject] = shuffled(random, cluster.running)
      if (observer === undefined || subject === undefined) return
      cluster.input(observer, (core) => core.suspectLocally(subject, cluster.nowMs))
    },
    () => {
      cluster.start(`x${random.integer(5)}-${random.integer(1_000)}`, seeds)
    },
  ]
  for (let i = 4 + random.integer(12); i > 0; i--) {
    cluster.run(between(random, 100, 8_000))
    pick(random, acts)()
  }
  cluster.run(65_000)
  cluster.heal()
  cluster.run(240_000)
  cluster.invariants.healthy = true
  cluster.run(30_000)
  cluster.checkQuiet()
  return cluster
}
