import assert from 'node:assert/strict'
import type { NodeLiveness, NodeState, ReplicaDescriptor } from '../../../src/model/index.ts'
import { parseLocality } from '../../../src/model/index.ts'
import { buildSnapshot, type PlacementSnapshot } from '../../../src/placement/core/snapshot.ts'
import type { Plan, PlannedMove } from '../../../src/placement/index.ts'

export interface ModelNode {
  readonly nodeId: string
  incarnation: number
  readonly zone: string
  state: NodeState
  liveness: NodeLiveness
  forMs: number
  readonly labels: Record<string, string>
  readonly capacity: Record<string, number>
}

export interface ModelRange {
  readonly rangeId: number
  generation: number
  replicas: ReplicaDescriptor[]
  leaseHolder: number | undefined
  readonly bytes: number
  readonly replicationFactor?: number
  readonly nonVoters?: number
}

export const deadAfterMs = 1000

function withoutVote({ kind }: PlannedMove): boolean {
  return kind === 'addNonVoter' || kind === 'replaceNonVoter'
}

/** A cluster as plain objects, on which moves take effect at once: the judge of the planner. */
export class Model {
  readonly nodes: ModelNode[] = []
  readonly ranges: ModelRange[] = []

  addNode(nodeId: string, zone: string, change: Partial<ModelNode> = {}): this {
    this.nodes.push({
      nodeId,
      incarnation: 1,
      zone,
      state: 'active',
      liveness: 'live',
      forMs: 0,
      labels: {},
      capacity: {},
      ...change,
    })
    return this
  }

  addRange(rangeId: number, nodeIds: readonly string[], change: Partial<ModelRange> = {}): this {
    this.ranges.push({
      rangeId,
      generation: 1,
      replicas: nodeIds.map((nodeId, i) => ({
        replicaId: i + 1,
        nodeId,
        incarnation: this.node(nodeId)?.incarnation ?? 1,
        role: 'voter',
      })),
      leaseHolder: 1,
      bytes: 10,
      ...change,
    })
    return this
  }

  node(nodeId: string): ModelNode | undefined {
    return this.nodes.find((node) => node.nodeId === nodeId)
  }

  range(rangeId: number): ModelRange {
    return this.ranges.find((range) => range.rangeId === rangeId) as ModelRange
  }

  kill(nodeId: string): this {
    const node = this.node(nodeId) as ModelNode
    node.liveness = 'dead'
    node.forMs = deadAfterMs
    this.settleLeases()
    return this
  }

  /** The node comes back with an empty disk. */
  wipe(nodeId: string): this {
    const node = this.node(nodeId) as ModelNode
    node.incarnation++
    this.settleLeases()
    return this
  }

  canVote(replica: ReplicaDescriptor): boolean {
    const node = this.node(replica.nodeId)
    return node !== undefined && node.liveness !== 'dead' && node.incarnation === replica.incarnation
  }

  voters(range: ModelRange): ReplicaDescriptor[] {
    return range.replicas.filter((replica) => replica.role === 'voter')
  }

  hasQuorum(range: ModelRange): boolean {
    const voters = this.voters(range)
    return voters.filter((voter) => this.canVote(voter)).length > voters.length / 2
  }

  /** Somebody who can lead leads. */
  settleLeases(): void {
    for (const range of this.ranges) {
      const holder = range.replicas.find((replica) => replica.replicaId === range.leaseHolder)
      if (holder?.role === 'voter' && this.canVote(holder)) continue
      const next = this.hasQuorum(range) ? this.voters(range).find((voter) => this.canVote(voter)) : undefined
      range.leaseHolder = next?.replicaId
    }
  }

  /** `held`: ranges that are not to be improved. */
  snapshot(held: ReadonlySet<number> = new Set()): PlacementSnapshot {
    return buildSnapshot({
      deadAfterMs,
      holds: new Map([...held].map((rangeId) => [rangeId, 'improvements'] as const)),
      nodes: this.nodes.map(({ nodeId, incarnation, zone, labels, capacity, state, liveness, forMs }) => ({
        descriptor: {
          nodeId,
          incarnation,
          addresses: [],
          locality: zone === '' ? [] : parseLocality(`zone=${zone}`),
          capacity,
          labels,
        },
        state,
        liveness,
        forMs,
      })),
      ranges: this.ranges.map(
        ({ rangeId, generation, replicas, leaseHolder, bytes, replicationFactor, nonVoters }) => ({
          descriptor: {
            rangeId,
            start: new Uint8Array(0),
            end: undefined,
            generation,
            replicas: [...replicas],
          },
          ...(leaseHolder === undefined ? {} : { leaseHolder }),
          load: { bytes },
          ...(replicationFactor === undefined ? {} : { replicationFactor }),
          ...(nonVoters === undefined ? {} : { nonVoters }),
        }),
      ),
    })
  }

  /** Judges a plan by rules of its own, without the planner's code. */
  check(plan: Plan): void {
    const seen = new Set<number>()
    for (const move of plan.moves) {
      const range = this.range(move.rangeId)
      assert.ok(!seen.has(move.rangeId), `two moves of range ${move.rangeId}`)
      seen.add(move.rangeId)
      assert.equal(move.generation, range.generation)
      assert.ok(move.reason.length > 0)
      assert.ok(this.hasQuorum(range), `range ${move.rangeId} has no quorum and is moved`)
      if (move.add !== undefined) {
        const { add } = move
        const target = this.node(add.nodeId) as ModelNode
        assert.equal(target.state, 'active', `${move.reason}: to a node that is ${target.state}`)
        assert.equal(target.liveness, 'live')
        assert.equal(target.incarnation, add.incarnation)
        const there = range.replicas.filter((replica) => replica.nodeId === add.nodeId)
        if (add.replicaId === undefined) assert.deepEqual(there, [], 'a second replica on a node')
        else
          assert.deepEqual(
            there.map((r) => [r.replicaId, r.role]),
            [[add.replicaId, 'learner']],
          )
      }
      if (move.remove !== undefined) {
        const { remove } = move
        const leaving = range.replicas.find((replica) => replica.replicaId === remove.replicaId)
        assert.ok(leaving !== undefined, 'removes a replica that is not there')
        if (withoutVote(move)) assert.equal(leaving.role, 'learner', 'a voter goes for one without a vote')
      }
      if (move.leaseTo !== undefined) {
        const { leaseTo } = move
        const to = range.replicas.find((replica) => replica.replicaId === leaseTo.replicaId)
        assert.ok(to !== undefined && to.role === 'voter' && this.canVote(to))
      }
    }
  }

  /** Carries a move out, step by step, and checks that a quorum is alive at every step. */
  apply(move: PlannedMove): void {
    const range = this.range(move.rangeId)
    const step = (): void => {
      range.generation++
      assert.ok(
        this.hasQuorum(range),
        `${move.kind} of range ${move.rangeId} (${move.reason}) loses its quorum`,
      )
      assert.equal(new Set(range.replicas.map((replica) => replica.nodeId)).size, range.replicas.length)
    }
    const { add } = move
    if (add !== undefined) {
      let replicaId = add.replicaId
      if (replicaId === undefined) {
        replicaId = Math.max(...range.replicas.map((replica) => replica.replicaId)) + 1
        range.replicas.push({ replicaId, nodeId: add.nodeId, incarnation: add.incarnation, role: 'learner' })
        step()
      }
      if (!withoutVote(move)) {
        range.replicas = range.replicas.map((replica) =>
          replica.replicaId === replicaId ? { ...replica, role: 'voter' } : replica,
        )
        step()
      }
    }
    if (move.remove !== undefined) {
      const gone = move.remove.replicaId
      range.replicas = range.replicas.filter((replica) => replica.replicaId !== gone)
      step()
    }
    if (move.leaseTo !== undefined) range.leaseHolder = move.leaseTo.replicaId
    this.settleLeases()
  }

  counts(): Map<string, number> {
    const counts = new Map(this.nodes.map((node) => [node.nodeId, 0]))
    for (const range of this.ranges) {
      for (const replica of range.replicas) counts.set(replica.nodeId, (counts.get(replica.nodeId) ?? 0) + 1)
    }
    return counts
  }

  leases(): Map<string, number> {
    const counts = new Map(this.nodes.map((node) => [node.nodeId, 0]))
    for (const range of this.ranges) {
      const holder = range.replicas.find((replica) => replica.replicaId === range.leaseHolder)
      if (holder !== undefined) counts.set(holder.nodeId, (counts.get(holder.nodeId) ?? 0) + 1)
    }
    return counts
  }

  zones(range: ModelRange): number {
    return new Set(range.replicas.map((replica) => this.node(replica.nodeId)?.zone)).size
  }
}
