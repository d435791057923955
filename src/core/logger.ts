/** Structured fields of a log record. Secrets never go here. */
export type LogFields = Readonly<Record<string, unknown>>

/** Writes one record. Fields first, then a constant message, as pino does. */
export type LogMethod = (fields: LogFields, message: string) => void

/** A pino-shaped logger: a pino instance fits as it is. */
export interface Logger {
  readonly trace: LogMethod
  readonly debug: LogMethod
  readonly info: LogMethod
  readonly warn: LogMethod
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
  readonly level: LogLevel
  readonly message: string
  readonly fields: LogFields
}

/** A logger that hands each record of at least `level` to `write`. */
export function recordLogger(write: (record: LogRecord) => void, level: LogLevel = 'info'): Logger {
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
