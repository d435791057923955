import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import { allFaultKinds } from './fault-kinds.ts'
import { Node } from './node.ts'
import { type RunReport, runSeed } from './run.ts'
import { World } from './world.ts'

const seeds = Array.from({ length: 40 }, (_, i) => i + 1)

/** Where to look on for what is so rare that these may not have it. */
const lastSeed = 160

suite('a simulated Raft group', () => {
  const reports: RunReport[] = []

  test('keeps its invariants under all faults, heals and serves', () => {
    for (const seed of seeds) {
      const report = runSeed({ seed })
      reports.push(report)
      const { failure } = report
      assert.equal(
        failure,
        undefined,
        `seed ${seed}: ${failure?.message}\n${failure?.trace.slice(-60).join('\n')}`,
      )
    }
  })

  test('is given up when it goes on for ever at one moment', () => {
    class Spinning extends Node {
      override timerFired(core: RaftCore): void {
        this.env.timers.defer(() => this.timerFired(core))
      }
    }
    const { failure } = runSeed({ seed: 1, createNode: (...node) => new Spinning(...node) })
    assert.equal(failure?.invariant, 'LIMIT_EXCEEDED')
  })

  test('one seed is one run', () => {
    for (const report of reports.filter((_, at) => at % 4 === 0)) {
      const again = runSeed({ seed: report.seed })
      assert.deepEqual(
        [again.hash, again.events, again.commits],
        [report.hash, report.events, report.commits],
      )
    }
    assert.equal(new Set(reports.map(({ hash }) => hash)).size, reports.length)
  })

  test('every fault and everything of interest happens somewhere', () => {
    const total = (pick: (report: RunReport) => readonly [string, number][], name: string): number =>
      reports.reduce((sum, report) => sum + (pick(report).find(([kind]) => kind === name)?.[1] ?? 0), 0)
    const faults = [
      ...allFaultKinds(new World({ seed: 1 })).map(({ name }) => name),
      'message lost',
      'message duplicated',
      'message reordered',
      'message lost in a partition',
      'message held by a clog',
      'disk slow sync',
      'disk failed sync',
      'disk failed read',
      'disk stalled',
      'sync failed, process ended',
      'crash at the start of a turn',
      'crash after a write was started',
      'crash before the write is noted',
      'crash after the write is noted',
      'only a majority is connected',
      'only a majority without the leader is connected',
      'quorum lost',
      'lost member comes back',
    ]
    const events = [
      'damage found',
      'replica quarantined',
      'read served',
      'read served by a follower',
      'read at once',
      'compaction',
      'fetch',
      'snapshot restored',
      'transfer done',
      'change addLearner accepted',
      'change promote accepted',
      'change remove accepted',
      'change addLearner staleGeneration',
      'replica destroyed',
      'id taken up',
      'client: sessionUnknown',
      'recovered from a lost quorum',
      'message of an older recovery generation',
      'replica superseded',
      'superseded replica destroyed',
      'lost member added anew',
      'lost member promoted again',
    ]
    const missing = (): string[] => [
      ...faults.filter((fault) => total((report) => report.faults, fault) === 0),
      ...events.filter((what) => total(({ counts }) => counts, what) === 0),
    ]
    for (let seed = seeds.length + 1; seed <= lastSeed && missing().length > 0; seed++) {
      const report = runSeed({ seed })
      assert.equal(report.failure, undefined, `seed ${seed}: ${report.failure?.message}`)
      reports.push(report)
    }
    assert.deepEqual(missing(), [])
    const unknown = reports.reduce((sum, report) => sum + report.unknown, 0)
    const calls = reports.reduce((sum, report) => sum + report.calls, 0)
    assert.ok(unknown > 0 && unknown < calls / 5, `${unknown} of ${calls} calls had an unknown outcome`)
    assert.ok(reports.reduce((sum, report) => sum + report.elections, 0) > reports.length * 2)
    assert.equal(
      total(({ counts }) => counts, 'linearizability undecided'),
      0,
    )
  })
})
