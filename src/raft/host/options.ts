import { checkBytes } from '../../core/arguments.ts'
import type { Environment } from '../../core/environment.ts'
import {
  arrayOption,
  booleanOption,
  checkOptions,
  integerOption,
  numberOption,
  type OptionCheck,
  objectOption,
  optional,
  stringOption,
} from '../../core/options.ts'
import {
  groupWriteBytes,
  type LogStore,
  type LogStoreFactory,
  type LogStoreLimits,
} from '../../interfaces/log-store.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { Channel } from '../../interfaces/transport.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import { type ClusterId, type NodeId, nameOption } from '../../model/ids.ts'
import { checkRaftOptions, defaultRaftOptions } from '../core/options.ts'
import type { RaftOptions } from '../core/types.ts'
import { maximumEnvelopeBytes } from '../group/envelope.ts'
import { checkGroupLimits, type GroupLimits } from '../group/limits.ts'
import { maximumRecoveries, type Refounding } from '../group/refounding.ts'
import type { DestructionSetup } from './group-destruction.ts'

/** Options of {@link RaftHost.open}. */
export interface RaftHostOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /**
   * The logs of all groups: a factory as `segments(directory)`, or a store that is open already. The host closes it.
   * Its incarnation must be that of the channel's `self`: open the store first and give its incarnation to the transport.
   */
  readonly log: LogStoreFactory | LogStore
  /** The cluster of these groups; stored with the logs. */
  readonly clusterId: ClusterId
  /** This node: one of the replicas of every group that is opened here lives on it. */
  readonly nodeId: NodeId
  /** A channel of its own, or what makes one by name: the host asks for `raft`. */
  readonly channel: Channel | ((protocol: string) => Channel)
  /** Tuning of the algorithm, the same on all hosts of a group. See {@link defaultRaftOptions}. */
  readonly raft?: Partial<RaftOptions>
  /** Limits of each group. See {@link defaultGroupLimits}. */
  readonly limits?: Partial<GroupLimits>
  /**
   * Whether proposals that are made where a group is not led go to its leader, unless a call says otherwise; else they are
   * refused with `NOT_LEADER` and a hint. Default: false.
   */
  readonly forwardProposals?: boolean
  /** Groups that may be open at a time. Default: 100,000. */
  readonly maximumGroups?: number
  /** Snapshots that are sent, and snapshots that are received, at a time. Default: 4. */
  readonly maximumSnapshotTransfers?: number
  /** A snapshot that stands still for so long is given up. Default: 10,000. */
  readonly snapshotTimeoutMs?: number
  /** How fast this host sends snapshots, all together, and how fast it receives them. Default: 64 MiB a second. */
  readonly snapshotBytesPerSecond?: number
  /**
   * Bytes of a snapshot that the receiver asks for at a time, and that the sender keeps in memory for a receiver whose
   * connection breaks. Default: 4 MiB.
   */
  readonly snapshotWindowBytes?: number
}

/** What {@link RaftHost} uses where nothing is given. */
export const raftHostDefaults: {
  /** See {@link RaftHostOptions.forwardProposals}. */
  readonly forwardProposals: boolean
  /** See {@link RaftHostOptions.maximumGroups}. */
  readonly maximumGroups: number
  /** See {@link RaftHostOptions.maximumSnapshotTransfers}. */
  readonly maximumSnapshotTransfers: number
  /** See {@link RaftHostOptions.snapshotTimeoutMs}. */
  readonly snapshotTimeoutMs: number
  /** See {@link RaftHostOptions.snapshotBytesPerSecond}. */
  readonly snapshotBytesPerSecond: number
  /** See {@link RaftHostOptions.snapshotWindowBytes}. */
  readonly snapshotWindowBytes: number
} = Object.freeze({
  forwardProposals: false,
  maximumGroups: 100_000,
  maximumSnapshotTransfers: 4,
  snapshotTimeoutMs: 10_000,
  snapshotBytesPerSecond: 64 << 20,
  snapshotWindowBytes: 4 << 20,
})

/** {@link RaftHostOptions} with everything filled in. */
export interface CheckedHostOptions {
  readonly env: Environment
  readonly log: LogStoreFactory | LogStore
  readonly clusterId: ClusterId
  readonly nodeId: NodeId
  readonly channel: Channel | ((protocol: string) => Channel)
  readonly raft: Partial<RaftOptions>
  readonly limits: GroupLimits
  readonly forwardProposals: boolean
  readonly maximumGroups: number
  readonly maximumSnapshotTransfers: number
  readonly snapshotTimeoutMs: number
  readonly snapshotBytesPerSecond: number
  readonly snapshotWindowBytes: number
}

const logMembers = ['write', 'read', 'recovered', 'close', 'incarnation', 'limits'] as const
const channelMembers = ['send', 'onMessage', 'onLost', 'openStream', 'self', 'maximumMessageBytes'] as const

function either<T>(members: readonly string[]): OptionCheck<T> {
  const object = objectOption<object>(members as never[])
  return (value, name) => (typeof value === 'function' ? (value as T) : (object(value, name) as T))
}

/** @throws KeelsonError `INVALID_OPTION` */
export function checkHostOptions(input: RaftHostOptions): CheckedHostOptions {
  const d = raftHostDefaults
  const checked = checkOptions<RaftHostOptions>('RaftHost.open', input, {
    env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
    log: either<LogStoreFactory | LogStore>(logMembers),
    clusterId: nameOption,
    nodeId: nameOption,
    channel: either<Channel | ((protocol: string) => Channel)>(channelMembers),
    raft: optional(objectOption<Partial<RaftOptions>>()),
    limits: optional(objectOption<Partial<GroupLimits>>()),
    forwardProposals: booleanOption(d.forwardProposals),
    maximumGroups: integerOption({ min: 1, fallback: d.maximumGroups }),
    maximumSnapshotTransfers: integerOption({ min: 1, max: 1000, fallback: d.maximumSnapshotTransfers }),
    snapshotTimeoutMs: numberOption({ min: 1, max: 3_600_000, fallback: d.snapshotTimeoutMs }),
    snapshotBytesPerSecond: integerOption({ min: 1024, fallback: d.snapshotBytesPerSecond }),
    snapshotWindowBytes: integerOption({ min: 1, max: 1 << 30, fallback: d.snapshotWindowBytes }),
  }) as Omit<CheckedHostOptions, 'raft' | 'limits'> & Pick<RaftHostOptions, 'raft' | 'limits'>
  return { ...checked, raft: checked.raft ?? {}, limits: checkGroupLimits(checked.limits) }
}

const stateMachineOption = objectOption<StateMachine>([
  'open',
  'apply',
  'flush',
  'snapshot',
  'restore',
  'destroy',
  'close',
])

const refoundingOption: OptionCheck<Refounding> = (value, name) =>
  checkOptions<Refounding>(name, value, {
    recoveries: integerOption({ min: 1, max: maximumRecoveries }),
    firstCommands: arrayOption((bytes, option) => checkBytes(bytes, option), { min: 1, max: 16 }),
  })

/** What {@link RaftHost.bootstrap} makes a group of. */
export interface BootstrapSetup {
  /** All first members, whose ids are 1 to n; the same on each of them. */
  readonly replicas: readonly ReplicaDescriptor[]
  /** This node's state machine, which must be new. */
  readonly stateMachine: StateMachine
  /** Where the group takes the place of one of which no replica is left. Default: it is a new one. */
  readonly refounding?: Refounding | undefined
}

/** What {@link RaftHost.bootstrap} is given beside the group. @throws KeelsonError `INVALID_OPTION` */
export function checkBootstrap(setup: unknown): BootstrapSetup {
  return checkOptions<BootstrapSetup>('RaftHost.bootstrap', setup, {
    replicas: arrayOption(objectOption<ReplicaDescriptor>(), { min: 1 }),
    stateMachine: stateMachineOption,
    refounding: optional(refoundingOption),
  })
}

/** What opening a group is given beside it. @throws KeelsonError `INVALID_OPTION` */
export function checkSetup(where: string, setup: unknown): { readonly stateMachine: StateMachine } {
  return checkOptions(where, setup, { stateMachine: stateMachineOption })
}

/** What {@link RaftHost.destroyGroup} is given beside the group. @throws KeelsonError `INVALID_OPTION` */
export function checkDestruction(setup: unknown): DestructionSetup {
  return checkOptions<{
    readonly stateMachine: StateMachine | undefined
    readonly confirm: string | undefined
  }>('RaftHost.destroyGroup', setup, {
    stateMachine: optional(stateMachineOption),
    confirm: optional(stringOption()),
  }) as DestructionSetup
}

/** What a host's own factory gave. @throws KeelsonError `INVALID_OPTION` */
export function checkPorts(store: unknown, channel: unknown): void {
  const { limits } = objectOption<LogStore>(logMembers)(store, "RaftHost.open: what option 'log' gave")
  checkOptions<LogStoreLimits>(
    'RaftHost.open: the limits of the log store',
    limits,
    { writeBytes: integerOption({ min: 1 }), queuedBytes: integerOption({ min: 1 }) },
    ({ writeBytes, queuedBytes }, refuse) => {
      if (queuedBytes < writeBytes) refuse("'queuedBytes' must be at least 'writeBytes'")
    },
  )
  objectOption<Channel>(channelMembers)(channel, "RaftHost.open: what option 'channel' gave")
}

const entryOverheadBytes = 24
const frameOverheadBytes = 1024

/** What one entry without data takes as a write of its own. */
const largestEmptyEntry = groupWriteBytes({
  groupId: 0,
  entries: [{ index: 0, term: 0, kind: 0, data: new Uint8Array(0) }],
})

/** Of election timeouts: see `RaftOptions.electionTimeoutRange`. */
const rangeOfHosts = 0.3

/**
 * The options of the cores, so that every append fits into one message of the channel, and every entry into one write of the
 * log store. What was asked for is refused when it does not; defaults are lowered.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function fitRaftOptions(
  asked: Partial<RaftOptions>,
  maximumMessageBytes: number,
  maximumWriteBytes: number,
): RaftOptions {
  const room = maximumMessageBytes - frameOverheadBytes
  const roomForEntry = Math.min(room - entryOverheadBytes, maximumWriteBytes - largestEmptyEntry)
  const d = defaultRaftOptions
  const maximumAppendEntries =
    asked.maximumAppendEntries ?? Math.min(d.maximumAppendEntries, Math.floor(room / 4 / entryOverheadBytes))
  const roomForData = room - maximumAppendEntries * entryOverheadBytes
  const options = checkRaftOptions({
    ...asked,
    electionTimeoutRange: asked.electionTimeoutRange ?? (asked.preVote === false ? 1 : rangeOfHosts),
    maximumAppendEntries,
    maximumAppendBytes: asked.maximumAppendBytes ?? Math.min(d.maximumAppendBytes, roomForData),
    maximumEntryBytes: asked.maximumEntryBytes ?? Math.min(d.maximumEntryBytes, roomForEntry),
  })
  // Names the option that does not fit.
  checkOptions<{ maximumAppendBytes: number; maximumEntryBytes: number }>(
    'RaftHost.open: raft, over this channel and with this log store,',
    { maximumAppendBytes: options.maximumAppendBytes, maximumEntryBytes: options.maximumEntryBytes },
    {
      maximumAppendBytes: integerOption({ min: 1, max: Math.max(1, roomForData) }),
      maximumEntryBytes: integerOption({
        min: maximumEnvelopeBytes,
        max: Math.max(1, roomForEntry),
      }),
    },
  )
  return Object.freeze(options)
}
