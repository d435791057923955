import { KeelsonError } from '../core/errors.ts'
import { finish, type Sliced } from '../core/sliced.ts'
import { OrderedMap } from '../metadata/mvcc/ordered-map.ts'
import type { Load, RangeDescriptor } from '../model/descriptors.ts'
import type { RangeId, ReplicaId, TableId } from '../model/ids.ts'
import { tableOf } from '../model/table-span.ts'
import { Fleet } from './core/model/fleet.ts'
import { separateLoads } from './core/model/loads.ts'
import type { RangesByStart } from './core/retiling.ts'
import type {
  MoveInFlight,
  PlacementNode,
  PlacementRange,
  PlacementSnapshot,
  RangeHold,
} from './core/snapshot.ts'
import { joinHolds } from './range-holds.ts'
import {
  leaseHolderOf,
  newestConfiguration,
  type ObserveRange,
  type ReportedReplica,
} from './range-reports.ts'
import type { RefusedViews } from './refused-views.ts'

/** Ranges that are looked at before others may go on: some tenths of a millisecond. */
const lookedAtTogether = 64

/** Ranges of which only the table is looked at before others may go on. */
const scannedTogether = 4096

/** Where a {@link FleetFeed} looks. */
export interface FleetFeedPorts {
  /** All nodes as they are now. */
  readonly nodes: () => readonly PlacementNode[]
  /** What the nodes report of a range. */
  readonly observed: ObserveRange
  /** Ranges of which reports have come since it was asked last; undefined when nobody keeps that. */
  readonly changed: (() => Iterable<RangeId>) | undefined
  /** Ranges that others hold back. */
  readonly held: () => ReadonlyMap<RangeId, RangeHold>
  /** Voters that a range is to have, where the policy does not say it. */
  readonly replicationFactor: (rangeId: RangeId, tableId: TableId | undefined) => number | undefined
  /** A node that is dead for so long has lost its replicas. */
  readonly deadAfterMs: number
  /** Is told of what cannot be taken in, and of what can be again. */
  readonly refused: Pick<RefusedViews, 'range' | 'node'>
}

/**
 * Keeps a {@link Fleet} as the directory, the reports and the moves have it. It looks again at what changed, not at what there
 * is: a round costs the nodes and what was reported.
 *
 * Invariant: what is told of one range or node and cannot be taken in keeps no other one from being looked at.
 */
export class FleetFeed {
  readonly #ports: FleetFeedPorts
  readonly #fleet: Fleet
  /** The directory, as far as it was read. */
  readonly #ranges = new Map<RangeId, RangeDescriptor>()
  /** The same by start keys, once somebody has asked for it; complete when all of it was gone through. */
  #byStart: OrderedMap<RangeDescriptor> | undefined
  #isIndexed = false
  /** Ranges to be looked at again. */
  readonly #dirty = new Set<RangeId>()
  /** Tables whose ranges are to have another number of voters. */
  readonly #renumbered = new Set<TableId>()
  /** Ranges that have committed what the directory does not have. */
  readonly #ahead = new Set<RangeId>()
  /** Ranges that are reported and that the directory does not have. */
  readonly #unknown = new Set<RangeId>()
  /** Whether anybody ever named a store. */
  #namesStores = false
  readonly #moves = new Map<RangeId, MoveInFlight>()
  readonly #holds = new Map<RangeId, RangeHold>()

  constructor(ports: FleetFeedPorts) {
    this.#ports = ports
    this.#fleet = new Fleet({ deadAfterMs: ports.deadAfterMs })
  }

  /** The whole directory. */
  setDirectory(ranges: readonly RangeDescriptor[]): void {
    const there = new Set(ranges.map(({ rangeId }) => rangeId))
    for (const rangeId of this.#ranges.keys()) if (!there.has(rangeId)) this.removeRange(rangeId)
    for (const range of ranges) this.setRange(range)
  }

  /** A range as the directory has it now. */
  setRange(range: RangeDescriptor): void {
    this.#unindex(range.rangeId)
    this.#ranges.set(range.rangeId, range)
    this.#byStart?.set(range.start, range)
    this.#unknown.delete(range.rangeId)
    this.#dirty.add(range.rangeId)
  }

  /** The directory does not have a range any more. */
  removeRange(rangeId: RangeId): void {
    this.#unindex(rangeId)
    this.#ranges.delete(rangeId)
    this.#dirty.delete(rangeId)
    this.#ahead.delete(rangeId)
    this.#fleet.removeRange(rangeId)
    this.#ports.refused.range(rangeId, undefined)
  }

  /** How many voters the ranges of some tables are to have is another number than before. */
  renumber(tables: ReadonlySet<TableId>): void {
    for (const tableId of tables) this.#renumbered.add(tableId)
  }

  /** Looks at what changed since it looked last. What changes meanwhile is seen, too, or stays to be looked at. */
  *look(): Sliced<void> {
    const { changed } = this.#ports
    for (const rangeId of changed?.() ?? this.#ranges.keys()) this.#dirty.add(rangeId)
    let looked = 0
    if (this.#renumbered.size > 0) {
      const tables = new Set(this.#renumbered)
      this.#renumbered.clear()
      for (const descriptor of this.#ranges.values()) {
        const tableId = tableOf(descriptor)
        if (tableId !== undefined && tables.has(tableId)) this.#dirty.add(descriptor.rangeId)
        if (++looked % scannedTogether === 0) yield
      }
    }
    for (const rangeId of this.#dirty) {
      this.#lookAt(rangeId)
      this.#dirty.delete(rangeId)
      if (++looked % lookedAtTogether === 0) yield
    }
  }

  /** Ranges as the directory has them that had committed something newer when they were looked at. */
  *ahead(): Iterable<RangeDescriptor> {
    for (const rangeId of this.#ahead) {
      const range = this.#ranges.get(rangeId)
      if (range !== undefined) yield range
    }
  }

  /** Ranges that were reported and are not in the directory: new ones, ones that ended, or ones that it lost sight of. */
  *unknown(): Iterable<RangeId> {
    for (const rangeId of this.#unknown) {
      if (this.#ports.observed(rangeId).length === 0) this.#unknown.delete(rangeId)
      else yield rangeId
    }
  }

  /** Whether there is any {@link FleetFeed.unknown | unknown} range. */
  hasUnknown(): boolean {
    for (const _ of this.unknown()) return true
    return false
  }

  /** A range as the directory has it. */
  range(rangeId: RangeId): RangeDescriptor | undefined {
    return this.#ranges.get(rangeId)
  }

  /**
   * The directory by start keys, as it is when this ends: later changes are not seen in it. The first time it is gone through as a
   * whole; from then on only what changes costs anything.
   */
  *directory(): Sliced<RangesByStart> {
    if (this.#byStart === undefined) {
      this.#byStart = new OrderedMap()
      this.#isIndexed = false
    }
    if (!this.#isIndexed) {
      let looked = 0
      // What changes meanwhile is set as well, and goes where it stood.
      for (const range of this.#ranges.values()) {
        this.#byStart.set(range.start, range)
        if (++looked % lookedAtTogether === 0) yield
      }
      this.#isIndexed = true
    }
    return this.#byStart.clone()
  }

  #unindex(rangeId: RangeId): void {
    const known = this.#ranges.get(rangeId)
    if (known === undefined || this.#byStart === undefined) return
    // Another one may begin there by now.
    if (this.#byStart.get(known.start)?.rangeId === rangeId) this.#byStart.delete(known.start)
  }

  /** The cluster as it is now, with moves and holds as they are given. */
  snapshot(moves: readonly MoveInFlight[], holds: ReadonlyMap<RangeId, RangeHold>): PlacementSnapshot {
    finish(this.look())
    const gone = new Set(this.#fleet.nodeIds())
    for (const node of this.#ports.nodes()) {
      this.#setNode(node)
      gone.delete(node.descriptor.nodeId)
    }
    for (const nodeId of gone) {
      this.#fleet.removeNode(nodeId)
      this.#ports.refused.node(nodeId, undefined)
    }
    this.#setMoves(moves)
    this.#setHolds(joinHolds(holds, this.#ports.held()))
    return this.#fleet.snapshot()
  }

  #lookAt(rangeId: RangeId): void {
    const descriptor = this.#ranges.get(rangeId)
    // Reported before the directory has it: it is looked at again when it comes.
    if (descriptor === undefined) {
      this.#unknown.add(rangeId)
      return
    }
    const view = this.view(descriptor)
    const isTaken = this.#take(descriptor, view)
    if (isTaken && view.descriptor.generation > descriptor.generation) this.#ahead.add(rangeId)
    else this.#ahead.delete(rangeId)
  }

  /**
   * Gives a range to the model: as it is reported; if that is refused, with what it cost before; and if its configuration is what
   * is wrong, as it was known last, unless the directory knows of a newer one.
   *
   * @returns whether the configuration was taken
   */
  #take(descriptor: RangeDescriptor, view: PlacementRange): boolean {
    const { rangeId } = descriptor
    const error = refusal(() => this.#fleet.setRange(view))
    this.#ports.refused.range(rangeId, error)
    if (error === undefined) return true
    const { load: _load, leaderLoad: _leaderLoad, ...unloaded } = view
    if (refusal(() => this.#fleet.setConfiguration(unloaded)) === undefined) return true
    const known = this.#fleet.generationOf(rangeId)
    if (known !== undefined && known >= descriptor.generation) return false
    const { leaseHolder: _leaseHolder, ...rest } = unloaded
    refusal(() => this.#fleet.setConfiguration({ ...rest, descriptor }))
    return false
  }

  /** Gives a node to the model: what it cannot take of its capacity is as it was before, or is not known. */
  #setNode(node: PlacementNode): void {
    const { nodeId } = node.descriptor
    const error = refusal(() => this.#fleet.setNode(node))
    this.#ports.refused.node(nodeId, error)
    if (error === undefined) return
    const before = this.#fleet.node(nodeId)
    const capacity = readable(node.descriptor.capacity, before?.descriptor.capacity)
    const stores = node.stores?.map((store) => {
      const known = before?.stores?.find(({ storeId }) => storeId === store.storeId)
      return { ...store, capacity: readable(store.capacity, known?.capacity) }
    })
    const mended = { ...node, descriptor: { ...node.descriptor, capacity } }
    refusal(() => this.#fleet.setNode(stores === undefined ? mended : { ...mended, stores }))
  }

  /** A range as the planner sees it: with what its nodes report. */
  view(descriptor: RangeDescriptor): PlacementRange {
    const reports = this.#ports.observed(descriptor.rangeId)
    const newest = newestConfiguration(reports)
    const current =
      newest !== undefined && newest.generation > descriptor.generation
        ? { ...descriptor, generation: newest.generation, replicas: newest.replicas }
        : descriptor
    const members = reports
      .map(({ replica }) => replica)
      .filter(({ replicaId }) => current.replicas.some((member) => member.replicaId === replicaId))
    const leaseHolder = leaseHolderOf(reports)?.replicaId
    const tableId = tableOf(descriptor)
    const replicationFactor = this.#ports.replicationFactor(descriptor.rangeId, tableId)
    const stores = this.#storesOf(current, reports)
    return {
      descriptor: current,
      ...(stores === undefined ? {} : { stores }),
      ...separateLoads(members, leaseHolder),
      ...(leaseHolder === undefined ? {} : { leaseHolder }),
      ...(tableId === undefined ? {} : { tableId }),
      ...(replicationFactor === undefined ? {} : { replicationFactor }),
    }
  }

  /** The stores of a range's replicas: as their nodes report them, or did last. */
  #storesOf(
    { rangeId, replicas }: RangeDescriptor,
    reports: readonly ReportedReplica[],
  ): ReadonlyMap<ReplicaId, string> | undefined {
    this.#namesStores ||= reports.some(({ replica }) => replica.storeId !== undefined)
    if (!this.#namesStores) return undefined
    const stores = new Map<ReplicaId, string>()
    for (const { replicaId, nodeId } of replicas) {
      const report = reports.find((each) => each.nodeId === nodeId && each.replica.replicaId === replicaId)
      const storeId = report === undefined ? this.#fleet.storeOf(rangeId, replicaId) : report.replica.storeId
      if (storeId !== undefined) stores.set(replicaId, storeId)
    }
    return stores
  }

  #setMoves(moves: readonly MoveInFlight[]): void {
    const gone = new Set(this.#moves.keys())
    for (const move of moves) {
      gone.delete(move.rangeId)
      this.#moves.set(move.rangeId, move)
      this.#fleet.setMove(move)
    }
    for (const rangeId of gone) {
      this.#moves.delete(rangeId)
      this.#fleet.removeMove(rangeId)
    }
  }

  #setHolds(holds: ReadonlyMap<RangeId, RangeHold>): void {
    for (const rangeId of this.#holds.keys()) {
      if (holds.has(rangeId)) continue
      this.#holds.delete(rangeId)
      this.#fleet.setHold(rangeId, undefined)
    }
    for (const [rangeId, hold] of holds) {
      if (this.#holds.get(rangeId) === hold) continue
      this.#holds.set(rangeId, hold)
      this.#fleet.setHold(rangeId, hold)
    }
  }
}

/** What speaks against something that the model is given; undefined when it was taken. */
function refusal(give: () => void): KeelsonError | undefined {
  try {
    give()
    return undefined
  } catch (error) {
    if (KeelsonError.hasCode(error, 'INVALID_ARGUMENT', 'LIMIT_EXCEEDED')) return error
    throw error
  }
}

/** The amounts that can be, each other one as it was before. */
function readable(amounts: Load = {}, before: Load = {}): Load {
  return Object.fromEntries(
    Object.entries(amounts).flatMap(([name, amount]) => {
      if (isAmount(amount)) return [[name, amount]]
      return Object.hasOwn(before, name) ? [[name, before[name] as number]] : []
    }),
  )
}

function isAmount(value: unknown): boolean {
  return typeof value === 'number' && value >= 0
}
