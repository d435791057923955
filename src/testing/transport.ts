import { checkFunction } from '../core/arguments.ts'
import type { ComplianceCase } from './compliance.ts'
import { foundingCases } from './transport/foundings.ts'
import type { TransportHarness } from './transport/harness.ts'
import { lifecycleCases } from './transport/lifecycle.ts'
import { messageCases } from './transport/messages.ts'
import { streamCases } from './transport/streams.ts'

export type { TransportHarness, TransportHarnessOptions } from './transport/harness.ts'

/**
 * What every `Transport` must do, one case per promise of the interface. `make` is called once per case and gives
 * a network of its own.
 *
 * ```ts
 * for (const { name, run } of transportCompliance(makeHarness)) test(name, run)
 * ```
 */
export function transportCompliance(make: () => Promise<TransportHarness>): readonly ComplianceCase[] {
  checkFunction(make, 'what makes the harness of a case')
  return Object.entries({ ...messageCases, ...lifecycleCases, ...foundingCases, ...streamCases }).map(
    ([name, body]) => ({
      name,
      run: async (): Promise<void> => {
        const harness = await make()
        try {
          await body(harness)
        } finally {
          await harness.close()
        }
      },
    }),
  )
}
