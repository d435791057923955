import { utf8 } from '../../src/core/bytes.ts'
import type { Random } from '../../src/core/random.ts'
import { type MemoryDisk, MemoryLevel } from '../../src/storage/memory/index.ts'

/** A database that changes its log file now and then, and to which a neighbour writes as well. */
export function sharedLevel(disk: MemoryDisk, random: Random): MemoryLevel<Uint8Array, Uint8Array> {
  const database = new MemoryLevel<Uint8Array, Uint8Array>({
    disk,
    logIsFull: () => random.float() < 0.2,
    keyEncoding: 'view',
    valueEncoding: 'view',
  })
  const write = database._batch.bind(database)
  database._batch = (operations, how) => {
    if (random.float() < 0.5)
      void write([{ type: 'put', key: utf8('neighbour'), value: random.bytes(8) }], {})
    return write(operations, how)
  }
  return database
}
