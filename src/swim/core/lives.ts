import type { Incarnation, NodeId } from '../../model/ids.ts'
import { isExpulsion } from './expulsion.ts'
import type { Entry } from './statement.ts'
import type { SwimMember } from './types.ts'

/** A life of a node: what its data directory says. */
export interface Life {
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
}

/** A life that an operator ended, and the version that ended it. */
export interface RemovedLife extends Life {
  readonly version: number
}

/** True for a member that an operator removed: unlike other tombstones it is never forgotten to save time. */
export function isRemoval({ state, version }: Pick<SwimMember, 'state' | 'version'>): boolean {
  return state === 'left' && isExpulsion(version)
}

/**
 * Lives that stand in no view any more: those that were let in once, which need no token again, and those that were removed while
 * their name lives on in another life. Bounded: the one that was heard of the longest ago makes room.
 */
export class Lives {
  readonly #maximum: number
  readonly #admitted = new Map<NodeId, Incarnation>()
  readonly #removed = new Map<NodeId, readonly Incarnation[]>()
  #removedCount = 0

  /** Holds so many of each at most. */
  constructor(maximum: number) {
    this.#maximum = maximum
  }

  /** Those that were let in and are forgotten otherwise. */
  *admitted(): Generator<Life> {
    for (const [nodeId, incarnation] of this.#admitted) yield { nodeId, incarnation }
  }

  /** Those that were removed and whose name another life has. */
  *removed(): Generator<Life> {
    for (const [nodeId, lives] of this.#removed)
      for (const incarnation of lives) yield { nodeId, incarnation }
  }

  wasAdmitted(nodeId: NodeId, incarnation: Incarnation): boolean {
    return this.#admitted.get(nodeId) === incarnation
  }

  wasRemoved(nodeId: NodeId, incarnation: Incarnation): boolean {
    return this.#removed.size > 0 && this.#removed.get(nodeId)?.includes(incarnation) === true
  }

  /** Keeps of a member that leaves the view what must outlast it. */
  keep({ member, statement }: Entry): void {
    const { nodeId, incarnation } = statement
    if (incarnation === 0) return
    if (isRemoval(member)) this.noteRemoved({ nodeId, incarnation })
    else this.noteAdmitted({ nodeId, incarnation })
  }

  noteAdmitted({ nodeId, incarnation }: Life): void {
    this.#admitted.delete(nodeId)
    this.#admitted.set(nodeId, incarnation)
    if (this.#admitted.size > this.#maximum)
      this.#admitted.delete(this.#admitted.keys().next().value as NodeId)
  }

  noteRemoved({ nodeId, incarnation }: Life): void {
    if (this.wasRemoved(nodeId, incarnation)) return
    const lives = this.#removed.get(nodeId) ?? []
    this.#removed.delete(nodeId)
    this.#removed.set(nodeId, [...lives, incarnation])
    if (++this.#removedCount <= this.#maximum) return
    const [oldest, [, ...younger]] = this.#removed.entries().next().value as [NodeId, readonly Incarnation[]]
    if (younger.length === 0) this.#removed.delete(oldest)
    else this.#removed.set(oldest, younger)
    this.#removedCount--
  }

  clone(): Lives {
    const copy = new Lives(this.#maximum)
    for (const [nodeId, incarnation] of this.#admitted) copy.#admitted.set(nodeId, incarnation)
    for (const [nodeId, lives] of this.#removed) copy.#removed.set(nodeId, lives)
    copy.#removedCount = this.#removedCount
    return copy
  }
}
