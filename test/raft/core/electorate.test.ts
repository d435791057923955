import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { makeConfiguration } from '../../../src/raft/core/configuration.ts'
import { changedConfiguration, leftConfiguration } from '../../../src/raft/core/configuration-change.ts'
import {
  type Electorate,
  electorateOf,
  hasQuorum,
  mayHaveQuorum,
  nobody,
  overlap,
  quorumValue,
} from '../../../src/raft/core/electorate.ts'
import type { Configuration, MembershipChange, RaftMember } from '../../../src/raft/core/membership-types.ts'

const ids = [1, 2, 3, 4, 5]

/** Every set of some of `from`. */
function subsets<T>(from: readonly T[]): T[][] {
  return Array.from({ length: 1 << from.length }, (_, bits) => from.filter((_item, i) => (bits >> i) & 1))
}

const half = (bits: number): number[] => ids.filter((_, i) => (bits >> i) & 1)
const halves = Array.from({ length: (1 << ids.length) - 1 }, (_, i) => half(i + 1))

function electorate(...of: readonly (readonly number[])[]): Electorate {
  return { halves: of, voters: [...new Set(of.flat())].sort((a, b) => a - b) }
}

/** What the paper says: more than half of each. */
function isQuorum(of: Electorate, set: readonly number[]): boolean {
  return of.halves.every((voters) => voters.filter((id) => set.includes(id)).length > voters.length / 2)
}

/** No quorum of the one is without a member of each quorum of the other: the complement of a quorum is none. */
function alwaysMeet(a: Electorate, b: Electorate): boolean {
  return subsets(ids).every(
    (set) =>
      !isQuorum(a, set) ||
      !isQuorum(
        b,
        ids.filter((id) => !set.includes(id)),
      ),
  )
}

const member = (replicaId: number, role: RaftMember['role']): RaftMember => ({
  replicaId,
  nodeId: `n${replicaId}`,
  incarnation: 1,
  role,
})

suite('electorates', () => {
  test('have the quorums that the definition says, one half or two', () => {
    for (const a of halves) {
      for (const b of halves) {
        const joint = electorate(a, b)
        for (const set of subsets(ids)) {
          const expected = isQuorum(joint, set)
          assert.equal(
            hasQuorum(joint, (id) => set.includes(id)),
            expected,
          )
          // A vote that is refused is one that will not be granted.
          assert.equal(
            mayHaveQuorum(joint, (id) => !set.includes(id)),
            expected,
          )
        }
      }
    }
    assert.equal(
      hasQuorum(nobody, () => true),
      false,
    )
  })

  test('reach the value that a quorum has, and no higher one', () => {
    const values = [3, 9, 10, 0, 7]
    for (const a of halves) {
      for (const b of halves) {
        const joint = electorate(a, b)
        const reached = (least: number): boolean =>
          isQuorum(
            joint,
            ids.filter((_, i) => (values[i] as number) >= least),
          )
        const value = quorumValue(joint, (id) => values[id - 1] as number)
        assert.ok(reached(value) && !reached(value + 1), `${a} and ${b}: ${value}`)
      }
    }
    assert.equal(
      quorumValue(nobody, () => 7),
      0,
    )
  })

  test('that are said to overlap do', () => {
    for (const a of halves) {
      for (const b of halves) {
        const said = overlap(electorate(a), electorate(b))
        assert.equal(said, alwaysMeet(electorate(a), electorate(b)), `${a} and ${b}`)
        if (!said) continue
        for (const c of halves.filter((other) => other.length === 3)) {
          assert.ok(alwaysMeet(electorate(a, c), electorate(b)))
          assert.ok(overlap(electorate(a, c), electorate(c, b)))
        }
      }
    }
  })
})

suite('every change of a small group', () => {
  /** All configurations that are not joint, of up to four members. */
  const starts: Configuration[] = subsets([1, 2, 3, 4]).flatMap((members) =>
    subsets(members)
      .filter((voters) => voters.length > 0)
      .map((voters) =>
        makeConfiguration(
          7,
          members.map((id) => member(id, voters.includes(id) ? 'voter' : 'learner')),
        ),
      ),
  )

  /** All lists that do at most one thing to each member, and add at most one. */
  function lists({ replicas }: Configuration): MembershipChange[][] {
    let all: MembershipChange[][] = [[], [{ type: 'addLearner', nodeId: 'n5', incarnation: 1 }]]
    for (const { replicaId, role } of replicas) {
      const one: MembershipChange[] = [
        { type: role === 'voter' ? 'demote' : 'promote', replicaId },
        { type: 'remove', replicaId },
      ]
      all = [...all, ...all.flatMap((list) => one.map((change) => [...list, change]))]
    }
    return all.filter((list) => list.length > 0)
  }

  test('leads through configurations whose quorums meet, to the members that were asked for', () => {
    let joints = 0
    for (const before of starts) {
      for (const changes of lists(before)) {
        for (const autoLeave of [true, false]) {
          const after = changedConfiguration(before, changes, 5, autoLeave)
          if (typeof after === 'string') {
            assert.equal(after, 'lastVoter')
            continue
          }
          assert.equal(after.generation, 8)
          assert.ok(alwaysMeet(electorateOf(before), electorateOf(after)))
          assert.ok(overlap(electorateOf(before), electorateOf(after)))
          const voters = changes.filter(
            (change) =>
              change.type === 'promote' ||
              change.type === 'demote' ||
              (change.type === 'remove' &&
                before.replicas.some((r) => r.replicaId === change.replicaId && r.role === 'voter')),
          ).length
          assert.equal(after.joint !== undefined, voters > 1 || (voters > 0 && !autoLeave))
          let end = after
          if (after.joint !== undefined) {
            joints++
            assert.deepEqual(electorateOf(after).halves[1], electorateOf(before).voters)
            end = leftConfiguration(after)
            assert.equal(end.joint, undefined)
            assert.ok(alwaysMeet(electorateOf(after), electorateOf(end)))
            assert.deepEqual(electorateOf(after).halves[0], electorateOf(end).voters)
          }
          assert.deepEqual(
            end.replicas.map(({ replicaId, role }) => [replicaId, role]),
            expected(before, changes),
          )
        }
      }
    }
    assert.ok(joints > 1000)
  })

  /** The members after the changes, one after the other. */
  function expected({ replicas }: Configuration, changes: readonly MembershipChange[]): unknown[] {
    const roles = new Map<number, string>(replicas.map(({ replicaId, role }) => [replicaId, role]))
    for (const change of changes) {
      if (change.type === 'addLearner') roles.set(5, 'learner')
      else if (change.type === 'promote') roles.set(change.replicaId, 'voter')
      else if (change.type === 'demote') roles.set(change.replicaId, 'learner')
      else if (change.type === 'remove') roles.delete(change.replicaId)
    }
    return [...roles].sort(([a], [b]) => a - b)
  }
})
