import { concatBytes, equalBytes } from 'keelson'
import type { LevelStateBatch } from 'keelson/storage/level'
import { type IndexPlan, indexKey, type Row } from './schema.ts'

const indexTag = 0x69

/** Where an index keeps its entries inside a range: all of one index together, by its order. */
export function entryPrefix(indexId: number): Uint8Array {
  const prefix = new Uint8Array(5)
  prefix[0] = indexTag
  new DataView(prefix.buffer).setUint32(1, indexId)
  return prefix
}

/** The key of a row's entry in an index. */
export function entryKey(
  plan: Pick<IndexPlan, 'indexId' | 'columns'>,
  row: Row,
  key: Uint8Array,
): Uint8Array {
  return concatBytes([entryPrefix(plan.indexId), indexKey(plan, row, key)])
}

/**
 * Keeps index entries in step with their row, by the states of Google's F1: an index that is delete-only loses the
 * entries of rows that go or change, one that is write-only or public gains those of the new row as well.
 */
export class IndexMaintenance {
  /** Whether a write must add entries to an index in this state. */
  adds(state: IndexPlan['state']): boolean {
    return state !== 'deleteOnly'
  }

  apply(
    batch: LevelStateBatch,
    plans: readonly IndexPlan[],
    key: Uint8Array,
    before: Row | undefined,
    after: Row | undefined,
  ): void {
    for (const plan of plans) {
      const old = before === undefined ? undefined : entryKey(plan, before, key)
      const fresh = after === undefined ? undefined : entryKey(plan, after, key)
      const same = old !== undefined && fresh !== undefined && equalBytes(old, fresh)
      // An unchanged entry is left alone by delete-only, and written again by the others: a backfill that has not
      // come by here yet then finds it in place.
      if (old !== undefined && !same) batch.delete(old)
      if (fresh !== undefined && this.adds(plan.state)) batch.put(fresh, key)
    }
  }
}
