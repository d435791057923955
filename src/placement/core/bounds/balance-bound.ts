import { checkObject, checkText } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import { finish, type Sliced, sorting } from '../../../core/sliced.ts'
import { nowhere, type PlacementColumns } from '../assignment.ts'
import { replicaBits } from '../snapshot.ts'
import { FlowNetwork } from './flow.ts'

/** Nodes that rules leave for the replicas of a class; undefined when they leave all. */
export type AllowedNodes = (ruleClass: number, voter: boolean) => Uint8Array | undefined

/** What any plan has to move until no node holds more than its share. */
export interface BalanceBound {
  /** The load dimension. */
  readonly resource: string
  /** Bytes that every plan moves at least. Copies that are missing anyway are not among them. */
  readonly bytes: number
  /** Amount of the resource that no plan can bring under the shares: the rules leave too little room. */
  readonly stuck: number
}

/** Nothing is lost to a bound when amounts are summed in another order than the plan's. */
const rounding = 1e-9

/** Slots that are looked at before others may go on: about a millisecond of code that was never run before. */
export const slotsTogether = 1024

/** Node that a replica holds its load on as things are, or nowhere. */
export function holder(columns: PlacementColumns, slot: number): number {
  return ((columns.status[slot] as number) & replicaBits.lost) === 0
    ? (columns.home[slot] as number)
    : nowhere
}

/** Whether a replica is where nothing may come and nothing has to leave: on a node that is only suspected, say. */
export function isLeftAlone(columns: PlacementColumns, slot: number): boolean {
  const node = holder(columns, slot)
  if (node < 0 || columns.eligible[node] === 1) return false
  return ((columns.status[slot] as number) & replicaBits.leaving) === 0
}

/**
 * What a node may hold when the cluster is even: its share, by capacity, of all that the nodes that take replicas are to
 * hold, and a little more. Nodes without a limit share as the largest does. Nodes that may be given nothing keep what does not
 * have to leave them.
 *
 * @param tolerance how much more than its share a node may hold: 0.05 is 5 %
 */
export function fairShares(columns: PlacementColumns, resource: number, tolerance: number): Float64Array {
  return finish(sharing(columns, resource, tolerance))
}

function* sharing(columns: PlacementColumns, resource: number, tolerance: number): Sliced<Float64Array> {
  const { nodeCount, slotCount, rangeCount, resources, capacity, eligible, load } = columns
  const { leaderLoad, homeLeader } = columns
  const width = resources.length
  const kept = new Float64Array(nodeCount)
  let total = 0
  const add = (slot: number, amount: number): void => {
    if (!isLeftAlone(columns, slot)) total += amount
    else {
      const node = holder(columns, slot)
      kept[node] = (kept[node] as number) + amount
    }
  }
  for (let slot = 0; slot < slotCount; slot++) {
    if (slot % slotsTogether === 0) yield
    add(slot, load[slot * width + resource] as number)
  }
  for (let range = 0; leaderLoad !== undefined && range < rangeCount; range++) {
    if (range % slotsTogether === 0) yield
    const leader = homeLeader[range] as number
    if (leader >= 0) add(leader, leaderLoad[range * width + resource] as number)
  }
  const limits = Float64Array.from({ length: nodeCount }, (_, node) =>
    eligible[node] === 1 ? (capacity[node * width + resource] as number) : 0,
  )
  const finite = limits.filter((each) => each !== Number.POSITIVE_INFINITY)
  const largest = finite.reduce((most, each) => Math.max(most, each), 0) || 1
  const weights = limits.map((each) => (each === Number.POSITIVE_INFINITY ? largest : each))
  const all = weights.reduce((sum, each) => sum + each, 0)
  return weights.map((each, node) => {
    if (eligible[node] !== 1) return kept[node] as number
    return all === 0 ? 0 : (each / all) * total * (1 + tolerance)
  })
}

/** Number of a resource. @throws KeelsonError `INVALID_ARGUMENT` */
export function resourceIndex(columns: PlacementColumns, resource: string): number {
  checkObject(columns, 'what is bounded; clusterBounds takes a snapshot, and this', [
    'slotCount',
    'home',
    'load',
  ])
  checkText(resource, 'a resource', 128)
  const index = columns.resources.indexOf(resource)
  if (index >= 0) return index
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `there is no load dimension '${resource}'; the columns have ${columns.resources.join(', ') || 'none'}`,
  )
}

/**
 * The fewest bytes that any plan moves until no node holds more bytes than its share: a minimum-cost flow over classes of
 * replicas that may be on the same nodes, in which replicas can be cut to pieces. What has to be copied anyway may go where
 * it helps, at no cost.
 *
 * @param resource load dimension that is both balanced and copied, as a rule `bytes`
 */
export function balanceBound(
  columns: PlacementColumns,
  resource: string,
  tolerance: number,
  allowed: AllowedNodes = () => undefined,
): BalanceBound {
  return finish(boundingBalance(columns, resource, tolerance, allowed))
}

/** The same in small steps. @throws KeelsonError `INVALID_ARGUMENT` */
export function* boundingBalance(
  columns: PlacementColumns,
  resource: string,
  tolerance: number,
  allowed: AllowedNodes,
): Sliced<BalanceBound> {
  const r = resourceIndex(columns, resource)
  const shares = yield* sharing(columns, r, tolerance)
  const { nodeCount, slotCount, resources, load, status, rangeOf, ruleClass, eligible } = columns
  const used = new Float64Array(nodeCount)
  const classes = new Map<number, { mask: Uint8Array | undefined; held: Float64Array; unplaced: number }>()
  for (let slot = 0; slot < slotCount; slot++) {
    if (slot % slotsTogether === 0) yield
    const amount = load[slot * resources.length + r] as number
    const node = holder(columns, slot)
    const number = ruleClass?.[rangeOf[slot] as number] ?? 0
    const voter = ((status[slot] as number) & replicaBits.voter) !== 0
    const key = number * 2 + (voter ? 1 : 0)
    let group = classes.get(key)
    if (group === undefined) {
      group = { mask: allowed(number, voter), held: new Float64Array(nodeCount), unplaced: 0 }
      classes.set(key, group)
    }
    if (node < 0) group.unplaced += amount
    else {
      group.held[node] = (group.held[node] as number) + amount
      used[node] = (used[node] as number) + amount
    }
  }
  const groups = [...classes.values()]
  const [source, sink] = [nodeCount + groups.length, nodeCount + groups.length + 1]
  const network = new FlowNetwork(sink + 1)
  let wanted = 0
  for (let node = 0; node < nodeCount; node++) {
    const beyond = (used[node] as number) - (shares[node] as number)
    if (beyond > 0) {
      network.arc(source, node, beyond, 0)
      wanted += beyond
    } else if (eligible[node] === 1) network.arc(node, sink, -beyond, 0)
  }
  for (const [g, { mask, held, unplaced }] of groups.entries()) {
    yield
    if (unplaced > 0) {
      network.arc(source, nodeCount + g, unplaced, 0)
      wanted += unplaced
    }
    for (let node = 0; node < nodeCount; node++) {
      const there = held[node] as number
      if (there > 0) network.arc(node, nodeCount + g, there, 1)
      if (eligible[node] === 1 && (mask === undefined || mask[node] === 1)) {
        network.arc(nodeCount + g, node, Number.POSITIVE_INFINITY, 0)
      }
    }
  }
  const { amount, cost } = yield* network.sending(source, sink)
  const stuck = Math.max(0, wanted - amount)
  return {
    resource,
    bytes: Math.max(0, cost * (1 - rounding)),
    stuck: stuck <= wanted * rounding ? 0 : stuck,
  }
}

/**
 * The fewest bytes that have to leave the nodes that hold more of a load dimension than their share: for every such node,
 * its replicas by load per byte, the dearest last, until the excess is gone (a fractional knapsack). Leads go first, since
 * they cost no bytes.
 */
export function sheddingBound(columns: PlacementColumns, resource: string, tolerance: number): BalanceBound {
  return finish(boundingShedding(columns, resource, tolerance))
}

/** The same in small steps. @throws KeelsonError `INVALID_ARGUMENT` */
export function* boundingShedding(
  columns: PlacementColumns,
  resource: string,
  tolerance: number,
): Sliced<BalanceBound> {
  const r = resourceIndex(columns, resource)
  const shares = yield* sharing(columns, r, tolerance)
  const { nodeCount, slotCount, resources, load, leaderLoad, homeLeader, moveBytes } = columns
  const width = resources.length
  /** Load that leaves with the replica alone: what leading takes on top can go to another replica at no cost in bytes. */
  const amountOf = (slot: number): number => {
    const range = columns.rangeOf[slot] as number
    const lone = (columns.firstSlot[range + 1] as number) - (columns.firstSlot[range] as number) === 1
    const led = lone && homeLeader[range] === slot ? (leaderLoad?.[range * width + r] ?? 0) : 0
    return (load[slot * width + r] as number) + led
  }
  // By node, one after the other: first how many, then which.
  const first = new Uint32Array(nodeCount + 1)
  const used = new Float64Array(nodeCount)
  for (let slot = 0; slot < slotCount; slot++) {
    if (slot % slotsTogether === 0) yield
    const node = holder(columns, slot)
    if (node < 0) continue
    const amount = amountOf(slot)
    if (amount <= 0) continue
    first[node + 1] = (first[node + 1] as number) + 1
    used[node] = (used[node] as number) + amount
  }
  for (let node = 0; node < nodeCount; node++)
    first[node + 1] = (first[node + 1] as number) + (first[node] as number)
  const next = first.slice()
  const slots = new Uint32Array(first[nodeCount] as number)
  for (let slot = 0; slot < slotCount; slot++) {
    if (slot % slotsTogether === 0) yield
    const node = holder(columns, slot)
    if (node < 0 || amountOf(slot) <= 0) continue
    slots[next[node] as number] = slot
    next[node] = (next[node] as number) + 1
  }
  const perLoad = (slot: number): number => (moveBytes[slot] as number) / amountOf(slot)
  let [bytes, stuck] = [0, 0]
  for (let node = 0; node < nodeCount; node++) {
    let left = ((used[node] as number) - (shares[node] as number)) * (1 - rounding)
    if (left <= 0) continue
    const mine: number[] = []
    for (const slot of slots.subarray(first[node], first[node + 1])) {
      mine.push(slot)
      if (mine.length % slotsTogether === 0) yield
    }
    let taken = 0
    for (const slot of yield* sorting(mine, (a, b) => perLoad(a) - perLoad(b) || a - b)) {
      if (left <= 0) break
      if (++taken % slotsTogether === 0) yield
      const part = Math.min(1, left / amountOf(slot))
      bytes += part * (moveBytes[slot] as number)
      left -= part * amountOf(slot)
    }
    stuck += Math.max(0, left)
  }
  return { resource, bytes, stuck }
}
