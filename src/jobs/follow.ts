import { type CallOptions, sleep } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import type {
  ChangeEvent,
  KeySelector,
  KeyValue,
  MetadataStore,
  Revision,
} from '../interfaces/metadata-store.ts'

/** What {@link follow} yields: everything, then every change, all of one revision at once. */
export type Followed =
  | { readonly type: 'snapshot'; readonly revision: Revision; readonly entries: readonly KeyValue[] }
  | { readonly type: 'changes'; readonly revision: Revision; readonly events: readonly ChangeEvent[] }

const minimumDelayMs = 50
const maximumDelayMs = 2000

/**
 * Reads a selection and then watches it from exactly where the read ended. When history that it needs was compacted, or
 * the store is away for a while, it starts anew with another snapshot; it ends when the signal is aborted and fails
 * with what no retry can heal.
 */
export async function* follow(
  store: MetadataStore,
  env: Environment,
  select: KeySelector,
  options: CallOptions = {},
): AsyncGenerator<Followed, void, undefined> {
  let delayMs = minimumDelayMs
  const stopped = (): boolean => options.signal?.aborted === true
  while (!stopped()) {
    try {
      const { entries, revision } = await readAll(store, select, options)
      yield { type: 'snapshot', revision, entries }
      delayMs = minimumDelayMs
      for await (const response of store.watch(select, { ...options, fromRevision: revision + 1 })) {
        if (response.type === 'changes') yield response
      }
    } catch (error) {
      if (stopped()) return
      if (!KeelsonError.is(error)) throw error
      if (error.code === 'COMPACTED') continue
      if (!error.retryable) throw error
      await sleep(env.timers, delayMs, options.signal).catch(() => {})
      delayMs = Math.min(delayMs * 2, maximumDelayMs)
    }
  }
}

/** The whole selection at one revision, however many reads the store's limits ask for. */
async function readAll(
  store: MetadataStore,
  select: KeySelector,
  options: CallOptions,
): Promise<{ entries: readonly KeyValue[]; revision: Revision }> {
  const first = await store.range(select, options)
  const entries = [...first.entries]
  let more = first.more
  while (more) {
    const last = entries[entries.length - 1] as KeyValue
    const key = new Uint8Array(last.key.length + 1)
    key.set(last.key)
    const rest: KeySelector = { key, end: select.end ?? null }
    const page = await store.range(rest, { ...options, revision: first.revision })
    entries.push(...page.entries)
    more = page.more
  }
  return { entries, revision: first.revision }
}
