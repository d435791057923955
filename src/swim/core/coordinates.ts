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

/** The last round trips and one more, the newest last. Arrays of just this length: there is one for each member. */
export function withRoundTrip(lastMs: readonly number[], roundTripMs: number): readonly number[] {
  const { length } = lastMs
  if (length === 0) return [roundTripMs]
  const last = lastMs[length - 1] as number
  return length === 1 ? [last, roundTripMs] : [lastMs[length - 2] as number, last, roundTripMs]
}

/** What counts of the last round trips to a member, at most three: their median, so that one held-up packet moves nobody. */
export function medianOf(lastMs: readonly number[]): number {
  const a = lastMs[0] ?? Number.NaN
  const b = lastMs[1]
  const c = lastMs[2]
  if (b === undefined) return a
  if (c === undefined) return Math.max(a, b)
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c))
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
    const vector = minus(ours.vector, theirs.vector)
    let length = lengthOf(vector)
    // Two at one place push each other off in any direction.
    if (length < 1e-9) {
      for (let i = 0; i < coordinateDimensions; i++) vector[i] = random.float() - 0.5
      length = lengthOf(vector)
    }
    let finite = true
    for (let i = 0; i < coordinateDimensions; i++) {
      const moved = (ours.vector[i] as number) + (force * (vector[i] as number)) / length
      vector[i] = moved
      finite &&= Number.isFinite(moved)
    }
    const heightMs = Math.max(
      minimumHeightMs,
      distance > 0
        ? ours.heightMs + (force * (ours.heightMs + theirs.heightMs)) / Math.max(distance, 1e-6)
        : ours.heightMs,
    )
    if (!finite || !Number.isFinite(heightMs) || !Number.isFinite(error)) return
    this.#coordinate = { vector, heightMs, error }
  }

  clone(): VivaldiPlace {
    const copy = new VivaldiPlace()
    copy.#coordinate = this.#coordinate
    return copy
  }
}

function minus(a: readonly number[], b: readonly number[]): number[] {
  const difference: number[] = []
  for (let i = 0; i < coordinateDimensions; i++) difference.push((a[i] ?? 0) - (b[i] ?? 0))
  return difference
}

function lengthOf(vector: readonly number[]): number {
  let sum = 0
  for (const each of vector) sum += each * each
  return Math.sqrt(sum)
}
