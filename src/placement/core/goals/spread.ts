import { checkArray, checkInteger, checkText } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import { showValue } from '../../../core/options.ts'
import { type Assignment, nowhere, type PlacementColumns } from '../assignment.ts'
import { replicaBits } from '../model/cluster.ts'
import { DomainCounts } from './domain-counts.ts'
import type { BoundGoal, BoundRule, Goal, GoalSubject, Rule } from './goal.ts'

/**
 * What a pair costs of which one does not vote, beside a pair of voters: all such pairs together less than one of those, so that
 * the voters are spread first, and then all replicas. A power of two, so that sums stay exact.
 */
export const pairWithoutVote: number = 2 ** -13

/**
 * Keeps the replicas of a range apart. Of two voters each tier counts one that they share together with all wider ones
 * (CockroachDB's diversity, turned round): with `['region', 'zone', 'rack']` the same rack costs 3, the same zone 2. Pairs
 * with a replica that does not vote count as well, but much less.
 */
export function spread(tiers: string | readonly string[], ...rest: readonly never[]): Goal {
  if (rest.length > 0) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `spread takes tiers alone, several as an array, and nothing after them: not ${showValue(rest[0])}`,
    )
  }
  const list = typeof tiers === 'string' ? [tiers] : checkArray(tiers, 'the tiers of spread', 16)
  if (list.length === 0) {
    throw new KeelsonError('INVALID_ARGUMENT', 'spread takes one tier or more, the widest first')
  }
  for (const tier of list) checkText(tier, 'a tier of spread', 32)
  const name = `spread(${list.join(', ')})`
  return { name, bind: (assignment) => new BoundSpread(assignment, name, list) }
}

/** The domains of each tier within those of the wider ones: rack 1 of one zone is not rack 1 of another. */
function nested(columns: PlacementColumns, tiers: readonly string[]): { of: Int32Array; count: number }[] {
  let wider = new Int32Array(columns.nodeCount)
  return tiers.map((tier) => {
    const { of, count } = columns.domains(tier)
    const numbers = new Map<number, number>()
    wider = wider.map((domain, node) => {
      const path = domain * count + (of[node] as number)
      const number = numbers.get(path) ?? numbers.size
      numbers.set(path, number)
      return number
    })
    return { of: wider, count: numbers.size }
  })
}

/** Replicas of a range of which the signature tells how well they can be spread; no range has more. */
const largestJudged = 32

class BoundSpread implements BoundGoal {
  readonly name: string
  readonly judges: GoalSubject = 'ranges'
  readonly #assignment: Assignment
  readonly #tiers: readonly string[]
  readonly #domains: readonly Int32Array[]
  /** Nodes of each domain that may be given replicas, by tier. */
  readonly #rooms: readonly Int32Array[]
  readonly #fewest: number[] = []

  constructor(assignment: Assignment, name: string, tiers: readonly string[]) {
    const { columns } = assignment
    this.name = name
    this.#assignment = assignment
    this.#tiers = tiers
    const domains = nested(columns, tiers)
    this.#domains = domains.map(({ of }) => of)
    this.#rooms = domains.map(({ of, count }) => {
      const rooms = new Int32Array(count)
      for (let node = 0; node < columns.nodeCount; node++) {
        const domain = of[node] as number
        if (columns.eligible[node] === 1) rooms[domain] = (rooms[domain] as number) + 1
      }
      return rooms
    })
  }

  total(): number {
    let sum = 0
    for (let range = 0; range < this.#assignment.columns.rangeCount; range++) sum += this.#pairs(range)
    return sum
  }

  moveDelta(slot: number, to: number): number {
    const from = this.#assignment.place[slot] as number
    return from === to ? 0 : this.#sharedBy(slot, to) - this.#sharedBy(slot, from)
  }

  swapDelta(a: number, b: number): number {
    const { place, columns } = this.#assignment
    const [from, to] = [place[a] as number, place[b] as number]
    if (columns.rangeOf[a] !== columns.rangeOf[b]) return this.moveDelta(a, to) + this.moveDelta(b, from)
    const now = this.#sharedBy(a, from, b) + this.#sharedBy(b, to, a)
    return this.#sharedBy(a, to, b) + this.#sharedBy(b, from, a) - now
  }

  leadDelta(): number {
    return 0
  }

  worthwhile(): boolean {
    return true
  }

  pressure(): number {
    return 0
  }

  /** What other nodes that may be given replicas would allow, one replica on a node. */
  excess(range: number): number {
    return Math.max(0, this.#pairs(range) - this.#leastOf(range, (count) => this.#least(count)))
  }

  /** Every range dealt out evenly over all domains there are. */
  lowerBound(): number {
    const endless = this.#rooms.map((rooms) => rooms.map(() => this.#assignment.columns.slotCount))
    const least: number[] = []
    const leastOf = (count: number): number => {
      least[count] ??= endless.reduce((pairs, rooms) => pairs + fewestPairs(rooms, count), 0)
      return least[count]
    }
    let sum = 0
    for (let range = 0; range < this.#assignment.columns.rangeCount; range++)
      sum += this.#leastOf(range, leastOf)
    return sum
  }

  /** The least that so many replicas can share: all that the room of the domains comes to. */
  signature(): string {
    return Array.from({ length: largestJudged }, (_, count) => this.#least(count + 1)).join()
  }

  describe(slot: number, node: number): string {
    const counts = this.#tiers.map((tier, t) => {
      const others = this.#sharedIn(slot, node, t)
      if (others === 0) return `no other replica in its ${tier}`
      return `${others} other ${others === 1 ? 'replica' : 'replicas'} in its ${tier}`
    })
    return counts.join(', ')
  }

  /** The least that a range can cost: its voters dealt out evenly, and then all its replicas. */
  #leastOf(range: number, least: (count: number) => number): number {
    const { place, columns } = this.#assignment
    let [count, voters] = [0, 0]
    for (
      let slot = columns.firstSlot[range] as number;
      slot < (columns.firstSlot[range + 1] as number);
      slot++
    ) {
      if ((place[slot] as number) < 0) continue
      count++
      if (((columns.status[slot] as number) & replicaBits.voter) !== 0) voters++
    }
    return (1 - pairWithoutVote) * least(voters) + pairWithoutVote * least(count)
  }

  #pairs(range: number): number {
    const { place, columns } = this.#assignment
    let sum = 0
    for (
      let slot = columns.firstSlot[range] as number;
      slot < (columns.firstSlot[range + 1] as number);
      slot++
    ) {
      sum += this.#sharedBy(slot, place[slot] as number)
    }
    return sum / 2
  }

  #sharedBy(slot: number, node: number, except: number = nowhere): number {
    if (node < 0) return 0
    const { place, columns } = this.#assignment
    const range = columns.rangeOf[slot] as number
    const end = columns.firstSlot[range + 1] as number
    const votes = columns.status[slot] as number
    let shared = 0
    for (let other = columns.firstSlot[range] as number; other < end; other++) {
      const at = place[other] as number
      if (other === slot || other === except || at < 0) continue
      const bothVote = (votes & (columns.status[other] as number) & replicaBits.voter) !== 0
      for (let t = 0; t < this.#domains.length; t++) {
        const of = this.#domains[t] as Int32Array
        if (of[at] !== of[node]) break
        shared += bothVote ? 1 : pairWithoutVote
      }
    }
    return shared
  }

  #sharedIn(slot: number, node: number, tier: number): number {
    const { place, columns } = this.#assignment
    const of = this.#domains[tier] as Int32Array
    const range = columns.rangeOf[slot] as number
    let count = 0
    for (
      let other = columns.firstSlot[range] as number;
      other < (columns.firstSlot[range + 1] as number);
      other++
    ) {
      const at = place[other] as number
      if (other !== slot && at >= 0 && of[at] === of[node]) count++
    }
    return count
  }

  /** The fewest shares that so many replicas can have. */
  #least(count: number): number {
    let least = this.#fewest[count]
    if (least === undefined) {
      least = this.#rooms.reduce((sum, rooms) => sum + fewestPairs(rooms, count), 0)
      this.#fewest[count] = least
    }
    return least
  }
}

/** The fewest pairs that share a domain when `count` replicas are dealt out over domains with so much room. */
function fewestPairs(rooms: Int32Array, count: number): number {
  let pairs = 0
  for (let dealt = 0, level = 0; dealt < count; level++) {
    const wide = rooms.reduce((sum, room) => sum + (room > level ? 1 : 0), 0)
    if (wide === 0) return pairs
    const here = Math.min(wide, count - dealt)
    pairs += here * level
    dealt += here
  }
  return pairs
}

/** In how many domains of a tier the replicas of a range must be at least: one number, or one for each range. */
export function spreadAtLeast(tier: string, domains: number | ((range: number) => number)): Rule {
  checkText(tier, 'the tier of spreadAtLeast', 32)
  if (typeof domains !== 'function') checkInteger(domains, 'the least number of domains of spreadAtLeast', 1)
  const name = `spreadAtLeast(${tier})`
  const wanted = typeof domains === 'function' ? domains : () => domains
  return { name, bind: (assignment) => new BoundSpreadAtLeast(assignment, name, tier, wanted) }
}

class BoundSpreadAtLeast implements BoundRule {
  readonly name: string
  readonly domains: Int32Array
  readonly #assignment: Assignment
  readonly #tier: string
  readonly #counts: DomainCounts
  readonly #wanted: Int32Array
  readonly #distinct: Int32Array

  constructor(assignment: Assignment, name: string, tier: string, wanted: (range: number) => number) {
    const { columns } = assignment
    const { of, count } = columns.domains(tier)
    this.name = name
    this.domains = of
    this.#assignment = assignment
    this.#tier = tier
    this.#counts = new DomainCounts(assignment, of, count)
    this.#wanted = Int32Array.from({ length: columns.rangeCount }, (_, range) => wanted(range))
    this.#distinct = new Int32Array(columns.rangeCount)
    const seen = new Int32Array(count).fill(nowhere)
    for (let range = 0; range < columns.rangeCount; range++) {
      for (
        let slot = columns.firstSlot[range] as number;
        slot < (columns.firstSlot[range + 1] as number);
        slot++
      ) {
        const node = assignment.place[slot] as number
        if (node < 0 || seen[of[node] as number] === range) continue
        seen[of[node] as number] = range
        this.#distinct[range] = (this.#distinct[range] as number) + 1
      }
    }
  }

  allows(slot: number, to: number): boolean {
    const range = this.#assignment.columns.rangeOf[slot] as number
    // Whoever leaves takes one domain at most.
    if ((this.#distinct[range] as number) > (this.#wanted[range] as number)) return true
    return this.#change(range, this.#assignment.place[slot] as number, to) >= 0
  }

  allowsSwap(a: number, b: number): boolean {
    const { place, columns } = this.#assignment
    if (columns.rangeOf[a] === columns.rangeOf[b]) return true
    return this.allows(a, place[b] as number) && this.allows(b, place[a] as number)
  }

  refusal(slot: number, to: number): string | undefined {
    if (this.allows(slot, to)) return undefined
    const range = this.#assignment.columns.rangeOf[slot] as number
    return `the range must be in ${this.#wanted[range]} of ${this.#tier}, and would be in ${(this.#distinct[range] as number) - 1}`
  }

  /** All but the first replica of each domain may go, when the range is in too few. */
  evicts(slot: number): string | undefined {
    const range = this.#assignment.columns.rangeOf[slot] as number
    const node = this.#assignment.place[slot] as number
    if (node < 0 || (this.#distinct[range] as number) >= (this.#wanted[range] as number)) return undefined
    if (!this.#counts.hasEarlier(slot, this.#counts.domain(node))) return undefined
    return `the range must be in ${this.#wanted[range]} of ${this.#tier}, and is in ${this.#distinct[range]}`
  }

  broken(): number {
    let sum = 0
    for (let range = 0; range < this.#wanted.length; range++) {
      sum += Math.max(0, (this.#wanted[range] as number) - (this.#distinct[range] as number))
    }
    return sum
  }

  moved(slot: number, from: number, to: number): void {
    const range = this.#assignment.columns.rangeOf[slot] as number
    this.#counts.moved(slot, from, to)
    const left = from >= 0 && this.#counts.count(range, this.#counts.domain(from)) === 0 ? 1 : 0
    // Counted after the change: it is the first one there, unless it came from the same domain.
    const came = to >= 0 && this.#counts.count(range, this.#counts.domain(to)) === 1 ? 1 : 0
    const stayed = from >= 0 && to >= 0 && this.#counts.domain(from) === this.#counts.domain(to)
    if (!stayed) this.#distinct[range] = (this.#distinct[range] as number) + came - left
  }

  #change(range: number, from: number, to: number): number {
    const fromDomain = from < 0 ? nowhere : this.#counts.domain(from)
    const toDomain = to < 0 ? nowhere : this.#counts.domain(to)
    if (fromDomain === toDomain) return 0
    const left = fromDomain >= 0 && this.#counts.count(range, fromDomain) === 1 ? 1 : 0
    const came = toDomain >= 0 && this.#counts.count(range, toDomain) === 0 ? 1 : 0
    return came - left
  }
}
