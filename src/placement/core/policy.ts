import { KeelsonError } from '../../core/errors.ts'
import {
  arrayOption,
  checkOptions,
  integerOption,
  type OptionCheck,
  objectOption,
  optional,
  showValue,
} from '../../core/options.ts'
import { balance } from './goals/balance.ts'
import { capacity } from './goals/capacity.ts'
import type { Goal, Rule } from './goals/goal.ts'
import { maximumVoters } from './model/cluster.ts'
import { goalsOfBook } from './policy/book-goals.ts'
import { domainLimits } from './policy/domain-limits.ts'
import { requiredLabels } from './policy/required-labels.ts'
import { RuleBook } from './policy/rule-book.ts'

/** What a good placement is. */
export interface PlacementPolicy {
  /** Voters that every range is to have. */
  readonly replicationFactor: number
  /** What must hold for every replica. */
  readonly constraints: readonly Rule[]
  /** What is striven for, the more important first. */
  readonly goals: readonly Goal[]
  /**
   * Rules by scope. What they require holds beside the `constraints`, and what they strive for comes before all other `goals`;
   * how many replicas a range has they say where the range does not say it itself. Undefined: none.
   */
  readonly rules?: RuleBook | undefined
}

/** How much may be under way at once. */
export interface PlacementLimits {
  /** Moves of replicas in the cluster. */
  readonly moves: number
  /** Of those, moves that only make things better: balance and diversity. */
  readonly improvements: number
  /** Moves that bring a replica to one node. */
  readonly incomingPerNode: number
  /** Moves that take a replica away from one node. */
  readonly outgoingPerNode: number
  /** Transfers of leases in the cluster. */
  readonly leaseTransfers: number
  /** Of those, transfers away from one overloaded store; half of them, rounded up, to one other. */
  readonly shedLeasesPerStore: number
  /** Of the moves of replicas, those away from one exhausted store for that reason. */
  readonly shedReplicasPerStore: number
}

/** Three voters, no node filled above its capacity of bytes, and replicas and leases in equal shares. */
export const defaultPlacementPolicy: PlacementPolicy = Object.freeze({
  replicationFactor: 3,
  constraints: Object.freeze([capacity('bytes')]),
  goals: Object.freeze([balance('replicas'), balance('leases')]),
})

/** Used when nothing else is given. */
export const defaultPlacementLimits: PlacementLimits = Object.freeze({
  moves: 32,
  improvements: 8,
  incomingPerNode: 4,
  outgoingPerNode: 8,
  leaseTransfers: 8,
  shedLeasesPerStore: 4,
  shedReplicasPerStore: 2,
})

/** What the rules of a book come to: made once. */
const parts = new WeakMap<
  RuleBook,
  { readonly constraints: readonly Rule[]; readonly goals: readonly Goal[] }
>()

function partsOf(book: RuleBook): { readonly constraints: readonly Rule[]; readonly goals: readonly Goal[] } {
  let known = parts.get(book)
  if (known === undefined) {
    known = { constraints: [requiredLabels(book), domainLimits(book)], goals: goalsOfBook(book) }
    parts.set(book, known)
  }
  return known
}

const bookOption: OptionCheck<RuleBook> = (value, name) => {
  if (value instanceof RuleBook) return value
  throw new KeelsonError('INVALID_OPTION', `${name} takes a RuleBook, not ${showValue(value)}`)
}

/** Checks a policy, and completes it. What its rules come to stays apart from constraints and goals. @throws KeelsonError `INVALID_OPTION` */
export function placementPolicy(policy: Partial<PlacementPolicy> = {}): PlacementPolicy {
  const fallback = defaultPlacementPolicy
  const checked = checkOptions<Required<Omit<PlacementPolicy, 'rules'>> & { rules: RuleBook | undefined }>(
    'a placement policy',
    policy,
    {
      replicationFactor: integerOption({ min: 1, max: maximumVoters, fallback: fallback.replicationFactor }),
      constraints: arrayOption(objectOption<Rule>(['name', 'bind']), {
        max: 64,
        fallback: fallback.constraints,
      }),
      goals: arrayOption(objectOption<Goal>(['name', 'bind']), {
        max: 64,
        fallback: fallback.goals,
      }),
      rules: optional(bookOption),
    },
  )
  return Object.freeze(checked as PlacementPolicy)
}

/** A policy with what its rules come to among constraints and goals, before those of its own: what is bound. @throws KeelsonError `INVALID_OPTION` for a rule
 * that a planner cannot keep. @internal */
export function boundPolicy(policy: PlacementPolicy): PlacementPolicy {
  for (const { name, needsAllRanges } of policy.constraints) {
    if (needsAllRanges !== true) continue
    throw new KeelsonError(
      'INVALID_OPTION',
      `${name} looks at other ranges than the one that is moved, and a planner looks at a part of them; leave it out, or search over columns of all ranges`,
    )
  }
  if (policy.rules === undefined) return policy
  const { constraints, goals } = partsOf(policy.rules)
  return {
    ...policy,
    constraints: [...constraints, ...policy.constraints],
    goals: [...goals, ...policy.goals],
  }
}

/** A policy with other rules in the place of those that it has. */
export function withRules(policy: PlacementPolicy, rules: RuleBook): PlacementPolicy {
  return placementPolicy({ ...policy, rules })
}

/** Checks limits. @throws KeelsonError `INVALID_OPTION` */
export function placementLimits(limits: Partial<PlacementLimits> = {}): PlacementLimits {
  const fallback = defaultPlacementLimits
  return checkOptions<PlacementLimits>('placement limits', limits, {
    moves: integerOption({ min: 1, fallback: fallback.moves }),
    improvements: integerOption({ min: 0, fallback: fallback.improvements }),
    incomingPerNode: integerOption({ min: 1, fallback: fallback.incomingPerNode }),
    outgoingPerNode: integerOption({ min: 1, fallback: fallback.outgoingPerNode }),
    leaseTransfers: integerOption({ min: 0, fallback: fallback.leaseTransfers }),
    shedLeasesPerStore: integerOption({ min: 0, fallback: fallback.shedLeasesPerStore }),
    shedReplicasPerStore: integerOption({ min: 0, fallback: fallback.shedReplicasPerStore }),
  })
}
