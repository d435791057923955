import type { HeartbeatReply } from '../../../src/raft/core/messages.ts'
import type { Progress } from '../../../src/raft/core/progress.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { BeatReply } from '../../../src/raft/host/host-messages.ts'
import { type LivenessEvent, type LivenessPeer, NodeLiveness } from '../../../src/raft/host/node-liveness.ts'
import { Node } from '../simulation/node.ts'
import type { PlantedBug } from './types.ts'

type Adjust = NonNullable<PlantedBug['adjust']>

/** A group that rests for most of the time. */
const resting: Adjust = (settings) => ({
  ...settings,
  size: 3,
  nodes: 3,
  idleShare: 0.7,
  earlierShare: 0,
  operatorIntervalMs: 1e9,
  mixedOptions: false,
  newsDelayMs: 0,
  priorities: false,
  link: { ...settings.link, lossProbability: 0 },
  raft: { ...settings.raft, quiescence: true },
})

/**
 * Leases of a group that rests, read all the time and anywhere, while its leader is cut off from one node after the other.
 * Writes are rare, so that only the pledges of nodes protect them, and no more than those.
 */
const leases: Adjust = (settings, random) => {
  const adjusted = resting(settings, random)
  return {
    ...adjusted,
    clients: 5,
    thinkMs: 5,
    attemptMs: 80,
    idleShare: 0.4,
    leaseReads: 1,
    followerReads: 0.8,
    emphasis: ['leader cut off from one after the other', 'slow link'],
    raft: {
      ...adjusted.raft,
      checkQuorum: false,
      leaseMs: 400,
      clockDriftBound: Math.max(settings.clockDrift, 0.0001),
    },
  }
}

/** The same of a leader that only one other hears, and not all the time, while the rest ask that one for its vote. */
const shortLeases: Adjust = (settings, random) => {
  const adjusted = leases(settings, random)
  const timeoutMs = adjusted.raft.electionTimeoutMs ?? 300
  return {
    ...adjusted,
    // Callers wake the group, and whoever asks a leader without a lease wakes its followers.
    clients: 2,
    thinkMs: 1_000,
    emphasis: ['leader cut off from all but one, which comes and goes'],
    raft: { ...adjusted.raft, heartbeatIntervalMs: timeoutMs / 8, leaseMs: Math.ceil(timeoutMs * 0.3) },
  }
}

/** Where candidates ask first nobody asks for the vote of a replica that rests. */
const unasked: Adjust = (settings, random) => {
  const adjusted = shortLeases(settings, random)
  return { ...adjusted, raft: { ...adjusted.raft, preVote: false } }
}

/** One for each rule of groups that rest. */
export const restBugs: readonly PlantedBug[] = [
  {
    name: 'a group goes to rest although a replica lacks something',
    mistake: undefined,
    Core: class extends RaftCore {
      override hasAll(): boolean {
        return true
      }
    },
    adjust: resting,
  },
  {
    name: 'a replica goes to rest with another log than its leader',
    mistake: undefined,
    Core: class extends RaftCore {
      override mayRest(): boolean {
        return true
      }
    },
    adjust: resting,
  },
  {
    name: 'a replica at rest is not woken when the node of its leader is gone',
    mistake: 37,
    Core: class extends RaftCore {
      override wakeUp(): void {}
    },
    adjust: (settings, random) => ({ ...resting(settings, random), emphasis: ['crash by power cut'] }),
  },
  {
    name: 'a leader at rest does not care for those who are awake',
    mistake: 37,
    Core: class extends RaftCore {
      override replicaIsAwake(): void {}
      override disturb(progress: Progress): void {
        progress.restsFromRound = this.round + 1
      }
      override nodeIsUp(): void {}
    },
    adjust: (settings, random) => ({
      ...resting(settings, random),
      emphasis: ['crash by power cut', 'crash by kill'],
    }),
  },
  {
    name: 'a leader at rest with too few nodes does not wake up',
    mistake: 27,
    Core: class extends RaftCore {
      override quorumRests(): boolean {
        return true
      }
      override quorumIsActive(): boolean {
        return this.atRest || super.quorumIsActive()
      }
    },
    adjust: (settings, random) => ({
      ...resting(settings, random),
      emphasis: ['leader cut off'],
      raft: { ...settings.raft, checkQuorum: true, quiescence: true },
    }),
  },
  {
    name: 'answers from before a replica was woken say that it rests',
    mistake: undefined,
    Core: class extends RaftCore {
      override noteRest(progress: Progress, reply: HeartbeatReply): void {
        progress.epoch = reply.epoch ?? progress.epoch
        progress.restsFromRound = reply.round
        this.settleRest()
      }
      override rests(progress: Progress): boolean {
        return progress.epoch !== 0
      }
    },
    adjust: (settings, random) => ({
      ...resting(settings, random),
      link: { ...settings.link, reorderProbability: 0.2, duplicateProbability: 0.2, reorderDelayMs: 200 },
    }),
  },
  {
    name: 'a replica votes although its node has pledged itself for it',
    mistake: undefined,
    Core: class extends RaftCore {
      override isPledged(): boolean {
        return this.nowMs < this.pledgedUntilMs
      }
      override askLeading(): void {}
    },
    adjust: unasked,
  },
  {
    name: 'a node votes in one group, and goes on pledging itself for it under the same epoch',
    mistake: undefined,
    Core: class extends RaftCore {
      override askLeading(): void {}
    },
    Node: class extends Node {
      override uncover(core: RaftCore): void {
        const leader = core.mayUncover(this.nowMs) ? this.peerOf(core.coverLeader) : undefined
        if (leader === undefined || this.liveness?.mayEndEpoch(leader.nodeId, this.nowMs) !== true) return
        core.coverEnded(core.coverEpoch, this.nowMs, this.nowMs, this.nowMs)
      }
    },
    adjust: unasked,
  },
  {
    name: 'whoever asks for votes takes the protection of all groups at rest away from their leader',
    mistake: 28,
    Core: class extends RaftCore {
      override coverIsInTheWay(): boolean {
        return this.isCovered()
      }
      override endCover(epoch: number, untilMs: number): void {
        super.endCover(epoch, untilMs, Number.NEGATIVE_INFINITY)
      }
    },
    adjust: (settings) => ({
      ...settings,
      size: 5,
      idleShare: 0.5,
      earlierShare: 0,
      operatorIntervalMs: 1e9,
      mixedOptions: false,
      losesQuorum: false,
      raft: { ...settings.raft, preVote: false, checkQuorum: true, clockDriftBound: 0, quiescence: true },
    }),
  },
  {
    name: 'what a node pledges counts for replicas that do not rest under it',
    mistake: undefined,
    Core: class extends RaftCore {
      override takeNodePledge(
        replicaId: number,
        _epoch: number,
        sent: { readonly atMs: number; readonly wallMs: number },
        pledgeMs: number,
      ): void {
        const progress = this.progress.get(replicaId)
        if (progress !== undefined) this.extendLease(progress, sent, pledgeMs)
      }
    },
    adjust: leases,
  },
  {
    name: 'the pledge of a node is counted from when its answer comes in',
    mistake: 40,
    Node: class extends Node {
      override makeLiveness(core: RaftCore): NodeLiveness {
        return new (class extends NodeLiveness {
          override replyReceived(peer: LivenessPeer, reply: BeatReply, nowMs: number): LivenessEvent[] {
            const events = super.replyReceived(peer, reply, nowMs)
            const support = this.supportOf(peer)
            if (support !== undefined) Object.assign(support.sent, { atMs: nowMs, wallMs: Infinity })
            return events
          }
        })({ ...core.options, random: this.env.random })
      }
    },
    adjust: (settings, random) => {
      const adjusted = shortLeases(settings, random)
      return {
        ...adjusted,
        attemptMs: 300,
        emphasis: ['leader paused and cut off', 'slow link'],
        link: { ...adjusted.link, meanExtraDelayMs: 10, minimumDelayMs: 3 },
      }
    },
  },
  {
    name: 'a node goes on pledging itself for a replica that was quarantined at rest',
    mistake: 29,
    Node: class extends Node {
      override endEpochs(): void {}
    },
    adjust: (settings, random) => ({
      ...resting(settings, random),
      losesQuorum: false,
      emphasis: ['disk found out at rest'],
    }),
  },
  {
    name: 'a node goes on pledging itself under an epoch that has ended, or of its former life',
    mistake: undefined,
    Core: class extends RaftCore {
      override askLeading(): void {}
    },
    Node: class extends Node {
      override makeLiveness(core: RaftCore): NodeLiveness {
        const number = 7
        return new (class extends NodeLiveness {
          override replyTo(leader: Parameters<NodeLiveness['replyTo']>[0]): BeatReply {
            return { ...super.replyTo(leader), epoch: number }
          }
          override supports(peer: LivenessPeer, epoch: number): boolean {
            return epoch === number && this.pledgedUntilMs(peer.nodeId) > Number.NEGATIVE_INFINITY
          }
          override endEpoch(nodeId: string): LivenessEvent[] {
            return super
              .endEpoch(nodeId)
              .map((event) => (event.type === 'coverEnded' ? { ...event, epoch: number } : event))
          }
        })({ ...core.options, random: this.env.random })
      }
    },
    adjust: shortLeases,
  },
  {
    name: 'a replica is free to vote as soon as something wakes it',
    mistake: undefined,
    Core: class extends RaftCore {
      override endOlderCover(): void {
        this.coverEpoch = 0
      }
    },
    adjust: (settings, random) => {
      const adjusted = leases(settings, random)
      return {
        ...adjusted,
        link: { ...adjusted.link, reorderProbability: 0.2, duplicateProbability: 0.2, reorderDelayMs: 300 },
      }
    },
  },
]
