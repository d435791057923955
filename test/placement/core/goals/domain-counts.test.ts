import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../../src/core/random.ts'
import { Assignment } from '../../../../src/placement/core/assignment.ts'
import { DomainCounts } from '../../../../src/placement/core/goals/domain-counts.ts'
import { drawColumns } from '../../support/columns.ts'

test('counts are those of a recount, in few domains and in more than a table would be kept for', () => {
  for (const replicas of [3, 12]) {
    for (const domainCount of [2, 30, 900]) {
      const random = new SeededRandom(replicas * 1000 + domainCount)
      const columns = drawColumns(random, { nodes: 40, ranges: 6, replicas, leaderLoad: false })
      const assignment = new Assignment(columns)
      const of = Int32Array.from({ length: 40 }, () => random.integer(domainCount))
      const counts = new DomainCounts(assignment, of, domainCount)
      assignment.observe(counts)
      for (let i = 0; i < 200; i++) {
        const slot = random.integer(columns.slotCount)
        assignment.move(slot, random.integer(40))
        const range = random.integer(columns.rangeCount)
        const domain = of[random.integer(40)] as number
        const { firstSlot, rangeOf } = columns
        const there = assignment.place.filter((node, at) => rangeOf[at] === range && of[node] === domain)
        assert.equal(counts.count(range, domain), there.length)
        const before = assignment.place.findIndex((node, at) => rangeOf[at] === range && of[node] === domain)
        const end = (firstSlot[range + 1] as number) - 1
        assert.equal(counts.hasEarlier(end, domain), before >= 0 && before < end)
      }
    }
  }
})
