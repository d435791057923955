import type { SeededRandom } from '../../../src/core/random.ts'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { type Electorate, hasQuorum, quorumValue } from '../../../src/raft/core/electorate.ts'
import type { Progress } from '../../../src/raft/core/progress.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { Settings } from '../simulation/settings.ts'
import type { PlantedBug } from './types.ts'

/** One half that has all voters of both: what a joint configuration is not. */
function union({ voters }: Electorate): Electorate {
  return { halves: [voters], voters }
}

function incoming({ halves, voters }: Electorate): Electorate {
  return { halves: halves.slice(0, 1), voters }
}

const cutInHalves = 'halves of a joint configuration cut off from each other'

/** Members change all the time, several at once. */
const jointChanges = (settings: Settings, _random: SeededRandom): Settings => ({
  ...settings,
  operatorIntervalMs: 80,
  nodes: 7,
  jointShare: 0.9,
  leaveProbability: 0.3,
})

/** Leaders that fall while a joint configuration is under way. */
const jointChangesUnderFire = (settings: Settings, random: SeededRandom): Settings => ({
  ...jointChanges(settings, random),
  emphasis: [
    cutInHalves,
    'leader cut off',
    'crash by kill',
    'leader cut off, its successor crashes when it is back',
  ],
})

/** Groups so small that every vote of a half counts. */
const fewVoters = (settings: Settings, random: SeededRandom): Settings => ({
  ...jointChangesUnderFire(settings, random),
  size: 3,
})

/** Learners that are promoted by the leader, while much is written. */
const marksLearners = (settings: Settings, random: SeededRandom): Settings => ({
  ...jointChanges(settings, random),
  autoPromoteShare: 1,
  thinkMs: 4,
  raft: { ...settings.raft, caughtUpEntries: 5 },
})

/** Bugs of joint configurations and of what a leader does with the members by itself. */
export const membershipBugs: readonly PlantedBug[] = [
  {
    name: 'a joint configuration commits by the majority of all voters together',
    mistake: undefined,
    Core: class extends RaftCore {
      override quorumIndex(): number {
        return quorumValue(union(this.electorate()), (voter) => this.matchIndexOf(voter))
      }
    },
    adjust: jointChangesUnderFire,
  },
  {
    name: 'a joint configuration elects by the votes of one half',
    mistake: undefined,
    Core: class extends RaftCore {
      override tally(): 'won' | 'lost' | 'open' {
        const won = hasQuorum(incoming(this.electorate()), (voter) => this.votes.get(voter) === true)
        return won ? 'won' : super.tally()
      }
    },
    adjust: jointChangesUnderFire,
  },
  {
    name: 'a joint configuration confirms reads by one half',
    mistake: undefined,
    Core: class extends RaftCore {
      override confirmedRound(): number {
        return quorumValue(incoming(this.electorate()), (voter) =>
          voter === this.replicaId ? this.round : (this.progress.get(voter)?.ackedRound ?? 0),
        )
      }
    },
    adjust: (settings, random) => ({
      ...jointChanges(settings, random),
      emphasis: [cutInHalves],
      size: 3,
      operatorIntervalMs: 1_000,
      clients: 6,
      thinkMs: 3,
      attemptMs: 80,
      raft: { ...settings.raft, checkQuorum: false },
    }),
  },
  {
    name: 'a joint configuration gives a lease by the pledges of one half',
    mistake: undefined,
    Core: class extends RaftCore {
      override isPledgedToMe(isPledged: (voter: ReplicaId) => boolean): boolean {
        return hasQuorum(incoming(this.electorate()), isPledged)
      }
    },
    adjust: (settings, random) => ({
      ...jointChanges(settings, random),
      emphasis: [cutInHalves],
      size: 3,
      operatorIntervalMs: 1_000,
      clients: 6,
      thinkMs: 3,
      attemptMs: 80,
      leaseReads: 1,
      followerReads: 0.8,
      raft: {
        ...settings.raft,
        preVote: true,
        checkQuorum: false,
        leaseMs: 1_200,
        clockDriftBound: Math.max(settings.clockDrift, 0.0001),
      },
    }),
  },
  {
    name: 'a leader that hears of one half of a joint configuration leads on',
    mistake: undefined,
    Core: class extends RaftCore {
      override quorumIsActive(): boolean {
        const since = this.nowMs - this.options.electionTimeoutMs
        return hasQuorum(
          incoming(this.electorate()),
          (voter) => voter === this.replicaId || (this.progress.get(voter)?.lastHeardMs ?? -Infinity) > since,
        )
      }
    },
    adjust: (settings, random) => ({
      ...jointChanges(settings, random),
      emphasis: [cutInHalves],
      operatorIntervalMs: 4_000,
      size: 3,
      raft: { ...settings.raft, checkQuorum: true },
    }),
  },
  {
    name: 'only the leader that entered a joint configuration leaves it',
    mistake: 22,
    Core: class extends RaftCore {
      override leavesByItself(): boolean {
        const { latest } = this.configurations
        return super.leavesByItself() && this.log.termAt(latest?.index ?? 0) === this.term
      }
    },
    adjust: jointChangesUnderFire,
  },
  {
    name: 'a joint configuration is left before it is committed',
    mistake: 23,
    Core: class extends RaftCore {
      override mayLeaveJoint(): boolean {
        return true
      }
    },
    adjust: jointChangesUnderFire,
  },
  {
    name: 'a candidate counts its own vote in the incoming half only',
    mistake: 24,
    Core: class extends RaftCore {
      override tally(): 'won' | 'lost' | 'open' {
        const [first = [], second] = this.electorate().halves
        if (second === undefined) return super.tally()
        const granted = (half: readonly ReplicaId[], own: boolean): boolean =>
          half.filter((voter) => this.votes.get(voter) === true && (own || voter !== this.replicaId)).length *
            2 >
          half.length
        const tally = super.tally()
        return tally !== 'won' || (granted(first, true) && granted(second, false)) ? tally : 'open'
      }
    },
    adjust: fewVoters,
  },
  {
    name: 'a learner gets a vote before it has the entry that added it',
    mistake: 21,
    Core: class extends RaftCore {
      override knowsItself(): boolean {
        return true
      }
    },
    adjust: jointChanges,
  },
  {
    name: 'an outgoing voter counts as removed before the joint configuration is left',
    mistake: 28,
    Core: class extends RaftCore {
      override isRemoved(replicaId: ReplicaId): boolean {
        const replica = this.configuration?.replicas.find((other) => other.replicaId === replicaId)
        return replica?.role === 'outgoing' || super.isRemoved(replicaId)
      }
    },
    adjust: jointChangesUnderFire,
  },
  {
    name: 'a marked learner is promoted before it has caught up',
    mistake: undefined,
    Core: class extends RaftCore {
      override isCaughtUp(): boolean {
        return true
      }
    },
    adjust: marksLearners,
  },
  {
    name: 'a learner that has kept up once counts as caught up for ever',
    mistake: undefined,
    Core: class extends RaftCore {
      override keepsUp(progress: Progress): boolean {
        return progress.coveredAtMs > -Infinity
      }
    },
    adjust: marksLearners,
  },
  {
    name: 'marked learners stay learners',
    mistake: undefined,
    Core: class extends RaftCore {
      override promoteNext(): void {}
    },
    adjust: (settings, random) => ({ ...jointChanges(settings, random), autoPromoteShare: 1 }),
  },
  {
    name: 'only a voter of the highest priority campaigns',
    mistake: undefined,
    Core: class extends RaftCore {
      override maySeekElection(): boolean {
        const least = this.ownPriority()
        const isHighest = this.configuration?.replicas.every(({ priority = 0 }) => priority <= least)
        return super.maySeekElection() && isHighest === true
      }
    },
    adjust: (settings) => ({ ...settings, priorities: true, size: 5, nodes: 7 }),
  },
  {
    name: 'voters of low priority wait for the others although nobody leads',
    mistake: 26,
    Core: class extends RaftCore {
      override deferenceMs(): number {
        const least = this.ownPriority()
        const defers = this.configuration?.replicas.some(({ priority = 0 }) => priority > least)
        return defers === true ? this.options.electionTimeoutMs : 0
      }
    },
    adjust: (settings) => ({ ...settings, priorities: true, mixedOptions: true }),
  },
  {
    name: 'a leader yields to whoever has the higher priority, there or not, again and again',
    mistake: 30,
    Core: class extends RaftCore {
      override canTakeOver(): boolean {
        return true
      }
      override mayYield(): boolean {
        return !this.isHandingOver()
      }
    },
    adjust: (settings) => ({ ...settings, priorities: true, size: 5, nodes: 7 }),
  },
  {
    name: 'ids that were minted beyond the end of the log are minted again',
    mistake: 29,
    Core: class extends RaftCore {
      override highestMinted(): ReplicaId {
        return 0
      }
    },
    adjust: (settings, random) => ({
      ...jointChanges(settings, random),
      emphasis: ['crash by kill', 'leader cut off'],
      size: 3,
      nodes: 14,
      // Hardly any load, or the log would outgrow the ids before a mistake shows.
      clients: 1,
      thinkMs: 500,
      raft: { ...settings.raft, maximumAppendEntries: 1, maximumInFlightMessages: 1 },
    }),
  },
]
