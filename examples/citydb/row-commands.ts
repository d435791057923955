import { concatBytes, prefixEnd } from 'keelson'
import { SchemaFence } from 'keelson/schema'
import type { LevelStateBatch } from 'keelson/storage/level'
import { encodeRefusal, encodeResult, type RangeCommand } from './commands.ts'
import { entryKey, entryPrefix, IndexMaintenance } from './index-maintenance.ts'
import type { Facts } from './range-facts.ts'
import { type Layout, lies, sameBounds } from './range-layout.ts'
import { clear, rowEnd, stagedPrefix, storedRow, tags } from './range-surgery.ts'
import { decodeRow, encodeRow } from './schema.ts'

const indexes = new IndexMaintenance()

/** What a command came to, and what the range knows of itself after it. */
export interface Outcome {
  readonly result: Uint8Array
  readonly facts: Facts
  readonly layout?: Layout
}

/** Carries out a command that leaves the range where it is, or refuses it: on all replicas alike. */
export async function carryOut(
  batch: LevelStateBatch,
  facts: Facts,
  layout: Layout,
  command: RangeCommand,
  term: number,
): Promise<Outcome> {
  const refuse = (...refusal: Parameters<typeof encodeRefusal>): Outcome => ({
    result: encodeRefusal(...refusal),
    facts,
  })
  const done = (rows: number, next: Partial<Facts> = {}, resumeAt?: Uint8Array): Outcome => ({
    result: encodeResult({ rows, resumeAt }),
    facts: Object.keys(next).length === 0 ? facts : { ...facts, ...next },
  })
  const staleEffects = (sequence: number): Partial<Facts> =>
    sequence !== 0 && sequence !== term ? { staleEffects: facts.staleEffects + 1 } : {}

  const fence = new SchemaFence(facts)
  const deposed = 'epoch' in command ? fence.refusalOfChunk(command.epoch) : undefined
  if (deposed !== undefined) return refuse(deposed.code, deposed.message)
  // A neighbour takes over what is here now, and nothing later.
  if (layout.frozen !== undefined) return refuse('STALE_GENERATION', 'the range takes nothing any more')
  if ('within' in command && command.within !== undefined && !sameBounds(command.within, layout.bounds))
    return refuse('STALE_GENERATION', 'the range lies elsewhere than the work was meant for')
  switch (command.type) {
    case 'write': {
      const stale = fence.refusal(command.version)
      if (stale !== undefined) return refuse(stale.code, stale.message)
      if (command.writes.some(({ key }) => !lies(key, layout.bounds))) {
        return refuse('STALE_GENERATION', 'a key lies outside this range; look the range up again')
      }
      let { bytes } = layout
      for (const write of command.writes) {
        const at = storedRow(write.key)
        const found = batch.getFetched(at)
        const before = found === undefined ? undefined : decodeRow(found)
        const after = write.type === 'replace' ? write.row : { ...before, ...write.columns }
        indexes.apply(batch, command.indexes, write.key, before, after)
        const value = encodeRow(after)
        batch.put(at, value)
        bytes += value.length - (found?.length ?? -write.key.length)
      }
      const outcome = done(command.writes.length, staleEffects(command.sequence))
      return bytes === layout.bytes ? outcome : { ...outcome, layout: { ...layout, bytes } }
    }
    case 'ledger':
      return done(0, { ledger: command.writes, ...staleEffects(command.sequence) })
    case 'barrier': {
      const { minimumVersion, epoch } = fence.raised(command)
      return done(0, { minimumVersion, epoch })
    }
    case 'backfill': {
      const filled: Uint8Array[] = []
      const keys: Uint8Array[] = []
      let next: Uint8Array | undefined
      const start = storedRow(command.resumeAt ?? new Uint8Array(0))
      for await (const [key, value] of batch.range({ start, end: rowEnd })) {
        const primaryKey = key.slice(1)
        if (keys.length === command.maximumRows) {
          next = primaryKey
          break
        }
        keys.push(primaryKey)
        filled.push(entryKey(command.index, decodeRow(value), primaryKey))
      }
      for (const [i, entry] of filled.entries()) batch.put(entry, keys[i] as Uint8Array)
      return done(keys.length, { epoch: command.epoch }, next)
    }
    case 'purge': {
      const prefix = entryPrefix(command.indexId)
      const end = prefixEnd(prefix)
      const doomed: Uint8Array[] = []
      for await (const [key] of batch.range({ start: prefix, ...(end === undefined ? {} : { end }) })) {
        if (doomed.length === command.maximumRows) break
        doomed.push(key)
      }
      for (const key of doomed) batch.delete(key)
      const more = doomed.length === command.maximumRows ? prefix : undefined
      return done(doomed.length, { epoch: command.epoch }, more)
    }
    case 'begin':
      return layout.bounds === undefined
        ? { ...done(0), layout: { ...layout, bounds: command.bounds } }
        : done(0)
    case 'absorb': {
      if (command.first) await clear(batch, Uint8Array.of(tags.staged))
      const prefix = stagedPrefix(command)
      for (const [key, value] of command.pairs) batch.put(concatBytes([prefix, key]), value)
      return done(command.pairs.length)
    }
    default:
      return refuse('INVALID_ARGUMENT', 'a change of bounds is applied alone')
  }
}
