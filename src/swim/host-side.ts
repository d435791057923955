import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { Events, isolate } from '../core/events.ts'
import type { Logger } from '../core/logger.ts'
import type { NodeId } from '../model/ids.ts'
import type { SwimDelivery, SwimEvent } from './core/types.ts'
import { Deliveries } from './deliveries.ts'
import type { QueryHandler, SwimEvents } from './driver-types.ts'
import { Queries } from './queries.ts'

/** What the host side works with. */
export interface HostSideParts {
  readonly env: Environment
  readonly logger: Logger
  readonly coalesceMs: number
  readonly nodeId: NodeId
  /** Answers a query that was delivered. */
  readonly answer: (query: SwimDelivery & { readonly kind: 'query' }, payload: Uint8Array) => void
}

/** Whom the host has called, each with a queue of its own. */
const lanes = ['change', 'changes', 'told', 'query'] as const

/**
 * What the host hears of: changes one by one and together, what members tell, ask and answer. Its functions are called in later turns;
 * answers wait behind none of them.
 */
export class HostSide {
  readonly events: Events<SwimEvents>
  /** This node's own queries. */
  readonly queries: Queries
  readonly #parts: HostSideParts
  readonly #deliveries: Deliveries
  readonly #handlers = new Map<string, QueryHandler>()
  #coalesced = new Map<NodeId, SwimEvent>()
  #coalescing: TimerHandle | undefined

  constructor(parts: HostSideParts) {
    this.#parts = parts
    const { env, logger, nodeId } = parts
    this.events = new Events(logger, ['change', 'changes', 'told'])
    this.queries = new Queries(env)
    const dropped = env.metrics.counter(
      'keelson_swim_deliveries_dropped_total',
      'Events and queries that were dropped because what the host does with them is too slow, by kind',
    )
    const onDrop = (lane: string): void => dropped.add(1, { node: nodeId, lane })
    this.#deliveries = new Deliveries({ env, logger, lanes, onDrop })
  }

  /** Events that were dropped because listeners were too slow. */
  get dropped(): number {
    return this.#deliveries.dropped
  }

  /** Hands over what a core put out. */
  take(events: readonly SwimEvent[], deliveries: readonly SwimDelivery[]): void {
    for (const event of events) {
      this.#log(event)
      this.#deliveries.add('change', () => this.events.emit('change', event))
      this.#coalesce(event)
    }
    for (const delivery of deliveries) this.#take(delivery)
  }

  /** @throws KeelsonError `INVALID_ARGUMENT` for a name that has a handler already */
  handle(name: string, handler: QueryHandler): () => void {
    if (this.#handlers.has(name))
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `queries '${name}' have a handler already; take it away first`,
      )
    this.#handlers.set(name, handler)
    return () => {
      if (this.#handlers.get(name) === handler) this.#handlers.delete(name)
    }
  }

  close(): void {
    this.queries.close(
      new KeelsonError('CLOSED', 'SWIM was closed while a query was open', { outcome: 'unknown' }),
    )
    this.#coalescing?.cancel()
    this.#deliveries.close()
    this.events.removeAll()
  }

  #take(delivery: SwimDelivery): void {
    if (delivery.kind === 'answer') {
      // It only settles promises, whose host goes on later.
      this.queries.take(delivery.id, delivery.responder, delivery.payload)
      return
    }
    if (delivery.kind === 'event') {
      const { origin, time, name, payload } = delivery
      this.#deliveries.add('told', () => this.events.emit('told', { nodeId: origin, time, name, payload }))
      return
    }
    const { clock } = this.#parts.env
    const endsAtMs = clock.monotonicMs() + delivery.leftMs
    this.#deliveries.add('query', () => {
      // What was called before may have taken longer than its asker waits.
      if (clock.monotonicMs() < endsAtMs) this.#ask(delivery)
    })
  }

  #ask(query: SwimDelivery & { readonly kind: 'query' }): void {
    const { origin, name, payload, time } = query
    const { answer, logger } = this.#parts
    try {
      const given: unknown = this.#handlers.get(name)?.(payload, origin, time)
      const waits = isolate(given, (error) =>
        logger.error({ query: name, error }, 'the handler of a query was rejected'),
      )
      if (waits)
        logger.error({ query: name }, 'the handler of a query must not wait: it has to return its answer')
      else if (given !== undefined) answer(query, given as Uint8Array)
    } catch (error) {
      logger.error({ query: name, error }, 'the handler of a query threw')
    }
  }

  /** Gathers the changes of a short time. */
  #coalesce(event: SwimEvent): void {
    if (this.#coalesced.size === 0) {
      this.#coalescing = this.#parts.env.timers.schedule(this.#parts.coalesceMs, () => {
        const events = [...this.#coalesced.values()]
        this.#coalesced = new Map()
        this.#deliveries.add('changes', () => this.events.emit('changes', events))
      })
    }
    const { nodeId } = event.member
    this.#coalesced.delete(nodeId)
    this.#coalesced.set(nodeId, event)
  }

  #log({ type, member, accusedBy, reason }: SwimEvent): void {
    if (type === 'unanswered') {
      this.#parts.logger.warn({ reason }, 'no seed of SWIM has answered')
      return
    }
    const { nodeId, incarnation, version, address } = member
    const fields = { member: nodeId, incarnation, version, address, accusedBy, reason }
    const { logger } = this.#parts
    if (type === 'conflict') logger.error(fields, 'another living process uses the node id of this one')
    else logger.info(fields, `member ${type}`)
  }
}
