import type { Environment } from '../../../../src/core/environment.ts'
import { between, chance, type SeededRandom } from '../../../../src/core/random.ts'
import { entryKinds, type LogEntry } from '../../../../src/interfaces/log-store.ts'
import type { RaftInvariants } from '../../../../src/raft/core/invariants.ts'
import { defaultRaftOptions, longestPledgeMs } from '../../../../src/raft/core/options.ts'
import type { RaftCore } from '../../../../src/raft/core/raft.ts'
import type { RaftOptions } from '../../../../src/raft/core/types.ts'
import { DiskHistory } from '../../../../src/raft/host/disk-history.ts'
import { DiskMarks } from '../../../../src/raft/host/disk-marks.ts'
import type { SimulatedDisk } from '../../../../src/simulation/disk.ts'
import type { SimulatedProcess } from '../../../../src/simulation/process.ts'
import { later, Machine, MachineDisk } from '../machine.ts'
import { type ReplicaRecord, Store } from '../store.ts'
import type { World } from '../world.ts'
import type { Peer } from './links.ts'

/**
 * What a node of the simulation is and keeps: its process, its disk and what that holds, the release and the options of the
 * present life, and its core. The classes above it, one subject each, do what `RaftHost` and its parts do, with callbacks
 * in virtual time. Their methods are small, so that a mutant can break one of them.
 */
export abstract class NodeState {
  readonly name: string
  readonly world: World
  readonly process: SimulatedProcess
  readonly disk: SimulatedDisk
  readonly store: Store
  readonly machineDisk: MachineDisk
  readonly random: SeededRandom
  /** Changes when the disk is wiped. */
  incarnation: number

  readonly #leaseRandom: SeededRandom
  /** What this life has of the lease that is configured. */
  #leaseShare = 1
  protected lives = 0
  readonly #releaseRandom: SeededRandom
  /** What this life speaks and writes. */
  release = 1
  #mustUpgrade = false

  // What one life has in memory.
  env: Environment
  core: RaftCore | undefined
  machine: Machine = new Machine()
  record: ReplicaRecord | undefined
  /** The record has changed and goes with the next write. */
  protected recordDirty = false
  /** What this life has heard of the disks of the others, from when it began: the next one has the disk that it finds. */
  marks: DiskMarks
  /** How much its store had when this life began. */
  openedAt = 0
  /** This life runs a release that writes frames of version 4. */
  earlier = false
  /** It was told that its disk has less than it had: whoever looks after it starts it with an empty one in the end. */
  forgot = false
  /** The replica was told that its removal is committed. */
  removed = false
  /**
   * Its id was minted by an entry that was truncated, and belongs to another node now. It runs, and must be harmless, but
   * it is no replica of the group, so the invariants do not know it.
   */
  orphan = false

  constructor(world: World, name: string, incarnation: number) {
    this.world = world
    this.name = name
    this.incarnation = incarnation
    this.process = world.simulation.process(name)
    this.random = world.simulation.random(`node ${name}`)
    this.#leaseRandom = world.simulation.random(`lease ${name}`)
    this.#releaseRandom = world.simulation.random(`release ${name}`)
    this.upgrade(0.4)
    this.disk = world.makeDisk(this.process)
    this.store = this.makeStore()
    this.marks = this.makeMarks(0)
    this.machineDisk = this.makeMachineDisk()
    this.env = this.process.environment
  }

  /** Starts with what the disk has. */
  abstract start(): void

  /** The core has changed: judges it and plans a turn. */
  abstract changed(): void

  /** A crash, or the end of the replica: what was in memory is gone. */
  protected forget(): void {
    this.core = undefined
    this.machine = new Machine()
    this.record = undefined
    this.recordDirty = false
    this.removed = false
  }

  makeStore(): Store {
    return new Store(this.disk)
  }

  makeMarks(life: number): DiskMarks {
    // Without a history on the disk: former lives are compared with what this one found.
    const history = new DiskHistory([{ life, openedAt: this.store.position }])
    return new DiskMarks(history, () => this.store.position)
  }

  makeMachineDisk(): MachineDisk {
    return new MachineDisk()
  }

  /** As others name this life of its disk. */
  get peer(): Peer {
    return { nodeId: this.name, incarnation: this.incarnation }
  }

  get nowMs(): number {
    return this.env.clock.monotonicMs()
  }

  get running(): boolean {
    return this.process.state !== 'crashed'
  }

  get leads(): boolean {
    return this.core?.role === 'leader'
  }

  /** How often the group was recovered from a lost quorum, as far as the replica of this node goes, or went. */
  get recoveryGeneration(): number {
    return this.record?.recoveryGeneration ?? 0
  }

  // What this life runs with

  /**
   * What this life runs with: every second node may have shorter leases than the others, and each life others than the one
   * before; and PreVote and CheckQuorum may be otherwise than on other nodes, and than before.
   */
  raftOptions(): Partial<RaftOptions> {
    const { raft, mixedOptions } = this.world.settings
    const mixed = mixedOptions
      ? { preVote: chance(this.random, 0.5), checkQuorum: chance(this.random, 0.5) }
      : {}
    const options = { ...raft, ...mixed, leaseMs: this.#leaseMs }
    // A narrow range needs pre-votes.
    return options.preVote === false ? { ...options, electionTimeoutRange: 1 } : options
  }

  get #leaseMs(): number {
    const { raft, shortLease } = this.world.settings
    const share = Number(this.name.slice(1)) % 2 === 0 ? this.#leaseShare : this.#leaseShare * shortLease
    return Math.ceil((raft.leaseMs ?? 100) * share)
  }

  /** For how long this life may pledge itself. */
  get pledgeMs(): number {
    return longestPledgeMs({ ...defaultRaftOptions, ...this.world.settings.raft, leaseMs: this.#leaseMs })
  }

  /** There is a later release, and the operator may have installed it while the process was down. */
  protected upgrade(probability: number): void {
    if (!this.world.settings.mixedReleases || this.release === later) return
    if (!this.#mustUpgrade && !chance(this.#releaseRandom, probability)) return
    this.release = later
    this.world.count('node upgraded')
  }

  /** The operator has changed the lease while the process was down. */
  protected drawLease(): void {
    const { restartLease } = this.world.settings
    if (restartLease < 1) this.#leaseShare = between(this.#leaseRandom, restartLease, 1)
  }

  /**
   * A leader of the later release writes commands of its version once most voters can read them: too early for those that
   * cannot, which is what the operator should not do.
   */
  writesLater(core: RaftCore): boolean {
    if (this.release !== later) return false
    const { latest } = core.configurationState()
    const voters = latest?.replicas.filter(({ role }) => role !== 'learner') ?? []
    const upgraded = voters.filter(({ nodeId }) => this.world.nodes.get(nodeId)?.release === later)
    return upgraded.length * 2 > voters.length
  }

  /** Whether this release can apply an entry. */
  knows({ kind, data }: LogEntry): boolean {
    return this.release === later || kind !== entryKinds.command || data[0] !== later
  }

  /** A command of a later release ends the replica, loudly. It is upgraded before it starts again. */
  protected stopAtUnknown(): void {
    this.world.count('stopped at a command of a later release')
    this.#mustUpgrade = true
    this.process.crash('kill')
    this.world.restartLater(this)
  }

  // What everything here does

  /** A place where a crash is of interest. Returns whether the process lives on. */
  boundary(where: string): boolean {
    const { crashPointProbability } = this.world.settings
    if (this.world.calm || crashPointProbability === 0 || !chance(this.random, crashPointProbability)) {
      return true
    }
    this.world.fault(`crash ${where}`)
    this.process.crash(chance(this.random, 0.5) ? 'power' : 'kill')
    this.world.restartLater(this)
    return false
  }

  /** Tells the invariants, unless this is no replica of the group. */
  judge(tell: (invariants: RaftInvariants) => void): void {
    if (!this.orphan) tell(this.world.invariantsOf(this))
  }

  /** Everything that changes the core is a line of the trace. */
  input(what: string, ...values: readonly (string | number)[]): void {
    this.world.simulation.note(this.name, what, ...values)
  }

  /** Before whatever may send or use a lease. */
  observeWall(core: RaftCore): void {
    core.observeWall(this.env.clock.wallMs())
  }

  protected changeRecord(change: Partial<ReplicaRecord>): void {
    if (this.record === undefined) return
    this.record = { ...this.record, ...change }
    this.recordDirty = true
  }

  protected writeRecord(done: () => void = () => {}): void {
    this.recordDirty = false
    if (this.record !== undefined) this.store.writeRecord(this.record, done)
  }
}
