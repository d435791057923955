import { checkText } from '../../core/arguments.ts'
import type { CallOptions } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkCall } from '../../core/options.ts'
import type { MetadataStore } from '../../interfaces/metadata-store.ts'
import type { Job } from '../../jobs/core/record.ts'
import { Jobs } from '../../jobs/jobs.ts'
import type { NodeId } from '../../model/ids.ts'
import {
  checkBound,
  checkNodes,
  checkTarget,
  type EvacuationTarget,
  evacuationForm,
  maintenanceForm,
  maximumOperatedNodes,
  newMaintenance,
  restartForm,
} from './state.ts'

/** Why an operation is begun. */
export interface OperationCall extends CallOptions {
  /** For people. */
  readonly reason: string
}

/** Options of {@link NodeOperations.maintenance}. */
export interface MaintenanceCall extends OperationCall {
  /** How long the nodes may be away before what they hold counts as lost. */
  readonly boundMs: number
  /** Ranges that would lose their quorum by it do not stand in the way. Default: false. */
  readonly force?: boolean
}

/** Options of {@link NodeOperations.rollingRestart}. */
export interface RestartCall extends OperationCall {
  /** How long each node may be away. */
  readonly boundMs: number
  /** Nodes that go down together at most, where every range bears it. Default: 1. */
  readonly atOnce?: number
}

/**
 * Planned operations on nodes, for anybody who can reach the store. Each is a job: `Jobs` tells how far it is, what it
 * waits for by name, and cancels it.
 */
export class NodeOperations {
  readonly #jobs: Jobs

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(options: { readonly env: Environment; readonly store: MetadataStore }) {
    this.#jobs = new Jobs(options)
  }

  /**
   * Takes nodes into maintenance: their leases leave, their replicas stay, and nothing of theirs is repaired until the bound
   * has passed. The job says when they may go down, and ends when they are back.
   *
   * @throws KeelsonError `INVALID_ARGUMENT`
   */
  async maintenance(nodeIds: readonly NodeId[], options: MaintenanceCall): Promise<Job> {
    checkCall('maintenance', options, ['reason', 'boundMs', 'force'])
    const { boundMs, force = false, ...call } = options
    if (typeof force !== 'boolean')
      throw new KeelsonError('INVALID_ARGUMENT', 'force of a maintenance is true or false')
    const state = newMaintenance(nodeIds, boundMs, force)
    const { job } = await this.#jobs.create(maintenanceForm, state, checkReason(call))
    return job
  }

  /**
   * Restarts nodes in the order given, each group when the one before is back. One rolling restart runs at a time.
   *
   * @throws KeelsonError `INVALID_ARGUMENT`, `CONFLICT` while another one runs
   */
  async rollingRestart(nodeIds: readonly NodeId[], options: RestartCall): Promise<Job> {
    checkCall('rollingRestart', options, ['reason', 'boundMs', 'atOnce'])
    const { boundMs, atOnce = 1, ...call } = options
    checkNodes(nodeIds)
    checkBound(boundMs)
    if (!Number.isSafeInteger(atOnce) || atOnce < 1 || atOnce > maximumOperatedNodes)
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `atOnce of a rolling restart is an integer from 1 to ${maximumOperatedNodes}`,
      )
    const state = { boundMs, atOnce, done: [], absence: undefined, queue: [...new Set(nodeIds)] }
    const { job, created } = await this.#jobs.create(restartForm, state, {
      ...checkReason(call),
      key: 'cluster',
    })
    if (created) return job
    throw new KeelsonError(
      'CONFLICT',
      `job ${job.jobId} is a rolling restart already (${job.reason}); wait for it or cancel it`,
      { retryable: false, details: { jobId: job.jobId } },
    )
  }

  /**
   * Empties nodes, or all nodes of a rack or zone. They stay drained, until `Nodes.undrain` or a cancellation of the job.
   *
   * @throws KeelsonError `INVALID_ARGUMENT`
   */
  async evacuate(target: EvacuationTarget, options: OperationCall): Promise<Job> {
    checkCall('evacuate', options, ['reason'])
    const state = { target: checkTarget(target), nodeIds: [], ours: [], replicas: 0 }
    const { job } = await this.#jobs.create(evacuationForm, state, checkReason(options))
    return job
  }
}

function checkReason<T extends OperationCall>(options: T): T {
  checkText(options.reason, 'the reason, for people to read,', 1024)
  return options
}
