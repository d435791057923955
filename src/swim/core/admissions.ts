import type { Incarnation, NodeId } from '../../model/ids.ts'
import { expulsionOf, isExpulsion } from './expulsion.ts'
import { isRemoval, type Life, Lives, type RemovedLife } from './lives.ts'
import type { MemberTable } from './member-table.ts'
import type { LeftMessage, PacketSender } from './messages.ts'
import { Refusals } from './refusals.ts'
import { type Entry, rumour, type Statement } from './statement.ts'
import type { SwimTuning } from './tuning.ts'
import type { SwimCounters } from './types.ts'

/** A veto holds for so many times the interval at which strangers are tried. */
const vetoReconnects = 10

/** Says why a member must stay out; undefined for one that is welcome. */
export type Veto = (statement: Statement) => string | undefined

/** The view that it is about. */
interface View {
  readonly tuning: SwimTuning
  readonly counters: SwimCounters
  readonly table: MemberTable
  readonly nodeId: NodeId
  /** What this node says about itself. */
  readonly statement: Statement
  applyLeft(nodeId: NodeId, incarnation: Incarnation, version: number, nowMs: number): void
  /** Remembers the end of a life that was not in the view. */
  bury(entry: Entry, sinceMs: number): void
}

/**
 * Who may be in a view: which lives were let in once, which were removed for good, and whom the host keeps out. A life stays what it
 * is here when its member is forgotten in the view.
 */
export class Admissions {
  /** Lives that are in no view any more. */
  readonly lives: Lives
  /** Whom the host keeps out. */
  readonly refusals: Refusals
  /** Says why a member that is not known must stay out. */
  readonly veto: Veto
  readonly #view: View

  /** `from` makes it a copy, of the view that is given. */
  constructor(view: View, veto: Veto, from?: Admissions) {
    this.#view = view
    this.veto = veto
    this.lives = from?.lives.clone() ?? new Lives(view.tuning.maximumMembers)
    this.refusals = from?.refusals.clone() ?? new Refusals()
  }

  /** Whether this life of a node was let in before, as far as this node or whoever told it of others knows. */
  wasAdmitted({ nodeId, incarnation }: Life): boolean {
    const known = this.#view.table.get(nodeId)?.statement.incarnation ?? 0
    return known === 0 ? this.lives.wasAdmitted(nodeId, incarnation) : known === incarnation
  }

  /** @internal Whether this life of a node was removed: it stays out, whatever it says. */
  isRemoved({ nodeId, incarnation }: Life): boolean {
    const known = this.#view.table.get(nodeId)
    if (known !== undefined && known.statement.incarnation === incarnation && isRemoval(known.member))
      return true
    return this.lives.wasRemoved(nodeId, incarnation)
  }

  /** What a removed life has to hear, above everything that it said. */
  removalOf({ nodeId, incarnation, version }: PacketSender): LeftMessage {
    const known = this.#view.table.get(nodeId)
    const held = known?.statement.incarnation === incarnation ? known.member.version : 0
    const above = Math.max(held, version)
    return { kind: 'left', nodeId, incarnation, version: isExpulsion(above) ? above : expulsionOf(above) }
  }

  /** @internal A removed life speaks above its removal, to members who had not heard of that: they hear of it again. */
  upholdRemoval(said: PacketSender, nowMs: number): void {
    const known = this.#view.table.get(said.nodeId)
    if (known === undefined || known.statement.incarnation !== said.incarnation) return
    if (said.version > known.member.version)
      this.#view.applyLeft(said.nodeId, said.incarnation, this.removalOf(said).version, nowMs)
  }

  /** Every life that was let in: none of them needs to show a token again. */
  admittedLives(): Life[] {
    const lives = [...this.lives.admitted()]
    for (const { member, statement } of this.#view.table.entries()) {
      const { nodeId, incarnation } = statement
      if (nodeId !== this.#view.nodeId && incarnation !== 0 && !isRemoval(member))
        lives.push({ nodeId, incarnation })
    }
    return lives
  }

  /** Every life that was removed; of version 0 where its name lives on in another one. */
  removedLives(): RemovedLife[] {
    const lives = Array.from(this.lives.removed(), (life): RemovedLife => ({ ...life, version: 0 }))
    for (const { member, statement } of this.#view.table.entries()) {
      const { nodeId, incarnation } = statement
      if (nodeId !== this.#view.nodeId && isRemoval(member))
        lives.push({ nodeId, incarnation, version: member.version })
    }
    return lives
  }

  /** Takes over what a life of this node before this one knew of others. */
  restoreLives(admitted: readonly Life[], removed: readonly RemovedLife[], nowMs: number): void {
    for (const life of admitted) this.lives.noteAdmitted(life)
    for (const { nodeId, incarnation, version } of removed) {
      if (nodeId === this.#view.nodeId || !isExpulsion(version))
        this.lives.noteRemoved({ nodeId, incarnation })
      else if (this.#view.table.get(nodeId) === undefined)
        this.#view.bury(rumour(nodeId, version, incarnation).entry('left'), nowMs)
    }
  }

  /** @internal Whether a member that is not known may come in: it must speak our protocol, and the host has a say. */
  isWelcome(said: Statement, nowMs: number): boolean {
    const { minimum, maximum } = said.protocols
    const own = this.#view.statement.protocols
    const understood = minimum <= own.maximum && maximum >= own.minimum
    if (understood && this.refusals.get(said.nodeId, nowMs)?.statement.sameContent(said)) return false
    if (understood && this.#isHostContent(said, nowMs)) return true
    this.#view.counters.membersVetoed++
    return false
  }

  #isHostContent(said: Statement, nowMs: number): boolean {
    try {
      const reason = this.veto(said)
      if (reason === undefined) this.refusals.forget(said.nodeId)
      else this.refusals.add(said, reason, nowMs + this.#view.tuning.reconnectIntervalMs * vetoReconnects)
      return reason === undefined
    } catch {
      // Whom the host cannot judge stays out until it can; the others are no worse off for it.
      return false
    }
  }

  /** Whether what hosts tell in this name is not heard: it was removed, or the host keeps it out. */
  isShunned(nodeId: NodeId, nowMs: number): boolean {
    const known = this.#view.table.get(nodeId)?.member
    return known === undefined ? this.refusals.get(nodeId, nowMs) !== undefined : isRemoval(known)
  }
}
