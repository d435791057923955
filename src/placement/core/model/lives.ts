import type { Incarnation, NodeId } from '../../../model/ids.ts'

/** One life of the data of one store: where replicas are. Replicas name it by a small number. */
export interface Life {
  /** The node. */
  readonly nodeId: NodeId
  /** The store of that node; empty for a node that has one. */
  readonly storeId: string
  /** The life of the node's data. */
  readonly incarnation: Incarnation
}

/**
 * Numbers for lives, so that a replica costs four bytes for where it is, and a node that dies changes one entry and no
 * page. A number that nobody uses any more is given out again, for a life that is another object. @internal
 */
export class LifeTable {
  /** By number; those that are free are undefined. */
  readonly lives: (Life | undefined)[] = []
  readonly #uses: number[] = []
  readonly #byNode = new Map<NodeId, number[]>()
  readonly #free: number[] = []
  /** Grows whenever a number gets a life or loses it. */
  revision = 0

  /** The number of a life, with one use more. */
  take(nodeId: NodeId, storeId: string, incarnation: Incarnation): number {
    let known = this.#byNode.get(nodeId)
    if (known === undefined) {
      known = []
      this.#byNode.set(nodeId, known)
    }
    for (const number of known) {
      const life = this.lives[number] as Life
      if (life.incarnation !== incarnation || life.storeId !== storeId) continue
      this.#uses[number] = (this.#uses[number] as number) + 1
      return number
    }
    const number = this.#free.pop() ?? this.lives.length
    this.lives[number] = { nodeId, storeId, incarnation }
    this.#uses[number] = 1
    known.push(number)
    this.revision++
    return number
  }

  /** One use less. */
  release(number: number): void {
    const uses = (this.#uses[number] as number) - 1
    this.#uses[number] = uses
    if (uses > 0) return
    const { nodeId } = this.lives[number] as Life
    const known = (this.#byNode.get(nodeId) as number[]).filter((each) => each !== number)
    if (known.length === 0) this.#byNode.delete(nodeId)
    else this.#byNode.set(nodeId, known)
    this.lives[number] = undefined
    this.#free.push(number)
    this.revision++
  }
}
