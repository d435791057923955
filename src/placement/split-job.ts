import { hex } from '../core/bytes.ts'
import { Fields, type Plain } from '../core/codec.ts'
import { checkOptions } from '../core/options.ts'
import type { JobContext, JobType } from '../jobs/job-type.ts'
import { firstNumberSinceLoss } from '../metadata/index.ts'
import type { RangeId } from '../model/ids.ts'
import { isJoint } from '../model/replica-roles.ts'
import { BoundsAttempt, type BoundsJobPorts, boundsJobOptions } from './bounds-job.ts'
import { liesInside } from './core/load-sampler.ts'

/** Checkpoint of a split. Where it stands is asked of the ranges; this only tells what it is about. */
export interface SplitState {
  /** The range that is cut, and keeps what lies before the key. */
  readonly rangeId: RangeId
  /** First key of the right-hand range. */
  readonly key: Uint8Array
  /** Id of the right-hand range; 0 before one is reserved. */
  readonly rightRangeId: RangeId
}

/** Name of the job type of splits. */
export const splitJobType = 'placement.split'

/** A checkpoint as plain data. */
export function encodeSplitState({ rangeId, key, rightRangeId }: SplitState): Plain {
  return [rangeId, key, rightRangeId]
}

/** The inverse of {@link encodeSplitState}. @throws KeelsonError `MALFORMED` */
export function decodeSplitState(value: Plain): SplitState {
  const fields = new Fields(value, 'the state of a split')
  return {
    rangeId: fields.uint('rangeId'),
    key: fields.bytes('key').slice(),
    rightRangeId: fields.uint('rightRangeId'),
  }
}

/**
 * Splits as jobs. The range's log is the authority: the job asks for the split at the range's generation until the reports
 * show that it happened, which then is written down for both ranges in one transaction; by whom does not matter. The id of
 * the right-hand range is in the checkpoint before it is asked for, so a later owner of the job asks for the very same
 * split, which the range makes once.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function splitJob(ports: BoundsJobPorts): JobType<SplitState> {
  const checked = checkOptions<Required<BoundsJobPorts>>('splitJob', ports, boundsJobOptions)
  return {
    type: splitJobType,
    encode: encodeSplitState,
    decode: decodeSplitState,
    run: (context) => run(checked, context),
    revert: (context) => revert(checked, context),
  }
}

async function run(ports: Required<BoundsJobPorts>, context: JobContext<SplitState>): Promise<string> {
  const { rangeId, key } = context.state
  const what = `the split of range ${rangeId} at 0x${hex(key.subarray(0, 32))}`
  const attempt: BoundsAttempt = new BoundsAttempt(ports, context, what)
  const { directory, epoch } = ports
  for (;;) {
    const view = await attempt.look(rangeId)
    if (view === undefined) attempt.abandon('the directory has no such range any more')
    const { descriptor, newest, holder } = view
    const { rightRangeId } = context.state
    if (rightRangeId !== 0 && (await directory.get(rightRangeId, { signal: context.signal })) !== undefined)
      return outcome(rangeId, rightRangeId)
    const { generation } = descriptor
    if (newest?.splitOff !== undefined && newest.splitOff === rightRangeId) {
      await attempt.wait(`${generation} split`, 'the nodes of the right-hand range are to report it')
      continue
    }
    if (!liesInside(key, descriptor)) attempt.abandon('the key does not lie inside it any more')
    if (newest?.frozen !== undefined) attempt.abandon('it is about to be merged')
    if (isJoint(descriptor.replicas)) {
      await attempt.wait(`${generation} joint`, 'its voters are changing places')
      continue
    }
    if (holder === undefined) {
      const names = descriptor.replicas.map(({ nodeId }) => nodeId)
      await attempt.wait(`${generation} nobody`, 'nobody leads the range', names)
      continue
    }
    if (holder.bounds === undefined) attempt.abandon('its lease holder knows of no splits')
    // One that was reserved before a loss may have been given out again since, as nobody knows any more.
    if (rightRangeId < firstNumberSinceLoss(epoch.number)) {
      const reserved = await directory.reserveIds(epoch, 1, { signal: context.signal })
      await context.checkpoint({ ...context.state, rightRangeId: reserved })
      continue
    }
    await attempt.want(descriptor, { type: 'split', key, rightRangeId }, 'the range is to split')
  }
}

/** What was asked for may still happen, or has: then it stays, since a split cannot be taken back but by a merge. */
async function revert(ports: Required<BoundsJobPorts>, context: JobContext<SplitState>): Promise<string> {
  const { rangeId, rightRangeId } = context.state
  if (rightRangeId === 0) return 'nothing had been asked for'
  const attempt: BoundsAttempt = new BoundsAttempt(ports, context, `the split of range ${rangeId}`)
  await attempt.withdraw(rangeId)
  await context.sleep(ports.settleMs)
  await attempt.look(rangeId)
  const right = await ports.directory.get(rightRangeId, { signal: context.signal })
  return right === undefined ? 'the range is whole' : outcome(rangeId, rightRangeId)
}

function outcome(rangeId: RangeId, rightRangeId: RangeId): string {
  return `range ${rangeId} was split: ${rightRangeId} is its right-hand part`
}
