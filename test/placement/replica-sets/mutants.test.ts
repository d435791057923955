import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import { SetChangeRules } from '../../../src/placement/replica-sets/core/change.ts'
import { ReplicaSetMember } from '../../../src/placement/replica-sets/core/member.ts'
import { PrimaryRules } from '../../../src/placement/replica-sets/core/primary.ts'
import { QuorumSet } from '../../../src/placement/replica-sets/core/quorum-set.ts'
import { runSets } from './support/run-sets.ts'

/** What the audit says of the first seed that it finds something in, with a mistake planted. */
async function caught(prototype: object, changes: Record<string, unknown>): Promise<string> {
  const kept = Object.keys(changes).map((key) => [key, Reflect.get(prototype, key)] as const)
  const mend = (): void => {
    for (const [key, value] of kept) Reflect.set(prototype, key, value)
  }
  for (let seed = 1; seed <= 60; seed++) {
    try {
      await runSets(seed, 25, () => Object.assign(prototype, changes))
    } catch (error) {
      if (KeelsonError.hasCode(error, 'INVARIANT_VIOLATED')) return error.message
      // A wrong rule may also end in something that cannot go on, which is not what is looked for.
      if (
        !KeelsonError.is(error) &&
        !/^(nobody|never|an epoch|it never|the promise|\S+ lacks)/.test((error as Error).message)
      )
        throw error
    } finally {
      mend()
    }
  }
  return 'nothing'
}

const lost =
  /shows the write at index|has the write at index|that the primary of \d+ lacks|takes a place with/
const obeys = /refuses epoch \d+ and sequence \d+/

suite('planted mistakes in replica sets are caught', () => {
  test('a write that one of two groups is enough for', async () => {
    const { isRead } = QuorumSet.prototype
    const isWritten = function (this: QuorumSet, has: (nodeId: string) => boolean): boolean {
      return isRead.call(
        new QuorumSet({
          epoch: this.epoch,
          slots: this.slots,
          writeQuorum: this.writeQuorum,
          readQuorum: this.writeQuorum,
        }),
        ({ nodeId }) => has(nodeId),
      )
    }
    assert.match(await caught(QuorumSet.prototype, { isWritten }), lost)
  })

  test('a candidate that takes a place before it is complete', async () => {
    assert.match(await caught(SetChangeRules.prototype, { mayReplace: () => true }), /takes a place with/)
  })

  test('a candidate that was complete in another membership', async () => {
    const { complete } = ReplicaSetMember.prototype
    const install = function (this: ReplicaSetMember, set: QuorumSet): void {
      kept.call(this, set)
      if (this.state.completeFor > 0) complete.call(this, set.member(this.nodeId)?.joined ?? 0)
    }
    const { install: kept } = ReplicaSetMember.prototype
    assert.match(await caught(ReplicaSetMember.prototype, { install }), /takes a place with|shows the write/)
  })

  test('a member that obeys older epochs', async () => {
    const { check } = ReplicaSetMember.prototype
    const changed = function (this: ReplicaSetMember, epoch: number, sequence: number): void {
      check.call(this, Math.max(epoch, this.epoch), sequence)
    }
    assert.match(await caught(ReplicaSetMember.prototype, { check: changed }), obeys)
  })

  test('a member that obeys older primaries', async () => {
    const { check } = ReplicaSetMember.prototype
    const changed = function (this: ReplicaSetMember, epoch: number, sequence: number): void {
      check.call(this, epoch, Math.max(sequence, this.sequence))
    }
    assert.match(await caught(ReplicaSetMember.prototype, { check: changed }), obeys)
  })

  test('a member that has lost its data and goes on', async () => {
    const found = await caught(ReplicaSetMember.prototype, { isMe: () => true })
    assert.match(found, /in the life of its data/)
  })

  test('an epoch that is sealed before anybody knows the next', async () => {
    assert.match(
      await caught(SetChangeRules.prototype, { isSealed: () => true }),
      /after it is sealed epoch \d+ gets no quorum/,
    )
  })

  test('a primary that is taken out of the set', async () => {
    const { next } = SetChangeRules.prototype
    const changed = function (this: SetChangeRules, ...[change, view]: Parameters<typeof next>) {
      return next.call(this, change, { ...view, record: { ...view.record, primary: undefined } })
    }
    assert.match(await caught(SetChangeRules.prototype, { next: changed }), /is a member of epoch/)
  })

  test('a candidate that becomes primary', async () => {
    const found = await caught(PrimaryRules.prototype, { mayLead: () => true })
    assert.match(found, /is a member of epoch \d+, and no candidate/)
  })

  test('an emergency that hears nobody but one', async () => {
    const isHeard: PrimaryRules['isHeard'] = ({ set }, heard) =>
      set.members.some(({ nodeId }) => heard(nodeId))
    assert.match(await caught(PrimaryRules.prototype, { isHeard, isFenced: () => true }), lost)
  })

  test('an emergency that takes anybody', async () => {
    const { mostAdvanced } = PrimaryRules.prototype
    const changed = function (
      this: PrimaryRules,
      ...args: Parameters<typeof mostAdvanced>
    ): ReturnType<typeof mostAdvanced> {
      const [installed, view] = args
      const nodeId = [...view.members.keys()].filter(installed).sort()[0]
      return nodeId === undefined
        ? undefined
        : { nodeId, position: view.members.get(nodeId)?.position ?? { sequence: 0, index: 0 } }
    }
    assert.match(await caught(PrimaryRules.prototype, { mostAdvanced: changed }), lost)
  })

  test('another primary under the sequence of one that was passed over', async () => {
    const { instead } = PrimaryRules.prototype
    const changed: typeof instead = function (this: PrimaryRules, progress, view) {
      const { chosen, target, lossless } = progress
      const step = instead.call(this, progress, view)
      if (step === undefined || target === undefined) return step
      const other = view.record.set.members.find(
        ({ nodeId }) =>
          nodeId !== chosen && this.mayLead(nodeId, view.record.set) && view.members.has(nodeId),
      )?.nodeId as string
      return { type: 'choose', nodeId: other, target, lossless, why: 'it does not begin' }
    }
    assert.match(
      await caught(PrimaryRules.prototype, { instead: changed }),
      /only \w acts under sequence|sequence \d+ has one primary/,
    )
  })

  test('an epoch that is left unsealed when its change was undone', async () => {
    const { undo } = SetChangeRules.prototype
    const changed: typeof undo = function (this: SetChangeRules, change, view) {
      const step = undo.call(this, change, view)
      if (step.type !== 'install') return step
      return this.done(change.candidate, view.record.set, 'the suspect stays')
    }
    assert.match(await caught(SetChangeRules.prototype, { undo: changed }), /is left unsealed/)
  })

  test('a new primary that does not wait until it has what was heard', async () => {
    assert.match(await caught(PrimaryRules.prototype, { hasReached: () => true }), lost)
  })
})
