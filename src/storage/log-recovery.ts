import { KeelsonError } from '../core/errors.ts'
import { LogIndex } from './log-index.ts'
import type { LogExtent, LogMedium } from './log-medium.ts'
import { RecordCursor } from './record-cursor.ts'

/**
 * Reads what a medium holds.
 *
 * @throws KeelsonError `CORRUPTION`, `IO`
 */
export async function recoverLog(
  medium: LogMedium,
  seed: number,
  where: string,
): Promise<{ readonly index: LogIndex; readonly extent: LogExtent }> {
  const index = new LogIndex()
  const cursor = new RecordCursor()
  const extent = await medium.recover((payload, position, verified) => {
    // All of a batch or nothing: every record is checked before the first one counts.
    if (!verified) for (let at = 0; cursor.read(payload, at, seed); at += cursor.bytes);
    let at = 0
    try {
      for (; cursor.read(payload, at, undefined); at += cursor.bytes) index.replay(cursor, position + at)
    } catch (cause) {
      // The checksums hold, so it was not torn: somebody wrote it so.
      throw new KeelsonError(
        'CORRUPTION',
        `the log in ${where} holds a record at position ${position + at} that is whole but makes no sense; open it ` +
          'with the release that wrote it',
        { cause },
      )
    }
  })
  return { index, extent }
}
