import type { Contradiction, EffectivePolicy, Sourced } from './effective.ts'
import {
  describeMatch,
  kindInWords,
  type LabelMatch,
  type ReplicaKind,
  type ReplicaRequirement,
} from './rule.ts'

type Match = readonly LabelMatch[]
type Requirement = Sourced<ReplicaRequirement>

/**
 * Finds what no cluster whatsoever could fulfil: parts of an effective policy that exclude each other, each with the two
 * rules that they come from. What only the nodes at hand cannot fulfil is the planner's to say.
 *
 * @param defaultVoters voters where no rule says how many
 */
export function conflictsOf(policy: EffectivePolicy, defaultVoters: number): readonly Contradiction[] {
  return [
    ...requirementsThatExclude(policy),
    ...prohibitedRequirements(policy),
    ...tooManyRequired(policy, defaultVoters),
    ...leadersNowhere(policy),
    ...survivalLost(policy, defaultVoters),
    ...limitsBroken(policy, defaultVoters),
  ]
}

/** True when some node could match both lists. */
export function canMatchBoth(a: Match, b: Match): boolean {
  const all = [...a, ...b]
  return all.every((one, i) => all.slice(i + 1).every((other) => compatible(one, other)))
}

function compatible(a: LabelMatch, b: LabelMatch): boolean {
  if (a.label !== b.label) return true
  if (a.in !== undefined && b.in !== undefined) return a.in.some((value) => b.in?.includes(value))
  if (a.in !== undefined && b.notIn !== undefined) return a.in.some((value) => !b.notIn?.includes(value))
  if (b.in !== undefined && a.notIn !== undefined) return b.in.some((value) => !a.notIn?.includes(value))
  return true
}

/** True when every node that matches `a` matches `b`. */
export function implies(a: Match, b: Match): boolean {
  return b.every((wanted) =>
    a.some((given) => {
      if (given.label !== wanted.label) return false
      if (wanted.in !== undefined) return given.in?.every((value) => wanted.in?.includes(value)) ?? false
      if (wanted.notIn === undefined) return given.notIn === undefined
      return (
        (given.in?.every((value) => !wanted.notIn?.includes(value)) ?? false) ||
        (given.notIn !== undefined && wanted.notIn.every((value) => given.notIn?.includes(value)))
      )
    }),
  )
}

/** Whether a requirement for all replicas of its kind holds for the replicas that another one counts. */
function coversRole(all: Requirement, other: Requirement): boolean {
  return roleOf(all) === 'any' || roleOf(all) === roleOf(other)
}

function requirementsThatExclude(policy: EffectivePolicy): Contradiction[] {
  const found: Contradiction[] = []
  policy.require.forEach((one, i) => {
    for (const other of policy.require.slice(i + 1)) {
      const bothOfAll = one.value.count === undefined && other.value.count === undefined
      const binds =
        (bothOfAll && (coversRole(one, other) || coversRole(other, one))) ||
        (one.value.count === undefined && coversRole(one, other)) ||
        (other.value.count === undefined && coversRole(other, one))
      if (!binds || canMatchBoth(one.value.match, other.value.match)) continue
      found.push({
        rules: [one.ruleId, other.ruleId],
        why: `${inWords(one)} and ${inWords(other)}, and no node is both`,
      })
    }
  })
  return found
}

function prohibitedRequirements(policy: EffectivePolicy): Contradiction[] {
  return policy.require.flatMap((required) =>
    policy.prohibit
      .filter(({ value }) => implies(required.value.match, value))
      .map((prohibited) => ({
        rules: [required.ruleId, prohibited.ruleId] as const,
        why: `${inWords(required)}, and none may be on ${describeMatch(prohibited.value)}`,
      })),
  )
}

/** Counted requirements that no replica can meet two of, and that are more than there are replicas. */
function tooManyRequired(policy: EffectivePolicy, defaultVoters: number): Contradiction[] {
  const found: Contradiction[] = []
  const [voters, nonVoters] = [policy.voters?.value ?? defaultVoters, policy.nonVoters?.value ?? 0]
  const there = { any: voters + nonVoters, voter: voters, nonVoter: nonVoters }
  for (const role of ['any', 'voter', 'nonVoter'] as const) {
    const replicas = there[role]
    const counted = policy.require.filter(
      (each) => each.value.count !== undefined && (role === 'any' || roleOf(each) === role),
    )
    for (const first of counted) {
      const apart = [first]
      for (const other of counted) {
        if (other !== first && apart.every((each) => !canMatchBoth(each.value.match, other.value.match)))
          apart.push(other)
      }
      const wanted = apart.reduce((sum, { value }) => sum + (value.count as number), 0)
      if (wanted <= replicas) continue
      const against =
        apart.find(({ ruleId }) => ruleId !== first.ruleId)?.ruleId ??
        numberedBy(policy, role) ??
        first.ruleId
      found.push({
        rules: [first.ruleId, against],
        why: `${apart.map(inWords).join(', ')}: that takes ${wanted} ${kindInWords(role)}, and a range has ${replicas}`,
      })
      break
    }
  }
  return found
}

function roleOf({ value }: Requirement): ReplicaKind {
  return value.role ?? 'any'
}

/** The rule that says how many replicas of a kind there are. */
function numberedBy(policy: EffectivePolicy, role: ReplicaKind): string | undefined {
  return (role === 'nonVoter' ? policy.nonVoters : policy.voters)?.ruleId
}

/** Leader preferences of which none can ever be met. */
function leadersNowhere({ lead, require, prohibit }: EffectivePolicy): Contradiction[] {
  if (lead === undefined || lead.value.length === 0) return []
  const against = lead.value.map(
    (match) =>
      require.find(
        ({ value }) =>
          value.count === undefined && value.role !== 'nonVoter' && !canMatchBoth(match, value.match),
      )?.ruleId ?? prohibit.find(({ value }) => implies(match, value))?.ruleId,
  )
  if (against.some((ruleId) => ruleId === undefined)) return []
  return [
    {
      rules: [lead.ruleId, against[0] as string],
      why: `leaders are liked on ${lead.value.map(describeMatch).join(', else on ')}, and no voter may be there`,
    },
  ]
}

/** Voters of which one domain may hold so many that the others are still a quorum. */
export function votersPerDomain(voters: number): number {
  return Math.floor((voters - 1) / 2)
}

function survivalLost(policy: EffectivePolicy, defaultVoters: number): Contradiction[] {
  const { survive, voters, require } = policy
  if (survive === undefined) return []
  const count = voters?.value ?? defaultVoters
  const most = votersPerDomain(count)
  if (most === 0) {
    return [
      {
        rules: [survive.ruleId, voters?.ruleId ?? survive.ruleId],
        why: `to survive the loss of any one ${survive.value} takes 3 voters at least, and a range has ${count}`,
      },
    ]
  }
  return require.flatMap((required): Contradiction[] => {
    const values = valuesOf(required.value.match, survive.value)
    if (values === undefined || required.value.role === 'nonVoter') return []
    const room = values * most
    const must =
      required.value.count === undefined
        ? count
        : required.value.role === 'voter'
          ? required.value.count
          : required.value.count - (policy.nonVoters?.value ?? 0)
    if (must <= room) return []
    return [
      {
        rules: [survive.ruleId, required.ruleId],
        why: `${inWords(required)}, but for ${count} voters to survive the loss of any one ${survive.value} no more than ${most} may be in each`,
      },
    ]
  })
}

function limitsBroken(policy: EffectivePolicy, defaultVoters: number): Contradiction[] {
  const replicas = (policy.voters?.value ?? defaultVoters) + (policy.nonVoters?.value ?? 0)
  return policy.atMost.flatMap((limit) =>
    policy.require.flatMap((required): Contradiction[] => {
      const values = valuesOf(required.value.match, limit.value.tier)
      if (values === undefined || (roleOf(required) !== 'any' && required.value.count === undefined))
        return []
      if ((required.value.count ?? replicas) <= values * limit.value.replicas) return []
      return [
        {
          rules: [limit.ruleId, required.ruleId],
          why: `${inWords(required)}, but at most ${limit.value.replicas} may share one ${limit.value.tier}`,
        },
      ]
    }),
  )
}

/** How many values of a label a match leaves, when it lists them. */
function valuesOf(match: Match, label: string): number | undefined {
  const lists = match.flatMap((each) => (each.label === label && each.in !== undefined ? [each.in] : []))
  if (lists.length === 0) return undefined
  return Math.min(...lists.map((list) => new Set(list).size))
}

function inWords({ value }: Requirement): string {
  const kind = kindInWords(value.role ?? 'any')
  return `${value.count === undefined ? 'all' : `at least ${value.count}`} ${kind} must be on ${describeMatch(value.match)}`
}
