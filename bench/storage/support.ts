import { join } from 'node:path'
import { type LogEntry, type LogStore, type LogStoreFactory, nodeEnvironment } from 'keelson'
import { levelLog } from 'keelson/storage/level'
import { segments } from 'keelson/storage/segments'

export const env = nodeEnvironment()

/** The stores that are compared, in their own folders. */
export const adapters: readonly {
  readonly name: string
  readonly factory: (root: string, cleanFromBytes?: number) => LogStoreFactory
}[] = [
  {
    name: 'segments',
    factory: (root, cleanFromBytes) =>
      segments(join(root, 'segments'), cleanFromBytes === undefined ? {} : { cleanFromBytes }),
  },
  {
    name: 'level',
    factory: (root, cleanFromBytes) =>
      levelLog(join(root, 'level'), cleanFromBytes === undefined ? {} : { cleanFromBytes }),
  },
]

export function open(factory: LogStoreFactory): Promise<LogStore> {
  return factory({ env, clusterId: 'bench', nodeId: 'n1' })
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >>> 1] as number
}

export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.floor((sorted.length - 1) * q)] as number
}

export function entriesFrom(index: number, count: number, data: Uint8Array): LogEntry[] {
  return Array.from({ length: count }, (_, i) => ({ index: index + i, term: 1, kind: 1, data }))
}

/** A row of a table, right-aligned. */
export function row(...cells: readonly (string | number)[]): string {
  return cells.map((cell) => String(cell).padStart(12)).join('')
}
