import { KeelsonError } from '../../../src/core/errors.ts'
import { chance, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import type { LogEntry, LogPosition } from '../../../src/interfaces/log-store.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import { bootstrapState, replicaOf } from '../../../src/raft/core/configuration.ts'
import { RaftInvariants } from '../../../src/raft/core/invariants.ts'
import type { Configuration, RaftMember } from '../../../src/raft/core/membership-types.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { RaftCoreSetup } from '../../../src/raft/core/setup.ts'
import { newMetadata } from '../../../src/raft/group/metadata.ts'
import { SimulatedDisk } from '../../../src/simulation/disk.ts'
import type { RecordedFault } from '../../../src/simulation/faults.ts'
import { MessageNetwork } from '../../../src/simulation/message-network.ts'
import { NetworkConditions } from '../../../src/simulation/network-conditions.ts'
import type { SimulatedProcess } from '../../../src/simulation/process.ts'
import type { RunResult } from '../../../src/simulation/scheduler.ts'
import { Simulation } from '../../../src/simulation/simulation.ts'
import { Client, type History } from './client.ts'
import { RaftEvents } from './events.ts'
import type { Machine } from './machine.ts'
import type { NodeState } from './node/state.ts'
import { Node } from './node.ts'
import { drawSettings, type Settings } from './settings.ts'
import { copyPacket, type NodePacket, type Packet } from './wire.ts'

/** What a run is made with; a mutant replaces parts. */
export interface WorldOptions {
  readonly seed: number
  readonly createCore?: (setup: RaftCoreSetup) => RaftCore
  readonly createNode?: (world: World, name: string, incarnation: number) => Node
  /** Changes what was drawn, to look at one corner more often. */
  readonly adjust?: (settings: Settings, random: SeededRandom) => Settings
  readonly traceLimit?: number
  readonly onLine?: (line: string) => void
  /** Gets every event of every replica as a line of JSON. */
  readonly onEvent?: ((line: string) => void) | undefined
  /** Gets every fault that the injector has begun. */
  readonly onFault?: ((fault: RecordedFault) => void) | undefined
  /** Has these faults of the seed happen, and no others. */
  readonly schedule?: Schedule | undefined
}

/** What is left of the faults of a seed. */
export interface Schedule {
  /** When the faults end; as drawn if it is undefined. */
  readonly faultPhaseMs?: number | undefined
  /** As `onFault` told of them. */
  readonly faults: readonly RecordedFault[]
}

/** No run takes a tenth of it. One that does more stands still, in virtual time, and would for ever. */
const maximumEvents = 1_500_000

type SentListener = (from: string, to: string, packet: NodePacket) => void

/** The voters whose majority every decision takes: one set, or the two of a joint configuration. */
export function halvesOf(configuration: Configuration | undefined): ReplicaDescriptor[][] {
  const replicas = configuration?.replicas ?? []
  const incoming = replicas.filter(({ role }) => role === 'voter' || role === 'incoming')
  if (configuration?.joint === undefined) return [incoming]
  return [incoming, replicas.filter(({ role }) => role !== 'learner' && role !== 'incoming')]
}

/** A group of simulated replicas with its clients: everything of one run. */
export class World {
  readonly simulation: Simulation
  readonly settings: Settings
  readonly conditions: NetworkConditions
  readonly network: MessageNetwork<Packet>
  /** By recovery generation: a group that was recovered from a lost quorum has another history from there on. */
  readonly #invariants = new Map<number, RaftInvariants>()
  readonly nodes: Map<string, Node> = new Map()
  readonly names: readonly string[]
  readonly clients: Client[] = []
  history: History = { map: [], counters: [] }
  /** The value that was sent last for a key, for compare-and-set. */
  readonly lastWritten: Map<string, string> = new Map()
  /** Things that happened and are no faults. */
  readonly counts: Map<string, number> = new Map()
  /** The faults are over: nothing is broken on purpose any more. */
  calm = false
  /** Replicas whose disk was wiped: they never come back. */
  readonly lost: Set<number> = new Set()
  /** Those of the lost whose disk came back with less than it had: they run, and must be harmless. */
  readonly forgetful: Set<number> = new Set()
  /** Those of the forgetful that somebody has told so. */
  readonly toldOf: Set<number> = new Set()
  /** Nodes that stay down for good when the faults end. */
  readonly dead: Set<NodeState> = new Set()
  /** Where the configuration stands by which the group goes on after it lost its quorum. */
  recoveredAt: LogPosition | undefined
  /** Those with which the group is recovered from a lost quorum. */
  survivors: readonly Node[] = []
  /** Those without which it is recovered. */
  readonly leftBehind: Set<Node> = new Set()
  /** Tells of the replicas what a specification can be held against. */
  readonly events: RaftEvents | undefined
  elections = 0
  readonly #electedListeners = new Set<() => void>()
  readonly #sentListeners = new Set<SentListener>()
  readonly #options: WorldOptions
  /** By recovery generation and index. */
  readonly #chains = new Map<string, number>()
  readonly #leading = new Map<RaftCore, number>()
  /** The last term in which each voted. */
  readonly #voted = new WeakMap<RaftCore, number>()
  /** When a leader was last able to reach a majority, by true time. */
  readonly #reachedMs = new Map<RaftCore, number>()
  #ticks = 0
  #incarnations = 100

  constructor(options: WorldOptions) {
    this.#options = options
    this.simulation = new Simulation({
      seed: options.seed,
      traceLimit: options.traceLimit ?? 400,
      ...(options.onLine === undefined ? {} : { onLine: options.onLine }),
    })
    const { simulation } = this
    const drawn = drawSettings(simulation.random('settings'))
    this.settings = options.adjust?.(drawn, simulation.random('adjust')) ?? drawn
    const { seed, onEvent } = options
    if (onEvent !== undefined) {
      this.events = new RaftEvents(onEvent, () => this.nowMs, { seed, raft: this.settings.raft })
    }
    this.conditions = new NetworkConditions(
      simulation.random('network'),
      simulation.faults,
      this.settings.link,
    )
    this.network = new MessageNetwork(simulation.scheduler, this.conditions, copyPacket)
    this.names = Array.from({ length: this.settings.nodes }, (_, i) => `n${i + 1}`)
    for (const name of this.names) this.#addNode(name)
    this.#bootstrap()
    // A client talks over a connection, which doubles nothing: without a session it could not tell.
    for (let i = 1; i <= this.settings.clients; i++) {
      for (const name of this.names)
        this.conditions.setLinkQuality(`c${i}`, name, { duplicateProbability: 0 })
    }
    for (let i = 0; i < this.settings.clients; i++) {
      const blind = i < this.settings.clients * this.settings.blindShare
      this.clients.push(new Client(this, `c${i + 1}`, blind))
    }
  }

  get nowMs(): number {
    return this.simulation.nowMs
  }

  /** The order of things as clients see them. */
  tick(): number {
    return ++this.#ticks
  }

  freshIncarnation(): number {
    return ++this.#incarnations
  }

  makeDisk(process: SimulatedProcess): SimulatedDisk {
    const { scheduler, faults } = this.simulation
    const random = this.simulation.random(`disk ${process.name}`)
    return new SimulatedDisk(process, { scheduler, random, counts: faults }, this.settings.disk)
  }

  makeCore(setup: RaftCoreSetup): RaftCore {
    return this.#options.createCore?.(setup) ?? new RaftCore(setup)
  }

  fault(kind: string): void {
    this.simulation.faults.add(kind)
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  broken(problem: string, invariant = 'simulation'): never {
    throw new KeelsonError('INVARIANT_VIOLATED', `${invariant}: ${problem}`, { details: { invariant } })
  }

  /** What judges the replicas of this node's recovery generation. */
  invariantsOf({ recoveryGeneration }: NodeState): RaftInvariants {
    let invariants = this.#invariants.get(recoveryGeneration)
    if (invariants === undefined) {
      invariants = new RaftInvariants(this.recoveredAt)
      this.#invariants.set(recoveryGeneration, invariants)
    }
    return invariants
  }

  /** The highest index that was ever seen committed. */
  get committedIndex(): number {
    return Math.max(0, ...[...this.#invariants.values()].map(({ committedIndex }) => committedIndex))
  }

  /** Calls `listener` whenever somebody has been elected, until the function that is returned is called. */
  whenElected(listener: () => void): () => void {
    this.#electedListeners.add(listener)
    return () => this.#electedListeners.delete(listener)
  }

  /** Shows `listener` what nodes send to each other, until the function that is returned is called. */
  whenSent(listener: SentListener): () => void {
    this.#sentListeners.add(listener)
    return () => this.#sentListeners.delete(listener)
  }

  /** Lets time pass, until `untilMs` or until `stop` says so. */
  run(untilMs: number, stop?: () => boolean): RunResult {
    return this.simulation.runSync({ untilMs, maximumEvents, ...(stop === undefined ? {} : { stop }) })
  }

  // What nodes tell

  sent(from: string, to: string, packet: NodePacket): void {
    for (const listener of this.#sentListeners) listener(from, to, packet)
    this.network.send(from, to, packet)
  }

  observe(node: Node, core: RaftCore): void {
    if (node.orphan) return
    this.invariantsOf(node).observe(core)
    if (core.votedFor !== 0 && this.#voted.get(core) !== core.term) {
      this.#voted.set(core, core.term)
      this.checkLeases()
    }
    if (core.role === 'leader') {
      this.#checkMembership(node, core)
      if (this.#leading.get(core) === core.term) return
      this.#leading.set(core, core.term)
      this.#reachedMs.set(core, this.nowMs)
      this.elections++
      for (const listener of this.#electedListeners) listener()
    } else this.#leading.delete(core)
  }

  /** A leader that is removed leads until that is committed, and not an event longer. */
  #checkMembership(node: Node, core: RaftCore): void {
    const { latest } = core.configurations
    if (latest === undefined || latest.index > core.commitIndex || core.isVoter()) return
    this.broken(
      `${node.name} leads, but its removal at ${latest.index} is committed`,
      'removed leader steps down',
    )
  }

  /**
   * Lets a random minority stay down for good, so that what is left has to do without: never so many that any configuration
   * that anybody holds would be without a quorum.
   */
  buryMinority(random: SeededRandom): void {
    const configurations = this.live().flatMap(({ core }) => core?.configurations.places ?? [])
    const heir = this.leader()?.core?.transferTo ?? 0
    const order = shuffled(random, [...this.nodes.values()])
    // Whoever was being handed over to is the one that hurts most.
    if (heir !== 0)
      order.sort((a, b) => Number(b.core?.replicaId === heir) - Number(a.core?.replicaId === heir))
    for (const node of order.slice(0, 1 + random.integer(2))) {
      const down = (replica: ReplicaDescriptor): boolean =>
        this.lost.has(replica.replicaId) ||
        replica.nodeId === node.name ||
        [...this.dead].some(({ name }) => name === replica.nodeId)
      const fatal = configurations.some(({ configuration }) =>
        halvesOf(configuration).some((half) => half.filter(down).length * 2 >= half.length),
      )
      if (fatal) continue
      this.dead.add(node)
      this.fault('node stays down')
      node.process.crash('power')
    }
  }

  noteStart(node: Node): void {
    const core = node.core as RaftCore
    this.events?.started(node, core)
    this.simulation.note(
      node.name,
      'starts replica',
      core.replicaId,
      'term',
      core.term,
      'last',
      core.lastIndex,
    )
  }

  forget(node: Node, core: RaftCore): void {
    this.events?.stopped(node, core)
    this.#leading.delete(core)
    this.#reachedMs.delete(core)
    if (!node.orphan) this.invariantsOf(node).crashed(core.replicaId)
  }

  /** A node takes a replica id. If another one has it, the newest configuration that names it says whose it is. */
  settleOwner(node: Node, replicaId: number): void {
    const others = [...this.nodes.values()].filter(
      (other) =>
        other !== node &&
        other.store.record?.replicaId === replicaId &&
        other.store.record.recoveryGeneration === node.recoveryGeneration &&
        !other.orphan,
    )
    for (const other of others) {
      if (other.store.record?.destroyed === true) continue
      this.count('replica id minted twice')
      let newest: RaftCore | undefined
      for (const { core } of this.live()) {
        if (
          replicaOf(core?.configuration, replicaId) !== undefined &&
          (newest?.term ?? -1) < (core?.term ?? 0)
        )
          newest = core
      }
      const rightful = replicaOf(newest?.configuration, replicaId)?.nodeId === node.name
      if (!rightful) {
        node.orphan = true
        continue
      }
      other.orphan = true
      this.invariantsOf(node).reminted(replicaId)
    }
  }

  /** The node that is this replica, if it runs. */
  nodeOf(replica: ReplicaDescriptor): Node | undefined {
    const node = this.nodes.get(replica.nodeId)
    return node?.core?.replicaId === replica.replicaId && !node.orphan ? node : undefined
  }

  /** Equal commands in equal order make equal states: the fold of everything applied is the same on all replicas. */
  applied(node: NodeState, machine: Machine, entry: LogEntry): void {
    if (!node.orphan) this.#compareChain(node, entry.index, machine.chain)
  }

  /** A snapshot is the fold of the log. */
  restored(node: NodeState, machine: Machine): void {
    if (!node.orphan) this.#compareChain(node, machine.applied.index, machine.chain)
  }

  restartLater(node: NodeState): void {
    const { scheduler } = this.simulation
    const delayMs = 5 + node.random.float() ** 2 * 3_000
    const { life } = node.process
    scheduler.schedule(delayMs, () => {
      if (node.process.state !== 'crashed' || node.process.life !== life) return
      this.restart(node)
    })
  }

  restart(node: NodeState): void {
    if (node.process.state !== 'crashed' || this.dead.has(node)) return
    node.process.restart()
    if (!this.calm) this.drawClockRate(node, node.random)
    node.start()
  }

  /** Anything within the drift, its limits as often as all that lies between. */
  drawClockRate(node: NodeState, random: SeededRandom): void {
    const { clockDrift } = this.settings
    if (clockDrift === 0) return
    const draw = random.float() * 2 - 1
    node.process.setClockRate(1 + (chance(random, 0.5) ? Math.sign(draw) : draw) * clockDrift)
  }

  /** How long clients wait from now on for all of them to have something to do again. */
  idleMs(): number {
    const periodMs = 3_000
    const sinceMs = this.nowMs % periodMs
    const idleUntilMs = periodMs * this.settings.idleShare
    return sinceMs < idleUntilMs ? idleUntilMs - sinceMs : 0
  }

  /** The nodes whose cores run. */
  live(): Node[] {
    return [...this.nodes.values()].filter((node) => node.running && node.core !== undefined)
  }

  /** The leader of the highest term, if any. */
  leader(): Node | undefined {
    let best: Node | undefined
    for (const node of this.live()) {
      if (node.leads && (best?.core?.term ?? 0) < (node.core?.term ?? 0)) best = node
    }
    return best
  }

  /** To be called from time to time: what leaders could answer by themselves just now must be true. */
  checkLeases(): void {
    for (const core of this.#leading.keys()) {
      const node = this.live().find((other) => other.core === core)
      if (node === undefined || node.process.paused || !core.leasesAreOn()) continue
      const copy = core.clone()
      copy.observeTime(node.nowMs)
      node.observeWall(copy)
      node.takeNodePledges(copy)
      this.invariantsOf(node).lease(copy)
    }
  }

  /**
   * A leader that cannot reach a majority must not keep its clients waiting for ever. To be called from time to time.
   */
  checkIsolatedLeaders(): void {
    const { electionTimeoutMs = 300 } = this.settings.raft
    for (const core of this.#leading.keys()) {
      if (!core.options.checkQuorum) continue
      const node = this.live().find((other) => other.core === core)
      if (node === undefined) continue
      const reaches = halvesOf(core.configuration).every((half) => {
        const reached = half.filter((voter) => voter.nodeId === node.name || this.#connected(node, voter))
        return reached.length * 2 > half.length
      })
      if (reaches || node.process.paused) this.#reachedMs.set(core, this.nowMs)
      const aloneMs = this.nowMs - (this.#reachedMs.get(core) ?? this.nowMs)
      // Two timeouts of its own clock, which may be slow, and what was still under way when it was cut off.
      if (aloneMs > electionTimeoutMs * 3 + 500 + this.settings.link.reorderDelayMs) {
        this.broken(
          `${node.name} has led a minority for ${aloneMs.toFixed(0)} ms`,
          'isolated leader steps down',
        )
      }
    }
  }

  #connected(node: Node, voter: ReplicaDescriptor): boolean {
    const other = this.nodeOf(voter)
    if (other === undefined || other.process.paused) return false
    const { conditions } = this
    const cut = (a: string, b: string): boolean => conditions.isBlocked(a, b) || conditions.isClogged(a, b)
    return !cut(node.name, other.name) && !cut(other.name, node.name)
  }

  #compareChain(node: NodeState, index: number, chain: number): void {
    const key = `${node.recoveryGeneration}/${index}`
    const known = this.#chains.get(key)
    if (known === undefined) this.#chains.set(key, chain)
    else if (known !== chain) this.broken(`${node.name} has another state at ${index}`, 'states are equal')
  }

  #addNode(name: string): void {
    const make = this.#options.createNode ?? ((world, n, incarnation) => new Node(world, n, incarnation))
    const node = make(this, name, this.freshIncarnation())
    this.nodes.set(name, node)
    this.network.attach(node.process, (from, packet) => node.receive(from, packet))
  }

  #bootstrap(): void {
    const members = [...this.nodes.values()].slice(0, this.settings.size)
    const random = this.simulation.random('priorities')
    const replicas = members.map(
      (node, i): RaftMember => ({
        replicaId: i + 1,
        nodeId: node.name,
        incarnation: node.incarnation,
        role: 'voter',
        ...(this.settings.priorities && i > 0 ? { priority: random.integer(4) } : {}),
      }),
    )
    const state = bootstrapState(replicas)
    members.forEach((node, i) => {
      node.store.writeRecord(newMetadata(i + 1, 0, 0, node.pledgeMs), () => {})
      node.store.write({ entries: state.entries, hardState: state.hardState }, () => {})
      node.store.crash(Number.POSITIVE_INFINITY)
    })
    for (const node of this.nodes.values()) {
      this.drawClockRate(node, node.random)
      node.start()
    }
  }
}
