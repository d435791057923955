import { nodeEnvironment, parseLocality, recordLogger } from 'keelson'
import { CityNode } from './city-node.ts'
import { parentGone, tell } from './process-protocol.ts'

/** A database node as a process of its own: `node node-main.js '<settings as JSON>'`. */
export interface NodeSettings {
  readonly clusterId: string
  readonly nodeId: string
  readonly directory: string
  readonly listen: { readonly host: string; readonly port: number }
  readonly seeds: readonly string[]
  readonly token?: string
  readonly locality: string
}

const { locality, ...settings } = JSON.parse(process.argv[2] ?? '{}') as NodeSettings
const node = await CityNode.open({
  ...settings,
  env: nodeEnvironment({
    logger: recordLogger(
      ({ level, message, fields }) => tell({ event: 'log', level, message, fields }),
      'warn',
    ),
  }),
  locality: parseLocality(locality),
  onRefused: (what) => tell({ event: 'refused', what }),
})
tell({ event: 'ready' })
await parentGone()
await node.close()
