import { copyBytes } from '../../core/bytes.ts'
import { decodePlain, encodePlain, Fields, type Plain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'

/** A job's number, from 1, in the order of creation. Never reused. */
export type JobId = number

/**
 * Where a job stands.
 *
 * - `queued`: nobody has begun it, or it was resumed.
 * - `running`: its owner works on it, or the next owner will go on from its last checkpoint.
 * - `reverting`: it was cancelled or failed for good, and what it did is being undone.
 * - `paused`: it waits for `resume`.
 * - `succeeded`, `failed`, `cancelled`: it has ended and never changes again.
 */
export type JobStatus = 'queued' | 'running' | 'reverting' | 'paused' | 'succeeded' | 'failed' | 'cancelled'

const jobStatuses: readonly JobStatus[] = [
  'queued',
  'running',
  'reverting',
  'paused',
  'succeeded',
  'failed',
  'cancelled',
]

/**
 * What people want of a job. Its owner follows at its next await.
 *
 * - `run`: to be done; the wish that a job begins with, and that `resume` brings back.
 * - `pause`: to stand still at its last checkpoint until it is resumed.
 * - `cancel`: to be undone and to end as `cancelled`. It is never taken back.
 */
export type JobWish = 'run' | 'pause' | 'cancel'

const jobWishes: readonly JobWish[] = ['run', 'pause', 'cancel']

/** How far a job has come. */
export interface JobProgress {
  /** One line for a person. */
  readonly message: string
  /** From 0 to 1, when it is known. */
  readonly fraction?: number
}

/** An error as a job remembers it. */
export interface JobError {
  /** A code of `KeelsonError`. */
  readonly code: string
  /** What happened, for people. */
  readonly message: string
  /** Wall time, for people. */
  readonly atMs: number
}

/** A durable operation: everything that is known of it. */
export interface Job {
  /** Its number, from 1, in the order of creation. */
  readonly jobId: JobId
  /** Name of its {@link JobType}. */
  readonly type: string
  /** At most one unfinished job of a type has this key. */
  readonly key?: string
  /** Why it was created. */
  readonly reason: string
  /** Where it stands. */
  readonly status: JobStatus
  /** What people want of it; its owner follows. */
  readonly wish: JobWish
  /** Why it was paused or cancelled, when it was. */
  readonly wishReason?: string
  /** The last checkpoint, as its type encoded it. */
  readonly state: Plain
  /** How far it has come, when its type tells. */
  readonly progress?: JobProgress
  /** Whom it waits for, by name. */
  readonly waitingFor: readonly string[]
  /** How often an owner began or took up its work. */
  readonly attempts: number
  /** Failures since the last checkpoint. */
  readonly failures: number
  /** The failure of the last attempt that failed. */
  readonly lastError?: JobError
  /** How it will end when it is reverting. */
  readonly ending?: 'failed' | 'cancelled'
  /** What came of it, in one line. */
  readonly outcome?: string
  /** Wall times, for people. */
  readonly createdAtMs: number
  /** Wall time of the last change. */
  readonly changedAtMs: number
  /** Epoch of the owner that wrote last; 0 before the first. */
  readonly epoch: number
  /** Drawn at random for each write: tells a writer whether a write of unknown outcome has arrived. */
  readonly mark: number
}

/** True when a job has ended. */
export function isFinished(job: Job): boolean {
  return job.status === 'succeeded' || job.status === 'failed' || job.status === 'cancelled'
}

const formatVersion = 1

/** Encodes a job for the store. */
export function encodeJob(job: Job): Uint8Array {
  return encodePlain([
    formatVersion,
    job.jobId,
    job.type,
    job.key ?? null,
    job.reason,
    job.status,
    job.wish,
    job.wishReason ?? null,
    job.state,
    job.progress === undefined ? null : [job.progress.message, job.progress.fraction ?? null],
    job.waitingFor,
    job.attempts,
    job.failures,
    job.lastError === undefined ? null : [job.lastError.code, job.lastError.message, job.lastError.atMs],
    job.ending ?? null,
    job.outcome ?? null,
    job.createdAtMs,
    job.changedAtMs,
    job.epoch,
    job.mark,
  ])
}

/** The inverse of {@link encodeJob}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeJob(bytes: Uint8Array): Job {
  const fields = new Fields(decodePlain(copyBytes(bytes), 'a job'), 'a job')
  const version = fields.uint('version')
  if (version !== formatVersion) {
    throw new KeelsonError(
      'FORMAT_VERSION',
      `a job has format ${version}, this release knows ${formatVersion}; upgrade this process first`,
    )
  }
  const jobId = fields.uint('jobId')
  const type = fields.string('type')
  const key = fields.optional((f) => f.string('key'))
  const reason = fields.string('reason')
  const status = fields.oneOf('status', jobStatuses)
  const wish = fields.oneOf('wish', jobWishes)
  const wishReason = fields.optional((f) => f.string('wishReason'))
  const state = fields.plain()
  const progress = fields.optional((f) => decodeProgress(f.nested('progress')))
  const waitingFor = fields.scalars('waitingFor', (f) => f.string('name'))
  const attempts = fields.uint('attempts')
  const failures = fields.uint('failures')
  const lastError = fields.optional((f) => {
    const error = f.nested('lastError')
    return { code: error.string('code'), message: error.string('message'), atMs: error.number('atMs') }
  })
  const ending = fields.optional((f) => f.oneOf('ending', ['failed', 'cancelled']))
  const outcome = fields.optional((f) => f.string('outcome'))
  return {
    jobId,
    type,
    ...(key === undefined ? {} : { key }),
    reason,
    status,
    wish,
    ...(wishReason === undefined ? {} : { wishReason }),
    state,
    ...(progress === undefined ? {} : { progress }),
    waitingFor,
    attempts,
    failures,
    ...(lastError === undefined ? {} : { lastError }),
    ...(ending === undefined ? {} : { ending }),
    ...(outcome === undefined ? {} : { outcome }),
    createdAtMs: fields.number('createdAtMs'),
    changedAtMs: fields.number('changedAtMs'),
    epoch: fields.uint('epoch'),
    mark: fields.uint('mark'),
  }
}

function decodeProgress(fields: Fields): JobProgress {
  const message = fields.string('message')
  const fraction = fields.optional((f) => f.number('fraction'))
  return fraction === undefined ? { message } : { message, fraction }
}
