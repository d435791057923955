import { between, chance, type SeededRandom } from '../../../src/core/random.ts'
import type { LogStoreLimits } from '../../../src/interfaces/log-store.ts'
import type { RaftOptions } from '../../../src/raft/core/types.ts'
import type { GroupLimits } from '../../../src/raft/group/limits.ts'
import type { RaftHostOptions } from '../../../src/raft/host/options.ts'

/** Everything that is drawn per seed, but for the faults that come and go. */
export interface HostSettings {
  /** Members of the bootstrap. */
  readonly size: number
  /** Nodes that wait to become members. */
  readonly spares: number
  readonly clients: number
  /** Clients that give their commands no id. */
  readonly blind: number
  /** Proposals go to any node, which forwards them. */
  readonly forwards: boolean
  /** Part of the writes of clients with ids that come in batches. */
  readonly batches: number
  /** Nodes whose frames are those of a later release. */
  readonly laterReleases: number
  /** Counters that are there from the start, so that a snapshot has many chunks. */
  readonly fillers: number
  readonly faultMs: number
  /** The only kinds of faults; drawn where it is not said. */
  readonly faults?: readonly string[]
  /** Mean time between two changes of the members; huge for none. */
  readonly changeMs: number
  /** How many of them are replacements in one call. */
  readonly replaceShare: number
  /** How many learners the leader is to promote by itself. */
  readonly autoPromoteShare: number
  /** Members have priorities. */
  readonly priorities: boolean
  /** Probability that something happens at a chunk of a snapshot that is restored. */
  readonly interruption: number
  /** Probability that a chunk of a stream is damaged on its way. */
  readonly damage: number
  /** Older images of disks come back. */
  readonly images: boolean
  /** In the end more than half of the voters are lost, and the group is recovered. */
  readonly losesQuorum: boolean
  readonly raft: Partial<RaftOptions>
  readonly limits: Partial<GroupLimits>
  readonly host: Partial<RaftHostOptions>
  readonly maximumMessageBytes: number
  /** What the log stores take; undefined for a lot. */
  readonly storeLimits: LogStoreLimits | undefined
  /** Real segments of this size on the simulated disks; 0 for simulated stores. */
  readonly segmentBytes: number
}

export function drawHostSettings(random: SeededRandom): HostSettings {
  const settings = drawSettings(random)
  return chance(random.child('images'), 0.3) ? withImages(settings) : settings
}

/** What is lost with an image only its own node may have had: so members stay the same. */
export function withImages(settings: HostSettings): HostSettings {
  return { ...settings, images: true, changeMs: 1e9, losesQuorum: false, segmentBytes: 16 * 1024 }
}

function drawSettings(random: SeededRandom): HostSettings {
  const size = chance(random, 0.5) ? 3 : 5
  const members = random.child('members')
  const compactAfterEntries = 20 + random.integer(60)
  return {
    size,
    spares: 1 + random.integer(2),
    clients: 2 + random.integer(2),
    blind: random.integer(2),
    forwards: chance(random, 0.6),
    batches: chance(random.child('batches'), 0.7) ? random.child('share of batches').float() * 0.6 : 0,
    laterReleases: chance(random, 0.4) ? 1 + random.integer(2) : 0,
    fillers: 5 + random.integer(40),
    faultMs: between(random, 5_000, 10_000),
    changeMs: chance(random, 0.6) ? between(random, 300, 1_500) : 1e9,
    replaceShare: chance(members, 0.7) ? members.float() : 0,
    autoPromoteShare: chance(members, 0.5) ? members.float() : 0,
    priorities: chance(members, 0.4),
    interruption: chance(random, 0.7) ? random.float() * 0.2 : 0,
    damage: chance(random, 0.3) ? random.float() * 0.05 : 0,
    images: false,
    losesQuorum: chance(random, 0.4),
    raft: {
      preVote: chance(random, 0.85),
      maximumTailBytes: chance(random, 0.7) ? random.integer(1_000) : 8 << 20,
      ...(chance(random, 0.4)
        ? { maximumInFlightMessages: 1 + random.integer(4), maximumAppendEntries: 1 + random.integer(10) }
        : {}),
    },
    limits: {
      compactAfterEntries,
      keptEntries: random.integer(Math.min(20, compactAfterEntries)),
      maximumLagEntries: compactAfterEntries * (1 + random.integer(4)),
      maximumApplyEntries: 1 + random.integer(20),
      forwardTimeoutMs: between(random, 400, 2_000),
      lostLeadershipGraceMs: between(random, 50, 400),
    },
    host: {
      snapshotTimeoutMs: between(random, 500, 3_000),
      snapshotWindowBytes: chance(random, 0.6) ? 1 + random.integer(2_000) : 4 << 20,
      snapshotBytesPerSecond: chance(random, 0.3) ? 2_000 + random.integer(20_000) : 64 << 20,
      maximumSnapshotTransfers: 1 + random.integer(3),
    },
    maximumMessageBytes: 8_000 + random.integer(16_000),
    ...drawStore(random),
  }
}

/** Stores that take less than what comes in with one message, or in one turn. */
function drawStore(random: SeededRandom): Pick<HostSettings, 'storeLimits' | 'segmentBytes'> {
  const writeBytes = 700 + random.integer(2_000)
  const queuedBytes = writeBytes + random.integer(8_000)
  return {
    storeLimits: chance(random, 0.5) ? { writeBytes, queuedBytes } : undefined,
    segmentBytes: chance(random, 0.3) ? 16 * 1024 : 0,
  }
}
