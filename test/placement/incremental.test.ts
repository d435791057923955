import { suite, test } from 'node:test'
import fc from 'fast-check'
import { FleetLife } from './support/fleet-life.ts'

suite('a planner that goes on', () => {
  test('plans what a fresh one plans, whatever changed, and in the end nothing moves', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.integer({ min: 1, max: 20 }), (seed, steps) => {
        const life = new FleetLife(seed)
        for (let i = 0; i < steps; i++) life.step()
        life.settle()
      }),
      { numRuns: 60 },
    )
  })
})
