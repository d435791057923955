import { KeelsonError } from '../../core/errors.ts'
import type { JobContext, JobType } from '../../jobs/job-type.ts'
import { numberAfter } from '../../metadata/index.ts'
import type { NodeId } from '../../model/ids.ts'
import type { ReplicaSetRecord, SetView } from './core/change.ts'
import { type PrimaryProgress, PrimaryRules, type PrimaryStep } from './core/primary.ts'
import type { PrimaryStop } from './host.ts'
import type { PrimaryChangeState } from './record.ts'
import { primaryChangeForm, replaceReplicaSet, type StoredReplicaSet } from './replica-sets.ts'
import {
  type CheckedReplicaSetPorts,
  checkReplicaSetPorts,
  type ReplicaSetPorts,
  ReplicaSetWork,
} from './work.ts'

/**
 * Changes of the primary of replica sets as jobs. Until a new sequence is minted a change is undone by having the old primary
 * resume; after that it goes on to its end, since nobody else could take writes: who was to be primary and does not begin is
 * passed over, and where no quorum answers it waits for one, as long as nobody cancels it.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function primaryChangeJob(ports: ReplicaSetPorts): JobType<PrimaryChangeState> {
  const checked = checkReplicaSetPorts('primaryChangeJob', ports)
  const rules = new PrimaryRules()
  return {
    ...primaryChangeForm,
    run: (context) => new Reparenting(checked, rules, context).drive({ patient: true }),
    revert: (context) => new Reparenting(checked, rules, context).undo(),
  }
}

/** One attempt at one change of primary. */
class Reparenting {
  readonly #ports: CheckedReplicaSetPorts
  readonly #rules: PrimaryRules
  readonly #context: JobContext<PrimaryChangeState>
  readonly #work: ReplicaSetWork
  /** Who was to be primary last, and how far its log was. */
  #furthest = { of: '', index: 0 }
  /** That one refused to begin, for good. */
  #refuses = false

  constructor(ports: CheckedReplicaSetPorts, rules: PrimaryRules, context: JobContext<PrimaryChangeState>) {
    this.#ports = ports
    this.#rules = rules
    this.#context = context
    this.#work = new ReplicaSetWork(ports, context.state.name, context.signal)
  }

  /** `patient`: once a sequence is minted it waits as long as it takes. */
  async drive({ patient }: { readonly patient: boolean }): Promise<string> {
    const { env, pollIntervalMs, stepTimeoutMs, maximumOutageMs } = this.#ports
    let standing = ''
    let sinceMs = env.clock.monotonicMs()
    let chosenSinceMs = sinceMs
    for (;;) {
      const { seen, view } = await this.#work.look()
      const progress = await this.#progress(view)
      if (this.#hasMoved(progress, view)) chosenSinceMs = env.clock.monotonicMs()
      const overdue = this.#refuses || env.clock.monotonicMs() - chosenSinceMs >= maximumOutageMs
      const next = this.#rules.next(this.#context.state.change, progress, view)
      const settled = next.type === 'done' || next.type === 'refuse'
      const step = overdue && !settled ? (this.#rules.instead(progress, view) ?? next) : next
      if (step.type === 'done') return this.#outcome(progress, seen)
      if (step.type === 'refuse') throw this.#refused(step.why)
      // While nobody takes writes time runs for all that is done together.
      const nobody = progress.stopping && progress.sequence === undefined
      const position = step.type === 'catchUp' ? view.members.get(step.nodeId)?.position.index : ''
      const standsAt = nobody ? 'nobody takes writes' : `${step.type} ${step.why} ${position}`
      if (standsAt !== standing) {
        standing = standsAt
        sinceMs = env.clock.monotonicMs()
      }
      const forever = patient && progress.sequence !== undefined
      const limitMs = nobody ? maximumOutageMs : forever ? Number.POSITIVE_INFINITY : stepTimeoutMs
      if (env.clock.monotonicMs() - sinceMs >= limitMs) throw this.#work.tooLate(step.why, limitMs, view)
      this.#tell(step, view)
      if (await this.#take(step, progress, seen)) continue
      await this.#context.sleep(pollIntervalMs)
    }
  }

  /** Has the old primary go on, if that is still possible. */
  async undo(): Promise<string> {
    const { progress, change } = this.#context.state
    if (progress === undefined) return 'nothing had begun'
    if (progress.sequence !== undefined) {
      const { sequence, chosen } = progress
      // Nobody else can take writes: a change whose sequence is minted goes on to its end.
      if (this.#context.ending === 'cancelled')
        return `could not be undone any more: ${await this.drive({ patient: false })}`
      const who = chosen ?? change.to ?? 'nobody yet'
      return `sequence ${sequence} is minted for ${who}, and older ones are refused where it is installed: change the primary again when its members are back`
    }
    const { from, fromSequence, stopping } = progress
    if (from === undefined || !stopping) return 'nothing had to be undone'
    const { env, stepTimeoutMs, pollIntervalMs, host } = this.#ports
    const untilMs = env.clock.monotonicMs() + stepTimeoutMs
    for (;;) {
      await this.#work.ask((call) => host.resume(this.#work.name, from, this.#stop(progress), call))
      const { view } = await this.#work.look()
      if (view.record.sequence > fromSequence) return 'somebody else has become primary meanwhile'
      const status = view.members.get(from)
      if (status?.serving === true && status.sequence === fromSequence) return `${from} takes writes again`
      if (env.clock.monotonicMs() >= untilMs)
        return `${from} had stepped down and does not answer: nobody takes writes; change the primary as an emergency`
      this.#context.progress(`${from} is asked to take writes again`)
      this.#context.waitFor([from])
      await this.#context.sleep(pollIntervalMs)
    }
  }

  /** Jobs are numbered in the order in which they begin, and one changes the primary at a time. */
  #stop({ fromSequence }: PrimaryProgress): PrimaryStop {
    return { sequence: fromSequence, attempt: this.#context.jobId }
  }

  /** Where it stands; at the first look, who is primary now. */
  async #progress(view: SetView): Promise<PrimaryProgress> {
    const { state } = this.#context
    if (state.progress !== undefined) return state.progress
    const { primary, sequence } = view.record
    const progress: PrimaryProgress = {
      from: primary,
      fromSequence: sequence,
      stopping: false,
      stoppedAt: undefined,
      sequence: undefined,
      chosen: undefined,
      target: undefined,
      lossless: true,
      passedOver: [],
    }
    await this.#context.checkpoint({ ...state, progress })
    return progress
  }

  /** @returns true when it need not wait */
  async #take(
    step: Exclude<PrimaryStep, { type: 'done' | 'refuse' }>,
    progress: PrimaryProgress,
    seen: StoredReplicaSet,
  ): Promise<boolean> {
    const { host } = this.#ports
    const { name } = this.#work
    const { record } = seen
    switch (step.type) {
      case 'wait':
        return false
      case 'stepDown': {
        // Noted before it is asked: whoever undoes it must know that the old one may have to resume.
        if (!progress.stopping) await this.#save({ ...progress, stopping: true })
        const stoppedAt = await this.#work.ask((call) =>
          host.stepDown(name, step.nodeId, this.#stop(progress), call),
        )
        if (stoppedAt === undefined) return false
        await this.#save({ ...progress, stopping: true, stoppedAt })
        return true
      }
      case 'mint':
        return this.#mint(step.nodeId, progress, seen)
      case 'install':
        await this.#work.install(step.nodeIds, record)
        return false
      case 'choose': {
        const { nodeId, target, lossless } = step
        const next = { ...progress, chosen: nodeId, target, lossless }
        const transaction = replaceReplicaSet(name, seen, { ...record, primary: nodeId })
        const stored = await this.#context.txn(transaction, { ...this.#context.state, progress: next })
        if (stored && !lossless)
          this.#ports.env.logger.error(
            { replicaSet: name, chosen: nodeId },
            'acknowledged writes may be lost',
          )
        return true
      }
      case 'catchUp':
        await this.#work.ask((call) => host.catchUp(name, step.nodeId, step.source, step.position, call))
        return false
      case 'promote':
        return this.#promote(step.nodeId, record)
    }
  }

  async #promote(nodeId: NodeId, { set, sequence }: ReplicaSetRecord): Promise<boolean> {
    const { host } = this.#ports
    try {
      await this.#work.ask((call) => host.promote(nodeId, { name: this.#work.name, set, sequence }, call))
    } catch (error) {
      if (this.#context.signal.aborted || !KeelsonError.is(error)) throw error
      // It refuses for good: another one may be able to.
      this.#refuses = true
      this.#context.progress(`${nodeId} refuses to be primary: ${error.message}`)
    }
    return false
  }

  /** Whether it was decided anew who is to be primary, or that one has come further than ever before. */
  #hasMoved({ sequence, chosen }: PrimaryProgress, view: SetView): boolean {
    const of = `${sequence} ${chosen}`
    const index = chosen === undefined ? 0 : (view.members.get(chosen)?.position.index ?? 0)
    if (
      chosen !== undefined &&
      sequence !== undefined &&
      of === this.#furthest.of &&
      index <= this.#furthest.index
    )
      return false
    this.#furthest = { of, index }
    return true
  }

  async #mint(
    to: PrimaryProgress['chosen'],
    progress: PrimaryProgress,
    seen: StoredReplicaSet,
  ): Promise<boolean> {
    const { record } = seen
    const { grant } = this.#ports
    const { signal, state } = this.#context
    const first = progress.sequence === undefined
    const before = first
      ? { primary: progress.from, sequence: progress.fromSequence }
      : { primary: progress.chosen, sequence: progress.sequence }
    const sequence =
      grant === undefined
        ? numberAfter(record.sequence, seen.readAt)
        : await grant(this.#work.name, first ? (to ?? state.change.to) : undefined, before, { signal })
    if (!Number.isSafeInteger(sequence) || sequence <= record.sequence)
      throw new KeelsonError(
        'CONFLICT',
        `a new primary needs a sequence above ${record.sequence}, not ${sequence}`,
        {
          retryable: false,
        },
      )
    const passedOver = progress.chosen === undefined ? [] : [progress.chosen]
    const next: PrimaryProgress = {
      ...progress,
      sequence,
      chosen: to,
      target: undefined,
      passedOver: [...progress.passedOver, ...passedOver],
    }
    this.#refuses = false
    await this.#context.txn(replaceReplicaSet(this.#work.name, seen, { ...record, primary: to, sequence }), {
      ...state,
      progress: next,
    })
    return true
  }

  async #save(progress: PrimaryProgress): Promise<void> {
    await this.#context.checkpoint({ ...this.#context.state, progress })
  }

  #tell(step: Exclude<PrimaryStep, { type: 'done' | 'refuse' }>, view: SetView): void {
    this.#context.progress(step.why)
    const names =
      step.type === 'wait'
        ? step.waitingFor
        : step.type === 'install'
          ? step.nodeIds.filter((nodeId) => !view.members.has(nodeId))
          : 'nodeId' in step && step.nodeId !== undefined && !view.members.has(step.nodeId)
            ? [step.nodeId]
            : []
    this.#context.waitFor(names)
  }

  #refused(why: string): KeelsonError {
    return new KeelsonError('CONFLICT', `the primary of ${this.#work.name} is not changed: ${why}`, {
      retryable: false,
    })
  }

  #outcome(progress: PrimaryProgress, seen: StoredReplicaSet): string {
    const { record } = seen
    const { from, lossless, passedOver } = progress
    const after = from === undefined || from === record.primary ? '' : ` after ${from}`
    const without = passedOver.length === 0 ? '' : `, ${passedOver.join(', ')} did not begin`
    const what = `${record.primary} is primary with sequence ${record.sequence}${after}${without}`
    if (lossless) return `${what}; no acknowledged write is lost`
    return `${what}; FORCED without a read quorum: acknowledged writes may be lost`
  }
}
