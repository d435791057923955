import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { forwardingBugs } from '../support/forwarding-bugs.ts'
import { survive } from '../support/forwarding-run.ts'

suite('what a forwarded command came to', () => {
  test('is told as it is, whatever happens to leaders, connections and disks', async () => {
    const problems: string[] = []
    for (let seed = 1; seed <= 6; seed++) problems.push(...(await survive(seed)))
    assert.deepEqual(problems, [])
  })
})

suite('a run of forwarded commands catches that', () => {
  for (const { name, seed, plant } of forwardingBugs) {
    if (seed === undefined) continue
    test(name, async () => {
      for (let tried = seed; tried < seed + 30; tried++) {
        const takeOut = plant()
        const problems = await survive(tried).finally(takeOut)
        if (problems.length === 0) continue
        // It must be the bug that is caught.
        assert.deepEqual(await survive(tried), [])
        return
      }
      assert.fail('survived')
    })
  }
})
