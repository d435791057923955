import { onAbort } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { checkOptions, type OptionCheck, objectOption, optional, signalOption } from '../../core/options.ts'
import type { MetadataStore } from '../../interfaces/metadata-store.ts'
import { isFinished, type Job, type JobId } from '../../jobs/core/record.ts'
import { Jobs } from '../../jobs/jobs.ts'
import type { NodeId } from '../../model/ids.ts'
import { underMaintenance } from '../core/maintenance.ts'
import type { PlacementNode } from '../core/snapshot.ts'
import { type Absence, maintenanceForm, restartForm } from './state.ts'

/** A node that is in maintenance. */
export interface MaintenanceMark {
  /** The job that it is in maintenance for. */
  readonly jobId: JobId
  /** Whether it may be down by now. */
  readonly stage: Absence['stage']
}

/**
 * Which nodes are in maintenance, as their jobs have it: a node is, from the creation of the job that takes it down until the
 * job ends or turns to others. Until the jobs were read for the first time every node that is down is taken for one, so
 * that a new leader repairs nothing too early.
 */
export class MaintenanceView {
  readonly #jobs: Jobs
  readonly #marks = new Map<JobId, Absence>()
  readonly #stop = new AbortController()
  readonly #unlink: () => void
  #known = false
  #error: KeelsonError | undefined
  /** The reason why it stopped by itself; undefined when it was asked to. */
  readonly stopped: Promise<KeelsonError | undefined>

  /** Follows the jobs at once. @throws KeelsonError `INVALID_OPTION` */
  constructor(options: {
    readonly env: Environment
    readonly store: MetadataStore
    readonly signal?: AbortSignal
  }) {
    const { env, store, signal } = checkOptions<typeof options>('MaintenanceView', options, {
      env: objectOption<Environment>(['clock', 'timers', 'random']),
      store: objectOption<MetadataStore>(['txn', 'range', 'watch']),
      signal: optional(signalOption) as OptionCheck<AbortSignal>,
    })
    this.#jobs = new Jobs({ env, store })
    const stop = (): void =>
      this.#stop.abort(new KeelsonError('CLOSED', 'maintenance is not followed any more'))
    this.#unlink = signal === undefined ? () => {} : onAbort(signal, stop)
    if (signal?.aborted === true) stop()
    this.stopped = this.#follow()
  }

  /** Whether the jobs have been read. */
  get isKnown(): boolean {
    return this.#known
  }

  /** The maintenance of a node; of several the oldest. */
  by(nodeId: NodeId): MaintenanceMark | undefined {
    let found: MaintenanceMark | undefined
    for (const [jobId, { nodeIds, stage }] of this.#marks) {
      if (!nodeIds.includes(nodeId)) continue
      if (found === undefined || jobId < found.jobId) found = { jobId, stage }
    }
    return found
  }

  /** Everybody's maintenance of a node but one job's. */
  others(nodeId: NodeId, jobId: JobId): readonly MaintenanceMark[] {
    return [...this.#marks]
      .filter(([each, { nodeIds }]) => each !== jobId && nodeIds.includes(nodeId))
      .map(([each, { stage }]) => ({ jobId: each, stage }))
  }

  /** A node as placement is to see it. */
  over<N extends PlacementNode>(node: N): N {
    if (!this.#known) return node.liveness === 'dead' ? underMaintenance(node) : node
    return this.by(node.descriptor.nodeId) === undefined ? node : underMaintenance(node)
  }

  /** Stops following. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new KeelsonError('CLOSED', 'maintenance is not followed any more'))
    await this.stopped
  }

  async #follow(): Promise<KeelsonError | undefined> {
    const { signal } = this.#stop
    try {
      for await (const change of this.#jobs.watch({ signal })) {
        if (change.type === 'removed') this.#marks.delete(change.jobId)
        else if (change.type === 'changed') this.#take(change.job)
        else {
          this.#marks.clear()
          for (const job of change.jobs) this.#take(job)
          this.#known = true
        }
      }
    } catch (thrown) {
      if (!signal.aborted) this.#error = toKeelsonError(thrown)
    }
    this.#unlink()
    return this.#error
  }

  #take(job: Job): void {
    const absence = isFinished(job) ? undefined : absenceOf(job)
    if (absence === undefined) this.#marks.delete(job.jobId)
    else this.#marks.set(job.jobId, absence)
  }
}

function absenceOf(job: Job): Absence | undefined {
  // Nobody counts the time of a job that is paused: its nodes are as all others.
  if (job.status === 'paused') return undefined
  if (job.type === maintenanceForm.type) return maintenanceForm.decode(job.state).absence
  return job.type === restartForm.type ? restartForm.decode(job.state).absence : undefined
}
