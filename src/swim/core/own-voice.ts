import { expulsionOf, isExpulsion, Probation, versionsInAdmission } from './expulsion.ts'
import type { LocalHealth } from './health.ts'
import type { MemberTable } from './member-table.ts'
import type { UpdateMessage } from './messages.ts'
import type { Entry, Statement, StatementFields } from './statement.ts'
import type { SwimTuning } from './tuning.ts'
import type { SwimCounters, SwimEventType, SwimMember } from './types.ts'

/** Each further expulsion holds a member out for twice as long, up to this power of two. */
const maximumHoldDoublings = 4

/**
 * What a node is to itself: a member, on its way out, held out for a time, out for good, or silent because its name belongs to
 * another process.
 */
export type OwnState = 'member' | 'leaving' | 'expelled' | 'removed' | 'silent'

/**
 * So often another process must speak above what we said above it: news of an earlier life of ours may come late and out of
 * order, but only the living go on.
 */
const overrulesOfTheLiving = 3

/** What a node's own statements need of its view. */
interface Stage {
  readonly table: MemberTable
  readonly tuning: SwimTuning
  readonly counters: SwimCounters
  readonly health: LocalHealth
  broadcast(update: UpdateMessage): void
  emit(type: SwimEventType, member: SwimMember): void
  admits(knownVersion: number, version: number): boolean
}

/**
 * What a node says about itself: it refutes accusations, speaks above what an earlier life of it said, says goodbye, and obeys
 * when others expel it. Nobody else raises its version within an admission.
 */
export class OwnVoice {
  readonly #stage: Stage
  #statement: Statement
  #state: OwnState = 'member'
  /**
   * Set when a peer has something to learn about this node: it brought an accusation, be it one that was refuted long ago,
   * or what a life before this one said.
   */
  answerDue = false
  /** Set when another living process speaks in our name. */
  contested: Statement | undefined
  /** While others hold this node out. */
  probation: Probation | undefined
  /** The highest version that others hold against this node while it is held out. */
  #heldVersion = 0
  /** Another process that spoke in our name, the version by which we overruled it, and how often it overruled us in turn. */
  #rival: { readonly name: string; readonly version: number; readonly overruled: number } | undefined

  constructor(statement: Statement, stage: Stage, from?: OwnVoice) {
    this.#stage = stage
    this.#statement = from?.statement ?? statement
    if (from === undefined) return
    this.#state = from.#state
    this.probation = from.probation?.clone()
    this.#heldVersion = from.#heldVersion
    this.#rival = from.#rival
  }

  get statement(): Statement {
    return this.#statement
  }

  get state(): OwnState {
    return this.#state
  }

  /** This node, as it stands in its own view. */
  get self(): SwimMember {
    return (this.#stage.table.at(0) as Entry).member
  }

  /** Whether this process itself said that, under whatever version. */
  isOwn({ incarnation, address }: Pick<Statement, 'incarnation' | 'address'>): boolean {
    return incarnation === this.#statement.incarnation && address === this.#statement.address
  }

  /** True when this node says no more about itself: it said goodbye, was removed, or has lost its name. */
  get leaving(): boolean {
    return this.#state === 'leaving' || this.#state === 'removed' || this.#state === 'silent'
  }

  /** True when this node says and hears nothing any more: it has lost its name, or an operator removed it. */
  get mute(): boolean {
    return this.#state === 'silent' || this.#state === 'removed'
  }

  /** Says something new about this node: a higher version beats everything that was said before. */
  restate(change: Partial<StatementFields>, above: number = this.#statement.version): void {
    const next = above + 1
    // The last version of an admission belongs to the others.
    this.#statement = this.#statement.with({ ...change, version: isExpulsion(next) ? next + 1 : next })
    const entry = this.#statement.entry('alive')
    this.#stage.table.set(entry, 0)
    this.#stage.broadcast({ kind: 'alive', statement: this.#statement })
  }

  /** Changes what this node will say when it speaks again; for one that is held out. */
  amend(change: Partial<StatementFields>): void {
    this.#statement = this.#statement.with(change)
  }

  /** Says goodbye. From now on nothing is refuted. */
  sayGoodbye(nowMs: number): void {
    this.#state = 'leaving'
    this.probation = undefined
    this.#stage.table.set(this.#statement.entry('left'), nowMs)
    const { nodeId, incarnation, version } = this.#statement
    this.#stage.broadcast({ kind: 'left', nodeId, incarnation, version })
  }

  /** The name belongs to another process: not a word more. */
  fallSilent(): void {
    this.#state = 'silent'
    this.probation = undefined
  }

  /** An operator removed this life before it was restarted: it stays out. */
  stayRemoved(nowMs: number): void {
    const { version } = this.#statement
    this.obeyExpulsion(isExpulsion(version) ? version : expulsionOf(version), 'left', nowMs)
  }

  /** @internal Somebody doubts us or holds us gone. */
  answerAccusation(version: number, claim: 'suspect' | 'dead' | 'left', nowMs: number): void {
    this.answerDue = true
    if (
      version < this.#statement.version ||
      this.leaving ||
      !this.#stage.admits(this.#statement.version, version)
    )
      return
    if (claim !== 'suspect' && isExpulsion(version)) this.obeyExpulsion(version, claim, nowMs)
    else if (this.#state === 'member') this.refute(version)
  }

  /**
   * @internal Others found that we cannot be reached reliably, or an operator removed us. To refute that would bring back
   * what it was to end.
   */
  obeyExpulsion(version: number, claim: 'dead' | 'left', nowMs: number): void {
    if (claim === 'left') {
      this.#state = 'removed'
      this.probation = undefined
      this.#stage.table.set(this.#statement.entry('left', version), nowMs)
      this.#stage.emit('removed', this.self)
      return
    }
    if (version <= this.#heldVersion) return
    this.#heldVersion = version
    this.#state = 'expelled'
    const doublings = Math.min(maximumHoldDoublings, Math.floor(version / versionsInAdmission))
    this.probation = new Probation(nowMs, nowMs + this.#stage.tuning.expelHoldMs * 2 ** doublings)
    this.#stage.emit('expelled', this.self)
  }

  /** Ends the time of an expelled node: it speaks up in a new admission. */
  comeBack(): void {
    this.probation = undefined
    this.#state = 'member'
    this.restate({}, this.#heldVersion)
    this.#stage.emit('joined', this.self)
  }

  /** @internal Speaks above an accusation. It costs a point of health, since a healthy node is rarely accused. */
  refute(version: number): void {
    this.#stage.health.add(1)
    this.#stage.counters.refutations++
    this.restate({}, version)
  }

  /**
   * @internal A statement in our name. After a restart it is our own from an earlier life, and we speak above it once;
   * one that then comes back higher is from another living process.
   */
  answerClaim(claim: Statement): void {
    if (this.#state !== 'member' || claim.version < this.#statement.version) return
    if (claim.version === this.#statement.version && claim.sameContent(this.#statement)) return
    if (!this.#stage.admits(this.#statement.version, claim.version) || isExpulsion(claim.version)) return
    const name = `${claim.incarnation} ${claim.address}`
    const mine = this.isOwn(claim)
    const again = !mine && this.#rival?.name === name && claim.version > this.#rival.version
    const overruled = again ? (this.#rival?.overruled ?? 0) + 1 : 0
    if (overruled >= overrulesOfTheLiving) this.contested = claim
    this.answerDue = true
    this.restate({}, claim.version)
    if (!mine) this.#rival = { name, version: this.#statement.version, overruled }
  }

  /** @internal Another process asks us, of all members, for a vote about our own name: it lives, and it knows of us. */
  answerContest(claim: Statement): void {
    if (this.#state === 'member' && !this.isOwn(claim)) this.contested = claim
  }
}
