import { text } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { FileSystem } from '../../interfaces/file-system.ts'
import { readWholeFile, writeFileAtomically } from '../file-system.ts'
import { type BatchNumbers, batchNumbers, neededFrom, readLevelLog } from './leveldb-log.ts'

/** A part of a file would look as if the rest were missing; and LevelDB will read all of it, too. */
const whole = Number.MAX_SAFE_INTEGER

interface LogFile {
  readonly name: string
  readonly number: number
  readonly content: Uint8Array
}

/** What is given up because of a gap. */
interface Gap {
  /** The last file that keeps something, and how much; undefined when none does. */
  readonly trimmed: { readonly file: LogFile; readonly to: number } | undefined
  readonly removed: readonly LogFile[]
}

/**
 * Makes what LevelDB finds in its log files a beginning of what was written to them. After a power cut the end of one file
 * may be missing although a later file is there, and blocks within a file although later ones are there. LevelDB passes
 * over such a gap in silence: a state in the database would have the effects of later writes, and the bookkeeping that
 * says so, without those of earlier ones. Here everything behind the first gap is given up, as if the power had
 * failed that much earlier.
 *
 * A gap shows in the numbers of the batches, which go on from file to file without one, and within a file in a damaged
 * place with a record behind it. A torn end that nothing follows is no gap. A file without a record counts as one that lost
 * all it had, if a later one has any.
 *
 * Nothing that `flushLevel` confirmed lies behind a gap: it is in tables, or in the synced part of the oldest file.
 *
 * @param claim throws if somebody has the database open: a living log that is read while it is written may look like
 *   one with a gap. Called only when there seems to be one
 * @returns bytes that were given up; undefined when there was no gap
 */
export async function cutAtGap(
  fs: FileSystem,
  directory: string,
  claim: () => Promise<void>,
): Promise<number | undefined> {
  if ((await findGap(fs, directory)) === undefined) return undefined
  await claim()
  const gap = await findGap(fs, directory)
  if (gap === undefined) return undefined
  let bytes = 0
  // What a power cut leaves of this still has the gap.
  for (const { name, content } of gap.removed) {
    await fs.remove(`${directory}/${name}`)
    bytes += content.length
  }
  await fs.syncDirectory(directory)
  if (gap.trimmed !== undefined) {
    const { file, to } = gap.trimmed
    bytes += file.content.length - to
    await writeFileAtomically(fs, directory, file.name, file.content.subarray(0, to))
  }
  return bytes
}

async function findGap(fs: FileSystem, directory: string): Promise<Gap | undefined> {
  const needed = await firstNeeded(fs, directory)
  if (needed === undefined) return undefined
  const files = await readLogs(fs, directory, needed)
  /** The last record before a gap. */
  let last = { file: -1, end: 0, next: 0 }
  for (let i = 0; i < files.length; i++) {
    for (const record of readLevelLog((files[i] as LogFile).content).records) {
      const numbers = record.afterDamage ? undefined : numbersOf(record.bytes)
      // LevelDB names the file that it needs first durably when it makes it.
      const follows =
        last.file === i ||
        (i === 0 ? files[0]?.number === needed : last.file === i - 1 && (numbers?.sequence ?? 0) <= last.next)
      if (numbers === undefined || !follows) return gapAfter(files, last)
      last = { file: i, end: record.end, next: numbers.sequence + numbers.count }
    }
  }
  return undefined
}

function gapAfter(files: readonly LogFile[], last: { readonly file: number; readonly end: number }): Gap {
  const file = files[last.file]
  return {
    trimmed: file === undefined || last.end === file.content.length ? undefined : { file, to: last.end },
    removed: files.slice(last.file + 1),
  }
}

function numbersOf(record: Uint8Array): BatchNumbers | undefined {
  try {
    return batchNumbers(record)
  } catch (error) {
    if (KeelsonError.hasCode(error, 'MALFORMED')) return undefined
    throw error
  }
}

async function readLogs(fs: FileSystem, directory: string, needed: number): Promise<LogFile[]> {
  const files: LogFile[] = []
  for (const name of await fs.list(directory)) {
    const number = Number(/^(\d+)\.log$/.exec(name)?.[1] ?? Number.NaN)
    if (!(number >= needed)) continue
    const content = await readWholeFile(fs, `${directory}/${name}`, whole)
    if (content !== undefined) files.push({ name, number, content })
  }
  return files.sort((a, b) => a.number - b.number)
}

/**
 * The number of the first log file that LevelDB will read; undefined when there is no database yet, or one that LevelDB
 * will refuse itself.
 */
async function firstNeeded(fs: FileSystem, directory: string): Promise<number | undefined> {
  const current = await readWholeFile(fs, `${directory}/CURRENT`, 100)
  if (current === undefined) return undefined
  try {
    const name = /^(MANIFEST-\d+)\n$/.exec(text(current))?.[1]
    const manifest = name === undefined ? undefined : await readWholeFile(fs, `${directory}/${name}`, whole)
    if (manifest === undefined) return undefined
    const { records, damaged } = readLevelLog(manifest)
    return damaged ? undefined : neededFrom(records)
  } catch (error) {
    if (KeelsonError.hasCode(error, 'MALFORMED')) return undefined
    throw error
  }
}
