import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Deferred, deferred } from '../../../src/core/async.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { Channel, GroupWrite, LogStore } from '../../../src/interfaces/index.ts'
import type { Replica } from '../../../src/raft/group/replica.ts'
import type { TurnSink } from '../../../src/raft/group/replica-port.ts'
import { DiskHistory } from '../../../src/raft/host/disk-history.ts'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import { LogGate } from '../../../src/raft/host/log-gate.ts'
import { Outbox } from '../../../src/raft/host/outbox.ts'
import { TurnLoop } from '../../../src/raft/host/turn-loop.ts'
import { Simulation } from '../../../src/simulation/simulation.ts'

interface Call {
  readonly groups: number[]
  readonly done: Deferred<void>
}

/** A loop over a store whose writes end when the test says so, and replicas that write what they are told. */
function world() {
  const simulation = new Simulation({ seed: 1 })
  const env = simulation.environment('n1')
  const calls: Call[] = []
  const failures: unknown[] = []
  const log = new LogGate({
    limits: { writeBytes: 64 << 20, queuedBytes: 256 << 20 },
    write: async (batch: readonly GroupWrite[]) => {
      const done = deferred<void>()
      calls.push({ groups: batch.map(({ groupId }) => groupId), done })
      return done.promise
    },
  } as unknown as LogStore)
  const channel = { maximumMessageBytes: 1 << 20, send: () => true } as unknown as Channel
  const outbox = new Outbox(
    channel,
    env.metrics,
    new DiskMarks(new DiskHistory([{ life: 2 ** 50 - 1, openedAt: 0 }]), () => 0),
    () => {},
    () => false,
  )
  const loop = new TurnLoop({ env, log, outbox, onFailure: (error) => failures.push(error) })
  const replica = (groupId: number, bytes: number) => {
    const persisted: number[] = []
    let written = false
    const driven = {
      groupId,
      nextDeadlineMs: Number.POSITIVE_INFINITY,
      persisted: (writeId: number) => persisted.push(writeId),
      turn: (_nowMs: number, sink: TurnSink<Replica>) => {
        if (written) return
        written = true
        const entries = [{ index: 1, term: 1, kind: 1 as const, data: new Uint8Array(bytes) }]
        sink.write(driven, { groupId, entries }, 7)
      },
    } as unknown as Replica
    return { replica: driven, persisted }
  }
  const settle = async () => simulation.runFor(1)
  return { loop, calls, failures, replica, settle }
}

const mib = 1 << 20

suite('the turn loop', () => {
  test('makes one batch of a turn, and tells each replica when it is durable', async () => {
    const { loop, calls, replica, settle } = world()
    const [a, b] = [replica(1, 10), replica(2, 10)]
    loop.schedule(a.replica)
    loop.schedule(b.replica)
    loop.schedule(a.replica)
    await settle()
    assert.deepEqual(
      calls.map(({ groups }) => groups),
      [[1, 2]],
    )
    assert.deepEqual(a.persisted, [])
    calls[0]?.done.resolve()
    await settle()
    assert.deepEqual([a.persisted, b.persisted], [[7], [7]])
  })

  test('splits what is large, and holds back what is too much at a time', async () => {
    const { loop, calls, replica, settle } = world()
    const all = Array.from({ length: 12 }, (_, i) => replica(i + 1, 5 * mib))
    for (const each of all) loop.schedule(each.replica)
    await settle()
    assert.deepEqual(
      calls.map(({ groups }) => groups),
      [[1], [2], [3], [4]],
    )
    for (let i = 0; i < 12; i++) {
      calls[i]?.done.resolve()
      await settle()
    }
    assert.deepEqual(
      calls.flatMap(({ groups }) => groups),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    )
    assert.ok(all.every(({ persisted }) => persisted.length === 1))
  })

  test('forgets what a removed replica had waiting, marks included, and nothing else', async () => {
    const { loop, calls, replica, settle } = world()
    const [large, gone, stays] = [replica(1, 24 * mib), replica(2, 10), replica(3, 10)]
    loop.schedule(large.replica)
    await settle()
    loop.schedule(gone.replica)
    loop.schedule(stays.replica)
    await settle()
    const mark = loop.write({ groupId: 2, metadata: new Uint8Array(1) }, gone.replica)
    const other = loop.write({ groupId: 4, metadata: new Uint8Array(1) })
    loop.remove(gone.replica)
    await assert.rejects(mark, { code: 'CLOSED' })
    for (let i = 0; i < 3; i++) {
      calls[i]?.done.resolve()
      await settle()
    }
    await other
    assert.deepEqual(
      calls.map(({ groups }) => groups),
      [[1], [3], [4]],
    )
    assert.deepEqual(gone.persisted, [])
  })

  test('a write that fails ends it: nothing is written or reported any more', async () => {
    const { loop, calls, failures, replica, settle } = world()
    const [a, b] = [replica(1, 10), replica(2, 24 * mib)]
    loop.schedule(b.replica)
    await settle()
    loop.schedule(a.replica)
    await settle()
    const waiting = loop.write({ groupId: 9 })
    calls[0]?.done.reject(new KeelsonError('IO', 'the disk is gone'))
    await settle()
    assert.equal(failures.length, 1)
    loop.stop()
    await assert.rejects(waiting, { code: 'CLOSED' })
    await assert.rejects(loop.write({ groupId: 9 }), { code: 'CLOSED' })
    assert.equal(calls.length, 1)
    assert.deepEqual([a.persisted, b.persisted], [[], []])
  })
})
