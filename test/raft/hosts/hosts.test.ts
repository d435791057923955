import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type HostReport, runHosts } from './run.ts'
import { faultNames } from './torment.ts'

/** Few, and among them whatever can happen: see the last test. */
const seeds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15]

suite('simulated hosts', () => {
  const reports: HostReport[] = []

  test('lose nothing, do nothing twice and serve again, under all faults', async () => {
    for (const seed of seeds) {
      const report = await runHosts({ seed })
      reports.push(report)
      assert.equal(report.failure, undefined, `seed ${seed}: ${report.failure?.stack}`)
    }
  })

  test('one seed is one run', async () => {
    for (const { seed, hash } of reports.slice(0, 2)) {
      const again = await runHosts({ seed })
      assert.equal(again.hash, hash)
    }
    assert.equal(new Set(reports.map(({ hash }) => hash)).size, reports.length)
  })

  test('every fault and everything of interest happens somewhere', () => {
    const total = (name: string): number =>
      reports.reduce((sum, { counts }) => sum + (counts.find(([what]) => what.startsWith(name))?.[1] ?? 0), 0)
    const wanted = [
      ...faultNames,
      'restore begun',
      'restore done',
      'connections in a restore',
      'crash in a restore',
      'leader change in a restore',
      'piece damaged',
      'batches of several',
      'change addLearner',
      'change promote',
      'change remove',
      'change replace',
      'replica destroyed',
      'quorum lost',
      'superseded replica destroyed',
      'lost member added anew',
      'image comes back',
      'lives in a row',
    ]
    for (const what of wanted) assert.ok(total(what) > 0, `never: ${what}`)
  })
})
