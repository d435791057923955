/**
 * Durable operations: persistent, resumable steps, fenced by the epoch of their owner, with pause, resume, cancel and
 * progress. Moves, schema changes and rollouts are jobs.
 *
 * @module
 */
export {
  isFinished,
  type Job,
  type JobError,
  type JobId,
  type JobProgress,
  type JobStatus,
  type JobWish,
} from './core/record.ts'
export { follow, keepFollowing } from './follow.ts'
export type { Fence, JobContext, JobForm, JobType } from './job-type.ts'
export {
  type CreateJobOptions,
  defaultJobsLimits,
  type JobChange,
  Jobs,
  type JobsLimits,
  type JobsOptions,
} from './jobs.ts'
export { defaultJobRunnerTuning, JobRunner, type JobRunnerOptions, type JobRunnerTuning } from './runner.ts'
