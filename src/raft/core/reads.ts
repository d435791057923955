import type { ReplicaId } from '../../model/ids.ts'
import { quorumValue } from './electorate.ts'
import { RaftLease } from './lease.ts'
import type { ReadIndexReply, ReadIndexRequest } from './messages.ts'
import { added, noneOf, without } from './none.ts'
import type { ReadReady, ReadRequest, RefusalReason } from './types.ts'

/** A follower's reads, all those of one turn, which its leader answers with one index. */
interface RemoteRead {
  readonly from: ReplicaId
  readonly requestId: number
  readonly lease: boolean
}

/** Reads that were bound to one round of heartbeats. */
interface ReadBatch {
  readonly round: number
  /** The commit index when the round went out: at least what was acknowledged before any of the reads was asked. */
  readonly index: number
  readonly contexts: readonly number[]
  readonly remote: readonly RemoteRead[]
}

/** What a follower has asked its leader for. */
interface AskedRead {
  readonly requestId: number
  readonly deadlineMs: number
  readonly contexts: readonly number[]
}

/**
 * Linearizable reads. On a leader by ReadIndex (thesis, section 6.4), a whole turn's reads bound to one round of
 * heartbeats, or at once while it holds a lease; on a follower by asking the leader for its index.
 */
export abstract class RaftReads extends RaftLease {
  /** Reads that no round of heartbeats was started for yet, in order. */
  waitingReads: readonly number[] = noneOf()
  waitingRemote: readonly RemoteRead[] = noneOf()
  /** Reads whose round is under way, by ascending round. */
  readBatches: readonly ReadBatch[] = noneOf()
  /** Reads in `readBatches`. */
  boundReads = 0
  servableReads: readonly ReadReady[] = noneOf()
  failedReads: readonly number[] = noneOf()

  /** On a follower: reads that the leader was not asked about yet, those that may be answered by its lease apart. */
  unaskedReads: readonly { readonly context: number; readonly lease: boolean }[] = noneOf()
  askedReads: readonly AskedRead[] = noneOf()
  /**
   * The last id under which the leader was asked. Never used twice, and neither by the next life of this replica, which would
   * take the answer to an old question for its own: so the first one is drawn at random.
   */
  readRequestId = 0

  abstract hasCommittedInTerm(): boolean

  /** When the leader's answer to the oldest question is not waited for any more. */
  get readDeadlineMs(): number {
    return this.askedReads[0]?.deadlineMs ?? Infinity
  }

  /** Reads that wait here, of whatever kind. */
  override get pendingReads(): number {
    let asked = this.unaskedReads.length
    for (const { contexts } of this.askedReads) asked += contexts.length
    return this.waitingReads.length + this.waitingRemote.length + this.boundReads + asked
  }

  refusalOfRead(request: ReadRequest): RefusalReason | undefined {
    const asks = request.from === 'any' && this.leader !== 0 && !this.quarantined
    if (this.role !== 'leader' && !asks) return 'notLeader'
    return this.pendingReads >= this.options.maximumPendingReads ? 'overloaded' : undefined
  }

  // On a leader

  readHere(context: number, request: ReadRequest): void {
    if (request.mode === 'lease' && this.mayReadByLease()) {
      this.servableReads = added(this.servableReads, { context, index: this.readIndex() })
    } else this.waitingReads = added(this.waitingReads, context)
  }

  /** Nothing that others acknowledged can be missing in what this leader has committed. */
  mayReadByLease(): boolean {
    return this.mayBindReads() && this.holdsLease()
  }

  /** Before its first commit a new leader does not know what was committed, and so acknowledged, before it. */
  mayBindReads(): boolean {
    return this.hasCommittedInTerm()
  }

  readIndex(): number {
    return this.commitIndex
  }

  /** Reads wait for a round: it is time for one. */
  wantsRound(): boolean {
    return this.waitingReads.length + this.waitingRemote.length > 0 && this.mayBindReads()
  }

  /** Reads that wait for the first commit of the term, or for the end of the turn. */
  override bindReads(): void {
    if (!this.wantsRound()) return
    const contexts = this.waitingReads
    const remote = this.waitingRemote
    this.waitingReads = noneOf()
    this.waitingRemote = noneOf()
    this.boundReads += contexts.length + remote.length
    const batch = { round: this.round, index: this.readIndex(), contexts, remote }
    this.readBatches = added(this.readBatches, batch)
  }

  /** The latest round that a quorum of the voters in force answered; one's own answer needs no message. */
  confirmedRound(): number {
    return quorumValue(this.electorate(), (voter) =>
      voter === this.replicaId ? this.round : this.progressOfVoter(voter).ackedRound,
    )
  }

  /** A read may be served once a round that began after it was asked proves that nobody else led by then. */
  canServeRead(batch: { readonly round: number }): boolean {
    return batch.round <= this.confirmedRound()
  }

  override confirmReads(): void {
    let done = 0
    for (const batch of this.readBatches) {
      if (!this.canServeRead(batch)) break
      for (const context of batch.contexts) {
        this.servableReads = added(this.servableReads, { context, index: batch.index })
      }
      for (const read of batch.remote) this.answerRead(read, batch.index)
      this.boundReads -= batch.contexts.length + batch.remote.length
      done++
    }
    this.readBatches = without(this.readBatches, done)
  }

  handleReadIndex(request: ReadIndexRequest): void {
    const { from, requestId, lease } = request
    if (this.progressOf(from) === undefined) return
    const read: RemoteRead = { from, requestId, lease }
    if (this.pendingReads >= this.options.maximumPendingReads) this.answerRead(read, 0)
    else this.waitingRemote = added(this.waitingRemote, read)
  }

  /** At the end of a turn, for which the host has told the wall time. */
  answerByLease(): void {
    if (this.waitingRemote.length === 0 || !this.mayReadByLease()) return
    for (const read of this.waitingRemote) if (read.lease) this.answerRead(read, this.readIndex())
    this.waitingRemote = this.waitingRemote.filter(({ lease }) => !lease)
  }

  /** Index 0: it cannot be answered. */
  answerRead({ from, requestId }: RemoteRead, index: number): void {
    // Whoever asks waits until it has applied as much.
    if (index > (this.progress.get(from)?.commitTold ?? index)) this.noticeDeadlineMs = this.nowMs
    this.send({ kind: 'readIndexReply', ...this.header(from), requestId, index })
  }

  /** Followers find out by themselves that their leader is none any more. */
  failReads(): void {
    for (const batch of this.readBatches) this.fail(batch.contexts)
    this.fail(this.waitingReads)
    // Confirmed, but not handed out: they must get an answer, too.
    this.fail(this.servableReads.map(({ context }) => context))
    this.servableReads = noneOf()
    this.readBatches = noneOf()
    this.waitingReads = noneOf()
    this.waitingRemote = noneOf()
    this.boundReads = 0
  }

  fail(contexts: readonly number[]): void {
    if (contexts.length > 0) this.failedReads = [...this.failedReads, ...contexts]
  }

  // On a follower

  readThere(context: number, request: ReadRequest): void {
    this.unaskedReads = added(this.unaskedReads, { context, lease: request.mode === 'lease' })
  }

  /** One question for all reads of a turn, or two: those that take no lease for an answer are asked apart. */
  askLeader(): void {
    if (this.unaskedReads.length === 0) return
    const reads = this.unaskedReads
    this.unaskedReads = noneOf()
    for (const lease of [true, false]) {
      const contexts = reads.filter((read) => read.lease === lease).map(({ context }) => context)
      if (contexts.length > 0) this.ask(contexts, lease)
    }
  }

  ask(contexts: readonly number[], lease: boolean): void {
    const requestId = this.nextReadRequestId()
    const deadlineMs = this.nowMs + this.options.electionTimeoutMs
    this.askedReads = added(this.askedReads, { requestId, deadlineMs, contexts })
    this.send({ kind: 'readIndex', ...this.header(this.leader), requestId, lease })
  }

  nextReadRequestId(): number {
    if (this.readRequestId === 0) this.readRequestId = this.random.integer(2 ** 48)
    return ++this.readRequestId
  }

  handleReadIndexReply(reply: ReadIndexReply): void {
    const asked = this.askedReads.find(({ requestId }) => requestId === reply.requestId)
    if (asked === undefined || reply.from !== this.leader) return this.drop('unknownRead')
    this.askedReads = this.askedReads.filter((other) => other !== asked)
    if (reply.index === 0) return this.fail(asked.contexts)
    for (const context of asked.contexts) {
      this.servableReads = added(this.servableReads, { context, index: reply.index })
    }
  }

  /** Nobody knows what became of the questions, or they are asked of somebody who does not lead any more. */
  failAsked(): void {
    for (const { contexts } of this.askedReads) this.fail(contexts)
    this.fail(this.unaskedReads.map(({ context }) => context))
    this.askedReads = noneOf()
    this.unaskedReads = noneOf()
  }

  failOverdueReads(): void {
    while (this.nowMs >= this.readDeadlineMs) {
      this.fail((this.askedReads[0] as AskedRead).contexts)
      this.askedReads = without(this.askedReads, 1)
    }
  }

  /** The term of the answer would be another one. */
  override adoptTerm(term: number): void {
    super.adoptTerm(term)
    this.failAsked()
  }

  override setLeader(leader: ReplicaId): void {
    if (leader !== this.leader) this.failAsked()
    super.setLeader(leader)
  }
}
