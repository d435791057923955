import { KeelsonError } from '../../../src/core/errors.ts'
import { chance, pick, type SeededRandom } from '../../../src/core/random.ts'
import type { LogStoreFactory } from '../../../src/interfaces/log-store.ts'
import type { RaftGroup } from '../../../src/raft/group/raft-group.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { segments } from '../../../src/storage/segments/index.ts'
import type { CounterMachine } from '../support/counter-machine.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'
import { extendFrame } from '../support/later-release.ts'
import { DiskJudge } from './disk-judge.ts'
import { History } from './history.ts'
import type { HostSettings } from './settings.ts'

/** Hosts of one group on simulated nodes, with everything of one run. */
export class HostWorld {
  readonly cluster: Cluster
  readonly settings: HostSettings
  readonly random: SeededRandom
  readonly names: readonly string[]
  readonly counts: Map<string, number> = new Map()
  /** Groups that are being destroyed, to make room. */
  readonly replacing: WeakSet<RaftGroup> = new WeakSet()
  /** Nodes that stay down. */
  readonly dead: Set<ClusterNode> = new Set()
  /** What was applied, of all machines. */
  readonly history: History = new History((invariant, problem) => {
    // A replica takes what its machine throws for itself.
    this.failure ??= violation(invariant, problem)
    throw this.failure
  })
  /** What is promised on disks of which older images come back. */
  readonly disks: DiskJudge = new DiskJudge((invariant, problem) => {
    this.failure ??= violation(invariant, problem)
    throw this.failure
  })
  /** The faults are over. */
  calm = false
  /** What went wrong where nobody waits. */
  failure: unknown

  constructor(seed: number, drawSettings: (random: SeededRandom) => HostSettings) {
    const drawn = new Cluster({ seed }).simulation.random('settings')
    this.settings = drawSettings(drawn)
    const { settings } = this
    this.cluster = new Cluster({
      seed,
      raft: settings.raft,
      limits: settings.limits,
      host: settings.host,
      maximumMessageBytes: settings.maximumMessageBytes,
      logLimits: () => settings.storeLimits,
      ...(settings.segmentBytes === 0 ? {} : { log: (node) => this.#segments(node) }),
      onChannel: (node) => this.#watchChannel(node),
      onMachine: (node, machine) => this.#watchMachine(node, machine),
    })
    this.random = this.cluster.simulation.random('world')
    this.names = Array.from({ length: settings.size + settings.spares }, (_, i) => `n${i + 1}`)
  }

  /** Real segments on the node's disk: tiny ones, so that a gathered write is larger than one of them. */
  #segments(node: ClusterNode): LogStoreFactory {
    const { segmentBytes } = this.settings
    return segments('raft', {
      segmentBytes,
      maximumQueuedBytes: segmentBytes,
      cleanFromBytes: 0,
      fileSystem: node.disk.fileSystem(),
    })
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  broken(invariant: string, problem: string): never {
    throw violation(invariant, problem)
  }

  async start(): Promise<void> {
    await this.cluster.add(...this.names)
    const first = this.names.slice(0, this.settings.size)
    await this.cluster.bootstrap(first)
    for (const name of this.names.slice(this.settings.size)) await this.open(this.cluster.node(name))
    const fillers = Array.from({ length: this.settings.fillers }, (_, i) => this.cluster.propose(`f${i}+1`))
    await Promise.all(fillers)
  }

  /** Starts a node that is down, and opens what it has, or lets it wait for a replica. It may die on the way. */
  revive(node: ClusterNode): void {
    if (node.process.state !== 'crashed' || this.dead.has(node)) return
    node.process.restart()
    const { life } = node.process
    const start = async (): Promise<void> => {
      await node.start()
      await this.open(node)
    }
    start().catch((error: unknown) => {
      if (node.process.life !== life || node.process.state === 'crashed') return
      if (KeelsonError.hasCode(error, 'IO')) {
        // Its disk fails just now.
        this.crash(node)
        this.reviveLater(node)
      } else this.failure ??= error
    })
  }

  /** The group is open on the node. */
  isOpen(node: ClusterNode): boolean {
    const group = node.process.state === 'running' ? node.host.groups().get(1) : undefined
    return group !== undefined && group.status().stopped === undefined
  }

  async open(node: ClusterNode): Promise<void> {
    const stored = node.host.stored().get(1)
    if (stored?.superseded === true && !stored.destroyed) {
      this.count('superseded replica destroyed')
      await node.host.destroyGroup(1, { stateMachine: node.machine() })
    }
    // A machine that a destroyed replica left behind is deleted by the first attempt.
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        await node.host.awaitGroup(1, { stateMachine: node.machine() })
        return
      } catch (error) {
        if (!KeelsonError.hasCode(error, 'CONFLICT') || attempt > 0) throw error
      }
    }
  }

  running(): ClusterNode[] {
    return [...this.cluster.nodes.values()].filter(({ process }) => process.state === 'running')
  }

  /** Members by the configuration of whoever leads. */
  members(): string[] {
    const configuration = this.cluster.serving()?.group().status().configuration
    return (configuration?.replicas ?? []).map(({ nodeId }) => nodeId)
  }

  crash(node: ClusterNode): void {
    if (node.process.state === 'crashed') return
    node.crash(chance(this.random, 0.5) ? 'power' : 'kill')
  }

  /** A later release writes more than this one knows. */
  #watchChannel(node: ClusterNode): void {
    const { channel } = node
    if (this.settings.images) this.#judgeDisk(node)
    if (this.names.indexOf(node.name) < this.settings.laterReleases) {
      const send = channel.send.bind(channel)
      channel.send = (peer, bytes) => send(peer, extendFrame(bytes))
    }
    const { damage } = this.settings
    if (damage === 0) return
    const open = channel.openStream.bind(channel)
    channel.openStream = async (peer, header, options) => {
      const stream = await open(peer, header, options)
      return {
        write: async (chunk, callOptions) => {
          if (this.calm || !chance(this.random, damage)) return stream.write(chunk, callOptions)
          this.count('piece damaged')
          const copy = chunk.slice()
          const at = this.random.integer(copy.length)
          copy[at] = (copy[at] as number) ^ (1 << this.random.integer(8))
          return stream.write(copy, callOptions)
        },
        end: async (callOptions) => stream.end(callOptions),
        destroy: () => stream.destroy(),
      }
    }
  }

  #judgeDisk(node: ClusterNode): void {
    const { channel } = node
    const { host } = node
    const { life } = node.process
    this.disks.started(node)
    const send = channel.send.bind(channel)
    channel.send = (peer, bytes) => {
      if (node.process.life === life) this.disks.sends(node, this.cluster.nodes.get(peer), bytes)
      return send(peer, bytes)
    }
    const listen = channel.onMessage.bind(channel)
    channel.onMessage = (handler) =>
      listen((peer, bytes) => {
        this.disks.receives(node, this.cluster.nodes.get(peer.nodeId), bytes)
        handler(peer, bytes)
        // The host that is being opened listens before anybody has it.
        if (node.host !== host) this.disks.look(node)
      })
  }

  /** Snapshots are interrupted at whatever place. */
  #watchMachine(node: ClusterNode, machine: CounterMachine): void {
    machine.perChunk = 1 + this.random.integer(3)
    this.history.watch(node.name, machine)
    const interrupt = (where: string): void => {
      if (this.calm || !chance(this.random, this.settings.interruption)) return
      this.#interrupt(node, where)
    }
    machine.onChunk = () => interrupt('in a restore')
    machine.onRestored = () => interrupt('right after a restore')
    const restore = machine.restore.bind(machine)
    machine.restore = async (bookkeeping, chunks) => {
      this.count('restore begun')
      interrupt('before a restore')
      await restore(bookkeeping, chunks)
      this.count('restore done')
    }
  }

  #interrupt(receiver: ClusterNode, where: string): void {
    const { cluster, random } = this
    const leader = cluster.serving()
    const victim = chance(random, 0.5) || leader === undefined ? receiver : leader
    const what = pick(random, ['connections', 'connections', 'crash', 'pause', 'partition', 'leader change'])
    this.count(`${what} ${where}`)
    if (what === 'connections') cluster.network.breakConnections(victim.name)
    else if (what === 'leader change') this.handOver(leader)
    else if (what === 'pause') {
      victim.process.pause()
      cluster.simulation.scheduler.schedule(random.float() * 1_500, () => {
        if (victim.process.state === 'paused') victim.process.resume()
      })
    } else if (what === 'partition') {
      const heal = cluster.conditions.partition(isolate(victim.name, this.names))
      cluster.simulation.scheduler.schedule(random.float() * 1_500, heal)
    } else {
      this.crash(victim)
      this.reviveLater(victim)
    }
  }

  /** To any other voter. */
  handOver(leader: ClusterNode | undefined): void {
    const group = leader?.group()
    const voters = group?.status().configuration?.replicas.filter(({ role }) => role === 'voter') ?? []
    if (group === undefined || voters.length === 0) return
    group.transferLeadership(pick(this.random, voters).replicaId).catch(() => {})
  }

  reviveLater(node: ClusterNode): void {
    const { life } = node.process
    this.cluster.simulation.scheduler.schedule(20 + this.random.float() * 800, () => {
      if (node.process.life === life) this.revive(node)
    })
  }
}

function violation(invariant: string, problem: string): KeelsonError {
  return new KeelsonError('INVARIANT_VIOLATED', `${invariant}: ${problem}`, { details: { invariant } })
}
