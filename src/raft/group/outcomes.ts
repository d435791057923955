import { KeelsonError } from '../../core/errors.ts'
import type { CommandOutput } from '../../interfaces/state-machine.ts'
import type { CommandId } from './envelope.ts'

/** What came of one command. */
export type CommandResult = Uint8Array | KeelsonError

/** What came of one entry; of one with several commands, in their order. */
export type EntryOutcome = CommandResult | readonly CommandResult[]

/** The result of a command as bytes: those of the machine itself, unless they are made now. */
export function bytesOf(output: CommandOutput): Uint8Array {
  return output instanceof Uint8Array ? output : output.bytes()
}

/** The outcomes of entries that were applied together. Made when somebody asks, as followers have nobody to tell. */
export interface Outcomes {
  /** Commands in them, and one for each entry of another kind. */
  readonly size: number
  /** That of the entry at this place, whose bytes are the caller's own. */
  at(place: number): EntryOutcome
}

/** The refusal of a command whose client session is not there. */
export function sessionUnknown(id: CommandId): KeelsonError {
  return new KeelsonError(
    'SESSION_UNKNOWN',
    `the client session ${id.session} is unknown or was evicted; open a new one. Whether command ${id.sequence} took effect before is not known`,
    { details: { session: id.session, sequence: id.sequence } },
  )
}

/** The refusal of a command whose result is not kept any more, if there was one. */
export function commandForgotten(id: CommandId): KeelsonError {
  return new KeelsonError(
    'SESSION_UNKNOWN',
    `command ${id.sequence} of session ${id.session} lies below what the session remembers, so whether it took effect is not known`,
    { details: { session: id.session, sequence: id.sequence } },
  )
}

/** The refusal of a command whose lease was taken over. */
export function staleSequence(wanted: number, current: number): KeelsonError {
  return new KeelsonError(
    'STALE_SEQUENCE',
    `the command was made under lease sequence ${wanted}, but ${current} is in force; it had no effect. Get a new token from the lease holder`,
    { details: { wanted, current } },
  )
}
