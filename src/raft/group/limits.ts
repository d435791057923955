import { checkOptions, integerOption, numberOption } from '../../core/options.ts'

/** Limits of each group of a host. Bytes are those of the data, without what memory management adds. */
export interface GroupLimits {
  /** Proposals of one group whose outcome is open. More are refused with `OVERLOADED`. */
  readonly maximumPendingProposals: number
  /** Bytes of the proposals of one group whose outcome is open. More are refused with `OVERLOADED`. */
  readonly maximumPendingBytes: number
  /** Proposals of one group on their way from this node to the leader. More are refused with `OVERLOADED`. */
  readonly maximumForwarded: number
  /** Bytes of such proposals. More are refused with `OVERLOADED`. */
  readonly maximumForwardedBytes: number
  /** How long a forwarded proposal looks for a leader and waits for its answer. */
  readonly forwardTimeoutMs: number
  /** Read barriers of one group that wait. More are refused with `OVERLOADED`. */
  readonly maximumPendingReads: number
  /** Most entries that the state machine gets in one call of `apply`. */
  readonly maximumApplyEntries: number
  /** Most bytes that the state machine gets in one call of `apply`; a single larger entry comes alone. */
  readonly maximumApplyBytes: number
  /** Entries that may lie in the log, applied, before the state is flushed and the log compacted. */
  readonly compactAfterEntries: number
  /** Bytes of applied entries that may lie in the log before it is compacted. */
  readonly compactAfterBytes: number
  /** Applied entries that stay for followers that are a little behind when the log is compacted. */
  readonly keptEntries: number
  /** Bytes of such entries at most. Unless given, a quarter of `compactAfterBytes`, up to 8 MiB. */
  readonly keptBytes: number
  /**
   * Entries that a leader holds on to for a follower that is at work, or for one that gets a snapshot just now. One that
   * lags further behind gets a snapshot. Unless given, four times `compactAfterEntries`.
   */
  readonly maximumLagEntries: number
  /** Bytes that it holds on to for such a follower. Unless given, four times `compactAfterBytes`. */
  readonly maximumLagBytes: number
  /** Client sessions; opening one more ends the one that was unused for longest. */
  readonly maximumSessions: number
  /** Results that one client session keeps for repetitions of its commands. */
  readonly resultsPerSession: number
  /** Bytes of results of one client session, beyond which the oldest are forgotten. Checked now and then. */
  readonly resultBytesPerSession: number
  /** Bytes of results of all client sessions of a group. Checked now and then. */
  readonly totalResultBytes: number
  /** Opening a session ends those that took no part in the last so many entries; 0 for never. */
  readonly sessionIdleEntries: number
  /** How long a proposal may stay open after leadership was lost before it fails with `OUTCOME_UNKNOWN`. */
  readonly lostLeadershipGraceMs: number
}

/** Used for what a caller leaves out. */
export const defaultGroupLimits: GroupLimits = Object.freeze({
  maximumPendingProposals: 65_536,
  maximumPendingBytes: 64 << 20,
  maximumForwarded: 16_384,
  maximumForwardedBytes: 32 << 20,
  forwardTimeoutMs: 4_000,
  maximumPendingReads: 65_536,
  maximumApplyEntries: 1024,
  maximumApplyBytes: 1 << 20,
  compactAfterEntries: 50_000,
  compactAfterBytes: 32 << 20,
  keptEntries: 5_000,
  keptBytes: 8 << 20,
  maximumLagEntries: 200_000,
  maximumLagBytes: 128 << 20,
  maximumSessions: 10_000,
  resultsPerSession: 1_024,
  resultBytesPerSession: 1 << 20,
  totalResultBytes: 64 << 20,
  sessionIdleEntries: 0,
  lostLeadershipGraceMs: 300,
})

/** Completes and checks {@link GroupLimits}. @throws KeelsonError `INVALID_OPTION` */
export function checkGroupLimits(input: Partial<GroupLimits> = {}): GroupLimits {
  const d = defaultGroupLimits
  const count = (fallback: number): ReturnType<typeof integerOption> => integerOption({ min: 1, fallback })
  // Limits that follow from others; whatever is no number is refused below.
  const given = (input as Partial<GroupLimits> | null) ?? {}
  const numberOr = (value: unknown, fallback: number): number =>
    typeof value === 'number' ? value : fallback
  const compactAfterEntries = numberOr(given.compactAfterEntries, d.compactAfterEntries)
  const compactAfterBytes = numberOr(given.compactAfterBytes, d.compactAfterBytes)
  return checkOptions<GroupLimits>(
    'limits of RaftHost',
    input,
    {
      maximumPendingProposals: count(d.maximumPendingProposals),
      maximumPendingBytes: count(d.maximumPendingBytes),
      maximumForwarded: count(d.maximumForwarded),
      maximumForwardedBytes: count(d.maximumForwardedBytes),
      forwardTimeoutMs: numberOption({ min: 1, max: 600_000, fallback: d.forwardTimeoutMs }),
      maximumPendingReads: count(d.maximumPendingReads),
      maximumApplyEntries: count(d.maximumApplyEntries),
      maximumApplyBytes: count(d.maximumApplyBytes),
      compactAfterEntries: count(d.compactAfterEntries),
      compactAfterBytes: count(d.compactAfterBytes),
      keptEntries: integerOption({ min: 0, fallback: d.keptEntries }),
      keptBytes: integerOption({
        min: 0,
        fallback: Math.min(d.keptBytes, Math.floor(compactAfterBytes / 4)),
      }),
      maximumLagEntries: count(Math.min(compactAfterEntries * 4, Number.MAX_SAFE_INTEGER)),
      maximumLagBytes: count(Math.min(compactAfterBytes * 4, Number.MAX_SAFE_INTEGER)),
      maximumSessions: integerOption({ min: 1, max: 1_000_000, fallback: d.maximumSessions }),
      resultsPerSession: integerOption({ min: 1, max: 65_536, fallback: d.resultsPerSession }),
      resultBytesPerSession: count(d.resultBytesPerSession),
      totalResultBytes: count(d.totalResultBytes),
      sessionIdleEntries: integerOption({ min: 0, fallback: d.sessionIdleEntries }),
      lostLeadershipGraceMs: numberOption({ min: 0, max: 600_000, fallback: d.lostLeadershipGraceMs }),
    },
    (limits, refuse) => {
      if (limits.keptEntries >= limits.compactAfterEntries) {
        refuse(
          `keptEntries (${limits.keptEntries}) must be below compactAfterEntries (${limits.compactAfterEntries})`,
        )
      }
      const atMost = (
        small: 'keptBytes' | 'compactAfterEntries' | 'compactAfterBytes',
        large: 'compactAfterBytes' | 'maximumLagEntries' | 'maximumLagBytes',
      ): void => {
        if (limits[small] > limits[large]) {
          refuse(`${small} (${limits[small]}) must be at most ${large} (${limits[large]})`)
        }
      }
      atMost('keptBytes', 'compactAfterBytes')
      atMost('compactAfterEntries', 'maximumLagEntries')
      atMost('compactAfterBytes', 'maximumLagBytes')
      if (limits.resultBytesPerSession > limits.totalResultBytes) {
        refuse(
          `resultBytesPerSession (${limits.resultBytesPerSession}) must be at most totalResultBytes (${limits.totalResultBytes})`,
        )
      }
    },
  )
}
