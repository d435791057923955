import { KeelsonError } from '../../../core/errors.ts'
import { showValue } from '../../../core/options.ts'
import type { ObservedReplica } from '../../../interfaces/range-host.ts'
import type { Load, ReplicaDescriptor } from '../../../model/descriptors.ts'
import type { NodeId, RangeId, ReplicaId } from '../../../model/ids.ts'
import { replicaRoles, votesInAnyHalf } from '../../../model/replica-roles.ts'
import { checkLoad, checkNode, checkRange } from './check.ts'
import {
  type MoveInFlight,
  maximumNonVoters,
  maximumVoters,
  type PlacementNode,
  type PlacementRange,
  type RangeHold,
} from './cluster.ts'
import { LifeTable } from './lives.ts'
import { exactLoad } from './loads.ts'
import { NodeTable, nodeStatusOf } from './node-table.ts'
import { holdBits, type Page, type PageRow } from './page.ts'
import { sameNode } from './same-node.ts'
import { PlacementSnapshot, roleBits } from './snapshot.ts'
import { PageTree, type Place } from './tree.ts'

const maximumResources = 32
const leaseRole = roleBits.lease
const learnerRole = replicaRoles.indexOf('learner')
const nobody: ReadonlyMap<ReplicaId, string> = new Map()

/**
 * What placement knows of a cluster, as it changes: nodes, ranges, loads, holds and moves under way. One owner writes to
 * it; `snapshot` gives what the planner works on. Every change costs O(log n), and so does what it adds to the next
 * snapshot; ranges may come and go.
 */
export class Fleet {
  readonly #deadAfterMs: number
  readonly #nodes = new Map<NodeId, PlacementNode>()
  readonly #tree = new PageTree()
  readonly #lives = new LifeTable()
  readonly #moves = new Map<RangeId, MoveInFlight>()
  readonly #holds = new Map<RangeId, RangeHold>()
  readonly #resources = new Map<string, number>()
  /** Ranges with a load, by resource. */
  readonly #uses: number[] = []
  readonly #place: Place = { chunk: 0, page: 0, row: 0 }
  #table: NodeTable | undefined
  #tableRevision = -1
  #sortedMoves: readonly MoveInFlight[] | undefined
  #snapshot: PlacementSnapshot | undefined

  /** `deadAfterMs`: a node that is dead for so long has lost its replicas. */
  constructor(options: { readonly deadAfterMs: number }) {
    if (!(options.deadAfterMs >= 0)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `deadAfterMs is a number from 0, not ${showValue(options.deadAfterMs)}`,
      )
    }
    this.#deadAfterMs = options.deadAfterMs
  }

  /** How many ranges there are. */
  get rangeCount(): number {
    return this.#tree.ranges
  }

  /**
   * A node is there, or is not what it was. That time passes for it is no change until it is lost. @throws KeelsonError
   * `INVALID_ARGUMENT` that names the field
   */
  setNode(node: PlacementNode): void {
    checkNode(node)
    const { nodeId } = node.descriptor
    const known = this.#nodes.get(nodeId)
    if (known !== undefined && sameNode(known, node) && this.#statusOf(known) === this.#statusOf(node)) return
    this.#nodes.set(nodeId, node)
    this.#table = undefined
    this.#snapshot = undefined
  }

  /** A node is not known any more; replicas on it are lost. */
  removeNode(nodeId: NodeId): void {
    if (!this.#nodes.delete(nodeId)) return
    this.#table = undefined
    this.#snapshot = undefined
  }

  /** Ids of the nodes that are known. */
  nodeIds(): IterableIterator<NodeId> {
    return this.#nodes.keys()
  }

  /**
   * A range is there, or is not what it was. @throws KeelsonError `INVALID_ARGUMENT` that names the field, `LIMIT_EXCEEDED` with too
   * many resources
   */
  setRange(range: PlacementRange): void {
    this.setConfiguration(range)
    const { load = noLoad, leaderLoad = noLoad } = range
    this.#setLoads(this.#place, load, leaderLoad)
  }

  /** The same, but for what the range costs: that stays what it was. @throws KeelsonError `INVALID_ARGUMENT` that names the field */
  setConfiguration(range: PlacementRange): void {
    checkRange(range)
    const { descriptor, leaseHolder } = range
    const place = this.#place
    const there = this.#tree.find(descriptor.rangeId, place)
    const facts = this.#factsOf(range, leaseHolder)
    if (!there) {
      const page = this.#tree.room(place, this.#resources.size)
      page.insert(place.row, facts)
      this.#tree.ranges++
      this.#tree.replicas += facts.lives.length
      this.#snapshot = undefined
    } else {
      this.#write(place, facts)
    }
  }

  /** Generation of a range as it was given last; undefined when it is not there. */
  generationOf(rangeId: RangeId): number | undefined {
    const place = this.#place
    return this.#tree.find(rangeId, place) ? this.#tree.pageAt(place).generations[place.row] : undefined
  }

  /** A node as it was given last. */
  node(nodeId: NodeId): PlacementNode | undefined {
    return this.#nodes.get(nodeId)
  }

  /** A range is gone. */
  removeRange(rangeId: RangeId): void {
    const place = this.#place
    if (!this.#tree.find(rangeId, place)) return
    this.#setLoads(place, noLoad, noLoad)
    const page = this.#tree.pageAt(place)
    const [first, end] = [page.first[place.row] as number, page.first[place.row + 1] as number]
    for (let i = first; i < end; i++) this.#lives.release(page.lives[i] as number)
    this.#tree.replicas -= end - first
    this.#tree.ranges--
    this.#tree.remove(place)
    this.#snapshot = undefined
  }

  /** The store that a replica is on by its name, if that is known. */
  storeOf(rangeId: RangeId, replicaId: ReplicaId): string | undefined {
    const place = this.#place
    if (!this.#tree.find(rangeId, place)) return undefined
    const page = this.#tree.pageAt(place)
    for (let i = page.first[place.row] as number; i < (page.first[place.row + 1] as number); i++) {
      if (page.replicaIds[i] === replicaId)
        return this.#lives.lives[page.lives[i] as number]?.storeId || undefined
    }
    return undefined
  }

  /**
   * What a range costs, and what leading it costs on top. A range that is not there is passed over. @throws KeelsonError
   * `INVALID_ARGUMENT` that names the field
   */
  setLoad(rangeId: RangeId, load: Load, leaderLoad: Load = noLoad): void {
    checkLoad(load, 'load', rangeId)
    checkLoad(leaderLoad, 'leaderLoad', rangeId)
    if (this.#tree.find(rangeId, this.#place)) this.#setLoads(this.#place, load, leaderLoad)
  }

  /**
   * What a node reports of its replicas. A newer configuration replaces an older one; a lease belongs to who claims it
   * with the highest sequence, until the same node says otherwise. The leader's report says what the range takes, those
   * of the others what of it leading does not take. Ranges that are not there are passed over.
   */
  applyReport(nodeId: NodeId, replicas: readonly ObservedReplica[]): void {
    for (const replica of replicas) this.#observe(nodeId, replica)
  }

  /** A move is under way; it takes the place of another one of the same range. */
  setMove(move: MoveInFlight): void {
    if (sameMove(this.#moves.get(move.rangeId), move)) return
    this.#moves.set(move.rangeId, move)
    this.#sortedMoves = undefined
    this.#snapshot = undefined
  }

  /** No move of the range is under way any more. */
  removeMove(rangeId: RangeId): void {
    if (!this.#moves.delete(rangeId)) return
    this.#sortedMoves = undefined
    this.#snapshot = undefined
  }

  /** Leaves a range alone, wholly or from what would merely make it better, until it is let go with `undefined`. */
  setHold(rangeId: RangeId, hold: RangeHold | undefined): void {
    if (hold === undefined) this.#holds.delete(rangeId)
    else this.#holds.set(rangeId, hold)
    if (!this.#tree.find(rangeId, this.#place)) return
    const bits = holdOf(hold)
    if (this.#tree.pageAt(this.#place).holds[this.#place.row] === bits) return
    this.#tree.own(this.#place).holds[this.#place.row] = bits
    this.#snapshot = undefined
  }

  /** The cluster as it is now. The same object while nothing changes; O(what changed since the one before). */
  snapshot(): PlacementSnapshot {
    if (this.#snapshot !== undefined) return this.#snapshot
    if (this.#table === undefined || this.#tableRevision !== this.#lives.revision) {
      this.#table = new NodeTable(this.#nodes.values(), (node) => this.#statusOf(node), this.#lives.lives)
      this.#tableRevision = this.#lives.revision
    }
    this.#sortedMoves ??= [...this.#moves.values()].sort((a, b) => a.rangeId - b.rangeId)
    const resources = [...this.#resources.keys()]
      .filter((name) => (this.#uses[this.#resources.get(name) as number] as number) > 0)
      .sort()
    this.#snapshot = new PlacementSnapshot({
      origin: this,
      table: this.#table,
      chunks: this.#tree.share(),
      rangeCount: this.#tree.ranges,
      replicaCount: this.#tree.replicas,
      resources,
      columns: resources.map((name) => this.#resources.get(name) as number),
      moves: this.#sortedMoves,
    })
    return this.#snapshot
  }

  #statusOf(node: PlacementNode): number {
    return nodeStatusOf(node, this.#deadAfterMs)
  }

  /** A range as a row; its lives are taken. */
  #factsOf(range: PlacementRange, leaseHolder: ReplicaId | undefined): PageRow {
    const { descriptor, replicationFactor = 0, nonVoters = 0, tableId = 0, stores = nobody } = range
    const replicas = sortedReplicas(descriptor.replicas)
    return {
      rangeId: descriptor.rangeId,
      generation: descriptor.generation,
      sequence: 0,
      tableId,
      replicationFactor:
        Math.min(maximumVoters, replicationFactor) | (Math.min(maximumNonVoters, nonVoters) << 4),
      hold: holdOf(this.#holds.get(descriptor.rangeId)),
      replicaIds: replicas.map(({ replicaId }) => replicaId),
      lives: replicas.map(({ nodeId, incarnation, replicaId }) =>
        this.#lives.take(nodeId, stores.get(replicaId) ?? '', incarnation),
      ),
      roles: replicas.map((replica) => roleOf(replica, replica.replicaId === leaseHolder)),
    }
  }

  /** Writes a row over what was there, if it is not the same. */
  #write(place: Place, facts: PageRow): void {
    const page = this.#tree.pageAt(place)
    const [first, end] = [page.first[place.row] as number, page.first[place.row + 1] as number]
    if (sameRow(page, place.row, facts)) {
      for (const life of facts.lives) this.#lives.release(life)
      return
    }
    for (let i = first; i < end; i++) this.#lives.release(page.lives[i] as number)
    this.#tree.replicas += facts.lives.length - (end - first)
    this.#tree.own(place).write(place.row, facts)
    this.#snapshot = undefined
  }

  #observe(nodeId: NodeId, observed: ObservedReplica): void {
    const place = this.#place
    if (!this.#tree.find(observed.rangeId, place)) return
    if (observed.generation > (this.#tree.pageAt(place).generations[place.row] as number)) {
      this.#write(place, this.#newConfiguration(place, observed))
    }
    if (observed.storeId !== undefined) this.#takeStore(place, observed.replicaId, observed.storeId)
    this.#takeLease(place, observed)
    const page = this.#tree.pageAt(place)
    for (const name of Object.keys(observed.load)) {
      const resource = this.#resourceOf(name)
      const amount = exactLoad(observed.load[name])
      const [load, lead] = [page.loadOf(place.row, resource), page.leaderLoadOf(place.row, resource)]
      // A copy has the leader's size, however far behind it is.
      if (name === 'bytes') {
        if (observed.leaseHolder) this.#setLoadAt(place, resource, amount, 0)
      } else if (observed.leaseHolder) {
        this.#setLoadAt(place, resource, Math.min(load, amount), amount - Math.min(load, amount))
      } else {
        this.#setLoadAt(place, resource, amount, Math.max(0, load + lead - amount))
      }
    }
  }

  /** A replica says on which store of its node it is. */
  #takeStore(place: Place, replicaId: ReplicaId, storeId: string): void {
    const page = this.#tree.pageAt(place)
    for (let i = page.first[place.row] as number; i < (page.first[place.row + 1] as number); i++) {
      if (page.replicaIds[i] !== replicaId) continue
      const number = page.lives[i] as number
      const life = this.#lives.lives[number]
      if (life === undefined || life.storeId === storeId) return
      this.#tree.own(place).lives[i] = this.#lives.take(life.nodeId, storeId, life.incarnation)
      this.#lives.release(number)
      this.#snapshot = undefined
      return
    }
  }

  #newConfiguration(place: Place, observed: ObservedReplica): PageRow {
    const page = this.#tree.pageAt(place)
    const { row } = place
    const stores = new Map<ReplicaId, string>()
    let holder: ReplicaId | undefined
    for (let i = page.first[row] as number; i < (page.first[row + 1] as number); i++) {
      const storeId = this.#lives.lives[page.lives[i] as number]?.storeId ?? ''
      if (storeId !== '') stores.set(page.replicaIds[i] as number, storeId)
      if (((page.roles[i] as number) & leaseRole) !== 0) holder = page.replicaIds[i] as number
    }
    const factor = page.factors[row] as number
    const facts = this.#factsOf(
      {
        descriptor: {
          rangeId: observed.rangeId,
          start: noBytes,
          end: undefined,
          generation: observed.generation,
          replicas: observed.replicas,
        },
        replicationFactor: factor & 15,
        nonVoters: factor >>> 4,
        tableId: page.tableIds[row] as number,
        stores,
      },
      holder,
    )
    return { ...facts, sequence: page.sequences[row] as number }
  }

  #takeLease(place: Place, observed: ObservedReplica): void {
    const page = this.#tree.pageAt(place)
    const { row } = place
    if (observed.sequence < (page.sequences[row] as number)) return
    const claims = observed.leaseHolder
    for (let i = page.first[row] as number; i < (page.first[row + 1] as number); i++) {
      const mine = page.replicaIds[i] === observed.replicaId
      // A replica speaks for itself, and a holder against all others.
      if (!mine && !claims) continue
      const role = page.roles[i] as number
      const holds = mine && claims && role !== learnerRole
      this.#setRole(place, i, holds ? role | leaseRole : role & ~leaseRole)
    }
    if (!claims || page.sequences[row] === observed.sequence) return
    this.#tree.own(place).sequences[row] = observed.sequence
    this.#snapshot = undefined
  }

  #setRole(place: Place, at: number, role: number): void {
    if (this.#tree.pageAt(place).roles[at] === role) return
    this.#tree.own(place).roles[at] = role
    this.#snapshot = undefined
  }

  #setLoads(place: Place, load: Load, leaderLoad: Load): void {
    for (const name of Object.keys(load)) this.#resourceOf(name)
    for (const name of Object.keys(leaderLoad)) this.#resourceOf(name)
    for (const [name, resource] of this.#resources) {
      this.#setLoadAt(place, resource, exactLoad(load[name]), exactLoad(leaderLoad[name]))
    }
  }

  #setLoadAt(place: Place, resource: number, load: number, leaderLoad: number): void {
    const page = this.#tree.pageAt(place)
    const before = page.loadOf(place.row, resource)
    const leaderBefore = page.leaderLoadOf(place.row, resource)
    if (before === load && leaderBefore === leaderLoad) return
    const used = (load > 0 || leaderLoad > 0 ? 1 : 0) - (before > 0 || leaderBefore > 0 ? 1 : 0)
    this.#uses[resource] = (this.#uses[resource] as number) + used
    this.#tree.own(place).setLoad(place.row, resource, load, leaderLoad)
    this.#snapshot = undefined
  }

  #resourceOf(name: string): number {
    const known = this.#resources.get(name)
    if (known !== undefined) return known
    const resource = this.#resources.size
    if (resource >= maximumResources) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `loads name more than ${maximumResources} resources; '${name}' is one too many`,
      )
    }
    this.#resources.set(name, resource)
    this.#uses.push(0)
    return resource
  }
}

const noLoad: Load = Object.freeze({})
const noBytes = new Uint8Array(0)

function holdOf(hold: RangeHold | undefined): number {
  if (hold === undefined) return 0
  return hold === 'all' ? holdBits.all : holdBits.improvements
}

function roleOf(replica: ReplicaDescriptor, holdsLease: boolean): number {
  return replicaRoles.indexOf(replica.role) | (holdsLease && votesInAnyHalf(replica) ? leaseRole : 0)
}

function sortedReplicas(replicas: readonly ReplicaDescriptor[]): readonly ReplicaDescriptor[] {
  for (let i = 1; i < replicas.length; i++) {
    if ((replicas[i - 1] as ReplicaDescriptor).replicaId < (replicas[i] as ReplicaDescriptor).replicaId)
      continue
    return [...replicas].sort((a, b) => a.replicaId - b.replicaId)
  }
  return replicas
}

function sameRow(page: Page, row: number, facts: PageRow): boolean {
  const first = page.first[row] as number
  if (
    (page.first[row + 1] as number) - first !== facts.lives.length ||
    page.generations[row] !== facts.generation ||
    page.sequences[row] !== facts.sequence ||
    page.tableIds[row] !== facts.tableId ||
    page.factors[row] !== facts.replicationFactor ||
    page.holds[row] !== facts.hold
  )
    return false
  for (let i = 0; i < facts.lives.length; i++) {
    if (page.replicaIds[first + i] !== facts.replicaIds[i] || page.lives[first + i] !== facts.lives[i])
      return false
    if (page.roles[first + i] !== facts.roles[i]) return false
  }
  return true
}

function sameMove(a: MoveInFlight | undefined, b: MoveInFlight): boolean {
  return (
    a !== undefined &&
    a.kind === b.kind &&
    a.add === b.add &&
    a.storeId === b.storeId &&
    a.remove === b.remove &&
    a.leaseTo === b.leaseTo
  )
}
