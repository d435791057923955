import { checkFunction } from './arguments.ts'
import type { Clock } from './clock.ts'
import { wordOption } from './options.ts'

/** Structured fields of a log record. Secrets never go here. */
export type LogFields = Readonly<Record<string, unknown>>

/** Writes one record. Fields first, then a constant message, as pino does. */
export type LogMethod = (fields: LogFields, message: string) => void

/** A pino-shaped logger: a pino instance fits as it is. */
export interface Logger {
  /** Single steps, for debugging the library. */
  readonly trace: LogMethod
  /** What is tried, retried and skipped. */
  readonly debug: LogMethod
  /** Changes that an operator may want to see: a new leader, a node that came or went. */
  readonly info: LogMethod
  /** Something is wrong that the library deals with by itself. */
  readonly warn: LogMethod
  /** Something is wrong that a person must look at. */
  readonly error: LogMethod
  /** A logger that adds `fields` to each record. */
  child(fields: LogFields): Logger
}

const ignore: LogMethod = () => {}

/** Discards everything: the default, since a library does not write to its host's output unasked. */
export const silentLogger: Logger = Object.freeze({
  trace: ignore,
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: ignore,
  child: () => silentLogger,
})

/** How severe a record is. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

/** Levels in rising severity. */
export const logLevels: readonly LogLevel[] = Object.freeze([
  'trace',
  'debug',
  'info',
  'warn',
  'error',
] as const)

/** A record as {@link recordLogger} hands it out. */
export interface LogRecord {
  /** How much it matters. */
  readonly level: LogLevel
  /** What happened, in one line. */
  readonly message: string
  /** The record's own fields over those of its `child` loggers. */
  readonly fields: LogFields
}

/** A logger that hands each record of at least `level` to `write`. @throws KeelsonError `INVALID_ARGUMENT`, `INVALID_OPTION` */
export function recordLogger(write: (record: LogRecord) => void, level: LogLevel = 'info'): Logger {
  checkFunction(write, 'what takes the records of a logger')
  wordOption(logLevels)(level, 'recordLogger: the level')
  const lowest = logLevels.indexOf(level)
  const make = (bound: LogFields): Logger => {
    const method = (name: LogLevel): LogMethod =>
      logLevels.indexOf(name) < lowest
        ? ignore
        : (fields, message) => write({ level: name, message, fields: { ...bound, ...fields } })
    return {
      trace: method('trace'),
      debug: method('debug'),
      info: method('info'),
      warn: method('warn'),
      error: method('error'),
      child: (fields) => make({ ...bound, ...fields }),
    }
  }
  return make({})
}

/** Milliseconds of silence after a record that others can cause at will. */
const sparingIntervalMs = 10_000

/**
 * A log method for what a peer can cause as often as it likes: one record, then silence for ten seconds; the next one says in
 * `suppressed` how many were left out. The caller counts them all in a metric.
 */
export function sparingly(clock: Clock, log: LogMethod): LogMethod {
  let quietUntilMs = Number.NEGATIVE_INFINITY
  let suppressed = 0
  return (fields, message) => {
    const nowMs = clock.monotonicMs()
    if (nowMs < quietUntilMs) {
      suppressed += 1
      return
    }
    quietUntilMs = nowMs + sparingIntervalMs
    log(suppressed === 0 ? fields : { ...fields, suppressed }, message)
    suppressed = 0
  }
}
