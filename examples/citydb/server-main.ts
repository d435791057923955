import { join as joinPath } from 'node:path'
import {
  bootstrap,
  ControlPlane,
  join,
  type KeelsonError,
  nodeEnvironment,
  recordLogger,
  toKeelsonError,
} from 'keelson'
import { openLevel } from 'keelson/storage/level'
import { segments } from 'keelson/storage/segments'
import { datagram } from 'keelson/transport/datagram'
import { webSocket } from 'keelson/transport/websocket'
import { parentGone, tell } from './process-protocol.ts'

/** A control-plane server as a process of its own: `node server-main.js '<settings as JSON>'`. */
export interface ServerSettings {
  readonly clusterId: string
  readonly nodeId: string
  readonly directory: string
  readonly listen: { readonly host: string; readonly port: number }
  readonly others: readonly string[]
  readonly secret: string
  /** Exactly one server begins the cluster. */
  readonly bootstrap: boolean
  readonly deadAfterMs: number
  /** A range that is larger is split. */
  readonly maximumRangeBytes: number
  /** A range that serves more requests a second is split. */
  readonly maximumRangeRequests: number
}

const settings = JSON.parse(process.argv[2] ?? '{}') as ServerSettings
const { others, secret } = settings
const env = nodeEnvironment({
  logger: recordLogger(
    ({ level, message, fields }) => tell({ event: 'log', level, message, fields }),
    'warn',
  ),
})
const database = await openLevel(joinPath(settings.directory, 'metadata'), { logger: env.logger })
const plane = await ControlPlane.open({
  env,
  clusterId: settings.clusterId,
  nodeId: settings.nodeId,
  cluster: settings.bootstrap ? bootstrap({ others, secret }) : join({ seeds: others, secret }),
  transport: webSocket({ listen: settings.listen }),
  datagrams: datagram({ listen: settings.listen }),
  log: segments(joinPath(settings.directory, 'raft')),
  database,
  // A demonstration has less patience than a cluster.
  placement: {
    // The ranges here are small: the rates of production, 15 copies a minute and node, would make a drain last a minute.
    rates: { incomingPerMinute: 600, outgoingPerMinute: 600, removalsPerMinute: 600 },
    deadAfterMs: settings.deadAfterMs,
    intervalMs: 250,
    pollIntervalMs: 100,
    retryAfterMs: 1_500,
    stepTimeoutMs: 6_000,
    catchUpTimeoutMs: 15_000,
    tidyTimeoutMs: 1_000,
    limits: { moves: 12, incomingPerNode: 4 },
    splits: {
      maximumBytes: settings.maximumRangeBytes,
      maximumRequestsPerSecond: settings.maximumRangeRequests,
      mergeBelowBytes: Math.floor(settings.maximumRangeBytes / 2),
      mergeBelowRequestsPerSecond: settings.maximumRangeRequests / 4,
      splitMergeBackoffMs: 4_000,
      retryAfterMs: 1_500,
    },
  },
})
plane.on('leadership', (duties) =>
  tell(duties === undefined ? { event: 'following' } : { event: 'leading', epoch: duties.epoch.number }),
)
plane.on('deposed', (error: KeelsonError) => tell({ event: 'refused', what: error.message }))
if (plane.duties !== undefined) tell({ event: 'leading', epoch: plane.duties.epoch.number })
tell({ event: 'ready' })
await parentGone()
try {
  await plane.close()
  await database.close()
} catch (error) {
  tell({ event: 'log', level: 'error', message: 'closing failed', fields: toKeelsonError(error).toJSON() })
  process.exitCode = 1
}
