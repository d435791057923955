import { checkArray, checkMembers, checkObject } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import { text, utf8 } from '../core/bytes.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall } from '../core/options.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import type { ColumnElement, TableDescriptor } from '../interfaces/schema-host.ts'
import { follow } from '../jobs/index.ts'
import { numberAfter } from '../metadata/index.ts'
import { checkId, type TableId } from '../model/ids.ts'
import {
  allTables,
  decodeTable,
  encodeTable,
  lastSchemaIdKey,
  tableKey,
  tableNameKey,
} from './core/records.ts'
import { checkElementName, checkTable } from './core/transitions.ts'

/** What a new table is made of. It is public at once, since nothing can refer to it yet. */
export interface NewTable {
  /** Name of the table, unique in the cluster. */
  readonly name: string
  /** Its columns, each `public` from the beginning. */
  readonly columns: readonly Pick<ColumnElement, 'name' | 'valueType' | 'required'>[]
  /** Names of required columns, in their order. */
  readonly primaryKey: readonly string[]
}

/** A table as it is in the store. */
export interface StoredTable {
  /** The table as it was read. */
  readonly table: TableDescriptor
  /** Revision of its last change: what a fenced write compares. */
  readonly modRevision: number
}

/** The tables of a cluster, for anybody who can reach the store. Changes of a table go through a schema change. */
export class SchemaCatalog {
  readonly #store: MetadataStore
  readonly #env: Environment

  /** Reads and writes the tables in `store`; holds nothing itself. */
  constructor(options: { readonly store: MetadataStore; readonly env: Environment }) {
    const { store, env } = checkObject(options, 'the options of a SchemaCatalog', ['store', 'env'])
    this.#store = checkObject(store, "SchemaCatalog: option 'store'", ['get', 'range', 'txn', 'watch'])
    this.#env = checkObject(env, "SchemaCatalog: option 'env'", ['timers'])
  }

  /**
   * Creates a table, or finds the one that is there when it has the same columns.
   *
   * @throws KeelsonError `INVALID_ARGUMENT`, `CONFLICT` when another table has the name
   */
  async createTable(wanted: NewTable, options: CallOptions = {}): Promise<TableDescriptor> {
    checkNewTable(wanted)
    checkCall('createTable', options)
    for (;;) {
      const known = await this.byName(wanted.name, options)
      if (known !== undefined) {
        if (sameShape(known.table, wanted)) return known.table
        throw new KeelsonError(
          'CONFLICT',
          `there is a table ${wanted.name} with other columns already; take another name, or change that table`,
          {
            retryable: false,
          },
        )
      }
      const { entries, revision } = await this.#store.range({ key: lastSchemaIdKey }, options)
      const [last] = entries
      const tableId = numberAfter(last === undefined ? 0 : Number(text(last.value)), revision)
      const table: TableDescriptor = {
        tableId,
        name: wanted.name,
        version: 1,
        primaryKey: [...wanted.primaryKey],
        elements: wanted.columns.map((column, i) => ({
          type: 'column',
          elementId: tableId + 1 + i,
          name: column.name,
          valueType: column.valueType,
          required: column.required,
          state: 'public',
        })),
      }
      checkTable(table)
      const { succeeded } = await this.#store.txn(
        {
          if: [
            { key: lastSchemaIdKey, target: 'modRevision', is: '=', operand: last?.modRevision ?? 0 },
            { key: tableNameKey(table.name), target: 'version', is: '=', operand: 0 },
          ],
          then: [
            { type: 'put', key: lastSchemaIdKey, value: utf8(String(tableId + wanted.columns.length)) },
            { type: 'put', key: tableNameKey(table.name), value: utf8(String(tableId)) },
            { type: 'put', key: tableKey(tableId), value: encodeTable(table) },
          ],
        },
        options,
      )
      if (succeeded) return table
    }
  }

  /** One table. */
  async get(tableId: TableId, options: CallOptions = {}): Promise<StoredTable | undefined> {
    checkId(tableId, 'a table id')
    checkCall('get', options)
    const entry = await this.#store.get(tableKey(tableId), options)
    return entry === undefined
      ? undefined
      : { table: decodeTable(entry.value), modRevision: entry.modRevision }
  }

  /** One table by its name. */
  async byName(name: string, options: CallOptions = {}): Promise<StoredTable | undefined> {
    checkElementName(name)
    checkCall('byName', options)
    const entry = await this.#store.get(tableNameKey(name), options)
    return entry === undefined ? undefined : this.get(Number(text(entry.value)), options)
  }

  /** All tables by id. */
  async list(options: CallOptions = {}): Promise<readonly TableDescriptor[]> {
    checkCall('list', options)
    const { entries } = await this.#store.range(allTables, options)
    return entries.map((entry) => decodeTable(entry.value))
  }

  /** Every table, then each one again whenever it has a new version, until the signal is aborted. */
  async *watch(options: CallOptions = {}): AsyncIterable<readonly TableDescriptor[]> {
    checkCall('watch', options)
    for await (const step of follow(this.#store, this.#env, allTables, options)) {
      if (step.type === 'snapshot') yield step.entries.map((entry) => decodeTable(entry.value))
      else yield step.events.filter(({ type }) => type === 'put').map(({ entry }) => decodeTable(entry.value))
    }
  }
}

/** What would stand in the way before the table could be checked as a whole. */
function checkNewTable(wanted: NewTable): void {
  checkMembers(wanted, 'a new table', ['name', 'columns', 'primaryKey'])
  checkElementName(wanted.name)
  for (const column of checkArray(wanted.columns, `the columns of table ${wanted.name}`, 1000))
    checkMembers(column, `a column of table ${wanted.name}`, ['name', 'valueType', 'required'])
  checkArray(wanted.primaryKey, `the primary key of table ${wanted.name}`, 16)
}

function sameShape(table: TableDescriptor, wanted: NewTable): boolean {
  const columns = table.elements.filter((element) => element.type === 'column')
  return (
    table.primaryKey.join() === wanted.primaryKey.join() &&
    wanted.columns.every((column) =>
      columns.some(
        (other) =>
          other.name === column.name &&
          other.valueType === column.valueType &&
          other.required === column.required,
      ),
    )
  )
}
