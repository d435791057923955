import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { hostBugs } from './bugs.ts'
import { hunt, runWith } from './hunt.ts'
import { recordedSeeds } from './recorded-seeds.ts'

/** Seeds that are tried when the recorded one shows nothing: a change of the library moves every run to another course. */
const furtherSeeds = 40

suite('simulated hosts catch', () => {
  for (const bug of hostBugs) {
    test(bug.name, async (t) => {
      const recorded = recordedSeeds[bug.name] ?? 1
      const { failure } = await runWith(bug, recorded)
      // That the seed is well without the bug was seen when it was recorded.
      if (failure !== undefined) return
      const { seed, problems } = await hunt(bug, recorded + 1, furtherSeeds)
      assert.deepEqual(problems, [])
      assert.notEqual(seed, undefined, 'survived; npm run mutants -- --hosts --record looks further')
      t.diagnostic(`by seed ${seed} in place of ${recorded}: ${bug.name}`)
    })
  }
})
