import { equalBytes } from '../core/bytes.ts'
import { Fields, type Plain } from '../core/codec.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkOptions } from '../core/options.ts'
import type { ObservedReplica } from '../interfaces/range-host.ts'
import type { JobContext, JobType } from '../jobs/job-type.ts'
import type { RangeId } from '../model/ids.ts'
import { isJoint } from '../model/replica-roles.ts'
import { BoundsAttempt, type BoundsJobPorts, type BoundsView, boundsJobOptions } from './bounds-job.ts'

/** Checkpoint of a merge. Where it stands is asked of the ranges; this only tells what it is about. */
export interface MergeState {
  /** The range that stays. */
  readonly leftRangeId: RangeId
  /** Its right-hand neighbour, which it takes in. */
  readonly rightRangeId: RangeId
}

/** Name of the job type of merges. */
export const mergeJobType = 'placement.merge'

/** A checkpoint as plain data. */
export function encodeMergeState({ leftRangeId, rightRangeId }: MergeState): Plain {
  return [leftRangeId, rightRangeId]
}

/** The inverse of {@link encodeMergeState}. @throws KeelsonError `MALFORMED` */
export function decodeMergeState(value: Plain): MergeState {
  const fields = new Fields(value, 'the state of a merge')
  return { leftRangeId: fields.uint('leftRangeId'), rightRangeId: fields.uint('rightRangeId') }
}

/** What to do next for a merge. */
export type MergeStep =
  | {
      /** A change is to be asked of one of the two. */
      readonly type: 'freeze' | 'merge' | 'touch' | 'thaw'
    }
  | {
      /** Nothing can be asked for yet, nothing is left to do, or it makes no sense any more. */
      readonly type: 'wait' | 'done' | 'abandon'
      /** Why, in one line. */
      readonly why: string
    }

/**
 * The next step of a merge, from what the two ranges report. Pure and level-triggered.
 *
 * The log of the left-hand range decides: it merges a range that was frozen for its present generation, and never one that
 * was frozen for an earlier one. So a freeze whose merge is not to be is ended in two steps: the left-hand range gets a
 * later generation (`touch`), and only then the frozen one thaws.
 *
 * @param leftRangeId the range that is to stay, whether the directory has it still or not
 * @param forward false to take it back
 */
export function mergeStep(
  leftRangeId: RangeId,
  left: BoundsView | undefined,
  right: BoundsView | undefined,
  forward: boolean,
  leftHasEnded = true,
): MergeStep {
  if (right === undefined) return { type: 'done', why: 'it was merged' }
  const now: ObservedReplica | undefined = right.newest
  const { descriptor: r } = right
  if (now === undefined) return { type: 'wait', why: 'the nodes are to report the right-hand range' }
  const { frozen } = now
  // Only that neighbour's log can rule its merge out, and whoever works on that one asks it.
  if (frozen !== undefined && frozen.into !== leftRangeId)
    return {
      type: forward ? 'abandon' : 'done',
      why: `range ${r.rangeId} is frozen for range ${frozen.into}`,
    }
  if (frozen === undefined && !forward) return { type: 'done', why: 'the ranges are as they were' }
  if (left === undefined) {
    if (frozen === undefined) return { type: 'abandon', why: 'the left-hand range is no more' }
    // It was merged itself, and so frozen before: since then it takes nothing in any more.
    if (leftHasEnded) return { type: 'thaw' }
    return {
      type: 'wait',
      why: 'the directory has lost sight of the left-hand range, which may have taken it in',
    }
  }
  const { descriptor: l } = left
  if (left.newest === undefined) return { type: 'wait', why: 'the nodes are to report the left-hand range' }
  if (frozen === undefined) {
    if (l.end === undefined || !equalBytes(l.end, r.start))
      return { type: 'abandon', why: 'they are no neighbours any more' }
    if (left.newest.frozen !== undefined)
      return { type: 'abandon', why: `range ${l.rangeId} is about to be merged itself` }
    if (isJoint(l.replicas) || isJoint(r.replicas))
      return { type: 'wait', why: 'the voters of one of them are changing places' }
    return { type: 'freeze' }
  }
  if (frozen.intoGeneration < l.generation) return { type: 'thaw' }
  if (frozen.intoGeneration > l.generation)
    return { type: 'wait', why: `range ${l.rangeId} is to report its generation ${frozen.intoGeneration}` }
  return { type: forward ? 'merge' : 'touch' }
}

/**
 * Merges as jobs: the right-hand range is frozen through its own log, then the log of the left-hand one takes it in. Each
 * step is decided by what the two report, so it does not matter who made the steps before; one that is cancelled, or fails,
 * leaves nothing frozen.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function mergeJob(ports: BoundsJobPorts): JobType<MergeState> {
  const checked = checkOptions<Required<BoundsJobPorts>>('mergeJob', ports, boundsJobOptions)
  return {
    type: mergeJobType,
    encode: encodeMergeState,
    decode: decodeMergeState,
    run: (context) => drive(checked, context, true),
    revert: (context) => takeBack(checked, context),
  }
}

/** Whoever gave the merge up wants to see it ended: a range that cannot be reached is thawed when it can be. */
async function takeBack(ports: Required<BoundsJobPorts>, context: JobContext<MergeState>): Promise<string> {
  try {
    return await drive(ports, context, false)
  } catch (error) {
    if (!KeelsonError.hasCode(error, 'TIMEOUT')) throw error
    return `the ranges did not answer in time; what is frozen is thawed as soon as they do (${error.message})`
  }
}

async function drive(
  ports: Required<BoundsJobPorts>,
  context: JobContext<MergeState>,
  forward: boolean,
): Promise<string> {
  const { leftRangeId, rightRangeId } = context.state
  const attempt: BoundsAttempt = new BoundsAttempt(
    ports,
    context,
    `the merge of range ${rightRangeId} into range ${leftRangeId}`,
  )
  let settled = forward
  let thawed = false
  for (;;) {
    // First the left-hand one: by its report the right-hand one leaves the directory.
    const left = await attempt.look(leftRangeId)
    const right = await attempt.look(rightRangeId)
    const ended =
      left === undefined && (await ports.directory.hasEnded(leftRangeId, { signal: context.signal }))
    const step = mergeStep(leftRangeId, left, right, forward && !thawed, ended)
    const at = `${left?.descriptor.generation ?? 0}/${right?.descriptor.generation ?? 0} ${step.type}`
    switch (step.type) {
      case 'done':
        if (right !== undefined && !settled) {
          // It may have been asked to freeze, and be doing so at this moment.
          settled = true
          await attempt.withdraw(rightRangeId)
          await context.sleep(ports.settleMs)
          continue
        }
        if (right === undefined) await tidy(ports, context)
        else if (thawed && forward)
          attempt.abandon('the left-hand range changed while the other one was frozen')
        return step.why
      case 'abandon':
        attempt.abandon(step.why)
        break
      case 'wait':
        await attempt.wait(at, step.why)
        break
      case 'freeze': {
        if (left === undefined || right === undefined) break
        const { rangeId, generation } = left.descriptor
        const freeze = { type: 'freeze', into: rangeId, intoGeneration: generation } as const
        await attempt.want(right.descriptor, freeze, 'the right-hand range is to freeze')
        break
      }
      case 'merge': {
        if (left === undefined || right === undefined) break
        const { rangeId, generation } = right.descriptor
        const merge = { type: 'merge', rightRangeId: rangeId, rightGeneration: generation } as const
        await attempt.want(left.descriptor, merge, 'the left-hand range is to take the other one in')
        break
      }
      case 'touch':
        if (left === undefined) break
        await attempt.want(left.descriptor, { type: 'touch' }, 'the left-hand range is to rule the merge out')
        break
      case 'thaw':
        thawed = true
        if (right !== undefined)
          await attempt.want(right.descriptor, { type: 'thaw' }, 'the right-hand range is to go on')
        break
    }
  }
}

/** Forgets what the nodes of the merged range were told, as soon as they have dropped it. */
async function tidy(ports: Required<BoundsJobPorts>, context: JobContext<MergeState>): Promise<void> {
  const { directory, epoch, env, observed, isLive, pollIntervalMs, tidyTimeoutMs } = ports
  const { rightRangeId } = context.state
  const { signal } = context
  const untilMs = env.clock.monotonicMs() + tidyTimeoutMs
  for (;;) {
    const left = observed(rightRangeId).map(({ nodeId }) => nodeId)
    const told = await directory.told(rightRangeId, { signal })
    // A node that cannot be asked keeps what it was told, and drops its replica when it comes back.
    const gone = told.filter((nodeId) => isLive(nodeId) && !left.includes(nodeId))
    if (left.length === 0)
      for (const nodeId of gone) await directory.forget(epoch, nodeId, rightRangeId, { signal })
    if (left.length === 0 || env.clock.monotonicMs() >= untilMs) return
    context.waitFor(left)
    await context.sleep(pollIntervalMs)
  }
}
