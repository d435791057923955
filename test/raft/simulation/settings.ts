import { between, chance, pick, type SeededRandom } from '../../../src/core/random.ts'
import type { RaftOptions } from '../../../src/raft/core/types.ts'
import { type DiskQuality, diskDefaults } from '../../../src/simulation/disk-quality.ts'
import type { LinkQuality } from '../../../src/simulation/network-conditions.ts'

/** Everything that is drawn per seed, but for the faults that come and go. */
export interface Settings {
  /** Members of the bootstrap. */
  readonly size: number
  /** Nodes that exist; those that are not members yet wait to be added. */
  readonly nodes: number
  readonly clients: number
  /** Virtual time of the phase with faults. */
  readonly faultPhaseMs: number
  /** After the faults have ended, everything must be served again within this time. */
  readonly recoveryMs: number
  readonly raft: Partial<RaftOptions>
  readonly link: LinkQuality
  readonly disk: DiskQuality
  /** Mean time between two calls of a client. */
  readonly thinkMs: number
  /** Time after which a client gives up an attempt. */
  readonly attemptMs: number
  /** Part of the clients that do not repeat a call whose outcome is unknown. */
  readonly blindShare: number
  readonly keys: number
  /** Sessions that the group keeps: few, so that some are evicted. */
  readonly maximumSessions: number
  readonly applyDelayMs: number
  readonly maximumApplyBatch: number
  /** Entries between two flushes of the state, after which the log is compacted. */
  readonly flushEvery: number
  /** Entries that stay in the log when it is compacted. */
  readonly keepEntries: number
  /** A leader holds on to its log for those that lag behind, up to a limit. */
  readonly sparesLaggards: boolean
  /** Entries, and bytes, that a leader holds on to for followers that lag behind. */
  readonly maximumLagEntries: number
  readonly maximumLagBytes: number
  /** Bytes of a chunk of a snapshot. */
  readonly chunkBytes: number
  /** Probability of a crash at each point where the order of a durable write matters. */
  readonly crashPointProbability: number
  readonly clockDrift: number
  /** Recovery reads the log only from the applied index on. */
  readonly shortRecovery: boolean
  /** Mean time between two acts of the operator, who changes members and hands over; huge for one who never acts. */
  readonly operatorIntervalMs: number
  /** After all is well, more than half of the voters are lost for good, and the group is recovered without them. */
  readonly losesQuorum: boolean
  /** Leases of some nodes are shorter than those of others by this factor; 1 for none. */
  readonly shortLease: number
  /** Nodes run one of two releases, and are upgraded one by one, as they start again. */
  readonly mixedReleases: boolean
  /** What a life that follows another has of the lease that is configured, at least; 1 for all of it. */
  readonly restartLease: number
  /** Part of the reads of a leader that its lease may answer. */
  readonly leaseReads: number
  /** Part of the reads that come to a follower which it serves itself. */
  readonly followerReads: number
  /** How many of the operator's changes are several at once; 0 for a group that never has a joint configuration. */
  readonly jointShare: number
  /** How likely the operator is to end a joint configuration that is not left by itself, whenever he looks. */
  readonly leaveProbability: number
  /** How likely a learner is marked to be promoted by the leader itself. */
  readonly autoPromoteShare: number
  /** Members have priorities, which the operator changes now and then. */
  readonly priorities: boolean
  /** Each replica has PreVote and CheckQuorum on or off as it likes, another way after each start. */
  readonly mixedOptions: boolean
  /** Part of the time in which clients do nothing, so that the group goes to rest. */
  readonly idleShare: number
  /** Part of the lives of nodes in which they run a release that knows of no rest. */
  readonly earlierShare: number
  /** How long a node takes, at most, to tell a replica what became of another node. */
  readonly newsDelayMs: number
  /** Names of faults that are there for certain, and often. */
  readonly emphasis: readonly string[]
}

export function drawSettings(random: SeededRandom): Settings {
  const settings = drawResting(random)
  const electionTimeoutRange = chance(random, 0.5) ? between(random, 0.1, 1) : 1
  return { ...settings, raft: { ...settings.raft, electionTimeoutRange } }
}

function drawResting(random: SeededRandom): Settings {
  const settings = drawAwake(random)
  return {
    ...settings,
    raft: { ...settings.raft, quiescence: chance(random, 0.8) },
    idleShare: chance(random, 0.5) ? random.float() : 0,
    earlierShare: chance(random, 0.25) ? random.float() : 0,
    mixedReleases: chance(random, 0.4),
    newsDelayMs: chance(random, 0.5) ? random.float() * 2_000 : 0,
  }
}

/** What groups that rest have nothing to do with. */
function drawAwake(random: SeededRandom): Settings {
  const size = chance(random, 0.75) ? 5 : chance(random, 0.7) ? 3 : 1 + random.integer(4)
  const badNetwork = chance(random, 0.6)
  const badDisk = chance(random, 0.5)
  const electionTimeoutMs = between(random, 150, 400)
  const tight = chance(random, 0.5)
  const small = chance(random, 0.5)
  const clockDrift = chance(random, 0.5) ? random.float() * 0.1 : 0
  const leases = chance(random, 0.7)
  return {
    size,
    nodes: Math.max(size, chance(random, 0.7) ? 7 : size + 1),
    clients: 3 + random.integer(4),
    faultPhaseMs: between(random, 5_000, 15_000),
    recoveryMs: 30_000,
    raft: {
      electionTimeoutMs,
      heartbeatIntervalMs: electionTimeoutMs / between(random, 3.5, 8),
      preVote: chance(random, 0.85),
      checkQuorum: chance(random, 0.75),
      roundTripMs: between(random, 1, 10),
      commitNoticeMs: chance(random, 0.5) ? between(random, 0, 20) : 0,
      maximumAppendEntries: tight ? 1 + random.integer(5) : 4096,
      maximumInFlightMessages: tight ? 1 + random.integer(5) : 128,
      maximumInFlightBytes: tight ? 50 + random.integer(500) : 8 << 20,
      maximumTailBytes: small ? random.integer(500) : 8 << 20,
      maximumApplyingBytes: small ? 50 + random.integer(1_000) : 16 << 20,
      caughtUpEntries: 5 + random.integer(50),
      leaseMs: Math.ceil(between(random, 0.1, 1.5) * electionTimeoutMs),
      // As tight as it is true.
      clockDriftBound: leases ? Math.max(clockDrift, 0.0001) : 0,
    },
    link: {
      minimumDelayMs: between(random, 0.05, 3),
      meanExtraDelayMs: badNetwork ? between(random, 0.1, 12) : 0.3,
      lossProbability: badNetwork && chance(random, 0.7) ? random.float() ** 2 * 0.15 : 0,
      duplicateProbability: badNetwork && chance(random, 0.6) ? random.float() * 0.1 : 0,
      reorderProbability: badNetwork && chance(random, 0.6) ? random.float() * 0.2 : 0,
      reorderDelayMs: between(random, 5, 1.5 * electionTimeoutMs),
    },
    disk: {
      ...diskDefaults,
      minimumDelayMs: 0.1,
      meanExtraDelayMs: badDisk ? between(random, 1, 20) : 0.5,
      slowProbability: badDisk ? random.float() * 0.05 : 0,
      slowDelayMs: between(random, 50, 800),
      syncFailureProbability: badDisk && chance(random, 0.3) ? random.float() * 0.001 : 0,
      readFailureProbability: chance(random, 0.5) ? random.float() * 0.3 : 0,
    },
    thinkMs: between(random, 1, 40),
    attemptMs: between(random, 100, 600),
    blindShare: chance(random, 0.5) ? 0.4 : 0,
    // One for all, or enough that most are written rarely.
    keys: pick(random, [1, 2, 4, 40]),
    maximumSessions: chance(random, 0.3) ? 2 + random.integer(3) : 50,
    applyDelayMs: chance(random, 0.3) ? between(random, 1, 40) : 0.1,
    maximumApplyBatch: 1 + random.integer(30),
    flushEvery: chance(random, 0.7) ? 5 + random.integer(60) : 100_000,
    keepEntries: random.integer(30),
    chunkBytes: 50 + random.integer(400),
    crashPointProbability: chance(random, 0.4) ? random.float() ** 2 * 0.004 : 0,
    clockDrift,
    shortRecovery: chance(random, 0.5),
    operatorIntervalMs: chance(random, 0.7) ? between(random, 100, 1_100) : 1e9,
    losesQuorum: chance(random, 0.3),
    sparesLaggards: chance(random, 0.5),
    maximumLagEntries: 60 + random.integer(200),
    maximumLagBytes: 2_000 + random.integer(20_000),
    shortLease: chance(random, 0.7) ? 1 : between(random, 0.2, 1),
    leaseReads: leases ? random.float() : 0,
    followerReads: chance(random, 0.6) ? random.float() : 0,
    jointShare: chance(random, 0.75) ? random.float() : 0,
    leaveProbability: pick(random, [0.1, 0.7]),
    autoPromoteShare: chance(random, 0.6) ? random.float() : 0,
    priorities: chance(random, 0.4),
    mixedOptions: chance(random, 0.4),
    mixedReleases: false,
    restartLease: chance(random, 0.6) ? 1 : random.float(),
    idleShare: 0,
    earlierShare: 0,
    newsDelayMs: 0,
    emphasis: [],
  }
}
