import assert from 'node:assert/strict'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import {
  entryKinds,
  type HardState,
  type LogEntry,
  type LogPosition,
} from '../../../src/interfaces/log-store.ts'
import type { ReplicaDescriptor, ReplicaRole } from '../../../src/model/descriptors.ts'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { bootstrapState, decodeConfiguration } from '../../../src/raft/core/configuration.ts'
import { RaftInvariants } from '../../../src/raft/core/invariants.ts'
import type {
  Configuration,
  MembershipChange,
  MembershipOptions,
} from '../../../src/raft/core/membership-types.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import { checkRaftOptions, longestPledgeMs } from '../../../src/raft/core/options.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { RaftCoreSetup } from '../../../src/raft/core/setup.ts'
import type {
  ChangeAccepted,
  DeferredMessage,
  Fetch,
  NeededSnapshot,
  OfferedSnapshot,
  ProposalAccepted,
  RaftOptions,
  RaftWrite,
  ReadReady,
  ReadRequest,
  Refused,
} from '../../../src/raft/core/types.ts'

export type CoreClass = new (setup: RaftCoreSetup) => RaftCore

export interface ClusterOptions {
  readonly seed?: number
  readonly options?: Partial<RaftOptions>
  /** What one replica has otherwise, asked at each of its starts. */
  readonly optionsOf?: (replicaId: ReplicaId) => Partial<RaftOptions>
  readonly learners?: readonly ReplicaId[]
  readonly Core?: CoreClass
}

/** What survives a crash of a replica. */
class Disk {
  hardState: HardState | undefined
  compacted: LogPosition = { index: 0, term: 0 }
  entries: LogEntry[] = []
  /** State machine: what was applied, durably with each apply, and the configuration there. */
  applied: LogEntry[] = []
  appliedIndex = 0
  appliedTerm = 0
  configuration: Configuration | undefined
  quarantined = false
  /** For how long any life of the replica may have pledged itself. */
  pledgeMs = 0

  write(write: RaftWrite): void {
    if (write.reset !== undefined) {
      this.compacted = write.reset
      this.entries = []
    }
    const first = write.entries?.[0]
    if (first !== undefined) {
      this.entries = this.entries.filter((entry) => entry.index < first.index)
      this.entries.push(...(write.entries ?? []).filter((entry) => entry.index > this.compacted.index))
    }
    if (write.hardState !== undefined) this.hardState = write.hardState
  }

  apply(entry: LogEntry): void {
    this.applied.push(entry)
    this.appliedIndex = entry.index
    this.appliedTerm = entry.term
    if (entry.kind === entryKinds.configuration) this.configuration = decodeConfiguration(entry.data)
  }
}

export class Replica {
  core: RaftCore
  readonly disk: Disk
  up = true
  /** Writes that the disk has not finished. */
  writes: RaftWrite[] = []
  after: DeferredMessage[] = []
  reads: ReadReady[] = []
  failedReads: number[] = []
  fetches: Fetch[] = []
  offer: OfferedSnapshot | undefined
  needed: NeededSnapshot[] = []
  transfers: string[] = []
  removed = false
  quarantined = false
  /** While set, the disk finishes nothing. */
  stalled = false
  /** While set, nothing is applied. */
  idle = false
  toApply: LogEntry[] = []

  constructor(core: RaftCore, disk: Disk) {
    this.core = core
    this.disk = disk
  }
}

/** A group in one process, in virtual time: messages travel at once and in order unless a test says otherwise. */
export class Cluster {
  readonly replicas: Map<ReplicaId, Replica> = new Map()
  invariants: RaftInvariants = new RaftInvariants()
  readonly random: SeededRandom
  readonly options: Partial<RaftOptions>
  readonly optionsOf: (replicaId: ReplicaId) => Partial<RaftOptions>
  readonly Core: CoreClass
  now = 0
  /** What the wall clocks show more than the monotonic ones. */
  wallOffsetMs = 0
  /** Messages that left and did not arrive. */
  network: Message[] = []
  /** Everything that ever left. */
  log: Message[] = []
  /** Messages for which it returns false are lost. */
  deliver: (message: Message) => boolean = () => true
  /** Snapshots are streamed and restored as soon as they are offered. */
  restores = true
  /** Fetches are answered at once. */
  answersFetches = true
  judged = true
  /** Replicas that are added start by themselves. */
  awaits = false
  #contexts = 0

  constructor(size: number, options: ClusterOptions = {}) {
    this.random = new SeededRandom(options.seed ?? 1)
    // Nobody has to let time pass to see what was committed.
    this.options = { commitNoticeMs: 0, ...options.options }
    this.optionsOf = options.optionsOf ?? (() => ({}))
    this.Core = options.Core ?? RaftCore
    const members: ReplicaDescriptor[] = []
    for (let id = 1; id <= size; id++) {
      members.push(descriptor(id, options.learners?.includes(id) === true ? 'learner' : 'voter'))
    }
    const state = bootstrapState(members)
    for (const { replicaId } of members) {
      const disk = new Disk()
      disk.hardState = state.hardState
      disk.entries = state.entries.slice()
      this.#start(replicaId, disk)
    }
  }

  #start(replicaId: ReplicaId, disk: Disk): Replica {
    if (disk.appliedIndex > disk.compacted.index) {
      const held = disk.entries.find((entry) => entry.index === disk.appliedIndex)
      if (held?.term !== disk.appliedTerm) {
        // A crash between the switch of the state and the reset of the log: start-up completes it.
        disk.compacted = { index: disk.appliedIndex, term: disk.appliedTerm }
        disk.entries = []
      }
    }
    const options = checkRaftOptions({ ...this.options, ...this.optionsOf(replicaId) })
    const pledgedMs = disk.pledgeMs
    disk.pledgeMs = Math.max(pledgedMs, longestPledgeMs(options))
    const core = new this.Core({
      replicaId,
      restored: {
        ...(disk.hardState === undefined ? {} : { hardState: disk.hardState }),
        compacted: disk.compacted,
        ...(disk.configuration === undefined
          ? {}
          : { configuration: disk.configuration, configurationIndex: disk.appliedIndex }),
        appliedIndex: disk.appliedIndex,
        entries: disk.entries,
        quarantined: disk.quarantined,
        pledgedMs,
      },
      options,
      random: this.random.child(`${replicaId}/${this.random.uint32()}`),
      nowMs: this.now,
    })
    const replica = new Replica(core, disk)
    this.replicas.set(replicaId, replica)
    if (this.judged) this.invariants.restarted(core)
    return replica
  }

  replica(id: ReplicaId): Replica {
    const replica = this.replicas.get(id)
    assert.ok(replica !== undefined, `no replica ${id}`)
    return replica
  }

  core(id: ReplicaId): RaftCore {
    return this.replica(id).core
  }

  /** Starts an empty replica that waits for its leader. */
  startEmpty(id: ReplicaId): Replica {
    return this.#start(id, new Disk())
  }

  crash(id: ReplicaId): void {
    this.replica(id).up = false
    if (this.judged) this.invariants.crashed(id)
  }

  restart(id: ReplicaId): Replica {
    return this.#start(id, this.replica(id).disk)
  }

  /** Runs `act` on a replica's core and judges what it did. */
  on<T>(id: ReplicaId, act: (core: RaftCore) => T): T {
    const replica = this.replica(id)
    replica.core.observeWall(this.now + this.wallOffsetMs)
    const result = act(replica.core)
    if (this.judged) this.invariants.observe(replica.core)
    return result
  }

  /** Takes and carries out what one replica has to do. Returns whether there was anything. */
  drain(id: ReplicaId): boolean {
    const replica = this.replica(id)
    if (!replica.up) return false
    let busy = false
    for (let ready = replica.core.takeReady(); ready !== undefined; ready = replica.core.takeReady()) {
      busy = true
      if (this.judged) this.invariants.observe(replica.core)
      if (ready.write !== undefined) {
        if (this.judged) this.invariants.issued(id, ready.write)
        replica.writes.push(ready.write)
      }
      for (const message of ready.messages) this.post(message)
      replica.after.push(...ready.messagesAfter)
      replica.toApply.push(...ready.committed)
      for (const read of ready.reads) {
        if (this.judged) this.invariants.readServed(id, read.context, read.index)
        replica.reads.push(read)
      }
      replica.failedReads.push(...ready.failedReads)
      replica.fetches.push(...ready.fetches)
      replica.needed.push(...ready.neededSnapshots)
      replica.offer = ready.offeredSnapshot ?? replica.offer
      if (ready.transfer !== undefined) replica.transfers.push(ready.transfer.outcome)
      if (ready.removed === true) replica.removed = true
      if (ready.quarantined === true) {
        replica.quarantined = true
        replica.disk.quarantined = true
      }
    }
    if (!replica.stalled) busy = this.persist(id) || busy
    if (!replica.idle) busy = this.apply(id) || busy
    if (this.answersFetches) busy = this.fetch(id) || busy
    if (this.restores) busy = this.restore(id) || busy
    return busy
  }

  /** The disk finishes all writes, or the first `count`. */
  persist(id: ReplicaId, count = Infinity): boolean {
    const replica = this.replica(id)
    const done = replica.writes.splice(0, count)
    for (const write of done) {
      replica.disk.write(write)
      if (this.judged) this.invariants.durable(id, write.writeId)
    }
    const last = done.at(-1)?.writeId
    if (last === undefined) return false
    if (replica.core.quarantined) replica.after = []
    const free = replica.after.filter((deferred) => deferred.writeId <= last)
    replica.after = replica.after.filter((deferred) => deferred.writeId > last)
    for (const { message } of free) this.post(message)
    this.on(id, (core) => core.persisted(last, this.now))
    return true
  }

  apply(id: ReplicaId): boolean {
    const replica = this.replica(id)
    const entries = replica.toApply.splice(0)
    for (const entry of entries) {
      if (entry.index <= replica.disk.appliedIndex) continue
      if (this.judged) this.invariants.applied(id, entry)
      replica.disk.apply(entry)
    }
    const last = entries.at(-1)
    if (last === undefined) return false
    this.on(id, (core) => core.applied(last.index, this.now))
    return true
  }

  fetch(id: ReplicaId): boolean {
    const replica = this.replica(id)
    const fetches = replica.fetches.splice(0)
    for (const fetch of fetches) {
      const entries = replica.disk.entries.filter((e) => e.index >= fetch.from && e.index <= fetch.to)
      if (entries[0]?.index === fetch.from) this.on(id, (core) => core.fetched(fetch, entries, this.now))
      else this.on(id, (core) => core.fetchFailed(fetch, 'compacted', this.now))
    }
    return fetches.length > 0
  }

  restore(id: ReplicaId): boolean {
    const replica = this.replica(id)
    const { offer } = replica
    if (offer === undefined) return false
    replica.offer = undefined
    const source = this.replica(offer.from)
    const { disk } = source
    const isNews = disk.appliedIndex > replica.disk.appliedIndex && disk.appliedIndex >= offer.position.index
    if (!source.up || !isNews) {
      this.on(id, (core) => core.snapshotFailed(this.now))
      return true
    }
    const position = { index: disk.appliedIndex, term: disk.appliedTerm }
    const configuration = disk.configuration
    assert.ok(configuration !== undefined)
    if (this.judged) this.invariants.snapshotInstalled(id, position)
    replica.disk.applied = disk.applied.slice()
    replica.disk.appliedIndex = position.index
    replica.disk.appliedTerm = position.term
    replica.disk.configuration = configuration
    replica.toApply = replica.toApply.filter((entry) => entry.index > position.index)
    this.on(id, (core) => core.snapshotRestored(position, configuration, this.now))
    return true
  }

  post(message: Message): void {
    if (this.judged) this.invariants.sent(message)
    this.log.push(message)
    this.network.push(message)
  }

  /** Delivers one message. */
  receive(message: Message): void {
    if (!this.deliver(message)) return
    // A host that waits for its group learns its replica id from the first message.
    if (this.awaits && !this.replicas.has(message.to)) this.startEmpty(message.to)
    if (this.replicas.get(message.to)?.up !== true) return
    this.on(message.to, (core) => core.step(message, this.now))
  }

  /** Lets everything happen that can happen without time passing. */
  settle(): void {
    for (let turn = 0; ; turn++) {
      assert.ok(turn < 10_000, 'the cluster does not come to rest')
      let busy = false
      for (const id of this.replicas.keys()) busy = this.drain(id) || busy
      const messages = this.network.splice(0)
      for (const message of messages) this.receive(message)
      if (!busy && messages.length === 0) return
    }
  }

  /** Lets time pass, deadline by deadline. */
  advance(ms: number): void {
    const end = this.now + ms
    this.settle()
    for (let turn = 0; ; turn++) {
      assert.ok(turn < 100_000, 'time does not pass')
      let next = Infinity
      for (const { core, up } of this.replicas.values()) if (up) next = Math.min(next, core.nextDeadlineMs)
      if (next > end) break
      this.now = Math.max(this.now, next)
      for (const [id, { up }] of this.replicas) if (up) this.on(id, (core) => core.advanceTo(this.now))
      this.settle()
    }
    this.now = end
    for (const [id, { up }] of this.replicas) if (up) this.on(id, (core) => core.advanceTo(end))
    this.settle()
  }

  /** Makes a replica campaign and lets the outcome settle. */
  elect(id: ReplicaId): void {
    // Beyond the time for which the others protect a leader.
    for (const { up, core } of this.replicas.values()) {
      if (up && core.role !== 'leader') this.now = Math.max(this.now, core.pledgedUntilMs)
    }
    for (const [other, { up }] of this.replicas) if (up) this.on(other, (core) => core.observeTime(this.now))
    for (const other of this.replicas.values()) {
      if (other.core.role !== 'leader') other.core.leaderHeardMs = -Infinity
    }
    this.on(id, (core) => core.campaign(this.now))
    this.settle()
    assert.equal(this.core(id).role, 'leader', `${id} was not elected`)
  }

  propose(id: ReplicaId, ...data: string[]): ProposalAccepted {
    const result = this.on(id, (core) =>
      core.propose(
        data.map((item) => ({ kind: entryKinds.command, data: utf8(item) })),
        this.now,
      ),
    )
    assert.ok(result.accepted, 'the proposal was refused')
    return result
  }

  change(
    id: ReplicaId,
    changes: MembershipChange | readonly MembershipChange[],
    options: MembershipOptions = {},
  ): ChangeAccepted | Refused {
    return this.on(id, (core) => core.changeMembership(changes, options, this.now))
  }

  read(id: ReplicaId, request: ReadRequest = {}): number {
    const context = ++this.#contexts
    if (this.judged) this.invariants.readAsked(id, context)
    const result = this.on(id, (core) => core.requestRead(context, this.now, request))
    assert.ok(result.accepted, 'the read was refused')
    return context
  }

  /** Only these replicas reach each other. */
  partition(...groups: readonly (readonly ReplicaId[])[]): void {
    this.deliver = (message) =>
      groups.some((group) => group.includes(message.from) && group.includes(message.to))
  }

  isolate(id: ReplicaId): void {
    this.deliver = (message) => message.from !== id && message.to !== id
  }

  heal(): void {
    this.deliver = () => true
  }

  /** The one leader with the highest term among replicas that are up. */
  leader(): RaftCore {
    const leaders = [...this.replicas.values()].filter(({ up, core }) => up && core.role === 'leader')
    leaders.sort((a, b) => b.core.term - a.core.term)
    const first = leaders[0]
    assert.ok(first !== undefined, `nobody leads:\n${this.describe()}`)
    return first.core
  }

  /** A line per replica, for failures. */
  describe(): string {
    return [...this.replicas]
      .map(([id, { up, core }]) => {
        const members = core.configuration?.replicas.map(
          (r) => `${r.replicaId}${r.role === 'voter' ? '' : r.role[0]}`,
        )
        const { log } = core
        return `${id}${up ? '' : ' down'}: ${core.role} of ${core.term}, vote ${core.votedFor}, leader ${core.leader}, log ${log.compacted.index}..${log.durableIndex}..${log.lastIndex}/${log.lastTerm}, commit ${core.commitIndex}, applied ${core.appliedIndex}, members ${members}${core.quarantined ? ', quarantined' : ''}`
      })
      .join('\n')
  }

  /** Commands that a replica applied, as text. */
  applied(id: ReplicaId): string[] {
    return this.replica(id)
      .disk.applied.filter((entry) => entry.kind === entryKinds.command)
      .map((entry) => text(entry.data))
  }

  /** The log of a replica as `index/term`, from what is in memory. */
  entries(id: ReplicaId): string[] {
    return this.core(id).log.entries.map((entry) => `${entry.index}/${entry.term}`)
  }

  /** What a replica sent to another since the last call with `clear`. */
  sent<K extends Message['kind']>(kind: K, to?: ReplicaId): Extract<Message, { kind: K }>[] {
    return this.log.filter(
      (message): message is Extract<Message, { kind: K }> =>
        message.kind === kind && (to === undefined || message.to === to),
    )
  }
}

export function descriptor(replicaId: ReplicaId, role: ReplicaRole = 'voter'): ReplicaDescriptor {
  return { replicaId, nodeId: `n${replicaId}`, incarnation: 1000 + replicaId, role }
}
