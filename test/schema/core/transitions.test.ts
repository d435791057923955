import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ElementState, TableDescriptor } from '../../../src/interfaces/schema-host.ts'
import { decodeTable, encodeTable } from '../../../src/schema/core/records.ts'
import {
  areAdjacent,
  checkTable,
  elementById,
  planChange,
  type SchemaChange,
  stepElement,
  withoutElement,
} from '../../../src/schema/core/transitions.ts'

const cities: TableDescriptor = {
  tableId: 1,
  name: 'cities',
  version: 1,
  primaryKey: ['country'],
  elements: [
    { type: 'column', elementId: 2, name: 'country', valueType: 'string', required: true, state: 'public' },
    {
      type: 'column',
      elementId: 3,
      name: 'population',
      valueType: 'number',
      required: false,
      state: 'public',
    },
  ],
}

function walk(start: TableDescriptor, elementId: number, target: ElementState): TableDescriptor[] {
  const versions = [start]
  for (;;) {
    const table = versions.at(-1) as TableDescriptor
    if (elementById(table, elementId)?.state === target) return versions
    versions.push(stepElement(table, elementId, target))
  }
}

const states = (versions: readonly TableDescriptor[], elementId: number): (string | undefined)[] =>
  versions.map((table) => elementById(table, elementId)?.state)

test('an index walks all four states, an optional column three, and back the same way', () => {
  const index = planChange(cities, { type: 'addIndex', name: 'by_population', columns: ['population'] }, 9)
  const up = walk(index.table, 9, index.target)
  assert.deepEqual(states(up, 9), ['absent', 'deleteOnly', 'writeOnly', 'public'])
  assert.deepEqual(
    up.map(({ version }) => version),
    [1, 2, 3, 4],
  )
  const down = walk(up.at(-1) as TableDescriptor, 9, 'absent')
  assert.deepEqual(states(down, 9), ['public', 'writeOnly', 'deleteOnly', 'absent'])
  assert.equal(elementById(withoutElement(down.at(-1) as TableDescriptor, 9), 9), undefined)
  const column = planChange(cities, { type: 'addColumn', name: 'area', valueType: 'number' }, 10)
  assert.deepEqual(states(walk(column.table, 10, 'public'), 10), ['absent', 'deleteOnly', 'public'])
})

test('only neighbours on the path may be in use together', () => {
  const index = planChange(cities, { type: 'addIndex', name: 'i', columns: ['population'] }, 9)
  const path = walk(index.table, 9, 'public')
  for (const [i, a] of path.entries()) {
    for (const [j, b] of path.entries()) assert.equal(areAdjacent(a, b), Math.abs(i - j) <= 1, `${i} ${j}`)
  }
  const jumped = { ...(path[2] as TableDescriptor), version: 2 }
  assert.ok(
    !areAdjacent(path[0] as TableDescriptor, jumped),
    'two states at once are refused whatever the numbers say',
  )
})

test('changes that do not fit are refused by name', () => {
  const plan = (change: SchemaChange, table = cities): void => void planChange(table, change, 9)
  const index = planChange(cities, { type: 'addIndex', name: 'i', columns: ['population'] }, 9)
  const changing = stepElement(index.table, 9, 'public')
  const done = walk(index.table, 9, 'public').at(-1) as TableDescriptor
  for (const [change, table, code] of [
    [{ type: 'addIndex', name: 'i', columns: ['nowhere'] }, cities, 'INVALID_ARGUMENT'],
    [{ type: 'addIndex', name: 'i', columns: [] }, cities, 'INVALID_ARGUMENT'],
    [{ type: 'addIndex', name: 'i', columns: ['population', 'population'] }, cities, 'INVALID_ARGUMENT'],
    [{ type: 'addIndex', name: 'No', columns: ['population'] }, cities, 'INVALID_ARGUMENT'],
    [{ type: 'addColumn', name: 'population', valueType: 'number' }, cities, 'INVALID_ARGUMENT'],
    [{ type: 'addColumn', name: 'i', valueType: 'number' }, changing, 'CONFLICT'],
    [{ type: 'dropIndex', name: 'population' }, cities, 'NOT_FOUND'],
    [{ type: 'dropIndex', name: 'i' }, changing, 'CONFLICT'],
    [{ type: 'dropColumn', name: 'population' }, done, 'INVALID_ARGUMENT'],
    [{ type: 'dropColumn', name: 'country' }, cities, 'INVALID_ARGUMENT'],
  ] as const) {
    assert.throws(() => plan(change, table), { code }, JSON.stringify(change))
  }
  plan({ type: 'dropIndex', name: 'i' }, done)
})

test('descriptors survive the store', () => {
  const { table } = planChange(cities, { type: 'addIndex', name: 'i', columns: ['country', 'population'] }, 9)
  assert.deepEqual(decodeTable(encodeTable(table)), table)
})

test('a table is checked as a whole', () => {
  checkTable(cities)
  for (const bad of [
    { ...cities, name: 'A' },
    { ...cities, primaryKey: [] },
    { ...cities, primaryKey: ['population'] },
    { ...cities, elements: [...cities.elements, cities.elements[0]!] },
  ]) {
    assert.throws(() => checkTable(bad), { code: 'INVALID_ARGUMENT' })
  }
})
