import { KeelsonError } from '../../../src/core/errors.ts'
import { between, pick, type SeededRandom } from '../../../src/core/random.ts'
import type {
  ObservedReplica,
  RangeHost,
  RangeHostCall,
  WantedRange,
} from '../../../src/interfaces/range-host.ts'
import type { RangeDescriptor, ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import type { Simulation } from '../../../src/simulation/index.ts'

/** What is true of a range, whatever anybody believes. */
interface Truth {
  readonly rangeId: number
  generation: number
  replicas: ReplicaDescriptor[]
  /** Replica id of the leader; 0 while there is none. */
  leader: number
  /** Term of the leader. */
  sequence: number
  /** Virtual time at which each learner has caught up. */
  readonly caughtUpAtMs: Map<number, number>
  /** Highest epoch of a control plane that has changed this range. */
  epoch: number
  lastReplicaId: number
}

/** Bugs to be planted in what the ranges check. */
export interface DataPlaneBugs {
  /** A change is made whatever generation it was meant for. */
  readonly noGenerationCheck?: boolean
}

const electionMs = 300

/**
 * A data plane in memory: every range is a model of a Raft group, with its configuration, its leader and its generation
 * as one truth that all nodes share. It elects, it refuses what a group would refuse, and it judges every change by the
 * invariants of placement.
 */
export class MemoryDataPlane {
  readonly ranges = new Map<number, Truth>()
  readonly #sim: Simulation
  readonly #random: SeededRandom
  readonly #bugs: DataPlaneBugs
  changes = 0
  refused = 0

  constructor(sim: Simulation, bugs: DataPlaneBugs = {}) {
    this.#sim = sim
    this.#random = sim.random('data plane')
    this.#bugs = bugs
    this.#tick()
  }

  isUp(nodeId: string): boolean {
    return this.#sim.process(nodeId).state === 'running'
  }

  bootstrap(descriptor: RangeDescriptor): void {
    if (this.ranges.has(descriptor.rangeId)) return
    this.ranges.set(descriptor.rangeId, {
      rangeId: descriptor.rangeId,
      generation: descriptor.generation,
      replicas: [...descriptor.replicas],
      leader: 0,
      sequence: 0,
      caughtUpAtMs: new Map(),
      epoch: 0,
      lastReplicaId: descriptor.replicas.length,
    })
  }

  /** A change by the range's leader, as its log would take it. */
  change(nodeId: string, wanted: WantedRange): void {
    const { change } = wanted
    const range = this.ranges.get(wanted.rangeId)
    if (range === undefined || change === undefined) return
    const leader = range.replicas.find(({ replicaId }) => replicaId === range.leader)
    if (leader?.nodeId !== nodeId || !this.hasQuorum(range.replicas)) return
    if (range.generation !== change.generation && this.#bugs.noGenerationCheck !== true) {
      this.refused++
      return
    }
    range.epoch = Math.max(range.epoch, change.epoch)
    const before = range.replicas
    switch (change.type) {
      case 'addLearner': {
        // A node that is down or gone is a legal target: the learner then never catches up.
        const { nodeId: target, incarnation } = change
        const replicaId = ++range.lastReplicaId
        range.replicas = [...before, { replicaId, nodeId: target, incarnation, role: 'learner' }]
        range.caughtUpAtMs.set(replicaId, this.#sim.nowMs + between(this.#random, 50, 2_000))
        break
      }
      case 'promote':
        if (!this.#caughtUp(range, change.replicaId)) return
        range.replicas = before.map((replica) =>
          replica.replicaId === change.replicaId ? { ...replica, role: 'voter' } : replica,
        )
        break
      case 'remove':
        if (change.replicaId === range.leader) range.leader = 0
        range.replicas = before.filter(({ replicaId }) => replicaId !== change.replicaId)
        break
      case 'transferLease': {
        const target = before.find(({ replicaId }) => replicaId === change.replicaId)
        if (target?.role !== 'voter' || !this.isUp(target.nodeId)) return
        range.leader = target.replicaId
        range.sequence++
        return
      }
    }
    range.generation++
    this.changes++
    this.#judge(range)
  }

  hasQuorum(replicas: readonly ReplicaDescriptor[]): boolean {
    const voters = replicas.filter(({ role }) => role === 'voter')
    return voters.filter(({ nodeId }) => this.isUp(nodeId)).length > voters.length / 2
  }

  observe(nodeId: string): ObservedReplica[] {
    const observed: ObservedReplica[] = []
    for (const range of this.ranges.values()) {
      const mine = range.replicas.find((replica) => replica.nodeId === nodeId)
      if (mine === undefined) continue
      observed.push({
        rangeId: range.rangeId,
        replicaId: mine.replicaId,
        generation: range.generation,
        replicas: range.replicas,
        leaseHolder: range.leader === mine.replicaId,
        sequence: range.sequence,
        caughtUp: range.replicas
          .filter(({ replicaId, role }) => role === 'voter' || this.#caughtUp(range, replicaId))
          .map(({ replicaId }) => replicaId),
        load: {},
      })
    }
    return observed
  }

  #caughtUp(range: Truth, replicaId: number): boolean {
    const replica = range.replicas.find((other) => other.replicaId === replicaId)
    const atMs = range.caughtUpAtMs.get(replicaId) ?? 0
    return replica !== undefined && this.isUp(replica.nodeId) && this.#sim.nowMs >= atMs
  }

  /** Invariants of every step. */
  #judge(range: Truth): void {
    const nodes = range.replicas.map(({ nodeId }) => nodeId)
    if (new Set(nodes).size !== nodes.length) {
      throw new KeelsonError('INVARIANT_VIOLATED', `range ${range.rangeId} has two replicas on one node`)
    }
    if (!this.hasQuorum(range.replicas)) {
      throw new KeelsonError('INVARIANT_VIOLATED', `a step left range ${range.rangeId} without a quorum`)
    }
  }

  #tick(): void {
    for (const range of this.ranges.values()) {
      const leader = range.replicas.find(({ replicaId }) => replicaId === range.leader)
      if (leader?.role === 'voter' && this.isUp(leader.nodeId)) continue
      range.leader = 0
      if (!this.hasQuorum(range.replicas) || this.#random.integer(2) === 0) continue
      const up = range.replicas.filter(({ role, nodeId }) => role === 'voter' && this.isUp(nodeId))
      range.leader = pick(this.#random, up).replicaId
      range.sequence++
    }
    this.#sim.scheduler.schedule(electionMs, () => this.#tick())
  }
}

/** One node's hands on the data plane. */
export class MemoryRangeHost implements RangeHost {
  readonly #plane: MemoryDataPlane
  readonly #nodeId: string
  #wanted: readonly WantedRange[] = []

  constructor(plane: MemoryDataPlane, nodeId: string) {
    this.#plane = plane
    this.#nodeId = nodeId
  }

  async reconcile(wanted: readonly WantedRange[], _call: RangeHostCall): Promise<void> {
    this.#wanted = wanted
    this.drive()
  }

  /** What is wanted is looked at again and again, since this node may have become the leader meanwhile. */
  drive(): void {
    for (const range of this.#wanted) {
      if (range.bootstrap) this.#plane.bootstrap(range.descriptor)
      this.#plane.change(this.#nodeId, range)
    }
  }

  observe(): readonly ObservedReplica[] {
    return this.#plane.observe(this.#nodeId)
  }
}
