import { checkOptions, integerOption, numberOption } from '../../core/options.ts'
import type { NodeId } from '../../model/ids.ts'
import type { PlacementNode, PlacementStore, StoreOverload } from './model/cluster.ts'
import type { NodePressure } from './throttle.ts'

/** From when on a store is overloaded, and until when. */
export interface OverloadTuning {
  /** Reported share of what its disk can do (`ioOverload`, 1 is all) from which on a store has too much to do. */
  readonly ioOverload: number
  /** Reported time that a write to its disk takes (`diskLatencyMs`) from which on it has. */
  readonly diskLatencyMs: number
  /** Below this part of both it has little enough to do. */
  readonly calmShare: number
  /** From this multiple of either on it is in distress. */
  readonly severeFactor: number
  /** Reports are evened out over about so long, so that a spike says nothing. */
  readonly smoothingMs: number
  /** A store that has too much to do for so long is overloaded: leases leave it. */
  readonly overloadedAfterMs: number
  /** One that has for so long is exhausted: replicas leave it, too. */
  readonly exhaustedAfterMs: number
  /** One that is in distress for so long is. */
  readonly severeAfterMs: number
  /** A store that was overloaded and has little enough to do for so long is as any other again. Each relapse doubles it. */
  readonly calmAfterMs: number
  /** The longest that becomes; who has no relapse for so long begins anew. */
  readonly maximumCalmAfterMs: number
}

/**
 * Used when nothing else is given. What a store is refused for lies below what it gives something away for, as in CockroachDB
 * (0.3 and 0.4 of its own measure); for how long it recovers is between PD's 10 minutes and CockroachDB's maximum over 5.
 */
export const defaultOverloadTuning: OverloadTuning = Object.freeze({
  ioOverload: 0.9,
  diskLatencyMs: 100,
  calmShare: 0.75,
  severeFactor: 2,
  smoothingMs: 10_000,
  overloadedAfterMs: 30_000,
  exhaustedAfterMs: 600_000,
  severeAfterMs: 120_000,
  calmAfterMs: 300_000,
  maximumCalmAfterMs: 3_600_000,
})

/** Checks when a store is overloaded. @throws KeelsonError `INVALID_OPTION` */
export function overloadTuning(tuning: Partial<OverloadTuning> = {}): OverloadTuning {
  const fallback = defaultOverloadTuning
  const time = (name: keyof OverloadTuning): ReturnType<typeof integerOption> =>
    integerOption({ min: 0, fallback: fallback[name] })
  return checkOptions<OverloadTuning>(
    'overload',
    tuning,
    {
      ioOverload: numberOption({ min: 0.001, max: 1000, fallback: fallback.ioOverload }),
      diskLatencyMs: numberOption({ min: 0.001, max: 1_000_000, fallback: fallback.diskLatencyMs }),
      calmShare: numberOption({ min: 0.01, max: 1, fallback: fallback.calmShare }),
      severeFactor: numberOption({ min: 1, max: 1000, fallback: fallback.severeFactor }),
      smoothingMs: time('smoothingMs'),
      overloadedAfterMs: time('overloadedAfterMs'),
      exhaustedAfterMs: time('exhaustedAfterMs'),
      severeAfterMs: time('severeAfterMs'),
      calmAfterMs: time('calmAfterMs'),
      maximumCalmAfterMs: time('maximumCalmAfterMs'),
    },
    (checked, refuse) => {
      const { overloadedAfterMs, exhaustedAfterMs, calmAfterMs, maximumCalmAfterMs } = checked
      if (exhaustedAfterMs < overloadedAfterMs)
        refuse(
          `exhaustedAfterMs (${exhaustedAfterMs}) must be at least overloadedAfterMs (${overloadedAfterMs})`,
        )
      if (maximumCalmAfterMs < calmAfterMs)
        refuse(`maximumCalmAfterMs (${maximumCalmAfterMs}) must be at least calmAfterMs (${calmAfterMs})`)
    },
  )
}

/** What is known of one store. */
interface StoreLoad {
  /** 1 is the threshold of what is too much. */
  pressure: number
  atMs: number
  /** Since when it has too much, is in distress, and has little enough to do; undefined where it has not or is not. */
  highSinceMs: number | undefined
  severeSinceMs: number | undefined
  lowSinceMs: number | undefined
  overloaded: boolean
  exhausted: boolean
  /** For how long it must have little enough to do. */
  calmAfterMs: number
  /** When it was overloaded last. */
  calmSinceMs: number | undefined
  level: StoreOverload | undefined
}

/** A report counts for so long at most, so that one after a long silence is not taken for what was all the while. */
const longestGapMs = 60_000
/** What the stores of this many nodes report is kept. */
const maximumNodes = 20_000

/**
 * Which stores are overloaded, by what nodes report of their disks. Pure: the time goes in. What is reported is evened out; a
 * store has to stay above a threshold for some time to be overloaded, and below a lower one for longer to be as any other again,
 * and for twice as long each time that it has a relapse. So neither a spike nor what the leases that left take with them makes
 * leases go to and fro.
 *
 * In memory of one leader: the next one knows it after `overloadedAfterMs`.
 */
export class OverloadMonitor {
  readonly #tuning: OverloadTuning
  readonly #nodes = new Map<NodeId, Map<string, StoreLoad>>()

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(tuning: Partial<OverloadTuning> = {}) {
    this.#tuning = overloadTuning(tuning)
  }

  /**
   * What a node reports of one of its stores, or with an empty store id of itself. What is not named is taken for no trouble.
   *
   * @returns whether the level of that store is another one now
   */
  observe(nodeId: NodeId, storeId: string, pressure: NodePressure, nowMs: number): boolean {
    const { ioOverload, diskLatencyMs } = this.#tuning
    const now = Math.max(
      amount(pressure.ioOverload) / ioOverload,
      amount(pressure.diskLatencyMs) / diskLatencyMs,
    )
    let stores = this.#nodes.get(nodeId)
    // Of most stores there is nothing to keep.
    if (stores?.has(storeId) !== true && now < this.#tuning.calmShare) return false
    if (stores === undefined) {
      if (this.#nodes.size >= maximumNodes) return false
      stores = new Map()
      this.#nodes.set(nodeId, stores)
    }
    let load = stores.get(storeId)
    if (load === undefined) {
      load = newStore(nowMs, this.#tuning.calmAfterMs)
      stores.set(storeId, load)
    }
    const before = load.level
    this.#take(load, now, nowMs)
    this.#judge(load, nowMs)
    if (now < this.#tuning.calmShare && this.#isForgotten(load, nowMs)) {
      stores.delete(storeId)
      if (stores.size === 0) this.#nodes.delete(nodeId)
    }
    return load.level !== before
  }

  /** Nothing is known any more of a node: it is dead, or gone. */
  forget(nodeId: NodeId): void {
    this.#nodes.delete(nodeId)
  }

  /** Keeps only what is known of these stores of a node. */
  keep(nodeId: NodeId, storeIds: ReadonlySet<string>): void {
    const stores = this.#nodes.get(nodeId)
    if (stores === undefined) return
    for (const storeId of stores.keys()) if (!storeIds.has(storeId)) stores.delete(storeId)
    if (stores.size === 0) this.#nodes.delete(nodeId)
  }

  /** How hard-pressed a store is; with an empty store id, the node as a whole. */
  level(nodeId: NodeId, storeId = ''): StoreOverload | undefined {
    return this.#nodes.get(nodeId)?.get(storeId)?.level
  }

  /** A node as placement sees it, with what is known of its stores. */
  over<N extends PlacementNode>(node: N): N {
    const known = this.#nodes.get(node.descriptor.nodeId)
    if (known === undefined) return node
    const overload = known.get('')?.level
    const stores = node.stores?.map((store): PlacementStore => {
      const level = known.get(store.storeId)?.level
      return level === undefined ? store : { ...store, overload: level }
    })
    return {
      ...node,
      ...(overload === undefined ? {} : { overload }),
      ...(stores === undefined ? {} : { stores }),
    }
  }

  /** An average whose weights fall off exponentially with age, whatever the intervals between reports. */
  #take(load: StoreLoad, now: number, nowMs: number): void {
    const { smoothingMs, calmShare, severeFactor } = this.#tuning
    const elapsedMs = Math.max(0, nowMs - load.atMs)
    const known = smoothingMs === 0 ? 0 : Math.exp(-Math.min(longestGapMs, elapsedMs) / smoothingMs)
    load.pressure = now + (load.pressure - now) * known
    // Nobody knows what was meanwhile.
    if (elapsedMs > longestGapMs) {
      load.highSinceMs = undefined
      load.severeSinceMs = undefined
      load.lowSinceMs = undefined
    }
    load.atMs = nowMs
    load.highSinceMs = load.pressure >= 1 ? (load.highSinceMs ?? nowMs) : undefined
    load.severeSinceMs = load.pressure >= severeFactor ? (load.severeSinceMs ?? nowMs) : undefined
    load.lowSinceMs = load.pressure < calmShare ? (load.lowSinceMs ?? nowMs) : undefined
  }

  #judge(load: StoreLoad, nowMs: number): void {
    const { overloadedAfterMs, exhaustedAfterMs, severeAfterMs } = this.#tuning
    const forMs = (sinceMs: number | undefined): number => (sinceMs === undefined ? -1 : nowMs - sinceMs)
    if (!load.overloaded && forMs(load.highSinceMs) >= overloadedAfterMs) this.#begin(load, nowMs)
    const severe = forMs(load.severeSinceMs) >= severeAfterMs
    if (load.overloaded && (severe || forMs(load.highSinceMs) >= exhaustedAfterMs)) load.exhausted = true
    if (load.overloaded && this.isCalm(load, nowMs)) {
      load.overloaded = false
      load.exhausted = false
      load.calmSinceMs = nowMs
    }
    load.level = this.#levelOf(load)
  }

  /** Whether a store that was overloaded has had little enough to do for long enough. @internal */
  isCalm({ lowSinceMs, calmAfterMs }: StoreLoad, nowMs: number): boolean {
    return lowSinceMs !== undefined && nowMs - lowSinceMs >= calmAfterMs
  }

  #begin(load: StoreLoad, nowMs: number): void {
    const { calmAfterMs, maximumCalmAfterMs } = this.#tuning
    const relapse = load.calmSinceMs !== undefined && nowMs - load.calmSinceMs < maximumCalmAfterMs
    load.overloaded = true
    load.calmAfterMs = relapse ? Math.min(maximumCalmAfterMs, load.calmAfterMs * 2) : calmAfterMs
  }

  #levelOf(load: StoreLoad): StoreOverload | undefined {
    if (!load.overloaded) return load.pressure >= this.#tuning.calmShare ? 'strained' : undefined
    if (load.pressure < 1) return 'recovering'
    return load.exhausted ? 'exhausted' : 'overloaded'
  }

  /** Whether nothing that is known of a store matters any more. */
  #isForgotten(load: StoreLoad, nowMs: number): boolean {
    if (load.level !== undefined) return false
    const { calmSinceMs } = load
    return calmSinceMs === undefined || nowMs - calmSinceMs >= this.#tuning.maximumCalmAfterMs
  }
}

function newStore(nowMs: number, calmAfterMs: number): StoreLoad {
  return {
    pressure: 0,
    // The first report counts as one of a regular interval.
    atMs: nowMs - 1000,
    highSinceMs: undefined,
    severeSinceMs: undefined,
    lowSinceMs: undefined,
    overloaded: false,
    exhausted: false,
    calmAfterMs,
    calmSinceMs: undefined,
    level: undefined,
  }
}

/** What a report says, if it says anything that makes sense. */
function amount(value: number | undefined): number {
  return value !== undefined && value > 0 ? Math.min(value, Number.MAX_SAFE_INTEGER) : 0
}
