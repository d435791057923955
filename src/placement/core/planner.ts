import { goalDistances, measurePlan } from './bounds.ts'
import type { BoundGoal } from './goals.ts'
import { Ledger, nowhere } from './ledger.ts'
import type { BlockedRange, Plan, PlannedMove, PlanOptions } from './plan.ts'
import { type PlacementLimits, type PlacementPolicy, placementLimits, placementPolicy } from './policy.ts'
import { proveQuorum, type QuorumStep } from './quorum.ts'
import { nodeName, type PlacementSnapshot, replicaBits } from './snapshot.ts'
import { type Need, needPriority, RangeSurvey, repairPriority } from './survey.ts'
import { Targets } from './targets.ts'

const maximumRejections = 5
const maximumBlocked = 50
/** Ranges of an overfull node that are looked at for the best one to move. */
const maximumExamined = 64

/** Plans the next moves of a cluster. Pure: the same snapshot, policy and seed give the same plan. */
export function plan(
  snapshot: PlacementSnapshot,
  policy: Partial<PlacementPolicy> = {},
  options: PlanOptions = {},
): Plan {
  return new Planner(
    snapshot,
    placementPolicy(policy),
    placementLimits(options.limits),
    options.seed ?? 0,
  ).run()
}

/** One run of the planner. @internal */
export class Planner {
  readonly snapshot: PlacementSnapshot
  readonly policy: PlacementPolicy
  readonly limits: PlacementLimits
  readonly ledger: Ledger
  readonly goals: readonly BoundGoal[]
  readonly targets: Targets
  readonly survey: RangeSurvey
  readonly moves: PlannedMove[] = []
  readonly blocked: BlockedRange[] = []
  /** Ranges that this plan moves already. */
  readonly planned: Uint8Array
  blockedCount = 0
  deferred = 0
  improvements = 0
  repairs = 0

  constructor(snapshot: PlacementSnapshot, policy: PlacementPolicy, limits: PlacementLimits, seed: number) {
    this.snapshot = snapshot
    this.policy = policy
    this.limits = limits
    this.ledger = new Ledger(snapshot)
    this.goals = policy.goals.map((goal) => goal.bind(this.ledger))
    const constraints = policy.constraints.map((constraint) => constraint.bind(this.ledger))
    this.targets = new Targets(this.ledger, constraints, this.goals, limits, seed)
    this.survey = new RangeSurvey(snapshot, constraints, policy.replicationFactor)
    this.planned = new Uint8Array(snapshot.rangeIds.length)
  }

  run(): Plan {
    const before = goalDistances(this.goals)
    for (const { range, need } of this.needs()) this.meet(range, need)
    // While anything is to be repaired the network belongs to it.
    if (this.repairs === 0) for (const goal of this.goals) this.improve(goal)
    const bounds = measurePlan(this.snapshot, this.policy, this.moves, this.goals, before)
    return {
      moves: this.moves,
      blocked: this.blocked,
      blockedCount: this.blockedCount,
      deferred: this.deferred,
      bounds,
      explained: this.explain(),
    }
  }

  /** What the ranges need, the most urgent first. Ranges with a move under way need nothing. */
  needs(): { range: number; need: Need }[] {
    const found: { range: number; need: Need; urgency: number }[] = []
    for (let range = 0; range < this.snapshot.rangeIds.length; range++) {
      if ((this.snapshot.moveOf[range] as number) >= 0 || this.snapshot.held[range] === 2) continue
      const need = this.survey.read(range).need()
      if (need === 'nothing') continue
      // Among equals, the range that can least afford another loss.
      found.push({ range, need, urgency: needPriority[need] - Math.min(100, this.survey.margin) })
    }
    return found.sort((a, b) => b.urgency - a.urgency || a.range - b.range)
  }

  /** Plans what one range needs, or says why not. */
  meet(range: number, need: Need): void {
    this.survey.read(range)
    switch (need) {
      case 'nothing':
        return
      case 'unavailable':
        return this.block(range, this.whyUnavailable())
      case 'finishLearner':
        return this.finishLearner(range)
      case 'add':
        return this.bring(range, need, -1, `${this.survey.voters} of ${this.policy.replicationFactor} voters`)
      case 'replaceLost':
        return this.bring(range, need, this.survey.lostVoter, this.whyLost(this.survey.lostVoter))
      case 'replaceLeaving':
        return this.bring(range, need, this.survey.leavingVoter, this.whyLeaving(this.survey.leavingVoter))
      case 'replaceEvicted':
        return this.bring(range, need, this.survey.evictedVoter, this.whyEvicted(this.survey.evictedVoter))
      case 'leaseOff':
        return this.moveLeaseOff(range)
      case 'removeExtra':
        return this.removeExtra(range)
    }
  }

  /** Brings a voter to the best node, and takes another away for it unless `leaving` is -1. */
  bring(range: number, need: Need, leaving: number, why: string): void {
    const from = leaving < 0 ? nowhere : (this.snapshot.replicaNode[leaving] as number)
    const choice = this.targets.choose(range, from, this.survey.margin === 0)
    if (choice.type === 'none') return this.bringNowhere(range, need, leaving, why)
    if (choice.type === 'busy' || !this.hasRoom(from, choice.node)) return this.defer(need)
    this.commit(range, needPriority[need], why, choice.node, leaving, -1)
  }

  /**
   * No node can take the replica. When the lost one is what keeps its own node from taking a new one (a node whose disk
   * was lost), it goes first.
   */
  bringNowhere(range: number, need: Need, leaving: number, why: string): void {
    if (need === 'replaceLost') {
      const node = this.snapshot.replicaNode[leaving] as number
      if (node >= 0 && this.ledger.eligible(node) && this.targets.refusal(range, node) === undefined) {
        return this.commit(
          range,
          needPriority[need],
          `${why}, and only its own node can take its place`,
          nowhere,
          leaving,
          -1,
        )
      }
    }
    this.block(range, `${why}, but no node can take a replica`)
  }

  /** A learner of a move that nobody works on: it becomes a voter when one is missing or to be replaced, else it goes. */
  finishLearner(range: number): void {
    const learner = this.survey.learner
    const status = this.snapshot.replicaStatus[learner] as number
    const node = this.snapshot.replicaNode[learner] as number
    const usable = (status & replicaBits.up) !== 0 && this.ledger.eligible(node)
    const successor = this.survey.successorOf()
    const missing = this.survey.voters < this.policy.replicationFactor
    if (usable && (missing || successor >= 0)) {
      const why = missing ? 'a voter is missing' : this.whyGoes(successor)
      return this.commit(
        range,
        needPriority.finishLearner,
        `a learner is there and ${why}`,
        node,
        successor,
        learner,
      )
    }
    const why = usable ? 'no voter is missing' : `${nodeName(this.snapshot, node)} is of no use`
    this.commit(
      range,
      needPriority.finishLearner,
      `a learner was left behind and ${why}`,
      nowhere,
      learner,
      -1,
    )
  }

  /** One voter too many: the one goes that is missed least. */
  removeExtra(range: number): void {
    const extra = this.extraVoter(range)
    if (extra < 0) return
    const why = `${this.survey.voters} voters, ${this.policy.replicationFactor} wanted`
    this.commit(range, needPriority.removeExtra, why, nowhere, extra, -1)
  }

  /** The voter that is missed least; of equals what the goals miss least, and then the youngest. */
  extraVoter(range: number): number {
    const { firstReplica, replicaNode, replicaIds } = this.snapshot
    let best = -1
    for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
      if (((this.snapshot.replicaStatus[i] as number) & replicaBits.voter) === 0) continue
      if (best < 0) {
        best = i
        continue
      }
      const byGoals = this.goals
        .map(
          (goal) =>
            goal.replicaCost(range, replicaNode[i] as number, nowhere) -
            goal.replicaCost(range, replicaNode[best] as number, nowhere),
        )
        .find((each) => Math.abs(each) > 1e-9)
      const difference =
        this.worth(i) - this.worth(best) ||
        (byGoals ?? (replicaIds[best] as number) - (replicaIds[i] as number))
      if (difference < 0) best = i
    }
    return best
  }

  /**
   * How much a voter is worth keeping. One that cannot vote goes first: without it the quorum is smaller and the same
   * voters are alive, so that is always safe.
   */
  worth(replica: number): number {
    const status = this.snapshot.replicaStatus[replica] as number
    if ((status & replicaBits.lost) !== 0) return 0
    if ((status & replicaBits.up) === 0) return 1
    if ((status & replicaBits.leaving) !== 0) return 2
    if (replica === this.survey.evictedVoter) return 3
    return replica === this.survey.leaseholder ? 5 : 4
  }

  /** The lease leaves a node that is to be emptied, long before the replica can. */
  moveLeaseOff(range: number): void {
    const from = this.snapshot.replicaNode[this.survey.leaseholder] as number
    const to = this.bestLeaseTarget(range, from)
    if (to < 0)
      return this.bring(
        range,
        'replaceLeaving',
        this.survey.leavingVoter,
        this.whyLeaving(this.survey.leavingVoter),
      )
    if (this.ledger.leaseMoves >= this.limits.leaseTransfers) return this.defer('leaseOff')
    const why = `its lease is on ${nodeName(this.snapshot, from)}, which is to be emptied`
    this.commitLease(range, needPriority.leaseOff, why, to)
  }

  /** Position of the voter that the lease is best with, or -1. */
  bestLeaseTarget(range: number, from: number): number {
    const { firstReplica, replicaNode, replicaStatus } = this.snapshot
    let best = -1
    for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
      const node = replicaNode[i] as number
      const status = replicaStatus[i] as number
      const usable = (status & replicaBits.voter) !== 0 && (status & replicaBits.up) !== 0
      if (!usable || node === from || !this.ledger.eligible(node)) continue
      if (
        best < 0 ||
        this.leaseCostOf(range, from, node) < this.leaseCostOf(range, from, replicaNode[best] as number)
      ) {
        best = i
      }
    }
    return best
  }

  /** @internal */
  leaseCostOf(range: number, from: number, to: number): number {
    for (const goal of this.goals) {
      const cost = goal.leaseCost(range, from, to)
      if (cost !== 0) return cost
    }
    return 0
  }

  /** Makes moves for the sake of one goal, as long as they harm no goal before it. */
  improve(goal: BoundGoal): void {
    switch (goal.judges) {
      case 'ranges':
        return this.improveRanges(goal)
      case 'replicas':
        return this.evenOut(goal, (source) => this.shedReplica(source))
      case 'leases':
        return this.evenOut(goal, (source) => this.shedLease(source))
    }
  }

  /** Ranges that the goal alone could have better. */
  improveRanges(goal: BoundGoal): void {
    for (let range = 0; range < this.snapshot.rangeIds.length; range++) {
      if (!this.mayImprove()) return
      if (this.isTaken(range) || goal.excess(range) <= 0) continue
      this.improveRange(range, goal)
    }
  }

  /** Moves the replica of a range whose move gains most. */
  improveRange(range: number, goal: BoundGoal): void {
    const { firstReplica, replicaNode } = this.snapshot
    if (this.survey.read(range).need() !== 'nothing') return
    let [leaving, to, gain] = [-1, nowhere, 0]
    for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
      const from = replicaNode[i] as number
      const choice = this.targets.choose(range, from, false)
      if (choice.type !== 'found' || !this.targets.improves(range, from, choice.node)) continue
      if (!this.hasRoom(from, choice.node)) continue
      const cost = goal.replicaCost(range, from, choice.node)
      if (leaving >= 0 && cost >= gain) continue
      ;[leaving, to, gain] = [i, choice.node, cost]
    }
    if (leaving < 0) return
    const from = replicaNode[leaving] as number
    const why = `${goal.name}: ${nodeName(this.snapshot, from)} has ${goal.describe(range, from)}`
    this.improvements++
    this.commit(range, 200, why, to, leaving, -1)
  }

  /** Takes from the fullest node that something can be taken from, until nothing is gained any more. */
  evenOut(goal: BoundGoal, shed: (source: number) => boolean): void {
    const nodes = Array.from({ length: this.snapshot.nodes.length }, (_, node) => node)
    const spent = new Uint8Array(nodes.length)
    for (;;) {
      let source = -1
      for (const node of nodes) {
        if (spent[node] === 1 || !this.ledger.eligible(node)) continue
        if (source < 0 || goal.pressure(node) > goal.pressure(source)) source = node
      }
      if (source < 0) return
      if (!this.mayGive(goal, source) || !shed(source)) spent[source] = 1
    }
  }

  /** Whether any node at all could take something from the source, so that looking at its ranges makes sense. */
  mayGive(goal: BoundGoal, source: number): boolean {
    for (let node = 0; node < this.snapshot.nodes.length; node++) {
      if (node === source || !this.ledger.eligible(node) || !goal.worthwhile(source, node)) continue
      if (goal.replicaCost(0, source, node) < 0 || goal.leaseCost(0, source, node) < 0) return true
    }
    return false
  }

  /** Moves the best of a node's replicas elsewhere, for balance. */
  shedReplica(source: number): boolean {
    if (!this.mayImprove()) return false
    const { replicaNode } = this.snapshot
    let [best, bestAt, bestTo, examined] = [-1, -1, nowhere, 0]
    for (const i of this.replicasOn(source)) {
      const range = this.rangeOf(i)
      if (this.isTaken(range) || this.survey.read(range).need() !== 'nothing') continue
      if (examined++ >= maximumExamined) break
      const choice = this.targets.choose(range, source, false)
      if (choice.type !== 'found' || !this.hasRoom(source, choice.node)) continue
      if (!this.targets.improves(range, source, choice.node)) continue
      if (best >= 0 && !this.gainsMore(range, choice.node, best, bestTo, source)) continue
      ;[best, bestAt, bestTo] = [range, i, choice.node]
    }
    if (best < 0) return false
    this.survey.read(best)
    const why = this.whyBetter(best, replicaNode[bestAt] as number, bestTo)
    this.improvements++
    this.commit(best, 100, why, bestTo, bestAt, -1)
    return true
  }

  /** Moves one of a node's leases to another replica of its range, for balance. */
  shedLease(source: number): boolean {
    if (this.ledger.leaseMoves >= this.limits.leaseTransfers) return false
    let examined = 0
    for (const i of this.replicasOn(source)) {
      const range = this.rangeOf(i)
      if (((this.snapshot.replicaStatus[i] as number) & replicaBits.lease) === 0 || this.isTaken(range))
        continue
      if (this.survey.read(range).need() !== 'nothing') continue
      if (examined++ >= maximumExamined) break
      const to = this.bestLeaseTarget(range, source)
      const node = to < 0 ? nowhere : (this.snapshot.replicaNode[to] as number)
      if (to < 0 || !this.targets.improvesLease(range, source, node)) continue
      const goal = this.goals.find((each) => each.leaseCost(range, source, node) < 0)
      this.commitLease(range, 50, `${goal?.name ?? 'balance'}: ${goal?.describe(range, source) ?? ''}`, to)
      return true
    }
    return false
  }

  /** @internal */
  gainsMore(range: number, to: number, best: number, bestTo: number, from: number): boolean {
    for (const goal of this.goals) {
      const difference = goal.replicaCost(range, from, to) - goal.replicaCost(best, from, bestTo)
      if (Math.abs(difference) > 1e-9) return difference < 0
    }
    return false
  }

  /** Enters a move of a replica into plan and ledger, if a quorum stands throughout. */
  commit(range: number, priority: number, why: string, to: number, leaving: number, learner: number): void {
    const { snapshot, survey } = this
    const status = leaving < 0 ? 0 : (snapshot.replicaStatus[leaving] as number)
    const proof = this.prove(to !== nowhere, leaving, status)
    if (proof === undefined) return this.block(range, `${why}, but a quorum would not stand throughout`)
    const from = leaving < 0 ? nowhere : (snapshot.replicaNode[leaving] as number)
    const counts = (status & replicaBits.lost) === 0 ? from : nowhere
    const size = snapshot.loads.get('bytes')?.[range] ?? 0
    const node = snapshot.nodes[to]?.descriptor
    this.planned[range] = 1
    if (priority >= repairPriority) this.repairs++
    this.ledger.begin(counts, to)
    this.ledger.moveReplica(range, counts, learner >= 0 ? nowhere : to)
    const heir = leaving >= 0 && leaving === survey.leaseholder ? this.bestLeaseTarget(range, from) : -1
    const heirNode = heir < 0 ? nowhere : (snapshot.replicaNode[heir] as number)
    if (leaving >= 0 && leaving === survey.leaseholder) this.ledger.moveLease(from, heirNode)
    this.moves.push({
      rangeId: snapshot.rangeIds[range] as number,
      generation: snapshot.generations[range] as number,
      kind: node === undefined ? 'remove' : leaving < 0 ? 'add' : 'replace',
      priority,
      reason: why,
      ...(node === undefined
        ? {}
        : {
            add: {
              nodeId: node.nodeId,
              incarnation: node.incarnation,
              ...(learner < 0 ? {} : { replicaId: snapshot.replicaIds[learner] as number }),
            },
          }),
      ...(leaving < 0
        ? {}
        : {
            remove: {
              replicaId: snapshot.replicaIds[leaving] as number,
              nodeId: nodeName(snapshot, from),
            },
          }),
      ...(heir < 0
        ? {}
        : {
            leaseTo: {
              replicaId: snapshot.replicaIds[heir] as number,
              nodeId: nodeName(snapshot, heirNode),
            },
          }),
      bytes: to === nowhere || learner >= 0 ? 0 : size,
      rejected:
        to === nowhere || learner >= 0 ? [] : this.targets.rejections(range, from, to, maximumRejections),
      proof,
    })
  }

  /** @internal */
  prove(adds: boolean, leaving: number, status: number): readonly QuorumStep[] | undefined {
    return proveQuorum(this.survey.voters, this.survey.liveVoters, {
      adds,
      ...(leaving < 0
        ? {}
        : {
            removes: {
              voter: (status & replicaBits.voter) !== 0,
              up: (status & replicaBits.up) !== 0,
              lease: leaving === this.survey.leaseholder,
            },
          }),
    })
  }

  /** Enters a transfer of a lease into plan and ledger. */
  commitLease(range: number, priority: number, why: string, to: number): void {
    const { snapshot, survey } = this
    const proof = proveQuorum(survey.voters, survey.liveVoters, { adds: false })
    if (proof === undefined) return
    const node = snapshot.replicaNode[to] as number
    this.planned[range] = 1
    this.ledger.leaseMoves++
    this.ledger.moveLease(snapshot.replicaNode[survey.leaseholder] as number, node)
    this.moves.push({
      rangeId: snapshot.rangeIds[range] as number,
      generation: snapshot.generations[range] as number,
      kind: 'transferLease',
      priority,
      reason: why,
      leaseTo: { replicaId: snapshot.replicaIds[to] as number, nodeId: nodeName(snapshot, node) },
      bytes: 0,
      rejected: [],
      proof,
    })
  }

  /** Whether the limits let another move between two nodes begin. */
  hasRoom(from: number, to: number): boolean {
    if (this.ledger.replicaMoves >= this.limits.moves) return false
    if (to >= 0 && this.targets.isBusy(to)) return false
    return from < 0 || (this.ledger.outgoing[from] as number) < this.limits.outgoingPerNode
  }

  /** @internal */
  mayImprove(): boolean {
    return this.improvements < this.limits.improvements && this.ledger.replicaMoves < this.limits.moves
  }

  /** True when a range is not to be moved merely to make something better. */
  isTaken(range: number): boolean {
    const { moveOf, held } = this.snapshot
    return this.planned[range] === 1 || (moveOf[range] as number) >= 0 || (held[range] as number) > 0
  }

  defer(need: Need): void {
    this.deferred++
    if (needPriority[need] >= repairPriority) this.repairs++
  }

  block(range: number, why: string): void {
    this.blockedCount++
    if (this.blocked.length >= maximumBlocked) return
    this.blocked.push({ rangeId: this.snapshot.rangeIds[range] as number, why })
  }

  whyUnavailable(): string {
    const { voters, liveVoters, range } = this.survey
    if (voters === 0) return 'it has no voters yet'
    const { firstReplica, replicaNode, replicaStatus } = this.snapshot
    const silent: string[] = []
    for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
      const status = replicaStatus[i] as number
      if ((status & replicaBits.voter) !== 0 && (status & replicaBits.up) === 0) {
        silent.push(nodeName(this.snapshot, replicaNode[i] as number))
      }
    }
    return `only ${liveVoters} of ${voters} voters are alive, which is no quorum; it waits for ${silent.sort().join(', ')}`
  }

  whyGoes(replica: number): string {
    const status = this.snapshot.replicaStatus[replica] as number
    if ((status & replicaBits.lost) !== 0) return this.whyLost(replica)
    return (status & replicaBits.leaving) !== 0 ? this.whyLeaving(replica) : this.whyEvicted(replica)
  }

  whyLost(replica: number): string {
    const node = this.snapshot.replicaNode[replica] as number
    if (node < 0) return 'a replica is on a node that nobody knows'
    const { liveness, state } = this.snapshot.nodes[node] as PlacementSnapshot['nodes'][number]
    const name = nodeName(this.snapshot, node)
    if (state === 'decommissioned') return `${name} was decommissioned`
    return liveness === 'dead' ? `${name} is dead` : `${name} lost its disk`
  }

  whyLeaving(replica: number): string {
    return `${nodeName(this.snapshot, this.snapshot.replicaNode[replica] as number)} is to be emptied`
  }

  whyEvicted(replica: number): string {
    const node = this.snapshot.replicaNode[replica] as number
    return `it must not be on ${nodeName(this.snapshot, node)}`
  }

  whyBetter(range: number, from: number, to: number): string {
    const goal = this.goals.find((each) => each.replicaCost(range, from, to) < -1e-9)
    return `${goal?.name ?? 'balance'}: ${goal?.describe(range, from) ?? ''}, ${goal?.describe(range, to) ?? ''}`
  }

  explain(): readonly string[] {
    const lines: string[] = []
    const kinds = new Map<string, number>()
    for (const { kind } of this.moves) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    const counts = [...kinds].map(([kind, count]) => `${count} × ${kind}`).join(', ')
    lines.push(this.moves.length === 0 ? 'nothing to move' : `${this.moves.length} moves: ${counts}`)
    if (this.snapshot.moves.length > 0) lines.push(`${this.snapshot.moves.length} moves are under way`)
    if (this.deferred > 0) lines.push(`${this.deferred} more are needed and wait for room`)
    if (this.repairs > 0) lines.push('nothing is balanced while there is something to repair')
    if (this.blockedCount > 0) lines.push(`${this.blockedCount} ranges need what cannot be done now`)
    return lines
  }

  #byNode:
    | { readonly first: Uint32Array; readonly replicas: Uint32Array; readonly range: Uint32Array }
    | undefined;

  /** Positions of the voters on a node. The index is built when balance is first asked for: one counting sort. */
  *replicasOn(node: number): IterableIterator<number> {
    const { first, replicas } = this.index()
    for (let i = first[node] as number; i < (first[node + 1] as number); i++) {
      const replica = replicas[i] as number
      if (((this.snapshot.replicaStatus[replica] as number) & replicaBits.voter) !== 0) yield replica
    }
  }

  /** @internal */
  rangeOf(replica: number): number {
    return this.index().range[replica] as number
  }

  /** @internal */
  index(): { readonly first: Uint32Array; readonly replicas: Uint32Array; readonly range: Uint32Array } {
    if (this.#byNode !== undefined) return this.#byNode
    const { firstReplica, replicaNode, nodes } = this.snapshot
    const first = new Uint32Array(nodes.length + 1)
    for (const node of replicaNode) if (node >= 0) first[node + 1] = (first[node + 1] as number) + 1
    for (let node = 0; node < nodes.length; node++) {
      first[node + 1] = (first[node + 1] as number) + (first[node] as number)
    }
    const next = first.slice()
    const replicas = new Uint32Array(replicaNode.length)
    const range = new Uint32Array(replicaNode.length)
    for (let r = 0; r < firstReplica.length - 1; r++) {
      for (let i = firstReplica[r] as number; i < (firstReplica[r + 1] as number); i++) {
        range[i] = r
        const node = replicaNode[i] as number
        if (node < 0) continue
        replicas[next[node] as number] = i
        next[node] = (next[node] as number) + 1
      }
    }
    this.#byNode = { first, replicas, range }
    return this.#byNode
  }
}
