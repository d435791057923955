import type { LogEntry, LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { JudgedCommits } from './judged-commits.ts'
import { JudgedDisks } from './judged-disks.ts'
import { JudgedLeaders } from './judged-leaders.ts'
import { JudgedLogs } from './judged-logs.ts'
import type { Message } from './messages.ts'
import type { RaftCore } from './raft.ts'
import { moveKey, type Seen, seenOf } from './seen.ts'
import type { RaftWrite } from './types.ts'
import { violated } from './violation.ts'

export type { RaftInvariantName } from './violation.ts'

/**
 * Judges a whole group: told of everything that happens to its replicas, it throws as soon as a property of Raft that must
 * always hold does not (figure 3 of the paper, and what persistence and membership add). Each call costs in proportion
 * to what changed. A group's whole history is kept, so this is for tests and simulations.
 *
 * Only `observe` is needed; each further kind of event that is reported makes more checks possible.
 *
 * Every method throws KeelsonError `INVARIANT_VIOLATED`, whose `details.invariant` is a {@link RaftInvariantName}.
 */
export class RaftInvariants {
  readonly #seen: Map<ReplicaId, Seen> = new Map()
  readonly #logs: JudgedLogs
  readonly #disks: JudgedDisks = new JudgedDisks()
  readonly #commits: JudgedCommits
  readonly #leaders: JudgedLeaders
  readonly #reads: Map<string, number> = new Map()

  /**
   * `recovered`: the group lost its quorum before, and this is where the configuration stands by which it goes on without
   * those that were lost. That one need not overlap with those before it; nothing else is forgiven.
   */
  constructor(recovered?: LogPosition) {
    this.#logs = new JudgedLogs(recovered)
    this.#commits = new JudgedCommits(this.#seen, this.#logs, this.#disks)
    this.#leaders = new JudgedLeaders(this.#commits, this.#disks, recovered)
  }

  /** The highest index that any replica was seen to have committed. */
  get committedIndex(): number {
    return this.#commits.committedIndex
  }

  /** How many terms were seen to have a leader. */
  get elections(): number {
    return this.#leaders.elections
  }

  /** Looks at what an event changed in a core. To be called after every event, before anything else happens to it. */
  observe(core: RaftCore): void {
    const before = this.#seen.get(core.replicaId)
    this.#checkTerm(core, before)
    this.#logs.check(core, before)
    this.#commits.check(core, before)
    this.#leaders.noteLength(core, before)
    this.#leaders.checkAppended(core, before)
    this.#leaders.check(core, before)
    this.#commits.checkConfigurationInForce(core)
    this.#checkCursors(core)
    this.#checkRest(core)
    this.#seen.set(core.replicaId, seenOf(core))
  }

  /**
   * A core that leads has just been told the time, and all that others have pledged to it: whoever its lease counts on has
   * voted for nobody else since, under whatever term.
   */
  lease(core: RaftCore): void {
    if (!core.holdsLease()) return
    for (const [replicaId, progress] of core.progress) {
      const voter = this.#seen.get(replicaId)
      if (voter === undefined || voter.term <= core.term || voter.votedFor === 0) continue
      if (!core.countsOn(progress)) continue
      violated(
        'nobody votes against a lease',
        `${core.replicaId} counts on ${replicaId} in term ${core.term}, which voted for ${voter.votedFor} in ${voter.term}`,
      )
    }
  }

  /** The host took this write from the core. Its entries are on the disk only after `durable`. */
  issued(replicaId: ReplicaId, write: RaftWrite): void {
    this.#disks.issued(replicaId, write)
  }

  /** Everything up to this write survives a crash from now on. */
  durable(replicaId: ReplicaId, writeId: number): void {
    this.#disks.durable(replicaId, writeId)
  }

  /** A message left its sender. */
  sent(message: Message): void {
    this.#disks.sent(message, this.#seen.get(message.from)?.core.quarantined === true)
  }

  /** The node of a replica answered a beat: with a pledge, under this epoch, for all of its replicas that rest under it. */
  pledged(replicaId: ReplicaId, epoch: number): void {
    this.#disks.pledged(replicaId, epoch, this.#seen.get(replicaId)?.core.quarantined === true)
  }

  /** A replica's state machine applied an entry. */
  applied(replicaId: ReplicaId, entry: LogEntry): void {
    this.#commits.applied(replicaId, entry)
  }

  /** A replica's state machine was switched, durably, to a snapshot. To be called before the core is told. */
  snapshotInstalled(replicaId: ReplicaId, position: LogPosition): void {
    this.#commits.snapshotInstalled(replicaId, position)
    this.#disks.snapshotInstalled(replicaId, position)
  }

  /** A replica's process ended: what was not durable is gone. */
  crashed(replicaId: ReplicaId): void {
    this.#seen.delete(replicaId)
    this.#disks.crashed(replicaId)
    for (const key of this.#reads.keys()) if (key.startsWith(`${replicaId}/`)) this.#reads.delete(key)
  }

  /**
   * The id belongs to another replica now: the entry that minted it first was truncated before it was committed, and a later
   * leader minted the same id at the same index. What was known of the first owner is forgotten.
   */
  reminted(replicaId: ReplicaId): void {
    this.crashed(replicaId)
    this.#leaders.reminted(replicaId)
    this.#logs.forget(replicaId)
    this.#disks.forget(replicaId)
    this.#commits.forget(replicaId)
  }

  /**
   * An empty replica took up another id. It is the same disk, so it is held to its terms and votes under the new id, too.
   * To be called before anything else is reported under that.
   */
  renamed(from: ReplicaId, to: ReplicaId): void {
    this.reminted(to)
    this.#leaders.renamed(to)
    moveKey(this.#seen, from, to)
    this.#logs.rename(from, to)
    this.#disks.rename(from, to)
    this.#commits.rename(from, to)
  }

  /** A replica starts, for the first time or again. `appliedIndex` of the core is where its state machine stands. */
  restarted(core: RaftCore): void {
    this.#disks.restarted(core)
    this.#seen.delete(core.replicaId)
    this.#commits.restarted(core)
    this.observe(core)
  }

  /** A read was asked of a replica. */
  readAsked(replicaId: ReplicaId, context: number): void {
    this.#reads.set(`${replicaId}/${context}`, this.committedIndex)
  }

  /** A read may be served once `index` is applied. */
  readServed(replicaId: ReplicaId, context: number, index: number): void {
    const key = `${replicaId}/${context}`
    const least = this.#reads.get(key) ?? 0
    this.#reads.delete(key)
    if (index < least) {
      violated(
        'linearizable reads',
        `${replicaId} serves a read at ${index}, but ${least} was committed before`,
      )
    }
  }

  #checkTerm(core: RaftCore, before: Seen | undefined): void {
    if (before === undefined) return
    if (core.term < before.term) {
      violated('terms never regress', `${core.replicaId} went from ${before.term} to ${core.term}`)
    }
    if (core.term === before.term && before.votedFor !== 0 && core.votedFor !== before.votedFor) {
      violated(
        'one vote a term',
        `${core.replicaId} changed its vote in ${core.term} from ${before.votedFor} to ${core.votedFor}`,
      )
    }
  }

  #checkCursors(core: RaftCore): void {
    const { appliedIndex, handedIndex, commitIndex, log } = core
    if (appliedIndex > handedIndex || handedIndex > commitIndex || handedIndex > log.durableIndex) {
      violated(
        'applied is committed and durable',
        `${core.replicaId}: applied ${appliedIndex}, handed out ${handedIndex}, committed ${commitIndex}, durable ${log.durableIndex}`,
      )
    }
  }

  /** A group at rest has no timers: whatever were left to do would never be done. */
  #checkRest(core: RaftCore): void {
    const { atRest, log, commitIndex, appliedIndex, role, nextDeadlineMs, readDeadlineMs } = core
    if (!atRest) return
    const isDone = commitIndex === log.lastIndex && appliedIndex === commitIndex && !log.hasUnwritten
    const behind = [...core.progress.values()].some(
      ({ matchIndex, down }) => matchIndex !== log.lastIndex && !down,
    )
    if (isDone && !behind && nextDeadlineMs === readDeadlineMs && role !== 'candidate') return
    violated(
      'nothing is left to do at rest',
      `${core.replicaId} rests as ${role} at ${log.lastIndex}, committed ${commitIndex}, applied ${appliedIndex}`,
    )
  }
}
