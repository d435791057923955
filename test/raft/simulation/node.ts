import type { Environment } from '../../../src/core/environment.ts'
import { invariant } from '../../../src/core/invariant.ts'
import { between, chance, type SeededRandom } from '../../../src/core/random.ts'
import { entryKinds, type LogEntry } from '../../../src/interfaces/log-store.ts'
import { replicaOf } from '../../../src/raft/core/configuration.ts'
import type { RaftInvariants } from '../../../src/raft/core/invariants.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import { defaultRaftOptions, longestPledgeMs } from '../../../src/raft/core/options.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type {
  DeferredMessage,
  Fetch,
  OfferedSnapshot,
  RaftOptions,
  RaftWrite,
  ReadReady,
  Ready,
} from '../../../src/raft/core/types.ts'
import { encodeEnvelope } from '../../../src/raft/group/envelope.ts'
import { LogBytes } from '../../../src/raft/group/log-bytes.ts'
import { type CompactionLimits, compactionTarget } from '../../../src/raft/group/log-compactor.ts'
import {
  type GroupReport,
  planRecovery,
  type RecoveryPlan,
  recoveryWrite,
} from '../../../src/raft/group/lost-quorum.ts'
import {
  comesAfter,
  decodeGroupMetadata,
  floorAfter,
  newMetadata,
  tombstoneOf,
} from '../../../src/raft/group/metadata.ts'
import { encodeSessionEntry } from '../../../src/raft/group/session-entry.ts'
import { DiskHistory } from '../../../src/raft/host/disk-history.ts'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import { decodeFrame, FramePacker } from '../../../src/raft/host/frame.ts'
import type {
  Beat,
  BeatReply,
  GroupMessage,
  HostMessage,
  Marks,
  SnapshotRequest,
} from '../../../src/raft/host/host-messages.ts'
import { NodeLiveness } from '../../../src/raft/host/node-liveness.ts'
import { type Informed, type NodeEvent, NodeNews } from '../../../src/raft/host/node-news.ts'
import type { SimulatedDisk } from '../../../src/simulation/disk.ts'
import type { CrashKind, SimulatedProcess } from '../../../src/simulation/process.ts'
import { asVersion4 } from '../support/earlier-release.ts'
import { extendFrame } from '../support/later-release.ts'
import { encodeCommand, later, Machine, MachineDisk, type Outcome } from './machine.ts'
import { recover } from './recovery.ts'
import { IncomingSnapshot, OutgoingSnapshot } from './snapshots.ts'
import { type ReplicaRecord, Store } from './store.ts'
import type { ClientReply, ClientRequest, NodePacket, Packet } from './wire.ts'
import type { World } from './world.ts'

/** Where a replica lives, as configured or as heard. */
export interface Peer {
  readonly nodeId: string
  readonly incarnation: number
}

interface PendingProposal {
  readonly term: number
  readonly client: string
  readonly attempt: number
}

interface PendingRead {
  readonly client: string
  readonly attempt: number
  readonly key: string
}

/**
 * A synchronous host of one replica: does for the core what `RaftHost` does, with callbacks in virtual time. Its methods
 * are small, so that a mutant can break one of them.
 */
export class Node {
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
  #lives = 0
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
  #recordDirty = false
  #learned = new Map<number, Peer>()
  liveness: NodeLiveness | undefined
  #news: NodeNews<Informed> | undefined
  #newsHeard = 0
  /** What this life has heard of the disks of the others, from when it began: the next one has the disk that it finds. */
  marks: DiskMarks
  /** How much its store had when this life began. */
  openedAt = 0
  /** This life runs a release that writes frames of version 4. */
  earlier = false
  #livenessTimer: { readonly dueMs: number; cancel(): void } | undefined
  /** While its replica leads and rests: the nodes that it counts on. */
  #restsWith: readonly Peer[] | undefined
  #atRest = false
  #turnPlanned = false
  #timer: { readonly dueMs: number; cancel(): void } | undefined
  withheld: DeferredMessage[] = []
  #toApply: LogEntry[] = []
  #applying = false
  #flushing = false
  /** The tombstone is on its way to the disk, and the state of the destroyed replica is still there. */
  #destroying = false
  #proposals = new Map<number, PendingProposal>()
  #readsAsked = new Map<number, PendingRead>()
  #readsReady: ReadReady[] = []
  #lastContext = 0
  #incoming: IncomingSnapshot | undefined
  readonly #outgoing = new Map<string, OutgoingSnapshot>()
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
    this.#upgrade(0.4)
    this.disk = world.makeDisk(this.process)
    this.store = this.makeStore()
    this.marks = this.makeMarks(0)
    this.machineDisk = this.makeMachineDisk()
    this.env = this.process.environment
    this.process.onCrash((kind) => this.#onCrash(kind))
    this.store.onBoundary = (where) => this.boundary(where)
    this.store.onPoisoned = () => {
      world.fault('sync failed, process ended')
      // The page cache is not to be believed any more: as after a power cut, a prefix is there.
      this.process.crash('power')
      world.restartLater(this)
    }
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
  #upgrade(probability: number): void {
    if (!this.world.settings.mixedReleases || this.release === later) return
    if (!this.#mustUpgrade && !chance(this.#releaseRandom, probability)) return
    this.release = later
    this.world.count('node upgraded')
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
  #stopAtUnknown(): void {
    this.world.count('stopped at a command of a later release')
    this.#mustUpgrade = true
    this.process.crash('kill')
    this.world.restartLater(this)
  }

  /** The operator has changed the lease while the process was down. */
  #drawLease(): void {
    const { restartLease } = this.world.settings
    if (restartLease < 1) this.#leaseShare = between(this.#leaseRandom, restartLease, 1)
  }

  get running(): boolean {
    return this.process.state !== 'crashed'
  }

  get leads(): boolean {
    return this.core?.role === 'leader'
  }

  // Lives

  /** Starts with what the disk has. */
  start(): void {
    this.env = this.process.environment
    if (this.#lives++ > 0) {
      this.#drawLease()
      this.#upgrade(0.4)
    }
    const { firstDamaged } = this.store
    if (firstDamaged !== undefined) this.findsDamage(firstDamaged)
    this.marks = this.makeMarks(this.#lives)
    this.openedAt = this.store.position
    this.earlier = chance(this.random, this.world.settings.earlierShare) && this.release !== later
    this.record = this.store.record
    if (this.record !== undefined && this.record.supersededBy > 0 && !this.record.destroyed) return
    if (this.record === undefined || this.record.destroyed) {
      // A crash may have come between the tombstone and the end of the state.
      this.machineDisk.clear()
      return
    }
    recover(this, this.record)
  }

  /** The core of this life. */
  install(core: RaftCore, machine: Machine, record: ReplicaRecord): void {
    this.core = core
    this.liveness = this.makeLiveness(core)
    this.#news = this.#makeNews(core)
    this.#newsHeard = 0
    this.machine = machine
    this.record = record
    this.judge((invariants) => invariants.restarted(core))
    if (this.forgot) this.quarantine(core)
    this.world.noteStart(this)
    this.changed()
  }

  /** A leader speaks to a replica that this empty node is to become. */
  adopt(replicaId: number, recoveryGeneration: number): void {
    const record = newMetadata(
      replicaId,
      recoveryGeneration,
      floorAfter(this.record, recoveryGeneration),
      this.pledgeMs,
    )
    this.record = record
    this.world.simulation.note(this.name, 'becomes replica', replicaId)
    this.world.settleOwner(this, replicaId)
    this.store.writeRecord(record, () => recover(this, record))
  }

  /** The removal of its replica is committed: log and state go, a tombstone stays. */
  destroy(): void {
    const { record } = this
    if (record === undefined || record.destroyed || this.process.state !== 'running') return
    this.world.simulation.note(this.name, 'destroys replica', record.replicaId)
    if (this.core !== undefined) this.world.forget(this, this.core)
    this.#forget()
    this.orphan = false
    const tombstone = tombstoneOf(record)
    this.record = tombstone
    this.#destroying = true
    this.store.destroy(tombstone, () => {
      this.machineDisk.clear()
      this.#destroying = false
    })
  }

  /** The disk is gone, and what comes back is another life of the node. To be called while it is down. */
  wipe(): void {
    this.store.wipe()
    this.machineDisk.clear()
    this.incarnation = this.world.freshIncarnation()
    this.orphan = false
    this.forgot = false
    this.world.simulation.note(this.name, 'disk wiped, now incarnation', this.incarnation)
  }

  /**
   * A record in the middle of the log is not what was written. What was acknowledged is gone, so this replica is over: its
   * node comes back as one that has nothing, under a new incarnation.
   */
  findsDamage(index: number): void {
    this.world.simulation.note(this.name, 'finds damage at', index)
    this.world.count('damage found')
    this.wipe()
  }

  /** How the group goes on without the quorum that it lost. */
  planRecovery(reports: readonly GroupReport[]): RecoveryPlan {
    return planRecovery(reports)
  }

  /** What an operator does to a survivor while it is down, as the library's `recoverGroup`. */
  takePart(plan: RecoveryPlan, report: GroupReport): void {
    const { metadata, groupId: _groupId, ...write } = recoveryWrite(plan, report)
    this.store.write(write, () => {}, decodeGroupMetadata(metadata as Uint8Array))
    this.store.crash(Number.POSITIVE_INFINITY)
  }

  #onCrash(kind: CrashKind): void {
    if (this.core !== undefined) this.world.forget(this, this.core)
    this.#forget()
    this.store.crash(this.keptChanges(kind))
    const batches = this.machineDisk.unflushedBatches
    const kept = kind === 'kill' ? batches : this.random.integer(batches + 1)
    this.machineDisk.recover(kept)
  }

  /** How much of what was not synced survives: all of it when the process alone was killed. */
  keptChanges(kind: CrashKind): number {
    return kind === 'kill' ? this.store.pendingChanges : this.store.drawKept(this.random)
  }

  #forget(): void {
    this.core = undefined
    this.machine = new Machine()
    this.record = undefined
    this.#recordDirty = false
    this.#learned = new Map()
    this.liveness = undefined
    this.#news?.close()
    this.#news = undefined
    this.#livenessTimer?.cancel()
    this.#livenessTimer = undefined
    this.#restsWith = undefined
    this.#atRest = false
    this.#turnPlanned = false
    this.#timer?.cancel()
    this.#timer = undefined
    this.withheld = []
    this.#toApply = []
    this.#applying = false
    this.#flushing = false
    this.#destroying = false
    this.#proposals = new Map()
    this.#readsAsked = new Map()
    this.#readsReady = []
    this.#incoming = undefined
    this.#outgoing.clear()
    this.removed = false
  }

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

  // Input

  receive(from: string, packet: Packet): void {
    switch (packet.type) {
      case 'frame':
        this.receiveFrame({ nodeId: from, incarnation: packet.incarnation }, packet.bytes)
        return
      case 'chunk':
        this.#incoming?.take(from, packet)
        return
      case 'snapshotDone':
        this.#outgoing.get(`${from}/${packet.requestId}`)?.done(packet.restored)
        return
      case 'request':
        this.#request(from, packet.request)
        return
      case 'reply':
        return
    }
  }

  receiveFrame(peer: Peer, bytes: Uint8Array): void {
    const frame = decodeFrame(this.earlier ? asVersion4(bytes) : bytes, this.incarnation)
    if (frame === undefined) return this.world.count('frame to another incarnation')
    if (frame.marks !== undefined) this.takeMarks(peer, frame.marks)
    const { core } = this
    if (core !== undefined) for (const beat of frame.beats) this.#takeBeat(core, peer, beat)
    for (const message of frame.messages) this.#receiveMessage(peer, message)
  }

  /** Others know how far the disk of this node was. */
  takeMarks(peer: Peer, marks: Marks): void {
    if (this.marks.heard(peer, marks) === undefined || this.forgot) return
    this.input('has forgotten what', peer.nodeId, 'knows')
    this.world.count('disk found out')
    this.forgot = true
    if (this.core !== undefined) this.quarantine(this.core)
    this.endEpochs()
  }

  /** Whoever leads counts on a replica that rests without asking it. */
  endEpochs(): void {
    this.#news?.publish(this.liveness?.endEpochs() ?? [])
  }

  /** Says what it knows to a node that has just started. */
  greet(node: Node): void {
    const packer = new FramePacker(node.incarnation)
    node.receiveFrame(this.peer, packer.finish(this.marks.to(node.peer)))
  }

  /** A group that was recovered from a lost quorum has given up what was promised before. */
  quarantine(core: RaftCore): void {
    if (this.recoveryGeneration > 0) return
    core.quarantine()
    this.changed()
  }

  /** Its removal is committed: the replica is destroyed, or, where the disk cannot be relied on, all that is on it. */
  retire(): void {
    if (!this.forgot && this.record?.quarantined !== true) return this.destroy()
    this.process.crash('kill')
    this.wipe()
    this.world.restart(this)
  }

  #receiveMessage(peer: Peer, incoming: GroupMessage): void {
    const { core } = this
    const { message, recoveryGeneration } = incoming
    if (!this.admits(recoveryGeneration)) return this.refuseOlder(peer, message)
    if (core === undefined) {
      if (this.mayAdopt(message, recoveryGeneration)) this.adopt(message.to, recoveryGeneration)
      return
    }
    if (recoveryGeneration > this.recoveryGeneration) return this.supersede(core, peer, recoveryGeneration)
    // The clients of this simulation ask the leader themselves.
    if (message.kind === 'superseded' || message.kind === 'forward' || message.kind === 'forwardReply') return
    if (message.to !== core.replicaId && this.mayTakeId(core, message, peer)) this.#takeId(core, message.to)
    if (message.to !== core.replicaId || !this.isBound(message.from, peer)) {
      return this.world.count('message to or from a stranger')
    }
    if (message.kind === 'snapshotRequest') return this.#streamSnapshot(peer, message)
    // The store of this node damages nothing, so nobody asks.
    if (message.kind === 'entriesRequest' || message.kind === 'entriesReply') return
    this.input('step', message.kind, 'from', message.from, 'term', message.term)
    this.world.events?.received(this, core, message)
    this.hearNews(core)
    if (message.kind === 'vote' && !message.transfer) {
      this.uncover(core)
      this.hearNews(core)
    }
    core.step(this.checkEpoch(peer, message), this.nowMs)
    this.changed()
  }

  /** How often the group was recovered from a lost quorum, as far as the replica of this node goes, or went. */
  get recoveryGeneration(): number {
    return this.record?.recoveryGeneration ?? 0
  }

  /** A group that was recovered from a lost quorum listens to nobody of the time before. */
  admits(recoveryGeneration: number): boolean {
    return recoveryGeneration >= this.recoveryGeneration
  }

  /** Who is refused for its recovery generation is told that there is a newer one. */
  refuseOlder(peer: Peer, message: HostMessage): void {
    this.world.count('message of an older recovery generation')
    if (message.kind === 'superseded') return
    const { from, to } = message
    const packers = new Map<string, FramePacker>()
    this.pack(packers, peer, { kind: 'superseded', from: to, to: from, term: 0 })
    this.flushPackers(packers)
  }

  /** The group was recovered without this replica: it does nothing any more. */
  supersede(core: RaftCore, peer: Peer, recoveryGeneration: number): void {
    const { latest, committed } = core.configurationState()
    const isMember = [latest, committed].some((configuration) =>
      configuration?.replicas.some((r) => r.nodeId === peer.nodeId && r.incarnation === peer.incarnation),
    )
    const { record } = this
    if (record === undefined || (latest !== undefined && !isMember)) return
    this.world.simulation.note(this.name, 'is superseded by generation', recoveryGeneration)
    this.world.count('replica superseded')
    this.world.forget(this, core)
    this.#forget()
    this.record = { ...record, supersededBy: recoveryGeneration }
    this.store.writeRecord(this.record, () => {})
  }

  // Signs of life between nodes

  makeLiveness(core: RaftCore): NodeLiveness {
    return new NodeLiveness({ ...core.options, random: this.env.random })
  }

  #armLiveness(): void {
    const dueMs = this.liveness?.nextDeadlineMs ?? Number.POSITIVE_INFINITY
    if (this.#livenessTimer?.dueMs === dueMs) return
    this.#livenessTimer?.cancel()
    this.#livenessTimer = undefined
    if (dueMs === Number.POSITIVE_INFINITY) return
    const timer = this.env.timers.schedule(dueMs - this.nowMs, () => {
      this.#livenessTimer = undefined
      this.env.timers.defer(() => this.#advanceLiveness())
    })
    this.#livenessTimer = { dueMs, cancel: () => timer.cancel() }
  }

  #advanceLiveness(): void {
    const { core, liveness } = this
    if (core === undefined || liveness === undefined) return
    const { beats, events } = liveness.advance(this.nowMs, this.env.clock.wallMs())
    for (const { to, beat } of beats) this.#sendBeat(to, beat)
    this.#news?.publish(events)
    this.#armLiveness()
  }

  #sendBeat(to: Peer, beat: Beat | BeatReply): void {
    const { core } = this
    if (core !== undefined && beat.kind === 'beatReply') {
      this.judge((invariants) => invariants.pledged(core.replicaId, beat.epoch))
    }
    const packer = new FramePacker(to.incarnation)
    packer.addBeat(beat)
    const bytes = packer.finish(this.marks.to(to))
    this.sendPacket(to.nodeId, { type: 'frame', incarnation: this.incarnation, bytes })
  }

  #takeBeat(core: RaftCore, from: Peer, beat: Beat | BeatReply): void {
    const { liveness } = this
    if (liveness === undefined) return
    if (beat.kind === 'beatReply') this.#news?.publish(liveness.replyReceived(from, beat, this.nowMs))
    else {
      const wallMs = this.env.clock.wallMs()
      const { beats, events } = liveness.beatReceived(from, beat, this.nowMs, wallMs)
      this.#news?.publish(events)
      for (const each of beats) this.#sendBeat(from, each)
    }
    this.#armLiveness()
  }

  /** Before this replica another one is told, which may take its time to come to rest again. */
  #makeNews(core: RaftCore): NodeNews<Informed> {
    const { settings } = this.world
    const delays = this.world.simulation.random(`news ${this.name} ${this.#lives}`)
    let heard = 0
    let awakeUntilMs = 0
    const other: Informed = {
      get newsHeard() {
        return heard
      },
      get rests() {
        return env.clock.monotonicMs() >= awakeUntilMs
      },
      hearNews(nowMs) {
        heard = news.lastNumber
        awakeUntilMs = nowMs + delays.float() * settings.newsDelayMs
        return true
      },
    }
    const heardHere = (): number => this.#newsHeard
    const replica: Informed = {
      get newsHeard() {
        return heardHere()
      },
      get rests() {
        return core.atRest
      },
      hearNews: () => this.hearNews(core),
    }
    const { env } = this
    const news = new NodeNews({
      env,
      replicas: () => [other, replica],
      waiting: () => (core.atRest ? [] : [replica]),
      patienceMs: 1_000,
      maximumWoken: 1,
    })
    return news
  }

  /** A replica knows what became of the others before it does anything. */
  hearNews(core: RaftCore): boolean {
    const news = this.#news
    if (news === undefined || this.core !== core) return false
    const heard = this.#newsHeard
    if (heard === news.lastNumber) return false
    this.#newsHeard = news.lastNumber
    for (const event of news.since(heard)) this.#hear(core, event)
    this.changed()
    return true
  }

  #hear(core: RaftCore, event: NodeEvent): void {
    const { replicas = [] } = core.configuration ?? {}
    if (event.type === 'coverEnded') {
      this.input('node', event.type, event.epoch)
      core.coverEnded(event.epoch, event.untilMs, event.heardMs, this.nowMs)
    } else if (event.type === 'peerLost') {
      this.input('node', event.type, event.nodeId)
      for (const replica of replicas) {
        if (replica.nodeId !== event.nodeId || replica.replicaId === core.replicaId) continue
        core.peerDown(replica.replicaId, this.nowMs, this.liveness?.watches(replica))
      }
    } else if (core.role === 'leader') {
      const { peer } = event
      this.input('node', event.type, peer.nodeId)
      const replica = replicas.find(
        ({ nodeId, incarnation }) => nodeId === peer.nodeId && incarnation === peer.incarnation,
      )
      if (replica === undefined || replica.replicaId === core.replicaId) return
      if (event.type === 'supported') core.peerUp(replica.replicaId, event.epoch, this.nowMs)
      else core.peerDown(replica.replicaId, this.nowMs, true)
    }
  }

  /** What came over the connection to a replica, or was sent over it, may be lost. */
  connectionClosed(core: RaftCore, replicaId: number): void {
    const peer = this.peerOf(replicaId)
    if (peer === undefined) return core.peerDown(replicaId, this.nowMs)
    const { nodeId } = peer
    this.#news?.publish([...(this.liveness?.lost(nodeId) ?? []), { type: 'peerLost', nodeId }])
  }

  /** A replica rests only under an epoch of its node that has not ended. */
  checkEpoch(peer: Peer, message: Message): Message {
    if (message.kind !== 'heartbeat' || message.epoch === undefined) return message
    return this.liveness?.supports(peer, message.epoch) === true ? message : { ...message, epoch: 0 }
  }

  /** A vote needs the end of the epoch under which the replica may rest. */
  uncover(core: RaftCore): void {
    const leader = core.mayUncover(this.nowMs) ? this.peerOf(core.coverLeader) : undefined
    if (leader === undefined || this.liveness?.mayEndEpoch(leader.nodeId, this.nowMs) !== true) return
    this.#news?.publish(this.liveness.endEpoch(leader.nodeId))
  }

  takeNodePledges(core: RaftCore, forRead = false): void {
    for (const replica of core.configuration?.replicas ?? []) {
      const isWanted = forRead && core.atRest
      const pledge = isWanted
        ? this.liveness?.pledgeFor(replica, this.nowMs)
        : this.liveness?.supportOf(replica)
      if (pledge !== undefined)
        core.nodePledged(replica.replicaId, pledge.epoch, pledge.sent, pledge.pledgeMs, this.nowMs)
    }
  }

  #countRest(core: RaftCore): void {
    if (core.atRest !== this.#atRest) {
      this.#atRest = core.atRest
      this.world.count(`${core.role} ${core.atRest ? 'went to rest' : 'woke up'}`)
    }
    const rests = core.atRest && core.role === 'leader'
    if (rests === (this.#restsWith !== undefined)) return
    const peers = this.#restsWith ?? core.configuration?.replicas ?? []
    this.#restsWith = rests ? peers : undefined
    for (const peer of peers) {
      if (peer.nodeId !== this.name) this.liveness?.count(peer, rests ? 1 : -1, this.nowMs)
    }
    this.#armLiveness()
  }

  /** Only what a leader sends makes a replica of an empty node, and never one that it was before. */
  mayAdopt({ kind, to }: HostMessage, recoveryGeneration: number): boolean {
    if (this.#destroying || this.forgot) return false
    if (this.record !== undefined && !this.record.destroyed) return false
    if (!comesAfter(this.record, to, recoveryGeneration)) return false
    return kind === 'append' || kind === 'heartbeat' || kind === 'snapshotOffer'
  }

  /**
   * A later replica ended here, minted by an entry that was truncated, so that the committed one never begins: whoever added
   * it has to remove it and to add the node again.
   */
  buried(replicaId: number): boolean {
    return this.record?.destroyed === true && this.record.replicaId >= replicaId
  }

  /** An empty replica goes on under the id by which a leader calls it: nobody else would speak to it ever again. */
  mayTakeId(core: RaftCore, message: HostMessage, peer: Peer): boolean {
    const { kind } = message
    return (
      (kind === 'append' || kind === 'heartbeat' || kind === 'snapshotOffer') &&
      message.to > (this.record?.floor ?? 0) &&
      core.isEmpty &&
      this.record?.restoring !== true &&
      this.#incoming === undefined &&
      this.isBound(message.from, peer)
    )
  }

  #takeId(core: RaftCore, replicaId: number): void {
    const before = core.replicaId
    this.input('takes up replica', replicaId, 'after', before)
    this.world.count('id taken up')
    const unknown = this.orphan
    this.orphan = false
    this.world.settleOwner(this, replicaId)
    core.takeId(replicaId)
    this.withheld = []
    this.#changeRecord({ replicaId })
    this.judge((invariants) => {
      if (unknown) invariants.reminted(replicaId)
      else invariants.renamed(before, replicaId)
    })
    this.changed()
  }

  /** A replica id is bound to one life of one node. */
  isBound(replicaId: number, peer: Peer): boolean {
    const known = this.peerOf(replicaId)
    if (known !== undefined) return known.nodeId === peer.nodeId && known.incarnation === peer.incarnation
    this.#learned.set(replicaId, peer)
    return true
  }

  peerOf(replicaId: number): Peer | undefined {
    const state = this.core?.configurationState()
    return (
      replicaOf(state?.latest, replicaId) ??
      replicaOf(state?.committed, replicaId) ??
      this.#learned.get(replicaId)
    )
  }

  #request(client: string, request: ClientRequest): void {
    const { core } = this
    const refuse = (): void => {
      const leader = core === undefined ? 0 : core.leader
      const hint = leader === 0 ? undefined : this.peerOf(leader)?.nodeId
      this.reply(client, { attempt: request.attempt, refused: true, leader: hint })
    }
    if (core === undefined) return refuse()
    if (request.type === 'read') {
      if (!this.#read(core, client, request.attempt, request.key)) refuse()
      return
    }
    if (core.role !== 'leader') return refuse()
    const proposal =
      request.type === 'register'
        ? {
            kind: entryKinds.session,
            data: encodeSessionEntry({
              type: 'register',
              maximumSessions: request.maximumSessions,
              resultsPerSession: 3,
              unusedBefore: 0,
            }),
          }
        : {
            kind: entryKinds.command,
            data: encodeEnvelope(
              encodeCommand(request.command),
              0,
              request.session === 0 ? undefined : { session: request.session, sequence: request.sequence },
              request.acknowledgedBelow,
            ),
          }
    if (request.type !== 'register' && this.writesLater(core)) {
      proposal.data[0] = later
      this.world.count('command of a later release')
    }
    this.hearNews(core)
    const answer = core.propose([proposal], this.nowMs)
    if (!answer.accepted) return refuse()
    this.input('proposed', answer.firstIndex, 'for', client)
    this.#proposals.set(answer.firstIndex, { term: answer.term, client, attempt: request.attempt })
    this.changed()
  }

  /** @returns whether the read is under way */
  #read(core: RaftCore, client: string, attempt: number, key: string): boolean {
    const { leaseReads, followerReads } = this.world.settings
    const mode = chance(this.random, leaseReads) ? 'lease' : 'readIndex'
    const from = chance(this.random, followerReads) ? 'any' : 'leader'
    const context = ++this.#lastContext
    this.hearNews(core)
    this.judge((invariants) => invariants.readAsked(core.replicaId, context))
    this.observeWall(core)
    if (core.role === 'leader') this.takeNodePledges(core, mode === 'lease')
    this.#armLiveness()
    if (mode === 'lease' && chance(this.random, 0.5)) {
      const index = core.leaseReadIndex(this.nowMs, core.wallMs)
      if (index !== undefined && index <= this.machine.applied.index) {
        this.world.count('read at once')
        this.judge((invariants) => invariants.lease(core))
        this.judge((invariants) => invariants.readServed(core.replicaId, context, index))
        this.reply(client, { attempt, value: this.machine.get(key), read: true })
        return true
      }
    }
    const answer = core.requestRead(context, this.nowMs, { mode, from })
    if (!answer.accepted) return false
    this.input('read asked', context, mode, from)
    this.#readsAsked.set(context, { client, attempt, key })
    this.changed()
    return true
  }

  /** Before whatever may send or use a lease. */
  observeWall(core: RaftCore): void {
    core.observeWall(this.env.clock.wallMs())
  }

  reply(client: string, reply: ClientReply): void {
    this.world.network.send(this.name, client, { type: 'reply', reply })
  }

  /** Tells the invariants, unless this is no replica of the group. */
  judge(tell: (invariants: RaftInvariants) => void): void {
    if (!this.orphan) tell(this.world.invariantsOf(this))
  }

  /** Everything that changes the core is a line of the trace. */
  input(what: string, ...values: readonly (string | number)[]): void {
    this.world.simulation.note(this.name, what, ...values)
  }

  /**
   * The core has changed: judges it and plans a turn. The turn sets the timer, as in the real host: what is due now may be
   * done only by the turn, and a timer that comes before it again and again would keep it waiting for ever.
   */
  changed(): void {
    const { core } = this
    if (core === undefined) return
    this.world.observe(this, core)
    if (this.#turnPlanned) return
    this.#turnPlanned = true
    this.env.timers.defer(() => {
      this.#turnPlanned = false
      this.turn()
    })
  }

  #armTimer(core: RaftCore): void {
    const dueMs = core.nextDeadlineMs
    if (this.#timer?.dueMs === dueMs) return
    this.#timer?.cancel()
    this.#timer = undefined
    if (dueMs === Number.POSITIVE_INFINITY) return
    const timer = this.env.timers.schedule(dueMs - this.nowMs, () => {
      this.#timer = undefined
      this.timerFired(core)
    })
    this.#timer = { dueMs, cancel: () => timer.cancel() }
  }

  /** A late timer lets the input that waits in first: the leader's heartbeats may be among it. */
  timerFired(core: RaftCore): void {
    this.env.timers.defer(() => this.advance(core))
  }

  advance(core: RaftCore): void {
    if (this.core !== core) return
    this.hearNews(core)
    this.observeWall(core)
    core.advanceTo(this.nowMs)
    this.changed()
  }

  // Turns

  turn(): void {
    const { core } = this
    if (core === undefined) return
    this.hearNews(core)
    this.observeWall(core)
    if (core.role === 'leader') this.takeNodePledges(core)
    const ready = core.takeReady()
    this.world.observe(this, core)
    this.#countRest(core)
    this.#armTimer(core)
    if (ready !== undefined) this.#carryOut(core, ready)
    if (this.#recordDirty && this.core === core) this.#writeRecord()
  }

  #carryOut(core: RaftCore, ready: Ready): void {
    if (!this.boundary('at the start of a turn')) return
    if (ready.quarantined === true) {
      this.world.count('replica quarantined')
      this.#changeRecord({ quarantined: true })
    }
    const writeFirst = chance(this.random, 0.5)
    if (!writeFirst) this.sendAll(ready.messages)
    this.withheld.push(...ready.messagesAfter)
    if (ready.write !== undefined) {
      this.startWrite(core, ready.write)
      if (!this.boundary('after a write was started')) return
    }
    if (writeFirst) this.sendAll(ready.messages)
    this.releaseWithheld(core)
    this.#enqueue(ready.committed)
    for (const read of ready.reads) {
      this.judge((invariants) => invariants.readServed(core.replicaId, read.context, read.index))
      this.#readsReady.push(read)
    }
    this.#serveReads()
    for (const context of ready.failedReads) this.#failRead(context)
    for (const fetch of ready.fetches) this.fetch(core, fetch)
    if (ready.offeredSnapshot !== undefined) this.#askSnapshot(core, ready.offeredSnapshot)
    if (ready.leadership !== undefined) {
      const { role, term, leader } = ready.leadership
      this.input('is', role, 'in term', term, 'leader', leader)
    }
    if (ready.transfer !== undefined) this.world.count(`transfer ${ready.transfer.outcome}`)
    if (ready.removed === true) this.removed = true
  }

  startWrite(core: RaftCore, write: RaftWrite): void {
    const { writeId, ...rest } = write
    this.world.events?.issued(this, core, write)
    this.judge((invariants) => invariants.issued(core.replicaId, write))
    const record = this.#recordDirty ? this.record : undefined
    this.#recordDirty = false
    this.store.write(rest, () => this.written(core, writeId), record)
  }

  /** The disk has it. */
  written(core: RaftCore, writeId: number): void {
    if (this.core !== core) return
    this.world.events?.durable(this, core, writeId)
    this.judge((invariants) => invariants.durable(core.replicaId, writeId))
    this.input('write is durable', writeId)
    this.persisted(core, writeId)
  }

  persisted(core: RaftCore, writeId: number): void {
    core.persisted(writeId, this.nowMs)
    this.releaseWithheld(core)
    this.changed()
  }

  /** Messages that wait for a write leave when it is durable. */
  releaseWithheld(core: RaftCore): void {
    if (this.breaksPromises(core)) this.withheld = []
    const free = this.withheld.filter((message) => this.mayRelease(core, message))
    if (free.length === 0) return
    this.withheld = this.withheld.filter((message) => !free.includes(message))
    this.sendAll(free.map(({ message }) => message))
  }

  /** What was promised before it was quarantined nobody may rely on. */
  breaksPromises(core: RaftCore): boolean {
    return core.quarantined
  }

  mayRelease(core: RaftCore, message: DeferredMessage): boolean {
    return message.writeId <= core.log.persistedWriteId
  }

  sendAll(messages: readonly Message[]): void {
    if (messages.length === 0) return
    const packers = new Map<string, FramePacker>()
    for (const message of messages) {
      const peer = this.peerOf(message.to)
      if (peer === undefined) {
        this.world.count('message to an unknown replica')
        continue
      }
      if (this.core !== undefined) this.world.events?.sent(this, this.core, message)
      this.judge((invariants) => invariants.sent(message))
      this.pack(packers, peer, this.withEpoch(peer, message))
    }
    this.flushPackers(packers)
  }

  /** A replica may rest under an epoch of its node. */
  withEpoch(peer: Peer, message: Message): Message {
    if (message.kind !== 'heartbeat') return message
    const isIdle = message.idle === true
    const epoch = isIdle ? (this.liveness?.epochOf(peer, this.nowMs) ?? 0) : 0
    // Those who rest already get no heartbeat, but their nodes must hear of this one.
    for (const replica of isIdle ? (this.core?.configuration?.replicas ?? []) : []) {
      if (replica.nodeId !== this.name) this.liveness?.epochOf(replica, this.nowMs)
    }
    this.#armLiveness()
    if (epoch === 0 && this.liveness?.isGone(peer, this.nowMs) === true && this.core?.isIdle() === true) {
      const { core } = this
      this.env.timers.defer(() => {
        if (core === undefined || this.core !== core || this.liveness?.isGone(peer, this.nowMs) !== true)
          return
        core.peerDown(message.to, this.nowMs, true)
        this.changed()
      })
    }
    return isIdle ? { ...message, epoch } : message
  }

  pack(packers: Map<string, FramePacker>, peer: Peer, message: HostMessage): void {
    const key = `${peer.nodeId}/${peer.incarnation}`
    let packer = packers.get(key)
    if (packer === undefined) {
      packer = new FramePacker(peer.incarnation)
      packers.set(key, packer)
    }
    packer.add(1, message, this.recoveryGeneration)
  }

  flushPackers(packers: ReadonlyMap<string, FramePacker>): void {
    for (const [key, packer] of packers) {
      const nodeId = key.slice(0, key.indexOf('/'))
      const finished = packer.finish(this.marks.to({ nodeId, incarnation: packer.incarnation }))
      const bytes = this.release === later ? extendFrame(finished) : finished
      this.sendPacket(nodeId, { type: 'frame', incarnation: this.incarnation, bytes })
    }
  }

  sendPacket(to: string, packet: NodePacket): void {
    if (packet.type === 'frame' && this.earlier) {
      this.world.count('frame of an earlier version')
      this.world.sent(this.name, to, { ...packet, bytes: asVersion4(packet.bytes) })
    } else this.world.sent(this.name, to, packet)
  }

  // Applying

  #enqueue(entries: readonly LogEntry[]): void {
    if (entries.length === 0) return
    this.#toApply.push(...entries)
    this.#planApply()
  }

  #planApply(): void {
    const { core } = this
    if (
      this.#applying ||
      core === undefined ||
      this.#toApply.length === 0 ||
      this.#incoming?.restoring === true
    ) {
      return
    }
    this.#applying = true
    this.env.timers.schedule(this.random.float() * this.world.settings.applyDelayMs, () => {
      this.#applying = false
      if (this.core !== core) return
      this.#toApply = this.stillToApply(this.#toApply)
      const batch = this.#toApply.splice(0, this.world.settings.maximumApplyBatch)
      if (batch.length > 0) this.applyBatch(core, batch)
      this.#planApply()
    })
  }

  /** A snapshot may have come in between, which has what waited to be applied, and more. */
  stillToApply(entries: readonly LogEntry[]): LogEntry[] {
    return entries.filter((entry) => entry.index > this.machine.applied.index)
  }

  applyBatch(core: RaftCore, batch: readonly LogEntry[]): void {
    if (!batch.every((entry) => this.knows(entry))) return this.#stopAtUnknown()
    for (const entry of batch) {
      this.judge((invariants) => invariants.applied(core.replicaId, entry))
      const outcome = this.machine.apply(entry)
      this.world.applied(this, this.machine, entry)
      this.#answer(entry, outcome)
    }
    this.machineDisk.applied(batch)
    this.input('applied', this.machine.applied.index)
    this.tellApplied(core)
    this.#serveReads()
    this.maybeFlush(core)
    this.changed()
  }

  tellApplied(core: RaftCore): void {
    core.applied(this.machine.applied.index, this.nowMs)
  }

  #answer(entry: LogEntry, outcome: Outcome): void {
    const proposal = this.#proposals.get(entry.index)
    if (proposal === undefined) return
    this.#proposals.delete(entry.index)
    const { client, attempt } = proposal
    // Another entry has the place for ever: what was proposed there never takes effect.
    if (proposal.term === entry.term) this.reply(client, { attempt, outcome })
    else this.reply(client, { attempt, refused: true, leader: undefined })
  }

  /** Makes the state durable, then lets the log forget what it has. */
  maybeFlush(core: RaftCore): void {
    const { flushEvery } = this.world.settings
    if (this.#flushing || this.machine.applied.index - this.machineDisk.flushedIndex < flushEvery) return
    this.#flushing = true
    const { index } = this.machine.applied
    const state = this.machine.encode()
    this.disk.perform('sync', (error) => {
      this.#flushing = false
      if (this.core !== core) return
      if (error !== undefined) return this.world.count('flush failed')
      if (index < this.machineDisk.flushedIndex) return
      this.machineDisk.flush(state, index)
      this.compact(core)
    })
  }

  compactionLimits(): CompactionLimits {
    const { keepEntries, flushEvery, maximumLagEntries, maximumLagBytes } = this.world.settings
    return {
      compactAfterEntries: flushEvery,
      compactAfterBytes: maximumLagBytes,
      keptEntries: keepEntries,
      keptBytes: maximumLagBytes,
      maximumLagEntries,
      maximumLagBytes,
    }
  }

  compactionTarget(core: RaftCore): number {
    const { flushedIndex } = this.machineDisk
    if (!this.world.settings.sparesLaggards) return flushedIndex - this.world.settings.keepEntries
    const { compacted } = this.store.current
    return compactionTarget({
      limits: this.compactionLimits(),
      flushedIndex,
      compactedIndex: compacted.index,
      bytes: this.#logBytes(),
      progress: core.status().progress.values(),
      pinned: [...this.#outgoing.values()].map(({ index }) => index),
    })
  }

  #logBytes(): LogBytes {
    const { compacted, entries } = this.store.current
    const bytes = new LogBytes(compacted.index)
    for (const { index, data } of entries) {
      if (index <= this.machineDisk.flushedIndex) bytes.add(index, data.length)
    }
    return bytes
  }

  /** Whoever lags behind, the log has an end. */
  #checkLogBounded(): void {
    const { settings } = this.world
    if (!settings.sparesLaggards) return
    const held = this.machineDisk.flushedIndex - this.store.current.compacted.index
    const bytes = this.#logBytes().held
    if (held <= settings.maximumLagEntries && bytes <= settings.maximumLagBytes) return
    this.world.broken(
      `${this.name} holds ${held} entries of ${bytes} bytes that it does not need`,
      'the log is bounded',
    )
  }

  compact(core: RaftCore): void {
    const target = this.compactionTarget(core)
    if (target <= 0) return this.#checkLogBounded()
    const position = core.compact(target)
    if (position.index <= this.store.current.compacted.index) return this.#checkLogBounded()
    // What the store has of the log may lag behind by writes that were not taken from the core yet.
    if (position.index > this.store.current.last.index) return
    this.input('compacted through', position.index)
    this.world.count('compaction')
    this.store.compact(position)
    this.#checkLogBounded()
    this.changed()
  }

  // Reads

  #serveReads(): void {
    const left: ReadReady[] = []
    for (const read of this.#readsReady) {
      if (this.mayServe(read)) this.#serveRead(read)
      else left.push(read)
    }
    this.#readsReady = left
  }

  mayServe(read: ReadReady): boolean {
    return read.index <= this.machine.applied.index
  }

  #serveRead(read: ReadReady): void {
    const asked = this.#readsAsked.get(read.context)
    if (asked === undefined) return
    this.#readsAsked.delete(read.context)
    this.world.count(this.leads ? 'read served' : 'read served by a follower')
    this.input('read served', read.context, 'at', read.index)
    this.reply(asked.client, { attempt: asked.attempt, value: this.machine.get(asked.key), read: true })
  }

  #failRead(context: number): void {
    const asked = this.#readsAsked.get(context)
    if (asked === undefined) return
    this.#readsAsked.delete(context)
    this.reply(asked.client, { attempt: asked.attempt, refused: true, leader: undefined })
  }

  // Entries that left memory

  fetch(core: RaftCore, fetch: Fetch): void {
    this.disk.perform('read', (error) => {
      if (this.core !== core) return
      const found =
        error === undefined ? this.store.read(fetch.from, fetch.to, fetch.maximumBytes) : 'missing'
      this.world.count('fetch')
      if (typeof found === 'string') this.fetchFailed(core, fetch, found === 'compacted' ? found : 'other')
      else core.fetched(fetch, found, this.nowMs)
      this.input('fetched', fetch.from)
      this.changed()
    })
  }

  fetchFailed(core: RaftCore, fetch: Fetch, reason: 'compacted' | 'other'): void {
    core.fetchFailed(fetch, reason, this.nowMs)
  }

  // Snapshots

  #askSnapshot(core: RaftCore, offer: OfferedSnapshot): void {
    const peer = this.peerOf(offer.from)
    const requestId = ++this.#lastContext
    const fail = (): void => {
      this.#incoming = undefined
      if (this.core !== core) return
      this.world.count('snapshot transfer failed')
      core.snapshotFailed(this.nowMs)
      this.changed()
      this.#planApply()
    }
    if (peer === undefined) return fail()
    this.#incoming?.abandon()
    this.#incoming = new IncomingSnapshot(this.env.timers, peer.nodeId, requestId, {
      complete: (bytes) => this.#restore(core, peer, requestId, bytes, fail),
      failed: fail,
    })
    const request: SnapshotRequest = {
      kind: 'snapshotRequest',
      from: core.replicaId,
      to: offer.from,
      term: core.term,
      position: offer.position,
      requestId,
      snapshotId: 0,
      nextPiece: 0,
    }
    const packers = new Map<string, FramePacker>()
    this.pack(packers, peer, request)
    this.flushPackers(packers)
  }

  #streamSnapshot(peer: Peer, request: SnapshotRequest): void {
    const { core } = this
    if (core === undefined || core.role !== 'leader') return
    if (this.machine.applied.index < request.position.index) return
    const key = `${peer.nodeId}/${request.requestId}`
    if (this.#outgoing.has(key)) return
    this.world.count('snapshot streamed')
    const ended = (restored: boolean): void => {
      this.#outgoing.delete(key)
      if (this.core !== core) return
      core.reportSnapshot(request.from, restored ? 'sent' : 'failed', this.nowMs)
      this.changed()
    }
    const { chunkBytes } = this.world.settings
    const bytes = this.snapshotBytes()
    this.#outgoing.set(
      key,
      new OutgoingSnapshot(
        this.env.timers,
        request.requestId,
        this.machine.applied.index,
        bytes,
        chunkBytes,
        {
          send: (packet) => this.sendPacket(peer.nodeId, packet),
          ended,
        },
      ),
    )
  }

  snapshotBytes(): Uint8Array {
    return this.machine.encode()
  }

  /** Marks the switch durably, switches the state, then lets the core reset its log. */
  #restore(core: RaftCore, peer: Peer, requestId: number, bytes: Uint8Array, fail: () => void): void {
    const incoming = this.#incoming
    const incomingMachine = Machine.decode(bytes)
    const done = (restored: boolean): void => {
      if (this.#incoming === incoming) this.#incoming = undefined
      this.sendPacket(peer.nodeId, { type: 'snapshotDone', requestId, restored })
    }
    if (incomingMachine.applied.index <= this.machine.applied.index) {
      done(false)
      return fail()
    }
    this.#changeRecord({ restoring: true })
    this.#writeRecord(() => {
      if (this.core !== core) return
      this.disk.perform('sync', (error) => {
        if (this.core !== core) return
        if (error !== undefined || incomingMachine.applied.index <= this.machine.applied.index) {
          done(false)
          return fail()
        }
        this.switchState(core, incomingMachine, bytes)
        this.input('restored snapshot at', this.machine.applied.index)
        this.world.count('snapshot restored')
        done(true)
        if (!this.boundary('between the switch of the state and the reset of the log')) return
        // In one act with the reset of the log, or the mark would be gone while the log is still the old one.
        this.#changeRecord({ restoring: false })
        this.snapshotRestored(core)
        this.changed()
        this.#planApply()
      })
    })
  }

  switchState(core: RaftCore, machine: Machine, bytes: Uint8Array): void {
    this.machine = machine
    this.machineDisk.replace(bytes, machine.applied.index)
    this.world.events?.restored(this, core, machine.applied)
    this.judge((invariants) => invariants.snapshotInstalled(core.replicaId, machine.applied))
    this.world.restored(this, machine)
  }

  snapshotRestored(core: RaftCore): void {
    const { applied, configuration } = this.machine
    invariant(configuration !== undefined, 'an applied state has a configuration')
    core.snapshotRestored(applied, configuration, this.nowMs)
  }

  #changeRecord(change: Partial<ReplicaRecord>): void {
    if (this.record === undefined) return
    this.record = { ...this.record, ...change }
    this.#recordDirty = true
  }

  #writeRecord(done: () => void = () => {}): void {
    this.#recordDirty = false
    if (this.record !== undefined) this.store.writeRecord(this.record, done)
  }
}
