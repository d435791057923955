import { KeelsonError } from '../../core/errors.ts'
import type { JobContext, JobType } from '../../jobs/job-type.ts'
import type { NodeId } from '../../model/ids.ts'
import { type ReplicaSetRecord, SetChangeRules, type SetStep, type SetView } from './core/change.ts'
import type { SetChangeState } from './record.ts'
import { replaceReplicaSet, type StoredReplicaSet, setChangeForm } from './replica-sets.ts'
import {
  type CheckedReplicaSetPorts,
  checkReplicaSetPorts,
  type ReplicaSetPorts,
  ReplicaSetWork,
} from './work.ts'

/**
 * Changes of the members of replica sets as jobs. Every step is an epoch or works towards one; a job that is cancelled or
 * fails goes on to the epoch in which the suspect stays, until that is sealed, however long it takes: the next change would
 * have to wait for that as well.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function setChangeJob(ports: ReplicaSetPorts): JobType<SetChangeState> {
  const checked = checkReplicaSetPorts('setChangeJob', ports)
  const rules = new SetChangeRules()
  return {
    ...setChangeForm,
    run: (context) =>
      new Change(checked, context).drive((view) => rules.next(context.state.change, view), {
        patient: false,
      }),
    revert: (context) =>
      new Change(checked, context).drive((view) => rules.undo(context.state.change, view), { patient: true }),
  }
}

/** One attempt at one change. */
class Change {
  readonly #ports: CheckedReplicaSetPorts
  readonly #context: JobContext<SetChangeState>
  readonly #work: ReplicaSetWork

  constructor(ports: CheckedReplicaSetPorts, context: JobContext<SetChangeState>) {
    this.#ports = ports
    this.#context = context
    this.#work = new ReplicaSetWork(ports, context.state.name, context.signal)
  }

  /** `patient`: it waits as long as it takes. */
  async drive(
    decide: (view: SetView) => SetStep,
    { patient }: { readonly patient: boolean },
  ): Promise<string> {
    const { env, pollIntervalMs } = this.#ports
    const { change } = this.#context.state
    let standing = ''
    let sinceMs = env.clock.monotonicMs()
    for (;;) {
      const { seen, view } = await this.#work.look([change.suspect, change.candidate])
      const step = decide(view)
      if (step.type === 'abandon') {
        throw new KeelsonError(
          'CONFLICT',
          `the change of replica set ${this.#work.name} is given up: ${step.why}`,
          {
            retryable: false,
          },
        )
      }
      if (step.type === 'done') {
        await this.#retire(step.retire, seen.record)
        return step.outcome
      }
      const grown = step.type === 'hydrate' ? view.members.get(step.member.nodeId)?.position.index : ''
      const standsAt = `${seen.record.set.epoch} ${step.type} ${step.why} ${grown}`
      if (standsAt !== standing) {
        standing = standsAt
        sinceMs = env.clock.monotonicMs()
      }
      if (!patient) this.#checkTime(step, env.clock.monotonicMs() - sinceMs, view)
      this.#tell(step, view)
      if (await this.#taken(step, seen, patient)) continue
      await this.#context.sleep(pollIntervalMs)
    }
  }

  /** What a member refuses while something is undone is asked of it again. */
  async #taken(
    step: Exclude<SetStep, { type: 'done' | 'abandon' }>,
    seen: StoredReplicaSet,
    patient: boolean,
  ): Promise<boolean> {
    try {
      return await this.#take(step, seen)
    } catch (error) {
      if (!patient || step.type !== 'install' || this.#context.signal.aborted) throw error
      this.#context.progress(`${step.why}; a member refuses that: ${(error as Error).message}`)
      return false
    }
  }

  /** @returns true when the store was changed: the next step need not wait */
  async #take(
    step: Exclude<SetStep, { type: 'done' | 'abandon' }>,
    seen: StoredReplicaSet,
  ): Promise<boolean> {
    const { record } = seen
    switch (step.type) {
      case 'epoch':
        return this.#store(seen, { ...record, set: step.set, unsealed: [...record.unsealed, record.set] })
      case 'seal':
        return this.#store(seen, { ...record, unsealed: [] })
      case 'install':
        await this.#work.install(step.nodeIds, record)
        return false
      case 'hydrate': {
        const { name } = this.#work
        const { set, sequence } = record
        await this.#work.ask((call) =>
          this.#ports.host.hydrate(step.member.nodeId, step.member, { name, set, sequence }, call),
        )
        return false
      }
    }
  }

  /** The next record, together with a checkpoint, if nobody has changed it meanwhile. */
  async #store(seen: StoredReplicaSet, next: ReplicaSetRecord): Promise<boolean> {
    // Noted in the same transaction, or a suspect that is back would be replaced again.
    const { name, change } = this.#context.state
    const begun = change.begun || next.set.epoch > seen.record.set.epoch
    const state = { name, change: { ...change, begun } }
    await this.#context.txn(replaceReplicaSet(name, seen, next), state)
    return true
  }

  async #retire(nodeIds: readonly NodeId[], record: ReplicaSetRecord): Promise<void> {
    const { name } = this.#work
    const { set, sequence } = record
    // Who cannot be asked keeps what it holds: it obeys an epoch that everybody refuses.
    for (const nodeId of nodeIds)
      await this.#work.ask((call) => this.#ports.host.retire(nodeId, { name, set, sequence }, call))
  }

  #tell(step: Exclude<SetStep, { type: 'done' | 'abandon' }>, view: SetView): void {
    const { set } = view.record
    const silent = step.type === 'install' ? step.nodeIds.filter((nodeId) => !view.members.has(nodeId)) : []
    this.#context.progress(`epoch ${set.epoch}: ${step.why}`)
    this.#context.waitFor(step.type === 'hydrate' ? [step.member.nodeId] : silent)
  }

  #checkTime(step: SetStep, elapsedMs: number, view: SetView): void {
    const { stepTimeoutMs, hydrateTimeoutMs } = this.#ports
    const limitMs = step.type === 'hydrate' ? hydrateTimeoutMs : stepTimeoutMs
    if (elapsedMs < limitMs || !('why' in step)) return
    throw this.#work.tooLate(step.why, limitMs, view)
  }
}
