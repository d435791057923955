import { sleep } from '../../../src/core/async.ts'
import type { Environment } from '../../../src/core/environment.ts'
import type { MetadataStore } from '../../../src/interfaces/metadata-store.ts'
import type { Transport } from '../../../src/interfaces/transport.ts'
import {
  MetadataClient,
  type MetadataClientOptions,
  MetadataServer,
  type MetadataServerOptions,
  MetadataStateMachine,
} from '../../../src/metadata/index.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import { type RaftGroup, RaftHost, type RaftHostOptions } from '../../../src/raft/index.ts'
import { SimulatedDisk } from '../../../src/simulation/disk.ts'
import { SimulatedLogs } from '../../../src/simulation/log-store.ts'
import { NetworkConditions } from '../../../src/simulation/network-conditions.ts'
import type { CrashKind, SimulatedProcess } from '../../../src/simulation/process.ts'
import { Simulation } from '../../../src/simulation/simulation.ts'
import { SimulatedTransports } from '../../../src/simulation/transport-network.ts'
import { MemoryDisk, MemoryLevel } from '../../../src/storage/memory/index.ts'

const groupId = 1

export interface MetadataClusterOptions {
  readonly seed?: number
  readonly servers?: number
  readonly tuning?: Partial<MetadataServerOptions>
  readonly client?: Partial<MetadataClientOptions>
  readonly host?: Partial<RaftHostOptions>
  /** Called with each server that starts. */
  readonly onServe?: (node: ServerNode) => void
}

/** One simulated metadata server. What is on its disks survives its crashes. */
export class ServerNode {
  readonly name: string
  readonly process: SimulatedProcess
  readonly #cluster: MetadataCluster
  readonly #logs: SimulatedLogs
  readonly #stateDisk = new MemoryDisk()
  transport!: Transport
  host!: RaftHost
  machine!: MetadataStateMachine
  group!: RaftGroup
  server!: MetadataServer

  constructor(cluster: MetadataCluster, name: string) {
    this.#cluster = cluster
    this.name = name
    const { simulation } = cluster
    this.process = simulation.process(name)
    this.#logs = new SimulatedLogs(
      new SimulatedDisk(this.process, {
        scheduler: simulation.scheduler,
        random: simulation.random(`disk ${name}`),
        counts: simulation.faults,
      }),
    )
  }

  get env(): Environment {
    return this.process.environment
  }

  get running(): boolean {
    return this.process.state === 'running'
  }

  async start(): Promise<void> {
    const { network, options } = this.#cluster
    const { env } = this
    const log = await this.#logs.factory('raft')({ env, clusterId: 'test', nodeId: this.name })
    this.transport = await network.factory(this.process)({
      env,
      clusterId: 'test',
      self: { nodeId: this.name, incarnation: log.incarnation, role: 'node' },
      resolve: network.resolve,
    })
    this.host = await RaftHost.open({
      env,
      log,
      clusterId: 'test',
      nodeId: this.name,
      channel: (protocol) => this.transport.channel(protocol, { traffic: 'control' }),
      ...options.host,
    })
    const random = this.#cluster.simulation.random(`database ${this.name} ${this.process.life}`)
    const database = new MemoryLevel({ disk: this.#stateDisk, logIsFull: () => random.float() < 0.1 })
    this.machine = new MetadataStateMachine({ database })
  }

  async serve(group: RaftGroup): Promise<void> {
    this.group = group
    const { env, machine } = this
    const channel = this.transport.channel('metadata', { traffic: 'control' })
    this.server = await MetadataServer.open({ env, group, machine, channel, ...this.#cluster.options.tuning })
    this.#cluster.options.onServe?.(this)
  }

  crash(kind: CrashKind = 'power'): void {
    this.process.crash(kind)
    this.#stateDisk.crash(this.#cluster.simulation.random(`crash ${this.name} ${this.process.life}`))
  }

  async restart(): Promise<void> {
    this.process.restart()
    await this.start()
    await this.serve(await this.host.openGroup(groupId, { stateMachine: this.machine }))
  }
}

/** Metadata servers and clients in virtual time. Everything that waits must run inside {@link MetadataCluster.run}. */
export class MetadataCluster {
  readonly simulation: Simulation
  readonly conditions: NetworkConditions
  readonly network: SimulatedTransports
  readonly options: MetadataClusterOptions
  readonly servers: ServerNode[] = []
  readonly observer: Environment
  #clients = 0

  constructor(options: MetadataClusterOptions = {}) {
    this.options = options
    this.simulation = new Simulation({ seed: options.seed ?? 1 })
    this.conditions = new NetworkConditions(this.simulation.random('network'), this.simulation.faults)
    this.network = new SimulatedTransports(
      this.simulation.scheduler,
      this.conditions,
      this.simulation.random('transports'),
    )
    this.observer = this.simulation.environment('observer')
  }

  async run<T>(scenario: () => Promise<T>, limitMs = 600_000): Promise<T> {
    return this.simulation.until(scenario(), limitMs)
  }

  async start(): Promise<void> {
    for (let i = 1; i <= (this.options.servers ?? 3); i++) {
      const node = new ServerNode(this, `cp${i}`)
      this.servers.push(node)
      await node.start()
    }
    const replicas = this.servers.map(
      ({ name, host }, i): ReplicaDescriptor => ({
        replicaId: i + 1,
        nodeId: name,
        incarnation: host.incarnation,
        role: 'voter',
      }),
    )
    for (const node of this.servers)
      await node.serve(await node.host.bootstrap(groupId, { replicas, stateMachine: node.machine }))
  }

  /** A client on a process of its own. */
  async client(name = `client${++this.#clients}`): Promise<MetadataStore & { readonly env: Environment }> {
    const process = this.simulation.process(name)
    const env = process.environment
    const transport = await this.network.factory(process)({
      env,
      clusterId: 'test',
      self: { nodeId: name, incarnation: 1, role: 'client' },
      resolve: this.network.resolve,
    })
    const channel = transport.channel('metadata', { traffic: 'control' })
    const servers = (): readonly string[] => this.servers.map((node) => node.name)
    const client = new MetadataClient({ env, channel, servers, ...this.options.client })
    return Object.assign(client, { env })
  }

  async sleep(ms: number): Promise<void> {
    await sleep(this.observer.timers, ms)
  }

  async until(condition: () => boolean, what: string, limitMs = 30_000): Promise<void> {
    const from = this.simulation.nowMs
    while (!condition()) {
      if (this.simulation.nowMs > from + limitMs) throw new Error(`${what}: not within ${limitMs} ms`)
      await this.sleep(5)
    }
  }

  /** The server that leads, as far as one knows. */
  async leader(): Promise<ServerNode> {
    const leading = (): ServerNode | undefined => {
      const tokens = this.servers
        .filter((node) => node.running && node.group.token() !== undefined)
        .sort((a, b) => (b.group.token()?.sequence ?? 0) - (a.group.token()?.sequence ?? 0))
      return tokens[0]
    }
    await this.until(() => leading() !== undefined, 'a leader')
    return leading() as ServerNode
  }

  async followers(): Promise<ServerNode[]> {
    const leader = await this.leader()
    return this.servers.filter((node) => node !== leader)
  }

  /** All running servers hold the same. */
  async converged(): Promise<void> {
    await this.until(() => {
      const running = this.servers.filter((node) => node.running)
      const applied = running.map((node) => node.group.status().appliedIndex)
      const last = Math.max(...running.map((node) => node.group.status().lastIndex))
      return applied.every((index) => index === last)
    }, 'servers that are equal')
  }
}
