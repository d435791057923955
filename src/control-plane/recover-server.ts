import type { Environment } from '../core/environment.ts'
import {
  arrayOption,
  booleanOption,
  checkOptions,
  functionOption,
  objectOption,
  stringOption,
} from '../core/options.ts'
import type { LogStoreFactory } from '../interfaces/log-store.ts'
import { commandAfterLoss, MetadataStateMachine } from '../metadata/index.ts'
import { type ClusterId, type NodeId, nameOption } from '../model/ids.ts'
import { type GroupRecovery, type GroupReport, inspectGroup, recoverGroup } from '../raft/index.ts'
import type { ByteLevel } from '../storage/level/database.ts'
import { metadataGroupId } from './metadata-group.ts'

/** A server of the control plane that does not run, as {@link inspectServer} and {@link recoverServer} open it. */
export interface StoppedServerOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** The cluster that the server belongs to. */
  readonly clusterId: ClusterId
  /** Name of the server. */
  readonly nodeId: NodeId
  /** Opens its log: as given to `ControlPlane.open`. A server that runs holds it: `DIRECTORY_LOCKED`. */
  readonly log: LogStoreFactory
  /** Its database, as given to `ControlPlane.open`; it stays the caller's. */
  readonly database: ByteLevel
}

/** Options of {@link recoverServer}. */
export interface RecoverServerOptions extends StoppedServerOptions {
  /** What {@link inspectServer} said of all servers that are left, this one among them; the same on each of them. */
  readonly survivors: readonly GroupReport[]
  /** That whoever decides this knows that committed metadata may be lost. Only `true` is taken. */
  readonly acceptDataLoss: boolean
  /** `recover group 1`, spelled out. */
  readonly confirm: string
}

const stoppedServer = {
  env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
  clusterId: nameOption,
  nodeId: nameOption,
  log: functionOption<LogStoreFactory>(),
  database: objectOption<ByteLevel>(['open', 'get', 'batch', 'iterator', 'clear']),
}

/**
 * Reads what a stopped server of the control plane has, to decide how the control plane can be recovered from the loss of
 * most of its servers. Nothing is given up by looking.
 *
 * @throws KeelsonError as `inspectGroup` of `keelson/raft`
 */
export async function inspectServer(options: StoppedServerOptions): Promise<GroupReport> {
  const { database, ...stopped } = checkOptions<StoppedServerOptions>('inspectServer', options, stoppedServer)
  return inspectGroup({
    ...stopped,
    groupId: metadataGroupId,
    stateMachine: new MetadataStateMachine({ database }),
  })
}

/**
 * Brings a control plane back that has lost most of its servers for good, on one of those that are left: **committed metadata
 * may be lost**. The last resort.
 *
 * Stop all servers that are left, call {@link inspectServer} on each, then this with all reports on each, then open them
 * as ever. The metadata goes on with the best log that is left, and its revisions in a block of their own, so that no
 * epoch, session or fencing token of what was lost is given out again. Nodes and clients whose sessions are lost get new ones;
 * caches read anew. Servers that are lost are replaced by new ones, opened with `join(…)` under other names or with
 * empty directories. Backups (`exportBackup`) are for when no server is left.
 *
 * @throws KeelsonError as `recoverGroup` of `keelson/raft`
 */
export async function recoverServer(options: RecoverServerOptions): Promise<GroupRecovery> {
  const { database, ...rest } = checkOptions<RecoverServerOptions>('recoverServer', options, {
    ...stoppedServer,
    survivors: arrayOption<GroupReport>(objectOption(['replicaId'])),
    acceptDataLoss: booleanOption(false),
    confirm: stringOption({ fallback: 'nothing' }),
  })
  const stateMachine = new MetadataStateMachine({ database })
  return recoverGroup({
    ...rest,
    groupId: metadataGroupId,
    stateMachine,
    firstCommand: (recoveries) => commandAfterLoss(stateMachine.reader.revision, recoveries),
  })
}
