/** Times and limits of the protocol. Every member of a cluster should use the same. */
export interface SwimTuning {
  /** Length of a protocol period: one member is probed in each. */
  readonly probeIntervalMs: number
  /** How long a direct answer may take before others are asked to try. Below {@link SwimTuning.probeIntervalMs}. */
  readonly probeTimeoutMs: number
  /** How many members are asked to try. */
  readonly indirectProbes: number
  /** λ: an update is sent λ · ⌈log10(n + 1)⌉ times by each member. */
  readonly retransmitMultiplier: number
  /** α: a suspicion lasts at least α · max(1, log10 n) probe intervals. */
  readonly suspicionMultiplier: number
  /** β: without confirmations a suspicion lasts β times as long. */
  readonly suspicionMaximumMultiplier: number
  /** The health score stays below this. */
  readonly healthMaximum: number
  /** Time between two exchanges of the whole view with a random member; grows with the cluster above 32 members. */
  readonly syncIntervalMs: number
  /** Time between two rounds of gossip while there is something to tell. */
  readonly gossipIntervalMs: number
  /** Members told in each round of gossip. */
  readonly gossipFanout: number
  /** How long gossip still goes to a dead member, so that one that is not dead hears of it. */
  readonly gossipToDeadMs: number
  /** Time between two attempts to reach a dead member or a seed that is no member: this heals partitions. */
  readonly reconnectIntervalMs: number
  /** How long the dead and those who left are remembered; those who were removed are for good. */
  readonly tombstoneMs: number
  /**
   * Accusations that a member refuted within {@link SwimTuning.expelWindowMs} before it is expelled: it can be reached now and
   * then, and is of no use. An accusation that had become a death counts twice. It comes back by itself when its paths are good again. 0 for never.
   */
  readonly expelRefutations: number
  /** See {@link SwimTuning.expelRefutations}. */
  readonly expelWindowMs: number
  /** How long an expelled member stays away at least; twice as long each time, up to sixteen times. */
  readonly expelHoldMs: number
  /** Largest datagram. 1,400 fits an Ethernet frame with room for encryption. */
  readonly maximumPacketBytes: number
  /** Members in all, the remembered dead included. */
  readonly maximumMembers: number
  /** Longest metadata of a member; those above 512 bytes travel apart and are pulled by each member. */
  readonly maximumMetadataBytes: number
  /** Bytes of long metadata of others that are kept or being fetched; what does not fit is not fetched until its owner says more. */
  readonly maximumMetadataCacheBytes: number
  /** Bytes a second that views, news and metadata may take which others ask for: a forged question must not make a flood. */
  readonly maximumSyncBytesPerSecond: number
}

/** For one data centre: memberlist's LAN defaults. */
export const lanProfile: SwimTuning = Object.freeze({
  probeIntervalMs: 1_000,
  probeTimeoutMs: 500,
  indirectProbes: 3,
  retransmitMultiplier: 4,
  suspicionMultiplier: 4,
  suspicionMaximumMultiplier: 6,
  healthMaximum: 8,
  syncIntervalMs: 30_000,
  gossipIntervalMs: 200,
  gossipFanout: 3,
  gossipToDeadMs: 30_000,
  reconnectIntervalMs: 30_000,
  tombstoneMs: 86_400_000,
  expelRefutations: 4,
  expelWindowMs: 60_000,
  expelHoldMs: 60_000,
  maximumPacketBytes: 1_400,
  maximumMembers: 20_000,
  maximumMetadataBytes: 65_536,
  maximumMetadataCacheBytes: 67_108_864,
  maximumSyncBytesPerSecond: 4_194_304,
})

/** Between data centres: memberlist's WAN defaults. */
export const wanProfile: SwimTuning = Object.freeze({
  ...lanProfile,
  probeIntervalMs: 5_000,
  probeTimeoutMs: 3_000,
  suspicionMultiplier: 6,
  syncIntervalMs: 60_000,
  gossipIntervalMs: 500,
  gossipFanout: 4,
  gossipToDeadMs: 60_000,
  reconnectIntervalMs: 60_000,
  expelWindowMs: 300_000,
  expelHoldMs: 300_000,
})

/** On one machine: memberlist's local defaults. */
export const localProfile: SwimTuning = Object.freeze({
  ...lanProfile,
  probeTimeoutMs: 200,
  indirectProbes: 1,
  retransmitMultiplier: 2,
  suspicionMultiplier: 3,
  syncIntervalMs: 15_000,
  gossipIntervalMs: 100,
  gossipToDeadMs: 15_000,
  reconnectIntervalMs: 15_000,
})
