import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../src/core/random.ts'
import { GroupLog } from '../../src/storage/group-log.ts'

/** Where each entry is, the plain way: the record's position and size by index; 0 bytes for one that is missing. */
class Model {
  readonly entries = new Map<number, { readonly position: number; readonly bytes: number }>()
  compacted = 0
  last = 0

  append(first: number, last: number, position: number, bytes: number): void {
    for (let i = this.last + 1; i < first; i++) this.entries.set(i, { position: 0, bytes: 0 })
    for (let i = first; i <= this.last; i++) this.entries.delete(i)
    for (let i = first; i <= last; i++) this.entries.set(i, { position, bytes })
    this.last = last
  }

  move(first: number, last: number, position: number, bytes: number): void {
    for (let i = this.last + 1; i <= last; i++) this.entries.set(i, { position: 0, bytes: 0 })
    for (let i = first; i <= last; i++) this.entries.set(i, { position, bytes })
    this.last = Math.max(this.last, last)
  }

  compact(index: number): void {
    for (const known of this.entries.keys()) if (known <= index) this.entries.delete(known)
    this.compacted = index
    this.last = Math.max(this.last, index)
  }

  reset(index: number): void {
    this.entries.clear()
    this.compacted = index
    this.last = index
  }
}

function check(log: GroupLog, model: Model, what: string): void {
  const { blocks } = log
  assert.equal(log.compacted.index, model.compacted, what)
  assert.equal(log.last.index, model.last, what)
  let next = model.compacted + 1
  let live = 0
  for (let i = 0; i < blocks.count; i++) {
    const block = blocks.at(i)
    assert.equal(block.first, next, `${what}: blocks leave no gap`)
    assert.ok(block.last >= block.first, what)
    for (let index = block.first; index <= block.last; index++) {
      const { position, bytes } = block
      assert.deepEqual({ position, bytes }, model.entries.get(index), `${what}: entry ${index}`)
      assert.equal(blocks.find(index), i, `${what}: finds ${index}`)
    }
    live += block.bytes
    next = block.last + 1
  }
  assert.equal(next, model.last + 1, `${what}: blocks reach the end`)
  assert.equal(blocks.find(next), blocks.count, what)
  assert.equal(log.liveBytes - log.stateBytes, live, what)
  const missing = log.missing().reduce((sum, { first, last }) => sum + last - first + 1, 0)
  assert.equal(missing, [...model.entries.values()].filter(({ bytes }) => bytes === 0).length, what)
}

suite('where the entries of a group are', () => {
  test('equals a plain model, whatever is appended, truncated, moved and compacted', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new SeededRandom(seed)
      const log = new GroupLog(1)
      const model = new Model()
      let position = 0
      let accounted = 0
      for (let step = 0; step < 120; step++) {
        position += 100
        const bytes = 10 + random.integer(90)
        const dice = random.float()
        const { compacted, last } = model
        if (dice < 0.55) {
          const first = last + 1 + (random.float() < 0.1 ? random.integer(5) : 0)
          const end = first + random.integer(4)
          accounted += bytes - log.append(first, end, step, position, bytes)
          model.append(first, end, position, bytes)
        } else if (dice < 0.65 && last > compacted) {
          const first = compacted + 1 + random.integer(last - compacted)
          const end = first + random.integer(6)
          accounted += bytes - log.append(first, end, step, position, bytes)
          model.append(first, end, position, bytes)
        } else if (dice < 0.85) {
          const first = compacted + 1 + random.integer(last - compacted + 3)
          const end = first + random.integer(5)
          accounted += log.move(first, end, step, position, bytes)
          model.move(first, end, position, bytes)
        } else if (dice < 0.98) {
          const index = compacted + random.integer(last - compacted + 1)
          accounted -= log.compact(index, step, position)
          model.compact(index)
        } else {
          const index = random.integer(50)
          accounted -= log.liveBytes - log.stateBytes
          log.reset(index, step, position)
          model.reset(index)
        }
        check(log, model, `seed ${seed}, step ${step}`)
        assert.equal(log.liveBytes - log.stateBytes, accounted, `seed ${seed}, step ${step}: bytes`)
      }
    }
  })

  test('gives room back when most of it was compacted', () => {
    const log = new GroupLog(1)
    for (let i = 1; i <= 100_000; i++) {
      log.append(i, i, 1, i * 10, 10)
      if (i % 1_000 === 0) log.compact(i - 500, 1, i * 10)
    }
    assert.equal(log.blocks.count, 500)
    assert.deepEqual(log.blocks.at(499), { first: 100_000, last: 100_000, position: 1_000_000, bytes: 10 })
  })
})
