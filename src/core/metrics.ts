import { checkArray, checkText } from './arguments.ts'
import { KeelsonError } from './errors.ts'
import { showValue } from './options.ts'

/** Label values of one series. Keep their number of combinations small. */
export type Labels = Readonly<Record<string, string>>

/** A number that only grows. */
export interface Counter {
  /** Adds `amount`, by default 1, to the series with these labels. */
  add(amount?: number, labels?: Labels): void
}

/** A number that goes both ways. */
export interface Gauge {
  /** Replaces the value of the series with these labels. */
  set(value: number, labels?: Labels): void
}

/** A distribution over fixed buckets. */
export interface Histogram {
  /** Counts `value` in its bucket of the series with these labels. */
  observe(value: number, labels?: Labels): void
}

/** The port to a host's metrics. Names follow Prometheus: `keelson_<module>_<what>_<unit>`. */
export interface Metrics {
  /** The counter of that name, made when it is asked for first. */
  counter(name: string, help: string): Counter
  /** The gauge of that name, made when it is asked for first. */
  gauge(name: string, help: string): Gauge
  /**
   * The histogram of that name, made when it is asked for first. `buckets` are upper bounds, ascending, in
   * the unit of the name.
   */
  histogram(name: string, help: string, buckets: readonly number[]): Histogram
  /**
   * Calls `update` each time before the metrics are read, for gauges that cost something to know; the function that is returned
   * ends that. Without it they are never set.
   */
  beforeRead?(update: () => void): () => void
}

interface Series {
  readonly labels: string
  value: number
  readonly counts?: number[]
  sum: number
}

interface Family {
  readonly kind: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly buckets: readonly number[]
  readonly series: Map<string, Series>
  /** The series of these labels, which cannot change any more: most metrics are only ever given the same ones. */
  frozenLabels: Labels | undefined
  frozenSeries: Series | undefined
}

const noLabels: Labels = Object.freeze({})

const maximumSeriesPerFamily = 10_000

function renderLabels(labels: Labels): string {
  return Object.keys(labels)
    .sort()
    .map(
      (key) => `${key}="${String(labels[key]).replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))}"`,
    )
    .join(',')
}

/** An in-memory registry with Prometheus text output. Asking twice for one name gives the same metric. */
export class MetricsRegistry implements Metrics {
  readonly #families = new Map<string, Family>()
  readonly #updates = new Set<() => void>()

  /** The counter of that name, made when it is asked for first. */
  counter(name: string, help: string): Counter {
    const family = this.#family(name, help, 'counter', [])
    return {
      add: (amount = 1, labels = noLabels) => {
        this.#series(family, labels).value += amount
      },
    }
  }

  /** The gauge of that name, made when it is asked for first. */
  gauge(name: string, help: string): Gauge {
    const family = this.#family(name, help, 'gauge', [])
    return {
      set: (value, labels = noLabels) => {
        this.#series(family, labels).value = value
      },
    }
  }

  /**
   * The histogram of that name, made when it is asked for first. `buckets` are upper bounds, ascending, in
   * the unit of the name.
   */
  histogram(name: string, help: string, buckets: readonly number[]): Histogram {
    for (const bound of checkArray(buckets, `the buckets of the histogram ${name}`, 1_000)) {
      if (typeof bound !== 'number')
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          `a bucket of the histogram ${name} is a number, not ${showValue(bound)}`,
        )
    }
    const family = this.#family(name, help, 'histogram', buckets)
    return {
      observe: (value, labels = noLabels) => {
        const series = this.#series(family, labels)
        series.value++
        series.sum += value
        const at = family.buckets.findIndex((bound) => value <= bound)
        const counts = series.counts as number[]
        if (at >= 0) counts[at] = (counts[at] as number) + 1
      },
    }
  }

  /** Calls `update` each time before the metrics are read, until the function that is returned is called. */
  beforeRead(update: () => void): () => void {
    const own = (): void => update()
    this.#updates.add(own)
    return () => void this.#updates.delete(own)
  }

  /** All metrics in the Prometheus text exposition format 0.0.4. */
  text(): string {
    for (const update of this.#updates) update()
    const lines: string[] = []
    for (const [name, family] of [...this.#families].sort(([a], [b]) => (a < b ? -1 : 1))) {
      lines.push(`# HELP ${name} ${family.help}`, `# TYPE ${name} ${family.kind}`)
      for (const series of family.series.values()) {
        const braces = series.labels === '' ? '' : `{${series.labels}}`
        if (family.kind !== 'histogram') {
          lines.push(`${name}${braces} ${series.value}`)
          continue
        }
        const prefix = series.labels === '' ? '' : `${series.labels},`
        let cumulative = 0
        family.buckets.forEach((bound, i) => {
          cumulative += (series.counts as number[])[i] as number
          lines.push(`${name}_bucket{${prefix}le="${bound}"} ${cumulative}`)
        })
        lines.push(`${name}_bucket{${prefix}le="+Inf"} ${series.value}`)
        lines.push(`${name}_sum${braces} ${series.sum}`, `${name}_count${braces} ${series.value}`)
      }
    }
    return lines.length === 0 ? '' : `${lines.join('\n')}\n`
  }

  #family(name: string, help: string, kind: Family['kind'], buckets: readonly number[]): Family {
    const known = this.#families.get(name)
    if (known !== undefined) {
      if (known.kind === kind) return known
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the metric ${name} exists already as a ${known.kind}, not a ${kind}; give this one another name`,
      )
    }
    if (typeof name !== 'string' || !/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `${showValue(name)} is not a Prometheus metric name: letters, digits, '_' and ':'`,
      )
    }
    const family: Family = {
      kind,
      help: checkText(help, `the help of the metric ${name}`).replaceAll('\n', ' '),
      buckets,
      series: new Map(),
      frozenLabels: undefined,
      frozenSeries: undefined,
    }
    this.#families.set(name, family)
    return family
  }

  #series(family: Family, labels: Labels): Series {
    if (labels === family.frozenLabels) return family.frozenSeries as Series
    const series = this.#find(family, labels)
    if (Object.isFrozen(labels)) {
      family.frozenLabels = labels
      family.frozenSeries = series
    }
    return series
  }

  #find(family: Family, labels: Labels): Series {
    const key = renderLabels(labels)
    const known = family.series.get(key)
    if (known !== undefined) return known
    if (family.series.size >= maximumSeriesPerFamily) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a metric holds at most ${maximumSeriesPerFamily} combinations of labels; label with less that varies`,
      )
    }
    const series: Series =
      family.kind === 'histogram'
        ? { labels: key, value: 0, sum: 0, counts: family.buckets.map(() => 0) }
        : { labels: key, value: 0, sum: 0 }
    family.series.set(key, series)
    return series
  }
}
