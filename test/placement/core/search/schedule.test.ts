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
    assert.deepEqual(seen, ['descent', 'pilot', 'main', ...repair, 'quench', 'polish'])
  }
  assert.deepEqual(phaseAt(1, true), { phase: 'polish', part: 1 })
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
