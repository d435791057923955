import type { Sliced } from '../../core/sliced.ts'
import type { NodeId, RangeId } from '../../model/ids.ts'
import { type AssignmentBase, nowhere } from './assignment.ts'
import { type BoundGoal, type BoundRule, bindGoal, bindRule } from './goals/goal.ts'
import { comparing } from './model/changes.ts'
import { sameButOverload } from './model/same-node.ts'
import type { PlacementPolicy } from './policy.ts'
import { quorumOf } from './quorum.ts'
import { RangeList } from './range-list.ts'
import { type PlacementNode, type PlacementSnapshot, type RangeReader, replicaBits } from './snapshot.ts'
import { Standing } from './standing.ts'
import { RangeSurvey } from './survey.ts'
import { Turns } from './turns.ts'
import { WorkingSet, wantedNonVoters, wantedVoters } from './working-set.ts'

/** Ranges that are laid out in columns together, and whose needs are then asked before others may go on. */
const examinedTogether = 512
const askedTogether = 128
/** Ranges that are counted, or looked up, before others may go on. */
const countedTogether = 256
/** Pages of ranges that are compared before others may go on. */
const comparedTogether = 64

/** Copies that repair and drain take at least. */
export interface CopySums {
  repairMoves: number
  repairBytes: number
  drainMoves: number
  drainBytes: number
}

/**
 * What the planner knows of a whole cluster without looking at it: sums by node, which ranges a node has, which ranges need
 * something, which could be better. Kept from one snapshot to the next by what changed between them; made anew it is the
 * same, since loads are exact. @internal
 */
export class FleetIndex {
  readonly policy: PlacementPolicy
  snapshot: PlacementSnapshot | undefined
  usage: Float64Array = new Float64Array(0)
  held: Float64Array = new Float64Array(0)
  replicas: Int32Array = new Int32Array(0)
  leaders: Int32Array = new Int32Array(0)
  /** Replicas on each store of the tables that goals ask about. */
  readonly tables: Map<number, Int32Array> = new Map()
  readonly copies: CopySums = { repairMoves: 0, repairBytes: 0, drainMoves: 0, drainBytes: 0 }
  /** Ranges that need something, by how urgent it is; 0 for those that nothing can be done for. */
  readonly needs: Map<number, Turns> = new Map()
  /** Ranges that could be better, by goals that judge ranges. */
  readonly excess: Turns[]
  readonly #needOf = new Map<RangeId, number>()
  readonly #lists = new Map<NodeId, RangeList>()
  readonly #standing = new Standing()
  #signatures: string[] = []
  /** Ranges whose leaders take something on top. */
  leaderLoads = 0
  /** How often nodes were not what they had been. */
  nodesChanged = 0
  /** Ranges that the last update asked again. */
  examined = 0

  constructor(policy: PlacementPolicy) {
    this.policy = policy
    this.excess = policy.goals.map(() => new Turns())
    for (const { tables } of policy.goals)
      for (const table of tables ?? []) this.tables.set(table, new Int32Array(0))
  }

  /** Sums over all ranges. */
  get totals(): AssignmentBase {
    const { usage, held, replicas, leaders, tables } = this
    return { usage, held, replicas, leaders, ...(tables.size === 0 ? {} : { tables }) }
  }

  /**
   * Goes on to another snapshot. O(what changed), if they are of one fleet. Until it is done the index is of no snapshot: it
   * must be finished, or forgotten, before anything else is asked.
   */
  *update(next: PlacementSnapshot): Sliced<void> {
    const before = this.snapshot
    if (before === next) return
    if (before === undefined || !this.follows(before, next)) {
      yield* this.#begin(next)
      return
    }
    const touched = yield* this.touched(before, next)
    yield
    yield* this.#countAll(before, touched, -1)
    if (before.table !== next.table) this.#layOut(before, next)
    this.snapshot = next
    yield* this.#countAll(next, touched, 1)
    yield* this.#list(before, next, touched)
    if (before.table !== next.table) {
      this.nodesChanged++
      if (this.#signaturesChanged(next)) {
        yield* this.#examineAll(next)
        return
      }
      for (const turns of [...this.needs.values(), ...this.excess]) turns.retryAll()
    }
    this.examined = touched.size
    yield* this.#examineSome(next, touched)
  }

  /** Forgets everything: the next update begins anew. */
  forget(): void {
    this.snapshot = undefined
  }

  /** The ranges of a node, ascending. */
  rangesOn(nodeId: NodeId): Sliced<Float64Array> {
    return this.#read(nodeId, this.snapshot as PlacementSnapshot)
  }

  /** The ranges that a node has in a snapshot, ascending; those that left it are struck out. */
  *#read(nodeId: NodeId, snapshot: PlacementSnapshot): Sliced<Float64Array> {
    const list = this.#lists.get(nodeId)
    if (list === undefined) return new Float64Array(0)
    const reader = snapshot.reader()
    const candidates = list.candidates()
    const there = new Float64Array(candidates.length)
    let [kept, looked] = [0, 0]
    for (const rangeId of candidates) {
      if (++looked % countedTogether === 0) yield
      if (reader.seek(rangeId) && isOn(reader, nodeId)) there[kept++] = rangeId
    }
    list.keep(there.subarray(0, kept), candidates.length)
    return there.subarray(0, kept)
  }

  /** The ranges of a node and perhaps some that it had, ascending. */
  candidatesOn(nodeId: NodeId): Float64Array {
    return this.#lists.get(nodeId)?.candidates() ?? new Float64Array(0)
  }

  /** Whether what is known of one snapshot can be carried over to another. @internal */
  follows(before: PlacementSnapshot, next: PlacementSnapshot): boolean {
    return (
      before.origin === next.origin &&
      before.resources.length === next.resources.length &&
      before.resources.every((name, i) => name === next.resources[i])
    )
  }

  /** Ranges that are not what they were, or whose nodes are not, or whose move began or ended. @internal */
  *touched(before: PlacementSnapshot, next: PlacementSnapshot): Sliced<Set<RangeId>> {
    const touched = new Set<RangeId>()
    const visit = (a: RangeReader | undefined, b: RangeReader | undefined): void =>
      void touched.add((b ?? a)?.rangeId as RangeId)
    yield* comparing(before, next, visit, comparedTogether)
    if (before.moves !== next.moves) {
      const known = new Map(before.moves.map((move) => [move.rangeId, move]))
      for (const move of next.moves) {
        if (known.get(move.rangeId) !== move) touched.add(move.rangeId)
        known.delete(move.rangeId)
      }
      for (const rangeId of known.keys()) touched.add(rangeId)
    }
    if (before.table !== next.table) {
      for (const nodeId of changedNodes(before, next)) {
        let looked = 0
        for (const rangeId of yield* this.#read(nodeId, before)) {
          touched.add(rangeId)
          if (++looked % examinedTogether === 0) yield
        }
        // What is on its way there counts there.
        for (const move of next.moves) if (move.add === nodeId) touched.add(move.rangeId)
        for (const move of before.moves) if (move.add === nodeId) touched.add(move.rangeId)
      }
    }
    return touched
  }

  *#begin(next: PlacementSnapshot): Sliced<void> {
    const width = next.resources.length
    this.nodesChanged++
    this.snapshot = next
    this.usage = new Float64Array(next.stores.length * width)
    this.held = new Float64Array(next.stores.length * width)
    this.replicas = new Int32Array(next.stores.length)
    this.leaders = new Int32Array(next.stores.length)
    for (const table of this.tables.keys()) this.tables.set(table, new Int32Array(next.stores.length))
    Object.assign(this.copies, { repairMoves: 0, repairBytes: 0, drainMoves: 0, drainBytes: 0 })
    this.leaderLoads = 0
    this.#lists.clear()
    this.#signaturesChanged(next)
    const reader = next.reader()
    let counted = 0
    while (reader.next()) {
      this.#count(reader, 1)
      for (let i = 0; i < reader.replicas; i++) this.#listOf(nodeIdOf(reader, i)).add(reader.rangeId)
      if (++counted % countedTogether === 0) yield
    }
    yield* this.#examineAll(next)
  }

  *#countAll(snapshot: PlacementSnapshot, rangeIds: Iterable<RangeId>, sign: number): Sliced<void> {
    const reader = snapshot.reader()
    let counted = 0
    for (const rangeId of rangeIds) {
      if (reader.seek(rangeId)) this.#count(reader, sign)
      if (++counted % countedTogether === 0) yield
    }
  }

  /** What a range adds to the sums. */
  #count(reader: RangeReader, sign: number): void {
    const standing = this.#standing.read(reader)
    const width = reader.snapshot.resources.length
    const ofTable = this.tables.get(reader.tableId)
    for (let i = 0; i < standing.count; i++) {
      const [home, place] = [standing.home[i] as number, standing.place[i] as number]
      if (place >= 0) this.#add(this.usage, place, reader, sign, width)
      if (place >= 0) this.replicas[place] = (this.replicas[place] as number) + sign
      if (place >= 0 && ofTable !== undefined) ofTable[place] = (ofTable[place] as number) + sign
      if (home >= 0 && home !== place) this.#add(this.held, home, reader, sign, width)
    }
    const { target, leader } = standing
    if (target >= 0) {
      this.#add(this.usage, target, reader, sign, width)
      this.replicas[target] = (this.replicas[target] as number) + sign
      if (ofTable !== undefined) ofTable[target] = (ofTable[target] as number) + sign
    }
    const leads = leader < 0 ? nowhere : (standing.place[leader] as number)
    if (leads >= 0) {
      this.leaders[leads] = (this.leaders[leads] as number) + sign
      for (let r = 0; r < width; r++) {
        const at = leads * width + r
        this.usage[at] = (this.usage[at] as number) + sign * reader.leaderLoad(r)
      }
    }
    for (let r = 0; r < width; r++) {
      if (reader.leaderLoad(r) === 0) continue
      this.leaderLoads += sign
      break
    }
    if (!standing.moving) this.#countCopies(reader, sign)
  }

  #add(sums: Float64Array, store: number, reader: RangeReader, sign: number, width: number): void {
    for (let r = 0; r < width; r++) {
      sums[store * width + r] = (sums[store * width + r] as number) + sign * reader.load(r)
    }
  }

  /** Copies that no plan gets by without. Ranges without a quorum are left out: no plan can do anything for them. */
  #countCopies(reader: RangeReader, sign: number): void {
    let [voters, live, kept, leaving, learners, leavingLearners] = [0, 0, 0, 0, 0, 0]
    for (let i = 0; i < reader.replicas; i++) {
      const status = reader.status(i)
      const lost = (status & replicaBits.lost) !== 0
      if ((status & replicaBits.voter) === 0) {
        if (lost) continue
        if ((status & replicaBits.leaving) === 0) learners++
        else leavingLearners++
        continue
      }
      voters++
      if ((status & replicaBits.up) !== 0) live++
      if (lost) continue
      kept++
      if ((status & replicaBits.leaving) !== 0) leaving++
    }
    if (voters === 0 || live < quorumOf(voters)) return
    const bytes = reader.snapshot.resources.indexOf('bytes')
    const size = bytes < 0 ? 0 : reader.load(bytes)
    const rules = this.policy.rules?.classOf(reader.rangeId, reader.tableId || undefined)
    const wanted = wantedVoters(reader, rules) ?? this.policy.replicationFactor
    const reading = wantedNonVoters(reader, rules)
    // A learner that takes the place of a voter is no copy, but may have to be replaced itself.
    const voting = Math.min(learners, Math.max(0, wanted - kept))
    const unread = Math.max(0, reading - (learners - voting))
    const missing = Math.max(0, wanted - kept) - voting + Math.max(0, unread - leavingLearners)
    // A replica too many may be the one that leaves, and a learner may take its place: neither is a copy.
    const spare = Math.max(0, kept + Math.max(0, learners - reading) - wanted)
    const emptied = Math.max(0, leaving - spare) + Math.min(leavingLearners, unread)
    this.copies.repairMoves += sign * missing
    this.copies.repairBytes += sign * missing * size
    this.copies.drainMoves += sign * emptied
    this.copies.drainBytes += sign * emptied * size
  }

  /** Lays the sums out for other stores. What was counted on stores that are gone was taken off before. */
  #layOut(before: PlacementSnapshot, next: PlacementSnapshot): void {
    const width = next.resources.length
    const old = { usage: this.usage, held: this.held, replicas: this.replicas, leaders: this.leaders }
    const from = new Map(before.stores.map((_, i) => [before.table.nameOf(i), i]))
    const tables = new Map(this.tables)
    for (const table of tables.keys()) this.tables.set(table, new Int32Array(next.stores.length))
    this.usage = new Float64Array(next.stores.length * width)
    this.held = new Float64Array(next.stores.length * width)
    this.replicas = new Int32Array(next.stores.length)
    this.leaders = new Int32Array(next.stores.length)
    for (let store = 0; store < next.stores.length; store++) {
      const at = from.get(next.table.nameOf(store))
      if (at === undefined) continue
      this.usage.set(old.usage.subarray(at * width, (at + 1) * width), store * width)
      this.held.set(old.held.subarray(at * width, (at + 1) * width), store * width)
      this.replicas[store] = old.replicas[at] as number
      this.leaders[store] = old.leaders[at] as number
      for (const [table, count] of this.tables) count[store] = tables.get(table)?.[at] ?? 0
    }
  }

  /** Enters touched ranges into the lists of nodes that they are new on, and strikes them from those that they left. */
  *#list(before: PlacementSnapshot, next: PlacementSnapshot, touched: ReadonlySet<RangeId>): Sliced<void> {
    const [old, now] = [before.reader(), next.reader()]
    const stale = new Set<NodeId>()
    let looked = 0
    for (const rangeId of touched) {
      if (++looked % countedTogether === 0) yield
      const was = old.seek(rangeId) ? nodesOf(old) : []
      const is = now.seek(rangeId) ? nodesOf(now) : []
      for (const nodeId of is) if (!was.includes(nodeId)) this.#listOf(nodeId).add(rangeId)
      for (const nodeId of was) {
        if (is.includes(nodeId)) continue
        const list = this.#listOf(nodeId)
        list.leave()
        if (list.stale) stale.add(nodeId)
      }
    }
    for (const nodeId of stale) yield* this.#read(nodeId, next)
  }

  #listOf(nodeId: NodeId): RangeList {
    let list = this.#lists.get(nodeId)
    if (list === undefined) {
      list = new RangeList()
      this.#lists.set(nodeId, list)
    }
    return list
  }

  /** Whether anything that goals look at beside a range and its nodes is not what it was. */
  #signaturesChanged(next: PlacementSnapshot): boolean {
    const columns = new WorkingSet(next, [], undefined, 1, this.policy)
    const assignment = columns.assign()
    const signatures = this.policy.goals.map((goal) => {
      const bound = goal.bind(assignment)
      if (bound.judges !== 'ranges') return ''
      return bound.signature?.() ?? columns.eligible.join('')
    })
    const changed = signatures.some((signature, i) => signature !== this.#signatures[i])
    this.#signatures = signatures
    return changed
  }

  *#examineAll(snapshot: PlacementSnapshot): Sliced<void> {
    this.needs.clear()
    this.#needOf.clear()
    for (const turns of this.excess) turns.clear()
    this.examined = snapshot.rangeCount
    yield* this.#examineSome(snapshot, idsOf(snapshot))
  }

  /** Those of some ranges, in whatever order they come. */
  *#examineSome(snapshot: PlacementSnapshot, rangeIds: Iterable<RangeId>): Sliced<void> {
    const ids: RangeId[] = []
    for (const rangeId of rangeIds) {
      ids.push(rangeId)
      if (ids.length < examinedTogether) continue
      yield* this.#examine(snapshot, ids)
      ids.length = 0
    }
    yield* this.#examine(snapshot, ids)
  }

  /** Asks a few ranges anew what they need, and how much better they could be. */
  *#examine(snapshot: PlacementSnapshot, rangeIds: readonly RangeId[]): Sliced<void> {
    const columns = yield* WorkingSet.building(
      snapshot,
      Float64Array.from(rangeIds).sort(),
      undefined,
      this.policy,
    )
    const assignment = columns.assign()
    const rules: BoundRule[] = this.policy.constraints.map((rule) => bindRule(assignment, rule))
    const survey = new RangeSurvey(columns, rules, this.policy.replicationFactor)
    const goals: readonly (BoundGoal | undefined)[] = this.policy.goals.map((goal) => {
      const bound = bindGoal(assignment, goal)
      return bound.judges === 'ranges' ? bound : undefined
    })
    yield
    for (const [range, rangeId] of columns.rangeIds.entries()) {
      if ((range + 1) % askedTogether === 0) yield
      const there =
        columns.generations[range] !== 0 || columns.spareSlot(range) > (columns.firstSlot[range] as number)
      const moving = there && snapshot.moveOf(rangeId) !== undefined
      const free = there && !moving && columns.held[range] !== 2
      const need = free ? survey.read(range).need() : 'nothing'
      this.#setNeed(rangeId, need === 'nothing' ? undefined : survey.urgency(need))
      goals.forEach((goal, g) => {
        const better = there && goal !== undefined && goal.excess(range) > 0
        if (better) this.excess[g]?.add(rangeId)
        else this.excess[g]?.delete(rangeId)
      })
    }
    yield
  }

  #setNeed(rangeId: RangeId, urgency: number | undefined): void {
    const known = this.#needOf.get(rangeId)
    if (known !== undefined && known !== urgency) this.needs.get(known)?.delete(rangeId)
    if (urgency === undefined) {
      this.#needOf.delete(rangeId)
      return
    }
    this.#needOf.set(rangeId, urgency)
    let turns = this.needs.get(urgency)
    if (turns === undefined) {
      turns = new Turns()
      this.needs.set(urgency, turns)
    }
    turns.add(rangeId)
  }
}

function* idsOf(snapshot: PlacementSnapshot): Generator<RangeId> {
  const reader = snapshot.reader()
  while (reader.next()) yield reader.rangeId
}

function isOn(reader: RangeReader, nodeId: NodeId): boolean {
  for (let i = 0; i < reader.replicas; i++) if (nodeIdOf(reader, i) === nodeId) return true
  return false
}

function nodeIdOf(reader: RangeReader, replica: number): NodeId {
  return reader.snapshot.table.lives[reader.life(replica)]?.nodeId as NodeId
}

function nodesOf(reader: RangeReader): NodeId[] {
  return Array.from({ length: reader.replicas }, (_, i) => nodeIdOf(reader, i))
}

/**
 * Nodes that are not what they were, by id: those that came or went included. How hard-pressed they are is passed over: no need
 * of a range and no goal looks at it, so it costs no look at their ranges.
 */
function changedNodes(before: PlacementSnapshot, next: PlacementSnapshot): Set<NodeId> {
  const changed = new Set<NodeId>()
  const there = new Map(before.nodes.map((node, i) => [node.descriptor.nodeId, i]))
  next.nodes.forEach((node, i) => {
    const at = there.get(node.descriptor.nodeId)
    there.delete(node.descriptor.nodeId)
    if (at !== undefined && before.nodeStatus[at] === next.nodeStatus[i]) {
      const known = before.nodes[at] as PlacementNode
      if (known === node || sameButOverload(known, node)) return
    }
    changed.add(node.descriptor.nodeId)
  })
  for (const nodeId of there.keys()) changed.add(nodeId)
  return changed
}
