import type { CallOptions } from '../core/async.ts'
import { invariant } from '../core/invariant.ts'
import type {
  Compare,
  KeyValue,
  MetadataStore,
  Operation,
  Revision,
  SessionId,
  TransactionResult,
} from '../interfaces/metadata-store.ts'
import {
  decodeHolder,
  decodeRecord,
  decodeWaiter,
  encodeHistory,
  encodeHolder,
  encodeRecord,
  encodeWaiter,
  historyKey,
  holderKey,
  type LeaseChange,
  type LeaseWaiter,
  recordKey,
  waiterKey,
  waitersOf,
} from './core/records.ts'
import type { LeaseView } from './core/rules.ts'

/** Changes of holder that are kept of each lease. */
export const leaseHistoryLimit = 32

/** Waiters that are looked at. */
const waitersLimit = 64

/** A lease as it stands in the store at one revision, with what a compare needs. */
export interface StoredLease extends LeaseView {
  readonly name: string
  readonly revision: Revision
  readonly waiters: readonly LeaseWaiter[]
  /** 0 while nobody has it. */
  readonly holderRevision: Revision
  readonly recordRevision: Revision
}

/** A new holder. */
export interface NextHolder {
  readonly holder: string
  readonly epoch: SessionId
  readonly sequence: number
  readonly change: LeaseChange
  readonly atMs: number
}

/**
 * Leases in a metadata store. Every change compares the revisions of what it was decided upon, so that of several that
 * are under way, late ones included, at most one takes effect.
 */
export class LeaseStore {
  readonly #store: MetadataStore

  constructor(store: MetadataStore) {
    this.#store = store
  }

  async read(name: string, call: CallOptions): Promise<StoredLease> {
    const { revision, results } = await this.#store.txn(
      {
        then: [
          { type: 'range', select: { key: holderKey(name) } },
          { type: 'range', select: { key: recordKey(name) } },
          { type: 'range', select: waitersOf(name), limit: waitersLimit },
        ],
      },
      call,
    )
    const [[holder], [record], waiters] = [
      entriesOf(results, 0),
      entriesOf(results, 1),
      entriesOf(results, 2),
    ]
    return {
      name,
      revision,
      lease: holder && decodeHolder(holder),
      record: record && decodeRecord(record),
      waiters: waiters.map(decodeWaiter),
      holderRevision: holder?.modRevision ?? 0,
      recordRevision: record?.modRevision ?? 0,
    }
  }

  /** Gives the lease to a holder, who waits for it no longer. @returns false when somebody was faster */
  async give(seen: StoredLease, next: NextHolder, call: CallOptions, waiter?: LeaseWaiter): Promise<boolean> {
    const { name } = seen
    const { holder, epoch, sequence } = next
    const waiting = waiterKey(name, epoch)
    const conditions = unchanged(seen)
    if (waiter !== undefined)
      conditions.push({ key: waiting, target: 'modRevision', is: '=', operand: waiter.modRevision })
    const operations: Operation[] = [
      { type: 'put', key: holderKey(name), value: encodeHolder(holder, sequence), session: epoch },
      { type: 'put', key: recordKey(name), value: encodeRecord({ sequence, released: false }) },
      { type: 'put', key: historyKey(name, sequence), value: encodeHistory(next) },
      { type: 'delete', select: { key: waiting } },
    ]
    if (sequence > leaseHistoryLimit)
      operations.push({ type: 'delete', select: { key: historyKey(name, sequence - leaseHistoryLimit) } })
    const { succeeded } = await this.#store.txn({ if: conditions, then: operations }, call)
    return succeeded
  }

  /** Takes the holder away, who has stopped. @returns false when it changed meanwhile */
  async free(seen: StoredLease, call: CallOptions): Promise<boolean> {
    invariant(seen.lease !== undefined, 'only a lease that somebody holds is freed')
    const { sequence } = seen.lease
    const { succeeded } = await this.#store.txn(
      {
        if: unchanged(seen),
        then: [
          { type: 'delete', select: { key: holderKey(seen.name) } },
          { type: 'put', key: recordKey(seen.name), value: encodeRecord({ sequence, released: true }) },
        ],
      },
      call,
    )
    return succeeded
  }

  async wait(
    name: string,
    waiter: { holder: string; epoch: SessionId; preference: number },
    call: CallOptions,
  ): Promise<void> {
    const value = encodeWaiter(waiter.holder, waiter.preference)
    await this.#store.txn(
      { then: [{ type: 'put', key: waiterKey(name, waiter.epoch), value, session: waiter.epoch }] },
      call,
    )
  }

  async stopWaiting(name: string, epoch: SessionId, call: CallOptions): Promise<void> {
    await this.#store.txn({ then: [{ type: 'delete', select: { key: waiterKey(name, epoch) } }] }, call)
  }

  /** Resolves when the lease has become free, or `epoch`'s, after a revision. */
  async change(seen: StoredLease, epoch: SessionId, call: CallOptions): Promise<void> {
    const select = { key: holderKey(seen.name) }
    for await (const response of this.#store.watch(select, { ...call, fromRevision: seen.revision + 1 })) {
      if (response.type !== 'changes') continue
      const last = response.events[response.events.length - 1]
      if (last?.type === 'delete' || last?.entry.session === epoch) return
    }
  }
}

function unchanged(seen: StoredLease): Compare[] {
  return [
    { key: holderKey(seen.name), target: 'modRevision', is: '=', operand: seen.holderRevision },
    { key: recordKey(seen.name), target: 'modRevision', is: '=', operand: seen.recordRevision },
  ]
}

function entriesOf(results: TransactionResult['results'], at: number): readonly KeyValue[] {
  const result = results[at]
  invariant(result?.type === 'range', 'a range is answered by a range')
  return result.entries
}
