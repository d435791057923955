import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { Events } from '../core/events.ts'
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
  /** Answers a query that was delivered. */
  readonly answer: (query: SwimDelivery & { readonly kind: 'query' }, payload: Uint8Array) => void
}

/** What the host hears of: changes one by one and together, what members tell, ask and answer. All in later turns. */
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
    const { env, logger } = parts
    this.events = new Events(logger, ['change', 'changes', 'told'])
    this.queries = new Queries(env)
    this.#deliveries = new Deliveries(env, logger)
  }

  /** Events that were dropped because listeners were too slow. */
  get dropped(): number {
    return this.#deliveries.dropped
  }

  /** Hands over what a core put out. */
  take(events: readonly SwimEvent[], deliveries: readonly SwimDelivery[]): void {
    for (const event of events) {
      this.#log(event)
      this.#deliveries.add(() => this.events.emit('change', event))
      this.#coalesce(event)
    }
    const { clock } = this.#parts.env
    for (const delivery of deliveries) {
      const endsAtMs = delivery.kind === 'query' ? clock.monotonicMs() + delivery.leftMs : undefined
      this.#deliveries.add(() => {
        // Slow listeners before it may have taken longer than its asker waits.
        if (endsAtMs === undefined || clock.monotonicMs() < endsAtMs) this.#deliver(delivery)
      })
    }
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

  #deliver(delivery: SwimDelivery): void {
    if (delivery.kind === 'answer') {
      this.queries.take(delivery.id, delivery.responder, delivery.payload)
      return
    }
    const { origin, name, payload } = delivery
    if (delivery.kind === 'event') {
      this.events.emit('told', { nodeId: origin, time: delivery.time, name, payload })
      return
    }
    try {
      const answer = this.#handlers.get(name)?.(payload, origin, delivery.time)
      if (answer !== undefined) this.#parts.answer(delivery, answer)
    } catch (error) {
      this.#parts.logger.error({ query: name, error }, 'the handler of a query threw')
    }
  }

  /** Gathers the changes of a short time. */
  #coalesce(event: SwimEvent): void {
    if (this.#coalesced.size === 0) {
      this.#coalescing = this.#parts.env.timers.schedule(this.#parts.coalesceMs, () => {
        const events = [...this.#coalesced.values()]
        this.#coalesced = new Map()
        this.#deliveries.add(() => this.events.emit('changes', events))
      })
    }
    const { nodeId } = event.member
    this.#coalesced.delete(nodeId)
    this.#coalesced.set(nodeId, event)
  }

  #log({ type, member, accusedBy, reason }: SwimEvent): void {
    const { nodeId, incarnation, version, address } = member
    const fields = { member: nodeId, incarnation, version, address, accusedBy, reason }
    const { logger } = this.#parts
    if (type === 'conflict') logger.error(fields, 'another living process uses the node id of this one')
    else logger.info(fields, `member ${type}`)
  }
}
