import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import { finish, type Sliced } from '../../core/sliced.ts'
import type { NodeId, RangeId } from '../../model/ids.ts'
import type { Draft } from './draft.ts'
import { needInWords, type RangeNeed } from './explain.ts'
import type { BlockedRange, Plan, PlannedMove, PlanOptions } from './plan.ts'
import { Planner } from './planner.ts'
import type { Setting } from './planning.ts'
import type { PlacementPolicy } from './policy.ts'
import type { MoveInFlight, PlacementNode, PlacementSnapshot } from './snapshot.ts'
import { epsilon } from './targets.ts'

/** Ranges of one node that wait for the same thing. */
export interface WaitingRanges {
  /** What they need. */
  readonly need: string
  /** How many. */
  readonly count: number
  /** The first few, by id. */
  readonly examples: readonly RangeId[]
}

/** Why a node has what it has, and what is to become of it. */
export interface NodeExplanation {
  /** The node that is explained. */
  readonly nodeId: NodeId
  /** Whether it takes replicas, and why not, in words; one line for each of its stores. */
  readonly takes: readonly string[]
  /** Goals that judge nodes, and what they say of it, store by store. */
  readonly goals: readonly string[]
  /**
   * Where a goal finds it too full: why its replicas stay all the same, the most frequent reason first, as seen from the emptiest
   * node. Empty when it is not too full. Of a node with more than 1,000 ranges it is about the first 1,000 by id, and says so.
   */
  readonly stays: readonly string[]
  /** Replicas that it holds. */
  readonly replicas: number
  /**
   * What its ranges need, the most frequent first; ranges that need nothing are left out. Of a node with more than 1,000 ranges it is
   * about the first 1,000 by id.
   */
  readonly waiting: readonly WaitingRanges[]
  /** Ranges on it that need what cannot be done, and why: what holds up a drain. The first few. */
  readonly blocked: readonly BlockedRange[]
  /** Moves under way that bring something to it or take something from it. */
  readonly underWay: readonly MoveInFlight[]
  /** Moves that the next plan makes to it. */
  readonly arriving: readonly PlannedMove[]
  /** Moves that the next plan makes away from it. */
  readonly leaving: readonly PlannedMove[]
}

const examined = 1000
const exampleCount = 5
const maximumBlocked = 20
const maximumReasons = 5
/** Ranges that are asked what they need, and replicas that are asked why they stay, before others may go on. */
const askedTogether = 128
const slotsTogether = 16

/**
 * Explains one node: what it holds, how that fits its share, what comes and goes, and what holds it up. It asks the planner
 * itself, so what it says is what is done.
 *
 * @throws KeelsonError `NOT_FOUND`
 */
export function explainNode(
  snapshot: PlacementSnapshot,
  nodeId: NodeId,
  policy: Partial<PlacementPolicy> = {},
  options: PlanOptions = {},
): NodeExplanation {
  return explainNodeBy(new Planner(policy), snapshot, nodeId, options)
}

/** The same by a planner that knows the cluster already. @throws KeelsonError `NOT_FOUND` */
export function explainNodeBy(
  planner: Planner,
  snapshot: PlacementSnapshot,
  nodeId: NodeId,
  options: PlanOptions = {},
): NodeExplanation {
  return finish(explainingNode(planner, snapshot, nodeId, options))
}

/** The same in small steps. @throws KeelsonError `NOT_FOUND` */
export function* explainingNode(
  planner: Planner,
  snapshot: PlacementSnapshot,
  nodeId: NodeId,
  options: PlanOptions,
): Sliced<NodeExplanation> {
  const node = snapshot.nodeIndex.get(nodeId)
  if (node === undefined) {
    throw new KeelsonError(
      'NOT_FOUND',
      `the snapshot has no node ${showValue(nodeId)}; look for its id in the status`,
    )
  }
  return yield* planner.asking(snapshot, options, (planned, setting) =>
    describeNode(planner, snapshot, node, planned, setting),
  )
}

function* describeNode(
  planner: Planner,
  snapshot: PlacementSnapshot,
  node: number,
  planned: Plan,
  setting: Setting,
): Sliced<NodeExplanation> {
  const { table } = snapshot
  const { nodeId } = (snapshot.nodes[node] as PlacementNode).descriptor
  const ranges = yield* planner.index.rangesOn(nodeId)
  const draft = yield* planner.drafting(ranges.subarray(0, examined), setting)
  yield
  const takes: string[] = []
  const goals: string[] = []
  for (
    let store = table.firstStore[node] as number;
    store < (table.firstStore[node + 1] as number);
    store++
  ) {
    const name = table.nameOf(store)
    const hot = whyHot(snapshot, store)
    const full = draft.rules.map((rule) => rule.sheds?.(store)).find((why) => why !== undefined)
    const closed = draft.columns.eligible[store] === 1 ? undefined : draft.targets.status(store)
    takes.push(
      `${name}: ${closed ?? (full === undefined ? (hot ?? 'it takes replicas') : `it gives replicas away: ${full}`)}`,
    )
    for (const goal of draft.goals) {
      if (goal.judges !== 'ranges') goals.push(`${goal.name}: ${goal.describe(-1, store)}`)
    }
  }
  const waiting = new Map<RangeNeed, RangeId[]>()
  for (const [range, rangeId] of draft.columns.rangeIds.entries()) {
    if (range % askedTogether === 0) yield
    const need = draft.survey.read(range).need()
    if (need === 'nothing') continue
    const list = waiting.get(need)
    if (list === undefined) waiting.set(need, [rangeId])
    else list.push(rangeId)
  }
  const stays = yield* whyAllStay(draft, node, ranges.length)
  yield
  const isHere = (rangeId: RangeId): boolean => isAmong(ranges, rangeId)
  return {
    nodeId,
    takes,
    goals,
    stays,
    replicas: ranges.length,
    waiting: [...waiting]
      .map(([need, list]) => ({
        need: needInWords[need],
        count: list.length,
        examples: list.slice(0, exampleCount),
      }))
      .sort((a, b) => b.count - a.count),
    blocked: planned.blocked.filter(({ rangeId }) => isHere(rangeId)).slice(0, maximumBlocked),
    underWay: snapshot.moves.filter((move) => move.add === nodeId || isHere(move.rangeId)),
    arriving: planned.moves.filter(({ add }) => add?.nodeId === nodeId),
    leaving: planned.moves.filter(({ remove }) => remove?.nodeId === nodeId),
  }
}

function isAmong(ascending: Float64Array, rangeId: RangeId): boolean {
  let [low, high] = [0, ascending.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((ascending[middle] as number) < rangeId) low = middle + 1
    else high = middle
  }
  return ascending[low] === rangeId
}

/** What overload does to a store, in words. */
function whyHot({ table }: PlacementSnapshot, store: number): string | undefined {
  const level = table.stores[store]?.overload
  if (level === undefined) return undefined
  if (table.everythingHot) return `it takes replicas: it is ${level}, but most stores are overloaded`
  const instead = 'it takes what no other can'
  switch (level) {
    case 'strained':
      return 'it takes replicas, but nothing that leaves an overloaded store: it is strained'
    case 'recovering':
      return `${instead}: it was overloaded lately`
    case 'overloaded':
      return `${instead}, and gives leases away: it is overloaded`
    case 'exhausted':
      return `${instead}, and gives leases and replicas away: it is exhausted`
  }
}

/** Why the replicas of a node stay though goals find it too full. */
function* whyAllStay(draft: Draft, node: number, ranges: number): Sliced<string[]> {
  const { columns, assignment, survey } = draft
  const ofWhich = ranges > examined ? ` (of the first ${examined} of its ${ranges} ranges)` : ''
  const said: string[] = []
  for (const goal of draft.goals) {
    if (goal.judges !== 'replicas') continue
    let to = -1
    for (let other = 0; other < columns.nodeCount; other++) {
      if (columns.eligible[other] !== 1 || columns.hostOf[other] === node) continue
      if (to < 0 || goal.pressure(other) < goal.pressure(to)) to = other
    }
    for (let store = 0; to >= 0 && store < columns.nodeCount; store++) {
      if (columns.hostOf[store] !== node || columns.eligible[store] !== 1) continue
      if (goal.pressure(store) <= goal.pressure(to) || !goal.worthwhile(store, to)) continue
      const reasons = new Map<string, number>()
      let asked = 0
      for (const slot of assignment.slotsOn(store)) {
        if (++asked % slotsTogether === 0) yield
        const range = columns.rangeOf[slot] as number
        const busy = columns.fixed[slot] === 1 || survey.read(range).need() !== 'nothing'
        const why = busy ? 'something else is to be done with the range first' : whyStays(draft, slot, to)
        reasons.set(why, (reasons.get(why) ?? 0) + 1)
      }
      const frequent = [...reasons].sort(([, a], [, b]) => b - a).slice(0, maximumReasons)
      for (const [why, count] of frequent) {
        said.push(
          `${goal.name}: ${count} × ${columns.nodeName(store)} → ${columns.nodeName(to)}${ofWhich}: ${why}`,
        )
      }
    }
  }
  return said
}

function whyStays({ targets, goals }: Draft, slot: number, to: number): string {
  const refused = targets.whyNot(slot, to)
  if (refused !== undefined) return refused
  if (targets.improves(slot, to)) return 'it may go, and waits for its turn'
  const worse = goals.find((goal) => goal.moveDelta(slot, to) > epsilon)
  return worse === undefined ? 'nothing would be better' : `it would be worse by ${worse.name}`
}

/** An explanation of a node as text for people. */
export function nodeText(explanation: NodeExplanation): string {
  const { takes, goals, stays, replicas, waiting, blocked, underWay, arriving, leaving } = explanation
  const lines = [...takes, `${replicas} replicas`, ...goals, ...stays]
  if (waiting.length > 0 && replicas > examined)
    lines.push(`what ranges need is said of the first ${examined} of ${replicas}`)
  for (const { need, count, examples } of waiting)
    lines.push(`${count} ranges need ${need}: ${examples.join(', ')}`)
  for (const { rangeId, why } of blocked) lines.push(`range ${rangeId} is blocked: ${why}`)
  lines.push(
    `${underWay.length} moves under way, ${arriving.length} planned to it, ${leaving.length} planned away from it`,
  )
  return lines.join('\n')
}
