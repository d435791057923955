import type { Message } from '../../../src/raft/core/messages.ts'
import type { Progress } from '../../../src/raft/core/progress.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { ReadReady } from '../../../src/raft/core/types.ts'
import type { PlantedBug } from './types.ts'

type Adjust = NonNullable<PlantedBug['adjust']>

/**
 * Leases that are longer than elections take and read by all the time, of leaders that are cut off. Nothing but the pledges
 * protects them.
 */
const leases: Adjust = (settings) => ({
  ...settings,
  size: 3,
  nodes: 3,
  clients: 5,
  thinkMs: 5,
  attemptMs: 80,
  leaseReads: 1,
  // Reads go anywhere, so also to a leader that was left by those who write.
  followerReads: 0.8,
  operatorIntervalMs: 1e9,
  newsDelayMs: 0,
  emphasis: ['leader cut off', 'connection closed hint'],
  raft: {
    ...settings.raft,
    preVote: true,
    checkQuorum: false,
    leaseMs: 1_200,
    clockDriftBound: Math.max(settings.clockDrift, 0.0001),
  },
})

const strayingClocks: Adjust = (settings, random) => {
  const adjusted = leases(settings, random)
  return {
    ...adjusted,
    clockDrift: 0.2,
    emphasis: ['slow clock of a leader that is cut off'],
    raft: {
      ...adjusted.raft,
      electionTimeoutMs: 400,
      heartbeatIntervalMs: 100,
      clockDriftBound: 0.2,
      leaseMs: 1_500,
    },
  }
}

const withEmphasis =
  (...emphasis: string[]): Adjust =>
  (settings, random) => {
    const adjusted = leases(settings, random)
    return { ...adjusted, emphasis: [...adjusted.emphasis, ...emphasis] }
  }

const questions: Adjust = (settings, random) => ({
  ...leases(settings, random),
  followerReads: 1,
  emphasis: ['leader cut off', 'slow link'],
  link: { ...settings.link, reorderProbability: 0.2, duplicateProbability: 0.2, reorderDelayMs: 200 },
})

/** One for each rule that reads by lease, and reads by followers, depend on. */
export const leaseBugs: readonly PlantedBug[] = [
  {
    name: 'a lease begins when the answer comes in, not when the round was sent',
    mistake: 40,
    Core: class extends RaftCore {
      override leaseBegins(sent: { round: number; atMs: number; wallMs: number }): typeof sent {
        const { round, atMs, wallMs } = sent
        return { round, atMs: this.nowMs, wallMs: wallMs + this.nowMs - atMs }
      }
    },
    adjust: (settings, random) => {
      const adjusted = withEmphasis('slow link', 'leader paused and cut off')(settings, random)
      return { ...adjusted, link: { ...adjusted.link, meanExtraDelayMs: 20, minimumDelayMs: 3 } }
    },
  },
  {
    name: 'a replica that starts again does not keep the pledges of its former life',
    mistake: undefined,
    Core: class extends RaftCore {
      override pledgeAtStart(): void {}
    },
    adjust: withEmphasis('followers crash while the leader is cut off'),
  },
  {
    name: 'a replica that starts with a shorter lease keeps no longer pledge of its former life',
    mistake: undefined,
    Core: class extends RaftCore {
      override pledgeAtStart(): void {
        super.pledgeAtStart(0)
      }
    },
    adjust: (settings, random) => ({
      ...withEmphasis('followers crash while the leader is cut off')(settings, random),
      restartLease: 0.01,
    }),
  },
  {
    name: 'a lease outlives the message that hands leadership over',
    mistake: undefined,
    Core: class extends RaftCore {
      override giveUpLease(): void {}
    },
    adjust: (settings, random) => {
      const adjusted = leases(settings, random)
      return {
        ...adjusted,
        emphasis: ['leader cut off as it hands over'],
      }
    },
  },
  {
    name: 'votes are given in spite of a pledge',
    mistake: undefined,
    Core: class extends RaftCore {
      override isPledged(): boolean {
        return false
      }
    },
    adjust: leases,
  },
  {
    name: 'a replica votes for itself in spite of its pledge',
    mistake: undefined,
    Core: class extends RaftCore {
      override electionTimedOut(): void {
        const { pledgedUntilMs } = this
        this.pledgedUntilMs = -Infinity
        super.electionTimedOut()
        this.pledgedUntilMs = pledgedUntilMs
      }
    },
    // Whoever else is needed must have been free to vote for long.
    adjust: withEmphasis('leader cut off from one after the other'),
  },
  {
    name: 'a pledge ends with its term',
    mistake: 38,
    Core: class extends RaftCore {
      override takeHigherTerm(message: Message): boolean {
        this.pledgedUntilMs = -Infinity
        return super.takeHigherTerm(message)
      }
    },
    adjust: (settings, random) => {
      const adjusted = withEmphasis('leader cut off from one after the other')(settings, random)
      return { ...adjusted, raft: { ...adjusted.raft, preVote: false } }
    },
  },
  {
    name: 'the drift of clocks is not allowed for',
    mistake: 39,
    Core: class extends RaftCore {
      override pledgeDurationMs(): number {
        return this.options.leaseMs
      }
      override leaseDurationMs(pledgeMs: number): number {
        return Math.min(pledgeMs, this.options.leaseMs)
      }
    },
    adjust: strayingClocks,
  },
  {
    name: 'the wall clock measures the lease',
    mistake: 39,
    Core: class extends RaftCore {
      override countsOn(progress: Progress | undefined): boolean {
        return progress !== undefined && this.wallMs < progress.leaseUntilWallMs
      }
    },
    adjust: withEmphasis('wall clock jumped'),
  },
  {
    name: 'a machine that slept keeps its lease',
    mistake: 39,
    Core: class extends RaftCore {
      override countsOn(progress: Progress | undefined): boolean {
        return progress !== undefined && this.nowMs < progress.leaseUntilMs
      }
    },
    adjust: (settings, random) => {
      const adjusted = withEmphasis('machine suspended')(settings, random)
      return { ...adjusted, raft: { ...adjusted.raft, leaseMs: 300 } }
    },
  },
  {
    name: 'a lease is read by before the first commit of the term',
    mistake: 8,
    Core: class extends RaftCore {
      override mayReadByLease(): boolean {
        return this.holdsLease()
      }
    },
    adjust: (settings, random) => {
      const adjusted = withEmphasis('disk stall', 'slow link')(settings, random)
      return { ...adjusted, raft: { ...adjusted.raft, leaseMs: 100 } }
    },
  },
  {
    name: 'a leader counts on more than its followers have pledged',
    mistake: undefined,
    Core: class extends RaftCore {
      override leaseDurationMs(): number {
        return this.options.leaseMs * (1 - this.options.clockDriftBound)
      }
    },
    adjust: (settings, random) => ({ ...leases(settings, random), shortLease: 0.2 }),
  },
  {
    name: 'one pledge makes a lease',
    mistake: undefined,
    Core: class extends RaftCore {
      override isPledgedToMe(isPledged: (voter: number) => boolean): boolean {
        return this.voters().some(isPledged)
      }
    },
    adjust: (settings, random) => {
      const adjusted = leases(settings, random)
      return {
        ...adjusted,
        idleShare: 0,
        mixedOptions: false,
        emphasis: ['leader alone for longer than its lease'],
        raft: { ...adjusted.raft, leaseMs: 200 },
      }
    },
  },
  {
    name: 'a follower uses the ids of its questions again',
    mistake: 9,
    Core: class extends RaftCore {
      override nextReadRequestId(): number {
        this.readRequestId = (this.readRequestId % 2) + 1
        return this.readRequestId
      }
    },
    adjust: questions,
  },
  {
    name: 'a follower reads what it knows to be committed without asking',
    mistake: 8,
    Core: class extends RaftCore {
      override readThere(context: number): void {
        const read: ReadReady = { context, index: this.commitIndex }
        this.servableReads = [...this.servableReads, read]
      }
    },
    adjust: questions,
  },
]
