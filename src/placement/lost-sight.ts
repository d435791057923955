import type { CallOptions } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { inSlices, type Sliced } from '../core/sliced.ts'
import { OrderedMap } from '../metadata/mvcc/ordered-map.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { RangeId } from '../model/ids.ts'
import { isLater, type RangesByStart, type Retiling, retilings } from './core/retiling.ts'
import { retilingStep } from './core/retiling-steps.ts'
import type { FleetFeed } from './fleet-feed.ts'
import { mayHaveEnded, type ProjectionPorts, sameBounds } from './range-projection.ts'
import { newestConfiguration, reportOfHolder } from './range-reports.ts'

/** Those who split and merge write it down themselves, in a moment. What stays for longer nobody will. */
const patienceMs = 5_000
/** Looking takes no more than one part in so many of the time. */
const idleParts = 20
/** Ranges that are looked at before others may go on. */
const lookedAtTogether = 64
/** Transactions of one round: what else a round does waits for them. */
const transactionsTogether = 64
/** Writes and compares of a transaction, with some room for nodes that were told of a range and hold it no more. */
const mostWrites = 900
const fewestWrites = 30

/** What a {@link LostSight} needs. */
export interface LostSightPorts extends ProjectionPorts {
  readonly env: Environment
  /** What the directory has, and what is reported otherwise. */
  readonly feed: Pick<FleetFeed, 'directory' | 'ahead' | 'unknown' | 'range'>
}

/** A part of the key space that the directory cannot follow, and why. */
export interface LostPart {
  /** The ranges that the directory has there; of many the first few. */
  readonly rangeIds: readonly RangeId[]
  /** For people. */
  readonly reason: string
}

interface Task {
  readonly retiling: Retiling
  readonly room: number
}

/**
 * Brings the directory up to splits and merges that it has lost sight of: it was recovered from a loss, or comes from a backup, and
 * whoever made them is not there any more to write them down one by one. All that is known is where the ranges lie now.
 *
 * It looks at what is reported otherwise, not at all that there is, and in slices; what is too much for one transaction or one
 * round takes several, and the directory tiles the key space after each.
 */
export class LostSight {
  readonly #ports: LostSightPorts
  /** What was found and is not written down; the next one comes last. */
  #tasks: Task[] = []
  #stuck: LostPart[] = []
  /** Parts that could not be followed when they were last looked at. */
  #lost: readonly LostPart[] = []
  #sinceMs: number
  #waitMs = patienceMs

  constructor(ports: LostSightPorts) {
    this.#ports = ports
    this.#sinceMs = ports.env.clock.monotonicMs()
  }

  /** Parts of the key space that the directory cannot follow: somebody has to look at them. */
  lost(): readonly LostPart[] {
    return this.#lost
  }

  /**
   * One round.
   *
   * @param behind whether a range has committed what the directory does not take, or is not in it
   * @returns the ranges that were written down
   */
  async round(behind: boolean, call: CallOptions): Promise<readonly RangeId[]> {
    const { clock } = this.#ports.env
    if (this.#tasks.length === 0) {
      const nowMs = clock.monotonicMs()
      if (!behind) {
        this.#sinceMs = nowMs
        this.#lost = []
      }
      if (nowMs - this.#sinceMs < this.#waitMs) return []
      const found = await inSlices(this.#search(), this.#ports.env, call)
      this.#tasks = found.map((retiling) => ({ retiling, room: mostWrites })).reverse()
      this.#sinceMs = clock.monotonicMs()
      this.#waitMs = Math.max(patienceMs, (this.#sinceMs - nowMs) * idleParts)
      this.#stuck = []
    }
    const written: RangeId[] = []
    for (let count = 0; count < transactionsTogether; count++) {
      const task = this.#tasks.pop()
      if (task === undefined) break
      written.push(...(await this.#carryOut(task, call)))
    }
    if (this.#tasks.length === 0) this.#lost = this.#stuck
    return written
  }

  /** Where ranges lie elsewhere than the directory says. */
  *#search(): Sliced<readonly Retiling[]> {
    const { feed } = this.#ports
    const directory = yield* feed.directory()
    const later = new OrderedMap<readonly RangeDescriptor[]>()
    let looked = 0
    const consider = function* (range: RangeDescriptor | undefined): Sliced<void> {
      if (++looked % lookedAtTogether === 0) yield
      if (range === undefined || !(yield* isLater(directory, range))) return
      later.set(range.start, [...(later.get(range.start) ?? []), range])
    }
    for (const { rangeId } of feed.ahead()) yield* consider(this.#reported(rangeId))
    for (const rangeId of feed.unknown()) yield* consider(this.#reported(rangeId))
    const found = yield* retilings(directory, later)
    // What has changed otherwise is written down for each range by itself.
    return found.filter(({ after }) => after.some((range) => !isInPlace(directory, range)))
  }

  /** What whoever leads a range has committed, where that is newer than what the directory has. */
  #reported(rangeId: RangeId): RangeDescriptor | undefined {
    const { observed, feed } = this.#ports
    const reports = observed(rangeId)
    const newest = newestConfiguration(reports)
    const before = feed.range(rangeId)
    const bounds = newest?.bounds ?? before
    if (newest === undefined || bounds === undefined) return undefined
    const { generation, replicas } = newest
    const isLed = reportOfHolder(reports)?.generation === generation
    if (!isLed || (before !== undefined && before.generation >= generation)) return undefined
    return { rangeId, start: bounds.start, end: bounds.end, generation, replicas }
  }

  async #carryOut({ retiling, room }: Task, call: CallOptions): Promise<readonly RangeId[]> {
    const { directory, epoch, observed, env } = this.#ports
    const step = await inSlices(retilingStep(retiling, room), env, call)
    if (step === undefined) {
      this.#cannot(
        retiling,
        `${retiling.after.length} ranges are more than one transaction takes, and their generations leave no room for steps in between`,
      )
      return []
    }
    const serves = step.ended.find((rangeId) => !mayHaveEnded(rangeId, observed))
    if (serves !== undefined) {
      this.#cannot(retiling, `others claim the keys of range ${serves}, which serves`)
      return []
    }
    try {
      await directory.retile(epoch, step.ended, step.next, call)
    } catch (error) {
      if (KeelsonError.hasCode(error, 'LIMIT_EXCEEDED')) {
        if (room > fewestWrites) this.#tasks.push({ retiling, room: Math.floor(room / 2) })
        else this.#cannot(retiling, error.message)
        return []
      }
      // The directory has moved on, or two reports do not go together: the next ones will.
      if (!KeelsonError.hasCode(error, 'INVALID_ARGUMENT', 'NOT_FOUND', 'CONFLICT')) throw error
      return []
    }
    for (const left of step.rest) this.#tasks.push({ retiling: left, room: mostWrites })
    return step.next.map(({ rangeId }) => rangeId)
  }

  #cannot({ before }: Retiling, reason: string): void {
    const rangeIds = before.slice(0, 10).map(({ rangeId }) => rangeId)
    this.#stuck.push({ rangeIds, reason })
    this.#ports.env.logger.warn(
      { rangeIds, reason },
      'the directory cannot follow these ranges: look at them',
    )
  }
}

/** Whether the directory has a range where it lies. */
function isInPlace(directory: RangesByStart, range: RangeDescriptor): boolean {
  const known = directory.get(range.start)
  return known?.rangeId === range.rangeId && sameBounds(known, range)
}
