import { checkArray, checkObject } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import { replicaBits } from './model/cluster.ts'

/** Nobody: where a replica comes from when it is to be made, and goes to when it is to vanish. */
export const nowhere = -1

/** The domains of one tier of locality, as small numbers in the order of their names. */
export interface Domains {
  /** Domain of each node. Nodes that do not name the tier share one, so that it never looks safer than it is. */
  readonly of: Int32Array
  /** How many there are. */
  readonly count: number
  /** What each is called; empty for that of the nodes that do not name the tier. */
  readonly names: readonly string[]
}

/** Sums over replicas that do not move: columns may hold a part of the ranges, and the sums be those of all. */
export interface AssignmentBase {
  /** nodes × resources. */
  readonly usage: Float64Array
  /** nodes × resources: what replicas that go still hold where they are. */
  readonly held: Float64Array
  /** Replicas of each node. */
  readonly replicas: Int32Array
  /** Leads of each node. */
  readonly leaders: Int32Array
  /** Replicas of tables on each node: of those that a goal asks about ({@link Goal.tables}). Undefined: nobody asks. */
  readonly tables?: ReadonlyMap<number, Int32Array>
}

/**
 * The flat columns that goals, rules and search work on. A *slot* is a place that one replica of a range takes or is to
 * take; the slots of a range stand side by side. Nodes stand in the order of the snapshot, which is that of their ids.
 * Nothing in here changes while an {@link Assignment} stands on it.
 */
export interface PlacementColumns {
  /** How many nodes there are. */
  readonly nodeCount: number
  /** How many ranges there are. */
  readonly rangeCount: number
  /** How many slots all ranges have together. */
  readonly slotCount: number
  /** Names of the load dimensions. */
  readonly resources: readonly string[]
  /** nodes × resources. Infinity: without a limit. */
  readonly capacity: Float64Array
  /** First slot of each range; one more entry ends the last one. */
  readonly firstSlot: Uint32Array
  /** Range of each slot. */
  readonly rangeOf: Int32Array
  /** slots × resources: what the replica takes, wherever it is. */
  readonly load: Float64Array
  /** ranges × resources: what leading takes on top. */
  readonly leaderLoad: Float64Array | undefined
  /** Node where the replica is in fact; {@link nowhere} for one that is to be made. */
  readonly home: Int32Array
  /** Slot of each range that leads in fact, or {@link nowhere}. */
  readonly homeLeader: Int32Array
  /** Bytes that a copy of the replica costs. */
  readonly moveBytes: Float64Array
  /** Bits of each replica's state: it votes, its node is up, it is lost, its node is to be emptied, it holds the lease. */
  readonly status: Uint8Array
  /** 1 for what must not be moved: it is in flight, or held. */
  readonly fixed: Uint8Array
  /** 1 for nodes that may be given something. */
  readonly eligible: Uint8Array
  /**
   * 1 for nodes that count when shares are reckoned: beside those that may be given something, those that are silent for now,
   * or worked on, and will be back. Undefined: `eligible`.
   */
  readonly sharing?: Uint8Array
  /**
   * 1 for nodes that get nothing for now but keep their shares, since they are overloaded: the others are compared among
   * themselves. Undefined: there are none.
   */
  readonly aside?: Uint8Array
  /** Table of each range, as a small number. Undefined: nothing is known of tables. */
  readonly tableOf: Int32Array | undefined
  /** Voters that each range is to have; it may have slots that are not for any of them. Undefined: all its slots. */
  readonly wantedVoters?: Uint8Array
  /** Replicas in all that each range is to have. Undefined: as many as it has slots. */
  readonly wantedReplicas?: Uint8Array
  /** Class of rules of each range, by the number that a `RuleBook` gives it. Undefined: all have those of the cluster. */
  readonly ruleClass: Int32Array | undefined
  /** What replicas of ranges that are not among these columns put on the nodes. Undefined: nothing. */
  readonly base?: AssignmentBase | undefined
  /** The domains of one tier of locality. */
  domains(tier: string): Domains
  /** The value of a node's label, if it has it. */
  label(node: number, name: string): string | undefined
  /** Name of a node, for people. */
  nodeName(node: number): string
  /** Name of a range, for people. */
  rangeName(range: number): string
}

/** Something that keeps counters of its own about an {@link Assignment}. Called after each change. */
export interface AssignmentObserver {
  /** A replica went from one node to another; either may be {@link nowhere}. */
  moved?(slot: number, from: number, to: number): void
  /** A range's lead went from one slot to another; either may be {@link nowhere}. */
  led?(range: number, from: number, to: number): void
}

/**
 * Where every replica is once all that is decided has happened: the one mutable part of planning. A change costs as much
 * as there are load dimensions and observers. Loads that are whole numbers stay exact (below 2^53): after any sequence
 * of changes all sums are what they would be if they were summed anew.
 */
export class Assignment {
  /** What it stands on. */
  readonly columns: PlacementColumns
  /** Node of each slot, or {@link nowhere}. */
  readonly place: Int32Array
  /** Slot of each range that leads, or {@link nowhere}. */
  readonly leader: Int32Array
  /** nodes × resources: what the nodes hold when all has happened. */
  readonly usage: Float64Array
  /** nodes × resources: what replicas that go still hold where they are in fact, while they are copied. */
  readonly held: Float64Array
  /** Replicas on each node. */
  readonly replicaCount: Int32Array
  /** Leads of each node. */
  readonly leaderCount: Int32Array
  readonly #lists: Int32Array[]
  readonly #listed: Int32Array
  readonly #position: Int32Array
  readonly #observers: AssignmentObserver[] = []
  #journal: Int32Array | undefined
  #journalLength = 0

  /**
   * Begins where the replicas are in fact, lost ones {@link nowhere}, or where `place` and `leader` say (both are
   * copied). O(slots).
   */
  constructor(columns: PlacementColumns, place?: Int32Array, leader?: Int32Array) {
    checkObject(columns, 'the columns of an assignment', ['slotCount', 'home', 'firstSlot', 'load'])
    if (place !== undefined) checkPlaces(columns, place)
    if (leader !== undefined) checkLeaders(columns, leader)
    const { nodeCount, slotCount, rangeCount, status, home } = columns
    const width = columns.resources.length
    this.columns = columns
    this.place = (place ?? home).slice()
    if (place === undefined) {
      for (let slot = 0; slot < slotCount; slot++) {
        if (((status[slot] as number) & replicaBits.lost) !== 0) this.place[slot] = nowhere
      }
    }
    this.leader = (leader ?? columns.homeLeader).slice()
    const { base } = columns
    this.usage = base?.usage.slice() ?? new Float64Array(nodeCount * width)
    this.held = base?.held.slice() ?? new Float64Array(nodeCount * width)
    this.replicaCount = base?.replicas.slice() ?? new Int32Array(nodeCount)
    this.leaderCount = base?.leaders.slice() ?? new Int32Array(nodeCount)
    this.#listed = new Int32Array(nodeCount)
    this.#position = new Int32Array(slotCount)
    for (let slot = 0; slot < slotCount; slot++) {
      const node = this.place[slot] as number
      if (node >= 0) {
        this.#position[slot] = this.#listed[node] as number
        this.#listed[node] = (this.#listed[node] as number) + 1
        this.replicaCount[node] = (this.replicaCount[node] as number) + 1
        this.#add(this.usage, node, columns.load, slot, 1)
      }
      const from = this.heldAt(slot)
      if (from >= 0 && from !== node) this.#add(this.held, from, columns.load, slot, 1)
    }
    // Most drafts look at few ranges of many nodes: those without any share one list.
    const none = new Int32Array(0)
    this.#lists = Array.from(this.#listed, (count) => (count === 0 ? none : new Int32Array(count + 4)))
    for (let slot = 0; slot < slotCount; slot++) {
      const node = this.place[slot] as number
      if (node >= 0) (this.#lists[node] as Int32Array)[this.#position[slot] as number] = slot
    }
    for (let range = 0; range < rangeCount; range++) this.#count(range, this.leader[range] as number, 1)
  }

  /** Slots on a node: its replicas, but for those of a base. */
  slotCountOn(node: number): number {
    return this.#listed[node] as number
  }

  /** One of the {@link slotCountOn} slots of a node. Their order changes with every change. */
  slotAt(node: number, index: number): number {
    return (this.#lists[node] as Int32Array)[index] as number
  }

  /** The slots of a node, as a copy. */
  slotsOn(node: number): Int32Array {
    return (this.#lists[node] as Int32Array).slice(0, this.#listed[node])
  }

  /** Whether the slot's range is led from it. */
  leads(slot: number): boolean {
    return this.leader[this.columns.rangeOf[slot] as number] === slot
  }

  /** Node that has the replica in fact, and goes on holding it while it is copied elsewhere. */
  heldAt(slot: number): number {
    const lost = ((this.columns.status[slot] as number) & replicaBits.lost) !== 0
    return lost ? nowhere : (this.columns.home[slot] as number)
  }

  /** Puts a replica on a node, or {@link nowhere}. Asks no rule. The lead of its range stays with it. */
  move(slot: number, to: number): void {
    const { place, columns } = this
    const from = place[slot] as number
    if (from === to) return
    this.#note(slot, from)
    place[slot] = to
    const { load } = columns
    const home = this.heldAt(slot)
    if (from >= 0) {
      this.#add(this.usage, from, load, slot, -1)
      this.#unlist(slot, from)
      if (from === home) this.#add(this.held, from, load, slot, 1)
    }
    if (to >= 0) {
      this.#add(this.usage, to, load, slot, 1)
      this.#list(slot, to)
      if (to === home) this.#add(this.held, to, load, slot, -1)
    }
    if (this.leads(slot)) this.#shiftLead(columns.rangeOf[slot] as number, from, to)
    for (let i = 0; i < this.#observers.length; i++) this.#observers[i]?.moved?.(slot, from, to)
  }

  /** Exchanges the nodes of two replicas: two moves, one after the other. */
  swap(a: number, b: number): void {
    const from = this.place[a] as number
    this.move(a, this.place[b] as number)
    this.move(b, from)
  }

  /** Gives the lead of a range to one of its slots, or to nobody. */
  lead(range: number, slot: number): void {
    const from = this.leader[range] as number
    if (from === slot) return
    this.#note(~range, from)
    this.#count(range, from, -1)
    this.leader[range] = slot
    this.#count(range, slot, 1)
    for (let i = 0; i < this.#observers.length; i++) this.#observers[i]?.led?.(range, from, slot)
  }

  /** Tells `observer` of every change from now on, and returns it. */
  observe<T extends AssignmentObserver>(observer: T): T {
    if (observer.moved !== undefined || observer.led !== undefined) this.#observers.push(observer)
    return observer
  }

  /** Tells `observer` of nothing any more. */
  ignore(observer: AssignmentObserver): void {
    const at = this.#observers.indexOf(observer)
    if (at >= 0) this.#observers.splice(at, 1)
  }

  /** Where {@link rollback} comes back to. The changes after the first checkpoint are kept in a journal. */
  checkpoint(): number {
    this.#journal ??= new Int32Array(64)
    return this.#journalLength
  }

  /** Undoes all changes since a checkpoint, the last first. */
  rollback(checkpoint: number): void {
    const journal = this.#journal
    if (journal === undefined || !(checkpoint >= 0 && checkpoint <= this.#journalLength)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        'rollback takes what checkpoint() of this assignment returned',
      )
    }
    while (this.#journalLength > checkpoint) {
      const at = this.#journalLength - 2
      const [what, from] = [journal[at] as number, journal[at + 1] as number]
      this.#journal = undefined
      if (what >= 0) this.move(what, from)
      else this.lead(~what, from)
      this.#journal = journal
      this.#journalLength = at
    }
  }

  /** Forgets the journal: what has been done stays, and earlier checkpoints are void. */
  forget(): void {
    this.#journal = undefined
    this.#journalLength = 0
  }

  /** A copy that nobody observes. */
  clone(): Assignment {
    return new Assignment(this.columns, this.place, this.leader)
  }

  #note(what: number, from: number): void {
    if (this.#journal === undefined) return
    if (this.#journalLength + 2 > this.#journal.length) {
      const larger = new Int32Array(this.#journal.length * 2)
      larger.set(this.#journal)
      this.#journal = larger
    }
    this.#journal[this.#journalLength++] = what
    this.#journal[this.#journalLength++] = from
  }

  #add(sums: Float64Array, node: number, amounts: Float64Array, row: number, sign: number): void {
    const width = this.columns.resources.length
    const at = node * width
    const from = row * width
    for (let r = 0; r < width; r++) {
      sums[at + r] = (sums[at + r] as number) + sign * (amounts[from + r] as number)
    }
  }

  #list(slot: number, node: number): void {
    const at = this.#listed[node] as number
    let list = this.#lists[node] as Int32Array
    if (at === list.length) {
      const larger = new Int32Array(Math.max(4, at * 2))
      larger.set(list)
      list = larger
      this.#lists[node] = larger
    }
    list[at] = slot
    this.#position[slot] = at
    this.#listed[node] = at + 1
    this.replicaCount[node] = (this.replicaCount[node] as number) + 1
  }

  #unlist(slot: number, node: number): void {
    const list = this.#lists[node] as Int32Array
    const last = (this.#listed[node] as number) - 1
    const at = this.#position[slot] as number
    const moved = list[last] as number
    list[at] = moved
    this.#position[moved] = at
    this.#listed[node] = last
    this.replicaCount[node] = (this.replicaCount[node] as number) - 1
  }

  #count(range: number, slot: number, sign: number): void {
    if (slot < 0) return
    const node = this.place[slot] as number
    if (sign > 0) this.#shiftLead(range, nowhere, node)
    else this.#shiftLead(range, node, nowhere)
  }

  #shiftLead(range: number, from: number, to: number): void {
    const { leaderLoad } = this.columns
    if (from >= 0) {
      this.leaderCount[from] = (this.leaderCount[from] as number) - 1
      if (leaderLoad !== undefined) this.#add(this.usage, from, leaderLoad, range, -1)
    }
    if (to >= 0) {
      this.leaderCount[to] = (this.leaderCount[to] as number) + 1
      if (leaderLoad !== undefined) this.#add(this.usage, to, leaderLoad, range, 1)
    }
  }
}

/** Checks what a program hands in as a placement. @throws KeelsonError `INVALID_ARGUMENT` */
function checkPlaces(columns: PlacementColumns, place: Int32Array): void {
  if (!(place instanceof Int32Array) || place.length !== columns.slotCount) {
    throw new KeelsonError('INVALID_ARGUMENT', `a placement is an Int32Array of ${columns.slotCount} nodes`)
  }
  const wrong = place.findIndex((node) => node < nowhere || node >= columns.nodeCount)
  if (wrong < 0) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `slot ${wrong} is placed on node ${place[wrong]}, but the nodes are 0 to ${columns.nodeCount - 1}`,
  )
}

function checkLeaders(columns: PlacementColumns, leader: Int32Array): void {
  if (!(leader instanceof Int32Array) || leader.length !== columns.rangeCount) {
    throw new KeelsonError('INVALID_ARGUMENT', `leaders are an Int32Array of ${columns.rangeCount} slots`)
  }
  const wrong = leader.findIndex((slot, range) => slot !== nowhere && columns.rangeOf[slot] !== range)
  if (wrong < 0) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `range ${wrong} is led from slot ${leader[wrong]}, not one of its own`,
  )
}

/**
 * Checks columns that do not come from a snapshot: every length, and every reference from one column to another.
 * O(slots × resources). @throws KeelsonError `INVALID_ARGUMENT`
 */
export function checkColumns(columns: PlacementColumns): PlacementColumns {
  checkObject(columns, 'placement columns', ['nodeCount', 'rangeCount', 'slotCount', 'resources', 'domains'])
  const { nodeCount, rangeCount, slotCount } = columns
  const width = checkArray(columns.resources, 'the resources of placement columns', 64).length
  const lengths: readonly [string, ArrayLike<number> | undefined, number][] = [
    ['capacity', columns.capacity, nodeCount * width],
    ['eligible', columns.eligible, nodeCount],
    ['firstSlot', columns.firstSlot, rangeCount + 1],
    ['homeLeader', columns.homeLeader, rangeCount],
    ['rangeOf', columns.rangeOf, slotCount],
    ['load', columns.load, slotCount * width],
    ['home', columns.home, slotCount],
    ['moveBytes', columns.moveBytes, slotCount],
    ['status', columns.status, slotCount],
    ['fixed', columns.fixed, slotCount],
  ]
  for (const [name, column, length] of lengths) {
    if (column?.length === length) continue
    refuseColumn(`${name} has ${column?.length ?? 'no'} entries, not ${length}`)
  }
  if (columns.leaderLoad !== undefined && columns.leaderLoad.length !== rangeCount * width) {
    refuseColumn(`leaderLoad has ${columns.leaderLoad.length} entries, not ${rangeCount * width}`)
  }
  if (columns.firstSlot[0] !== 0 || columns.firstSlot[rangeCount] !== slotCount) {
    refuseColumn('firstSlot begins with 0 and ends with the number of slots')
  }
  for (let range = 0; range < rangeCount; range++) {
    const [first, end] = [columns.firstSlot[range] as number, columns.firstSlot[range + 1] as number]
    if (end < first) refuseColumn(`the slots of range ${range} end before they begin`)
    for (let slot = first; slot < end; slot++) {
      if (columns.rangeOf[slot] !== range)
        refuseColumn(`slot ${slot} is one of range ${range}, rangeOf says otherwise`)
    }
  }
  const amount = columns.load.findIndex((each) => !(each >= 0 && each < Number.POSITIVE_INFINITY))
  if (amount >= 0) refuseColumn(`slot ${Math.floor(amount / width)} has a load of ${columns.load[amount]}`)
  const limit = columns.capacity.findIndex((each) => !(each >= 0))
  if (limit >= 0)
    refuseColumn(`node ${Math.floor(limit / width)} has a capacity of ${columns.capacity[limit]}`)
  checkPlaces(columns, columns.home)
  checkLeaders(columns, columns.homeLeader)
  return columns
}

function refuseColumn(why: string): never {
  throw new KeelsonError('INVALID_ARGUMENT', `placement columns do not fit together: ${why}`)
}
