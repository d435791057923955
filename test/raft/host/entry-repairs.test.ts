import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type LogRecord, recordLogger } from '../../../src/core/logger.ts'
import type { LogEntry, LogStore } from '../../../src/interfaces/log-store.ts'
import { EntryRepairs, type RepairPeer } from '../../../src/raft/host/entry-repairs.ts'
import { Simulation } from '../../../src/simulation/simulation.ts'

const lost = [{ first: 5, last: 6, term: 2 }]
const entries: LogEntry[] = [5, 6].map((index) => ({ index, term: 2, kind: 1, data: new Uint8Array(3) }))

/** A repair that asks replica 2, which has nothing, and replica 3, which answers from some time on. */
function world(
  configured: boolean,
  answers: (replicaId: number, nowMs: number) => readonly LogEntry[] | undefined,
) {
  const simulation = new Simulation({ seed: 1 })
  const records: LogRecord[] = []
  const env = {
    ...simulation.environment('n1'),
    logger: recordLogger((record) => records.push(record), 'warn'),
  }
  const repaired: LogEntry[] = []
  const log = {
    repair: async (_groupId: number, found: readonly LogEntry[]) => void repaired.push(...found),
  } as unknown as LogStore
  const repairs: EntryRepairs = new EntryRepairs({
    env,
    log,
    maximumMessageBytes: 1 << 20,
    send: (groupId, recoveryGeneration, peer, message) => {
      if (message.kind !== 'entriesRequest') return
      const found = answers(message.to, simulation.nowMs)
      if (found === undefined) return
      const { first, requestId, to: from, from: to } = message
      const reply = { kind: 'entriesReply', from, to, term: 0, requestId, first, entries: found } as const
      const identity = { ...peer, role: 'node' } as const
      simulation.scheduler.schedule(1, () => {
        repairs.received(identity, { groupId, recoveryGeneration, message: reply }, reply)
      })
    },
  })
  const peers: RepairPeer[] = [2, 3].map((replicaId) => ({
    replicaId,
    nodeId: `n${replicaId}`,
    incarnation: replicaId,
  }))
  const job = { groupId: 1, replicaId: 1, recoveryGeneration: 0, peers, configured, lost }
  const repair = () => simulation.until(repairs.repair(job, new AbortController().signal), 3_600_000)
  return { simulation, records, repaired, repair }
}

suite('entries that one peer does not have any more', () => {
  test('are waited for from another that is away, and it is told whom the replica waits for', async () => {
    for (const configured of [true, false]) {
      const { simulation, records, repaired, repair } = world(configured, (replicaId, nowMs) =>
        replicaId === 2 ? [] : nowMs > 200_000 ? entries : undefined,
      )
      assert.equal(await repair(), true)
      assert.ok(simulation.nowMs > 200_000)
      assert.deepEqual(repaired, entries)
      assert.ok(records.length >= 5 && records.length <= 7, `${records.length} times in 200 seconds`)
      assert.deepEqual(records[0]?.fields.silent, ['n3'])
      assert.deepEqual(records[0]?.fields.without, [2])
    }
  })

  test('are given up once all have said so: at once where all are known, after a while where not', async () => {
    for (const configured of [true, false]) {
      const { simulation, repair } = world(configured, () => [])
      assert.equal(await repair(), false)
      assert.ok(
        configured ? simulation.nowMs < 1_000 : simulation.nowMs > 30_000 && simulation.nowMs < 40_000,
      )
    }
  })
})
