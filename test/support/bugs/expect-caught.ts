import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type BugList, hunt, type PlantedBug } from './hunt.ts'

/** What is expected of which bugs. */
export interface Expectation<Bug extends PlantedBug> extends BugList<Bug> {
  /** Name of the suite. */
  readonly title: string
  /** Seeds that are tried when the recorded one shows nothing: a change of the library moves every run to another course. */
  readonly furtherSeeds: number
}

/** Plants one bug after the other, and expects each to be caught: by the recorded seed, or by one of those after it. */
export function expectCaught<Bug extends PlantedBug>(expected: Expectation<Bug>): void {
  const { title, furtherSeeds, bugs, recorded, run, command } = expected
  suite(title, () => {
    for (const bug of bugs) {
      test(`is caught: ${bug.name}`, async (t) => {
        const seed = recorded[bug.name] ?? 1
        const { failure } = await run(bug, seed, false)
        // That the seed is well without the bug was seen when it was recorded.
        if (failure !== undefined) return assert.match(failure.message, bug.caughtBy ?? /./)
        const found = await hunt(expected, bug, seed + 1, furtherSeeds)
        assert.deepEqual(found.problems, [])
        assert.notEqual(found.seed, undefined, `survived; ${command} --record looks further`)
        t.diagnostic(`by seed ${found.seed} in place of ${seed}: ${bug.name}`)
      })
    }
  })
}
