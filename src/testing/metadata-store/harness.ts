import assert from 'node:assert/strict'
import { text, utf8 } from '../../core/bytes.ts'
import type { Environment } from '../../core/environment.ts'
import { type ErrorCode, KeelsonError } from '../../core/errors.ts'
import type {
  KeySelector,
  MetadataStore,
  Operation,
  Revision,
  SessionId,
  WatchResponse,
} from '../../interfaces/metadata-store.ts'

/** An empty store for one case. */
export interface MetadataStoreHarness {
  /** The environment that the stores run in: what the cases wait by. */
  readonly env: Environment
  /** A store. All stores of one harness show the same state. */
  open(): Promise<MetadataStore>
  /** Closes everything that is still open. */
  close(): Promise<void>
}

/** A case, given its store. @internal */
export type MetadataStoreCase = (harness: MetadataStoreHarness) => Promise<void>

/** A put of text. @internal */
export function put(key: string, value: string, session?: SessionId): Operation {
  const operation = { type: 'put', key: utf8(key), value: utf8(value) } as const
  return session === undefined ? operation : { ...operation, session }
}

/** Deletion of one key. @internal */
export function del(key: string): Operation {
  return { type: 'delete', select: { key: utf8(key) } }
}

/** Puts one key and gives the revision. @internal */
export async function write(store: MetadataStore, key: string, value: string): Promise<Revision> {
  return (await store.txn({ then: [put(key, value)] })).revision
}

/** From `from` up to but without `end`; to the last key if there is none. @internal */
export function stretch(from: string, end?: string): KeySelector {
  return { key: utf8(from), end: end === undefined ? null : utf8(end) }
}

/** Keys and values as text. @internal */
export async function dump(
  store: MetadataStore,
  select: KeySelector = stretch(''),
  revision?: Revision,
): Promise<string[]> {
  const { entries } = await store.range(select, revision === undefined ? {} : { revision })
  return entries.map((entry) => `${text(entry.key)}=${text(entry.value)}`)
}

/** Responses up to and including the first that `last` is true for; leaves the watch. @internal */
export async function follow(
  watch: AsyncIterable<WatchResponse>,
  last: (response: WatchResponse) => boolean,
): Promise<WatchResponse[]> {
  const responses: WatchResponse[] = []
  for await (const response of watch) {
    responses.push(response)
    if (last(response)) return responses
  }
  assert.fail('the watch ended by itself')
}

/** The changes among responses, as `revision:type key=value`. @internal */
export function changes(responses: readonly WatchResponse[]): string[] {
  return responses.flatMap((response) =>
    response.type === 'progress'
      ? []
      : response.events.map(
          ({ type, entry }) => `${response.revision}:${type} ${text(entry.key)}=${text(entry.value)}`,
        ),
  )
}

/** Waits for a rejection with one of these codes. @internal */
export async function refused(
  promise: Promise<unknown>,
  ...codes: readonly ErrorCode[]
): Promise<KeelsonError> {
  try {
    await promise
  } catch (error) {
    assert.ok(KeelsonError.is(error), `not a KeelsonError: ${String(error)}`)
    assert.ok(codes.includes(error.code), `${error.code} (${error.message}) instead of ${codes.join(', ')}`)
    return error
  }
  assert.fail(`resolved instead of failing with ${codes.join(', ')}`)
}
