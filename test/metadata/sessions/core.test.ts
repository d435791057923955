import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { HolderCore, type Moment } from '../../../src/metadata/sessions/core/holder.ts'
import { SessionKeeper } from '../../../src/metadata/sessions/core/keeper.ts'
import { type Outcome, SessionWorld, type Weather } from './session-world.ts'

const calm: Weather = { delayMs: 10, loss: 0, cutsMs: 1e9, reignMs: 1e9, holderDiesAtMs: 1e9, stalls: 0 }

function rough(seed: number): Weather {
  const random = new SeededRandom(seed + 1_000_000)
  return {
    delayMs: [2, 20, 200, 800][random.integer(4)] as number,
    loss: random.float() * 0.5,
    cutsMs: [1_500, 5_000][random.integer(2)] as number,
    reignMs: [300, 1_500, 10_000][random.integer(3)] as number,
    holderDiesAtMs: 1e9,
    stalls: random.float() * 0.05,
  }
}

function unsafeSeeds(count: number): number[] {
  const found: number[] = []
  for (let seed = 0; seed < count; seed++)
    if (new SessionWorld(seed, rough(seed)).run(30_000).unsafe) found.push(seed)
  return found
}

/** Plants a mistake while `run` runs. */
function planted<T extends object, R>(target: T, changes: Partial<T>, run: () => R): R {
  const kept = Object.fromEntries(Object.keys(changes).map((name) => [name, target[name as keyof T]]))
  Object.assign(target, changes)
  try {
    return run()
  } finally {
    Object.assign(target, kept)
  }
}

describe('sessions', () => {
  test('in calm weather a session lives as long as its holder', () => {
    for (let seed = 0; seed < 20; seed++) {
      const outcome = new SessionWorld(seed, calm).run(20_000)
      assert.deepEqual(outcome, {
        revokedAtMs: undefined,
        unsafe: false,
        endedEarly: false,
      } satisfies Outcome)
    }
  })

  test('the holder stops before the session is revoked, under drift, delay, loss, stalls and new leaders', () => {
    assert.deepEqual(unsafeSeeds(600), [])
  })

  test('a session of a dead holder ends, also when leaders come and go', () => {
    for (let seed = 0; seed < 60; seed++) {
      const weather = { ...calm, delayMs: 20, reignMs: 800, holderDiesAtMs: 2_000 }
      const { revokedAtMs } = new SessionWorld(seed, weather).run(60_000)
      assert.ok(revokedAtMs !== undefined && revokedAtMs < 12_000, `seed ${seed}: ${revokedAtMs}`)
    }
  })

  test('planted: a granter that counts no more than the holder', () => {
    const { prototype } = SessionKeeper
    const found = planted(prototype, { granterMs: (ttlMs: number) => ttlMs * 0.97 }, () => unsafeSeeds(300))
    assert.notEqual(found.length, 0)
  })

  test('planted: a renewal counts beside a record of less time', () => {
    const { prototype } = SessionKeeper
    const renewal = prototype.renewal
    const found = planted(
      prototype,
      {
        renewal(this: SessionKeeper, nowMs: number, sessionId: number) {
          const decision = renewal.call(this, nowMs, sessionId)
          return decision.type === 'log' ? { type: 'confirm' } : decision
        },
      },
      () => unsafeSeeds(600),
    )
    assert.notEqual(found.length, 0)
  })

  test('planted: a holder that counts from the answer', () => {
    const { prototype } = HolderCore
    const confirmed = prototype.confirmed
    const found = planted(
      prototype,
      {
        confirmed(this: HolderCore, now: Moment, nonce: number) {
          this.failed(nonce)
          return confirmed.call(this, now, this.attempt(now))
        },
      },
      () => unsafeSeeds(300),
    )
    assert.notEqual(found.length, 0)
  })

  test('planted: without records a dead session outlives every change of leaders', () => {
    const { prototype } = SessionKeeper
    const outlived = planted(prototype, { toRecord: () => undefined }, () =>
      Array.from({ length: 60 }, (_, seed) =>
        new SessionWorld(seed, { ...calm, reignMs: 500, holderDiesAtMs: 2_000 }).run(20_000),
      ).filter((outcome) => outcome.revokedAtMs === undefined),
    )
    assert.notEqual(outlived.length, 0)
  })
})

describe('SessionKeeper', () => {
  const options = { clockDriftBound: 0, missedAfter: 0.5, revocationsPerSecond: 10, lateAfterMs: 100 }
  const sessions = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ sessionId: i + 1, ttlMs: 1000, remainingMs: undefined }))

  test('revokes at a bounded rate', () => {
    const keeper = new SessionKeeper(options)
    keeper.lead(0, sessions(35))
    keeper.nextTickMs(0, 5000)
    keeper.tick(1000)
    assert.equal(keeper.expired(1000).length, 10)
    assert.equal(keeper.expired(1000).length, 0)
    keeper.nextTickMs(1000, 500)
    keeper.tick(1500)
    assert.equal(keeper.expired(1500).length, 5)
  })

  test('gives back the time that its process stood still', () => {
    const keeper = new SessionKeeper(options)
    keeper.lead(0, sessions(1))
    assert.equal(keeper.nextTickMs(0, 5000), 1000)
    keeper.tick(9000)
    assert.equal(keeper.hasExpired(9000), true)
    assert.equal(keeper.nextTickMs(9000, 5000), 9010)
    keeper.tick(9010)
    assert.deepEqual(keeper.expired(9010), [1])
  })

  test('does nothing unless it leads', () => {
    const keeper = new SessionKeeper(options)
    assert.deepEqual(keeper.renewal(0, 1), { type: 'notLeading' })
    keeper.lead(0, sessions(1))
    assert.deepEqual(keeper.renewal(0, 1), { type: 'confirm' })
    assert.deepEqual(keeper.renewal(0, 2), { type: 'unknown' })
    keeper.follow()
    assert.deepEqual(keeper.renewal(0, 1), { type: 'notLeading' })
    assert.equal(keeper.hasExpired(1e9), false)
  })

  test('refuses renewals once a revocation was proposed, unless that surely failed', () => {
    const keeper = new SessionKeeper(options)
    keeper.lead(0, sessions(2))
    keeper.beginRevocation(1)
    assert.deepEqual(keeper.renewal(1, 1), { type: 'revoking' })
    assert.equal(keeper.holds(1), false)
    keeper.abandonRevocation(1)
    assert.deepEqual(keeper.renewal(1, 1), { type: 'confirm' })
    keeper.tick(1000)
    assert.deepEqual(keeper.expired(1000), [2])
    assert.deepEqual(keeper.renewal(1000, 2), { type: 'revoking' })
  })

  test('follows the log: new sessions begin, ended ones are forgotten', () => {
    const keeper = new SessionKeeper(options)
    keeper.lead(0, sessions(2))
    keeper.sync(500, [
      { sessionId: 2, ttlMs: 1000, remainingMs: undefined },
      { sessionId: 3, ttlMs: 1000, remainingMs: undefined },
    ])
    assert.deepEqual(keeper.renewal(500, 1), { type: 'unknown' })
    keeper.tick(1200)
    assert.deepEqual(keeper.expired(1200), [2])
    assert.deepEqual(keeper.expired(1500), [3])
  })

  test('gives a session no more than was recorded of it, and takes records through the log', () => {
    const keeper = new SessionKeeper(options)
    keeper.lead(0, [{ sessionId: 1, ttlMs: 1000, remainingMs: 200 }])
    assert.equal(keeper.nextTickMs(0, 5000), 200)
    assert.deepEqual(keeper.renewal(100, 1), { type: 'log', serial: 0 })
    keeper.restored(1, 0)
    assert.deepEqual(keeper.renewal(100, 1), { type: 'confirm' })
    assert.deepEqual(keeper.checkpoints(400), [])
    assert.deepEqual(keeper.checkpoints(700), [{ sessionId: 1, remainingMs: 400 }])
    assert.deepEqual(keeper.checkpoints(800), [])
    assert.deepEqual(keeper.renewal(800, 1), { type: 'log', serial: 1 })
    // An entry from before the last record takes only the ones before back.
    keeper.restored(1, 0)
    assert.deepEqual(keeper.renewal(801, 1), { type: 'log', serial: 1 })
    keeper.restored(1, 1)
    assert.deepEqual(keeper.renewal(802, 1), { type: 'confirm' })
  })
})

describe('HolderCore', () => {
  const core = (): HolderCore =>
    new HolderCore({
      ttlMs: 1000,
      clockDriftBound: 0.1,
      stasisMs: 100,
      renewAfter: 0.5,
      jitter: 0,
      sleepToleranceMs: 50,
    })
  const at = (ms: number, slept = 0): Moment => ({ monotonicMs: ms, wallMs: ms + slept })

  test('is valid, then in stasis, then ended for good', () => {
    const holder = core()
    assert.equal(holder.status(at(0)), 'ended')
    const nonce = holder.attempt(at(0))
    assert.equal(holder.confirmed(at(300), nonce), true)
    assert.equal(holder.deadlineMs, 900)
    assert.equal(holder.status(at(799)), 'valid')
    assert.equal(holder.status(at(800)), 'stasis')
    const late = holder.attempt(at(850))
    assert.equal(holder.status(at(900)), 'ended')
    assert.equal(holder.confirmed(at(901), late), false)
    assert.equal(holder.status(at(901)), 'ended')
  })

  test('a late answer to an early attempt does not prolong a later one', () => {
    const holder = core()
    const [first, second] = [holder.attempt(at(0)), holder.attempt(at(400))]
    assert.equal(holder.confirmed(at(500), second), true)
    assert.equal(holder.deadlineMs, 1300)
    assert.equal(holder.confirmed(at(600), first), false)
    assert.equal(holder.deadlineMs, 1300)
    assert.equal(holder.confirmed(at(600), second), false)
  })

  test('wall time that outruns monotonic time ends it', () => {
    const holder = core()
    holder.confirmed(at(1), holder.attempt(at(0)))
    assert.equal(holder.status(at(100, 40)), 'valid')
    assert.equal(holder.status(at(100, 60)), 'ended')
    assert.equal(holder.status(at(100)), 'ended')
    const other = core()
    other.confirmed(at(1), other.attempt(at(0)))
    // Backwards it may go as it likes: that prolongs nothing.
    assert.equal(other.status(at(100, -5000)), 'valid')
    assert.equal(other.status(at(900, -5000)), 'ended')
  })

  test('asks again in time, apart from others', () => {
    const holder = new HolderCore({
      ttlMs: 1000,
      clockDriftBound: 0,
      stasisMs: 100,
      renewAfter: 0.5,
      jitter: 0.1,
      sleepToleranceMs: 50,
    })
    holder.confirmed(at(10), holder.attempt(at(0)))
    const random = new SeededRandom(1)
    const times = Array.from({ length: 50 }, () => holder.nextAttemptMs(at(10), random))
    assert.ok(Math.min(...times) >= 450 && Math.max(...times) <= 550 && new Set(times).size > 40)
    assert.equal(holder.nextAttemptMs(at(990), random), 990)
  })
})
