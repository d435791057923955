import type { Sliced } from '../../core/sliced.ts'
import type { RangeId } from '../../model/ids.ts'
import type { AssignmentBase } from './assignment.ts'
import { measurePlan } from './bounds.ts'
import { Cooling, hotStores } from './cooling.ts'
import { Draft, PlanSheet } from './draft.ts'
import type { FleetIndex } from './fleet-index.ts'
import type { BoundGoal } from './goals/goal.ts'
import { drawOf, Improvements, maximumExamined } from './improvements.ts'
import type { Plan } from './plan.ts'
import type { PlacementLimits, PlacementPolicy } from './policy.ts'
import { RangeWeights } from './range-weights.ts'
import { Repairs } from './repairs.ts'
import { nodeBits, overloadLevel, type PlacementSnapshot, type RangeReader, replicaBits } from './snapshot.ts'
import { mostSources, type StoreViews } from './store-views.ts'
import { Traffic } from './traffic.ts'
import { TurnQueue } from './turn-queue.ts'
import type { Turns } from './turns.ts'

/** Ranges that need something, or that a goal could have better, which are looked at together. */
const examinedTogether = 256
/** So many of each one plan looks at, as long as there is room for what may come of it. */
const mostNeedy = 2048
const mostImprovable = 1024
/** Full nodes that are looked at together: the next ones, or more of the same, are when nothing came of it. */
const sourcesTogether = 16
const coldTogether = 8
/** Ranges that are weighed before others may go on. */
const weighedTogether = 256
/** Ranges that nothing can be done for and that are named. */
const namedUnavailable = 50
/** From here on a need is one of repair: its priority less the votes that are to spare. */
const repairUrgency = 9000
/** Beside goals, by their number from 0, what full stores are looked at for: their overload, and rules by their number below it. */
const cooling = -1
const relieving = -2

/** What one plan is made by. @internal */
export interface Setting {
  readonly limits: PlacementLimits
  readonly seed: number
}

/** One plan in the making. @internal */
export class Planning {
  /** Ranges by store, as far as they were asked for. */
  readonly #weights = new Map<number, RangeWeights>()
  /** The same of those that a store leads. */
  readonly #leaseWeights = new Map<number, RangeWeights>()
  readonly #index: FleetIndex
  readonly #views: StoreViews
  readonly #policy: PlacementPolicy
  readonly #setting: Setting
  readonly #snapshot: PlacementSnapshot
  readonly #traffic: Traffic
  readonly #sheet = new PlanSheet()
  readonly #isOpen = (rangeId: RangeId): boolean => !this.#sheet.planned.has(rangeId)
  /** Sums over all ranges with what is planned so far. */
  #totals: AssignmentBase
  /** How many ranges each goal could have better, with what is planned so far. */
  readonly #excess: number[]
  /** Of those, the ones for which nothing can be done, as far as this plan saw to it. */
  readonly #hopeless: number[]

  constructor(index: FleetIndex, views: StoreViews, setting: Setting) {
    this.#index = index
    this.#views = views
    this.#policy = index.policy
    this.#setting = setting
    this.#snapshot = index.snapshot as PlacementSnapshot
    views.asOf(index.nodesChanged, this.#snapshot.table)
    this.#traffic = new Traffic(this.#snapshot)
    this.#totals = index.totals
    this.#excess = index.excess.map((turns) => turns.size)
    this.#hopeless = index.excess.map(() => 0)
  }

  *run(): Sliced<Plan> {
    const before = this.#distances()
    yield* this.#repair()
    yield* this.#relieve()
    yield* this.#cool()
    // While anything is to be repaired the network belongs to it.
    if (this.#sheet.repairs === 0) yield* this.#improve()
    const { moves, blocked, blockedCount, deferred, unexamined } = this.#sheet
    const { goals } = this.#policy
    const bounds = measurePlan(this.#index.copies, moves, goals, before, this.#distances(), this.#hopeless)
    return { moves, blocked, blockedCount, deferred, unexamined, bounds, explained: this.#explain() }
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
    const together = Math.max(examinedTogether, 4 * (limits.moves + limits.leaseTransfers))
    const most = Math.max(mostNeedy, together)
    const { needs } = this.#index
    const urgencies = [...needs.keys()].sort((a, b) => b - a)
    const able = urgencies.filter((urgency) => urgency !== 0)
    const queue = new TurnQueue(
      able.map((urgency) => needs.get(urgency) as Turns),
      most,
      together,
    )
    const unavailable = needs.get(0)?.nextOpen(namedUnavailable) ?? []
    for (let chunk = 0; ; chunk++) {
      const part = queue.next()
      const ids = [...part.keys(), ...(chunk === 0 ? unavailable : [])]
      if (ids.length === 0 || (chunk > 0 && this.#traffic.replicaMoves >= limits.moves)) break
      const draft = yield* this.#open(Float64Array.from(ids).sort())
      yield* this.#meet(draft, ids, part)
      this.#close(draft)
    }
    let [waiting, stuck, repairs] = [0, 0, 0]
    for (const [urgency, turns] of needs) {
      if (urgency === 0) stuck += turns.size
      else {
        waiting += turns.openCount
        stuck += turns.stuckCount
      }
      if (urgency >= repairUrgency) repairs += turns.openCount
    }
    this.#sheet.deferred = waiting - this.#sheet.moves.length
    this.#sheet.blockedCount = stuck
    this.#sheet.repairs = repairs
    if (this.#traffic.replicaMoves < limits.moves) this.#sheet.unexamined += queue.unseen
  }

  /** Plans what some ranges need, in the order in which they come, and says of each what came of it. */
  *#meet(draft: Draft, ids: readonly RangeId[], turns: ReadonlyMap<RangeId, Turns>): Sliced<void> {
    const repairs = new Repairs(draft)
    const at = new Map<RangeId, number>()
    draft.columns.rangeIds.forEach((rangeId, range) => at.set(rangeId, range))
    for (const rangeId of ids) {
      yield
      const { deferred } = this.#sheet
      repairs.meet(at.get(rangeId) as number)
      const isHelped = this.#sheet.planned.has(rangeId) || this.#sheet.deferred > deferred
      turns.get(rangeId)?.looked(rangeId, !isHelped)
    }
  }

  /** Nodes that are too full give something away, whatever it is. */
  *#relieve(): Sliced<void> {
    const probe = this.#probe()
    const sheet = this.#sheet
    for (const [r, rule] of probe.rules.entries()) {
      if (rule.sheds === undefined) continue
      const purpose = relieving - r
      const full = nodesOf(probe).filter(
        (node) => rule.sheds?.(node) !== undefined && isUp(this.#snapshot, node),
      )
      const sources = this.#views.inTurn(purpose, full)
      const some = sources.splice(0, mostSources)
      if (some.length === 0) continue
      const draft = yield* this.#open(Float64Array.from(yield* this.#heaviestOf(purpose, some, false)).sort())
      const improvements = new Improvements(draft)
      for (const node of some) {
        const [moves, deferred] = [sheet.moves.length, sheet.deferred]
        yield* improvements.relieve(node, draft.rules[r] as (typeof draft.rules)[number])
        if (sheet.moves.length > moves) this.#views.gave(purpose, node)
        else if (sheet.deferred > deferred) this.#views.waits(purpose, node)
        else if (this.#views.goDown(purpose, node)) sources.push(node)
      }
      this.#close(draft)
      if (this.#traffic.replicaMoves < this.#setting.limits.moves)
        this.#leave(purpose, sources, this.#totals.replicas)
    }
  }

  /** Overloaded stores give leases away, and exhausted ones replicas. */
  *#cool(): Sliced<void> {
    const levels = this.#snapshot.table.storeOverload
    const hot = hotStores(levels).filter((store) => isUp(this.#snapshot, store))
    const sources = this.#views.inTurn(cooling, hot)
    const mayLead = (): boolean => this.#traffic.leaseMoves < this.#setting.limits.leaseTransfers
    for (const store of sources.splice(0, mostSources)) {
      const { length } = this.#sheet.moves
      const isLookedAt = mayLead() || levels[store] === overloadLevel.exhausted
      yield* this.#coolStore(store, levels[store] as number)
      if (this.#sheet.moves.length > length) this.#views.gave(cooling, store)
      else if (isLookedAt) this.#views.waits(cooling, store)
    }
    if (mayLead()) this.#leave(cooling, sources, this.#totals.replicas)
  }

  *#coolStore(store: number, level: number): Sliced<void> {
    if ((this.#totals.leaders[store] as number) > 0 && new Cooling(this.#probe()).mayShedLease(store)) {
      const draft = yield* this.#open(yield* this.#rangesOf([store], true))
      yield* new Cooling(draft).shedLeases(store)
      this.#close(draft)
    }
    if (level < overloadLevel.exhausted) return
    const draft = yield* this.#open(yield* this.#rangesOf([store], false))
    yield* new Cooling(draft).shedReplicas(store)
    this.#close(draft)
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
    const turns = this.#index.excess[g]
    if (turns === undefined || turns.size === 0) return
    const queue = new TurnQueue([turns], mostImprovable, examinedTogether)
    for (let chunk = 0; ; chunk++) {
      const ids = [...queue.next().keys()]
      if (ids.length === 0 || (chunk > 0 && !this.#mayImprove())) break
      const draft = yield* this.#open(Float64Array.from(ids).sort())
      const improvements = new Improvements(draft)
      for (const [range, rangeId] of draft.columns.rangeIds.entries()) {
        yield
        const outcome = improvements.improveRange(range, draft.goals[g] as BoundGoal)
        turns.looked(rangeId, outcome === 'stuck')
      }
      this.#close(draft)
    }
    this.#hopeless[g] = turns.stuckCount
    if (this.#mayImprove()) this.#sheet.unexamined += queue.unseen
  }

  #mayImprove(): boolean {
    const { limits } = this.#setting
    return this.#sheet.improvements < limits.improvements && this.#traffic.replicaMoves < limits.moves
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
    const full = nodes.filter((node) => node !== emptiest && probe.targets.isWorthwhile(goal, node, emptiest))
    const sources = this.#views.inTurn(g, full)
    const cold = takers.slice(-coldTogether).reverse()
    const leases = goal.judges === 'leases'
    const { moves } = this.#sheet
    for (let seen = 0; seen < mostSources; seen += sourcesTogether) {
      const some = sources.splice(0, sourcesTogether)
      const before = moves.length
      if (some.length === 0 || !this.#hasRoom(goal)) break
      const ids = yield* this.#heaviestOf(g, some, leases)
      for (const store of leases ? [] : cold)
        for (const rangeId of yield* this.#sampled(store)) ids.add(rangeId)
      const draft = yield* this.#open(Float64Array.from(ids).sort())
      const gave = yield* new Improvements(draft).evenOut(draft.goals[g] as BoundGoal, some, cold)
      this.#close(draft)
      for (const store of some) {
        if (gave.has(store)) this.#views.gave(g, store)
        else if (this.#hasRoom(goal) && this.#views.goDown(g, store)) sources.push(store)
      }
      if (moves.length > before) return
    }
    if (this.#hasRoom(goal)) this.#leave(g, sources, leases ? this.#totals.leaders : this.#totals.replicas)
  }

  /** Full stores have their turn with later plans: also those of which none has looked at anything. */
  #leave(purpose: number, sources: readonly number[], ranges: Int32Array): void {
    for (const store of sources)
      this.#sheet.unexamined += this.#views.of(purpose, store).unseen ?? ranges[store] ?? 0
  }

  /** Whether anything may begin for the sake of a goal. */
  #hasRoom({ judges }: BoundGoal): boolean {
    const { limits } = this.#setting
    const mayLead = this.#traffic.leaseMoves < limits.leaseTransfers
    if (judges === 'leases') return mayLead
    if (mayLead && this.#index.leaderLoads > 0) return true
    return this.#sheet.improvements < limits.improvements && this.#traffic.replicaMoves < limits.moves
  }

  /** Some of the ranges of full nodes, or of those that they lead: the heaviest, and a sample. Ascending. */
  *#rangesOf(full: readonly number[], leases: boolean): Sliced<Float64Array> {
    const chosen = new Set<RangeId>()
    for (const store of full) {
      const weights = yield* this.#weightsOf(store, leases)
      for (const { rangeId } of yield* weights.heaviest(maximumExamined, this.#isOpen)) chosen.add(rangeId)
      for (const rangeId of yield* weights.drawn(maximumExamined, this.#isOpen)) chosen.add(rangeId)
    }
    return Float64Array.from(chosen).sort()
  }

  /** The same of those whose turn it is for a goal or a rule: where the heaviest could not go before, those below them. */
  *#heaviestOf(purpose: number, full: readonly number[], leases: boolean): Sliced<Set<RangeId>> {
    const chosen = new Set<RangeId>()
    for (const store of full) {
      const weights = yield* this.#weightsOf(store, leases)
      const view = this.#views.of(purpose, store)
      const isAll = weights.count <= maximumExamined
      if (isAll) {
        view.last = undefined
        view.unseen = weights.count
      }
      view.unseen ??= weights.count
      const heaviest = yield* weights.heaviest(maximumExamined, this.#isOpen, view.last)
      view.next = isAll || heaviest.length < maximumExamined ? undefined : heaviest[heaviest.length - 1]
      // Those that this plan moves need no look.
      view.looked = isAll ? weights.count : Math.max(1, heaviest.length)
      for (const { rangeId } of heaviest) chosen.add(rangeId)
      for (const rangeId of yield* weights.drawn(maximumExamined, this.#isOpen)) chosen.add(rangeId)
    }
    return chosen
  }

  *#weightsOf(store: number, leases: boolean): Sliced<RangeWeights> {
    const known = leases ? this.#leaseWeights : this.#weights
    let weights = known.get(store)
    if (weights === undefined) {
      weights = yield* this.#weigh(store, leases)
      known.set(store, weights)
    }
    return weights
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
  *#weigh(store: number, leases: boolean): Sliced<RangeWeights> {
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
      if (leases && !leads) continue
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

  #explain(): readonly string[] {
    const { moves, deferred, repairs, blockedCount, unexamined } = this.#sheet
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
    if (deferred > 0) lines.push(`${deferred} ranges need something and wait for room or their turn`)
    if (repairs > 0) lines.push('nothing is balanced while there is something to repair')
    if (blockedCount > 0) lines.push(`${blockedCount} ranges need what cannot be done now`)
    if (unexamined > 0) lines.push(`${unexamined} ranges that may be moved are looked at by the next plans`)
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
