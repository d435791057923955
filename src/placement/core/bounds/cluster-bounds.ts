import { checkObject } from '../../../core/arguments.ts'
import { checkOptions, numberOption, optional } from '../../../core/options.ts'
import { finish, type Sliced } from '../../../core/sliced.ts'
import type { PlacementColumns } from '../assignment.ts'
import { matchingNodes } from '../policy/match.ts'
import type { RuleBook } from '../policy/rule-book.ts'
import { type PlacementPolicy, placementPolicy } from '../policy.ts'
import { type PlacementSnapshot, replicaBits } from '../snapshot.ts'
import { rangesTogether } from '../summary.ts'
import { WorkingSet } from '../working-set.ts'
import {
  type AllowedNodes,
  type BalanceBound,
  boundingBalance,
  boundingShedding,
  holder,
  slotsTogether,
} from './balance-bound.ts'
import { boundingRepairTime, type RepairTimeBound, type RepairTimeInput } from './repair-bound.ts'
import { boundingUtilisation, type UtilisationBound } from './utilisation-bound.ts'

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
  /** How long it takes at least, from now on, to make all replicas that are missing; undefined where no bandwidth is given. */
  readonly repair?: RepairTimeBound
}

/** What each node can take and give. */
export interface NodeBandwidth {
  /** Bytes that it can take in a second. */
  readonly ingressBytesPerSecond: number
  /** Bytes that it can give in a second. */
  readonly egressBytesPerSecond: number
}

/** Options of {@link clusterBounds}. */
export interface ClusterBoundsOptions {
  /** How much more than its share a node may hold. Default: 0.05. */
  readonly tolerance?: number
  /** What the fastest node can take and give, for the time that repair takes. Default: nothing is said of that time. */
  readonly bandwidth?: NodeBandwidth
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
  return finish(boundingCluster(snapshot, policy, options))
}

/** The same in small steps, for who has other things to do meanwhile. @throws as {@link clusterBounds} */
export function* boundingCluster(
  snapshot: PlacementSnapshot,
  policy: Partial<PlacementPolicy>,
  options: ClusterBoundsOptions,
): Sliced<ClusterBounds> {
  checkObject(snapshot, 'the snapshot to bound', ['table', 'reader', 'resources'])
  const { tolerance, bandwidth } = checkOptions<
    Required<Omit<ClusterBoundsOptions, 'bandwidth'>> & { readonly bandwidth: NodeBandwidth | undefined }
  >('clusterBounds', options, {
    tolerance: numberOption({ min: 0, max: 1, fallback: 0.05 }),
    bandwidth: optional((value, name) =>
      checkOptions<NodeBandwidth>(name, value, {
        ingressBytesPerSecond: numberOption({ min: 0 }),
        egressBytesPerSecond: numberOption({ min: 0 }),
      }),
    ),
  })
  const wanted = placementPolicy(policy)
  const rangeIds = new Float64Array(snapshot.rangeCount)
  const reader = snapshot.reader()
  let read = 0
  while (reader.next()) {
    rangeIds[read++] = reader.rangeId
    if (read % rangesTogether === 0) yield
  }
  yield
  // As things are, without a place for replicas that are to be made.
  const columns = yield* WorkingSet.building(snapshot, rangeIds.subarray(0, read), undefined, wanted, 0)
  const allowed = allowedBy(columns, wanted.rules)
  const utilisation: ClusterBounds['utilisation'][number][] = []
  const balance: BalanceBound[] = []
  for (const resource of snapshot.resources) {
    const bound = yield* boundingUtilisation(columns, resource, [], allowed, () => Number.POSITIVE_INFINITY)
    // Where no node names a limit nothing is full.
    if (bound.utilisation < Number.POSITIVE_INFINITY && hasLimit(columns, resource)) {
      const now = yield* fullestNow(columns, resource)
      utilisation.push({ ...bound, now, gap: Math.max(0, now - bound.utilisation) })
    }
    balance.push(
      resource === 'bytes'
        ? yield* boundingBalance(columns, resource, tolerance, allowed)
        : yield* boundingShedding(columns, resource, tolerance),
    )
  }
  if (bandwidth === undefined) return { utilisation, balance }
  return { utilisation, balance, repair: yield* repairTime(columns, bandwidth) }
}

function hasLimit({ resources, capacity, eligible, nodeCount }: WorkingSet, resource: string): boolean {
  const r = resources.indexOf(resource)
  for (let node = 0; node < nodeCount; node++) {
    if (eligible[node] === 1 && (capacity[node * resources.length + r] as number) < Number.POSITIVE_INFINITY)
      return true
  }
  return false
}

/** How full the fullest node is that may be given something. */
function* fullestNow(columns: WorkingSet, resource: string): Sliced<number> {
  const width = columns.resources.length
  const r = columns.resources.indexOf(resource)
  const used = new Float64Array(columns.nodeCount)
  for (let slot = 0; slot < columns.slotCount; slot++) {
    if (slot % slotsTogether === 0) yield
    const node = holder(columns, slot)
    if (node >= 0) used[node] = (used[node] as number) + (columns.load[slot * width + r] as number)
  }
  for (let range = 0; columns.leaderLoad !== undefined && range < columns.rangeCount; range++) {
    if (range % slotsTogether === 0) yield
    const leader = columns.homeLeader[range] as number
    const node = leader < 0 ? leader : holder(columns, leader)
    if (node >= 0) used[node] = (used[node] as number) + (columns.leaderLoad[range * width + r] as number)
  }
  let most = 0
  for (let node = 0; node < columns.nodeCount; node++) {
    const room = columns.capacity[node * width + r] as number
    // Nothing on a node that takes nothing is not full.
    if (columns.eligible[node] !== 1 || used[node] === 0) continue
    most = Math.max(most, (used[node] as number) / room)
  }
  return most
}

/** How long it takes at least to make what is missing. A node's bandwidth is its own, however many stores it has. */
function* repairTime(columns: WorkingSet, bandwidth: NodeBandwidth): Sliced<RepairTimeBound> {
  const names = columns.snapshot.nodes.map(({ descriptor }) => descriptor.nodeId)
  const nodes = names.length
  const takes = new Uint8Array(nodes)
  for (let store = 0; store < columns.nodeCount; store++)
    if (columns.eligible[store] === 1) takes[columns.hostOf[store] as number] = 1
  const copies: RepairTimeInput['copies'][number][] = []
  const bytes = columns.resources.indexOf('bytes')
  for (let range = 0; range < columns.rangeCount; range++) {
    if (range % rangesTogether === 0) yield
    const [first, end] = [columns.firstSlot[range] as number, columns.firstSlot[range + 1] as number]
    // A copy that is under way may be there at any moment.
    const coming = columns.snapshot.moveOf(columns.rangeIds[range] as number)?.add
    let kept = coming === undefined ? 0 : 1
    for (let slot = first; slot < end; slot++) {
      const store = holder(columns, slot)
      if (store >= 0 && names[columns.hostOf[store] as number] !== coming) kept++
    }
    const missing = (columns.wantedReplicas[range] as number) - kept
    if (missing <= 0) continue
    const sources: number[] = []
    for (let slot = first; slot < end; slot++) {
      const store = holder(columns, slot)
      if (store >= 0 && ((columns.status[slot] as number) & replicaBits.up) !== 0)
        sources.push(columns.hostOf[store] as number)
    }
    const size =
      bytes < 0 || end === first ? 0 : (columns.load[first * columns.resources.length + bytes] as number)
    // Of a range whose replicas are all only silent some may come back: nothing is said of it.
    if (sources.length === 0 && kept > 0) continue
    for (let copy = 0; copy < missing && size > 0; copy++) copies.push({ bytes: size, sources })
  }
  return yield* boundingRepairTime(
    {
      detectionMs: 0,
      ingress: Array.from(takes, (each) => each * bandwidth.ingressBytesPerSecond),
      egress: names.map(() => bandwidth.egressBytesPerSecond),
      copies,
    },
    (node) => names[node] ?? `node ${node}`,
  )
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
