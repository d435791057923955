import { utf8 } from '../../core/bytes.ts'
import type { KeySelector } from '../../interfaces/metadata-store.ts'
import { counterKeys } from '../../model/counter-keys.ts'
import type { JobId } from './record.ts'

/** Key of a job's record. */
export function jobKey(jobId: JobId): Uint8Array {
  return utf8(`/jobs/${String(jobId).padStart(16, '0')}`)
}

/** All jobs' records. What is beside them below `/jobs/` starts with a letter. */
export const allJobs: KeySelector = Object.freeze({ key: utf8('/jobs/0'), end: utf8('/jobs/:') })

/** Holds the number of the last job that was created. */
export const lastJobKey: Uint8Array = utf8(counterKeys.jobs)

/** Present while an unfinished job of the type has the key; the value is the job's key in the store. */
export function uniqueKey(type: string, key: string): Uint8Array {
  return utf8(`/jobs/unique/${type}/${key}`)
}
