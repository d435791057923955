import { KeelsonError } from '../core/errors.ts'

/** What a line of a trace is made of: words and numbers. */
export type TraceValue = string | number | boolean | undefined

interface Line {
  readonly timeMs: number
  readonly where: string
  readonly what: string
  readonly values: readonly TraceValue[]
}

const scratch = new DataView(new ArrayBuffer(8))

/**
 * What happened, as a ring of the last lines and a running hash of all of them: two runs of one seed are the same run
 * when their hashes are equal. Lines become text only when somebody reads them.
 */
export class Trace {
  readonly #ring: (Line | undefined)[]
  readonly #limit: number
  #count = 0
  #low = 0x811c9dc5
  #high = 0xcbf29ce4
  readonly #listener: ((line: string) => void) | undefined

  /** Keeps the last `limit` lines; `listener` gets every line as text when it happens. */
  constructor(limit = 2_000, listener?: (line: string) => void) {
    this.#limit = limit
    this.#ring = []
    this.#listener = listener
  }

  /** Lines so far, also those that the ring has forgotten. */
  get count(): number {
    return this.#count
  }

  /** Adds a line: `where` it happened (a process), `what` happened, and its details. */
  add(timeMs: number, where: string, what: string, ...values: readonly TraceValue[]): void {
    this.#mixNumber(timeMs)
    this.#mixText(where)
    this.#mixText(what)
    for (const value of values) {
      if (typeof value === 'number') this.#mixNumber(value)
      else this.#mixText(String(value))
    }
    const line = { timeMs, where, what, values }
    this.#ring[this.#count % this.#limit] = line
    this.#count++
    this.#listener?.(format(line))
  }

  /** Mixes a number into the hash without a line: states and checksums. */
  mix(value: number): void {
    this.#mixNumber(value)
  }

  /** The hash of everything so far, as 16 hexadecimal digits. */
  hash(): string {
    return this.#high.toString(16).padStart(8, '0') + this.#low.toString(16).padStart(8, '0')
  }

  /** The last `limit` lines as text, oldest first. */
  lines(limit: number = this.#limit): string[] {
    const kept = Math.min(limit, this.#count, this.#limit)
    const out: string[] = []
    for (let i = this.#count - kept; i < this.#count; i++)
      out.push(format(this.#ring[i % this.#limit] as Line))
    return out
  }

  #mixText(value: string): void {
    for (let i = 0; i < value.length; i++) this.#mixWord(value.charCodeAt(i))
    this.#mixWord(0x10000)
  }

  #mixNumber(value: number): void {
    if ((value | 0) === value) {
      this.#mixWord(value)
      return
    }
    scratch.setFloat64(0, value)
    this.#mixWord(scratch.getInt32(0))
    this.#mixWord(scratch.getInt32(4))
  }

  // Two 32-bit multiplicative hashes (FNV-1a and a variant with another prime), so that 64 bits are compared.
  #mixWord(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x01000193) >>> 0
    this.#high = (Math.imul(this.#high ^ word, 0x9e3779b1) ^ (this.#low >>> 15)) >>> 0
  }
}

function format(line: Line): string {
  const details = line.values.map((value) => String(value)).join(' ')
  return `${line.timeMs.toFixed(3).padStart(12)} ${line.where.padEnd(6)} ${line.what}${details === '' ? '' : ` ${details}`}`
}

/** A log field as one word of a trace. Stacks differ between builds, so of an error only its code and message count. */
export function traceValue(value: unknown): TraceValue {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'boolean':
    case 'undefined':
      return value
    case 'object':
      if (KeelsonError.is(value)) return `${value.code}: ${value.message}`
      if (value instanceof Error) return value.message
      return JSON.stringify(value, (_, inner: unknown) =>
        inner instanceof Uint8Array
          ? `${inner.length} bytes`
          : inner instanceof Error
            ? inner.message
            : typeof inner === 'bigint'
              ? `${inner}n`
              : inner,
      )
    default:
      return typeof value
  }
}
