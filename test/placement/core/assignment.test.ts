import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { Assignment, checkColumns, nowhere } from '../../../src/placement/core/assignment.ts'
import { drawColumns } from '../support/columns.ts'

/** Makes one random change. */
function change(assignment: Assignment, random: SeededRandom): void {
  const { slotCount, nodeCount, rangeCount, firstSlot } = assignment.columns
  switch (random.integer(4)) {
    case 0:
      return assignment.swap(random.integer(slotCount), random.integer(slotCount))
    case 1: {
      const range = random.integer(rangeCount)
      const first = firstSlot[range] as number
      const slot = first + random.integer((firstSlot[range + 1] as number) - first)
      return assignment.lead(range, random.integer(5) === 0 ? nowhere : slot)
    }
    default:
      return assignment.move(random.integer(slotCount), random.integer(nodeCount + 1) - 1)
  }
}

function stateOf(assignment: Assignment): unknown {
  const { columns } = assignment
  return {
    place: assignment.place,
    leader: assignment.leader,
    usage: assignment.usage,
    held: assignment.held,
    replicaCount: assignment.replicaCount,
    leaderCount: assignment.leaderCount,
    slots: Array.from({ length: columns.nodeCount }, (_, node) => assignment.slotsOn(node).sort()),
  }
}

test('after any changes, all sums are what they would be if they were summed anew', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new SeededRandom(seed)
    const assignment = new Assignment(drawColumns(random, { missing: 0.1, leaderLoad: seed % 3 !== 0 }))
    for (let i = 0; i < 60; i++) change(assignment, random)
    assert.deepEqual(stateOf(assignment), stateOf(assignment.clone()), `seed ${seed}`)
  }
})

test('a rollback comes back to the checkpoint, whatever lies between', () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new SeededRandom(seed)
    const assignment = new Assignment(drawColumns(random, { missing: 0.1 }))
    const start = stateOf(assignment.clone())
    const outer = assignment.checkpoint()
    for (let i = 0; i < 40; i++) change(assignment, random)
    const middle = stateOf(assignment.clone())
    const inner = assignment.checkpoint()
    for (let i = 0; i < 100; i++) change(assignment, random)
    assignment.rollback(inner)
    assert.deepEqual(stateOf(assignment), middle)
    assignment.rollback(outer)
    assert.deepEqual(stateOf(assignment), start)
    assignment.forget()
    assert.throws(() => assignment.rollback(3), { code: 'INVALID_ARGUMENT' })
  }
})

test('whoever observes is told of every change, those of a rollback included', () => {
  const random = new SeededRandom(3)
  const assignment = new Assignment(drawColumns(random))
  const seen = { place: assignment.place.slice(), leader: assignment.leader.slice() }
  assignment.observe({
    moved(slot, from, to) {
      assert.equal(seen.place[slot], from)
      seen.place[slot] = to
    },
    led(range, from, to) {
      assert.equal(seen.leader[range], from)
      seen.leader[range] = to
    },
  })
  const start = assignment.checkpoint()
  for (let i = 0; i < 100; i++) change(assignment, random)
  assert.deepEqual(seen.place, assignment.place)
  assert.deepEqual(seen.leader, assignment.leader)
  assignment.rollback(start)
  assert.deepEqual(seen.place, assignment.place)
})

test('a lost replica takes nothing anywhere, and holds nothing when it is made elsewhere', () => {
  const columns = { ...drawColumns(new SeededRandom(1)), status: new Uint8Array(0) }
  const status = new Uint8Array(columns.slotCount)
  status[0] = 4
  const assignment = new Assignment({ ...columns, status })
  assert.equal(assignment.place[0], nowhere)
  assignment.move(0, (columns.home[0] as number) === 0 ? 1 : 0)
  assert.ok(assignment.held.every((amount) => amount === 0))
})

test('what does not fit together is refused, and the message says what', () => {
  const columns = drawColumns(new SeededRandom(1))
  assert.equal(checkColumns(columns), columns)
  const refused: [Partial<typeof columns>, RegExp][] = [
    [{ capacity: new Float64Array(3) }, /capacity has 3 entries, not 12/],
    [{ load: columns.load.map((_, i) => (i === 5 ? -1 : 0)) }, /slot 2 has a load of -1/],
    [{ home: columns.home.map((_, i) => (i === 1 ? 6 : 0)) }, /slot 1 is placed on node 6/],
    [
      { homeLeader: columns.homeLeader.map((_, i) => (i === 0 ? columns.slotCount - 1 : nowhere)) },
      /range 0 is led/,
    ],
    [{ rangeOf: columns.rangeOf.map(() => 0) }, /rangeOf says otherwise/],
    [{ leaderLoad: new Float64Array(1) }, /leaderLoad has 1 entries/],
    [{ capacity: columns.capacity.map(() => Number.NaN) }, /node 0 has a capacity of NaN/],
  ]
  for (const [part, message] of refused) {
    assert.throws(() => checkColumns({ ...columns, ...part }), { code: 'INVALID_ARGUMENT', message })
  }
  assert.throws(() => new Assignment(undefined as never), { code: 'INVALID_ARGUMENT' })
  assert.throws(() => new Assignment(columns, new Int32Array(1)), { code: 'INVALID_ARGUMENT' })
  assert.throws(() => new Assignment(columns, columns.home, new Int32Array(1)), { code: 'INVALID_ARGUMENT' })
})
