import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { hunt, runWith } from './hunt.ts'
import { decodeRun } from './recorded-run.ts'
import { recordedRuns } from './recorded-runs.ts'
import type { PlantedBug } from './types.ts'

/** Seeds that are tried when what is recorded shows nothing: a change of the core or of the simulator moves what a seed does. */
const furtherSeeds = 60

/** Plants one bug after the other, and expects each to be caught: first by what is recorded of it. */
export function expectCaught(bugs: readonly PlantedBug[]): void {
  suite('the simulator catches', () => {
    for (const bug of bugs) {
      test(`${bug.name} (mistake ${bug.mistake ?? 'of no list'})`, (t) => {
        const text = recordedRuns[bug.name]
        const recorded = text === undefined ? undefined : decodeRun(text)
        // That the run is clean without the bug was seen when it was recorded; npm run mutants sees it again.
        if (recorded !== undefined && runWith(bug, recorded).failure?.invariant === recorded.invariant) return
        const found = hunt(bug, recorded?.seed ?? 1, furtherSeeds)
        assert.notEqual(found.seed, undefined, 'survived; npm run mutants -- --record looks further')
        t.diagnostic(`by seed ${found.seed}, not by what is recorded: ${bug.name}`)
      })
    }
  })
}
