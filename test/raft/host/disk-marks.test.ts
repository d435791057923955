import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import type { Marks } from '../../../src/raft/host/frame.ts'

const marks = (position: number, known: number): Marks => ({ kind: 'marks', position, known })
const peer = { nodeId: 'n2', incarnation: 7 }

suite('what nodes know of the disks of each other', () => {
  test('is how far they were at the most, whatever comes late', () => {
    const disk = new DiskMarks(() => 10)
    assert.deepEqual(disk.to(peer), marks(10, 0))
    assert.equal(disk.heard(peer, marks(50, 0)), false)
    assert.equal(disk.heard(peer, marks(40, 10)), false)
    assert.deepEqual(disk.to(peer), marks(10, 50))
    assert.equal(disk.heard(peer, marks(0, 11)), true)
  })

  test('holds for one life of a disk', () => {
    const disk = new DiskMarks(() => 10)
    disk.heard(peer, marks(50, 0))
    const empty = { ...peer, incarnation: 8 }
    assert.deepEqual(disk.to(empty), marks(10, 0))
    disk.heard(empty, marks(5, 0))
    assert.deepEqual(disk.to(empty), marks(10, 5))
    assert.equal(disk.known(peer), 0)
  })

  test('is not said where there is nothing to say', () => {
    const disk = new DiskMarks(() => 0)
    assert.equal(disk.to(peer), undefined)
    disk.heard(peer, marks(5, 0))
    assert.deepEqual(disk.to(peer), marks(0, 5))
  })

  test('is kept of so many nodes, those that were heard of last', () => {
    const disk = new DiskMarks(() => 0)
    const node = (i: number) => ({ nodeId: `n${i}`, incarnation: 1 })
    for (let i = 0; i < 10_000; i++) disk.heard(node(i), marks(1, 0))
    disk.heard(node(0), marks(2, 0))
    for (let i = 10_000; i < 10_003; i++) disk.heard(node(i), marks(1, 0))
    assert.deepEqual(
      [0, 1, 2, 3, 4, 10_002].map((i) => disk.known(node(i))),
      [2, 0, 0, 0, 1, 1],
    )
  })

  test('a store that does not say how far it is accuses nobody', () => {
    const disk = new DiskMarks(() => undefined)
    assert.equal(disk.heard(peer, marks(5, 1_000)), false)
    assert.deepEqual(disk.to(peer), marks(0, 5))
  })
})
