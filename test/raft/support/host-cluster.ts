import { sleep } from '../../../src/core/async.ts'
import { utf8 } from '../../../src/core/bytes.ts'
import type { Environment } from '../../../src/core/environment.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type {
  Channel,
  GroupWrite,
  LogStore,
  LogStoreFactory,
  LogStoreLimits,
  Transport,
} from '../../../src/interfaces/index.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import type { RaftOptions } from '../../../src/raft/core/types.ts'
import type { GroupLimits } from '../../../src/raft/group/limits.ts'
import type { RaftGroup } from '../../../src/raft/group/raft-group.ts'
import type { RaftHostOptions } from '../../../src/raft/host/options.ts'
import { RaftHost } from '../../../src/raft/host/raft-host.ts'
import type { StoppedGroupOptions } from '../../../src/raft/host/recover-group.ts'
import { type DiskImage, SimulatedDisk } from '../../../src/simulation/disk.ts'
import { SimulatedLogs } from '../../../src/simulation/log-store.ts'
import { NetworkConditions } from '../../../src/simulation/network-conditions.ts'
import type { CrashKind, SimulatedProcess } from '../../../src/simulation/process.ts'
import { Simulation } from '../../../src/simulation/simulation.ts'
import { SimulatedTransports } from '../../../src/simulation/transport-network.ts'
import { type CounterDisk, CounterMachine, copyDisk, emptyDisk } from './counter-machine.ts'

export interface ClusterOptions {
  readonly seed?: number
  readonly raft?: Partial<RaftOptions>
  readonly limits?: Partial<GroupLimits>
  readonly host?: Partial<RaftHostOptions>
  readonly maximumMessageBytes?: number
  /** Where a node keeps its log. Default: a simulated log store, which keeps its contract whatever happens. */
  readonly log?: (node: ClusterNode) => LogStoreFactory
  /** What the simulated log store of a node takes. Default: a lot. */
  readonly logLimits?: (node: ClusterNode) => LogStoreLimits | undefined
  /** Sees every channel before its host does. */
  readonly onChannel?: (node: ClusterNode) => void
  /** Sees every state machine before it is opened. */
  readonly onMachine?: (node: ClusterNode, machine: CounterMachine) => void
}

/** A disk as it was at some time, with the states of the groups. */
export interface NodeImage {
  readonly disk: DiskImage
  readonly states: ReadonlyMap<number, CounterDisk>
}

/** One simulated node with a Raft host on it; what is in it survives its crashes where a disk would. */
export class ClusterNode {
  readonly name: string
  readonly process: SimulatedProcess
  readonly disk: SimulatedDisk
  readonly #cluster: Cluster
  #logs: SimulatedLogs
  #rollback: GroupWrite | undefined
  /** State machines' disks by group. */
  readonly states = new Map<number, CounterDisk>()
  readonly machines = new Map<number, CounterMachine>()
  store!: LogStore
  transport!: Transport
  channel!: Channel
  host!: RaftHost

  constructor(cluster: Cluster, name: string) {
    this.#cluster = cluster
    this.name = name
    const { simulation } = cluster
    this.process = simulation.process(name)
    this.disk = new SimulatedDisk(this.process, {
      scheduler: simulation.scheduler,
      random: simulation.random(`disk ${name}`),
      counts: simulation.faults,
    })
    this.#logs = new SimulatedLogs(this.disk)
  }

  get env(): Environment {
    return this.process.environment
  }

  async start(): Promise<RaftHost> {
    const { options, network } = this.#cluster
    const { env } = this
    if (this.#rollback !== undefined) {
      const store = await this.openLog()
      await store.write([this.#rollback])
      await store.close()
      this.#rollback = undefined
    }
    this.store = await this.openLog()
    this.transport = await network.factory(
      this.process,
      options.maximumMessageBytes === undefined ? {} : { maximumMessageBytes: options.maximumMessageBytes },
    )({
      env,
      clusterId: 'test',
      self: { nodeId: this.name, incarnation: this.store.incarnation, role: 'node' },
      resolve: network.resolve,
    })
    this.channel = this.transport.channel('raft', { traffic: 'control' })
    options.onChannel?.(this)
    this.machines.clear()
    this.host = await RaftHost.open({
      env,
      log: this.store,
      clusterId: 'test',
      nodeId: this.name,
      channel: this.channel,
      ...(options.raft === undefined ? {} : { raft: options.raft }),
      ...(options.limits === undefined ? {} : { limits: options.limits }),
      ...options.host,
    })
    return this.host
  }

  async openLog(): Promise<LogStore> {
    return this.#logFactory()({ env: this.env, clusterId: 'test', nodeId: this.name })
  }

  #logFactory(): LogStoreFactory {
    const { log, logLimits } = this.#cluster.options
    return log?.(this) ?? this.#logs.factory('raft', logLimits?.(this))
  }

  /** A state machine on this node's disk. */
  machine(groupId = 1): CounterMachine {
    let disk = this.states.get(groupId)
    if (disk === undefined) this.states.set(groupId, (disk = emptyDisk()))
    const machine = new CounterMachine(disk)
    this.machines.set(groupId, machine)
    this.#cluster.options.onMachine?.(this, machine)
    return machine
  }

  group(groupId = 1): RaftGroup {
    const group = this.host.groups().get(groupId)
    if (group === undefined) throw new Error(`${this.name} has no group ${groupId}`)
    return group
  }

  value(counter: string, groupId = 1): number | undefined {
    return this.machines.get(groupId)?.values.get(counter)
  }

  /** Stops the host in order; {@link ClusterNode.startAgain} starts it. */
  async stop(): Promise<void> {
    await this.host.close()
    await this.transport.close()
  }

  /** Starts a host that was stopped in order, and opens what it had. */
  async startAgain(): Promise<void> {
    await this.start()
    await this.openAll()
  }

  /** What offline operations on this node's replica take. */
  offline(groupId = 1): StoppedGroupOptions {
    const { env, name } = this
    const log = this.#logFactory()
    return { env, log, clusterId: 'test', nodeId: name, groupId, stateMachine: this.machine(groupId) }
  }

  crash(kind: CrashKind = 'power'): void {
    this.process.crash(kind)
  }

  /** Starts a crashed node again and opens what it had. */
  async restart(): Promise<void> {
    this.process.restart()
    await this.startAgain()
  }

  async openAll(): Promise<void> {
    for (const [groupId, { destroyed, superseded }] of this.host.stored()) {
      if (destroyed || superseded) continue
      await this.host.openGroup(groupId, { stateMachine: this.machine(groupId) })
    }
  }

  /** The log of a group as it is now, as a backup would have it. */
  async saveLog(groupId = 1): Promise<GroupWrite> {
    const status = this.group(groupId).replica?.status()
    if (status === undefined) throw new Error('the replica is empty')
    const { term, votedFor, commitIndex, compacted, lastIndex } = status
    const entries = await this.store.read(groupId, compacted.index + 1, lastIndex, 1 << 30)
    return { groupId, reset: compacted, entries, hardState: { term, votedFor, commit: commitIndex } }
  }

  /** The next start finds this log instead of what was written since. */
  restoreLog(saved: GroupWrite): void {
    this.#rollback = saved
  }

  /** All files and the flushed states, as a backup would have them. */
  image(): NodeImage {
    const states = [...this.states].map(([groupId, disk]): [number, CounterDisk] => [groupId, copyDisk(disk)])
    return { disk: this.disk.image(), states: new Map(states) }
  }

  /** Puts an earlier image in the place of everything. The process must have crashed. */
  restore(image: NodeImage): void {
    this.disk.restore(image.disk)
    this.states.clear()
    for (const [groupId, disk] of image.states) this.states.set(groupId, copyDisk(disk))
  }

  /** Replaces the disk by an empty one. The process must have crashed. */
  wipe(): void {
    this.#logs = new SimulatedLogs(this.disk)
    this.disk.restore({ files: new Map() })
    this.states.clear()
  }
}

/** Some nodes in virtual time. Everything that waits must run inside {@link Cluster.run}. */
export class Cluster {
  readonly simulation: Simulation
  readonly conditions: NetworkConditions
  readonly network: SimulatedTransports
  readonly options: ClusterOptions
  readonly nodes = new Map<string, ClusterNode>()
  readonly observer: Environment

  constructor(options: ClusterOptions = {}) {
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

  async run<T>(scenario: () => Promise<T>, limitMs = 120_000): Promise<T> {
    return this.simulation.until(scenario(), limitMs)
  }

  node(name: string): ClusterNode {
    return this.nodes.get(name) as ClusterNode
  }

  async add(...names: string[]): Promise<void> {
    for (const name of names) {
      const node = new ClusterNode(this, name)
      this.nodes.set(name, node)
      await node.start()
    }
  }

  replicas(names: readonly string[]): ReplicaDescriptor[] {
    return names.map((name, i) => ({
      replicaId: i + 1,
      nodeId: name,
      incarnation: this.node(name).store.incarnation,
      role: 'voter',
    }))
  }

  /** Starts nodes and makes a group of them. */
  async bootstrap(names: readonly string[] = ['n1', 'n2', 'n3'], groupId = 1): Promise<void> {
    await this.add(...names.filter((name) => !this.nodes.has(name)))
    const replicas = this.replicas(names)
    for (const name of names) {
      const node = this.node(name)
      await node.host.bootstrap(groupId, { replicas, stateMachine: node.machine(groupId) })
    }
  }

  async sleep(ms: number): Promise<void> {
    await sleep(this.observer.timers, ms)
  }

  async until(condition: () => boolean, what: string, limitMs = 20_000): Promise<void> {
    const from = this.simulation.nowMs
    while (!condition()) {
      if (this.simulation.nowMs > from + limitMs) throw new Error(`${what}: not within ${limitMs} ms`)
      await this.sleep(5)
    }
  }

  /** The running node whose replica may serve the group. */
  serving(groupId = 1): ClusterNode | undefined {
    let best: ClusterNode | undefined
    let term = 0
    for (const node of this.nodes.values()) {
      if (node.process.state !== 'running') continue
      const sequence = node.host.groups().get(groupId)?.token()?.sequence ?? 0
      if (sequence > term) {
        best = node
        term = sequence
      }
    }
    return best
  }

  async leader(groupId = 1): Promise<ClusterNode> {
    await this.until(() => this.serving(groupId) !== undefined, 'a leader')
    return this.serving(groupId) as ClusterNode
  }

  /** Proposes to whoever leads until it is acknowledged. Only for commands with an id, or where twice does not matter. */
  async propose(
    line: string,
    options: { groupId?: number; commandId?: { session: number; sequence: number } } = {},
  ): Promise<string> {
    for (;;) {
      const node = await this.leader(options.groupId ?? 1)
      try {
        const { commandId } = options
        const group = node.group(options.groupId ?? 1)
        const result = await group.propose(utf8(line), commandId === undefined ? {} : { commandId })
        return Buffer.from(result).toString()
      } catch (error) {
        if (!KeelsonError.is(error) || !error.retryable) throw error
        await this.sleep(20)
      }
    }
  }

  /** All running replicas have applied the same, and as much as any. */
  async converged(names: readonly string[], groupId = 1): Promise<void> {
    await this.until(() => {
      const statuses = names.map((name) => this.node(name).group(groupId).status())
      const last = Math.max(...statuses.map((status) => status.lastIndex))
      return statuses.every((status) => status.appliedIndex === last)
    }, 'replicas that are equal')
  }
}
