import type { Environment } from '../core/environment.ts'
import {
  arrayOption,
  checkOptions,
  functionOption,
  integerOption,
  objectOption,
  optional,
  stringOption,
} from '../core/options.ts'
import type { DatagramFactory } from '../interfaces/datagram.ts'
import type { RangeHost } from '../interfaces/range-host.ts'
import type { SchemaHost } from '../interfaces/schema-host.ts'
import type { TransportFactory } from '../interfaces/transport.ts'
import { sessionTtlBounds } from '../metadata/index.ts'
import type { Load, StoreDescriptor, StoreReport } from '../model/descriptors.ts'
import { type ClusterId, type Incarnation, idOption, type NodeId, nameOption } from '../model/ids.ts'
import type { Locality } from '../model/locality.ts'
import { checkNodeDescriptor, checkNodeSessionTuning, type NodeSessionTuning } from '../nodes/index.ts'
import type { ByteLevel } from '../storage/level/database.ts'
import { addressOption } from '../transport/addresses.ts'
import { type GossipOptions, gossipOption } from './gossip.ts'

/** Options of `NodeAgent.join`. */
export interface NodeAgentOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** The cluster to join. Peers of another one are refused with `FOREIGN_CLUSTER`. */
  readonly clusterId: ClusterId
  /** Name of this node, unique in the cluster and the same at every start. */
  readonly nodeId: NodeId
  /** The life of this node's data: the incarnation of its log store. */
  readonly incarnation: Incarnation
  /** Addresses of control-plane servers. */
  readonly seeds: readonly string[]
  /** A join token; needed by a node that the cluster does not know yet. */
  readonly token?: string
  /** Connects the node to servers and other nodes: `webSocket(…)`, or a memory network's. */
  readonly transport: TransportFactory
  /** Opens the socket for gossip. Default: no gossip; sessions alone tell who is alive. */
  readonly datagrams?: DatagramFactory
  /** How this node gossips. Default: as `lanProfile` says, with the keys that `datagrams` has. */
  readonly gossip?: GossipOptions
  /** Holds the little that the agent keeps, as `openLevel` opens it; it stays the caller's. */
  readonly database: ByteLevel
  /** Where the node stands, from the widest tier to the narrowest. Default: nowhere in particular. */
  readonly locality?: Locality
  /** What the node can hold, by resource name, in the host's own units. Default: nothing is said of it. */
  readonly capacity?: Load
  /** Free names that placement policies may refer to. Default: none. */
  readonly labels?: Readonly<Record<string, string>>
  /** Its stores, where it has several disks. Default: it is one store, or `NodeServices.stores` names them. */
  readonly stores?: readonly StoreDescriptor[]
  /** TTL and renewals of the node's session. Default: `defaultNodeSessionTuning`. */
  readonly session?: Partial<NodeSessionTuning>
  /** How often the node reports to the leader. Default: 500. */
  readonly reportIntervalMs?: number
  /** How long schema versions may be used without the control plane. Default: 300,000. */
  readonly schemaLeaseMs?: number
  /** Draws the node's secret. Default: the system's generator. */
  readonly secretBytes?: (length: number) => Uint8Array
}

/** What a host program brings along to `NodeAgent.serve`. */
export interface NodeServices {
  /** Makes the node's replicas be what is wanted, and tells what they are. */
  readonly ranges: RangeHost
  /** Does the node's part of schema changes over its rows. Default: it takes no part in them. */
  readonly schema?: SchemaHost
  /** Load of the node as a whole. Default: nothing. */
  readonly load?: () => Load
  /**
   * How its stores do, where it has several: asked with every report, and all that its replicas are on. Default: it is one store.
   */
  readonly stores?: () => readonly StoreReport[]
}

/** What would only be found wrong when the node has a session is refused at once. @throws KeelsonError `INVALID_OPTION` */
export function checkAgentOptions(options: NodeAgentOptions): NodeAgentOptions {
  return checkOptions<{ readonly [K in keyof NodeAgentOptions]-?: NodeAgentOptions[K] | undefined }>(
    'NodeAgent.join',
    options,
    {
      env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
      clusterId: nameOption,
      nodeId: nameOption,
      incarnation: idOption,
      seeds: arrayOption(addressOption, { min: 1, max: 64 }),
      token: optional(stringOption({ maxLength: 256 })),
      transport: functionOption<TransportFactory>(),
      datagrams: optional(functionOption<DatagramFactory>()),
      gossip: gossipOption,
      database: objectOption<ByteLevel>(['get', 'batch', 'iterator', 'clear', 'supports']),
      locality: optional(arrayOption(objectOption<Locality[number]>(['key', 'value']))),
      capacity: optional(objectOption<Load>()),
      labels: optional(objectOption<Readonly<Record<string, string>>>()),
      stores: optional(arrayOption(objectOption<StoreDescriptor>(['storeId', 'capacity', 'labels']))),
      session: optional((value) => checkNodeSessionTuning(value as Partial<NodeSessionTuning>)),
      reportIntervalMs: optional(integerOption({ min: 1 })),
      schemaLeaseMs: optional(
        integerOption({ min: sessionTtlBounds.minimumMs, max: sessionTtlBounds.maximumMs }),
      ),
      secretBytes: optional(functionOption<NonNullable<NodeAgentOptions['secretBytes']>>()),
    },
    ({ nodeId, incarnation, locality = [], capacity = {}, labels = {}, stores }, refuse) => {
      try {
        checkNodeDescriptor({
          nodeId: nodeId as NodeId,
          incarnation: incarnation as Incarnation,
          addresses: [],
          locality,
          capacity,
          labels,
          ...(stores === undefined ? {} : { stores }),
        })
      } catch (error) {
        refuse((error as Error).message)
      }
    },
  ) as NodeAgentOptions
}

/** Checks what a host brings along. @throws KeelsonError `INVALID_OPTION` */
export function checkServices(services: NodeServices): NodeServices {
  return checkOptions<{ readonly [K in keyof NodeServices]-?: NodeServices[K] | undefined }>(
    'NodeAgent.serve',
    services,
    {
      ranges: objectOption<RangeHost>(['reconcile', 'observe']),
      schema: optional(objectOption<SchemaHost>(['barrier', 'backfill', 'validate', 'purge'])),
      load: optional(functionOption<() => Load>()),
      stores: optional(functionOption<() => readonly StoreReport[]>()),
    },
  ) as NodeServices
}
