import type { Environment } from '../core/environment.ts'
import { arrayOption, checkOptions, functionOption, objectOption, optional } from '../core/options.ts'
import type { DatagramFactory } from '../interfaces/datagram.ts'
import type { LogStoreFactory } from '../interfaces/log-store.ts'
import type { TransportFactory } from '../interfaces/transport.ts'
import type { JobType } from '../jobs/index.ts'
import { type ClusterId, type NodeId, nameOption } from '../model/ids.ts'
import { checkGroupLimits, checkRaftOptions, type GroupLimits, type RaftOptions } from '../raft/index.ts'
import { checkSchemaChangeTuning, type SchemaChangeTuning } from '../schema/index.ts'
import type { ByteLevel } from '../storage/level/database.ts'
import { type ClusterStart, clusterOption } from './cluster-start.ts'
import { type GossipOptions, gossipOption } from './gossip.ts'
import { checkPlacement, type PlacementOptions } from './leader-duties.ts'

/** Options of `ControlPlane.open`. */
export interface ControlPlaneOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** The cluster that this server forms or joins. Peers of another one are refused with `FOREIGN_CLUSTER`. */
  readonly clusterId: ClusterId
  /** Name of this server, unique among servers and nodes and the same at every start. */
  readonly nodeId: NodeId
  /** What to do with an empty directory: `bootstrap(…)` or `join(…)`. */
  readonly cluster: ClusterStart
  /** Connects servers, nodes and clients: `webSocket(…)`, or a memory network's. */
  readonly transport: TransportFactory
  /** Gossip among servers and nodes; without it only sessions tell who is alive. */
  readonly datagrams?: DatagramFactory
  /** How this server gossips. Default: as `lanProfile` says, with the keys that `datagrams` has. */
  readonly gossip?: GossipOptions
  /** Where the log of the metadata group is kept: `segments(…)`, or another store. */
  readonly log: LogStoreFactory
  /** Holds the state of the metadata store, as `openLevel` opens it; it stays the caller's, who closes it afterwards. */
  readonly database: ByteLevel
  /** Tuning of the metadata group, the same on all servers. Default: `defaultRaftOptions`. */
  readonly raft?: Partial<RaftOptions>
  /** Limits of the metadata group: when its log is compacted, how much may wait. Default: `defaultGroupLimits`. */
  readonly limits?: Partial<GroupLimits>
  /** Where replicas go and how they are moved. Default: three voters, in equal shares. */
  readonly placement?: PlacementOptions
  /** How schema changes are carried out. Default: `defaultSchemaChangeTuning`. */
  readonly schema?: Partial<SchemaChangeTuning>
  /** Job types of the host program. */
  readonly jobs?: readonly JobType<unknown>[]
}

/** @throws KeelsonError `INVALID_OPTION` */
export function checkPlaneOptions(options: ControlPlaneOptions): ControlPlaneOptions {
  return checkOptions<{ readonly [K in keyof ControlPlaneOptions]-?: ControlPlaneOptions[K] | undefined }>(
    'ControlPlane.open',
    options,
    {
      env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
      clusterId: nameOption,
      nodeId: nameOption,
      cluster: clusterOption,
      transport: functionOption<TransportFactory>(),
      datagrams: optional(functionOption<DatagramFactory>()),
      gossip: gossipOption,
      log: functionOption<LogStoreFactory>(),
      database: objectOption<ByteLevel>(['open', 'get', 'batch', 'iterator', 'clear']),
      raft: optional((value) => {
        checkRaftOptions(value as Partial<RaftOptions>)
        return value as Partial<RaftOptions>
      }),
      limits: optional((value) => checkGroupLimits(value as Partial<GroupLimits>)),
      placement: optional(checkPlacement),
      schema: optional((value) => checkSchemaChangeTuning(value as Partial<SchemaChangeTuning>)),
      jobs: optional(arrayOption(objectOption<JobType<unknown>>(['type', 'run', 'encode', 'decode']))),
    },
  ) as ControlPlaneOptions
}
