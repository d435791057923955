import type { Sliced } from '../../core/sliced.ts'
import type { RangeId } from '../../model/ids.ts'
import { type Assignment, type AssignmentBase, nowhere } from './assignment.ts'
import { type BoundGoal, type BoundRule, bindGoal, bindRule } from './goals/goal.ts'
import type { BlockedRange, PlannedMove } from './plan.ts'
import type { PlacementLimits, PlacementPolicy } from './policy.ts'
import { proveQuorum, type QuorumStep } from './quorum.ts'
import { type MoveKind, type PlacementSnapshot, replicaBits } from './snapshot.ts'
import { RangeSurvey, whereIs } from './survey.ts'
import { epsilon, Targets } from './targets.ts'
import type { Traffic } from './traffic.ts'
import { WorkingSet } from './working-set.ts'

const maximumRejections = 5
const maximumBlocked = 50

/** What a plan says so far, whatever ranges were looked at for it. @internal */
export class PlanSheet {
  readonly moves: PlannedMove[] = []
  readonly blocked: BlockedRange[] = []
  blockedCount = 0
  /** Ranges that need something and wait for room or for their turn. */
  deferred = 0
  /** What this plan did not look at though there was room. */
  unexamined = 0
  /** Moves so far that only make something better. */
  improvements = 0
  /** Ranges to be repaired for which something is planned, or may be once there is room. */
  repairs = 0
  /** Ranges that this plan moves already. */
  readonly planned: Set<RangeId> = new Set()
}

/** What a draft is made by. */
interface DraftSetting {
  readonly policy: PlacementPolicy
  readonly limits: PlacementLimits
  readonly seed: number
  readonly traffic: Traffic
  readonly sheet: PlanSheet
}

/** A part of a plan in the making, over the ranges that it looks at. @internal */
export class Draft {
  readonly columns: WorkingSet
  readonly policy: PlacementPolicy
  readonly limits: PlacementLimits
  readonly assignment: Assignment
  readonly rules: readonly BoundRule[]
  readonly goals: readonly BoundGoal[]
  readonly targets: Targets
  readonly survey: RangeSurvey
  readonly traffic: Traffic
  readonly sheet: PlanSheet

  /** A draft over many ranges, in slices. */
  static *opening(
    snapshot: PlacementSnapshot,
    rangeIds: ArrayLike<RangeId>,
    totals: AssignmentBase,
    setting: DraftSetting,
  ): Sliced<Draft> {
    const columns = yield* WorkingSet.building(snapshot, rangeIds, totals, setting.policy)
    yield
    return new Draft(snapshot, rangeIds, totals, setting, columns)
  }

  constructor(
    snapshot: PlacementSnapshot,
    rangeIds: ArrayLike<RangeId>,
    totals: AssignmentBase,
    setting: DraftSetting,
    columns: WorkingSet = new WorkingSet(snapshot, rangeIds, totals, 1, setting.policy),
  ) {
    const { policy, limits, seed, traffic, sheet } = setting
    this.policy = policy
    this.limits = limits
    this.traffic = traffic
    this.sheet = sheet
    this.columns = columns
    this.assignment = this.columns.assign()
    this.rules = policy.constraints.map((rule) => bindRule(this.assignment, rule))
    this.goals = policy.goals.map((goal) => bindGoal(this.assignment, goal))
    this.targets = new Targets(this.assignment, this.columns, this.rules, this.goals, traffic, limits, seed)
    this.survey = new RangeSurvey(this.columns, this.rules, policy.replicationFactor)
  }

  /** Sums over all ranges, with what is planned. */
  get totals(): AssignmentBase {
    return this.columns.totalsOf(this.assignment)
  }

  /** Slot of the voter that the lease is best with, or -1: on an overloaded node only with `any`, and where no other can lead. */
  bestLeaseTarget(range: number, from: number, reach: 'any' | 'fair'): number {
    const { firstSlot, status, eligible } = this.columns
    const end = this.columns.spareSlot(range)
    let [best, bestHot] = [-1, -1]
    for (let slot = firstSlot[range] as number; slot < end; slot++) {
      const node = this.assignment.place[slot] as number
      const bits = status[slot] as number
      const usable = (bits & replicaBits.voter) !== 0 && (bits & replicaBits.up) !== 0
      if (!usable || node < 0 || slot === from || eligible[node] !== 1) continue
      if (this.columns.isHot(node)) {
        if (bestHot < 0 || this.leaseDifference(range, slot, bestHot) < 0) bestHot = slot
      } else if (best < 0 || this.leaseDifference(range, slot, best) < 0) best = slot
    }
    return best < 0 && reach === 'any' ? bestHot : best
  }

  /** Negative when the lease is better with `a` than with `b`. @internal */
  leaseDifference(range: number, a: number, b: number): number {
    for (const goal of this.goals) {
      const difference = goal.leadDelta(range, a) - goal.leadDelta(range, b)
      if (Math.abs(difference) > epsilon) return difference
    }
    return 0
  }

  /**
   * Enters a move of a replica into the plan, if a quorum stands throughout: a new one goes to `to`, or the learner there
   * becomes a voter, and `leaving` goes.
   */
  commit(range: number, priority: number, why: string, to: number, leaving: number, learner: number): void {
    const { columns, survey, assignment } = this
    const status = leaving < 0 ? 0 : (columns.status[leaving] as number)
    const slot = leaving < 0 ? columns.spareSlot(range) : leaving
    const votes = learner >= 0 || ((columns.status[slot] as number) & replicaBits.voter) !== 0
    const proof = this.prove(to !== nowhere, leaving, status, votes)
    if (proof === undefined) return this.block(range, `${why}, but a quorum would not stand throughout`)
    const copies = to !== nowhere && learner < 0
    const rejected = copies ? this.targets.rejections(slot, to, maximumRejections) : []
    const heir =
      leaving >= 0 && leaving === survey.leaseholder ? this.bestLeaseTarget(range, leaving, 'any') : -1
    const from = leaving < 0 ? nowhere : (assignment.place[leaving] as number)
    const view = to === nowhere ? undefined : columns.snapshot.stores[to]
    const rangeId = columns.rangeIds[range] as number
    this.sheet.planned.add(rangeId)
    this.traffic.begin(from, to)
    this.sheet.moves.push({
      rangeId,
      generation: columns.generations[range] as number,
      kind: view === undefined ? 'remove' : kindOf(leaving >= 0, votes),
      priority,
      reason: why,
      ...(view === undefined
        ? {}
        : {
            add: {
              nodeId: view.node.descriptor.nodeId,
              incarnation: view.node.descriptor.incarnation,
              ...(view.storeId === '' ? {} : { storeId: view.storeId }),
              ...(learner < 0 ? {} : { replicaId: columns.replicaIds[learner] as number }),
            },
          }),
      ...(leaving < 0 ? {} : { remove: this.#replica(leaving) }),
      ...(heir < 0 ? {} : { leaseTo: this.#replica(heir) }),
      bytes: copies ? (columns.moveBytes[slot] as number) : 0,
      rejected,
      proof,
    })
    if (leaving >= 0 && assignment.leader[range] === leaving) assignment.lead(range, heir)
    assignment.move(slot, learner >= 0 ? nowhere : to)
    this.#changed(from, to)
  }

  /** @internal */
  prove(adds: boolean, leaving: number, status: number, votes: boolean): readonly QuorumStep[] | undefined {
    return proveQuorum(this.survey.voters, this.survey.liveVoters, {
      adds: adds && votes,
      addsLearner: adds && !votes,
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

  /** Enters a transfer of a lease into the plan. */
  commitLease(range: number, priority: number, why: string, to: number): void {
    const { columns, survey, assignment } = this
    const proof = proveQuorum(survey.voters, survey.liveVoters, { adds: false })
    if (proof === undefined) return
    const from = assignment.place[survey.leaseholder] as number
    const heir = assignment.place[to] as number
    const rangeId = columns.rangeIds[range] as number
    this.sheet.planned.add(rangeId)
    this.traffic.beginLease(from, heir)
    assignment.lead(range, to)
    this.sheet.moves.push({
      rangeId,
      generation: columns.generations[range] as number,
      kind: 'transferLease',
      priority,
      reason: why,
      leaseTo: this.#replica(to),
      bytes: 0,
      rejected: [],
      proof,
    })
    this.#changed(from, heir)
  }

  /** Whether the limits let another move between two nodes begin. */
  hasRoom(from: number, to: number): boolean {
    if (this.traffic.replicaMoves >= this.limits.moves) return false
    if (to >= 0 && this.targets.isBusy(to)) return false
    return from < 0 || (this.traffic.outgoing[from] as number) < this.limits.outgoingPerNode
  }

  /** @internal */
  mayImprove(): boolean {
    return this.sheet.improvements < this.limits.improvements && this.traffic.replicaMoves < this.limits.moves
  }

  /** True when a range is not to be moved merely to make something better. */
  isTaken(range: number): boolean {
    if (this.columns.fixed[this.columns.firstSlot[range] as number] === 1) return true
    return this.sheet.planned.has(this.columns.rangeIds[range] as number)
  }

  defer(): void {
    this.sheet.deferred++
  }

  block(range: number, why: string): void {
    this.sheet.blockedCount++
    if (this.sheet.blocked.length >= maximumBlocked) return
    this.sheet.blocked.push({ rangeId: this.columns.rangeIds[range] as number, why })
  }

  #replica(slot: number): { replicaId: number; nodeId: string } {
    const at = whereIs(this.columns, this.assignment, slot)
    return { replicaId: this.columns.replicaIds[slot] as number, nodeId: this.columns.nodeIdOf(at) }
  }

  #changed(from: number, to: number): void {
    this.targets.candidates.changed(from)
    this.targets.candidates.changed(to)
  }
}

/** What a move that brings a replica is called. */
function kindOf(replaces: boolean, votes: boolean): MoveKind {
  if (votes) return replaces ? 'replace' : 'add'
  return replaces ? 'replaceNonVoter' : 'addNonVoter'
}
