import type { CallOptions } from '../core/async.ts'
import { text, utf8 } from '../core/bytes.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkOptions, functionOption, integerOption, objectOption } from '../core/options.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import type { RangeBounds } from '../interfaces/range-host.ts'
import type { SchemaChunk, SchemaHost, TableDescriptor } from '../interfaces/schema-host.ts'
import type { JobContext, JobForm, JobType } from '../jobs/index.ts'
import { numberAfter } from '../metadata/index.ts'
import type { NodeId, RangeId, TableId } from '../model/ids.ts'
import { SchemaCatalog, type StoredTable } from './catalog.ts'
import {
  type ChangePhase,
  type ChangeState,
  decodeChangeState,
  encodeChangeState,
  noProgress,
  type RangeProgress,
} from './change-state.ts'
import { allSchemaLeases, decodeUse, encodeTable, lastSchemaIdKey, tableKey } from './core/records.ts'
import { coversRange, withSpan } from './core/spans.ts'
import { elementById, planChange, stepElement, withoutElement } from './core/transitions.ts'

/** What a schema change needs of the rest of the control plane. */
export interface SchemaChangePorts {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where tables, leases and jobs are kept. */
  readonly store: MetadataStore
  /** The ranges that hold rows of a table, now. */
  readonly ranges: (tableId: TableId, options: CallOptions) => Promise<readonly SchemaRange[]>
  /** Reaches the lease holder of a chunk's range. */
  readonly host: SchemaHost
  /** Whether a node holds its epoch. One that does not is fenced rather than waited for. */
  readonly isLive: (nodeId: NodeId) => boolean
}

/** Tuning of schema changes. */
export interface SchemaChangeTuning {
  /** Rows in a chunk of backfill, validation or purge. */
  readonly chunkRows: number
  /** Chunks under way at once, each in another range. */
  readonly parallelChunks: number
  /** How long a node without an epoch is waited for before its schema lease is revoked. */
  readonly laggardGraceMs: number
  /** How often the nodes' schema leases are looked at while waiting. */
  readonly pollIntervalMs: number
}

/** Used when nothing else is given. */
export const defaultSchemaChangeTuning: SchemaChangeTuning = Object.freeze({
  chunkRows: 1000,
  parallelChunks: 8,
  laggardGraceMs: 2000,
  pollIntervalMs: 50,
})

/** Completes and checks the tuning of schema changes. @throws KeelsonError `INVALID_OPTION` */
export function checkSchemaChangeTuning(tuning: Partial<SchemaChangeTuning> = {}): SchemaChangeTuning {
  const d = defaultSchemaChangeTuning
  return checkOptions<SchemaChangeTuning>('schema changes', tuning, {
    chunkRows: integerOption({ min: 1, max: 1_000_000, fallback: d.chunkRows }),
    parallelChunks: integerOption({ min: 1, max: 10_000, fallback: d.parallelChunks }),
    laggardGraceMs: integerOption({ min: 0, fallback: d.laggardGraceMs }),
    pollIntervalMs: integerOption({ min: 1, fallback: d.pollIntervalMs }),
  })
}

/** A range of a table, and where it lies. */
export interface SchemaRange extends RangeBounds {
  /** The range. */
  readonly rangeId: RangeId
}

/** Retries of one chunk before the job itself backs off. */
const chunkAttempts = 20
const chunkRetryMs = 150

type Context = JobContext<ChangeState>

/** How schema changes are written down as jobs. */
export const schemaChangeForm: JobForm<ChangeState> = Object.freeze({
  type: 'schema-change',
  encode: encodeChangeState,
  decode: decodeChangeState,
})

/** The job that runs one online schema change, state by state (F1, VLDB 2013). */
export class SchemaChangeJob implements JobType<ChangeState> {
  readonly type: string = schemaChangeForm.type
  readonly encode: JobForm<ChangeState>['encode'] = encodeChangeState
  readonly decode: JobForm<ChangeState>['decode'] = decodeChangeState
  readonly #ports: SchemaChangePorts
  readonly #tuning: SchemaChangeTuning
  readonly #catalog: SchemaCatalog

  /** Give it to the job runner of the leader whose ports these are. @throws KeelsonError `INVALID_OPTION` */
  constructor(ports: SchemaChangePorts, tuning: Partial<SchemaChangeTuning> = {}) {
    this.#ports = checkOptions<SchemaChangePorts>('SchemaChangeJob', ports, {
      env: objectOption<Environment>(['clock', 'timers', 'random']),
      store: objectOption<MetadataStore>(['get', 'range', 'txn', 'watch', 'revokeSession']),
      ranges: functionOption<SchemaChangePorts['ranges']>(),
      host: objectOption<SchemaHost>(['barrier', 'backfill', 'validate', 'purge']),
      isLive: functionOption<SchemaChangePorts['isLive']>(),
    })
    this.#tuning = checkSchemaChangeTuning(tuning)
    const { store, env } = this.#ports
    this.#catalog = new SchemaCatalog({ store, env })
  }

  /** Walks the element from its checkpoint to its target. */
  async run(context: JobContext<ChangeState>): Promise<string> {
    return this.#walk(context)
  }

  /** Walks the element back to where it came from: the same steps, since the path is safe in both directions. */
  async revert(context: JobContext<ChangeState>): Promise<string> {
    const { state } = context
    if (state.elementId === 0) return 'nothing had been changed'
    const adds = state.change.type === 'addIndex' || state.change.type === 'addColumn'
    const target = adds ? 'absent' : 'public'
    if (state.target !== target) {
      // Whatever was published last may not be adopted yet: nothing follows it before it is.
      await context.checkpoint({ ...state, target, phase: 'adopt', progress: noProgress })
    }
    return this.#walk(context)
  }

  async #walk(context: Context): Promise<string> {
    for (;;) {
      switch (context.state.phase) {
        case 'plan':
          await this.#plan(context)
          break
        case 'publish':
          await this.#publish(context)
          break
        case 'adopt':
          await this.#adopt(context)
          break
        case 'barrier':
          await this.#overRanges(context, await this.#afterBarrier(context), async (chunk, options) => {
            await this.#ports.host.barrier(chunk, options)
            return { resumeAt: undefined, rows: 0 }
          })
          break
        case 'backfill':
          await this.#overRanges(context, 'validate', (chunk, options) =>
            this.#ports.host.backfill(chunk, options),
          )
          break
        case 'validate':
          await this.#overRanges(context, 'publish', async (chunk, options) => {
            const found = await this.#ports.host.validate(chunk, options)
            if (found.missing === 0 && found.orphans === 0) return found
            throw new KeelsonError(
              'CORRUPTION',
              `element ${chunk.elementId} of table ${chunk.table.name} does not fit its rows in range ${chunk.rangeId}: ` +
                `${found.missing} entries missing, ${found.orphans} without a row`,
            )
          })
          break
        case 'purge':
          await this.#overRanges(
            context,
            'remove',
            (chunk, options) => this.#ports.host.purge(chunk, options),
            {
              purged: true,
            },
          )
          break
        case 'remove':
          await this.#remove(context)
          break
        case 'done':
          return `${context.state.change.name} is ${context.state.target} as of version ${context.state.version}`
      }
    }
  }

  async #plan(context: Context): Promise<void> {
    const { state } = context
    const stored = await this.#table(context)
    const { signal } = context
    const { entries, revision } = await this.#ports.store.range({ key: lastSchemaIdKey }, { signal })
    const [last] = entries
    const elementId = numberAfter(last === undefined ? 0 : Number(text(last.value)), revision)
    const planned = planChange(stored.table, state.change, elementId)
    const next = stepElement(planned.table, planned.elementId, planned.target)
    await context.txn(
      {
        if: [
          { key: tableKey(state.tableId), target: 'modRevision', is: '=', operand: stored.modRevision },
          { key: lastSchemaIdKey, target: 'modRevision', is: '=', operand: last?.modRevision ?? 0 },
        ],
        then: [
          { type: 'put', key: lastSchemaIdKey, value: utf8(String(elementId)) },
          { type: 'put', key: tableKey(state.tableId), value: encodeTable(next) },
        ],
      },
      { ...state, elementId: planned.elementId, phase: 'adopt', version: next.version },
      { message: `published version ${next.version}` },
    )
  }

  /** Publishes the next state of the element, or goes on to what comes after the last one. */
  async #publish(context: Context): Promise<void> {
    const { state } = context
    const stored = await this.#table(context)
    const element = elementById(stored.table, state.elementId)
    if (element === undefined) {
      await context.checkpoint({ ...state, phase: 'done' })
      return
    }
    if (element.state === state.target) {
      const phase = state.target === 'public' ? 'done' : element.type === 'index' ? 'purge' : 'remove'
      await context.checkpoint({ ...state, phase, progress: noProgress })
      return
    }
    const next = stepElement(stored.table, state.elementId, state.target)
    await this.#put(context, stored, next, {
      ...state,
      phase: 'adopt',
      version: next.version,
      progress: noProgress,
    })
  }

  async #remove(context: Context): Promise<void> {
    const { state } = context
    const stored = await this.#table(context)
    if (elementById(stored.table, state.elementId) === undefined) {
      await context.checkpoint({ ...state, phase: 'done' })
      return
    }
    const next = withoutElement(stored.table, state.elementId)
    // Also the last version is waited for, or the first one of the next change would be the third in use.
    await this.#put(context, stored, next, { ...state, phase: 'adopt', version: next.version })
  }

  async #put(
    context: Context,
    stored: StoredTable,
    next: TableDescriptor,
    state: ChangeState,
  ): Promise<void> {
    // A failed compare changes nothing: the loop reads the table again and decides anew.
    await context.txn(
      {
        if: [{ key: tableKey(next.tableId), target: 'modRevision', is: '=', operand: stored.modRevision }],
        then: [{ type: 'put', key: tableKey(next.tableId), value: encodeTable(next) }],
      },
      state,
      { message: `published version ${next.version}` },
    )
  }

  /**
   * Waits until no node may still use an older version than the published one. A node that lags is named; one that has
   * lost its epoch loses its schema lease as well, and whatever it had under way is refused at the barrier.
   */
  async #adopt(context: Context): Promise<void> {
    const { state } = context
    const since = this.#ports.env.clock.monotonicMs()
    for (;;) {
      const { entries } = await this.#ports.store.range(allSchemaLeases, { signal: context.signal })
      const laggards = entries.filter(
        (entry) => (decodeUse(entry.value).get(state.tableId) ?? Infinity) < state.version,
      )
      if (laggards.length === 0) break
      const names = laggards.map(({ key }) => text(key).slice('/schema/leases/'.length))
      context.waitFor(names)
      context.progress(`version ${state.version} waits for ${names.join(', ')}`)
      if (this.#ports.env.clock.monotonicMs() - since > this.#tuning.laggardGraceMs) {
        for (const [i, name] of names.entries()) {
          const session = laggards[i]?.session ?? 0
          if (!this.#ports.isLive(name) && session !== 0) {
            await this.#ports.store.revokeSession(session, { signal: context.signal })
          }
        }
      }
      await context.sleep(this.#tuning.pollIntervalMs)
    }
    context.waitFor([])
    await context.checkpoint({ ...state, phase: 'barrier', progress: noProgress })
  }

  /** An index that is maintained but not yet readable is filled in before it moves on. */
  async #afterBarrier(context: Context): Promise<ChangePhase> {
    const { state } = context
    const { table } = await this.#table(context)
    const element = elementById(table, state.elementId)
    return element?.type === 'index' && element.state === 'writeOnly' && state.target === 'public'
      ? 'backfill'
      : 'publish'
  }

  /** Works through the ranges of the table in rounds of parallel chunks, with a checkpoint after each round. */
  async #overRanges(
    context: Context,
    next: ChangePhase,
    work: (
      chunk: SchemaChunk,
      options: CallOptions,
    ) => Promise<{ resumeAt: Uint8Array | undefined; rows: number }>,
    finished: Partial<ChangeState> = {},
  ): Promise<void> {
    const { table } = await this.#table(context)
    for (;;) {
      const { state } = context
      const { progress } = state
      // Anew in each round: ranges are split and merged meanwhile.
      const ranges = await this.#ports.ranges(table.tableId, { signal: context.signal })
      const open = ranges.filter((range) => !coversRange(progress.done, range))
      if (open.length === 0) break
      const round = open.slice(0, this.#tuning.parallelChunks)
      const settled = await Promise.allSettled(
        round.map(({ rangeId, start, end }) =>
          this.#chunk(context, work, {
            table,
            elementId: state.elementId,
            rangeId,
            bounds: { start, end },
            resumeAt: progress.cursors.get(rangeId),
            maximumRows: this.#tuning.chunkRows,
            epoch: context.epoch,
          }),
        ),
      )
      const advanced = advance(progress, round, settled)
      if (advanced !== progress) {
        const done = ranges.filter((range) => coversRange(advanced.done, range)).length
        await context.checkpoint(
          { ...state, progress: advanced },
          {
            message: `${state.phase}: ${advanced.rows} rows, ${done} of ${ranges.length} ranges done`,
            fraction: done / Math.max(1, ranges.length),
          },
        )
      }
      const failed = settled.filter((result) => result.status === 'rejected').map(({ reason }) => reason)
      const worst = failed.find((reason) => !hasMoved(reason))
      if (worst !== undefined) throw worst
      // A range lies elsewhere than the directory knows: it soon will.
      if (failed.length > 0) await context.sleep(chunkRetryMs)
    }
    await context.checkpoint({ ...context.state, ...finished, phase: next, progress: noProgress })
  }

  async #chunk<Result>(
    context: Context,
    work: (chunk: SchemaChunk, options: CallOptions) => Promise<Result>,
    chunk: SchemaChunk,
  ): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work(chunk, { signal: context.signal })
      } catch (thrown) {
        const error = asOfRange(thrown, chunk.rangeId)
        // Chunks are idempotent, so an unknown outcome is simply done again.
        if (attempt >= chunkAttempts || !KeelsonError.is(error) || !error.retryable || hasMoved(error))
          throw error
        await context.sleep(chunkRetryMs)
      }
    }
  }

  async #table(context: Context): Promise<StoredTable> {
    const stored = await this.#catalog.get(context.state.tableId, { signal: context.signal })
    if (stored !== undefined) return stored
    throw new KeelsonError(
      'NOT_FOUND',
      `there is no table ${context.state.tableId} any more; look at the catalog`,
    )
  }
}

/**
 * What a failure says of a range. A replica that is moved away, merged or stopped while it works ends with `CLOSED`, and of itself
 * alone: its range is somewhere, and the change goes on there.
 */
function asOfRange(error: unknown, rangeId: RangeId): unknown {
  if (!KeelsonError.hasCode(error, 'CLOSED')) return error
  return new KeelsonError(
    'OUTCOME_UNKNOWN',
    `range ${rangeId} was closed where work on it was under way (${error.message}); it is done again where the range is now`,
    { cause: error },
  )
}

/** Whether a range refused work because its bounds are not those that the work was meant for. */
function hasMoved(error: unknown): boolean {
  return KeelsonError.hasCode(error, 'STALE_GENERATION') && error.retryable
}

function advance(
  progress: RangeProgress,
  round: readonly SchemaRange[],
  settled: readonly PromiseSettledResult<{ resumeAt: Uint8Array | undefined; rows: number }>[],
): RangeProgress {
  let { done } = progress
  const cursors = new Map(progress.cursors)
  let rows = progress.rows
  let changed = false
  for (const [i, result] of settled.entries()) {
    if (result.status === 'rejected') continue
    changed = true
    const { rangeId, start, end } = round[i] as SchemaRange
    rows += result.value.rows
    if (result.value.resumeAt === undefined) {
      cursors.delete(rangeId)
      done = withSpan(done, { start, end })
    } else {
      cursors.set(rangeId, result.value.resumeAt)
    }
  }
  return changed ? { done, cursors, rows } : progress
}
