import { KeelsonError } from '../../core/errors.ts'

/** The names under which {@link RaftInvariants} reports a violation, as `details.invariant` of the error. */
export type RaftInvariantName =
  | 'election safety'
  | 'leader append-only'
  | 'log matching'
  | 'leader completeness'
  | 'state machine safety'
  | 'applied is committed and durable'
  | 'one vote a term'
  | 'terms never regress'
  | 'commit never regresses'
  | 'configurations overlap'
  | 'one change at a time'
  | 'replica ids are minted once'
  | 'promoted replicas have caught up'
  | 'configuration of the log'
  | 'direct commit only of own term'
  | 'committed is durable on a majority'
  | 'promises are durable'
  | 'the quarantined promise nothing'
  | 'linearizable reads'
  | 'nothing is left to do at rest'
  | 'nobody votes against a lease'

/** @throws KeelsonError `INVARIANT_VIOLATED` */
export function violated(invariant: RaftInvariantName, problem: string): never {
  throw new KeelsonError('INVARIANT_VIOLATED', `${invariant}: ${problem}`, { details: { invariant } })
}
