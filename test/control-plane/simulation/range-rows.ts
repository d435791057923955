import { KeelsonError } from '../../../src/core/errors.ts'
import type {
  SchemaChunk,
  SchemaChunkResult,
  SchemaValidation,
  TableDescriptor,
} from '../../../src/interfaces/schema-host.ts'

/** A command that was planned under a version of the table. */
export interface RowCommand {
  readonly table: TableDescriptor
  readonly rowId: number
  readonly type: 'put' | 'delete'
}

/**
 * The rows of a range and the entries of its indexes, as far as online schema changes can ruin them: what a command does
 * to an index depends on the state that the index has in the version that the command was planned under.
 */
export class RangeRows {
  readonly rows = new Set<number>()
  readonly entries = new Map<number, Set<number>>()
  /** Commands planned under an older version are refused. */
  minimumVersion = 0
  /** Highest epoch of an owner of a schema change. */
  epoch = 0

  /** @returns false when the command was planned under a version that the barrier has ended */
  execute({ table, rowId, type }: RowCommand): boolean {
    if (table.version < this.minimumVersion) return false
    if (type === 'put') this.rows.add(rowId)
    else this.rows.delete(rowId)
    for (const element of table.elements) {
      if (element.type !== 'index') continue
      if (type === 'delete') this.entries.get(element.elementId)?.delete(rowId)
      else if (element.state === 'writeOnly' || element.state === 'public')
        this.#entriesOf(element.elementId).add(rowId)
    }
    return true
  }

  /** Some rows become a range of their own, with their entries and what holds for them. */
  splitOff(goes: (rowId: number) => boolean): RangeRows {
    const right = new RangeRows()
    right.minimumVersion = this.minimumVersion
    right.epoch = this.epoch
    const move = (from: Set<number>, to: Set<number>): void => {
      for (const rowId of from) {
        if (!goes(rowId)) continue
        from.delete(rowId)
        to.add(rowId)
      }
    }
    move(this.rows, right.rows)
    for (const [elementId, entries] of this.entries) move(entries, right.#entriesOf(elementId))
    return right
  }

  /** Takes in the rows of a neighbour, and of what holds for either the stricter. */
  takeIn(right: RangeRows): void {
    this.minimumVersion = Math.max(this.minimumVersion, right.minimumVersion)
    this.epoch = Math.max(this.epoch, right.epoch)
    for (const rowId of right.rows) this.rows.add(rowId)
    for (const [elementId, entries] of right.entries)
      for (const rowId of entries) this.#entriesOf(elementId).add(rowId)
  }

  /** @throws KeelsonError `STALE_EPOCH` for a chunk of an owner that was deposed */
  barrier(chunk: SchemaChunk): void {
    this.#fence(chunk)
    this.minimumVersion = Math.max(this.minimumVersion, chunk.table.version)
  }

  /** @throws KeelsonError `STALE_EPOCH` */
  backfill(chunk: SchemaChunk): SchemaChunkResult {
    this.#fence(chunk)
    const { part, resumeAt } = this.#part(chunk)
    for (const rowId of part) this.#entriesOf(chunk.elementId).add(rowId)
    return { resumeAt, rows: part.length }
  }

  /** @throws KeelsonError `STALE_EPOCH` */
  purge(chunk: SchemaChunk): SchemaChunkResult {
    this.#fence(chunk)
    const rows = this.entries.get(chunk.elementId)?.size ?? 0
    this.entries.delete(chunk.elementId)
    return { resumeAt: undefined, rows }
  }

  /** @throws KeelsonError `STALE_EPOCH` */
  validate(chunk: SchemaChunk): SchemaValidation {
    this.#fence(chunk)
    return { resumeAt: undefined, rows: this.rows.size, ...this.compare(chunk.elementId) }
  }

  compare(elementId: number): { missing: number; orphans: number } {
    const entries = this.entries.get(elementId) ?? new Set()
    const missing = [...this.rows].filter((rowId) => !entries.has(rowId)).length
    const orphans = [...entries].filter((rowId) => !this.rows.has(rowId)).length
    return { missing, orphans }
  }

  #fence({ epoch }: SchemaChunk): void {
    if (epoch < this.epoch) {
      throw new KeelsonError('STALE_EPOCH', `epoch ${this.epoch} works on this range, ${epoch} has ended`)
    }
    this.epoch = epoch
  }

  /** The next rows from where the last chunk ended. */
  #part({ resumeAt, maximumRows }: SchemaChunk): { part: number[]; resumeAt: Uint8Array | undefined } {
    const from = resumeAt === undefined ? -1 : new DataView(resumeAt.slice().buffer).getUint32(0)
    const rest = [...this.rows].filter((rowId) => rowId > from).sort((a, b) => a - b)
    const part = rest.slice(0, maximumRows)
    if (part.length === rest.length) return { part, resumeAt: undefined }
    const cursor = new Uint8Array(4)
    new DataView(cursor.buffer).setUint32(0, part[part.length - 1] as number)
    return { part, resumeAt: cursor }
  }

  #entriesOf(elementId: number): Set<number> {
    let entries = this.entries.get(elementId)
    if (entries === undefined) {
      entries = new Set()
      this.entries.set(elementId, entries)
    }
    return entries
  }
}
