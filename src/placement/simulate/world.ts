import { invariant } from '../../core/invariant.ts'
import type { NodeDescriptor, ReplicaDescriptor } from '../../model/descriptors.ts'
import type { NodeId, RangeId } from '../../model/ids.ts'

/** Most replicas of one range in a simulated fleet: the moves of a range bring one more than it is to have. */
export const maximumSimulatedReplicas = 8

/** A node of a simulated fleet. */
export interface SimulatedNode {
  /** What it says of itself; `capacity.bytes` and the capacity of the load are what it can bear. */
  readonly descriptor: NodeDescriptor
  /** Bytes of copies that it takes in a second. */
  readonly ingressBytesPerSecond: number
  /** Bytes of copies that it gives in a second. */
  readonly egressBytesPerSecond: number
}

/** A range of a simulated fleet, as it begins. */
export interface SimulatedRange {
  /** Its size, and so the size of a copy. */
  readonly bytes: number
  /** Nodes of its voters; the first one leads. */
  readonly nodes: readonly NodeId[]
  /** Nodes of its replicas without a vote. Default: none. */
  readonly nonVoters?: readonly NodeId[]
}

/** Replicas that the ranges of a simulated fleet are to have. */
export interface WantedReplicas {
  readonly voters: number
  readonly nonVoters: number
}

/** What is true of one node in the simulated world. */
export interface NodeTruth {
  readonly index: number
  readonly descriptor: NodeDescriptor
  readonly ingress: number
  readonly egress: number
  /** When it stopped, if it did. */
  downSinceMs: number | undefined
  incarnation: number
  state: 'active' | 'draining'
}

/**
 * The truth about a simulated fleet, in columns: which replicas every range has, who leads it, and what the nodes hold. The
 * planner never sees it but through reports.
 */
export class FleetWorld {
  readonly nodes: NodeTruth[] = []
  readonly #index = new Map<NodeId, number>()
  readonly rangeCount: number
  readonly bytes: Float64Array
  readonly generation: Float64Array
  /** Load of a range at a replica that follows, and on top of it at the one that leads. */
  readonly followerLoad: Float64Array
  readonly leaderLoad: Float64Array
  readonly #count: Uint8Array
  readonly #nextReplicaId: Uint32Array
  readonly #node: Int32Array
  readonly #incarnation: Int32Array
  readonly #replicaId: Uint32Array
  readonly #votes: Uint8Array
  /** Position of the replica that leads, or -1. */
  readonly #leader: Int8Array
  /** What the nodes hold: bytes and load. */
  usedBytes: Float64Array
  usedLoad: Float64Array
  /** Ranges with fewer live voters than they are to have, with no quorum of them, and with too few live non-voters. */
  underReplicated = 0
  unavailable = 0
  lackNonVoters = 0
  readonly #wantedVoters: Uint8Array
  readonly #wantedNonVoters: Uint8Array

  constructor(
    nodes: readonly SimulatedNode[],
    ranges: readonly SimulatedRange[],
    wantedOf: (rangeId: RangeId) => WantedReplicas,
  ) {
    this.rangeCount = ranges.length
    this.#wantedVoters = new Uint8Array(ranges.length)
    this.#wantedNonVoters = new Uint8Array(ranges.length)
    ranges.forEach((_, range) => {
      const { voters, nonVoters } = wantedOf(this.idOf(range))
      this.#wantedVoters[range] = voters
      this.#wantedNonVoters[range] = nonVoters
    })
    this.bytes = Float64Array.from(ranges, ({ bytes }) => bytes)
    this.generation = new Float64Array(ranges.length).fill(1)
    this.followerLoad = new Float64Array(ranges.length)
    this.leaderLoad = new Float64Array(ranges.length)
    this.#count = new Uint8Array(ranges.length)
    this.#nextReplicaId = new Uint32Array(ranges.length)
    const room = ranges.length * maximumSimulatedReplicas
    this.#node = new Int32Array(room)
    this.#incarnation = new Int32Array(room)
    this.#replicaId = new Uint32Array(room)
    this.#votes = new Uint8Array(room)
    this.#leader = new Int8Array(ranges.length)
    this.usedBytes = new Float64Array(0)
    this.usedLoad = new Float64Array(0)
    for (const node of nodes) this.addNode(node)
    ranges.forEach(({ nodes: at, nonVoters = [] }, range) => {
      for (const nodeId of at) this.addReplica(range, this.nodeOf(nodeId), true)
      for (const nodeId of nonVoters) this.addReplica(range, this.nodeOf(nodeId), false)
      this.generation[range] = 1
    })
    this.#recount()
  }

  /** Number of a node. */
  nodeOf(nodeId: NodeId): number {
    const index = this.#index.get(nodeId)
    invariant(index !== undefined, `the simulated fleet has a node ${nodeId}`)
    return index
  }

  addNode({ descriptor, ingressBytesPerSecond, egressBytesPerSecond }: SimulatedNode): NodeTruth {
    const truth: NodeTruth = {
      index: this.nodes.length,
      descriptor,
      ingress: ingressBytesPerSecond,
      egress: egressBytesPerSecond,
      downSinceMs: undefined,
      incarnation: descriptor.incarnation,
      state: 'active',
    }
    this.nodes.push(truth)
    this.#index.set(descriptor.nodeId, truth.index)
    this.usedBytes = Float64Array.of(...this.usedBytes, 0)
    this.usedLoad = Float64Array.of(...this.usedLoad, 0)
    return truth
  }

  /** The ids of ranges are their numbers and one. */
  idOf(range: number): RangeId {
    return range + 1
  }

  replicas(range: number): ReplicaDescriptor[] {
    return Array.from({ length: this.#count[range] as number }, (_, k) => {
      const at = range * maximumSimulatedReplicas + k
      return {
        replicaId: this.#replicaId[at] as number,
        nodeId: (this.nodes[this.#node[at] as number] as NodeTruth).descriptor.nodeId,
        incarnation: this.#incarnation[at] as number,
        role: this.#votes[at] === 1 ? 'voter' : 'learner',
      }
    })
  }

  /** Id of the replica that leads, if one does. */
  leaderId(range: number): number | undefined {
    const k = this.#leader[range] as number
    return k < 0 ? undefined : this.#replicaId[range * maximumSimulatedReplicas + k]
  }

  /** Number of the node that leads, or -1. */
  leaderNode(range: number): number {
    const k = this.#leader[range] as number
    return k < 0 ? -1 : (this.#node[range * maximumSimulatedReplicas + k] as number)
  }

  isUp(node: number, incarnation: number): boolean {
    const truth = this.nodes[node] as NodeTruth
    return truth.downSinceMs === undefined && truth.incarnation === incarnation
  }

  holds(range: number, node: number): boolean {
    for (let k = 0; k < (this.#count[range] as number); k++) {
      if (this.#node[range * maximumSimulatedReplicas + k] === node) return true
    }
    return false
  }

  /** Numbers of the nodes from which a copy of the range can be made. */
  sources(range: number): number[] {
    const found: number[] = []
    for (let k = 0; k < (this.#count[range] as number); k++) {
      const at = range * maximumSimulatedReplicas + k
      const node = this.#node[at] as number
      if (this.isUp(node, this.#incarnation[at] as number)) found.push(node)
    }
    return found
  }

  /** Replicas of one kind, and those of them that are up. */
  replicasOf(range: number, votes: boolean): { readonly all: number; readonly live: number } {
    let [all, live] = [0, 0]
    for (let k = 0; k < (this.#count[range] as number); k++) {
      const at = range * maximumSimulatedReplicas + k
      if ((this.#votes[at] === 1) !== votes) continue
      all++
      if (this.isUp(this.#node[at] as number, this.#incarnation[at] as number)) live++
    }
    return { all, live }
  }

  /** Live replicas of both kinds that a range lacks. */
  missing(range: number): number {
    const [voters, others] = [this.replicasOf(range, true).live, this.replicasOf(range, false).live]
    const lacks = (wanted: Uint8Array, live: number): number => Math.max(0, (wanted[range] as number) - live)
    return lacks(this.#wantedVoters, voters) + lacks(this.#wantedNonVoters, others)
  }

  /** A replica gets a vote. */
  promote(range: number, replicaId: number): void {
    this.#change(range, () => {
      for (let k = 0; k < (this.#count[range] as number); k++) {
        const at = range * maximumSimulatedReplicas + k
        if (this.#replicaId[at] === replicaId) this.#votes[at] = 1
      }
    })
  }

  /** A copy is complete, and votes if it is to. */
  addReplica(range: number, node: number, votes: boolean): void {
    this.#change(range, () => {
      const k = this.#count[range] as number
      invariant(k < maximumSimulatedReplicas, 'a range has room for another replica')
      const at = range * maximumSimulatedReplicas + k
      this.#nextReplicaId[range] = (this.#nextReplicaId[range] as number) + 1
      this.#replicaId[at] = this.#nextReplicaId[range]
      this.#node[at] = node
      this.#incarnation[at] = (this.nodes[node] as NodeTruth).incarnation
      this.#votes[at] = votes ? 1 : 0
      this.#count[range] = k + 1
    })
  }

  /** A replica is taken out. */
  removeReplica(range: number, replicaId: number): void {
    this.#change(range, () => {
      const first = range * maximumSimulatedReplicas
      const count = this.#count[range] as number
      for (let k = 0; k < count; k++) {
        if (this.#replicaId[first + k] !== replicaId) continue
        for (const column of [this.#node, this.#incarnation, this.#replicaId, this.#votes]) {
          column.copyWithin(first + k, first + k + 1, first + count)
        }
        const leader = this.#leader[range] as number
        if (leader === k) this.#leader[range] = -1
        else if (leader > k) this.#leader[range] = leader - 1
        this.#count[range] = count - 1
        return
      }
    })
  }

  /** Another replica leads. */
  lead(range: number, replicaId: number): void {
    this.#change(range, () => {
      for (let k = 0; k < (this.#count[range] as number); k++) {
        if (this.#replicaId[range * maximumSimulatedReplicas + k] === replicaId) this.#leader[range] = k
      }
    })
  }

  /** What a range costs now. */
  setLoad(range: number, follower: number, leader: number): void {
    this.#account(range, -1)
    this.followerLoad[range] = follower
    this.leaderLoad[range] = leader
    this.#account(range, 1)
  }

  /** Nodes stop, come back, or come back with empty disks. */
  setNodes(
    nodes: readonly number[],
    change: { readonly downSinceMs: number | undefined; readonly wiped?: boolean },
  ): void {
    for (const node of nodes) {
      const truth = this.nodes[node] as NodeTruth
      truth.downSinceMs = change.downSinceMs
      if (change.wiped === true) truth.incarnation++
    }
    this.#recount()
  }

  /** Ranges with a replica on one of some nodes, in a life of now or an earlier one. O(ranges). */
  rangesOn(nodes: readonly number[]): number[] {
    const asked = new Uint8Array(this.nodes.length)
    for (const node of nodes) asked[node] = 1
    const found: number[] = []
    for (let range = 0; range < this.rangeCount; range++) {
      for (let k = 0; k < (this.#count[range] as number); k++) {
        if (asked[this.#node[range * maximumSimulatedReplicas + k] as number] === 0) continue
        found.push(range)
        break
      }
    }
    return found
  }

  #change(range: number, apply: () => void): void {
    this.#account(range, -1)
    apply()
    this.generation[range] = (this.generation[range] as number) + 1
    this.#elect(range)
    this.#account(range, 1)
  }

  /** Somebody who can lead leads, if there is a quorum. */
  #elect(range: number): void {
    const first = range * maximumSimulatedReplicas
    const count = this.#count[range] as number
    const live = (k: number): boolean =>
      this.#votes[first + k] === 1 &&
      this.isUp(this.#node[first + k] as number, this.#incarnation[first + k] as number)
    let [voters, all] = [0, 0]
    for (let k = 0; k < count; k++) {
      if (this.#votes[first + k] === 1) all++
      if (live(k)) voters++
    }
    const leader = this.#leader[range] as number
    if (voters * 2 <= all) this.#leader[range] = -1
    else if (leader < 0 || leader >= count || !live(leader)) {
      for (let k = 0; k < count; k++) {
        if (!live(k)) continue
        this.#leader[range] = k
        return
      }
    }
  }

  /** Adds what a range counts for, or takes it away. */
  #account(range: number, sign: number): void {
    const first = range * maximumSimulatedReplicas
    const count = this.#count[range] as number
    let [voters, live, others] = [0, 0, 0]
    for (let k = 0; k < count; k++) {
      const node = this.#node[first + k] as number
      const votes = this.#votes[first + k] === 1
      if (votes) voters++
      if (!this.isUp(node, this.#incarnation[first + k] as number)) continue
      if (votes) live++
      else others++
      this.usedBytes[node] = (this.usedBytes[node] as number) + sign * (this.bytes[range] as number)
      const led = this.#leader[range] === k ? (this.leaderLoad[range] as number) : 0
      this.usedLoad[node] =
        (this.usedLoad[node] as number) + sign * ((this.followerLoad[range] as number) + led)
    }
    if (live < (this.#wantedVoters[range] as number)) this.underReplicated += sign
    if (others < (this.#wantedNonVoters[range] as number)) this.lackNonVoters += sign
    if (live * 2 <= voters) this.unavailable += sign
  }

  /** Counts everything anew: after a change of nodes, which concerns any number of ranges. */
  #recount(): void {
    this.usedBytes.fill(0)
    this.usedLoad.fill(0)
    this.underReplicated = 0
    this.unavailable = 0
    this.lackNonVoters = 0
    for (let range = 0; range < this.rangeCount; range++) {
      this.#elect(range)
      this.#account(range, 1)
    }
  }
}
