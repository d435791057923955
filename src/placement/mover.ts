import { KeelsonError } from '../core/errors.ts'
import type { JobContext, JobType } from '../jobs/job-type.ts'
import type { RangeDescriptor, ReplicaDescriptor } from '../model/descriptors.ts'
import type { NodeId } from '../model/ids.ts'
import { isJoint } from '../model/replica-roles.ts'
import { bytesInWords, CopyMeter, type CopyProgress, timeInWords } from './core/copy-meter.ts'
import {
  addition,
  describeGoal,
  type MemberChange,
  type MoveGoal,
  type MoveStep,
  type MoveView,
  nextStep,
  tookEffect,
  undoStep,
  votesToSpare,
} from './core/steps.ts'
import { repairPriority } from './core/survey.ts'
import type { MoveRequest } from './core/throttle.ts'
import { decodeMoveState, encodeMoveState, type MoveState, withOutcomes, withStep } from './move-state.ts'
import { checkMoverPorts, type MoverPorts } from './mover-options.ts'
import { projectRange } from './range-projection.ts'
import { leaseHolderOf } from './range-reports.ts'

/** Name of the job type of moves. */
export const moveJobType = 'placement.move'

/**
 * Moves as jobs: each step is a change that the range is asked for in the directory, guarded by its generation and the
 * owner's epoch, and the next one is decided by what the range then reports.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function moveJob(ports: MoverPorts): JobType<MoveState> {
  const checked = checkMoverPorts(ports)
  return {
    type: moveJobType,
    encode: encodeMoveState,
    decode: decodeMoveState,
    run: (context) => driveMove(checked, context, nextStep),
    revert: (context) => {
      const voters = context.ending === 'cancelled'
      return orMerged(driveMove(checked, context, (goal, view) => undoStep(goal, view, { voters })))
    },
  }
}

/** Of a range that was merged away meanwhile nothing is left to be undone. */
async function orMerged(undoing: Promise<string>): Promise<string> {
  try {
    return await undoing
  } catch (error) {
    if (!KeelsonError.hasCode(error, 'NOT_FOUND')) throw error
    return 'the range is no more, it was merged'
  }
}

/** Carries a move out by what `decide` says, until nothing is left to do. @internal */
export async function driveMove(
  ports: Required<MoverPorts>,
  context: JobContext<MoveState>,
  decide: (goal: MoveGoal, view: MoveView) => MoveStep,
): Promise<string> {
  return new Mover(ports, context).drive(decide)
}

/** One attempt at one move. */
class Mover {
  readonly #ports: Required<MoverPorts>
  readonly #context: JobContext<MoveState>
  readonly #goal: MoveGoal
  readonly #meter = new CopyMeter()
  #known: RangeDescriptor | undefined
  #settled = false
  /** When the move began to wait for room. */
  #roomSinceMs: number | undefined

  constructor(ports: Required<MoverPorts>, context: JobContext<MoveState>) {
    this.#ports = ports
    this.#context = context
    this.#goal = context.state.goal
  }

  async drive(decide: (goal: MoveGoal, view: MoveView) => MoveStep): Promise<string> {
    const { env, throttle } = this.#ports
    const { jobId, signal } = this.#context
    let failed = true
    try {
      const outcome = await this.#drive(decide)
      failed = false
      return outcome
    } finally {
      // A move that is interrupted says nothing of its nodes; what it began is taken up again.
      const how = signal.aborted ? 'given up' : failed ? 'failed' : 'done'
      throttle.ended(jobId, how, env.clock.monotonicMs())
    }
  }

  async #drive(decide: (goal: MoveGoal, view: MoveView) => MoveStep): Promise<string> {
    const { env, pollIntervalMs } = this.#ports
    let standing = ''
    let sinceMs = env.clock.monotonicMs()
    for (;;) {
      const view = await this.#look()
      const step = decide(this.#goal, view)
      await this.#record(step, view)
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
      const copied = this.#copied(step, view)
      // A step that stays the same has a limited time; a copy that grows does not stay the same.
      const standsAt = `${view.descriptor.generation} ${step.type} ${step.why} ${copied?.copiedBytes ?? ''}`
      if (standsAt !== standing) {
        standing = standsAt
        sinceMs = env.clock.monotonicMs()
      }
      if (step.type === 'want' && !this.#hasRoom(step, view)) {
        sinceMs = env.clock.monotonicMs()
        await this.#context.sleep(pollIntervalMs)
        continue
      }
      await this.#checkTime(step, view, env.clock.monotonicMs() - sinceMs)
      this.#tell(step, copied)
      if (step.type === 'want') await this.#want(step, view)
      await this.#context.sleep(pollIntervalMs)
    }
  }

  /** Says how far the move is, how long it may still take, and whom it waits for. */
  #tell(step: Extract<MoveStep, { type: 'want' | 'wait' }>, copied: CopyProgress | undefined): void {
    const fraction = fractionOf(step, copied)
    if (copied === undefined) this.#context.progress(step.why, fraction)
    else {
      const { copiedBytes, totalBytes, etaMs } = copied
      const eta = etaMs === undefined ? '' : `, about ${timeInWords(etaMs)} left`
      const share = `${bytesInWords(copiedBytes)} of ${bytesInWords(totalBytes)}`
      this.#context.progress(`${step.why}: ${share}${eta}`, fraction)
    }
    this.#context.waitFor(step.type === 'wait' ? step.waitingFor : [])
  }

  /** What has arrived at a learner that catches up, as far as it is reported. */
  #copied(step: MoveStep, view: MoveView): CopyProgress | undefined {
    if (step.type !== 'wait' || !step.copying) return undefined
    const { observed, env } = this.#ports
    const reports = observed(this.#goal.rangeId)
    const source = reports.find(({ replica }) => replica.replicaId === view.leaseHolder)
    const target = reports.find(({ nodeId }) => step.waitingFor.includes(nodeId))
    this.#meter.sample(target?.replica.load.bytes, source?.replica.load.bytes, env.clock.monotonicMs())
    return this.#meter.progress()
  }

  /**
   * Whether the limits let a step begin. A copy that is under way counts for as long as its learner catches up; one that an
   * earlier leader began is taken over as it is.
   */
  #hasRoom(step: Extract<MoveStep, { type: 'want' }>, view: MoveView): boolean {
    const { env, throttle, roomTimeoutMs } = this.#ports
    const nowMs = env.clock.monotonicMs()
    const request = this.#request(step.change, view)
    if (request === undefined) return true
    const verdict = throttle.ask(request, nowMs)
    if (verdict.type === 'go') {
      this.#roomSinceMs = undefined
      return true
    }
    this.#roomSinceMs ??= nowMs
    this.#context.progress(`${step.why}; ${verdict.why}`)
    this.#context.waitFor(verdict.nodes)
    const { state } = this.#context
    if (this.#goal.priority >= repairPriority || state.step !== undefined) return false
    const giveUp = (why: string): never => {
      throw new KeelsonError('CONFLICT', `${describeGoal(this.#goal)} is given up before it began: ${why}`, {
        retryable: false,
      })
    }
    if (throttle.mustGiveWay(request.id, repairPriority)) giveUp('a repair needs the room')
    if (nowMs - this.#roomSinceMs >= roomTimeoutMs)
      giveUp(`no room within ${roomTimeoutMs} ms (${verdict.why})`)
    return false
  }

  /** What a change asks of the limits: copies and removals of replicas do, unless they are taken back. */
  #request(change: MemberChange, view: MoveView): MoveRequest | undefined {
    const { rangeId, priority } = this.#goal
    const { jobId, ending } = this.#context
    if (ending !== undefined) return undefined
    const { replicas } = view.descriptor
    const urgent = priority >= repairPriority && votesToSpare(view) <= 0
    const common = { id: jobId, priority, urgent }
    if (change.type === 'addLearner') {
      const source = replicas.find(({ replicaId }) => replicaId === view.leaseHolder)
      const bytes = this.#ports
        .observed(rangeId)
        .find(({ replica }) => replica.replicaId === view.leaseHolder)?.replica.load.bytes
      const from = source === undefined ? {} : { from: source.nodeId }
      return { ...common, ...from, kind: 'copy', to: change.nodeId, bytes: bytes ?? 0 }
    }
    const gone =
      change.type === 'swap' || change.type === 'remove' ? this.#leaving(change, replicas) : undefined
    // A node that is down deletes nothing.
    if (gone === undefined || !view.isUp(gone.nodeId, gone.incarnation)) return undefined
    return { ...common, kind: 'remove', to: gone.nodeId, bytes: 0 }
  }

  #leaving(
    change: Extract<MemberChange, { type: 'swap' | 'remove' }>,
    replicas: readonly ReplicaDescriptor[],
  ): ReplicaDescriptor | undefined {
    const gone = change.type === 'swap' ? change.remove : change.replicaId
    return replicas.find(({ replicaId }) => replicaId === gone)
  }

  /** Notes what came of the step before, and ends or takes over what it occupies. */
  async #record(step: MoveStep, view: MoveView): Promise<void> {
    const { env, throttle } = this.#ports
    const { jobId, state } = this.#context
    const nowMs = env.clock.monotonicMs()
    const copying = step.type === 'wait' && step.copying
    const { add } = this.#goal
    if (copying && add !== undefined && !throttle.isRunning(jobId)) {
      const change = { type: 'addLearner', ...addition(add) } as const
      const request = this.#request(change, view)
      if (request !== undefined) throttle.adopt(request, nowMs)
    }
    const { generation } = view.descriptor
    const next = withOutcomes(state, (each) => {
      const done = each.change !== undefined && tookEffect(each.change, view)
      // The copy goes on after its learner is there.
      if (done) return copying && each === state.step ? 'asked' : 'done'
      return generation === each.generation ? 'asked' : 'overtaken'
    })
    if (next === state) return
    if (next.step?.outcome !== 'asked') throttle.ended(jobId, 'done', nowMs)
    await this.#context.checkpoint(next)
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
    this.#known = await projectRange({ directory, epoch, observed }, this.#known, { signal })
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
        const free = found?.liveness === 'live' && found.state === 'active' && found.maintenance !== true
        return free && isUp(nodeId, incarnation)
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
      const atMs = this.#ports.env.clock.wallMs()
      const { change, proof } = step
      const next = { what, generation, proof, change, outcome: 'asked', atMs } as const
      await this.#context.checkpoint(withStep(state, next))
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

  /** @throws KeelsonError `TIMEOUT` with what was waited for, once a step has had its time */
  async #checkTime(
    step: Extract<MoveStep, { type: 'want' | 'wait' }>,
    view: MoveView,
    elapsedMs: number,
  ): Promise<void> {
    const limitMs = this.#limitOf(step, view)
    if (elapsedMs < limitMs) return
    const { state } = this.#context
    if (state.step?.outcome === 'asked')
      await this.#context.checkpoint(withOutcomes(state, () => 'timed out'))
    const waitingFor = step.type === 'wait' ? step.waitingFor : []
    const names = waitingFor.length > 0 ? ` (waited for ${waitingFor.join(', ')})` : ''
    const { generation } = view.descriptor
    throw new KeelsonError(
      'TIMEOUT',
      `${describeGoal(this.#goal)}: no progress for ${limitMs} ms: ${step.why}${names}`,
      {
        retryable: false,
        details: { generation, limitMs, step: step.type === 'want' ? step.change.type : 'wait' },
      },
    )
  }

  #limitOf(step: Extract<MoveStep, { type: 'want' | 'wait' }>, view: MoveView): number {
    const { stepTimeoutMs, leaseTimeoutMs, jointTimeoutMs, catchUpTimeoutMs } = this.#ports
    if (isJoint(view.descriptor.replicas)) return jointTimeoutMs
    if (step.type === 'wait') return step.copying ? catchUpTimeoutMs : stepTimeoutMs
    return step.change.type === 'transferLease' ? leaseTimeoutMs : stepTimeoutMs
  }
}

/** How far a move is when it takes a step. Most of its time is the copy's. */
function fractionOf(
  step: Extract<MoveStep, { type: 'want' | 'wait' }>,
  copied: CopyProgress | undefined,
): number {
  if (step.type === 'wait') return step.copying ? 0.05 + 0.8 * (copied?.fraction ?? 0) : 0.9
  return step.change.type === 'addLearner' ? 0 : step.change.type === 'remove' ? 0.95 : 0.9
}

function changeInWords(change: MemberChange): string {
  if (change.type === 'addLearner')
    return `addLearner ${change.nodeId}/${change.incarnation}${change.storeId === undefined ? '' : ` on ${change.storeId}`}`
  if (change.type === 'swap') return `swap ${change.promote} for ${change.remove}`
  return `${change.type} ${change.replicaId}`
}
