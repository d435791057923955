import { checkObject } from '../../core/arguments.ts'
import { checkOptions, integerOption } from '../../core/options.ts'
import { finish, type Sliced } from '../../core/sliced.ts'
import type { RangeId } from '../../model/ids.ts'
import type { AssignmentBase } from './assignment.ts'
import { measurePlan } from './bounds.ts'
import { Cooling, hotStores } from './cooling.ts'
import { Draft, PlanSheet } from './draft.ts'
import { FleetIndex } from './fleet-index.ts'
import type { BoundGoal } from './goals/goal.ts'
import type { IdSet } from './id-set.ts'
import { drawOf, Improvements, maximumExamined } from './improvements.ts'
import type { Plan, PlanOptions } from './plan.ts'
import { type PlacementLimits, type PlacementPolicy, placementLimits, placementPolicy } from './policy.ts'
import { RangeWeights } from './range-weights.ts'
import { Repairs } from './repairs.ts'
import { nodeBits, overloadLevel, type PlacementSnapshot, type RangeReader, replicaBits } from './snapshot.ts'
import { Traffic } from './traffic.ts'

/** Ranges that a goal could have better of which one plan looks at so many. */
const improvedTogether = 256
/** Full nodes that are looked at together, and how often the next ones are when nothing came of it. */
const sourcesTogether = 16
const maximumBatches = 8
const coldTogether = 8
/** Ranges that are weighed before others may go on. */
const weighedTogether = 256
/** Ranges that nothing can be done for and that are named. */
const namedUnavailable = 50
/** From here on a need is one of repair: its priority less the votes that are to spare. */
const repairUrgency = 9000

interface Setting {
  readonly limits: PlacementLimits
  readonly seed: number
}

/**
 * Plans for one cluster, again and again: it keeps what it knows from one snapshot to the next and looks only at what
 * changed between them. What it plans is exactly what {@link plan} says of the same snapshot.
 */
export class Planner {
  /** What it plans by. */
  readonly policy: PlacementPolicy
  /** @internal */
  readonly index: FleetIndex
  #last: { readonly snapshot: PlacementSnapshot; readonly setting: Setting; readonly plan: Plan } | undefined
  /** A plan that was begun and may not be done. */
  #begun: Sliced<void> | undefined

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(policy: Partial<PlacementPolicy> = {}) {
    this.policy = placementPolicy(policy)
    this.index = new FleetIndex(this.policy)
  }

  /**
   * The next moves. The same snapshot, policy and options give the same plan, whatever was planned before. It costs what
   * changed since the last snapshot, if that was of the same fleet. @throws KeelsonError `INVALID_OPTION`, `INVALID_ARGUMENT`
   */
  plan(snapshot: PlacementSnapshot, options: PlanOptions = {}): Plan {
    return finish(this.planning(snapshot, options))
  }

  /**
   * The same plan in steps of a millisecond or two, for who has other things to do meanwhile: see `inSlices`. Whatever else is
   * asked of this planner in between first does what is left. @throws KeelsonError `INVALID_OPTION`, `INVALID_ARGUMENT`
   */
  *planning(snapshot: PlacementSnapshot, options: PlanOptions = {}): Sliced<Plan> {
    const setting = checkPlanning(snapshot, options)
    // First, since it may be this one, and since whoever asks for a plan goes on with the index as the plan left it.
    this.#finishBegun()
    const last = this.#last
    if (last?.snapshot === snapshot && sameSetting(last.setting, setting)) return last.plan
    let plan: Plan | undefined
    const work = this.#plan(snapshot, setting, (made) => {
      plan = made
    })
    this.#begun = work
    // Who comes in between may have done the rest, or have failed at it.
    while (work.next().done !== true) yield
    return plan ?? (yield* this.planning(snapshot, options))
  }

  #finishBegun(): void {
    if (this.#begun === undefined) return
    try {
      finish(this.#begun)
    } catch {
      // It is told to who asked for that plan, when it is made again.
    }
  }

  *#plan(snapshot: PlacementSnapshot, setting: Setting, done: (plan: Plan) => void): Sliced<void> {
    try {
      yield* this.index.update(snapshot)
      const plan = yield* new Planning(this.index, this.policy, setting).run()
      this.#last = { snapshot, setting, plan }
      done(plan)
    } catch (error) {
      this.index.forget()
      this.#last = undefined
      throw error
    } finally {
      this.#begun = undefined
    }
  }

  /** An empty draft over some ranges of the snapshot that was planned for last. @internal */
  draft(rangeIds: ArrayLike<RangeId>, options: PlanOptions = {}): Draft {
    this.#finishBegun()
    const snapshot = this.index.snapshot as PlacementSnapshot
    return new Draft(snapshot, rangeIds, this.index.totals, {
      policy: this.policy,
      ...checkPlanning(snapshot, options),
      traffic: new Traffic(snapshot),
      sheet: new PlanSheet(),
    })
  }
}

/** Plans the next moves of a cluster. Pure: the same snapshot, policy and seed give the same plan. @throws KeelsonError `INVALID_OPTION`, `INVALID_ARGUMENT` */
export function plan(
  snapshot: PlacementSnapshot,
  policy: Partial<PlacementPolicy> = {},
  options: PlanOptions = {},
): Plan {
  return new Planner(policy).plan(snapshot, options)
}

function checkPlanning(snapshot: PlacementSnapshot, options: PlanOptions): Setting {
  checkObject(snapshot, 'the snapshot to plan for', ['table', 'reader', 'moves'])
  return checkOptions<Setting>('plan', options, {
    seed: integerOption({ min: 0, fallback: 0 }),
    limits: (value) => placementLimits(value as Partial<PlacementLimits> | undefined),
  })
}

function sameSetting(a: Setting, b: Setting): boolean {
  if (a.seed !== b.seed) return false
  return (Object.keys(a.limits) as (keyof PlacementLimits)[]).every(
    (name) => a.limits[name] === b.limits[name],
  )
}

/** One plan in the making. */
class Planning {
  /** Ranges by store, as far as they were asked for. */
  readonly #weights = new Map<number, RangeWeights>()
  readonly #index: FleetIndex
  readonly #policy: PlacementPolicy
  readonly #setting: Setting
  readonly #snapshot: PlacementSnapshot
  readonly #traffic: Traffic
  readonly #sheet = new PlanSheet()
  /** Sums over all ranges with what is planned so far. */
  #totals: AssignmentBase
  /** How many ranges each goal could have better, with what is planned so far. */
  readonly #excess: number[]

  constructor(index: FleetIndex, policy: PlacementPolicy, setting: Setting) {
    this.#index = index
    this.#policy = policy
    this.#setting = setting
    this.#snapshot = index.snapshot as PlacementSnapshot
    this.#traffic = new Traffic(this.#snapshot)
    this.#totals = index.totals
    this.#excess = index.excess.map((tree) => tree.size)
  }

  *run(): Sliced<Plan> {
    const before = this.#distances()
    yield* this.#repair()
    yield* this.#relieve()
    yield* this.#cool()
    // While anything is to be repaired the network belongs to it.
    if (this.#sheet.repairs === 0) yield* this.#improve()
    const { moves, blocked, blockedCount, deferred } = this.#sheet
    const bounds = measurePlan(this.#index.copies, moves, this.#policy.goals, before, this.#distances())
    return { moves, blocked, blockedCount, deferred, bounds, explained: this.#explain() }
  }

  /** A draft over some ranges, on top of what is planned already. */
  *#open(rangeIds: ArrayLike<RangeId>): Sliced<Draft> {
    const draft = yield* Draft.opening(this.#snapshot, rangeIds, this.#totals, this.#drafting())
    yield
    return draft
  }

  /** A draft over no range, which still knows all sums. */
  #probe(): Draft {
    return new Draft(this.#snapshot, [], this.#totals, this.#drafting())
  }

  #drafting(): ConstructorParameters<typeof Draft>[3] {
    return { policy: this.#policy, ...this.#setting, traffic: this.#traffic, sheet: this.#sheet }
  }

  #close(draft: Draft): void {
    this.#totals = draft.totals
    draft.columns.rangeIds.forEach((rangeId, range) => {
      if (!this.#sheet.planned.has(rangeId)) return
      draft.goals.forEach((goal, g) => {
        if (goal.judges !== 'ranges') return
        const was = this.#index.excess[g]?.has(rangeId) === true ? 1 : 0
        this.#excess[g] = (this.#excess[g] as number) + (goal.excess(range) > 0 ? 1 : 0) - was
      })
    })
  }

  /** How far the goals are from what they strive for, in moves. */
  #distances(): readonly number[] {
    const probe = this.#probe()
    return probe.goals.map((goal, g) =>
      goal.judges === 'ranges' ? (this.#excess[g] as number) : (goal.distance?.() ?? 0),
    )
  }

  /** What ranges need, the most urgent first, as far as there may be room; the rest waits. */
  *#repair(): Sliced<void> {
    const { limits } = this.#setting
    const budget = Math.max(256, 4 * (limits.moves + limits.leaseTransfers))
    const order: RangeId[] = []
    const urgencies = [...this.#index.needs.keys()].sort((a, b) => b - a)
    for (const urgency of urgencies) {
      const ranges = this.#index.needs.get(urgency)
      if (ranges === undefined || ranges.size === 0) continue
      const room = urgency === 0 ? namedUnavailable : Math.max(0, budget - order.length)
      order.push(...this.#some(ranges, room))
      const left = Math.max(0, ranges.size - room)
      if (urgency === 0) this.#sheet.blockedCount += left
      else this.#sheet.deferred += left
      if (urgency >= repairUrgency) this.#sheet.repairs += left
    }
    if (order.length === 0) return
    const draft = yield* this.#open(Float64Array.from(order).sort())
    const repairs = new Repairs(draft)
    const at = new Map<RangeId, number>()
    draft.columns.rangeIds.forEach((rangeId, range) => at.set(rangeId, range))
    for (const rangeId of order) {
      yield
      repairs.meet(at.get(rangeId) as number)
    }
    this.#close(draft)
  }

  /** Nodes that are too full give something away, whatever it is. */
  *#relieve(): Sliced<void> {
    const probe = this.#probe()
    for (const [r, rule] of probe.rules.entries()) {
      if (rule.sheds === undefined) continue
      const full = nodesOf(probe)
        .filter((node) => rule.sheds?.(node) !== undefined && isUp(this.#snapshot, node))
        .slice(0, sourcesTogether * maximumBatches)
      if (full.length === 0) continue
      const draft = yield* this.#open(yield* this.#rangesOf(full, []))
      const improvements = new Improvements(draft)
      for (const node of full)
        yield* improvements.relieve(node, draft.rules[r] as (typeof draft.rules)[number])
      this.#close(draft)
    }
  }

  /** Overloaded stores give leases away, and exhausted ones replicas. */
  *#cool(): Sliced<void> {
    const levels = this.#snapshot.table.storeOverload
    for (const store of hotStores(levels).slice(0, sourcesTogether * maximumBatches)) {
      if (!isUp(this.#snapshot, store)) continue
      const cooling = new Cooling(this.#probe())
      if ((this.#totals.leaders[store] as number) > 0 && cooling.mayShedLease(store)) {
        const draft = yield* this.#open(yield* this.#leasesOf(store))
        yield* new Cooling(draft).shedLeases(store)
        this.#close(draft)
      }
      if ((levels[store] as number) < overloadLevel.exhausted) continue
      const draft = yield* this.#open(yield* this.#rangesOf([store], []))
      yield* new Cooling(draft).shedReplicas(store)
      this.#close(draft)
    }
  }

  *#improve(): Sliced<void> {
    for (let g = 0; g < this.#policy.goals.length; g++) {
      const probe = this.#probe()
      const goal = probe.goals[g] as BoundGoal
      if (goal.judges === 'ranges') yield* this.#improveRanges(g)
      else yield* this.#evenOut(g, probe)
    }
  }

  /** Ranges that one goal alone could have better. */
  *#improveRanges(g: number): Sliced<void> {
    const ranges = this.#index.excess[g]
    if (ranges === undefined || ranges.size === 0) return
    const draft = yield* this.#open(Float64Array.from(this.#some(ranges, improvedTogether)).sort())
    const improvements = new Improvements(draft)
    for (let range = 0; range < draft.columns.rangeCount; range++) {
      yield
      improvements.improveRange(range, draft.goals[g] as BoundGoal)
    }
    this.#close(draft)
  }

  /** Full nodes give to empty ones, the fullest first. */
  *#evenOut(g: number, probe: Draft): Sliced<void> {
    const goal = probe.goals[g] as BoundGoal
    const pressures = Float64Array.from(nodesOf(probe), (node) => goal.pressure(node))
    const pressure = (node: number): number => pressures[node] as number
    const nodes = nodesOf(probe).filter((node) => probe.columns.eligible[node] === 1)
    nodes.sort((a, b) => pressure(b) - pressure(a) || a - b)
    const takers = nodes.filter((node) => !probe.columns.isHot(node))
    const emptiest = takers[takers.length - 1]
    if (emptiest === undefined) return
    const sources = nodes.filter(
      (node) => node !== emptiest && probe.targets.isWorthwhile(goal, node, emptiest),
    )
    const cold = takers.slice(-coldTogether).reverse()
    for (let batch = 0; batch < maximumBatches; batch++) {
      const some = sources.slice(batch * sourcesTogether, (batch + 1) * sourcesTogether)
      const { moves } = this.#sheet
      const before = moves.length
      if (some.length === 0 || !this.#hasRoom(goal)) return
      const draft = yield* this.#open(yield* this.#rangesOf(some, goal.judges === 'leases' ? [] : cold))
      yield* new Improvements(draft).evenOut(draft.goals[g] as BoundGoal, some, cold)
      this.#close(draft)
      if (moves.length > before) return
    }
  }

  /** Whether anything may begin for the sake of a goal. */
  #hasRoom({ judges }: BoundGoal): boolean {
    const { limits } = this.#setting
    const mayLead = this.#traffic.leaseMoves < limits.leaseTransfers
    if (judges === 'leases') return mayLead
    if (mayLead && this.#index.leaderLoads > 0) return true
    return this.#sheet.improvements < limits.improvements && this.#traffic.replicaMoves < limits.moves
  }

  /** Some of the ranges of nodes: of full ones the heaviest and a sample, of empty ones a sample. Ascending. */
  *#rangesOf(full: readonly number[], cold: readonly number[]): Sliced<Float64Array> {
    const chosen = new Set<RangeId>()
    const isOpen = (rangeId: RangeId): boolean => !this.#sheet.planned.has(rangeId)
    for (const store of full) {
      let weights = this.#weights.get(store)
      if (weights === undefined) {
        weights = yield* this.#weigh(store)
        this.#weights.set(store, weights)
      }
      for (const rangeId of yield* weights.heaviest(maximumExamined, isOpen)) chosen.add(rangeId)
      for (const rangeId of yield* weights.drawn(maximumExamined, isOpen)) chosen.add(rangeId)
    }
    for (const store of cold) for (const rangeId of yield* this.#sampled(store)) chosen.add(rangeId)
    return Float64Array.from(chosen).sort()
  }

  /** Ranges whose leases a store holds: the heaviest and a sample. Ascending. */
  *#leasesOf(store: number): Sliced<Float64Array> {
    const weights = yield* this.#weigh(store, true)
    const isOpen = (rangeId: RangeId): boolean => !this.#sheet.planned.has(rangeId)
    const chosen = new Set<RangeId>(yield* weights.heaviest(maximumExamined, isOpen))
    for (const rangeId of yield* weights.drawn(maximumExamined, isOpen)) chosen.add(rangeId)
    return Float64Array.from(chosen).sort()
  }

  /** A sample of the ranges of a store that are free and not planned: what weighing all of them and drawing comes to. */
  *#sampled(store: number): Sliced<readonly RangeId[]> {
    const all = yield* RangeWeights.drawing(this.#candidatesOn(store), this.#setting.seed)
    const reader = this.#snapshot.reader()
    const isFree = (rangeId: RangeId): boolean =>
      !this.#sheet.planned.has(rangeId) &&
      reader.seek(rangeId) &&
      reader.held === 0 &&
      replicaOn(reader, store) >= 0
    for (let few = 2 * maximumExamined; ; few *= 4) {
      const first = yield* all.drawn(few)
      const sample = first.filter(isFree).slice(0, maximumExamined)
      if (sample.length === maximumExamined || first.length === all.count) return sample
    }
  }

  #candidatesOn(store: number): Float64Array {
    const { node } = this.#snapshot.stores[store] as PlacementSnapshot['stores'][number]
    return this.#index.candidatesOn(node.descriptor.nodeId)
  }

  /** The ranges of a store that are free, or those of them that it leads, and how much each matters there. */
  *#weigh(store: number, ledOnly = false): Sliced<RangeWeights> {
    const snapshot = this.#snapshot
    const width = snapshot.resources.length
    const reader = snapshot.reader()
    const candidates = this.#candidatesOn(store)
    const found = new RangeWeights(candidates.length)
    let looked = 0
    for (const rangeId of candidates) {
      if (++looked % weighedTogether === 0) yield
      if (!reader.seek(rangeId) || reader.held > 0) continue
      const replica = replicaOn(reader, store)
      if (replica < 0) continue
      const leads = (reader.status(replica) & replicaBits.lease) !== 0
      if (ledOnly && !leads) continue
      let weight = 0
      for (let r = 0; r < width; r++) {
        const used = this.#index.usage[store * width + r] as number
        const load = reader.load(r) + (leads ? reader.leaderLoad(r) : 0)
        if (used > 0) weight = Math.max(weight, load / used)
      }
      found.add(rangeId, weight, drawOf(rangeId, this.#setting.seed))
    }
    return found
  }

  /** Some of the ranges of a tree. Where they are more than that, every seed begins elsewhere, so that all have a turn. */
  #some(ranges: IdSet, most: number): RangeId[] {
    const skip = ranges.size > most ? (this.#setting.seed * most) % ranges.size : 0
    return ranges.some(skip, most)
  }

  #explain(): readonly string[] {
    const { moves, deferred, repairs, blockedCount } = this.#sheet
    const lines: string[] = []
    const kinds = new Map<string, number>()
    for (const { kind } of moves) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    const counts = [...kinds].map(([kind, count]) => `${count} × ${kind}`).join(', ')
    lines.push(moves.length === 0 ? 'nothing to move' : `${moves.length} moves: ${counts}`)
    const underWay = this.#snapshot.moves.length
    const hot = this.#snapshot.stores.filter(
      ({ overload }) => overload !== undefined && overload !== 'strained',
    )
    if (this.#snapshot.table.everythingHot)
      lines.push('most stores are overloaded: nothing is done about it, since that comes of the load')
    else if (hot.length > 0) lines.push(`${hot.length} stores are overloaded or were lately`)
    if (underWay > 0) lines.push(`${underWay} moves are under way`)
    if (deferred > 0) lines.push(`${deferred} more are needed and wait for room`)
    if (repairs > 0) lines.push('nothing is balanced while there is something to repair')
    if (blockedCount > 0) lines.push(`${blockedCount} ranges need what cannot be done now`)
    return lines
  }
}

/** The replica of a range on a store, or -1. */
function replicaOn(reader: RangeReader, store: number): number {
  for (let i = 0; i < reader.replicas; i++) if (reader.store(i) === store) return i
  return -1
}

function nodesOf(draft: Draft): number[] {
  return Array.from({ length: draft.columns.nodeCount }, (_, node) => node)
}

function isUp(snapshot: PlacementSnapshot, store: number): boolean {
  return ((snapshot.table.storeStatus[store] as number) & nodeBits.up) !== 0
}
