import { booleanOption, checkOptions, integerOption, numberOption } from '../../core/options.ts'
import type { RaftOptions } from './types.ts'

/** Used for what a caller of the core leaves out. A `RaftHost` has an `electionTimeoutRange` of 0.3 instead. */
export const defaultRaftOptions: RaftOptions = Object.freeze({
  electionTimeoutMs: 300,
  electionTimeoutRange: 1,
  heartbeatIntervalMs: 50,
  preVote: true,
  checkQuorum: true,
  roundTripMs: 2,
  commitNoticeMs: 2,
  leaseMs: 100,
  clockDriftBound: 0,
  quiescence: true,
  maximumAppendBytes: 1 << 20,
  maximumAppendEntries: 4096,
  maximumInFlightMessages: 128,
  maximumInFlightBytes: 8 << 20,
  maximumEntryBytes: 16 << 20,
  maximumUncommittedBytes: 64 << 20,
  maximumApplyingBytes: 16 << 20,
  maximumPendingReads: 100_000,
  maximumTailBytes: 8 << 20,
  caughtUpEntries: 1000,
})

/** For how long a replica with these options may pledge itself, in whole milliseconds; 0 where leases are off. */
export function longestPledgeMs({ leaseMs, clockDriftBound }: RaftOptions): number {
  return clockDriftBound > 0 ? Math.ceil(leaseMs * (1 + clockDriftBound)) : 0
}

/** Completes and checks {@link RaftOptions}. @throws KeelsonError `INVALID_OPTION` */
export function checkRaftOptions(input: Partial<RaftOptions> = {}): RaftOptions {
  const d = defaultRaftOptions
  const count = (fallback: number): ReturnType<typeof integerOption> => integerOption({ min: 1, fallback })
  return checkOptions<RaftOptions>(
    'Raft',
    input,
    {
      electionTimeoutMs: numberOption({ min: 1, max: 3_600_000, fallback: d.electionTimeoutMs }),
      electionTimeoutRange: numberOption({ min: 0.1, max: 1, fallback: d.electionTimeoutRange }),
      heartbeatIntervalMs: numberOption({ min: 0.1, max: 3_600_000, fallback: d.heartbeatIntervalMs }),
      preVote: booleanOption(d.preVote),
      checkQuorum: booleanOption(d.checkQuorum),
      roundTripMs: numberOption({ min: 0, max: 60_000, fallback: d.roundTripMs }),
      commitNoticeMs: numberOption({ min: 0, max: 60_000, fallback: d.commitNoticeMs }),
      leaseMs: integerOption({ min: 0, max: 3_600_000, fallback: d.leaseMs }),
      clockDriftBound: numberOption({ min: 0, max: 0.2, fallback: d.clockDriftBound }),
      quiescence: booleanOption(d.quiescence),
      maximumAppendBytes: count(d.maximumAppendBytes),
      maximumAppendEntries: count(d.maximumAppendEntries),
      maximumInFlightMessages: count(d.maximumInFlightMessages),
      maximumInFlightBytes: count(d.maximumInFlightBytes),
      maximumEntryBytes: count(d.maximumEntryBytes),
      maximumUncommittedBytes: count(d.maximumUncommittedBytes),
      maximumApplyingBytes: count(d.maximumApplyingBytes),
      maximumPendingReads: count(d.maximumPendingReads),
      maximumTailBytes: integerOption({ min: 0, fallback: d.maximumTailBytes }),
      caughtUpEntries: integerOption({ min: 0, fallback: d.caughtUpEntries }),
    },
    (options, refuse) => {
      if (options.electionTimeoutRange < 1 && !options.preVote)
        refuse('electionTimeoutRange below 1 needs preVote, which keeps candidates apart')
      if (options.heartbeatIntervalMs * 3 > options.electionTimeoutMs) {
        refuse(
          `heartbeatIntervalMs (${options.heartbeatIntervalMs}) must be at most a third of electionTimeoutMs (${options.electionTimeoutMs})`,
        )
      }
    },
  )
}
