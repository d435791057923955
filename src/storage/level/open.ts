import { ClassicLevel } from 'classic-level'
import { KeelsonError } from '../../core/errors.ts'
import { type Logger, silentLogger } from '../../core/logger.ts'
import { booleanOption, checkOptions, integerOption, objectOption } from '../../core/options.ts'
import { claimDirectory } from '../directory.ts'
import { pathOption } from '../file-system.ts'
import { nodeFileSystem } from '../node-file-system.ts'
import { cutAtGap } from './log-gap.ts'

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
  /** Told of what a power cut took. Default: nobody is. */
  readonly logger?: Logger
}

/** Defaults of {@link OpenLevelOptions}. */
export const openLevelDefaults: Readonly<Required<OpenLevelOptions>> = Object.freeze({
  cacheBytes: 16 * 1024 * 1024,
  writeBufferBytes: 8 * 1024 * 1024,
  tableBytes: 4 * 1024 * 1024,
  maximumOpenFiles: 500,
  create: true,
  logger: silentLogger,
})

/**
 * Opens a classic-level in a directory of its own, which it makes for its owner alone. Keys and values are byte arrays by
 * default.
 *
 * After a power cut it holds a beginning of what was written, in the order of the writes, which LevelDB alone does not
 * promise: it would show later writes without earlier ones. A state with bookkeeping in it needs that. The price: only
 * what `flushLevel` confirmed counts as durable, since a synced write is given up when an unsynced one before it is lost. A
 * process that ends without a power cut loses nothing.
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
  const checked = checkLevelOptions(options)
  const place = checkPlace(pathOrDatabase, 'openLevel: the directory')
  if (typeof place === 'string') return openPath(place, checked, true)
  await openDatabase(place, 'the database')
  return place
}

/**
 * Opens a classic-level without a look at its log: for a log store, which writes everything synced and finds out by itself
 * whether something is missing.
 *
 * @throws KeelsonError as {@link openLevel}
 */
export async function openSyncedLevel(
  path: string,
  options: OpenLevelOptions,
): Promise<ClassicLevel<Uint8Array, Uint8Array>> {
  return openPath(path, checkLevelOptions(options), false)
}

/** Marks a database that loses synced writes behind lost ones; on the object, so that every copy of the library sees it. */
const prefixOnly = Symbol.for('keelson.storage.level.prefixOnly')

/** Whether a synced write to this database may be lost with an earlier one, as {@link openLevel} says. */
export function losesSyncedWrites(database: object): boolean {
  type Level = { readonly [prefixOnly]?: boolean; readonly parent?: Level | null }
  for (let at: Level | null | undefined = database; at; at = at.parent)
    if (at[prefixOnly] === true) return true
  return false
}

function checkLevelOptions(options: OpenLevelOptions): Required<OpenLevelOptions> {
  return checkOptions<Required<OpenLevelOptions>>('openLevel', options, {
    cacheBytes: integerOption({ min: 0, fallback: openLevelDefaults.cacheBytes }),
    writeBufferBytes: integerOption({ min: 64 * 1024, fallback: openLevelDefaults.writeBufferBytes }),
    tableBytes: integerOption({ min: 1024 * 1024, fallback: openLevelDefaults.tableBytes }),
    maximumOpenFiles: integerOption({ min: 16, fallback: openLevelDefaults.maximumOpenFiles }),
    create: booleanOption(openLevelDefaults.create),
    logger: objectOption<Logger>(['warn'], openLevelDefaults.logger),
  })
}

async function openPath(
  path: string,
  options: Required<OpenLevelOptions>,
  prefix: boolean,
): Promise<ClassicLevel<Uint8Array, Uint8Array>> {
  const { cacheBytes, writeBufferBytes, tableBytes, maximumOpenFiles, create, logger } = options
  if (!create && !(await hasDatabase(path))) {
    throw new KeelsonError(
      'IO',
      `there is no database at ${path}, and none is to be made; name another directory, or set create: true`,
      { retryable: false, outcome: 'none' },
    )
  }
  if (await claimDirectory(nodeFileSystem, path)) await refuseRemains(path)
  if (prefix) {
    const lostBytes = await cutAtGap(nodeFileSystem, path, () => refuseOpenDatabase(path))
    if (lostBytes !== undefined) {
      logger.warn(
        { path, lostBytes },
        'a power cut took writes out of the middle of the log of LevelDB, so those after them were given up, too',
      )
    }
  }
  const database = new ClassicLevel<Uint8Array, Uint8Array>(path, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    cacheSize: cacheBytes,
    writeBufferSize: writeBufferBytes,
    maxFileSize: tableBytes,
    maxOpenFiles: maximumOpenFiles,
    createIfMissing: create,
  })
  await openDatabase(database, path)
  if (prefix) Object.defineProperty(database, prefixOnly, { value: true })
  return database
}

/** LevelDB takes its lock before it refuses a database that exists, so the refusal says that nobody else has it. */
async function refuseOpenDatabase(path: string): Promise<void> {
  const probe = new ClassicLevel(path, { createIfMissing: false, errorIfExists: true })
  try {
    await probe.open()
  } catch (error) {
    const refusal = levelError(error, path)
    if (refusal.code === 'DIRECTORY_LOCKED') throw refusal
  } finally {
    await probe.close()
  }
}

/** A path, or a database that the host brings along. @throws KeelsonError `INVALID_OPTION` */
export function checkPlace<D extends { open(): Promise<void> }>(place: string | D, name: string): string | D {
  if (typeof place === 'string') return pathOption(place, name)
  return objectOption<D & { open(): Promise<void> }>([
    'open',
    'get',
    'batch',
    'iterator',
    'clear',
  ] as never[])(place, `${name}, or the database,`)
}

/** Whether a database of LevelDB was made in a directory, and is whole at the first glance. */
export async function hasDatabase(path: string): Promise<boolean> {
  return (await nodeFileSystem.status(`${path}/CURRENT`)) !== undefined
}

/** LevelDB takes a directory without CURRENT for a new database, and deletes the tables that it finds there. */
async function refuseRemains(path: string): Promise<void> {
  if (await hasDatabase(path)) return
  for (const name of await nodeFileSystem.list(path)) {
    if (!/^\d+\.(?:ldb|sst|log)$/.test(name)) continue
    const { size = 0 } = (await nodeFileSystem.status(`${path}/${name}`)) ?? {}
    if (size === 0) continue
    throw new KeelsonError(
      'CORRUPTION',
      `${path} holds ${name}, but CURRENT, which a database has, is gone. Nothing was changed: replace this node, or ` +
        'restore the directory',
    )
  }
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
      { cause: error, outcome: 'unknown' },
    )
  }
  if (/(?<!\/LOCK): no such file or directory/i.test(message)) {
    return new KeelsonError(
      'CORRUPTION',
      `${where} lacks a file (${message}). Nothing was repaired: replace this node, or restore the directory`,
      { cause: error },
    )
  }
  return new KeelsonError('IO', `${where}: ${message}`, { cause: error })
}
