import type { Draft } from './draft.ts'
import { nodeName } from './flat.ts'
import { nowhere } from './ledger.ts'
import { whyEvicted, whyGoes, whyLeaving, whyLost, whyUnavailable } from './reasons.ts'
import { replicaBits } from './snapshot.ts'
import { type Need, needPriority } from './survey.ts'

/** Plans what ranges need: to be whole again, and to leave where they must not be. @internal */
export class Repairs {
  readonly draft: Draft

  constructor(draft: Draft) {
    this.draft = draft
  }

  run(): void {
    for (const { range, need } of this.needs()) this.meet(range, need)
  }

  /** What the ranges need, the most urgent first. Ranges with a move under way need nothing. */
  needs(): { range: number; need: Need }[] {
    const found: { range: number; need: Need; urgency: number }[] = []
    for (let range = 0; range < this.draft.snapshot.rangeIds.length; range++) {
      if ((this.draft.snapshot.moveOf[range] as number) >= 0 || this.draft.snapshot.held[range] === 2)
        continue
      const need = this.draft.survey.read(range).need()
      if (need === 'nothing') continue
      // Among equals, the range that can least afford another loss.
      found.push({ range, need, urgency: needPriority[need] - Math.min(100, this.draft.survey.margin) })
    }
    return found.sort((a, b) => b.urgency - a.urgency || a.range - b.range)
  }

  /** Plans what one range needs, or says why not. */
  meet(range: number, need: Need): void {
    this.draft.survey.read(range)
    switch (need) {
      case 'nothing':
        return
      case 'unavailable':
        return this.draft.block(range, whyUnavailable(this.draft.survey, this.draft.snapshot))
      case 'finishLearner':
        return this.finishLearner(range)
      case 'add':
        return this.bring(
          range,
          need,
          -1,
          `${this.draft.survey.voters} of ${this.draft.survey.wanted} voters`,
        )
      case 'replaceLost':
        return this.bring(
          range,
          need,
          this.draft.survey.lostVoter,
          whyLost(this.draft.snapshot, this.draft.survey.lostVoter),
        )
      case 'replaceLeaving':
        return this.bring(
          range,
          need,
          this.draft.survey.leavingVoter,
          whyLeaving(this.draft.snapshot, this.draft.survey.leavingVoter),
        )
      case 'replaceEvicted':
        return this.bring(
          range,
          need,
          this.draft.survey.evictedVoter,
          whyEvicted(this.draft.snapshot, this.draft.survey.evictedVoter),
        )
      case 'leaseOff':
        return this.moveLeaseOff(range)
      case 'removeExtra':
        return this.removeExtra(range)
    }
  }

  /** Brings a voter to the best node, and takes another away for it unless `leaving` is -1. */
  bring(range: number, need: Need, leaving: number, why: string): void {
    const from = leaving < 0 ? nowhere : (this.draft.snapshot.replicaNode[leaving] as number)
    const choice = this.draft.targets.choose(range, from, this.draft.survey.margin === 0)
    if (choice.type === 'none') return this.bringNowhere(range, need, leaving, why)
    if (choice.type === 'busy' || !this.draft.hasRoom(from, choice.node)) return this.draft.defer(need)
    this.draft.commit(range, needPriority[need], why, choice.node, leaving, -1)
  }

  /**
   * No node can take the replica. When the lost one is what keeps its own node from taking a new one (a node whose disk
   * was lost), it goes first.
   */
  bringNowhere(range: number, need: Need, leaving: number, why: string): void {
    if (need === 'replaceLost') {
      const node = this.draft.snapshot.replicaNode[leaving] as number
      if (
        node >= 0 &&
        this.draft.ledger.eligible(node) &&
        this.draft.targets.refusal(range, node) === undefined
      ) {
        return this.draft.commit(
          range,
          needPriority[need],
          `${why}, and only its own node can take its place`,
          nowhere,
          leaving,
          -1,
        )
      }
    }
    this.draft.block(range, `${why}, but no node can take a replica`)
  }

  /** A learner of a move that nobody works on: it becomes a voter when one is missing or to be replaced, else it goes. */
  finishLearner(range: number): void {
    const learner = this.draft.survey.learner
    const status = this.draft.snapshot.replicaStatus[learner] as number
    const node = this.draft.snapshot.replicaNode[learner] as number
    const usable = (status & replicaBits.up) !== 0 && this.draft.ledger.eligible(node)
    const successor = this.draft.survey.successorOf()
    const missing = this.draft.survey.voters < this.draft.survey.wanted
    if (usable && (missing || successor >= 0)) {
      const why = missing ? 'a voter is missing' : whyGoes(this.draft.snapshot, successor)
      return this.draft.commit(
        range,
        needPriority.finishLearner,
        `a learner is there and ${why}`,
        node,
        successor,
        learner,
      )
    }
    const why = usable ? 'no voter is missing' : `${nodeName(this.draft.snapshot, node)} is of no use`
    this.draft.commit(
      range,
      needPriority.finishLearner,
      `a learner was left behind and ${why}`,
      nowhere,
      learner,
      -1,
    )
  }

  /** One voter too many: the one goes that is missed least. */
  removeExtra(range: number): void {
    const extra = this.extraVoter(range)
    if (extra < 0) return
    const why = `${this.draft.survey.voters} voters, ${this.draft.survey.wanted} wanted`
    this.draft.commit(range, needPriority.removeExtra, why, nowhere, extra, -1)
  }

  /** The voter that is missed least; of equals what the goals miss least, and then the youngest. */
  extraVoter(range: number): number {
    const { firstReplica, replicaNode, replicaIds } = this.draft.snapshot
    let best = -1
    for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
      if (((this.draft.snapshot.replicaStatus[i] as number) & replicaBits.voter) === 0) continue
      if (best < 0) {
        best = i
        continue
      }
      const byGoals = this.draft.goals
        .map(
          (goal) =>
            goal.replicaCost(range, replicaNode[i] as number, nowhere) -
            goal.replicaCost(range, replicaNode[best] as number, nowhere),
        )
        .find((each) => Math.abs(each) > 1e-9)
      const difference =
        this.worth(i) - this.worth(best) ||
        (byGoals ?? (replicaIds[best] as number) - (replicaIds[i] as number))
      if (difference < 0) best = i
    }
    return best
  }

  /**
   * How much a voter is worth keeping. One that cannot vote goes first: without it the quorum is smaller and the same
   * voters are alive, so that is always safe.
   */
  worth(replica: number): number {
    const status = this.draft.snapshot.replicaStatus[replica] as number
    if ((status & replicaBits.lost) !== 0) return 0
    if ((status & replicaBits.up) === 0) return 1
    if ((status & replicaBits.leaving) !== 0) return 2
    if (replica === this.draft.survey.evictedVoter) return 3
    return replica === this.draft.survey.leaseholder ? 5 : 4
  }

  /** The lease leaves a node that is to be emptied, long before the replica can. */
  moveLeaseOff(range: number): void {
    const from = this.draft.snapshot.replicaNode[this.draft.survey.leaseholder] as number
    const to = this.draft.bestLeaseTarget(range, from)
    if (to < 0)
      return this.bring(
        range,
        'replaceLeaving',
        this.draft.survey.leavingVoter,
        whyLeaving(this.draft.snapshot, this.draft.survey.leavingVoter),
      )
    if (this.draft.ledger.leaseMoves >= this.draft.limits.leaseTransfers) return this.draft.defer('leaseOff')
    const why = `its lease is on ${nodeName(this.draft.snapshot, from)}, which is to be emptied`
    this.draft.commitLease(range, needPriority.leaseOff, why, to)
  }
}
