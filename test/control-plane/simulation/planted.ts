import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { mutants, runMutant } from './mutants.ts'

/** The seed that caught it when this was written: tried first, so that a run of the tests is quick. */
const recorded: Readonly<Record<string, number>> = {
  'a range swaps two replicas without a joint configuration': 2,
  'the duties of a deposed leader go on, and no write compares its epoch': 2,
  'ranges keep no barrier against old schema versions': 2,
  'a session counts from when its renewal was answered': 9,
  'a split leaves the first row of the right-hand range behind': 2,
  'the right-hand range does not know which commands took effect before the split': 7,
  'the range that is left does not know which commands took effect in the one that it took in': 8,
  'a frozen range takes commands while it is brought over': 3,
}

/** Seeds that are tried after the recorded one: a change of the library moves every run to another course. */
const furtherSeeds = 12

/**
 * Plants one bug after the other, and expects each to be caught by its invariant. In two halves, since each is one test file and
 * takes minutes: those at even places of the list, and those at odd ones.
 */
export function expectCaught(half: 0 | 1): void {
  suite('bugs that are planted in the composition', () => {
    for (const mutant of mutants.filter((_, at) => at % 2 === half)) {
      test(`is caught: ${mutant.name}`, async (t) => {
        const first = recorded[mutant.name] ?? 1
        const seeds = [first, ...Array.from({ length: furtherSeeds }, (_, i) => first + 1 + i)]
        for (const seed of seeds) {
          const { failure } = await runMutant(mutant, seed)
          if (failure === undefined) continue
          assert.match(failure.message, mutant.caughtBy)
          t.diagnostic(`by seed ${seed}`)
          // The same run without the bug is well: it is the bug that was caught.
          const { name, caughtBy, faults } = mutant
          const sound = await runMutant({ name, caughtBy, ...(faults === undefined ? {} : { faults }) }, seed)
          assert.equal(sound.failure, undefined, sound.failure?.message)
          return
        }
        assert.fail(`none of the seeds ${first} to ${seeds.at(-1)} shows it`)
      })
    }
  })
}
