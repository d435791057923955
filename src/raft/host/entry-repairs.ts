import { deferred, onAbort, sleep, throwIfAborted } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { LogEntry, LogStore, LostEntries } from '../../interfaces/log-store.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import type { GroupId, ReplicaId } from '../../model/ids.ts'
import type { EntriesReply, EntriesRequest, GroupMessage, HostMessage } from './host-messages.ts'

/** A replica that cannot be opened before its log is whole again. */
export interface RepairJob {
  readonly groupId: GroupId
  readonly replicaId: ReplicaId
  readonly recoveryGeneration: number
  /** The other replicas of the group; those that speak to this one meanwhile are added. */
  readonly peers: RepairPeer[]
  /** The peers come from a configuration of the group, so that there are no others to wait for. */
  readonly configured: boolean
  readonly lost: readonly LostEntries[]
}

/** Who may have what is lost. */
export type RepairPeer = Pick<ReplicaDescriptor, 'replicaId' | 'nodeId' | 'incarnation'>

/** A replica of this node that is asked. */
export interface AskedReplica {
  readonly groupId: GroupId
  readonly replicaId: ReplicaId
  readonly recoveryGeneration: number
  readonly lastIndex: number
  /** Its own log lacks entries. Of those it cannot say that nobody has them. */
  readonly damaged: boolean
}

/** What {@link EntryRepairs} needs. */
export interface EntryRepairOptions {
  readonly env: Environment
  readonly log: LogStore
  readonly maximumMessageBytes: number
  readonly send: SendToHost
}

/** Sends a message to the host of a peer. */
export type SendToHost = (
  groupId: GroupId,
  recoveryGeneration: number,
  peer: Pick<PeerIdentity, 'nodeId' | 'incarnation'>,
  message: HostMessage,
) => void

interface Question {
  readonly requestId: number
  readonly peer: RepairPeer
  readonly recoveryGeneration: number
  readonly answer: (entries: readonly LogEntry[]) => void
}

/** A peer that does not answer for so long is asked again later. */
const answerMs = 1_000

const pauseMs = 200

/** Once all peers that are known of have said that they do not have the entries, others get so long to speak. */
const strangersMs = 30_000

/** So often it is told what is wanted, and whom it waits for. */
const reportEveryMs = 30_000

/** Most bytes, and most entries, in one reply, where a message has room for them. */
const maximumReplyBytes = 1024 * 1024
const maximumReplyEntries = 4_096

/** Upper bound of what an entry takes in a message beyond its data, several times over. */
const roomPerEntry = 96

/** Replicas that are repaired at a time: a damaged page may have hit many. */
const maximumAtATime = 16

/**
 * Gets entries back that the disk has damaged. Each of them is known by index and term, and two logs of a group that have
 * an entry of the same index and term have the same entry (log matching, Raft section 5.3): so any peer will do, leader or
 * not, and whether the entry is committed does not matter. Afterwards the replica is what it was; until then it takes part
 * in nothing, so that nobody counts on what it cannot show (Protocol-Aware Recovery, FAST '18, section 3.4).
 */
export class EntryRepairs {
  readonly #options: EntryRepairOptions
  readonly #questions = new Map<GroupId, Question>()
  readonly #waiting: (() => void)[] = []
  #running = 0
  #lastRequestId = 0

  constructor(options: EntryRepairOptions) {
    this.#options = options
  }

  /**
   * Puts back what is lost. It waits for whoever may have it, however long that one is away, and says so now and then: a
   * replica that was given up would be lost for good, and perhaps the group with it.
   *
   * @returns false when none of the peers has it any more: they have compacted it
   * @throws KeelsonError when the log cannot be written, and the reason of `signal`
   */
  async repair(job: RepairJob, signal: AbortSignal): Promise<boolean> {
    await this.#turn(signal)
    try {
      for (const run of job.lost) {
        for (let first = run.first; first <= run.last; ) {
          const entries = await this.#find(job, { ...run, first }, signal)
          if (entries === undefined) return false
          await this.#options.log.repair?.(job.groupId, entries)
          throwIfAborted(signal)
          first += entries.length
        }
      }
      return true
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }

  /** A peer asks for entries of a replica of this node. */
  requested(replica: AskedReplica, peer: RepairPeer, request: EntriesRequest): void {
    void this.#answer(replica, peer, request)
  }

  /** @returns why the reply is dropped, if it is */
  received(
    peer: PeerIdentity,
    { groupId, recoveryGeneration }: GroupMessage,
    reply: EntriesReply,
  ): string | undefined {
    const question = this.#questions.get(groupId)
    if (question?.requestId !== reply.requestId) return 'unasked'
    const { nodeId, incarnation, replicaId } = question.peer
    if (peer.nodeId !== nodeId || peer.incarnation !== incarnation || reply.from !== replicaId) {
      return 'wrongSender'
    }
    if (recoveryGeneration !== question.recoveryGeneration) return 'otherGeneration'
    this.#questions.delete(groupId)
    question.answer(reply.entries)
    return undefined
  }

  async #turn(signal: AbortSignal): Promise<void> {
    while (this.#running >= maximumAtATime && !signal.aborted) {
      const turn = deferred<void>()
      this.#waiting.push(turn.resolve)
      const release = onAbort(signal, turn.resolve)
      await turn.promise
      release()
      if (!signal.aborted) continue
      // Who is given up leaves its turn to the next.
      const place = this.#waiting.indexOf(turn.resolve)
      if (place >= 0) this.#waiting.splice(place, 1)
      else this.#waiting.shift()?.()
    }
    throwIfAborted(signal)
    this.#running++
  }

  /** The first entries of a run, from whoever has them. */
  async #find(job: RepairJob, run: LostEntries, signal: AbortSignal): Promise<LogEntry[] | undefined> {
    const { clock, timers, logger } = this.#options.env
    const without = new Set<ReplicaId>()
    let reportAtMs = clock.monotonicMs() + reportEveryMs
    let nobodyUntilMs = Number.POSITIVE_INFINITY
    for (;;) {
      for (const peer of job.peers) {
        if (without.has(peer.replicaId)) continue
        const answer = await this.#ask(job, peer, run, signal)
        throwIfAborted(signal)
        if (answer === undefined) continue
        const entries = usable(answer, run)
        if (entries.length > 0) {
          // Asked first for what else is lost: others may not even answer.
          job.peers.splice(job.peers.indexOf(peer), 1)
          job.peers.unshift(peer)
          return entries
        }
        without.add(peer.replicaId)
      }
      // Nobody has it, or who might have it does not answer.
      if (without.size === job.peers.length && without.size > 0) {
        if (job.configured) return undefined
        // Where nobody knows who the others are, those who have not spoken for long are none.
        nobodyUntilMs = Math.min(nobodyUntilMs, clock.monotonicMs() + strangersMs)
        if (clock.monotonicMs() >= nobodyUntilMs) return undefined
      } else nobodyUntilMs = Number.POSITIVE_INFINITY
      if (clock.monotonicMs() >= reportAtMs) {
        reportAtMs += reportEveryMs
        const silent = job.peers.filter((peer) => !without.has(peer.replicaId)).map(({ nodeId }) => nodeId)
        const { groupId, replicaId } = job
        logger.warn(
          { groupId, replicaId, first: run.first, last: run.last, silent, without: [...without] },
          'a replica with damaged entries waits for a node that may have them; start that node, or replace this replica',
        )
      }
      await sleep(timers, pauseMs, signal)
    }
  }

  /** @returns undefined when the peer does not answer in time */
  async #ask(
    { groupId, replicaId, recoveryGeneration }: RepairJob,
    peer: RepairPeer,
    { first, last }: LostEntries,
    signal: AbortSignal,
  ): Promise<readonly LogEntry[] | undefined> {
    const requestId = ++this.#lastRequestId
    const answer = deferred<readonly LogEntry[] | undefined>()
    const timer = this.#options.env.timers.schedule(answerMs, () => answer.resolve(undefined))
    const release = onAbort(signal, () => answer.resolve(undefined))
    this.#questions.set(groupId, { requestId, peer, recoveryGeneration, answer: answer.resolve })
    const header = { from: replicaId, to: peer.replicaId, term: 0 }
    this.#options.send(groupId, recoveryGeneration, peer, {
      kind: 'entriesRequest',
      ...header,
      first,
      last,
      requestId,
    })
    try {
      return await answer.promise
    } finally {
      timer.cancel()
      release()
      if (this.#questions.get(groupId)?.requestId === requestId) this.#questions.delete(groupId)
    }
  }

  async #answer(replica: AskedReplica, peer: RepairPeer, request: EntriesRequest): Promise<void> {
    const { log, send, maximumMessageBytes } = this.#options
    const room = Math.min(maximumReplyBytes, Math.floor(maximumMessageBytes / 2))
    const count = Math.max(1, Math.min(maximumReplyEntries, Math.floor(room / roomPerEntry)))
    const { first, last, requestId } = request
    let entries: LogEntry[] = []
    try {
      const end = Math.min(last, first + count - 1, replica.lastIndex)
      if (first >= 1 && first <= end) entries = await log.read(replica.groupId, first, end, room)
    } catch (error) {
      // Compacted, or damaged here as well: then others may have it.
      if (!KeelsonError.hasCode(error, 'COMPACTED', 'NOT_FOUND', 'CORRUPTION')) return
    }
    if (replica.damaged && entries.length === 0) return
    send(replica.groupId, replica.recoveryGeneration, peer, {
      kind: 'entriesReply',
      from: replica.replicaId,
      to: request.from,
      term: 0,
      requestId,
      first,
      entries,
    })
  }
}

/** The first entries of an answer, as far as they are the ones that were lost. */
function usable(answer: readonly LogEntry[], { first, last, term }: LostEntries): LogEntry[] {
  const entries: LogEntry[] = []
  for (const entry of answer) {
    if (entry.index !== first + entries.length || entry.index > last || entry.term !== term) break
    entries.push(entry)
  }
  return entries
}
