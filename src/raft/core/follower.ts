import { KeelsonError } from '../../core/errors.ts'
import { entryKinds, type LogEntry, type LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { RaftCover } from './cover.ts'
import type { Configuration } from './membership-types.ts'
import type { AppendRequest, Heartbeat, Message, SnapshotOffer } from './messages.ts'
import { noneOf } from './none.ts'

/** How a replica follows: Raft sections 5.3 and 7. */
export abstract class RaftFollower extends RaftCover {
  /**
   * Takes the sender of an append, heartbeat or snapshot offer of this term for the leader. There is one leader a term,
   * so a message of a second one is nonsense.
   */
  acceptLeader(from: ReplicaId): boolean {
    if (this.role === 'leader' || (this.termLeader !== 0 && this.termLeader !== from)) {
      this.drop('secondLeader')
      return false
    }
    if (this.role !== 'follower') this.becomeFollower(this.term, from)
    this.atRest = false
    this.endOlderCover()
    this.setLeader(from)
    this.leaderHeardMs = this.nowMs
    this.armElection()
    return true
  }

  handleAppend(request: AppendRequest): void {
    if (!this.acceptLeader(request.from) || this.quarantined) return
    let { prevIndex, prevTerm, entries } = request
    if (prevIndex < this.commitIndex) {
      // What is committed here is in the leader's log as well: nothing about it needs to be compared or changed.
      const known = this.commitIndex - prevIndex
      if (known >= entries.length) {
        this.acknowledge(this.commitIndex)
        return
      }
      prevTerm = this.log.termAt(this.commitIndex) as number
      if ((entries[known - 1] as LogEntry).term !== prevTerm) return this.drop('contradictsCommitted')
      prevIndex = this.commitIndex
      entries = entries.slice(known)
    }
    if (!this.log.matches(prevIndex, prevTerm)) {
      this.refuseAppend(request)
      return
    }
    this.takeEntries(entries)
    const proven = prevIndex + entries.length
    this.provenIndex = Math.max(this.provenIndex, proven)
    this.commitTo(this.commitFromLeader(request.commit, proven))
    this.acknowledge(proven)
  }

  /** A follower commits what the leader has committed, but only where its own log was proven equal. */
  commitFromLeader(commit: number, provenIndex: number): number {
    return Math.min(commit, provenIndex)
  }

  /** Appends what is new. Cuts off only what contradicts, from the first contradiction on. */
  takeEntries(entries: readonly LogEntry[]): void {
    let fresh = 0
    while (fresh < entries.length) {
      const entry = entries[fresh] as LogEntry
      if (!this.log.matches(entry.index, entry.term)) break
      fresh++
    }
    const first = entries[fresh]
    if (first === undefined) return
    if (first.index <= this.log.lastIndex) this.truncateFrom(first.index)
    this.appendToLog(fresh === 0 ? entries : entries.slice(fresh))
  }

  /** Appends entries; a configuration among them takes effect at once. */
  appendToLog(entries: readonly LogEntry[]): void {
    this.log.append(entries)
    let changed = false
    for (const entry of entries) {
      if (entry.kind !== entryKinds.configuration) continue
      this.configurations.append(entry.index, entry.data)
      changed = true
    }
    if (changed) this.configurationChanged()
  }

  truncateFrom(index: number): void {
    this.log.truncateFrom(index)
    // An acknowledgement that has not left yet must not speak for what was cut.
    this.deferred = this.deferred.filter(
      (message) => !(message.kind === 'appendReply' && message.accepted && message.index >= index),
    )
    this.provenIndex = Math.min(this.provenIndex, index - 1)
    this.rollBackConfiguration(index)
  }

  /** The configuration in force before the truncated entries is in force again. */
  rollBackConfiguration(index: number): void {
    if (this.configurations.latestIndex < index) return
    this.configurations.truncateFrom(index)
    this.configurationChanged()
  }

  /** Everything up to `index` equals the leader's log; says so once it is durable. A turn's appends have one answer. */
  acknowledge(index: number): void {
    // A snapshot that was on its way to a replica that is quarantined now is nothing to count on either.
    if (this.leader === 0 || this.quarantined) return
    const last = this.deferred.at(-1)
    if (last?.kind === 'appendReply' && last.to === this.leader && last.term === this.term) {
      if (last.index >= index) return
      this.deferred = this.deferred.slice(0, -1)
    }
    this.sendAfterWrite(this.appendReply(this.leader, index, true))
  }

  /** The log does not have the request's preceding entry: names the last one at which the two can still agree. */
  refuseAppend(request: AppendRequest): void {
    const hintIndex = this.log.lastIndexWithTermAtMost(request.prevIndex, request.prevTerm)
    const hintTerm = this.log.termAt(hintIndex) as number
    this.send(this.appendReply(request.from, request.prevIndex, false, hintIndex, hintTerm))
  }

  appendReply(to: ReplicaId, index: number, accepted: boolean, hintIndex = 0, hintTerm = 0): Message {
    return { kind: 'appendReply', ...this.header(to), index, accepted, hintIndex, hintTerm }
  }

  handleHeartbeat(heartbeat: Heartbeat): void {
    if (!this.acceptLeader(heartbeat.from)) return
    if (this.hasForgotten(heartbeat.match)) this.quarantine()
    if (this.quarantined) return
    this.commitTo(this.commitFromLeader(heartbeat.commit, this.provenIndex))
    const { round } = heartbeat
    if (round === 0) return
    this.pledge()
    const epoch = this.rest(heartbeat)
    this.send({
      kind: 'heartbeatReply',
      ...this.header(heartbeat.from),
      round,
      pledgeMs: this.pledgedMs(),
      ...(epoch === 0 ? {} : { epoch }),
    })
    if (this.lacksProof(heartbeat.commit)) this.acknowledge(this.provenIndex)
  }

  /**
   * What the leader takes for proven was proven to a former life of this replica, in the same term. It learns of that by an
   * acknowledgement of less than it had, and proves it again.
   */
  lacksProof(commit: number): boolean {
    return commit > this.provenIndex
  }

  /**
   * The leader holds an acknowledgement of this replica, of this term, for entries that it does not have. A log never
   * loses what its term's leader has seen acknowledged, so the disk did.
   */
  hasForgotten(acknowledged: number): boolean {
    return acknowledged > this.log.lastIndex
  }

  /** Its host ends the epoch under which it rests, if it does: until then its node goes on pledging itself for it. */
  quarantine(): void {
    if (this.quarantined) return
    this.quarantined = true
    this.pendingQuarantine = true
    // What it has just said is not to be relied on, whether it waits for the disk or not.
    this.outbox = noneOf()
    this.deferred = noneOf()
    this.coverEpoch = 0
    if (this.role !== 'follower') this.becomeFollower(this.term, 0)
    else if (this.atRest) this.wakeUp()
  }

  handleSnapshotOffer(offer: SnapshotOffer): void {
    if (!this.acceptLeader(offer.from) || this.quarantined) return
    const { position } = offer
    if (position.index <= this.commitIndex) {
      this.acknowledge(this.commitIndex)
      return
    }
    if (this.log.matches(position.index, position.term)) {
      // The leader has compacted it, so it is committed; and a log that has it has all that comes before.
      this.provenIndex = Math.max(this.provenIndex, position.index)
      this.commitTo(position.index)
      this.acknowledge(position.index)
      return
    }
    const { restoring } = this
    if (restoring !== undefined && restoring.from === offer.from && restoring.term === offer.term) return
    this.restoring = { from: offer.from, term: offer.term, position }
    this.pendingOffer = this.restoring
  }

  /** The state machine holds a snapshot now; the log and the configuration follow. */
  installSnapshot(position: LogPosition, configuration: Configuration): void {
    this.restoring = undefined
    this.pendingOffer = undefined
    if (position.index <= this.appliedIndex) return
    if (!this.log.matches(position.index, position.term)) {
      if (position.index <= this.commitIndex) {
        throw new KeelsonError(
          'CORRUPTION',
          `a snapshot at ${position.index} of term ${position.term} contradicts the committed log: this replica must be replaced`,
        )
      }
      // Whoever sent it may have moved on to a later term since the offer: a log never ends in a term above its replica's.
      if (this.role === 'leader' || position.term > this.term) {
        this.becomeFollower(Math.max(this.term, position.term), 0)
      }
      this.resetLog(position, configuration)
    } else this.log.coverBySnapshot(position.index)
    this.handedIndex = Math.max(this.handedIndex, position.index)
    this.appliedIndex = position.index
    this.applying = this.applying.filter((batch) => batch.lastIndex > position.index)
    this.commitTo(position.index)
    this.acknowledge(this.commitIndex)
  }

  /** Log and configuration become those of the snapshot. Nothing of the old ones stays. */
  resetLog(position: LogPosition, configuration: Configuration): void {
    this.log.reset(position)
    this.deferred = this.deferred.filter((message) => message.kind !== 'appendReply')
    this.configurations.reset(position.index, configuration)
    this.provenIndex = Math.max(this.commitIndex, position.index)
    this.configurationChanged()
  }
}
