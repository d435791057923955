import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { MetadataStore } from '../../../src/interfaces/index.ts'
import type { Job } from '../../../src/jobs/index.ts'
import { QuorumSet } from '../../../src/placement/index.ts'
import type { StoreFault } from '../../support/faulty-store.ts'
import { lives, SetWorld, setName } from './support/set-world.ts'

const six = ['a', 'b', 'c', 'd', 'e', 'f']
const aurora = { writeQuorum: 4, readQuorum: 3 }

suite('a planned change of primary', () => {
  test('loses nothing and tells who is primary', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead()
    await world.write('one')
    const job = await world.changePrimary({ to: 'c' })
    assert.equal(job.status, 'succeeded', job.lastError?.message)
    assert.equal(job.outcome, 'c is primary with sequence 2 after a; no acknowledged write is lost')
    assert.equal(world.host.primary()?.nodeId, 'c')
    await world.write('two')
    await world.advance(500)
    const values = world.host.node('f').records.map(({ value }) => value)
    assert.deepEqual(values, ['', 'one', '', 'two'])
    await world.close()
  })

  test('in a store that was recovered from a lost quorum counts on in another block', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    const block = 2 ** 44
    // What the lost servers have given out by then nobody knows: only the revision says that there was a loss.
    const range: MetadataStore['range'] = async (selector, options) => {
      const result = await world.store.range(selector, options)
      const isRecord = selector.end === undefined && text(selector.key).endsWith(setName)
      return isRecord ? { ...result, revision: result.revision + block } : result
    }
    const recovered = new Proxy(world.store, {
      get: (store, name) => {
        if (name === 'range') return range
        const member: unknown = Reflect.get(store, name)
        return typeof member === 'function' ? member.bind(store) : member
      },
    })
    await world.lead({ store: recovered })
    await world.write('one')
    const job = await world.changePrimary({ to: 'c' })
    assert.equal(job.status, 'succeeded', job.lastError?.message)
    const { sequence, primary } = await world.record()
    assert.equal(primary, 'c')
    assert.ok(sequence > 2 ** 40, `sequence ${sequence} may have been that of another`)
    await world.write('two')
    await world.close()
  })

  test('whose new primary dies in the middle is undone: the old one goes on', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead({ tuning: { maximumOutageMs: 1500 } })
    // It does not get what it lacks.
    world.cut.add('a c')
    await world.write('one')
    const job = await world.changePrimary({ to: 'c' })
    assert.equal(job.status, 'failed')
    assert.match(
      job.lastError?.message ?? '',
      /no progress for 1500 ms: c gets to where a has stopped, index 2/,
    )
    assert.equal(job.outcome, 'a takes writes again')
    await world.write('two')
    await world.close()
  })

  test('whose new primary dies once there is no way back goes on by itself: another one begins', async () => {
    for (const how of ['crash', 'wipe', 'refuse'] as const) {
      const world = new SetWorld()
      await world.begin(six, aurora)
      await world.lead({ tuning: { maximumOutageMs: 1500, stepTimeoutMs: 3000 } })
      await world.write('one')
      const { promote } = world.host
      world.host.promote = async (nodeId, ...rest) => {
        if (nodeId === 'c' && how === 'refuse')
          throw new KeelsonError('QUARANTINED', 'c has lost what it sent')
        return nodeId === 'c' ? undefined : promote.call(world.host, nodeId, ...rest)
      }
      const job = await world.sets.changePrimary(setName, { to: 'c' }, { reason: 'a test' })
      await world.time.untilTrue('it is minted', async () => (await world.record()).sequence === 2)
      if (how === 'crash') world.crash('c')
      if (how === 'wipe') world.wipe('c')
      const ended = await world.ended(job)
      assert.equal(ended.status, 'succeeded', `${how}: ${ended.lastError?.message}`)
      assert.match(
        ended.outcome ?? '',
        /^a is primary with sequence 3, c did not begin; no acknowledged write/,
      )
      await world.write('two')
      world.host.promote = promote
      world.restart('c')
      await world.advance(2000)
      assert.equal(world.host.primary()?.nodeId, 'a')
      await world.close()
    }
  })

  test('that finds no quorum once there is no way back waits for one, and ends when a person gives up', async () => {
    const world = new SetWorld()
    await world.begin(['a', 'b', 'c'])
    await world.lead({ tuning: { maximumOutageMs: 1000, stepTimeoutMs: 2000 } })
    await world.write('one')
    const minted = async (to: string, sequence: number): Promise<Job> => {
      const job = await world.sets.changePrimary(setName, { to }, { reason: 'a test' })
      await world.time.untilTrue('it is minted', async () => (await world.record()).sequence === sequence)
      for (const nodeId of ['a', 'b', 'c']) if (nodeId !== 'a') world.crash(nodeId)
      await world.advance(30_000)
      assert.equal((await world.jobs.get(job.jobId))?.status, 'running')
      return job
    }
    const first = await minted('b', 2)
    assert.deepEqual((await world.jobs.get(first.jobId))?.waitingFor, ['b', 'c'])
    for (const nodeId of ['b', 'c']) world.restart(nodeId)
    const ended = await world.ended(first)
    assert.equal(ended.status, 'succeeded', ended.lastError?.message)
    await world.write('two')
    const { sequence, primary } = await world.record()
    const second = await minted(primary === 'b' ? 'c' : 'b', sequence + 1)
    await world.jobs.cancel(second.jobId, 'it is forced')
    const over = await world.ended(second)
    assert.equal(over.status, 'failed')
    assert.match(over.outcome ?? '', /could not be undone: no progress for 2000 ms/)
    for (const nodeId of ['b', 'c']) world.restart(nodeId)
    assert.equal((await world.changePrimary({ emergency: true })).status, 'succeeded')
    await world.write('three')
    await world.close()
  })

  test('is cancelled before and after there is no way back', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead({ tuning: { maximumOutageMs: 600_000 } })
    world.cut.add('a c')
    await world.write('one')
    const first = await world.sets.changePrimary(setName, { to: 'c' }, { reason: 'a test' })
    await world.advance(1500)
    assert.equal(world.host.primary(), undefined)
    await world.jobs.cancel(first.jobId, 'another day')
    const ended = await world.ended(first)
    assert.deepEqual([ended.status, ended.outcome], ['cancelled', 'a takes writes again'])
    world.cut.clear()
    const second = await world.sets.changePrimary(setName, { to: 'c' }, { reason: 'a test' })
    await world.time.untilTrue('it is minted', async () => (await world.record()).sequence === 2)
    await world.jobs.cancel(second.jobId, 'too late')
    const over = await world.ended(second)
    assert.equal(over.status, 'cancelled')
    assert.match(over.outcome ?? '', /could not be undone any more: c is primary with sequence 2/)
    await world.write('two')
    await world.close()
  })

  test('survives a crash of its leader at any call', async () => {
    const run = async (fault: StoreFault | undefined, at: number): Promise<number> => {
      const world = new SetWorld()
      await world.begin(['a', 'b', 'c'])
      const store = await world.leadFor(at, fault ?? 'crash')
      const job = await world.sets.changePrimary(setName, { to: 'b' }, { reason: 'a test' })
      let ended: Job | undefined
      const ending = world.jobs.ended(job.jobId)
      void ending.then((each) => {
        ended = each
      })
      while (!store.crashed && ended === undefined) {
        world.writeSomewhere()
        await world.advance(25)
      }
      if (store.crashed) await world.lead()
      assert.equal((await world.time.until(ending)).status, 'succeeded', `${fault} at ${at}`)
      await world.write('after it')
      await world.advance(500)
      assert.equal(world.host.primary()?.nodeId, 'b')
      const { calls } = store
      await world.close()
      return calls
    }
    const calls = await run(undefined, 0)
    assert.ok(calls > 5, `${calls}`)
    for (const fault of ['crash', 'crashAfter'] as const)
      for (let at = 1; at <= calls; at++) await run(fault, at)
  })
})

suite('an emergency', () => {
  test('takes the most advanced of a read quorum, and the old primary gets nothing acknowledged any more', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead()
    await world.write('one')
    // The old one goes on in its part of the world, and nobody there tells it.
    for (const other of ['control', 'd', 'e', 'f']) world.cut.add(`a ${other}`)
    const late = world.host.node('a').write('never acknowledged')
    late.catch(() => {})
    const job = await world.changePrimary({ emergency: true })
    assert.equal(job.status, 'succeeded', job.lastError?.message)
    assert.match(job.outcome ?? '', /no acknowledged write is lost$/)
    await world.write('two')
    await world.advance(2000)
    world.cut.clear()
    await assert.rejects(world.time.until(late), { code: 'OUTCOME_UNKNOWN' })
    await world.advance(1000)
    const primary = world.host.primary()
    assert.notEqual(primary?.nodeId, 'a')
    for (const node of world.host.nodes()) assert.deepEqual(node.records, primary?.records)
    await world.close()
  })

  test('without a read quorum is refused, changes nothing, and is loud when it is forced', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead({ tuning: { stepTimeoutMs: 3000 } })
    await world.write('one')
    for (const nodeId of ['a', 'b', 'c', 'd']) world.crash(nodeId)
    const before = await world.record()
    const refused = await world.changePrimary({ emergency: true })
    assert.equal(refused.status, 'failed')
    assert.match(
      refused.lastError?.message ?? '',
      /only e, f of 6 answers completely, a read quorum is 3: .* may be lost/,
    )
    assert.deepEqual(await world.record(), before)
    // By force somebody is chosen, who begins once a write quorum is there.
    const forced = await world.sets.changePrimary(
      setName,
      { emergency: true, force: true },
      { reason: 'a flood' },
    )
    await world.time.untilTrue('somebody is chosen', async () =>
      ['e', 'f'].includes((await world.record()).primary ?? ''),
    )
    for (const nodeId of ['b', 'c', 'd']) world.restart(nodeId)
    const job = await world.ended(forced)
    assert.equal(job.status, 'succeeded', job.lastError?.message)
    assert.match(job.outcome ?? '', /FORCED without a read quorum: acknowledged writes may be lost/)
    await world.time.untilTrue('somebody serves', () => world.host.primary() !== undefined)
    await world.close()
  })
})

suite('a change of members', () => {
  test('goes through an epoch in which writes need both quorums', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead()
    await world.write('one')
    world.crash('f')
    const job = await world.changeMember({ suspect: 'f', candidate: 'g' })
    const ended = await world.ended(job)
    assert.deepEqual([ended.status, ended.outcome], ['succeeded', 'g has taken the place of f'])
    const { set, unsealed } = await world.record()
    assert.deepEqual(
      [set.epoch, unsealed.length, set.member('g')?.joined, set.member('f')],
      [3, 0, 2, undefined],
    )
    await world.write('two')
    await world.advance(500)
    assert.deepEqual(world.host.node('g').records, world.host.node('a').records)
    // It comes back with an epoch that everybody refuses.
    world.restart('f')
    assert.throws(
      () => world.host.node('a').append(QuorumSet.of(lives(six), aurora), 1, { sequence: 0, index: 0 }, []),
      {
        code: 'STALE_EPOCH',
      },
    )
    await world.close()
  })

  test('is undone by a person at any point, and by the suspect that comes back', async () => {
    for (let waitMs = 0; waitMs < 400; waitMs += 29) {
      const world = new SetWorld()
      await world.begin(six, aurora)
      await world.lead()
      await world.write('one')
      world.crash('f')
      const job = await world.changeMember({ suspect: 'f', candidate: 'g' })
      await world.advance(waitMs)
      await world.jobs.cancel(job.jobId, 'f was only slow').catch(() => {})
      await world.write('two')
      const ended = await world.ended(job)
      const { set, unsealed } = await world.record()
      const last = set.slots.at(-1)?.map(({ nodeId }) => nodeId)
      assert.deepEqual(unsealed, [], `${waitMs}`)
      assert.deepEqual(last, [/has taken|had taken/.test(ended.outcome ?? '') ? 'g' : 'f'], ended.outcome)
      world.restart('f')
      await world.write('three')
      await world.advance(500)
      await world.close()
    }
  })

  test('ends with the suspect when that one is back first', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead()
    for (let i = 0; i < 3; i++) await world.write(`v${i}`)
    world.crash('g')
    const job = await world.changeMember({ suspect: 'f', candidate: 'g' })
    await world.time.untilTrue('they are two', async () => (await world.record()).set.epoch === 2)
    await world.write('meanwhile')
    const ended = await world.ended(job)
    assert.match(ended.outcome ?? '', /^f is back and stays/)
    const { set } = await world.record()
    assert.deepEqual(
      set.slots.at(-1)?.map(({ nodeId }) => nodeId),
      ['f'],
    )
    await world.close()
  })

  test('that cannot be sealed while it is undone is sealed when the members are back, whoever leads by then', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    const close = await world.lead({ tuning: { stepTimeoutMs: 1000, hydrateTimeoutMs: 1000 } })
    await world.write('one')
    for (const other of six) world.cut.add(`g ${other}`)
    const job = await world.changeMember({ suspect: 'f', candidate: 'g', mayReturn: false })
    await world.time.untilTrue('they are two', async () => (await world.record()).set.epoch === 2)
    await world.advance(200)
    for (const nodeId of ['b', 'c', 'd', 'e', 'f']) world.crash(nodeId)
    await world.jobs.cancel(job.jobId, 'another day')
    await world.advance(20_000)
    assert.equal((await world.record()).set.epoch, 3)
    assert.equal((await world.jobs.get(job.jobId))?.status, 'reverting')
    await world.time.until(close())
    await world.lead({ tuning: { stepTimeoutMs: 1000 } })
    for (const nodeId of ['b', 'c', 'd', 'e', 'f']) world.restart(nodeId)
    const ended = await world.ended(job)
    assert.match(ended.outcome ?? '', /^f stays, epoch 3/)
    world.audit.rested(await world.record())
    await world.close()
  })

  test('that is stuck says who does not answer', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead({ tuning: { stepTimeoutMs: 2000, hydrateTimeoutMs: 4000 } })
    world.crash('f')
    world.crash('g')
    const job = await world.changeMember({ suspect: 'f', candidate: 'g', mayReturn: false })
    await world.time.untilTrue('it waits', async () =>
      ((await world.jobs.get(job.jobId))?.waitingFor ?? []).includes('g'),
    )
    const ended = await world.ended(job)
    assert.equal(ended.status, 'failed')
    assert.match(
      ended.lastError?.message ?? '',
      /g has to know epoch 2 \(f does not answer, g does not answer\)/,
    )
    assert.match(ended.outcome ?? '', /f stays, epoch 3; nothing is left of it/)
    await world.close()
  })

  test('says that a candidate has lost its data', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead({ tuning: { stepTimeoutMs: 2000 } })
    const job = await world.changeMember({ suspect: 'f', candidate: 'g', mayReturn: false })
    world.wipe('g')
    const ended = await world.ended(job)
    assert.match(ended.lastError?.message ?? '', /g has to know epoch 2 \(g has lost its data\)/)
    assert.match(ended.outcome ?? '', /f stays, epoch 3; nothing is left of it/)
    // In its new life it may try again.
    const again = await world.ended(await world.changeMember({ suspect: 'f', candidate: 'g' }))
    assert.equal(again.status, 'succeeded', again.lastError?.message)
    await world.close()
  })

  test('does not take the primary away', async () => {
    const world = new SetWorld()
    await world.begin(six, aurora)
    await world.lead()
    const ended = await world.ended(await world.changeMember({ suspect: 'a', candidate: 'g' }))
    assert.equal(ended.status, 'failed')
    assert.match(ended.lastError?.message ?? '', /a is primary: make another member primary first/)
    await world.close()
  })
})

suite('the replica sets', () => {
  test('are made once, and changed one job at a time', async () => {
    const world = new SetWorld()
    await world.begin(['a', 'b', 'c'])
    const again = QuorumSet.of(lives('abc'))
    assert.equal((await world.sets.create(setName, again)).primary, 'a')
    await assert.rejects(world.sets.create(setName, QuorumSet.of(lives('ab'))), { code: 'CONFLICT' })
    await assert.rejects(world.sets.changePrimary('nothing', { to: 'a' }, { reason: 'a test' }), {
      code: 'NOT_FOUND',
    })
    const { jobId } = await world.sets.changePrimary(setName, { to: 'b' }, { reason: 'a test' })
    await assert.rejects(world.sets.changePrimary(setName, { to: 'c' }, { reason: 'a test' }), {
      code: 'CONFLICT',
      details: { jobId },
    })
    await world.close()
  })
})
