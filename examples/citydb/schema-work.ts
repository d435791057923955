import {
  type CallOptions,
  KeelsonError,
  type RangeBounds,
  type SchemaChunk,
  type SchemaChunkResult,
  type SchemaValidation,
} from 'keelson'
import type { RaftGroup } from 'keelson/raft'
import type { CommandResult, RangeCommand } from './commands.ts'
import { sameBounds } from './range-layout.ts'
import type { RangeMachine } from './range-machine.ts'
import type { IndexPlan } from './schema.ts'

/** A range whose rows and entries a schema change works on. */
export interface WorkedRange {
  readonly group: RaftGroup
  readonly machine: RangeMachine
  readonly propose: (command: RangeCommand, options: CallOptions) => Promise<CommandResult>
  /** The error for work that was meant for other bounds. */
  readonly moved: (why: string) => KeelsonError
}

/** The lease holder's part of schema changes. */
export class SchemaWork {
  readonly #range: WorkedRange

  constructor(range: WorkedRange) {
    this.#range = range
  }

  async barrier(chunk: SchemaChunk, options: CallOptions): Promise<void> {
    await this.#propose(
      {
        type: 'barrier',
        tableId: chunk.table.tableId,
        minimumVersion: chunk.table.version,
        epoch: chunk.epoch,
        ...withinOf(chunk),
      },
      options,
    )
  }

  async backfill(chunk: SchemaChunk, options: CallOptions): Promise<SchemaChunkResult> {
    return this.#propose(
      {
        type: 'backfill',
        tableId: chunk.table.tableId,
        index: planOf(chunk),
        resumeAt: chunk.resumeAt,
        maximumRows: chunk.maximumRows,
        epoch: chunk.epoch,
        ...withinOf(chunk),
      },
      options,
    )
  }

  async validate(chunk: SchemaChunk, options: CallOptions): Promise<SchemaValidation> {
    await this.#range.group.read(options)
    const check = (): void => {
      const { bounds, frozen } = this.#range.machine.layout
      const { bounds: meant } = chunk
      if (
        frozen !== undefined ||
        (meant !== undefined && !(bounds !== undefined && sameBounds(meant, bounds)))
      )
        throw this.#range.moved('the range lies elsewhere than the work was meant for')
    }
    check()
    const found = await this.#range.machine.validate(planOf(chunk), chunk.resumeAt, chunk.maximumRows)
    check()
    return found
  }

  async purge(chunk: SchemaChunk, options: CallOptions): Promise<SchemaChunkResult> {
    return this.#propose(
      {
        type: 'purge',
        tableId: chunk.table.tableId,
        indexId: chunk.elementId,
        maximumRows: chunk.maximumRows,
        epoch: chunk.epoch,
        ...withinOf(chunk),
      },
      options,
    )
  }

  /** A range that lies elsewhere than the coordinator thinks refuses: it asks again when it knows. */
  async #propose(command: RangeCommand, options: CallOptions): Promise<CommandResult> {
    try {
      return await this.#range.propose(command, options)
    } catch (error) {
      if (!KeelsonError.hasCode(error, 'STALE_GENERATION')) throw error
      throw this.#range.moved(error.message)
    }
  }
}

function withinOf({ bounds }: SchemaChunk): { readonly within?: RangeBounds } {
  return bounds === undefined ? {} : { within: bounds }
}

function planOf(chunk: SchemaChunk): IndexPlan {
  const element = chunk.table.elements.find(({ elementId }) => elementId === chunk.elementId)
  if (element?.type !== 'index' || element.state === 'absent') {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `element ${chunk.elementId} of ${chunk.table.name} is no index to work on`,
    )
  }
  return { indexId: element.elementId, columns: element.columns, state: element.state }
}
