import { nowhere } from './assignment.ts'
import type { Draft } from './draft.ts'
import { whyEvicted, whyGoes, whyLeaving, whyLost, whyUnavailable } from './reasons.ts'
import { replicaBits } from './snapshot.ts'
import { type Need, needPriority, whereIs } from './survey.ts'
import { epsilon } from './targets.ts'

/** Plans what ranges need: to be whole again, and to leave where they must not be. @internal */
export class Repairs {
  readonly draft: Draft

  constructor(draft: Draft) {
    this.draft = draft
  }

  /** Plans what one range needs, or says why not. */
  meet(range: number): void {
    const { survey, columns } = this.draft
    const need = survey.read(range).need()
    switch (need) {
      case 'nothing':
        return
      case 'unavailable':
        return this.draft.block(range, whyUnavailable(survey, columns))
      case 'finishLearner':
        return this.finishLearner(range)
      case 'add':
        return this.bring(range, need, -1, `${survey.voters} of ${survey.wanted} voters`)
      case 'replaceLost':
        return this.bring(range, need, survey.lostVoter, whyLost(columns, survey.lostVoter))
      case 'replaceLeaving':
        return this.bring(range, need, survey.leavingVoter, whyLeaving(columns, survey.leavingVoter))
      case 'replaceEvicted':
        return this.bring(range, need, survey.evictedVoter, this.whyEvicted(survey.evictedVoter))
      case 'leaseOff':
        return this.moveLeaseOff(range)
      case 'removeExtra':
        return this.removeExtra(range)
      case 'addNonVoter':
        return this.bring(range, need, -1, `${survey.learners} of ${survey.wantedNonVoters} non-voters`)
      case 'replaceLostNonVoter':
        return this.bring(range, need, survey.lostNonVoter, whyLost(columns, survey.lostNonVoter))
      case 'replaceLeavingNonVoter':
        return this.bring(range, need, survey.leavingNonVoter, whyLeaving(columns, survey.leavingNonVoter))
      case 'replaceEvictedNonVoter':
        return this.bring(range, need, survey.evictedNonVoter, this.whyEvicted(survey.evictedNonVoter))
      case 'removeExtraNonVoter':
        return this.removeExtraNonVoter(range)
    }
  }

  /** Brings a replica to the best node, and takes another away for it unless `leaving` is -1. */
  bring(range: number, need: Need, leaving: number, why: string): void {
    const { draft } = this
    const { columns, survey } = draft
    const slot = leaving < 0 ? columns.spareSlot(range) : leaving
    const from = draft.assignment.place[slot] as number
    const votes = needPriority[need] >= needPriority.removeExtra
    const urgent = votes && survey.margin === 0
    const hasRoom = draft.hasRoom(from, nowhere)
    const reader = votes ? this.promotable(range) : -1
    // One that has everything already votes long before a copy could.
    if (hasRoom && urgent && reader >= 0) return this.promote(range, need, leaving, why, reader)
    if (!votes && leaving < 0) columns.status[slot] = replicaBits.up
    // Without room it is looked at all the same, but not for the best: that it waits is said only of what could begin.
    const choice = hasRoom ? draft.targets.choose(slot, urgent, 'any') : undefined
    if (choice?.type === 'found' && draft.hasRoom(from, choice.node)) {
      return draft.commit(range, needPriority[need], why, choice.node, leaving, -1)
    }
    const isSomewhere = choice === undefined ? draft.targets.hasPlace(slot) : choice.type !== 'none'
    if (leaving < 0) columns.status[slot] = replicaBits.voter | replicaBits.up
    if (isSomewhere) return draft.defer()
    if (reader < 0) return this.bringNowhere(range, need, leaving, why, hasRoom)
    if (!hasRoom) return draft.defer()
    this.promote(range, need, leaving, why, reader)
  }

  /** One of those that are there for reads which may vote where it is, or -1: votes come first. */
  promotable(range: number): number {
    const { columns, survey } = this.draft
    if (survey.wantedNonVoters === 0) return -1
    const end = columns.spareSlot(range)
    for (let slot = columns.firstSlot[range] as number; slot < end; slot++) {
      const votes = ((columns.status[slot] as number) & replicaBits.voter) !== 0
      if (!votes && survey.mayVote(slot)) return slot
    }
    return -1
  }

  /** Gives it its vote. */
  promote(range: number, need: Need, leaving: number, why: string, reader: number): void {
    const { columns } = this.draft
    const node = columns.store[reader] as number
    const said = `${why}, and the non-voter on ${columns.nodeName(node)} can vote at once`
    this.draft.commit(range, needPriority[need], said, node, leaving, reader)
  }

  /**
   * No node can take the replica. When the lost one is what keeps its own node from taking a new one (a node whose disk
   * was lost, or one of whose stores was), it goes first.
   */
  bringNowhere(range: number, need: Need, leaving: number, why: string, hasRoom: boolean): void {
    const { draft } = this
    if (need === 'replaceLost' || need === 'replaceLostNonVoter') {
      if (this.ownNodeCould(leaving)) {
        if (!hasRoom) return draft.defer()
        const only = `${why}, and only its own node can take its place`
        return draft.commit(range, needPriority[need], only, nowhere, leaving, -1)
      }
    }
    // What is where it must not be may be all that a requirement of so many leaves no other place for.
    const instead = this.insteadOf(need)
    if (instead !== undefined) return this.bring(range, ...instead)
    draft.block(range, `${why}, but no node can take a replica`)
  }

  /** Whether any store of the node that lost a replica could take another one in its place. @internal */
  ownNodeCould(lost: number): boolean {
    const { columns, targets } = this.draft
    const home = columns.store[lost] as number
    if (home < 0) return false
    const { firstStore } = columns.snapshot.table
    const host = columns.hostOf[home] as number
    for (let store = firstStore[host] as number; store < (firstStore[host + 1] as number); store++) {
      if (columns.eligible[store] === 1 && targets.refusal(lost, store) === undefined) return true
    }
    return false
  }

  /** What is to go elsewhere of a kind of which another is missing, if anything is. @internal */
  insteadOf(need: Need): [need: Need, leaving: number, why: string] | undefined {
    const { survey, columns } = this.draft
    if (need !== 'add' && need !== 'addNonVoter') return undefined
    const votes = need === 'add'
    const leaving = votes ? survey.leavingVoter : survey.leavingNonVoter
    if (leaving >= 0) {
      return [votes ? 'replaceLeaving' : 'replaceLeavingNonVoter', leaving, whyLeaving(columns, leaving)]
    }
    const evicted = votes ? survey.evictedVoter : survey.evictedNonVoter
    if (evicted < 0) return undefined
    return [votes ? 'replaceEvicted' : 'replaceEvictedNonVoter', evicted, this.whyEvicted(evicted)]
  }

  /** A learner of a move that nobody works on: it becomes a voter when one is missing or to be replaced, else it goes. */
  finishLearner(range: number): void {
    const { survey, columns, assignment } = this.draft
    const { learner } = survey
    const status = columns.status[learner] as number
    const node = whereIs(columns, assignment, learner)
    const usable = (status & replicaBits.up) !== 0 && node >= 0 && columns.eligible[node] === 1
    const successor = survey.successorOf()
    const missing = survey.voters < survey.wanted
    const priority = needPriority.finishLearner
    if (usable && (missing || successor >= 0)) {
      const because = missing ? 'a voter is missing' : whyGoes(columns, successor)
      const why = `a learner is there and ${because}`
      return this.draft.commit(range, priority, why, node, successor, learner)
    }
    const because = usable ? 'no voter is missing' : `${columns.nodeName(node)} is of no use`
    this.draft.commit(range, priority, `a learner was left behind and ${because}`, nowhere, learner, -1)
  }

  /** One voter too many: the one goes that is missed least. */
  removeExtra(range: number): void {
    const extra = this.extraVoter(range)
    if (extra < 0) return
    const why = `${this.draft.survey.voters} voters, ${this.draft.survey.wanted} wanted`
    this.draft.commit(range, needPriority.removeExtra, why, nowhere, extra, -1)
  }

  /** One replica without a vote too many. */
  removeExtraNonVoter(range: number): void {
    const { survey } = this.draft
    const why = `${survey.learners} non-voters, ${survey.wantedNonVoters} wanted`
    this.draft.commit(range, needPriority.removeExtraNonVoter, why, nowhere, this.extraReplica(range, 0), -1)
  }

  /** The voter that is missed least. */
  extraVoter(range: number): number {
    return this.extraReplica(range, replicaBits.voter)
  }

  /** The replica of a kind that is missed least; of equals what the goals miss least, then one on an overloaded node, the youngest. */
  extraReplica(range: number, kind: number): number {
    const { columns, goals } = this.draft
    const end = columns.spareSlot(range)
    let best = -1
    for (let slot = columns.firstSlot[range] as number; slot < end; slot++) {
      if (((columns.status[slot] as number) & replicaBits.voter) !== kind) continue
      if (best < 0) {
        best = slot
        continue
      }
      const before = best
      const byGoals = goals
        .map((goal) => goal.moveDelta(slot, nowhere) - goal.moveDelta(before, nowhere))
        .find((each) => Math.abs(each) > epsilon)
      const difference =
        this.worth(slot) - this.worth(best) ||
        (byGoals ??
          (this.heat(best) - this.heat(slot) ||
            (columns.replicaIds[best] as number) - (columns.replicaIds[slot] as number)))
      if (difference < 0) best = slot
    }
    return best
  }

  /** @internal */
  heat(slot: number): number {
    const { assignment, columns } = this.draft
    const node = assignment.place[slot] as number
    return node >= 0 && columns.isHot(node) ? 1 : 0
  }

  /**
   * How much a replica is worth keeping. A voter that cannot vote goes first: without it the quorum is smaller and the same
   * voters are alive, so that is always safe.
   */
  worth(slot: number): number {
    const status = this.draft.columns.status[slot] as number
    if ((status & replicaBits.lost) !== 0) return 0
    if ((status & replicaBits.up) === 0) return 1
    if ((status & replicaBits.leaving) !== 0) return 2
    const { evictedVoter, evictedNonVoter } = this.draft.survey
    if (slot === evictedVoter || slot === evictedNonVoter) return 3
    return slot === this.draft.survey.leaseholder ? 5 : 4
  }

  /** The lease leaves a node that is to be emptied, long before the replica can, or one that is worked on. */
  moveLeaseOff(range: number): void {
    const { survey, columns, traffic, limits } = this.draft
    const from = survey.leaseholder
    const to = this.draft.bestLeaseTarget(range, from, 'any')
    if (to < 0) {
      if (survey.leavingVoter < 0) {
        const holder = columns.nodeName(columns.store[from] as number)
        return this.draft.block(range, `its lease is on ${holder}, and nobody else can take it`)
      }
      return this.bring(
        range,
        'replaceLeaving',
        survey.leavingVoter,
        whyLeaving(columns, survey.leavingVoter),
      )
    }
    if (traffic.leaseMoves >= limits.leaseTransfers) return this.draft.defer()
    const resting = ((columns.status[from] as number) & replicaBits.resting) !== 0
    const what = resting ? 'is worked on' : 'is to be emptied'
    const why = `its lease is on ${columns.nodeName(columns.store[from] as number)}, which ${what}`
    this.draft.commitLease(range, needPriority.leaseOff, why, to)
  }

  /** @internal */
  whyEvicted(slot: number): string {
    for (const rule of this.draft.rules) {
      const why = rule.sheds === undefined ? rule.evicts(slot) : undefined
      if (why !== undefined) return `${whyEvicted(this.draft.columns, slot)}: ${rule.name}: ${why}`
    }
    return whyEvicted(this.draft.columns, slot)
  }
}
