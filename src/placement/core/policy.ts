import { arrayOption, checkOptions, integerOption, objectOption } from '../../core/options.ts'
import { balance } from './goals/balance.ts'
import { capacity } from './goals/capacity.ts'
import type { Goal, Rule } from './goals/goal.ts'

/** What a good placement is. */
export interface PlacementPolicy {
  /** Voters that every range is to have. */
  readonly replicationFactor: number
  /** What must hold for every replica. */
  readonly constraints: readonly Rule[]
  /** What is striven for, the more important first. */
  readonly goals: readonly Goal[]
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
})

/** Checks a policy. @throws KeelsonError `INVALID_OPTION` */
export function placementPolicy(policy: Partial<PlacementPolicy> = {}): PlacementPolicy {
  const fallback = defaultPlacementPolicy
  return checkOptions<PlacementPolicy>('a placement policy', policy, {
    replicationFactor: integerOption({ min: 1, max: 15, fallback: fallback.replicationFactor }),
    constraints: arrayOption(objectOption<Rule>(['name', 'bind']), {
      max: 32,
      fallback: fallback.constraints,
    }),
    goals: arrayOption(objectOption<Goal>(['name', 'bind']), {
      max: 32,
      fallback: fallback.goals,
    }),
  })
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
  })
}
