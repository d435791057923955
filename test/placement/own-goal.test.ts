import assert from 'node:assert/strict'
import { test } from 'node:test'
import { explainRange, nodeGoal, plan } from '../../src/placement/index.ts'
import { Model } from './support/cluster.ts'

/** A goal of a host's own, as the documentation shows it: above so many bytes a node pays for each one. */
const roomToBreathe = nodeGoal({
  name: 'roomToBreathe',
  cost: (usage, offset) => Math.max(0, (usage[offset] as number) - 100),
})

test('a goal of the own is planned for, named in the reason, and in the end met', () => {
  const model = new Model()
  for (const name of ['a', 'b', 'c']) model.addNode(name, '')
  for (let r = 1; r <= 14; r++) model.addRange(r, ['a'], { bytes: 10 })
  for (let r = 15; r <= 20; r++) model.addRange(r, ['b'], { bytes: 10 })
  const policy = { replicationFactor: 1, goals: [roomToBreathe] }
  const { others } = explainRange(model.snapshot(), 1, policy)
  assert.deepEqual(others.map(({ nodeId }) => nodeId).sort(), ['b', 'c'])
  const { moves } = plan(model.snapshot(), policy, { limits: { improvements: 20 } })
  assert.equal(moves.length, 4, 'what is above, and no more')
  for (const move of moves) {
    assert.match(move.reason, /^roomToBreathe: /)
    assert.equal(move.remove?.nodeId, 'a')
    model.apply(move)
  }
  assert.deepEqual(plan(model.snapshot(), policy).moves, [])
})
