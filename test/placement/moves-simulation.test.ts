import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { nextStep, undoStep } from '../../src/placement/index.ts'
import { type Decisions, MoveWorld, rightDecisions } from './support/move-world.ts'

suite('moves in virtual time', () => {
  test('whoever dies, and whatever is cancelled: no step below quorum, and all is whole in the end', async () => {
    const sums = { moves: 0, cancelled: 0, failed: 0, leaders: 0, crashes: 0 }
    for (let seed = 1; seed <= 10; seed++) {
      const run = await new MoveWorld(seed).run(30)
      for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += run[key]
    }
    for (const [what, sum] of Object.entries(sums)) assert.ok(sum > 0, `no ${what} in all runs`)
  })
})

/**
 * What the judge says of the first seed in which it finds something, with decisions that are wrong.
 *
 * @param first the seed that did when it was looked for last
 */
async function caught(wrong: Partial<Decisions>, first = 1): Promise<string> {
  for (let seed = first; seed < first + 40; seed++) {
    try {
      await new MoveWorld(seed, { ...rightDecisions, ...wrong }).run(30)
    } catch (thrown) {
      return (thrown as Error).message
    }
  }
  return 'nothing'
}

suite('planted mistakes are caught', () => {
  test('a learner that gets its vote before it has caught up', async () => {
    const next: Decisions['next'] = (goal, view) =>
      nextStep(goal, { ...view, caughtUp: view.descriptor.replicas.map(({ replicaId }) => replicaId) })
    assert.match(await caught({ next }), /has not caught up/)
  })

  test('steps for which nobody asks who is up', async () => {
    const next: Decisions['next'] = (goal, view) => nextStep(goal, { ...view, isUp: () => true })
    assert.match(
      await caught({ next }),
      /keeps its quorum|without a quorum|has not caught up|assert|deepStrict/,
    )
  })

  test('a lease holder that is removed', async () => {
    const next: Decisions['next'] = (goal, view) => {
      const other = view.descriptor.replicas.find(({ replicaId }) => replicaId !== view.leaseHolder)
      const leaseHolder = view.leaseHolder === undefined ? undefined : (other?.replicaId ?? view.leaseHolder)
      return goal.kind === 'transferLease' ? nextStep(goal, view) : nextStep(goal, { ...view, leaseHolder })
    }
    assert.match(await caught({ next }), /the lease holder/)
  })

  test('a second copy on one node', async () => {
    const next: Decisions['next'] = (goal, view) => {
      const step = nextStep(goal, view)
      if (step.type !== 'want' || step.change.type !== 'addLearner') return step
      const there = view.descriptor.replicas.find((replica) => replica.nodeId !== goal.remove?.nodeId)
      return there === undefined ? step : { ...step, change: { ...step.change, nodeId: there.nodeId } }
    }
    assert.match(await caught({ next }), /a second replica on/)
  })

  test('an undo that takes back a voter that is needed', async () => {
    const undo: Decisions['undo'] = (goal, view) => {
      const voter = view.descriptor.replicas.find(
        ({ replicaId, role }) => replicaId === view.brought && role === 'voter',
      )
      if (voter === undefined || view.leaseHolder === undefined) return undoStep(goal, view)
      const change = { type: 'remove', replicaId: voter.replicaId } as const
      return { type: 'want', change, proof: [], why: 'takes it back' }
    }
    assert.match(await caught({ undo }, 19), /keeps its quorum|the lease holder|not whole/)
  })
})
