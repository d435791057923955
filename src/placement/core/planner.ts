import { checkObject } from '../../core/arguments.ts'
import { checkOptions, integerOption } from '../../core/options.ts'
import { goalDistances, measurePlan } from './bounds.ts'
import { Draft } from './draft.ts'
import { flatOf } from './flat.ts'
import { Improvements } from './improvements.ts'
import type { Plan, PlanOptions } from './plan.ts'
import { type PlacementLimits, type PlacementPolicy, placementLimits, placementPolicy } from './policy.ts'
import { Repairs } from './repairs.ts'
import type { PlacementSnapshot } from './snapshot.ts'

/** An empty plan of a cluster. @internal */
export function draftOf(
  snapshot: PlacementSnapshot,
  policy: Partial<PlacementPolicy> = {},
  options: PlanOptions = {},
): Draft {
  checkObject(snapshot, 'the snapshot to plan for', ['table', 'reader', 'moves'])
  const { seed, limits } = checkOptions<{ readonly seed: number; readonly limits: PlacementLimits }>(
    'plan',
    options,
    {
      seed: integerOption({ min: 0, fallback: 0 }),
      limits: (value) => placementLimits(value as Partial<PlacementLimits> | undefined),
    },
  )
  return new Draft(flatOf(snapshot), placementPolicy(policy), limits, seed)
}

/** Plans the next moves of a cluster. Pure: the same snapshot, policy and seed give the same plan. @throws KeelsonError `INVALID_OPTION`, `INVALID_ARGUMENT` */
export function plan(
  snapshot: PlacementSnapshot,
  policy: Partial<PlacementPolicy> = {},
  options: PlanOptions = {},
): Plan {
  const draft = draftOf(snapshot, policy, options)
  const before = goalDistances(draft.goals)
  new Repairs(draft).run()
  // While anything is to be repaired the network belongs to it.
  if (draft.repairs === 0) new Improvements(draft).run()
  const { moves, blocked, blockedCount, deferred, goals } = draft
  const bounds = measurePlan(draft.snapshot, draft.policy, moves, goals, before)
  return { moves, blocked, blockedCount, deferred, bounds, explained: explain(draft) }
}

function explain(draft: Draft): readonly string[] {
  const lines: string[] = []
  const kinds = new Map<string, number>()
  for (const { kind } of draft.moves) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  const counts = [...kinds].map(([kind, count]) => `${count} × ${kind}`).join(', ')
  lines.push(draft.moves.length === 0 ? 'nothing to move' : `${draft.moves.length} moves: ${counts}`)
  if (draft.snapshot.moves.length > 0) lines.push(`${draft.snapshot.moves.length} moves are under way`)
  if (draft.deferred > 0) lines.push(`${draft.deferred} more are needed and wait for room`)
  if (draft.repairs > 0) lines.push('nothing is balanced while there is something to repair')
  if (draft.blockedCount > 0) lines.push(`${draft.blockedCount} ranges need what cannot be done now`)
  return lines
}
