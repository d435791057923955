import { checkObject } from '../../../core/arguments.ts'
import { checkOptions, numberOption } from '../../../core/options.ts'
import { finish, type Sliced } from '../../../core/sliced.ts'
import type { PlacementColumns } from '../assignment.ts'
import { matchingNodes } from '../policy/match.ts'
import type { RuleBook } from '../policy/rule-book.ts'
import { type PlacementPolicy, placementPolicy } from '../policy.ts'
import type { PlacementSnapshot } from '../snapshot.ts'
import { rangesTogether } from '../summary.ts'
import { WorkingSet } from '../working-set.ts'
import { type AllowedNodes, type BalanceBound, balanceBound, sheddingBound } from './balance-bound.ts'
import { type UtilisationBound, utilisationBound } from './utilisation-bound.ts'

/** How good any placement of a cluster can be, and how far it is from there, by load dimension. */
export interface ClusterBounds {
  /** How full the fullest node is at least, whatever is planned, and how full it is. */
  readonly utilisation: readonly (UtilisationBound & {
    /** How full the fullest node is now, as a part of its capacity. */
    readonly now: number
    /** What plans may win at most. */
    readonly gap: number
  })[]
  /** What every plan has to move until no node holds more than its share and the tolerance. */
  readonly balance: readonly BalanceBound[]
}

/** Options of {@link clusterBounds}. */
export interface ClusterBoundsOptions {
  /** How much more than its share a node may hold. Default: 0.05. */
  readonly tolerance?: number
}

/**
 * Bounds of a cluster over all its ranges, by the rules of a policy. It looks at every replica: O(replicas), seconds for a
 * million ranges. What a plan brings with it ({@link Plan.bounds}) costs nothing beside it.
 *
 * @throws KeelsonError `INVALID_ARGUMENT`, `INVALID_OPTION`
 */
export function clusterBounds(
  snapshot: PlacementSnapshot,
  policy: Partial<PlacementPolicy> = {},
  options: ClusterBoundsOptions = {},
): ClusterBounds {
  return finish(bounding(snapshot, policy, options))
}

function* bounding(
  snapshot: PlacementSnapshot,
  policy: Partial<PlacementPolicy>,
  options: ClusterBoundsOptions,
): Sliced<ClusterBounds> {
  checkObject(snapshot, 'the snapshot to bound', ['table', 'reader', 'resources'])
  const { tolerance } = checkOptions<Required<ClusterBoundsOptions>>('clusterBounds', options, {
    tolerance: numberOption({ min: 0, max: 1, fallback: 0.05 }),
  })
  const wanted = placementPolicy(policy)
  const rangeIds: number[] = []
  const reader = snapshot.reader()
  while (reader.next()) {
    rangeIds.push(reader.rangeId)
    if (rangeIds.length % rangesTogether === 0) yield
  }
  // As things are, without a place for replicas that are to be made.
  const columns = new WorkingSet(snapshot, rangeIds, undefined, 0, wanted)
  const allowed = allowedBy(columns, wanted.rules)
  const utilisation: ClusterBounds['utilisation'][number][] = []
  const balance: BalanceBound[] = []
  for (const resource of snapshot.resources) {
    yield
    const bound = utilisationBound(columns, resource, [], allowed)
    // Where no node names a limit nothing is full.
    if (bound.utilisation < Number.POSITIVE_INFINITY) {
      const now = fullestNow(columns, resource)
      utilisation.push({ ...bound, now, gap: Math.max(0, now - bound.utilisation) })
    }
    yield
    balance.push(
      resource === 'bytes'
        ? balanceBound(columns, resource, tolerance, allowed)
        : sheddingBound(columns, resource, tolerance),
    )
  }
  return { utilisation, balance }
}

/** How full the fullest node is that may be given something. */
function fullestNow(columns: WorkingSet, resource: string): number {
  const { usage } = columns.assign()
  const width = columns.resources.length
  const r = columns.resources.indexOf(resource)
  let most = 0
  for (let node = 0; node < columns.nodeCount; node++) {
    if (columns.eligible[node] !== 1) continue
    most = Math.max(
      most,
      (usage[node * width + r] as number) / (columns.capacity[node * width + r] as number),
    )
  }
  return most
}

/** Nodes that the rules of a book leave to all replicas of a class of a kind. */
function allowedBy(columns: PlacementColumns, book: RuleBook | undefined): AllowedNodes {
  if (book === undefined) return () => undefined
  return (ruleClass, voter) => {
    const { require, prohibit } = (book.classes[ruleClass] as RuleBook['classes'][number]).policy
    const mask = new Uint8Array(columns.nodeCount).fill(1)
    const keep = (other: Uint8Array, what: 0 | 1): void => {
      for (let node = 0; node < mask.length; node++) if (other[node] !== what) mask[node] = 0
    }
    for (const { value } of require) {
      const role = value.role ?? 'any'
      const concerns = role === 'any' || (role === 'voter') === voter
      if (value.count === undefined && concerns) keep(matchingNodes(columns, value.match), 1)
    }
    for (const { value } of prohibit) keep(matchingNodes(columns, value), 0)
    return mask
  }
}
