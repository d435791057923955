import type { Plain } from '../../core/codec.ts'
import { type ErrorDetails, KeelsonError } from '../../core/errors.ts'
import { isFinished, type Job, type JobProgress, type JobWish } from './record.ts'

/** Longest message of an error that a job remembers, in characters. */
const maximumMessageLength = 4096

/** What an owner says when it writes a job. */
export interface OwnerStamp {
  readonly epoch: number
  readonly wallMs: number
  /** Random, one for each write that is meant. */
  readonly mark: number
}

/** A job as its owner writes it: any write shows who wrote. */
function written(job: Job, owner: OwnerStamp, change: Partial<Job>): Job {
  return { ...job, ...change, epoch: owner.epoch, mark: owner.mark, changedAtMs: owner.wallMs }
}

function without<K extends keyof Job>(job: Job, ...keys: readonly K[]): Job {
  const copy: Record<string, unknown> = { ...job }
  for (const key of keys) delete copy[key]
  return copy as unknown as Job
}

/** An owner takes a job up, for the first time or after a crash, a retry or a change of leader. */
export function started(job: Job, owner: OwnerStamp): Job {
  const status = job.status === 'reverting' ? 'reverting' : 'running'
  return written(job, owner, { status, attempts: job.attempts + 1 })
}

/** The job has come further: what failed before no longer counts. */
export function checkpointed(
  job: Job,
  owner: OwnerStamp,
  state: Plain,
  progress: JobProgress | undefined,
  waitingFor: readonly string[],
): Job {
  return written(job, owner, {
    state,
    failures: 0,
    waitingFor,
    ...(progress === undefined ? {} : { progress }),
  })
}

/** Only what people see has changed. */
export function noted(
  job: Job,
  owner: OwnerStamp,
  progress: JobProgress | undefined,
  waitingFor: readonly string[],
): Job {
  return written(job, owner, { waitingFor, ...(progress === undefined ? {} : { progress }) })
}

/** The step failed and will be tried again. */
export function retrying(job: Job, owner: OwnerStamp, error: KeelsonError): Job {
  return written(job, owner, {
    failures: job.failures + 1,
    lastError: {
      code: error.code,
      message: error.message.slice(0, maximumMessageLength),
      atMs: owner.wallMs,
    },
  })
}

/** The job gives up, or is told to: from here on it is undone, whatever happens. */
export function reverting(
  job: Job,
  owner: OwnerStamp,
  ending: 'failed' | 'cancelled',
  error?: KeelsonError,
): Job {
  return written(job, owner, {
    status: 'reverting',
    ending,
    failures: 0,
    waitingFor: [],
    ...(error === undefined
      ? {}
      : {
          lastError: {
            code: error.code,
            message: error.message.slice(0, maximumMessageLength),
            atMs: owner.wallMs,
          },
        }),
  })
}

/** The owner follows the wish that stands in the record. */
export function obeyed(job: Job, owner: OwnerStamp): Job {
  if (job.status === 'reverting') return written(job, owner, {})
  if (job.wish === 'cancel') return reverting(job, owner, 'cancelled')
  if (job.wish === 'pause') return written(job, owner, { status: 'paused', waitingFor: ['resume'] })
  return written(job, owner, {})
}

/** The end. */
export function finished(
  job: Job,
  owner: OwnerStamp,
  status: 'succeeded' | 'failed' | 'cancelled',
  outcome: string,
): Job {
  return written(job, owner, { status, outcome, waitingFor: [] })
}

/**
 * What a person wants of the job. The same object comes back when that is so already.
 *
 * @throws KeelsonError `CONFLICT` when the job can no longer follow
 */
export function wished(job: Job, wish: JobWish, reason: string, wallMs: number): Job {
  if (job.wish === wish) return job
  const details: ErrorDetails = { jobId: job.jobId, status: job.status }
  if (isFinished(job)) {
    throw new KeelsonError('CONFLICT', `job ${job.jobId} has ended already: it ${endedHow(job)}`, {
      retryable: false,
      details,
    })
  }
  if (job.wish === 'cancel' || job.status === 'reverting') {
    throw new KeelsonError(
      'CONFLICT',
      `job ${job.jobId} is being undone, which cannot be stopped; wait until it has ended`,
      { retryable: false, details },
    )
  }
  const next: Job = { ...job, wish, wishReason: reason, changedAtMs: wallMs }
  if (wish !== 'run') return next
  // A job that has not noticed its pause yet simply goes on.
  if (next.status !== 'paused') return without(next, 'wishReason')
  return { ...without(next, 'wishReason'), status: 'queued', failures: 0, waitingFor: [] }
}

function endedHow(job: Job): string {
  return job.status === 'cancelled' ? 'was cancelled' : job.status
}
