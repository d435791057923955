import { checkOptions, integerOption, objectOption, wordOption } from '../../core/options.ts'
import type { FileSystem } from '../../interfaces/file-system.ts'
import type { LogStore, LogStoreContext, LogStoreFactory } from '../../interfaces/log-store.ts'
import { logFormatVersion, oldestLogFormat } from '../batch-format.ts'
import { checkLogContext, openDirectory } from '../directory.ts'
import { pathOption } from '../file-system.ts'
import { LogEngine } from '../log-engine.ts'
import { nodeFileSystem } from '../node-file-system.ts'
import { SegmentMedium } from './medium.ts'

/** Options of {@link segments}. */
export interface SegmentsOptions {
  /** Size of a segment. A single write must fit into one. The log takes at least two. */
  readonly segmentBytes?: number
  /** Bytes that may wait to be written; more are refused with `OVERLOADED`. */
  readonly maximumQueuedBytes?: number
  /** Dead bytes that are left lying before a cleaning pays. */
  readonly cleanFromBytes?: number
  /**
   * What happens when the disk has damaged what it had confirmed. `refuse`: the store does not open, and says what is damaged.
   * `contain`: where it is known which entries are gone, the store opens without them, and
   * `recovered()` tells its user which, who has to keep these groups from doing harm and may repair them; a Raft host
   * does both.
   */
  readonly damage?: 'refuse' | 'contain'
  /** Default: the machine's own. */
  readonly fileSystem?: FileSystem
}

/** Defaults of {@link SegmentsOptions}. */
export const segmentsDefaults: Readonly<Required<Omit<SegmentsOptions, 'fileSystem'>>> = Object.freeze({
  segmentBytes: 16 * 1024 * 1024,
  maximumQueuedBytes: 64 * 1024 * 1024,
  cleanFromBytes: 32 * 1024 * 1024,
  damage: 'refuse',
})

const format = Object.freeze({ name: 'segments', version: logFormatVersion, oldest: oldestLogFormat })

/**
 * A log store in append-only files of a directory of its own: the fastest one on a disk, and the default there.
 *
 * All writes that wait become one write and one `fdatasync` into a file that was filled with zeros before. A segment is
 * removed when nothing in it is needed any more; what little is, is copied first.
 */
export function segments(directory: string, options: SegmentsOptions = {}): LogStoreFactory {
  const path = pathOption(directory, 'segments: the directory')
  const checked = checkOptions<Required<SegmentsOptions>>(
    'segments',
    options,
    {
      segmentBytes: integerOption({
        min: 16 * 1024,
        max: 1024 * 1024 * 1024,
        fallback: segmentsDefaults.segmentBytes,
      }),
      maximumQueuedBytes: integerOption({ min: 16 * 1024, fallback: segmentsDefaults.maximumQueuedBytes }),
      cleanFromBytes: integerOption({ min: 0, fallback: segmentsDefaults.cleanFromBytes }),
      damage: wordOption(['refuse', 'contain'], segmentsDefaults.damage),
      fileSystem: objectOption<FileSystem>(
        ['status', 'makeDirectory', 'list', 'open', 'rename', 'remove', 'syncDirectory', 'lock'],
        nodeFileSystem,
      ),
    },
    ({ segmentBytes, maximumQueuedBytes }, refuse) => {
      if (segmentBytes % 4096 !== 0) refuse("'segmentBytes' must be a multiple of 4096")
      if (maximumQueuedBytes < segmentBytes) refuse("'maximumQueuedBytes' must be at least 'segmentBytes'")
    },
  )
  return async (context) => openSegments(path, checked, checkLogContext(context))
}

async function openSegments(
  path: string,
  options: Required<SegmentsOptions>,
  context: LogStoreContext,
): Promise<LogStore> {
  const { segmentBytes, maximumQueuedBytes, cleanFromBytes, damage, fileSystem: fs } = options
  const { env } = context
  const directory = await openDirectory(fs, path, format, context)
  const { incarnation, ready } = directory
  const medium = new SegmentMedium({
    fs,
    directory: path,
    incarnation,
    segmentBytes,
    ready,
    contain: damage === 'contain',
    env,
  })
  try {
    const store = await LogEngine.open({
      env,
      incarnation,
      medium,
      where: path,
      adapter: 'segments',
      maximumQueuedBytes,
      cleanFromBytes,
      release: () => directory.release(),
    })
    if (!directory.settled) await directory.settle()
    return store
  } catch (error) {
    await medium.close()
    await directory.release()
    throw error
  }
}
