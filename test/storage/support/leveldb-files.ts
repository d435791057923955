import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ByteWriter } from '../../../src/core/bytes.ts'
import { crc32c } from '../../../src/core/checksum.ts'

/** A put, as LevelDB numbers them one by one. */
export interface Put {
  readonly key: string
  readonly value: string
}

/** A log file of LevelDB as its writer makes it, with the places where its batches end. */
export class LevelLogFile {
  readonly #out = new ByteWriter(64 * 1024)
  readonly ends: number[] = []

  /** Appends a batch whose first operation has the number `sequence`. */
  append(sequence: number, puts: readonly Put[]): this {
    const batch = new ByteWriter().u53(sequence).u32(puts.length)
    for (const { key, value } of puts) batch.u8(1).string(key).string(value)
    this.#record(batch.finish())
    this.ends.push(this.#out.length)
    return this
  }

  get bytes(): Uint8Array {
    return this.#out.finish()
  }

  #record(data: Uint8Array): void {
    for (let at = 0, first = true; ; first = false) {
      let room = 32_768 - (this.#out.length % 32_768)
      if (room < 7) {
        this.#out.raw(new Uint8Array(room))
        room = 32_768
      }
      const part = data.subarray(at, at + room - 7)
      at += part.length
      const last = at === data.length
      const typed = Uint8Array.of(first ? (last ? 1 : 2) : last ? 4 : 3, ...part)
      const checksum = crc32c(typed)
      const masked = (((checksum >>> 15) | (checksum << 17)) + 0xa282ead8) >>> 0
      this.#out.u32(masked).u16(part.length).raw(typed)
      if (last) return
    }
  }
}

/** Numbers of the files in a database's directory with this ending, in their order. */
export async function fileNumbers(directory: string, ending: string): Promise<number[]> {
  return (await readdir(directory))
    .filter((name) => name.endsWith(ending))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b)
}

export function logPath(directory: string, number: number): string {
  return join(directory, `${String(number).padStart(6, '0')}.log`)
}

/** Puts log files into the directory of a database that is closed, in place of its own one. */
export async function writeLogs(directory: string, logs: readonly Uint8Array[]): Promise<void> {
  const first = (await fileNumbers(directory, '.log'))[0] as number
  for (const [i, bytes] of logs.entries()) await writeFile(logPath(directory, first + i), bytes)
}
