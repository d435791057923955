import { Fields, type Plain } from '../core/codec.ts'
import type { ReplicaId } from '../model/ids.ts'
import type { QuorumStep } from './core/quorum.ts'
import type { MoveKind } from './core/snapshot.ts'
import type { MemberChange, MoveGoal } from './core/steps.ts'

/**
 * What came of a step.
 *
 * - `asked`: the range was asked, and nothing is known yet.
 * - `done`: the range reports it.
 * - `overtaken`: the range has changed in another way meanwhile, or it is not wanted any more.
 * - `timed out`: nothing came of it in the time that it had.
 */
export type StepOutcome = 'asked' | 'done' | 'overtaken' | 'timed out'

/** A step that was asked for, with its proof. */
export interface RecordedStep {
  /** The change, in words. */
  readonly what: string
  /** Generation that the range must have for it. */
  readonly generation: number
  /** The voters at every step: a quorum of them is alive throughout. */
  readonly proof: readonly QuorumStep[]
  /** The change itself. */
  readonly change?: MemberChange
  /** What came of it. */
  readonly outcome: StepOutcome
  /** Wall time at which it was first asked for, for people. */
  readonly atMs: number
}

/** Checkpoint of a move. Where the range stands is asked of the range; this only tells what the move is about. */
export interface MoveState {
  /** What the move is to achieve. */
  readonly goal: MoveGoal
  /** Replica that this move brought, once it was seen. */
  readonly brought?: ReplicaId
  /** The last step. Absent before the first. */
  readonly step?: RecordedStep
  /** The steps before the last one, oldest first; of very many only the newest. */
  readonly past?: readonly RecordedStep[]
}

type Addition = NonNullable<MoveGoal['add']>

/** Steps before the last one that are kept. */
const maximumPastSteps = 16

/** The last two came later: a release that does not know them refuses such a move rather than give its replica a vote. */
const kinds: readonly MoveKind[] = [
  'add',
  'replace',
  'remove',
  'transferLease',
  'addNonVoter',
  'replaceNonVoter',
]
const stepNames = ['now', 'addLearner', 'promote', 'transferLease', 'remove', 'swap'] as const
const outcomes: readonly StepOutcome[] = ['asked', 'done', 'overtaken', 'timed out']

/** The state once another step is asked for. */
export function withStep(state: MoveState, step: RecordedStep): MoveState {
  const { step: last, past = [] } = state
  if (last === undefined) return { ...state, step }
  return { ...state, step, past: [...past, last].slice(-maximumPastSteps) }
}

/** The state with what has become known of its steps. The same object when that is nothing. */
export function withOutcomes(state: MoveState, outcomeOf: (step: RecordedStep) => StepOutcome): MoveState {
  const { step, past = [] } = state
  if (step === undefined) return state
  const judge = (each: RecordedStep): RecordedStep => {
    const outcome = each.outcome === 'asked' ? outcomeOf(each) : each.outcome
    return outcome === each.outcome ? each : { ...each, outcome }
  }
  const judged = { step: judge(step), past: past.map(judge) }
  const same = judged.step === step && judged.past.every((each, i) => each === past[i])
  return same ? state : { ...state, step: judged.step, ...(past.length === 0 ? {} : { past: judged.past }) }
}

/** A checkpoint as plain data. */
export function encodeMoveState(state: MoveState): Plain {
  const { goal, brought, step, past } = state
  return [
    goal.rangeId,
    kinds.indexOf(goal.kind),
    goal.priority,
    goal.add === undefined ? null : plainAddition(goal.add),
    goal.remove === undefined ? null : [goal.remove.replicaId, goal.remove.nodeId],
    goal.leaseTo === undefined ? null : [goal.leaseTo.replicaId, goal.leaseTo.nodeId],
    brought ?? null,
    step === undefined ? null : plainStep(step),
    (past ?? []).map(plainStep),
  ]
}

/** The inverse of {@link encodeMoveState}. @throws KeelsonError `MALFORMED` */
export function decodeMoveState(value: Plain): MoveState {
  const fields = new Fields(value, 'the state of a move')
  const rangeId = fields.uint('rangeId')
  const kind = kinds[fields.oneOf('kind', [0, 1, 2, 3, 4, 5])] as MoveKind
  const priority = fields.number('priority')
  const add = fields.optional((f) => {
    return readAddition(f.nested('add'))
  })
  const remove = fields.optional((f) => readReplica(f.nested('remove')))
  const leaseTo = fields.optional((f) => readReplica(f.nested('leaseTo')))
  const brought = fields.optional((f) => f.uint('brought'))
  const step = fields.optional((f) => readStep(f.nested('step')))
  // A state of an older release ends here.
  const past = fields.more ? fields.list('past', readStep) : []
  return {
    goal: {
      rangeId,
      kind,
      priority,
      ...(add === undefined ? {} : { add }),
      ...(remove === undefined ? {} : { remove }),
      ...(leaseTo === undefined ? {} : { leaseTo }),
    },
    ...(brought === undefined ? {} : { brought }),
    ...(step === undefined ? {} : { step }),
    ...(past.length === 0 ? {} : { past }),
  }
}

function plainAddition({ nodeId, incarnation, storeId }: Addition): Plain[] {
  return [nodeId, incarnation, ...(storeId === undefined ? [] : [storeId])]
}

function readAddition(fields: Fields): Addition {
  const add = { nodeId: fields.string('nodeId'), incarnation: fields.uint('incarnation') }
  // Nodes with one store name none.
  return fields.more ? { ...add, storeId: fields.string('storeId') } : add
}

function readReplica(fields: Fields): { replicaId: number; nodeId: string } {
  return { replicaId: fields.uint('replicaId'), nodeId: fields.string('nodeId') }
}

function plainStep(step: RecordedStep): Plain {
  return [
    step.what,
    step.generation,
    step.proof.map((each) => [stepNames.indexOf(each.step), each.voters, each.liveVoters, each.quorum]),
    step.change === undefined ? null : plainChange(step.change),
    outcomes.indexOf(step.outcome),
    step.atMs,
  ]
}

function readStep(fields: Fields): RecordedStep {
  const what = fields.string('what')
  const generation = fields.uint('generation')
  const proof = fields.list('proof', (f) => ({
    step: stepNames[f.oneOf('step', [0, 1, 2, 3, 4, 5])],
    voters: f.uint('voters'),
    liveVoters: f.uint('liveVoters'),
    quorum: f.uint('quorum'),
  }))
  if (!fields.more) return { what, generation, proof, outcome: 'asked', atMs: 0 }
  const change = fields.optional((f) => readChange(f.nested('change')))
  const outcome = outcomes[fields.oneOf('outcome', [0, 1, 2, 3])] as StepOutcome
  const atMs = fields.number('atMs')
  return { what, generation, proof, ...(change === undefined ? {} : { change }), outcome, atMs }
}

const changeNames = ['addLearner', 'promote', 'remove', 'swap', 'transferLease'] as const

function plainChange(change: MemberChange): Plain {
  const type = changeNames.indexOf(change.type)
  if (change.type === 'addLearner') return [type, ...plainAddition(change)]
  return change.type === 'swap' ? [type, change.promote, change.remove] : [type, change.replicaId]
}

function readChange(fields: Fields): MemberChange {
  const type = changeNames[fields.oneOf('type', [0, 1, 2, 3, 4])]
  if (type === 'addLearner') return { type, ...readAddition(fields) }
  if (type === 'swap') return { type, promote: fields.uint('promote'), remove: fields.uint('remove') }
  return { type, replicaId: fields.uint('replicaId') }
}
