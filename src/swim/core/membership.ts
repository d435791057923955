import { equalBytes } from '../../core/bytes.ts'
import type { NodeId } from '../../model/ids.ts'
import { BroadcastQueue } from './broadcasts.ts'
import type { AliveMessage, SyncRecord, UpdateMessage } from './codec.ts'
import { encodeMessage } from './codec.ts'
import { confirmationsWanted, suspicionMinimumMs } from './formulas.ts'
import { LocalHealth } from './health.ts'
import { isLive, type MemberRecord, MemberTable } from './member-table.ts'
import { Suspicion } from './suspicion.ts'
import type { SwimTuning } from './tuning.ts'
import type { SwimCounters, SwimEvent, SwimEventType, SwimMember } from './types.ts'

/** A version is believed only this far above the one that is known, or one forged number would silence a member. */
export const maximumVersionStep: number = 2 ** 32

/**
 * Up to so many members each asks a suspect itself, just before it would declare it dead. Gossip of a refutation misses a
 * member now and then, in small clusters most of all, and that one would declare a healthy member dead to everybody. In
 * large clusters updates are sent more often, and so many questions at once would be a flood.
 */
const lastCallMembers = 256

const noBytes = new Uint8Array(0)

/**
 * The rules by which a view changes: which statement beats which, what is news and travels on, when a suspicion becomes
 * a death. It knows no network and no timer but the deadlines of suspicions.
 *
 * Invariants: a member's version only grows; at one version its state only grows in the order alive, suspect, dead,
 * left; only a member itself raises its version.
 */
export class Membership {
  readonly tuning: SwimTuning
  readonly counters: SwimCounters
  readonly table: MemberTable
  readonly queue: BroadcastQueue
  readonly health: LocalHealth
  readonly suspicions: Map<NodeId, Suspicion>
  events: SwimEvent[] = []
  /**
   * Set when a peer has something to learn about this node: it brought an accusation, be it one that was refuted long ago,
   * or what a life before this one said.
   */
  answerDue = false
  #self: SwimMember
  /** Another process that spoke in our name, and the version by which we overruled it. */
  #rival: { readonly name: string; readonly version: number } | undefined

  constructor(
    self: SwimMember,
    nowMs: number,
    tuning: SwimTuning,
    counters: SwimCounters,
    from?: Membership,
  ) {
    this.tuning = tuning
    this.counters = counters
    this.#self = from?.self ?? self
    this.#rival = from === undefined ? undefined : from.#rival
    this.table = from?.table.clone() ?? new MemberTable(self, nowMs, tuning.tombstoneMs)
    this.queue = from?.queue.clone() ?? new BroadcastQueue()
    this.health = from?.health.clone() ?? new LocalHealth(tuning.healthMaximum)
    this.suspicions = new Map()
    for (const [nodeId, suspicion] of from?.suspicions ?? []) this.suspicions.set(nodeId, suspicion.clone())
    if (from === undefined) this.broadcast(aliveMessage(self))
  }

  get self(): SwimMember {
    return this.#self
  }

  /** Other members that are alive or under suspicion. */
  get peers(): number {
    return this.table.live - (this.leaving ? 0 : 1)
  }

  get leaving(): boolean {
    return this.#self.state === 'left'
  }

  /** A copy that shares nothing that changes. */
  clone(counters: SwimCounters): Membership {
    return new Membership(this.#self, 0, this.tuning, counters, this)
  }

  /** Takes in an update, whoever brought it. */
  apply(update: UpdateMessage, nowMs: number): void {
    switch (update.kind) {
      case 'alive':
        this.applyAlive(update, nowMs)
        break
      case 'suspect':
        this.applySuspect(update.nodeId, update.version, update.accuser, nowMs)
        break
      case 'dead':
        this.applyDead(update.nodeId, update.version, update.accuser, nowMs)
        break
      case 'left':
        this.applyLeft(update.nodeId, update.version, nowMs)
        break
    }
  }

  /**
   * Takes in a record of another node's view. A death that we did not hear of by gossip is only a suspicion: the other
   * side of a partition holds all of us dead.
   */
  merge(record: SyncRecord, from: NodeId, nowMs: number): void {
    const { nodeId, version } = record
    if (isLive(record)) {
      this.applyAlive({ kind: 'alive', ...statementOf(record) }, nowMs)
      if (record.state === 'suspect') this.applySuspect(nodeId, record.accusedVersion, from, nowMs)
      return
    }
    const known = this.table.get(nodeId)
    if (known === undefined) {
      if (record.ageMs < this.tuning.tombstoneMs && this.admits(0, version))
        this.#bury(record, nowMs - record.ageMs)
    } else if (record.state === 'left') this.applyLeft(nodeId, version, nowMs)
    else if (isLive(known.member)) this.applySuspect(nodeId, version, from, nowMs)
    else this.applyDead(nodeId, version, from, nowMs)
  }

  /** @internal */
  applyAlive(update: AliveMessage, nowMs: number): void {
    if (update.nodeId === this.#self.nodeId) {
      this.answerClaim(update)
      return
    }
    const record = this.table.get(update.nodeId)
    const before = record?.member
    if (!this.beats(update.version, before)) return
    if (before === undefined && !this.makeRoom()) return
    const suspicion = this.suspicions.get(update.nodeId)
    // An accusation of a later statement than this one stands.
    const stillSuspect = suspicion !== undefined && suspicion.version >= update.version
    if (!stillSuspect) this.suspicions.delete(update.nodeId)
    const member: SwimMember = { ...statementOf(update), state: stillSuspect ? 'suspect' : 'alive' }
    const after = this.table.set(member, nowMs)
    after.accusedBy = []
    this.broadcast(update)
    if (before === undefined || !isLive(before)) this.emit('joined', member)
    else {
      if (before.state === 'suspect' && !stillSuspect) this.emit('alive', member)
      if (!sameContent(before, member)) this.emit('updated', member)
    }
  }

  /** @internal */
  applySuspect(nodeId: NodeId, version: number, accuser: NodeId, nowMs: number): void {
    if (nodeId === this.#self.nodeId) {
      this.answerAccusation(version)
      return
    }
    const record = this.table.get(nodeId)
    if (record === undefined || !isLive(record.member) || !this.admits(record.member.version, version)) return
    if (version < record.member.version) return
    const suspicion = this.suspicions.get(nodeId)
    if (suspicion !== undefined) {
      suspicion.version = Math.max(suspicion.version, version)
      if (suspicion.confirm(accuser)) this.broadcast({ kind: 'suspect', nodeId, version, accuser })
      return
    }
    this.suspicions.set(nodeId, this.newSuspicion(version, accuser, nowMs))
    const member: SwimMember = { ...record.member, state: 'suspect' }
    this.table.set(member, nowMs)
    this.broadcast({ kind: 'suspect', nodeId, version, accuser })
    this.emit('suspected', member, [accuser])
  }

  /** @internal */
  applyDead(nodeId: NodeId, version: number, accuser: NodeId, nowMs: number): void {
    if (nodeId === this.#self.nodeId) {
      this.answerAccusation(version)
      return
    }
    const record = this.table.get(nodeId)
    if (record === undefined) {
      if (this.admits(0, version)) this.#bury(rumour(nodeId, version, 'dead'), nowMs)
      return
    }
    const before = record.member
    if (version < before.version || !this.admits(before.version, version)) return
    if (!isLive(before) && version === before.version) return
    const accusedBy = this.suspicions.get(nodeId)?.accusers ?? [accuser]
    this.suspicions.delete(nodeId)
    const member: SwimMember = { ...before, version, state: 'dead' }
    this.table.set(member, nowMs).accusedBy = accusedBy
    this.broadcast({ kind: 'dead', nodeId, version, accuser })
    if (isLive(before)) this.emit('failed', member, accusedBy)
  }

  /** @internal */
  applyLeft(nodeId: NodeId, version: number, nowMs: number): void {
    if (nodeId === this.#self.nodeId) {
      this.answerAccusation(version)
      return
    }
    const record = this.table.get(nodeId)
    if (record === undefined) {
      if (this.admits(0, version)) this.#bury(rumour(nodeId, version, 'left'), nowMs)
      return
    }
    const before = record.member
    if (version < before.version || !this.admits(before.version, version)) return
    if (before.state === 'left' && version === before.version) return
    this.suspicions.delete(nodeId)
    const member: SwimMember = { ...before, version, state: 'left' }
    this.table.set(member, nowMs).accusedBy = []
    this.broadcast({ kind: 'left', nodeId, version })
    if (before.state !== 'left') this.emit('left', member)
  }

  /** Declares those dead whose time to refute is over. */
  expireSuspicions(nowMs: number): void {
    for (const [nodeId, suspicion] of this.suspicions) {
      if (suspicion.deadlineMs > nowMs || suspicion.lastCallAtMs !== Number.POSITIVE_INFINITY) continue
      this.applyDead(nodeId, suspicion.version, this.#self.nodeId, nowMs)
    }
  }

  /** When the next suspicion becomes a death, or calls for a last question. */
  get suspicionDeadlineMs(): number {
    let earliest = Number.POSITIVE_INFINITY
    for (const suspicion of this.suspicions.values()) {
      earliest = Math.min(earliest, suspicion.deadlineMs, suspicion.lastCallAtMs)
    }
    return earliest
  }

  /** Suspects who are to be asked a last time now. */
  lastCalls(nowMs: number): SwimMember[] {
    const due: SwimMember[] = []
    for (const [nodeId, suspicion] of this.suspicions) {
      const record = this.table.get(nodeId)
      if (record === undefined || suspicion.lastCallAtMs > nowMs) continue
      suspicion.called(nowMs)
      due.push(record.member)
    }
    return due
  }

  /** Says something new about this node: a higher version beats everything that was said before. */
  restate(
    change: Partial<Pick<SwimMember, 'address' | 'metadata'>>,
    above: number = this.#self.version,
  ): void {
    this.#self = { ...this.#self, ...change, version: above + 1 }
    this.table.set(this.#self, 0)
    this.broadcast(aliveMessage(this.#self))
  }

  /** Says goodbye. From now on nothing is refuted. */
  sayGoodbye(nowMs: number): void {
    this.#self = { ...this.#self, state: 'left' }
    this.table.set(this.#self, nowMs)
    this.broadcast({ kind: 'left', nodeId: this.#self.nodeId, version: this.#self.version })
  }

  /** True when a peer that speaks of itself so does not know all that is said about it. */
  knowsBetter(about: MemberRecord, incarnation: number, version: number): boolean {
    const { member } = about
    if (member.version !== version) return member.version > version
    return member.state !== 'alive' || member.incarnation !== incarnation
  }

  /** What we hold of a member, as an update. */
  updateAbout(record: MemberRecord): UpdateMessage {
    const { member } = record
    const { nodeId, version } = member
    const suspicion = this.suspicions.get(nodeId)
    if (suspicion !== undefined) {
      const accuser = suspicion.accusers[0] ?? this.#self.nodeId
      return { kind: 'suspect', nodeId, version: suspicion.version, accuser }
    }
    if (member.state === 'left') return { kind: 'left', nodeId, version }
    if (member.state === 'dead') return { kind: 'dead', nodeId, version, accuser: this.#self.nodeId }
    return aliveMessage(member)
  }

  /** @internal Whether a statement of a member beats what is known of it. */
  beats(version: number, known: SwimMember | undefined): boolean {
    if (known === undefined) return this.admits(0, version)
    return version > known.version && this.admits(known.version, version)
  }

  /** @internal */
  admits(knownVersion: number, version: number): boolean {
    return version <= knownVersion + maximumVersionStep
  }

  /** @internal Somebody doubts us or holds us gone. */
  answerAccusation(version: number): void {
    this.answerDue = true
    if (version >= this.#self.version) this.refute(version)
  }

  /** @internal Speaks above an accusation. It costs a point of health, since a healthy node is rarely accused. */
  refute(version: number): void {
    if (this.leaving || !this.admits(this.#self.version, version)) return
    this.health.add(1)
    this.counters.refutations++
    this.restate({}, version)
  }

  /**
   * @internal A statement in our name. After a restart it is our own from an earlier life, and we speak above it once;
   * one that then comes back higher is from another living process.
   */
  answerClaim(claim: AliveMessage): void {
    if (this.leaving || claim.version < this.#self.version) return
    if (claim.version === this.#self.version && sameContent(claim, this.#self)) return
    if (!this.admits(this.#self.version, claim.version)) return
    const name = `${claim.incarnation} ${claim.address}`
    const mine = claim.incarnation === this.#self.incarnation && claim.address === this.#self.address
    if (!mine && this.#rival?.name === name && claim.version > this.#rival.version) {
      this.emit('conflict', { ...statementOf(claim), state: 'alive' })
    }
    this.answerDue = true
    this.restate({}, claim.version)
    if (!mine) this.#rival = { name, version: this.#self.version }
  }

  /** @internal */
  newSuspicion(version: number, accuser: NodeId, nowMs: number): Suspicion {
    const members = this.table.live
    const { suspicionMultiplier, suspicionMaximumMultiplier, probeIntervalMs, probeTimeoutMs } = this.tuning
    const minimumMs = suspicionMinimumMs(suspicionMultiplier, members, probeIntervalMs)
    return new Suspicion(version, accuser, nowMs, {
      minimumMs,
      maximumMs: minimumMs * suspicionMaximumMultiplier,
      wanted: confirmationsWanted(suspicionMultiplier, members),
      lastCallMs: members <= lastCallMembers ? Math.min(probeTimeoutMs, minimumMs / 2) : 0,
    })
  }

  /** @internal */
  broadcast(update: UpdateMessage): void {
    this.queue.put(update.nodeId, encodeMessage(update))
  }

  /** @internal */
  emit(type: SwimEventType, member: SwimMember, accusedBy: readonly NodeId[] = []): void {
    this.events.push({ type, member, accusedBy })
  }

  /** @internal */
  makeRoom(): boolean {
    if (this.table.size < this.tuning.maximumMembers || this.table.evict()) return true
    this.counters.membersRefused++
    return false
  }

  /** Remembers a death that came to us without the life before it, so that late news of that life is not believed. */
  #bury(record: SyncRecord, sinceMs: number): void {
    if (!this.makeRoom()) return
    this.table.set({ ...statementOf(record), state: record.state }, sinceMs)
  }
}

function rumour(nodeId: NodeId, version: number, state: 'dead' | 'left'): SyncRecord {
  return {
    nodeId,
    version,
    state,
    accusedVersion: version,
    incarnation: 0,
    address: '',
    metadata: noBytes,
    ageMs: 0,
  }
}

/** What a member says about itself, as an update. */
export function aliveMessage(member: SwimMember): AliveMessage {
  return { kind: 'alive', ...statementOf(member) }
}

function statementOf(from: Omit<SwimMember, 'state'>): Omit<SwimMember, 'state'> {
  const { nodeId, incarnation, version, address, metadata } = from
  return { nodeId, incarnation, version, address, metadata }
}

function sameContent(a: Omit<SwimMember, 'state'>, b: Omit<SwimMember, 'state'>): boolean {
  return a.incarnation === b.incarnation && a.address === b.address && equalBytes(a.metadata, b.metadata)
}
