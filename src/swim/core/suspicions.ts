import type { NodeId } from '../../model/ids.ts'
import type { Accusation, Suspicion } from './suspicion.ts'

/** All members under suspicion, with when the next of them is due. */
export class Suspicions {
  readonly #byMember = new Map<NodeId, Suspicion>()
  /** Undefined when it has to be found out. */
  #deadlineMs: number | undefined

  get(nodeId: NodeId): Suspicion | undefined {
    return this.#byMember.get(nodeId)
  }

  has(nodeId: NodeId): boolean {
    return this.#byMember.has(nodeId)
  }

  [Symbol.iterator](): IterableIterator<[nodeId: NodeId, suspicion: Suspicion]> {
    return this.#byMember.entries()
  }

  begin(nodeId: NodeId, suspicion: Suspicion): void {
    this.#byMember.set(nodeId, suspicion)
    this.#deadlineMs = undefined
  }

  end(nodeId: NodeId): void {
    if (this.#byMember.delete(nodeId)) this.#deadlineMs = undefined
  }

  /** Adds an accuser to a suspicion; true when that is news. */
  confirm(suspicion: Suspicion, version: number, accusation: Accusation): boolean {
    suspicion.version = Math.max(suspicion.version, version)
    const news = suspicion.confirm(accusation)
    if (news) this.#deadlineMs = undefined
    return news
  }

  /** When the next suspicion becomes a death, or calls for a last question. */
  get deadlineMs(): number {
    if (this.#deadlineMs === undefined) {
      let earliest = Number.POSITIVE_INFINITY
      for (const suspicion of this.#byMember.values()) {
        earliest = Math.min(earliest, suspicion.deadlineMs, suspicion.lastCallAtMs)
      }
      this.#deadlineMs = earliest
    }
    return this.#deadlineMs
  }

  /** Suspects who are to be asked a last time now. */
  lastCalls(nowMs: number): NodeId[] {
    const due: NodeId[] = []
    if (this.deadlineMs > nowMs) return due
    for (const [nodeId, suspicion] of this.#byMember) {
      if (suspicion.lastCallAtMs > nowMs) continue
      suspicion.called(nowMs)
      due.push(nodeId)
    }
    this.#deadlineMs = undefined
    return due
  }

  /** Moves out the deadlines by time in which no refutation could be heard. */
  forgive(startedBeforeMs: number, ms: number): void {
    for (const suspicion of this.#byMember.values()) {
      if (suspicion.startedMs <= startedBeforeMs) suspicion.forgive(ms)
    }
    this.#deadlineMs = undefined
  }

  clone(): Suspicions {
    const copy = new Suspicions()
    for (const [nodeId, suspicion] of this.#byMember) copy.#byMember.set(nodeId, suspicion.clone())
    return copy
  }
}
