import { invariant } from '../../../core/invariant.ts'
import { finish, type Sliced } from '../../../core/sliced.ts'

/** Vertices that are visited before others may go on. */
const verticesTogether = 16

/** What goes through a network, and what that costs. */
export interface Flow {
  readonly amount: number
  readonly cost: number
}

/**
 * A network in which each arc takes an amount at most and costs nothing or one a unit. Amounts are real numbers.
 *
 * The flow that is cheapest is found by the primal-dual method: shortest distances first, then as much as goes along
 * arcs that lie on shortest paths (Dinic's blocking flows), until no path is left. As distances are small whole numbers,
 * there are few such phases.
 */
export class FlowNetwork {
  readonly #vertices: number
  readonly #heads: number[] = []
  readonly #room: number[] = []
  readonly #cost: number[] = []
  readonly #out: number[][]

  /** A network without arcs. */
  constructor(vertices: number) {
    this.#vertices = vertices
    this.#out = Array.from({ length: vertices }, () => [])
  }

  /** Adds an arc, and returns its number for {@link flowOn}. */
  arc(from: number, to: number, capacity: number, cost: 0 | 1): number {
    const number = this.#heads.length
    this.#heads.push(to, from)
    this.#room.push(capacity, 0)
    this.#cost.push(cost, -cost)
    this.#out[from]?.push(number)
    this.#out[to]?.push(number + 1)
    return number
  }

  /** What goes over an arc. */
  flowOn(arc: number): number {
    return this.#room[arc + 1] as number
  }

  /** Sends as much as can be sent, at the least cost. Call once. */
  send(source: number, sink: number): Flow {
    return finish(this.sending(source, sink))
  }

  /** The same in small steps. */
  *sending(source: number, sink: number): Sliced<Flow> {
    let scale = 0
    for (const room of this.#room) if (room > scale && room !== Number.POSITIVE_INFINITY) scale = room
    yield
    // Sums of amounts differ by rounding; what is below this is not a path but an echo of one.
    const least = scale * 1e-12
    let [amount, cost] = [0, 0]
    for (;;) {
      const distance = yield* this.#distances(source, least)
      const far = distance[sink] as number
      if (far === Number.POSITIVE_INFINITY) return { amount, cost }
      const sent = yield* this.#sendAlong(distance, source, sink, least)
      if (sent <= least) return { amount, cost }
      amount += sent
      cost += sent * far
    }
  }

  /** Cost of the cheapest way to every vertex (Bellman and Ford, with a queue: arcs back give costs back). */
  *#distances(source: number, least: number): Sliced<Float64Array> {
    const distance = new Float64Array(this.#vertices).fill(Number.POSITIVE_INFINITY)
    const waiting = new Uint8Array(this.#vertices)
    const queue = [source]
    distance[source] = 0
    for (let at = 0; at < queue.length; at++) {
      if (at % verticesTogether === 0) yield
      const vertex = queue[at] as number
      waiting[vertex] = 0
      for (const arc of this.#out[vertex] as number[]) {
        if ((this.#room[arc] as number) <= least) continue
        const head = this.#heads[arc] as number
        const through = (distance[vertex] as number) + (this.#cost[arc] as number)
        if (through >= (distance[head] as number)) continue
        invariant(through > -this.#vertices, 'a flow of least cost has no cycle that gives costs back')
        distance[head] = through
        if (waiting[head] === 1) continue
        waiting[head] = 1
        queue.push(head)
      }
    }
    return distance
  }

  /** Fills all paths of least cost. */
  *#sendAlong(distance: Float64Array, source: number, sink: number, least: number): Sliced<number> {
    let total = 0
    for (;;) {
      const level = yield* this.#levels(distance, source, least)
      if (level[sink] === -1) return total
      const next = new Int32Array(this.#vertices)
      for (;;) {
        yield
        const sent = this.#push(distance, level, next, source, sink, Number.POSITIVE_INFINITY, least)
        if (sent <= least) break
        total += sent
      }
    }
  }

  #onShortest(distance: Float64Array, vertex: number, arc: number): boolean {
    const head = this.#heads[arc] as number
    return (distance[vertex] as number) + (this.#cost[arc] as number) === distance[head]
  }

  *#levels(distance: Float64Array, source: number, least: number): Sliced<Int32Array> {
    const level = new Int32Array(this.#vertices).fill(-1)
    const queue = [source]
    level[source] = 0
    for (let at = 0; at < queue.length; at++) {
      if (at % verticesTogether === 0) yield
      const vertex = queue[at] as number
      for (const arc of this.#out[vertex] as number[]) {
        const head = this.#heads[arc] as number
        if (level[head] !== -1 || (this.#room[arc] as number) <= least) continue
        if (!this.#onShortest(distance, vertex, arc)) continue
        level[head] = (level[vertex] as number) + 1
        queue.push(head)
      }
    }
    return level
  }

  #push(
    distance: Float64Array,
    level: Int32Array,
    next: Int32Array,
    vertex: number,
    sink: number,
    limit: number,
    least: number,
  ): number {
    if (vertex === sink) return limit
    const arcs = this.#out[vertex] as number[]
    for (; (next[vertex] as number) < arcs.length; next[vertex] = (next[vertex] as number) + 1) {
      const arc = arcs[next[vertex] as number] as number
      const head = this.#heads[arc] as number
      const room = this.#room[arc] as number
      if (room <= least || level[head] !== (level[vertex] as number) + 1) continue
      if (!this.#onShortest(distance, vertex, arc)) continue
      const sent = this.#push(distance, level, next, head, sink, Math.min(limit, room), least)
      if (sent <= least) continue
      this.#room[arc] = room - sent
      this.#room[arc ^ 1] = (this.#room[arc ^ 1] as number) + sent
      return sent
    }
    return 0
  }
}
