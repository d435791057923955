import type { HardState, LogEntry, LogPosition } from '../../../src/interfaces/log-store.ts'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { makeConfiguration } from '../../../src/raft/core/configuration.ts'
import type { Configuration, MembershipChange } from '../../../src/raft/core/membership-types.ts'
import type { AppendRequest, PreVoteRequest, VoteRequest } from '../../../src/raft/core/messages.ts'
import type { Progress } from '../../../src/raft/core/progress.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { DeferredMessage, Fetch, RaftWrite, RefusalReason } from '../../../src/raft/core/types.ts'
import type { CoreClass } from './cluster.ts'

/** A core with one bug. `mistake` is its number in the list of mistakes of the reference. */
export interface Mutant {
  readonly name: string
  readonly mistake: number
  /** The first seed that is tried; hints at one that finds it, so that the test need not search for long. */
  readonly from?: number
  readonly Core: CoreClass
}

/** Mistake 15: too rare for chance, so a scenario of its own shows what it breaks. */
export class PrematureChange extends RaftCore {
  override mayChangeMembers(): boolean {
    return true
  }
}

/** Bugs that break safety, planted one method at a time. */
export const mutants: readonly Mutant[] = [
  {
    name: 'the leader counts itself before its write is durable',
    mistake: 1,
    Core: class extends RaftCore {
      override ownMatchIndex(): number {
        return this.log.lastIndex
      }
    },
  },
  {
    name: 'promises leave before they are durable',
    mistake: 2,
    Core: class extends RaftCore {
      override isDurable(): boolean {
        return true
      }
    },
  },
  {
    name: 'the vote is not written with the term',
    mistake: 4,
    Core: class extends RaftCore {
      override hardStateToWrite(): HardState | undefined {
        const state = super.hardStateToWrite()
        return state === undefined ? undefined : { ...state, votedFor: 0 }
      }
    },
  },
  {
    name: 'stepping down clears the vote',
    mistake: 5,
    Core: class extends RaftCore {
      override becomeFollower(term: number, leader: ReplicaId): void {
        super.becomeFollower(term, leader)
        this.votedFor = 0
      }
    },
  },
  {
    name: 'promises wait for the oldest write under way, not the last',
    mistake: 6,
    Core: class extends RaftCore {
      override takeDeferred(): DeferredMessage[] {
        const first = this.log.inFlight[0]?.writeId ?? this.log.lastWriteId
        return super.takeDeferred().map((deferred) => ({ ...deferred, writeId: first }))
      }
    },
  },
  {
    name: 'entries of earlier terms are committed by counting',
    mistake: 7,
    Core: class extends RaftCore {
      override mayCommitByCounting(): boolean {
        return true
      }
    },
  },
  {
    name: 'reads are served before the first commit of the term',
    mistake: 8,
    Core: class extends RaftCore {
      override mayBindReads(): boolean {
        return true
      }
    },
  },
  {
    name: 'reads are served without a confirmed round',
    mistake: 9,
    from: 143,
    Core: class extends RaftCore {
      override canServeRead(): boolean {
        return true
      }
    },
  },
  {
    name: 'rounds of heartbeats are used again',
    mistake: 9,
    from: 564,
    Core: class extends RaftCore {
      override startRound(): void {
        this.round = Math.min(this.round, 1)
        super.startRound()
      }
    },
  },
  {
    name: 'the quorum index is the highest, not the majority',
    mistake: 11,
    Core: class extends RaftCore {
      override quorumIndex(): number {
        return Math.max(...this.voters().map((voter) => this.matchIndexOf(voter)))
      }
    },
  },
  {
    name: 'a follower acknowledges its whole log',
    mistake: 12,
    from: 85,
    Core: class extends RaftCore {
      override acknowledge(): void {
        super.acknowledge(this.log.lastIndex)
      }
    },
  },
  {
    name: 'a follower commits beyond what was proven',
    mistake: 12,
    Core: class extends RaftCore {
      override commitFromLeader(commit: number): number {
        return commit
      }
    },
  },
  {
    name: 'a stale append truncates',
    mistake: 13,
    from: 304,
    Core: class extends RaftCore {
      override takeEntries(entries: readonly LogEntry[]): void {
        const first = entries[0]
        if (first === undefined) return
        if (first.index <= this.log.lastIndex) this.truncateFrom(first.index)
        this.appendToLog(entries)
      }
    },
  },
  {
    name: 'an append is taken although what precedes it does not match',
    mistake: 13,
    Core: class extends RaftCore {
      override handleAppend(request: AppendRequest): void {
        const own = this.log.termAt(request.prevIndex)
        super.handleAppend(own === undefined ? request : { ...request, prevTerm: own })
      }
    },
  },
  {
    name: 'logs are compared by index before term',
    mistake: 14,
    from: 9,
    Core: class extends RaftCore {
      override logIsUpToDate(_lastTerm: number, lastIndex: number): boolean {
        return lastIndex >= this.log.lastIndex
      }
    },
  },
  {
    name: 'two changes are under way at once',
    mistake: 16,
    Core: class extends RaftCore {
      override isChangePending(): boolean {
        return false
      }
    },
  },
  {
    name: 'a truncated configuration stays in force',
    mistake: 17,
    Core: class extends RaftCore {
      override rollBackConfiguration(): void {}
    },
  },
  {
    name: 'a snapshot leaves the configuration as it was',
    mistake: 18,
    Core: class extends RaftCore {
      override resetLog(position: LogPosition, configuration: Configuration): void {
        super.resetLog(position, this.configuration ?? configuration)
      }
    },
  },
  {
    name: 'two voters change at once',
    mistake: 16,
    Core: class extends RaftCore {
      override changedConfiguration(
        before: Configuration,
        changes: readonly MembershipChange[],
        index: number,
        autoLeave: boolean,
      ): Configuration | RefusalReason {
        const after = super.changedConfiguration(before, changes, index, autoLeave)
        if (changes[0]?.type !== 'promote' || typeof after === 'string') return after
        const replicas = after.replicas.filter((r) => r.role === 'voter' && r.replicaId > this.replicaId)
        return replicas.length === 0 ? after : makeConfiguration(after.generation, replicas, after.changes)
      }
    },
  },
  {
    name: 'a leader overwrites the votes of its term: every candidate gets one',
    mistake: 4,
    Core: class extends RaftCore {
      override isVoteFree(): boolean {
        return true
      }
    },
  },
  {
    name: 'votes go to any log',
    mistake: 14,
    Core: class extends RaftCore {
      override canGrantVote(request: VoteRequest): boolean {
        return this.isVoteFree(request.from)
      }
      override canGrantPreVote(_request: PreVoteRequest): boolean {
        return true
      }
    },
  },
  {
    name: 'the own vote counts twice',
    mistake: 24,
    Core: class extends RaftCore {
      override tally(): 'won' | 'lost' | 'open' {
        const granted = this.voters().filter((voter) => this.votes.get(voter) === true).length
        const own = this.votes.get(this.replicaId) === true ? 1 : 0
        return granted + own > this.voters().length / 2 ? 'won' : super.tally()
      }
    },
  },
  {
    name: 'entries are applied before they are durable',
    mistake: 33,
    Core: class extends RaftCore {
      override applyLimit(): number {
        return this.commitIndex
      }
    },
  },
  {
    name: 'a leader that lost its role keeps acting on acknowledgements',
    mistake: 10,
    Core: class extends RaftCore {
      override becomeFollower(term: number, leader: ReplicaId): void {
        const led = this.role === 'leader'
        super.becomeFollower(term, leader)
        if (led) this.role = 'leader'
      }
    },
  },
  {
    name: 'fetched entries are sent although the log changed',
    mistake: 10,
    Core: class extends RaftCore {
      override isFetchedRight(_fetch: Fetch, entries: readonly LogEntry[]): boolean {
        return entries.length > 0
      }
      override isFetchValid(): boolean {
        return true
      }
      override fetchedForReplica(fetch: Fetch, entries: readonly LogEntry[]): void {
        const last = entries.at(-1)
        if (last !== undefined && fetch.from % 3 === 0) {
          const next = { ...last, index: last.index + 1 }
          super.fetchedForReplica(fetch, [...entries, next])
        } else super.fetchedForReplica(fetch, entries)
      }
    },
  },
  {
    name: 'learners count',
    mistake: 21,
    Core: class extends RaftCore {
      override quorumIndex(): number {
        const matches = [
          this.ownMatchIndex(),
          ...[...this.progress.values()].map((p: Progress) => p.matchIndex),
        ]
        matches.sort((a, b) => b - a)
        return matches[Math.floor(this.voters().length / 2)] ?? 0
      }
    },
  },
  {
    name: 'the hard state is not written before a request for votes',
    mistake: 4,
    Core: class extends RaftCore {
      override takeWrite(): RaftWrite | undefined {
        if (this.role === 'candidate') this.hardStateDirty = false
        return super.takeWrite()
      }
      override ownVoteIsDurable(): boolean {
        return true
      }
    },
  },
]
