import type { Draft } from './draft.ts'
import { nodeName } from './flat.ts'
import type { BoundGoal } from './goals.ts'
import { nowhere } from './ledger.ts'
import { NodeIndex } from './node-index.ts'
import { replicaBits } from './snapshot.ts'

/** Ranges of an overfull node that are looked at for the best one to move. */
const maximumExamined = 64

/** Plans moves for the sake of the goals alone: diversity and balance. @internal */
export class Improvements {
  readonly draft: Draft
  #index: NodeIndex | undefined

  constructor(draft: Draft) {
    this.draft = draft
  }

  /** Built when balance first asks for it. */
  get index(): NodeIndex {
    this.#index ??= new NodeIndex(this.draft.snapshot)
    return this.#index
  }

  run(): void {
    for (const goal of this.draft.goals) this.improve(goal)
  }

  /** Makes moves for the sake of one goal, as long as they harm no goal before it. */
  improve(goal: BoundGoal): void {
    switch (goal.judges) {
      case 'ranges':
        return this.improveRanges(goal)
      case 'replicas':
        return this.evenOut(goal, (source) => this.shedReplica(source))
      case 'leases':
        return this.evenOut(goal, (source) => this.shedLease(source))
    }
  }

  /** Ranges that the goal alone could have better. */
  improveRanges(goal: BoundGoal): void {
    for (let range = 0; range < this.draft.snapshot.rangeIds.length; range++) {
      if (!this.draft.mayImprove()) return
      if (this.draft.isTaken(range) || goal.excess(range) <= 0) continue
      this.improveRange(range, goal)
    }
  }

  /** Moves the replica of a range whose move gains most. */
  improveRange(range: number, goal: BoundGoal): void {
    const { firstReplica, replicaNode } = this.draft.snapshot
    if (this.draft.survey.read(range).need() !== 'nothing') return
    let [leaving, to, gain] = [-1, nowhere, 0]
    for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
      const from = replicaNode[i] as number
      const choice = this.draft.targets.choose(range, from, false)
      if (choice.type !== 'found' || !this.draft.targets.improves(range, from, choice.node)) continue
      if (!this.draft.hasRoom(from, choice.node)) continue
      const cost = goal.replicaCost(range, from, choice.node)
      if (leaving >= 0 && cost >= gain) continue
      ;[leaving, to, gain] = [i, choice.node, cost]
    }
    if (leaving < 0) return
    const from = replicaNode[leaving] as number
    const why = `${goal.name}: ${nodeName(this.draft.snapshot, from)} has ${goal.describe(range, from)}`
    this.draft.improvements++
    this.draft.commit(range, 200, why, to, leaving, -1)
  }

  /** Takes from the fullest node that something can be taken from, until nothing is gained any more. */
  evenOut(goal: BoundGoal, shed: (source: number) => boolean): void {
    const nodes = Array.from({ length: this.draft.snapshot.nodes.length }, (_, node) => node)
    const spent = new Uint8Array(nodes.length)
    for (;;) {
      let source = -1
      for (const node of nodes) {
        if (spent[node] === 1 || !this.draft.ledger.eligible(node)) continue
        if (source < 0 || goal.pressure(node) > goal.pressure(source)) source = node
      }
      if (source < 0) return
      if (!this.mayGive(goal, source) || !shed(source)) spent[source] = 1
    }
  }

  /** Whether any node at all could take something from the source, so that looking at its ranges makes sense. */
  mayGive(goal: BoundGoal, source: number): boolean {
    for (let node = 0; node < this.draft.snapshot.nodes.length; node++) {
      if (node === source || !this.draft.ledger.eligible(node) || !goal.worthwhile(source, node)) continue
      if (goal.replicaCost(0, source, node) < 0 || goal.leaseCost(0, source, node) < 0) return true
    }
    return false
  }

  /** Moves the best of a node's replicas elsewhere, for balance. */
  shedReplica(source: number): boolean {
    if (!this.draft.mayImprove()) return false
    const { replicaNode } = this.draft.snapshot
    let [best, bestAt, bestTo, examined] = [-1, -1, nowhere, 0]
    for (const i of this.index.votersOn(source)) {
      const range = this.index.rangeOf(i)
      if (this.draft.isTaken(range) || this.draft.survey.read(range).need() !== 'nothing') continue
      if (examined++ >= maximumExamined) break
      const choice = this.draft.targets.choose(range, source, false)
      if (choice.type !== 'found' || !this.draft.hasRoom(source, choice.node)) continue
      if (!this.draft.targets.improves(range, source, choice.node)) continue
      if (best >= 0 && !this.gainsMore(range, choice.node, best, bestTo, source)) continue
      ;[best, bestAt, bestTo] = [range, i, choice.node]
    }
    if (best < 0) return false
    this.draft.survey.read(best)
    const why = this.whyBetter(best, replicaNode[bestAt] as number, bestTo)
    this.draft.improvements++
    this.draft.commit(best, 100, why, bestTo, bestAt, -1)
    return this.draft.isTaken(best)
  }

  /** Moves one of a node's leases to another replica of its range, for balance. */
  shedLease(source: number): boolean {
    if (this.draft.ledger.leaseMoves >= this.draft.limits.leaseTransfers) return false
    let examined = 0
    for (const i of this.index.votersOn(source)) {
      const range = this.index.rangeOf(i)
      if (
        ((this.draft.snapshot.replicaStatus[i] as number) & replicaBits.lease) === 0 ||
        this.draft.isTaken(range)
      )
        continue
      if (this.draft.survey.read(range).need() !== 'nothing') continue
      if (examined++ >= maximumExamined) break
      const to = this.draft.bestLeaseTarget(range, source)
      const node = to < 0 ? nowhere : (this.draft.snapshot.replicaNode[to] as number)
      if (to < 0 || !this.draft.targets.improvesLease(range, source, node)) continue
      const goal = this.draft.goals.find((each) => each.leaseCost(range, source, node) < 0)
      this.draft.commitLease(
        range,
        50,
        `${goal?.name ?? 'balance'}: ${goal?.describe(range, source) ?? ''}`,
        to,
      )
      return true
    }
    return false
  }

  /** @internal */
  gainsMore(range: number, to: number, best: number, bestTo: number, from: number): boolean {
    for (const goal of this.draft.goals) {
      const difference = goal.replicaCost(range, from, to) - goal.replicaCost(best, from, bestTo)
      if (Math.abs(difference) > 1e-9) return difference < 0
    }
    return false
  }

  whyBetter(range: number, from: number, to: number): string {
    const goal = this.draft.goals.find((each) => each.replicaCost(range, from, to) < -1e-9)
    return `${goal?.name ?? 'balance'}: ${goal?.describe(range, from) ?? ''}, ${goal?.describe(range, to) ?? ''}`
  }
}
