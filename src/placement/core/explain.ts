import { KeelsonError } from '../../core/errors.ts'
import { finish, type Sliced } from '../../core/sliced.ts'
import type { NodeId, RangeId, ReplicaId } from '../../model/ids.ts'
import { nowhere } from './assignment.ts'
import type { Draft } from './draft.ts'
import type { BlockedRange, Plan, PlannedMove, PlanOptions } from './plan.ts'
import { describeMove } from './plan-diff.ts'
import { Planner } from './planner.ts'
import type { Setting } from './planning.ts'
import type { PlacementPolicy } from './policy.ts'
import { Repairs } from './repairs.ts'
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
  /** Nodes without a replica of it, and why they have none: the first hundred. */
  readonly others: readonly Rejection[]
  /** Those that `others` leaves out. */
  readonly othersLeftOut: number
  /** What the planner wants to do with it next, or what is being done, or why nothing can be. */
  readonly next: PlannedMove | BlockedRange | undefined
}

const maximumOthers = 100
/** Nodes of which is said why they have no replica before others may go on. */
const nodesTogether = 8

/**
 * Explains one range: why here, why not there, and what comes next. It asks the planner itself, so what it says is what
 * is done.
 *
 * @throws KeelsonError `NOT_FOUND`
 */
export function explainRange(
  snapshot: PlacementSnapshot,
  rangeId: RangeId,
  policy: Partial<PlacementPolicy> = {},
  options: PlanOptions = {},
): RangeExplanation {
  return explainBy(new Planner(policy), snapshot, rangeId, options)
}

/** The same by a planner that knows the cluster already. @throws KeelsonError `NOT_FOUND` */
export function explainBy(
  planner: Planner,
  snapshot: PlacementSnapshot,
  rangeId: RangeId,
  options: PlanOptions = {},
): RangeExplanation {
  return finish(explaining(planner, snapshot, rangeId, options))
}

/** The same in small steps. @throws KeelsonError `NOT_FOUND` */
export function explaining(
  planner: Planner,
  snapshot: PlacementSnapshot,
  rangeId: RangeId,
  options: PlanOptions,
): Sliced<RangeExplanation> {
  return planner.asking(snapshot, options, (planned, setting) =>
    describeRange(planner, snapshot, rangeId, planned, setting),
  )
}

function* describeRange(
  planner: Planner,
  snapshot: PlacementSnapshot,
  rangeId: RangeId,
  planned: Plan,
  setting: Setting,
): Sliced<RangeExplanation> {
  if (snapshot.range(rangeId) === undefined)
    throw new KeelsonError(
      'NOT_FOUND',
      `the snapshot has no range ${rangeId}; look for its id in the directory`,
    )
  const draft = yield* planner.drafting([rangeId], setting)
  yield
  const { columns, assignment } = draft
  const need = draft.survey.read(0).need()
  const replicas: ReplicaExplanation[] = []
  const spare = columns.spareSlot(0)
  for (let slot = 0; slot < spare; slot++) {
    const node = columns.store[slot] as number
    replicas.push({
      replicaId: columns.replicaIds[slot] as number,
      nodeId: columns.nodeIdOf(node),
      status: [
        statusInWords(columns.status[slot] as number, draft.survey.wantedNonVoters > 0),
        ...overloadInWords(snapshot, node),
      ].join(', '),
      goals: node < 0 ? [] : draft.goals.map((goal) => `${goal.name}: ${goal.describe(slot, node)}`),
    })
  }
  const others: Rejection[] = []
  let othersLeftOut = 0
  for (let node = 0; node < columns.nodeCount; node++) {
    if (columns.holds(assignment, 0, node)) continue
    if (others.length >= maximumOthers) othersLeftOut++
    else others.push({ nodeId: columns.nodeIdOf(node), why: whyNone(draft, spare, node) })
    if (others.length % nodesTogether === 0 && othersLeftOut === 0) yield
  }
  yield
  const underWay = snapshot.moveOf(rangeId)
  const next: PlannedMove | BlockedRange | undefined =
    underWay !== undefined
      ? { rangeId, why: `a move is under way: ${underWay.kind}` }
      : (planned.moves.find((move) => move.rangeId === rangeId) ??
        planned.blocked.find((each) => each.rangeId === rangeId) ??
        (yield* whatWaits(planner, rangeId, setting)))
  return { rangeId, need: needInWords[need], replicas, others, othersLeftOut, next }
}

/** What would be done with a range if it had its turn now, or why that is nothing; undefined when it needs nothing. */
function* whatWaits(
  planner: Planner,
  rangeId: RangeId,
  setting: Setting,
): Sliced<PlannedMove | BlockedRange | undefined> {
  const draft = yield* planner.drafting([rangeId], setting)
  yield
  new Repairs(draft).meet(0)
  const { moves, blocked, deferred } = draft.sheet
  const waits = deferred > 0 ? { rangeId, why: 'it waits for room' } : undefined
  return moves[0] ?? blocked[0] ?? waits
}

/** What a range can need. @internal */
export type RangeNeed = ReturnType<Draft['survey']['need']>

/** Needs as people read them. @internal */
export const needInWords: Readonly<Record<RangeNeed, string>> = {
  nothing: 'nothing',
  unavailable: 'a quorum, which it does not have',
  finishLearner: 'that a learner becomes a voter or goes',
  replaceLost: 'another voter for one that is lost',
  add: 'another voter',
  leaseOff: 'that its lease leaves a node that is to be emptied or is worked on',
  replaceLeaving: 'another voter for one on a node that is to be emptied',
  replaceEvicted: 'another voter for one that a constraint forbids',
  removeExtra: 'one voter less',
  replaceLostNonVoter: 'another non-voter for one that is lost',
  addNonVoter: 'another non-voter',
  replaceLeavingNonVoter: 'another non-voter for one on a node that is to be emptied',
  replaceEvictedNonVoter: 'another non-voter for one that a constraint forbids',
  removeExtraNonVoter: 'one non-voter less',
}

function statusInWords(status: number, nonVoters: boolean): string {
  const without = nonVoters ? 'non-voter' : 'learner'
  const words = [(status & replicaBits.voter) !== 0 ? 'voter' : without]
  if ((status & replicaBits.lease) !== 0) words.push('holds the lease')
  if ((status & replicaBits.lost) !== 0) words.push('lost')
  else if ((status & replicaBits.up) === 0) words.push('silent')
  if ((status & replicaBits.leaving) !== 0) words.push('on a node that is to be emptied')
  if ((status & replicaBits.resting) !== 0) words.push('on a node that is worked on')
  return words.join(', ')
}

function overloadInWords({ stores }: PlacementSnapshot, store: number): string[] {
  const level = stores[store]?.overload
  if (level === undefined) return []
  return [level === 'recovering' ? 'on a store that was overloaded lately' : `on a store that is ${level}`]
}

/** Why a node has no replica of the range, of either kind. */
function whyNone(draft: Draft, spare: number, node: number): string {
  const { columns, survey, targets } = draft
  const voter = targets.whyNot(spare, node)
  if (survey.wantedNonVoters === 0) return voter ?? whyNotBetter(draft, node)
  const status = columns.status[spare] as number
  columns.status[spare] = status & ~replicaBits.voter
  const nonVoter = targets.whyNot(spare, node)
  columns.status[spare] = status
  if (voter === nonVoter) return voter ?? whyNotBetter(draft, node)
  return `for a voter: ${voter ?? whyNotBetter(draft, node)}; for a non-voter: ${nonVoter ?? whyNotBetter(draft, node)}`
}

/** Why a node that could take a replica has none: what would get worse, for every replica that could come. */
function whyNotBetter(draft: Draft, node: number): string {
  const { columns, assignment } = draft
  if (columns.isHot(node)) return draft.targets.whyHot(node)
  const spare = columns.spareSlot(0)
  let first = -1
  for (let slot = 0; slot < spare; slot++) {
    const from = assignment.place[slot] as number
    if (from === nowhere) continue
    if (first < 0) first = slot
    if (draft.targets.improves(slot, node)) return `it would be better than ${columns.nodeIdOf(from)}`
  }
  const worse = first < 0 ? undefined : draft.goals.find((goal) => goal.moveDelta(first, node) > 1e-9)
  return worse === undefined ? 'no better than where it is' : `${worse.name}: ${worse.describe(first, node)}`
}

/** An explanation of a range as text for people. */
export function rangeText(explanation: RangeExplanation): string {
  const { rangeId, need, replicas, others, othersLeftOut, next } = explanation
  const lines = [`range ${rangeId} needs ${need}`]
  for (const { replicaId, nodeId, status, goals } of replicas)
    lines.push(`replica ${replicaId} on ${nodeId}: ${status}`, ...goals.map((goal) => `  ${goal}`))
  for (const { nodeId, why } of others) lines.push(`not ${nodeId}: ${why}`)
  if (othersLeftOut > 0) lines.push(`and ${othersLeftOut} more that do not have it`)
  if (next === undefined) lines.push('nothing comes next')
  else lines.push(`next: ${'why' in next ? next.why : `${describeMove(next)}; ${next.reason}`}`)
  return lines.join('\n')
}
