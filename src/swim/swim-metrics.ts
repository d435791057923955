import type { Counter, Gauge, Metrics } from '../core/metrics.ts'
import type { SwimCore } from './core/swim-core.ts'
import type { SwimCounters } from './core/types.ts'

const counted: Readonly<Record<keyof SwimCounters, readonly [name: string, help: string]>> = {
  packetsSent: ['packets_sent_total', 'Datagrams sent'],
  bytesSent: ['sent_bytes_total', 'Bytes of datagrams sent'],
  packetsReceived: ['packets_received_total', 'Datagrams received'],
  malformed: ['malformed_total', 'Datagrams dropped because they do not decode'],
  foreign: ['foreign_total', 'Datagrams dropped because of their label'],
  unknownProtocol: ['unknown_protocol_total', 'Datagrams dropped because of their protocol version'],
  probes: ['probes_total', 'Probes begun'],
  failedProbes: ['failed_probes_total', 'Probes without an answer'],
  refutations: ['refutations_total', 'Accusations of this node that it refuted'],
  expulsions: ['expulsions_total', 'Members expelled because they could not be reached reliably'],
  membersVetoed: ['members_vetoed_total', 'Members that the host or their protocol did not let in'],
  requestsRefused: [
    'requests_refused_total',
    'Requests not answered: their budget was spent, or one packet held too many',
  ],
  membersRefused: ['members_refused_total', 'Members refused because there were too many'],
  metadataRefused: [
    'metadata_refused_total',
    'Long metadata that were not fetched because the cache for them is full',
  ],
  newsDropped: [
    'news_dropped_total',
    'Events and queries that were not passed on, kept or heard because too many came at once',
  ],
  stalls: ['stalls_total', 'Times that this process was stopped for longer than a probe may take'],
}

const updateEveryMs = 5_000

/** Copies a core's counts into the host's metrics. */
export class SwimMetrics {
  readonly #labels: { readonly node: string }
  readonly #counters: (readonly [keyof SwimCounters, Counter])[]
  readonly #seen: Record<string, number> = {}
  #nextMs = Number.NEGATIVE_INFINITY
  readonly #health: Gauge
  readonly #live: Gauge

  constructor(metrics: Metrics, nodeId: string) {
    // Frozen, so that they are rendered once and not each time.
    this.#labels = Object.freeze({ node: nodeId })
    this.#counters = (Object.keys(counted) as (keyof SwimCounters)[]).map((key) => {
      const [name, help] = counted[key]
      return [key, metrics.counter(`keelson_swim_${name}`, help)]
    })
    this.#health = metrics.gauge('keelson_swim_local_health', 'Local health score: 0 is healthy')
    this.#live = metrics.gauge('keelson_swim_members', 'Members alive or under suspicion, this node included')
  }

  /** Copies what has changed, at most once in a while: rendering labels costs more than handling a packet. */
  update(core: SwimCore, nowMs: number): void {
    if (nowMs < this.#nextMs) return
    this.#nextMs = nowMs + updateEveryMs
    for (const [key, counter] of this.#counters) {
      const value = core.counters[key]
      const grown = value - (this.#seen[key] ?? 0)
      if (grown === 0) continue
      this.#seen[key] = value
      counter.add(grown, this.#labels)
    }
    this.#set('health', this.#health, core.localHealth)
    this.#set('live', this.#live, core.membership.table.live)
  }

  #set(name: string, gauge: Gauge, value: number): void {
    if (this.#seen[name] === value) return
    this.#seen[name] = value
    gauge.set(value, this.#labels)
  }
}
