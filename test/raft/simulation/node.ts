import { chance } from '../../../src/core/random.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type { DeferredMessage, Fetch, RaftWrite, Ready } from '../../../src/raft/core/types.ts'
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
import { decodeFrame, FramePacker } from '../../../src/raft/host/frame.ts'
import type { GroupMessage, HostMessage, Marks } from '../../../src/raft/host/host-messages.ts'
import type { CrashKind } from '../../../src/simulation/process.ts'
import { asVersion4 } from '../support/earlier-release.ts'
import { later, type Machine } from './machine.ts'
import type { Peer } from './node/links.ts'
import { NodeSnapshots } from './node/snapshots.ts'
import { recover } from './recovery.ts'
import type { ReplicaRecord } from './store.ts'
import type { Packet } from './wire.ts'
import type { World } from './world.ts'

/** A synchronous host of one replica: its lives, what reaches it, and the turns in which it does what its core wants. */
export class Node extends NodeSnapshots {
  #turnPlanned = false
  #timer: { readonly dueMs: number; cancel(): void } | undefined
  withheld: DeferredMessage[] = []
  /** The tombstone is on its way to the disk, and the state of the destroyed replica is still there. */
  #destroying = false

  constructor(world: World, name: string, incarnation: number) {
    super(world, name, incarnation)
    this.process.onCrash((kind) => this.#onCrash(kind))
    this.store.onBoundary = (where) => this.boundary(where)
    this.store.onPoisoned = () => {
      world.fault('sync failed, process ended')
      // The page cache is not to be believed any more: as after a power cut, a prefix is there.
      this.process.crash('power')
      world.restartLater(this)
    }
  }

  // Lives

  /** Starts with what the disk has. */
  start(): void {
    this.env = this.process.environment
    if (this.lives++ > 0) {
      this.drawLease()
      this.upgrade(0.4)
    }
    const { firstDamaged } = this.store
    if (firstDamaged !== undefined) this.findsDamage(firstDamaged)
    this.marks = this.makeMarks(this.lives)
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
    this.watchNodes(core)
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
    this.forget()
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
    this.forget()
    this.store.crash(this.keptChanges(kind))
    const batches = this.machineDisk.unflushedBatches
    const kept = kind === 'kill' ? batches : this.random.integer(batches + 1)
    this.machineDisk.recover(kept)
  }

  /** How much of what was not synced survives: all of it when the process alone was killed. */
  keptChanges(kind: CrashKind): number {
    return kind === 'kill' ? this.store.pendingChanges : this.store.drawKept(this.random)
  }

  protected override forget(): void {
    super.forget()
    this.#turnPlanned = false
    this.#timer?.cancel()
    this.#timer = undefined
    this.withheld = []
    this.#destroying = false
  }

  // Input

  receive(from: string, packet: Packet): void {
    switch (packet.type) {
      case 'frame':
        this.receiveFrame({ nodeId: from, incarnation: packet.incarnation }, packet.bytes)
        return
      case 'chunk':
        this.incoming?.take(from, packet)
        return
      case 'snapshotDone':
        this.outgoing.get(`${from}/${packet.requestId}`)?.done(packet.restored)
        return
      case 'request':
        this.request(from, packet.request)
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
    if (core !== undefined) for (const beat of frame.beats) this.takeBeat(core, peer, beat)
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
    if (message.kind === 'snapshotRequest') return this.streamSnapshot(peer, message)
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
    this.forget()
    this.record = { ...record, supersededBy: recoveryGeneration }
    this.store.writeRecord(this.record, () => {})
  }

  // Ids

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
      this.incoming === undefined &&
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
    this.changeRecord({ replicaId })
    this.judge((invariants) => {
      if (unknown) invariants.reminted(replicaId)
      else invariants.renamed(before, replicaId)
    })
    this.changed()
  }

  // Turns

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

  turn(): void {
    const { core } = this
    if (core === undefined) return
    this.hearNews(core)
    this.observeWall(core)
    if (core.role === 'leader') this.takeNodePledges(core)
    const ready = core.takeReady()
    this.world.observe(this, core)
    this.countRest(core)
    this.#armTimer(core)
    if (ready !== undefined) this.#carryOut(core, ready)
    if (this.recordDirty && this.core === core) this.writeRecord()
  }

  #carryOut(core: RaftCore, ready: Ready): void {
    if (!this.boundary('at the start of a turn')) return
    if (ready.quarantined === true) {
      this.world.count('replica quarantined')
      this.changeRecord({ quarantined: true })
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
    this.enqueue(ready.committed)
    for (const read of ready.reads) {
      this.judge((invariants) => invariants.readServed(core.replicaId, read.context, read.index))
      this.readsReady.push(read)
    }
    this.serveReads()
    for (const context of ready.failedReads) this.failRead(context)
    for (const fetch of ready.fetches) this.fetch(core, fetch)
    if (ready.offeredSnapshot !== undefined) this.askSnapshot(core, ready.offeredSnapshot)
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
    const record = this.recordDirty ? this.record : undefined
    this.recordDirty = false
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
}
