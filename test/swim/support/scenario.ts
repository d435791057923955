import { between, chance, pick, shuffled } from '../../../src/core/random.ts'
import type { SwimTuning } from '../../../src/swim/core/tuning.ts'
import { type Mutant, SimulatedCluster } from './cluster.ts'

export interface ScenarioOptions {
  readonly seed: number
  readonly mutant?: Mutant
}

/** Shorter than in production, so that a run of some minutes holds several exchanges and attempts to reconnect. */
const tuning: Partial<SwimTuning> = {
  syncIntervalMs: 15_000,
  reconnectIntervalMs: 15_000,
  gossipToDeadMs: 5_000,
}

/** On a healthy network nothing is lost, not even when a member is held up for less than the shortest suspicion. */
function beWell(cluster: SimulatedCluster): void {
  cluster.invariants.healthy = true
  const random = cluster.random.child('healthy')
  cluster.pause(pick(random, cluster.running), 3_000)
  cluster.run(8_000)
  const speaker = pick(random, cluster.running)
  cluster.input(speaker, (core) => core.setMetadata(random.bytes(20), cluster.nowMs))
  cluster.run(3_000)
  cluster.invariants.checkSpread(cluster.runningCores(), speaker)
}

/**
 * A random run: a cluster of a drawn size forms, suffers a drawn mixture of faults, and is then left alone. The invariants
 * are checked after every input, and the views at the end.
 */
export function runScenario({ seed, mutant }: ScenarioOptions): SimulatedCluster {
  const cluster = new SimulatedCluster({ seed, tuning, ...(mutant === undefined ? {} : { mutant }) })
  const random = cluster.random.child('scenario')
  const size = 5 + random.integer(22)
  cluster.startMany(size, 8_000)
  beWell(cluster)
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
      cluster.at(between(random, 5_000, 120_000), () => cluster.partition())
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
  cluster.run(90_000)
  beWell(cluster)
  cluster.run(20_000)
  cluster.checkQuiet()
  return cluster
}
