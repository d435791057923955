import { checkObject } from '../core/arguments.ts'
import type { ComplianceCase } from './compliance.ts'
import { compactionCases } from './log-store/compaction.ts'
import { crashCases } from './log-store/crashes.ts'
import type { LogStoreSubject } from './log-store/harness.ts'
import { limitCases } from './log-store/limits.ts'
import { openingCases } from './log-store/opening.ts'
import { readCases } from './log-store/reads.ts'
import { writeCases } from './log-store/writes.ts'

export type { LogStorePlace, LogStoreSubject } from './log-store/harness.ts'

/**
 * What every `LogStore` must do, as cases for any test runner. Each case opens its own stores on a new place and
 * closes them.
 *
 * ```ts
 * for (const { name, run } of logStoreCompliance({ create })) test(name, run)
 * ```
 */
export function logStoreCompliance(subject: LogStoreSubject): readonly ComplianceCase[] {
  checkObject(subject, 'the subject of the suite', ['create'])
  const cases = [openingCases, writeCases, limitCases, readCases, compactionCases, crashCases].flat()
  return cases.map(({ name, run }) => ({ name, run: () => run(subject) }))
}
