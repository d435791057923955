import type { CallOptions } from '../core/async.ts'
import type { CreateJobOptions, Job, JobId, Jobs, JobType } from '../jobs/index.ts'

/** Who hears of the jobs of the cluster. */
export interface JobListener {
  /** All jobs, at the beginning and after the watch had a gap. */
  all(jobs: readonly Job[]): void
  /** One that is new or has changed. */
  changed(job: Job): void
  /** One that was forgotten. */
  removed(jobId: JobId): void
}

/**
 * The jobs that a controller begins, and how much it has heard of them since: who decides before the watch has shown what
 * was begun decides the same once more.
 */
export class BegunJobs {
  readonly #jobs: Jobs
  #read = false
  /** The newest job that was created here, and the newest that the watch has shown. */
  #created: JobId = 0
  #seen: JobId = 0

  constructor(jobs: Jobs) {
    this.#jobs = jobs
  }

  /** The watch has shown all jobs, and each that was begun here. */
  isCurrent(): boolean {
    return this.#read && this.#seen >= this.#created
  }

  /** @returns the job; undefined when one with this key is under way already */
  async begin<State>(
    type: JobType<State>,
    state: State,
    options: CreateJobOptions,
  ): Promise<Job | undefined> {
    const { job, created } = await this.#jobs.create(type, state, options)
    this.#created = Math.max(this.#created, job.jobId)
    return created ? job : undefined
  }

  /** Follows all jobs until the signal is aborted. */
  async follow(listener: JobListener, options: CallOptions): Promise<void> {
    for await (const change of this.#jobs.watch(options)) {
      if (change.type === 'removed') listener.removed(change.jobId)
      else if (change.type === 'changed') {
        listener.changed(change.job)
        this.#seen = Math.max(this.#seen, change.job.jobId)
      } else {
        listener.all(change.jobs)
        this.#seen = this.#created
        this.#read = true
      }
    }
  }
}
