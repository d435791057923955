import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { bugs } from './bugs.ts'
import { mistakesWithoutBug, safetyRules } from './rules.ts'

suite('the bugs that the simulator catches', () => {
  test('are one, under a name of its own, for every mistake of the list and every rule', () => {
    const names = new Set(bugs.map(({ name }) => name))
    assert.equal(names.size, bugs.length)
    assert.deepEqual(mistakesWithoutBug(), [])
    for (const { rule, bugs: broken } of safetyRules) {
      for (const name of broken) assert.ok(names.has(name), `no bug breaks "${rule}" as: ${name}`)
    }
  })
})
