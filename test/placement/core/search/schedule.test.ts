import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PilotRun, phaseAt, type SearchPhase } from '../../../../src/placement/core/search/schedule.ts'

test('phases follow each other, and each goes from its beginning to its end', () => {
  for (const relaxed of [false, true]) {
    const seen: SearchPhase[] = []
    let last = 0
    for (let i = 0; i < 10_000; i++) {
      const { phase, part } = phaseAt(i / 10_000, relaxed)
      assert.ok(part >= 0 && part < 1)
      if (seen[seen.length - 1] !== phase) {
        if (seen.length > 0) assert.ok(last > 0.9, `${seen[seen.length - 1]} ended at ${last}`)
        assert.ok(part < 0.1, `${phase} began at ${part}`)
        seen.push(phase)
      } else assert.ok(part > last)
      last = part
    }
    const repair: SearchPhase[] = relaxed ? ['repair'] : []
    assert.deepEqual(seen, ['descent', 'pilot', 'approach', 'main', ...repair, 'quench', 'polish'])
  }
  assert.deepEqual(phaseAt(1, true), { phase: 'polish', part: 1 })
})

test('the main part begins when the approach has arrived', () => {
  assert.equal(phaseAt(0.12, true).phase, 'approach')
  assert.deepEqual(phaseAt(0.12, true, 0.12), { phase: 'main', part: 0 })
  assert.equal(phaseAt(0.5, true, 0.14).part, 0.5)
  assert.equal(phaseAt(0.199, true).phase, 'approach')
  assert.equal(phaseAt(0.2, true).phase, 'main')
})

test('an approach ends where next to nothing is left to gain, and the main part before that', () => {
  const pilot = new PilotRun()
  assert.equal(pilot.approachEnd(), undefined)
  // 1000 / 10^n at the temperature 1000 / 10^n, above an end of 0.
  for (let i = 0; i < 60; i++) pilot.note(1000 * 10 ** (-i / 10), 1000 * 10 ** (-i / 10))
  pilot.note(1e-4, 0)
  const last = pilot.approachEnd() as number
  assert.ok(last < 1.01 && last > 0.7, `${last}`)
  const { hot, cold } = pilot.coolingFrom(1e6)
  assert.equal(hot, 2e6)
  assert.ok(cold > 4 * 23 && cold < 4 * 30.1, `${cold}`)
  assert.deepEqual(pilot.coolingFrom(50), { hot: 100, cold: 10 })
  const tight = pilot.coolingDirectly(500, 1000)
  assert.ok(tight.hot === 1500 && tight.cold > 4 * 11 && tight.cold < 4 * 15.1, `${tight.hot}, ${tight.cold}`)
})

test('a pilot knows at which temperature it first cost so little', () => {
  const pilot = new PilotRun()
  assert.equal(pilot.end, Number.POSITIVE_INFINITY)
  assert.equal(pilot.reaches(5), undefined)
  for (const [temperature, cost] of [
    [100, 50],
    [50, 20],
    [20, 30],
    [10, 10],
  ] as const)
    pilot.note(temperature, cost)
  assert.equal(pilot.reaches(60), 100)
  assert.equal(pilot.reaches(25), 50)
  assert.equal(pilot.reaches(15), 10)
  assert.equal(pilot.reaches(5), undefined)
  assert.equal(pilot.end, 10)
})
