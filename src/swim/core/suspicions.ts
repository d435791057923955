import type { NodeId } from '../../model/ids.ts'
import { type Due, DueQueue } from './due-queue.ts'
import type { Accusation, Suspicion } from './suspicion.ts'

/** A suspicion and whom it is about. */
interface Suspect {
  readonly nodeId: NodeId
  readonly suspicion: Suspicion
  /** Its place among all that ever began in this view. */
  readonly order: number
}

/** Entries of the queue that may be void, besides as many as are not, before they are swept. */
const maximumVoid = 64

/**
 * All members under suspicion, with when the next of them is due: thousands at once when a partition begins, of which each changes
 * several times. What has changed is queued again; what is void in the queue is left out when it is met.
 */
export class Suspicions {
  readonly #byMember = new Map<NodeId, Suspect>()
  readonly #queue = new DueQueue<Suspect>()
  #begun = 0
  /** Undefined when it has to be found out. */
  #deadlineMs: number | undefined

  get(nodeId: NodeId): Suspicion | undefined {
    return this.#byMember.get(nodeId)?.suspicion
  }

  has(nodeId: NodeId): boolean {
    return this.#byMember.has(nodeId)
  }

  *[Symbol.iterator](): Generator<[nodeId: NodeId, suspicion: Suspicion]> {
    for (const { nodeId, suspicion } of this.#byMember.values()) yield [nodeId, suspicion]
  }

  begin(nodeId: NodeId, suspicion: Suspicion): void {
    const suspect = { nodeId, suspicion, order: this.#begun++ }
    this.#byMember.set(nodeId, suspect)
    this.#plan(suspect)
  }

  end(nodeId: NodeId): void {
    if (this.#byMember.delete(nodeId)) this.#deadlineMs = undefined
  }

  /** Adds an accuser to the suspicion of a member; true when that is news. */
  confirm(nodeId: NodeId, version: number, accusation: Accusation): boolean {
    const suspect = this.#byMember.get(nodeId)
    if (suspect === undefined) return false
    const { suspicion } = suspect
    suspicion.version = Math.max(suspicion.version, version)
    const news = suspicion.confirm(accusation)
    if (news) this.#plan(suspect)
    return news
  }

  /** When the next suspicion becomes a death, or calls for a last question. */
  get deadlineMs(): number {
    this.#deadlineMs ??= this.#findDeadlineMs()
    return this.#deadlineMs
  }

  /** Those whose time to refute is over, in the order in which they came under suspicion. */
  expired(nowMs: number): readonly (readonly [nodeId: NodeId, suspicion: Suspicion])[] {
    return this.#due(nowMs)
      .filter(({ suspicion }) => suspicion.deadlineMs <= nowMs && !isToBeCalled(suspicion))
      .map(({ nodeId, suspicion }) => [nodeId, suspicion])
  }

  /** Suspects who are to be asked a last time now. */
  lastCalls(nowMs: number): NodeId[] {
    const due = this.#due(nowMs).filter(({ suspicion }) => suspicion.lastCallAtMs <= nowMs)
    for (const suspect of due) {
      suspect.suspicion.called(nowMs)
      this.#plan(suspect)
    }
    return due.map(({ nodeId }) => nodeId)
  }

  /** Moves out the deadlines by time in which no refutation could be heard. */
  forgive(startedBeforeMs: number, ms: number): void {
    for (const { suspicion } of this.#byMember.values()) {
      if (suspicion.startedMs <= startedBeforeMs) suspicion.forgive(ms)
    }
    this.#planAll()
  }

  clone(): Suspicions {
    const copy = new Suspicions()
    for (const suspect of this.#byMember.values())
      copy.#byMember.set(suspect.nodeId, { ...suspect, suspicion: suspect.suspicion.clone() })
    copy.#begun = this.#begun
    copy.#planAll()
    return copy
  }

  #findDeadlineMs(): number {
    for (let first = this.#queue.first; first !== undefined; first = this.#queue.first) {
      if (this.#isValid(first)) return first.atMs
      this.#queue.pop()
    }
    return Number.POSITIVE_INFINITY
  }

  /** All that are due; they stay queued. */
  #due(nowMs: number): Suspect[] {
    const due = new Set<Suspect>()
    for (
      let first = this.#queue.first;
      first !== undefined && first.atMs <= nowMs;
      first = this.#queue.first
    ) {
      if (this.#isValid(first)) due.add(first.item)
      this.#queue.pop()
    }
    for (const suspect of due) this.#plan(suspect)
    return [...due].sort((a, b) => a.order - b.order)
  }

  #plan(suspect: Suspect): void {
    this.#deadlineMs = undefined
    if (this.#queue.size > 2 * this.#byMember.size + maximumVoid) this.#planAll()
    else this.#queue.push(dueMs(suspect.suspicion), suspect)
  }

  #planAll(): void {
    this.#deadlineMs = undefined
    this.#queue.clear()
    for (const suspect of this.#byMember.values()) this.#queue.push(dueMs(suspect.suspicion), suspect)
  }

  #isValid({ atMs, item }: Due<Suspect>): boolean {
    return this.#byMember.get(item.nodeId) === item && dueMs(item.suspicion) === atMs
  }
}

function isToBeCalled({ lastCallAtMs }: Suspicion): boolean {
  return lastCallAtMs !== Number.POSITIVE_INFINITY
}

function dueMs({ deadlineMs, lastCallAtMs }: Suspicion): number {
  return Math.min(deadlineMs, lastCallAtMs)
}
