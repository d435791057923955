import { checkArray, checkBytes } from '../core/arguments.ts'
import { compareBytes, hex, text, utf8 } from '../core/bytes.ts'
import { Fields, type Plain } from '../core/codec.ts'
import { KeelsonError } from '../core/errors.ts'
import { showValue } from '../core/options.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import type { JobContext, JobForm, JobType } from '../jobs/index.ts'
import { firstNumberSinceLoss, numberAfter } from '../metadata/index.ts'
import { counterKeys } from '../model/counter-keys.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { RangeId } from '../model/ids.ts'
import { RangeMap } from '../model/range-map.ts'
import { maximumVoters, type NewRange } from '../placement/index.ts'

/** Ranges to be made: a span of the key space, cut at some keys. */
export interface RangeCreation {
  /** First key of the span. */
  readonly start: Uint8Array
  /** Undefined: to the last key. */
  readonly end: Uint8Array | undefined
  /** Keys inside the span, ascending: each begins a range. */
  readonly splitKeys: readonly Uint8Array[]
  /** Voters of each range. */
  readonly replicas: number
}

/** Checkpoint of the job: what is wanted, and the first of the reserved range ids (0 before they are). */
export interface RangeCreationState {
  readonly creation: RangeCreation
  readonly firstRangeId: RangeId
}

/** What the job needs of the leader. */
export interface RangeCreationPorts {
  readonly store: MetadataStore
  /**
   * Places ranges and has them made.
   *
   * @throws KeelsonError `UNSUPPORTED` while there are too few nodes
   */
  readonly create: (ranges: readonly NewRange[], replicas: number, signal: AbortSignal) => Promise<void>
  /** The ranges as the directory has them now. */
  readonly list: (signal: AbortSignal) => Promise<readonly RangeDescriptor[]>
  /** The range that a key lies in, as the leader last heard. */
  readonly lookup: (key: Uint8Array) => RangeDescriptor | undefined
  /** Whether somebody holds the range's lease and serves. */
  readonly serves: (rangeId: RangeId) => boolean
}

const formatVersion = 1
const lastRangeIdKey = utf8(counterKeys.ranges)
const maximumSplitKeys = 10_000
const pollMs = 50

function encodeCreation({ creation, firstRangeId }: RangeCreationState): Plain {
  return [
    formatVersion,
    creation.start,
    creation.end ?? null,
    [...creation.splitKeys],
    creation.replicas,
    firstRangeId,
  ]
}

function decodeCreation(value: Plain): RangeCreationState {
  const fields = new Fields(value, 'a range creation')
  fields.oneOf('version', [formatVersion])
  return {
    creation: {
      start: fields.bytes('start').slice(),
      end: fields.optional((f) => f.bytes('end'))?.slice(),
      splitKeys: fields.scalars('split keys', (f) => f.bytes('key').slice()),
      replicas: fields.uint('replicas'),
    },
    firstRangeId: fields.uint('first range id'),
  }
}

/** How creations of ranges are written down as jobs. */
export const rangeCreationForm: JobForm<RangeCreationState> = Object.freeze({
  type: 'create-ranges',
  encode: encodeCreation,
  decode: decodeCreation,
})

/** The job that makes new ranges: places them, has them bootstrapped and waits until each is served. */
export class RangeCreationJob implements JobType<RangeCreationState> {
  readonly type: string = rangeCreationForm.type
  readonly encode: JobForm<RangeCreationState>['encode'] = encodeCreation
  readonly decode: JobForm<RangeCreationState>['decode'] = decodeCreation
  readonly #ports: RangeCreationPorts

  constructor(ports: RangeCreationPorts) {
    this.#ports = ports
  }

  async run(context: JobContext<RangeCreationState>): Promise<string> {
    checkCreation(context.state.creation)
    while (context.state.firstRangeId === 0 || (await this.#isOfBefore(context))) await this.#reserve(context)
    const { creation, firstRangeId } = context.state
    const starts = [creation.start, ...creation.splitKeys]
    const ranges = starts.map(
      (start, i): NewRange => ({ rangeId: firstRangeId + i, start, end: starts[i + 1] ?? creation.end }),
    )
    await this.#create(context, ranges)
    for (;;) {
      const waiting = ranges.filter((range) => !this.#isServed(range)).length
      if (waiting === 0) break
      context.progress(
        `${starts.length - waiting} of ${starts.length} ranges are served`,
        1 - waiting / starts.length,
      )
      await context.sleep(pollMs)
    }
    return `${starts.length} ranges from ${firstRangeId} on`
  }

  /** By where it lies: it may have been split since, or merged. */
  #isServed({ start, end }: NewRange): boolean {
    for (let at = start; ; ) {
      const part = this.#ports.lookup(at)
      if (part === undefined || !this.#ports.serves(part.rangeId)) return false
      if (part.end === undefined || (end !== undefined && compareBytes(end, part.end) <= 0)) return true
      at = part.end
    }
  }

  async #create(context: JobContext<RangeCreationState>, ranges: readonly NewRange[]): Promise<void> {
    for (;;) {
      const present = new RangeMap(await this.#ports.list(context.signal))
      // Where an earlier attempt made ranges, there are some, whatever has become of them: nobody else makes any there.
      const missing = ranges.filter(({ start }) => present.lookup(start) === undefined)
      if (missing.length === 0) return
      try {
        await this.#ports.create(missing, context.state.creation.replicas, context.signal)
        return
      } catch (error) {
        if (!KeelsonError.hasCode(error, 'UNSUPPORTED')) throw error
        // More nodes may join: the job waits for them.
        context.progress(error.message)
        await context.sleep(pollMs)
      }
    }
  }

  /** The ids were reserved before a loss, after which they may have been given out again, and no range has one of them here. */
  async #isOfBefore({ state, signal }: JobContext<RangeCreationState>): Promise<boolean> {
    const { firstRangeId, creation } = state
    const { revision } = await this.#ports.store.range({ key: lastRangeIdKey }, { signal })
    if (firstRangeId >= firstNumberSinceLoss(revision)) return false
    const beyond = firstRangeId + creation.splitKeys.length
    const ranges = await this.#ports.list(signal)
    return !ranges.some(({ rangeId }) => rangeId >= firstRangeId && rangeId <= beyond)
  }

  async #reserve(context: JobContext<RangeCreationState>): Promise<void> {
    const { creation } = context.state
    const { entries, revision } = await this.#ports.store.range(
      { key: lastRangeIdKey },
      { signal: context.signal },
    )
    const [last] = entries
    const firstRangeId = numberAfter(last === undefined ? 0 : Number(text(last.value)), revision)
    const value = utf8(String(firstRangeId + creation.splitKeys.length))
    await context.txn(
      {
        if: [{ key: lastRangeIdKey, target: 'modRevision', is: '=', operand: last?.modRevision ?? 0 }],
        then: [{ type: 'put', key: lastRangeIdKey, value }],
      },
      { creation, firstRangeId },
    )
  }
}

/** @throws KeelsonError `INVALID_ARGUMENT` */
export function checkReplicas(replicas: unknown): void {
  if (Number.isInteger(replicas) && (replicas as number) >= 1 && (replicas as number) <= maximumVoters) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `a range has 1 to ${maximumVoters} replicas, not ${showValue(replicas)}`,
  )
}

/** @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkCreation(creation: RangeCreation): void {
  checkReplicas(creation.replicas)
  const { start, end, splitKeys } = creation
  let last = start
  for (const key of checkArray(splitKeys, 'the keys that ranges are split at', maximumSplitKeys)) {
    checkBytes(key, 'a key that ranges are split at')
    if (compareBytes(last, key) < 0 && (end === undefined || compareBytes(key, end) < 0)) {
      last = key
      continue
    }
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `the keys that ranges are split at ascend and lie inside the table, but 0x${hex(key.subarray(0, 32))} does not`,
    )
  }
}
