import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { hunt } from './hunt.ts'
import { mutants, runMutant } from './mutants.ts'
import { recordedSeeds } from './recorded-seeds.ts'

/** Seeds that are tried when the recorded one shows nothing: a change of the library moves every run to another course. */
const furtherSeeds = 12

/**
 * Plants one bug after the other, and expects each to be caught by its invariant. In two halves, each a test file of its own, so
 * that they run side by side: the bugs at even places of the list, and those at odd ones.
 */
export function expectCaught(half: 0 | 1): void {
  suite('bugs that are planted in the composition', () => {
    for (const mutant of mutants.filter((_, at) => at % 2 === half)) {
      test(`is caught: ${mutant.name}`, async (t) => {
        const seed = recordedSeeds[mutant.name] ?? 1
        const { failure } = await runMutant(mutant, seed)
        // That the seed is well without the bug was seen when it was recorded.
        if (failure !== undefined) return assert.match(failure.message, mutant.caughtBy)
        const found = await hunt(mutant, seed + 1, furtherSeeds)
        assert.deepEqual(found.problems, [])
        assert.notEqual(
          found.seed,
          undefined,
          'survived; npm run mutants -- --composition --record looks further',
        )
        t.diagnostic(`by seed ${found.seed} in place of ${seed}: ${mutant.name}`)
      })
    }
  })
}
