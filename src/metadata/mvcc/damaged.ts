import { KeelsonError } from '../../core/errors.ts'

/** The refusal of a state that contradicts itself. @throws KeelsonError `CORRUPTION` */
export function damaged(problem: string): never {
  throw new KeelsonError('CORRUPTION', `the metadata store is damaged: ${problem}; restore it from a backup`)
}
