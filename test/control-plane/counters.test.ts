import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text } from '../../src/core/bytes.ts'
import type { Environment } from '../../src/core/environment.ts'
import { type JobForm, Jobs } from '../../src/jobs/index.ts'
import { Leases } from '../../src/leases/index.ts'
import {
  ControllerEpoch,
  everything,
  exportBackup,
  importBackup,
  type MetadataStore,
  memoryStore,
  RangeDirectory,
  SessionHolder,
} from '../../src/metadata/index.ts'
import { counterKeys } from '../../src/model/counter-keys.ts'
import { SchemaCatalog } from '../../src/schema/index.ts'
import { Simulation } from '../../src/simulation/index.ts'

const nothing: JobForm<undefined> = { type: 'nothing', encode: () => null, decode: () => undefined }

/** How each controller gives out the next number. */
const counters: Readonly<
  Record<keyof typeof counterKeys, (store: MetadataStore, env: Environment, round: number) => Promise<number>>
> = {
  ranges: async (store) =>
    new RangeDirectory(store).reserveIds(await ControllerEpoch.acquire(store, 'ids', 'a')),
  jobs: async (store, env) => {
    const { job } = await new Jobs({ store, env }).create(nothing, undefined, { reason: 'a test' })
    return job.jobId
  },
  schema: async (store, env, round) => {
    const columns = [{ name: 'id', valueType: 'string' as const, required: true }]
    const table = { name: `t${round}`, columns, primaryKey: ['id'] }
    return (await new SchemaCatalog({ store, env }).createTable(table)).tableId
  },
  leaseSequences: async (store, env, round) => {
    const holder = `n${round}`
    const session = await SessionHolder.open({ env, store, holder, ttlMs: 6_000 })
    const leases = Leases.open({ env, store, holder, session: () => session })
    const { sequence } = await leases.acquire('L')
    await leases.release('L')
    return sequence
  },
}

suite('numbers that a controller gives out', () => {
  for (const [name, next] of Object.entries(counters)) {
    test(`${name}: none comes twice when a backup is brought into a store that has counted on`, async () => {
      const sim = new Simulation({ seed: 1 })
      const env = sim.environment('p')
      const store = memoryStore({ env })
      await sim.until(
        (async () => {
          let round = 0
          await next(store, env, ++round)
          const backup: Uint8Array[] = []
          for await (const chunk of exportBackup(store)) backup.push(chunk.slice())
          await next(store, env, ++round)
          const last = await next(store, env, ++round)
          await importBackup(store, backup)
          // Whatever is there of what was made since, the number of it is not given out again.
          const given = await next(store, env, ++round)
          assert.ok(given > last, `${given} after ${last}`)
        })(),
      )
    })
  }

  test('are counted in keys that are in the layout, all of them', async () => {
    const sim = new Simulation({ seed: 1 })
    const env = sim.environment('p')
    const store = memoryStore({ env })
    await sim.until(
      (async () => {
        for (const next of Object.values(counters)) await next(store, env, 1)
        const { entries } = await store.range(everything)
        for (const counter of Object.values(counterKeys))
          assert.ok(
            entries.some(({ key }) => text(key).startsWith(counter)),
            `nobody counts at ${counter}`,
          )
      })(),
    )
  })
})
