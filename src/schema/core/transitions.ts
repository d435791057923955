import { checkArray, checkMembers, checkObject } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import { invariant } from '../../core/invariant.ts'
import { showValue } from '../../core/options.ts'
import type { ElementState, SchemaElement, TableDescriptor } from '../../interfaces/schema-host.ts'

/** A change that a person asks for. */
export type SchemaChange =
  | {
      /** Adds an index, which is filled for the rows that are there. */
      readonly type: 'addIndex'
      /** Name of the new index, unique among the table's elements. */
      readonly name: string
      /** Names of the columns whose values make its keys, in their order. */
      readonly columns: readonly string[]
    }
  | {
      /** Takes an index away, with its data. */
      readonly type: 'dropIndex'
      /** Name of the index. */
      readonly name: string
    }
  | {
      /** Adds a column, for which rows that are there have no value. */
      readonly type: 'addColumn'
      /** Name of the new column, unique among the table's elements. */
      readonly name: string
      /** Type of its values. */
      readonly valueType: 'string' | 'number' | 'boolean' | 'bytes'
    }
  | {
      /** Takes a column away, with its data. */
      readonly type: 'dropColumn'
      /** Name of the column. */
      readonly name: string
    }

/**
 * The way of an element from absent to public, by kind (F1, VLDB 2013, section 4.2). A drop walks it backwards. An
 * optional column needs no write-only state, since a row without it is complete; an index does, or the backfill would
 * miss rows that are written beside it.
 */
const paths: Readonly<Record<SchemaElement['type'], readonly ElementState[]>> = Object.freeze({
  column: ['absent', 'deleteOnly', 'public'],
  index: ['absent', 'deleteOnly', 'writeOnly', 'public'],
})

/** The next state of an element on its way to `target`; its own when it has arrived. */
export function nextState(element: SchemaElement, target: ElementState): ElementState {
  const path = paths[element.type]
  const at = path.indexOf(element.state)
  const to = path.indexOf(target)
  invariant(at >= 0 && to >= 0, `a ${element.type} is never ${at < 0 ? element.state : target}`)
  return path[at + Math.sign(to - at)] as ElementState
}

/**
 * True when every operation under either of two descriptors keeps the data fit for both: each element differs by one
 * step at most (F1, section 4.3). This is what makes it safe that nodes use the two at the same time.
 */
export function areAdjacent(a: TableDescriptor, b: TableDescriptor): boolean {
  if (a.tableId !== b.tableId || Math.abs(a.version - b.version) > 1) return false
  const states = (table: TableDescriptor): Map<number, SchemaElement> =>
    new Map(table.elements.map((element) => [element.elementId, element]))
  const before = states(a)
  const after = states(b)
  for (const elementId of new Set([...before.keys(), ...after.keys()])) {
    const one = before.get(elementId)
    const two = after.get(elementId)
    const path = paths[(one ?? two)?.type ?? 'index']
    const distance = path.indexOf(one?.state ?? 'absent') - path.indexOf(two?.state ?? 'absent')
    if (Math.abs(distance) > 1) return false
    if (one !== undefined && two !== undefined && one.type !== two.type) return false
  }
  return true
}

/**
 * The descriptor with one element moved one step towards `target`, as the next version. An element that arrives at
 * absent stays in the descriptor until a later step takes it out, since its data is still to be purged.
 */
export function stepElement(
  table: TableDescriptor,
  elementId: number,
  target: ElementState,
): TableDescriptor {
  const elements = table.elements.map((element) =>
    element.elementId === elementId ? { ...element, state: nextState(element, target) } : element,
  )
  const next: TableDescriptor = { ...table, version: table.version + 1, elements }
  invariant(areAdjacent(table, next), 'a version is published only beside the one before it')
  return next
}

/** The descriptor without an element that is absent and purged, as the next version. */
export function withoutElement(table: TableDescriptor, elementId: number): TableDescriptor {
  const element = elementById(table, elementId)
  invariant(element?.state === 'absent', 'only an absent element is taken out')
  return {
    ...table,
    version: table.version + 1,
    elements: table.elements.filter((other) => other.elementId !== elementId),
  }
}

/** An element by its id. */
export function elementById(table: TableDescriptor, elementId: number): SchemaElement | undefined {
  return table.elements.find((element) => element.elementId === elementId)
}

/** What a change means for a table: the element to move and where to. */
export interface PlannedChange {
  /** The table with the new element in it, absent, when the change adds one; not a version of its own. */
  readonly table: TableDescriptor
  readonly elementId: number
  readonly target: ElementState
}

/**
 * Plans a change against the table as it is.
 *
 * @throws KeelsonError `INVALID_ARGUMENT` when the change does not fit, `NOT_FOUND` for an element that is not there,
 *   `CONFLICT` for one that is being changed
 */
export function planChange(table: TableDescriptor, change: SchemaChange, elementId: number): PlannedChange {
  const refuse = (code: 'INVALID_ARGUMENT' | 'NOT_FOUND' | 'CONFLICT', problem: string): never => {
    throw new KeelsonError(code, `table ${table.name}: ${problem}`)
  }
  const existing = table.elements.find((element) => element.name === change.name)
  if (existing !== undefined && existing.state !== 'public') {
    refuse('CONFLICT', `${existing.type} ${change.name} is being changed; wait for that change or cancel it`)
  }
  if (change.type === 'dropIndex' || change.type === 'dropColumn') {
    const type = change.type === 'dropIndex' ? 'index' : 'column'
    if (existing === undefined || existing.type !== type)
      return refuse('NOT_FOUND', `there is no ${type} ${change.name}; look at the table again`)
    if (type === 'column') {
      const user = table.elements.find(
        (other) => other.type === 'index' && other.columns.includes(change.name),
      )
      if (user !== undefined)
        refuse('INVALID_ARGUMENT', `column ${change.name} is used by index ${user.name}; drop that first`)
      if (table.primaryKey.includes(change.name))
        refuse('INVALID_ARGUMENT', `column ${change.name} is part of the primary key and stays`)
    }
    return { table, elementId: existing.elementId, target: 'absent' }
  }
  if (existing !== undefined)
    refuse('INVALID_ARGUMENT', `there is a ${existing.type} ${change.name} already; take another name`)
  checkElementName(change.name)
  const element: SchemaElement =
    change.type === 'addColumn'
      ? {
          type: 'column',
          elementId,
          name: change.name,
          valueType: change.valueType,
          required: false,
          state: 'absent',
        }
      : { type: 'index', elementId, name: change.name, columns: change.columns, state: 'absent' }
  if (element.type === 'index') checkIndexColumns(table, element.columns)
  return { table: { ...table, elements: [...table.elements, element] }, elementId, target: 'public' }
}

/** Checks a name of a table or an element. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkElementName(name: unknown): void {
  if (typeof name === 'string' && /^[a-z_][a-z0-9_]{0,62}$/.test(name)) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `a table, column or index is named by 1 to 63 characters of a-z, 0-9 and '_', not ${showValue(name)}`,
  )
}

function checkIndexColumns(table: TableDescriptor, columns: readonly string[]): void {
  if (columns.length === 0 || columns.length > 16 || new Set(columns).size !== columns.length) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `table ${table.name}: an index takes 1 to 16 different columns`,
    )
  }
  for (const name of columns) {
    const column = table.elements.find((element) => element.type === 'column' && element.name === name)
    if (column?.state === 'public') continue
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `table ${table.name} has no public column ${showValue(name)} to index; add it first`,
    )
  }
}

/**
 * Checks a whole descriptor.
 *
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function checkTable(table: TableDescriptor): void {
  checkElementName(table.name)
  checkArray(table.elements, `the columns of table ${table.name}`, 1000)
  checkArray(table.primaryKey, `the primary key of table ${table.name}`, 16)
  const names = new Set<string>()
  const ids = new Set<number>()
  for (const element of table.elements) {
    checkElementName(element.name)
    if (element.type === 'column') {
      checkValueType(element.valueType, element.name)
      if (typeof element.required !== 'boolean')
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          `required of column ${element.name} is true or false, not ${showValue(element.required)}`,
        )
    }
    if (names.has(element.name) || ids.has(element.elementId)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `table ${table.name} names ${element.name} twice; rename one of them`,
      )
    }
    names.add(element.name)
    ids.add(element.elementId)
  }
  for (const element of table.elements)
    if (element.type === 'index') checkIndexColumns(table, element.columns)
  if (table.primaryKey.length === 0) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `table ${table.name} needs a primary key: the names of required columns`,
    )
  }
  for (const name of table.primaryKey) {
    const column = table.elements.find((element) => element.name === name)
    if (column?.type === 'column' && column.required) continue
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `table ${table.name}: the primary key needs ${showValue(name)} as a required column`,
    )
  }
}

const valueTypes: readonly unknown[] = ['string', 'number', 'boolean', 'bytes']
const changeMembers: Readonly<Record<SchemaChange['type'], readonly string[]>> = Object.freeze({
  addIndex: ['type', 'name', 'columns'],
  dropIndex: ['type', 'name'],
  addColumn: ['type', 'name', 'valueType'],
  dropColumn: ['type', 'name'],
})

/** Checks what a column holds. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkValueType(valueType: unknown, name: string): void {
  if (valueTypes.includes(valueType)) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `column ${name} holds one of ${valueTypes.join(', ')}, not ${showValue(valueType)}`,
  )
}

/**
 * Checks what can be known of a change without its table.
 *
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function checkSchemaChange(change: SchemaChange): void {
  checkObject(change, 'a schema change')
  if (!Object.hasOwn(changeMembers, change.type)) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `a schema change is one of ${Object.keys(changeMembers).join(', ')}, not ${showValue(change.type)}`,
    )
  }
  checkMembers(change, `a schema change ${change.type}`, changeMembers[change.type])
  checkElementName(change.name)
  if (change.type === 'addColumn') checkValueType(change.valueType, change.name)
  if (change.type === 'addIndex') {
    for (const column of checkArray(change.columns, 'the columns of an index')) checkElementName(column)
  }
}
