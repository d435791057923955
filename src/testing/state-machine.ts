import { checkObject } from '../core/arguments.ts'
import type { StateMachine } from '../interfaces/state-machine.ts'
import type { ComplianceCase } from './compliance.ts'
import { stateMachineCases } from './state-machine/cases.ts'
import { runCase, type StateMachineSubject } from './state-machine/harness.ts'

export type { StateMachinePlace, StateMachineSubject } from './state-machine/harness.ts'

/** What every `StateMachine` must do, as cases for any test runner. */
export function stateMachineCompliance<M extends StateMachine>(
  subject: StateMachineSubject<M>,
): readonly ComplianceCase[] {
  checkObject(subject, 'the subject of the suite', ['create'])
  return stateMachineCases.map(({ name, body }) => ({
    name,
    run: () => runCase(subject as unknown as StateMachineSubject<StateMachine>, body),
  }))
}
