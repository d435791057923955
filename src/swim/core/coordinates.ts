import type { Random } from '../../core/random.ts'

/** Dimensions of the space. Serf uses 8 (Ledlie, Gardner, Seltzer, "Network Coordinates in the Wild", 2007). */
export const coordinateDimensions = 8

/**
 * A place in an abstract space in which distances are round trips. Times are milliseconds.
 */
export interface Coordinate {
  /** The place. */
  readonly vector: readonly number[]
  /** What every path to the node has in common: its access link. */
  readonly heightMs: number
  /** How wrong the place may be, relative to the distances: 1.5 for a newcomer, near 0 when it has settled. */
  readonly error: number
}

/** The round trip to be expected between two places. */
export function distanceMs(a: Coordinate, b: Coordinate): number {
  return apartMs(a, b) + a.heightMs + b.heightMs
}

/** How far apart two places are without what every path of either has in common, such as a slow process. */
export function apartMs(a: Coordinate, b: Coordinate): number {
  let sum = 0
  for (let i = 0; i < coordinateDimensions; i++) sum += ((a.vector[i] ?? 0) - (b.vector[i] ?? 0)) ** 2
  return Math.sqrt(sum)
}

const maximumError = 1.5
const errorShare = 0.25
const moveShare = 0.25
const minimumHeightMs = 0.01
/** A round trip above this says more about a stopped process than about a path. */
const maximumRoundTripMs = 10_000
/** Round trips of one member of which the median counts, so that one held-up packet moves nobody. */
export const roundTripSamples = 3

/** What counts of the last round trips to a member. */
export function medianOf(roundTripsMs: readonly number[]): number {
  return roundTripsMs.slice().sort((a, b) => a - b)[roundTripsMs.length >> 1] ?? Number.NaN
}

/**
 * Vivaldi (Dabek, Cox, Kaashoek, Morris, 2004, §3 and §5.4 for the height) with serf's median filter: each round trip pulls
 * this node's place a little towards where it would explain it.
 */
export class VivaldiPlace {
  #coordinate: Coordinate = {
    vector: Array.from({ length: coordinateDimensions }, () => 0),
    heightMs: minimumHeightMs,
    error: maximumError,
  }

  get coordinate(): Coordinate {
    return this.#coordinate
  }

  /** Takes in the median of the last round trips to a member and where that member says it is. */
  observe(theirs: Coordinate, roundTripMs: number, random: Random): void {
    if (!(roundTripMs >= 0 && roundTripMs <= maximumRoundTripMs)) return
    const rtt = Math.max(minimumHeightMs, roundTripMs)
    const ours = this.#coordinate
    const distance = distanceMs(ours, theirs)
    const wrongness = Math.abs(distance - rtt) / rtt
    const totalError = Math.max(ours.error + theirs.error, 1e-6)
    const weight = ours.error / totalError
    const error = Math.min(
      maximumError,
      errorShare * weight * wrongness + ours.error * (1 - errorShare * weight),
    )
    const force = moveShare * weight * (rtt - distance)
    const between = ours.vector.map((x, i) => x - (theirs.vector[i] ?? 0))
    let length = Math.hypot(...between)
    // Two at one place push each other off in any direction.
    if (length < 1e-9) {
      for (let i = 0; i < between.length; i++) between[i] = random.float() - 0.5
      length = Math.hypot(...between)
    }
    const vector = ours.vector.map((x, i) => x + (force * (between[i] as number)) / length)
    const heightMs = Math.max(
      minimumHeightMs,
      distance > 0
        ? ours.heightMs + (force * (ours.heightMs + theirs.heightMs)) / Math.max(distance, 1e-6)
        : ours.heightMs,
    )
    if (!vector.every(Number.isFinite) || !Number.isFinite(heightMs) || !Number.isFinite(error)) return
    this.#coordinate = { vector, heightMs, error }
  }

  clone(): VivaldiPlace {
    const copy = new VivaldiPlace()
    copy.#coordinate = this.#coordinate
    return copy
  }
}
