import type { Assignment, AssignmentObserver } from '../assignment.ts'

/** What a goal judges: each range by itself, or how replicas or leases are shared among the nodes. */
export type GoalSubject = 'ranges' | 'replicas' | 'leases'

/** Something that a good placement has more of. */
export interface Goal {
  /** Short and constant: it stands in explanations and bounds. */
  readonly name: string
  /** The goal over an assignment, now and as it changes. */
  bind(assignment: Assignment): BoundGoal
  /**
   * Tables whose replicas it counts on each node. The planner looks at a part of the ranges; how many replicas of these
   * tables the others have on each node is among the sums of `columns.base`.
   */
  readonly tables?: readonly number[]
}

/** Something that every placement must satisfy. */
export interface Rule {
  /** Short and constant: it stands in explanations and refusals. */
  readonly name: string
  /** The rule over an assignment, now and as it changes. */
  bind(assignment: Assignment): BoundRule
  /**
   * Whether it looks at other ranges than the one that is moved, by their numbers in the columns. Only a search over columns of
   * all ranges can keep such a rule: the planner, which looks at a part of them, refuses it. Default: false.
   */
  readonly needsAllRanges?: boolean
}

/** Cost of one node, from 0: a sum over nodes of such costs can be valued from the two nodes of a move alone. */
export type NodeCost = (
  /** Amounts in use, of which the node's begin at `offset`, in the order of the resources. Only to be read. */
  usage: Float64Array,
  offset: number,
  node: number,
  /** Replicas on the node. */
  replicas: number,
  /** Leads of the node. */
  leaders: number,
) => number

/** Cost of amounts above thresholds: Σ over nodes and resources of weight × max(0, usage − threshold). */
export interface AboveThreshold {
  /** By resource. */
  readonly weight: Float64Array
  /** nodes × resources. */
  readonly threshold: Float64Array
}

/** What a goal costs, in a form that the search can take together with that of others. */
export interface GoalKernel {
  /** The goal is exactly the sum of this over all nodes. */
  readonly nodeCost?: NodeCost
  /** The goal is exactly this. */
  readonly above?: AboveThreshold
  /** The goal is exactly the sum of these goals times these factors. */
  readonly parts?: readonly {
    /** One of the goals. */
    readonly goal: BoundGoal
    /** Its factor. */
    readonly weight: number
  }[]
}

/**
 * A goal over one assignment; lower is better. All that begins with `move`, `swap` or `lead` values a change that has not
 * been made. Whatever keeps counters learns of changes through `moved` and `led`: {@link bindGoal} sees to it.
 */
export interface BoundGoal extends AssignmentObserver {
  /** Short and constant: it stands in explanations and bounds. */
  readonly name: string
  /** What it judges. */
  readonly judges: GoalSubject
  /** What the goal costs now. */
  total(): number
  /** How much worse it gets when a replica goes to a node, or vanishes. */
  moveDelta(slot: number, to: number): number
  /** How much worse it gets when two replicas exchange their nodes. */
  swapDelta(a: number, b: number): number
  /** How much worse it gets when a slot takes the lead of its range. */
  leadDelta(range: number, slot: number): number
  /** Whether a move between two nodes that improves the goal is worth its work: the damping against thrashing. */
  worthwhile(from: number, to: number): boolean
  /**
   * Whether a node is so near to what it should be that it takes much more before it is worth a move. A change that leaves two
   * such nodes so is no reason against a move for a goal that is less important. Default: whatever makes the goal worse is one.
   */
  isEven?(node: number): boolean
  /** How much a node costs, where the search should look first; 0 for a goal that only judges ranges. */
  pressure(node: number): number
  /** How much better the range alone could be; 0 for a goal that only judges nodes. */
  excess(range: number): number
  /** No assignment costs less; 0 when nothing better is known. */
  lowerBound(): number
  /** Why a slot is well or badly off on a node, for people. */
  describe(slot: number, node: number): string
  /** How the search may value it together with other goals. */
  readonly kernel?: GoalKernel
  /**
   * At most so much better does the goal get when a replica goes elsewhere, wherever that is; when two exchange their nodes,
   * at most the sum of both. A goal that can say so quickly lets the search give up early on what cannot pay.
   */
  relief?(slot: number): number
  /** Moves that are needed at least until nothing is left to gain, when that is known. */
  distance?(): number
  /**
   * What {@link excess} depends on beside the range, the nodes that it is on, and their state: as long as this is the same,
   * only ranges that changed are asked again. Default: which nodes may be given something.
   */
  signature?(): string
}

/** Limits of a node: a replica may come when what it brings stays within them. */
export interface RuleLimits {
  /** nodes × resources. */
  readonly limit: Float64Array
  /** By resource, 1 where a replica that goes holds its share until it has been copied. */
  readonly transient: Uint8Array
}

/** A rule over one assignment. What is broken at the start may stay so but gets no worse, and is worth repairing. */
export interface BoundRule extends AssignmentObserver {
  /** Short and constant: it stands in explanations and refusals. */
  readonly name: string
  /** Whether a replica may go to a node. */
  allows(slot: number, to: number): boolean
  /** Whether two replicas may exchange their nodes. */
  allowsSwap(a: number, b: number): boolean
  /** Why a replica may not go to a node, in words. Undefined: it may. */
  refusal(slot: number, to: number): string | undefined
  /** Why a replica may not stay where it is, in words. Undefined: it may. */
  evicts(slot: number): string | undefined
  /** How much is broken, in the rule's own measure; 0 when it holds throughout. Counted anew. */
  broken(): number
  /** The rule is exactly this. */
  readonly limits?: RuleLimits
  /**
   * Why a node has to give something away, whatever it is. A rule that has this judges nodes: {@link evicts} then follows
   * from it, and is asked of the replicas of such nodes only. The others' {@link evicts} may look at the range, and the
   * nodes that it is on, and at nothing else.
   */
  sheds?(node: number): string | undefined
  /** Domain of each node: the rule has nothing against changes within one, so the search tries these more often. */
  readonly domains?: Int32Array
}

/** Binds a goal, and has it told of every change. */
export function bindGoal(assignment: Assignment, goal: Goal): BoundGoal {
  return assignment.observe(goal.bind(assignment))
}

/** Binds a rule, and has it told of every change. */
export function bindRule(assignment: Assignment, rule: Rule): BoundRule {
  return assignment.observe(rule.bind(assignment))
}
