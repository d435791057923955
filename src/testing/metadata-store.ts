import { checkFunction } from '../core/arguments.ts'
import type { ComplianceCase } from './compliance.ts'
import type { MetadataStoreHarness } from './metadata-store/harness.ts'
import { keyCases } from './metadata-store/keys.ts'
import { sessionCases } from './metadata-store/sessions.ts'
import { transactionCases } from './metadata-store/transactions.ts'
import { watchCases } from './metadata-store/watches.ts'

export type { MetadataStoreHarness } from './metadata-store/harness.ts'

/**
 * What every `MetadataStore` must do, one case per promise of the interface. `make` is called once per case and
 * gives an empty store.
 *
 * ```ts
 * for (const { name, run } of metadataStoreCompliance(makeHarness)) test(name, run)
 * ```
 */
export function metadataStoreCompliance(
  make: () => Promise<MetadataStoreHarness>,
): readonly ComplianceCase[] {
  checkFunction(make, 'what makes the harness of a case')
  const cases = { ...keyCases, ...transactionCases, ...watchCases, ...sessionCases }
  return Object.entries(cases).map(([name, body]) => ({
    name,
    run: async (): Promise<void> => {
      const harness = await make()
      try {
        await body(harness)
      } finally {
        await harness.close()
      }
    },
  }))
}
