import assert from 'node:assert/strict'
import type { ObservedReplica, WantedRange } from '../../../src/interfaces/index.ts'
import type { RangeDirectory } from '../../../src/metadata/index.ts'
import type { NodeState, ReplicaDescriptor } from '../../../src/model/index.ts'
import {
  isJoint,
  parseLocality,
  votesInAnyHalf,
  votesInIncoming,
  votesInOutgoing,
} from '../../../src/model/index.ts'
import {
  type OperatedNode,
  PlacementInvariants,
  type PlacementNode,
  type ReportedReplica,
} from '../../../src/placement/index.ts'
import type { VirtualTime } from '../../support/virtual-time.ts'

interface PlaneNode {
  readonly nodeId: string
  readonly zone: string
  incarnation: number
  up: boolean
  state: NodeState
  sinceMs: number
  /** Epoch of its session; another one after each restart. */
  epoch: number
}

interface PlaneRange {
  generation: number
  replicas: ReplicaDescriptor[]
  leader: number | undefined
  sequence: number
  nextReplicaId: number
  /** When each learner will have caught up. */
  readonly caughtUpAtMs: Map<number, number>
  /** Highest epoch of a control plane that it obeyed. */
  epoch: number
}

export interface PlaneTuning {
  readonly tickMs: number
  readonly reportMs: number
  readonly catchUpMs: number
  readonly electionMs: number
  /** Ranges know how to swap two replicas in one joint step. */
  readonly swaps: boolean
  /** Size of every range. */
  readonly bytes: number
}

/**
 * A data plane in memory: every range is a quorum that changes itself as its nodes are told, one change at a time, each
 * guarded by the generation. It judges: whoever makes it lose a quorum, or put two replicas on a node, has failed.
 */
export class DataPlane {
  readonly nodes = new Map<string, PlaneNode>()
  readonly ranges = new Map<number, PlaneRange>()
  /** Everything that ranges did, in order. */
  readonly history: string[] = []
  /** Told of what must never happen, and did. */
  onFailure: (thrown: unknown) => void = (thrown) => {
    throw thrown
  }
  /** Changes that came too late, and were refused. */
  refused = 0
  readonly tuning: PlaneTuning
  readonly #time: VirtualTime
  readonly #directory: RangeDirectory
  readonly #invariants = new PlacementInvariants()
  readonly #reports = new Map<string, ReadonlyMap<number, ObservedReplica>>()
  #stopped = false

  constructor(time: VirtualTime, directory: RangeDirectory, tuning: Partial<PlaneTuning> = {}) {
    this.#time = time
    this.#directory = directory
    this.tuning = {
      tickMs: 50,
      reportMs: 100,
      catchUpMs: 300,
      electionMs: 60,
      swaps: false,
      bytes: 10,
      ...tuning,
    }
    this.#every(this.tuning.tickMs, () => this.#tick())
    this.#every(this.tuning.reportMs, async () => this.#report())
  }

  stop(): void {
    this.#stopped = true
  }

  addNode(nodeId: string, zone: string): void {
    this.nodes.set(nodeId, { nodeId, zone, incarnation: 1, up: true, state: 'active', sinceMs: 0, epoch: 1 })
  }

  node(nodeId: string): PlaneNode {
    return this.nodes.get(nodeId) as PlaneNode
  }

  range(rangeId: number): PlaneRange {
    return this.ranges.get(rangeId) as PlaneRange
  }

  kill(nodeId: string): void {
    const node = this.node(nodeId)
    node.up = false
    node.sinceMs = this.#time.nowMs
    this.#reports.delete(nodeId)
  }

  /** `lagMs`: how long its replicas take to catch up. */
  restart(nodeId: string, wiped = false, lagMs = 0): void {
    const node = this.node(nodeId)
    node.up = true
    node.epoch++
    for (const { replicas, caughtUpAtMs } of this.ranges.values()) {
      const own = lagMs === 0 ? undefined : replicas.find((replica) => replica.nodeId === nodeId)
      if (own !== undefined) caughtUpAtMs.set(own.replicaId, this.#time.nowMs + lagMs)
    }
    node.sinceMs = this.#time.nowMs
    if (wiped) node.incarnation++
  }

  drain(nodeId: string): void {
    this.node(nodeId).state = 'draining'
  }

  /** The nodes as the leader's node controller would show them. */
  views(): PlacementNode[] {
    return [...this.nodes.values()].map((node) => this.view(node.nodeId) as PlacementNode)
  }

  /** The same, with their sessions. */
  operated(): OperatedNode[] {
    return [...this.nodes.values()].map(({ nodeId, up, epoch }) => ({
      ...(this.view(nodeId) as PlacementNode),
      epoch: up ? epoch : 0,
    }))
  }

  view(nodeId: string): PlacementNode | undefined {
    const node = this.nodes.get(nodeId)
    if (node === undefined) return undefined
    return {
      descriptor: {
        nodeId,
        incarnation: node.incarnation,
        addresses: [],
        locality: parseLocality(`zone=${node.zone}`),
        capacity: {},
        labels: {},
      },
      state: node.state,
      liveness: node.up ? 'live' : 'dead',
      forMs: this.#time.nowMs - node.sinceMs,
    }
  }

  observed(rangeId: number): ReportedReplica[] {
    return [...this.#reports].flatMap(([nodeId, replicas]) => {
      const replica = replicas.get(rangeId)
      return replica === undefined ? [] : [{ nodeId, replica }]
    })
  }

  holds(nodeId: string): number {
    return [...this.ranges.values()].filter((range) => range.replicas.some((r) => r.nodeId === nodeId)).length
  }

  canVote(replica: ReplicaDescriptor): boolean {
    const node = this.nodes.get(replica.nodeId)
    return node?.up === true && node.incarnation === replica.incarnation
  }

  hasQuorum(range: PlaneRange, replicas = range.replicas): boolean {
    return [votesInIncoming, votesInOutgoing].every((votes) => {
      const voters = replicas.filter(votes)
      return voters.filter((voter) => this.canVote(voter)).length > voters.length / 2
    })
  }

  /** What a range does when it is told to change; also called by tests with what comes late. */
  change(wanted: WantedRange): void {
    const range = this.ranges.get(wanted.rangeId)
    const { change } = wanted
    if (range === undefined || change === undefined) return
    if (change.generation !== range.generation || change.epoch < range.epoch) {
      this.refused++
      return
    }
    assert.ok(this.hasQuorum(range), 'a range without a quorum cannot change')
    assert.ok(!isJoint(range.replicas), 'a range in between two sets of voters cannot change')
    range.epoch = change.epoch
    const { replicas } = range
    const say = (what: string): void => void this.history.push(`${wanted.rangeId}: ${what}`)
    switch (change.type) {
      case 'split':
      case 'freeze':
      case 'merge':
      case 'thaw':
      case 'touch':
        // These ranges report no bounds, so nobody asks them for others.
        return
      case 'addLearner': {
        const { nodeId, incarnation } = change
        assert.ok(!replicas.some((replica) => replica.nodeId === nodeId), `a second replica on ${nodeId}`)
        const replicaId = range.nextReplicaId++
        range.replicas = [...replicas, { replicaId, nodeId, incarnation, role: 'learner' }]
        range.caughtUpAtMs.set(replicaId, this.#time.nowMs + this.tuning.catchUpMs)
        say(`learner on ${nodeId}`)
        break
      }
      case 'promote': {
        const replica = replicas.find((each) => each.replicaId === change.replicaId)
        assert.equal(replica?.role, 'learner')
        assert.ok(this.#hasCaughtUp(range, change.replicaId), 'promotes a learner that has not caught up')
        range.replicas = replicas.map((each) => (each === replica ? { ...each, role: 'voter' } : each))
        say(`voter on ${replica?.nodeId}`)
        break
      }
      case 'remove': {
        assert.notEqual(change.replicaId, range.leader, 'removes the lease holder')
        const gone = replicas.find((each) => each.replicaId === change.replicaId)
        range.replicas = replicas.filter((each) => each !== gone)
        say(`removed from ${gone?.nodeId}`)
        break
      }
      case 'swap': {
        assert.ok(this.tuning.swaps, 'asks for a swap where nobody knows that')
        assert.ok(this.#hasCaughtUp(range, change.promote), 'swaps in a learner that has not caught up')
        assert.notEqual(change.remove, range.leader, 'swaps the lease holder out')
        const [arriving, leaving] = [change.promote, change.remove].map((replicaId) =>
          replicas.find((each) => each.replicaId === replicaId),
        )
        assert.deepEqual([arriving?.role, leaving?.role], ['learner', 'voter'])
        range.replicas = replicas.map((each) => {
          if (each === arriving) return { ...each, role: 'incoming' }
          return each === leaving ? { ...each, role: 'outgoing' } : each
        })
        say(`swap of ${leaving?.nodeId} for ${arriving?.nodeId}`)
        break
      }
      case 'transferLease': {
        if (range.leader === change.replicaId) return
        assert.ok(replicas.some((each) => each.replicaId === change.replicaId && each.role === 'voter'))
        range.leader = change.replicaId
        range.sequence++
        say(`lease to replica ${change.replicaId}`)
        return
      }
    }
    range.generation++
    this.#committed(wanted.rangeId, range)
  }

  #committed(rangeId: number, { generation, replicas }: PlaneRange): void {
    this.#invariants.committed({ rangeId, generation, replicas }, (replica) => this.canVote(replica))
  }

  #every(delayMs: number, run: () => Promise<void>): void {
    this.#time.env.timers.schedule(delayMs, () => {
      if (this.#stopped) return
      void run().then(
        () => this.#every(delayMs, run),
        (thrown: unknown) => this.onFailure(thrown),
      )
    })
  }

  async #tick(): Promise<void> {
    for (const [rangeId, range] of this.ranges) {
      this.#elect(range)
      this.#leaveJoint(rangeId, range)
    }
    for (const node of this.nodes.values()) {
      if (!node.up) continue
      for (const wanted of await this.#directory.wantedFor(node.nodeId)) {
        if (!node.up) break
        this.#reconcile(node, wanted)
      }
    }
  }

  #reconcile(node: PlaneNode, wanted: WantedRange): void {
    const range = this.ranges.get(wanted.rangeId)
    if (range === undefined) {
      if (!wanted.bootstrap) return
      const { generation, replicas } = wanted.descriptor
      const first = replicas.find((replica) => replica.nodeId === node.nodeId)
      this.ranges.set(wanted.rangeId, {
        generation,
        replicas: [...replicas],
        leader: first?.replicaId,
        sequence: 1,
        nextReplicaId: Math.max(...replicas.map((replica) => replica.replicaId)) + 1,
        caughtUpAtMs: new Map(),
        epoch: 0,
      })
      this.#committed(wanted.rangeId, this.range(wanted.rangeId))
      return
    }
    const leader = range.replicas.find((replica) => replica.replicaId === range.leader)
    if (leader?.nodeId === node.nodeId) this.change(wanted)
  }

  /** Whoever leads a range leaves a joint configuration, when that is committed. */
  #leaveJoint(rangeId: number, range: PlaneRange): void {
    if (!isJoint(range.replicas) || range.leader === undefined || !this.hasQuorum(range)) return
    range.replicas = range.replicas
      .filter(({ role }) => role !== 'outgoing')
      .map((each) => (each.role === 'incoming' ? { ...each, role: 'voter' } : each))
    if (range.replicas.every(({ replicaId }) => replicaId !== range.leader)) range.leader = undefined
    range.generation++
    this.#committed(rangeId, range)
  }

  #elect(range: PlaneRange): void {
    const leader = range.replicas.find((replica) => replica.replicaId === range.leader)
    if (leader !== undefined && this.canVote(leader) && this.hasQuorum(range)) return
    if (range.leader !== undefined) {
      range.leader = undefined
      return
    }
    if (!this.hasQuorum(range)) return
    const voters = range.replicas.filter((replica) => votesInAnyHalf(replica) && this.canVote(replica))
    range.leader = voters[range.sequence % voters.length]?.replicaId
    range.sequence++
  }

  #hasCaughtUp(range: PlaneRange, replicaId: number): boolean {
    const replica = range.replicas.find((each) => each.replicaId === replicaId)
    if (replica === undefined || !this.canVote(replica)) return false
    return (range.caughtUpAtMs.get(replicaId) ?? 0) <= this.#time.nowMs
  }

  /** What a replica holds: all, or as much as has been copied. */
  #bytesOf(range: PlaneRange, replicaId: number): number {
    const { bytes, catchUpMs } = this.tuning
    const left = (range.caughtUpAtMs.get(replicaId) ?? 0) - this.#time.nowMs
    return left <= 0 ? bytes : Math.floor(bytes * Math.max(0, 1 - left / catchUpMs))
  }

  async #report(): Promise<void> {
    for (const node of this.nodes.values()) {
      if (!node.up) continue
      const replicas = new Map<number, ObservedReplica>()
      for (const [rangeId, range] of this.ranges) {
        const mine = range.replicas.find(
          (replica) => replica.nodeId === node.nodeId && replica.incarnation === node.incarnation,
        )
        if (mine === undefined) continue
        const leads = mine.replicaId === range.leader
        replicas.set(rangeId, {
          rangeId,
          replicaId: mine.replicaId,
          generation: range.generation,
          replicas: range.replicas,
          leaseHolder: leads,
          sequence: range.sequence,
          caughtUp: leads
            ? range.replicas.map((r) => r.replicaId).filter((id) => this.#hasCaughtUp(range, id))
            : [],
          load: { bytes: this.#bytesOf(range, mine.replicaId) },
          ...(this.tuning.swaps ? { swaps: true } : {}),
        })
      }
      this.#reports.set(node.nodeId, replicas)
    }
  }
}
