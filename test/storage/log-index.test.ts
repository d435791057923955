import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../src/core/random.ts'
import { BlockTable } from '../../src/storage/block-table.ts'
import { LogIndex } from '../../src/storage/log-index.ts'

suite('the index of a log', () => {
  test('finds each group, whether the ids are near each other or far apart', () => {
    for (let seed = 0; seed < 20; seed++) {
      const random = new SeededRandom(seed)
      const index = new LogIndex()
      const terms = new Map<number, number>()
      const ids = [
        1,
        2 ** 40,
        5_000,
        1_025,
        2_060,
        ...Array.from({ length: 40 }, () => 1 + random.integer(6_000)),
      ]
      for (let i = 1; i < 300; i++) {
        const groupId = ids[random.integer(ids.length)] as number
        if (random.integer(8) === 0) {
          index.destroyed(groupId, new Uint8Array(0), i)
          terms.delete(groupId)
        } else {
          index.hardState(groupId, { term: i, votedFor: 0, commit: 0 }, i)
          terms.set(groupId, i)
        }
        for (const id of ids) assert.equal(index.get(id)?.hardState?.term, terms.get(id), `group ${id}`)
      }
      assert.deepEqual(new Set([...index.groups()].map(({ groupId }) => groupId)), new Set(terms.keys()))
      assert.equal(index.liveBytes, terms.size * 64)
    }
  })
})

suite('a table of blocks', () => {
  test('keeps what it has however often it grows', () => {
    const table = new BlockTable()
    const count = 30_000
    for (let i = 0; i < count; i++) table.push(i * 2 + 1, i * 2 + 2, 2 ** 40 + i, i % 7)
    table.dropThrough(20)
    assert.equal(table.count, count - 10)
    for (let i = 0; i < table.count; i++) {
      const k = i + 10
      assert.deepEqual(table.at(i), {
        first: k * 2 + 1,
        last: k * 2 + 2,
        position: 2 ** 40 + k,
        bytes: k % 7,
      })
    }
  })
})
