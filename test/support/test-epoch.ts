import { utf8 } from '../../src/core/bytes.ts'
import { KeelsonError } from '../../src/core/index.ts'
import type { MetadataStore, Transaction, TransactionResult } from '../../src/interfaces/index.ts'
import type { Fence } from '../../src/jobs/index.ts'

const key = utf8('/epochs/test')

/** A new owner, the plain way; every owner before it is deposed. */
export async function newEpoch(store: MetadataStore): Promise<Fence> {
  for (;;) {
    const entry = await store.get(key)
    const number = (entry?.version ?? 0) + 1
    const compare = { key, target: 'version', is: '=', operand: number - 1 } as const
    const result = await store.txn({ if: [compare], then: [{ type: 'put', key, value: utf8('owner') }] })
    if (result.succeeded) return epochOf(store, number)
  }
}

/** The epoch with this number, seen through a store. */
export function epochOf(store: MetadataStore, number: number): Fence {
  return {
    number,
    async txn(transaction: Transaction, options): Promise<TransactionResult> {
      const result = await store.txn(
        {
          if: [{ key, target: 'version', is: '=', operand: number }, ...(transaction.if ?? [])],
          then: transaction.then ?? [],
          else: [...(transaction.else ?? []), { type: 'range', select: { key } }],
        },
        options,
      )
      if (result.succeeded) return result
      const last = result.results[result.results.length - 1]
      if (last?.type === 'range' && last.entries[0]?.version !== number) {
        throw new KeelsonError('STALE_EPOCH', `epoch ${number} has ended`)
      }
      return { ...result, results: result.results.slice(0, -1) }
    },
  }
}
