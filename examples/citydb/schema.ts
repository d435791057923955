import {
  decodePlain,
  decodeTuple,
  encodePlain,
  encodeTuple,
  Fields,
  KeelsonError,
  type Plain,
  type TableDescriptor,
  type TuplePart,
} from 'keelson'

/** A value of a column. */
export type ColumnValue = string | number | boolean | null

/** A row by column name. */
export type Row = Readonly<Record<string, ColumnValue>>

/** The part of an index that a command is planned with: whoever applies it needs no schema of its own. */
export interface IndexPlan {
  readonly indexId: number
  readonly columns: readonly string[]
  readonly state: 'deleteOnly' | 'writeOnly' | 'public'
}

/** Key of a row in the key space of all tables: the table, then its primary key. */
export function rowKey(tableId: number, primaryKey: readonly TuplePart[]): Uint8Array {
  return encodeTuple([tableId, ...primaryKey])
}

/** The indexes of a table that a write under this version must look after. */
export function indexPlans(table: TableDescriptor): readonly IndexPlan[] {
  const plans: IndexPlan[] = []
  for (const element of table.elements) {
    if (element.type !== 'index' || element.state === 'absent') continue
    plans.push({ indexId: element.elementId, columns: element.columns, state: element.state })
  }
  return plans
}

const rowVersion = 1

export function encodeRow(row: Row): Uint8Array {
  const fields: Plain[] = [rowVersion]
  for (const name of Object.keys(row).sort()) fields.push(name, row[name] as ColumnValue)
  return encodePlain(fields)
}

export function decodeRow(bytes: Uint8Array): Row {
  const fields = new Fields(decodePlain(bytes, 'a row'), 'a row')
  fields.oneOf('version', [rowVersion])
  const row: Record<string, ColumnValue> = Object.create(null)
  while (fields.more) row[fields.string('column')] = fields.plain() as ColumnValue
  return row
}

/** Order of an index entry: the indexed values, then the row's key, so that equal values stay apart. */
export function indexKey(plan: Pick<IndexPlan, 'columns'>, row: Row, key: Uint8Array): Uint8Array {
  const parts: TuplePart[] = plan.columns.map((column) => {
    const value = row[column] ?? null
    // Null sorts before everything; true and false as numbers.
    return value === null ? new Uint8Array(0) : typeof value === 'boolean' ? Number(value) : value
  })
  parts.push(key)
  return encodeTuple(parts)
}

/** The table whose rows a range holds: all keys of it begin with the table's id. */
export function tableOf(bounds: { readonly start: Uint8Array }): number {
  const [tableId] = decodeTuple(bounds.start)
  if (typeof tableId !== 'number') throw new KeelsonError('CORRUPTION', 'a range must begin inside a table')
  return tableId
}
