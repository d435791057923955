import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Deferred, deferred } from '../../../src/core/async.ts'
import type { LogPosition } from '../../../src/interfaces/log-store.ts'
import { checkGroupLimits } from '../../../src/raft/group/limits.ts'
import { LogCompactor, type LogCompactorOptions } from '../../../src/raft/group/log-compactor.ts'

test('entries that come in while the state is flushed count for the next compaction', async () => {
  const flushes: Deferred<LogPosition>[] = []
  const compacted: number[] = []
  let applied: LogPosition = { index: 10, term: 1 }
  const compactor = new LogCompactor({
    groupId: 1,
    core: {
      role: 'follower',
      status: () => ({ compacted: { index: 0, term: 0 }, progress: new Map() }),
      compact: (index: number) => ({ index, term: 1 }),
    },
    applier: {
      get applied() {
        return applied
      },
      flush: () => {
        const flush = deferred<LogPosition>()
        flushes.push(flush)
        return flush.promise
      },
      compacted: () => {},
    },
    log: { compact: async (_groupId: number, { index }: LogPosition) => void compacted.push(index) },
    limits: checkGroupLimits({ compactAfterEntries: 1_000, compactAfterBytes: 4_096, keptEntries: 0 }),
    stopped: () => false,
    onFailure: (error: unknown) => assert.fail(error as Error),
  } as unknown as LogCompactorOptions)
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) await Promise.resolve()
  }
  compactor.add(4_096)
  compactor.check()
  assert.equal(flushes.length, 1)
  compactor.add(4_096)
  flushes[0]?.resolve(applied)
  await settle()
  assert.deepEqual(compacted, [10])
  applied = { index: 20, term: 1 }
  compactor.check()
  assert.equal(flushes.length, 2, 'the log has grown by as much again')
  flushes[1]?.resolve(applied)
  await settle()
  assert.deepEqual(compacted, [10, 20])
  compactor.check()
  assert.equal(flushes.length, 2)
})
