import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../src/core/random.ts'
import { balance, plan } from '../../src/placement/index.ts'
import { Model } from './support/cluster.ts'
import { settleEven, unevenBytes } from './support/even-goals.ts'

function cluster(counts: readonly number[], bytesOf: (node: number) => number): Model {
  const model = new Model()
  counts.forEach((_, node) => void model.addNode(`db${node}`, ''))
  let rangeId = 1
  counts.forEach((count, node) => {
    for (let i = 0; i < count; i++) model.addRange(rangeId++, [`db${node}`], { bytes: bytesOf(node) })
  })
  return model
}

suite('a balance within its tolerance', () => {
  const goals = [balance('replicas', { tolerance: 0.4 }), balance({ resource: 'bytes' })]

  test('does not forbid a move for a lesser goal, which costs one copy where two would have to change places', () => {
    const model = cluster([10, 10, 10], (node) => (node === 0 ? 13 : 10))
    const { moves } = plan(model.snapshot(), { replicationFactor: 1, goals })
    assert.deepEqual(
      moves.map(({ remove, reason }) => [remove?.nodeId, /changes places/.test(reason)]),
      [
        ['db0', false],
        ['db0', false],
      ],
    )
  })

  test('forbids it beyond half of that, so that little is not enough to make it worth a move of its own', () => {
    const model = cluster([13, 10, 7], (node) => (node === 2 ? 20 : 10))
    const { moves } = plan(model.snapshot(), { replicationFactor: 1, goals })
    const alone = moves.filter(({ reason }) => !/changes places/.test(reason))
    assert.ok(moves.length > 0)
    assert.ok(alone.every(({ remove }) => remove?.nodeId === 'db0'))
  })

  test('two of them come to rest, whatever the loads, and nothing is moved back soon after', () => {
    let moved = 0
    for (let seed = 1; seed <= 60; seed++) moved += settleEven(unevenBytes(new SeededRandom(seed)), seed)
    assert.ok(moved > 300, `only ${moved} moves were judged`)
  })
})
