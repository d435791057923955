import { Fields, type Plain } from '../core/codec.ts'
import type { ReplicaId } from '../model/ids.ts'
import type { QuorumStep } from './core/quorum.ts'
import type { MoveKind } from './core/snapshot.ts'
import type { MoveGoal } from './core/steps.ts'

/** The last step that was asked for, with its proof. */
export interface RecordedStep {
  /** The change, in words. */
  readonly what: string
  /** Generation that the range must have for it. */
  readonly generation: number
  /** The voters at every step: a quorum of them is alive throughout. */
  readonly proof: readonly QuorumStep[]
}

/** Checkpoint of a move. Where the range stands is asked of the range; this only tells what the move is about. */
export interface MoveState {
  /** What the move is to achieve. */
  readonly goal: MoveGoal
  /** Replica that this move brought, once it was seen. */
  readonly brought?: ReplicaId
  /** Absent before the first. */
  readonly step?: RecordedStep
}

const kinds: readonly MoveKind[] = ['add', 'replace', 'remove', 'transferLease']
const stepNames = ['now', 'addLearner', 'promote', 'transferLease', 'remove', 'swap'] as const

/** A checkpoint as plain data. */
export function encodeMoveState(state: MoveState): Plain {
  const { goal, brought, step } = state
  return [
    goal.rangeId,
    kinds.indexOf(goal.kind),
    goal.priority,
    goal.add === undefined ? null : [goal.add.nodeId, goal.add.incarnation],
    goal.remove === undefined ? null : [goal.remove.replicaId, goal.remove.nodeId],
    goal.leaseTo === undefined ? null : [goal.leaseTo.replicaId, goal.leaseTo.nodeId],
    brought ?? null,
    step === undefined
      ? null
      : [
          step.what,
          step.generation,
          step.proof.map((each) => [stepNames.indexOf(each.step), each.voters, each.liveVoters, each.quorum]),
        ],
  ]
}

/** The inverse of {@link encodeMoveState}. @throws KeelsonError `MALFORMED` */
export function decodeMoveState(value: Plain): MoveState {
  const fields = new Fields(value, 'the state of a move')
  const rangeId = fields.uint('rangeId')
  const kind = kinds[fields.oneOf('kind', [0, 1, 2, 3])] as MoveKind
  const priority = fields.number('priority')
  const add = fields.optional((f) => {
    const inner = f.nested('add')
    return { nodeId: inner.string('nodeId'), incarnation: inner.uint('incarnation') }
  })
  const remove = fields.optional((f) => readReplica(f.nested('remove')))
  const leaseTo = fields.optional((f) => readReplica(f.nested('leaseTo')))
  const brought = fields.optional((f) => f.uint('brought'))
  const step = fields.optional((f) => readStep(f.nested('step')))
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
  }
}

function readReplica(fields: Fields): { replicaId: number; nodeId: string } {
  return { replicaId: fields.uint('replicaId'), nodeId: fields.string('nodeId') }
}

function readStep(fields: Fields): RecordedStep {
  return {
    what: fields.string('what'),
    generation: fields.uint('generation'),
    proof: fields.list('proof', (f) => ({
      step: stepNames[f.oneOf('step', [0, 1, 2, 3, 4, 5])],
      voters: f.uint('voters'),
      liveVoters: f.uint('liveVoters'),
      quorum: f.uint('quorum'),
    })),
  }
}
