import { type Assignment, nowhere, type PlacementColumns } from '../assignment.ts'
import type { BoundRule, Rule } from '../goals/goal.ts'
import { replicaBits } from '../snapshot.ts'
import { both, matchingNodes } from './match.ts'
import { describeMatch, kindInWords, type ReplicaKind } from './rule.ts'
import type { RuleBook, RuleClass } from './rule-book.ts'

/** Something that holds for every replica of a kind, as nodes that it leaves. */
interface Sieve {
  readonly ruleId: string
  readonly role: ReplicaKind
  readonly mask: Uint8Array
  readonly says: string
}

/** So many replicas at least on such nodes. */
interface Quota {
  readonly ruleId: string
  readonly role: ReplicaKind
  readonly mask: Uint8Array
  readonly count: number
  readonly says: string
}

interface ClassLabels {
  readonly sieves: readonly Sieve[]
  readonly quotas: readonly Quota[]
  /** Quotas of which no replica can serve two: what they lack they lack together. One list for each kind of replicas. */
  readonly families: readonly (readonly Quota[])[]
  /** Nodes that are left for a voter, and for a replica that does not vote. */
  readonly forVoters: Uint8Array
  readonly forNonVoters: Uint8Array
}

/**
 * Keeps replicas where the rules of a book require them, and off where they prohibit them: for all replicas of a range, for
 * its voters, or for so many of them.
 */
export function requiredLabels(book: RuleBook): Rule {
  const name = 'rules(require, prohibit)'
  return { name, bind: (assignment) => new BoundRequiredLabels(name, assignment, book) }
}

class BoundRequiredLabels implements BoundRule {
  readonly name: string
  readonly #assignment: Assignment
  readonly #classes: readonly ClassLabels[]

  constructor(name: string, assignment: Assignment, book: RuleBook) {
    this.name = name
    this.#assignment = assignment
    this.#classes = book.classes.map((each) => labelsOf(assignment.columns, each))
  }

  allows(slot: number, to: number): boolean {
    if (!this.#mayBe(slot, to)) return false
    return this.#keepsQuotas(slot, to, nowhere, nowhere)
  }

  allowsSwap(a: number, b: number): boolean {
    const { place, columns } = this.#assignment
    const [from, to] = [place[a] as number, place[b] as number]
    if (!this.#mayBe(a, to) || !this.#mayBe(b, from)) return false
    if (columns.rangeOf[a] === columns.rangeOf[b]) return this.#keepsQuotas(a, to, b, from)
    return this.#keepsQuotas(a, to, nowhere, nowhere) && this.#keepsQuotas(b, from, nowhere, nowhere)
  }

  refusal(slot: number, to: number): string | undefined {
    const { sieves, quotas } = this.#labels(slot)
    if (!this.#mayBe(slot, to)) {
      const sieve = sieves.find((each) => this.#concerns(each, slot) && each.mask[to] === 0)
      return `rule '${sieve?.ruleId}' says ${sieve?.says}`
    }
    if (this.#keepsQuotas(slot, to, nowhere, nowhere)) return undefined
    const missed = quotas.find((each) => this.#concerns(each, slot) && each.mask[to] !== 1)
    return `rule '${missed?.ruleId}' says ${missed?.says}, and the range would have too few`
  }

  evicts(slot: number): string | undefined {
    const node = this.#assignment.place[slot] as number
    if (node < 0) return undefined
    const sieve = this.#labels(slot).sieves.find(
      (each) => this.#concerns(each, slot) && each.mask[node] === 0,
    )
    if (sieve !== undefined) return `rule '${sieve.ruleId}' says ${sieve.says}`
    const quota = this.#quotaToServe(slot, node)
    return quota === undefined ? undefined : `rule '${quota.ruleId}' says ${quota.says}`
  }

  broken(): number {
    const { columns, place } = this.#assignment
    let count = 0
    for (let slot = 0; slot < columns.slotCount; slot++) {
      const node = place[slot] as number
      if (node >= 0 && this.#maskOf(slot)[node] === 0) count++
    }
    for (let range = 0; range < columns.rangeCount; range++) {
      const { quotas, families } = this.#ofRange(range)
      for (const quota of quotas) count += this.#lack(range, [quota], nowhere, nowhere, nowhere, nowhere)
      for (const family of families) count += this.#lack(range, family, nowhere, nowhere, nowhere, nowhere)
    }
    return count
  }

  #labels(slot: number): ClassLabels {
    return this.#ofRange(this.#assignment.columns.rangeOf[slot] as number)
  }

  #ofRange(range: number): ClassLabels {
    return this.#classes[this.#assignment.columns.ruleClass?.[range] ?? 0] as ClassLabels
  }

  #votes(slot: number): boolean {
    return ((this.#assignment.columns.status[slot] as number) & replicaBits.voter) !== 0
  }

  #concerns(each: { readonly role: ReplicaKind }, slot: number): boolean {
    return each.role === 'any' || this.#votes(slot) === (each.role === 'voter')
  }

  #maskOf(slot: number): Uint8Array {
    const { forVoters, forNonVoters } = this.#labels(slot)
    return this.#votes(slot) ? forVoters : forNonVoters
  }

  /** What is on a wrong node already may go to another wrong one: that is no worse. */
  #mayBe(slot: number, to: number): boolean {
    if (to < 0) return true
    const mask = this.#maskOf(slot)
    if (mask[to] === 1) return true
    const from = this.#assignment.place[slot] as number
    return from >= 0 && mask[from] === 0
  }

  #keepsQuotas(a: number, toA: number, b: number, toB: number): boolean {
    const range = this.#assignment.columns.rangeOf[a] as number
    const { quotas, families } = this.#ofRange(range)
    for (const quota of quotas) {
      const before = this.#lack(range, [quota], nowhere, nowhere, nowhere, nowhere)
      if (this.#lack(range, [quota], a, toA, b, toB) > before) return false
    }
    for (const family of families) {
      const before = this.#lack(range, family, nowhere, nowhere, nowhere, nowhere)
      if (this.#lack(range, family, a, toA, b, toB) > before) return false
    }
    return true
  }

  /**
   * Replicas that quotas lack even if everything that is not placed yet went where they want it, with up to two of the
   * range's slots elsewhere.
   */
  #lack(range: number, quotas: readonly Quota[], a: number, toA: number, b: number, toB: number): number {
    const { place, columns } = this.#assignment
    const end = columns.firstSlot[range + 1] as number
    const role = quotas[0]?.role ?? 'any'
    let [lack, slots, placed] = [0, 0, 0]
    for (const quota of quotas) lack += Math.max(0, quota.count - this.#there(range, quota, a, toA, b, toB))
    for (let slot = columns.firstSlot[range] as number; slot < end; slot++) {
      if (!this.#concerns({ role }, slot)) continue
      const node = slot === a ? toA : slot === b ? toB : (place[slot] as number)
      slots++
      if (node >= 0) placed++
    }
    const wanted = wantedOf(columns, range, role) ?? slots
    return Math.max(0, lack - Math.max(0, wanted - placed))
  }

  #there(range: number, quota: Quota, a: number, toA: number, b: number, toB: number): number {
    const { place, columns } = this.#assignment
    const end = columns.firstSlot[range + 1] as number
    let there = 0
    for (let slot = columns.firstSlot[range] as number; slot < end; slot++) {
      const node = slot === a ? toA : slot === b ? toB : (place[slot] as number)
      if (node >= 0 && quota.mask[node] === 1 && this.#concerns(quota, slot)) there++
    }
    return there
  }

  /** A quota that is short and that this replica, which no other quota needs where it is, could serve elsewhere. */
  #quotaToServe(slot: number, node: number): Quota | undefined {
    const { quotas } = this.#labels(slot)
    const range = this.#assignment.columns.rangeOf[slot] as number
    if (quotas.length === 0) return undefined
    const lacks = (quota: Quota): boolean =>
      this.#lack(range, [quota], nowhere, nowhere, nowhere, nowhere) > 0
    const there = (quota: Quota): number => this.#there(range, quota, nowhere, nowhere, nowhere, nowhere)
    const short = quotas.find(
      (quota) => quota.mask[node] === 0 && this.#concerns(quota, slot) && lacks(quota),
    )
    if (short === undefined) return undefined
    const needed = quotas.some(
      (quota) => quota.mask[node] === 1 && this.#concerns(quota, slot) && there(quota) <= quota.count,
    )
    return needed ? undefined : short
  }
}

function labelsOf(columns: PlacementColumns, { policy }: RuleClass): ClassLabels {
  const sieves: Sieve[] = []
  const quotas: Quota[] = []
  for (const { value, ruleId } of policy.require) {
    const mask = matchingNodes(columns, value.match)
    const role = value.role ?? 'any'
    const kind = kindInWords(role)
    const where = describeMatch(value.match)
    if (value.count === undefined) {
      sieves.push({ ruleId, role, mask, says: `that all ${kind} are on ${where}` })
    } else {
      quotas.push({
        ruleId,
        role,
        mask,
        count: value.count,
        says: `that at least ${value.count} ${kind} are on ${where}`,
      })
    }
  }
  for (const { value, ruleId } of policy.prohibit) {
    const mask = matchingNodes(columns, value).map((each) => 1 - each)
    sieves.push({ ruleId, role: 'any', mask, says: `that none is on ${describeMatch(value)}` })
  }
  const through = (role: ReplicaKind, start: Uint8Array): Uint8Array =>
    sieves
      .filter((each) => each.role === role)
      .reduce<Uint8Array>((left, { mask }) => both(left, mask), start)
  const forAny = through('any', new Uint8Array(columns.nodeCount).fill(1))
  const [forVoters, forNonVoters] = [through('voter', forAny), through('nonVoter', forAny)]
  const families = (['voter', 'any', 'nonVoter'] as const)
    .map((role) => apart(quotas.filter((each) => each.role === role)))
    .filter((each) => each.length > 1)
  return { sieves, quotas, families, forVoters, forNonVoters }
}

/** Replicas of a kind that a range is to have, where that is known. */
function wantedOf(columns: PlacementColumns, range: number, role: ReplicaKind): number | undefined {
  const { wantedVoters, wantedReplicas } = columns
  if (role === 'voter') return wantedVoters?.[range]
  const all = wantedReplicas?.[range]
  if (role === 'any' || all === undefined) return all
  return all - (wantedVoters?.[range] ?? 0)
}

/** The first of some quotas, and those that no replica can serve beside one of the chosen. */
function apart(quotas: readonly Quota[]): readonly Quota[] {
  const chosen: Quota[] = []
  for (const quota of quotas) {
    if (chosen.every(({ mask }) => both(mask, quota.mask).every((each) => each === 0))) chosen.push(quota)
  }
  return chosen
}
