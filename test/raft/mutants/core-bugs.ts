import type { ReplicaId } from '../../../src/model/ids.ts'
import { votesInIncoming } from '../../../src/model/replica-roles.ts'
import type { RaftMember } from '../../../src/raft/core/membership-types.ts'
import type { AppendReply, Message, VoteRequest } from '../../../src/raft/core/messages.ts'
import type { Progress } from '../../../src/raft/core/progress.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { Accepted, Fetch, Refused } from '../../../src/raft/core/types.ts'
import type { PlantedBug } from './types.ts'

/** Bugs of the core that harm availability or need a whole host to show; those of safety are in support/mutants.ts. */
export const coreBugs: readonly PlantedBug[] = [
  {
    name: 'the quorum index sorts numbers as text',
    mistake: 11,
    Core: class extends RaftCore {
      override quorumIndex(): number {
        const values = this.voters().map((voter) => String(this.matchIndexOf(voter)))
        return Number(values.sort()[(values.length - 1) >>> 1] ?? 0)
      }
    },
  },
  {
    name: 'a follower that starts again does not ask for the proof of what it has',
    mistake: undefined,
    Core: class extends RaftCore {
      override lacksProof(): boolean {
        return false
      }
    },
    // The last that happens is a start that nobody notices.
    adjust: (settings) => ({
      ...settings,
      nodes: settings.size,
      mixedReleases: true,
      thinkMs: 1_000,
      applyDelayMs: 40,
      crashPointProbability: 0,
      losesQuorum: false,
      emphasis: [],
    }),
  },
  {
    name: 'a promoted learner refuses to vote because it has not heard of its promotion',
    mistake: 21,
    Core: class extends RaftCore {
      override canGrantVote(request: VoteRequest): boolean {
        return this.isVoter() && super.canGrantVote(request)
      }
    },
  },
  {
    name: 'a leader whose removal is committed goes on leading',
    mistake: 25,
    Core: class extends RaftCore {
      override mustStepDownAsRemoved(): boolean {
        return false
      }
    },
  },
  {
    name: 'a pre-candidate of a low term ignores the higher terms that it hears of',
    mistake: 26,
    Core: class extends RaftCore {
      override takeHigherTerm(message: Message): boolean {
        return message.kind === 'preVoteReply' ? true : super.takeHigherTerm(message)
      }
    },
    // Two voters, so that one whose term is ahead and whose log is behind is needed for a quorum.
    adjust: (settings) => ({
      ...settings,
      size: 2,
      nodes: 2,
      thinkMs: 5,
      emphasis: ['hand-over to one that nobody hears'],
      raft: { ...settings.raft, preVote: true },
    }),
  },
  {
    name: 'who speaks in an old term is never told of the new one',
    mistake: 26,
    Core: class extends RaftCore {
      override answerLowerTerm(): void {}
    },
  },
  {
    name: 'a leader once heard is protected for ever',
    mistake: 27,
    Core: class extends RaftCore {
      override protectsLeader(): boolean {
        return this.role === 'leader' || this.leader !== 0
      }
      override electionTimedOut(): void {
        const { leader } = this
        super.electionTimedOut()
        if (this.role !== 'candidate') this.leader = leader
      }
    },
  },
  {
    name: 'a leader that hears of no majority leads on',
    mistake: 27,
    Core: class extends RaftCore {
      override quorumIsActive(): boolean {
        return true
      }
    },
  },
  {
    name: 'removed replicas are listened to, and leaders are not protected',
    mistake: 28,
    Core: class extends RaftCore {
      override isRemoved(): boolean {
        return false
      }
      override refusesElections(): boolean {
        return false
      }
      override handlePreVoteReply(): void {}
      override becomePreCandidate(): void {
        this.becomeCandidate(false)
      }
      override maySeekElection(): boolean {
        return this.role !== 'leader' && !this.quarantined
      }
    },
  },
  {
    name: 'a transfer that fails freezes writes',
    mistake: 30,
    Core: class extends RaftCore {
      override startTransfer(to: ReplicaId): Accepted | Refused {
        const answer = super.startTransfer(to)
        this.transferDeadlineMs = Number.POSITIVE_INFINITY
        return answer
      }
    },
    // It must hit one that stays down when the faults end.
    adjust: (settings) => ({
      ...settings,
      size: 5,
      nodes: 7,
      operatorIntervalMs: 60,
      emphasis: ['crash of several', 'hand-over to one that nobody hears'],
    }),
  },
  {
    name: 'a leader makes way for voters of no higher priority',
    mistake: undefined,
    Core: class extends RaftCore {
      override preferredHeir(): RaftMember | undefined {
        return this.configuration?.replicas.find(
          (replica) => votesInIncoming(replica) && this.canTakeOver(this.progress.get(replica.replicaId)),
        )
      }
    },
    adjust: (settings) => ({ ...settings, priorities: true }),
  },
  {
    name: 'acknowledgements of an earlier term count',
    mistake: undefined,
    Core: class extends RaftCore {
      override mayHaveLowerTerm(message: Message): boolean {
        return message.kind === 'appendReply' || super.mayHaveLowerTerm(message)
      }
    },
    // What only one other has got is acknowledged, and cut off by the next leader, and the first one leads again.
    adjust: (settings) => ({
      ...settings,
      thinkMs: 5,
      size: 5,
      nodes: 5,
      operatorIntervalMs: 1e9,
      emphasis: ['frames of long ago arrive once more', 'leader cut off with one other leads again'],
    }),
  },
  {
    name: 'bytes in flight are never given back',
    mistake: 31,
    Core: class extends RaftCore {
      override acknowledged(replicaId: ReplicaId, progress: Progress, index: number): void {
        const { bytes } = progress.inFlight
        super.acknowledged(replicaId, progress, index)
        progress.inFlight.bytes = Math.max(progress.inFlight.bytes, bytes)
      }
    },
  },
  {
    name: 'a message that was lost counts as under way for ever',
    mistake: 31,
    Core: class extends RaftCore {
      override hasStalled(): boolean {
        return false
      }
    },
  },
  {
    name: 'a read error is taken for the end of what is to be applied',
    mistake: 32,
    Core: class extends RaftCore {
      override fetchFailed(fetch: Fetch, reason: 'compacted' | 'other', nowMs: number): void {
        if (fetch.replicaId === this.replicaId) this.handedIndex = fetch.to
        super.fetchFailed(fetch, reason, nowMs)
      }
    },
  },
  {
    name: 'a read error is taken for the end of the log',
    mistake: 32,
    Core: class extends RaftCore {
      override fetchFailedForReplica(fetch: Fetch): void {
        const progress = this.progress.get(fetch.replicaId)
        if (progress === undefined || progress.fetchId !== fetch.fetchId) return
        progress.fetchId = 0
        progress.matchIndex = fetch.to
        progress.nextIndex = fetch.to + 1
      }
    },
  },
  {
    name: 'completions of writes that come late take back the progress of earlier ones',
    mistake: 33,
    Core: class extends RaftCore {
      override persisted(writeId: number, nowMs: number): void {
        const { durableIndex } = this.log
        super.persisted(writeId, nowMs)
        // What is known of the disk is counted from the last completion alone.
        if (this.log.inFlight.length > 0) this.log.durableIndex = Math.min(durableIndex, this.appliedIndex)
      }
    },
  },
  {
    name: 'a quorum that was heard of lately is enough to serve reads, by the time of receipt',
    mistake: 40,
    Core: class extends RaftCore {
      override canServeRead(): boolean {
        return this.quorumIsActive()
      }
    },
    // Old answers must arrive late, and somebody must ask.
    adjust: (settings) => ({
      ...settings,
      size: 3,
      nodes: 4,
      clients: 6,
      thinkMs: 3,
      attemptMs: 80,
      emphasis: ['leader paused and cut off'],
      raft: { ...settings.raft, checkQuorum: false },
    }),
  },
  {
    name: 'a refusal takes back what was committed',
    mistake: 12,
    Core: class extends RaftCore {
      override refused(progress: Progress, reply: AppendReply): void {
        this.commitIndex = Math.max(this.handedIndex, Math.min(this.commitIndex, reply.hintIndex))
        super.refused(progress, reply)
      }
    },
  },
  {
    name: 'heartbeats commit what the follower was never proven to have',
    mistake: 12,
    Core: class extends RaftCore {
      override sendHeartbeat(to: ReplicaId, progress: Progress, round: number): void {
        const before = progress.matchIndex
        progress.matchIndex = this.log.lastIndex
        super.sendHeartbeat(to, progress, round)
        progress.matchIndex = before
      }
      override commitFromLeader(commit: number): number {
        return commit
      }
      override hasForgotten(): boolean {
        return false
      }
    },
  },
]
