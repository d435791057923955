import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../src/core/random.ts'
import { Draft } from '../../src/placement/core/draft.ts'
import { FleetIndex } from '../../src/placement/core/fleet-index.ts'
import { IdSet } from '../../src/placement/core/id-set.ts'
import { PageTree } from '../../src/placement/core/model/tree.ts'
import { RangeList } from '../../src/placement/core/range-list.ts'
import { Standing } from '../../src/placement/core/standing.ts'
import { RangeSurvey } from '../../src/placement/core/survey.ts'
import { Targets } from '../../src/placement/core/targets.ts'
import { WorkingSet } from '../../src/placement/core/working-set.ts'
import { balance, buildSnapshot, plan } from '../../src/placement/index.ts'
import { Model } from './support/cluster.ts'
import { settleEven, unevenBytes } from './support/even-goals.ts'
import { FleetLife } from './support/fleet-life.ts'

/** Puts a bug in the place of a method, and gives it the right one. */
function plant<T extends object, K extends keyof T>(
  of: { readonly prototype: T },
  method: K,
  bug: (right: T[K]) => T[K],
): () => void {
  const right = of.prototype[method]
  of.prototype[method] = bug(right)
  return () => {
    of.prototype[method] = right
  }
}

/** Bugs that a planner could have, each of which must be noticed. */
const bugs: Readonly<Record<string, () => () => void>> = {
  'forgets what moves under way keep busy': () =>
    plant(
      Standing,
      'read',
      (right) =>
        function (this: Standing, reader) {
          right.call(this, reader)
          this.from = -1
          this.to = -1
          return this
        },
    ),
  'does not count what moves under way bring': () =>
    plant(
      Standing,
      'read',
      (right) =>
        function (this: Standing, reader) {
          right.call(this, reader)
          if (reader.rangeId % 2 === 0) this.target = -1
          return this
        },
    ),
  'gives replicas to the dead': () => plant(Targets, 'isAllowed', () => () => true),
  'puts two replicas on a node': () => plant(WorkingSet, 'holds', () => () => false),
  'ignores the hysteresis': () => plant(Targets, 'isWorthwhile', () => () => true),
  'spoils a goal for a lesser one': () => plant(Targets, 'staysEven', () => () => true),
  'writes to a page that a snapshot shares': () =>
    plant(
      PageTree,
      'own',
      () =>
        function (this: PageTree, place) {
          return this.pageAt(place)
        },
    ),
  'does not notice that a node changed': () =>
    plant(
      FleetIndex,
      'touched',
      (right) =>
        function* (this: FleetIndex, before, next) {
          return before.table === next.table ? yield* right.call(this, before, next) : new Set<number>()
        },
    ),
  'forgets who is on a node': () => plant(RangeList, 'add', () => () => {}),
  'remembers needs that are met': () => plant(IdSet, 'delete', () => () => {}),
  'moves without a quorum': () => {
    const restore = [
      plant(Draft, 'prove', () => () => []),
      plant(
        RangeSurvey,
        'need',
        (right) =>
          function (this: RangeSurvey) {
            const need = right.call(this)
            return need === 'unavailable' && this.lostVoter >= 0 ? 'replaceLost' : need
          },
      ),
    ]
    return () => {
      for (const each of restore.reverse()) each()
    }
  },
  'moves what is held, and what is planned already': () => plant(Draft, 'isTaken', () => () => false),
  'knows no limits': () => plant(Draft, 'hasRoom', () => () => true),
  'draws anew each time': () => {
    let drawn = 0
    return plant(Targets, 'draw', () => () => Math.imul(++drawn, 0x9e3779b1) >>> 0)
  },
  'counts replicas without a vote for the quorum': () =>
    plant(
      RangeSurvey,
      'read',
      (right) =>
        function (this: RangeSurvey, range) {
          right.call(this, range)
          this.voters += this.learners
          this.liveVoters += this.learners
          return this
        },
    ),
  'has no replicas without a vote': () => plant(RangeSurvey, 'needOfNonVoters', () => () => 'nothing'),
  'takes a lost voter for one that stays': () =>
    plant(
      RangeSurvey,
      'need',
      (right) =>
        function (this: RangeSurvey) {
          const need = right.call(this)
          return need === 'replaceLost' ? 'nothing' : need
        },
    ),
}

/** Everything that is asked of a planner, on clusters that are always the same. */
function judge(): void {
  // Within its tolerance a difference is worth nothing.
  const model = new Model()
  for (let i = 0; i < 3; i++) model.addNode(`db${i}`, 'z')
  for (let r = 1; r <= 40; r++) model.addRange(r, [`db${r <= 14 ? 0 : r <= 28 ? 1 : 2}`])
  const even = plan(model.snapshot(), {
    replicationFactor: 1,
    goals: [balance('replicas', { tolerance: 0.15 })],
  })
  assert.deepEqual(even.moves, [])
  // Three on one node, one of them on its way to the other: that is as even as it gets.
  const nodes = model.snapshot().nodes.slice(0, 2)
  const replica = { replicaId: 1, nodeId: 'db0', incarnation: 1, role: 'voter' as const }
  const underWay = buildSnapshot({
    nodes,
    ranges: [2, 4, 6].map((rangeId) => ({
      descriptor: { rangeId, generation: 1, start: new Uint8Array(0), end: undefined, replicas: [replica] },
      leaseHolder: 1,
    })),
    moves: [{ rangeId: 2, kind: 'replace', add: 'db1', remove: 1 }],
    deadAfterMs: 0,
  })
  const rest = plan(underWay, { replicationFactor: 1, goals: [balance('replicas')] })
  assert.deepEqual(rest.moves, [])
  const alone = new Model().addNode('a', 'z').addNode('b', 'z').addRange(1, ['a']).kill('b')
  alone.addNode('c', 'z')
  alone.range(1).replicas.push({ replicaId: 2, nodeId: 'b', incarnation: 1, role: 'voter' })
  const stuck = plan(alone.snapshot(), { replicationFactor: 2 })
  assert.deepEqual([stuck.moves, stuck.blockedCount], [[], 1], 'one of two is no quorum')
  const lost = new Model()
  for (const name of ['a', 'b', 'c', 'd']) lost.addNode(name, name)
  lost.addRange(1, ['a', 'b', 'c']).kill('c')
  assert.equal(plan(lost.snapshot()).moves[0]?.add?.nodeId, 'd')
  for (let seed = 1; seed <= 20; seed++) settleEven(unevenBytes(new SeededRandom(seed)), seed)
  for (let seed = 1; seed <= 12; seed++) {
    const life = new FleetLife(seed * 7919)
    for (let i = 0; i < 12; i++) life.step()
    life.settle()
  }
}

suite('planted bugs', () => {
  test('nothing is found where there is none', () => judge())

  for (const [name, put] of Object.entries(bugs)) {
    test(`a planner that ${name} is found out`, () => {
      const restore = put()
      try {
        assert.throws(judge)
      } finally {
        restore()
      }
    })
  }
})
