import type { Assignment, Domains } from '../assignment.ts'
import { nowhere } from '../assignment.ts'
import type { Goal } from '../goals/goal.ts'
import { type RangePlaces, rangeGoal } from '../goals/range-goal.ts'
import { pairWithoutVote } from '../goals/spread.ts'
import { replicaBits } from '../snapshot.ts'
import { votersPerDomain } from './conflicts.ts'
import type { EffectivePolicy, Sourced } from './effective.ts'
import { matchingNodes } from './match.ts'
import { describeMatch } from './rule.ts'
import type { RuleBook, RuleClass } from './rule-book.ts'

/** What a cost needs to know of the cluster, worked out once for each assignment and class. */
type ByClass<T> = (assignment: Assignment, range: number) => T | undefined

/** Prepares something for each class of a book, once for each assignment it is asked about. */
function prepared<T>(
  book: RuleBook,
  prepare: (each: RuleClass, assignment: Assignment) => T | undefined,
): ByClass<T> {
  const known = new WeakMap<Assignment, readonly (T | undefined)[]>()
  return (assignment, range) => {
    let classes = known.get(assignment)
    if (classes === undefined) {
      classes = book.classes.map((each) => prepare(each, assignment))
      known.set(assignment, classes)
    }
    return classes[assignment.columns.ruleClass?.[range] ?? 0]
  }
}

/** A goal that judges each range by what was prepared for its class; nothing was for those it says nothing of. */
function classGoal<T>(
  name: string,
  known: ByClass<T>,
  cost: (part: T, places: RangePlaces, assignment: Assignment) => number,
  how: {
    /** What the goal strives for, and the rules that say so, in words. */
    readonly because: (assignment: Assignment, range: number) => string | undefined
    /** The least that so many replicas can cost. */
    readonly least?: (part: T, replicas: number, voters: number) => number
  },
): Goal {
  const { because, least } = how
  return {
    name,
    bind(assignment) {
      const goal = rangeGoal({
        name,
        because: (range) => because(assignment, range),
        ...(least === undefined
          ? {}
          : {
              least(range) {
                const part = known(assignment, range)
                if (part === undefined) return 0
                const isThere = (slot: number): boolean => (assignment.place[slot] as number) >= 0
                return least(
                  part,
                  counted(assignment, range, isThere),
                  counted(assignment, range, (slot) => isThere(slot) && isVoter(assignment, slot)),
                )
              },
            }),
        cost(places) {
          const part = known(assignment, places.range)
          return part === undefined ? 0 : cost(part, places, assignment)
        },
      })
      return goal.bind(assignment)
    },
  }
}

function isVoter(assignment: Assignment, slot: number): boolean {
  return ((assignment.columns.status[slot] as number) & replicaBits.voter) !== 0
}

/** Voters in a domain beyond what may be lost with it, over all domains. */
function beyondSurvival(of: Int32Array, places: RangePlaces, assignment: Assignment): number {
  let voters = 0
  for (let i = 0; i < places.count; i++) if (isVoter(assignment, places.slots[i] as number)) voters++
  const most = votersPerDomain(voters)
  let beyond = 0
  for (let i = 0; i < places.count; i++) {
    if (!isVoter(assignment, places.slots[i] as number)) continue
    const domain = of[places.nodes[i] as number]
    let earlier = 0
    for (let j = 0; j < i; j++) {
      if (of[places.nodes[j] as number] === domain && isVoter(assignment, places.slots[j] as number))
        earlier++
    }
    if (earlier >= most) beyond++
  }
  return beyond
}

/**
 * What the rules of a book strive for, the most important first: that ranges survive the loss of a domain, that replicas
 * are spread, that they and the leaders are where they are liked. A goal that no rule speaks of is not there.
 */
export function goalsOfBook(book: RuleBook): readonly Goal[] {
  const { classes } = book
  const goals: Goal[] = []
  if (classes.some(({ policy }) => policy.survive !== undefined)) {
    const domains = prepared(book, ({ policy }, { columns }) =>
      policy.survive === undefined ? undefined : columns.domains(policy.survive.value).of,
    )
    const because = inWords(book, ({ survive }) =>
      survive === undefined ? undefined : [`to survive the loss of a ${survive.value}`, [survive]],
    )
    goals.push(classGoal('rules(survive)', domains, beyondSurvival, { because }))
  }
  const depth = Math.max(0, ...classes.map(({ policy }) => policy.spread?.value.length ?? 0))
  for (let level = 0; level < depth; level++) {
    const domains = prepared<Domains>(book, ({ policy }, { columns }) => {
      const tier = policy.spread?.value[level]
      return tier === undefined ? undefined : columns.domains(tier)
    })
    const because = inWords(book, ({ spread }) =>
      spread?.value[level] === undefined ? undefined : [`to spread over ${spread.value[level]}`, [spread]],
    )
    goals.push(
      classGoal(`rules(spread ${level + 1})`, domains, pairsTogether, { because, least: fewestPairs }),
    )
  }
  if (classes.some(({ policy }) => policy.prefer.length > 0)) {
    const masks = prepared(book, ({ policy }, { columns }) =>
      policy.prefer.map(({ value }) => ({
        mask: matchingNodes(columns, value.match),
        weight: value.weight ?? 1,
        role: value.role ?? 'any',
      })),
    )
    const because = inWords(book, ({ prefer }) =>
      prefer.length === 0
        ? undefined
        : [`to be on ${prefer.map(({ value }) => describeMatch(value.match)).join(', ')}`, prefer],
    )
    goals.push(
      classGoal(
        'rules(prefer)',
        masks,
        (parts, places, assignment) => {
          let cost = 0
          for (const { mask, weight, role } of parts) {
            for (let i = 0; i < places.count; i++) {
              if (mask[places.nodes[i] as number] === 1) continue
              const slot = places.slots[i] as number
              if (role === 'any' || isVoter(assignment, slot) === (role === 'voter')) cost += weight
            }
          }
          return cost
        },
        { because },
      ),
    )
  }
  if (classes.some(({ policy }) => (policy.lead?.value.length ?? 0) > 0)) {
    const masks = prepared(book, ({ policy }, { columns }) =>
      policy.lead?.value.map((match) => matchingNodes(columns, match)),
    )
    const because = inWords(book, ({ lead }) =>
      lead === undefined
        ? undefined
        : [`to be led on ${lead.value.map(describeMatch).join(', else ')}`, [lead]],
    )
    goals.push(
      classGoal(
        'rules(lead)',
        masks,
        (parts, { leader }) => {
          if (leader === nowhere) return 0
          const first = parts.findIndex((mask) => mask[leader] === 1)
          return first < 0 ? parts.length : first
        },
        { because },
      ),
    )
  }
  return goals
}

/** What holds for a range, and the ids of the rules that say it. */
function inWords(
  book: RuleBook,
  say: (policy: EffectivePolicy) => readonly [what: string, by: readonly Sourced<unknown>[]] | undefined,
): (assignment: Assignment, range: number) => string | undefined {
  return ({ columns }, range) => {
    const said = say((book.classes[columns.ruleClass?.[range] ?? 0] as RuleClass).policy)
    if (said === undefined) return undefined
    const ids = [...new Set(said[1].map(({ ruleId }) => `'${ruleId}'`))]
    return `${said[0]} (${ids.length === 1 ? 'rule' : 'rules'} ${ids.join(', ')})`
  }
}

/** Pairs of replicas that share a domain: those of voters first. */
function pairsTogether({ of }: Domains, places: RangePlaces, assignment: Assignment): number {
  let pairs = 0
  for (let i = 0; i < places.count; i++) {
    for (let j = 0; j < i; j++) {
      if (of[places.nodes[i] as number] !== of[places.nodes[j] as number]) continue
      const bothVote =
        isVoter(assignment, places.slots[i] as number) && isVoter(assignment, places.slots[j] as number)
      pairs += bothVote ? 1 : pairWithoutVote
    }
  }
  return pairs
}

/** What is left when first the voters and then all replicas are dealt out evenly over all domains there are. */
function fewestPairs({ of }: Domains, replicas: number, voters: number): number {
  const domains = new Set(of).size
  return (1 - pairWithoutVote) * pairsDealt(domains, voters) + pairWithoutVote * pairsDealt(domains, replicas)
}

function pairsDealt(domains: number, replicas: number): number {
  if (domains === 0) return 0
  const each = Math.floor(replicas / domains)
  const more = replicas % domains
  return (domains * each * (each - 1)) / 2 + more * each
}

/** Slots of a range of which something is true. */
function counted({ columns }: Assignment, range: number, what: (slot: number) => boolean): number {
  let count = 0
  for (
    let slot = columns.firstSlot[range] as number;
    slot < (columns.firstSlot[range + 1] as number);
    slot++
  ) {
    if (what(slot)) count++
  }
  return count
}
