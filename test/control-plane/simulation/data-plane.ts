import { KeelsonError } from '../../../src/core/errors.ts'
import { between, chance, pick, type SeededRandom } from '../../../src/core/random.ts'
import type {
  ObservedReplica,
  RangeHost,
  RangeHostCall,
  WantedRange,
} from '../../../src/interfaces/range-host.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import {
  isJoint,
  votesInAnyHalf,
  votesInIncoming,
  votesInOutgoing,
} from '../../../src/model/replica-roles.ts'
import { PlacementInvariants } from '../../../src/placement/index.ts'
import type { NetworkConditions, Simulation } from '../../../src/simulation/index.ts'
import { RangeRows } from './range-rows.ts'

/** What is true of a range, whatever anybody believes. */
export interface Truth {
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
  readonly rows: RangeRows
}

/** Bugs to be planted in what the ranges check. */
export interface DataPlaneBugs {
  /** A change is made whatever generation it was meant for. */
  readonly noGenerationCheck?: boolean
  /** Two replicas change places without a joint configuration in between. */
  readonly swapsAtOnce?: boolean
}

/** The members when a joint configuration is left. */
function afterJoint(replicas: readonly ReplicaDescriptor[]): ReplicaDescriptor[] {
  return replicas
    .filter(({ role }) => role !== 'outgoing')
    .map((replica) => (replica.role === 'incoming' ? { ...replica, role: 'voter' } : replica))
}

const electionMs = 300

/**
 * A data plane in memory: every range is a model of a Raft group, with its configuration, its leader and its rows as one
 * truth, and with what each node believes of it. It elects, it refuses what a group would refuse, and it judges every
 * change by the invariants of placement.
 */
export class MemoryDataPlane {
  readonly ranges = new Map<number, Truth>()
  readonly #views = new Map<string, Map<number, ObservedReplica>>()
  readonly #sim: Simulation
  readonly #conditions: NetworkConditions
  readonly #random: SeededRandom
  readonly #bugs: DataPlaneBugs
  readonly #invariants = new PlacementInvariants()
  readonly #broken: (error: unknown) => void
  /** Ranges know how to swap two replicas in one joint step. */
  readonly #swaps: boolean
  changes = 0
  /** Changes that were refused as meant for another generation. */
  staleGenerations = 0
  /** Changes that were refused since a later epoch has changed the range. */
  staleEpochs = 0
  elections = 0

  constructor(
    sim: Simulation,
    conditions: NetworkConditions,
    broken: (error: unknown) => void,
    bugs: DataPlaneBugs = {},
  ) {
    this.#sim = sim
    this.#conditions = conditions
    this.#random = sim.random('data plane')
    this.#swaps = chance(sim.random('swaps'), 0.6)
    this.#broken = broken
    this.#bugs = bugs
    this.#tick()
  }

  isUp(nodeId: string): boolean {
    return this.#sim.process(nodeId).state === 'running'
  }

  /** Whether a range is led, by somebody who can commit. */
  isServed(range: Truth): boolean {
    const leader = leaderOf(range)
    return leader !== undefined && this.#commands(leader.nodeId, range)
  }

  bootstrap(wanted: WantedRange): void {
    const { descriptor } = wanted
    if (this.ranges.has(descriptor.rangeId)) return
    const range: Truth = {
      rangeId: descriptor.rangeId,
      generation: descriptor.generation,
      replicas: [...descriptor.replicas],
      leader: 0,
      sequence: 0,
      caughtUpAtMs: new Map(),
      epoch: 0,
      lastReplicaId: descriptor.replicas.length,
      rows: new RangeRows(),
    }
    this.ranges.set(descriptor.rangeId, range)
    this.#judge(range)
  }

  /** A change by the range's leader, as its log would take it. */
  change(nodeId: string, wanted: WantedRange): void {
    const { change } = wanted
    const range = this.ranges.get(wanted.rangeId)
    if (range === undefined || change === undefined) return
    if (leaderOf(range)?.nodeId !== nodeId || !this.#commands(nodeId, range)) return
    if (range.generation !== change.generation && this.#bugs.noGenerationCheck !== true) {
      this.staleGenerations++
      return
    }
    if (change.epoch < range.epoch) {
      this.staleEpochs++
      return
    }
    range.epoch = change.epoch
    const before = range.replicas
    // A range in between two sets of voters takes no change.
    if (isJoint(before)) return
    switch (change.type) {
      case 'split':
      case 'freeze':
      case 'merge':
      case 'thaw':
      case 'touch':
        return
      case 'addLearner': {
        // A node that is down or gone is a legal target: the learner then never catches up.
        const { nodeId: target, incarnation } = change
        const replicaId = ++range.lastReplicaId
        range.replicas = [...before, { replicaId, nodeId: target, incarnation, role: 'learner' }]
        range.caughtUpAtMs.set(replicaId, this.#sim.nowMs + between(this.#random, 50, 2_000))
        break
      }
      case 'promote':
        if (before.find(({ replicaId }) => replicaId === change.replicaId)?.role !== 'learner') return
        if (!this.#caughtUp(range, change.replicaId)) return
        range.replicas = before.map((replica) =>
          replica.replicaId === change.replicaId ? { ...replica, role: 'voter' } : replica,
        )
        break
      case 'remove':
        if (!before.some(({ replicaId }) => replicaId === change.replicaId)) return
        if (change.replicaId === range.leader) range.leader = 0
        range.replicas = before.filter(({ replicaId }) => replicaId !== change.replicaId)
        break
      case 'swap': {
        const arriving = before.find(({ replicaId }) => replicaId === change.promote)
        const leaving = before.find(({ replicaId }) => replicaId === change.remove)
        if (arriving?.role !== 'learner' || leaving?.role !== 'voter') return
        if (!this.#caughtUp(range, change.promote)) return
        const joint = before.map((replica): ReplicaDescriptor => {
          if (replica === arriving) return { ...replica, role: 'incoming' }
          return replica === leaving ? { ...replica, role: 'outgoing' } : replica
        })
        if (!this.#commands(nodeId, { ...range, replicas: joint })) return
        range.replicas = this.#bugs.swapsAtOnce === true ? afterJoint(joint) : joint
        break
      }
      case 'transferLease': {
        const target = before.find(({ replicaId }) => replicaId === change.replicaId)
        if (target?.role !== 'voter' || target.nodeId === nodeId || !this.#meets(nodeId, target.nodeId))
          return
        range.leader = target.replicaId
        range.sequence++
        this.#sim.note(nodeId, 'lease handed over', range.rangeId, target.nodeId)
        return
      }
    }
    range.generation++
    this.changes++
    this.#sim.note(nodeId, `${change.type} of range`, range.rangeId, range.generation, change.epoch)
    this.#judge(range)
  }

  /** What a node believes. It learns from the leader, if it meets it, and now and then it is late. */
  refresh(nodeId: string): void {
    const views = this.#viewsOf(nodeId)
    for (const range of this.ranges.values()) {
      const mine = range.replicas.find((replica) => replica.nodeId === nodeId)
      // One that was removed may never hear of it.
      if (mine === undefined) {
        const stale = views.get(range.rangeId)
        if (stale?.leaseHolder === true)
          views.set(range.rangeId, { ...stale, leaseHolder: false, caughtUp: [] })
        continue
      }
      const leader = leaderOf(range)
      const leads = leader === mine
      if (!leads && chance(this.#random, 0.3)) continue
      const known = views.get(range.rangeId)
      if (!leads && known !== undefined && (leader === undefined || !this.#meets(nodeId, leader.nodeId))) {
        if (known.leaseHolder) views.set(range.rangeId, { ...known, leaseHolder: false, caughtUp: [] })
        continue
      }
      views.set(range.rangeId, {
        rangeId: range.rangeId,
        replicaId: mine.replicaId,
        generation: range.generation,
        replicas: range.replicas,
        leaseHolder: leads,
        sequence: range.sequence,
        caughtUp: !leads
          ? []
          : range.replicas
              .filter(({ replicaId, role }) => role === 'voter' || this.#caughtUp(range, replicaId))
              .map(({ replicaId }) => replicaId),
        load: {},
        ...(this.#swaps ? { swaps: true } : {}),
      })
    }
  }

  observe(nodeId: string): readonly ObservedReplica[] {
    return [...this.#viewsOf(nodeId).values()]
  }

  /** A node is told that it is no member: it drops its replica once it is sure that the removal is committed. */
  drop(nodeId: string, wanted: WantedRange): void {
    const views = this.#viewsOf(nodeId)
    const view = views.get(wanted.rangeId)
    const { descriptor } = wanted
    if (view === undefined || descriptor.generation < view.generation) return
    if (descriptor.replicas.some(({ replicaId }) => replicaId === view.replicaId)) return
    const truth = this.ranges.get(wanted.rangeId)
    if (truth?.replicas.some(({ replicaId }) => replicaId === view.replicaId) === true) {
      this.#violated(`${nodeId} drops its replica of range ${wanted.rangeId}, which is still a member`)
    }
    views.delete(wanted.rangeId)
  }

  /** The range, if the node leads it and can commit. @throws KeelsonError `NOT_LEADER` */
  led(nodeId: string, rangeId: number): Truth {
    const range = this.ranges.get(rangeId)
    if (range !== undefined && leaderOf(range)?.nodeId === nodeId && this.#commands(nodeId, range))
      return range
    throw new KeelsonError('NOT_LEADER', `${nodeId} does not lead range ${rangeId}`)
  }

  #viewsOf(nodeId: string): Map<number, ObservedReplica> {
    let views = this.#views.get(nodeId)
    if (views === undefined) {
      views = new Map()
      this.#views.set(nodeId, views)
    }
    return views
  }

  #meets(a: string, b: string): boolean {
    if (!this.isUp(a) || !this.isUp(b)) return false
    return a === b || !(this.#conditions.isBlocked(a, b) || this.#conditions.isBlocked(b, a))
  }

  /** Whether a node meets a quorum of a range's voters. */
  #commands(nodeId: string, range: Truth): boolean {
    return [votesInIncoming, votesInOutgoing].every((votes) => {
      const voters = range.replicas.filter(votes)
      return voters.filter((voter) => this.#meets(nodeId, voter.nodeId)).length > voters.length / 2
    })
  }

  /** A leader leaves a joint configuration as soon as it can commit that. */
  #leaveJoint(range: Truth): void {
    const leader = leaderOf(range)
    if (!isJoint(range.replicas) || leader === undefined || !this.#commands(leader.nodeId, range)) return
    range.replicas = afterJoint(range.replicas)
    if (leader.role === 'outgoing') range.leader = 0
    range.generation++
    this.changes++
    this.#sim.note(leader.nodeId, 'left the joint configuration of range', range.rangeId, range.generation)
    this.#judge(range)
  }

  #caughtUp(range: Truth, replicaId: number): boolean {
    const replica = range.replicas.find((other) => other.replicaId === replicaId)
    const leader = leaderOf(range)
    if (replica === undefined || leader === undefined) return false
    const atMs = range.caughtUpAtMs.get(replicaId) ?? 0
    return this.#meets(leader.nodeId, replica.nodeId) && this.#sim.nowMs >= atMs
  }

  #judge({ rangeId, generation, replicas }: Truth): void {
    try {
      this.#invariants.committed({ rangeId, generation, replicas }, ({ nodeId }) => this.isUp(nodeId))
    } catch (error) {
      this.#broken(error)
    }
  }

  #violated(what: string): void {
    this.#broken(new KeelsonError('INVARIANT_VIOLATED', what))
  }

  /** Elections, whoever else is away. */
  #tick(): void {
    for (const range of this.ranges.values()) {
      const leader = leaderOf(range)
      if (leader !== undefined && votesInAnyHalf(leader) && this.#commands(leader.nodeId, range)) {
        this.#leaveJoint(range)
        continue
      }
      range.leader = 0
      const able = range.replicas.filter(
        (replica) => votesInAnyHalf(replica) && this.#commands(replica.nodeId, range),
      )
      if (able.length === 0 || this.#random.integer(2) === 0) continue
      range.leader = pick(this.#random, able).replicaId
      range.sequence++
      this.elections++
    }
    this.#sim.scheduler.schedule(electionMs, () => this.#tick())
  }
}

function leaderOf(range: Truth): ReplicaDescriptor | undefined {
  return range.replicas.find(({ replicaId }) => replicaId === range.leader)
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
    this.#plane.refresh(this.#nodeId)
    for (const range of this.#wanted) {
      if (range.bootstrap) this.#plane.bootstrap(range)
      if (range.member) this.#plane.change(this.#nodeId, range)
      else this.#plane.drop(this.#nodeId, range)
    }
  }

  observe(): readonly ObservedReplica[] {
    return this.#plane.observe(this.#nodeId)
  }
}
