import { utf8 } from '../../core/bytes.ts'
import { decodePlain, encodePlain, Fields, type Plain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { KeySelector } from '../../interfaces/metadata-store.ts'
import type { ElementState, SchemaElement, TableDescriptor } from '../../interfaces/schema-host.ts'
import { counterKeys } from '../../model/counter-keys.ts'
import type { NodeId, TableId } from '../../model/ids.ts'

const formatVersion = 1
const states = ['absent', 'deleteOnly', 'writeOnly', 'public'] as const satisfies readonly ElementState[]
const valueTypes = ['string', 'number', 'boolean', 'bytes'] as const

/** Key of a table's descriptor. */
export function tableKey(tableId: TableId): Uint8Array {
  return utf8(`/schema/tables/${String(tableId).padStart(16, '0')}`)
}

/** All tables' descriptors. */
export const allTables: KeySelector = Object.freeze({
  key: utf8('/schema/tables/'),
  end: utf8('/schema/tables0'),
})

/** Present while a table has the name; the value is its id as text. */
export function tableNameKey(name: string): Uint8Array {
  return utf8(`/schema/names/${name}`)
}

/** Holds the last id that was given to a table or an element. */
export const lastSchemaIdKey: Uint8Array = utf8(counterKeys.schema)

/** Key of what a node says it uses. */
export function schemaLeaseKey(nodeId: NodeId): Uint8Array {
  return utf8(`/schema/leases/${nodeId}`)
}

/** All nodes' schema leases. */
export const allSchemaLeases: KeySelector = Object.freeze({
  key: utf8('/schema/leases/'),
  end: utf8('/schema/leases0'),
})

/** A table's descriptor as a plain value. */
export function tableToPlain(table: TableDescriptor): Plain {
  return [
    formatVersion,
    table.tableId,
    table.name,
    table.version,
    [...table.primaryKey],
    table.elements.map((element) =>
      element.type === 'column'
        ? [
            0,
            element.elementId,
            element.name,
            states.indexOf(element.state),
            valueTypes.indexOf(element.valueType),
            element.required,
          ]
        : [1, element.elementId, element.name, states.indexOf(element.state), [...element.columns]],
    ),
  ]
}

/** The inverse of {@link tableToPlain}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function tableFromPlain(value: Plain | undefined): TableDescriptor {
  const fields = new Fields(value, 'a table descriptor')
  checkFormat(fields.uint('version'), 'a table descriptor')
  return {
    tableId: fields.uint('table id'),
    name: fields.string('name'),
    version: fields.uint('schema version'),
    primaryKey: fields.scalars('primary key', (f) => f.string('column')),
    elements: fields.list('elements', (f): SchemaElement => {
      const type = f.oneOf('type', [0, 1])
      const elementId = f.uint('element id')
      const name = f.string('name')
      const state = states[f.oneOf('state', [0, 1, 2, 3])]
      if (type === 1) {
        return {
          type: 'index',
          elementId,
          name,
          state,
          columns: f.scalars('columns', (c) => c.string('column')),
        }
      }
      const valueType = valueTypes[f.oneOf('value type', [0, 1, 2, 3])]
      return { type: 'column', elementId, name, state, valueType, required: f.boolean('required') }
    }),
  }
}

/** A table's descriptor for the store. */
export function encodeTable(table: TableDescriptor): Uint8Array {
  return encodePlain(tableToPlain(table))
}

/** The inverse of {@link encodeTable}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeTable(bytes: Uint8Array): TableDescriptor {
  return tableFromPlain(decodePlain(bytes, 'a table descriptor'))
}

/** The oldest version of each table that a node may still be using. */
export type SchemaUse = ReadonlyMap<TableId, number>

/** What a node uses, for the store. */
export function encodeUse(use: SchemaUse): Uint8Array {
  return encodePlain([
    formatVersion,
    [...use].sort(([a], [b]) => a - b).map(([tableId, version]) => [tableId, version]),
  ])
}

/** The inverse of {@link encodeUse}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeUse(bytes: Uint8Array): SchemaUse {
  const fields = new Fields(decodePlain(bytes, 'a schema lease'), 'a schema lease')
  checkFormat(fields.uint('version'), 'a schema lease')
  return new Map(fields.list('tables', (f) => [f.uint('table id'), f.uint('version')]))
}

function checkFormat(version: number, what: string): void {
  if (version === formatVersion) return
  throw new KeelsonError(
    'FORMAT_VERSION',
    `${what} has format ${version}, this release knows ${formatVersion}; upgrade this process first`,
  )
}
