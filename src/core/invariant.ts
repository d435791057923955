import { KeelsonError } from './errors.ts'

/**
 * Asserts what must hold whatever the input was. A failure is a bug, so the component that throws it stops.
 *
 * Written without a branch at the call site, so that assertions do not hide in coverage reports.
 *
 * @throws KeelsonError `INVARIANT_VIOLATED`
 */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new KeelsonError('INVARIANT_VIOLATED', `invariant violated: ${message}`)
}

/** Marks a place that the type system proves unreachable. */
export function unreachable(value: never): never {
  throw new KeelsonError('INVARIANT_VIOLATED', `unreachable case: ${JSON.stringify(value)}`)
}
