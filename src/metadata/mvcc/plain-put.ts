import { commandVersion, typeOfTransactions } from './command-types.ts'
import { commandLimits } from './limits.ts'

const noData = new Uint8Array(0)

/**
 * The command of a transaction that does nothing but put one key, without a compare and without a session: nearly all that a
 * log holds. It is read in one pass over its bytes, and the object is used again for the next one.
 */
export class PlainPut {
  data: Uint8Array = noData
  quotaBytes = 0
  /** Where in `data` the key is. */
  keyAt = 0
  keyBytes = 0
  /** Where in `data` the value is. */
  valueAt = 0
  valueBytes = 0

  /** The key, as a view. */
  get key(): Uint8Array {
    return this.data.subarray(this.keyAt, this.keyAt + this.keyBytes)
  }

  /** The value, as a view. */
  get value(): Uint8Array {
    return this.data.subarray(this.valueAt, this.valueAt + this.valueBytes)
  }

  /**
   * Takes a command in. False, with nothing said about it, unless it is encoded exactly as this release does it, and
   * within the limits: whatever it is, the thorough way tells.
   */
  read(data: Uint8Array): boolean {
    const { length } = data
    // [version, type, quotaBytes, [[], [[put, key, value, no session]], []]]
    if (length < 16 || data[0] !== 0x94 || data[1] !== commandVersion || data[2] !== typeOfTransactions)
      return false
    let at = 3
    let quotaBytes = data[at++] as number
    if (quotaBytes > 0x7f) {
      const tag = quotaBytes
      quotaBytes = 0
      if (tag === 0xce) {
        for (const end = at + 4; at < end; at++) quotaBytes = quotaBytes * 256 + (data[at] as number)
      } else if (tag === 0xcb) {
        quotaBytes = new DataView(data.buffer, data.byteOffset + at, 8).getFloat64(0)
        at += 8
        if (!Number.isSafeInteger(quotaBytes) || quotaBytes < 0) return false
      } else return false
    }
    if (data[at] !== 0x93 || data[at + 1] !== 0x90 || data[at + 2] !== 0x91) return false
    if (data[at + 3] !== 0x94 || data[at + 4] !== 0) return false
    at += 5
    const keyTag = data[at++]
    let keyBytes = data[at++] as number
    if (keyTag === 0xc5) keyBytes = keyBytes * 256 + (data[at++] as number)
    else if (keyTag !== 0xc4) return false
    const keyAt = at
    at += keyBytes
    if (!(keyBytes > 0 && keyBytes <= commandLimits.keyBytes) || at + 4 > length) return false
    const valueTag = data[at++]
    let valueBytes = data[at++] as number
    if (valueTag === 0xc5) valueBytes = valueBytes * 256 + (data[at++] as number)
    else if (valueTag !== 0xc4) return false
    const valueAt = at
    at += valueBytes
    // No session, no other branch, and nothing else.
    if (at + 2 !== length || data[at] !== 0 || data[at + 1] !== 0x90) return false
    this.data = data
    this.quotaBytes = quotaBytes
    this.keyAt = keyAt
    this.keyBytes = keyBytes
    this.valueAt = valueAt
    this.valueBytes = valueBytes
    return true
  }

  /** Lets go of the command. */
  clear(): void {
    this.data = noData
  }
}
