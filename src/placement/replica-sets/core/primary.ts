import type { NodeId } from '../../../model/ids.ts'
import { isComplete, type ReplicaSetRecord, type SetView } from './change.ts'
import { comparePositions, type LogPosition } from './member.ts'
import type { QuorumSet } from './quorum-set.ts'

/** What a change of primary is to achieve. */
export interface PrimaryChange {
  /** Who is to be primary; for an emergency undefined for whoever is the most advanced. */
  readonly to: NodeId | undefined
  /** The primary is dead or must be fenced: nobody asks it to step down. */
  readonly emergency: boolean
  /** Acknowledged writes may be lost by it. */
  readonly force: boolean
}

/** Where a change of primary stands. */
export interface PrimaryProgress {
  /** Who was primary before. */
  readonly from: NodeId | undefined
  /** Sequence of the one before. */
  readonly fromSequence: number
  /** The one before was asked to stop: it may have to resume. */
  readonly stopping: boolean
  /** Where the one before has stopped. */
  readonly stoppedAt: LogPosition | undefined
  /** Sequence of the new one, once it is minted: from here on there is no way back. */
  readonly sequence: number | undefined
  /** Who is to be primary, once that is decided. */
  readonly chosen: NodeId | undefined
  /**
   * How far that one's log has to be before it begins: the most advanced one of those that were heard. Kept, since who said
   * so may not answer any more when it begins.
   */
  readonly target: LogPosition | undefined
  /** Whether a read quorum was heard when that was decided. */
  readonly lossless: boolean
  /** Who was to be primary under an earlier sequence of this change and did not begin. */
  readonly passedOver: readonly NodeId[]
}

/** What to do next for a change of primary. */
export type PrimaryStep =
  | {
      /** The primary stops taking writes, and says where it stopped. */
      readonly type: 'stepDown'
      /** The primary. */
      readonly nodeId: NodeId
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** A new sequence is minted. */
      readonly type: 'mint'
      /** For whom, when that is known by then. */
      readonly nodeId: NodeId | undefined
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** Members are told of the new sequence, and refuse lower ones from then on. */
      readonly type: 'install'
      /** Those that do not know it. */
      readonly nodeIds: readonly NodeId[]
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** It is decided who is to be primary, and how far its log has to be. */
      readonly type: 'choose'
      /** Who. */
      readonly nodeId: NodeId
      /** How far. */
      readonly target: LogPosition
      /** Every acknowledged write is among what was heard. */
      readonly lossless: boolean
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** The new primary takes over what it is missing. */
      readonly type: 'catchUp'
      /** The new primary. */
      readonly nodeId: NodeId
      /** From whom. */
      readonly source: NodeId
      /** How far. */
      readonly position: LogPosition
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** The new primary begins: it brings its log to a write quorum before it takes a write. */
      readonly type: 'promote'
      /** The new primary. */
      readonly nodeId: NodeId
      /** Why, in one line. */
      readonly why: string
    }
  | {
      /** Nothing can be done yet. */
      readonly type: 'wait'
      /** Nodes that it waits for. */
      readonly waitingFor: readonly NodeId[]
      /** What for, in one line. */
      readonly why: string
    }
  | {
      /** Nothing is left to do. */
      readonly type: 'done'
    }
  | {
      /** It would do harm, or makes no sense any more. */
      readonly type: 'refuse'
      /** Why, in one line. */
      readonly why: string
    }

/**
 * Decides the steps of a change of primary, planned and in an emergency: pure and level-triggered.
 *
 * Planned: the old primary stops at a position, the new one gets there, and a new sequence is minted. Emergency: the sequence
 * is minted at once. From there on both are the same: the sequence is installed until nothing of an older one can be
 * acknowledged any more and a read quorum knows it; the most advanced log of those has every acknowledged write, whoever did
 * not stop in time, and the new primary begins only with that. (Vitess calls them PlannedReparentShard and
 * EmergencyReparentShard; the election is that of Raft, Ongaro 2014, section 3.6.1.)
 *
 * Who is to be primary and does not begin is passed over: for another one a sequence more is minted, which fences the one
 * before like any older primary. One sequence is never given to two.
 */
export class PrimaryRules {
  /** Records that the next primary of a planned change may lack when the old one stops. */
  readonly maximumLag: number

  /** Rules with that lag, or with one of 1,000 records. */
  constructor(maximumLag = 1000) {
    this.maximumLag = maximumLag
  }

  /** The next step. */
  next(change: PrimaryChange, progress: PrimaryProgress, view: SetView): PrimaryStep {
    const { sequence } = progress
    if (sequence !== undefined) return this.elect(change, sequence, progress, view)
    return change.emergency ? this.emergency(change, view) : this.planned(change.to as NodeId, progress, view)
  }

  /** Until a sequence is minted for a planned change. @internal */
  planned(to: NodeId, progress: PrimaryProgress, view: SetView): PrimaryStep {
    const { record, members } = view
    const { from, stoppedAt } = progress
    if (record.primary === to) {
      if (members.get(to)?.serving === true) return { type: 'done' }
      return { type: 'refuse', why: `${to} is primary already but takes no writes: make it an emergency` }
    }
    const target = record.set.member(to)
    if (target === undefined) return { type: 'refuse', why: `${to} is no member of the replica set` }
    if (!this.mayLead(to, record.set)) return this.isCandidate(to)
    if (from === undefined || record.primary !== from || record.sequence !== progress.fromSequence)
      return {
        type: 'refuse',
        why: 'the replica set has no primary that could step down: make it an emergency',
      }
    const missing = this.missingForWrite(record.set, view)
    if (missing !== undefined)
      return { type: 'wait', waitingFor: missing, why: 'a write quorum does not answer' }
    if (!isComplete(target, view)) return { type: 'wait', waitingFor: [to], why: `${to} is not complete` }
    const lag = (members.get(from)?.position.index ?? 0) - (members.get(to)?.position.index ?? 0)
    if (stoppedAt === undefined && lag > this.maximumLag)
      return {
        type: 'wait',
        waitingFor: [to],
        why: `${to} lags by ${lag} records: nobody stops for so long`,
      }
    if (stoppedAt === undefined) return { type: 'stepDown', nodeId: from, why: `${from} stops taking writes` }
    if (!this.hasReached(to, stoppedAt, view)) {
      return {
        type: 'catchUp',
        nodeId: to,
        source: from,
        position: stoppedAt,
        why: `${to} gets to where ${from} has stopped, index ${stoppedAt.index}`,
      }
    }
    return { type: 'mint', nodeId: to, why: `${to} has everything that ${from} had` }
  }

  /** Until a sequence is minted in an emergency: whoever refuses refuses before anything has changed. @internal */
  emergency(change: PrimaryChange, view: SetView): PrimaryStep {
    const { record, members } = view
    const { to } = change
    if (to !== undefined && record.set.member(to) === undefined)
      return { type: 'refuse', why: `${to} is no member of the replica set` }
    if (to !== undefined && !this.mayLead(to, record.set)) return this.isCandidate(to)
    const heard = (nodeId: NodeId): boolean => members.has(nodeId)
    if (!this.isHeard(record, heard, view) && !change.force)
      return { type: 'refuse', why: this.whatMayBeLost(record, heard, view) }
    if (members.size === 0) return { type: 'refuse', why: 'no member answers at all' }
    return {
      type: 'mint',
      nodeId: undefined,
      why: 'nothing of the old primary may be acknowledged any more',
    }
  }

  /** From when a sequence is minted. @internal */
  elect(change: PrimaryChange, sequence: number, progress: PrimaryProgress, view: SetView): PrimaryStep {
    const { record, members } = view
    const { chosen, target } = progress
    if (record.sequence > sequence)
      return { type: 'refuse', why: 'somebody else has become primary meanwhile' }
    const installed = (nodeId: NodeId): boolean => (members.get(nodeId)?.sequence ?? 0) >= sequence
    if (chosen === undefined || target === undefined) {
      const lossless = this.isHeard(record, installed, view) && this.isFenced(record, installed)
      const unaware = this.unaware(sequence, view)
      const answering = unaware.filter((nodeId) => members.has(nodeId))
      if (!lossless && (!change.force || answering.length > 0))
        return { type: 'install', nodeIds: unaware, why: `a read quorum has to know sequence ${sequence}` }
      return this.choice(change.to, progress, installed, lossless, view)
    }
    if (!members.has(chosen)) return { type: 'wait', waitingFor: [chosen], why: `${chosen} does not answer` }
    if (!this.hasReached(chosen, target, view))
      return this.takingOver(chosen, target, progress.lossless, view)
    return this.promotion(chosen, sequence, view)
  }

  /** @internal */
  choice(
    wanted: NodeId | undefined,
    progress: PrimaryProgress,
    installed: (nodeId: NodeId) => boolean,
    lossless: boolean,
    view: SetView,
  ): PrimaryStep {
    const { set } = view.record
    const best = this.mostAdvanced(installed, view, lossless)
    if (best === undefined)
      return { type: 'refuse', why: 'no member that answers holds anything that can be used' }
    // A planned change has said who it is to be; in an emergency whoever is wanted and answers.
    const able = (nodeId: NodeId): boolean => this.mayLead(nodeId, set) && installed(nodeId)
    const fresh = (nodeId: NodeId): boolean => able(nodeId) && !progress.passedOver.includes(nodeId)
    const wish = this.mostAdvanced((nodeId) => nodeId === wanted && fresh(nodeId), view, lossless)
    const most = wish ?? this.mostAdvanced(fresh, view, lossless) ?? this.mostAdvanced(able, view, lossless)
    const nodeId = progress.chosen ?? most?.nodeId
    if (nodeId === undefined)
      return { type: 'wait', waitingFor: [], why: 'no member that may be primary answers' }
    const which = lossless ? 'a read quorum' : 'those that answer'
    return {
      type: 'choose',
      nodeId,
      target: best.position,
      lossless,
      why: `of ${which} ${best.nodeId} is the most advanced: sequence ${best.position.sequence}, index ${best.position.index}`,
    }
  }

  /**
   * What to do when who is to be primary has had its time to begin, or refuses to: a new sequence, if anybody else could be
   * elected. It is safe whatever the one before has done: under its sequence nothing is acknowledged any more before another
   * one is chosen.
   */
  instead(progress: PrimaryProgress, view: SetView): PrimaryStep | undefined {
    const { chosen, target } = progress
    const { set } = view.record
    // It cannot begin before a read quorum was heard, and neither could anybody else.
    if (target === undefined && chosen !== undefined && view.members.has(chosen)) return undefined
    const another = ({ nodeId }: { readonly nodeId: NodeId }): boolean =>
      nodeId !== chosen && this.mayLead(nodeId, set) && view.members.has(nodeId)
    if (chosen === undefined || !set.members.some(another)) return undefined
    return { type: 'mint', nodeId: undefined, why: `${chosen} does not begin: it is passed over` }
  }

  /** The new primary lacks something: from whom it gets that. @internal */
  takingOver(chosen: NodeId, target: LogPosition, lossless: boolean, view: SetView): PrimaryStep {
    const best = this.mostAdvanced((nodeId) => nodeId !== chosen, view, lossless)
    if (best === undefined || comparePositions(best.position, target) < 0)
      return {
        type: 'wait',
        waitingFor: this.silent(view),
        why: `nobody that answers has everything up to index ${target.index}, without which ${chosen} does not begin`,
      }
    return {
      type: 'catchUp',
      nodeId: chosen,
      source: best.nodeId,
      position: best.position,
      why: `${chosen} takes over what ${best.nodeId} has, index ${best.position.index}`,
    }
  }

  /** Of those that know the new sequence the one whose log is the furthest; of equals the first by name. @internal */
  mostAdvanced(
    installed: (nodeId: NodeId) => boolean,
    view: SetView,
    lossless: boolean,
  ): { readonly nodeId: NodeId; readonly position: LogPosition } | undefined {
    let best: { readonly nodeId: NodeId; readonly position: LogPosition } | undefined
    const { set, unsealed } = view.record
    const candidates = [set, ...unsealed].flatMap(({ members }) => members)
    for (const member of candidates.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))) {
      const status = view.members.get(member.nodeId)
      if (status === undefined || !installed(member.nodeId)) continue
      // Where nothing better answers, what an incomplete one holds is better than nothing.
      if (lossless && !isComplete(member, view)) continue
      if (best === undefined || comparePositions(status.position, best.position) > 0)
        best = { nodeId: member.nodeId, position: status.position }
    }
    return best
  }

  /** Whether these members show every write that was acknowledged. @internal */
  isHeard(record: ReplicaSetRecord, heard: (nodeId: NodeId) => boolean, view: SetView): boolean {
    return [record.set, ...record.unsealed].every((set) =>
      set.isRead((member) => heard(member.nodeId) && isComplete(member, view)),
    )
  }

  /** Whether nothing of an older sequence can be acknowledged any more. @internal */
  isFenced(record: ReplicaSetRecord, installed: (nodeId: NodeId) => boolean): boolean {
    return [record.set, ...record.unsealed].every((set) => set.isFenced(installed))
  }

  /** @internal */
  mayLead(nodeId: NodeId, set: QuorumSet): boolean {
    return set.mayLead(nodeId)
  }

  /** @internal */
  isCandidate(nodeId: NodeId): PrimaryStep {
    return {
      type: 'refuse',
      why: `${nodeId} is a candidate that may still go: let the change of members end`,
    }
  }

  /** Members that do not answer. @internal */
  silent({ record, members }: SetView): readonly NodeId[] {
    return record.set.members.map(({ nodeId }) => nodeId).filter((nodeId) => !members.has(nodeId))
  }

  /** @internal */
  hasReached(nodeId: NodeId, position: LogPosition, view: SetView): boolean {
    const status = view.members.get(nodeId)
    return status !== undefined && comparePositions(status.position, position) >= 0
  }

  /** @internal */
  promotion(nodeId: NodeId, sequence: number, view: SetView): PrimaryStep {
    const status = view.members.get(nodeId)
    if (status?.serving === true && status.sequence === sequence) return { type: 'done' }
    return { type: 'promote', nodeId, why: `${nodeId} brings its log to a write quorum and begins` }
  }

  /** Members that keep a write quorum from answering, or undefined when it does. @internal */
  missingForWrite(set: QuorumSet, view: SetView): readonly NodeId[] | undefined {
    if (set.isWritten((nodeId) => view.members.has(nodeId))) return undefined
    return this.silent(view)
  }

  /** Members that do not know a sequence. @internal */
  unaware(sequence: number, view: SetView): readonly NodeId[] {
    const { set, unsealed } = view.record
    const all = new Set([set, ...unsealed].flatMap((each) => each.members.map(({ nodeId }) => nodeId)))
    return [...all].filter((nodeId) => (view.members.get(nodeId)?.sequence ?? 0) < sequence).sort()
  }

  /** What an emergency without a read quorum could lose, in words. @internal */
  whatMayBeLost(record: ReplicaSetRecord, heard: (nodeId: NodeId) => boolean, view: SetView): string {
    const { set } = record
    const usable = set.members.filter((member) => heard(member.nodeId) && isComplete(member, view))
    const silent = set.members.filter((member) => !usable.includes(member)).map(({ nodeId }) => nodeId)
    const who = usable.length === 0 ? 'nobody' : `only ${usable.map(({ nodeId }) => nodeId).join(', ')}`
    const furthest = usable
      .map(({ nodeId }) => view.members.get(nodeId)?.position as LogPosition)
      .sort((a, b) => comparePositions(b, a))[0]
    const after = furthest === undefined ? 'everything' : `every write after index ${furthest.index}`
    return `${who} of ${set.slots.length} answers completely, a read quorum is ${set.readQuorum}: ${after} that ${silent.join(', ')} acknowledged may be lost; bring them back, or force it`
  }
}
