import { finish, type Sliced } from '../../../core/sliced.ts'
import { type Domains, nowhere, type PlacementColumns } from '../assignment.ts'
import { replicaBits } from '../snapshot.ts'
import { rangesTogether } from '../summary.ts'
import { type AllowedNodes, isLeftAlone, resourceIndex, slotsTogether } from './balance-bound.ts'

/** How even a load dimension can be at best. */
export interface UtilisationBound {
  /** The load dimension. */
  readonly resource: string
  /** In every placement some node that takes replicas is this full at least, as a part of its capacity. */
  readonly utilisation: number
  /** What it comes from, in words. */
  readonly why: string
}

/**
 * The utilisation that the fullest node has at least, whatever is planned: the mean over all; the largest replica on the
 * largest node that it may be on; and for each domain of the given tiers what is forced into it, since the rules allow
 * nothing else or the other domains cannot take so many replicas of a range. What is on a node that is left alone for now (suspected,
 * in maintenance) stays there, and counts for nothing.
 *
 * @param perDomain replicas of one range that may share a domain of a tier; Infinity where nothing is said
 */
export function utilisationBound(
  columns: PlacementColumns,
  resource: string,
  tiers: readonly string[] = [],
  allowed: AllowedNodes = () => undefined,
  perDomain: (tier: string, range: number) => number = () => Number.POSITIVE_INFINITY,
): UtilisationBound {
  return finish(boundingUtilisation(columns, resource, tiers, allowed, perDomain))
}

/** The same in small steps. @throws KeelsonError `INVALID_ARGUMENT` */
export function* boundingUtilisation(
  columns: PlacementColumns,
  resource: string,
  tiers: readonly string[],
  allowed: AllowedNodes,
  perDomain: (tier: string, range: number) => number,
): Sliced<UtilisationBound> {
  const r = resourceIndex(columns, resource)
  const width = columns.resources.length
  const room = (node: number): number =>
    columns.eligible[node] === 1 ? (columns.capacity[node * width + r] as number) : 0
  let total = 0
  for (let slot = 0; slot < columns.slotCount; slot++) {
    if (slot % slotsTogether === 0) yield
    if (!isLeftAlone(columns, slot)) total += columns.load[slot * width + r] as number
  }
  let all = 0
  for (let node = 0; node < columns.nodeCount; node++) all += room(node)
  let best: UtilisationBound = { resource, utilisation: ratio(total, all), why: 'the mean over all nodes' }
  const raise = (utilisation: number, why: () => string): void => {
    if (utilisation > best.utilisation) best = { resource, utilisation, why: why() }
  }
  yield* raiseByItems(columns, r, room, allowed, raise)
  for (const tier of tiers) yield* raiseByDomains(columns, r, room, tier, allowed, perDomain, raise)
  return best
}

function ratio(amount: number, room: number): number {
  if (amount === 0) return 0
  return room === 0 ? Number.POSITIVE_INFINITY : amount / room
}

type Raise = (utilisation: number, why: () => string) => void

function isVoter(columns: PlacementColumns, slot: number): boolean {
  return ((columns.status[slot] as number) & replicaBits.voter) !== 0
}

/** Nodes that a slot may be on, by class; one entry for each that was asked about. */
class Masks {
  readonly #columns: PlacementColumns
  readonly #allowed: AllowedNodes
  readonly #known = new Map<number, Uint8Array>()

  constructor(columns: PlacementColumns, allowed: AllowedNodes) {
    this.#columns = columns
    this.#allowed = allowed
  }

  of(slot: number): Uint8Array {
    const number = this.#columns.ruleClass?.[this.#columns.rangeOf[slot] as number] ?? 0
    const voter = isVoter(this.#columns, slot)
    const key = number * 2 + (voter ? 1 : 0)
    let mask = this.#known.get(key)
    if (mask === undefined) {
      mask = this.#allowed(number, voter) ?? new Uint8Array(this.#columns.nodeCount).fill(1)
      this.#known.set(key, mask)
    }
    return mask
  }
}

function* raiseByItems(
  columns: PlacementColumns,
  r: number,
  room: (node: number) => number,
  allowed: AllowedNodes,
  raise: Raise,
): Sliced<void> {
  const masks = new Masks(columns, allowed)
  const largestRoom = new Map<Uint8Array, number>()
  let highest = 0
  for (let slot = 0; slot < columns.slotCount; slot++) {
    if (slot % slotsTogether === 0) yield
    if (isLeftAlone(columns, slot)) continue
    const mask = masks.of(slot)
    let most = largestRoom.get(mask)
    if (most === undefined) {
      most = mask.reduce((sofar, may, node) => (may === 1 ? Math.max(sofar, room(node)) : sofar), 0)
      largestRoom.set(mask, most)
    }
    const amount = columns.load[slot * columns.resources.length + r] as number
    const alone = ratio(amount, most)
    if (alone <= highest) continue
    highest = alone
    raise(
      alone,
      () => `a replica of ${columns.rangeName(columns.rangeOf[slot] as number)} alone, on the largest node`,
    )
  }
}

function* raiseByDomains(
  columns: PlacementColumns,
  r: number,
  room: (node: number) => number,
  tier: string,
  allowed: AllowedNodes,
  perDomain: (tier: string, range: number) => number,
  raise: Raise,
): Sliced<void> {
  const domains = columns.domains(tier)
  const masks = new Masks(columns, allowed)
  const rooms = new Float64Array(domains.count)
  const nodes = new Int32Array(domains.count)
  for (let node = 0; node < columns.nodeCount; node++) {
    if (columns.eligible[node] !== 1) continue
    const domain = domains.of[node] as number
    rooms[domain] = (rooms[domain] as number) + room(node)
    nodes[domain] = (nodes[domain] as number) + 1
  }
  const forced = new Float64Array(domains.count)
  const only = new Map<Uint8Array, number>()
  for (let range = 0; range < columns.rangeCount; range++) {
    if (range % rangesTogether === 0) yield
    addForced(columns, r, range, domains, nodes, perDomain(tier, range), masks, only, forced)
  }
  forced.forEach((amount, domain) => {
    raise(ratio(amount, rooms[domain] as number), () => {
      return `what has to be in ${tier} ${domains.names[domain] || 'without a name'}`
    })
  })
}

/** Adds what a range forces into each domain: the larger of what may be nowhere else, and what the others cannot take. */
function addForced(
  columns: PlacementColumns,
  r: number,
  range: number,
  domains: Domains,
  nodes: Int32Array,
  limit: number,
  masks: Masks,
  only: Map<Uint8Array, number>,
  forced: Float64Array,
): void {
  const [first, end] = [columns.firstSlot[range] as number, columns.firstSlot[range + 1] as number]
  const amount = (slot: number): number => columns.load[slot * columns.resources.length + r] as number
  const bound = new Map<number, number>()
  const smallest: number[] = []
  for (let slot = first; slot < end; slot++) {
    if (isLeftAlone(columns, slot)) continue
    smallest.push(amount(slot))
    const domain = onlyDomain(columns, domains, masks.of(slot), only)
    if (domain !== nowhere) bound.set(domain, (bound.get(domain) ?? 0) + amount(slot))
  }
  const room = nodes.reduce((sum, count) => sum + Math.min(count, limit), 0)
  smallest.sort((a, b) => a - b)
  for (let domain = 0; domain < domains.count; domain++) {
    const others = room - Math.min(nodes[domain] as number, limit)
    const must = Math.max(0, smallest.length - others)
    const least = smallest.slice(0, must).reduce((sum, each) => sum + each, 0)
    forced[domain] = (forced[domain] as number) + Math.max(least, bound.get(domain) ?? 0)
  }
}

/** The one domain that a mask leaves, or nowhere. */
function onlyDomain(
  columns: PlacementColumns,
  domains: Domains,
  mask: Uint8Array,
  known: Map<Uint8Array, number>,
): number {
  let found = known.get(mask)
  if (found !== undefined) return found
  found = nowhere
  for (let node = 0; node < columns.nodeCount; node++) {
    if (mask[node] === 0 || columns.eligible[node] !== 1) continue
    const domain = domains.of[node] as number
    if (found === nowhere) found = domain
    else if (found !== domain) {
      found = nowhere
      break
    }
  }
  known.set(mask, found)
  return found
}
