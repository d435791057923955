import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ReplicaDescriptor } from '../../src/model/index.ts'
import { tookEffect, votesToSpare } from '../../src/placement/core/steps.ts'
import {
  type MemberChange,
  type MoveGoal,
  type MoveStep,
  type MoveView,
  nextStep,
  undoStep,
} from '../../src/placement/index.ts'

/** `a b c* d?`: replicas 1…n on nodes a…d; `*` leads, `?` is a learner, `!` is dead, `~` lags behind. */
function view(replicas: string, change: Partial<MoveView> = {}): MoveView {
  const parsed = replicas.split(' ').map((word, i) => {
    const replica: ReplicaDescriptor = {
      replicaId: i + 1,
      nodeId: word[0] as string,
      incarnation: 1,
      role: word.includes('?') ? 'learner' : word.includes('-') ? 'outgoing' : 'voter',
    }
    return { word, replica }
  })
  const dead = parsed.filter(({ word }) => word.includes('!')).map(({ replica }) => replica.nodeId)
  const isUp = (nodeId: string, incarnation: number): boolean => !dead.includes(nodeId) && incarnation === 1
  return {
    descriptor: {
      rangeId: 1,
      start: new Uint8Array(0),
      end: undefined,
      generation: 5,
      replicas: parsed.map(({ replica }) => replica),
    },
    leaseHolder: parsed.find(({ word }) => word.includes('*'))?.replica.replicaId,
    caughtUp: parsed.filter(({ word }) => !/[~!]/.test(word)).map(({ replica }) => replica.replicaId),
    brought: undefined,
    swaps: false,
    isUp,
    mayTake: isUp,
    ...change,
  }
}

const replace: MoveGoal = {
  rangeId: 1,
  kind: 'replace',
  priority: 1,
  add: { nodeId: 'x', incarnation: 1 },
  remove: { replicaId: 1, nodeId: 'a' },
}
const remove: MoveGoal = { rangeId: 1, kind: 'remove', priority: 1, remove: { replicaId: 1, nodeId: 'a' } }
const addReads: MoveGoal = {
  rangeId: 1,
  kind: 'addNonVoter',
  priority: 1,
  add: { nodeId: 'x', incarnation: 1 },
}
const replaceReads: MoveGoal = { ...addReads, kind: 'replaceNonVoter', remove: { replicaId: 4, nodeId: 'd' } }
const transfer: MoveGoal = {
  rangeId: 1,
  kind: 'transferLease',
  priority: 1,
  leaseTo: { replicaId: 2, nodeId: 'b' },
}

function brief(step: MoveStep): string {
  switch (step.type) {
    case 'done':
      return 'done'
    case 'abandon':
      return `abandon: ${step.why}`
    case 'wait':
      return `wait for ${step.waitingFor.join(' ')}${step.copying ? ' to catch up' : ''}`
    case 'want': {
      assert.ok(step.proof.every((each) => each.liveVoters >= each.quorum))
      const { change } = step
      if (change.type === 'addLearner') return `addLearner ${change.nodeId}`
      if (change.type === 'swap') return `swap ${change.promote} for ${change.remove}`
      return `${change.type} ${change.replicaId}`
    }
  }
}

suite('the next step', () => {
  const cases: [what: string, goal: MoveGoal, view: MoveView, expected: string][] = [
    ['of a replacement begins with a learner', replace, view('a b* c'), 'addLearner x'],
    ['of a dead replica too', replace, view('a! b* c'), 'addLearner x'],
    ['waits for the learner', replace, view('a b* c x?~'), 'wait for x to catch up'],
    ['promotes it', replace, view('a b* c x?'), 'promote 4'],
    ['swaps the two where that is known', replace, view('a b* c x?', { swaps: true }), 'swap 4 for 1'],
    ['swaps a dead voter out', replace, view('a! b* c x?', { swaps: true }), 'swap 4 for 1'],
    ['gives the lease away before a swap', replace, view('a* b c x?', { swaps: true }), 'transferLease 2'],
    ['makes the heir of a lone voter a voter first', replace, view('a* x?', { swaps: true }), 'promote 2'],
    [
      'swaps nothing when a quorum would not stand',
      replace,
      view('a b* c! d! x?', { swaps: true }),
      'wait for c d',
    ],
    ['waits while voters change places', replace, view('a- b* c x', { swaps: true }), 'wait for '],
    ['waits even to undo it', remove, view('a- b* c'), 'wait for '],
    ['removes the old one', replace, view('a b* c x'), 'remove 1'],
    ['gives the lease away first', replace, view('a* b c x'), 'transferLease 2'],
    [
      'to whom it had best go',
      { ...replace, leaseTo: { replicaId: 3, nodeId: 'c' } },
      view('a* b c x'),
      'transferLease 3',
    ],
    ['but to nobody who is dead or lags', replace, view('a* b! c~ x'), 'transferLease 4'],
    ['waits when nobody is ready', replace, view('a* b~ c~ x~'), 'wait for b c x'],
    [
      'is none when all is done',
      { ...replace, remove: { replicaId: 9, nodeId: 'a' } },
      view('b* c x'),
      'done',
    ],
    ['waits for a leader', replace, view('a b c'), 'wait for a b c'],
    ['waits for a quorum', replace, view('a b! c!'), 'wait for b c'],
    ['does not remove what the quorum needs', remove, view('a b* c!'), 'wait for c'],
    ['removes a dead voter that is too many', remove, view('a! b* c d'), 'remove 1'],
    ['removes a learner whoever is dead', remove, view('a?! b* c d!'), 'remove 1'],
    ['does not promote into a tie that has no quorum', replace, view('a! b!* c d x?'), 'wait for a b'],
    ['gives up a target that died', replace, view('a b* c x?!'), 'abandon: x died while it was catching up'],
    [
      'gives up a target that may take nothing any more',
      replace,
      view('a b* c', { mayTake: () => false }),
      'abandon: x may take no replica any more',
    ],
    [
      'gives up when somebody else removed what it brought',
      replace,
      view('a b* c', { brought: 4 }),
      'abandon: replica 4 on x was removed by somebody else',
    ],
    [
      'gives up a second replica on a node',
      { ...replace, add: { nodeId: 'c', incarnation: 2 } },
      view('a b* c'),
      'abandon: c has a replica of another life already',
    ],
    ['transfers a lease', transfer, view('a* b c'), 'transferLease 2'],
    ['sees it transferred', transfer, view('a b* c'), 'done'],
    [
      'transfers none to who may take none',
      transfer,
      view('a* b c', { mayTake: () => false }),
      'abandon: b may take no lease any more',
    ],
    [
      'gives a lease to who may take none only where there is nobody else',
      replace,
      view('a* b c x', { mayTake: (nodeId) => nodeId === 'c' }),
      'transferLease 3',
    ],
    ['transfers none to the dead', transfer, view('a* b! c'), 'abandon: b is dead'],
    [
      'transfers none to a learner',
      transfer,
      view('a* b? c'),
      'abandon: its new holder is no voter any more',
    ],
  ]
  for (const [what, goal, given, expected] of cases) {
    test(what, () => assert.equal(brief(nextStep(goal, given)), expected))
  }
})

suite('the next step of a replica without a vote', () => {
  const cases: [what: string, goal: MoveGoal, view: MoveView, expected: string][] = [
    ['adds it', addReads, view('a* b c'), 'addLearner x'],
    ['needs a quorum for that, but none to spare', addReads, view('a* b c!'), 'addLearner x'],
    ['waits without one', addReads, view('a* b! c!'), 'wait for b c'],
    ['waits until it has caught up', addReads, view('a* b c x?~'), 'wait for x to catch up'],
    ['never gives it a vote', addReads, view('a* b c x?', { swaps: true }), 'done'],
    ['removes the old one when the new one can serve', replaceReads, view('a* b c d? x?'), 'remove 4'],
    ['and not before', replaceReads, view('a* b c d? x?~'), 'wait for x to catch up'],
    ['also one that is dead', replaceReads, view('a* b c d?! x?'), 'remove 4'],
    [
      'removes no voter for it',
      replaceReads,
      view('a* b c d x?'),
      'abandon: the replica on d was given a vote',
    ],
    [
      'gives up what somebody else gave a vote',
      addReads,
      view('a* b c x'),
      'abandon: the replica on x was given a vote',
    ],
  ]
  for (const [what, goal, given, expected] of cases) {
    test(what, () => assert.equal(brief(nextStep(goal, given)), expected))
  }

  const undone: [what: string, goal: MoveGoal, view: MoveView, expected: string][] = [
    ['is taken back', addReads, view('a* b c x?'), 'remove 4'],
    ['is taken back while the old one is there', replaceReads, view('a* b c d? x?'), 'remove 5'],
    [
      'stays once the old one is gone',
      { ...replaceReads, remove: { replicaId: 9, nodeId: 'd' } },
      view('a* b c x?'),
      'done',
    ],
  ]
  for (const [what, goal, given, expected] of undone) {
    test(`that is cancelled ${what}`, () =>
      assert.equal(brief(undoStep(goal, given, { voters: true })), expected))
  }
})

suite('undoing', () => {
  const cases: [what: string, view: MoveView, expected: string][] = [
    ['takes the learner back', view('a b* c x?~'), 'remove 4'],
    ['of a dead node too', view('a b* c x?!'), 'remove 4'],
    ['leaves a voter to the planner', view('a b* c x'), 'done'],
    ['has nothing to do before the first step', view('a b* c'), 'done'],
    ['waits for a quorum', view('a b! c! x?'), 'wait for b c'],
  ]
  for (const [what, given, expected] of cases) {
    test(what, () => assert.equal(brief(undoStep(replace, given)), expected))
  }

  const cancelled: [what: string, view: MoveView, expected: string][] = [
    ['takes the voter back as well that it brought', view('a b* c x', { brought: 4 }), 'remove 4'],
    ['gives its lease away before', view('a b c x*', { brought: 4 }), 'transferLease 1'],
    ['takes no voter back that replaces a dead one', view('a! b* c x', { brought: 4 }), 'done'],
    ['takes no voter back that it did not bring', view('a b* c x'), 'done'],
    ['takes none back where a quorum would not stand', view('a b* c! d! x', { brought: 5 }), 'done'],
    ['takes nothing back once the old one is gone', { ...view('b* c d x'), brought: 4 }, 'done'],
    ['waits while voters change places', view('a- b* c x', { brought: 4 }), 'wait for '],
  ]
  for (const [what, given, expected] of cancelled) {
    const goal = what.includes('old one') ? { ...replace, remove: { replicaId: 9, nodeId: 'a' } } : replace
    test(`by a person ${what}`, () => assert.equal(brief(undoStep(goal, given, { voters: true })), expected))
  }

  test('says what stays', () => {
    const says = (goal: MoveGoal, given: MoveView, voters = true): string => {
      const step = undoStep(goal, given, { voters })
      assert.equal(step.type, 'done')
      return step.outcome
    }
    assert.equal(says(replace, view('a b* c')), 'nothing is left of it')
    assert.match(says(replace, view('a! b* c x', { brought: 4 })), /new voter on x stays beside the one on a/)
    const done = { ...replace, remove: { replicaId: 9, nodeId: 'a' } }
    assert.equal(
      says(done, view('b* c d x', { brought: 4 })),
      'the new voter on x stays; the replica on a is gone',
    )
    assert.equal(says(transfer, view('a b* c')), 'the lease stays on b')
  })
})

suite('a step shows that it was made', () => {
  const cases: [MemberChange, before: string, after: string][] = [
    [{ type: 'addLearner', nodeId: 'd', incarnation: 1 }, 'a* b c', 'a* b c d?'],
    [{ type: 'promote', replicaId: 4 }, 'a* b c d?', 'a* b c d'],
    [{ type: 'remove', replicaId: 4 }, 'a* b c d', 'a* b c'],
    [{ type: 'swap', promote: 4, remove: 2 }, 'a* b c d?', 'a* b- c d'],
    [{ type: 'transferLease', replicaId: 2 }, 'a* b c', 'a b* c'],
  ]
  for (const [change, before, after] of cases) {
    test(change.type, () => {
      assert.equal(tookEffect(change, view(before)), false)
      assert.equal(tookEffect(change, view(after)), true)
    })
  }

  test('and what a range can still lose', () => {
    assert.equal(votesToSpare(view('a* b c')), 1)
    assert.equal(votesToSpare(view('a* b c!')), 0)
    assert.equal(votesToSpare(view('a* b! c!')), -1)
    assert.equal(votesToSpare(view('a* b c d? e!?')), 1)
  })
})
