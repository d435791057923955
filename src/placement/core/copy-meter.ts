/** How far a copy is, as far as its two ends report it. */
export interface CopyProgress {
  /** Bytes that have arrived. */
  readonly copiedBytes: number
  /** Bytes that there are. */
  readonly totalBytes: number
  /** From 0 to 1. */
  readonly fraction: number
  /** Time that is left at the speed of late; undefined while nothing is known of that. */
  readonly etaMs: number | undefined
}

/** Weight of the newest sample of speed. */
const newest = 0.3

/**
 * Measures one copy from what is reported of both ends: what the source holds, and what the target holds by now. Speed is
 * an exponentially weighted mean over the reports that brought something new.
 */
export class CopyMeter {
  #totalBytes = 0
  #copiedBytes = 0
  #sampleMs: number | undefined
  #perMs: number | undefined

  /** What is reported now. @returns true when more has arrived than before */
  sample(copiedBytes: number | undefined, totalBytes: number | undefined, nowMs: number): boolean {
    if (totalBytes !== undefined && totalBytes > 0) this.#totalBytes = totalBytes
    if (copiedBytes === undefined || copiedBytes <= this.#copiedBytes) {
      this.#sampleMs ??= nowMs
      return false
    }
    if (this.#sampleMs !== undefined && nowMs > this.#sampleMs) {
      const speed = (copiedBytes - this.#copiedBytes) / (nowMs - this.#sampleMs)
      this.#perMs = this.#perMs === undefined ? speed : this.#perMs * (1 - newest) + speed * newest
    }
    this.#copiedBytes = copiedBytes
    this.#sampleMs = nowMs
    return true
  }

  /** How far it is; undefined while nobody has said how much there is, or how much of it has come. */
  progress(): CopyProgress | undefined {
    if (this.#totalBytes === 0 || this.#copiedBytes === 0) return undefined
    const left = Math.max(0, this.#totalBytes - this.#copiedBytes)
    return {
      copiedBytes: Math.min(this.#copiedBytes, this.#totalBytes),
      totalBytes: this.#totalBytes,
      fraction: Math.min(1, this.#copiedBytes / this.#totalBytes),
      etaMs: this.#perMs === undefined ? undefined : Math.ceil(left / this.#perMs),
    }
  }
}

/** A number of bytes for people. */
export function bytesInWords(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let amount = bytes
  let unit = 0
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024
    unit++
  }
  return `${unit === 0 ? amount : amount.toFixed(1)} ${units[unit]}`
}

/** A time for people. */
export function timeInWords(ms: number): string {
  const seconds = Math.ceil(ms / 1000)
  if (seconds < 120) return `${seconds} s`
  return seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`
}
