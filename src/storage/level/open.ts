import { ClassicLevel } from 'classic-level'
import { KeelsonError } from '../../core/errors.ts'
import { booleanOption, checkOptions, integerOption, objectOption, stringOption } from '../../core/options.ts'
import { claimDirectory } from '../directory.ts'
import { nodeFileSystem } from '../node-file-system.ts'

/** Options of {@link openLevel}: what LevelDB spends memory on. */
export interface OpenLevelOptions {
  /** Bytes of blocks that are kept after they were read. */
  readonly cacheBytes?: number
  /** Bytes of writes that are collected in memory before they become a table; two such buffers may exist. */
  readonly writeBufferBytes?: number
  /** Size of a table. Larger ones mean fewer files and longer compactions. */
  readonly tableBytes?: number
  /** Tables that are kept open. */
  readonly maximumOpenFiles?: number
  /** Whether a database that does not exist is made; otherwise it is an error. */
  readonly create?: boolean
}

/** Defaults of {@link OpenLevelOptions}. */
export const openLevelDefaults: Readonly<Required<OpenLevelOptions>> = Object.freeze({
  cacheBytes: 16 * 1024 * 1024,
  writeBufferBytes: 8 * 1024 * 1024,
  tableBytes: 4 * 1024 * 1024,
  maximumOpenFiles: 500,
  create: true,
})

/**
 * Opens a classic-level in a directory of its own, which it makes for its owner alone. Keys and values are byte arrays by
 * default.
 *
 * @throws KeelsonError `DIRECTORY_LOCKED`, `CORRUPTION`, `IO`, `INVALID_OPTION`
 */
export async function openLevel(
  path: string,
  options?: OpenLevelOptions,
): Promise<ClassicLevel<Uint8Array, Uint8Array>>
/** Opens a database that the host brings along, such as a `MemoryLevel`, as it is. */
export async function openLevel<
  D extends {
    /** Opens the database, unless it is open already. */
    open(): Promise<void>
  },
>(database: D): Promise<D>
export async function openLevel(
  pathOrDatabase: string | { open(): Promise<void> },
  options: OpenLevelOptions = {},
): Promise<{ open(): Promise<void> }> {
  const { cacheBytes, writeBufferBytes, tableBytes, maximumOpenFiles, create } = checkOptions<
    Required<OpenLevelOptions>
  >('openLevel', options, {
    cacheBytes: integerOption({ min: 0, fallback: openLevelDefaults.cacheBytes }),
    writeBufferBytes: integerOption({ min: 64 * 1024, fallback: openLevelDefaults.writeBufferBytes }),
    tableBytes: integerOption({ min: 1024 * 1024, fallback: openLevelDefaults.tableBytes }),
    maximumOpenFiles: integerOption({ min: 16, fallback: openLevelDefaults.maximumOpenFiles }),
    create: booleanOption(openLevelDefaults.create),
  })
  const place = checkPlace(pathOrDatabase, 'openLevel: the directory')
  if (typeof place !== 'string') {
    await openDatabase(place, 'the database')
    return place
  }
  if (!create && (await nodeFileSystem.status(place)) === undefined) {
    throw new KeelsonError(
      'IO',
      `there is no database at ${place}, and none is to be made; name another directory, or set create: true`,
      {
        retryable: false,
        outcome: 'none',
      },
    )
  }
  await claimDirectory(nodeFileSystem, place)
  const database = new ClassicLevel<Uint8Array, Uint8Array>(place, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    cacheSize: cacheBytes,
    writeBufferSize: writeBufferBytes,
    maxFileSize: tableBytes,
    maxOpenFiles: maximumOpenFiles,
    createIfMissing: create,
  })
  await openDatabase(database, place)
  return database
}

/** A path, or a database that the host brings along. @throws KeelsonError `INVALID_OPTION` */
export function checkPlace<D extends { open(): Promise<void> }>(place: string | D, name: string): string | D {
  if (typeof place === 'string') return stringOption()(place, name)
  return objectOption<D & { open(): Promise<void> }>([
    'open',
    'get',
    'batch',
    'iterator',
    'clear',
  ] as never[])(place, `${name}, or the database,`)
}

async function openDatabase(database: { open(): Promise<void> }, where: string): Promise<void> {
  try {
    await database.open()
  } catch (error) {
    throw levelError(error, where)
  }
}

/** An error of abstract-level as one of ours. */
export function levelError(error: unknown, where: string): KeelsonError {
  if (KeelsonError.is(error)) return error
  const outer = error as Error & { code?: string }
  const inner = (outer.cause ?? outer) as Error & { code?: string }
  if (KeelsonError.is(inner)) return inner
  const message = inner.message
  if (inner.code === 'LEVEL_LOCKED') {
    return new KeelsonError(
      'DIRECTORY_LOCKED',
      `${where} is in use by another opener; close that one, or give this node a directory of its own`,
      { cause: error },
    )
  }
  if (inner.code === 'LEVEL_CORRUPTION') {
    return new KeelsonError(
      'CORRUPTION',
      `LevelDB finds ${where} damaged (${message}). Nothing was repaired: replace this node, or restore the directory`,
      { cause: error },
    )
  }
  if (/no space left|ENOSPC/i.test(message)) {
    return new KeelsonError(
      'DISK_FULL',
      `${where} cannot be written, as the disk is full; free some space, then open the store again (${message})`,
      { cause: error },
    )
  }
  return new KeelsonError('IO', `${where}: ${message}`, { cause: error })
}
