import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../src/core/errors.ts'
import { LeaseBook } from '../../src/leases/core/book.ts'
import { Fence } from '../../src/leases/core/fence.ts'
import type { LeaseHolder, LeaseRecord } from '../../src/leases/core/records.ts'
import { type LeaseDecision, LeaseRules, type LeaseView } from '../../src/leases/core/rules.ts'
import { HolderCore, type Moment } from '../../src/metadata/sessions/core/holder.ts'
import { LeaseWorld } from './support/lease-world.ts'

const durationMs = 25_000

suite('leases in virtual time', () => {
  test('nothing unsafe happens, and work goes on when the faults have ended', async () => {
    const sums = { effects: 0, refused: 0, transfers: 0, sequences: 0 }
    for (let seed = 1; seed <= 12; seed++) {
      const run = await new LeaseWorld(seed).run(durationMs)
      assert.ok(run.effectsAfterHealing > 0, `seed ${seed}: nobody works after healing`)
      assert.ok(run.holders.size > 1, `seed ${seed}: one holder alone`)
      sums.effects += run.effects
      sums.refused += run.refused
      sums.transfers += run.transfers
      sums.sequences += run.lastSequence
    }
    for (const [what, sum] of Object.entries(sums)) assert.ok(sum > 0, `no ${what} in all runs`)
  })

  test('a seed repeats', async () => {
    assert.deepEqual(await new LeaseWorld(3).run(8_000), await new LeaseWorld(3).run(8_000))
  })
})

/** What the audit says of the first seed that it finds something in, with mistakes planted. */
async function caught(...mistakes: readonly [prototype: object, changes: object][]): Promise<string> {
  const kept = mistakes.map(([prototype, changes]) =>
    Object.keys(changes).map((key) => [prototype, key, Reflect.get(prototype, key)] as const),
  )
  for (const [prototype, changes] of mistakes) Object.assign(prototype, changes)
  try {
    for (let seed = 1; seed <= 40; seed++) {
      try {
        await new LeaseWorld(seed).run(durationMs)
      } catch (error) {
        if (KeelsonError.hasCode(error, 'INVARIANT_VIOLATED')) return error.message
        throw error
      }
    }
    return 'nothing'
  } finally {
    for (const each of kept) for (const [prototype, key, value] of each) Reflect.set(prototype, key, value)
  }
}

suite('planted mistakes are caught', () => {
  test('a sequence that does not grow', async () => {
    const nextSequence = (record: LeaseRecord | undefined): number => record?.sequence ?? 1
    assert.match(await caught([LeaseRules.prototype, { nextSequence }]), /a sequence was repeated/)
  })

  test('a lease that is used again after a restart', async () => {
    // What stands there in its name is taken for its own. It looks, then decides, in one step.
    let self = ''
    const saw = (_: string, __: LeaseHolder | undefined, holder: string): void => {
      self = holder
    }
    const { decide } = LeaseRules.prototype
    const changed = {
      decide(
        this: LeaseRules,
        view: LeaseView,
        epoch: number,
        mayAdopt: (lease: LeaseHolder) => boolean,
      ): LeaseDecision {
        const { lease } = view
        return lease !== undefined && lease.holder === self
          ? 'adopt'
          : decide.call(this, view, epoch, mayAdopt)
      },
    }
    assert.match(
      await caught([LeaseBook.prototype, { saw }], [LeaseRules.prototype, changed]),
      /several act at once|after the end of its session/,
    )
  })

  test('a deadline that is counted from the answer', async () => {
    const { confirmed } = HolderCore.prototype
    const fromAnswer = {
      confirmed(this: HolderCore, now: Moment, nonce: number): boolean {
        this.failed(nonce)
        return confirmed.call(this, now, this.attempt(now))
      },
    }
    assert.match(await caught([HolderCore.prototype, fromAnswer]), /after the end of its session/)
  })

  test('a fence that admits everything', async () => {
    assert.match(await caught([Fence.prototype, { admits: () => true }]), /was accepted after/)
  })

  test('a fence that goes back', async () => {
    const mistake = { admits: (sequence: number) => sequence > 0, install: () => true }
    assert.match(await caught([Fence.prototype, mistake]), /was (accepted|installed) after/)
  })

  test('a holder that goes on while it hands its lease over', async () => {
    assert.match(await caught([LeaseBook.prototype, { giveUp: () => {} }]), /several act at once/)
  })

  test('a lease that is used again while its release may still be on its way', async () => {
    assert.match(await caught([LeaseBook.prototype, { mayAdopt: () => true }]), /several act at once/)
  })

  test('a lease that is taken while somebody has it', async () => {
    const { decide } = LeaseRules.prototype
    const greedy = {
      decide(
        this: LeaseRules,
        view: LeaseView,
        epoch: number,
        mayAdopt: (lease: LeaseHolder) => boolean,
      ): LeaseDecision {
        const decision = decide.call(this, view, epoch, mayAdopt)
        return decision === 'wait' ? 'claim' : decision
      },
    }
    assert.match(await caught([LeaseRules.prototype, greedy]), /several act at once/)
  })

  test('a lease that is kept when its session is replaced', async () => {
    const hasExpired = (_: unknown, session: { remainingMs: number } | undefined): boolean =>
      session === undefined || session.remainingMs <= 0
    assert.match(
      await caught([LeaseBook.prototype, { hasExpired, dropOthers: () => [] }]),
      /several act at once|after the end of its session/,
    )
  })
})
