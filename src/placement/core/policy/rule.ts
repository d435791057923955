import { KeelsonError } from '../../../core/errors.ts'
import {
  arrayOption,
  booleanOption,
  checkOptions,
  integerOption,
  numberOption,
  type OptionCheck,
  optional,
  showValue,
  stringOption,
  wordOption,
} from '../../../core/options.ts'
import { idOption, type RangeId, type TableId } from '../../../model/ids.ts'
import { maximumNonVoters, maximumVoters } from '../model/cluster.ts'

/** Most replicas of one range, voters and others together. */
export const maximumReplicas = 32

/** Which ranges a rule is for. The further down, the narrower, and the narrower has the last word. */
export type RuleScope =
  | {
      /** All ranges. */
      readonly type: 'cluster'
    }
  | {
      /** The ranges of all tables that are filed under a name. */
      readonly type: 'zone'
      /** That name. */
      readonly zone: string
    }
  | {
      /** The ranges of one table. */
      readonly type: 'table'
      /** That table. */
      readonly tableId: TableId
    }
  | {
      /** One range. */
      readonly type: 'range'
      /** That range. */
      readonly rangeId: RangeId
      /** The table that it belongs to: the range inherits what holds for that. */
      readonly tableId?: TableId
    }

/**
 * A condition on a node: one of its locality tiers, or where it has no such tier one of its labels, is one of some values,
 * none of some values, or (with neither list) is there at all.
 */
export interface LabelMatch {
  /** Name of the tier or label. */
  readonly label: string
  /** Values that match. */
  readonly in?: readonly string[]
  /** Values that do not match; a node without the label matches. */
  readonly notIn?: readonly string[]
}

/** Replicas that a part of a rule is about: all of a range, those that vote, or those that do not and are there for reads. */
export type ReplicaKind = 'any' | 'voter' | 'nonVoter'

/** Replicas that are to be on certain nodes. */
export interface ReplicaRequirement {
  /** What is true of those nodes: all of it. */
  readonly match: readonly LabelMatch[]
  /** How many replicas at least. Default: all of them. */
  readonly count?: number
  /** Which replicas count: all, those that vote, or those that do not. Default: `any`. */
  readonly role?: ReplicaKind
}

/** Nodes on which replicas are liked to be, without having to. */
export interface ReplicaPreference {
  /** What is true of those nodes: all of it. */
  readonly match: readonly LabelMatch[]
  /** How much each replica there is worth, beside other preferences. Default: 1. */
  readonly weight?: number
  /** Which replicas. Default: `any`. */
  readonly role?: ReplicaKind
}

/** A limit on how many replicas share one domain. */
export interface DomainLimit {
  /** Locality tier whose values are the domains. */
  readonly tier: string
  /** Replicas of a range that one of them may have at most. */
  readonly replicas: number
}

/**
 * What is wanted of the ranges in a scope. What a narrower scope says of numbers, leaders, spread and survival stands in the
 * place of what a wider one says (CockroachDB's zone configurations); requirements, prohibitions, preferences and limits add
 * up (PD's placement rules), unless the narrower rule says `override`.
 */
export interface PlacementRule {
  /** Name of the rule: it stands in explanations and refusals. Unique. */
  readonly id: string
  /** Which ranges it is for. */
  readonly scope: RuleScope
  /** Nothing that wider scopes say holds in this one. */
  readonly override?: boolean
  /** Replicas that vote, 15 at most. */
  readonly voters?: number
  /** Replicas that do not vote, 15 at most: for reads nearby. */
  readonly nonVoters?: number
  /** Where replicas have to be. */
  readonly require?: readonly ReplicaRequirement[]
  /** Where no replica may be: on nodes that match all of one of these lists. */
  readonly prohibit?: readonly (readonly LabelMatch[])[]
  /** Where replicas are liked to be. */
  readonly prefer?: readonly ReplicaPreference[]
  /** Where leaders are liked to be: the first of these that a live voter matches. */
  readonly lead?: readonly (readonly LabelMatch[])[]
  /** Tiers of locality over which replicas are spread, the most important first. */
  readonly spread?: readonly string[]
  /** Limits on what may share a domain. */
  readonly atMost?: readonly DomainLimit[]
  /** Tier of which any one domain may be lost and the ranges go on: no minority more than it may hold is ever in one. */
  readonly survive?: string
}

const nameOption = stringOption({ maxLength: 128 })

const matchOption: OptionCheck<LabelMatch> = (value, name) =>
  checkOptions<{ label: string; in: readonly string[] | undefined; notIn: readonly string[] | undefined }>(
    name,
    value,
    {
      label: nameOption,
      in: optional(arrayOption(nameOption, { min: 1, max: 1000 })),
      notIn: optional(arrayOption(nameOption, { min: 1, max: 1000 })),
    },
    (match, refuse) => {
      if (match.in !== undefined && match.notIn !== undefined)
        refuse("has 'in' and 'notIn'; give one, and the other in a match of its own")
    },
  ) as LabelMatch

const matchesOption = arrayOption(matchOption, { min: 1, max: 16 })

const roleOption = wordOption<ReplicaKind>(['any', 'voter', 'nonVoter'], 'any')

const requirementOption: OptionCheck<ReplicaRequirement> = (value, name) =>
  checkOptions<{
    match: readonly LabelMatch[]
    count: number | undefined
    role: ReplicaKind
  }>(name, value, {
    match: matchesOption,
    count: optional(integerOption({ min: 1, max: maximumReplicas })),
    role: roleOption,
  }) as ReplicaRequirement

const preferenceOption: OptionCheck<ReplicaPreference> = (value, name) =>
  checkOptions<Required<ReplicaPreference>>(name, value, {
    match: matchesOption,
    weight: numberOption({ min: Number.MIN_VALUE, max: 1e6, fallback: 1 }),
    role: roleOption,
  })

const limitOption: OptionCheck<DomainLimit> = (value, name) =>
  checkOptions<DomainLimit>(name, value, {
    tier: nameOption,
    replicas: integerOption({ min: 1, max: maximumReplicas }),
  })

const scopeOption: OptionCheck<RuleScope> = (value, name) => {
  const type = (value as { readonly type?: unknown } | undefined)?.type
  const word = wordOption(['cluster', 'zone', 'table', 'range'])
  switch (word(type, `${name}.type`)) {
    case 'cluster':
      return checkOptions(name, value, { type: word }) as RuleScope
    case 'zone':
      return checkOptions(name, value, { type: word, zone: nameOption }) as RuleScope
    case 'table':
      return checkOptions(name, value, { type: word, tableId: idOption }) as RuleScope
    case 'range':
      return checkOptions<{ type: string; rangeId: RangeId; tableId: TableId | undefined }>(name, value, {
        type: word,
        rangeId: idOption,
        tableId: optional(idOption),
      }) as RuleScope
  }
}

const ruleOption: OptionCheck<PlacementRule> = (value, name) =>
  checkOptions<{ readonly [K in keyof PlacementRule]-?: PlacementRule[K] | undefined }>(name, value, {
    id: nameOption,
    scope: scopeOption,
    override: booleanOption(false),
    voters: optional(integerOption({ min: 1, max: maximumVoters })),
    nonVoters: optional(integerOption({ min: 0, max: maximumNonVoters })),
    require: optional(arrayOption(requirementOption, { max: 32 })),
    prohibit: optional(arrayOption(matchesOption, { max: 32 })),
    prefer: optional(arrayOption(preferenceOption, { max: 32 })),
    lead: optional(arrayOption(matchesOption, { max: 16 })),
    spread: optional(arrayOption(nameOption, { max: 8 })),
    atMost: optional(arrayOption(limitOption, { max: 8 })),
    survive: optional(nameOption),
  }) as PlacementRule

/** Checks the form of rules; what they mean together is for a `RuleBook`. @throws KeelsonError `INVALID_OPTION` */
export const checkRules: OptionCheck<readonly PlacementRule[]> = (value, name) => {
  const checked = arrayOption(ruleOption, { max: 10_000 })(value, name)
  const seen = new Set<string>()
  for (const { id } of checked) {
    if (seen.has(id))
      throw new KeelsonError(
        'INVALID_OPTION',
        `two rules of placement are called ${showValue(id)}; rename one`,
      )
    seen.add(id)
  }
  return checked
}

/** A match in words. */
export function describeMatch(match: readonly LabelMatch[]): string {
  return match
    .map(({ label, in: values, notIn }) => {
      if (values !== undefined) return `${label}=${values.join('|')}`
      return notIn === undefined ? label : `${label}≠${notIn.join('|')}`
    })
    .join(' and ')
}

/** Replicas of a kind, in words. */
export function kindInWords(role: ReplicaKind): string {
  return role === 'any' ? 'replicas' : role === 'voter' ? 'voters' : 'non-voters'
}
