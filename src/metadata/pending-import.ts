import { checkObject } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import { utf8 } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall } from '../core/options.ts'
import type { Compare, MetadataStore, Operation, Revision } from '../interfaces/metadata-store.ts'
import { followKeys } from './follow.ts'
import { decodePendingImport, markImport, type PendingImport, pendingImportKey } from './import-mark.ts'
import { keyPrefixes } from './keys.ts'
import { prefixSelector } from './mvcc/key-range.ts'

/** The backup that a store waits for; undefined when it is complete. @throws KeelsonError as {@link MetadataStore.get} */
export async function pendingImport(
  store: MetadataStore,
  options: CallOptions = {},
): Promise<PendingImport | undefined> {
  checkObject(store, 'the store of an import', ['get'])
  checkCall('pendingImport', options)
  const entry = await store.get(pendingImportKey, options)
  return entry === undefined ? undefined : decodePendingImport(entry.value)
}

/** What {@link pendingImport} says, now and after each change of it, until the consumer leaves or the signal is aborted. */
export async function* followPendingImport(
  store: MetadataStore,
  options: CallOptions & { readonly consistency?: 'linearizable' | 'local' } = {},
): AsyncIterable<PendingImport | undefined> {
  for await (const step of followKeys(store, { key: pendingImportKey }, options)) {
    if (step.type === 'snapshot') {
      const [entry] = step.entries
      yield entry === undefined ? undefined : decodePendingImport(entry.value)
    } else
      for (const { type, entry } of step.events)
        yield type === 'put' ? decodePendingImport(entry.value) : undefined
  }
}

/**
 * Declares a store complete that waits for a backup, or for the rest of one: there is none, or it cannot be read any further. The
 * controllers of a control plane begin with what is there, and **take what is missing for gone**.
 *
 * @returns false when the store did not wait for a backup
 * @throws KeelsonError `INVALID_ARGUMENT` without `acceptDataLoss: true`; as {@link MetadataStore.txn}
 */
export async function abandonImport(
  store: MetadataStore,
  options: CallOptions & { readonly acceptDataLoss: true },
): Promise<boolean> {
  checkObject(store, 'the store of an import', ['txn'])
  checkCall('abandonImport', options, ['acceptDataLoss'])
  const { acceptDataLoss, ...call } = options
  if (acceptDataLoss !== true) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      'whatever of a backup is not there is lost by this: repeat importBackup instead, or say acceptDataLoss: true',
    )
  }
  const { results } = await store.txn({ then: [{ type: 'delete', select: { key: pendingImportKey } }] }, call)
  return results[0]?.type === 'delete' && results[0].deleted.length > 0
}

/**
 * One import on its way: the mark as it set it, which every write of it compares. Another import that begins, of the same backup, takes
 * the mark over, and this one changes nothing any more.
 */
export class Import {
  readonly #store: MetadataStore
  readonly #call: CallOptions
  readonly #mark: Compare

  private constructor(store: MetadataStore, call: CallOptions, mark: Compare) {
    this.#store = store
    this.#call = call
    this.#mark = mark
  }

  /**
   * Sets the mark. Whoever controls anything by the store loses its epoch in the same transaction, so it decides nothing by what it
   * read before.
   *
   * @throws KeelsonError `CONFLICT` when a part of another backup is there; as {@link MetadataStore.txn}
   */
  static async begin(store: MetadataStore, revision: Revision, call: CallOptions): Promise<Import> {
    const look: Operation = { type: 'range', select: { key: pendingImportKey } }
    for (;;) {
      const [seen] = (await store.txn({ then: [look] }, call)).results
      const entry = seen?.type === 'range' ? seen.entries[0] : undefined
      const begun = entry === undefined ? undefined : decodePendingImport(entry.value).revision
      if (begun !== undefined && begun !== revision) {
        throw new KeelsonError(
          'CONFLICT',
          `a part of the backup of revision ${begun} is in the store, and this one is of revision ${revision}: import the former to its end. To take this one, begin the cluster once more, with a revision from after this attempt`,
          { retryable: false, details: { begun, revision } },
        )
      }
      const unchanged: Compare = {
        key: pendingImportKey,
        target: 'modRevision',
        is: '=',
        operand: entry?.modRevision ?? 0,
      }
      const deposed: Operation = { type: 'delete', select: prefixSelector(utf8(keyPrefixes.epochs)) }
      const marked = await store.txn({ if: [unchanged], then: [markImport({ revision }), deposed] }, call)
      if (marked.succeeded) return new Import(store, call, { ...unchanged, operand: marked.revision })
    }
  }

  /** Writes a part of the backup; where a compare fails, nothing. @throws KeelsonError `CONFLICT` when another import has begun since */
  async write(then: readonly Operation[], compares: readonly Compare[] = []): Promise<void> {
    const { succeeded, results } = await this.#store.txn(
      {
        if: [this.#mark, ...compares],
        then,
        else: [{ type: 'range', select: { key: pendingImportKey } }],
      },
      this.#call,
    )
    if (succeeded) return
    const [mark] = results
    if (mark?.type === 'range' && mark.entries[0]?.modRevision === this.#mark.operand) return
    throw new KeelsonError(
      'CONFLICT',
      'another import has begun or ended since this one did, so this one has stopped; see that there is one at a time',
      { retryable: false },
    )
  }

  /** All of the backup is there. */
  async end(): Promise<void> {
    await this.write([{ type: 'delete', select: { key: pendingImportKey } }])
  }
}
