import { KeelsonError } from '../core/errors.ts'
import type { LogEntry } from '../interfaces/log-store.ts'
import type { GroupId } from '../model/ids.ts'
import type { Block } from './block-table.ts'
import type { GroupLog } from './group-log.ts'
import { recordTypes } from './log-format.ts'
import type { LogMedium } from './log-medium.ts'
import { RecordCursor } from './record-cursor.ts'

/** More than asked for may be read in one go, so that few goes are needed. */
const spareBytes = 16 * 1024

/** Reads entries back, and believes nothing that does not carry its checksum, group and index. */
export class LogReader {
  readonly #medium: LogMedium
  readonly #seed: number

  constructor(medium: LogMedium, seed: number) {
    this.#medium = medium
    this.#seed = seed
  }

  /**
   * The blocks to read for entries `from` to `to` in about so many bytes; at least one. They end before entries that are
   * damaged.
   *
   * @throws KeelsonError `CORRUPTION` when the first one is damaged
   */
  plan(group: GroupLog, from: number, to: number, maximumBytes: number): Block[] {
    const blocks: Block[] = []
    let bytes = 0
    for (let i = group.blocks.find(from); i < group.blocks.count; i++) {
      const block = group.blocks.at(i)
      if (block.first > to) break
      if (block.bytes === 0) {
        if (blocks.length > 0) break
        throw this.#lost(group.groupId, block)
      }
      bytes += block.bytes
      if (blocks.length > 0 && bytes > maximumBytes + spareBytes) break
      blocks.push(block)
    }
    return blocks
  }

  /**
   * Appends the entries from `from` to `to` that the blocks hold, until `budget` bytes of data are used up.
   *
   * @returns the budget that is left, or -1 when an entry did not fit any more
   * @throws KeelsonError `CORRUPTION`, `IO`
   */
  async read(
    groupId: GroupId,
    blocks: readonly Block[],
    from: number,
    to: number,
    budget: number,
    into: LogEntry[],
  ): Promise<number> {
    const stretches = await this.#medium.read(blocks)
    let left = budget
    for (let i = 0; i < blocks.length && left >= 0; i++) {
      const block = blocks[i] as Block
      const first = Math.max(from, block.first)
      left = this.#open(
        groupId,
        block,
        stretches[i] as Uint8Array,
        first,
        Math.min(to, block.last),
        left,
        into,
      )
    }
    return left
  }

  #lost(groupId: GroupId, { first, last, position }: Block): KeelsonError {
    return new KeelsonError(
      'CORRUPTION',
      `entries ${first} to ${last} of group ${groupId} are lost: the disk has damaged them (found in ` +
        `${this.#medium.locate(position)}). Repair them from a peer, or replace this replica`,
      { details: { groupId, first, last } },
    )
  }

  /** Appends entries of the record that lies in `bytes`; the budget that is left is returned. */
  #open(
    groupId: GroupId,
    block: Block,
    bytes: Uint8Array,
    from: number,
    to: number,
    budget: number,
    into: LogEntry[],
  ): number {
    const record = new RecordCursor()
    try {
      const found = record.read(bytes, 0, this.#seed)
      if (!found || record.groupId !== groupId || record.bytes !== block.bytes) {
        throw new KeelsonError('MALFORMED', 'another record lies there')
      }
      const { type, first, last } = record
      const ofEntries = type === recordTypes.entries || type === recordTypes.movedEntries
      if (!ofEntries || first > block.first || last < block.last) {
        throw new KeelsonError('MALFORMED', 'other entries lie there')
      }
      return record.entries(from, to, budget, into)
    } catch (cause) {
      if (!KeelsonError.hasCode(cause, 'MALFORMED')) throw cause
      throw new KeelsonError(
        'CORRUPTION',
        `entries ${block.first} to ${block.last} of group ${groupId} in ${this.#medium.locate(block.position)} ` +
          `are damaged (${cause.message}); they are not served. Replace this node, or restore its directory`,
        { cause, details: { groupId, first: block.first, last: block.last } },
      )
    }
  }
}
