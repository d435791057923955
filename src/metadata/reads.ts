import { checkInteger } from '../core/arguments.ts'
import { KeelsonError } from '../core/errors.ts'
import { showValue } from '../core/options.ts'
import type {
  KeySelector,
  KeyValue,
  RangeResult,
  ReadOptions,
  WatchOptions,
} from '../interfaces/metadata-store.ts'
import { commandLimits } from './mvcc/limits.ts'
import type { MvccReader, PageLimits } from './mvcc/state-types.ts'
import { checkKey, checkSelector } from './mvcc/validate.ts'
import { toKeyValue } from './mvcc/version.ts'

/** What is known about a read but for its signal. */
export type ReadPosition = Pick<ReadOptions, 'revision' | 'limit'>

/** Options of a read beside its signal. */
export const readOptions: readonly (keyof ReadOptions)[] = Object.freeze(['revision', 'limit', 'consistency'])

/** Options of a watch beside its signal. */
export const watchOptions: readonly (keyof WatchOptions)[] = Object.freeze(['fromRevision', 'previous'])

/** Checks the options of a watch. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkWatch({ fromRevision, previous }: WatchOptions): void {
  if (fromRevision !== undefined) checkInteger(fromRevision, 'the revision that a watch starts at', 1)
  if (previous !== undefined && typeof previous !== 'boolean')
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `previous of a watch is true or false, not ${showValue(previous)}`,
    )
}

/** Checks the arguments of a read. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkRead(select: KeySelector, options: ReadOptions): void {
  checkSelector(select)
  for (const name of ['revision', 'limit'] as const) {
    const value = options[name]
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 0))
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the ${name} of a read must be a safe integer from 0, not ${showValue(value)}`,
      )
  }
  if (![undefined, 'linearizable', 'local'].includes(options.consistency))
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `a read is linearizable or local, not ${showValue(options.consistency)}`,
    )
}

/** Reads one key; the bytes belong to the caller. */
export function readKey(reader: MvccReader, key: Uint8Array, options: ReadPosition): KeyValue | undefined {
  checkKey(key)
  const version = reader.get(key, options.revision)
  return version === undefined ? undefined : toKeyValue(version)
}

/** Reads a selection up to the store's own limits, or fewer bytes; what it returns belongs to the caller. */
export function readRange(
  reader: MvccReader,
  select: KeySelector,
  options: ReadPosition,
  maximumBytes: number = commandLimits.resultBytes,
): RangeResult {
  const limits: PageLimits = {
    entries: Math.min(options.limit ?? commandLimits.rangeEntries, commandLimits.rangeEntries),
    bytes: Math.min(maximumBytes, commandLimits.resultBytes),
  }
  const page = reader.range(select, limits, options.revision)
  return {
    entries: page.versions.map(toKeyValue),
    more: page.more,
    count: page.count,
    revision: reader.revision,
  }
}
