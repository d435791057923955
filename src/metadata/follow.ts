import { checkObject } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import { concatBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall } from '../core/options.ts'
import type {
  ChangeEvent,
  KeySelector,
  KeyValue,
  MetadataStore,
  ReadOptions,
  Revision,
} from '../interfaces/metadata-store.ts'

/** What {@link followKeys} yields. */
export type KeyFollowing =
  | {
      /**
       * Everything at one revision: what it begins with, and begins anew with when history was compacted away
       * under it.
       */
      readonly type: 'snapshot'
      /** The revision at which all of it was read. */
      readonly revision: Revision
      /** All entries of the selection, in the order of their keys. */
      readonly entries: readonly KeyValue[]
    }
  | {
      /** What one revision changed. */
      readonly type: 'changes'
      /** The revision that made the changes. */
      readonly revision: Revision
      /** In the order of the transaction. */
      readonly events: readonly ChangeEvent[]
    }

/** All entries of a selection at one revision, however many pages they take. */
export interface KeyListing {
  /** The revision at which all pages were read. */
  readonly revision: Revision
  /** In the order of their keys. */
  readonly entries: readonly KeyValue[]
}

/**
 * Reads a whole selection at one revision, page by page.
 *
 * @throws KeelsonError `COMPACTED` when the revision goes away meanwhile: start again
 */
export async function listKeys(
  store: MetadataStore,
  select: KeySelector,
  options: Omit<ReadOptions, 'limit'> = {},
): Promise<KeyListing> {
  checkObject(store, 'the store to list keys of', ['range'])
  checkCall('listKeys', options, ['revision', 'consistency'])
  const first = await store.range(select, options)
  const revision = options.revision ?? first.revision
  const entries = [...first.entries]
  for (let more = first.more; more; ) {
    const last = entries[entries.length - 1] as KeyValue
    const rest = { key: concatBytes([last.key, Uint8Array.of(0)]), end: select.end ?? null }
    const page = await store.range(rest, { ...options, revision })
    entries.push(...page.entries)
    more = page.more
  }
  return { revision, entries }
}

/**
 * A selection as it is, then every change of it, without a gap: the loop of a controller or a cache. Where the history
 * was compacted away meanwhile, another snapshot takes its place.
 */
export async function* followKeys(
  store: MetadataStore,
  select: KeySelector,
  options: CallOptions & { readonly consistency?: 'linearizable' | 'local' } = {},
): AsyncIterable<KeyFollowing> {
  checkObject(store, 'the store to follow keys of', ['range', 'watch'])
  checkCall('followKeys', options, ['consistency'])
  for (;;) {
    try {
      const { revision, entries } = await listKeys(store, select, options)
      yield { type: 'snapshot', revision, entries }
      const call = options.signal === undefined ? {} : { signal: options.signal }
      for await (const response of store.watch(select, { ...call, fromRevision: revision + 1 }))
        if (response.type === 'changes') yield response
    } catch (error) {
      if (!KeelsonError.hasCode(error, 'COMPACTED')) throw error
    }
  }
}
