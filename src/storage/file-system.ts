import { KeelsonError } from '../core/errors.ts'
import { type OptionCheck, showValue, stringOption } from '../core/options.ts'
import type { FileSystem } from '../interfaces/file-system.ts'

/** Names that {@link FileSystem.lock} uses inside the directory begin so. */
export const lockPrefix = 'LOCK.'

const noRoom: readonly unknown[] = ['ENOSPC', 'EDQUOT', 'EFBIG']

/** What only a person can put right, and how. */
const hints: ReadonlyMap<string, string> = new Map([
  ['EACCES', 'give this process the right to it, or name another directory'],
  ['EPERM', 'give this process the right to it, or name another directory'],
  ['EROFS', 'the file system is read-only: mount it for writing, or name another directory'],
  ['ENOTDIR', 'a part of the path is no directory: name another one'],
  ['ENAMETOOLONG', 'the path is too long: name a shorter one'],
  ['ELOOP', 'the path leads round in a circle: name another one'],
  ['EISDIR', 'a directory stands in the place of a file: move it away, or name another directory'],
  ['EMFILE', 'this process has too many files open: raise its limit'],
])

/** An error of the system as one of ours. */
export function ioError(error: unknown, doing: string): KeelsonError {
  if (KeelsonError.is(error)) return error
  const code = (error as { code?: unknown } | null)?.code
  const reason = error instanceof Error ? error.message : String(error)
  if (noRoom.includes(code)) {
    return new KeelsonError(
      'DISK_FULL',
      `${doing} failed, as the disk is full; free some space, then open the store again (${reason})`,
      { cause: error, outcome: 'unknown' },
    )
  }
  const hint = typeof code === 'string' ? hints.get(code) : undefined
  if (hint === undefined) return new KeelsonError('IO', `${doing} failed: ${reason}`, { cause: error })
  return new KeelsonError('IO', `${doing} failed: ${reason}; ${hint}`, {
    cause: error,
    retryable: false,
    outcome: 'none',
  })
}

/** Takes the path of a directory. */
export const pathOption: OptionCheck<string> = (value, name) => {
  const path = stringOption()(value, name)
  if (!path.includes('\0')) return path
  throw new KeelsonError(
    'INVALID_OPTION',
    `${name} takes a path, which has no NUL in it, not ${showValue(path)}`,
  )
}

/** The whole content of a file, or undefined when it is not there. */
export async function readWholeFile(
  fs: FileSystem,
  path: string,
  maximumBytes: number,
): Promise<Uint8Array | undefined> {
  const status = await fs.status(path)
  if (status === undefined) return undefined
  const file = await fs.open(path, 'existing')
  try {
    const bytes = new Uint8Array(Math.min(status.size, maximumBytes))
    return bytes.subarray(0, await file.read(bytes, 0))
  } finally {
    await file.close()
  }
}

/** Makes a file with this content appear at once and durably, or not at all. */
export async function writeFileAtomically(
  fs: FileSystem,
  directory: string,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  const temporary = `${directory}/${name}${temporarySuffix}`
  // Left over by an attempt that a crash cut short.
  if ((await fs.status(temporary)) !== undefined) {
    await fs.remove(temporary)
    // Else the renaming could survive a power cut without the removal, and give the name to what was left over.
    await fs.syncDirectory(directory)
  }
  const file = await fs.open(temporary, 'new')
  try {
    await file.write(bytes, 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await fs.rename(temporary, `${directory}/${name}`)
  await fs.syncDirectory(directory)
}

/** Ending of a file that is being made by {@link writeFileAtomically}. */
export const temporarySuffix = '.new'
