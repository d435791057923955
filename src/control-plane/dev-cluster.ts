import { randomBytes } from 'node:crypto'
import { type CallOptions, Cleanup } from '../core/async.ts'
import { hex } from '../core/bytes.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { nodeEnvironment } from '../core/node-environment.ts'
import { checkCall, checkOptions, integerOption, objectOption, optional } from '../core/options.ts'
import type { LogStore } from '../interfaces/log-store.ts'
import type { Load } from '../model/descriptors.ts'
import { checkName } from '../model/ids.ts'
import { parseLocality } from '../model/locality.ts'
import { MemoryLevel, memoryLog } from '../storage/memory/index.ts'
import { type MemoryNetwork, memoryNetwork } from '../transport/memory/index.ts'
import { bootstrap, join } from './cluster-start.ts'
import { ControlPlane } from './control-plane.ts'
import { checkPlacement, type PlacementOptions } from './leader-duties.ts'
import { NodeAgent } from './node-agent.ts'
import type { NodeAgentOptions } from './node-agent-options.ts'
import { PlaneClient } from './plane-client.ts'

/** Options of {@link devCluster}. */
export interface DevClusterOptions {
  /** Control-plane servers. Default: 3. */
  readonly servers?: number
  /** Default: {@link nodeEnvironment}. */
  readonly env?: Environment
  /** Where replicas go and how they are moved. Default: as for `ControlPlane.open`. */
  readonly placement?: PlacementOptions
}

/** What a node of a {@link DevCluster} says of itself. */
export interface DevNodeOptions {
  /** Where it stands: `zone=a`. Default: nowhere in particular. */
  readonly locality?: string
  /** Names that placement rules may refer to. Default: none. */
  readonly labels?: Readonly<Record<string, string>>
  /** What it can hold, by resource name. Default: nothing is said of it. */
  readonly capacity?: Load
}

/** A node of a {@link DevCluster}: its agent, and the log store that its Raft groups may use. */
export interface DevNode {
  /** The node's end of the control plane. */
  readonly agent: NodeAgent
  /** Closed with the cluster. */
  readonly log: LogStore
  /** An ordered database in memory for the node's rows. */
  readonly database: MemoryLevel<Uint8Array, Uint8Array>
}

const clusterId = 'dev'

/**
 * A whole control plane in one process, in memory: for first steps, for tests and for development. Everything is the
 * production code; only network and disks are in memory, so everything is gone when it is closed.
 *
 * @throws KeelsonError `INVALID_OPTION`, `ABORTED`
 */
export async function devCluster(
  options: DevClusterOptions = {},
  call: CallOptions = {},
): Promise<DevCluster> {
  checkCall('devCluster', call)
  const checked = checkOptions<
    Required<Omit<DevClusterOptions, 'placement'>> & { readonly placement: PlacementOptions | undefined }
  >('devCluster', options, {
    placement: optional(checkPlacement),
    servers: integerOption({ min: 1, max: 7, fallback: 3 }),
    env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics'], nodeEnvironment()),
  })
  return DevCluster.open(checked, call)
}

/** Made by {@link devCluster}. */
export class DevCluster implements AsyncDisposable {
  /** The control-plane servers, in the order in which they were started. */
  readonly servers: readonly ControlPlane[]
  /** A client that reaches the metadata over the network, as a program beside the cluster does. */
  readonly client: PlaneClient
  /** What connects everybody; links can be cut in it. */
  readonly network: MemoryNetwork
  readonly #env: Environment
  readonly #cleanup: Cleanup
  readonly #nodeIds = new Set<string>()

  /** Use {@link devCluster}. @internal */
  static async open(
    options: Required<Omit<DevClusterOptions, 'placement'>> & {
      readonly placement: PlacementOptions | undefined
    },
    call: CallOptions,
  ): Promise<DevCluster> {
    const { env, placement } = options
    const cleanup = new Cleanup()
    try {
      const network = memoryNetwork()
      const secret = hex(randomBytes(16))
      const servers: ControlPlane[] = []
      for (let i = 1; i <= options.servers; i++) {
        const database = await openDatabase(cleanup)
        const seeds = servers.flatMap((server) => server.addresses)
        const server = await ControlPlane.open(
          {
            env,
            clusterId,
            nodeId: `cp${i}`,
            cluster: seeds.length === 0 ? bootstrap({ secret }) : join({ seeds, secret }),
            transport: network.transport(),
            log: memoryLog(),
            database,
            ...(placement === undefined ? {} : { placement }),
          },
          call,
        )
        servers.push(cleanup.use(server))
      }
      const client = cleanup.use(
        await PlaneClient.connect(
          {
            env,
            clusterId,
            seeds: servers.flatMap((server) => server.addresses),
            transport: network.transport(),
          },
          call,
        ),
      )
      return new DevCluster(env, network, servers, client, cleanup)
    } catch (error) {
      await cleanup.run()
      throw error
    }
  }

  private constructor(
    env: Environment,
    network: MemoryNetwork,
    servers: readonly ControlPlane[],
    client: PlaneClient,
    cleanup: Cleanup,
  ) {
    this.#env = env
    this.network = network
    this.servers = servers
    this.client = client
    this.#cleanup = cleanup
  }

  /** The server that leads now. @throws KeelsonError `NOT_LEADER` while there is none */
  leader(): ControlPlane {
    const leader = this.servers.find((server) => server.duties !== undefined)
    if (leader !== undefined) return leader
    throw new KeelsonError('NOT_LEADER', 'no server leads at the moment; try again')
  }

  /** Adds a node. @throws KeelsonError `INVALID_ARGUMENT`, `INVALID_OPTION`, `CLOSED`, `ABORTED` */
  async addNode(nodeId: string, options: CallOptions & DevNodeOptions = {}): Promise<DevNode> {
    checkName(nodeId, 'the name of a node')
    checkCall('addNode', options, ['locality', 'labels', 'capacity'])
    const { locality, labels, capacity, ...call } = options
    const place = parseLocality(locality === undefined ? '' : locality)
    if (this.#nodeIds.has(nodeId)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `there is a node ${nodeId} already; give this one another name`,
      )
    }
    this.#nodeIds.add(nodeId)
    try {
      const described = {
        ...(labels === undefined ? {} : { labels }),
        ...(capacity === undefined ? {} : { capacity }),
      }
      return await this.#addNode(nodeId, { locality: place, ...described }, call)
    } catch (error) {
      // The name is free again.
      this.#nodeIds.delete(nodeId)
      throw error
    }
  }

  async #addNode(
    nodeId: string,
    described: Pick<NodeAgentOptions, 'locality' | 'labels' | 'capacity'>,
    call: CallOptions,
  ): Promise<DevNode> {
    const token = await this.client.admin.nodes.createToken({ ...call, reason: `development node ${nodeId}` })
    const database = await openDatabase(this.#cleanup)
    const log = await memoryLog()({ env: this.#env, clusterId, nodeId })
    const agent = await NodeAgent.join(
      {
        env: this.#env,
        clusterId,
        nodeId,
        incarnation: log.incarnation,
        seeds: this.servers.flatMap((server) => server.addresses),
        token,
        transport: this.network.transport(),
        database,
        ...described,
      },
      call,
    )
    this.#cleanup.use(agent)
    return { agent, log, database }
  }

  /** Closes everything, last opened first. Idempotent. */
  async close(): Promise<void> {
    await this.#cleanup.run()
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

async function openDatabase(cleanup: Cleanup): Promise<MemoryLevel<Uint8Array, Uint8Array>> {
  const database = new MemoryLevel<Uint8Array, Uint8Array>({ keyEncoding: 'view', valueEncoding: 'view' })
  await database.open()
  cleanup.add(() => database.close())
  return database
}
