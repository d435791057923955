import { finish, type Sliced } from '../../core/sliced.ts'
import type { NodeId, RangeId } from '../../model/ids.ts'
import {
  Assignment,
  type AssignmentBase,
  type Domains,
  nowhere,
  type PlacementColumns,
} from './assignment.ts'
import type { RuleBook, RuleClass } from './policy/rule-book.ts'
import { nodeBits, overloadLevel, type PlacementSnapshot, type RangeReader, replicaBits } from './snapshot.ts'
import { maximumReplicas, Standing } from './standing.ts'

const noSlots = new Int32Array(0)
const noCounts = new Uint32Array(0)
const noAmounts = new Float64Array(0)
const noBits = new Uint8Array(0)
/** Ranges that are filled in before others may go on. */
const filledTogether = 256

/** The tier of locality in which every node is a domain of its own, whatever its stores. */
export const nodeTier = 'node.id'

/**
 * The columns of some ranges of a snapshot, with the sums of all: what goals, rules and the planner work on, so that
 * planning costs what the ranges that matter cost. A *node* of the columns is a store. After the replicas of a range stands
 * one slot more, for a replica that is to be made; moves under way have happened.
 */
export class WorkingSet implements PlacementColumns {
  readonly snapshot: PlacementSnapshot
  readonly nodeCount: number
  readonly rangeCount: number
  slotCount = 0
  readonly resources: readonly string[]
  readonly capacity: Float64Array
  firstSlot: Uint32Array = noCounts
  rangeOf: Int32Array = noSlots
  load: Float64Array = noAmounts
  leaderLoad: Float64Array | undefined
  home: Int32Array = noSlots
  homeLeader: Int32Array = noSlots
  moveBytes: Float64Array = noAmounts
  status: Uint8Array = noBits
  fixed: Uint8Array = noBits
  readonly eligible: Uint8Array
  readonly aside: Uint8Array
  /** How hard-pressed each store is, by the order of `StoreOverload` from 1, as far as anything is done about it. */
  readonly overload: Uint8Array
  readonly sharing: Uint8Array
  tableOf: Int32Array = noSlots
  ruleClass: Int32Array | undefined
  base: AssignmentBase | undefined
  /** Ids of the ranges, ascending. */
  readonly rangeIds: Float64Array
  generations: Float64Array = noAmounts
  /** Voters that each range is to have; 0 for what the policy says. */
  factors: Uint8Array = noBits
  nonVoters: Uint8Array = noBits
  /** Voters, and replicas in all, that each range is to have. */
  wantedVoters: Uint8Array = noBits
  wantedReplicas: Uint8Array = noBits
  /** 0 for a free range, 1 for one that is not to be improved, 2 for one that is to be left alone. */
  held: Uint8Array = noBits
  /** 1 for ranges that pass between two sets of voters. */
  joint: Uint8Array = noBits
  /** Id of each replica; 0 for one that is to be made. */
  replicaIds: Float64Array = noAmounts
  /** The store that a replica is on, lost or not. */
  store: Int32Array = noSlots
  /** Node of each store. */
  readonly hostOf: Int32Array
  #place: Int32Array = noSlots
  #leader: Int32Array = noSlots

  /** The same as the constructor, in slices. An array of `rangeIds` becomes its own. */
  static *building(
    snapshot: PlacementSnapshot,
    rangeIds: ArrayLike<RangeId>,
    totals: AssignmentBase | undefined,
    policy: WantedBy,
    spare = 1,
  ): Sliced<WorkingSet> {
    const columns = new WorkingSet(snapshot, rangeIds, undefined, spare, policy, 'empty')
    yield* columns.#build(totals, spare, policy)
    return columns
  }

  /**
   * @param rangeIds ranges of the snapshot, ascending
   * @param totals sums over all ranges, these included; undefined when nothing is on any node but what these bring
   * @param spare slots for replicas that are to be made, for each range
   * @param policy says what each range is to have, where the range does not say so itself
   * @param how `empty`: somebody else fills it
   */
  constructor(
    snapshot: PlacementSnapshot,
    rangeIds: ArrayLike<RangeId>,
    totals: AssignmentBase | undefined,
    spare = 1,
    policy: WantedBy = {},
    how: 'filled' | 'empty' = 'filled',
  ) {
    const { table, resources } = snapshot
    const count = rangeIds.length
    this.snapshot = snapshot
    this.nodeCount = table.stores.length
    this.resources = resources
    this.capacity = capacityOf(snapshot)
    this.eligible = table.storeStatus.map((status) => ((status & nodeBits.eligible) === 0 ? 0 : 1))
    this.overload = table.storeOverload
    this.aside = table.storeOverload.map((level) => (level >= overloadLevel.recovering ? 1 : 0))
    const leavers = nodeBits.gone | nodeBits.leaving
    this.sharing = table.storeStatus.map((status) => ((status & leavers) === 0 ? 1 : 0))
    this.hostOf = table.nodeOf
    this.rangeCount = count
    this.rangeIds =
      how === 'empty' && rangeIds instanceof Float64Array ? rangeIds : new Float64Array(rangeIds)
    if (how === 'filled') finish(this.#build(totals, spare, policy))
  }

  *#build(totals: AssignmentBase | undefined, spare: number, policy: WantedBy): Sliced<void> {
    const { snapshot, rangeIds, rangeCount: count } = this
    const width = this.resources.length
    const reader = snapshot.reader()
    // Of many ranges even to make room takes its time, and to fill it at once even more: each range is emptied in its turn.
    this.generations = new Float64Array(count)
    yield
    this.factors = new Uint8Array(count)
    this.nonVoters = new Uint8Array(count)
    this.wantedVoters = new Uint8Array(count)
    this.wantedReplicas = new Uint8Array(count)
    this.held = new Uint8Array(count)
    this.joint = new Uint8Array(count)
    yield
    this.ruleClass = policy.rules === undefined ? undefined : new Int32Array(count)
    this.tableOf = new Int32Array(count)
    yield
    this.homeLeader = new Int32Array(count)
    this.#leader = new Int32Array(count)
    yield
    this.firstSlot = new Uint32Array(count + 1)
    for (let range = 0; range < count; range++) {
      if ((range + 1) % filledTogether === 0) yield
      const there = reader.seek(rangeIds[range] as number)
      const replicas = there ? Math.min(reader.replicas, maximumReplicas) : 0
      this.firstSlot[range + 1] = (this.firstSlot[range] as number) + replicas + spare
    }
    const slots = this.firstSlot[count] as number
    this.slotCount = slots
    yield
    this.rangeOf = new Int32Array(slots)
    yield
    this.load = new Float64Array(slots * width)
    yield
    this.home = new Int32Array(slots)
    yield
    this.store = new Int32Array(slots)
    yield
    this.moveBytes = new Float64Array(slots)
    yield
    this.status = new Uint8Array(slots)
    this.fixed = new Uint8Array(slots)
    yield
    this.replicaIds = new Float64Array(slots)
    yield
    this.#place = new Int32Array(slots)
    const standing = new Standing()
    let leaderLoad: Float64Array | undefined
    for (let range = 0; range < count; range++) {
      if ((range + 1) % filledTogether === 0) yield
      this.#empty(range)
      if (!reader.seek(rangeIds[range] as number)) continue
      this.#fill(range, reader, standing.read(reader), policy)
      for (let r = 0; r < width; r++) {
        const extra = reader.leaderLoad(r)
        if (extra === 0) continue
        leaderLoad ??= new Float64Array(count * width)
        leaderLoad[range * width + r] = extra
      }
    }
    this.leaderLoad = leaderLoad
    yield
    this.base = totals === undefined ? undefined : this.#without(totals)
  }

  /** An assignment in which what is under way has happened. */
  assign(): Assignment {
    return new Assignment(this, this.#place, this.#leader)
  }

  /** First slot of a range that is for a replica that is to be made. */
  spareSlot(range: number): number {
    let slot = this.firstSlot[range + 1] as number
    while (slot > (this.firstSlot[range] as number) && this.replicaIds[slot - 1] === 0) slot--
    return slot
  }

  /** Whether a node has a replica of the range, of whatever kind, or is about to. */
  holds(assignment: Assignment, range: number, node: number): boolean {
    const host = this.hostOf[node]
    const end = this.firstSlot[range + 1] as number
    for (let slot = this.firstSlot[range] as number; slot < end; slot++) {
      const [at, to] = [this.store[slot] as number, assignment.place[slot] as number]
      if ((at >= 0 && this.hostOf[at] === host) || (to >= 0 && this.hostOf[to] === host)) return true
    }
    return false
  }

  /** Whether a node is overloaded, or was lately: it gets only what no other can take. */
  isHot(node: number): boolean {
    return this.aside[node] === 1
  }

  domains(tier: string): Domains {
    if (tier !== nodeTier) return this.snapshot.table.domains(tier)
    const { nodes } = this.snapshot
    return { of: this.hostOf, count: nodes.length, names: nodes.map(({ descriptor }) => descriptor.nodeId) }
  }

  label(node: number, name: string): string | undefined {
    return this.snapshot.stores[node]?.labels[name]
  }

  nodeName(node: number): string {
    return this.snapshot.table.nameOf(node)
  }

  rangeName(range: number): string {
    return `range ${this.rangeIds[range]}`
  }

  nodeIdOf(node: number): NodeId {
    return this.snapshot.stores[node]?.node.descriptor.nodeId ?? 'an unknown node'
  }

  /** Nothing of a range is anywhere, and nobody leads it. */
  #empty(range: number): void {
    const end = this.firstSlot[range + 1] as number
    for (let slot = this.firstSlot[range] as number; slot < end; slot++) {
      this.home[slot] = nowhere
      this.store[slot] = nowhere
      this.#place[slot] = nowhere
    }
    this.homeLeader[range] = nowhere
    this.#leader[range] = nowhere
  }

  #fill(range: number, reader: RangeReader, standing: Standing, policy: WantedBy): void {
    const first = this.firstSlot[range] as number
    const end = this.firstSlot[range + 1] as number
    const width = this.resources.length
    const bytes = this.resources.indexOf('bytes')
    this.generations[range] = reader.generation
    const rules = policy.rules?.classOf(reader.rangeId, reader.tableId || undefined)
    if (rules !== undefined && this.ruleClass !== undefined) this.ruleClass[range] = rules.index
    this.factors[range] = wantedVoters(reader, rules) ?? 0
    this.nonVoters[range] = wantedNonVoters(reader, rules)
    this.wantedVoters[range] = this.factors[range] || (policy.replicationFactor ?? 0)
    this.wantedReplicas[range] = this.wantedVoters[range] + this.nonVoters[range]
    this.held[range] = reader.held
    this.joint[range] = reader.joint ? 1 : 0
    this.tableOf[range] = reader.tableId
    const fixed = standing.moving || reader.held > 0 || this.joint[range] === 1 ? 1 : 0
    for (let slot = first; slot < end; slot++) {
      const i = slot - first
      this.rangeOf[slot] = range
      this.fixed[slot] = fixed
      for (let r = 0; r < width; r++) this.load[slot * width + r] = reader.load(r)
      if (bytes >= 0) this.moveBytes[slot] = reader.load(bytes)
      if (i >= standing.count) {
        const stays = i === standing.count && standing.target !== nowhere && !standing.targetVotes
        this.status[slot] = stays ? replicaBits.up : replicaBits.voter | replicaBits.up
        continue
      }
      this.replicaIds[slot] = reader.replicaId(i)
      this.store[slot] = reader.store(i)
      this.status[slot] = reader.status(i)
      this.home[slot] = standing.home[i] as number
      this.#place[slot] = standing.place[i] as number
    }
    if (standing.target !== nowhere && first + standing.count < end) {
      this.#place[first + standing.count] = standing.target
    }
    if (standing.homeLeader !== nowhere) this.homeLeader[range] = first + standing.homeLeader
    if (standing.leader !== nowhere) this.#leader[range] = first + standing.leader
  }

  /** Sums with these ranges as an assignment has them. */
  totalsOf(assignment: Assignment): AssignmentBase {
    const { usage, held, replicaCount, leaderCount, place } = assignment
    const others = this.base?.tables
    return {
      usage,
      held,
      replicas: replicaCount,
      leaders: leaderCount,
      ...(others === undefined ? {} : { tables: this.#countTables(others, place, 1) }),
    }
  }

  /** Replicas of tables by node, with those of these ranges, or without them. */
  #countTables(
    tables: ReadonlyMap<number, Int32Array>,
    place: Int32Array,
    sign: number,
  ): ReadonlyMap<number, Int32Array> {
    const counts = new Map([...tables].map(([table, count]) => [table, count.slice()]))
    for (let slot = 0; slot < this.slotCount; slot++) {
      const node = place[slot] as number
      const count = node < 0 ? undefined : counts.get(this.tableOf[this.rangeOf[slot] as number] as number)
      if (count !== undefined) count[node] = (count[node] as number) + sign
    }
    return counts
  }

  /** The sums without these ranges, which the assignment adds again. Exact, since loads are. */
  #without(totals: AssignmentBase): AssignmentBase {
    const width = this.resources.length
    const base = {
      usage: totals.usage.slice(),
      held: totals.held.slice(),
      replicas: totals.replicas.slice(),
      leaders: totals.leaders.slice(),
      ...(totals.tables === undefined ? {} : { tables: this.#countTables(totals.tables, this.#place, -1) }),
    }
    const take = (sums: Float64Array, node: number, amounts: Float64Array, row: number): void => {
      for (let r = 0; r < width; r++) {
        sums[node * width + r] = (sums[node * width + r] as number) - (amounts[row * width + r] as number)
      }
    }
    for (let slot = 0; slot < this.slotCount; slot++) {
      const node = this.#place[slot] as number
      if (node >= 0) {
        take(base.usage, node, this.load, slot)
        base.replicas[node] = (base.replicas[node] as number) - 1
      }
      const home = this.home[slot] as number
      if (home >= 0 && home !== node) take(base.held, home, this.load, slot)
    }
    for (let range = 0; range < this.rangeCount; range++) {
      const leader = this.#leader[range] as number
      const node = leader < 0 ? nowhere : (this.#place[leader] as number)
      if (node < 0) continue
      base.leaders[node] = (base.leaders[node] as number) - 1
      if (this.leaderLoad !== undefined) take(base.usage, node, this.leaderLoad, range)
    }
    return base
  }
}

/** Capacity of each store, by resource; infinity where none is named. */
function capacityOf({ stores, resources }: PlacementSnapshot): Float64Array {
  const width = resources.length
  const capacity = new Float64Array(stores.length * width).fill(Number.POSITIVE_INFINITY)
  stores.forEach((store, i) => {
    resources.forEach((name, r) => {
      const amount = store.capacity[name]
      if (amount !== undefined) capacity[i * width + r] = amount
    })
  })
  return capacity
}

/** What a policy says of how many replicas ranges are to have. */
interface WantedBy {
  readonly rules?: RuleBook | undefined
  readonly replicationFactor?: number
}

/** Voters that a range is to have: what it says itself, else what its rules say. Undefined: nothing says it. */
export function wantedVoters(reader: RangeReader, rules: RuleClass | undefined): number | undefined {
  return reader.replicationFactor || rules?.policy.voters?.value
}

/** Replicas without a vote that a range is to have. */
export function wantedNonVoters(reader: RangeReader, rules: RuleClass | undefined): number {
  return reader.nonVoters || (rules?.policy.nonVoters?.value ?? 0)
}
