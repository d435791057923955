import type { DomainLimit, LabelMatch, PlacementRule, ReplicaPreference, ReplicaRequirement } from './rule.ts'

/** A part of an effective policy, and the rule that it comes from. */
export interface Sourced<T> {
  /** What is wanted. */
  readonly value: T
  /** Id of the rule that says so. */
  readonly ruleId: string
}

/** What holds for a range once all rules of its scopes are taken together. */
export interface EffectivePolicy {
  /** Replicas that vote; undefined for what the policy of the cluster says. */
  readonly voters: Sourced<number> | undefined
  /** Replicas that do not vote. */
  readonly nonVoters: Sourced<number> | undefined
  /** Where replicas have to be. */
  readonly require: readonly Sourced<ReplicaRequirement>[]
  /** Where no replica may be. */
  readonly prohibit: readonly Sourced<readonly LabelMatch[]>[]
  /** Where replicas are liked to be. */
  readonly prefer: readonly Sourced<ReplicaPreference>[]
  /** Where leaders are liked to be, the best first. */
  readonly lead: Sourced<readonly (readonly LabelMatch[])[]> | undefined
  /** Tiers over which replicas are spread. */
  readonly spread: Sourced<readonly string[]> | undefined
  /** Limits on what may share a domain. */
  readonly atMost: readonly Sourced<DomainLimit>[]
  /** Tier of which any one domain may be lost. */
  readonly survive: Sourced<string> | undefined
}

/** Two rules that say different things of the same number or list in one scope. */
export interface Contradiction {
  /** The two rules. */
  readonly rules: readonly [string, string]
  /** What they contradict each other in, in words. */
  readonly why: string
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

const replacing = ['voters', 'nonVoters', 'lead', 'spread', 'survive'] as const
const adding = ['require', 'prohibit', 'prefer', 'atMost'] as const

const nothing: EffectivePolicy = Object.freeze({
  voters: undefined,
  nonVoters: undefined,
  require: Object.freeze([]),
  prohibit: Object.freeze([]),
  prefer: Object.freeze([]),
  lead: undefined,
  spread: undefined,
  atMost: Object.freeze([]),
  survive: undefined,
})

/**
 * Takes the rules of one range together.
 *
 * @param layers rules by scope, the widest scope first
 * @param report told of rules of one scope that contradict each other
 */
export function inherit(
  layers: readonly (readonly PlacementRule[])[],
  report: (contradiction: Contradiction) => void,
): EffectivePolicy {
  return layers.reduce((wider, layer) => narrow(wider, layer, report), nothing)
}

function narrow(
  wider: EffectivePolicy,
  layer: readonly PlacementRule[],
  report: (contradiction: Contradiction) => void,
): EffectivePolicy {
  if (layer.length === 0) return wider
  const base = layer.some(({ override }) => override === true) ? nothing : wider
  const result: Mutable<EffectivePolicy> = { ...base }
  for (const field of replacing) {
    let said: Sourced<unknown> | undefined
    for (const rule of layer) {
      const value = rule[field]
      if (value === undefined) continue
      if (said !== undefined && JSON.stringify(said.value) !== JSON.stringify(value)) {
        report({
          rules: [said.ruleId, rule.id],
          why: `they are for the same ranges, and '${field}' is ${JSON.stringify(said.value)} in one and ${JSON.stringify(value)} in the other`,
        })
      }
      said ??= { value, ruleId: rule.id }
    }
    if (said !== undefined) Object.assign(result, { [field]: said })
  }
  for (const field of adding) {
    const more = layer.flatMap((rule) =>
      ((rule[field] ?? []) as readonly unknown[]).map((value) => ({ value, ruleId: rule.id })),
    )
    if (more.length > 0) Object.assign(result, { [field]: [...base[field], ...more] })
  }
  return result
}
