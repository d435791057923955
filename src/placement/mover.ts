import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkOptions, functionOption, integerOption, objectOption } from '../core/options.ts'
import type { ObservedReplica, RangeChange } from '../interfaces/range-host.ts'
import type { JobContext, JobType } from '../jobs/job-type.ts'
import type { RangeDirectory } from '../metadata/directory.ts'
import type { ControllerEpoch } from '../metadata/epoch.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { NodeId, RangeId, ReplicaId } from '../model/ids.ts'
import type { PlacementNode } from './core/snapshot.ts'
import {
  describeGoal,
  type MoveGoal,
  type MoveStep,
  type MoveView,
  nextStep,
  undoStep,
} from './core/steps.ts'
import { decodeMoveState, encodeMoveState, type MoveState } from './move-state.ts'

/** A range as one node reported it. */
export interface ReportedReplica {
  /** The node that reported. */
  readonly nodeId: NodeId
  /** What it reported. */
  readonly replica: ObservedReplica
}

/** What the nodes report of a range, newest report of each. */
export type ObserveRange = (rangeId: RangeId) => readonly ReportedReplica[]

/** Tuning of moves. */
export interface MoverTuning {
  /** How often the reports are looked at. */
  readonly pollIntervalMs: number
  /** How long one step may take until it shows in the reports. */
  readonly stepTimeoutMs: number
  /** How long a learner may take to catch up. */
  readonly catchUpTimeoutMs: number
  /** How long a removed replica may take to vanish before the node is left to itself. */
  readonly tidyTimeoutMs: number
  /** How long a move that is undone waits for a learner that it asked for to show up. */
  readonly settleMs: number
}

/** Used when nothing else is given. */
export const defaultMoverTuning: MoverTuning = Object.freeze({
  pollIntervalMs: 250,
  stepTimeoutMs: 60_000,
  catchUpTimeoutMs: 3_600_000,
  tidyTimeoutMs: 10_000,
  settleMs: 3000,
})

/** What moves need. */
export interface MoverPorts extends Partial<MoverTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** The epoch of this leader: every write compares it. */
  readonly epoch: ControllerEpoch
  /** Where changes are asked for. */
  readonly directory: RangeDirectory
  /** What the nodes report of a range. */
  readonly observed: ObserveRange
  /** A node as it is now. */
  readonly node: (nodeId: NodeId) => PlacementNode | undefined
}

/** Name of the job type of moves. */
export const moveJobType = 'placement.move'

/**
 * Moves as jobs: each step is a change that the range is asked for in the directory, guarded by its generation and the
 * owner's epoch, and the next one is decided by what the range then reports.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function moveJob(ports: MoverPorts): JobType<MoveState> {
  const fallback = defaultMoverTuning
  const checked = checkOptions<Required<MoverPorts>>('moveJob', ports, {
    env: objectOption<Environment>(['clock', 'timers']),
    epoch: objectOption<ControllerEpoch>(['number', 'txn']),
    directory: objectOption<RangeDirectory>(['get', 'want', 'project']),
    observed: functionOption<ObserveRange>(),
    node: functionOption<MoverPorts['node']>(),
    pollIntervalMs: integerOption({ min: 1, fallback: fallback.pollIntervalMs }),
    stepTimeoutMs: integerOption({ min: 1, fallback: fallback.stepTimeoutMs }),
    catchUpTimeoutMs: integerOption({ min: 1, fallback: fallback.catchUpTimeoutMs }),
    tidyTimeoutMs: integerOption({ min: 0, fallback: fallback.tidyTimeoutMs }),
    settleMs: integerOption({ min: 0, fallback: fallback.settleMs }),
  })
  return {
    type: moveJobType,
    encode: encodeMoveState,
    decode: decodeMoveState,
    run: (context) => new Mover(checked, context).drive(nextStep),
    revert: (context) => new Mover(checked, context).drive(undoStep),
  }
}

/** One attempt at one move. */
class Mover {
  readonly #ports: Required<MoverPorts>
  readonly #context: JobContext<MoveState>
  readonly #goal: MoveGoal
  #known: RangeDescriptor | undefined
  #settled = false

  constructor(ports: Required<MoverPorts>, context: JobContext<MoveState>) {
    this.#ports = ports
    this.#context = context
    this.#goal = context.state.goal
  }

  async drive(decide: (goal: MoveGoal, view: MoveView) => MoveStep): Promise<string> {
    const { env, pollIntervalMs } = this.#ports
    let standing = ''
    let sinceMs = env.clock.monotonicMs()
    for (;;) {
      const view = await this.#look()
      const step = decide(this.#goal, view)
      if (step.type === 'done') {
        if (await this.#mayStillHappen(view)) continue
        await this.#tidy(view)
        return step.outcome
      }
      if (step.type === 'abandon') {
        throw new KeelsonError('CONFLICT', `${describeGoal(this.#goal)} is given up: ${step.why}`, {
          retryable: false,
        })
      }
      // A step that stays the same has a limited time.
      const standsAt = `${view.descriptor.generation} ${step.type} ${step.why}`
      if (standsAt !== standing) {
        standing = standsAt
        sinceMs = env.clock.monotonicMs()
      }
      this.#checkTime(step, env.clock.monotonicMs() - sinceMs)
      this.#context.progress(step.why)
      this.#context.waitFor(step.type === 'wait' ? step.waitingFor : [])
      if (step.type === 'want') await this.#want(step, view)
      await this.#context.sleep(pollIntervalMs)
    }
  }

  /** The range as the newest report shows it; the directory is brought up to it. */
  async #look(): Promise<MoveView> {
    const { directory, epoch, observed, node } = this.#ports
    const { rangeId } = this.#goal
    const { signal } = this.#context
    this.#known ??= await directory.get(rangeId, { signal })
    if (this.#known === undefined) {
      throw new KeelsonError('NOT_FOUND', `the directory has no range ${rangeId}; create it first`)
    }
    const reports = observed(rangeId)
    const newest = newestConfiguration(reports)
    if (newest !== undefined && newest.generation > this.#known.generation) {
      const descriptor = { ...this.#known, generation: newest.generation, replicas: newest.replicas }
      await directory.project(epoch, descriptor, { signal })
      this.#known = descriptor
    }
    await this.#notice(this.#known)
    const holder = leaseHolderOf(reports)
    const isUp: MoveView['isUp'] = (nodeId, incarnation) => {
      const found = node(nodeId)
      return found !== undefined && found.liveness !== 'dead' && found.descriptor.incarnation === incarnation
    }
    return {
      descriptor: this.#known,
      leaseHolder: holder?.replicaId,
      caughtUp: holder?.caughtUp ?? [],
      brought: this.#context.state.brought,
      swaps: reports.length > 0 && reports.every(({ replica }) => replica.swaps === true),
      isUp,
      mayTake: (nodeId, incarnation) => {
        const found = node(nodeId)
        return isUp(nodeId, incarnation) && found?.liveness === 'live' && found.state === 'active'
      },
    }
  }

  /** Remembers which replica the move brought, so that it is known by its id from then on. */
  async #notice(descriptor: RangeDescriptor): Promise<void> {
    const { state } = this.#context
    const { add } = this.#goal
    if (add === undefined || state.brought !== undefined) return
    const brought = descriptor.replicas.find(
      (replica) => replica.nodeId === add.nodeId && replica.incarnation === add.incarnation,
    )
    if (brought === undefined) return
    await this.#context.checkpoint({ ...state, brought: brought.replicaId })
  }

  async #want(step: Extract<MoveStep, { type: 'want' }>, view: MoveView): Promise<void> {
    const { directory, epoch } = this.#ports
    const { signal, state } = this.#context
    const { generation } = view.descriptor
    const what = changeInWords(step.change)
    if (state.step?.what !== what || state.step.generation !== generation) {
      await this.#context.checkpoint({ ...state, step: { what, generation, proof: step.proof } })
    }
    try {
      await directory.want(epoch, this.#goal.rangeId, step.change, { expectedGeneration: generation, signal })
    } catch (error) {
      if (!KeelsonError.hasCode(error, 'STALE_GENERATION')) throw error
      // The range has moved on: what was decided is worth nothing any more.
      this.#known = undefined
    }
  }

  /**
   * A learner was asked for and nothing shows that it came: the range may be adding it at this moment. The wish is taken
   * back, and the reports are given some time. What comes later still is found by the planner.
   */
  async #mayStillHappen(view: MoveView): Promise<boolean> {
    const { directory, epoch, settleMs } = this.#ports
    const { signal, state } = this.#context
    const asked =
      state.step?.what.startsWith('addLearner') === true &&
      state.step.generation === view.descriptor.generation
    if (this.#settled || !asked) return false
    this.#settled = true
    await directory.want(epoch, this.#goal.rangeId, undefined, { signal })
    await this.#context.sleep(settleMs)
    return true
  }

  /** Takes the wish back, and what a node that holds nothing any more was told. */
  async #tidy(view: MoveView): Promise<void> {
    const { directory, epoch, env, observed, node, pollIntervalMs, tidyTimeoutMs } = this.#ports
    const { signal } = this.#context
    const { rangeId, remove, add } = this.#goal
    await directory.want(epoch, rangeId, undefined, { signal })
    const members = view.descriptor.replicas.map((replica) => replica.nodeId)
    const former = [remove?.nodeId, add?.nodeId].filter(
      (nodeId): nodeId is NodeId => nodeId !== undefined && !members.includes(nodeId),
    )
    const untilMs = env.clock.monotonicMs() + tidyTimeoutMs
    for (const nodeId of former) {
      for (;;) {
        const live = node(nodeId)?.liveness === 'live'
        const left = observed(rangeId).some((report) => report.nodeId === nodeId)
        // A node that cannot be asked keeps what it was told, and drops its replica when it comes back.
        if (!live || env.clock.monotonicMs() >= untilMs) break
        if (!left) {
          await directory.forget(epoch, nodeId, rangeId, { signal })
          break
        }
        this.#context.waitFor([nodeId])
        await this.#context.sleep(pollIntervalMs)
      }
    }
    this.#context.waitFor([])
  }

  #checkTime(step: MoveStep, elapsedMs: number): void {
    const { stepTimeoutMs, catchUpTimeoutMs } = this.#ports
    const limitMs = step.type === 'wait' && step.copying ? catchUpTimeoutMs : stepTimeoutMs
    if (elapsedMs < limitMs) return
    const why = step.type === 'want' || step.type === 'wait' ? step.why : ''
    const names =
      step.type === 'wait' && step.waitingFor.length > 0 ? ` (waited for ${step.waitingFor.join(', ')})` : ''
    throw new KeelsonError(
      'TIMEOUT',
      `${describeGoal(this.#goal)}: no progress for ${limitMs} ms: ${why}${names}`,
      { retryable: false },
    )
  }
}

/** The newest configuration that is reported as committed. */
export function newestConfiguration(reports: readonly ReportedReplica[]): ObservedReplica | undefined {
  let newest: ObservedReplica | undefined
  for (const { replica } of reports) {
    if (newest === undefined || replica.generation > newest.generation) newest = replica
  }
  return newest
}

/** The replica that holds the lease: of several that believe it, the one with the highest sequence. */
export function leaseHolderOf(
  reports: readonly ReportedReplica[],
): { readonly replicaId: ReplicaId; readonly caughtUp: readonly ReplicaId[] } | undefined {
  let holder: ObservedReplica | undefined
  for (const { replica } of reports) {
    if (replica.leaseHolder && (holder === undefined || replica.sequence > holder.sequence)) holder = replica
  }
  return holder
}

function changeInWords(change: RangeChange): string {
  if (change.type === 'addLearner') return `addLearner ${change.nodeId}/${change.incarnation}`
  if (change.type === 'swap') return `swap ${change.promote} for ${change.remove}`
  return `${change.type} ${change.replicaId}`
}
