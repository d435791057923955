import { checkArray, checkBytes, checkInteger, checkObject } from '../../core/arguments.ts'
import { abortError, type CallOptions, onAbort, throwIfAborted } from '../../core/async.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { booleanOption, checkCall } from '../../core/options.ts'
import { entryKinds } from '../../interfaces/log-store.ts'
import { checkId, checkName, type GroupId, type ReplicaId } from '../../model/ids.ts'
import { checkMembershipChanges } from '../core/configuration-change.ts'
import type { Configuration, MembershipChange, MembershipOptions } from '../core/membership-types.ts'
import type { ReadMode, ReadRequest } from '../core/types.ts'
import { checkSequences, maximumBatchCommands, type SequencedCommand } from './batch-envelope.ts'
import { BatchProposal } from './batch-proposal.ts'
import { type CommandId, encodeEnvelope } from './envelope.ts'
import { GroupReports, type GroupSetup, leaderOf } from './group-reports.ts'
import type {
  ChangeMembershipOptions,
  ForwardOptions,
  GroupStatus,
  LeaseToken,
  ProposeBatchOptions,
  ProposeOptions,
  RaftGroupEvents,
  ReadOptions,
  ReplaceOptions,
  ReplicaProgress,
} from './group-types.ts'
import { LeaseFence } from './lease-fence.ts'
import { type CommandResult, staleSequence } from './outcomes.ts'
import type { PendingProposal } from './pending-proposals.ts'
import type { PendingRead } from './pending-reads.ts'
import { notLeader } from './refusals.ts'
import { type Replacement, replaceReplica } from './replacement.ts'
import type { Replica } from './replica.ts'
import type { ReplicaListener } from './replica-port.ts'
import { encodeSessionEntry, maximumEvictions } from './session-entry.ts'
import { callChannels, traced } from './tracing.ts'

/** This node's replica of one Raft group: what a host program holds. Made by a RaftHost. */
export class RaftGroup {
  /** The group that it is a replica of. */
  readonly groupId: GroupId
  readonly #setup: GroupSetup
  readonly #reports: GroupReports
  #replica: Replica | undefined
  #stopped: KeelsonError | undefined

  /** @internal */
  constructor(groupId: GroupId, setup: GroupSetup) {
    this.groupId = groupId
    this.#setup = setup
    this.#reports = new GroupReports(this, setup.env.logger)
  }

  /**
   * Appends a command and resolves with the state machine's result once this replica, or the leader that it was forwarded
   * to, has applied it. Proposals of one turn of the event loop are replicated together. `data` may be reused after the
   * call.
   *
   * @throws KeelsonError `NOT_LEADER` (no effect; details carry `leaderNodeId`), `OUTCOME_UNKNOWN` (leadership was lost
   * on the way: try again with the same command id), `STALE_SEQUENCE`, `SESSION_UNKNOWN`, `OVERLOADED`,
   * `LIMIT_EXCEEDED`, `ABORTED`, `CLOSED`, `STORE_POISONED`, `QUARANTINED`
   */
  // Not an async function: the hot path, where one promise is enough.
  propose(data: Uint8Array, options: ProposeOptions = {}): Promise<Uint8Array> {
    if (!callChannels.propose.hasSubscribers) return this.#proposeCommand(data, options)
    return traced(callChannels.propose, () => this.#proposeCommand(data, options), this.groupId)
  }

  #proposeCommand(data: Uint8Array, options: ProposeOptions): Promise<Uint8Array> {
    try {
      checkBytes(data, 'a command')
      checkCall('propose', options, proposeOptions)
      const { commandId, token, signal } = options
      throwIfAborted(signal)
      const replica = this.#running()
      if (commandId !== undefined) checkCommandId(commandId, options.acknowledgedBelow)
      else if (options.acknowledgedBelow !== undefined) throw withoutCommandId()
      if (token !== undefined) this.#checkToken(token, replica, commandId !== undefined)
      const entry = encodeEnvelope(data, token?.sequence ?? 0, commandId, options.acknowledgedBelow ?? 0)
      const forward = this.#forward(options, commandId !== undefined)
      return this.#propose(replica, entryKinds.command, entry, { signal, forward }, (result) => result)
    } catch (error) {
      return Promise.reject(toKeelsonError(error))
    }
  }

  /**
   * Appends commands of one client session, by ascending sequence, and resolves when this replica has applied them, with the
   * result of each, or why it has none. It is as if each had been proposed by itself with its command id, in this order, at
   * a fraction of the cost: they go into the log as one entry where every member reads such entries, and where a member runs
   * an older release as an entry each. They are no transaction: some may take effect and others not, and in a repetition
   * only those take effect that have not done so before. Never forwarded. `data` may be reused after the call.
   *
   * @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`, `ABORTED`, `CLOSED`, `STORE_POISONED`, `NOT_LEADER`; what goes
   * wrong later is the outcome of the commands that it befell, as {@link RaftGroup.propose} throws it
   */
  // Not an async function, as above.
  proposeBatch(
    commands: readonly SequencedCommand[],
    options: ProposeBatchOptions,
  ): Promise<readonly CommandResult[]> {
    try {
      const propose = (): Promise<readonly CommandResult[]> => this.#proposeBatch(commands, options)
      return traced(callChannels.proposeBatch, propose, this.groupId)
    } catch (error) {
      return Promise.reject(toKeelsonError(error))
    }
  }

  #proposeBatch(
    commands: readonly SequencedCommand[],
    options: ProposeBatchOptions,
  ): Promise<readonly CommandResult[]> {
    checkCall('proposeBatch', options, ['session', 'acknowledgedBelow', 'token'])
    checkArray(commands, 'the list of commands', maximumBatchCommands)
    for (const command of commands) checkBytes(checkObject(command, 'a command').data, 'a command')
    checkSequences(commands)
    const { session, acknowledgedBelow = 0, token, signal } = options
    checkInteger(session, 'a client session', 1)
    checkInteger(acknowledgedBelow, 'acknowledgedBelow')
    throwIfAborted(signal)
    const replica = this.#running()
    if (token !== undefined) this.#checkToken(token, replica, true)
    const header = { tokenSequence: token?.sequence ?? 0, session, acknowledgedBelow }
    return new Promise((resolve) => {
      const batch = new BatchProposal(commands, header, resolve)
      for (const proposal of batch.entries(replica.batchLimits)) {
        const refusal = replica.propose(proposal)
        if (refusal !== undefined) proposal.settle?.(refusal, 0)
        else if (signal !== undefined) {
          const { settle } = proposal
          whenAborted(signal, proposal, () =>
            settle?.(abortError(signal, replica.abandonProposal(proposal)), 0),
          )
        }
      }
    })
  }

  /**
   * Registers a client session, to which command ids belong, and resolves with its id. The longest unused session ends
   * when there are too many.
   *
   * @throws KeelsonError as {@link RaftGroup.propose}
   */
  async openSession(options: ForwardOptions = {}): Promise<number> {
    checkCall('openSession', options, ['forward'])
    throwIfAborted(options.signal)
    const replica = this.#running()
    const { maximumSessions, resultsPerSession, sessionIdleEntries } = this.#setup.limits
    const { appliedIndex } = replica.core
    const entry = encodeSessionEntry({
      type: 'register',
      maximumSessions,
      resultsPerSession,
      unusedBefore: sessionIdleEntries === 0 ? 0 : Math.max(0, appliedIndex - sessionIdleEntries),
    })
    // One that is registered twice is evicted like any other that nobody uses.
    const call = { signal: options.signal, forward: this.#forward(options, true) }
    return this.#propose(replica, entryKinds.session, entry, call, (_result, index) => index)
  }

  /**
   * Ends client sessions and forgets their results. Unknown ones are ignored.
   *
   * @throws KeelsonError as {@link RaftGroup.propose}
   */
  async closeSessions(sessions: readonly number[], options: ForwardOptions = {}): Promise<void> {
    checkCall('closeSessions', options, ['forward'])
    throwIfAborted(options.signal)
    checkArray(sessions, 'the list of sessions to end', maximumEvictions)
    // What stands in an entry of the log is read by every replica: nothing but numbers may get there.
    for (const session of sessions) checkInteger(session, 'a client session', 1)
    const entry = encodeSessionEntry({ type: 'evict', sessions })
    const call = { signal: options.signal, forward: this.#forward(options, true) }
    await this.#propose(this.#running(), entryKinds.session, entry, call, () => undefined)
  }

  /**
   * A read barrier (section 6.4 of Ongaro's thesis): when it resolves, the local state machine has everything that was
   * acknowledged before the call. Calls of one turn share one round of messages; a leader with a valid lease needs none.
   *
   * @throws KeelsonError `NOT_LEADER` (details carry `leaderNodeId`; with `from: 'any'` when the leader is not known or does
   * not answer), `INVALID_ARGUMENT`, `OVERLOADED`, `ABORTED`, `CLOSED`, `STORE_POISONED`, `QUARANTINED`
   */
  // Not an async function: by a lease there is not even a promise to make.
  read(options: ReadOptions = {}): Promise<void> {
    try {
      checkCall('read', options, readOptions)
      const { signal } = options
      throwIfAborted(signal)
      const replica = this.#running()
      const request = checkReadRequest(options.readMode ?? replica.readMode, options.from ?? 'leader')
      if (replica.mayReadAtOnce(request)) return served
      return traced(callChannels.read, () => this.#read(replica, request, signal), this.groupId)
    } catch (error) {
      return Promise.reject(toKeelsonError(error))
    }
  }

  #read(replica: Replica, request: Required<ReadRequest>, signal: AbortSignal | undefined): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const read: PendingRead = {
        request,
        settle: (error) => {
          if (error === undefined) resolve()
          else reject(error)
        },
      }
      const refusal = replica.read(read)
      if (refusal !== undefined) reject(refusal)
      else if (signal !== undefined) {
        whenAborted(signal, read, () => {
          read.settle = undefined
          reject(abortError(signal))
        })
      }
    })
  }

  /**
   * The right to serve, if this replica has it: it leads, and has applied the first entry of its term. Synchronous, no
   * I/O. Another replica may have taken over without this one knowing it yet, so what a command does must be guarded by
   * the token, and what a read returns by {@link RaftGroup.read}.
   */
  token(): LeaseToken | undefined {
    const sequence = this.#replica?.token
    return sequence === undefined ? undefined : { groupId: this.groupId, sequence }
  }

  /**
   * Changes the members, with all changes of a list at once, and resolves with the new configuration when it is committed
   * and applied here. Where more than one voter changes, a joint configuration comes first, in which decisions take the
   * voters before and those after (section 4.3 of Ongaro's thesis); the leader, whoever leads by then, leaves it as soon as
   * it is committed, and the call resolves after that. With `autoLeave: false` it resolves with the joint configuration,
   * which stays until a change `leaveJoint`.
   *
   * One call at a time: the next one is refused until this one is done.
   *
   * @throws KeelsonError `NOT_LEADER`, `STALE_GENERATION`, `CONFLICT` (details.reason: `changeInProgress`, `notReady`,
   * `notCaughtUp`, `duplicateNode`, `joint`, `notJoint`), `NOT_FOUND`, `INVALID_ARGUMENT` (the last voter; a list that
   * contradicts itself), `OUTCOME_UNKNOWN`, `ABORTED`
   */
  async changeMembership(
    changes: MembershipChange | readonly MembershipChange[],
    options: ChangeMembershipOptions = {},
  ): Promise<Configuration> {
    checkCall('changeMembership', options, ['expectedGeneration', 'autoLeave'])
    checkMembershipChanges(changes)
    const { signal, ...how } = options
    if (how.expectedGeneration !== undefined) checkInteger(how.expectedGeneration, 'expectedGeneration')
    if (how.autoLeave !== undefined) booleanOption()(how.autoLeave, 'autoLeave')
    throwIfAborted(signal)
    const replica = this.#running()
    const change = (): Promise<Configuration> => this.#changeMembership(replica, changes, how, signal)
    return traced(callChannels.changeMembership, change, this.groupId)
  }

  #changeMembership(
    replica: Replica,
    changes: MembershipChange | readonly MembershipChange[],
    how: MembershipOptions,
    signal: AbortSignal | undefined,
  ): Promise<Configuration> {
    return new Promise<Configuration>((resolve, reject) => {
      const proposal = replica.changeMembership(changes, how, (outcome) => {
        if (outcome instanceof KeelsonError) reject(outcome)
        else resolve(outcome)
      })
      if (proposal instanceof KeelsonError) reject(proposal)
      else if (signal !== undefined) {
        whenAborted(signal, proposal, () => reject(abortError(signal, replica.abandonProposal(proposal))))
      }
    })
  }

  /**
   * Replaces a replica by one on another node, in one operation: adds a learner there, waits until it has caught up, and
   * swaps the two in one joint step, so that the group never has a voter more or less. Level-triggered: it goes on from where
   * the group stands, so after an error, and on another leader, it can simply be called again.
   *
   * @returns the configuration that has the one and not the other, committed
   *
   * @throws KeelsonError `NOT_LEADER`, `NOT_FOUND` (no such replica), `CONFLICT` (the node has the very replica that goes, or
   * one of another life of its data), `TIMEOUT` (the learner stays), `OUTCOME_UNKNOWN`, `ABORTED`
   */
  async replace(replacement: Replacement, options: ReplaceOptions = {}): Promise<Configuration> {
    checkCall('replace', options, ['catchUpTimeoutMs'])
    checkObject(replacement, 'a replacement')
    checkId(replacement.replicaId, 'the replica that is replaced')
    checkName(replacement.nodeId, 'the node of the new replica')
    checkId(replacement.incarnation, 'the incarnation of the new replica')
    if (options.catchUpTimeoutMs !== undefined) checkInteger(options.catchUpTimeoutMs, 'catchUpTimeoutMs')
    throwIfAborted(options.signal)
    this.#running()
    const port = {
      groupId: this.groupId,
      env: this.#setup.env,
      status: () => this.status(),
      changeMembership: this.changeMembership.bind(this),
    }
    return replaceReplica(port, replacement, options)
  }

  /**
   * Hands leadership to a voter and resolves when this replica has given it up to it. Proposals are refused meanwhile.
   *
   * @throws KeelsonError `NOT_LEADER`, `NOT_FOUND`, `UNREACHABLE` (the voter has not answered for an election timeout, so
   * nothing was begun), `TIMEOUT` (this replica leads on, if it can), `ABORTED`
   */
  async transferLeadership(to: ReplicaId, options: CallOptions = {}): Promise<void> {
    checkCall('transferLeadership', options)
    checkId(to, 'the replica that leadership is handed to')
    const { signal } = options
    throwIfAborted(signal)
    const replica = this.#running()
    const transfer = (): Promise<void> => this.#transferLeadership(replica, to, signal)
    return traced(callChannels.transferLeadership, transfer, this.groupId)
  }

  #transferLeadership(replica: Replica, to: ReplicaId, signal: AbortSignal | undefined): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const handle: { settle: unknown } = { settle: resolve }
      const refusal = replica.transferLeadership(
        to,
        () => {
          handle.settle = undefined
          resolve()
        },
        (error) => {
          handle.settle = undefined
          reject(error)
        },
      )
      if (refusal !== undefined) reject(refusal)
      else if (signal !== undefined) whenAborted(signal, handle, () => reject(abortError(signal, 'unknown')))
    })
  }

  /**
   * Says that whoever led the group is gone, as the caller knows from elsewhere: this replica, a follower, votes for others
   * from now on as if it had never heard of it. Harmless when it is wrong: the leader's next message undoes it. Without
   * effect on a replica that leads, or is still empty.
   *
   * @throws KeelsonError `CLOSED`, or why the group stopped
   */
  forgetLeader(): void {
    if (this.#stopped !== undefined) throw this.#stopped
    this.#replica?.forgetLeader()
  }

  /**
   * Stands for election now, with a pre-vote first where that is on, if this replica is a voter and knows no leader: for a
   * group that was just split off, so that nobody waits for an election timeout. Without effect on one that leads, that
   * follows a leader, that is standing already, or that is still empty.
   *
   * @throws KeelsonError `CLOSED`, or why the group stopped
   */
  campaign(): void {
    if (this.#stopped !== undefined) throw this.#stopped
    this.#replica?.campaign()
  }

  /** The group as this replica sees it now. Synchronous, no I/O. */
  status(): GroupStatus {
    const replica = this.#replica
    const stopped = this.#stopped
    if (replica === undefined) return { ...waitingStatus, stopped }
    const status = replica.status()
    return {
      replicaId: status.replicaId,
      role: status.role,
      term: status.term,
      leader: leaderOf(replica, status.leader),
      commitIndex: status.commitIndex,
      appliedIndex: replica.applier.applied.index,
      lastIndex: status.lastIndex,
      configuration: status.configuration.committed,
      appliedConfiguration: replica.applier.configuration?.configuration,
      latestConfiguration: status.configuration.latest,
      sequence: replica.applier.sequence,
      progress: status.progress,
      recoveryGeneration: replica.recoveryGeneration,
      atRest: status.atRest,
      quarantined: status.quarantined,
      removed: replica.removed,
      stopped,
    }
  }

  /** Calls `listener` at each event of this name until the function that is returned is called. */
  on<K extends keyof RaftGroupEvents>(event: K, listener: RaftGroupEvents[K]): () => void {
    return this.#reports.on(event, listener)
  }

  /** Connects the group with its replica: `makeReplica` gets what the replica reports to. @internal */
  attach(makeReplica: (listener: ReplicaListener) => Replica): Replica {
    this.#replica = makeReplica(this.#reports)
    return this.#replica
  }

  /** @internal */
  get replica(): Replica | undefined {
    return this.#replica
  }

  /** @internal */
  stop(error: KeelsonError): void {
    if (this.#stopped !== undefined) return
    this.#stopped = error
    this.#replica?.stop(error)
    this.#reports.emit('stopped', error)
  }

  #forward(options: ForwardOptions, repeatable: boolean): PendingProposal['forward'] {
    const { forward = this.#setup.forwards } = options
    if (typeof forward !== 'boolean') booleanOption()(forward, 'forward')
    if (!forward) return undefined
    return repeatable ? 'repeatedly' : 'once'
  }

  #running(): Replica {
    if (this.#stopped !== undefined) throw this.#stopped
    if (this.#replica === undefined) {
      throw notLeader(this.groupId, { replicaId: 0, nodeId: undefined }, 'this replica is still empty')
    }
    return this.#replica
  }

  #propose<T>(
    replica: Replica,
    kind: PendingProposal['kind'],
    data: Uint8Array,
    call: { readonly signal: AbortSignal | undefined; readonly forward: PendingProposal['forward'] },
    result: (result: Uint8Array, index: number) => T,
  ): Promise<T> {
    const { signal, forward } = call
    return new Promise<T>((resolve, reject) => {
      const proposal: PendingProposal = {
        kind,
        data,
        forward,
        index: 0,
        term: 0,
        settle: (outcome, index) => {
          if (outcome instanceof KeelsonError) reject(outcome)
          else resolve(result(outcome as Uint8Array, index))
        },
      }
      const refusal = replica.propose(proposal)
      if (refusal !== undefined) reject(refusal)
      else if (signal !== undefined) {
        whenAborted(signal, proposal, () => reject(abortError(signal, replica.abandonProposal(proposal))))
      }
    })
  }

  /**
   * A stale token is refused at once. Not so a command with an id: an earlier attempt of it may be in the log, and only
   * its place there tells whether it took effect.
   */
  #checkToken(token: LeaseToken, replica: Replica, identified: boolean): void {
    checkObject(token, 'a token')
    if (token.groupId !== this.groupId) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a token of group ${token.groupId} was given to group ${this.groupId}; take one of this group`,
      )
    }
    if (!Number.isSafeInteger(token.sequence) || token.sequence <= 0) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        'the sequence of a token is a positive safe integer; take a token as the lease holder gave it',
      )
    }
    if (
      !identified &&
      replica.core.role === 'leader' &&
      LeaseFence.isOver(token.sequence, replica.core.term)
    ) {
      throw staleSequence(token.sequence, replica.core.term)
    }
  }
}

const proposeOptions = ['commandId', 'acknowledgedBelow', 'token', 'forward'] as const

function checkReadRequest(mode: ReadMode, from: 'leader' | 'any'): Required<ReadRequest> {
  if ((mode === 'lease' || mode === 'readIndex') && (from === 'leader' || from === 'any'))
    return { mode, from }
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `a read has the mode lease or readIndex and comes from leader or any, not ${JSON.stringify([mode, from])}`,
  )
}

const readOptions = ['readMode', 'from'] as const
const served = Promise.resolve()

const waitingStatus: Omit<GroupStatus, 'stopped'> = Object.freeze({
  replicaId: 0,
  role: 'follower',
  term: 0,
  leader: undefined,
  commitIndex: 0,
  appliedIndex: 0,
  lastIndex: 0,
  configuration: undefined,
  appliedConfiguration: undefined,
  latestConfiguration: undefined,
  sequence: 0,
  progress: new Map<ReplicaId, ReplicaProgress>(),
  recoveryGeneration: 0,
  atRest: false,
  quarantined: false,
  removed: false,
})

function withoutCommandId(): KeelsonError {
  return new KeelsonError(
    'INVALID_ARGUMENT',
    'acknowledgedBelow tells of the commands of a client session; give the commandId of this one as well',
  )
}

function checkCommandId(id: CommandId, acknowledgedBelow = 0): void {
  checkObject(id, 'a command id')
  const fits = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least
  if (fits(id.session, 1) && fits(id.sequence, 1) && fits(acknowledgedBelow, 0)) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    'a command id has a session and a sequence, both safe integers from 1; acknowledgedBelow is one from 0',
  )
}

/** Calls `abort` when the signal is aborted while `waiting` is not settled. The listener goes when it settles. */
function whenAborted<T extends { settle: unknown }>(
  signal: AbortSignal,
  waiting: T,
  abort: () => void,
): void {
  const inner = waiting.settle as ((...args: unknown[]) => void) | undefined
  if (inner === undefined) return
  const release = onAbort(signal, () => {
    if (waiting.settle !== undefined) abort()
  })
  waiting.settle = (...args: unknown[]): void => {
    release()
    inner(...args)
  }
}
