import { KeelsonError } from '../core/errors.ts'
import type { LogRecord } from './log-format.ts'
import { LogIndex } from './log-index.ts'
import type { LogExtent, LogMedium, LogReplay } from './log-medium.ts'
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
  const replay = new IndexReplay(seed, where)
  const extent = await medium.recover(replay)
  return { index: replay.index, extent }
}

/** Builds the index from what is found. */
class IndexReplay implements LogReplay {
  readonly index: LogIndex = new LogIndex()
  readonly #cursor = new RecordCursor()
  readonly #seed: number
  readonly #where: string

  constructor(seed: number, where: string) {
    this.#seed = seed
    this.#where = where
  }

  batch(payload: Uint8Array, position: number, verified: boolean): void {
    const cursor = this.#cursor
    const { index } = this
    // All of a batch or nothing: every record is checked before the first one counts.
    if (!verified) for (let at = 0; cursor.read(payload, at, this.#seed); at += cursor.bytes);
    let at = 0
    try {
      for (; cursor.read(payload, at, undefined); at += cursor.bytes) index.replay(cursor, position + at)
    } catch (cause) {
      // The checksums hold, so it was not torn: somebody wrote it so.
      throw new KeelsonError(
        'CORRUPTION',
        `the log in ${this.#where} holds a record at position ${position + at} that is whole but makes no sense; open ` +
          'it with the release that wrote it',
        { cause },
      )
    }
  }

  record(record: LogRecord, position: number): void {
    this.index.replay(record, position)
  }

  damaged(record: LogRecord, position: number): void {
    this.index.replayDamaged(record, position)
  }
}
