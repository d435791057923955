import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { PrimaryRules } from '../../../src/placement/replica-sets/core/primary.ts'
import { QuorumSet } from '../../../src/placement/replica-sets/core/quorum-set.ts'
import { lives, SetWorld, setName } from './support/set-world.ts'

const six = ['a', 'b', 'c', 'd', 'e', 'f']
const aurora = { writeQuorum: 4, readQuorum: 3 }
const because = { reason: 'a test' }

type Elect = PrimaryRules['elect']

/** The schedule holds, and does not with a mistake planted. */
async function onlyWithout(schedule: () => Promise<void>, elect: (kept: Elect) => Elect): Promise<void> {
  await schedule()
  const { elect: kept } = PrimaryRules.prototype
  PrimaryRules.prototype.elect = elect(kept)
  try {
    await assert.rejects(schedule(), { code: 'INVARIANT_VIOLATED' })
  } finally {
    PrimaryRules.prototype.elect = kept
  }
}

/** Lets clients write all the time until the job has ended. */
async function writing(world: SetWorld, jobId: number): Promise<void> {
  for (let i = 0; i < 400; i++) {
    world.writeSomewhere()
    await world.advance(10)
    const { status } = (await world.jobs.get(jobId)) ?? {}
    if (status !== 'running' && status !== 'queued') break
  }
  await world.advance(500)
}

suite('a change of primary in directed schedules', () => {
  test('whoever had the most may be gone when the new primary begins', async () => {
    const schedule = async (): Promise<void> => {
      const world = new SetWorld()
      await world.begin(['a', 'b', 'c'])
      await world.lead()
      world.cut.add('a c')
      await world.write('only a and b have it')
      world.crash('a')
      const job = await world.sets.changePrimary(setName, { to: 'c', emergency: true }, because)
      await world.time.untilTrue('c is chosen', async () => (await world.record()).primary === 'c')
      for (const other of ['control', 'a', 'c']) world.cut.add(`b ${other}`)
      await world.advance(400)
      world.cut.delete('a c')
      world.restart('a')
      const { status } = await world.ended(job)
      await world.judge()
      assert.equal(status, 'succeeded')
      await world.close()
    }
    await onlyWithout(
      schedule,
      (elect) =>
        function (this: PrimaryRules, change, sequence, progress, view) {
          const best = this.mostAdvanced(() => true, view, progress.lossless)
          const target = progress.target && best?.position
          return elect.call(this, change, sequence, { ...progress, target }, view)
        },
    )
  })

  test('the old primary takes writes until it is fenced', async () => {
    const schedule = async (): Promise<void> => {
      const world = new SetWorld()
      await world.begin(['a', 'b', 'c'])
      await world.lead()
      world.cut.add('a c').add('control a')
      const { jobId } = await world.sets.changePrimary(setName, { to: 'c', emergency: true }, because)
      await writing(world, jobId)
      assert.equal((await world.jobs.get(jobId))?.status, 'succeeded')
      // Who is deposed is refused where its writes would take effect.
      const { set, sequence } = await world.record()
      assert.equal(sequence, 2)
      const late = { sequence: 1, index: 1, value: 'late' }
      const apply = (): unknown => world.host.node('b').append(set, 1, { sequence: 0, index: 0 }, [late])
      assert.throws(apply, { code: 'STALE_SEQUENCE' })
      await world.close()
    }
    await onlyWithout(
      schedule,
      (elect) =>
        function (this: PrimaryRules, change, sequence, progress, view) {
          const told = new Map([...view.members].map(([nodeId, each]) => [nodeId, { ...each, sequence }]))
          const given = progress.target === undefined ? { ...view, members: told } : view
          return elect.call(this, change, sequence, progress, given)
        },
    )
  })

  test('the old primary says that it has stopped, and goes on', async () => {
    const schedule = async (): Promise<void> => {
      const world = new SetWorld()
      await world.begin(['a', 'b', 'c'])
      await world.lead()
      world.host.stepDown = async (_name, nodeId) => world.host.node(nodeId).position
      const { jobId } = await world.sets.changePrimary(setName, { to: 'c' }, because)
      // What it takes from now on, the new one does not hear of.
      await world.time.untilTrue('it has stopped', async () => (await world.record()).sequence === 2)
      world.cut.add('a c').add('control a')
      await writing(world, jobId)
      assert.equal((await world.jobs.get(jobId))?.status, 'succeeded')
      await world.close()
    }
    await onlyWithout(
      schedule,
      (elect) =>
        function (this: PrimaryRules, change, sequence, progress, view) {
          const target = progress.target ?? progress.stoppedAt
          return elect.call(this, change, sequence, { ...progress, target }, view)
        },
    )
  })

  test('late messages of an attempt that is over neither stop a primary nor have it go on', async () => {
    const world = new SetWorld()
    await world.begin(['a', 'b', 'c'])
    const { stepDown, resume } = world.host
    const call = {}
    const at = (attempt: number): [string, string, { sequence: number; attempt: number }, object] => [
      setName,
      'a',
      { sequence: 1, attempt },
      call,
    ]
    const stop = async (attempt: number): Promise<unknown> =>
      world.time.until(stepDown.call(world.host, ...at(attempt)))
    const goOn = async (attempt: number): Promise<unknown> =>
      world.time.until(resume.call(world.host, ...at(attempt)))
    await stop(7)
    await goOn(7)
    await assert.rejects(stop(7), { code: 'STALE_SEQUENCE' })
    assert.equal(world.host.primary()?.nodeId, 'a')
    await stop(9)
    await goOn(7)
    assert.equal(world.host.primary(), undefined)
    await assert.rejects(stop(8), { code: 'STALE_SEQUENCE' })
    await goOn(9)
    assert.equal(world.host.primary()?.nodeId, 'a')
    await world.close()
  })

  test('the next primary is taken out of the set meanwhile: the old one goes on', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead({ tuning: { maximumOutageMs: 60_000 } })
    world.cut.add('a f')
    await world.write('one')
    const planned = await world.sets.changePrimary(setName, { to: 'f' }, because)
    await world.advance(1000)
    const members = await world.ended(
      await world.changeMember({ suspect: 'f', candidate: 'g', mayReturn: false }),
    )
    assert.equal(members.status, 'succeeded')
    const ended = await world.ended(planned)
    assert.match(ended.lastError?.message ?? '', /f is no member of the replica set/)
    assert.equal(ended.outcome, 'a takes writes again')
    await world.write('two')
    await world.close()
  })

  test('a member that was fenced loses its data: nobody can use it against the fence', async () => {
    const world = new SetWorld()
    await world.begin(['a', 'b', 'c'])
    await world.lead()
    for (const other of ['control', 'b', 'c']) world.cut.add(`a ${other}`)
    const job = await world.sets.changePrimary(setName, { to: 'b', emergency: true }, because)
    await world.time.untilTrue('b is chosen', async () => (await world.record()).primary === 'b')
    world.wipe('c')
    world.cut.delete('a c')
    const late = world.host.node('a').write('with the new life of c')
    late.catch(() => {})
    await world.advance(3000)
    assert.equal(world.audit.writes.length, 0)
    assert.deepEqual(world.host.node('c').records, [])
    world.cut.clear()
    assert.equal((await world.ended(job)).status, 'succeeded')
    await assert.rejects(world.time.until(late), { code: 'OUTCOME_UNKNOWN' })
    // It comes back only as somebody else's candidate, in its new life.
    await world.ended(await world.changeMember({ suspect: 'c', candidate: 'd' }))
    await world.ended(await world.changeMember({ suspect: 'a', candidate: 'c', mayReturn: false }))
    const { set } = await world.record()
    assert.deepEqual(
      set.members.map(({ nodeId, incarnation }) => [nodeId, incarnation]),
      [
        ['c', 2],
        ['b', 1],
        ['d', 1],
      ],
    )
    await world.advance(500)
    assert.deepEqual(world.host.node('c').records, world.host.node('b').records)
    await world.close()
  })
})

suite('a change of members in directed schedules', () => {
  test('undone with a leader that dies at any call leaves exactly the old set', async () => {
    const old = QuorumSet.of(lives(six), aurora).slots
    const run = async (at: number): Promise<number> => {
      const world = new SetWorld()
      await world.begin(six, aurora)
      await world.write('one')
      const store = await world.leadFor(at, at % 2 === 0 ? 'crash' : 'crashAfter')
      // The candidate never becomes complete, so that there is a way back.
      for (const other of six) world.cut.add(`g ${other}`)
      const job = await world.changeMember({ suspect: 'f', candidate: 'g', mayReturn: false })
      await world.advance(150)
      await world.jobs.cancel(job.jobId, 'another day')
      await world.advance(150)
      if (store.crashed) await world.lead()
      const ended = await world.ended(job)
      await world.write('two')
      const { set, unsealed } = await world.record()
      assert.equal(ended.status, 'cancelled')
      assert.match(ended.outcome ?? '', /^f stays, epoch \d; nothing is left of it$/)
      assert.deepEqual([set.slots, unsealed], [old, []], `${at}`)
      assert.ok(set.epoch === 1 || set.epoch === 3, `${set.epoch}`)
      // Who acts by the epoch in between is refused by a write quorum.
      const between = QuorumSet.of(lives(six), aurora).withCandidate('f', { nodeId: 'g', incarnation: 1 })
      const refusing = six.filter((nodeId) => {
        try {
          world.host.node(nodeId).append(between, 1, { sequence: 0, index: 0 }, [])
          return false
        } catch {
          return true
        }
      })
      assert.ok(
        between.isFenced((nodeId) => refusing.includes(nodeId)),
        refusing.join(),
      )
      await world.advance(100)
      await world.close()
      return store.calls
    }
    const calls = await run(1000)
    assert.ok(calls > 10, `${calls}`)
    for (let at = 1; at <= calls; at++) await run(at)
  })

  test('a deposed primary that was taken out of the set gets nothing acknowledged', async () => {
    const world = new SetWorld()
    await world.begin(['a', 'b', 'c'])
    await world.lead()
    await world.write('one')
    for (const other of ['b', 'c', 'd', 'control']) world.cut.add(`a ${other}`)
    assert.equal((await world.changePrimary({ emergency: true })).status, 'succeeded')
    const { status } = await world.ended(await world.changeMember({ suspect: 'a', candidate: 'd' }))
    assert.equal(status, 'succeeded')
    assert.ok(world.host.node('a').status().serving, 'it knows nothing of all that')
    const late = world.host.node('a').write('late')
    late.catch(() => {})
    await world.advance(1000)
    const before = world.audit.writes.length
    world.cut.clear()
    await world.advance(1000)
    await assert.rejects(world.time.until(late), { code: 'OUTCOME_UNKNOWN' })
    assert.equal(world.audit.writes.length, before)
    assert.equal(world.host.node('a').status().serving, false)
    const old = QuorumSet.of(lives('abc'))
    for (const nodeId of ['b', 'c', 'd'])
      assert.throws(() => world.host.node(nodeId).append(old, 1, { sequence: 0, index: 0 }, []), {
        code: 'STALE_EPOCH',
      })
    await world.close()
  })
})
