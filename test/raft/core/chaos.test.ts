import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { chaos } from '../support/chaos.ts'

const seeds = Number(process.env.KEELSON_CHAOS_SEEDS ?? 120)
const first = Number(process.env.KEELSON_CHAOS_FIRST ?? 1)

suite('chaos', () => {
  test(`${seeds} random runs break no invariant and heal`, () => {
    const total = {
      committed: 0,
      elections: 0,
      crashes: 0,
      snapshots: 0,
      changes: 0,
      joints: 0,
      reads: 0,
      fetches: 0,
    }
    for (let seed = first; seed < first + seeds; seed++) {
      try {
        const report = chaos(seed, 1500)
        for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += report[key]
      } catch (cause) {
        throw new Error(`seed ${seed}: ${(cause as Error).message}`, { cause })
      }
    }
    // Runs that do nothing would find nothing.
    for (const [what, count] of Object.entries(total)) assert.ok(count > seeds / 2, `only ${count} ${what}`)
  })
})
