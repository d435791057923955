import type { ReplicaRole } from '../../../model/descriptors.ts'
import type { NodeId, RangeId, ReplicaId } from '../../../model/ids.ts'
import { replicaRoles } from '../../../model/replica-roles.ts'
import { type MoveInFlight, type PlacementNode, replicaBits } from './cluster.ts'
import type { NodeTable, StoreView } from './node-table.ts'
import type { Page } from './page.ts'
import { lastAtMost } from './tree.ts'

/** Bits of a replica's role in a page. @internal */
export const roleBits: Readonly<{ number: number; lease: number }> = Object.freeze({ number: 7, lease: 8 })

/** What each number of a role says of a replica's status. */
const statusOfRole = Uint8Array.from({ length: 16 }, (_, role) => {
  const name = replicaRoles[role & roleBits.number]
  const voter = name === 'voter' || name === 'incoming' ? replicaBits.voter : 0
  return voter | ((role & roleBits.lease) === 0 ? 0 : replicaBits.lease)
})

/** What a snapshot is made of. @internal */
export interface SnapshotParts {
  readonly origin: object
  readonly table: NodeTable
  readonly chunks: readonly (readonly Page[])[]
  readonly rangeCount: number
  readonly replicaCount: number
  readonly resources: readonly string[]
  /** Where each of `resources` is in the pages. */
  readonly columns: readonly number[]
  readonly moves: readonly MoveInFlight[]
}

/**
 * The cluster at one moment: nodes and their stores by id, ranges by id, replicas of a range by id. So equal clusters
 * have equal snapshots, in whatever order they were reported. Never changed once it is taken; what did not change is
 * shared with the snapshots before it.
 */
export class PlacementSnapshot {
  /** The fleet that it is of. @internal */
  readonly origin: object
  /** Nodes, stores, and what is true of them. */
  readonly table: NodeTable
  /** @internal */
  readonly chunks: readonly (readonly Page[])[]
  /** How many ranges there are. */
  readonly rangeCount: number
  /** Replicas of all ranges. */
  readonly replicaCount: number
  /** Names of the resources in which any range has a load, sorted. */
  readonly resources: readonly string[]
  /** @internal */
  readonly columns: readonly number[]
  /** Moves under way, which count as done: at most one for a range, by ascending range id. */
  readonly moves: readonly MoveInFlight[]

  /** @internal Taken by `Fleet.snapshot`. */
  constructor(parts: SnapshotParts) {
    this.origin = parts.origin
    this.table = parts.table
    this.chunks = parts.chunks
    this.rangeCount = parts.rangeCount
    this.replicaCount = parts.replicaCount
    this.resources = parts.resources
    this.columns = parts.columns
    this.moves = parts.moves
  }

  /** By ascending id. */
  get nodes(): readonly PlacementNode[] {
    return this.table.nodes
  }

  /** Where each node is in `nodes`. */
  get nodeIndex(): ReadonlyMap<NodeId, number> {
    return this.table.nodeIndex
  }

  /** Bits of each node's state: it is up, may be given replicas, has lost what it held, is to be emptied. */
  get nodeStatus(): Uint8Array {
    return this.table.nodeStatus
  }

  /** Every store of every node, by node id and store id. */
  get stores(): readonly StoreView[] {
    return this.table.stores
  }

  /** A reader that stands before the first range. */
  reader(): RangeReader {
    return new RangeReader(this)
  }

  /** Every range, by ascending id, each through a reader of its own. For a million of them take one `reader`. */
  *ranges(): IterableIterator<RangeReader> {
    const reader = this.reader()
    while (reader.next()) yield this.reader().at(reader.page as Page, reader.row)
  }

  /** A range, or undefined. O(log n). */
  range(rangeId: RangeId): RangeReader | undefined {
    const reader = this.reader()
    return reader.seek(rangeId) ? reader : undefined
  }

  /** The move of a range, if one is under way. O(log n). */
  moveOf(rangeId: RangeId): MoveInFlight | undefined {
    const { moves } = this
    if (moves.length === 0) return undefined
    const found = moves[lastAtMost(moves, (move) => move.rangeId, rangeId)]
    return found?.rangeId === rangeId ? found : undefined
  }
}

/** Reads one range of a snapshot after the other, without making an object for each. */
export class RangeReader {
  /** The snapshot that it reads. */
  readonly snapshot: PlacementSnapshot
  /** @internal */
  page: Page | undefined
  /** @internal */
  row = 0
  #chunk = 0
  #page = 0
  #first = 0

  /** @internal Made by `PlacementSnapshot.reader`. */
  constructor(snapshot: PlacementSnapshot) {
    this.snapshot = snapshot
    this.row = -1
  }

  /** Goes to the next range, or says that there is none. */
  next(): boolean {
    const { chunks } = this.snapshot
    let page = chunks[this.#chunk]?.[this.#page]
    this.row++
    while (page !== undefined && this.row >= page.count) {
      this.row = 0
      this.#page++
      if (this.#page === chunks[this.#chunk]?.length) {
        this.#page = 0
        this.#chunk++
      }
      page = chunks[this.#chunk]?.[this.#page]
    }
    return this.#stand(page)
  }

  /** Goes to a range, or says that it is not there; then it stands where `next` goes to the first range after it. */
  seek(rangeId: RangeId): boolean {
    const { chunks } = this.snapshot
    // Written out: it is where much of the time of a plan goes.
    let [low, high] = [0, chunks.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (((chunks[middle] as readonly Page[])[0]?.rangeIds[0] as number) <= rangeId) low = middle + 1
      else high = middle
    }
    this.#chunk = Math.max(0, low - 1)
    const pages = chunks[this.#chunk]
    if (pages === undefined) return this.#stand(undefined)
    ;[low, high] = [0, pages.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (((pages[middle] as Page).rangeIds[0] as number) <= rangeId) low = middle + 1
      else high = middle
    }
    this.#page = Math.max(0, low - 1)
    const page = pages[this.#page] as Page
    this.row = page.rowOf(rangeId)
    if (this.row < page.count && page.rangeIds[this.row] === rangeId) return this.#stand(page)
    this.row--
    return this.#stand(undefined)
  }

  /** Stands on a row of a page. @internal */
  at(page: Page, row: number): this {
    this.row = row
    this.#stand(page)
    return this
  }

  #stand(page: Page | undefined): boolean {
    this.page = page
    if (page === undefined) return false
    this.#first = page.first[this.row] as number
    return true
  }

  /** Number of the range. */
  get rangeId(): RangeId {
    return (this.page as Page).rangeIds[this.row] as number
  }

  /** Its generation. */
  get generation(): number {
    return (this.page as Page).generations[this.row] as number
  }

  /** Sequence of its lease, as the holder reported it; 0 when nobody did. */
  get sequence(): number {
    return (this.page as Page).sequences[this.row] as number
  }

  /** Its table, or 0. */
  get tableId(): number {
    return (this.page as Page).tableIds[this.row] as number
  }

  /** Voters that it is to have; 0 for what the policy says. */
  get replicationFactor(): number {
    return ((this.page as Page).factors[this.row] as number) & 15
  }

  /** Replicas without a vote that it is to have. */
  get nonVoters(): number {
    return ((this.page as Page).factors[this.row] as number) >>> 4
  }

  /** 0 when it is free, 1 when it is not to be improved, 2 when it is to be left alone. */
  get held(): number {
    return (this.page as Page).holds[this.row] as number
  }

  /** How many replicas it has. */
  get replicas(): number {
    return ((this.page as Page).first[this.row + 1] as number) - this.#first
  }

  /** What one replica takes of a resource, by its index in `resources`. */
  load(resource: number): number {
    return (this.page as Page).loadOf(this.row, this.snapshot.columns[resource] as number)
  }

  /** What leading takes on top. */
  leaderLoad(resource: number): number {
    return (this.page as Page).leaderLoadOf(this.row, this.snapshot.columns[resource] as number)
  }

  /** Id of a replica, by its place among those of the range. */
  replicaId(replica: number): ReplicaId {
    return (this.page as Page).replicaIds[this.#first + replica] as number
  }

  /** Index of the store that a replica is on, or -1 for one that nobody knows. */
  store(replica: number): number {
    return this.snapshot.table.lifeStore[this.life(replica)] as number
  }

  /** Index of the node that a replica is on, or -1 for one that nobody knows. */
  node(replica: number): number {
    const store = this.store(replica)
    return store < 0 ? -1 : (this.snapshot.table.nodeOf[store] as number)
  }

  /** What is true of a replica, as `replicaBits`. A lease counts while its holder is up. */
  status(replica: number): number {
    const page = this.page as Page
    const ofLife = this.snapshot.table.lifeStatus[this.life(replica)] as number
    const ofRole = statusOfRole[page.roles[this.#first + replica] as number] as number
    return (ofLife & replicaBits.up) === 0 ? (ofRole & ~replicaBits.lease) | ofLife : ofRole | ofLife
  }

  /** Part of a replica in its group. */
  role(replica: number): ReplicaRole {
    const number = ((this.page as Page).roles[this.#first + replica] as number) & roleBits.number
    return replicaRoles[number] as ReplicaRole
  }

  /** Whether two sets of voters count: it is passing from one to the other. */
  get joint(): boolean {
    const page = this.page as Page
    const end = page.first[this.row + 1] as number
    for (let i = this.#first; i < end; i++) if (((page.roles[i] as number) & roleBits.number) > 1) return true
    return false
  }

  /** @internal */
  life(replica: number): number {
    return (this.page as Page).lives[this.#first + replica] as number
  }
}
