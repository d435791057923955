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
  /** Work on the index that was begun and may not be done. */
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
    yield* this.#endBegun()
    return this.#known(snapshot, setting) ?? (yield* this.#begin(this.#plan(snapshot, setting)))
  }

  /**
   * What somebody has to say of a plan, in steps: until it is said the index stays as the plan left it, for whoever comes in
   * between first does what is left. `say` asks nothing of this planner but {@link drafting}. @internal
   */
  *asking<T>(
    snapshot: PlacementSnapshot,
    options: PlanOptions,
    say: (plan: Plan, setting: Setting) => Sliced<T>,
  ): Sliced<T> {
    const setting = checkPlanning(snapshot, options)
    yield* this.#endBegun()
    const known = this.#known(snapshot, setting)
    return yield* this.#begin(this.#planAndSay(snapshot, setting, known, say))
  }

  *#planAndSay<T>(
    snapshot: PlacementSnapshot,
    setting: Setting,
    known: Plan | undefined,
    say: (plan: Plan, setting: Setting) => Sliced<T>,
  ): Sliced<T> {
    return yield* say(known ?? (yield* this.#plan(snapshot, setting)), setting)
  }

  /** First, since it may be what is asked for, and since whoever asks goes on with the index as a plan left it. */
  *#endBegun(): Sliced<void> {
    while (this.#begun !== undefined) {
      this.#begun.next()
      yield
    }
  }

  #known(snapshot: PlacementSnapshot, setting: Setting): Plan | undefined {
    const last = this.#last
    const same = last?.snapshot === snapshot && sameSetting(last.setting, setting)
    return same && !goesOn(last.plan) ? last.plan : undefined
  }

  /** Work that others may do the rest of. What becomes of it is told to who began it. */
  *#begin<T>(work: Sliced<T>): Sliced<T> {
    let outcome: (() => T) | undefined
    const begun = this.#keeping(work, (result) => {
      outcome = result
    })
    this.#begun = begun
    while (begun.next().done !== true) yield
    return (outcome as unknown as () => T)()
  }

  *#keeping<T>(work: Sliced<T>, keep: (outcome: () => T) => void): Sliced<void> {
    try {
      const result = yield* work
      keep(() => result)
    } catch (error) {
      keep(() => {
        throw error
      })
    } finally {
      this.#begun = undefined
    }
  }

  *#plan(snapshot: PlacementSnapshot, setting: Setting): Sliced<Plan> {
    try {
      yield* this.index.update(snapshot)
      const plan = yield* new Planning(this.index, this.#views, setting).run()
      this.#last = { snapshot, setting, plan }
      return plan
    } catch (error) {
      this.index.forget()
      this.#views.clear()
      this.#last = undefined
      throw error
    }
  }

  /** An empty draft over some ranges of the snapshot that is asked about: see {@link asking}. @internal */
  drafting(rangeIds: ArrayLike<RangeId>, setting: Setting): Sliced<Draft> {
    const { snapshot, totals, policy } = this.index
    const now = snapshot as PlacementSnapshot
    const traffic = new Traffic(now)
    return Draft.opening(now, rangeIds, totals, { policy, ...setting, traffic, sheet: new PlanSheet() })
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
