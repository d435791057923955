import type { Incarnation, NodeId } from '../../model/ids.ts'
import { Admissions, type Veto } from './admissions.ts'
import { BroadcastQueue } from './broadcasts.ts'
import { encodeMessage } from './codec.ts'
import { expulsionOf, FlapEvidence, isExpulsion, versionsInAdmission } from './expulsion.ts'
import { confirmationsWanted, suspicionMinimumMs } from './formulas.ts'
import { LocalHealth } from './health.ts'
import { isRemoval } from './lives.ts'
import { type Claim, isLive, MemberTable } from './member-table.ts'
import type { AliveMessage, SyncRecord, UpdateMessage } from './messages.ts'
import { OwnVoice } from './own-voice.ts'
import { type Entry, rumour, type Statement } from './statement.ts'
import { type Accusation, Suspicion } from './suspicion.ts'
import { Suspicions } from './suspicions.ts'
import type { SwimTuning } from './tuning.ts'
import type { SwimCounters, SwimEvent, SwimEventType, SwimMember } from './types.ts'

/**
 * A version is believed only this far above the one that is known, or one forged number would silence a member: it must be able to
 * speak above what is said of it. Whoever is not known yet may have been expelled so many times before.
 */
export const maximumVersionStep: number = versionsInAdmission * 4_096

/** What lies above is no number that anybody came to by itself, and leaves no room to speak above it. */
export const maximumVersion: number = 2 ** 52

/**
 * Up to so many members each asks a suspect itself, just before it would declare it dead. Gossip of a refutation misses a
 * member now and then, in small clusters most of all, and that one would declare a healthy member dead to everybody. In
 * large clusters updates are sent more often, and so many questions at once would be a flood.
 */
const lastCallMembers = 256

/** Probe intervals after which a new process under a known name counts as the one that has it. */
const settleIntervals = 30

/**
 * The rules by which a view changes: which statement beats which, what is news and travels on, when a suspicion becomes
 * a death. It knows no network and no timer but the deadlines of suspicions.
 *
 * Invariants: a member's version only grows; at one version its state only grows in the order alive, suspect, dead,
 * left; only a member itself raises its version, but for an expulsion, which puts it at the end of its admission.
 */
export class Membership {
  readonly tuning: SwimTuning
  readonly counters: SwimCounters
  readonly table: MemberTable
  readonly queue: BroadcastQueue
  readonly health: LocalHealth
  readonly suspicions: Suspicions
  readonly evidence: FlapEvidence
  /** Who may be in this view. */
  readonly admissions: Admissions
  events: SwimEvent[] = []
  /** What this node says about itself. */
  readonly voice: OwnVoice
  /** Who brings what is taken in now: the sender of a packet, or this node itself. */
  teller: NodeId
  /** Statements whose long metadata have to be fetched. */
  incomplete: Statement[] = []
  readonly #expelled: Set<NodeId>

  constructor(
    self: Statement,
    nowMs: number,
    tuning: SwimTuning,
    counters: SwimCounters,
    veto: Veto,
    from?: Membership,
  ) {
    this.tuning = tuning
    this.counters = counters
    this.teller = self.nodeId
    this.#expelled = new Set(from === undefined ? [] : from.#expelled)
    this.table = from?.table.clone() ?? new MemberTable(self.entry('alive'), nowMs, tuning.tombstoneMs)
    this.queue = from?.queue.clone() ?? new BroadcastQueue()
    this.health = from?.health.clone() ?? new LocalHealth(tuning.healthMaximum)
    this.evidence =
      from?.evidence.clone() ??
      new FlapEvidence({ refutations: tuning.expelRefutations, windowMs: tuning.expelWindowMs })
    this.suspicions = from?.suspicions.clone() ?? new Suspicions()
    this.admissions = new Admissions(this, veto, from?.admissions)
    this.voice = new OwnVoice(self, this, from?.voice)
    if (from === undefined) this.broadcast({ kind: 'alive', statement: self })
  }

  get statement(): Statement {
    return this.voice.statement
  }

  get nodeId(): NodeId {
    return this.voice.statement.nodeId
  }

  /** Other members that are alive or under suspicion. */
  get peers(): number {
    return this.table.live - (isLive(this.voice.self) ? 1 : 0)
  }

  /** A copy that shares nothing that changes. */
  clone(counters: SwimCounters): Membership {
    return new Membership(this.statement, 0, this.tuning, counters, this.admissions.veto, this)
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
        this.applyLeft(update.nodeId, update.incarnation, update.version, nowMs)
        break
    }
  }

  /**
   * Takes in a record of another node's view. A death that we did not hear of by gossip is only a suspicion: the other
   * side of a partition holds all of us dead.
   */
  merge(record: SyncRecord, from: NodeId, nowMs: number): void {
    const { statement, state, version } = record
    const { nodeId } = statement
    // Who only passes an accusation on is no witness of it.
    const accuser = record.accuser === '' ? from : record.accuser
    if (state === 'alive' || state === 'suspect') {
      this.applyAlive({ kind: 'alive', statement }, nowMs)
      if (state === 'suspect') this.applySuspect(nodeId, record.accusedVersion, accuser, nowMs)
      return
    }
    const known = this.table.get(nodeId)
    if (known === undefined) {
      const lasts = record.ageMs < this.tuning.tombstoneMs || isRemoval(record)
      if (nodeId !== this.nodeId && lasts && this.admits(0, version))
        this.bury(statement.entry(state, version), nowMs - record.ageMs)
    } else if (state === 'left') this.applyLeft(nodeId, statement.incarnation, version, nowMs)
    else if (isLive(known.member) && !isExpulsion(version)) this.applySuspect(nodeId, version, accuser, nowMs)
    else this.applyDead(nodeId, version, accuser, nowMs)
  }

  /** @internal */
  applyAlive(update: AliveMessage, nowMs: number): void {
    const said = update.statement
    const { nodeId, version } = said
    if (nodeId === this.nodeId) {
      this.voice.answerClaim(said)
      return
    }
    const known = this.table.get(nodeId)
    const before = known?.member
    if (this.admissions.isRemoved(said)) {
      this.admissions.upholdRemoval(said, nowMs)
      return
    }
    if (!this.beats(version, before)) return
    if (!this.#isKnownLife(known, said) && !this.admissions.isWelcome(said, nowMs)) return
    if (known === undefined && !this.makeRoom()) return
    const suspicion = this.suspicions.get(nodeId)
    // An accusation of a later statement than this one stands.
    const stillSuspect = suspicion !== undefined && suspicion.version >= version
    const statement = known === undefined ? said : keepMetadata(said, known.statement)
    const accusers = this.#accusersOf(nodeId, before, nowMs)
    if (suspicion !== undefined && !stillSuspect) this.suspicions.end(nodeId)
    if (before !== undefined && !isLive(before)) {
      this.#expelled.delete(nodeId)
      this.table.note(nodeId, { accusations: [] })
    }
    const entry = statement.entry(stillSuspect ? 'suspect' : 'alive')
    if (known !== undefined) this.#noteClaim(known, said, nowMs)
    if (known !== undefined && isRemoval(known.member)) this.admissions.lives.keep(known)
    this.table.set(entry, nowMs)
    this.broadcast(update)
    if (!statement.complete) this.incomplete.push(statement)
    if (before === undefined || !isLive(before)) this.emit('joined', entry.member)
    else {
      if (before.state === 'suspect' && !stillSuspect) this.emit('alive', entry.member)
      if (known !== undefined && !known.statement.sameContent(said)) this.emit('updated', entry.member)
    }
    if (!stillSuspect && accusers.length > 0)
      this.weighEvidence(said, accusers, before?.state === 'dead', nowMs)
  }

  /** @internal */
  applySuspect(nodeId: NodeId, version: number, accuser: NodeId, nowMs: number): void {
    if (nodeId === this.nodeId) {
      this.voice.answerAccusation(version, 'suspect', nowMs)
      return
    }
    const known = this.table.get(nodeId)
    if (known === undefined || !isLive(known.member) || !this.admits(known.member.version, version)) return
    if (version < known.member.version) return
    const suspicion = this.suspicions.get(nodeId)
    if (suspicion !== undefined) {
      if (this.suspicions.confirm(nodeId, version, this.#accusation(accuser, nowMs)))
        this.broadcast({ kind: 'suspect', nodeId, version, accuser })
      return
    }
    this.suspicions.begin(nodeId, this.newSuspicion(version, accuser, nowMs))
    const entry = known.statement.entry('suspect', known.member.version)
    this.table.set(entry, nowMs)
    this.broadcast({ kind: 'suspect', nodeId, version, accuser })
    this.emit('suspected', entry.member, [accuser])
  }

  /** @internal */
  applyDead(nodeId: NodeId, version: number, accuser: NodeId, nowMs: number): void {
    if (nodeId === this.nodeId) {
      this.voice.answerAccusation(version, 'dead', nowMs)
      return
    }
    const known = this.table.get(nodeId)
    if (known === undefined) {
      if (this.admits(0, version)) this.bury(rumour(nodeId, version).entry('dead'), nowMs)
      return
    }
    const before = known.member
    if (version < before.version || !this.admits(before.version, version)) return
    if (!isLive(before) && version === before.version) return
    const accusations = this.suspicions.get(nodeId)?.accusations ?? [this.#accusation(accuser, nowMs)]
    this.suspicions.end(nodeId)
    if (isExpulsion(version)) {
      this.#expelled.add(nodeId)
      this.evidence.forget(nodeId)
    }
    const entry = known.statement.entry('dead', version)
    this.table.set(entry, nowMs)
    this.table.note(nodeId, { accusations })
    this.broadcast({ kind: 'dead', nodeId, version, accuser })
    if (isLive(before))
      this.emit(
        'failed',
        entry.member,
        accusations.map((each) => each.accuser),
      )
  }

  /** @internal */
  applyLeft(nodeId: NodeId, incarnation: Incarnation, version: number, nowMs: number): void {
    if (nodeId === this.nodeId) {
      // A life before this one may have been removed; that says nothing about us.
      this.voice.answerAccusation(
        version,
        incarnation === this.statement.incarnation ? 'left' : 'suspect',
        nowMs,
      )
      return
    }
    const known = this.table.get(nodeId)
    if (known === undefined) {
      if (this.admits(0, version)) this.bury(rumour(nodeId, version, incarnation).entry('left'), nowMs)
      return
    }
    const before = known.member
    if (version < before.version || !this.admits(before.version, version)) return
    if (before.state === 'left' && version === before.version) return
    this.suspicions.end(nodeId)
    // It ends the life that it names, though we may know another one of that name.
    const named = incarnation === 0 ? known.statement.incarnation : incarnation
    const ended =
      named === known.statement.incarnation ? known.statement : known.statement.with({ incarnation: named })
    const entry = ended.entry('left', version)
    this.table.set(entry, nowMs)
    this.#expelled.delete(nodeId)
    if (this.table.notes(nodeId) !== undefined) this.table.note(nodeId, { accusations: [] })
    this.broadcast({ kind: 'left', nodeId, incarnation: named, version })
    if (before.state !== 'left') this.emit('left', entry.member)
  }

  /** Declares those dead whose time to refute is over. */
  expireSuspicions(nowMs: number): void {
    if (this.suspicions.deadlineMs > nowMs) return
    for (const [nodeId, suspicion] of this.suspicions.expired(nowMs))
      this.applyDead(nodeId, suspicion.version, this.nodeId, nowMs)
  }

  /** Suspects who are to be asked a last time now. */
  lastCalls(nowMs: number): SwimMember[] {
    return this.suspicions.lastCalls(nowMs).flatMap((nodeId) => this.table.get(nodeId)?.member ?? [])
  }

  /** Removes a member for good; false if it is not known, or gone already. Only another life of it can come back. */
  remove(nodeId: NodeId, nowMs: number): boolean {
    const known = this.table.get(nodeId)
    if (known === undefined || nodeId === this.nodeId) return false
    const { state, version } = known.member
    if (state === 'left' && isExpulsion(version)) return false
    const end = isExpulsion(version) ? version : expulsionOf(version)
    this.applyLeft(nodeId, known.statement.incarnation, end, nowMs)
    return true
  }

  /** Forgets tombstones that are due. */
  expireTombstones(nowMs: number): void {
    if (this.table.nextExpiryMs > nowMs) return
    for (const forgotten of this.table.expire(nowMs)) this.admissions.lives.keep(forgotten)
  }

  /** True when a peer that speaks of itself so does not know all that is said about it. */
  knowsBetter(about: Entry, incarnation: number, version: number): boolean {
    const { member } = about
    if (member.version !== version) return member.version > version
    return member.state !== 'alive' || member.incarnation !== incarnation
  }

  /** What we hold of a member, as an update. */
  updateAbout({ member, statement }: Entry): UpdateMessage {
    const { nodeId, version } = member
    const suspicion = this.suspicions.get(nodeId)
    if (suspicion !== undefined) {
      const accuser = suspicion.accusations[0]?.accuser ?? this.nodeId
      return { kind: 'suspect', nodeId, version: suspicion.version, accuser }
    }
    if (member.state === 'left') return { kind: 'left', nodeId, incarnation: statement.incarnation, version }
    if (member.state === 'dead') return { kind: 'dead', nodeId, version, accuser: this.nodeId }
    return { kind: 'alive', statement }
  }

  /** @internal Whether a statement of a member beats what is known of it. */
  beats(version: number, known: SwimMember | undefined): boolean {
    if (isExpulsion(version)) return false
    if (known === undefined) return this.admits(0, version)
    return version > known.version && this.admits(known.version, version)
  }

  /** @internal */
  admits(knownVersion: number, version: number): boolean {
    return version <= Math.min(knownVersion + maximumVersionStep, maximumVersion)
  }

  /** @internal A member refuted an accusation. Whoever does so again and again is expelled. */
  weighEvidence(said: Statement, accusers: readonly NodeId[], wasDead: boolean, nowMs: number): void {
    const { nodeId, version } = said
    this.evidence.refuted(nodeId, accusers, wasDead, nowMs)
    // Who is unwell itself judges nobody.
    if (this.health.score > 1 || this.voice.state !== 'member') return
    if (!this.evidence.convicts(nodeId, this.table.live, this.#heldOut(), nowMs)) return
    this.counters.expulsions++
    this.applyDead(nodeId, expulsionOf(version), this.nodeId, nowMs)
  }

  /** @internal */
  newSuspicion(version: number, accuser: NodeId, nowMs: number): Suspicion {
    const members = this.table.live
    const { suspicionMultiplier, suspicionMaximumMultiplier, probeIntervalMs, probeTimeoutMs } = this.tuning
    const minimumMs = suspicionMinimumMs(suspicionMultiplier, members, probeIntervalMs)
    return new Suspicion(version, this.#accusation(accuser, nowMs), {
      minimumMs,
      maximumMs: minimumMs * suspicionMaximumMultiplier,
      wanted: confirmationsWanted(suspicionMultiplier, members, suspicionMaximumMultiplier),
      lastCallMs: members <= lastCallMembers ? Math.min(probeTimeoutMs, minimumMs / 2) : 0,
    })
  }

  /** @internal */
  broadcast(update: UpdateMessage): void {
    const nodeId = update.kind === 'alive' ? update.statement.nodeId : update.nodeId
    this.queue.put(nodeId, update, encodeMessage(update))
  }

  /** @internal */
  emit(type: SwimEventType, member: SwimMember, accusedBy: readonly NodeId[] = [], reason?: string): void {
    this.events.push(reason === undefined ? { type, member, accusedBy } : { type, member, accusedBy, reason })
  }

  /** Whoever comes back or lives anew is judged again: perhaps only its death was heard of before. */
  #isKnownLife(known: Entry | undefined, said: Statement): boolean {
    return known !== undefined && isLive(known.member) && known.statement.incarnation === said.incarnation
  }

  /** The process that we knew first by a name, if it changed of late; otherwise the one that we know. */
  settledClaim(nodeId: NodeId, nowMs: number): Claim | undefined {
    const known = this.table.get(nodeId)
    const claim = this.table.notes(nodeId)?.claim
    if (claim !== undefined && nowMs - claim.sinceMs < this.#settleMs) return claim.before
    if (known === undefined || known.statement.address === '') return undefined
    return { incarnation: known.statement.incarnation, address: known.statement.address }
  }

  /** A name that passes to and fro between two processes belongs to the one that had it before. */
  #noteClaim({ member, statement }: Entry, said: Statement, nowMs: number): void {
    const { incarnation, address } = statement
    if (!isLive(member) || (incarnation === said.incarnation && address === said.address)) return
    const before = this.settledClaim(said.nodeId, nowMs) ?? { incarnation, address }
    this.table.note(said.nodeId, { claim: { sinceMs: nowMs, before } })
  }

  get #settleMs(): number {
    return this.tuning.probeIntervalMs * settleIntervals
  }

  /** @internal */
  makeRoom(): boolean {
    if (this.table.size < this.tuning.maximumMembers) return true
    const evicted = this.table.evict()
    if (evicted === undefined) this.counters.membersRefused++
    else this.admissions.lives.keep(evicted)
    return evicted !== undefined
  }

  /** Who accused a member of whom a new statement came. */
  #accusersOf(nodeId: NodeId, before: SwimMember | undefined, nowMs: number): readonly NodeId[] {
    if (before?.state === 'suspect') return this.suspicions.get(nodeId)?.accusers ?? []
    // A death that lies long back was one, or a partition.
    if (before?.state !== 'dead' || isExpulsion(before.version)) return []
    if (nowMs - this.table.sinceMs(nodeId) > this.tuning.expelWindowMs / 2) return []
    return this.table.notes(nodeId)?.accusations.map(({ accuser }) => accuser) ?? []
  }

  /** Members that are held out. Those that were forgotten meanwhile are, and would speak for a bad network for ever. */
  #heldOut(): number {
    for (const nodeId of this.#expelled)
      if (this.table.get(nodeId) === undefined) this.#expelled.delete(nodeId)
    return this.#expelled.size
  }

  #accusation(accuser: NodeId, nowMs: number): Accusation {
    return { accuser, toldBy: this.teller, atMs: nowMs }
  }

  /** @internal Remembers a death that came to us without the life before it, so that late news of that life is not believed. */
  bury(entry: Entry, sinceMs: number): void {
    if (this.makeRoom()) this.table.set(entry, sinceMs)
  }
}

/** A newer statement with the long metadata that have arrived for an older one, if they are the same. */
function keepMetadata(newer: Statement, older: Statement): Statement {
  if (newer.complete || !older.complete || !newer.sameMetadata(older)) return newer
  return newer.with({ metadata: older.metadata })
}
