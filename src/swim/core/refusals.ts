import type { NodeId } from '../../model/ids.ts'
import type { Statement } from './statement.ts'

/** A member that the host keeps out. */
export interface Refusal {
  /** What it said of itself when the host was asked about it. */
  readonly statement: Statement
  /** For people. */
  readonly reason: string
  readonly untilMs: number
}

/** Members that are remembered; the one that was refused the longest ago makes room. */
const maximumRefusals = 4_096

/**
 * Whom the host's veto keeps out, for some time: while it lasts nothing that they say is taken in, and the host is asked again only
 * when they say something else about themselves.
 */
export class Refusals {
  readonly #refused = new Map<NodeId, Refusal>()

  get(nodeId: NodeId, nowMs: number): Refusal | undefined {
    if (this.#refused.size === 0) return undefined
    const refusal = this.#refused.get(nodeId)
    if (refusal === undefined || nowMs < refusal.untilMs) return refusal
    this.#refused.delete(nodeId)
    return undefined
  }

  add(statement: Statement, reason: string, untilMs: number): void {
    this.#refused.delete(statement.nodeId)
    this.#refused.set(statement.nodeId, { statement, reason, untilMs })
    if (this.#refused.size > maximumRefusals)
      this.#refused.delete(this.#refused.keys().next().value as NodeId)
  }

  forget(nodeId: NodeId): void {
    this.#refused.delete(nodeId)
  }

  /** Whether somebody who is kept out lives at an address. */
  hasAddress(address: string, nowMs: number): boolean {
    for (const { statement, untilMs } of this.#refused.values())
      if (statement.address === address && nowMs < untilMs) return true
    return false
  }

  clone(): Refusals {
    const copy = new Refusals()
    for (const [nodeId, refusal] of this.#refused) copy.#refused.set(nodeId, refusal)
    return copy
  }
}
