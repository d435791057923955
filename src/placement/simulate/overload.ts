import { formatLocality } from '../../model/locality.ts'
import type { StoreOverload } from '../core/model/cluster.ts'
import { OverloadMonitor, type OverloadTuning } from '../core/overload.ts'
import type { PlannedMove } from '../core/plan.ts'
import { type PlacementLimits, placementLimits } from '../core/policy.ts'
import type { PlacementNode } from '../core/snapshot.ts'
import type { FleetWorld, NodeTruth } from './world.ts'

/** What the judge needs to know of the simulation. */
export interface OverloadSetting {
  readonly world: FleetWorld
  /** The load that disks do; without one they have nothing to do. */
  readonly resource: string | undefined
  readonly tuning: Partial<OverloadTuning>
  readonly limits: Partial<PlacementLimits>
  /** Bytes that copies under way bring to a node. */
  readonly incomingBytes: (node: number) => number
  /** Whether a copy of the range is under way, or it has its rest after one. */
  readonly isBusy: (range: number) => boolean
  /** Whether the rules say where ranges are to be led. */
  readonly leadersBound: boolean
}

/** A store that would be fuller than this is no alternative: rules may refuse it. */
const roomShare = 0.85
/** A node that would be busier than this need not lead another range. */
const leadingShare = 0.7
/** Rounds in which nothing happens, though it could, until that is a fault. */
const idleRounds = 4
/** Below this priority a move only makes something better. */
const improvementPriority = 200

/**
 * Disks that do less than they should, what nodes report of them, and what no plan may do about it. It judges by what the
 * planner was told, with no code of the planner's: that nothing is brought to an overloaded node while one like it would do,
 * that no lease goes there while another voter could lead, and that leases leave it in time.
 */
export class SimulatedOverload {
  readonly #setting: OverloadSetting
  readonly #limits: PlacementLimits
  readonly #monitor: OverloadMonitor
  /** What part of its work each disk does of those that are watched. */
  readonly #disks = new Map<number, number>()
  /** By node, rounds in a row in which a lease could have left it and none did. */
  readonly #idleRounds = new Map<number, number>()
  /** Over all rounds, nodes that were overloaded. */
  overloadedNodeRounds = 0

  constructor(setting: OverloadSetting) {
    this.#setting = setting
    this.#limits = placementLimits(setting.limits)
    this.#monitor = new OverloadMonitor(setting.tuning)
  }

  /** Disks do only such a part of what they should. */
  setDisks(nodes: readonly number[], share: number): void {
    for (const node of nodes) this.#disks.set(node, share)
  }

  /** Nodes report what their disks have to do. */
  report(nowMs: number): void {
    const { world, resource } = this.#setting
    for (const [node, share] of this.#disks) {
      const { descriptor, downSinceMs } = world.nodes[node] as NodeTruth
      if (downSinceMs !== undefined) {
        this.#monitor.forget(descriptor.nodeId)
        continue
      }
      const capacity = descriptor.capacity[resource ?? ''] ?? Number.POSITIVE_INFINITY
      const ioOverload = (world.usedLoad[node] as number) / (capacity * share)
      this.#monitor.observe(descriptor.nodeId, '', { ioOverload }, nowMs)
    }
  }

  /** A node as the planner is told of it. */
  over(node: PlacementNode): PlacementNode {
    return this.#monitor.over(node)
  }

  /** What a plan does that it may not do, in words. */
  judge(moves: readonly PlannedMove[], nowMs: number): readonly string[] {
    if (this.#disks.size === 0) return []
    const { world } = this.#setting
    for (const truth of world.nodes) if (this.#isOverloaded(truth)) this.overloadedNodeRounds++
    if (this.#everythingHot()) return []
    return [...moves.flatMap((move) => this.#judgeMove(move)), ...this.#judgeLeases(moves, nowMs)]
  }

  #judgeMove(move: PlannedMove): readonly string[] {
    const { world } = this.#setting
    const range = move.rangeId - 1
    const found: string[] = []
    if (move.add !== undefined && move.add.replicaId === undefined) {
      const to = world.nodes[world.nodeOf(move.add.nodeId)] as NodeTruth
      if (this.#isHot(to)) {
        const better = move.priority <= improvementPriority
        const other = better ? to : world.nodes.find((each) => this.#couldTake(each, to, range))
        if (better)
          found.push(`${move.reason}: makes something better on ${move.add.nodeId}, which is overloaded`)
        else if (other !== undefined)
          found.push(
            `${move.reason}: to ${move.add.nodeId}, which is overloaded, not ${other.descriptor.nodeId}`,
          )
      }
    }
    if (
      move.leaseTo !== undefined &&
      this.#isHot(world.nodes[world.nodeOf(move.leaseTo.nodeId)] as NodeTruth)
    ) {
      const other = this.#calmVoters(range, move.remove?.replicaId).find((each) => !this.#isHot(each))
      if (other !== undefined)
        found.push(
          `${move.reason}: the lease of range ${move.rangeId} goes to ${move.leaseTo.nodeId}, which is overloaded, not ${other.descriptor.nodeId}`,
        )
    }
    return found
  }

  /** While an overloaded node has leases that others could take, and the limits allow it, one leaves in every few rounds. */
  #judgeLeases(moves: readonly PlannedMove[], nowMs: number): readonly string[] {
    const { world, isBusy, leadersBound } = this.#setting
    const transfers = moves.filter(({ kind }) => kind === 'transferLease')
    if (leadersBound || transfers.length >= this.#limits.leaseTransfers) return []
    const taking = new Set(transfers.map(({ leaseTo }) => leaseTo?.nodeId))
    const giving = new Set(transfers.map(({ rangeId }) => world.leaderNode(rangeId - 1)))
    const found: string[] = []
    for (const { index, descriptor } of world.nodes) {
      const stuck = (range: number): boolean =>
        !isBusy(range) &&
        this.#calmVoters(range, undefined).some(
          (each) => !taking.has(each.descriptor.nodeId) && this.#couldLead(each, range),
        )
      const sheds = this.#mustShed(world.nodes[index] as NodeTruth) && !giving.has(index)
      const left = sheds ? this.#leases(index).filter(stuck).length : 0
      const rounds = left === 0 ? 0 : (this.#idleRounds.get(index) ?? 0) + 1
      this.#idleRounds.set(index, rounds)
      if (rounds === idleRounds)
        found.push(
          `${descriptor.nodeId} is overloaded at ${nowMs} ms and keeps ${left} leases that others could take`,
        )
    }
    return found
  }

  /** Ranges that a node leads. O(ranges). */
  #leases(node: number): readonly number[] {
    const { world } = this.#setting
    const led: number[] = []
    for (let range = 0; range < world.rangeCount; range++)
      if (world.leaderNode(range) === node) led.push(range)
    return led
  }

  /** Nodes of live voters that may lead and are not overloaded. */
  #calmVoters(range: number, leaving: number | undefined): readonly NodeTruth[] {
    const { world } = this.#setting
    return world
      .replicas(range)
      .filter(({ replicaId, role }) => role === 'voter' && replicaId !== leaving)
      .map(({ nodeId, incarnation }) => ({
        truth: world.nodes[world.nodeOf(nodeId)] as NodeTruth,
        incarnation,
      }))
      .filter(({ truth, incarnation }) => this.#isOpen(truth) && truth.incarnation === incarnation)
      .map(({ truth }) => truth)
      .filter((truth) => !this.#isHot(truth))
  }

  /** Whether a node that has nothing to complain of has room for what leading a range takes. */
  #couldLead(node: NodeTruth, range: number): boolean {
    const { world, resource } = this.#setting
    const load = (world.usedLoad[node.index] as number) + (world.leaderLoad[range] as number)
    const room = (node.descriptor.capacity[resource ?? ''] ?? Number.POSITIVE_INFINITY) * leadingShare
    return this.#level(node) === undefined && load <= room
  }

  /** Whether a node is like another one to every rule, has room, and is not overloaded. */
  #couldTake(node: NodeTruth, like: NodeTruth, range: number): boolean {
    if (node === like || !this.#isOpen(node) || this.#isHot(node)) return false
    const { world, incomingBytes, resource } = this.#setting
    const { locality, labels, capacity } = node.descriptor
    if (formatLocality(locality) !== formatLocality(like.descriptor.locality)) return false
    if (JSON.stringify(labels) !== JSON.stringify(like.descriptor.labels)) return false
    if (world.holds(range, node.index)) return false
    const bytes =
      (world.usedBytes[node.index] as number) + incomingBytes(node.index) + (world.bytes[range] as number)
    const load = (world.usedLoad[node.index] as number) + (world.followerLoad[range] as number)
    const room = (name: string): number => (capacity[name] ?? Number.POSITIVE_INFINITY) * roomShare
    return bytes <= room('bytes') && load <= room(resource ?? '')
  }

  #isOpen({ downSinceMs, state }: NodeTruth): boolean {
    return downSinceMs === undefined && state === 'active'
  }

  #level({ descriptor }: NodeTruth): StoreOverload | undefined {
    return this.#monitor.level(descriptor.nodeId)
  }

  #isOverloaded(truth: NodeTruth): boolean {
    const level = this.#level(truth)
    return level === 'overloaded' || level === 'exhausted'
  }

  #isHot(truth: NodeTruth): boolean {
    return this.#isOverloaded(truth) || this.#level(truth) === 'recovering'
  }

  #mustShed(truth: NodeTruth): boolean {
    return truth.downSinceMs === undefined && this.#isOverloaded(truth)
  }

  #everythingHot(): boolean {
    const open = this.#setting.world.nodes.filter((each) => this.#isOpen(each))
    return open.filter((each) => this.#isHot(each)).length * 2 > open.length
  }
}
