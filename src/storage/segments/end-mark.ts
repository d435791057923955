import { crc32 } from '../../core/checksum.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Logger } from '../../core/logger.ts'
import type { FileSystem } from '../../interfaces/file-system.ts'
import type { Incarnation } from '../../model/ids.ts'
import { readWholeFile, writeFileAtomically } from '../file-system.ts'

// Whoever closes a log in order leaves a file that says where it ended, and whoever opens it next takes that away before
// anything is written. So the loss of the newest file, behind which nothing lies that could tell of it, is found out too. A
// release that knows nothing of it leaves it where it is, which does no harm: what was durable then stays so.
//
//   magic 8 bytes · version u32 · checksum u32 · incarnation u64 · end u64

/** The name of the file. */
export const endMarkName = 'END'

const magic = Uint8Array.from('KEELEND\n', (character) => character.charCodeAt(0))
const version = 1
const markBytes = 32

export function encodeEndMark(end: number, incarnation: Incarnation): Uint8Array {
  const bytes = new Uint8Array(markBytes)
  const view = new DataView(bytes.buffer)
  bytes.set(magic)
  view.setUint32(8, version, true)
  view.setBigUint64(16, BigInt(incarnation), true)
  view.setBigUint64(24, BigInt(end), true)
  view.setUint32(12, checksumOf(bytes), true)
  return bytes
}

/** Where the log ended when it was closed; undefined for what is none of this store's marks, or of a later version. */
export function decodeEndMark(bytes: Uint8Array, incarnation: Incarnation): number | undefined {
  if (bytes.length !== markBytes || magic.some((byte, i) => bytes[i] !== byte)) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, markBytes)
  if (view.getUint32(8, true) !== version || view.getUint32(12, true) !== checksumOf(bytes)) return undefined
  if (view.getBigUint64(16, true) !== BigInt(incarnation)) return undefined
  return Number(view.getBigUint64(24, true))
}

/** Of version, incarnation and end. */
function checksumOf(bytes: Uint8Array): number {
  return crc32(bytes.subarray(16), crc32(bytes.subarray(8, 12)))
}

/** Where a mark lies, and whose it is. */
export interface EndMarkParts {
  readonly fs: FileSystem
  readonly directory: string
  readonly incarnation: Incarnation
  readonly logger: Logger
}

/** Says durably where a log ends that nobody writes to any more. */
export async function leaveEndMark(
  { fs, directory, incarnation }: Omit<EndMarkParts, 'logger'>,
  end: number,
): Promise<void> {
  await writeFileAtomically(fs, directory, endMarkName, encodeEndMark(end, incarnation))
}

/**
 * Checks where a log ends, as it was found, against the mark that its last close left, if there is one.
 *
 * @throws KeelsonError `CORRUPTION` when it ends before that place
 */
export async function checkEndMark(
  { fs, directory, incarnation, logger }: EndMarkParts,
  end: number,
): Promise<void> {
  const bytes = await readWholeFile(fs, `${directory}/${endMarkName}`, markBytes + 1)
  if (bytes === undefined) return
  const marked = decodeEndMark(bytes, incarnation)
  if (marked === undefined) {
    logger.warn(
      { directory, file: endMarkName },
      'the mark of where the log ended cannot be read, and vouches for nothing',
    )
  } else if (marked > end) {
    throw new KeelsonError(
      'CORRUPTION',
      `the log in ${directory} ended at position ${marked} when it was closed, and ends at ${end} now: the disk has lost its newest ` +
        'file, or the end of it. Nothing was changed: restore the directory, or replace this node, so that it comes back as a ' +
        'new incarnation',
      { details: { file: endMarkName, closedAt: marked, position: end } },
    )
  }
}

/** Takes the mark away, durably: what is written from now on may be lost in a crash, and then the log ends where it may. */
export async function removeEndMark({ fs, directory }: EndMarkParts): Promise<void> {
  const path = `${directory}/${endMarkName}`
  if ((await fs.status(path)) === undefined) return
  await fs.remove(path)
  await fs.syncDirectory(directory)
}
