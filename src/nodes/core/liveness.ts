import type { NodeLiveness } from '../../model/descriptors.ts'
import type { Incarnation, NodeId } from '../../model/ids.ts'

/** A node's liveness, and since when. */
export interface LivenessStatus {
  /** Whether it is alive, suspect or dead. */
  readonly liveness: NodeLiveness
  /** Epoch of the session that it holds, or 0 when it holds none. */
  readonly epoch: number
  /** Incarnation that holds the session; 0 without one. */
  readonly incarnation: Incarnation
  /** Monotonic time of the last change of `liveness`, as this process saw it. */
  readonly sinceMs: number
}

interface State {
  epoch: number
  incarnation: Incarnation
  suspected: boolean
  liveness: NodeLiveness
  sinceMs: number
}

/**
 * Who is alive. Authority is the session: without one a node is dead, whatever anybody heard. A hint of the gossip makes
 * a node suspect at most, and says nothing about one that is dead.
 *
 * Invariants: liveness is `dead` exactly when the epoch is 0; epochs of a node only grow.
 */
export class LivenessView {
  readonly #nodes = new Map<NodeId, State>()
  readonly #lastEpochs = new Map<NodeId, number>()

  /** A node that joined; dead until its session is seen. */
  add(nodeId: NodeId, nowMs: number): void {
    if (this.#nodes.has(nodeId)) return
    this.#nodes.set(nodeId, { epoch: 0, incarnation: 0, suspected: false, liveness: 'dead', sinceMs: nowMs })
  }

  /** Forgets a node. */
  remove(nodeId: NodeId): void {
    this.#nodes.delete(nodeId)
  }

  /** A session began. True when the liveness or the epoch changed. */
  sessionBegan(nodeId: NodeId, epoch: number, incarnation: Incarnation, nowMs: number): boolean {
    this.add(nodeId, nowMs)
    const state = this.#nodes.get(nodeId) as State
    if (epoch <= (this.#lastEpochs.get(nodeId) ?? 0)) return false
    this.#lastEpochs.set(nodeId, epoch)
    state.epoch = epoch
    state.incarnation = incarnation
    // What was suspected is the life before.
    state.suspected = false
    this.judge(state, nowMs)
    return true
  }

  /** The session ended. */
  sessionEnded(nodeId: NodeId, nowMs: number): boolean {
    const state = this.#nodes.get(nodeId)
    if (state === undefined || state.epoch === 0) return false
    state.epoch = 0
    state.incarnation = 0
    return this.judge(state, nowMs)
  }

  /** What the gossip says of an incarnation. */
  hint(nodeId: NodeId, incarnation: Incarnation, suspected: boolean, nowMs: number): boolean {
    const state = this.#nodes.get(nodeId)
    if (state === undefined || state.incarnation !== incarnation) return false
    state.suspected = suspected
    return this.judge(state, nowMs)
  }

  /** A node's liveness, or undefined for one that nobody has told of. */
  get(nodeId: NodeId): LivenessStatus | undefined {
    const state = this.#nodes.get(nodeId)
    if (state === undefined) return undefined
    const { liveness, epoch, incarnation, sinceMs } = state
    return { liveness, epoch, incarnation, sinceMs }
  }

  /** Ids of all nodes that are known, in no order. */
  nodeIds(): readonly NodeId[] {
    return [...this.#nodes.keys()]
  }

  /** @internal */
  judge(state: State, nowMs: number): boolean {
    const liveness = state.epoch === 0 ? 'dead' : state.suspected ? 'suspect' : 'live'
    if (liveness === state.liveness) return false
    state.liveness = liveness
    state.sinceMs = nowMs
    return true
  }
}
