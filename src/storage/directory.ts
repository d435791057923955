import { text, utf8 } from '../core/bytes.ts'
import { crc32 } from '../core/checksum.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkOptions, objectOption } from '../core/options.ts'
import type { FileSystem } from '../interfaces/file-system.ts'
import type { LogStoreContext } from '../interfaces/log-store.ts'
import { type ClusterId, type Incarnation, type NodeId, nameOption } from '../model/ids.ts'
import { lockPrefix, readWholeFile, temporarySuffix, writeFileAtomically } from './file-system.ts'

/** Whose data a directory or a database holds, and in which format. */
export interface Identity {
  /** Name of the adapter that wrote it. */
  readonly format: string
  readonly version: number
  readonly clusterId: ClusterId
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
  /** False until the store was made: what is missing before is no loss, what is missing afterwards is. */
  readonly ready: boolean
}

/** A format as one adapter knows it. */
export interface Format {
  readonly name: string
  /** What is written. */
  readonly version: number
  /** The oldest version that is read. A store of an older one is raised when it is opened. */
  readonly oldest: number
}

/** A directory that belongs to its opener until it is released. */
export interface OpenDirectory {
  readonly path: string
  readonly incarnation: Incarnation
  /** False when the store in it is still to be made, or was not finished. */
  readonly ready: boolean
  /** The store was made, and in the format that is written now. */
  readonly settled: boolean
  /** Says so: before anything is written that an older release could not read. */
  settle(): Promise<void>
  /** Lets others open it. Idempotent. */
  release(): Promise<void>
}

const identityFile = 'IDENTITY'
/** Far more than any identity takes: whatever is longer is none, and is not read to the end. */
const maximumIdentityBytes = 64 * 1024
const heading = 'keelson store'

/** The identity as a file that people can read and nobody should edit. */
export function encodeIdentity(identity: Identity): Uint8Array {
  const body =
    `${heading}\nformat ${identity.format} ${identity.version}\ncluster ${identity.clusterId}\n` +
    `node ${identity.nodeId}\nincarnation ${identity.incarnation}\n` +
    `state ${identity.ready ? 'ready' : 'new'}\n`
  return utf8(`${body}checksum ${crc32(utf8(body)).toString(16).padStart(8, '0')}\n`)
}

/**
 * Reads an identity and checks that it is the expected one.
 *
 * @param where names the place in messages
 * @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION`, `FOREIGN_CLUSTER`, `FOREIGN_NODE`
 */
export function checkIdentity(
  bytes: Uint8Array,
  where: string,
  format: Format,
  { clusterId, nodeId }: { readonly clusterId: ClusterId; readonly nodeId: NodeId },
): Identity {
  const identity = decodeIdentity(bytes, where, format)
  if (identity.clusterId !== clusterId) {
    throw new KeelsonError(
      'FOREIGN_CLUSTER',
      `${where} belongs to cluster '${identity.clusterId}', not to '${clusterId}'. It was left untouched: ` +
        'give this node a directory of its own, or start it with the right cluster id',
      { details: { found: identity.clusterId, expected: clusterId } },
    )
  }
  if (identity.nodeId !== nodeId) {
    throw new KeelsonError(
      'FOREIGN_NODE',
      `${where} belongs to node '${identity.nodeId}', not to '${nodeId}'. It was left untouched: ` +
        'two nodes never share a directory, and one that changes its name would vote twice',
      { details: { found: identity.nodeId, expected: nodeId } },
    )
  }
  return identity
}

function decodeIdentity(bytes: Uint8Array, where: string, format: Format): Identity {
  const damaged = (): KeelsonError =>
    new KeelsonError(
      'CORRUPTION',
      `the identity of ${where} is damaged. Do not write a new one: replace this node, so that it comes back ` +
        'as a new incarnation',
    )
  let content: string
  try {
    content = text(bytes)
  } catch {
    throw damaged()
  }
  const lines = content.split('\n')
  const [, name, version] = /^format ([a-z]+) (\d{1,9})$/.exec(lines[1] ?? '') ?? []
  if (lines[0] !== heading || name === undefined) throw damaged()
  // Before anything else is looked at: another version may spell the rest in its own way.
  const known = Number(version) >= format.oldest && Number(version) <= format.version
  if (name !== format.name || !known) {
    const versions = format.oldest === format.version ? '' : `${format.oldest} to `
    throw new KeelsonError(
      'FORMAT_VERSION',
      `${where} holds a store in format ${name} ${version}; this adapter reads ${format.name} ${versions}` +
        `${format.version}. Open it with the adapter and a release that wrote it`,
      { details: { found: `${name} ${version}`, expected: `${format.name} ${format.version}` } },
    )
  }
  const match =
    /^cluster (\S+)\nnode (\S+)\nincarnation ([1-9]\d{0,15})\nstate (new|ready)\nchecksum ([0-9a-f]{8})\n$/.exec(
      lines.slice(2).join('\n'),
    ) ?? []
  const [, clusterId, nodeId, incarnation, state, checksum] = match
  if (clusterId === undefined || nodeId === undefined || !Number.isSafeInteger(Number(incarnation))) {
    throw damaged()
  }
  const body = content.slice(0, content.indexOf('checksum '))
  if (crc32(utf8(body)) !== Number.parseInt(checksum as string, 16)) throw damaged()
  return {
    format: name,
    version: Number(version),
    clusterId,
    nodeId,
    incarnation: Number(incarnation),
    ready: state === 'ready',
  }
}

/** Checks what a log store is opened with, the same for every adapter. @throws KeelsonError `INVALID_OPTION` */
export function checkLogContext(context: LogStoreContext): LogStoreContext {
  const where = 'the context of a log store'
  // A host may hand on what it has; no more than this is looked at.
  const { env, clusterId, nodeId } = objectOption<LogStoreContext>()(context, where)
  return checkOptions<LogStoreContext>(
    where,
    { env, clusterId, nodeId },
    {
      env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
      clusterId: nameOption,
      nodeId: nameOption,
    },
  )
}

/** The identity of a new store, with an incarnation that was never there before. */
export function newIdentity(format: Format, { env, clusterId, nodeId }: LogStoreContext): Identity {
  const incarnation = 1 + env.random.integer(Number.MAX_SAFE_INTEGER - 1)
  return { format: format.name, version: format.version, clusterId, nodeId, incarnation, ready: false }
}

/**
 * Opens or makes the directory of a store: locked, for its owner alone, with an identity. One that is locked, foreign
 * or of another format is left as it was.
 *
 * @throws KeelsonError `DIRECTORY_LOCKED`, `FOREIGN_CLUSTER`, `FOREIGN_NODE`, `FORMAT_VERSION`, `CORRUPTION`, `IO`, `DISK_FULL`
 */
export async function openDirectory(
  fs: FileSystem,
  path: string,
  format: Format,
  context: LogStoreContext,
): Promise<OpenDirectory> {
  checkLogContext(context)
  const known = await claimDirectory(fs, path)
  // First without the lock, which a foreign directory should not even see for a moment.
  if (known) await readIdentity(fs, path, format, context)
  const lock = await fs.lock(path, context.env)
  try {
    let identity = await readIdentity(fs, path, format, context)
    if (identity === undefined) {
      await refuseUnknownContent(fs, path)
      identity = newIdentity(format, context)
      await writeFileAtomically(fs, path, identityFile, encodeIdentity(identity))
    }
    const found = identity
    const { version } = format
    return {
      path,
      incarnation: found.incarnation,
      ready: found.ready,
      settled: found.ready && found.version === version,
      settle: () =>
        writeFileAtomically(fs, path, identityFile, encodeIdentity({ ...found, version, ready: true })),
      release: () => lock.release(),
    }
  } catch (error) {
    await lock.release()
    throw error
  }
}

/**
 * Makes a directory for its owner alone, with what lies above it, unless it exists; true if it did.
 *
 * @throws KeelsonError `IO` when others may enter it
 */
export async function claimDirectory(fs: FileSystem, path: string): Promise<boolean> {
  const status = await fs.status(path)
  if (status === undefined) {
    await makeDurableDirectory(fs, path)
    return false
  }
  if (status.kind !== 'directory') {
    throw new KeelsonError('IO', `${path} is not a directory; name another path or move it away`, {
      retryable: false,
      outcome: 'none',
    })
  }
  if ((status.mode & 0o077) !== 0) {
    const mode = (status.mode & 0o777).toString(8).padStart(3, '0')
    throw new KeelsonError(
      'IO',
      `${path} is open to other users (mode ${mode}); a store keeps its directory to itself: chmod 700 ${path}`,
      { retryable: false, outcome: 'none' },
    )
  }
  return true
}

async function makeDurableDirectory(fs: FileSystem, path: string): Promise<void> {
  const parent = parentOf(path)
  if (parent !== undefined && (await fs.status(parent)) === undefined) await makeDurableDirectory(fs, parent)
  await fs.makeDirectory(path, 0o700)
  await fs.syncDirectory(parent ?? '.')
}

/** Without a file system's own rules, which a simulated one would have to share: slashes alone. */
function parentOf(path: string): string | undefined {
  const trimmed = path.replace(/\/+$/, '')
  const slash = trimmed.lastIndexOf('/')
  if (slash < 0) return undefined
  return slash === 0 ? '/' : trimmed.slice(0, slash)
}

async function readIdentity(
  fs: FileSystem,
  path: string,
  format: Format,
  context: LogStoreContext,
): Promise<Identity | undefined> {
  const bytes = await readWholeFile(fs, `${path}/${identityFile}`, maximumIdentityBytes)
  return bytes === undefined ? undefined : checkIdentity(bytes, path, format, context)
}

async function refuseUnknownContent(fs: FileSystem, path: string): Promise<void> {
  const own = `${identityFile}${temporarySuffix}`
  const strange = (await fs.list(path)).find((name) => !name.startsWith(lockPrefix) && name !== own)
  if (strange === undefined) return
  throw new KeelsonError(
    'FORMAT_VERSION',
    `${path} holds '${strange}' but no ${identityFile}, so it is no store of ours; name an empty directory. If the ` +
      'file was lost, replace this node: without it nobody knows whose votes the directory holds',
    { details: { directory: path, found: strange } },
  )
}
