import { emptyBytes } from '../../core/bytes.ts'
import type { Clock } from '../../core/clock.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import { entryKinds, type LogEntry } from '../../interfaces/log-store.ts'
import type { GroupId, NodeId, ReplicaId } from '../../model/ids.ts'
import type { Configuration, MembershipChange, MembershipOptions } from '../core/membership-types.ts'
import type { Leadership, RaftMachine, Ready, Refused } from '../core/types.ts'
import { Forwarder } from './forwarder.ts'
import type { ForwardReply, ReplicaMessage } from './forwarding.ts'
import type { GroupLimits } from './limits.ts'
import type { EntryOutcome, Outcomes } from './outcomes.ts'
import type { Peer } from './peers.ts'
import { PendingJoints } from './pending-joints.ts'
import { outcomeOf, outcomeUnknown, type PendingProposal, PendingProposals } from './pending-proposals.ts'
import { type PendingRead, PendingReads } from './pending-reads.ts'
import { type LeaderHint, notLeader, refusalError } from './refusals.ts'

/** Bytes of proposals that are appended in one turn; the rest has to wait for the next one. */
const maximumTurnBytes = 1 << 20

export interface ReplicaRequestsOptions {
  readonly groupId: GroupId
  readonly core: RaftMachine
  readonly clock: Clock
  readonly random: Random
  readonly limits: GroupLimits
  /** Largest data of one entry. */
  readonly maximumEntryBytes: number
  readonly leaderHint: () => LeaderHint
  readonly quarantined: () => boolean
  readonly peerOf: (replicaId: ReplicaId) => Peer | undefined
  readonly send: (peer: Peer, message: ReplicaMessage) => void
  readonly nowMs: () => number
  /** The replica wants a turn. */
  readonly schedule: () => void
  /** Contexts of reads up to here were used: the core may still know them. */
  readonly lastReadContext: number
}

/** Who waits for a transfer of leadership. */
interface PendingTransfer {
  readonly resolve: () => void
  readonly reject: (error: KeelsonError) => void
}

/**
 * What callers have asked of one replica and were not answered yet. Every request ends: with its outcome, or at the latest
 * some time after leadership was lost, or when the replica stops.
 */
export class ReplicaRequests {
  readonly #options: ReplicaRequestsOptions
  readonly #proposals = new PendingProposals()
  readonly #reads: PendingReads
  readonly #forwarder: Forwarder
  readonly #joints = new PendingJoints()
  #transfers: PendingTransfer[] = []
  /** When proposals of an earlier leadership are given up, if they are still open. */
  #graceDeadlineMs = Number.POSITIVE_INFINITY

  constructor(options: ReplicaRequestsOptions) {
    this.#options = options
    this.#reads = new PendingReads(options.lastReadContext)
    const { groupId, core, limits, random, peerOf, send } = options
    this.#forwarder = new Forwarder({
      groupId,
      core,
      limits,
      random,
      peerOf,
      send,
      notLeader: () => this.#notLeader(),
      proposeHere: (proposal) => this.propose(proposal),
    })
  }

  /** Nobody waits for anything, and nothing is known of anybody. */
  get isIdle(): boolean {
    return (
      !this.#proposals.hasWaiting &&
      !this.#proposals.hasAppended &&
      this.#reads.isEmpty &&
      this.#forwarder.count === 0 &&
      this.#joints.isEmpty &&
      this.#transfers.length === 0 &&
      this.#graceDeadlineMs === Number.POSITIVE_INFINITY
    )
  }

  /** Proposals whose outcome is open. */
  get pendingProposals(): number {
    return this.#proposals.count + this.#forwarder.count
  }

  get lastReadContext(): number {
    return this.#reads.lastContext
  }

  get nextDeadlineMs(): number {
    return Math.min(this.#graceDeadlineMs, this.#forwarder.nextDeadlineMs)
  }

  /** Takes a proposal for the next turn, unless it is refused at once. */
  propose(proposal: PendingProposal): KeelsonError | undefined {
    const { core, limits, maximumEntryBytes, groupId } = this.#options
    if (core.role !== 'leader' && proposal.forward === undefined) return this.#notLeader()
    const { length } = proposal.data
    if (length > maximumEntryBytes) {
      return new KeelsonError(
        'LIMIT_EXCEEDED',
        `an entry of ${length} bytes was proposed to group ${groupId}, but one holds at most ${maximumEntryBytes}; split it`,
        { details: { bytes: length, maximum: maximumEntryBytes } },
      )
    }
    if (core.role !== 'leader') return this.#forward(proposal)
    const { count, bytes } = this.#proposals
    if (
      count >= limits.maximumPendingProposals ||
      (count > 0 && bytes + length > limits.maximumPendingBytes)
    ) {
      return new KeelsonError(
        'OVERLOADED',
        `group ${groupId} has ${count} open proposals of ${bytes} bytes; back off, then try again`,
        { details: { count, bytes } },
      )
    }
    this.#proposals.add(proposal)
    this.#options.schedule()
    return undefined
  }

  abandon(proposal: PendingProposal): 'none' | 'unknown' {
    return this.#forwarder.abandon(proposal) ?? this.#proposals.abandon(proposal)
  }

  /** The leader answered what was forwarded to it. */
  forwardAnswered(reply: ForwardReply, nowMs: number): void {
    this.#forwarder.answered(reply, nowMs)
  }

  peerLost(nodeId: NodeId): void {
    this.#forwarder.peerLost(nodeId)
  }

  read(read: PendingRead): KeelsonError | undefined {
    const { core, limits, groupId } = this.#options
    if (core.role !== 'leader' && (read.request.from === 'leader' || core.leader === 0))
      return this.#notLeader()
    const { count } = this.#reads
    if (count >= limits.maximumPendingReads) {
      return new KeelsonError(
        'OVERLOADED',
        `group ${groupId} has ${count} reads waiting; back off, then try again`,
      )
    }
    this.#reads.add(read)
    this.#options.schedule()
    return undefined
  }

  /**
   * `settle` gets the new configuration when its entry is applied; after a joint one that is left by itself, the one that
   * follows it. Or an error.
   *
   * @returns what stands for the caller who waits, to be given to `abandon`
   */
  changeMembership(
    changes: MembershipChange | readonly MembershipChange[],
    options: MembershipOptions,
    nowMs: number,
    settle: (outcome: Configuration | KeelsonError) => void,
  ): PendingProposal | KeelsonError {
    // What was proposed before comes before it in the log.
    this.#submitAll(nowMs)
    const answer = this.#options.core.changeMembership(changes, options, nowMs)
    this.#options.schedule()
    if (!answer.accepted) return this.#refused(answer)
    const { index, term, configuration } = answer
    let reached = configuration
    const place = { kind: entryKinds.configuration, data: emptyBytes }
    const caller: PendingProposal = {
      ...place,
      index,
      term,
      settle: (outcome) => settle(outcome instanceof KeelsonError ? outcome : reached),
    }
    const tell = (outcome: EntryOutcome): void => {
      const { settle: told } = caller
      caller.settle = undefined
      told?.(outcome, index)
    }
    const leave = (outcome: Configuration | KeelsonError): void => {
      if (outcome instanceof KeelsonError) return tell(outcome)
      reached = outcome
      tell(emptyBytes)
    }
    const entry: PendingProposal = {
      ...place,
      index: 0,
      term: 0,
      settle: (outcome) => {
        if (outcome instanceof KeelsonError || configuration.joint?.autoLeave !== true) tell(outcome)
        else this.#joints.add({ index, term, settle: leave })
      },
    }
    this.#proposals.add(entry)
    this.#proposals.appended(this.#proposals.takeWaiting(), index, term)
    return caller
  }

  transferLeadership(to: ReplicaId, nowMs: number, waiting: PendingTransfer): KeelsonError | undefined {
    this.#submitAll(nowMs)
    const answer = this.#options.core.transferLeadership(to, nowMs)
    this.#options.schedule()
    if (!answer.accepted) return this.#refused(answer)
    this.#transfers.push(waiting)
    return undefined
  }

  /** Gives the core what waits, as much as one turn and one write should hold. */
  submit(nowMs: number): void {
    this.#forwarder.submit(nowMs)
    this.#submitProposals(nowMs)
    if (this.#proposals.hasWaiting) this.#options.schedule()
    while (this.#reads.hasWaiting) this.#requestReads()
  }

  #requestReads(): void {
    const { core, clock } = this.#options
    const { context, request } = this.#reads.request()
    // Not the time of the turn: a read may have been asked for since, and its lease must hold after that.
    core.observeWall(clock.wallMs())
    const answer = core.requestRead(context, clock.monotonicMs(), request)
    if (!answer.accepted) this.#reads.failed(context, this.#refused(answer))
  }

  /** What the core has to say to those who wait. `appliedIndex` is that of the state machine. */
  answer(ready: Ready, appliedIndex: number, nowMs: number): void {
    for (const { context, index } of ready.reads) this.#reads.confirmed(context, index, appliedIndex)
    for (const context of ready.failedReads) {
      this.#reads.failed(context, this.#notLeader('the read lost its leader'))
    }
    if (ready.leadership !== undefined) this.#leadershipChanged(ready.leadership, nowMs)
    if (ready.transfer === undefined) return
    const transfers = this.#transfers
    this.#transfers = []
    for (const { resolve, reject } of transfers) {
      if (ready.transfer.outcome === 'done') resolve()
      else reject(transferFailed(this.#options.groupId))
    }
  }

  applied(entries: readonly LogEntry[], outcomes: Outcomes, appliedIndex: number): void {
    this.#proposals.applied(entries, outcomes)
    this.#joints.applied(entries)
    this.#reads.applied(appliedIndex)
    if (!this.#proposals.hasAppended && this.#joints.isEmpty) this.#graceDeadlineMs = Number.POSITIVE_INFINITY
  }

  /** The state was replaced by a snapshot that reaches up to `index`, with this configuration. */
  skippedTo(index: number, configuration: Configuration): void {
    this.#proposals.skippedTo(index)
    this.#joints.skippedTo(index, configuration)
    this.#reads.applied(index)
  }

  advance(nowMs: number): void {
    this.#forwarder.advance(nowMs)
    if (nowMs < this.#graceDeadlineMs) return
    this.#graceDeadlineMs = Number.POSITIVE_INFINITY
    const { core } = this.#options
    const below = core.role === 'leader' ? core.term : Number.POSITIVE_INFINITY
    this.#proposals.failAppended(below, outcomeUnknown('leadership was lost before it was applied here'))
    this.#joints.fail(below, () => jointNotLeft())
  }

  failAll(error: KeelsonError): void {
    const without = noEffect(error)
    this.#forwarder.failAll(without)
    this.#proposals.failWaiting(without)
    this.#proposals.failAppended(Number.POSITIVE_INFINITY, outcomeUnknown(error.message, error))
    this.#joints.fail(Number.POSITIVE_INFINITY, () => jointNotLeft(error))
    this.#reads.failAll(without)
    for (const { reject } of this.#transfers) reject(without)
    this.#transfers = []
  }

  /**
   * Proposals of a leadership that ended are mostly committed by the next leader, so they are given some time to turn out.
   * Not for ever: what was cut off this log may never be heard of again.
   */
  #leadershipChanged({ role, term }: Leadership, nowMs: number): void {
    this.#forwarder.leadershipChanged()
    if (this.#forwarder.count > 0) this.#options.schedule()
    const oldestTerm = this.#joints.oldestTerm ?? this.#proposals.oldestTerm
    if (oldestTerm === undefined || (role === 'leader' && oldestTerm === term)) return
    const deadlineMs = nowMs + this.#options.limits.lostLeadershipGraceMs
    this.#graceDeadlineMs = Math.min(this.#graceDeadlineMs, deadlineMs)
  }

  #submitAll(nowMs: number): void {
    while (this.#proposals.hasWaiting) this.#submitProposals(nowMs)
  }

  #submitProposals(nowMs: number): void {
    if (!this.#proposals.hasWaiting) return
    const waiting = this.#proposals.takeWaiting(maximumTurnBytes)
    const answer = this.#options.core.propose(waiting, nowMs)
    if (answer.accepted) {
      this.#proposals.appended(waiting, answer.firstIndex, answer.term)
      return
    }
    const error = this.#refused(answer)
    for (const proposal of waiting) {
      // Leadership went while it waited for the turn: it had no effect, so it may go on to whoever leads now.
      if (answer.reason === 'notLeader' && proposal.forward !== undefined) this.#passOn(proposal, nowMs)
      else this.#proposals.settle(proposal, error)
    }
  }

  #passOn(proposal: PendingProposal, nowMs: number): void {
    const { settle } = proposal
    this.#proposals.settle(proposal, undefined)
    proposal.settle = settle
    const refusal = this.#forwarder.add(proposal, nowMs)
    if (refusal === undefined) this.#options.schedule()
    else settle?.(outcomeOf(proposal, refusal), 0)
  }

  /** Sends a proposal on to the leader with the next turn. */
  #forward(proposal: PendingProposal): KeelsonError | undefined {
    if (this.#options.quarantined()) return this.#notLeader()
    const refusal = this.#forwarder.add(proposal, this.#options.nowMs())
    if (refusal === undefined) this.#options.schedule()
    return refusal
  }

  #refused(refused: Refused): KeelsonError {
    return refusalError(this.#options.groupId, refused.reason, this.#options.leaderHint())
  }

  #notLeader(why?: string): KeelsonError {
    const { groupId, quarantined, leaderHint } = this.#options
    if (!quarantined()) return notLeader(groupId, leaderHint(), why)
    return new KeelsonError(
      'QUARANTINED',
      `this replica of group ${groupId} lost what it had acknowledged; remove it and add a new one`,
    )
  }
}

/** The change is in the log for good; only its end was not seen. */
function jointNotLeft(cause?: KeelsonError): KeelsonError {
  return new KeelsonError(
    'OUTCOME_UNKNOWN',
    'the change is committed, but this replica did not see the joint configuration end: the next leader ends it',
    { cause },
  )
}

/** The same error for what had no effect. */
function noEffect(error: KeelsonError): KeelsonError {
  return new KeelsonError(error.code, error.message, {
    details: error.details,
    cause: error.cause ?? error,
    retryable: error.retryable,
    outcome: 'none',
  })
}

function transferFailed(groupId: GroupId): KeelsonError {
  return new KeelsonError(
    'TIMEOUT',
    `leadership of group ${groupId} was not handed over in time; this replica goes on leading if it can`,
  )
}
