import { type FlatSnapshot, nodeName } from './flat.ts'
import type { BoundGoal } from './goals.ts'
import { Ledger, nowhere } from './ledger.ts'
import type { BlockedRange, PlannedMove } from './plan.ts'
import type { PlacementLimits, PlacementPolicy } from './policy.ts'
import { proveQuorum, type QuorumStep } from './quorum.ts'
import { replicaBits } from './snapshot.ts'
import { type Need, needPriority, RangeSurvey, repairPriority } from './survey.ts'
import { Targets } from './targets.ts'

const maximumRejections = 5
const maximumBlocked = 50

/** A plan in the making: what is decided so far, and what the cluster looks like once it has happened. @internal */
export class Draft {
  readonly snapshot: FlatSnapshot
  readonly policy: PlacementPolicy
  readonly limits: PlacementLimits
  readonly ledger: Ledger
  readonly goals: readonly BoundGoal[]
  readonly targets: Targets
  readonly survey: RangeSurvey
  readonly moves: PlannedMove[] = []
  readonly blocked: BlockedRange[] = []
  /** Ranges that this plan moves already. */
  readonly planned: Uint8Array
  blockedCount = 0
  /** Moves that are needed and wait for room. */
  deferred = 0
  /** Moves so far that only make something better. */
  improvements = 0
  /** Repairs that are planned or wait for room. */
  repairs = 0

  constructor(snapshot: FlatSnapshot, policy: PlacementPolicy, limits: PlacementLimits, seed: number) {
    this.snapshot = snapshot
    this.policy = policy
    this.limits = limits
    this.ledger = new Ledger(snapshot)
    this.goals = policy.goals.map((goal) => goal.bind(this.ledger))
    const constraints = policy.constraints.map((constraint) => constraint.bind(this.ledger))
    this.targets = new Targets(this.ledger, constraints, this.goals, limits, seed)
    this.survey = new RangeSurvey(snapshot, constraints, policy.replicationFactor)
    this.planned = new Uint8Array(snapshot.rangeIds.length)
  }

  /** Position of the voter that the lease is best with, or -1. */
  bestLeaseTarget(range: number, from: number): number {
    const { firstReplica, replicaNode, replicaStatus } = this.snapshot
    let best = -1
    for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
      const node = replicaNode[i] as number
      const status = replicaStatus[i] as number
      const usable = (status & replicaBits.voter) !== 0 && (status & replicaBits.up) !== 0
      if (!usable || node === from || !this.ledger.eligible(node)) continue
      if (
        best < 0 ||
        this.leaseCostOf(range, from, node) < this.leaseCostOf(range, from, replicaNode[best] as number)
      ) {
        best = i
      }
    }
    return best
  }

  /** @internal */
  leaseCostOf(range: number, from: number, to: number): number {
    for (const goal of this.goals) {
      const cost = goal.leaseCost(range, from, to)
      if (cost !== 0) return cost
    }
    return 0
  }

  /** Enters a move of a replica into plan and ledger, if a quorum stands throughout. */
  commit(range: number, priority: number, why: string, to: number, leaving: number, learner: number): void {
    const { snapshot, survey } = this
    const status = leaving < 0 ? 0 : (snapshot.replicaStatus[leaving] as number)
    const proof = this.prove(to !== nowhere, leaving, status)
    if (proof === undefined) return this.block(range, `${why}, but a quorum would not stand throughout`)
    const from = leaving < 0 ? nowhere : (snapshot.replicaNode[leaving] as number)
    const counts = (status & replicaBits.lost) === 0 ? from : nowhere
    const size = snapshot.loads.get('bytes')?.[range] ?? 0
    const node = snapshot.nodes[to]?.descriptor
    this.planned[range] = 1
    if (priority >= repairPriority) this.repairs++
    this.ledger.begin(counts, to)
    this.ledger.moveReplica(range, counts, learner >= 0 ? nowhere : to)
    const heir = leaving >= 0 && leaving === survey.leaseholder ? this.bestLeaseTarget(range, from) : -1
    const heirNode = heir < 0 ? nowhere : (snapshot.replicaNode[heir] as number)
    if (leaving >= 0 && leaving === survey.leaseholder) this.ledger.moveLease(from, heirNode)
    this.moves.push({
      rangeId: snapshot.rangeIds[range] as number,
      generation: snapshot.generations[range] as number,
      kind: node === undefined ? 'remove' : leaving < 0 ? 'add' : 'replace',
      priority,
      reason: why,
      ...(node === undefined
        ? {}
        : {
            add: {
              nodeId: node.nodeId,
              incarnation: node.incarnation,
              ...(learner < 0 ? {} : { replicaId: snapshot.replicaIds[learner] as number }),
            },
          }),
      ...(leaving < 0
        ? {}
        : {
            remove: {
              replicaId: snapshot.replicaIds[leaving] as number,
              nodeId: nodeName(snapshot, from),
            },
          }),
      ...(heir < 0
        ? {}
        : {
            leaseTo: {
              replicaId: snapshot.replicaIds[heir] as number,
              nodeId: nodeName(snapshot, heirNode),
            },
          }),
      bytes: to === nowhere || learner >= 0 ? 0 : size,
      rejected:
        to === nowhere || learner >= 0 ? [] : this.targets.rejections(range, from, to, maximumRejections),
      proof,
    })
  }

  /** @internal */
  prove(adds: boolean, leaving: number, status: number): readonly QuorumStep[] | undefined {
    return proveQuorum(this.survey.voters, this.survey.liveVoters, {
      adds,
      ...(leaving < 0
        ? {}
        : {
            removes: {
              voter: (status & replicaBits.voter) !== 0,
              up: (status & replicaBits.up) !== 0,
              lease: leaving === this.survey.leaseholder,
            },
          }),
    })
  }

  /** Enters a transfer of a lease into plan and ledger. */
  commitLease(range: number, priority: number, why: string, to: number): void {
    const { snapshot, survey } = this
    const proof = proveQuorum(survey.voters, survey.liveVoters, { adds: false })
    if (proof === undefined) return
    const node = snapshot.replicaNode[to] as number
    this.planned[range] = 1
    this.ledger.leaseMoves++
    this.ledger.moveLease(snapshot.replicaNode[survey.leaseholder] as number, node)
    this.moves.push({
      rangeId: snapshot.rangeIds[range] as number,
      generation: snapshot.generations[range] as number,
      kind: 'transferLease',
      priority,
      reason: why,
      leaseTo: { replicaId: snapshot.replicaIds[to] as number, nodeId: nodeName(snapshot, node) },
      bytes: 0,
      rejected: [],
      proof,
    })
  }

  /** Whether the limits let another move between two nodes begin. */
  hasRoom(from: number, to: number): boolean {
    if (this.ledger.replicaMoves >= this.limits.moves) return false
    if (to >= 0 && this.targets.isBusy(to)) return false
    return from < 0 || (this.ledger.outgoing[from] as number) < this.limits.outgoingPerNode
  }

  /** @internal */
  mayImprove(): boolean {
    return this.improvements < this.limits.improvements && this.ledger.replicaMoves < this.limits.moves
  }

  /** True when a range is not to be moved merely to make something better. */
  isTaken(range: number): boolean {
    const { moveOf, held } = this.snapshot
    return this.planned[range] === 1 || (moveOf[range] as number) >= 0 || (held[range] as number) > 0
  }

  defer(need: Need): void {
    this.deferred++
    if (needPriority[need] >= repairPriority) this.repairs++
  }

  block(range: number, why: string): void {
    this.blockedCount++
    if (this.blocked.length >= maximumBlocked) return
    this.blocked.push({ rangeId: this.snapshot.rangeIds[range] as number, why })
  }
}
