import type { CallOptions } from '../core/async.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import { followKeys } from '../metadata/follow.ts'
import { decodeHolder, holderKey, type LeaseHolder } from './core/records.ts'

/** The holder of a lease, then each change of it. */
export async function* watchLease(
  store: MetadataStore,
  name: string,
  options: CallOptions,
): AsyncGenerator<LeaseHolder | undefined, void, undefined> {
  for await (const step of followKeys(store, { key: holderKey(name) }, options)) {
    if (step.type === 'snapshot') {
      const [entry] = step.entries
      yield entry && decodeHolder(entry)
      continue
    }
    for (const event of step.events) yield event.type === 'put' ? decodeHolder(event.entry) : undefined
  }
}
