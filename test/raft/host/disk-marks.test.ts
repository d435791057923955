import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { DiskHistory, type DiskLife } from '../../../src/raft/host/disk-history.ts'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import type { LifeMark, Marks } from '../../../src/raft/host/host-messages.ts'

/** Of the peer in one of its lives; what it knows of this node. */
const marks = (life: number, position: number, known: readonly LifeMark[] = []): Marks => ({
  kind: 'marks',
  life,
  position,
  known,
})
const mark = (life: number, position: number): LifeMark => ({ life, position })
const peer = { nodeId: 'n2', incarnation: 7 }

/** The marks of this node, with a disk that writes on, which had so much when this life began. */
function open(life: number, position: number, before: readonly DiskLife[] = []) {
  const disk = { position }
  const history = new DiskHistory([...before, { life, openedAt: position }])
  return { disk, history, own: new DiskMarks(history, () => disk.position) }
}

suite('what nodes know of the disks of each other', () => {
  test('is how far they were at the most, whatever comes late', () => {
    const { own } = open(1, 10)
    assert.deepEqual(own.to(peer), marks(1, 10))
    assert.equal(own.heard(peer, marks(4, 50)), undefined)
    assert.equal(own.heard(peer, marks(4, 40, [mark(1, 10)])), undefined)
    assert.deepEqual(own.to(peer), marks(1, 10, [mark(4, 50)]))
    assert.deepEqual(own.heard(peer, marks(4, 0, [mark(1, 11)])), { ...mark(1, 11), settledFrom: 11 })
  })

  test('holds for one incarnation of a disk', () => {
    const { own } = open(1, 10)
    own.heard(peer, marks(4, 50))
    const empty = { ...peer, incarnation: 8 }
    assert.deepEqual(own.to(empty), marks(1, 10))
    own.heard(empty, marks(5, 5))
    assert.deepEqual(own.to(empty), marks(1, 10, [mark(5, 5)]))
    // The disk that was given up may come back, restored from a backup, and its late frames say nothing of the new one.
    assert.deepEqual(own.to(peer), marks(1, 10, [mark(4, 50)]))
    own.heard(peer, marks(4, 60))
    assert.deepEqual(own.known(empty), [mark(5, 5)])
  })

  test('is kept of so many disks of a node, those that were heard of last', () => {
    const { own } = open(1, 10)
    const disk = (incarnation: number) => ({ nodeId: 'n2', incarnation })
    for (let i = 1; i <= 4; i++) own.heard(disk(i), marks(4, i))
    own.heard(disk(1), marks(4, 9))
    own.heard(disk(5), marks(4, 5))
    assert.deepEqual(
      [1, 2, 3, 4, 5].map((i) => own.known(disk(i))[0]?.position),
      [9, undefined, 3, 4, 5],
    )
  })

  test('is not said where there is nothing to say', () => {
    const { own } = open(1, 0)
    assert.equal(own.to(peer), undefined)
    own.heard(peer, marks(4, 0))
    assert.equal(own.to(peer), undefined)
    own.heard(peer, marks(4, 5))
    assert.deepEqual(own.to(peer), marks(1, 0, [mark(4, 5)]))
  })

  test('is kept of so many nodes, those that were heard of last', () => {
    const { own } = open(1, 0)
    const node = (i: number) => ({ nodeId: `n${i}`, incarnation: 1 })
    for (let i = 0; i < 10_000; i++) own.heard(node(i), marks(4, 1))
    own.heard(node(0), marks(4, 2))
    for (let i = 10_000; i < 10_003; i++) own.heard(node(i), marks(4, 1))
    assert.deepEqual(
      [0, 1, 2, 3, 4, 10_002].map((i) => own.known(node(i))[0]?.position),
      [2, undefined, undefined, undefined, 1, 1],
    )
  })

  test('is kept of so many lives of a node, those that got furthest, and told of all of them', () => {
    const { own } = open(1, 0)
    for (let life = 10; life < 30; life++) own.heard(peer, marks(life, 1_000 - life))
    const first = Array.from({ length: 8 }, (_, i) => mark(10 + i, 990 - i))
    assert.deepEqual(own.known(peer), first)
    // Those that wrote on after an older image came back do not drive out what is known of the one before.
    own.heard(peer, marks(40, 995))
    own.heard(peer, marks(41, 996))
    own.heard(peer, marks(41, 997))
    assert.deepEqual(own.known(peer), [mark(41, 997), mark(40, 995), ...first.slice(0, 6)])
    assert.deepEqual(own.to(peer), marks(1, 0, own.known(peer)))
  })
})

suite('a disk of which an older image came back', () => {
  test('is found out although it has written more since than it lost', () => {
    const other = open(4, 1)
    const before = open(1, 100)
    other.own.heard(peer, before.own.to(peer) as Marks)
    const after = open(2, 40)
    after.disk.position = 120
    other.own.heard(peer, after.own.to(peer) as Marks)
    assert.deepEqual(other.own.known(peer), [mark(2, 120), mark(1, 100)])
    assert.deepEqual(after.own.heard(peer, other.own.to(peer) as Marks), { ...mark(1, 100), settledFrom: 41 })
  })

  test('is found out although later lives of it got further, and were heard of by those who know', () => {
    const other = open(4, 1)
    other.own.heard(peer, marks(20, 100))
    // It came back with 40, and each life of it wrote on.
    const lives = [{ life: 20, openedAt: 10 }]
    let position = 40
    for (let life = 30; life < 36; life++) {
      const { own, disk } = open(life, position, lives)
      lives.push({ life, openedAt: position })
      position += 20
      disk.position = position
      other.own.heard(peer, own.to(peer) as Marks)
    }
    assert.equal(position, 160)
    const { own } = open(36, position, lives)
    assert.deepEqual(own.heard(peer, other.own.to(peer) as Marks), { ...mark(20, 100), settledFrom: 40 })
  })

  test('is told of the loss that concerns most', () => {
    const { own } = open(7, 60, [
      { life: 5, openedAt: 10 },
      { life: 6, openedAt: 30 },
    ])
    const told = [mark(5, 40), mark(6, 70), mark(5, 50)]
    assert.deepEqual(own.heard(peer, marks(4, 1, told)), { ...mark(6, 70), settledFrom: 60 })
  })

  test('is not suspected for a number that cannot be true', () => {
    const { own } = open(1, 10)
    assert.equal(own.heard(peer, marks(4, 1, [mark(1, 11 + 2 ** 50), mark(9, 2 ** 53 - 1)])), undefined)
    assert.ok(own.heard(peer, marks(4, 1, [mark(1, 10 + 2 ** 50)])) !== undefined)
  })

  test('is not suspected where each life went on from the one before', () => {
    const other = open(4, 1)
    let position = 10
    for (let life = 10; life < 20; life++) {
      const { own, disk } = open(life, position)
      assert.equal(own.heard(peer, other.own.to(peer) ?? marks(4, 1)), undefined)
      disk.position += 7
      other.own.heard(peer, own.to(peer) as Marks)
      assert.equal(own.heard(peer, other.own.to(peer) as Marks), undefined)
      position = disk.position + 1
    }
  })

  test('is found out when it has less than this very life was heard to have', () => {
    const { own, disk } = open(2, 40)
    assert.equal(own.heard(peer, marks(4, 1, [mark(2, 41)]))?.position, 41)
    disk.position = 41
    assert.equal(own.heard(peer, marks(4, 1, [mark(2, 41)])), undefined)
  })

  test('is not suspected where its store does not say how far it is', () => {
    const own = new DiskMarks(undefined, () => undefined)
    assert.equal(own.heard(peer, marks(4, 5, [mark(1, 1_000), mark(2, 1_000)])), undefined)
    assert.deepEqual(own.to(peer), marks(0, 0, [mark(4, 5)]))
  })
})
