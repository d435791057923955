import { KeelsonError } from '../core/errors.ts'
import { type FoundRecord, readRecord } from './log-format.ts'
import { LogIndex } from './log-index.ts'
import type { LogExtent, LogMedium } from './log-medium.ts'

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
  const extent = await medium.recover((payload, position) => {
    const records: FoundRecord[] = []
    // All of a batch or nothing: every record is checked before the first one counts.
    for (let at = 0; at < payload.length; at += (records.at(-1) as FoundRecord).bytes) {
      const record = readRecord(payload, at, seed)
      if (record === undefined) break
      records.push(record)
    }
    let at = position
    for (const record of records) {
      replay(index, record, at, where)
      at += record.bytes
    }
  })
  return { index, extent }
}

/** A record whose checksum holds and that makes no sense was not torn: somebody wrote it so. */
function replay(index: LogIndex, record: FoundRecord, at: number, where: string): void {
  try {
    index.replay(record, at)
  } catch (cause) {
    throw new KeelsonError(
      'CORRUPTION',
      `the log in ${where} holds a record at position ${at} that is whole but makes no sense; open it with the ` +
        'release that wrote it',
      { cause },
    )
  }
}
