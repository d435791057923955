import { between, chance, type SeededRandom } from '../../../src/core/random.ts'
import { suspicionMinimumMs } from '../../../src/swim/core/formulas.ts'
import { lanProfile, type SwimTuning } from '../../../src/swim/core/tuning.ts'

/** What a seed draws for its run. */
export interface Settings {
  readonly size: number
  readonly tuning: SwimTuning
  readonly streams: boolean
  /** Views of more members go as streams; 0 for none. */
  readonly streamedViewMembers: number
  /** Share of the nodes that run an older release, which knows no such streams. */
  readonly older: number
  readonly coordinates: boolean
  /** How far clocks run fast or slow. */
  readonly drift: number
  /** Between two faults. */
  readonly stepMs: number
}

export function drawSettings(random: SeededRandom): Settings {
  const probeIntervalMs = between(random, 300, 1_500)
  const whole = (low: number, high: number): number => low + random.integer(high - low + 1)
  const tuning: SwimTuning = {
    ...lanProfile,
    probeIntervalMs,
    probeTimeoutMs: probeIntervalMs * between(random, 0.2, 0.6),
    indirectProbes: whole(1, 4),
    retransmitMultiplier: whole(3, 6),
    suspicionMultiplier: whole(3, 6),
    suspicionMaximumMultiplier: whole(1, 8),
    healthMaximum: whole(1, 9),
    syncIntervalMs: between(random, 5_000, 15_000),
    gossipIntervalMs: between(random, 50, 300),
    gossipFanout: whole(2, 4),
    gossipToDeadMs: between(random, 1_000, 10_000),
    reconnectIntervalMs: between(random, 4_000, 12_000),
    expelRefutations: chance(random, 0.3) ? 0 : whole(3, 6),
    expelWindowMs: probeIntervalMs * between(random, 20, 60),
    expelHoldMs: probeIntervalMs * between(random, 5, 10),
    maximumPacketBytes: whole(1_150, 1_400),
  }
  return {
    // Mostly small ones, where each member matters; now and then one beyond the first steps of every formula.
    size: chance(random, 0.08) ? whole(40, 110) : whole(3, 26),
    tuning,
    streams: chance(random, 0.3),
    coordinates: chance(random, 0.7),
    drift: chance(random, 0.5) ? random.float() * 0.02 : 0,
    stepMs: between(random, 2_000, 10_000),
    streamedViewMembers: chance(random, 0.5) ? whole(1, 10) : 0,
    older: chance(random, 0.3) ? random.float() : 0,
  }
}

/** Shortest suspicion of a cluster. */
export function shortestSuspicionMs({ tuning, size }: Settings): number {
  return suspicionMinimumMs(tuning.suspicionMultiplier, size, tuning.probeIntervalMs)
}

/** How long after the last fault everything has come to rest. */
export function quietMs(settings: Settings): number {
  const { tuning } = settings
  // A probe of each, as slow as an unwell member probes; then the longest suspicion.
  const detectionMs =
    tuning.probeIntervalMs * tuning.healthMaximum * 3 +
    shortestSuspicionMs(settings) * tuning.suspicionMaximumMultiplier
  const exchangesMs = (tuning.syncIntervalMs * 6 + tuning.reconnectIntervalMs * 5) * 1.25
  // Expelled up to five times, and 40 pings to prove that all is well.
  const expulsionMs =
    tuning.expelRefutations === 0 ? 0 : tuning.expelHoldMs * 16 + tuning.probeIntervalMs * 80
  return detectionMs * 1.5 + exchangesMs + expulsionMs
}
