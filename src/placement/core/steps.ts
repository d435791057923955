import type { RangeChange } from '../../interfaces/range-host.ts'
import type { RangeDescriptor, ReplicaDescriptor } from '../../model/descriptors.ts'
import type { Incarnation, NodeId, RangeId, ReplicaId } from '../../model/ids.ts'
import { isJoint } from '../../model/replica-roles.ts'
import type { PlannedMove } from './plan.ts'
import { proveQuorum, type QuorumStep, quorumOf, type VoterChange } from './quorum.ts'
import { bringsNonVoter, type MoveKind } from './snapshot.ts'

/** What a move is to achieve. */
export interface MoveGoal {
  /** The range that is moved. */
  readonly rangeId: RangeId
  /** What the move is for. */
  readonly kind: MoveKind
  /** The higher, the more urgent. */
  readonly priority: number
  /** Node that gets a replica. */
  readonly add?: {
    /** Where the replica goes. */
    readonly nodeId: NodeId
    /** The life of that node's data that is meant. */
    readonly incarnation: Incarnation
    /** Which of its stores, where it has several. */
    readonly storeId?: string
  }
  /** Replica that goes. */
  readonly remove?: {
    /** Its id within the range. */
    readonly replicaId: ReplicaId
    /** The node that it is on. */
    readonly nodeId: NodeId
  }
  /** Where the lease goes; for a replica that leaves, where it had best go. */
  readonly leaseTo?: {
    /** Its id within the range. */
    readonly replicaId: ReplicaId
    /** The node that it is on. */
    readonly nodeId: NodeId
  }
}

/** A change of a range's members, or of who holds its lease: what a move asks a range for. */
export type MemberChange = Extract<
  RangeChange,
  Readonly<Record<'type', 'addLearner' | 'promote' | 'remove' | 'swap' | 'transferLease'>>
>

/** The goal of a planned move. */
export function goalOf(move: PlannedMove): MoveGoal {
  const { rangeId, kind, priority, add, remove, leaseTo } = move
  return {
    rangeId,
    kind,
    priority,
    ...(add === undefined ? {} : { add: addition(add) }),
    ...(remove === undefined ? {} : { remove }),
    ...(leaseTo === undefined ? {} : { leaseTo }),
  }
}

/** Where a learner goes: what a move and the change that it asks for say of it. */
export function addition(add: NonNullable<MoveGoal['add']>): NonNullable<MoveGoal['add']> {
  const { nodeId, incarnation, storeId } = add
  return { nodeId, incarnation, ...(storeId === undefined ? {} : { storeId }) }
}

/** What is known of a range when the next step is decided. */
export interface MoveView {
  /** The newest configuration that anybody reported. */
  readonly descriptor: RangeDescriptor
  /** Replica that holds the lease, when one reports that it does. */
  readonly leaseHolder: ReplicaId | undefined
  /** Replicas that have caught up with the lease holder's log, as it reports. */
  readonly caughtUp: readonly ReplicaId[]
  /** Replica that this move brought, once it was seen. */
  readonly brought: ReplicaId | undefined
  /** All replicas of the range know how to change places in one joint step. */
  readonly swaps: boolean
  /** Whether a node holds its session, in this incarnation. */
  readonly isUp: (nodeId: NodeId, incarnation: Incarnation) => boolean
  /** Whether a node may be given a replica. */
  readonly mayTake: (nodeId: NodeId, incarnation: Incarnation) => boolean
}

/** What to do next for a move. */
export type MoveStep =
  | {
      /** Nothing is left to do. */
      readonly type: 'done'
      /** What came of it, in one line. */
      readonly outcome: string
    }
  | {
      /** A change is to be asked of the range, which provably keeps its quorum. */
      readonly type: 'want'
      /** The change to ask for. */
      readonly change: MemberChange
      /** The voters now and after each step: a quorum of them is alive throughout. */
      readonly proof: readonly QuorumStep[]
      /** Why this is the next step, in one line. */
      readonly why: string
    }
  | {
      /** Nothing can be asked for yet. */
      readonly type: 'wait'
      /** Nodes that it waits for. */
      readonly waitingFor: readonly string[]
      /** What it waits for, in one line. */
      readonly why: string
      /** True while a learner catches up, which may take long. */
      readonly copying: boolean
    }
  | {
      /** The move makes no sense any more. */
      readonly type: 'abandon'
      /** What changed, in one line. */
      readonly why: string
    }

/**
 * The next step of a move, from what the range itself says. Level-triggered: it does not matter who made the steps before,
 * so a new leader goes on where the range stands.
 */
export function nextStep(goal: MoveGoal, view: MoveView): MoveStep {
  if (isJoint(view.descriptor.replicas)) return stepOfPassage()
  if (goal.kind === 'transferLease') return stepOfTransfer(goal, view)
  if (goal.add !== undefined) {
    const step = stepOfAddition(goal, goal.add, view)
    if (step !== undefined) return step
  }
  return stepOfRemoval(goal, view)
}

/** How a move is undone. */
export interface UndoOptions {
  /**
   * Takes a voter back as well that the move brought, while the one that it was to replace is still there and alive: then the
   * range is what it was before. It is what a person wants who cancels; a move that failed leaves it to the planner.
   */
  readonly voters?: boolean
}

/**
 * Takes back what a move began, as far as that is safe, and says what stays. A learner that it brought goes; a voter goes
 * only when the range then has again the voters that it had, all of a quorum alive; a lease stays where it is.
 */
export function undoStep(goal: MoveGoal, view: MoveView, options: UndoOptions = {}): MoveStep {
  if (isJoint(view.descriptor.replicas)) return stepOfPassage()
  const brought = broughtBy(goal, view)
  if (brought?.role === 'learner' && !isMissedBy(goal, view)) {
    return wantWithQuorum(
      view,
      { type: 'remove', replicaId: brought.replicaId },
      { adds: false, removes: { voter: false, up: true, lease: false } },
      `takes the learner on ${brought.nodeId} back`,
    )
  }
  const back = options.voters === true && brought !== undefined ? stepBack(goal, brought, view) : undefined
  return back ?? { type: 'done', outcome: whatStays(goal, view) }
}

/** Whether what a move brought has taken a place already: the range would have one replica for reads less without it. */
function isMissedBy(goal: MoveGoal, view: MoveView): boolean {
  if (goal.kind !== 'replaceNonVoter') return false
  const predecessor = view.descriptor.replicas.find(({ replicaId }) => replicaId === goal.remove?.replicaId)
  return predecessor?.role !== 'learner'
}

/** The replica that a move brought, if it is there. */
function broughtBy({ add }: MoveGoal, view: MoveView): ReplicaDescriptor | undefined {
  return view.descriptor.replicas.find(
    (replica) =>
      replica.replicaId === view.brought ||
      (replica.role === 'learner' &&
        replica.nodeId === add?.nodeId &&
        replica.incarnation === add.incarnation),
  )
}

/** Takes a voter back whose predecessor is still there, if that is safe. */
function stepBack(goal: MoveGoal, brought: ReplicaDescriptor, view: MoveView): MoveStep | undefined {
  const { replicas } = view.descriptor
  const predecessor = replicas.find(({ replicaId }) => replicaId === goal.remove?.replicaId)
  if (predecessor?.role !== 'voter' || !view.isUp(predecessor.nodeId, predecessor.incarnation))
    return undefined
  if (brought.replicaId === view.leaseHolder) return stepOfLeaving(goal, brought, view)
  const step = wantWithQuorum(
    view,
    { type: 'remove', replicaId: brought.replicaId },
    {
      adds: false,
      removes: { voter: true, up: view.isUp(brought.nodeId, brought.incarnation), lease: false },
    },
    `takes the voter on ${brought.nodeId} back`,
  )
  return step.type === 'want' || view.leaseHolder === undefined ? step : undefined
}

/** What a move leaves behind that is not taken back, in words. */
function whatStays(goal: MoveGoal, view: MoveView): string {
  const { replicas } = view.descriptor
  const brought = broughtBy(goal, view)
  const stays: string[] = []
  const leaves = replicas.some(({ replicaId }) => replicaId === goal.remove?.replicaId)
  if (brought !== undefined) {
    const kind = brought.role === 'learner' ? 'non-voter' : 'voter'
    stays.push(
      leaves && goal.remove !== undefined
        ? `the new ${kind} on ${brought.nodeId} stays beside the one on ${goal.remove.nodeId}, and the planner removes one too many`
        : `the new ${kind} on ${brought.nodeId} stays`,
    )
  }
  if (goal.remove !== undefined && !leaves) stays.push(`the replica on ${goal.remove.nodeId} is gone`)
  const holder = replicas.find(({ replicaId }) => replicaId === view.leaseHolder)
  if (goal.leaseTo !== undefined && holder?.replicaId === goal.leaseTo.replicaId)
    stays.push(`the lease stays on ${holder.nodeId}`)
  return stays.length === 0 ? 'nothing is left of it' : stays.join('; ')
}

/** Whether a range shows that a change was made. */
export function tookEffect(
  change: MemberChange,
  view: Pick<MoveView, 'descriptor' | 'leaseHolder'>,
): boolean {
  const { replicas } = view.descriptor
  const roleOf = (replicaId: ReplicaId): ReplicaDescriptor['role'] | undefined =>
    replicas.find((replica) => replica.replicaId === replicaId)?.role
  switch (change.type) {
    case 'addLearner':
      return replicas.some(
        ({ nodeId, incarnation }) => nodeId === change.nodeId && incarnation === change.incarnation,
      )
    case 'promote':
      return roleOf(change.replicaId) === 'voter'
    case 'remove':
      return roleOf(change.replicaId) === undefined
    case 'swap':
      return ['voter', 'incoming'].includes(roleOf(change.promote) ?? '')
    case 'transferLease':
      return view.leaseHolder === change.replicaId
  }
}

/** Votes that a range can lose before it stops; below zero when it has stopped. */
export function votesToSpare(view: Pick<MoveView, 'descriptor' | 'isUp'>): number {
  const voters = view.descriptor.replicas.filter(({ role }) => role === 'voter')
  const live = voters.filter(({ nodeId, incarnation }) => view.isUp(nodeId, incarnation))
  return live.length - quorumOf(voters.length)
}

/** Nothing is asked of a range between two sets of voters: it leaves that by itself. */
function stepOfPassage(): MoveStep {
  return { type: 'wait', waitingFor: [], why: 'its voters are changing places', copying: false }
}

/** The step that brings the new replica, or undefined when it is what it is to be: a voter, or one that serves reads. */
function stepOfAddition(
  goal: MoveGoal,
  add: NonNullable<MoveGoal['add']>,
  view: MoveView,
): MoveStep | undefined {
  const { nodeId, incarnation } = add
  const stays = bringsNonVoter(goal.kind)
  const there = view.descriptor.replicas.find((replica) => replica.nodeId === nodeId)
  if (there === undefined) {
    if (view.brought !== undefined) {
      return { type: 'abandon', why: `replica ${view.brought} on ${nodeId} was removed by somebody else` }
    }
    if (!view.mayTake(nodeId, incarnation))
      return { type: 'abandon', why: `${nodeId} may take no replica any more` }
    return wantWithQuorum(
      view,
      { type: 'addLearner', ...addition(add) },
      stays ? { adds: false, addsLearner: true } : { adds: true },
      stays ? `adds a non-voter on ${nodeId}` : `adds a learner on ${nodeId}`,
    )
  }
  if (there.incarnation !== incarnation) {
    return { type: 'abandon', why: `${nodeId} has a replica of another life already` }
  }
  if (there.role === 'voter') {
    return stays ? { type: 'abandon', why: `the replica on ${nodeId} was given a vote` } : undefined
  }
  if (!view.isUp(nodeId, incarnation))
    return { type: 'abandon', why: `${nodeId} died while it was catching up` }
  if (!view.caughtUp.includes(there.replicaId)) {
    return { type: 'wait', waitingFor: [nodeId], why: `${nodeId} is catching up`, copying: true }
  }
  if (stays) return undefined
  const leaving = view.descriptor.replicas.find(({ replicaId }) => replicaId === goal.remove?.replicaId)
  if (view.swaps && leaving?.role === 'voter') {
    const swap = stepOfSwap(goal, there, leaving, view)
    if (swap !== undefined) return swap
  }
  return wantWithQuorum(
    view,
    { type: 'promote', replicaId: there.replicaId },
    { adds: true },
    `makes the learner on ${nodeId} a voter`,
  )
}

/**
 * A learner and a voter change places at once, so that the range never has a voter more, whose loss it could not bear as well,
 * nor one less. Undefined for a lone voter that holds the lease: nobody else could take that before.
 */
function stepOfSwap(
  goal: MoveGoal,
  arriving: ReplicaDescriptor,
  leaving: ReplicaDescriptor,
  view: MoveView,
): MoveStep | undefined {
  if (leaving.replicaId === view.leaseHolder) {
    const others = view.descriptor.replicas.some(
      ({ role, replicaId }) => role === 'voter' && replicaId !== leaving.replicaId,
    )
    return others ? stepOfLeaving(goal, leaving, view) : undefined
  }
  return wantWithQuorum(
    view,
    { type: 'swap', promote: arriving.replicaId, remove: leaving.replicaId },
    {
      adds: true,
      atOnce: true,
      removes: { voter: true, up: view.isUp(leaving.nodeId, leaving.incarnation), lease: false },
    },
    `swaps the voter on ${leaving.nodeId} for the learner on ${arriving.nodeId}`,
  )
}

/** The step that takes a replica away. */
function stepOfRemoval(goal: MoveGoal, view: MoveView): MoveStep {
  const { remove } = goal
  const leaving = view.descriptor.replicas.find((replica) => replica.replicaId === remove?.replicaId)
  if (leaving === undefined) return { type: 'done', outcome: describeGoal(goal) }
  if (bringsNonVoter(goal.kind) && leaving.role !== 'learner') {
    return { type: 'abandon', why: `the replica on ${leaving.nodeId} was given a vote` }
  }
  if (leaving.replicaId === view.leaseHolder) return stepOfLeaving(goal, leaving, view)
  return wantWithQuorum(
    view,
    { type: 'remove', replicaId: leaving.replicaId },
    {
      adds: false,
      removes: {
        voter: leaving.role === 'voter',
        up: view.isUp(leaving.nodeId, leaving.incarnation),
        lease: false,
      },
    },
    `removes the replica on ${leaving.nodeId}`,
  )
}

/** The lease holder gives the lease away before it goes. */
function stepOfLeaving(goal: MoveGoal, leaving: ReplicaDescriptor, view: MoveView): MoveStep {
  const heirs = view.descriptor.replicas.filter(
    (replica) =>
      replica.role === 'voter' &&
      replica.replicaId !== leaving.replicaId &&
      view.isUp(replica.nodeId, replica.incarnation),
  )
  const ready = heirs.filter((replica) => view.caughtUp.includes(replica.replicaId))
  // Whoever may take nothing new gets a lease only when there is nobody else.
  const takes = ready.filter((replica) => view.mayTake(replica.nodeId, replica.incarnation))
  const heir = takes.find((replica) => replica.replicaId === goal.leaseTo?.replicaId) ?? takes[0] ?? ready[0]
  if (heir === undefined) {
    const waitingFor = heirs.map((replica) => replica.nodeId)
    return { type: 'wait', waitingFor, why: 'nobody can take the lease over yet', copying: false }
  }
  return wantWithQuorum(
    view,
    { type: 'transferLease', replicaId: heir.replicaId },
    { adds: false },
    `gives the lease to ${heir.nodeId}`,
  )
}

function stepOfTransfer(goal: MoveGoal, view: MoveView): MoveStep {
  const to = view.descriptor.replicas.find((replica) => replica.replicaId === goal.leaseTo?.replicaId)
  if (to === undefined || to.role !== 'voter')
    return { type: 'abandon', why: 'its new holder is no voter any more' }
  if (view.leaseHolder === to.replicaId) return { type: 'done', outcome: describeGoal(goal) }
  if (!view.isUp(to.nodeId, to.incarnation)) return { type: 'abandon', why: `${to.nodeId} is dead` }
  if (!view.mayTake(to.nodeId, to.incarnation))
    return { type: 'abandon', why: `${to.nodeId} may take no lease any more` }
  return wantWithQuorum(
    view,
    { type: 'transferLease', replicaId: to.replicaId },
    { adds: false },
    `gives the lease to ${to.nodeId}`,
  )
}

/** A change, if the range has a leader to make it and a quorum before and after; else whom it waits for. */
function wantWithQuorum(view: MoveView, change: MemberChange, effect: VoterChange, why: string): MoveStep {
  const voters = view.descriptor.replicas.filter((replica) => replica.role === 'voter')
  const live = voters.filter((voter) => view.isUp(voter.nodeId, voter.incarnation))
  const proof = proveQuorum(voters.length, live.length, effect)
  if (proof === undefined) {
    const waitingFor = voters.filter((voter) => !live.includes(voter)).map((voter) => voter.nodeId)
    return { type: 'wait', waitingFor, why: `${why}, but a quorum would not stand`, copying: false }
  }
  if (view.leaseHolder === undefined) {
    const waitingFor = live.map((voter) => voter.nodeId)
    return { type: 'wait', waitingFor, why: `${why}, but nobody leads the range`, copying: false }
  }
  return { type: 'want', change, proof, why }
}

/** A goal in words. */
export function describeGoal(goal: MoveGoal): string {
  const { rangeId, add, remove, leaseTo } = goal
  if (goal.kind === 'transferLease') return `range ${rangeId}: lease to ${leaseTo?.nodeId}`
  if (add === undefined) return `range ${rangeId}: removed from ${remove?.nodeId}`
  const what = bringsNonVoter(goal.kind) ? `range ${rangeId}: non-voter` : `range ${rangeId}:`
  return remove === undefined ? `${what} added on ${add.nodeId}` : `${what} ${remove.nodeId} → ${add.nodeId}`
}
