import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ReplicaDescriptor } from '../../src/model/index.ts'
import { PlacementInvariants } from '../../src/placement/index.ts'

/** `a b c?`: replicas on nodes a, b, c; a number after the name is the replica id, `?` marks a learner. */
function replicas(text: string): ReplicaDescriptor[] {
  return text.split(' ').map((word, i) => ({
    replicaId: Number(/\d+/.exec(word)?.[0] ?? i + 1),
    nodeId: word[0] as string,
    incarnation: 1,
    role: word.includes('?')
      ? 'learner'
      : word.includes('+')
        ? 'incoming'
        : word.includes('-')
          ? 'outgoing'
          : 'voter',
  }))
}

function judge(configurations: readonly string[], dead = '', generations?: readonly number[]): void {
  const invariants = new PlacementInvariants()
  configurations.forEach((text, i) => {
    const next = { rangeId: 1, generation: generations?.[i] ?? i + 1, replicas: replicas(text) }
    invariants.committed(next, (replica) => !dead.includes(replica.nodeId))
  })
}

suite('the invariants of placement', () => {
  test('accept a replacement, also of a dead node', () => {
    const steps = ['a1 b2 c3', 'a1 b2 c3 d4?', 'a1 b2 c3 d4', 'b2 c3 d4']
    judge(steps)
    judge(steps, 'a')
  })

  test('accept a joint replacement, also of a dead node', () => {
    const steps = ['a1 b2 c3', 'a1 b2 c3 d4?', 'a1- b2 c3 d4+', 'b2 c3 d4']
    judge(steps)
    judge(steps, 'a')
  })

  test('say nothing about a range that had no quorum anyway', () => judge(['a1 b2 c3', 'a1 b2 c3 d4?'], 'ab'))

  const broken: [string, string[], string, number[]?][] = [
    ['two replicas on a node', ['a1 a2 c3'], ''],
    ['two voters at once', ['a1 b2 c3', 'a1 b2 d4'], ''],
    ['a gap in the generations', ['a1 b2 c3', 'a1 b2'], '', [1, 3]],
    ['a generation twice', ['a1 b2 c3', 'a1 b2'], '', [1, 1]],
    ['a replica id that is used again', ['a1 b2 c3', 'a1 b2', 'a1 b2 c3?'], ''],
    ['a removal that loses the quorum', ['a1 b2 c3', 'a1 b2'], 'a'],
    ['a joint step that loses the quorum of one half', ['a1 b2 c3 d4? e5?', 'a1 b2- c3- d4+ e5+'], 'de'],
    ['a joint configuration of other voters', ['a1 b2 c3 d4?', 'a1 b2- d4+'], ''],
    ['two joint configurations in a row', ['a1 b2 c3 d4?', 'a1 b2 c3- d4+', 'a1 b2- c3- d4+'], ''],
    ['a joint configuration left for others', ['a1 b2 c3 d4?', 'a1 b2 c3- d4+', 'a1 b2 c3'], ''],
    ['a promotion that loses the quorum', ['a1 b2 c3 d4? e5?', 'a1 b2 c3 d4 e5?'], 'ad'],
  ]
  for (const [what, configurations, dead, generations] of broken) {
    test(`find ${what}`, () =>
      assert.throws(() => judge(configurations, dead, generations), { code: 'INVARIANT_VIOLATED' }))
  }
})
