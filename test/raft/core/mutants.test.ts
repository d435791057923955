import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { chaos } from '../support/chaos.ts'
import { mutants } from '../support/mutants.ts'

/** What a run of a broken core is stopped by; undefined when nothing was noticed. */
function caught(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (thrown) {
    return (thrown as Error).message
  }
}

suite('random runs catch a core in which', () => {
  for (const { name, mistake, from = 1, Core } of mutants) {
    test(`${name} (mistake ${mistake})`, () => {
      for (let seed = from; seed < from + 150; seed++) {
        if (caught(() => chaos(seed, 3000, Core)) === undefined) continue
        // It is the bug that was found, not the seed.
        assert.equal(
          caught(() => chaos(seed, 3000)),
          undefined,
        )
        return
      }
      assert.fail('nothing was noticed')
    })
  }
})
