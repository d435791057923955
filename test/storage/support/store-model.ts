import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import type {
  GroupWrite,
  HardState,
  LogEntry,
  LogPosition,
  LogStore,
} from '../../../src/interfaces/log-store.ts'

/** Something that was done to a store. Each write carries its number in the commit index of group 1. */
export type StoreOperation =
  | { readonly type: 'write'; readonly batch: readonly GroupWrite[]; readonly number: number }
  | { readonly type: 'compact'; readonly groupId: number; readonly through: LogPosition }
  | { readonly type: 'destroy'; readonly groupId: number; readonly tombstone: Uint8Array }

interface Group {
  compacted: LogPosition
  entries: LogEntry[]
  hardState: HardState | undefined
  metadata: Uint8Array | undefined
}

/** What a store should hold, the plain way. */
export class StoreModel {
  readonly groups: Map<number, Group> = new Map()

  copy(): StoreModel {
    const copy = new StoreModel()
    for (const [groupId, group] of this.groups) {
      copy.groups.set(groupId, { ...group, entries: group.entries.slice() })
    }
    return copy
  }

  last(groupId: number): LogPosition {
    const group = this.groups.get(groupId)
    const entry = group?.entries.at(-1)
    return entry === undefined
      ? (group?.compacted ?? { index: 0, term: 0 })
      : { index: entry.index, term: entry.term }
  }

  apply(operation: StoreOperation): void {
    if (operation.type === 'destroy') {
      this.groups.delete(operation.groupId)
      if (operation.tombstone.length > 0) this.#make(operation.groupId).metadata = operation.tombstone
    } else if (operation.type === 'compact') {
      const group = this.#make(operation.groupId)
      const count = operation.through.index - group.compacted.index
      if (count <= 0) return
      group.entries.splice(0, count)
      group.compacted = operation.through
    } else for (const write of operation.batch) this.#write(write)
  }

  #write({ groupId, reset, entries = [], hardState, metadata }: GroupWrite): void {
    const empty = reset === undefined && hardState === undefined && metadata === undefined
    if (empty && entries.length === 0) return
    const group = this.#make(groupId)
    if (reset !== undefined) {
      group.entries = []
      group.compacted = reset
    }
    const [first] = entries
    if (first !== undefined) {
      group.entries.length = first.index - group.compacted.index - 1
      group.entries.push(...entries)
    }
    if (hardState !== undefined) group.hardState = hardState
    if (metadata !== undefined) group.metadata = metadata
  }

  #make(groupId: number): Group {
    let group = this.groups.get(groupId)
    if (group === undefined) {
      group = { compacted: { index: 0, term: 0 }, entries: [], hardState: undefined, metadata: undefined }
      this.groups.set(groupId, group)
    }
    return group
  }

  /** True when the store says that it holds this, entries aside. */
  fits(store: LogStore): boolean {
    const found = store.recovered()
    if (found.size !== this.groups.size) return false
    for (const [groupId, { hardState, metadata, compacted }] of this.groups) {
      const group = found.get(groupId)
      const expected = { hardState, metadata, compacted, last: this.last(groupId) }
      const actual = {
        hardState: group?.hardState,
        metadata: group?.metadata,
        compacted: group?.compacted,
        last: group?.last,
      }
      if (!isDeepStrictEqual(plain(actual), plain(expected))) return false
    }
    return true
  }

  /**
   * Reads everything back. What the store says is lost must be refused, and everything else be right.
   *
   * @returns how many entries are lost
   */
  async check(store: LogStore, lostOf: ReadonlyMap<number, ReadonlyMap<number, number>>): Promise<number> {
    let lost = 0
    for (const [groupId, { entries }] of this.groups) {
      for (const entry of entries) {
        const term = lostOf.get(groupId)?.get(entry.index)
        if (term === undefined) {
          const [read] = await store.read(groupId, entry.index, entry.index, 1)
          assert.deepEqual(
            { ...read, data: [...(read?.data ?? [])] },
            { ...entry, data: [...entry.data] },
            `entry ${entry.index} of group ${groupId}`,
          )
        } else {
          lost++
          assert.equal(term, entry.term, 'the term of what is lost is known')
          await assert.rejects(store.read(groupId, entry.index, entry.index, 1), { code: 'CORRUPTION' })
        }
      }
    }
    return lost
  }
}

/** The entries that a store says are lost, with their terms. */
export function lostEntries(store: LogStore): Map<number, Map<number, number>> {
  const found = new Map<number, Map<number, number>>()
  for (const [groupId, { lost = [] }] of store.recovered()) {
    const terms = new Map<number, number>()
    for (const { first, last, term } of lost) {
      for (let index = first; index <= last; index++) terms.set(index, term)
    }
    found.set(groupId, terms)
  }
  return found
}

function plain(value: object): unknown {
  return JSON.parse(JSON.stringify(value, (_, each) => (each instanceof Uint8Array ? [...each] : each)))
}
