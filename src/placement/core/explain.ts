import { KeelsonError } from '../../core/errors.ts'
import type { NodeId, RangeId, ReplicaId } from '../../model/ids.ts'
import type { Draft } from './draft.ts'
import { findRange, nodeName } from './flat.ts'
import { nowhere } from './ledger.ts'
import type { BlockedRange, PlannedMove, PlanOptions } from './plan.ts'
import { draftOf, plan } from './planner.ts'
import type { PlacementPolicy } from './policy.ts'
import { type PlacementSnapshot, replicaBits } from './snapshot.ts'
import type { Rejection } from './targets.ts'

/** Why a replica is where it is. */
export interface ReplicaExplanation {
  /** Its id within the range. */
  readonly replicaId: ReplicaId
  /** The node that it is on. */
  readonly nodeId: NodeId
  /** In what condition it is, in words. */
  readonly status: string
  /** How good the place is, goal by goal. */
  readonly goals: readonly string[]
}

/** Why a range is where it is, and why not elsewhere. */
export interface RangeExplanation {
  /** The range that is explained. */
  readonly rangeId: RangeId
  /** What it needs, in words. */
  readonly need: string
  /** Its replicas, by ascending id. */
  readonly replicas: readonly ReplicaExplanation[]
  /** Nodes without a replica of it, and why they have none. */
  readonly others: readonly Rejection[]
  /** What the planner wants to do with it next, or what is being done, or why nothing can be. */
  readonly next: PlannedMove | BlockedRange | undefined
}

const maximumOthers = 100

/**
 * Explains one range: why here, why not there, and what comes next. It asks the planner itself, so what it says is what
 * is done.
 *
 * @throws KeelsonError `NOT_FOUND`
 */
export function explainRange(
  input: PlacementSnapshot,
  rangeId: RangeId,
  policy: Partial<PlacementPolicy> = {},
  options: PlanOptions = {},
): RangeExplanation {
  const draft = draftOf(input, policy, options)
  const { snapshot } = draft
  const range = findRange(snapshot, rangeId)
  if (range < 0)
    throw new KeelsonError(
      'NOT_FOUND',
      `the snapshot has no range ${rangeId}; look for its id in the directory`,
    )
  const need = draft.survey.read(range).need()
  const { firstReplica, replicaIds, replicaNode, replicaStatus } = snapshot
  const replicas: ReplicaExplanation[] = []
  for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
    const node = replicaNode[i] as number
    replicas.push({
      replicaId: replicaIds[i] as number,
      nodeId: nodeName(snapshot, node),
      status: statusInWords(replicaStatus[i] as number),
      goals: node < 0 ? [] : draft.goals.map((goal) => `${goal.name}: ${goal.describe(range, node)}`),
    })
  }
  const others: Rejection[] = []
  for (let node = 0; node < snapshot.nodes.length && others.length < maximumOthers; node++) {
    if (draft.targets.holds(range, node)) continue
    const why = draft.targets.whyNot(range, node) ?? whyNotBetter(draft, range, node)
    others.push({ nodeId: nodeName(snapshot, node), why })
  }
  const underWay = snapshot.moves[snapshot.moveOf[range] as number]
  const planned = plan(input, policy, options)
  const next: PlannedMove | BlockedRange | undefined =
    underWay !== undefined
      ? { rangeId, why: `a move is under way: ${underWay.kind}` }
      : (planned.moves.find((move) => move.rangeId === rangeId) ??
        planned.blocked.find((each) => each.rangeId === rangeId))
  return { rangeId, need: needInWords[need], replicas, others, next }
}

const needInWords: Readonly<Record<ReturnType<Draft['survey']['need']>, string>> = {
  nothing: 'nothing',
  unavailable: 'a quorum, which it does not have',
  finishLearner: 'that a learner becomes a voter or goes',
  replaceLost: 'another voter for one that is lost',
  add: 'another voter',
  leaseOff: 'that its lease leaves a node that is to be emptied',
  replaceLeaving: 'another voter for one on a node that is to be emptied',
  replaceEvicted: 'another voter for one that a constraint forbids',
  removeExtra: 'one voter less',
}

function statusInWords(status: number): string {
  const words = [(status & replicaBits.voter) !== 0 ? 'voter' : 'learner']
  if ((status & replicaBits.lease) !== 0) words.push('holds the lease')
  if ((status & replicaBits.lost) !== 0) words.push('lost')
  else if ((status & replicaBits.up) === 0) words.push('silent')
  if ((status & replicaBits.leaving) !== 0) words.push('on a node that is to be emptied')
  return words.join(', ')
}

/** Why a node that could take a replica has none: what would get worse, for every replica that could come. */
function whyNotBetter(draft: Draft, range: number, node: number): string {
  const { firstReplica, replicaNode } = draft.snapshot
  for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
    const from = replicaNode[i] as number
    if (from === nowhere) continue
    if (draft.targets.improves(range, from, node))
      return `it would be better than ${nodeName(draft.snapshot, from)}`
  }
  const worse = draft.goals.find((goal) => {
    const from = replicaNode[firstReplica[range] as number] as number
    return goal.replicaCost(range, from, node) > 1e-9
  })
  return worse === undefined ? 'no better than where it is' : `${worse.name}: ${worse.describe(range, node)}`
}
