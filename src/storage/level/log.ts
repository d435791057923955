import { utf8 } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkOptions, integerOption } from '../../core/options.ts'
import type { LogStore, LogStoreContext, LogStoreFactory } from '../../interfaces/log-store.ts'
import { checksumSeed, logFormatVersion, oldestLogFormat } from '../batch-format.ts'
import {
  checkIdentity,
  checkLogContext,
  encodeIdentity,
  type Identity,
  newIdentity,
  openDirectory,
} from '../directory.ts'
import { LogEngine } from '../log-engine.ts'
import { nodeFileSystem } from '../node-file-system.ts'
import { byteEncodings, type LevelDatabase, synced } from './database.ts'
import { LevelMedium } from './medium.ts'
import { checkPlace, hasDatabase, levelError, losesSyncedWrites, openLevel, openSyncedLevel } from './open.ts'

/** Options of {@link levelLog}. */
export interface LevelLogOptions {
  /** Largest group commit, which is one value of the database. A single write must fit into it. */
  readonly maximumBatchBytes?: number
  /** Bytes that may wait to be written; more are refused with `OVERLOADED`. */
  readonly maximumQueuedBytes?: number
  /** Dead bytes that are left lying before a cleaning pays. */
  readonly cleanFromBytes?: number
}

/** Defaults of {@link LevelLogOptions}. */
export const levelLogDefaults: Readonly<Required<LevelLogOptions>> = Object.freeze({
  maximumBatchBytes: 16 * 1024 * 1024,
  maximumQueuedBytes: 64 * 1024 * 1024,
  cleanFromBytes: 4 * 1024 * 1024,
})

const format = Object.freeze({ name: 'level', version: logFormatVersion, oldest: oldestLogFormat })

/** Key of the identity of a database that the host brought along. */
const identityKey = utf8('identity')

/** Marks a database that a log store uses; on the object itself, so that every copy of the library sees it. */
const inUse = Symbol.for('keelson.storage.level.inUse')

/**
 * A log store in an ordered database: given a path, in a classic-level of its own in that directory; given a database
 * with the interface of abstract-level (a sublevel, too), in that one, which it then has to itself and does not close.
 *
 * One group commit is one value and one synced write. A database of `openLevel` is refused, as unsynced writes of others to
 * it may take synced ones with them.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function levelLog(
  pathOrDatabase: string | LevelDatabase,
  options: LevelLogOptions = {},
): LogStoreFactory {
  const checked = checkOptions<Required<LevelLogOptions>>(
    'levelLog',
    options,
    {
      maximumBatchBytes: integerOption({
        min: 4_096,
        max: 256 * 1024 * 1024,
        fallback: levelLogDefaults.maximumBatchBytes,
      }),
      maximumQueuedBytes: integerOption({ min: 4_096, fallback: levelLogDefaults.maximumQueuedBytes }),
      cleanFromBytes: integerOption({ min: 0, fallback: levelLogDefaults.cleanFromBytes }),
    },
    ({ maximumBatchBytes, maximumQueuedBytes }, refuse) => {
      if (maximumQueuedBytes < maximumBatchBytes) {
        refuse("'maximumQueuedBytes' must be at least 'maximumBatchBytes'")
      }
    },
  )
  const place = checkPlace(pathOrDatabase, 'levelLog: the directory')
  return async (given) => {
    const context = checkLogContext(given)
    return typeof place === 'string' ? openPath(place, checked, context) : openGiven(place, checked, context)
  }
}

async function openPath(
  path: string,
  options: Required<LevelLogOptions>,
  context: LogStoreContext,
): Promise<LogStore> {
  const directory = await openDirectory(nodeFileSystem, path, format, context)
  let database: LevelDatabase | undefined
  const release = async (): Promise<void> => {
    try {
      await database?.close()
    } finally {
      await directory.release()
    }
  }
  try {
    if (directory.ready && !(await hasDatabase(`${path}/level`))) {
      throw new KeelsonError(
        'CORRUPTION',
        `${path} holds no database any more, although it once did; replace this node, so that it comes back as a new ` +
          'incarnation, or restore the directory',
      )
    }
    // Batches are written once, read rarely and never looked up: a large buffer spares rewriting, a cache is useless.
    database = await openSyncedLevel(`${path}/level`, {
      cacheBytes: 1024 * 1024,
      writeBufferBytes: 16 * 1024 * 1024,
      create: !directory.ready,
    })
    const store = await openStore(database, path, directory, options, context, release)
    if (!directory.settled) await directory.settle()
    return store
  } catch (error) {
    await release()
    throw error
  }
}

async function openGiven(
  database: LevelDatabase,
  options: Required<LevelLogOptions>,
  context: LogStoreContext,
): Promise<LogStore> {
  if (losesSyncedWrites(database)) {
    throw new KeelsonError(
      'UNSUPPORTED',
      'a database of openLevel may lose synced writes in a power cut, which a log must not; give levelLog a path of its own',
    )
  }
  const marked = database as LevelDatabase & { [inUse]?: boolean }
  if (marked[inUse] === true) {
    throw new KeelsonError(
      'DIRECTORY_LOCKED',
      'the database is in use by another log store; close that one, or give this one a database of its own',
    )
  }
  marked[inUse] = true
  const release = async (): Promise<void> => {
    delete marked[inUse]
  }
  try {
    await openLevel(database)
    const identity = await claimDatabase(database, context)
    const store = await openStore(database, 'the database', identity, options, context, release)
    const { version } = format
    if (!identity.ready || identity.version !== version) {
      await database.put(identityKey, encodeIdentity({ ...identity, version, ready: true }), synced)
    }
    return store
  } catch (error) {
    await release()
    throw levelError(error, 'the database')
  }
}

async function claimDatabase(database: LevelDatabase, context: LogStoreContext): Promise<Identity> {
  const where = 'the database'
  const found = await database.get(identityKey, byteEncodings)
  if (found !== undefined) return checkIdentity(found, where, format, context)
  const [stranger] = await database.iterator({ ...byteEncodings, limit: 1 }).all()
  if (stranger !== undefined) {
    throw new KeelsonError(
      'FORMAT_VERSION',
      'the database holds keys but no identity, so it is no log of ours; use an empty database or a sublevel',
    )
  }
  const identity = newIdentity(format, context)
  await database.put(identityKey, encodeIdentity(identity), synced)
  return identity
}

async function openStore(
  database: LevelDatabase,
  where: string,
  { incarnation, ready }: Pick<Identity, 'incarnation' | 'ready'>,
  options: Required<LevelLogOptions>,
  { env }: LogStoreContext,
  release: () => Promise<void>,
): Promise<LogStore> {
  const { maximumBatchBytes, maximumQueuedBytes, cleanFromBytes } = options
  const seed = checksumSeed(incarnation)
  const medium = new LevelMedium(database, where, seed, maximumBatchBytes, ready, env.logger)
  return LogEngine.open({
    env,
    incarnation,
    medium,
    where,
    adapter: 'level',
    maximumQueuedBytes,
    cleanFromBytes,
    release,
  })
}
