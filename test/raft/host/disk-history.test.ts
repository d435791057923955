import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { DiskHistory, maximumLivesIn } from '../../../src/raft/host/disk-history.ts'

const random = new SeededRandom(1)
const lifeOf = ({ present }: DiskHistory): number => present?.life ?? assert.fail()

/** Hosts that open a disk at these positions, one after the other. */
function opened(positions: readonly number[], from = new DiskHistory(), maximumLives = 128): DiskHistory {
  return positions.reduce((history, at) => history.begun(random, at, maximumLives), from)
}

suite('the lives of a disk', () => {
  test('end where the next one begins, the present one where the disk is', () => {
    const history = opened([10, 20, 35])
    const reached = history.lives.map(({ life }) => history.reachedIn(life, 50))
    assert.deepEqual(reached, [20, 35, 50])
    assert.equal(history.reachedIn(lifeOf(history), undefined), undefined)
    assert.equal(new DiskHistory().reachedIn(1, 50), undefined)
  })

  test('that are not known ended before the oldest that is kept', () => {
    assert.equal(opened([10, 20]).reachedIn(1, 50), 10)
    const many = opened([10, 20, 30, 40], undefined, 3)
    assert.deepEqual(
      many.lives.map(({ openedAt }) => openedAt),
      [20, 30, 40],
    )
    assert.equal(many.reachedIn(1, 50), 20)
  })

  test('are never two of the same number', () => {
    const { lives } = opened(Array.from({ length: 100 }, (_, i) => i))
    assert.equal(new Set(lives.map(({ life }) => life)).size, 100)
  })

  test('are as many as a write to the store has room for, and two at the least', () => {
    assert.deepEqual([1, 900, 16_000, 1e9].map(maximumLivesIn), [2, 6, 128, 128])
  })

  test('have those of tools among them, of which one right after another needs no place', () => {
    const first = opened([10])
    const visited = first.visited(random, 20, false, 128)
    assert.equal(visited.reachedIn(lifeOf(first), 50), 20)
    assert.equal(visited.visited(random, 30, false, 128), visited)
    // What it had when the first of them began counts: nobody heard of what they wrote.
    const recovered = visited.visited(random, 30, true, 128)
    assert.deepEqual(
      recovered.lives.map(({ openedAt }) => openedAt),
      [10, 20],
    )
    const next = opened([40], recovered)
    assert.equal(next.reachedIn(lifeOf(first), 50), 20)
    assert.equal(next.visited(random, 50, false, 128).lives.length, 4)
    assert.equal(new DiskHistory().visited(random, 5, false, 128).lives.length, 1)
  })

  test('tell from which position on nothing relies on what was forgotten', () => {
    const before = opened([10, 20])
    const [first, second] = before.lives
    const recovered = before.visited(random, 30, true, 128)
    const after = opened([40, 50], recovered)
    assert.equal(after.settledFrom(first?.life ?? 0), 20)
    assert.equal(after.settledFrom(second?.life ?? 0), 30)
    assert.equal(after.settledFrom(lifeOf(opened([40], recovered)) + 1), 51, 'of the last lineage')
    assert.equal(after.settledFrom(lifeOf(after)), 51)
    // One that an image lost: of the lineage from before the recovery, or from after it.
    const lost = lifeOf(opened([25], before))
    const later = lifeOf(opened([45], recovered))
    assert.deepEqual([after.settledFrom(lost), after.settledFrom(later)], [30, 51])
    // A lineage of which nothing is left here.
    assert.equal(after.settledFrom(lifeOf(opened([99]))), 51)
  })
})
