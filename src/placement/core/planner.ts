import { checkObject } from '../../core/arguments.ts'
import { checkOptions, integerOption } from '../../core/options.ts'
import { finish, type Sliced } from '../../core/sliced.ts'
import type { RangeId } from '../../model/ids.ts'
import { Draft, PlanSheet } from './draft.ts'
import { FleetIndex } from './fleet-index.ts'
import type { Plan, PlanOptions } from './plan.ts'
import { Planning, type Setting } from './planning.ts'
import {
  boundPolicy,
  type PlacementLimits,
  type PlacementPolicy,
  placementLimits,
  placementPolicy,
} from './policy.ts'
import type { PlacementSnapshot } from './snapshot.ts'
import { StoreViews } from './store-views.ts'
import { Traffic } from './traffic.ts'

/**
 * Plans for one cluster, again and again: it keeps what it knows from one snapshot to the next and looks only at what
 * changed between them. As long as a plan can look at all that matters (a few hundred ranges), that is exactly what {@link plan}
 * says of the same snapshot. Beyond that it remembers whom it looked at in vain, so that each has a turn: the same snapshots,
 * one after the other, give the same plans.
 */
export class Planner {
  /** What it plans by. */
  readonly policy: PlacementPolicy
  /** @internal */
  readonly index: FleetIndex
  /** How far full stores were looked at. */
  readonly #views = new StoreViews()
  #last: { readonly snapshot: PlacementSnapshot; readonly setting: Setting; readonly plan: Plan } | undefined
  /** A plan that was begun and may not be done. */
  #begun: Sliced<void> | undefined

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(policy: Partial<PlacementPolicy> = {}) {
    this.policy = placementPolicy(policy)
    this.index = new FleetIndex(boundPolicy(this.policy))
  }

  /**
   * The next moves. It costs what changed since the last snapshot, if that was of the same fleet. The same snapshot again gives the
   * same plan, unless that found nothing to move and left something to be looked at ({@link Plan.unexamined}): then it goes on
   * there. @throws KeelsonError `INVALID_OPTION`, `INVALID_ARGUMENT`
   */
  plan(snapshot: PlacementSnapshot, options: PlanOptions = {}): Plan {
    return finish(this.planning(snapshot, options))
  }

  /**
   * The same plan in steps of a millisecond or two, for who has other things to do meanwhile: see `inSlices`. Whatever else is
   * asked of this planner in between first does what is left. @throws KeelsonError `INVALID_OPTION`, `INVALID_ARGUMENT`
   */
  *planning(snapshot: PlacementSnapshot, options: PlanOptions = {}): Sliced<Plan> {
    const setting = checkPlanning(snapshot, options)
    // First, since it may be this one, and since whoever asks for a plan goes on with the index as the plan left it.
    this.#finishBegun()
    const last = this.#last
    if (last?.snapshot === snapshot && sameSetting(last.setting, setting) && !goesOn(last.plan))
      return last.plan
    let plan: Plan | undefined
    const work = this.#plan(snapshot, setting, (made) => {
      plan = made
    })
    this.#begun = work
    // Who comes in between may have done the rest, or have failed at it.
    while (work.next().done !== true) yield
    return plan ?? (yield* this.planning(snapshot, options))
  }

  #finishBegun(): void {
    if (this.#begun === undefined) return
    try {
      finish(this.#begun)
    } catch {
      // It is told to who asked for that plan, when it is made again.
    }
  }

  *#plan(snapshot: PlacementSnapshot, setting: Setting, done: (plan: Plan) => void): Sliced<void> {
    try {
      yield* this.index.update(snapshot)
      const plan = yield* new Planning(this.index, this.#views, setting).run()
      this.#last = { snapshot, setting, plan }
      done(plan)
    } catch (error) {
      this.index.forget()
      this.#views.clear()
      this.#last = undefined
      throw error
    } finally {
      this.#begun = undefined
    }
  }

  /** An empty draft over some ranges of the snapshot that was planned for last. @internal */
  draft(rangeIds: ArrayLike<RangeId>, options: PlanOptions = {}): Draft {
    this.#finishBegun()
    const snapshot = this.index.snapshot as PlacementSnapshot
    return new Draft(snapshot, rangeIds, this.index.totals, {
      policy: this.index.policy,
      ...checkPlanning(snapshot, options),
      traffic: new Traffic(snapshot),
      sheet: new PlanSheet(),
    })
  }
}

/** Whether there is more to be seen of the same snapshot. */
function goesOn({ moves, unexamined }: Plan): boolean {
  return moves.length === 0 && unexamined > 0
}

/** Plans the next moves of a cluster. Pure: the same snapshot, policy and seed give the same plan. @throws KeelsonError `INVALID_OPTION`, `INVALID_ARGUMENT` */
export function plan(
  snapshot: PlacementSnapshot,
  policy: Partial<PlacementPolicy> = {},
  options: PlanOptions = {},
): Plan {
  return new Planner(policy).plan(snapshot, options)
}

function checkPlanning(snapshot: PlacementSnapshot, options: PlanOptions): Setting {
  checkObject(snapshot, 'the snapshot to plan for', ['table', 'reader', 'moves'])
  return checkOptions<Setting>('plan', options, {
    seed: integerOption({ min: 0, fallback: 0 }),
    limits: (value) => placementLimits(value as Partial<PlacementLimits> | undefined),
  })
}

function sameSetting(a: Setting, b: Setting): boolean {
  if (a.seed !== b.seed) return false
  return (Object.keys(a.limits) as (keyof PlacementLimits)[]).every(
    (name) => a.limits[name] === b.limits[name],
  )
}
