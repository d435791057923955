import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Deferred, deferred } from '../../../src/core/async.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import {
  type GroupWrite,
  groupWriteBytes,
  type LogEntry,
  type LogStore,
} from '../../../src/interfaces/log-store.ts'
import { LogGate } from '../../../src/raft/host/log-gate.ts'
import { Cluster } from '../support/host-cluster.ts'

function entry(index: number, bytes: number, term = 1): LogEntry {
  return { index, term, kind: 1, data: new Uint8Array(bytes) }
}

/** A store that notes what it is given, and settles it when the test says so. */
function world(writeBytes: number, queuedBytes = 1 << 20) {
  const calls: { readonly batch: readonly GroupWrite[]; readonly done: Deferred<void> }[] = []
  const take = (batch: readonly GroupWrite[]): Promise<void> => {
    const done = deferred<void>()
    calls.push({ batch, done })
    return done.promise
  }
  let closed = false
  const gate = new LogGate({
    incarnation: 1,
    limits: { writeBytes, queuedBytes },
    write: take,
    destroy: async (groupId: number) => take([{ groupId }]),
    repair: async (groupId: number, entries: readonly LogEntry[]) => take([{ groupId, entries }]),
    close: async () => {
      closed = true
    },
  } as unknown as LogStore)
  return { gate, calls, isClosed: () => closed }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

suite('the gate before a log store', () => {
  test('passes on what fits as it is', async () => {
    const { gate, calls } = world(10_000)
    const batch = [{ groupId: 1, entries: [entry(1, 100)] }]
    void gate.write(batch)
    assert.equal(calls[0]?.batch, batch)
  })

  test('splits between groups, and the entries of one group where there is no other way', () => {
    const { gate } = world(2_000)
    const large = { groupId: 2, entries: Array.from({ length: 9 }, (_, i) => entry(i + 1, 500)) }
    const parts = gate.parts([
      { groupId: 1, entries: [entry(1, 900)] },
      large,
      { groupId: 3, entries: [entry(1, 9)] },
    ])
    const shape = parts.map(([, part]) => part.map(({ groupId, entries = [] }) => [groupId, entries.length]))
    assert.deepEqual(shape, [
      [[1, 1]],
      [[2, 2]],
      [[2, 2]],
      [[2, 2]],
      [[2, 2]],
      [
        [2, 1],
        [3, 1],
      ],
    ])
    for (const [bytes, part] of parts) {
      assert.equal(
        bytes,
        part.reduce((sum, write) => sum + groupWriteBytes(write), 0),
      )
      assert.ok(bytes <= 2_000)
    }
  })

  test('leaves a state after each slice that a replica might have been in', () => {
    const random = new SeededRandom(5)
    for (let run = 0; run < 2_000; run++) {
      const { gate } = world(600 + random.integer(2_000))
      const first = 1 + random.integer(5)
      const before = { commit: random.integer(first), last: first + random.integer(3) - 1 }
      const entries = Array.from({ length: 1 + random.integer(20) }, (_, i) =>
        entry(first + i, random.integer(150), 7),
      )
      const last = first + entries.length - 1
      const commit = before.commit + random.integer(last - before.commit + 1)
      const write: GroupWrite = {
        groupId: 1,
        entries,
        ...(random.integer(2) === 0 ? { metadata: new Uint8Array(random.integer(100)) } : {}),
        ...(random.integer(4) === 0 ? {} : { hardState: { term: 7, votedFor: 2, commit } }),
        ...(random.integer(4) === 0 ? { reset: { index: first - 1, term: 3 } } : {}),
      }
      const slices = gate.slices(write)
      let term = 3
      let committed = before.commit
      let end = before.last
      slices.forEach((slice, i) => {
        assert.ok(groupWriteBytes(slice) <= gate.limits.writeBytes || slices.length === 1)
        assert.deepEqual(
          [slice.reset, slice.metadata],
          i === 0 ? [write.reset, write.metadata] : [undefined, undefined],
        )
        end = slice.reset?.index ?? end
        end = slice.entries?.at(-1)?.index ?? end
        term = slice.hardState?.term ?? term
        assert.ok(write.hardState === undefined || term === 7, 'entries of a term that is not known yet')
        assert.equal(slice.hardState?.votedFor ?? 2, 2)
        assert.ok((slice.hardState?.commit ?? committed) >= committed, 'the commit index goes back')
        committed = slice.hardState?.commit ?? committed
        assert.ok(committed <= end, `${committed} is committed in a log that ends at ${end}`)
      })
      assert.deepEqual(
        slices.flatMap((slice) => slice.entries ?? []),
        entries,
      )
      if (write.hardState !== undefined) assert.equal(committed, commit)
    }
  })

  test('holds back what the queue does not take, in order', async () => {
    const { gate, calls } = world(1_000, 1_500)
    const order: string[] = []
    const write = (groupId: number, bytes: number, count = 1) =>
      gate
        .write([{ groupId, entries: Array.from({ length: count }, (_, i) => entry(i + 1, bytes)) }])
        .then(() => order.push(`write ${groupId}`))
    void write(1, 500)
    void write(2, 400, 4)
    void gate.destroy(3, new Uint8Array(0)).then(() => order.push('destroy 3'))
    void write(4, 1)
    const given: number[] = []
    for (let at = 0; at < 7; at++) {
      given.push(calls.length)
      calls[at]?.done.resolve()
      await turn()
    }
    assert.deepEqual(
      calls.map(({ batch }) => batch[0]?.groupId),
      [1, 2, 2, 2, 2, 3, 4],
    )
    assert.ok(
      given.every((count, at) => count - at <= 3),
      `${given}`,
    )
    assert.deepEqual(order, ['write 1', 'write 2', 'destroy 3', 'write 4'])
  })

  test('tells in order even where the store does not', async () => {
    const { gate, calls } = world(1_000)
    const order: number[] = []
    for (const groupId of [1, 2]) {
      void gate
        .write([{ groupId, entries: [entry(1, 250), entry(2, 250), entry(3, 250)] }])
        .then(() => order.push(groupId))
    }
    assert.equal(calls.length, 4)
    for (const at of [3, 2, 1]) calls[at]?.done.resolve()
    await turn()
    assert.deepEqual(order, [])
    calls[0]?.done.resolve()
    await turn()
    assert.deepEqual(order, [1, 2])
  })

  test('a piece that fails is the failure of its write, whose rest is not written, and of no other', async () => {
    const { gate, calls, isClosed } = world(1_000, 1_000)
    const outcomes = [
      gate.write([{ groupId: 1, entries: [entry(1, 600), entry(2, 600), entry(3, 600)] }]),
      gate.write([{ groupId: 2, entries: [entry(1, 1)] }]),
    ]
    const settled = Promise.allSettled(outcomes)
    calls[0]?.done.reject(new KeelsonError('DISK_FULL', 'no room'))
    await turn()
    assert.deepEqual(
      calls.map(({ batch }) => batch[0]?.groupId),
      [1, 2],
    )
    const closing = gate.close()
    await turn()
    assert.equal(isClosed(), false)
    calls[1]?.done.resolve()
    assert.deepEqual(
      (await settled).map(({ status }) => status),
      ['rejected', 'fulfilled'],
    )
    await closing
    assert.equal(isClosed(), true)
  })

  test('splits repairs', async () => {
    const { gate, calls } = world(1_000)
    const entries = [entry(5, 640), entry(6, 640), entry(7, 10), entry(8, 10)]
    const done = gate.repair?.(3, entries)
    for (const call of calls) call.done.resolve()
    await done
    assert.deepEqual(
      calls.map(({ batch }) => batch[0]?.entries?.map(({ index }) => index)),
      [[5], [6], [7, 8]],
    )
  })
})

suite('a host whose store takes little at a time', () => {
  test('catches up, and goes on after every crash in between', async () => {
    let cuts = 0
    for (let seed = 1; seed <= 6; seed++) {
      const limits = { writeBytes: 1_500, queuedBytes: 2_000 }
      const cluster = new Cluster({ seed, logLimits: (node) => (node.name === 'n3' ? limits : undefined) })
      await cluster.run(async () => {
        await cluster.bootstrap()
        await cluster.propose('a+1')
        const behind = cluster.node('n3')
        behind.crash()
        await Promise.all(Array.from({ length: 60 }, () => cluster.propose(`${'b'.repeat(40)}+1`)))
        await behind.restart()
        for (let crash = 0; crash < 4; crash++) {
          await cluster.sleep(1 + cluster.simulation.random(`crash ${crash}`).integer(30))
          const { lastIndex } = behind.group().status()
          behind.crash()
          await behind.restart()
          assert.equal(behind.group().status().quarantined, false)
          const found = behind.group().status().lastIndex
          if (found > 2 && found < lastIndex) cuts++
        }
        await cluster.converged(['n1', 'n2', 'n3'])
        assert.equal(behind.value('b'.repeat(40)), 60)
      })
    }
    assert.ok(cuts > 0, 'no crash came between two pieces')
  })

  test('stops the one group whose leader has entries that it can never store, and says so', async () => {
    const cluster = new Cluster({
      logLimits: ({ name }) => (name === 'n3' ? { writeBytes: 2_000, queuedBytes: 8_000 } : undefined),
    })
    await cluster.run(async () => {
      await cluster.bootstrap()
      await cluster.bootstrap(['n1', 'n2', 'n3'], 2)
      await cluster.propose('a+1', { groupId: 2 })
      for (let leader = await cluster.leader(); leader.name === 'n3'; leader = await cluster.leader()) {
        await leader.group().transferLeadership(1)
      }
      await cluster.propose(`${'c'.repeat(3_000)}+1`)
      const stopped = () => cluster.node('n3').group().status().stopped
      await cluster.until(() => stopped() !== undefined, 'a stopped replica')
      assert.equal(stopped()?.code, 'LIMIT_EXCEEDED')
      assert.match(stopped()?.message ?? '', /entry \d+ of group 1 has \d+ bytes/)
      await cluster.propose('a+1', { groupId: 2 })
      await cluster.converged(['n1', 'n2', 'n3'], 2)
      await cluster.propose('a+1')
      await cluster.converged(['n1', 'n2'])
    })
  })

  test('proposes nothing that it could not store itself', async () => {
    const cluster = new Cluster({ logLimits: () => ({ writeBytes: 2_000, queuedBytes: 8_000 }) })
    await cluster.run(async () => {
      await cluster.bootstrap()
      const leader = await cluster.leader()
      await assert.rejects(leader.group().propose(new Uint8Array(2_000)), { code: 'LIMIT_EXCEEDED' })
      await cluster.propose(`${'d'.repeat(1_500)}+1`)
    })
    const refused = new Cluster({
      logLimits: () => ({ writeBytes: 2_000, queuedBytes: 8_000 }),
      raft: { maximumEntryBytes: 4_000 },
    })
    await assert.rejects(
      refused.run(async () => refused.add('n1')),
      { code: 'INVALID_OPTION' },
    )
  })
})
