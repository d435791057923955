import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { breachOf, hunt, mistakes } from './swarm/hunt.ts'
import { recordedSeeds } from './swarm/recorded-seeds.ts'

suite('planted mistakes are caught by the simulation', () => {
  for (const name of mistakes) {
    test(name, (context) => {
      const seed = recordedSeeds[name] ?? 1
      // That the seed passes without the mistake was seen when it was recorded.
      const breach = breachOf(seed, name)
      if (breach !== undefined) {
        context.diagnostic(`seed ${seed}: ${breach.message}`)
        return
      }
      // A change of the core or of the simulator can move what a seed does; then another one has to be found near by.
      const found = hunt(name, seed + 1, 30)
      assert.notEqual(found, undefined, 'survived; npm run simulate:swim -- --mutants --record looks further')
    })
  }
})
