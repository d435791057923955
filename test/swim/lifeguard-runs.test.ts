import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { runPoint } from './experiments/lifeguard.ts'

const paper = ['SWIM', 'LHA-Probe', 'LHA-Suspicion', 'Buddy', 'Lifeguard']

suite('runs of Lifeguard’s experiment', () => {
  test('one in which no probe fails is the same under every configuration of the paper', () => {
    const run = { concurrency: 12, durationMs: 512, intervalMs: 0, repetition: 0 }
    const [first, ...others] = paper.map((name) => runPoint(name, run))
    assert.equal(first?.undisturbed, true)
    for (const other of others) assert.deepEqual({ ...other, configuration: 'SWIM' }, first)
  })

  test('one in which probes fail is not taken for such a one', () => {
    const run = { concurrency: 8, durationMs: 2_048, intervalMs: 0, repetition: 0 }
    const [plain, guarded] = [runPoint('SWIM', run), runPoint('Lifeguard', run)]
    assert.equal(plain.undisturbed, undefined)
    assert.notEqual(plain.bytes, guarded.bytes)
  })
})
