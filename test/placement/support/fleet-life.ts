import assert from 'node:assert/strict'
import { SeededRandom, shuffled } from '../../../src/core/random.ts'
import { parseLocality, type ReplicaDescriptor } from '../../../src/model/index.ts'
import {
  balance,
  capacity,
  Fleet,
  type MoveInFlight,
  type PlacementNode,
  type PlacementPolicy,
  type PlacementRange,
  type Plan,
  Planner,
  plan,
  prohibitLabel,
  type RangeHold,
  spread,
} from '../../../src/placement/index.ts'
import { deadAfterMs, Model, type ModelRange } from './cluster.ts'

export const lifePolicy: Partial<PlacementPolicy> = {
  constraints: [capacity('bytes'), prohibitLabel('old')],
  goals: [
    spread('zone'),
    balance('replicas'),
    balance({ resource: 'bytes' }, { tolerance: 0.1 }),
    balance('leases'),
  ],
}

/** Rounds for which a range is not improved again after a move. */
const dampingRounds = 3

const limits = { moves: 8, improvements: 4, incomingPerNode: 3, outgoingPerNode: 4, leaseTransfers: 3 }

/**
 * The life of a small cluster, step by step: ranges and nodes come, go and change, moves begin and end, and at every step an
 * incremental planner is compared with a fresh one. What is planned is judged by {@link Model}, which shares no code with
 * the planner.
 */
export class FleetLife {
  readonly model = new Model()
  readonly fleet = new Fleet({ deadAfterMs })
  readonly planner = new Planner(lifePolicy)
  readonly #random: SeededRandom
  readonly #moves = new Map<number, MoveInFlight>()
  readonly #holds = new Map<number, RangeHold>()
  readonly #seed: number
  #nextRange = 1

  constructor(seed: number) {
    this.#random = new SeededRandom(seed)
    this.#seed = seed
    const nodes = 3 + this.#random.integer(7)
    for (let i = 0; i < nodes; i++) this.#addNode()
    const ranges = this.#random.integer(25)
    for (let r = 0; r < ranges; r++) this.#addRange()
    this.#tell()
  }

  /** Changes something, and plans. */
  step(): Plan {
    const changes = this.#random.integer(4)
    for (let i = 0; i < changes; i++) this.#change()
    this.#tell()
    return this.judge()
  }

  /** Plans, and judges what was planned. */
  judge(): Plan {
    const snapshot = this.fleet.snapshot()
    const options = { seed: this.#seed % 7, limits }
    const incremental = this.planner.plan(snapshot, options)
    assert.deepEqual(incremental, plan(snapshot, lifePolicy, options), 'incremental is not from scratch')
    assert.deepEqual(incremental, plan(this.#anew(), lifePolicy, options), 'the order of the input matters')
    this.model.check(incremental)
    this.#checkLimits(incremental)
    for (const move of incremental.moves) {
      assert.ok(!this.#moves.has(move.rangeId), `range ${move.rangeId} is being moved already`)
      assert.notEqual(this.#holds.get(move.rangeId), 'all', `range ${move.rangeId} is to be left alone`)
    }
    return incremental
  }

  /** Carries out what is planned, until nothing is left to do; no move is undone within its damping time. */
  settle(): void {
    for (const rangeId of this.#moves.keys()) this.#end(rangeId)
    this.#holds.clear()
    const movedAt = new Map<number, number>()
    for (let round = 0; round < 300; round++) {
      for (const [rangeId, at] of movedAt) if (round - at > dampingRounds) this.#holds.delete(rangeId)
      this.#tell()
      const next = this.judge()
      if (next.moves.length === 0 && this.#holds.size === 0) return this.#checkNonVoters(next)
      for (const move of next.moves) {
        this.model.apply(move)
        const at = movedAt.get(move.rangeId)
        const better = move.priority <= 200
        assert.ok(
          !better || at === undefined || round - at > dampingRounds,
          `range ${move.rangeId} is moved to and fro`,
        )
        movedAt.set(move.rangeId, round)
        this.#holds.set(move.rangeId, 'improvements')
      }
    }
    assert.fail('never at rest')
  }

  /** At rest every range has the replicas for reads that it is to have, or is named as one that cannot. */
  #checkNonVoters({ blocked }: Plan): void {
    for (const { rangeId, replicas, nonVoters = 0 } of this.model.ranges) {
      if (blocked.some((each) => each.rangeId === rangeId)) continue
      const learners = replicas.filter(({ role }) => role === 'learner')
      assert.equal(learners.length, nonVoters, `range ${rangeId}: ${JSON.stringify(replicas)}`)
      // Who is silent for a short time only is waited for.
      const isLost = ({ nodeId, incarnation }: ReplicaDescriptor): boolean => {
        const node = this.model.node(nodeId)
        if (node?.incarnation !== incarnation) return true
        return node.liveness === 'dead' && node.forMs >= deadAfterMs
      }
      assert.ok(!learners.some(isLost), `range ${rangeId}: ${JSON.stringify(learners)}`)
    }
  }

  /** A fleet that is told all at once, in another order. */
  #anew(): ReturnType<Fleet['snapshot']> {
    const fleet = new Fleet({ deadAfterMs })
    const tell = shuffled(this.#random, [
      ...this.model.nodes.map((_, i) => () => fleet.setNode(this.#node(i))),
      ...this.model.ranges.map((range) => () => fleet.setRange(rangeOf(range))),
      ...[...this.#moves.values()].map((move) => () => fleet.setMove(move)),
      ...[...this.#holds].map(
        ([rangeId, hold]) =>
          () =>
            fleet.setHold(rangeId, hold),
      ),
    ])
    for (const each of tell) each()
    return fleet.snapshot()
  }

  #tell(): void {
    const known = new Set(this.fleet.nodeIds())
    this.model.nodes.forEach((node, i) => {
      known.delete(node.nodeId)
      this.fleet.setNode(this.#node(i))
    })
    for (const nodeId of known) this.fleet.removeNode(nodeId)
    const ranges = new Set(this.model.ranges.map(({ rangeId }) => rangeId))
    for (const reader of this.fleet.snapshot().ranges())
      if (!ranges.has(reader.rangeId)) this.fleet.removeRange(reader.rangeId)
    for (const range of this.model.ranges) this.fleet.setRange(rangeOf(range))
    for (let rangeId = 1; rangeId < this.#nextRange; rangeId++) {
      const move = this.#moves.get(rangeId)
      if (move === undefined) this.fleet.removeMove(rangeId)
      else this.fleet.setMove(move)
      this.fleet.setHold(rangeId, this.#holds.get(rangeId))
    }
  }

  #change(): void {
    const random = this.#random
    const node = this.model.nodes[random.integer(this.model.nodes.length)]
    const range = this.model.ranges[random.integer(Math.max(1, this.model.ranges.length))]
    switch (random.integer(14)) {
      case 0:
        return this.#addNode()
      case 1:
        return this.#addRange()
      case 2:
        if (range !== undefined) {
          this.model.ranges.splice(this.model.ranges.indexOf(range), 1)
          this.#moves.delete(range.rangeId)
        }
        return
      case 3:
        if (node !== undefined) node.state = random.integer(3) === 0 ? 'draining' : 'active'
        return
      case 4:
        if (node !== undefined) this.model.wipe(node.nodeId)
        return
      case 5:
      case 6:
        if (node !== undefined) {
          node.liveness = (['live', 'live', 'suspect', 'dead'] as const)[random.integer(4)] as 'live'
          node.forMs = random.integer(2) * deadAfterMs
          this.model.settleLeases()
        }
        return
      case 7:
      case 8: {
        const next = this.planner.plan(this.fleet.snapshot(), { seed: this.#seed % 7, limits })
        for (const move of next.moves) {
          if (!this.#stands(move)) continue
          this.#moves.set(move.rangeId, {
            rangeId: move.rangeId,
            kind: move.kind,
            ...(move.add === undefined ? {} : { add: move.add.nodeId }),
            ...(move.remove === undefined ? {} : { remove: move.remove.replicaId }),
            ...(move.leaseTo === undefined ? {} : { leaseTo: move.leaseTo.replicaId }),
          })
        }
        return
      }
      case 9:
        for (const rangeId of this.#moves.keys()) if (random.integer(2) === 0) this.#end(rangeId)
        return
      case 10:
        if (range !== undefined) {
          const hold = ([undefined, 'all', 'improvements'] as const)[random.integer(3)]
          if (hold === undefined) this.#holds.delete(range.rangeId)
          else this.#holds.set(range.rangeId, hold)
        }
        return
      case 11:
        if (range !== undefined && range.replicas.length < 6) {
          const free = this.model.nodes.find((each) => !range.replicas.some((r) => r.nodeId === each.nodeId))
          if (free === undefined) return
          range.replicas.push({
            replicaId: 100 + range.generation,
            nodeId: free.nodeId,
            incarnation: free.incarnation,
            role: 'learner',
          })
          range.generation++
        }
        return
      default:
        if (range !== undefined) {
          Object.assign(range, { bytes: 1 + random.integer(100) })
          range.leaseHolder = range.replicas[random.integer(Math.max(1, range.replicas.length))]?.replicaId
          this.model.settleLeases()
        }
    }
  }

  #stands({ rangeId, generation }: { rangeId: number; generation: number }): boolean {
    return this.model.ranges.some((range) => range.rangeId === rangeId && range.generation === generation)
  }

  /** A move ends as if it had been cancelled before its first step. */
  #end(rangeId: number): void {
    this.#moves.delete(rangeId)
  }

  #addNode(): void {
    const id = this.model.nodes.length
    this.model.addNode(
      `db${String(this.#random.integer(90)).padStart(2, '0')}x${id}`,
      `z${this.#random.integer(3)}`,
      {
        capacity: this.#random.integer(2) === 0 ? {} : { bytes: 300 + this.#random.integer(1000) },
        labels: this.#random.integer(8) === 0 ? { old: 'yes' } : {},
      },
    )
  }

  #addRange(): void {
    const names = shuffled(
      this.#random,
      this.model.nodes.map(({ nodeId }) => nodeId),
    )
    const replicas = Math.min(names.length, 1 + this.#random.integer(4))
    this.model.addRange(this.#nextRange++, names.slice(0, replicas), {
      bytes: 1 + this.#random.integer(100),
      ...(this.#random.integer(2) === 0 ? {} : { nonVoters: 1 + this.#random.integer(2) }),
    })
    this.model.settleLeases()
  }

  #node(i: number): PlacementNode {
    const {
      nodeId,
      incarnation,
      zone,
      labels,
      capacity: holds,
      state,
      liveness,
      forMs,
    } = this.model.nodes[i] as Model['nodes'][number]
    return {
      descriptor: {
        nodeId,
        incarnation,
        addresses: [],
        locality: parseLocality(`zone=${zone}`),
        capacity: holds,
        labels,
      },
      state,
      liveness,
      forMs,
    }
  }

  /** No more is under way at once than the limits say. */
  #checkLimits(next: Plan): void {
    const underWay = [...this.#moves.values()].filter(
      ({ rangeId, kind }) =>
        kind !== 'transferLease' && this.model.ranges.some((range) => range.rangeId === rangeId),
    )
    const replicas = next.moves.filter(({ kind }) => kind !== 'transferLease')
    const copies = replicas.filter((move) => move.add !== undefined && move.add.replicaId === undefined)
    assert.ok(
      copies.length === 0 || underWay.length + copies.length <= limits.moves,
      'too many moves at once',
    )
    assert.ok(next.moves.length - replicas.length <= limits.leaseTransfers, 'too many transfers at once')
    const incoming = new Map<string, number>()
    for (const { add } of underWay) if (add !== undefined) incoming.set(add, (incoming.get(add) ?? 0) + 1)
    for (const { add } of copies) {
      const name = add?.nodeId as string
      incoming.set(name, (incoming.get(name) ?? 0) + 1)
      assert.ok((incoming.get(name) as number) <= limits.incomingPerNode, `too many moves to ${name}`)
    }
    const improving = replicas.filter(({ priority }) => priority <= 200)
    assert.ok(improving.length <= limits.improvements, 'too many improvements at once')
    const bytes = next.bounds.repair.plannedBytes
    const repaired = copies.filter(
      ({ priority }) => priority >= 10_000 || priority === 900 || priority === 850,
    )
    assert.equal(
      repaired.reduce((sum, move) => sum + move.bytes, 0),
      bytes,
    )
    for (const move of copies) {
      assert.equal(move.bytes, this.model.range(move.rangeId).bytes, 'it moves more than it says')
    }
  }
}

function rangeOf(range: ModelRange): PlacementRange {
  const { rangeId, generation, replicas, leaseHolder, bytes, nonVoters } = range
  return {
    descriptor: { rangeId, start: new Uint8Array(0), end: undefined, generation, replicas },
    ...(leaseHolder === undefined ? {} : { leaseHolder }),
    load: { bytes },
    leaderLoad: { cpu: bytes / 64 },
    ...(nonVoters === undefined ? {} : { nonVoters }),
  }
}
