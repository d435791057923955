import { crc32 } from '../core/checksum.ts'
import { KeelsonError } from '../core/errors.ts'
import type { EntryKind, LogEntry, LostEntries } from '../interfaces/log-store.ts'
import { type LogRecord, recordHeaderBytes, recordTypes } from './log-format.ts'

/**
 * Walks through the records of a payload without making anything for them: the fields are those of the record that was
 * read last. A log of a gibibyte has millions of records.
 */
export class RecordCursor implements LogRecord {
  type = 0
  groupId = 0
  /** Size of the record with its header. */
  bytes = 0
  /** Of a record of entries: the first and last index, and the term of the last. */
  first = 0
  last = 0
  lastTerm = 0
  /** Of a hard state; the term also of a position. */
  term = 0
  votedFor = 0
  commit = 0
  /** Of a position. */
  index = 0
  #payload: Uint8Array = new Uint8Array(0)
  #at = 0
  #end = 0

  /**
   * Reads the record at `offset` up to what follows its fields: entries or bytes.
   *
   * @param seed of the checksum; undefined where the payload was checked as a whole
   * @returns false at the end of the payload, where only padding is left
   * @throws KeelsonError `MALFORMED` when the record is damaged or makes no sense
   */
  read(payload: Uint8Array, offset: number, seed: number | undefined): boolean {
    const left = payload.length - offset
    if (left < recordHeaderBytes) {
      for (let i = offset; i < payload.length; i++) {
        if (payload[i] !== 0) throw damaged('its padding is not zero')
      }
      return false
    }
    const bodyBytes = readU32(payload, offset + 4)
    if (bodyBytes > left - recordHeaderBytes) throw damaged('it is longer than its batch')
    const end = offset + recordHeaderBytes + bodyBytes
    if (seed !== undefined && readU32(payload, offset) !== crc32(payload.subarray(offset + 4, end), seed)) {
      throw damaged('its checksum does not match')
    }
    this.#payload = payload
    this.#at = offset + recordHeaderBytes
    this.#end = end
    this.bytes = recordHeaderBytes + bodyBytes
    this.type = payload[this.#at++] as number
    this.groupId = this.#varint()
    if (this.groupId === 0) throw damaged('it names no group')
    this.#readFields()
    return true
  }

  #readFields(): void {
    switch (this.type) {
      case recordTypes.entries:
      case recordTypes.movedEntries: {
        this.first = this.#varint()
        const count = this.#varint()
        this.lastTerm = this.#varint()
        this.last = this.first + count - 1
        // Each entry takes at least three bytes.
        if (this.first === 0 || count === 0 || count * 3 > this.#end - this.#at) {
          throw damaged('its entries do not add up')
        }
        if (this.last > Number.MAX_SAFE_INTEGER) throw damaged('it holds an index above the safe integers')
        return
      }
      case recordTypes.lost: {
        this.first = this.#varint()
        this.last = this.first + this.#varint() - 1
        this.lastTerm = this.#varint()
        if (this.first === 0 || this.last < this.first || this.#at > this.#end) {
          throw damaged('its entries do not add up')
        }
        if (this.last > Number.MAX_SAFE_INTEGER) throw damaged('it holds an index above the safe integers')
        return
      }
      case recordTypes.hardState:
        this.term = this.#varint()
        this.votedFor = this.#varint()
        this.commit = this.#varint()
        if (this.#at !== this.#end) throw damaged('it does not end where it should')
        return
      case recordTypes.compacted:
      case recordTypes.reset:
        this.index = this.#varint()
        this.term = this.#varint()
        if (this.#at !== this.#end) throw damaged('it does not end where it should')
        return
      case recordTypes.metadata:
      case recordTypes.destroyed:
        if (this.#at > this.#end) throw damaged('it ends early')
        return
      default:
        throw damaged(`it is of an unknown type (${this.type})`)
    }
  }

  content(): Uint8Array {
    return new Uint8Array(this.#payload.subarray(this.#at, this.#end))
  }

  /**
   * Appends entries `from` to `to` of a record of entries, until `budget` bytes of data are used up. Their data are views
   * into the payload.
   *
   * @returns the budget that is left, or -1 when an entry did not fit any more; the first one of all always fits
   * @throws KeelsonError `MALFORMED`
   */
  entries(from: number, to: number, budget: number, into: LogEntry[]): number {
    let left = budget
    for (let index = this.first; index <= to; index++) {
      const term = this.#varint()
      const kind = this.#payload[this.#at++] as number
      const length = this.#varint()
      const start = this.#at
      this.#at += length
      if (this.#at > this.#end) throw damaged('it ends within its entries')
      if (index < from) continue
      if (kind > 3) throw damaged(`entry ${index} is of an unknown kind (${kind})`)
      if (into.length > 0 && length > left) return -1
      left = Math.max(0, left - length)
      into.push({ index, term, kind: kind as EntryKind, data: this.#payload.subarray(start, this.#at) })
    }
    return left
  }

  /** @throws KeelsonError `MALFORMED` */
  runs(): LostEntries[] {
    const runs: LostEntries[] = []
    let next = this.first
    let start = next
    let term = 0
    const take = (count: number, itsTerm: number): void => {
      if (itsTerm !== term && next > start) {
        runs.push({ first: start, last: next - 1, term })
        start = next
      }
      term = itsTerm
      next += count
    }
    if (this.type === recordTypes.lost) {
      for (let left = this.#varint(); left > 0 && next <= this.last; left--) {
        const count = this.#varint()
        const itsTerm = term + this.#varint()
        if (this.#at > this.#end || count === 0) break
        take(count, itsTerm)
      }
    } else {
      while (next <= this.last) {
        const itsTerm = this.#varint()
        this.#at++
        const length = this.#varint()
        this.#at += length
        if (this.#at > this.#end) break
        take(1, itsTerm)
      }
    }
    if (next > start) runs.push({ first: start, last: next - 1, term })
    if (next !== this.last + 1 || this.#at !== this.#end) throw damaged('its entries do not add up')
    return runs
  }

  /** What lies behind the end of the record is read as well, and refused with the next check of where it ends. */
  #varint(): number {
    const payload = this.#payload
    let byte = payload[this.#at++] as number
    if (byte < 0x80) return byte
    let value = byte & 0x7f
    let factor = 0x80
    for (let i = 0; i < 7; i++) {
      byte = payload[this.#at++] as number
      value += (byte & 0x7f) * factor
      if (!(byte >= 0x80)) {
        if (value > Number.MAX_SAFE_INTEGER) break
        return value
      }
      factor *= 0x80
    }
    throw damaged('it holds a number that is too large')
  }
}

function readU32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  )
}

function damaged(how: string): KeelsonError {
  return new KeelsonError('MALFORMED', `a record of the log is damaged: ${how}`)
}
