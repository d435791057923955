import { checkBytes } from '../../core/arguments.ts'
import { compareBytes } from '../../core/bytes.ts'
import { checkOptions, integerOption, numberOption, objectOption } from '../../core/options.ts'
import type { Random } from '../../core/random.ts'
import type { SplitKeys } from '../../interfaces/range-host.ts'

/** Tuning of a {@link LoadSampler}. */
export interface LoadSamplerTuning {
  /** How long requests are counted before a key is chosen from them, and for how long that choice stands. */
  readonly windowMs: number
  /** Keys that are looked at as places for a split. */
  readonly samples: number
  /** Fewer requests in a window say nothing about where to split. */
  readonly minimumRequests: number
  /** Most that the two sides of a key may differ by, as a share of the requests. */
  readonly maximumImbalance: number
  /** Most requests that may go over both sides of a key, as a share of them. */
  readonly maximumSpanning: number
}

/** Used when nothing else is given. */
export const defaultLoadSamplerTuning: LoadSamplerTuning = Object.freeze({
  windowMs: 10_000,
  samples: 20,
  minimumRequests: 100,
  maximumImbalance: 0.25,
  maximumSpanning: 0.5,
})

/** Options of {@link LoadSampler}. */
export interface LoadSamplerOptions extends Partial<LoadSamplerTuning> {
  /** Draws the samples. */
  readonly random: Random
}

interface Sample {
  key: Uint8Array
  left: number
  right: number
  spanning: number
}

/**
 * Where the load of a range lies, for the host that serves it: counts requests, and finds the key that halves them. A
 * reservoir of sampled keys is drawn from the requests; each later request counts for every sample as left of it, right of
 * it, or going over it (the unweighted finder of CockroachDB's load-based splitting). A key whose sides differ too much, or
 * which would cut through too many scans, is none: then the range is hot in a way that no split helps.
 *
 * Pure: the time comes in. Memory: the samples.
 */
export class LoadSampler {
  readonly #random: Random
  readonly #tuning: LoadSamplerTuning
  #samples: Sample[] = []
  #requests = 0
  #startMs: number | undefined
  /** Requests of the window before, and what was found in it. */
  #former: { readonly requests: number; readonly endMs: number; readonly keys: SplitKeys } | undefined

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(options: LoadSamplerOptions) {
    const d = defaultLoadSamplerTuning
    const { random, ...tuning } = checkOptions<Required<LoadSamplerOptions>>('LoadSampler', options, {
      random: objectOption<Random>(['integer']),
      windowMs: integerOption({ min: 1, fallback: d.windowMs }),
      samples: integerOption({ min: 1, max: 1000, fallback: d.samples }),
      minimumRequests: integerOption({ min: 1, fallback: d.minimumRequests }),
      maximumImbalance: numberOption({ min: 0, max: 1, fallback: d.maximumImbalance }),
      maximumSpanning: numberOption({ min: 0, max: 1, fallback: d.maximumSpanning }),
    })
    this.#random = random
    this.#tuning = tuning
  }

  /**
   * Takes a request into account.
   *
   * @param key the key that it reads or writes, or the first one of a scan
   * @param end the first key behind a scan
   */
  record(nowMs: number, key: Uint8Array, end?: Uint8Array): void {
    checkBytes(key, 'the key of a request')
    this.#turn(nowMs)
    this.#requests++
    for (const sample of this.#samples) {
      if (compareBytes(sample.key, key) <= 0) sample.right++
      else if (end === undefined || compareBytes(end, sample.key) <= 0) sample.left++
      else sample.spanning++
    }
    const { samples } = this.#tuning
    const place = this.#samples.length < samples ? this.#samples.length : this.#random.integer(this.#requests)
    if (place < samples) this.#samples[place] = { key: key.slice(), left: 0, right: 0, spanning: 0 }
  }

  /** Requests a second, over the last window. */
  requestsPerSecond(nowMs: number): number {
    this.#turn(nowMs)
    const { windowMs } = this.#tuning
    const elapsedMs = this.#startMs === undefined ? 0 : nowMs - this.#startMs
    const share = this.#former === undefined ? 0 : Math.max(0, 1 - elapsedMs / windowMs)
    const before = (this.#former?.requests ?? 0) * share
    return ((this.#requests + before) * 1000) / windowMs
  }

  /** Where to split by load, as the last full window says. */
  splitKeys(nowMs: number): Pick<SplitKeys, 'byLoad' | 'unsplittable'> {
    this.#turn(nowMs)
    return this.#former?.keys ?? {}
  }

  /** Forgets everything: the range has other bounds. */
  reset(): void {
    this.#samples = []
    this.#requests = 0
    this.#startMs = undefined
    this.#former = undefined
  }

  #turn(nowMs: number): void {
    const { windowMs } = this.#tuning
    this.#startMs ??= nowMs
    if (nowMs - this.#startMs < windowMs) return
    const endMs = this.#startMs + windowMs
    const stale = nowMs - endMs >= windowMs
    this.#former = stale ? undefined : { requests: this.#requests, endMs, keys: this.chooseKey() }
    this.#startMs = stale ? nowMs : endMs
    this.#samples = []
    this.#requests = 0
  }

  /** @internal */
  chooseKey(): Pick<SplitKeys, 'byLoad' | 'unsplittable'> {
    const { minimumRequests, maximumImbalance, maximumSpanning } = this.#tuning
    if (this.#requests < minimumRequests) return {}
    let best: Sample | undefined
    // What came late has seen too little.
    const enough = this.#samples.filter((sample) => countOf(sample) * 4 >= this.#requests)
    for (const sample of enough) if (best === undefined || badness(sample) < badness(best)) best = sample
    if (best === undefined) return {}
    const count = countOf(best)
    const imbalance = Math.abs(best.left - best.right) / count
    const spanning = best.spanning / count
    const percent = (share: number): string => `${Math.round(share * 100)} %`
    if (spanning > maximumSpanning)
      return { unsplittable: `${percent(spanning)} of the requests are scans that go over the best key` }
    if (imbalance > maximumImbalance)
      return {
        unsplittable: `no key halves the load: at the best one ${percent(Math.max(best.left, best.right) / count)} lie on one side`,
      }
    return { byLoad: best.key }
  }
}

function countOf({ left, right, spanning }: Sample): number {
  return left + right + spanning
}

/** A scan that is cut in two costs as much as one that lies on the wrong side. */
function badness(sample: Sample): number {
  return (Math.abs(sample.left - sample.right) + sample.spanning) / countOf(sample)
}

/** A key that lies strictly inside a range, where it can be split. */
export function liesInside(
  key: Uint8Array | undefined,
  bounds: { readonly start: Uint8Array; readonly end: Uint8Array | undefined },
): key is Uint8Array {
  if (key === undefined) return false
  return (
    compareBytes(bounds.start, key) < 0 && (bounds.end === undefined || compareBytes(key, bounds.end) < 0)
  )
}
